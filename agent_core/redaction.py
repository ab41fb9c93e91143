"""Secrets out of text, in one place: log, recording, console, ledger views, diagnosis and the errors of the configuration.

A secret that is known is found in the forms in which it travels (as it is, URL-encoded, escaped as in JSON, base64, hex), broken over
lines, and cut short: its beginning counts as the secret from twelve characters on, and from six where the word ends with it. What merely
looks like a secret is for text from anywhere: `strict`, `looks_secret`.
"""

import json
import re
import threading
from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from msgspec import Struct

from agent_core.feed import CommandEntry, FeedEntry, LogEntry
from agent_core.plain import plain

HIDDEN = "***"
SHORTEST, TELLING = 6, 12
"""Characters of a secret's beginning that are hidden at the end of a word, and anywhere; what is shorter is no secret."""
MAX_GIVEN = 32
"""Secrets that were learnt at run time; of more, the oldest are forgotten."""
SHORTEST_TOKEN = 80

_BREAK = r"[\s␊␍]"
_BREAKS = re.compile(f"{_BREAK}+")
_HEADER = re.compile(r"""(?i)(authorization\b["']?\s*[:=,]\s*(?:b(?=["']))?["']?)(?:(?:bearer|basic|digest|token)\s+)?[^\s"',;)}\]]+""")
_BEARER = re.compile(r"""(?i)\b(bearer\s+)[^\s"',;)}\]]+""")
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{SHORTEST_TOKEN},2000}}={{0,2}}")
_TOKEN = re.compile(r":\d{9,13}:[0-9a-fA-F]{64}\b")
# Words that announce a secret, userinfo and query of a URL, and long runs of letters mixed with digits.
_SECRETIVE = re.compile(r"(?i)bearer|secret|passw|token|api_?key|://[^/]*@|[?#]|(?=[\w+/=-]*\d)(?=[\w+/=-]*[a-z])[\w+=-]{20,}")


T = TypeVar("T")


class Redactor:
    """Takes the secrets that it knows out of text. Any thread may use it."""

    def __init__(self, *secrets: str) -> None:
        self._learning = threading.Lock()
        self._own = tuple(secrets)
        self._given: tuple[str, ...] = ()
        self._forms = _forms_of(secrets)

    def hide(self, secret: str) -> None:
        """From now on this one, too."""
        with self._learning:
            if secret not in {*self._own, *self._given}:
                self._given = (*self._given, secret)[-MAX_GIVEN:]
                self._forms = _forms_of((*self._own, *self._given))

    def __call__(self, text: str) -> str:
        """`text` without the secrets that are known."""
        return self._without_known(text, text.split())

    def _without_known(self, text: str, words: list[str]) -> str:
        squeezed = "".join(words)
        if "␊" in squeezed:
            squeezed = squeezed.replace("␊", "").replace("␍", "")
        for head, forms in self._forms.items():
            if head in squeezed:
                text = "".join(_without(text, head, forms))
        return text

    def strict(self, text: str) -> str:
        """Also without any Authorization or Bearer value, and any hmac token (PROTOCOL §3)."""
        words = text.split()
        text = self._without_known(text, words)
        lowered = text.lower()
        if "authorization" in lowered or "bearer" in lowered:
            text = _BEARER.sub(rf"\1{HIDDEN}", _HEADER.sub(rf"\1{HIDDEN}", text))
        if max(map(len, words), default=0) >= SHORTEST_TOKEN:
            text = _BASE64.sub(_token_hidden, text)
        return _TOKEN.sub(f":{HIDDEN}", text)

    def entries(self, entries: list[FeedEntry]) -> list[FeedEntry]:
        """The same, looked at closely only where a first look finds something: there may be thousands."""
        said = "\n".join(map(_said, entries))
        if "␊" in said or any(head in said for head in self._forms):
            return [self.within(entry) for entry in entries]
        return entries

    def within(self, value: T) -> T:
        """`value` with each text inside it redacted; itself where there is nothing to hide."""
        found: T = self._within(value)
        return found

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return value if isinstance(value, Enum) else self(value)
        if isinstance(value, Struct) or (is_dataclass(value) and not isinstance(value, type)):
            fields = value.__struct_fields__ if isinstance(value, Struct) else value.__dataclass_fields__
            found = {name: getattr(value, name) for name in fields}
            changed = {name: new for name, old in found.items() if (new := self.within(old)) is not old}
            return type(value)(**(found | changed)) if changed else value
        if isinstance(value, Mapping):
            inner = {self.within(key): self.within(one) for key, one in value.items()}
            return value if inner == value else inner
        if isinstance(value, list | tuple):
            items = [self.within(one) for one in value]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return value._make(items) if hasattr(value, "_make") else type(value)(items)
        return value


def _said(entry: FeedEntry) -> str:
    if isinstance(entry, CommandEntry):
        return f"{entry.command_id} {entry.command_type} {entry.thread_id} {entry.error} {entry.replay_of}"
    return entry.text if isinstance(entry, LogEntry) else ""


def _forms_of(secrets: Iterable[str]) -> dict[str, set[str]]:
    """How each secret may be written, by the beginning."""
    found: dict[str, set[str]] = {}
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        encoded = (quote(raw, safe=""), json.dumps(secret)[1:-1], raw.hex(), b64encode(raw).decode(), urlsafe_b64encode(raw).decode())
        for form in (secret, *(form.rstrip("=") for form in encoded)):
            if len(form) >= SHORTEST:
                found.setdefault(form[:SHORTEST], set()).add(form)
    return found


def _without(text: str, head: str, forms: Iterable[str]) -> Iterator[str]:
    end = 0
    for match in re.finditer(f"{_BREAK}*".join(map(re.escape, head)), text):
        if match.start() < end:
            continue
        agreements = [_agreed(text, match.end(), form) for form in forms]
        stops = [stop for agreed, stop, whole in agreements if whole or agreed >= TELLING or not text[stop : stop + 1].isalnum()]
        if stops:
            yield text[end : match.start()]
            yield HIDDEN
            end = max(stops)
    yield text[end:]


def _agreed(text: str, start: int, secret: str) -> tuple[int, int, bool]:
    """How much of a secret stands where its head ends at `start`, where that ends, over breaks of lines, and whether it is all of it."""
    end = start
    for number in range(SHORTEST, len(secret)):
        found = _BREAKS.match(text, end)
        at = found.end() if found else end
        if text[at : at + 1] != secret[number]:
            return number, end, False
        end = at + 1
    return len(secret), end, True


def _token_hidden(match: re.Match[str]) -> str:
    run = match.group()
    try:
        decoded = b64decode(run + "=" * (-len(run) % 4), altchars=b"-_" if set(run) & set("-_") else None)
    except (NotBase64, ValueError):
        return run
    return HIDDEN if _TOKEN.search(decoded.decode("latin-1")) else run


def looks_secret(text: str) -> bool:
    """Whether an error should rather not repeat it."""
    return _SECRETIVE.search(text[:200]) is not None


def header(name: str, value: str) -> str | None:
    """What may be shown of a header that carries a secret; None for any other."""
    if name.lower() in {"authorization", "proxy-authorization"}:
        return f"{plain(value.partition(' ')[0], 20)} {HIDDEN}"
    return HIDDEN if name.lower() in {"cookie", "set-cookie"} else None


def without_login(url: str) -> str:
    """Scheme, host and port of a URL: no name, no password, no path."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    return plain(f"{parts.scheme or 'http'}://{parts.netloc.rpartition('@')[2]}", 120)
