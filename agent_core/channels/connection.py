"""The connection of `websockets` with a short way for whole messages: what has arrived together is handed over together.

It reaches below the library's documented interface, for the names that tests/agent_core/test_connection.py lists.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.protocol import Event as ProtocolEvent
from websockets.protocol import State

from agent_core.channels.framing import frame_end, others_end, text_frames, whole_messages

DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
MAX_UNREAD, UNREAD_FOR = 8 * 2**20, 2.0
"""With more bytes than this waiting to be sent, and none taken for so many seconds, what still comes is from a peer that does not read."""
READ_AHEAD = 64 * 2**10
"""Bytes the system may hold unread: of a burst the rest waits with the backend, and what one turn takes in stays small."""
END_OF_HEAD = b"\r\n\r\n"
ANY_INTERIM = b"HTTP/1.1 1"
INTERIM = re.compile(rb"HTTP/1\.1 1(?!01)[0-9][0-9] ")
MAX_INTERIM = 16 * 2**10


class Connection(ClientConnection):
    """A connection that hands over what has arrived where it arrives, tells of every byte, and writes what is queued in one go.

    So what has arrived together is one turn of the engine, and reading never waits for anybody (ARCHITECTURE §8).
    """

    on_messages: Callable[[list[bytes]], None] | None = None
    on_bytes: Callable[[], None] | None = None
    on_pong: Callable[[], None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.untaken = 0
        """Bytes that came to wait since the peer last took any."""
        self.full_since: float | None = None
        self.given_up = False
        self.fragments = bytearray()
        self.messages: list[bytes] = []
        self.interim = bytearray()
        """The beginning of the handshake's answer, as long as it may be one that only asks to wait."""
        self.answered = False
        self.ending = False
        self.head_end = b""
        """The last bytes of the handshake so far."""
        self.tail = bytearray()
        """The beginning of a frame of which the rest has not come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        with suppress(OSError):  # closed by the peer already: what it said is still to be read
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_AHEAD)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.on_bytes is not None:
            self.on_bytes()
        if self.response is None:
            data = self._shake_hands(data)
        self._take(data)
        self._hand_over()
        self._look_at_the_backlog()
        if self.protocol.close_expected() and not self.ending:
            self.ending = True
            self.loop.call_later(self.close_timeout or 0.0, self.transport.abort)

    def _shake_hands(self, data: bytes) -> bytes:
        """Give the library what belongs to the handshake, and return what came behind it: its first byte begins a frame."""
        if not self.answered and not (data := self._behind_interim(data)):
            return b""
        seen = self.head_end + data
        found = seen.find(END_OF_HEAD)
        cut = len(data) if found < 0 else found + len(END_OF_HEAD) - len(self.head_end)
        self.head_end = seen[1 - len(END_OF_HEAD) :]
        super().data_received(data[:cut])
        return data[cut:]

    def _behind_interim(self, data: bytes) -> bytes:
        """What follows the answers that only ask to wait, as 100 and 103 do: any number may come first (RFC 9110 §15.2)."""
        head = self.interim
        head += data
        while INTERIM.match(head) and (end := head.find(END_OF_HEAD)) >= 0:
            del head[: end + len(END_OF_HEAD)]
        if (INTERIM.match(head) and len(head) <= MAX_INTERIM) or (ANY_INTERIM.startswith(head[: len(ANY_INTERIM)]) and len(head) < 13):
            return b""
        self.answered = True
        return bytes(head)

    def _take(self, data: bytes) -> None:
        """Whole messages at once, the library its own: frames that are whole, so that the next byte begins one."""
        at, protocol = 0, self.protocol
        if self.tail:
            self.tail += data
            if protocol.state is State.OPEN and frame_end(self.tail, 0, self._room()) is None:
                return
            data = bytes(self.tail)
            self.tail.clear()
        while at < len(data):
            is_open = protocol.state is State.OPEN
            if is_open and protocol.current_size is None:
                messages, at = whole_messages(data, at, self._room())
                self.messages += messages
                if at == len(data):
                    return
            end = others_end(data, at, self._room()) if is_open else len(data)
            if at < end:
                super().data_received(data[at:end])
                at = end
            else:
                self.tail += data[at:]
                return

    def _room(self) -> int:
        """Bytes that the next frame may bring: what has come of its message counts."""
        return (self.protocol.max_message_size or 0) - (self.protocol.current_size or 0)

    def process_event(self, event: ProtocolEvent) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA:
            super().process_event(event)
            if isinstance(event, Frame) and event.opcode is Opcode.PONG and self.on_pong is not None:
                self.on_pong()
        elif event.fin and not self.fragments:
            self.messages.append(bytes(event.data))
        else:
            self.fragments += event.data
            if event.fin:
                self.messages.append(bytes(self.fragments))
                self.fragments.clear()

    def send_data(self) -> None:
        """All in one write: to a peer that is gone each would be a line in the log."""
        chunks = self.protocol.data_to_send()
        if written := b"".join(chunks):
            self.transport.write(written)
        if b"" in chunks:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()

    def _look_at_the_backlog(self) -> None:
        if self.untaken + self.transport.get_write_buffer_size() <= MAX_UNREAD:
            self.full_since = None
        elif self.full_since is None:
            self.full_since = self.loop.time()
        elif self.loop.time() - self.full_since > UNREAD_FOR:
            self.given_up = True
            self.transport.abort()

    def _hand_over(self) -> None:
        if self.messages and self.on_messages is not None:
            messages, self.messages = self.messages, []
            self.on_messages(messages)

    def listen(self, on_messages: Callable[[list[bytes]], None], on_bytes: Callable[[], None], on_pong: Callable[[], None]) -> None:
        """From now on every message goes to `on_messages` with those that came with it, also what came with the handshake."""
        self.on_messages, self.on_bytes, self.on_pong = on_messages, on_bytes, on_pong
        self._hand_over()

    def write_now(self, texts: Sequence[str]) -> bool:
        """Send text frames at once, where nothing sent before is still waiting; False: nothing was sent."""
        if self.protocol.state is not State.OPEN or self.transport.get_write_buffer_size():
            return False
        self.transport.write(text_frames(texts))
        return True

    async def send_all(self, texts: list[str]) -> None:
        """Send text frames with one write."""
        async with self.send_context():
            self.transport.write(text_frames(texts))


class OneAttempt(connect):
    """`connect` that follows no redirect: the secret goes to the configured host only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
