"""The ledger's rows: their tables, the statements that write them, and records from rows and back (PROMISES P4)."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, groupby, islice
from typing import Any

from msgspec.structs import astuple
from pydantic_core import from_json, to_json

from agent_core.frames import Command, Priority, Target, as_json
from agent_core.plain import plain
from agent_core.records import (
    DROPPED,
    HOLD,
    INBOUND_CURSOR,
    PAUSED,
    AcksProven,
    Change,
    CommandAccepted,
    CommandChanged,
    CommandEnded,
    CommandReleased,
    CommandResolved,
    CommandStarted,
    DuplicateSeen,
    EventAdded,
    EventsSettled,
    Memory,
    MessageReceived,
    OutboxRow,
    OwedEvent,
    Receipt,
    ReceiptAdded,
    ReceiptChanged,
    Remembered,
    Resolution,
    Scheduled,
    SettingDropped,
    SettingStored,
    State,
    TombstoneAdded,
    TombstoneRemoved,
    Unresolved,
    UnsentFound,
    Via,
)

SCHEMA_1 = """
CREATE TABLE commands (
    seq INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, command_type TEXT NOT NULL, payload TEXT, priority INTEGER NOT NULL,
    issued_utc REAL, invalid TEXT, via TEXT NOT NULL, state TEXT NOT NULL, received_utc REAL NOT NULL, started_utc REAL,
    finished_utc REAL, due_utc REAL, runs INTEGER NOT NULL DEFAULT 0, duplicates INTEGER NOT NULL DEFAULT 0, duplicate_via TEXT,
    duplicate_utc REAL, error TEXT, ack TEXT, sent_utc REAL, proven_utc REAL, proven_by TEXT, replay_of TEXT, name TEXT);
CREATE INDEX commands_name ON commands (name) WHERE name IS NOT NULL;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY, command_id TEXT NOT NULL, thread_id TEXT NOT NULL, text TEXT NOT NULL, sent_utc REAL NOT NULL);
CREATE TABLE tombstones (target TEXT PRIMARY KEY, cancelled_by TEXT NOT NULL, until_utc REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
SCHEMA_2 = """
CREATE TABLE faded (
    seq INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, issued_utc REAL, received_utc REAL NOT NULL, via TEXT NOT NULL,
    state TEXT NOT NULL, ack BLOB);
"""
SCHEMA_3 = "ALTER TABLE faded RENAME TO compacted"
SCHEMA_4 = """
CREATE TABLE names (name TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (name, seq)) WITHOUT ROWID;
CREATE INDEX names_seq ON names (seq);
INSERT INTO names SELECT name, seq FROM commands WHERE name IS NOT NULL;
DROP INDEX commands_name;
ALTER TABLE commands DROP COLUMN name;
ALTER TABLE tombstones RENAME TO old_tombstones;
CREATE TABLE tombstones (
    target TEXT NOT NULL, by_id INTEGER NOT NULL, cancelled_by TEXT NOT NULL, until_utc REAL NOT NULL, PRIMARY KEY (target, by_id)
) WITHOUT ROWID;
INSERT INTO tombstones SELECT target, by_id, cancelled_by, until_utc FROM old_tombstones, (SELECT 0 AS by_id UNION ALL SELECT 1);
DROP TABLE old_tombstones;
"""
SCHEMA_5 = """
ALTER TABLE commands ADD COLUMN mark TEXT;
ALTER TABLE commands ADD COLUMN unsent INTEGER NOT NULL DEFAULT 0;
"""
SCHEMA_6 = "ALTER TABLE commands ADD COLUMN released_utc REAL;"
SCHEMA_7 = """
ALTER TABLE commands ADD COLUMN resolution TEXT;
ALTER TABLE commands ADD COLUMN resolved_utc REAL;
ALTER TABLE commands ADD COLUMN resolved_by TEXT;
"""
SCHEMA_8 = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, event_type TEXT NOT NULL, event TEXT, added_utc REAL NOT NULL, settled_utc REAL,
    settled_by TEXT);
CREATE INDEX events_owed ON events (seq) WHERE settled_utc IS NULL;
"""
SCHEMA_9 = """
ALTER TABLE commands ADD COLUMN expires_utc REAL;
ALTER TABLE commands ADD COLUMN changed_by TEXT;
"""
SCHEMA_10 = """
CREATE TABLE receipts (
    number INTEGER PRIMARY KEY, guid TEXT NOT NULL UNIQUE, command_id TEXT NOT NULL, status TEXT, sent_utc REAL NOT NULL, changed_utc REAL);
"""
SCHEMA_11 = """
CREATE TABLE inbound (
    number INTEGER PRIMARY KEY, seq INTEGER NOT NULL UNIQUE, event INTEGER NOT NULL UNIQUE, event_id TEXT NOT NULL, thread_id TEXT NOT NULL,
    sender TEXT NOT NULL, text TEXT NOT NULL, attachments INTEGER NOT NULL, sent_utc REAL NOT NULL, received_utc REAL NOT NULL);
ALTER TABLE receipts ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
UPDATE receipts SET seq = coalesce((SELECT seq FROM commands WHERE commands.command_id = receipts.command_id), 0);
CREATE INDEX receipts_seq ON receipts (seq);
"""
SCHEMA_12 = """
ALTER TABLE commands ADD COLUMN resolved_guid TEXT;
ALTER TABLE inbound ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
UPDATE inbound SET told = 1 WHERE event IN (SELECT seq FROM events WHERE settled_by <> 'dropped');
"""
MIGRATIONS: tuple[str, ...] = (
    SCHEMA_1, SCHEMA_2, SCHEMA_3, SCHEMA_4, SCHEMA_5, SCHEMA_6, SCHEMA_7, SCHEMA_8, SCHEMA_9, SCHEMA_10, SCHEMA_11,
    SCHEMA_12,
)  # fmt: skip
"""Script n brings a file from version n to n + 1."""

COLUMNS = (
    "seq, command_id, command_type, payload, priority, issued_utc, invalid, via, state, received_utc, started_utc, finished_utc, due_utc,"
    " runs, duplicates, duplicate_via, duplicate_utc, error, ack, sent_utc, proven_utc, proven_by, replay_of, mark, unsent,"
    " released_utc, resolution, resolved_utc, resolved_by, expires_utc, changed_by, resolved_guid"
)
UNENDED = "state IN ('queued', 'running', 'scheduled', 'held')"
BEGUN = "state IN ('queued', 'running', 'held')"
UNPROVEN = "proven_utc IS NULL AND ack IS NOT NULL"
UNRESOLVED = "state IN ('failed', 'interrupted') AND resolution IS NULL"
REQUIRED = "seq, command_id, command_type, payload, priority, via, state, received_utc, runs"
NULLABLE = "issued_utc, invalid, started_utc, finished_utc, due_utc, error, ack, proven_utc, replay_of, expires_utc"
INTAKE = f"""CREATE TEMP VIEW intake AS SELECT {REQUIRED}, {NULLABLE}, NULL thread_id, NULL text, NULL sent_utc, NULL names FROM commands;
CREATE TEMP TRIGGER take INSTEAD OF INSERT ON intake BEGIN
 INSERT INTO commands ({REQUIRED}, {NULLABLE})
 VALUES (NEW.{REQUIRED.replace(", ", ", NEW.")}, nullif(NEW.{NULLABLE.replace(", ", ", ''), nullif(NEW.")}, '')) ON CONFLICT DO NOTHING;
 INSERT INTO outbox SELECT NEW.seq, NEW.command_id, NEW.thread_id, NEW.text, NEW.sent_utc WHERE NEW.sent_utc <> '' AND changes();
END;
CREATE TEMP TRIGGER take_names INSTEAD OF INSERT ON intake WHEN NEW.names <> '' BEGIN
 INSERT OR IGNORE INTO names SELECT value, NEW.seq FROM json_each(NEW.names);
END"""
"""A command and its effect as one row, so that one statement, which is its own transaction, writes a whole group of them.

What is not there comes as '', for Python's sqlite3 takes its time over each None. A command that is there already is left as it is and has
no other effect.
"""
TAKE = "INSERT INTO intake VALUES {rows}"
BEGIN = "UPDATE commands SET state = 'running', started_utc = ?, mark = ?, runs = runs + 1 WHERE seq = ?"
RELEASE = "UPDATE commands SET state = ?, released_utc = ?, ack = ? WHERE seq = ?"
RESCHEDULE = "UPDATE commands SET payload = ?, due_utc = ?, changed_by = ? WHERE seq = ?"
WAIT_AGAIN = "UPDATE commands SET state = 'queued', mark = NULL, unsent = unsent + 1 WHERE seq = ?"
END = """UPDATE commands SET state = ?, finished_utc = ?, error = ?, ack = ?, sent_utc = NULL, proven_by = NULL, proven_utc = ?
 WHERE seq = ?"""
PROVE = """WITH acks (seq, sent, proven, by) AS (VALUES {rows})
 UPDATE commands SET sent_utc = acks.sent, proven_utc = acks.proven, proven_by = acks.by FROM acks WHERE commands.seq = acks.seq"""
RESOLVE = f"UPDATE commands SET resolution = ?, resolved_utc = ?, resolved_by = ?, resolved_guid = ? WHERE seq = ? AND {UNRESOLVED}"
REPEAT = "UPDATE commands SET duplicates = duplicates + 1, duplicate_via = ?, duplicate_utc = ? WHERE seq = ?"
SEND = "INSERT OR IGNORE INTO outbox SELECT seq, command_id, ?, ?, ? FROM commands WHERE seq = ? AND command_id = ?"
ADD_TOMBSTONE = "INSERT OR REPLACE INTO tombstones (target, by_id, cancelled_by, until_utc) VALUES (?,?,?,?)"
REMOVE_TOMBSTONE = "DELETE FROM tombstones WHERE target = ? AND by_id = ?"
KEEP = "INSERT OR REPLACE INTO facts (key, value) VALUES (?,?)"
DROP = "DELETE FROM facts WHERE key = ?"

ADD_EVENTS = "INSERT OR IGNORE INTO events (seq, event_id, event_type, added_utc, event) VALUES {rows}"
SETTLE_EVENTS = """UPDATE events SET settled_utc = ?, settled_by = ?, event = NULL
 WHERE seq IN (SELECT value FROM json_each(?)) AND settled_utc IS NULL"""
ADD_INBOUND = """INSERT OR IGNORE INTO inbound (seq, event, event_id, thread_id, sender, text, attachments, sent_utc, received_utc)
 VALUES {rows}"""
TELL_INBOUND = "UPDATE inbound SET told = 1 WHERE event IN (SELECT value FROM json_each(?))"
INBOUND_KEPT = 5_000
FORGET_INBOUND = f"DELETE FROM inbound WHERE number <= (SELECT max(number) FROM inbound) - {INBOUND_KEPT}"
ADD_RECEIPT = "INSERT OR IGNORE INTO receipts (guid, command_id, seq, sent_utc) VALUES (?,?,?,?)"
CHANGE_RECEIPT = "UPDATE receipts SET status = ?, changed_utc = ? WHERE guid = ?"
RECEIPTS_KEPT = 10_000
FORGET_RECEIPTS = f"DELETE FROM receipts WHERE number <= (SELECT max(number) FROM receipts) - {RECEIPTS_KEPT}"
LEAST_DELIVERED = "ORDER BY coalesce(status = 'failed', 0) DESC, instr('sent delivered read', status) LIMIT 1"
"""Of the messages that one command has sent: one that failed, else that which has come least far."""
RECEIPTS = "SELECT guid, command_id, seq, status FROM (SELECT * FROM receipts ORDER BY number DESC LIMIT 1000) ORDER BY number"
SETTLED_KEPT = 10_000
FORGET_EVENTS = f"""DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - {SETTLED_KEPT}
 AND seq < coalesce((SELECT min(seq) FROM events WHERE settled_utc IS NULL), 9e18)"""
"""Of a settled event its text is given up at once, its row when that many younger ones are there: from the oldest on, without a gap."""

Statement = tuple[str, Sequence[Any]]
NO_EFFECT = ("", "", "")


def write(db: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Apply changes in order, in one transaction.

    At each statement the interpreter's lock is given up, and got back late from a busy agent: so as few of them as can be.
    """
    statements = _statements(changes)
    first = list(islice(statements, 2))
    if len(first) > 1:
        db.execute("BEGIN IMMEDIATE")
    for statement, values in chain(first, statements):
        db.execute(statement, values)
    if len(first) > 1:
        db.execute("COMMIT")


def _statements(changes: Iterable[Change]) -> Iterator[Statement]:
    """New commands that follow each other together, every other change by itself."""
    for kind, some in groupby(changes, type):
        if kind is CommandAccepted:
            yield from _rows(TAKE, (_new_row(change) for change in some if isinstance(change, CommandAccepted)))
        elif kind is EventAdded:
            yield from _rows(ADD_EVENTS, (astuple(change) for change in some))
        elif kind is MessageReceived:
            yield from _rows(ADD_INBOUND, (astuple(change) for change in some))
            yield FORGET_INBOUND, ()
        else:
            yield from chain.from_iterable(map(_changed, some))


def _rows(statement: str, rows: Iterator[Sequence[Any]]) -> Iterator[Statement]:
    """A statement that may see a row twice, for up to 64 rows at once.

    So that few different ones are prepared, the last row is repeated up to the next multiple of eight.
    """
    while some := list(islice(rows, 64)):
        count = 1 if len(some) == 1 else -(-len(some) // 8) * 8
        some += some[-1:] * (count - len(some))
        yield _with_places(statement, count, len(some[0])), list(chain.from_iterable(some))


@lru_cache(64)
def _with_places(statement: str, rows: int, columns: int) -> str:
    return statement.format(rows=",".join([f"({','.join('?' * columns)})"] * rows))


def _new_row(change: CommandAccepted) -> Sequence[Any]:
    entry = change.entry
    command = entry.command
    payload = as_json(dict(command.payload), nan="constants")
    issued, started, due, expires = command.issued_utc, entry.started_utc, entry.due_utc, command.expires_utc
    return (
        entry.seq, command.command_id, command.command_type, payload, command.priority._value_, entry.via._value_, entry.state._value_,
        entry.received_utc, entry.runs, "" if issued is None else issued, command.invalid or "", "" if started is None else started,
        entry.finished_utc or "", "" if due is None else due, entry.error or "", entry.ack or "", entry.proven_utc or "",
        entry.replay_of or "", "" if expires is None else expires, *_effect(change.effect),
        to_json(change.names).decode() if change.names else "",
    )  # fmt: skip


def _effect(row: OutboxRow | None) -> Sequence[Any]:
    return NO_EFFECT if row is None else (row.thread_id, row.text, row.sent_utc)


def _changed(change: Change) -> Iterator[Statement]:
    match change:
        case CommandStarted(seq, utc, mark):
            yield BEGIN, (utc, mark, seq)
        case CommandReleased(seq, utc, state, ack):
            yield RELEASE, (state, utc, ack, seq)
        case CommandChanged(seq, payload, due, by):
            yield RESCHEDULE, (as_json(dict(payload), nan="constants"), due, by, seq)
        case UnsentFound(seq):
            yield WAIT_AGAIN, (seq,)
        case CommandEnded(seq, state, utc, error, ack, effect):
            yield END, (state, utc, error or None, ack, utc if ack is None else None, seq)
            if effect is not None:
                yield SEND, (*_effect(effect), seq, effect.command_id)
        case AcksProven(acks, utc, by):
            yield from _rows(PROVE, ((seq, sent, utc, by) for seq, sent in acks))
        case CommandResolved(seq, resolution, utc, by, guid):
            yield RESOLVE, (resolution, utc, by, guid, seq)
        case DuplicateSeen(seq, via, utc):
            yield REPEAT, (via, utc, seq)
        case _:
            yield from _changed_beside(change)


def _changed_beside(change: Change) -> Iterator[Statement]:
    """What stands in the other tables."""
    match change:
        case TombstoneAdded(target, by, until):
            yield ADD_TOMBSTONE, (target.name, target.by_id, by, until)
        case TombstoneRemoved(target):
            yield REMOVE_TOMBSTONE, (target.name, target.by_id)
        case SettingStored(key, value):
            yield KEEP, (key, value)
        case SettingDropped(key):
            yield DROP, (key,)
        case EventsSettled() | ReceiptAdded() | ReceiptChanged():
            yield from _upstream_changed(change)
        case CommandAccepted() | EventAdded() | MessageReceived():
            raise AssertionError(change)


def _upstream_changed(change: EventsSettled | ReceiptAdded | ReceiptChanged) -> Iterator[Statement]:
    match change:
        case EventsSettled(seqs, utc, by):
            yield SETTLE_EVENTS, (utc, by, to_json(seqs).decode())
            if by != DROPPED:
                yield TELL_INBOUND, (to_json(seqs).decode(),)
            yield FORGET_EVENTS, ()
        case ReceiptAdded():
            yield ADD_RECEIPT, astuple(change)
            yield FORGET_RECEIPTS, ()
        case ReceiptChanged(guid, status, utc):
            yield CHANGE_RECEIPT, (status, utc, guid)


def _tombstones(db: sqlite3.Connection) -> Iterator[TombstoneAdded]:
    for name, by_id, by, until in db.execute("SELECT target, by_id, cancelled_by, until_utc FROM tombstones"):
        yield TombstoneAdded(Target(name, bool(by_id)), by, until)


def top(db: sqlite3.Connection) -> int:
    """The highest number that was given; microseconds. Raises sqlite3.Error."""
    tops = " UNION ALL ".join(f"SELECT max(seq) AS seq FROM {table}" for table in ("commands", "compacted", "outbox", "inbound"))
    return db.execute(f"SELECT max(seq) FROM ({tops})").fetchone()[0] or 0


OWED_EVENTS = """SELECT events.seq, events.event_id, event_type, length(events.event), coalesce(inbound.seq, 0)
 FROM events LEFT JOIN inbound ON inbound.event = events.seq WHERE settled_utc IS NULL ORDER BY events.seq"""


def load(db: sqlite3.Connection) -> Memory:
    """What has not ended, oldest first, and whose ack is not proven, and the kept facts (PROMISES P1, P4). Raises BadRow, sqlite3.Error."""
    unproven = db.execute(f"SELECT seq FROM commands WHERE {UNPROVEN} ORDER BY seq").fetchall()
    facts = dict(db.execute("SELECT key, value FROM facts").fetchall())
    unwell = dict(db.execute(f"SELECT state, count(*) FROM commands WHERE {UNRESOLVED} GROUP BY state").fetchall())
    last = db.execute("SELECT command_id FROM commands WHERE via <> 'local' ORDER BY seq DESC LIMIT 1").fetchone()
    return Memory(
        tuple(_unended(db)),
        tuple(_tombstones(db)),
        tuple((key, value) for key, value in facts.items() if key.startswith("setting.") or key in {HOLD, INBOUND_CURSOR, PAUSED}),
        next_seq=top(db) + 1,
        last_command_id=last[0] if last else None,
        horizon_utc=float(facts.get("horizon_utc", 0)),
        unproven=tuple(seq for (seq,) in unproven),
        unresolved=Unresolved(unwell.get("failed", 0), unwell.get("interrupted", 0)),
        scheduled=tuple(_scheduled(db)),
        events=tuple(OwedEvent(*row) for row in db.execute(OWED_EVENTS)),
        next_event=(db.execute("SELECT max(seq) FROM events").fetchone()[0] or 0) + 1,
        receipts=tuple(Receipt(*row) for row in db.execute(RECEIPTS)),
    )


def _scheduled(db: sqlite3.Connection) -> Iterator[Scheduled]:
    names: dict[int, tuple[str, ...]] = {}
    for seq, name in db.execute("SELECT seq, name FROM names JOIN commands USING (seq) WHERE state = 'scheduled'"):
        names[seq] = (*names.get(seq, ()), name)
    for seq, due in db.execute(
        "SELECT seq, min(due_utc, coalesce(expires_utc, due_utc)) FROM commands WHERE state = 'scheduled' ORDER BY seq"
    ):
        yield Scheduled(seq, due, names.get(seq, ()))


def _unended(db: sqlite3.Connection) -> Iterator[Remembered]:
    seq = 0
    try:
        for row in db.execute(f"SELECT {COLUMNS} FROM commands WHERE {BEGUN} ORDER BY seq"):
            seq = row[0]
            yield remembered(row)
    except sqlite3.OperationalError as error:
        if is_lasting(error):
            find = f"SELECT seq, CAST(command_id AS BLOB) FROM commands WHERE {BEGUN} AND seq > ? ORDER BY seq LIMIT 1"
            seq, command_id = db.execute(find, (seq,)).fetchone()
            raise BadRow(seq, command_id.decode("utf-8", "replace"), "its text is not UTF-8") from None
        raise


def is_lasting(error: sqlite3.Error) -> bool:
    """What the file holds is wrong, rather than that the disk or another process is in the way just now."""
    return not isinstance(error, sqlite3.OperationalError) or not hasattr(error, "sqlite_errorcode")


class BadRow(ValueError):
    """A row of the ledger that cannot be read; the sentence says which and why."""

    def __init__(self, seq: int, command_id: object, why: object) -> None:
        self.seq = seq
        self.command_id = plain(command_id, 200)
        self.why = plain(why, 200)
        super().__init__(f"commands, {self.command_id}: {self.why}")


def remembered(row: tuple[Any, ...]) -> Remembered:
    """A row of COLUMNS as a record. Raises BadRow."""
    try:
        return _remembered(row)
    except (ValueError, TypeError) as error:
        raise BadRow(row[0], row[1], error) from None


def _remembered(row: tuple[Any, ...]) -> Remembered:
    (
        seq, command_id, command_type, payload, priority, issued, invalid, via, state, received, started, finished, due,
        runs, duplicates, duplicate_via, duplicate_utc, error, ack, sent, proven, proven_by, replay_of, mark, unsent, released,
        resolution, resolved_utc, resolved_by, expires, changed_by, resolved_guid,
    ) = row  # fmt: skip
    command = Command(command_id, command_type, _payload(payload), Priority(priority), issued, invalid=invalid, expires_utc=expires)
    return Remembered(
        seq, command, Via(via), State(state), received, started, finished, due, runs, duplicates,
        Via(duplicate_via) if duplicate_via else None, duplicate_utc, error, ack, sent, proven, proven_by, replay_of, mark, unsent,
        released,
        Resolution(resolution) if resolution else None, resolved_utc, resolved_by, resolved_guid, changed_by=changed_by,
    )  # fmt: skip


def _payload(text: str | None) -> dict[str, Any]:
    fields = from_json(text) if text else {}
    if not isinstance(fields, dict):
        raise TypeError("its payload is no JSON object")
    return fields
