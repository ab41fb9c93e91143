"""One socket at a time, by `websockets`: one attempt a call, no policy, no retry, no keepalive of its own (ARCHITECTURE §8).

Receiving only parses and posts, so that a slow handler can never keep a pong from being read. Everything the engine wants sent goes through
one queue per socket, in order: that order is what makes a pong the proof of an ack.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidProxy, InvalidStatus

from agent_core import frames
from agent_core.channels.base import Spawn
from agent_core.channels.connection import Connection, OneAttempt
from agent_core.channels.credentials import Credentials
from agent_core.channels.network import failure_of, proxy_for, retry_after, tls_context
from agent_core.clock import Clock, Moment
from agent_core.config import Config
from agent_core.events import CommandsReceived, DialFailed, Event, Failure, FrameReceived, Heard, Lost, Opened, Ponged, Trouble
from agent_core.plain import plain
from agent_core.records import Arrival
from agent_core.redaction import Redactor

UNREAD = Failure(Trouble.SILENT, "the backend does not read what it is sent")
HEARD_EVERY = 0.1
"""Of silence_after: how often bytes of an unfinished frame are reported as a sign of life."""


async def dial(config: Config, credentials: Credentials, now: Moment, make: type[Connection] = Connection) -> Connection:
    """One attempt, without a deadline: the caller has one. Raises what `dial_failure` reads. A subclass as `make` may watch."""
    url = config.socket_url
    secure = urlsplit(url).scheme == "wss"
    query = urlencode({"edge_agent_id": credentials.agent_id or ""})
    connection = await OneAttempt(
        f"{url}?{query}",
        additional_headers=credentials.headers(now),
        create_connection=make,
        compression=None,
        ping_interval=None,
        open_timeout=None,
        close_timeout=config.timing.close_within,
        max_size=config.websocket.max_frame_bytes,
        max_queue=256,
        proxy=await asyncio.to_thread(proxy_for, url),
        happy_eyeballs_delay=0.25,
        ssl=tls_context() if secure else None,
    )
    assert isinstance(connection, Connection)
    return connection


class WebSocketChannel:
    """The socket as the engine's effects see it; answers with events through `post`."""

    def __init__(
        self, config: Config, credentials: Credentials, clock: Clock, post: Callable[[Event], None],
        spawn: Spawn,
    ) -> None:  # fmt: skip
        self._config = config
        self._credentials = credentials
        self._redactor = credentials.redactor
        self._clock = clock
        self._post = post
        self._spawn = spawn
        self._generation = 0
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._shown: str | None = None
        """The secret that opened the connection, until a first frame says that it is taken."""
        self._outgoing: deque[str | None] = deque()
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None

    def configure(self, config: Config) -> None:
        """For the next attempt."""
        self._config = config

    # --- effects ---------------------------------------------------------------------------------------------

    def open(self, generation: int) -> None:
        self._generation = generation
        self._outgoing = deque()
        self._wake = asyncio.Event()
        self._closing = None
        life = self._live(generation, self._outgoing, self._wake)
        self._task = self._spawn(life, f"socket-{generation}", partial(DialFailed, generation))

    def abort(self, generation: int) -> None:
        """At once and without a handshake: a dead peer would not answer one."""
        if generation == self._generation and self._task is not None:
            if self._connection is not None:
                self._connection.transport.abort()
            self._task.cancel()

    def close(self, generation: int, code: int, reason: str) -> None:
        if generation == self._generation:
            self._closing = (code, reason)
            self._wake.set()

    def send(self, generation: int, texts: tuple[str, ...]) -> None:
        if generation == self._generation and self._connection is not None:
            if not self._outgoing and self._connection.write_now(texts):
                return
            self._outgoing.extend(texts)
            self._wake.set()
            self._connection.untaken += sum(map(len, texts))

    def probe(self, generation: int) -> None:
        """A protocol ping, behind what is queued."""
        if generation == self._generation:
            self._outgoing.append(None)
            self._wake.set()

    # --- one socket's life -----------------------------------------------------------------------------------

    async def _live(self, generation: int, outgoing: deque[str | None], wake: asyncio.Event) -> None:
        try:
            connection, self._shown = await self._dial_with_any()
        except Exception as error:  # noqa: BLE001  (whatever an attempt ends with, the engine hears of it)
            failure = dial_failure(error, self._clock.now().utc)
            self._post(DialFailed(generation, self._redactor.within(failure)))
            return
        self._connection = connection
        self._post(Opened(generation))
        connection.listen(partial(self._read, generation), self._byte_listener(generation), lambda: self._post(Ponged(generation)))
        sender = self._spawn(self._send_loop(connection, outgoing, wake), f"sender-{generation}", partial(Lost, generation))
        try:
            await connection.wait_closed()
            failure = UNREAD if connection.given_up else loss(connection.close_exc, self._redactor)
            if self._credentials.failed(failure) and self._shown is not None:
                await self._credentials.after_refusal(self._shown, set(), self._clock.now())
            self._post(Lost(generation, failure))
        finally:
            sender.cancel()
            connection.transport.abort()
            if self._connection is connection:
                self._connection = None

    async def _dial_with_any(self) -> tuple[Connection, str]:
        """A connection, and the first secret that let it through."""
        credentials, tried = self._credentials, set[str]()
        while True:
            shown = credentials.secret
            try:
                return await dial(self._config, credentials, self._clock.now()), shown
            except InvalidStatus as error:
                if not credentials.failed(dial_failure(error, self._clock.now().utc)):
                    raise
                if await credentials.after_refusal(shown, tried, self._clock.now()) is None:
                    raise

    def _byte_listener(self, generation: int) -> Callable[[], None]:
        every = self._config.timing.silence_after * HEARD_EVERY
        reported = float("-inf")

        def listen() -> None:
            nonlocal reported
            now = self._clock.now().mono
            if now - reported >= every:
                reported = now
                self._post(Heard(generation))

        return listen

    def _read(self, generation: int, messages: list[bytes]) -> None:
        """Tell of each frame in order; of commands that follow each other at once."""
        if self._shown is not None and not isinstance(frames.parse(messages[0]), frames.ErrorFrame):
            self._credentials.accepted(self._shown)
            self._shown = None
        arrivals: list[Arrival] = []
        for frame in map(frames.parse, messages):
            if isinstance(frame, frames.Command):
                arrivals.append(Arrival(frame))
                continue
            self._post_commands(generation, arrivals)
            self._post(FrameReceived(generation, frame if isinstance(frame, frames.Ping) else self._redactor.within(frame)))
        self._post_commands(generation, arrivals)

    def _post_commands(self, generation: int, arrivals: list[Arrival]) -> None:
        if arrivals:
            self._post(CommandsReceived(generation, tuple(arrivals)))
            arrivals.clear()

    async def _send_loop(self, connection: Connection, outgoing: deque[str | None], wake: asyncio.Event) -> None:
        try:
            while True:
                await wake.wait()
                wake.clear()
                while outgoing:
                    texts: list[str] = []
                    while outgoing and outgoing[0] is not None and len(texts) < 256:
                        texts.append(outgoing.popleft() or "")
                    if texts:
                        await connection.send_all(texts)
                        connection.untaken = 0
                    else:
                        outgoing.popleft()
                        await connection.ping()
                if self._closing is not None:
                    await connection.close(*self._closing)
                    return
        except ConnectionClosed:
            return
        finally:
            connection.transport.abort()


def dial_failure(error: Exception, utc: float) -> Failure:
    """What an attempt that raised `error` came to."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        wait = retry_after(error.response.headers.get_all("Retry-After"), utc)
        return Failure(Trouble.HTTP, f"HTTP {status}", status, wait)
    if isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError):
        return Failure(Trouble.CONNECT, "the connection was closed during the handshake")
    if isinstance(error, InvalidProxy):
        return Failure(Trouble.CONNECT, f"the proxy cannot be used: {plain(error.msg, 120)}")
    if isinstance(error, InvalidHandshake):
        return Failure(Trouble.GARBAGE, f"no WebSocket handshake: {plain(error, 120)}")
    return failure_of(error)


def loss(error: ConnectionClosed, redactor: Redactor) -> Failure:
    """How an open connection ended."""
    received = error.rcvd
    if received is not None:
        reason = f" {plain(redactor(received.reason), 120)}" if received.reason else ""
        return Failure(Trouble.CLOSED, f"closed by the backend: {received.code}{reason}", received.code)
    if error.sent is not None and error.sent.code != 1000:
        return Failure(Trouble.CLOSED, f"closed by this agent: {error.sent.code} {plain(error.sent.reason, 120)}", error.sent.code)
    return Failure(Trouble.LOST, "the connection was lost")
