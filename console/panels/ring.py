"""The last commands, column by column: half the memory of rows, and nothing for the garbage collector to walk."""

from array import array
from bisect import bisect_left
from math import isnan, nan
from typing import NamedTuple

from agent_core.feed import CommandEntry

Texts = tuple[str, str, str, str, str | None, str | None, str | None]


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


class Ring:
    """The last `capacity` commands in the order of their arrival.

    A position never changes its meaning: `first` is the oldest kept, `end` is one past the newest.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self.capacity = capacity
        self.first = 0
        self.end = 0
        self._numbers = array("q")
        self._order = array("q")
        """For each position the highest number so far: sorted, so a number is found by bisection."""
        self._late: dict[int, int] = {}
        """Where the numbers are that came after a higher one."""
        self._utc = array("d")
        self._run = array("f")
        self._ack = array("f")
        self._ids: list[str] = []
        self._texts: list[Texts] = []
        self._shared: dict[Texts, Texts] = {}

    def put(self, entry: CommandEntry) -> int:
        """Keep the entry, in the place of the one with the same number if there is one; its position."""
        position = self.find(entry.row)
        if position is None:
            return self._add(entry)
        self._set(position % self.capacity, entry)
        return position

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

    def _add(self, entry: CommandEntry) -> int:
        position = self.end
        slot = position % self.capacity
        highest = self._order[(position - 1) % self.capacity] if position > self.first else -1
        if entry.row < highest:
            self._remember_late(entry.row, position)
        if slot == len(self._ids):
            self._numbers.append(0)
            self._order.append(0)
            self._utc.append(0.0)
            self._run.append(nan)
            self._ack.append(nan)
            self._ids.append("")
            self._texts.append(("", "", "", "", None, None, None))
        self._numbers[slot] = entry.row
        self._order[slot] = max(entry.row, highest)
        self._set(slot, entry)
        self.end = position + 1
        if self.end - self.first > self.capacity:
            self.first += 1
        return position

    def _set(self, slot: int, entry: CommandEntry) -> None:
        self._utc[slot] = entry.utc
        self._run[slot] = nan if entry.run_ms is None else entry.run_ms
        self._ack[slot] = nan if entry.ack_ms is None else entry.ack_ms
        self._ids[slot] = entry.command_id
        texts = (entry.command_type, entry.via, entry.status, entry.effect, entry.thread_id, entry.error, entry.replay_of)
        if len(self._shared) > 1_000:
            self._shared.clear()
        self._texts[slot] = self._shared.setdefault(texts, texts)

    def _remember_late(self, number: int, position: int) -> None:
        if len(self._late) > 1_000:
            self._late = {late: place for late, place in self._late.items() if place >= self.first}
        self._late[number] = position

    def row(self, position: int) -> Row:
        """The command at a position between `first` and `end`."""
        if not self.first <= position < self.end:
            raise IndexError(position)
        slot = position % self.capacity
        kind, via, status, effect, thread, error, replay_of = self._texts[slot]
        run, ack = self._run[slot], self._ack[slot]
        return Row(
            self._utc[slot], self._ids[slot], kind, via, status, None if isnan(run) else run, None if isnan(ack) else ack,
            thread, error, replay_of, effect,
        )  # fmt: skip
