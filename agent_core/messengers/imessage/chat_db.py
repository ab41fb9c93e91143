"""Reads `chat.db`, where Messages keeps what it sent: read-only, opened anew for each look, so that nothing is missed in its WAL."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from agent_core.messengers.imessage.chats import Recipient
from agent_core.messengers.imessage.parts import File, Part

LOCKED_WITHIN = 2.0
MAX_BODY = 2**20
DENIED = ("authorization denied", "unable to open")
APPLE_EPOCH = 978_307_200
MARK = "SELECT coalesce(max(ROWID), 0) FROM message"
CHATS = """SELECT guid FROM chat WHERE chat_identifier = ? AND guid LIKE ? AND (? IS NULL OR service_name = ? COLLATE NOCASE)
 ORDER BY guid LIKE 'any;%' DESC, (SELECT max(message_id) FROM chat_message_join WHERE chat_id = chat.ROWID) DESC, ROWID DESC LIMIT 1"""
OWN_ROWS = """SELECT m.guid, m.service, coalesce(c.guid, ''), m.text, m.attributedBody, m.error, m.date
 FROM message m LEFT JOIN chat_message_join j ON j.message_id = m.ROWID LEFT JOIN chat c ON c.ROWID = j.chat_id
 LEFT JOIN handle h ON h.ROWID = m.handle_id
 WHERE m.ROWID > ? AND m.is_from_me = 1 AND coalesce(c.chat_identifier, h.id) = ? ORDER BY m.ROWID"""
OWN_FILES = """SELECT m.guid, m.service, coalesce(c.guid, ''), m.error, m.date, a.transfer_name, a.total_bytes
 FROM message m JOIN message_attachment_join n ON n.message_id = m.ROWID JOIN attachment a ON a.ROWID = n.attachment_id
 LEFT JOIN chat_message_join j ON j.message_id = m.ROWID LEFT JOIN chat c ON c.ROWID = j.chat_id LEFT JOIN handle h ON h.ROWID = m.handle_id
 WHERE m.ROWID > ? AND m.is_from_me = 1 AND coalesce(c.chat_identifier, h.id) = ?
 GROUP BY m.ROWID HAVING count(DISTINCT a.ROWID) = 1 ORDER BY m.ROWID"""
"""A file that is sent alone; what a human sends may have several."""
REFERS = "SELECT EXISTS (SELECT 1 FROM attachment WHERE instr(filename, ?))"


class ChatDbUnreadable(OSError):
    """Why, and what to do."""

    is_denied = False
    """The file is there, and the system keeps it from this program."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message of this account's own."""

    guid: str
    service: str
    chat: str
    error: int
    utc: float


class ChatDb:
    """Every call blocks for a moment. Raises ChatDbUnreadable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self) -> int:
        """What stands there now, whatever is sent from here on comes above it."""
        with self.opened() as db:
            mark: int = db.execute(MARK).fetchone()[0]
            return mark

    def live_chat(self, to: Recipient, service: str | None) -> str | None:
        """The id that Messages uses for it now; ids change with the system's version."""
        with self.opened() as db:
            kind = "%;+;%" if to.group else "%;-;%"
            found = db.execute(CHATS, (to.identifier, kind, service, service)).fetchone()
            return found[0] if found else None

    @property
    def attachments(self) -> Path:
        """Where Messages keeps files, and may read them."""
        return self.path.parent / "Attachments"

    def refers_to(self, place: str) -> bool:
        """Whether Messages itself keeps a file there."""
        with self.opened() as db:
            return bool(db.execute(REFERS, (place,)).fetchone()[0])

    def sent(self, mark: int, to: Recipient, part: Part) -> list[Row]:
        """What this account has sent since `mark` to that chat with that text, or that file attached, oldest first."""
        return self._files(mark, to, part) if isinstance(part, File) else self._texts(mark, to, part.text)

    def _files(self, mark: int, to: Recipient, file: File) -> list[Row]:
        with self.opened() as db:
            return [
                Row(guid, service or "", chat, error or 0, utc_of(date or 0))
                for guid, service, chat, error, date, name, size in db.execute(OWN_FILES, (mark, to.identifier))
                if (name, size) == (file.name, file.bytes)
            ]

    def _texts(self, mark: int, to: Recipient, text: str) -> list[Row]:
        wanted = _comparable(text)
        with self.opened() as db:
            return [
                Row(guid, service or "", chat, error or 0, utc_of(date or 0))
                for guid, service, chat, plain, body, error, date in db.execute(OWN_ROWS, (mark, to.identifier))
                if _comparable(plain or text_of(body)) == wanted
            ]

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True, timeout=LOCKED_WITHIN)) as db:
                yield db
        except sqlite3.Error as error:
            there = self.path.exists()
            remedy = "give this program Full Disk Access" if there else "is Messages set up for this user?"
            unreadable = ChatDbUnreadable(f"{self.path} cannot be read ({error}): {remedy}")
            unreadable.is_denied = there and any(word in str(error) for word in DENIED)
            raise unreadable from None


def utc_of(date: int) -> float:
    """Nanoseconds since 2001, in old rows seconds."""
    return APPLE_EPOCH + (date / 1e9 if date > 1e12 else date)


def text_of(body: bytes | None) -> str:
    """The text inside an `attributedBody`; empty for what cannot be read, for anybody may have sent it."""
    if body is None or len(body) > MAX_BODY:
        return ""
    import typedstream  # type: ignore[import-untyped]

    try:
        text = typedstream.unarchive_from_data(body).contents[0].value.value
    except Exception:  # noqa: BLE001  (an archive of whatever shape)
        return ""
    return text if isinstance(text, str) else ""


def _comparable(text: str) -> str:
    """Messages may end lines otherwise, and drop what is blank at an end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
