"""Reading a ledger from outside the agent that owns it: one short read-only transaction each, so it works while the agent runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from agent_core.journal import COLUMNS, FILE_NAME, remembered
from agent_core.records import OutboxRow, Remembered


class NoLedger(Exception):
    """There is no readable ledger there; the sentence says why."""


def connect(data_dir: Path) -> sqlite3.Connection:
    """Raises NoLedger."""
    path = data_dir / FILE_NAME
    if not path.exists():
        raise NoLedger(f"no ledger in {data_dir}: the agent has not run with this data_dir yet")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        db.execute("SELECT 1 FROM commands LIMIT 1")
    except sqlite3.Error as error:
        raise NoLedger(f"{path} cannot be read: {error}") from None
    return db


def find(data_dir: Path, command_id: str) -> Remembered | None:
    """One command's record, or None."""
    try:
        with closing(connect(data_dir)) as db:
            row = db.execute(f"SELECT {COLUMNS} FROM commands WHERE command_id = ?", (command_id,)).fetchone()
    except NoLedger:
        return None
    return remembered(row) if row else None


def commands(data_dir: Path, state: str | None = None) -> Iterator[Remembered]:
    """Every command, oldest first. Raises NoLedger."""
    with closing(connect(data_dir)) as db:
        where, values = ("WHERE state = ?", (state,)) if state else ("", ())
        for row in db.execute(f"SELECT {COLUMNS} FROM commands {where} ORDER BY seq", values):
            yield remembered(row)


def outbox(data_dir: Path) -> Iterator[OutboxRow]:
    """Every message recorded as sent, oldest first. Raises NoLedger."""
    with closing(connect(data_dir)) as db:
        for row in db.execute("SELECT seq, command_id, thread_id, text, sent_utc FROM outbox ORDER BY seq"):
            yield OutboxRow(*row)
