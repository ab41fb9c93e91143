"""The ledger's memory: SQLite with WAL and FULL, written by one thread, everything at hand in one transaction (PROMISES P4).

While one group is being written the next one gathers, so the group is as large as the disk is slow. A write that fails is tried again until
it succeeds: nothing is dropped, and the engine holds back what must not happen first. The agent's own thread only reads, through a second
connection that never waits for a lock.
"""

import os
import shutil
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic_core import from_json
from rbloom import Bloom

from agent_core.clock import Clock, SystemClock, iso
from agent_core.config.models import LedgerConfig
from agent_core.events import LedgerOpened, Recorded, RecordFailed
from agent_core.frames import Command, Priority, as_json
from agent_core.journal import retention
from agent_core.journal.retention import UNENDED, UNPROVEN
from agent_core.records import (
    AcksProven,
    Change,
    CommandAccepted,
    CommandEnded,
    CommandStarted,
    DuplicateSeen,
    Memory,
    OutboxRow,
    Remembered,
    SettingStored,
    State,
    TombstoneAdded,
    Via,
)

FILE_NAME = "ledger.sqlite3"
RETRY_SECONDS = 0.5
MAX_UNWRITTEN, CATCH_UP = 300, 0.005
"""With more changes than this not yet written, the agent waits so many seconds at most at each turn, so that a burst waits elsewhere."""
TRIM_EVERY, TRIM_GROWTH = 500, 4 * 2**20
"""Commands taken, or bytes that the file has grown, between two looks at what may be forgotten."""
BLOOM_ERROR_RATE = 0.01
RESERVE_NAME = "ledger.reserve"
RESERVE_BYTES = 2**20

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
MIGRATIONS: tuple[str, ...] = (SCHEMA_1, retention.SCHEMA_2, retention.SCHEMA_3)
"""Script n brings a file from version n to n + 1."""

COLUMNS = (
    "seq, command_id, command_type, payload, priority, issued_utc, invalid, via, state, received_utc, started_utc, finished_utc, due_utc,"
    " runs, duplicates, duplicate_via, duplicate_utc, error, ack, sent_utc, proven_utc, proven_by, replay_of"
)
REQUIRED = "seq, command_id, command_type, payload, priority, via, state, received_utc, runs"
NULLABLE = "issued_utc, invalid, started_utc, finished_utc, due_utc, error, ack, proven_utc, replay_of, name"
INTAKE = f"""CREATE TEMP VIEW intake AS SELECT {REQUIRED}, {NULLABLE}, NULL thread_id, NULL text, NULL sent_utc FROM commands;
CREATE TEMP TRIGGER take INSTEAD OF INSERT ON intake BEGIN
 INSERT INTO commands ({REQUIRED}, {NULLABLE})
 VALUES (NEW.{REQUIRED.replace(", ", ", NEW.")}, nullif(NEW.{NULLABLE.replace(", ", ", ''), nullif(NEW.")}, '')) ON CONFLICT DO NOTHING;
 INSERT INTO outbox SELECT NEW.seq, NEW.command_id, NEW.thread_id, NEW.text, NEW.sent_utc WHERE NEW.sent_utc <> '' AND changes();
END"""
"""A command and its effect as one row, so that one statement, which is its own transaction, writes a whole group of them.

What is not there comes as '', for Python's sqlite3 takes its time over each None. A command that is there already is left as it is and has
no other effect.
"""
TAKE = "INSERT INTO intake VALUES {rows}"
BEGIN = "UPDATE commands SET state = 'running', started_utc = ?, runs = runs + 1 WHERE seq = ?"
END = """UPDATE commands SET state = ?, finished_utc = ?, error = ?, ack = ?, sent_utc = NULL, proven_by = NULL, proven_utc = ?
 WHERE seq = ?"""
PROVE = """WITH acks (seq, sent, proven, by) AS (VALUES {rows})
 UPDATE commands SET sent_utc = acks.sent, proven_utc = acks.proven, proven_by = acks.by FROM acks WHERE commands.seq = acks.seq"""
REPEAT = "UPDATE commands SET duplicates = duplicates + 1, duplicate_via = ?, duplicate_utc = ? WHERE seq = ?"
SEND = "INSERT OR IGNORE INTO outbox SELECT seq, command_id, ?, ?, ? FROM commands WHERE seq = ? AND command_id = ?"
ADD_TOMBSTONE = "INSERT OR REPLACE INTO tombstones (target, cancelled_by, until_utc) VALUES (?,?,?)"
KEEP = "INSERT OR REPLACE INTO facts (key, value) VALUES (?,?)"


Post = Callable[[LedgerOpened | Recorded | RecordFailed], None]


class Group(Struct, frozen=True, gc=False):
    """What the agent had at hand in one turn."""

    ticket: int
    changes: tuple[Change, ...]
    new_ids: list[str]


class LedgerDamaged(Exception):
    """The file is not a sound ledger; the sentence says where its copy is and what to do."""


class LedgerBusy(Exception):
    """The ledger cannot be read at the moment."""


class Journal:
    """One ledger file. `post` is called from the journal's thread and must be thread-safe."""

    def __init__(
        self, data_dir: Path, limits: LedgerConfig, post: Post, *, clock: Clock | None = None, migrations: Sequence[str] = MIGRATIONS
    ) -> None:
        self.path = data_dir / FILE_NAME
        self._limits = limits
        self._post = post
        self._clock = clock or SystemClock()
        self._migrations = migrations
        self._queue: deque[Group] = deque()
        self._unwritten = 0
        self._wake = threading.Condition()
        self._closing = False
        self._reader: sqlite3.Connection | None = None
        self._bloom: Bloom | None = None
        """Tells for sure that an id is new, at ten bits an id; what it may know is looked up.

        Asking SQLite for each new id costs a thousand times as much while commits go on, and a set of ids eighty times the memory.
        """
        self._bloom_room = 0
        self._rows = self._size = 0
        self._untrimmed = TRIM_EVERY
        self._ticket = 0
        self._reserved = False
        self._horizon_utc = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    # --- called by the agent ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Open in the background; `LedgerOpened` or `RecordFailed` follows."""
        self._thread.start()

    def write(self, ticket: int, changes: tuple[Change, ...]) -> None:
        """Have these written with whatever else is at hand; `Recorded` follows. Waits up to `CATCH_UP` where much is unwritten."""
        new_ids = [change.entry.command.command_id for change in changes if isinstance(change, CommandAccepted)]
        with self._wake:
            if self._bloom is not None:
                self._bloom.update(new_ids)
                self._bloom_room -= len(new_ids)
            self._queue.append(Group(ticket, changes, new_ids))
            self._unwritten += len(changes)
            self._wake.notify()
            if self._unwritten > MAX_UNWRITTEN:
                self._wake.wait(CATCH_UP)

    def is_new(self, command_id: str) -> bool:
        """Surely never given to be written; False where it may have been. Raises LedgerBusy."""
        if self._bloom is None:
            raise LedgerBusy("not open yet")
        return command_id not in self._bloom

    def recall(self, command_id: str) -> Remembered | None:
        """What is remembered of an id. Raises LedgerBusy."""
        return None if self.is_new(command_id) else self._known(command_id)

    def _open_reader(self) -> sqlite3.Connection:
        if self._reader is None:
            self._reader = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=0, cached_statements=8)
        return self._reader

    def recall_all(self, seqs: Sequence[int]) -> tuple[Remembered, ...]:
        """The commands of these numbers, oldest first. Raises LedgerBusy."""
        where = f"seq IN ({','.join('?' * len(seqs))})"
        try:
            rows = self._open_reader().execute(f"SELECT {COLUMNS} FROM commands WHERE {where} ORDER BY seq", seqs).fetchall()
        except sqlite3.Error as error:
            raise LedgerBusy(str(error)) from error
        return tuple(remembered(row) for row in rows)

    def recall_target(self, name: str) -> Remembered | None:
        """The same by command id or by schedule name, for a cancel. Raises LedgerBusy."""
        return self._known(name) or self._read_one("name = ? ORDER BY seq DESC", name)

    def _known(self, command_id: str) -> Remembered | None:
        whole = self._read_one("command_id = ?", command_id)
        if whole is not None:
            return whole
        try:
            return retention.recall_compacted(self._open_reader(), command_id)
        except sqlite3.Error as error:
            raise LedgerBusy(str(error)) from error

    def _read_one(self, where: str, value: str) -> Remembered | None:
        try:
            reader = self._open_reader()
            row = reader.execute(f"SELECT {COLUMNS} FROM commands WHERE {where} LIMIT 1", (value,)).fetchone()
        except sqlite3.Error as error:
            raise LedgerBusy(str(error)) from error
        return remembered(row) if row else None

    def close(self, within: float = 2.0) -> None:
        """Write what is at hand and end the thread. The reader goes first: the last to close leaves one file behind."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(within)

    # --- the journal's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        db = self._open_patiently()
        if db is None:
            return
        while (batch := self._next_batch()) is not None:
            if batch and not self._write_patiently(db, batch):
                break
            self._tidy(db)
        with suppress(sqlite3.Error):
            db.close()

    def _open_patiently(self) -> sqlite3.Connection | None:
        told = None
        while True:
            try:
                db = open_ledger(self.path, self._clock, self._migrations)
                memory = load(db)
                self._horizon_utc = memory.horizon_utc
                self._fill_bloom(db)
            except Exception as error:  # noqa: BLE001  (the thread's edge: whatever it is, no command is taken until it is over)
                told = self._tell(error, told)
                if self._wait_closing():
                    return None
            else:
                self._reserved = _keep_reserve(self.path.parent)
                self._post(LedgerOpened(memory))
                return db

    def _fill_bloom(self, db: sqlite3.Connection) -> None:
        """A bloom of every id in the file and on its way there, with room for as many again."""
        ids = "SELECT command_id FROM commands UNION ALL SELECT command_id FROM compacted"
        count = db.execute(f"SELECT count(*) FROM ({ids})").fetchone()[0]
        capacity = 2 * max(count, self._limits.retention_count)
        bloom = Bloom(capacity, BLOOM_ERROR_RATE)
        bloom.update(command_id for (command_id,) in db.execute(ids))
        with self._wake:
            for group in self._queue:
                bloom.update(group.new_ids)
            self._bloom, self._bloom_room = bloom, capacity - count
        self._rows = count

    def _next_batch(self) -> list[Group] | None:
        with self._wake:
            while not self._queue and not self._closing and self._untrimmed < TRIM_EVERY:
                self._wake.wait()
            if not self._queue and self._closing:
                return None
            batch = list(self._queue)
            self._queue.clear()
        return batch

    def _write_patiently(self, db: sqlite3.Connection, batch: list[Group]) -> bool:
        """True when it is on disk; False when the agent closes before it could be."""
        told = None
        while True:
            try:
                write(db, chain.from_iterable(group.changes for group in batch))
            except Exception as error:  # noqa: BLE001  (the thread's edge: nothing is acked that is not written, whatever hinders it)
                with suppress(sqlite3.Error):
                    db.rollback()
                self._free_reserve(error)
                told = self._tell(error, told)
                if self._wait_closing():
                    return False
            else:
                self._ticket = batch[-1].ticket
                with self._wake:
                    self._unwritten -= sum(len(group.changes) for group in batch)
                    self._wake.notify()
                self._post(Recorded(self._ticket, self._horizon_utc))
                new = sum(len(group.new_ids) for group in batch)
                self._rows += new
                self._untrimmed += new
                if not self._reserved:
                    self._reserved = _keep_reserve(self.path.parent)
                return True

    def _tell(self, error: Exception, told: str | None) -> str:
        reason = str(error) if isinstance(error, LedgerDamaged) else f"{self.path.name}: {error}"
        if reason != told:
            self._post(RecordFailed(reason))
        return reason

    def _wait_closing(self) -> bool:
        with self._wake:
            if not self._closing:
                self._wake.wait(RETRY_SECONDS)
            return self._closing

    def _free_reserve(self, error: Exception) -> None:
        """On a full disk give up the reserve, so that what already runs can still be closed (P4)."""
        if "full" in str(error):
            self._reserved = False
            with suppress(OSError):
                (self.path.parent / RESERVE_NAME).unlink(missing_ok=True)

    def _tidy(self, db: sqlite3.Connection) -> None:
        """Forget, in small steps and faster than commands come, what is settled and too old or too many; the rest in quiet moments."""
        try:
            size = self.path.stat().st_size
            if self._untrimmed >= TRIM_EVERY or size > self._size + TRIM_GROWTH:
                self._size = size
                due = retention.due(db, self._limits, self._clock.now().utc, self._rows)
                steps = 2 + 2 * (self._untrimmed // retention.STEP)
                self._untrimmed = TRIM_EVERY if due and all(self._trim(db) for _ in range(steps)) else 0
            if self._bloom_room <= 0:
                self._fill_bloom(db)
        except (sqlite3.Error, OSError):
            self._untrimmed = 0
            with suppress(sqlite3.Error):
                db.rollback()

    def _trim(self, db: sqlite3.Connection) -> bool:
        """Whether there is more to do. The engine hears of a new horizon one step before anything older than it is gone."""
        found = retention.trim(db, self._limits, self._clock.now().utc, self._rows, self._horizon_utc)
        self._rows -= found.gone
        if found.horizon_utc > self._horizon_utc:
            self._horizon_utc = found.horizon_utc
            self._post(Recorded(self._ticket, self._horizon_utc))
        return found.more


def open_ledger(path: Path, clock: Clock | None = None, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Open for writing: check, back up and migrate. Raises LedgerDamaged, sqlite3.Error or OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make_private(path)
    db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path, migrations)
    except sqlite3.DatabaseError as error:
        db.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise LedgerDamaged(_quarantine(path, str(error), clock or SystemClock())) from error
    except LedgerDamaged as error:
        db.close()
        raise LedgerDamaged(_quarantine(path, str(error), clock or SystemClock())) from None
    return db


def _prepare(db: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 4194304")
    if sys.platform == "darwin":
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA checkpoint_fullfsync = ON")
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise LedgerDamaged(verdict)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise sqlite3.OperationalError(f"written by a newer edge-console (schema {version}, this one knows {len(migrations)}); update it")
    if 0 < version < len(migrations):
        _back_up(db, path, version)
    for number in range(version, len(migrations)):
        db.executescript(f"BEGIN IMMEDIATE;{migrations[number]};PRAGMA user_version = {number + 1};COMMIT;")
    db.execute("PRAGMA cache_size = -1000")
    db.execute("PRAGMA temp_store = MEMORY")
    db.executescript(INTAKE)


def _make_private(path: Path) -> None:
    """There before SQLite makes it, since the files beside it take their mode from it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)


def _back_up(db: sqlite3.Connection, path: Path, version: int) -> None:
    target = path.with_name(f"{path.stem}.v{version}.sqlite3")
    _make_private(target)
    with closing(sqlite3.connect(target)) as copy:
        db.backup(copy)


def _quarantine(path: Path, why: str, clock: Clock) -> str:
    """Copy a damaged file aside, once, and say so; the file itself stays, so that no restart forgets that it was damaged."""
    earlier = sorted(path.parent.glob(f"{path.stem}.damaged-*.sqlite3"))
    target = earlier[-1] if earlier else path.with_name(f"{path.stem}.damaged-{iso(clock.now().utc)[:19].replace(':', '')}.sqlite3")
    if not earlier:
        unfinished = target.with_suffix(".part")
        _make_private(unfinished)
        shutil.copyfile(path, unfinished)
        unfinished.rename(target)
    return f"{path} is damaged ({why}), a copy is {target.name}; no command is run until you move it away, and its memory with it"


def _keep_reserve(folder: Path) -> bool:
    """Space set aside for closing what runs when the disk is full; False while there is too little of it to set any aside."""
    reserve = folder / RESERVE_NAME
    try:
        if not reserve.exists():
            if shutil.disk_usage(folder).free <= 16 * RESERVE_BYTES:
                return False
            descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"\0" * RESERVE_BYTES)
    except OSError:
        return False
    return True


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
        else:
            yield from chain.from_iterable(map(_changed, some))


def _rows(statement: str, rows: Iterator[Sequence[Any]]) -> Iterator[Statement]:
    """A statement that may see a row twice, for up to 64 rows at once.

    So that few different ones are prepared, the last row is repeated up to the next multiple of eight.
    """
    while some := list(islice(rows, 64)):
        count = 1 if len(some) == 1 else -(-len(some) // 8) * 8
        some += some[-1:] * (count - len(some))
        places = ",".join([f"({','.join('?' * len(some[0]))})"] * count)
        yield statement.format(rows=places), list(chain.from_iterable(some))


def _new_row(change: CommandAccepted) -> Sequence[Any]:
    entry = change.entry
    command = entry.command
    payload = as_json(dict(command.payload), nan="constants")
    issued, started, due = command.issued_utc, entry.started_utc, entry.due_utc
    return (
        entry.seq, command.command_id, command.command_type, payload, command.priority._value_, entry.via._value_, entry.state._value_,
        entry.received_utc, entry.runs, "" if issued is None else issued, command.invalid or "", "" if started is None else started,
        entry.finished_utc or "", "" if due is None else due, entry.error or "", entry.ack or "", entry.proven_utc or "",
        entry.replay_of or "", _name(entry) or "", *_effect(change.effect),
    )  # fmt: skip


def _effect(row: OutboxRow | None) -> Sequence[Any]:
    return NO_EFFECT if row is None else (row.thread_id, row.text, row.sent_utc)


def _changed(change: Change) -> Iterator[Statement]:
    match change:
        case CommandStarted(seq, utc):
            yield BEGIN, (utc, seq)
        case CommandEnded(seq, state, utc, error, ack, effect):
            yield END, (state, utc, error or None, ack, utc if ack is None else None, seq)
            if effect is not None:
                yield SEND, (*_effect(effect), seq, effect.command_id)
        case AcksProven(acks, utc, by):
            yield from _rows(PROVE, ((seq, sent, utc, by) for seq, sent in acks))
        case DuplicateSeen(seq, via, utc):
            yield REPEAT, (via, utc, seq)
        case TombstoneAdded(target, by, until):
            yield ADD_TOMBSTONE, (target, by, until)
        case SettingStored(key, value):
            yield KEEP, (key, value)
        case CommandAccepted():
            raise AssertionError(change)


def _name(entry: Remembered) -> str | None:
    """The schedule's own name, where the payload gives one that is not the command's."""
    if entry.due_utc is None:
        return None
    return next((str(entry.command.payload[key]) for key in ("schedule_id", "message_id") if entry.command.payload.get(key)), None)


def load(db: sqlite3.Connection) -> Memory:
    """What has not ended, oldest first, and whose ack is not proven, with the kept facts (PROMISES P1, P4)."""
    rows = db.execute(f"SELECT {COLUMNS} FROM commands WHERE {UNENDED} ORDER BY seq").fetchall()
    unproven = db.execute(f"SELECT seq FROM commands WHERE {UNPROVEN} AND NOT ({UNENDED}) ORDER BY seq").fetchall()
    facts = dict(db.execute("SELECT key, value FROM facts").fetchall())
    last = db.execute("SELECT command_id FROM commands WHERE via <> 'local' ORDER BY seq DESC LIMIT 1").fetchone()
    tops = " UNION ALL ".join(f"SELECT max(seq) AS seq FROM {table}" for table in ("commands", "compacted", "outbox"))
    top = db.execute(f"SELECT max(seq) FROM ({tops})").fetchone()[0]
    return Memory(
        tuple(remembered(row) for row in rows),
        tuple(db.execute("SELECT target, cancelled_by, until_utc FROM tombstones").fetchall()),
        tuple((key, value) for key, value in facts.items() if key.startswith("setting.")),
        next_seq=(top or 0) + 1,
        last_command_id=last[0] if last else None,
        horizon_utc=float(facts.get("horizon_utc", 0)),
        unproven=tuple(seq for (seq,) in unproven),
    )


def remembered(row: tuple[Any, ...]) -> Remembered:
    """A row of COLUMNS as a record."""
    (
        seq, command_id, command_type, payload, priority, issued, invalid, via, state, received, started, finished, due,
        runs, duplicates, duplicate_via, duplicate_utc, error, ack, sent, proven, proven_by, replay_of,
    ) = row  # fmt: skip
    command = Command(command_id, command_type, from_json(payload) if payload else {}, Priority(priority), issued, invalid=invalid)
    return Remembered(
        seq, command, Via(via), State(state), received, started, finished, due, runs, duplicates,
        Via(duplicate_via) if duplicate_via else None, duplicate_utc, error, ack, sent, proven, proven_by, replay_of,
    )  # fmt: skip
