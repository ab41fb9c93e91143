"""How messages begin, as far as the ledger has told: the feed does not carry their texts."""

from collections.abc import Iterable, Mapping

MAX_KNOWN = 2_000
MAX_TRIES = 10
"""So often is the ledger asked, which may get a new command a bit later than the screen."""


class Words:
    """By a command's number; what is not looked at any more is forgotten."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        self._tries: dict[int, int] = {}
        self._wanted: dict[int, None] = {}

    def of(self, number: int) -> str:
        """Empty where none are known; then they are wanted, unless they were asked for in vain."""
        known = self._known.get(number)
        if known is None:
            self._wanted[number] = None
        return known or ""

    def take_wanted(self) -> list[int]:
        """What to ask the ledger for."""
        wanted = list(self._wanted)[-MAX_KNOWN // 4 :]
        self._wanted.clear()
        return wanted

    def tell(self, asked: Iterable[int], found: Mapping[int, str]) -> None:
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
            self._tries.clear()
        for number in asked:
            tries = self._tries[number] = self._tries.get(number, 0) + 1
            if number in found or tries >= MAX_TRIES:
                self._known[number] = found.get(number, "")
                del self._tries[number]
                self._wanted.pop(number, None)

    def forget(self, numbers: Iterable[int]) -> None:
        """They may be others now."""
        for number in numbers:
            self._known.pop(number, None)
