"""The stream in the order of a column: what passes the filter, with what the operator wants to see first at the end."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from agent_core.filters import Filter
from console.panels.ring import FilteredView, Ring, Row

Key = float | str
LAST_OF_ALL = "\U0010ffff"


class Sort(NamedTuple):
    """By which column, and whether its greatest stands first."""

    column: str
    descending: bool

    @property
    def turned(self) -> "Sort":
        return self._replace(descending=not self.descending)

    def key(self, row: Row) -> Key:
        """What is missing is never first."""
        value = SORTED_BY[self.column](row)
        if value is None:
            return -inf if self.descending else inf
        if isinstance(value, float):
            return value
        return value.lower() or ("" if self.descending else LAST_OF_ALL)


class Arrangement(NamedTuple):
    """How the stream shows its commands."""

    newest_first: bool = False
    """Where no column orders them."""
    ages: bool = False
    """How long ago instead of when."""
    sort: Sort | None = None
    hidden: frozenset[str] = frozenset()
    """The columns that the operator does not want."""


def arranged(newest_first: bool, ages: bool, sort: Sort | None, hidden: Iterable[str]) -> Arrangement:
    """As it was kept; a column that is no more orders nothing."""
    return Arrangement(newest_first, ages, sort if sort is not None and sort.column in SORTED_BY else None, frozenset(hidden))


def first_sort(column: str) -> Sort:
    """The slowest and the newest first, words from A on."""
    return Sort(column, column in FIGURES)


SORTED_BY: dict[str, Callable[[Row], float | str | None]] = {
    "time": lambda row: row.utc, "id": lambda row: row.command_id, "type": lambda row: row.command_type, "via": lambda row: row.via,
    "status": lambda row: row.status, "run": lambda row: row.run_ms, "ack": lambda row: row.ack_ms, "bar": lambda row: row.ack_ms,
    "rest": lambda row: row.error or "", "message": lambda row: row.thread_id or "",
    "delivery": lambda row: row.delivery or "",
}  # fmt: skip
"""What each column is sorted by."""
FIGURES = frozenset({"time", "run", "ack", "bar"})


class SortedView:
    """As FilteredView, whose filter it has; live rows come where they belong."""

    def __init__(self, ring: Ring, passing: FilteredView, sort: Sort) -> None:
        self._ring = ring
        self._passing = passing
        self._sort = sort
        self._keys = {position: sort.key(ring.row(position)) for position in map(passing.at, range(passing.count))}
        self._order = sorted((key, position) for position, key in self._keys.items())
        self._from = ring.first
        """The first position that is in the order, if it passes."""

    @property
    def filter(self) -> Filter | None:
        return self._passing.filter

    def changed(self, positions: Iterable[int]) -> None:
        """These rows are new or different. Raises FilterError."""
        places = list(positions)
        self._passing.changed(places)
        for position in (*range(self._from, self._ring.first), *places):
            self._remove(position)
        self._from = self._ring.first
        for position in places:
            if self._passing.has(position):
                self._keys[position] = key = self._sort.key(self._ring.row(position))
                insort(self._order, (key, position))

    def _remove(self, position: int) -> None:
        key = self._keys.pop(position, None)
        if key is not None:
            del self._order[bisect_left(self._order, (key, position))]

    @property
    def first(self) -> int:
        return self._ring.first

    @property
    def end(self) -> int:
        return self._ring.end

    @property
    def last(self) -> int:
        return self.at(self.count - 1) if self.count else self._ring.end - 1

    @property
    def count(self) -> int:
        return len(self._order)

    def rank(self, position: int) -> int:
        """How many come before it, or would."""
        key = self._keys.get(position)
        if key is None:
            if not self._ring.first <= position < self._ring.end:
                return 0
            key = self._sort.key(self._ring.row(position))
        index = bisect_left(self._order, (key, position))
        return index if self._sort.descending else len(self._order) - index - (position in self._keys)

    def upto(self, position: int) -> int:
        return self.rank(position) + (position in self._keys)

    def since(self, position: int) -> int:
        return self._passing.since(position)

    def at(self, rank: int) -> int:
        return self._order[rank if self._sort.descending else len(self._order) - 1 - rank][1]

    def has(self, position: int) -> bool:
        return position in self._keys
