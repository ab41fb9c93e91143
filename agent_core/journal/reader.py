"""Reading a ledger from outside the agent that owns it: short read-only transactions, so it works while the agent runs."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec.structs import replace

from agent_core.delays import Delays, Instants, delays
from agent_core.frames import TEXT_KEYS, Priority
from agent_core.journal.lost import lost
from agent_core.journal.mark import FILE_NAME as MARK_NAME
from agent_core.journal.opening import FILE_NAME, newer
from agent_core.journal.rows import COLUMNS, LEAST_DELIVERED, MIGRATIONS, UNPROVEN, UNRESOLVED, BadRow, remembered
from agent_core.journal.soundness import unsound_page, unsound_row
from agent_core.records import CLOCK_OFFSET, INBOUND_CURSOR, OVERDUE_AFTER, OutboxRow, Remembered

TEXTS = ", ".join(f"json_extract(payload, '$.{key}')" for key in TEXT_KEYS)
ASKED = {
    "text": f"CASE WHEN json_valid(payload) THEN coalesce({TEXTS}) END LIKE ? ESCAPE '\\'",
    "payload": "payload LIKE ? ESCAPE '\\'",
    "priority": "priority = ?",
}
"""What only the ledger knows of a command, as SQL."""
SAID = f"""(SELECT seq, payload, priority FROM commands
 UNION ALL SELECT seq, json_object('text', text), {Priority.NORMAL.value} FROM inbound)"""
MAX_ATTENTION = 500
MAX_WORDS = 120
"""Characters of a text by which a viewer tells its message from others."""
BEGIN_ANEW = f"restore a backup, or move {FILE_NAME} and {MARK_NAME} away, and its memory with them"
PAGE = 1_000
"""Rows read at once: a listing that nobody reads on holds no transaction open, which would let the write-ahead log grow."""


class NoLedger(Exception):
    """There is no readable ledger there; the sentence says why."""


class LaterSchema(NoLedger):
    """A later version of this program has written it, and only that one can judge it."""


@contextmanager
def reading(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """A connection; whatever SQLite says against it, then or later, is NoLedger. Text that is not UTF-8 is read nevertheless."""
    path = data_dir / FILE_NAME
    if (gone := lost(path)) is not None:
        raise NoLedger(gone)
    if not path.exists():
        raise NoLedger(f"no ledger in {data_dir}: the agent has not run with this data_dir yet")
    if not path.is_file():  # SQLite would wait for somebody to write into a pipe
        raise NoLedger(f"{path} cannot be read: it is no file")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
            if (version := db.execute("PRAGMA user_version").fetchone()[0]) > len(MIGRATIONS):
                raise LaterSchema(f"{path} cannot be judged: {newer(version)}")
            db.execute("PRAGMA cache_size = -256")  # each page is read about once
            db.text_factory = lambda text: text.decode("utf-8", "replace")
            yield db
    except sqlite3.Error as error:
        raise NoLedger(f"{path} cannot be read: {error}") from None


def fault(data_dir: Path) -> tuple[str, str] | None:
    """What is wrong with the ledger, and what to do; None where it is sound, or not there yet."""
    path = data_dir / FILE_NAME
    if (gone := lost(path)) is not None:
        return gone, "put it back, or restore a backup"
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with reading(data_dir) as db:
            wrong = unsound_page(db) or unsound_row(db)
    except LaterSchema as error:
        return str(error), "update edge-console"
    except NoLedger as error:
        return str(error), BEGIN_ANEW
    return None if wrong is None else (f"{path} is damaged: {wrong}", BEGIN_ANEW)


def find(data_dir: Path, command_id: str) -> Remembered | None:
    """One command's record, or None."""
    try:
        with reading(data_dir) as db:
            row = db.execute(f"SELECT {COLUMNS} FROM commands WHERE command_id = ?", (command_id,)).fetchone()
            return _with_delivery(db, remembered(row)) if row else None
    except (NoLedger, BadRow):
        return None


def named(data_dir: Path, text: str) -> list[Remembered | BadRow]:
    """The command with this id, else those whose id begins so: at most ten. Raises NoLedger."""
    with reading(data_dir) as db:
        for where, values in (("command_id = ?", (text,)), ("substr(command_id, 1, ?) = ?", (len(text), text))):
            rows = db.execute(f"SELECT {COLUMNS} FROM commands WHERE {where} ORDER BY seq LIMIT 10", values).fetchall()
            if rows:
                return [one if isinstance(one, BadRow) else _with_delivery(db, one) for one in map(_read, rows)]
    return []


def _with_delivery(db: sqlite3.Connection, record: Remembered) -> Remembered:
    found = db.execute(f"SELECT status, changed_utc FROM receipts WHERE seq = ? {LEAST_DELIVERED}", (record.seq,)).fetchone()
    return record if found is None or found[0] is None else replace(record, delivery=found[0], delivery_utc=found[1])


def commands(data_dir: Path, state: str | None = None, last: int | None = None) -> Iterator[Remembered | BadRow]:
    """Every command, or the last ones, of all states or one (`unproven`: whose ack is not proven), oldest first. Raises NoLedger."""
    where = {None: "1", "unproven": "ack IS NOT NULL AND proven_utc IS NULL"}.get(state, "state = :state")
    with reading(data_dir) as db:
        after = 0
        if last is not None:
            newest = f"SELECT min(seq) FROM (SELECT seq FROM commands WHERE {where} ORDER BY seq DESC LIMIT :last)"
            after = (db.execute(newest, {"state": state, "last": last}).fetchone()[0] or 1) - 1
        page = f"SELECT {COLUMNS} FROM commands WHERE seq > :after AND {where} ORDER BY seq LIMIT :page"
        while rows := db.execute(page, {"state": state, "after": after, "page": PAGE}).fetchall():
            yield from map(_read, rows)
            after = rows[-1][0]


def inbound_cursor(data_dir: Path) -> str | None:
    """How far what comes in has been read, as `row@utc`. Raises NoLedger."""
    with reading(data_dir) as db:
        row = db.execute("SELECT value FROM facts WHERE key = ?", (INBOUND_CURSOR,)).fetchone()
        return row[0] if row else None


def owed_events(data_dir: Path) -> int:
    """How many events the backend is not known to have. Raises NoLedger."""
    with reading(data_dir) as db:
        count: int = db.execute("SELECT count(*) FROM events WHERE settled_utc IS NULL").fetchone()[0]
        return count


def asked(data_dir: Path, field: str, value: str, after: int) -> tuple[set[int], int]:
    """The commands, and what came in, behind that number that have `value` as their priority, in their message's text, or anywhere in
    their payload; and the last number that there is. Raises NoLedger.
    """
    with reading(data_dir) as db:
        last = (
            db.execute("SELECT max(seq) FROM (SELECT max(seq) seq FROM commands UNION ALL SELECT max(seq) FROM inbound)").fetchone()[0] or 0
        )
        page = f"SELECT seq FROM {SAID} WHERE seq > ? AND seq <= ? AND {ASKED[field]}"
        found = db.execute(page, (after, last, operand(field, value))).fetchall()
    return {seq for (seq,) in found}, last


def operand(field: str, value: str) -> str | int:
    """What is compared with the field: the priority's number, or a pattern that finds the text anywhere."""
    return Priority[value.upper()].value if field == "priority" else like(value)


def like(part: str) -> str:
    return "%" + part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def first_words(data_dir: Path, seqs: Sequence[int]) -> dict[int, str]:
    """How these messages begin, of those that have a text: commands, and what came in. Raises NoLedger."""
    text = f"substr(CASE WHEN json_valid(payload) THEN coalesce({TEXTS}) END, 1, {MAX_WORDS})"
    these = f"seq IN ({','.join('?' * len(seqs))})"
    both = f"""SELECT seq, {text} words FROM commands WHERE {these}
 UNION ALL SELECT seq, substr(text, 1, {MAX_WORDS}) FROM inbound WHERE {these} AND text <> ''"""
    with reading(data_dir) as db:
        return dict(db.execute(f"SELECT * FROM ({both}) WHERE words IS NOT NULL", [*seqs, *seqs]).fetchall())


def needing_attention(data_dir: Path, utc: float, most: int = MAX_ATTENTION) -> list[Remembered | BadRow]:
    """What needs the operator at that time, newest first: unresolved, or its ack unproven for too long. Raises NoLedger."""
    where = f"({UNRESOLVED}) OR ({UNPROVEN}) AND finished_utc < :before"
    page = f"SELECT {COLUMNS} FROM commands WHERE {where} ORDER BY seq DESC LIMIT :most"
    with reading(data_dir) as db:
        return list(map(_read, db.execute(page, {"before": utc - OVERDUE_AFTER, "most": most}).fetchall()))


def outbox(data_dir: Path, seq: int | None = None) -> Iterator[OutboxRow]:
    """Every message recorded as sent, or that of one command, oldest first. Raises NoLedger."""
    page = "SELECT seq, command_id, thread_id, text, sent_utc FROM outbox WHERE seq > ? AND (? IS NULL OR seq = ?) ORDER BY seq LIMIT ?"
    with reading(data_dir) as db:
        after = 0
        while rows := db.execute(page, (after, seq, seq, PAGE)).fetchall():
            yield from (OutboxRow(*row) for row in rows)
            after = rows[-1][0]


def _read(row: tuple[object, ...]) -> Remembered | BadRow:
    try:
        return remembered(row)
    except BadRow as error:
        return error


def settings(data_dir: Path) -> dict[str, str]:
    """What the backend has changed, by the settings' own names. Raises NoLedger."""
    with reading(data_dir) as db:
        rows = db.execute("SELECT substr(key, 9), value FROM facts WHERE key GLOB 'setting.*'").fetchall()
    return dict(rows)


def delays_since(data_dir: Path, since_utc: float) -> Delays:
    """Where the time went of what came from the backend since then and has ended. Raises NoLedger."""
    with reading(data_dir) as db:
        row = db.execute("SELECT value FROM facts WHERE key = ?", (CLOCK_OFFSET,)).fetchone()
        try:
            return delays(_instants(db, since_utc), float(row[0]) if row else None, since_utc)
        except (TypeError, ValueError) as error:
            raise NoLedger(f"{data_dir / FILE_NAME} is damaged: {error}") from None


def _instants(db: sqlite3.Connection, since_utc: float) -> Iterator[Instants]:
    page = f"""SELECT seq, {", ".join(f"{name}_utc" for name in Instants._fields)} FROM commands
 WHERE seq > ? AND received_utc >= ? AND via <> 'local' AND finished_utc IS NOT NULL ORDER BY seq LIMIT ?"""
    after = 0
    while rows := db.execute(page, (after, since_utc, PAGE)).fetchall():
        yield from (Instants(*row[1:]) for row in rows)
        after = rows[-1][0]
