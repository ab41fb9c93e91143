"""The highest number that the ledger has given, noted beside it: so an older ledger that is put in its place is noticed.

The note is a minute old at most, or of the agent's clean end; one that lags behind misses a restored ledger, and never cries wolf.
"""

import time
from contextlib import suppress
from pathlib import Path

from agent_core.files import write_whole

FILE_NAME = "ledger.mark"
NOTED_EVERY = 60.0


class Mark:
    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._noted: int | None = None
        self._noted_at = float("-inf")

    def ahead_of(self, top: int) -> int:
        """How many commands the ledger, whose highest number is `top`, does not know, and an earlier one did."""
        with suppress(OSError, ValueError):
            return max(0, int(self._path.read_text(encoding="ascii")[:20]) - top)
        return 0

    @property
    def is_due(self) -> bool:
        """From time to time, and of the first command at once."""
        return not self._noted or time.monotonic() - self._noted_at >= NOTED_EVERY

    def note(self, top: int) -> None:
        """Where it cannot be written, another time."""
        self._noted_at = time.monotonic()
        if top != self._noted:
            with suppress(OSError):
                write_whole(self._path, f"{top}\n".encode())
                self._noted = top
