"""Lines that the world can cause at will: each is told once a minute, then with the number of times that it came again.

A flood of malformed frames is so one line and one number a minute. Texts that differ each time are bounded, too: after `MAX_TEXTS` of one
reason the rest is counted together.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from agent_core.clock import INFINITY, Moment
from agent_core.feed import LogEntry
from agent_core.plain import plain

QUIET_SECONDS = 60.0
MAX_TEXTS = 20


@dataclass(slots=True)
class _Told:
    reason: str
    level: str
    quiet_until: float
    again: int = 0


class Repeats:
    """What was told within the last minute, oldest first. `reason` is a plural, one of a few; `text` may be anybody's."""

    def __init__(self, emit: Callable[[LogEntry], None]) -> None:
        self._emit = emit
        self._told: dict[str, _Told] = {}
        self._texts: Counter[str] = Counter()

    def say(self, now: Moment, level: str, reason: str, text: str) -> None:
        """Tell it now, or count it."""
        text = plain(text)
        if text not in self._told and self._texts[reason] >= MAX_TEXTS:
            text = f"More than {MAX_TEXTS} different {reason} within a minute; the rest is counted"
        if (told := self._told.get(text)) is not None:
            told.again += 1
            return
        self._emit(LogEntry(now.utc, level, text))
        self._told[text] = _Told(reason, level, now.mono + QUIET_SECONDS)
        self._texts[reason] += 1

    @property
    def wake_at(self) -> float:
        """When the first minute is over; infinity for none."""
        return next(iter(self._told.values())).quiet_until if self._told else INFINITY

    def tick(self, now: Moment) -> None:
        """Tell the numbers of the minutes that are over; what came again stays quiet for another."""
        while self._told and self.wake_at <= now.mono:
            text = next(iter(self._told))
            told = self._told.pop(text)
            if told.again:
                self._tell_number(now, text, told)
                self._told[text] = _Told(told.reason, told.level, now.mono + QUIET_SECONDS)
            else:
                self._texts[told.reason] -= 1

    def close(self, now: Moment) -> None:
        """Tell the numbers at hand: no minute more is to come."""
        for text, told in self._told.items():
            if told.again:
                self._tell_number(now, text, told)
        self._told.clear()
        self._texts.clear()

    def _tell_number(self, now: Moment, text: str, told: _Told) -> None:
        self._emit(LogEntry(now.utc, told.level, f"{text} ({told.again} more within a minute)"))

    def __len__(self) -> int:
        return len(self._told)
