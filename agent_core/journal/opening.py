"""Open the ledger's file for writing: private, sound, and of this version's schema (PROMISES F40)."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from agent_core.clock import Clock, SystemClock, iso
from agent_core.config.models import LedgerConfig
from agent_core.journal.lost import lost
from agent_core.journal.mark import FILE_NAME as MARK_NAME
from agent_core.journal.rows import INTAKE, MIGRATIONS, BadRow, is_lasting, load
from agent_core.journal.soundness import unsound_page, unsound_row
from agent_core.journal.steadiness import Steadiness
from agent_core.records import Memory

FILE_NAME = "ledger.sqlite3"
RESERVE_NAME = "ledger.reserve"
RESERVE_BYTES = 2**20
BUSY_TIMEOUT = 0.25
"""Seconds that SQLite waits for another process at a time: for so long nothing can end it."""


class LedgerDamaged(Exception):
    """The file is not a sound ledger, or none where there was one; the sentence says what to do."""


class NewerLedger(Exception):
    """A later version of this program has written the file."""


def open_ledger(
    path: Path, limits: LedgerConfig | None = None, clock: Clock | None = None, migrations: Sequence[str] = MIGRATIONS
) -> tuple[sqlite3.Connection, Memory, Steadiness]:
    """Open for writing: check, back up, migrate, load what is unsettled. Raises LedgerDamaged, NewerLedger, sqlite3.Error or OSError."""
    clock = clock or SystemClock()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (gone := lost(path)) is not None:
        raise LedgerDamaged(gone)
    _make_private(path)
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path, migrations)
        steadiness = Steadiness(db, limits or LedgerConfig(), clock.now().utc)
        return db, load(db), steadiness
    except BaseException as error:
        db.close()
        if isinstance(error, LedgerDamaged | BadRow) or (isinstance(error, sqlite3.DatabaseError) and is_lasting(error)):
            raise LedgerDamaged(_quarantine(path, str(error), clock)) from error
        raise


def _prepare(db: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 4194304")
    if sys.platform == "darwin":
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA checkpoint_fullfsync = ON")
    if (wrong := unsound_page(db)) is not None:
        raise LedgerDamaged(wrong)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise NewerLedger(newer(version, len(migrations)))
    if 0 < version < len(migrations):
        _back_up(db, path, version)
    if version < len(migrations):
        db.executescript(f"BEGIN IMMEDIATE;{';'.join(migrations[version:])};PRAGMA user_version = {len(migrations)};COMMIT;")
    if (wrong := unsound_row(db)) is not None:
        raise LedgerDamaged(wrong)
    db.execute("PRAGMA cache_size = -1000")
    db.execute("PRAGMA temp_store = MEMORY")
    db.executescript(INTAKE)


def newer(version: int, known: int = len(MIGRATIONS)) -> str:
    return f"written by a newer edge-console (schema {version}, this one knows {known}); update it"


def _make_private(path: Path) -> None:
    """There before SQLite makes it, since the files beside it take their mode from it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
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
    away = f"you restore a backup, or move it and {MARK_NAME} away, and its memory with them"
    return f"{path} is damaged ({why}), a copy is {target.name}; no command is run until {away}"


def keep_reserve(folder: Path) -> bool:
    """Space set aside for closing what runs when the disk is full; False while there is too little of it to set any aside."""
    reserve = folder / RESERVE_NAME
    try:
        if not reserve.exists():
            if shutil.disk_usage(folder).free <= 16 * RESERVE_BYTES:
                return False
            descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"\0" * RESERVE_BYTES)
    except OSError:
        return False
    return True
