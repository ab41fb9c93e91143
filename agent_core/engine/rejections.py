"""What was not taken, and when the backend is asked for it again (PROMISES F32).

A command that is rejected, for the intake is full or the disk in trouble, stays with the backend. Once there is room a sync asks for it at
once, and then each interval while a rejected id has not come again: a backend may hold back for a while what it has just sent. After
`MAX_RESYNCS` in vain it has thought better of them, and they are given up.
"""

from agent_core.clock import INFINITY, Moment

MAX_RESYNCS = 40


class Rejections:
    """The ids that are missing, at most `max_ids` of them."""

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._ids: set[str] = set()
        self.discard = self._ids.discard
        """It has come again and is taken."""
        self._fresh = False
        """Something was rejected since the last sync that was asked for."""
        self.wake_at = INFINITY
        self._resyncs = 0
        self.count = 0
        """Rejections since the start."""

    def add(self, command_id: str) -> None:
        self.count += 1
        self._fresh = True
        if len(self._ids) < self._max_ids:
            self._ids.add(command_id)

    @property
    def idle(self) -> bool:
        """Nothing was rejected that is still missed."""
        return self.wake_at == INFINITY and not self._fresh and not self._ids

    def resync_due(self, now: Moment, *, room: bool, every: float) -> bool:
        """Whether the backend is to be asked now; `every` is the interval of polling in seconds."""
        due = now.mono >= self.wake_at
        if not (self._fresh or self._ids):
            self.wake_at = INFINITY
            return False
        asked = room and (self._fresh or due)
        if asked:
            self._resyncs = 0 if self._fresh else self._resyncs + 1
            self._fresh = False
            if self._resyncs > MAX_RESYNCS:
                self._ids.clear()
        if asked or due:
            self.wake_at = now.mono + every
        return asked

    def __len__(self) -> int:
        return len(self._ids)
