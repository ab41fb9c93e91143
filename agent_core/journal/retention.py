"""What the ledger keeps and for how long, in three tiers, so that its file stays small (PROMISES P4).

    whole ──► compacted ──► gone
      │ the file is full   │ too old, or too many

A whole row has everything. A compacted one has what a late duplicate needs: its id and its ack, a sixth of the size. Of what is gone only
the horizon stays: a command issued before it is refused. A row whose ack is not proven is never compacted, nor is what runs or waits.
"""

import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic_core import to_json

from agent_core.config.models import LedgerConfig
from agent_core.frames import Command
from agent_core.journal.rows import UNENDED, UNPROVEN, BadRow
from agent_core.records import Remembered, State, Unresolved, Via

STEP = 1_000
"""Rows looked at in one step: a few milliseconds."""
FILE_LIMIT = 48 * 2**20
MAX_COMPACTED = 300_000
ROW_BYTES = 250
"""What a whole row takes beside its payload and its ack."""
VACUUM_PAGES = 1_024
SKEW = 300.0
"""Seconds by which a backend's clock is believed to be ahead of ours."""

UNSETTLED = f"{UNPROVEN} OR {UNENDED}"
OLDEST_COMPACTED = "SELECT seq, issued_utc, received_utc FROM compacted ORDER BY seq LIMIT ?"
OLDEST_WHOLE = f"SELECT seq, issued_utc, received_utc FROM commands WHERE NOT ({UNSETTLED}) ORDER BY seq LIMIT ?"
COMPACTING = f"""SELECT seq, command_id, issued_utc, received_utc, via, state, ack, length(payload) * 2 + length(ack) FROM commands
 WHERE NOT ({UNSETTLED}) ORDER BY seq LIMIT ?"""
LOOK = """SELECT coalesce((SELECT received_utc FROM compacted ORDER BY seq LIMIT 1), 9e99),
 coalesce((SELECT received_utc FROM commands ORDER BY seq LIMIT 1), 9e99), coalesce((SELECT min(until_utc) FROM tombstones), 9e99),
 coalesce((SELECT received_utc FROM inbound ORDER BY number LIMIT 1), 9e99),
 page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"""
FORGET = "INSERT INTO facts VALUES ('horizon_utc', ?) ON CONFLICT DO UPDATE SET value = max(value + 0.0, excluded.value + 0.0)"
DELETE_WHOLE = "DELETE FROM commands WHERE seq IN (SELECT value FROM json_each(?)) RETURNING state, resolution"
RECALL = "SELECT seq, command_id, issued_utc, received_utc, via, state, ack FROM compacted WHERE command_id = ?"
ACK_ZLIB_DICT = (
    b'{"command_id":"cmd_","status":"failed","success":false,"error":"missed: due interrupted: outcome unknown","timestamp":"2026-'
    b'","completed_at":null,"result":{}}{"command_id":"cmd_0000","status":"completed","success":true,"error":null,'
    b'"timestamp":"2026-11-05T20:30:00.000Z","completed_at":"2026-11-05T20:30:00.000Z","result":{}}'
)
"""What most acks are made of; part of the file's format, so it never changes."""


class Trimmed(NamedTuple):
    """One step: whether another one has more to do, up to when commands are forgotten once this one's rows are gone, and how many went.

    `lapsed` are those that needed the operator and are no longer kept whole.
    """

    more: bool
    horizon_utc: float
    gone: int
    lapsed: Unresolved | None


class Ages(NamedTuple):
    """The time by which ages are judged, and since when it has gone on without a jump: before that nothing is known to be old."""

    utc: float
    steady_utc: float

    def before(self, seconds: float) -> float:
        """What is older than `seconds` was before this."""
        then = self.utc - seconds
        return then if self.steady_utc <= then else float("-inf")

    def over(self, hours: float) -> float:
        """What lives for so long at most, and was to end before this, has ended."""
        return self.utc if self.steady_utc <= self.utc - hours * 3_600 else float("-inf")


def due(db: sqlite3.Connection, limits: LedgerConfig, ages: Ages, rows: int) -> bool:
    """Whether there may be something to trim, by one look: each statement is a wait for a busy agent's interpreter.

    `rows` is how many there are, compacted and whole: to count them takes milliseconds.
    """
    compacted_utc, whole_utc, tombstone_utc, inbound_utc, pages, free, page_size = db.execute(LOOK).fetchone()
    return (
        rows > min(limits.retention_count, MAX_COMPACTED)
        or min(compacted_utc, whole_utc, inbound_utc) < ages.before(limits.retention_days * 86_400)
        or tombstone_utc < ages.over(limits.tombstone_hours) or (pages - free) * page_size > FILE_LIMIT or free > VACUUM_PAGES // 4
    )  # fmt: skip


def trim(db: sqlite3.Connection, limits: LedgerConfig, ages: Ages, rows: int, announced_utc: float = float("inf")) -> Trimmed:
    """One step: name the oldest rows beyond the limits, delete those issued up to `announced_utc`, compact where the file is full."""
    db.execute("BEGIN IMMEDIATE")
    doomed = _doomed(db, limits, ages, rows)
    horizon = max((issued for _, issued in doomed), default=0.0)
    gone = [(seq,) for seq, issued in doomed if issued <= announced_utc]
    for table in ("compacted", "outbox", "names"):
        db.executemany(f"DELETE FROM {table} WHERE seq = ?", gone)
    if horizon > 0:
        db.execute(FORGET, (horizon,))
    compacted = _compact(db)
    lapsed = _delete_whole(db, [*(seq for (seq,) in gone), *compacted])
    db.execute("DELETE FROM tombstones WHERE until_utc < ?", (ages.over(limits.tombstone_hours),))
    db.execute("DELETE FROM inbound WHERE received_utc < ?", (ages.before(limits.retention_days * 86_400),))
    db.execute("COMMIT")
    free = _pragma(db, "freelist_count")
    if free > VACUUM_PAGES // 4:
        db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
    return Trimmed(bool(doomed or compacted) or free > VACUUM_PAGES, horizon, len(gone), lapsed)


def recall_compacted(db: sqlite3.Connection, command_id: str) -> Remembered | None:
    """A compacted row as a record: its type and payload are not remembered (`command_type` is empty). Raises BadRow, sqlite3.Error."""
    row = db.execute(RECALL, (command_id,)).fetchone()
    if row is None:
        return None
    seq, _, issued, received, via, state, ack = row
    names = tuple(name for (name,) in db.execute("SELECT name FROM names WHERE seq = ?", (seq,)))
    try:
        command = Command(command_id, "", issued_utc=issued)
        return Remembered(seq, command, Via(via), State(state), received, ack=_unpacked(ack), names=names)
    except (ValueError, TypeError, zlib.error) as error:
        raise BadRow(seq, command_id, error) from None


def _doomed(db: sqlite3.Connection, limits: LedgerConfig, ages: Ages, rows: int) -> list[tuple[int, float]]:
    """Rows that may go, oldest first, with when each was issued: not believed where it is far ahead of our own clock.

    One that did not say when is issued at 0: it cannot be told by its age when it comes again, and our own clock may have been wrong.
    """
    surplus = rows - limits.retention_count
    if limits.retention_count > MAX_COMPACTED:
        surplus = max(surplus, db.execute("SELECT count(*) FROM compacted").fetchone()[0] - MAX_COMPACTED)
    too_old = ages.before(limits.retention_days * 86_400)
    doomed: list[tuple[int, float]] = []
    for table, oldest in (("compacted", OLDEST_COMPACTED), ("commands", OLDEST_WHOLE)):
        first = db.execute(f"SELECT received_utc, min(seq) FROM {table}").fetchone()[0]
        if surplus <= 0 and (first is None or first >= too_old):
            continue
        for seq, issued, received in db.execute(oldest, (STEP - len(doomed),)):
            if surplus <= 0 and received >= too_old:
                break
            surplus -= 1
            doomed.append((seq, 0.0 if issued is None else min(received + SKEW, ages.utc, issued)))
    return doomed


def _compact(db: sqlite3.Connection) -> list[int]:
    """Whole rows, oldest first, as many as the file is over its limit; the numbers of those that are kept compacted from now on."""
    excess = (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size") - FILE_LIMIT
    if excess <= 0:
        return []
    rows: list[tuple[Any, ...]] = []
    for *row, ack, length in db.execute(COMPACTING, (STEP,)):
        if excess <= 0:
            break
        excess -= ROW_BYTES + (length or 0)
        rows.append((*row, _packed(ack)))
    db.executemany(
        "INSERT OR REPLACE INTO compacted (seq, command_id, issued_utc, received_utc, via, state, ack) VALUES (?,?,?,?,?,?,?)", rows
    )
    db.executemany("DELETE FROM outbox WHERE seq = ?", [(row[0],) for row in rows])
    return [row[0] for row in rows]


def _delete_whole(db: sqlite3.Connection, seqs: Iterable[int]) -> Unresolved | None:
    """How many of them needed the operator, where any did."""
    deleted = db.execute(DELETE_WHOLE, (to_json(seqs).decode(),)).fetchall()
    lapsed = Counter(state for state, resolution in deleted if resolution is None)
    return Unresolved(lapsed[State.FAILED], lapsed[State.INTERRUPTED]) if lapsed else None


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _packed(ack: str | None) -> bytes | None:
    if ack is None:
        return None
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -12, 5, zlib.Z_DEFAULT_STRATEGY, ACK_ZLIB_DICT)
    return squeeze.compress(ack.encode()) + squeeze.flush()


def _unpacked(ack: bytes | None) -> str | None:
    return zlib.decompressobj(-12, ACK_ZLIB_DICT).decompress(ack).decode() if ack is not None else None
