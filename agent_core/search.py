"""A search of the ledger, a page at a time: what is asked, and what is answered."""

from msgspec import Struct

from agent_core.feed import CommandEntry

MAX_FOUND = 1_000


class Query(Struct, frozen=True):
    """Which commands: those that pass the filter `text` as of `utc`, before a number newest first, or behind one oldest first."""

    text: str = ""
    utc: float = 0.0
    failures_only: bool = False
    before: int | None = None
    after: int | None = None
    most: int = MAX_FOUND


class Page(Struct, frozen=True):
    """What a part of the ledger holds of them, oldest first; `next` is the number to go on from, None at the end."""

    entries: list[CommandEntry]
    next: int | None = None
    looked: int = 0
    """How many commands were looked at."""
    left: float = 0.0
    """How much of the ledger is still to be looked at, at most 1."""
