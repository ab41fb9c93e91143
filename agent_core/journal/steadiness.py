"""Since when the wall clock goes on without a jump: no longer than that can anything be known to be old (PROMISES F64).

A clock that starts in 1970 and is set right makes what came a minute ago look half a century old; it would be forgotten, and take effect
again. Time in which nobody looked at the clock is taken for a jump, too, where it is longer than `MAX_GAP`: nothing tells the two apart.
"""

import sqlite3

from agent_core.config.models import LedgerConfig
from agent_core.journal.retention import Ages

DAY = 86_400.0
MAX_GAP = DAY
SEEN, STEADY = "clock_seen_utc", "clock_steady_utc"
NOTED_EVERY = 3_600.0
NOTE = "INSERT OR REPLACE INTO facts (key, value) VALUES (?, ?), (?, ?)"
REVIVE = "UPDATE tombstones SET until_utc = max(until_utc, ?)"


class Steadiness:
    """Kept in the file across restarts. `look` is to be called every few seconds."""

    def __init__(self, db: sqlite3.Connection, limits: LedgerConfig, utc: float) -> None:
        """Raises sqlite3.Error."""
        facts = dict(db.execute("SELECT key, value FROM facts WHERE key IN (?, ?)", (SEEN, STEADY)).fetchall())
        self._max_gap = min(MAX_GAP, limits.retention_days * DAY / 10)
        self._tombstone_seconds = limits.tombstone_hours * 3_600
        self._seen_utc = float(facts.get(SEEN, utc))
        self._steady_utc = float(facts.get(STEADY, utc))
        self._noted_utc = float("-inf")
        self.look(db, utc)

    def look(self, db: sqlite3.Connection, utc: float) -> Ages:
        """Take note of the time. After a jump ahead every tombstone lives for its whole time again. Raises sqlite3.Error."""
        ahead = utc > self._seen_utc + self._max_gap
        steady_utc = utc if ahead else min(self._steady_utc, utc)
        if ahead:
            db.execute(REVIVE, (utc + self._tombstone_seconds,))
        if ahead or abs(utc - self._noted_utc) > NOTED_EVERY:
            db.execute(NOTE, (SEEN, utc, STEADY, steady_utc))
            self._noted_utc = utc
        self._seen_utc, self._steady_utc = utc, steady_utc
        return Ages(utc, steady_utc)
