"""Messages due later: a heap by wall-clock time, of which the nearest are at hand (PROTOCOL §2, PROMISES P9, F71).

Due times are wall time and nothing else, so neither a sleep, nor a step of the clock, nor daylight saving moves them: an entry is due when
the wall clock says so, never earlier.

Of a message that is due in years only its number and its time are kept; the journal has the rest. The `near` that are due next are to be
at hand in whole, so that they go out on time: when half of them are gone the next ones are `wanted`, and what came too far behind them is
`surplus`. So memory holds 2 × `near` of them at most, however many there are.
"""

import heapq
from collections.abc import Sequence

from agent_core.clock import INFINITY


class Schedule:
    """Numbers (`seq`) with a due time."""

    def __init__(self, near: int = 100) -> None:
        self._near = near
        self._near_utc = INFINITY
        """Up to this due time messages are near."""
        self._heap: list[tuple[float, int]] = []
        self._due: dict[int, float] = {}
        self.count = self._due.__len__
        self._at_hand: set[int] = set()

    def __contains__(self, seq: int) -> bool:
        return seq in self._due

    @property
    def footprint(self) -> int:
        """Items held in all, those no longer due included."""
        return len(self._heap) + len(self._due) + len(self._at_hand)

    def add(self, seq: int, due_utc: float, *, at_hand: bool = True) -> None:
        """Or have it due at another time."""
        self._due[seq] = due_utc
        heapq.heappush(self._heap, (due_utc, seq))
        if at_hand:
            self._at_hand.add(seq)

    def remove(self, seq: int) -> None:
        self._due.pop(seq, None)
        self._at_hand.discard(seq)
        self._tidy()

    def _tidy(self) -> None:
        """Give back what is kept of entries no longer due, now and then; of few none is far."""
        if len(self._due) <= self._near:
            self._near_utc = INFINITY
        if len(self._heap) > 4 * len(self._due) + 64:
            self._heap = [(due, number) for number, due in self._due.items()]
            heapq.heapify(self._heap)

    @property
    def next_utc(self) -> float:
        """When the earliest entry is due; infinity for never."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else INFINITY

    def take_due(self, utc: float) -> list[tuple[int, float]]:
        """Remove and return every (seq, due_utc) that is due, earliest first."""
        taken = []
        while (due := self.next_utc) <= utc:
            _, seq = heapq.heappop(self._heap)
            del self._due[seq]
            self._at_hand.discard(seq)
            taken.append((seq, due))
        if taken:
            self._tidy()
        return taken

    def soonest(self, count: int) -> list[tuple[int, float]]:
        """The next ones, found from the heap's top down: most of it is not looked at."""
        found: list[tuple[int, float]] = []
        open_places = [(self._heap[0], 0)] if self._heap else []
        while open_places and len(found) < count:
            (due, seq), place = heapq.heappop(open_places)
            if self._due.get(seq) == due and (seq, due) not in found[-1:]:
                found.append((seq, due))
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(self._heap):
                    heapq.heappush(open_places, (self._heap[below], below))
        return found

    # --- near and far ----------------------------------------------------------------------------------------------

    def is_far(self, seq: int) -> bool:
        return self._due.get(seq, float("-inf")) > self._near_utc

    def came(self, seq: int) -> None:
        """It is at hand in whole."""
        if seq in self._due:
            self._at_hand.add(seq)

    def left(self, seq: int) -> None:
        """Only the journal has more of it than its time."""
        self._at_hand.discard(seq)

    def wanted(self) -> Sequence[int]:
        """Which are near and not at hand; asked again only when half of the near ones are gone."""
        if len(self._due) <= self._near:
            self._near_utc = INFINITY
            return [seq for seq in self._due if seq not in self._at_hand] if len(self._at_hand) < len(self._due) else ()
        if self._near_utc < INFINITY and 2 * len(self._at_hand) >= self._near:
            return ()
        return [seq for seq in self._find_near() if seq not in self._at_hand]

    def surplus(self) -> Sequence[int]:
        """Which are at hand and far, where there are many of them."""
        if len(self._at_hand) <= 2 * self._near:
            return ()
        self._find_near()
        return [seq for seq in self._at_hand if self.is_far(seq)]

    def _find_near(self) -> list[int]:
        nearest = self.soonest(self._near)
        self._near_utc = nearest[-1][1]
        return [seq for seq, _ in nearest]
