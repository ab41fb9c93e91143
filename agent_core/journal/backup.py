"""A copy of the ledger while the agent runs, the way back, and the fence around a ledger that has been handed over."""

import os
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from agent_core.journal.data_dir import HANDED_OVER
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import reading
from agent_core.journal.rows import MIGRATIONS
from agent_core.journal.soundness import unsound_page, unsound_row
from agent_core.plain import plain


class BackupUnfit(Exception):
    """What is no sound ledger of this version or an earlier one; the sentence says why."""


def back_up(data_dir: Path, target: Path) -> int:
    """The ledger as it stands at one instant, as one file that only its owner reads; how many commands it holds.

    Raises NoLedger, BackupUnfit, FileExistsError, OSError.
    """
    if target.exists():
        raise FileExistsError(17, "is there already", str(target))
    unfinished = target.with_name(f".{target.name}.part")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    try:
        with reading(data_dir) as db, closing(sqlite3.connect(unfinished, isolation_level=None)) as copy:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            count: int = copy.execute("SELECT count(*) FROM commands").fetchone()[0]
        examine(unfinished)
        _sync(unfinished)
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return count


def restore(data_dir: Path, source: Path) -> str | None:
    """Put a backup in the ledger's place, whose lock the caller holds; the name that the ledger there has now, if there was one.

    Raises BackupUnfit, OSError.
    """
    examine(source)
    unfinished = data_dir / f".{FILE_NAME}.part"
    unfinished.write_bytes(source.read_bytes())
    unfinished.chmod(0o600)
    _sync(unfinished)
    ledger = data_dir / FILE_NAME
    kept = f"ledger.before-{datetime.fromtimestamp(time.time(), UTC):%Y%m%d-%H%M%S}.sqlite3"
    there = [ending for ending in ("-wal", "-shm", "") if ledger.with_name(ledger.name + ending).exists()]
    for ending in there:  # a log that is left alone would be played into the backup
        ledger.with_name(ledger.name + ending).rename(data_dir / (kept + ending))
    unfinished.rename(ledger)
    return kept if "" in there else None


def fence(data_dir: Path, word: str) -> None:
    """From now on no agent starts here (data_dir.py reads it). Raises OSError."""
    with os.fdopen(os.open(data_dir / HANDED_OVER, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(word + "\n")
        file.flush()
        os.fsync(file.fileno())


def examine(path: Path) -> None:
    """Raises BackupUnfit, OSError."""
    if not path.stat().st_size:
        raise BackupUnfit(f"{plain(path, 300)} is empty")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            wrong = unsound_page(db) or (unsound_row(db) if version == len(MIGRATIONS) else None)
    except sqlite3.Error as error:
        raise BackupUnfit(f"{plain(path, 300)} is no ledger: {error}") from None
    if not 0 < version <= len(MIGRATIONS):
        raise BackupUnfit(f"{plain(path, 300)} is no ledger of this version or an earlier one (schema {version})")
    if wrong is not None:
        raise BackupUnfit(f"{plain(path, 300)} is damaged: {wrong}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
