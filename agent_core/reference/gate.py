"""Who may stay connected: heads and requests must be whole in time, and connections are counted (uvicorn bounds neither).

Past the limit the connection that has waited longest for its head gives way; where all are at work, the new one is answered 503. So
half-sent requests can never take the descriptors that agents need.
"""

import asyncio
import resource
from collections.abc import Iterable
from enum import Enum, auto
from urllib.parse import urlsplit

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 2**16
"""Bytes of a whole head."""
MAX_LINE = 8_192
"""Bytes of a header line, and of the request line, that the WebSocket library takes …"""
MAX_HEADERS = 128
"""… and how many headers: past either it would never answer."""
RESERVED = 64
"""Descriptors that are not for connections."""
ACCEPTED_AT_ONCE = 16
"""By one turn of the loop, so that the count is looked at before the descriptors are gone."""


class GatedConfig(uvicorn.Config):
    """uvicorn's, with what its connections share."""

    waiting: dict["GatedProtocol", None]
    """Connections without a whole head, the longest wait first."""
    max_connections: int
    head_within: float
    request_within: float


def most_connections() -> int:
    """As many as the process may have descriptors, less a reserve."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1_000_000 if allowed == resource.RLIM_INFINITY else max(16, allowed - RESERVED)


def is_framed_twice(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a head tells the end of its body in two ways, of which a proxy may have believed the other (RFC 9112 §6.3)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}


class Reading(Enum):
    """What of a request comes now."""

    HEAD = auto()
    BODY = auto()


class GatedProtocol(HttpToolsProtocol):
    """One connection until it is upgraded."""

    config: GatedConfig
    url: bytes
    _deadline: asyncio.TimerHandle | None = None
    _reading: Reading | None = None
    _awaited: Reading | None = None
    _unread = 0
    """Bytes that came since the last of a body: of a head, or of what frames a body."""
    _upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.config.max_connections:
            if not self.config.waiting:
                self._end(503, "Service Unavailable", "Retry-After: 5\r\n")
                return
            next(iter(self.config.waiting)).drop()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAX_HEAD and not self._upgraded:
            self._end(431, "Request Header Fields Too Large")
        self._watch()

    def on_message_begin(self) -> None:
        self._reading = Reading.HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reading = Reading.BODY
        if not self.url.startswith(b"/"):  # the absolute form: its host goes before the header's (RFC 9112 §3.2.2)
            host = urlsplit(self.url).netloc
            self.headers[:] = [(b"host", host), *(header for header in self.headers if header[0] != b"host")]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading, self._unread = None, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._reading is Reading.HEAD:
            self._watch()

    def handle_websocket_upgrade(self) -> None:
        sizes = [len(self.url) + 16, *(len(name) + len(value) + 4 for name, value in self.headers)]
        if self.parser.get_http_version() != "1.1" or is_framed_twice(self.headers):
            self._end(400, "Bad Request")
        elif len(self.headers) > MAX_HEADERS or max(sizes) > MAX_LINE:
            self._end(431, "Request Header Fields Too Large")
        else:
            self._upgraded = True
            super().handle_websocket_upgrade()

    def drop(self) -> None:
        """Without a word: somebody else needs the place."""
        self._unwatch()
        self.connections.discard(self)
        self.transport.abort()

    def _watch(self) -> None:
        """One deadline for what the peer still owes: a head, or the rest of a request."""
        awaited = self._owed()
        if awaited is self._awaited:
            return
        self._unwatch()
        if awaited is not None:
            self._awaited = awaited
            within = self.config.head_within if awaited is Reading.HEAD else self.config.request_within
            self._deadline = self.loop.call_later(within, self._end, 408, "Request Timeout")
            if awaited is Reading.HEAD:
                self.config.waiting[self] = None

    def _owed(self) -> Reading | None:
        if self._upgraded or self.transport.is_closing():
            return None
        if self.cycle is None or self.cycle.response_complete:
            return Reading.HEAD
        return Reading.BODY if self._reading is Reading.BODY else None

    def _unwatch(self) -> None:
        self._awaited = None
        self.config.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, status: int, reason: str, header: str = "") -> None:
        """Answered by hand, since uvicorn answers no request that it has not read."""
        self._unwatch()
        self.transport.write(f"HTTP/1.1 {status} {reason}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self.transport.close()
