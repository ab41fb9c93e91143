"""What an agent may ask of the backend in a minute (PROTOCOL §5)."""

from dataclasses import dataclass
from math import inf

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Per agent; the default is no limit at all."""

    connects_per_minute: float = inf
    frames_per_minute: float = inf
    ping_every: float = 0
    """Least seconds between two JSON pings."""


NO_LIMITS = Limits()
PROTOCOL_LIMITS = Limits(connects_per_minute=10, frames_per_minute=100, ping_every=10)


class Window:
    """Counts what happened in the last minute, up to a limit."""

    __slots__ = ("_limit", "_times")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._times: list[float] = []

    def admit(self, at: float) -> float:
        """Count one at `at` (monotonic) and return 0, or the seconds until the next one is allowed."""
        if self._limit == inf:
            return 0
        times = self._times
        while times and times[0] <= at - MINUTE:
            del times[0]
        if len(times) >= self._limit:
            return times[0] + MINUTE - at if times else MINUTE
        times.append(at)
        return 0
