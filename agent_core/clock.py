"""Time as a value: the engine is told when it is, and never asks."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from msgspec import Struct

INFINITY = float("inf")
"""An instant that never comes."""


class Moment(Struct, frozen=True, gc=False):
    """One instant on both clocks, in seconds: `mono` never jumps, `utc` (Unix time) is what people and frames use."""

    mono: float
    utc: float


class Clock(Protocol):
    """Where the agent reads the time."""

    def now(self) -> Moment: ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Moment:
        return Moment(time.monotonic(), time.time())


class ManualClock:
    """A clock that moves when told to: for tests and for replaying a recording."""

    def __init__(self, mono: float = 1_000.0, utc: float = 1_793_910_600.0) -> None:
        self.mono = mono
        self.utc = utc

    def now(self) -> Moment:
        return Moment(self.mono, self.utc)

    def advance(self, seconds: float) -> Moment:
        self.mono += seconds
        self.utc += seconds
        return self.now()


@lru_cache(maxsize=8)
def iso(utc: float) -> str:
    """Unix seconds as ISO 8601 UTC with milliseconds and `Z` (PROTOCOL §2)."""
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
