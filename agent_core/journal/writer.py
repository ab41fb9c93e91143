"""The ledger's memory: SQLite with WAL and FULL, written by one thread, everything at hand in one transaction (PROMISES P4).

While one group is being written the next one gathers, so the group is as large as the disk is slow. A write that fails is tried again until
it succeeds: nothing is dropped, and the engine holds back what must not happen first. The agent's own thread only reads, through a second
connection that never waits for a lock.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from rbloom import Bloom

from agent_core.clock import Clock, SystemClock
from agent_core.config.models import LedgerConfig, Policy
from agent_core.events import LedgerOpened, Recorded, RecordFailed
from agent_core.journal import retention
from agent_core.journal.mark import Mark
from agent_core.journal.opening import BUSY_TIMEOUT, FILE_NAME, RESERVE_NAME, LedgerDamaged, keep_reserve, open_ledger
from agent_core.journal.rows import COLUMNS, MIGRATIONS, BadRow, remembered, top, write
from agent_core.journal.sent import sent
from agent_core.journal.watch import LedgerEmptied, LedgerMoved, Watch
from agent_core.records import Change, CommandAccepted, Key, Named, Remembered

RETRY_SECONDS = 0.5
LOOK_EVERY = 5.0
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
BUSY_PATIENCE, BUSY_PAUSE = 5.0, 0.05
"""Seconds for which another process may have the file before it is said, and between two attempts, should SQLite itself not wait."""
NEWEST_NAMED = """SELECT coalesce(commands.command_id, compacted.command_id) FROM names LEFT JOIN commands ON commands.seq = names.seq
 LEFT JOIN compacted ON compacted.seq = names.seq WHERE names.name = ? ORDER BY names.seq DESC LIMIT 1"""
MAX_UNWRITTEN, CATCH_UP = 300, 0.005
"""With more unwritten changes than this, each of the agent's turns waits up to CATCH_UP seconds, so that a burst waits with the backend."""
TRIM_EVERY, TRIM_GROWTH = 500, 4 * 2**20
"""Commands taken, or bytes that the file has grown, between two looks at what may be forgotten."""
BLOOM_ERROR_RATE = 0.01


Post = Callable[[LedgerOpened | Recorded | RecordFailed], None]


class Group(Struct, frozen=True, gc=False):
    """What the agent had at hand in one turn."""

    ticket: int
    changes: tuple[Change, ...]
    new_ids: list[str]


@dataclass(slots=True)
class _Trouble:
    """What hinders one batch."""

    began_at: float = field(default_factory=time.monotonic)
    told: str | None = None


class LedgerBusy(Exception):
    """The ledger cannot be read at the moment."""


class Journal:
    """One ledger file. `post` is called from the journal's thread and must be thread-safe."""

    def __init__(
        self, data_dir: Path, limits: LedgerConfig, post: Post, *, clock: Clock | None = None, migrations: Sequence[str] = MIGRATIONS,
        look_every: float = LOOK_EVERY, policy: Policy | None = None,
    ) -> None:  # fmt: skip
        """Each `look_every` seconds it is looked whether the file is still there; `policy` says what is asked of earlier runs."""
        self.path = data_dir / FILE_NAME
        self._mark = Mark(data_dir)
        self._limits = limits
        self._policy = policy or Policy()
        self._post = post
        self._clock = clock or SystemClock()
        self._migrations = migrations
        self._queue: deque[Group] = deque()
        self._unwritten = 0
        self._wake = threading.Condition()
        self._close_by = float("inf")
        self._look_every = look_every
        self._look_at = 0.0
        self._watch: Watch | None = None
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
            self._look()
            self._reader = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=0, cached_statements=8)
            self._reader.execute("PRAGMA cache_size = -1000")
        return self._reader

    def recall_all(self, seqs: Sequence[int]) -> tuple[Remembered, ...]:
        """The commands of these numbers, oldest first. Raises LedgerBusy."""
        where = f"seq IN ({','.join('?' * len(seqs))})"
        try:
            rows = self._open_reader().execute(f"SELECT {COLUMNS} FROM commands WHERE {where} ORDER BY seq", seqs).fetchall()
        except (sqlite3.Error, LedgerMoved) as error:
            raise LedgerBusy(str(error)) from error
        return tuple(_readable(rows))

    def recall_events(self, seqs: Sequence[int]) -> tuple[tuple[int, str], ...]:
        """The texts of the events of these numbers that the backend is owed. Raises LedgerBusy."""
        where = f"seq IN ({','.join('?' * len(seqs))}) AND settled_utc IS NULL"
        try:
            return tuple(self._open_reader().execute(f"SELECT seq, event FROM events WHERE {where} ORDER BY seq", seqs).fetchall())
        except (sqlite3.Error, LedgerMoved) as error:
            raise LedgerBusy(str(error)) from error

    def look_up(self, keys: Iterable[Key]) -> tuple[Remembered, ...]:
        """What is remembered of these. Raises LedgerBusy."""
        found: list[Remembered] = []
        bloom = self._bloom
        for key in keys:
            if bloom is not None and isinstance(key, str) and key not in bloom:
                continue
            if (past := self._look_up(key)) is not None:
                found.append(past)
        return tuple(found)

    def _look_up(self, key: Key) -> Remembered | None:
        if isinstance(key, str):
            return self.recall(key)
        return self._named(key.name) if isinstance(key, Named) else next(iter(self.recall_all((key,))), None)

    def _named(self, name: str) -> Remembered | None:
        """The newest message of this name."""
        try:
            row = self._open_reader().execute(NEWEST_NAMED, (name,)).fetchone()
        except sqlite3.Error as error:
            raise LedgerBusy(str(error)) from error
        return self._known(row[0]) if row else None

    def _known(self, command_id: str) -> Remembered | None:
        whole = self._read_one("command_id = ?", command_id)
        if whole is not None:
            return whole
        try:
            return retention.recall_compacted(self._open_reader(), command_id)
        except (sqlite3.Error, BadRow, LedgerMoved) as error:
            raise LedgerBusy(str(error)) from error

    def _read_one(self, where: str, value: str) -> Remembered | None:
        try:
            reader = self._open_reader()
            row = reader.execute(f"SELECT {COLUMNS} FROM commands WHERE {where} LIMIT 1", (value,)).fetchone()
            return remembered(row) if row else None
        except (sqlite3.Error, BadRow, LedgerMoved) as error:
            raise LedgerBusy(str(error)) from error

    def close(self, within: float = 2.0) -> None:
        """Write what is at hand and end the thread within `within` seconds. The reader goes first: the last to close leaves one file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        with self._wake:
            self._close_by = time.monotonic() + within - 2 * BUSY_TIMEOUT
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(within)

    # --- the journal's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        db = self._open_patiently()
        if db is None:
            return
        while (batch := self._next_batch()) is not None and self._write_patiently(db, batch):
            self._tidy(db)
        with suppress(sqlite3.Error):
            self._mark.note(top(db))
            db.close()

    def _open_patiently(self) -> sqlite3.Connection | None:
        trouble = _Trouble()
        while True:
            try:
                db, memory, self._steadiness = open_ledger(self.path, self._limits, self._clock, self._migrations)
                forgotten = self._mark.ahead_of(memory.next_seq - 1)
                memory = replace(memory, forgotten=forgotten, sent=tuple(sent(db, self._policy, self._clock.now().utc)))
                self._horizon_utc = memory.horizon_utc
                self._fill_bloom(db)
                self._watch = Watch(self.path)
            except Exception as error:  # noqa: BLE001  (the thread's edge: whatever it is, no command is taken until it is over)
                if not self._may_retry(error, trouble):
                    return None
            else:
                self._reserved = keep_reserve(self.path.parent)
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
            if not self._queue and not self._is_closing and self._untrimmed < TRIM_EVERY:
                self._wake.wait(self._look_every)
            if not self._queue and self._is_closing:
                return None
            batch = list(self._queue)
            self._queue.clear()
        return batch

    def _write_patiently(self, db: sqlite3.Connection, batch: list[Group]) -> bool:
        """True when it is on disk, and the file where it was; False when the agent closes before that."""
        trouble = _Trouble()
        while True:
            try:
                self._look_in_time()
                write(db, chain.from_iterable(group.changes for group in batch))
            except Exception as error:  # noqa: BLE001  (the thread's edge: nothing is acked that is not written, whatever hinders it)
                with suppress(sqlite3.Error):
                    db.rollback()
                    if isinstance(error, LedgerMoved) and not isinstance(error, LedgerEmptied):
                        db.execute("PRAGMA wal_checkpoint")
                self._free_reserve(error)
                if not self._may_retry(error, trouble):
                    return False
            else:
                if batch or trouble.told:
                    self._written(batch)
                return True

    def _written(self, batch: list[Group]) -> None:
        with self._wake:
            self._unwritten -= sum(len(group.changes) for group in batch)
            self._wake.notify()
        if batch:
            self._ticket = batch[-1].ticket
        self._post(Recorded(self._ticket, self._horizon_utc))
        new = sum(len(group.new_ids) for group in batch)
        self._rows += new
        self._untrimmed += new
        if not self._reserved:
            self._reserved = keep_reserve(self.path.parent)

    def _look_in_time(self) -> None:
        """Raises LedgerMoved."""
        if time.monotonic() >= self._look_at:
            self._look()
            self._look_at = time.monotonic() + self._look_every

    def _look(self) -> None:
        if self._watch is not None:
            self._watch.look()

    def _may_retry(self, error: Exception, trouble: "_Trouble") -> bool:
        """Say what is wrong, once, and wait; False where the agent closes. A lock of a few seconds is nobody's business."""
        busy = isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY
        if not busy or time.monotonic() > trouble.began_at + BUSY_PATIENCE:
            reason = str(error) if isinstance(error, LedgerDamaged | LedgerMoved) else f"{self.path.name}: {error}"
            if reason != trouble.told:
                self._post(RecordFailed(reason))
            trouble.told = reason
        with self._wake:
            if busy:
                self._wake.wait(BUSY_PAUSE)
                return time.monotonic() < self._close_by
            if not self._is_closing:
                self._wake.wait(RETRY_SECONDS)
            return not self._is_closing

    @property
    def _is_closing(self) -> bool:
        return self._close_by < float("inf")

    def _free_reserve(self, error: Exception) -> None:
        """On a full disk give up the reserve, so that what already runs can still be closed (P4)."""
        if "full" in str(error):
            self._reserved = False
            with suppress(OSError):
                (self.path.parent / RESERVE_NAME).unlink(missing_ok=True)

    def _tidy(self, db: sqlite3.Connection) -> None:
        """Forget, in small steps and faster than commands come, what is settled and too old or too many; the rest in quiet moments."""
        try:
            ages = self._steadiness.look(db, self._clock.now().utc)
            if self._mark.is_due:
                self._mark.note(top(db))
            size = self.path.stat().st_size
            if self._untrimmed >= TRIM_EVERY or size > self._size + TRIM_GROWTH:
                self._size = size
                due = retention.due(db, self._limits, ages, self._rows)
                steps = 2 + 2 * (self._untrimmed // retention.STEP)
                self._untrimmed = TRIM_EVERY if due and all(self._trim(db, ages) for _ in range(steps)) else 0
            if self._bloom_room <= 0:
                self._fill_bloom(db)
        except (sqlite3.Error, OSError):
            self._untrimmed = 0
            with suppress(sqlite3.Error):
                db.rollback()

    def _trim(self, db: sqlite3.Connection, ages: retention.Ages) -> bool:
        """Whether there is more to do. The engine hears of a new horizon one step before anything older than it is gone."""
        found = retention.trim(db, self._limits, ages, self._rows, self._horizon_utc)
        self._rows -= found.gone
        if found.horizon_utc > self._horizon_utc or found.lapsed is not None:
            self._horizon_utc = max(self._horizon_utc, found.horizon_utc)
            self._post(Recorded(self._ticket, self._horizon_utc, found.lapsed))
        return found.more


def _readable(rows: Iterable[tuple[Any, ...]]) -> Iterator[Remembered]:
    """One that cannot be read does not hold up the others' acks."""
    for row in rows:
        with suppress(BadRow):
            yield remembered(row)
