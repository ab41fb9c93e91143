"""A message is sent when its row stands in `chat.db` above the mark that was noted before; nothing else proves it."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent_core.config.models import Config
from agent_core.frames import Command, Message
from agent_core.messengers.base import Context, Messenger, MessengerError
from agent_core.messengers.imessage.chat_db import ChatDb, ChatDbUnreadable, Row
from agent_core.messengers.imessage.chats import Recipient, recipient_of
from agent_core.messengers.imessage.outcomes import after, ambiguous, incomplete, receipt, sent
from agent_core.messengers.imessage.parts import Part, parts_of
from agent_core.messengers.imessage.shelf import Shelf
from agent_core.messengers.imessage.ways import MAX_TEXT, NO_SUCH_OBJECT, NOT_ALLOWED, Addressee, AppleScript, Doubtful, Imsg, Refused, Way
from agent_core.records import Outcome

ROW_WITHIN = 8.0
LOOK_EVERY, SETTLE_LOOK_EVERY = 0.1, 0.3
CLAIMS_KEPT = 1_000
CHAT_DB = Path("~/Library/Messages/chat.db")


class Unproven(Exception):
    """It may have been sent: why that cannot be told. `is_final`: its row has been waited for."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Search:
    """Where the rows of a message are looked for."""

    mark: int
    thread: str
    to: Recipient


class IMessageMessenger(Messenger):
    """`service` is iMessage or SMS; None: that of the chat, else iMessage.

    A row is waited for `row_within` seconds; after a run whose end nobody saw for `settle_within`, which is longer than any send takes.
    """

    settles = attaches = True

    def __init__(
        self, db: ChatDb, way: Way, service: str | None = None, *, row_within: float = ROW_WITHIN, settle_within: float = 30.0
    ) -> None:
        self._db = db
        self._shelf = Shelf(db)
        self._way = way
        self._service = service
        self._row_within, self._settle_within = row_within, settle_within
        self._one_at_a_time = asyncio.Lock()
        self._claimed: dict[str, str] = {}
        """Rows that have proven a message, with its thread: each proves one, also where two threads mean the same chat.

        Within a thread one message follows another, so that those before it have their rows below its mark.
        """

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:  # noqa: ARG002
        """Part after part, each once the row of the one before is there."""
        assert context.mark is not None
        parts, rows = parts_of(message), list[Row]()
        try:
            search = Search(int(context.mark), message.thread_id, recipient_of(message.thread_id))
            _check(message.text)
            copies = await asyncio.to_thread(self._shelf.put, context.files)
            contents: list[str | Path] = [message.text, *copies] if message.text else [*copies]
            for part, content in zip(parts, contents, strict=True):
                rows.append(await self._send_part(search, part, content, rows))
                if rows[-1].error:
                    break
        except Refused as refused:
            permission = "automation" if refused.number == NOT_ALLOWED else None
            return Outcome(error=after(rows, parts, str(refused)), result=receipt(rows, parts), permission=permission)
        except Unproven as doubt:
            return Outcome(error=after(rows, parts, str(doubt)), result=receipt(rows, parts), unknown=True, final=doubt.is_final)
        except (ValueError, OSError) as error:
            return Outcome(error=after(rows, parts, str(error)), result=receipt(rows, parts))
        return sent(rows, parts)

    async def mark(self) -> str:
        return str(await asyncio.to_thread(self._db.mark))

    async def settle(self, mark: str, message: Message) -> Outcome | None:
        """Its rows are the message; none until nothing can come any more: it was not sent; of more than there can be nobody knows which."""
        parts, search = parts_of(message), Search(int(mark), message.thread_id, recipient_of(message.thread_id))
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settle_within
        while True:
            found = {part: await self._rows(search, part) for part in parts}
            if several := [row for part, rows in found.items() if len(rows) > parts.count(part) for row in rows]:
                return ambiguous(several)
            there = [part for part in found for _ in found[part]]
            if len(there) == len(parts) or (loop.time() >= end and there):
                rows = [row for part in found for row in found[part]]
                self._claim(search, rows)
                return sent(rows, there) if len(there) == len(parts) else incomplete(rows, there, parts)
            if loop.time() >= end:
                return None
            await asyncio.sleep(SETTLE_LOOK_EVERY)

    async def close(self) -> None:
        await self._way.close()

    async def _send_part(self, search: Search, part: Part, content: str | Path, before: Sequence[Row]) -> Row:
        """The row that proves it. Raises Refused, Unproven, OSError."""
        guid, otherwise = None, Unproven(f"no row in chat.db within {self._row_within:g} s", is_final=True)
        try:
            async with self._one_at_a_time:
                guid = await self._ask(search.to, content)
        except Doubtful as doubt:
            otherwise = Unproven(str(doubt))
        loop = asyncio.get_running_loop()
        end = loop.time() + self._row_within
        while True:
            try:
                rows = [row for row in await self._rows(search, part) if row not in before]
            except ChatDbUnreadable as error:
                rows, otherwise = [], Unproven(str(error))
            if row := next((row for row in rows if guid in {None, row.guid}), None):
                self._claim(search, [row])
                return row
            if loop.time() >= end:
                raise otherwise
            await asyncio.sleep(LOOK_EVERY)

    async def _ask(self, to: Recipient, content: str | Path) -> str | None:
        """By the chat's live id; a person can be reached without one, too. Raises Refused, Doubtful, ChatDbUnreadable, OSError."""
        chat = await asyncio.to_thread(self._db.live_chat, to, self._service)
        service = self._service or "iMessage"
        if chat is not None:
            try:
                return await self._way.send(Addressee(chat, is_chat=True, service=service), content)
            except Refused as refused:
                if to.group or refused.number != NO_SUCH_OBJECT:
                    raise
        elif to.group:
            raise Refused("Messages has no such group here")
        return await self._way.send(Addressee(to.identifier, is_chat=False, service=service), content)

    async def _rows(self, search: Search, part: Part) -> list[Row]:
        """Raises ChatDbUnreadable."""
        rows = await asyncio.to_thread(self._db.sent, search.mark, search.to, part)
        return [row for row in rows if self._claimed.get(row.guid, search.thread) == search.thread]

    def _claim(self, search: Search, rows: Iterable[Row]) -> None:
        self._claimed |= {row.guid: search.thread for row in rows}
        for guid in list(self._claimed)[: max(0, len(self._claimed) - CLAIMS_KEPT)]:
            del self._claimed[guid]


def _check(text: str) -> None:
    """Raises ValueError."""
    if "\0" in text or len(text.encode()) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT} bytes" if "\0" not in text else "the text has a character U+0000")


def imessage(config: Config) -> IMessageMessenger:
    """Of this configuration. Raises MessengerError off a Mac, unless a database is named by configuration."""
    settings, path, way = config.messenger, chat_db_of(config), way_of(config)
    program = "imsg" if way == "imsg" else "osascript"
    if shutil.which(program) is None:
        raise MessengerError(f"{program} is not on the PATH ({os.environ.get('PATH', '')})")
    service = None if settings.service == "auto" else settings.service
    db, by = ChatDb(path), Imsg() if way == "imsg" else AppleScript()
    return IMessageMessenger(db, by, service, settle_within=settings.settle_seconds)


def way_of(config: Config) -> str:
    """`imsg` or `applescript`."""
    way = config.messenger.way
    return way if way != "auto" else "imsg" if shutil.which("imsg") else "applescript"


def chat_db_of(config: Config) -> Path:
    """Raises MessengerError off a Mac, unless it is named by configuration."""
    path = config.messenger.chat_db
    if path is None and sys.platform != "darwin":
        raise MessengerError("it needs a Mac (or messenger.chat_db, the database of a bench)")
    return (path or CHAT_DB).expanduser()
