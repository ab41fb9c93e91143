"""One agent's socket: frames between the connection and the hub, and no judgement of its own.

Thousands are open at once, and nearly all are silent: a session has no task and no queue of its own. What comes is given to the hub as it
comes, what the hub has to say is sent in the loop's next turn. The library opens the socket, and is asked again for every frame that is no
whole text message; until then it takes no memory.
"""

import asyncio
import logging
from collections.abc import Coroutine
from http.client import SWITCHING_PROTOCOLS, responses
from typing import Any, Protocol, cast

import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.http11 import Response as Answer
from websockets.protocol import Protocol as Library
from websockets.protocol import Side
from websockets.server import ServerProtocol

from agent_core.clock import Clock
from agent_core.reference.framing import MASKED, TEXT, frame_size, message, text_frames
from agent_core.reference.hub import Ending, Hub

MAX_MESSAGE = 2**20
_BATCH = 64
_CLOSE_WITHIN = 1.0
_LOST = Ending(1006, "lost", "nobody")
_log = logging.getLogger("agent_core.reference")
_library_log = logging.getLogger("uvicorn.error")
"""The server has silenced it."""


class Shell(Protocol):
    """What a session needs of the backend around it."""

    hub: Hub
    clock: Clock

    async def open(self, session: "Session", request: Request) -> None: ...
    def ended(self, session: "Session", ending: Ending) -> None: ...
    def is_written(self, sequence: int) -> bool: ...
    def wake_when_written(self, session: "Session") -> None: ...
    async def look_up(self) -> None: ...
    def moved(self) -> None: ...


class Session(asyncio.Protocol):
    """From the upgrade's head to the end of the connection."""

    __slots__ = (
        "_connections", "_due", "_ending", "_last_resort", "_library", "_missing", "_parts", "_paused", "_rests_on", "_shell", "_tail",
        "_task", "agent_id", "epoch", "generation", "is_lost", "opened_at", "transport",
    )  # fmt: skip

    def __init__(self, config: uvicorn.Config, server_state: ServerState, **_: object) -> None:
        self.transport: asyncio.Transport
        self.agent_id = ""
        self.generation = 0
        """0 until it is the agent's."""
        self.epoch = 0
        self.opened_at = 0.0
        self.is_lost = False
        self._shell = cast("Shell", config.app)
        self._connections: set[Any] = server_state.connections
        self._library: Library | None = None
        self._tail = b""
        """A head that has not come whole."""
        self._missing = 0
        """Bytes until the frame ends that the library reads."""
        self._parts: list[bytes] | None = None
        """Of a message that comes in several frames."""
        self._due = False
        self._paused = False
        self._task: asyncio.Task[None] | None = None
        self._ending: Ending | None = None
        self._last_resort: asyncio.TimerHandle | None = None
        self._rests_on = 0
        """What the store must have before anything is said: the acks read here."""

    # --- its life ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.add(self)
        self._library = ServerProtocol(logger=_library_log)

    def begin(self, agent_id: str, generation: int, epoch: int, opened_at: float) -> None:
        """It is the agent's."""
        self.agent_id, self.generation, self.epoch, self.opened_at = agent_id, generation, epoch, opened_at

    def accept(self) -> None:
        assert isinstance(self._library, ServerProtocol)
        self.transport.write(b"".join(self._library.data_to_send()))
        self._library = None

    def refuse(self, response: Response) -> None:
        """The upgrade is answered with this."""
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers)
        headers["Connection"] = "close"
        status = response.status_code
        self.transport.write(Answer(status, responses.get(status, ""), headers, bytes(response.body)).serialize())
        self.transport.close()

    def end(self, ending: Ending) -> None:
        """Close with a handshake; abort where the peer does not take even that."""
        if self._ending is None:
            self._ending = ending
            library = self._other_frames()
            library.send_close(ending.code, ending.reason)
            self.transport.write(b"".join(library.data_to_send()))
            self._last_resort = asyncio.get_running_loop().call_later(_CLOSE_WITHIN, self.abort)

    def abort(self) -> None:
        """No handshake, whatever is queued."""
        self.transport.abort()

    shutdown = abort
    """What uvicorn asks at its end."""

    def connection_lost(self, _exc: Exception | None) -> None:
        self.is_lost = True
        self._connections.discard(self)
        if self._last_resort is not None:
            self._last_resort.cancel()
        if self.generation:
            self._shell.ended(self, self._ending or _LOST)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.transport.pause_reading()
        self._task = asyncio.create_task(work, name=f"backend {name}")
        self._task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled() or (error := task.exception()) is not None:
            if not task.cancelled():
                _log.error("A socket's session failed: %s", type(error).__name__, exc_info=error)
            self.abort()
        elif not self.transport.is_closing():
            self.transport.resume_reading()
            self.wake()

    # --- what comes --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self.generation:
            if isinstance(self._library, ServerProtocol):
                self._opened(self._library, data)
            else:
                self._read(self._tail + data)
            return
        shell, before = self._shell, self._shell.hub.book.sequence
        self._read(self._tail + data if self._tail else data)
        if shell.hub.book.sequence != before:
            self._rests_on = shell.hub.book.sequence
        if shell.hub.unknown and self._task is None:
            self._start(self._look_up(), "look-up")
        elif shell.hub.has_frames(self.agent_id):
            self.wake()
        shell.moved()

    def _opened(self, library: ServerProtocol, head: bytes) -> None:
        library.receive_data(head)
        for request in library.events_received():
            assert isinstance(request, Request)
            response = library.accept(request)
            library.send_response(response)
            if response.status_code == SWITCHING_PROTOCOLS:
                self._start(self._shell.open(self, request), "opening")
                return
        self.transport.write(b"".join(library.data_to_send()))
        self.transport.close()

    def _read(self, data: bytes) -> None:
        at, end = 0, len(data)
        self._tail = b""
        while at < end and not self.transport.is_closing():
            if not self._missing:
                size = frame_size(data, at)
                if size == 0:
                    self._tail = data[at:]
                    return
                if data[at] == TEXT and data[at + 1] & MASKED and self._parts is None and size <= min(end - at, MAX_MESSAGE):
                    self._heard(message(data, at, size))
                    at += size
                    continue
                self._missing = size
            piece = data[at : at + self._missing]
            self._missing -= len(piece)
            at += len(piece)
            self._read_other(piece)

    def _other_frames(self) -> Library:
        if self._library is None:
            self._library = Library(Side.SERVER, max_size=MAX_MESSAGE, logger=_library_log)
        return self._library

    def _read_other(self, piece: bytes) -> None:
        library = self._other_frames()
        library.receive_data(piece)
        for frame in library.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
                self._heard_part(bytes(frame.data), is_last=frame.fin)
            elif frame.opcode is Opcode.CLOSE and self._ending is None and library.close_rcvd is not None:
                self._ending = Ending(library.close_rcvd.code, library.close_rcvd.reason, "agent")
        if library.parser_exc is not None and self._ending is None and library.close_sent is not None:
            self._ending = Ending(library.close_sent.code, library.close_sent.reason)
        self.transport.write(b"".join(library.data_to_send()))
        if library.close_expected():
            self.transport.close()

    def _heard_part(self, part: bytes, *, is_last: bool) -> None:
        self._parts = [*(self._parts or ()), part]
        if is_last:
            whole, self._parts = b"".join(self._parts), None
            self._heard(whole)

    def _heard(self, said: bytes) -> None:
        if self._ending is None:
            excess = self._shell.hub.receive(self.agent_id, self.generation, said, self._shell.clock.now())
            if excess is not None:
                self.end(excess)

    async def _look_up(self) -> None:
        await self._shell.look_up()
        self._rests_on = self._shell.hub.book.sequence

    # --- what goes ---------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.wake()

    def wake(self) -> None:
        """There may be frames to send."""
        if not self._due and self.generation:
            self._due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        if self._task is not None or not self._may_send():
            return
        if not self._shell.is_written(self._rests_on):
            self._shell.wake_when_written(self)
        elif delay := self._shell.hub.faults.delay_seconds:
            self._due = True
            asyncio.get_running_loop().call_later(delay, self._flush_late)
        else:
            self._send()

    def _flush_late(self) -> None:
        self._due = False
        if self._may_send():
            self._send()

    def _may_send(self) -> bool:
        return self._ending is None and not self._paused and not self.transport.is_closing()

    def _send(self) -> None:
        hub, now = self._shell.hub, self._shell.clock.now()
        while not self._paused and (frames := hub.take(self.agent_id, self.generation, now, _BATCH)):
            self.transport.write(text_frames(frames))
        self._shell.moved()
