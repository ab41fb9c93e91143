"""Whom a thread id means, however it is spelt: one form for a number, an address or a group, by which two of them are compared.

`+1 (310) 555-0100`, `iMessage;-;+13105550100` and `any;-;+13105550100` are one recipient, and so are `Ann@Example.org` and
`mailto:ann@example.org`. A number without its country is that number in every country: where one is denied, it is so in both spellings.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_CHAT = re.compile(r"\w+;[-+];(.+)", re.DOTALL)
_SCHEME = re.compile(r"^(?:tel|sms|imessage|mailto):(?://)?", re.IGNORECASE)
_BETWEEN_DIGITS = re.compile(r"[\s()./‐-―-]")
_NUMBER = re.compile(r"\+?[0-9]{3,20}")
TAIL = 7
"""So many digits at the end tell numbers apart, where a country or an area may be missing."""


def recipient(thread_id: str) -> str:
    """The one form of it."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", thread_id) if unicodedata.category(c) not in {"Cc", "Cf"}).strip()
    chat = _CHAT.fullmatch(shown)
    name = _SCHEME.sub("", chat[1] if chat else shown)
    if "@" in name:
        return name.casefold()
    number = _BETWEEN_DIGITS.sub("", name)
    if not _NUMBER.fullmatch(number):
        return name
    return f"+{number[2:]}" if number.startswith("00") else number


class Recipients:
    """A list of them; a number is found in it also where one of the two does not tell its country."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._exact = frozenset(map(recipient, listed))
        self._by_tail = defaultdict[str, list[str]](list)
        for number in filter(_NUMBER.fullmatch, self._exact):
            self._by_tail[number[-TAIL:]].append(number)

    def __bool__(self) -> bool:
        return bool(self._exact)

    def __contains__(self, one: str) -> bool:
        """This very one."""
        return one in self._exact

    def may_hold(self, one: str) -> bool:
        """This one, or a number that may be the same."""
        return one in self._exact or any(_may_be_one(one, other) for other in self._by_tail.get(one[-TAIL:], ()))


def _may_be_one(one: str, other: str) -> bool:
    if one.startswith("+") and other.startswith("+"):
        return False
    here, there = (number.removeprefix("+").lstrip("0") for number in (one, other))
    return min(len(here), len(there)) >= TAIL and (here.endswith(there) or there.endswith(here))
