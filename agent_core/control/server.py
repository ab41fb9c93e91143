"""The agent's end of the control socket: any number of viewers, none of which can slow it (messages.py).

Each viewer has a coroutine that writes and waits while its viewer does not read; the others and the agent go on. What is written is made
once for all viewers that keep pace: they look at the same instants.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from agent_core import __version__
from agent_core.codec import FORMAT, CodecError
from agent_core.control.address import is_ours, peer_uid, socket_path, too_long
from agent_core.control.messages import (
    MAX_ASKED,
    Answer,
    AskLedger,
    AskWords,
    Attach,
    Greeting,
    Lookup,
    LookupThread,
    Past,
    Post,
    Present,
    Search,
    asked_of,
    dump,
)
from agent_core.events import Event, ReplayRequested, ResolveRequested
from agent_core.feed import Feed
from agent_core.filters import Ask, FilterError
from agent_core.plain import plain
from agent_core.records import Remembered
from agent_core.search import Page, Query
from agent_core.snapshot import Snapshot
from agent_core.threads import ThreadPage, ThreadQuery

log = logging.getLogger("edge")
SHOW_EVERY = 0.1
ENTRIES_AT_ONCE = 2_000
MAX_VIEWERS = 16
ATTACH_WITHIN = 5.0


class Viewed(Protocol):
    """What the server needs of the agent; all on the agent's loop."""

    feed: Feed

    def snapshot(self) -> Snapshot: ...
    def post(self, event: Event) -> None: ...
    def lookup(self, command_id: str) -> Remembered | None: ...
    def search(self, query: Query) -> Page: ...
    def thread(self, query: ThreadQuery) -> ThreadPage: ...
    def asked(self, ask: Ask, after: int) -> tuple[set[int], int]: ...
    def words(self, seqs: Sequence[int]) -> dict[int, str]: ...
    def look_on(self, viewers: int) -> None:
        """How many viewers want feed entries now."""
        ...


class ControlServer:
    """`close` ends every viewer and removes the socket."""

    def __init__(self, agent: Viewed, data_dir: Path, host: str) -> None:
        self._agent = agent
        self._path = socket_path(data_dir)
        self._greeting = dump(Greeting(FORMAT, __version__, os.getpid(), host))
        self._server: asyncio.AbstractServer | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._looking = 0
        self._presents: tuple[Snapshot | None, bytes] = (None, b"")
        self._pasts: tuple[tuple[int, int], bytes] = ((0, 0), b"")

    async def open(self) -> None:
        """Serve; an agent whose socket cannot be made says so and goes on without."""
        if too_long(self._path):
            log.warning("no control socket: its path %s is too long for the system; choose a shorter data_dir", self._path)
            return
        try:
            listening = _listen(self._path)
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MAX_ASKED)
        except OSError as error:
            log.warning("no control socket at %s: %s", self._path, error.strerror)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            with suppress(OSError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        self._writers.add(writer)
        try:
            if len(self._writers) <= MAX_VIEWERS and is_ours(peer_uid(connection)):
                await self._attended(reader, writer)
        except (OSError, CodecError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("a viewer left: %s", plain(error))
        except Exception as error:  # noqa: BLE001  (the edge: whatever a viewer does, the agent goes on)
            log.warning("a viewer was let go: %s: %s", type(error).__name__, plain(error))
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _attended(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting)
        async with asyncio.timeout(ATTACH_WITHIN):
            attach = asked_of(await reader.readuntil())
        if not isinstance(attach, Attach) or attach.format != FORMAT:
            return
        self._count(attach.past)
        try:
            async with asyncio.TaskGroup() as group:
                showing = group.create_task(self._show(writer, past=attach.past), name="viewer")
                await self._listen_to(reader, writer, read_only=attach.read_only)
                showing.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._count(-attach.past)

    def _count(self, change: int) -> None:
        self._looking += change
        self._agent.look_on(self._looking)

    # --- out ---------------------------------------------------------------------------------------------------------

    async def _show(self, writer: asyncio.StreamWriter, *, past: bool) -> None:
        cursor, revision = self._agent.feed.oldest, -1
        clock = asyncio.get_running_loop().time
        while True:
            snapshot = self._agent.snapshot()
            if snapshot.revision != revision:
                revision = snapshot.revision
                writer.write(self._present(snapshot))
            more = False
            if past:
                cursor, more = self._tell(writer, cursor)
            await writer.drain()
            if not more:
                await asyncio.sleep(SHOW_EVERY - clock() % SHOW_EVERY)

    def _present(self, snapshot: Snapshot) -> bytes:
        if self._presents[0] is not snapshot:
            self._presents = snapshot, dump(Present(snapshot))
        return self._presents[1]

    def _tell(self, writer: asyncio.StreamWriter, cursor: int) -> tuple[int, bool]:
        """Entries from `cursor` on; the next cursor, and whether there are more at once."""
        since = self._agent.feed.since(cursor, ENTRIES_AT_ONCE)
        if since.cursor != cursor:
            if self._pasts[0] != (cursor, since.cursor) or since.dropped:
                self._pasts = (cursor, since.cursor), dump(Past(since.entries, since.dropped))
            writer.write(self._pasts[1])
        return since.cursor, len(since.entries) == ENTRIES_AT_ONCE

    # --- in ----------------------------------------------------------------------------------------------------------

    async def _listen_to(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, read_only: bool) -> None:
        """Until the viewer ends. Raises CodecError."""
        while line := await _line(reader):
            match asked := asked_of(line):
                case Post(number) if read_only:
                    writer.write(dump(Answer(number, refused="this viewer only looks")))
                case Post(number, event):
                    self._agent.post(replace(event, remembered=None) if isinstance(event, ReplayRequested | ResolveRequested) else event)
                    writer.write(dump(Answer(number)))
                case Lookup(number, command_id):
                    record = await asyncio.to_thread(self._agent.lookup, command_id)
                    writer.write(dump(Answer(number, record)))
                case Search() | AskLedger() | AskWords() | LookupThread():
                    writer.write(dump(await self._found(asked)))
                case Attach():
                    raise CodecError("a viewer attached twice")
            await writer.drain()

    async def _found(self, asked: Search | AskLedger | AskWords | LookupThread) -> Answer:
        from agent_core.journal.reader import NoLedger

        try:
            if isinstance(asked, Search):
                return Answer(asked.number, page=await asyncio.to_thread(self._agent.search, asked.query))
            if isinstance(asked, AskLedger):
                return Answer(asked.number, numbers=await asyncio.to_thread(self._agent.asked, asked.ask, asked.after))
            if isinstance(asked, AskWords):
                return Answer(asked.number, words=await asyncio.to_thread(self._agent.words, asked.seqs))
            return Answer(asked.number, thread=await asyncio.to_thread(self._agent.thread, asked.query))
        except (FilterError, NoLedger) as error:
            return Answer(asked.number, refused=plain(error, 200))


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, or nothing at the end. Raises ValueError for one that is too long."""
    try:
        return await reader.readuntil()
    except asyncio.IncompleteReadError:
        return b""
    except asyncio.LimitOverrunError:
        raise ValueError("a line is too long") from None


def _listen(path: Path) -> socket.socket:
    """A private socket there; what an earlier agent left is removed, for the data directory is ours. Raises OSError."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen(MAX_VIEWERS)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening
