"""Reads out of `chat.db` what has come in since a row, and what became of messages that were sent. Every call blocks for a moment."""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent_core.messengers.imessage.chat_db import ChatDb, text_of, utc_of
from agent_core.messengers.imessage.incoming import GROUP_STYLE, Attachment, InboundRow, status_of
from agent_core.plain import plain
from agent_core.records import Delivery

MAX_ATTACHMENTS = 50
MAX_HASHED = 256 * 2**20
CHUNK = 2**20
FINISHED = 5
"""The column `transfer_state`: the file is there."""
ROWS = """SELECT m.ROWID, m.guid, m.date, m.is_from_me, m.service, m.item_type, m.associated_message_type, m.associated_message_guid,
 h.id, m.destination_caller_id, c.last_addressed_handle, c.guid, c.chat_identifier, c.style, m.text, m.attributedBody,
 m.cache_has_attachments
 FROM message m LEFT JOIN handle h ON h.ROWID = m.handle_id LEFT JOIN chat_message_join j ON j.message_id = m.ROWID
 LEFT JOIN chat c ON c.ROWID = j.chat_id WHERE m.ROWID > ? GROUP BY m.ROWID ORDER BY m.ROWID LIMIT ?"""
ATTACHMENTS = """SELECT a.guid, a.filename, a.mime_type, a.uti, a.transfer_name, a.total_bytes, a.transfer_state FROM attachment a
 JOIN message_attachment_join j ON j.attachment_id = a.ROWID JOIN message m ON m.ROWID = j.message_id WHERE {where}
 ORDER BY a.ROWID LIMIT ?"""
DELIVERIES = """SELECT guid, is_sent, is_delivered, date_delivered, date_read, error FROM message
 WHERE is_from_me = 1 AND guid IN (SELECT value FROM json_each(?))"""


class Inbox:
    """Raises ChatDbUnreadable."""

    def __init__(self, db: ChatDb) -> None:
        self._db = db
        self._root = db.attachments
        """No file elsewhere is read."""

    @property
    def stamp(self) -> tuple[object, ...]:
        """What differs once somebody has written."""
        return tuple(_stamp(f"{self._db.path}{ending}") for ending in ("", "-wal", "-shm"))

    def top(self) -> int:
        return self._db.mark()

    def rows(self, after: int, most: int) -> list[InboundRow]:
        """At most so many, in the order in which they were written."""
        with self._db.opened() as db:
            return [_row(row) for row in db.execute(ROWS, (after, most))]

    def attachments(self, guid: str) -> tuple[list[Attachment], bool]:
        """Those of a message, and whether the file of each is there."""
        with self._db.opened() as db:
            rows = db.execute(ATTACHMENTS.format(where="m.guid = ?"), (guid, MAX_ATTACHMENTS)).fetchall()
        paths = [self.file_of(row[1]) if row[6] == FINISHED else None for row in rows]
        return [_attachment(row, path) for row, path in zip(rows, paths, strict=True)], None not in paths

    def file_of(self, filename: str | None) -> Path | None:
        """A regular file below the directory where Messages keeps attachments; None where there is none."""
        if not filename or "\0" in filename:
            return None
        try:
            path = Path(filename).expanduser().resolve()
            return path if path.is_relative_to(self._root.resolve()) and stat.S_ISREG(path.stat().st_mode) else None
        except (OSError, RuntimeError):
            return None

    def attachment_file(self, guid: str) -> Path | None:
        """Of one that came with a message to this account."""
        with self._db.opened() as db:
            row = db.execute(ATTACHMENTS.format(where="a.guid = ? AND m.is_from_me = 0"), (guid, 1)).fetchone()
        return None if row is None else self.file_of(row[1])

    def deliveries(self, guids: Iterable[str]) -> list[Delivery]:
        """How far these have come; of what is not sent yet nothing."""
        with self._db.opened() as db:
            rows = db.execute(DELIVERIES, (json.dumps(list(guids)),)).fetchall()
        return [one for row in rows if (one := _delivery(*row)) is not None]


def text_in(row: InboundRow) -> str:
    return row.text or text_of(row.body)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (ten times a second, for three files)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _attachment(row: tuple[Any, ...], path: Path | None) -> Attachment:
    guid, _filename, mime_type, uti, name, total_bytes, _state = row
    size, digest = _measured(path) if path is not None else (int(total_bytes or 0), None)
    return Attachment(plain(guid, 200), plain(name or "", 200), plain(mime_type or uti or "application/octet-stream", 100), size, digest)


def _row(row: tuple[Any, ...]) -> InboundRow:
    (
        rowid, guid, date, is_from_me, service, item_type, reaction, reaction_to, sender, addressed, last_addressed, chat, identifier,
        style, text, body, has_attachments,
    ) = row  # fmt: skip
    return InboundRow(
        rowid, guid, utc_of(date or 0), bool(is_from_me), service or "", item_type or 0, reaction_to if reaction else None, sender,
        frozenset(filter(None, (addressed, last_addressed))), chat, identifier, style == GROUP_STYLE, text, body, bool(has_attachments),
    )  # fmt: skip


def _delivery(guid: str, sent: int, delivered: int, delivered_date: int, read_date: int, error: int) -> Delivery | None:
    status = status_of(
        is_sent=sent or 0, is_delivered=delivered or 0, date_delivered=delivered_date or 0, date_read=read_date or 0, error=error or 0
    )
    if status is None:
        return None
    date = {"read": read_date, "delivered": delivered_date}.get(status)
    return Delivery(guid, status, error or 0, utc_of(date) if date else None)


def _measured(path: Path) -> tuple[int, str | None]:
    """Bytes and SHA-256; None where it is too large, or cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_HASHED:
                return size, None
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError:
        return 0, None
    return size, digest.hexdigest()
