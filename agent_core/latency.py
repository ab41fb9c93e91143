"""Percentiles over the last two minutes: a bounded window of samples, sorted when somebody looks."""

from collections import deque
from itertools import pairwise

from agent_core.snapshot import Percentiles

WINDOW_SECONDS = 120.0


class Window:
    """(utc, milliseconds) samples, at most `capacity`."""

    def __init__(self, capacity: int = 2_048) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=capacity)

    def add(self, utc: float, milliseconds: float) -> None:
        self._samples.append((utc, milliseconds))

    def last(self, count: int) -> tuple[tuple[float, float], ...]:
        return tuple(self._samples)[-count:]

    def percentiles(self, utc: float) -> Percentiles:
        values = sorted(ms for at, ms in self._samples if at >= utc - WINDOW_SECONDS)
        if not values:
            return Percentiles()
        p50, p95, p99 = (values[min(len(values) - 1, int(len(values) * share))] for share in (0.50, 0.95, 0.99))
        return Percentiles(len(values), p50, p95, p99)

    def jitter_ms(self) -> float | None:
        """Mean difference between neighbours among the last 16."""
        recent = [ms for _, ms in self.last(16)]
        if len(recent) < 2:
            return None
        return sum(abs(b - a) for a, b in pairwise(recent)) / (len(recent) - 1)
