"""What may come in and go out: JSON (RFC 8259) that every consumer can read back, whatever its language.

A number beyond a double, half a surrogate pair or a tree of a hundred levels is valid to some parsers and ends others; a command with such
a payload could never be delivered and would block what is behind it. So it is refused where it comes in.
"""

from typing import Any

import msgspec

MAX_DEPTH = 64
_decode = msgspec.json.decode


def parse(raw: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, saying what is wrong."""
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError("a number out of range" if isinstance(error, msgspec.ValidationError) else "not JSON") from None
    if _brackets(raw) > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    return value


def _brackets(raw: str | bytes) -> int:
    return raw.count("[") + raw.count("{") if isinstance(raw, str) else raw.count(b"[") + raw.count(b"{")


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)
