"""The parts of JSON that a strict parser refuses as a whole, so that what is bad in one spoils no other (PROTOCOL §3).

Only quotes, brackets and commas are read: half a surrogate, NaN, a number of any length, a raw tab, bytes that are no UTF-8 and any depth
stay inside their part.
"""

import re

from pydantic_core import from_json

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]++|[\]}]++|,++', re.DOTALL)
_KEY = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*', re.DOTALL)
BOM = b"\xef\xbb\xbf"


def parts(raw: bytes) -> list[bytes]:
    """The elements of an array, or the members of an object, each as it stands. Raises ValueError where it is neither."""
    raw = raw.removeprefix(BOM).strip()
    if raw[:1] not in (b"[", b"{"):
        raise ValueError("neither an array nor an object")
    found: list[bytes] = []
    depth, start = 0, 1
    for token in _TOKEN.finditer(raw):
        mark, at = token[0], token.start()
        if mark[:1] in b"[{":
            depth += len(mark)
        elif mark[:1] in b"]}":
            if len(mark) >= depth:
                end = at + depth - 1
                if end + 1 < len(raw):
                    break
                return [part for part in (*found, raw[start:end].strip()) if part]
            depth -= len(mark)
        elif mark[:1] == b"," and depth == 1:
            found.append(raw[start:at].strip())
            start = token.end()
    raise ValueError("its brackets do not match")


def members(raw: bytes) -> dict[str, bytes]:
    """The values of an object, each as it stands; a member without a readable key is left out. Raises ValueError where it is none."""
    if not raw.removeprefix(BOM).lstrip().startswith(b"{"):
        raise ValueError("not an object")
    found: dict[str, bytes] = {}
    for part in parts(raw):
        if key := _KEY.match(part):
            try:
                found[from_json(key[1])] = part[key.end() :]
            except ValueError:
                continue
    return found
