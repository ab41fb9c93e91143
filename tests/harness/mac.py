"""A Mac's Messages on the bench, with a messenger that sends by it."""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent_core.frames import Attachment, Command, Message
from agent_core.handlers import run
from agent_core.messengers import Context
from agent_core.messengers.base import StagedFile
from agent_core.messengers.imessage.chat_db import ChatDb, text_of
from agent_core.messengers.imessage.messenger import IMessageMessenger
from agent_core.messengers.imessage.ways import AppleScript, Imsg
from agent_core.records import Outcome
from agent_core.reference.messages.app import LATE_BY, Fault, MessagesApp
from agent_core.reference.messages.programs import install

ANNA = "+13105550100"
COMMAND = Command("cmd_1", "send_message_now")
WAYS = ("applescript", "imsg")


@dataclass
class Mac:
    """A bench with a messenger that uses it."""

    app: MessagesApp
    messenger: IMessageMessenger

    async def send(self, text: str, thread: str = ANNA, within: float = 20.0, files: Sequence[StagedFile] = ()) -> Outcome:
        asked = asking(text, files, thread)
        try:
            mark = await self.messenger.mark()
        except OSError as error:
            return Outcome(error=str(error))
        pending = self.messenger.send(asked, COMMAND, Context(1, 0.0, self.messenger, asked, mark, files=tuple(files)))
        return await run(pending, COMMAND, within, lambda _command, _seconds: None)

    def rows(self) -> list[dict[str, Any]]:
        return rows_of(self.app.folder)


def asking(text: str, files: Sequence[StagedFile] = (), thread: str = ANNA) -> Message:
    named = tuple(Attachment(f"https://files.example.org/{file.name}", file.sha256, file.bytes, file.name) for file in files)
    return Message(thread, text, attachments=named)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What stands in the database, with the text made readable."""
    with closing(sqlite3.connect(folder / "chat.db")) as db:
        db.row_factory = sqlite3.Row
        query = """SELECT m.*, c.guid chat, h.id handle, (SELECT a.transfer_name FROM message_attachment_join n
         JOIN attachment a ON a.ROWID = n.attachment_id WHERE n.message_id = m.ROWID) attached
         FROM message m LEFT JOIN chat_message_join j ON j.message_id = m.ROWID
         LEFT JOIN chat c ON c.ROWID = j.chat_id LEFT JOIN handle h ON h.ROWID = m.handle_id ORDER BY m.ROWID"""
        return [dict(row) | {"text": text_of(row["attributedBody"])} for row in db.execute(query)]


@asynccontextmanager
async def mac(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    faults: Iterable[Fault] = (),
    *,
    tahoe: bool = False,
    late_by: float = LATE_BY,
    **more: Any,
) -> AsyncIterator[Mac]:
    monkeypatch.setenv("PATH", f"{install(folder)}:{os.environ['PATH']}")
    async with MessagesApp(folder, faults, tahoe=tahoe, late_by=late_by) as app:
        how = Imsg() if way == "imsg" else AppleScript()
        messenger = IMessageMessenger(ChatDb(folder / "chat.db"), how, **more)
        try:
            yield Mac(app, messenger)
        finally:
            await messenger.close()
