"""The program Messages: it writes what it is asked to send into `chat.db`, and misbehaves as the real one does, by a script.

`osascript` and `imsg` ask it over a socket, as the real ones ask by Apple events, so it lives on when they are killed.
"""

import asyncio
import json
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from time import time
from typing import Any, Self

from agent_core.reference.messages.chat_db import ChatDb, apple_time
from agent_core.reference.messages.programs import PORT_FILE

ACCOUNT = "+13105550199"
"""The number of this account."""
SENT_AFTER, DELIVERED_AFTER, READ_AFTER = 0.05, 0.2, 1.0
LATE_BY, UNROUTABLE_AFTER = 3.0, 2.0
MAX_REQUEST = 2**22
OBJECT = "\ufffc"
"""What stands in a text for the file that is attached."""
UNROUTABLE, UNREADABLE = 22, 25
"""Of the column `error`."""
NO_SUCH_OBJECT, INVALID_INDEX, NOT_ALLOWED, TIMED_OUT, MAY_HAVE_COMPLETED = -1728, -1719, -1743, -1712, -32001


class Fault(StrEnum):
    """What becomes of one message."""

    NONE = "none"
    SAYS_SENT = "says sent"
    """And writes nothing."""
    LATE = "late"
    TWICE = "twice"
    HANGS = "hangs"
    """The asker waits for ever, and nothing is sent."""
    HANGS_SENT = "hangs, sent"
    IGNORES_TERM = "ignores TERM"
    """And goes on for as long as Messages does."""
    UNROUTABLE = "unroutable"
    """Error 22, two seconds after the row."""
    GHOST = "ghost"
    """A row with no text that belongs to no chat, and nothing leaves."""
    MAY_HAVE_COMPLETED = "may have completed"
    MAY_HAVE_COMPLETED_SENT = "may have completed, sent"
    NOT_ALLOWED = "not allowed"
    NOT_SIGNED_IN = "not signed in"
    STRANGER = "stranger"
    ATTACHED_LATE = "attached late"
    """A file's message stands there at once, what attaches the file to it seconds later."""
    NEVER_ATTACHED = "never attached"
    """A file's message goes out empty."""


Content = str | Path
"""What a message is: a text, or a file."""


class Refused(Exception):
    """An answer with an error number, as AppleScript has them."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(said)
        self.number = number


class MessagesApp:
    """`async with` runs it over `folder/chat.db`. `faults` is what becomes of the next messages, one each; then all is well."""

    def __init__(self, folder: Path, faults: Iterable[Fault] = (), *, tahoe: bool = False, late_by: float = LATE_BY) -> None:
        self.folder = folder
        self.faults = deque(faults)
        self.asked: list[dict[str, Any]] = []
        """Every request, as it came."""
        self.read_receipts = False
        self.on_asked: Callable[[str, str], object] = lambda _target, _text: None
        self.on_sent: Callable[[str], object] = lambda _text: None
        """Told of each text that was asked for and really left, once."""
        self._late_by = late_by
        self.db = ChatDb(folder / "chat.db", tahoe=tahoe)
        self.attachments = folder.resolve() / "Attachments"
        """All that it may read, and where it keeps copies of what it sends."""
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_REQUEST)
        (self.folder / PORT_FILE).write_text(str(self._server.sockets[0].getsockname()[1]))

    async def stop(self) -> None:
        self._server.close()
        self._over.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.db.close()

    def type(self, target: str, text: str) -> str:
        """A human at this Mac sends the same way that everybody does."""
        chat = self.db.chat_of(target)
        return self._send(self.db.person(target) if chat is None else chat, text)

    def receive(self, sender: str, text: str, group: str | None = None, *, utc: float | None = None, files: Iterable[Path] = ()) -> str:
        """A message comes in, with files that are in the folder `Attachments`; `utc`: it was sent then, and the cloud brings it back."""
        chat = self.db.person(sender) if group is None else self.db.group(group, [sender])
        return self.db.add(chat, text, sender=sender, utc=utc, files=files, is_delivered=1, destination_caller_id=ACCOUNT)

    def receive_old(self, sender: str, messages: Iterable[tuple[str, float]]) -> None:
        """The cloud brings old messages back, all at once."""
        chat = self.db.person(sender)
        with self.db.together():
            for text, utc in messages:
                self.db.add(chat, text, sender=sender, utc=utc, is_delivered=1, destination_caller_id=ACCOUNT)

    def note_to_self(self, text: str) -> None:
        """A message to this account's own number, which comes back as a second row."""
        chat = self.db.person(ACCOUNT)
        self.db.add(chat, text)
        self.db.add(chat, text, sender=ACCOUNT, destination_caller_id=ACCOUNT)

    # --- requests --------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ValueError):
            request = json.loads(await reader.readline())
            self.asked.append(request)
            self.on_asked(request["target"], request.get("text", ""))
            fault = self.faults.popleft() if self.faults else Fault.NONE
            writer.write(json.dumps(await self._answer(request, fault)).encode() + b"\n")
            await writer.drain()
            if fault is Fault.IGNORES_TERM:
                await self._over.wait()
        writer.close()

    async def _answer(self, request: dict[str, Any], fault: Fault) -> dict[str, Any]:
        try:
            self._refuse(fault)
            chat = self._chat(request["target"], request["service"], by_id=request["by_id"])
        except Refused as refused:
            return {"error": refused.number, "said": str(refused)}
        guid = self._misbehave(fault, chat, Path(request["file"]) if "file" in request else request["text"])
        if fault in {Fault.HANGS, Fault.HANGS_SENT}:
            await self._over.wait()
        if fault in {Fault.MAY_HAVE_COMPLETED, Fault.MAY_HAVE_COMPLETED_SENT}:
            return {"error": MAY_HAVE_COMPLETED, "said": "may have completed"}
        return {"guid": guid, "ignores_term": fault is Fault.IGNORES_TERM}

    def _refuse(self, fault: Fault) -> None:
        match fault:
            case Fault.NOT_ALLOWED:
                raise Refused(NOT_ALLOWED, "Not authorized to send Apple events to Messages.")
            case Fault.NOT_SIGNED_IN:
                raise Refused(INVALID_INDEX, "Messages got an error: Can’t get account 1 whose service type = iMessage. Invalid index.")
            case Fault.STRANGER:
                raise Refused(NO_SUCH_OBJECT, "Messages got an error: Can’t get participant.")

    def _misbehave(self, fault: Fault, chat: int, content: Content) -> str | None:
        """The GUID where the row is there at once."""
        match fault:
            case Fault.SAYS_SENT | Fault.HANGS | Fault.IGNORES_TERM | Fault.MAY_HAVE_COMPLETED:
                return None
            case Fault.LATE:
                self.later(self._late_by, lambda: self._leave(chat, content))
                return None
            case Fault.GHOST:
                self.db.add(None, None)
                return None
            case Fault.UNROUTABLE:
                guid = self._add(chat, content)
                self._fails(guid, UNROUTABLE)
                return guid
            case Fault.NEVER_ATTACHED:
                return self.db.add(chat, OBJECT)
            case Fault.TWICE:
                self._send(chat, content)
        return self._leave(chat, content, attached_after=self._late_by if fault is Fault.ATTACHED_LATE else 0.0)

    # --- what leaves -----------------------------------------------------------------------------------------

    def _chat(self, target: str, service: str, *, by_id: bool = False) -> int:
        if by_id:
            found = self.db.chat_of(target)
            if found is None:
                raise Refused(NO_SUCH_OBJECT, f'Messages got an error: Can’t get chat id "{target}".')
            return found
        return self.db.person(target, service)

    def _leave(self, chat: int, content: Content, attached_after: float = 0.0) -> str:
        self.on_sent(content if isinstance(content, str) else content.name)
        return self._send(chat, content, attached_after)

    def _send(self, chat: int, content: Content, attached_after: float = 0.0) -> str:
        guid = self._add(chat, content, attached_after)
        if isinstance(content, Path) and not content.is_relative_to(self.attachments):
            self._fails(guid, UNREADABLE)
            return guid
        self.later(SENT_AFTER, lambda: self.db.change(guid, is_sent=1, is_finished=1))
        self.later(DELIVERED_AFTER, lambda: self.db.change(guid, is_delivered=1, date_delivered=apple_time(time())))
        if self.read_receipts:
            self.later(READ_AFTER, lambda: self.db.change(guid, date_read=apple_time(time())))
        return guid

    def _add(self, chat: int, content: Content, attached_after: float = 0.0) -> str:
        """A file is read a moment later, for its copy among the other attachments."""
        if isinstance(content, str):
            return self.db.add(chat, content)
        guid, copy = self.db.add(chat, OBJECT), self.attachments / "ab" / str(uuid.uuid4()).upper() / content.name
        size = content.stat().st_size if content.exists() else None
        if attached_after:
            self.later(attached_after, lambda: self.db.attach(guid, copy, size))
        else:
            self.db.attach(guid, copy, size)
        self.later(attached_after + SENT_AFTER, lambda: self._copy(guid, content, copy))
        return guid

    def _copy(self, guid: str, file: Path, copy: Path) -> None:
        """Messages lives in a sandbox: what lies elsewhere it cannot read, nor what is gone."""
        if not file.is_relative_to(self.attachments) or not file.exists():
            self.db.change(guid, error=UNREADABLE, is_sent=0, is_finished=1)
            return
        copy.parent.mkdir(parents=True)
        shutil.copyfile(file, copy)
        self.db.arrived(copy)

    def _fails(self, guid: str, error: int) -> None:
        self.later(UNROUTABLE_AFTER, lambda: self.db.change(guid, error=error, is_finished=1))

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Unless it is over by then."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            do()

        task = asyncio.ensure_future(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
