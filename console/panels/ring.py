"""The last commands, column by column: half the memory of rows, and nothing for the garbage collector to walk."""

import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import isnan, nan
from operator import itemgetter
from typing import Any, NamedTuple

from agent_core.feed import CommandEntry, DeliveryEntry, FeedEntry, ProvenEntry, proven
from agent_core.filters import SEARCHED, Filter, FilterError, Own, Rest

SEARCH_WITHIN = 0.5
"""Seconds that a filter may take over all rows."""


Shared = tuple[str, str, str, str, str | None, str | None, str | None, str | None]
"""What rows share: the Texts that a filter looks at, and the delivery."""
_NOTHING: Shared = ("", "", "", "", None, None, None, None)


class Row(NamedTuple):
    """One command as the stream shows it; text is as it came, so `shown` it before a terminal sees it."""

    utc: float
    command_id: str
    command_type: str
    via: str
    status: str
    run_ms: float | None
    ack_ms: float | None
    thread_id: str | None
    error: str | None
    replay_of: str | None
    effect: str
    delivery: str | None = None


def row_of(entry: CommandEntry) -> Row:
    """As it is told."""
    return Row(
        entry.utc, entry.command_id, entry.command_type, entry.via, entry.status, entry.run_ms, entry.ack_ms, entry.thread_id, entry.error,
        entry.replay_of, entry.effect, entry.delivery,
    )  # fmt: skip


class Ring:
    """The last `capacity` commands in the order of their arrival.

    A position never changes its meaning: `first` is the oldest kept, `end` is one past the newest.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self.capacity = capacity
        self.first = 0
        self.end = 0
        self._gap: int | None = None
        self._numbers = array("q")
        self._order = array("q")
        """For each position the highest number so far: sorted, so a number is found by bisection."""
        self._late: dict[int, int] = {}
        """Where the numbers are that came after a higher one."""
        self._utc = array("d")
        self._run = array("f")
        self._ack = array("f")
        self._ids: list[str] = []
        self._texts: list[Shared] = []
        self._shared: dict[Shared, Shared] = {}

    @property
    def newest_number(self) -> int:
        """The highest number so far; -1 while there is none."""
        return self._order[(self.end - 1) % self.capacity] if self.end > self.first else -1

    def put(self, entry: CommandEntry) -> int:
        """Keep the entry, in the place of the one with the same number if there is one; its position."""
        position = self.find(entry.row)
        if position is not None:
            self._replace(position % self.capacity, entry)
            return position
        if entry.row < self.newest_number:
            self._remember_late(entry.row, self.end)
        self._append([entry])
        return self.end - 1

    def put_all(self, entries: Iterable[CommandEntry]) -> list[int]:
        """Keep the entries, no two with the same number; the positions of those that are not simply the next ones, behind `end`."""
        newest, entries = self.newest_number, list(entries)
        fresh = [entry for entry in entries if entry.row > newest]
        places = [self.put(entry) for entry in entries if entry.row <= newest] if len(fresh) < len(entries) else []
        fresh.sort(key=itemgetter(0))
        while fresh:
            room = self.capacity - self.end % self.capacity
            self._append(fresh[:room])
            del fresh[:room]
        return places

    @property
    def whole_from(self) -> int:
        """The position from which on none is missing; before it, if it is not the first, are some that were picked from further back."""
        return self.first if self._gap is None else max(self.first, self._gap)

    @property
    def room(self) -> int:
        """For how many more there is room before what is there."""
        return self.capacity - (self.end - self.first)

    def number(self, position: int) -> int | None:
        """The number there, of those that came in order; None where nothing is kept there."""
        return self._order[position % self.capacity] if self.first <= position < self.end else None

    def forget_before(self, position: int) -> None:
        """Nothing before that position is kept; what is left has no gap."""
        self.first = max(self.first, min(position, self.end))
        self._gap = None
        self._late = {late: place for late, place in self._late.items() if place >= self.first}

    def put_before(self, entries: Sequence[CommandEntry], *, apart: bool = False) -> range:
        """Before all that is there, oldest first; their positions. What is there already, or has no room, is left out.

        `apart`: between them and what is there some are missing.
        """
        if apart and self.whole_from == self.first:
            self._gap = self.first
        entries = [entry for entry in entries if self.find(entry.row) is None]
        entries = entries[max(0, len(entries) - self.room) :]
        self._stretch()
        for entry in reversed(entries):
            slot = (self.first - 1) % self.capacity
            self.first -= 1
            self._numbers[slot] = self._order[slot] = entry.row
            self._utc[slot], self._ids[slot] = entry.utc, entry.command_id
            self._run[slot] = nan if entry.run_ms is None else entry.run_ms
            self._ack[slot] = nan if entry.ack_ms is None else entry.ack_ms
            self._texts[slot] = self._share([_texts_of(entry)])[0]
        newest, place = entries[-1].row if entries else -1, self.first + len(entries)
        while place < self.end and self._order[place % self.capacity] < newest:
            self._remember_late(self._numbers[place % self.capacity], place)
            self._order[place % self.capacity] = newest
            place += 1
        return range(self.first, self.first + len(entries))

    def _stretch(self) -> None:
        """All the columns to their full length, so that there is a place before the first one, too."""
        missing = self.capacity - len(self._ids)
        for column in (self._numbers, self._order, self._utc, self._run, self._ack):
            column.frombytes(bytes(missing * column.itemsize))
        self._ids += [""] * missing
        self._texts += [_NOTHING] * missing

    def find(self, number: int) -> int | None:
        """The position of that number, or None."""
        if self.end == self.first:
            return None
        last = self._order[(self.end - 1) % self.capacity]
        if number > last:
            return None
        late = self._late.get(number)
        if late is not None:
            return late if late >= self.first else None
        guess = self.end - 1 - (last - number)
        if guess >= self.first and self._numbers[guess % self.capacity] == number:
            return guess
        order, capacity = self._order, self.capacity
        position = self.first + bisect_left(range(self.first, self.end), number, key=lambda place: order[place % capacity])
        return position if position < self.end and self._numbers[position % capacity] == number else None

    def entry(self, number: int) -> CommandEntry | None:
        """That command as it was told last; None where it is not kept any more."""
        position = self.find(number)
        if position is None:
            return None
        row = self.row(position)
        return CommandEntry(
            number, row.utc, row.command_id, row.command_type, row.via, row.status, row.thread_id, row.run_ms, row.ack_ms, row.error,
            replay_of=row.replay_of, effect=row.effect, delivery=row.delivery,
        )  # fmt: skip

    def numbers(self, positions: Iterable[int]) -> list[int]:
        """The numbers of the commands at these positions, which are kept."""
        return [self._numbers[position % self.capacity] for position in positions]

    def _append(self, entries: Sequence[CommandEntry]) -> None:
        """New ones, column by column, no more than fit before the columns' end: sorted and all behind the newest, or a single late one."""
        columns: Any = zip(*entries, strict=True)
        numbers, utcs, ids, kinds, vias, statuses, threads, runs, acks, errors, _, originals, effects, deliveries = columns
        slot = self.end % self.capacity
        here = slice(slot, slot + len(entries))
        newest = self.newest_number
        self._numbers[here] = array("q", numbers)
        self._order[here] = array("q", numbers if numbers[0] > newest else [newest] * len(numbers))
        self._utc[here] = array("d", utcs)
        self._run[here] = array("f", [nan if run is None else run for run in runs])
        self._ack[here] = array("f", [nan if ack is None else ack for ack in acks])
        self._ids[here] = ids
        self._texts[here] = self._share(zip(kinds, vias, statuses, effects, threads, errors, originals, deliveries, strict=True))
        self.end += len(entries)
        self.first = max(self.first, self.end - self.capacity)

    def _replace(self, slot: int, entry: CommandEntry) -> None:
        """How long it took, and how far its message has come, stay known: a copy of its ack, read again from the journal, does not bring
        that.
        """
        self._utc[slot] = entry.utc
        if entry.run_ms is not None:
            self._run[slot] = entry.run_ms
        if entry.ack_ms is not None:
            self._ack[slot] = entry.ack_ms
        self._ids[slot] = entry.command_id
        self._texts[slot] = self._share([_texts_of(entry._replace(delivery=entry.delivery or self._texts[slot][-1]))])[0]

    def _share(self, texts: Iterable[Shared]) -> list[Shared]:
        """The same tuples, each kept once."""
        shared = self._shared
        if len(shared) > 1_000:
            shared.clear()
        return [shared.setdefault(one, one) for one in texts]

    def _remember_late(self, number: int, position: int) -> None:
        if len(self._late) > 1_000:
            self._late = {late: place for late, place in self._late.items() if place >= self.first}
        self._late[number] = position

    def row(self, position: int) -> Row:
        """The command at a position between `first` and `end`."""
        if not self.first <= position < self.end:
            raise IndexError(position)
        slot = position % self.capacity
        kind, via, status, effect, thread, error, replay_of, delivery = self._texts[slot]
        run, ack = self._run[slot], self._ack[slot]
        return Row(
            self._utc[slot], self._ids[slot], kind, via, status, None if isnan(run) else run, None if isnan(ack) else ack,
            thread, error, replay_of, effect, delivery,
        )  # fmt: skip

    def passing(self, wanted: Filter, positions: Sequence[int] | None = None) -> list[int]:
        """Those of the positions, by default all, that pass. Raises `FilterError` where the filter takes too long."""
        if positions is None:
            positions = range(self.first, self.end)
        capacity = self.capacity
        slots = [position % capacity for position in positions]
        shared = [self._texts[slot] for slot in slots]
        by = time.perf_counter() + SEARCH_WITHIN
        rest_of: dict[int, Rest | None] = {}
        for texts in {id(texts): texts for texts in shared}.values():
            rest_of[id(texts)] = wanted.rest(texts[:7])
            _in_time(by)
        rests = [rest_of[id(texts)] for texts in shared]
        if not any(rests):
            return [position for position, rest in zip(positions, rests, strict=True) if rest is not None]
        found: list[int] = []
        ids = self._ids
        for count, (position, slot, rest) in enumerate(zip(positions, slots, rests, strict=True)):
            if rest is None:
                continue
            if not count % 64:
                _in_time(by)
            if rest:
                ms = self._ack[slot]
                if ms != ms:  # noqa: PLR0124  (nan: no ack yet)
                    ms = self._run[slot]
                own = Own(ids[slot][:SEARCHED].lower(), ms, self._utc[slot], self._numbers[slot])
                passes = True
                for judge, negated in rest:
                    if judge(own) is negated:
                        passes = False
                        break
                if not passes:
                    continue
            found.append(position)
        return found


def expanded(news: Iterable[FeedEntry], ring: Ring) -> list[CommandEntry]:
    """Every command that changed, as it is now; what is told of many at once for each of them that is still kept."""
    found: list[CommandEntry] = []
    latest: dict[int, CommandEntry] = {}
    for entry in news:
        if isinstance(entry, CommandEntry):
            before = latest.get(entry.row)
            latest[entry.row] = entry if before is None else entry._replace(delivery=entry.delivery or before.delivery)
            found.append(latest[entry.row])
        elif isinstance(entry, DeliveryEntry):
            shown = latest.get(entry.row) or ring.entry(entry.row)
            if shown is not None:
                latest[entry.row] = shown._replace(delivery=entry.delivery)
                found.append(latest[entry.row])
        elif isinstance(entry, ProvenEntry):
            kept = (latest.get(row) or ring.entry(row) for row in entry.rows)
            found += [proven(one) for one in kept if one is not None]
    return found


def _texts_of(entry: CommandEntry) -> Shared:
    return entry.command_type, entry.via, entry.status, entry.effect, entry.thread_id, entry.error, entry.replay_of, entry.delivery


def _in_time(by: float) -> None:
    if time.perf_counter() > by:
        raise FilterError("this pattern takes too long")


class FilteredView:
    """The positions of a ring that a filter lets pass, in order; without a filter all of them. Ranks count from the oldest kept."""

    def __init__(self, ring: Ring, wanted: Filter | None = None) -> None:
        self._ring = ring
        self.filter = wanted or None
        self._found: list[int] = [] if self.filter is None else ring.passing(self.filter)
        self._head = 0

    def changed(self, positions: Iterable[int]) -> None:
        """These rows are new or different."""
        if self.filter is None:
            return
        places = sorted(positions)
        passed = self._ring.passing(self.filter, places)
        found, passing = self._found, set(passed)
        if places and places[-1] < (found[self._head] if self.count else self._ring.end):
            found[self._head : self._head] = passed
            return
        for position in places:
            if position in passing and (not found or position > found[-1]):
                found.append(position)
                continue
            at = bisect_left(found, position)
            here = at < len(found) and found[at] == position
            if position in passing and not here:
                found.insert(at, position)
            elif here and position not in passing:
                del found[at]
        self._head = bisect_left(found, self._ring.first)
        if self._head > 4_096:
            del found[: self._head]
            self._head = 0

    @property
    def first(self) -> int:
        return self._ring.first

    @property
    def end(self) -> int:
        return self._ring.end

    @property
    def count(self) -> int:
        return self._ring.end - self._ring.first if self.filter is None else len(self._found) - self._head

    def rank(self, position: int) -> int:
        """How many are before this position."""
        if self.filter is None:
            return min(max(position, self._ring.first), self._ring.end) - self._ring.first
        return max(0, bisect_left(self._found, position) - self._head)

    @property
    def last(self) -> int:
        """The position that stands for the end, whatever comes before it."""
        return self._ring.end - 1

    def upto(self, position: int) -> int:
        """How many are up to this position, it included."""
        return self.rank(position + 1)

    def since(self, position: int) -> int:
        """How many have come at or after this position."""
        return self.count - self.rank(position)

    def at(self, rank: int) -> int:
        """The position of that rank, between 0 and `count`."""
        return self._ring.first + rank if self.filter is None else self._found[self._head + rank]

    def has(self, position: int) -> bool:
        rank = self.rank(position)
        return rank < self.count and self.at(rank) == position
