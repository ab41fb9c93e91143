"""A message is sent when its row stands in `chat.db` above the mark that was noted before; nothing else proves it."""

import asyncio
import os
import shutil
import sys
from collections import deque
from pathlib import Path

from agent_core.clock import iso
from agent_core.config.models import Config
from agent_core.frames import Command, Message
from agent_core.messengers.base import Context, Messenger, MessengerError
from agent_core.messengers.imessage.chat_db import ChatDb, ChatDbUnreadable, Row
from agent_core.messengers.imessage.chats import Recipient, recipient_of
from agent_core.messengers.imessage.ways import MAX_TEXT, NO_SUCH_OBJECT, NOT_ALLOWED, Addressee, AppleScript, Doubtful, Imsg, Refused, Way
from agent_core.records import Outcome

ROW_WITHIN = 8.0
LOOK_EVERY, SETTLE_LOOK_EVERY = 0.1, 0.3
CLAIMS_KEPT, MAX_CANDIDATES = 1_000, 10
CHAT_DB = Path("~/Library/Messages/chat.db")
ERRORS = {22: "the recipient cannot be reached by this service"}
"""By number in the column `error`."""


class IMessageMessenger(Messenger):
    """`service` is iMessage or SMS; None: that of the chat, else iMessage.

    A row is waited for `row_within` seconds; after a run whose end nobody saw for `settle_within`, which is longer than any send takes.
    """

    settles = True

    def __init__(
        self, db: ChatDb, way: Way, service: str | None = None, *, row_within: float = ROW_WITHIN, settle_within: float = 30.0
    ) -> None:
        self._db = db
        self._way = way
        self._service = service
        self._row_within, self._settle_within = row_within, settle_within
        self._one_at_a_time = asyncio.Lock()
        self._claimed: deque[str] = deque(maxlen=CLAIMS_KEPT)
        """Rows that have proven a message: each proves one, also where two threads mean the same chat."""

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:  # noqa: ARG002
        assert context.mark is not None
        mark = int(context.mark)
        try:
            to = recipient_of(message.thread_id)
            _check(message.text)
            async with self._one_at_a_time:
                guid = await self._ask(to, message.text)
        except Refused as refused:
            return Outcome(error=str(refused), permission="automation" if refused.number == NOT_ALLOWED else None)
        except (ValueError, ChatDbUnreadable) as error:
            return Outcome(error=str(error))
        except Doubtful as doubt:
            return await self._seen(mark, to, message.text, None, Outcome(error=str(doubt), unknown=True))
        missing = Outcome(error=f"no row in chat.db within {self._row_within:g} s", unknown=True, final=True)
        return await self._seen(mark, to, message.text, guid, missing)

    async def mark(self) -> str:
        return str(await asyncio.to_thread(self._db.mark))

    async def settle(self, mark: str, message: Message) -> Outcome | None:
        """One row is the message; none until nothing can come any more: it was not sent; of several nobody knows which."""
        to = recipient_of(message.thread_id)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settle_within
        while not (rows := await self._rows(int(mark), to, message.text)):
            if loop.time() >= end:
                return None
            await asyncio.sleep(SETTLE_LOOK_EVERY)
        if len(rows) == 1:
            return self._claim(rows[0])
        candidates = [{"guid": row.guid, "chat": row.chat, "sent_at": iso(row.utc)} for row in rows[:MAX_CANDIDATES]]
        return Outcome(error=f"{len(rows)} messages like it were sent meanwhile", unknown=True, result={"candidates": candidates})

    async def close(self) -> None:
        await self._way.close()

    async def _ask(self, to: Recipient, text: str) -> str | None:
        """By the chat's live id; a person can be reached without one, too. Raises Refused, Doubtful, ChatDbUnreadable, OSError."""
        chat = await asyncio.to_thread(self._db.live_chat, to, self._service)
        service = self._service or "iMessage"
        if chat is not None:
            try:
                return await self._way.send(Addressee(chat, is_chat=True, service=service), text)
            except Refused as refused:
                if to.group or refused.number != NO_SUCH_OBJECT:
                    raise
        elif to.group:
            raise Refused("Messages has no such group here")
        return await self._way.send(Addressee(to.identifier, is_chat=False, service=service), text)

    async def _seen(self, mark: int, to: Recipient, text: str, guid: str | None, otherwise: Outcome) -> Outcome:
        """Completed with the row that proves it, as soon as it is there."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._row_within
        while True:
            try:
                rows = await self._rows(mark, to, text)
            except ChatDbUnreadable as error:
                rows, otherwise = [], Outcome(error=str(error), unknown=True)
            if row := next((row for row in rows if guid in {None, row.guid}), None):
                return self._claim(row)
            if loop.time() >= end:
                return otherwise
            await asyncio.sleep(LOOK_EVERY)

    async def _rows(self, mark: int, to: Recipient, text: str) -> list[Row]:
        """Raises ChatDbUnreadable."""
        rows = await asyncio.to_thread(self._db.sent, mark, to, text)
        return [row for row in rows if row.guid not in self._claimed]

    def _claim(self, row: Row) -> Outcome:
        self._claimed.append(row.guid)
        error = f"Messages could not send it: error {row.error}" + (f", {ERRORS[row.error]}" if row.error in ERRORS else "")
        return Outcome(error=error if row.error else None, result={"guid": row.guid, "service": row.service, "chat": row.chat})


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
