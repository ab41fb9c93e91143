"""Messages due later: a heap by wall-clock time (PROTOCOL §2, PROMISES P9).

Due times are wall time and nothing else, so neither a sleep, nor a step of the clock, nor daylight saving moves them: an entry is due when
the wall clock says so, never earlier.
"""

import heapq


class Schedule:
    """Numbers (`seq`) with a due time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._due: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    @property
    def footprint(self) -> int:
        """Items held in all, those no longer due included."""
        return len(self._heap) + len(self._due)

    def add(self, seq: int, due_utc: float) -> None:
        self._due[seq] = due_utc
        heapq.heappush(self._heap, (due_utc, seq))

    def remove(self, seq: int) -> None:
        self._due.pop(seq, None)
        self._tidy()

    def _tidy(self) -> None:
        """Give back what is kept of entries no longer due, now and then."""
        if len(self._heap) > 4 * len(self._due) + 64:
            self._heap = [(due, number) for number, due in self._due.items()]
            heapq.heapify(self._heap)

    @property
    def next_utc(self) -> float | None:
        """When the earliest entry is due."""
        while self._heap and self._heap[0][1] not in self._due:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, utc: float) -> list[tuple[int, float]]:
        """Remove and return every (seq, due_utc) that is due, earliest first."""
        taken = []
        while (due := self.next_utc) is not None and due <= utc:
            _, seq = heapq.heappop(self._heap)
            del self._due[seq]
            taken.append((seq, due))
        if taken:
            self._tidy()
        return taken

    def soonest(self, count: int) -> list[tuple[int, float]]:
        return [(seq, due) for due, seq in heapq.nsmallest(count, ((due, seq) for seq, due in self._due.items()))]
