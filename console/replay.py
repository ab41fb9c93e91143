"""Replays under way: a few at once, in order, each followed until it has ended."""

from collections import deque
from collections.abc import Iterable

from agent_core.feed import CommandEntry

AT_ONCE = 4
SILENT_AFTER = 30.0
OVER = frozenset({"acked", "failed", "cancelled", "interrupted"})


class Batch:
    """What the operator asked to run again. `next()` says which are to be posted, `saw` takes what the feed says of them."""

    def __init__(self, after_row: int, now: float) -> None:
        """Rows up to `after_row` are none of ours."""
        self._waiting: deque[tuple[str, str]] = deque()
        self._under_way: list[str] = []
        self._ended: set[int] = set()
        self._after_row = after_row
        self._moved_at = now
        self.total = 0
        self.last: CommandEntry | None = None
        self.failed = 0

    def add(self, wanted: Iterable[tuple[str, str]]) -> None:
        """More to run again: (command id, id of the original, which differs where a replay runs again)."""
        before = len(self._waiting)
        self._waiting.extend(wanted)
        self.total += len(self._waiting) - before

    @property
    def done(self) -> int:
        return len(self._ended)

    @property
    def over(self) -> bool:
        return not self._waiting and not self._under_way

    def next(self) -> list[str]:
        """The commands whose replay is to be asked for now."""
        found: list[str] = []
        while self._waiting and len(self._under_way) < AT_ONCE:
            command_id, original = self._waiting.popleft()
            found.append(command_id)
            self._under_way.append(original)
        return found

    def saw(self, entry: CommandEntry, now: float) -> None:
        """A row has changed; it may be one of ours."""
        original = entry.replay_of
        if original is None or entry.row <= self._after_row or entry.row in self._ended or entry.status not in OVER:
            return
        if original in self._under_way:
            self._under_way.remove(original)
            self._ended.add(entry.row)
            self._moved_at, self.last = now, entry
            self.failed += entry.status != "acked"

    def cancel(self) -> int:
        """Ask for no more; how many were not asked for."""
        left = len(self._waiting)
        self._waiting.clear()
        return left

    def silent(self, now: float) -> bool:
        """Nothing has come back for so long that nothing will."""
        return now - self._moved_at > SILENT_AFTER

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"↻ replay {self.done}/{self.total}{failed}"
