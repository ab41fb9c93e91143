"""Cancels that came before what they name: each is a tombstone, on which a later message of that name dies (PROMISES P3, F37).

A tombstone lives for `ledger.tombstone_hours`, on disk as in memory. Every step takes constant time: they end in the order in which they
were added, so those that are over are found at the front.
"""

from collections import OrderedDict
from collections.abc import Iterable

from agent_core.clock import Moment
from agent_core.records import TombstoneAdded

CANCELS = frozenset({"cancel_message", "cancel_scheduled"})


class Tombstones:
    """By the name that was cancelled: which command cancelled it, and until when that holds. At most `most` of them."""

    def __init__(self, hours: float, most: int) -> None:
        self._seconds = hours * 3_600
        self._most = most
        self._by_name: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def restore(self, tombstones: Iterable[tuple[str, str, float]], now: Moment) -> None:
        """What an earlier run left: (name, cancelling command, until_utc)."""
        left = sorted((until, name, by) for name, by, until in tombstones if until > now.utc)
        self._by_name = OrderedDict((name, (by, until)) for until, name, by in left)

    def add(self, name: str, by: str, now: Moment) -> TombstoneAdded | None:
        """None where there is no room for another."""
        self._drop_old(now)
        if name not in self._by_name and len(self._by_name) >= self._most:
            return None
        until = now.utc + self._seconds
        self._by_name[name] = by, until
        self._by_name.move_to_end(name)
        return TombstoneAdded(name, by, until)

    def find(self, names: Iterable[str], now: Moment) -> str | None:
        """Which cancel came before a message of these names."""
        found = filter(None, map(self._by_name.get, names))
        return next((by for by, until in found if until > now.utc), None)

    def _drop_old(self, now: Moment) -> None:
        while self._by_name and next(iter(self._by_name.values()))[1] <= now.utc:
            self._by_name.popitem(last=False)

    def __len__(self) -> int:
        return len(self._by_name)
