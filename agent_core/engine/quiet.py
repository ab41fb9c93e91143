"""Quiet hours: while a zone's clock on the wall shows a time from `start` to before `end`, past midnight where `end` is the earlier one.

When that clock is put forward or back it shows what it shows: an hour that comes twice is quiet twice, one that is left out never. So
the next change is looked for minute by minute, which takes a millisecond, twice a day.
"""

from datetime import datetime, time
from zoneinfo import ZoneInfo

from agent_core.config.models import QuietHours

MINUTE = 60.0
LONGEST = 2 * 24 * 60
"""Minutes to look ahead: no time of day stays away for longer."""


class Quiet:
    """Asked with the wall clock's time; the answer holds until that clock says otherwise, however it was set."""

    def __init__(self, hours: QuietHours) -> None:
        self._zone = ZoneInfo(hours.zone)
        self._start, self._end = (time.fromisoformat(text) for text in (hours.start or "00:00", hours.end or "00:00"))
        self._from = self._until = 0.0
        self._quiet = False

    def until(self, utc: float) -> float | None:
        """When it ends; None where it is not quiet at that time."""
        if not self._from <= utc < self._until:
            self._look(utc)
        return self._until if self._quiet else None

    def _look(self, utc: float) -> None:
        self._from = self._until = utc - utc % MINUTE
        self._quiet = self._is_quiet(self._from)
        for _ in range(LONGEST):
            self._until += MINUTE
            if self._is_quiet(self._until) != self._quiet:
                return

    def _is_quiet(self, utc: float) -> bool:
        shown = datetime.fromtimestamp(utc, self._zone).time()
        if self._start <= self._end:
            return self._start <= shown < self._end
        return shown >= self._start or shown < self._end
