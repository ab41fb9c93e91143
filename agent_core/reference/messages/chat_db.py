"""`chat.db` as Messages writes it: the real tables and columns, `attributedBody` in place of `text`, in WAL mode."""

import mimetypes
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent_core.reference.messages.typedstream import attributed

APPLE_EPOCH = 978_307_200
"""2001-01-01 in Unix seconds; the date columns count nanoseconds from there."""
PERSON, GROUP = 45, 43
TRANSFERRING, FINISHED = 3, 5
SCHEMA = """
CREATE TABLE handle (ROWID INTEGER PRIMARY KEY AUTOINCREMENT UNIQUE, id TEXT NOT NULL, country TEXT, service TEXT NOT NULL,
 uncanonicalized_id TEXT, person_centric_id TEXT, UNIQUE (id, service));
CREATE TABLE chat (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, style INTEGER, state INTEGER, account_id TEXT,
 properties BLOB, chat_identifier TEXT, service_name TEXT, room_name TEXT, account_login TEXT, is_archived INTEGER DEFAULT 0,
 last_addressed_handle TEXT, display_name TEXT, group_id TEXT, is_filtered INTEGER DEFAULT 0, successful_query INTEGER, engram_id TEXT,
 server_change_token TEXT, ck_sync_state INTEGER DEFAULT 0, original_group_id TEXT, last_read_message_timestamp INTEGER DEFAULT 0,
 cloudkit_record_id TEXT, last_addressed_sim_id TEXT, is_blackholed INTEGER DEFAULT 0, syndication_date INTEGER DEFAULT 0,
 syndication_type INTEGER DEFAULT 0, is_recovered INTEGER DEFAULT 0, is_deleting_incoming_messages INTEGER DEFAULT 0);
CREATE TABLE message (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, text TEXT, replace INTEGER DEFAULT 0,
 service_center TEXT, handle_id INTEGER DEFAULT 0, subject TEXT, country TEXT, attributedBody BLOB, version INTEGER DEFAULT 0,
 type INTEGER DEFAULT 0, service TEXT, account TEXT, account_guid TEXT, error INTEGER DEFAULT 0, date INTEGER, date_read INTEGER,
 date_delivered INTEGER, is_delivered INTEGER DEFAULT 0, is_finished INTEGER DEFAULT 0, is_emote INTEGER DEFAULT 0,
 is_from_me INTEGER DEFAULT 0, is_empty INTEGER DEFAULT 0, is_delayed INTEGER DEFAULT 0, is_auto_reply INTEGER DEFAULT 0,
 is_prepared INTEGER DEFAULT 0, is_read INTEGER DEFAULT 0, is_system_message INTEGER DEFAULT 0, is_sent INTEGER DEFAULT 0,
 has_dd_results INTEGER DEFAULT 0, is_service_message INTEGER DEFAULT 0, is_forward INTEGER DEFAULT 0, was_downgraded INTEGER DEFAULT 0,
 is_archive INTEGER DEFAULT 0, cache_has_attachments INTEGER DEFAULT 0, cache_roomnames TEXT, was_data_detected INTEGER DEFAULT 0,
 was_deduplicated INTEGER DEFAULT 0, is_audio_message INTEGER DEFAULT 0, is_played INTEGER DEFAULT 0, date_played INTEGER,
 item_type INTEGER DEFAULT 0, other_handle INTEGER DEFAULT 0, group_title TEXT, group_action_type INTEGER DEFAULT 0,
 share_status INTEGER DEFAULT 0, share_direction INTEGER DEFAULT 0, is_expirable INTEGER DEFAULT 0, expire_state INTEGER DEFAULT 0,
 message_action_type INTEGER DEFAULT 0, message_source INTEGER DEFAULT 0, associated_message_guid TEXT,
 associated_message_type INTEGER DEFAULT 0, balloon_bundle_id TEXT, payload_data BLOB, expressive_send_style_id TEXT,
 associated_message_range_location INTEGER DEFAULT 0, associated_message_range_length INTEGER DEFAULT 0,
 time_expressive_send_played INTEGER, message_summary_info BLOB, ck_sync_state INTEGER DEFAULT 0, ck_record_id TEXT,
 ck_record_change_tag TEXT, destination_caller_id TEXT, is_corrupt INTEGER DEFAULT 0, reply_to_guid TEXT, sort_id INTEGER,
 is_spam INTEGER DEFAULT 0, has_unseen_mention INTEGER DEFAULT 0, thread_originator_guid TEXT, thread_originator_part TEXT,
 syndication_ranges TEXT, synced_syndication_ranges TEXT, was_delivered_quietly INTEGER DEFAULT 0,
 did_notify_recipient INTEGER DEFAULT 0, date_retracted INTEGER, date_edited INTEGER, was_detonated INTEGER DEFAULT 0,
 part_count INTEGER, is_stewie INTEGER DEFAULT 0, is_sos INTEGER DEFAULT 0, is_critical INTEGER DEFAULT 0,
 bia_reference_id TEXT DEFAULT NULL, is_kt_verified INTEGER DEFAULT 0, fallback_hash TEXT DEFAULT NULL);
CREATE TABLE attachment (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, created_date INTEGER DEFAULT 0,
 start_date INTEGER DEFAULT 0, filename TEXT, uti TEXT, mime_type TEXT, transfer_state INTEGER DEFAULT 0,
 is_outgoing INTEGER DEFAULT 0, user_info BLOB, transfer_name TEXT, total_bytes INTEGER DEFAULT 0, is_sticker INTEGER DEFAULT 0,
 sticker_user_info BLOB, attribution_info BLOB, hide_attachment INTEGER DEFAULT 0, ck_sync_state INTEGER DEFAULT 0,
 ck_server_change_token_blob BLOB, ck_record_id TEXT, original_guid TEXT UNIQUE NOT NULL, is_commsafety_sensitive INTEGER DEFAULT 0);
CREATE TABLE chat_handle_join (chat_id INTEGER REFERENCES chat (ROWID) ON DELETE CASCADE,
 handle_id INTEGER REFERENCES handle (ROWID) ON DELETE CASCADE, UNIQUE(chat_id, handle_id));
CREATE TABLE chat_message_join (chat_id INTEGER REFERENCES chat (ROWID) ON DELETE CASCADE,
 message_id INTEGER REFERENCES message (ROWID) ON DELETE CASCADE, message_date INTEGER DEFAULT 0, PRIMARY KEY (chat_id, message_id));
CREATE TABLE message_attachment_join (message_id INTEGER REFERENCES message (ROWID) ON DELETE CASCADE,
 attachment_id INTEGER REFERENCES attachment (ROWID) ON DELETE CASCADE, UNIQUE(message_id, attachment_id));
CREATE INDEX message_idx_is_sent_is_from_me_error ON message(is_sent, is_from_me, error);
CREATE INDEX message_idx_date ON message(date);
CREATE INDEX chat_idx_chat_identifier ON chat(chat_identifier);
CREATE INDEX chat_message_join_idx_message_id_only ON chat_message_join(message_id);
"""


def apple_time(utc: float) -> int:
    return int((utc - APPLE_EPOCH) * 1_000_000_000)


class ChatDb:
    """One writer, as Messages is. `tahoe`: chats have macOS 26's ids, `any;-;…` and `any;+;…`."""

    def __init__(self, path: Path, *, tahoe: bool = False) -> None:
        self._tahoe = tahoe
        new = not path.exists()
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        if new:
            self._db.executescript(f"BEGIN; {SCHEMA} COMMIT")

    def close(self) -> None:
        self._db.close()

    def person(self, address: str, service: str = "iMessage") -> int:
        """Their chat, made where there is none yet."""
        chat = self._chat(f"{self._prefix(service)};-;{address}", PERSON, address, service)
        self._join(chat, address, service)
        return chat

    def group(self, identifier: str, addresses: list[str], service: str = "iMessage") -> int:
        chat = self._chat(f"{self._prefix(service)};+;{identifier}", GROUP, identifier, service)
        for address in addresses:
            self._join(chat, address, service)
        return chat

    def chat_of(self, guid: str) -> int | None:
        found = self._db.execute("SELECT ROWID FROM chat WHERE guid = ?", (guid,)).fetchone()
        return found[0] if found else None

    def add(
        self, chat: int | None, text: str | None, *, sender: str | None = None, utc: float | None = None, files: Iterable[Path] = (),
        **columns: Any,
    ) -> str:  # fmt: skip
        """A message in one transaction with what it belongs to; its GUID. Without `sender` it is this account's own."""
        guid, at = str(uuid.uuid4()).upper(), apple_time(time.time() if utc is None else utc)
        with closing(self._db.cursor()) as cursor:
            cursor.execute("SAVEPOINT adding")
            service, handle = self._service_and_handle(cursor, chat, sender)
            row = {
                "guid": guid, "attributedBody": attributed(text) if text is not None else None, "handle_id": handle, "service": service,
                "date": at, "is_from_me": sender is None, "is_finished": sender is not None, "is_empty": text is None, "part_count": 1,
            } | columns  # fmt: skip
            cursor.execute(f"INSERT INTO message ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
            for file in files:
                self._attach(cursor, guid, file)
            if chat is not None:
                cursor.execute("INSERT INTO chat_message_join SELECT ?, ROWID, date FROM message WHERE guid = ?", (chat, guid))
            cursor.execute("RELEASE adding")
        return guid

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is added within is one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        yield
        self._db.execute("COMMIT")

    def attach(self, message: str, file: Path, size: int | None = None) -> None:
        """To a message that is there already, by its GUID; `size` is that of a file which is still to come."""
        with closing(self._db.cursor()) as cursor:
            cursor.execute("SAVEPOINT attaching")
            self._attach(cursor, message, file, size)
            cursor.execute("RELEASE attaching")

    @staticmethod
    def _attach(cursor: sqlite3.Cursor, message: str, file: Path, size: int | None = None) -> None:
        """The file may be on its way still: then the row says so, until `arrived`."""
        guid, there = str(uuid.uuid4()).upper(), file.exists()
        cursor.execute(
            "INSERT INTO attachment (guid, original_guid, filename, mime_type, transfer_name, total_bytes, transfer_state, is_outgoing)"
            " SELECT ?, ?, ?, ?, ?, ?, ?, is_from_me FROM message WHERE guid = ?",
            (
                guid, guid, str(file), mimetypes.guess_type(file.name)[0] or "application/octet-stream", file.name,
                file.stat().st_size if there else size or 1, FINISHED if there else TRANSFERRING, message,
            ),
        )  # fmt: skip
        cursor.execute("INSERT INTO message_attachment_join SELECT ROWID, ? FROM message WHERE guid = ?", (cursor.lastrowid, message))
        cursor.execute("UPDATE message SET cache_has_attachments = 1 WHERE guid = ?", (message,))

    def arrived(self, file: Path) -> None:
        """The attachment's file is there now."""
        size = file.stat().st_size
        self._db.execute("UPDATE attachment SET transfer_state = ?, total_bytes = ? WHERE filename = ?", (FINISHED, size, str(file)))

    def change(self, guid: str, **columns: Any) -> None:
        self._db.execute(f"UPDATE message SET {', '.join(f'{name} = ?' for name in columns)} WHERE guid = ?", (*columns.values(), guid))

    def checkpoint(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _prefix(self, service: str) -> str:
        return "any" if self._tahoe else service

    def _chat(self, guid: str, style: int, identifier: str, service: str) -> int:
        self._db.execute(
            "INSERT OR IGNORE INTO chat (guid, style, state, chat_identifier, service_name, group_id) VALUES (?, ?, 3, ?, ?, ?)",
            (guid, style, identifier, service, str(uuid.uuid4()).upper()),
        )
        found = self.chat_of(guid)
        assert found is not None
        return found

    def _join(self, chat: int, address: str, service: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO handle (id, service) VALUES (?, ?)", (address, service))
        self._db.execute(
            "INSERT OR IGNORE INTO chat_handle_join SELECT ?, ROWID FROM handle WHERE id = ? AND service = ?", (chat, address, service)
        )

    @staticmethod
    def _service_and_handle(cursor: sqlite3.Cursor, chat: int | None, sender: str | None) -> tuple[str, int]:
        """Own messages to a group have no handle; those to a person have theirs."""
        if chat is None:
            return "iMessage", 0
        style, service = cursor.execute("SELECT style, service_name FROM chat WHERE ROWID = ?", (chat,)).fetchone()
        if sender is None and style == GROUP:
            return service, 0
        found = cursor.execute(
            "SELECT h.ROWID FROM handle h JOIN chat_handle_join j ON j.handle_id = h.ROWID WHERE j.chat_id = ? AND (? IS NULL OR h.id = ?)",
            (chat, sender, sender),
        ).fetchone()
        return service, found[0] if found else 0
