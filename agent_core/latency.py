"""How long things take: one histogram of the last two minutes, which every reader sees, and a coarse one since the start for programs.

A bucket is a fiftieth of a decade, so its middle is at most 2.4 % off, and 1, 2, 5, 10 … lie on an edge (within 0.3 %). A slot of two
seconds counts what was measured in it; the present one and the sixty before it are the window. So a million samples cost what a hundred do.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise, zip_longest
from math import ceil, log10
from typing import Self

from msgspec import Struct

PER_DECADE = 50
LOWEST = -2 * PER_DECADE
"""The bucket of whatever took at most 0.01 ms, which is shown as 0."""
FLOOR_MS = 10.0 ** (LOWEST / PER_DECADE)
SLOT_SECONDS = 2.0
PAST_SLOTS = 60
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
"""Of the histogram since the start: each on an edge."""
LAST_BUCKETS = tuple(round(log10(bound) * PER_DECADE) for bound in BOUNDS_MS)


class Histogram(Struct, frozen=True, gc=False):
    """Milliseconds of the last two minutes as (bucket, count), ascending."""

    counts: tuple[tuple[int, int], ...] = ()
    slowest: float = 0.0
    since_start: tuple[int, ...] = ()
    """How many since the start took no longer than each of BOUNDS_MS and longer than the one before it, and at last those beyond."""
    sum_us: int = 0
    """Microseconds of all of them, each to the middle of its bucket."""

    def __add__(self, other: Self) -> "Histogram":
        counts = Counter(dict(self.counts)) + Counter(dict(other.counts))
        since_start = tuple(map(sum, zip_longest(self.since_start, other.since_start, fillvalue=0)))
        return Histogram(tuple(sorted(counts.items())), max(self.slowest, other.slowest), since_start, self.sum_us + other.sum_us)

    @property
    def total(self) -> int:
        """How many since the start."""
        return sum(self.since_start)

    @property
    def count(self) -> int:
        return sum(count for _, count in self.counts)

    def percentile(self, share: float) -> float | None:
        """Milliseconds that this share took at most; None while there is none."""
        rank, seen = share * self.count, 0
        for bucket, count in self.counts:
            seen += count
            if seen > rank or seen == self.count:
                return min(self.slowest, _middle(bucket))
        return None

    def within(self, milliseconds: float) -> int:
        """How many took no longer, to the nearest edge of a bucket."""
        last = round(log10(milliseconds) * PER_DECADE)
        return sum(count for bucket, count in self.counts if bucket <= last)


def _middle(bucket: int) -> float:
    return 0.0 if bucket == LOWEST else 10.0 ** ((bucket - 0.5) / PER_DECADE)


@dataclass(slots=True)
class _Slot:
    number: int
    counts: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    slowest: float = 0.0


class Rolling:
    """Samples as they come; `at` is monotonic and never goes back."""

    def __init__(self) -> None:
        self._slots: deque[_Slot] = deque()
        self._past: Counter[int] = Counter()
        self._slot = _Slot(0)
        self._ends_at = 0.0
        self._before = Histogram()
        """Since the start, but for the present slot."""

    def add(self, at: float, milliseconds: float, times: int = 1) -> None:
        if at >= self._ends_at:
            self._begin(at)
        slot = self._slot
        slot.counts[ceil(log10(milliseconds) * PER_DECADE) if milliseconds > FLOOR_MS else LOWEST] += times
        if milliseconds > slot.slowest:  # noqa: PLR1730  (max() would cost half as much again as all the rest)
            slot.slowest = milliseconds

    def view(self, at: float) -> Histogram:
        """The two minutes before `at`."""
        if at >= self._ends_at:
            self._begin(at)
        counts = self._past + Counter(self._slot.counts)
        slowest = max(slot.slowest for slot in self._slots)
        ever = self._ever()
        return Histogram(tuple(sorted(counts.items())), slowest, ever.since_start, ever.sum_us)

    def slowest(self) -> Iterator[tuple[float, float]]:
        """When each slot that has a sample began, and its slowest in milliseconds."""
        return ((slot.number * SLOT_SECONDS, slot.slowest) for slot in self._slots if slot.counts)

    def _ever(self) -> Histogram:
        """Only what is since the start."""
        counts = self._slot.counts
        if not counts:
            return self._before
        found = [0] * (len(BOUNDS_MS) + 1)
        for bucket, count in counts.items():
            found[bisect_left(LAST_BUCKETS, bucket)] += count
        sum_us = sum(round(_middle(bucket) * 1_000) * count for bucket, count in counts.items())
        return self._before + Histogram(since_start=tuple(found), sum_us=sum_us)

    def _begin(self, at: float) -> None:
        """A new slot; what the window has left behind is forgotten."""
        self._before = self._ever()
        self._slot = _Slot(int(at // SLOT_SECONDS))
        self._ends_at = (self._slot.number + 1) * SLOT_SECONDS
        while self._slots and self._slots[0].number < self._slot.number - PAST_SLOTS:
            self._slots.popleft()
        self._past.clear()
        for slot in self._slots:
            self._past.update(slot.counts)
        self._slots.append(self._slot)


class Latencies:
    """What the engine measures: acks from a command's arrival by socket or polling, runs of handlers, an ack's way to its proof, pings."""

    def __init__(self) -> None:
        self.socket, self.polling, self.run, self.proof, self.ping = (Rolling() for _ in range(5))
        self._pings: deque[float] = deque(maxlen=16)

    def pinged(self, at: float, milliseconds: float) -> None:
        self.ping.add(at, milliseconds)
        self._pings.append(milliseconds)

    @property
    def last_ping(self) -> float | None:
        return self._pings[-1] if self._pings else None

    @property
    def jitter(self) -> float | None:
        """Mean difference between neighbours among the last 16 pings, in milliseconds."""
        steps = [abs(later - sooner) for sooner, later in pairwise(self._pings)]
        return sum(steps) / len(steps) if steps else None

    def slowest_acks(self) -> tuple[tuple[float, float], ...]:
        """(at, milliseconds) of the slowest ack in each slot that has any, oldest first."""
        slowest: dict[float, float] = {}
        for at, milliseconds in chain(self.socket.slowest(), self.polling.slowest()):
            slowest[at] = max(milliseconds, slowest.get(at, 0.0))
        return tuple(sorted(slowest.items()))
