"""A small TCP proxy that does to a connection what networks do: cut, stall, delay, drip, throttle, answer in the backend's place."""

import asyncio
import random
import socket
import ssl
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

CHUNK = 65_536
RECORDED = 4 * 2**20
QUEUED = 256
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Way:
    """What happens to one direction. Seconds, bytes, bytes a second; the default is nothing at all."""

    stalled: bool = False
    """Nothing passes and nothing is lost, as between hosts whose packets vanish."""
    delay: float = 0.0
    jitter: float = 0.0
    """The delay is off by up to this; the order is kept."""
    drip: tuple[int, float] | None = None
    """So many bytes at a time, this far apart."""
    rate: float | None = None


@dataclass(slots=True, eq=False)
class _Pair:
    agent: asyncio.StreamWriter
    backend: asyncio.StreamWriter | None = None

    def writers(self) -> list[asyncio.StreamWriter]:
        return [writer for writer in (self.agent, self.backend) if writer is not None]


class FaultProxy:
    """Between an agent and `target`, on one loopback port: `async with FaultProxy(backend.port) as proxy`.

    `up` is what the agent sends, `down` what it gets; both may be set at any moment. `answer` replaces the backend: these bytes, then an
    end. `swallow` takes what comes and says nothing, ever. With `tls` the agent's side is encrypted.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.host = host
        self.port = port
        self.up = Way()
        self.down = Way()
        self.answer: bytes | None = None
        self.swallow = False
        self.received = bytearray()
        """What agents sent, decrypted, the first megabytes."""
        self.dialled_at: list[float] = []
        """When each connection came (monotonic)."""
        self.passed_at = 0.0
        """When the last byte went to an agent (monotonic)."""
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._dice = random.Random(7)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self.host}:{self.port}"

    @property
    def socket_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def open(self) -> int:
        """Connections that are alive."""
        return len(self._pairs)

    def dials_in_any(self, seconds: float) -> int:
        """The most connections that came in any span of so many seconds."""
        return max((sum(start <= at < start + seconds for at in self.dialled_at) for start in self.dialled_at), default=0)

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop listening and reset what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def set(self, up: Way | None = None, down: Way | None = None) -> None:
        """Change one direction or both, from now on."""
        self.up, self.down = up or self.up, down or self.down
        self._moved.set()
        self._moved = asyncio.Event()

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        self.set(replace(self.up, stalled=up), replace(self.down, stalled=down))

    def cut(self, *, gently: bool = False) -> None:
        """End every connection: with a reset, or `gently` with a FIN."""
        for pair in list(self._pairs):
            for writer in pair.writers():
                if gently:
                    writer.close()
                else:
                    _reset(writer)

    # --- one connection ----------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled_at.append(time.monotonic())
        pair = _Pair(writer)
        self._pairs.add(pair)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # asyncio.streams asks it how it ended
                await self._connect(pair, reader)
        finally:
            self._tasks.discard(task)
            self._pairs.discard(pair)
            for each in pair.writers():
                each.transport.abort()

    async def _connect(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        if self.swallow or self.answer is not None:
            await self._stand_in(pair.agent, reader)
            return
        from_backend, pair.backend = await asyncio.open_connection(self.host, self.target)
        ways = [
            asyncio.create_task(self._carry(reader, pair.backend, upwards=True)),
            asyncio.create_task(self._carry(from_backend, pair.agent, upwards=False)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()

    async def _stand_in(self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        self._record(await reader.read(CHUNK))
        if self.answer is not None:
            await self._write(writer, self.answer, upwards=False)
            writer.close()
            return
        while chunk := await reader.read(CHUNK):
            self._record(chunk)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        """Each chunk is due after the delay; the queue between reading and writing keeps the order."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)

        async def read() -> None:
            chunk = b"-"
            while chunk:
                chunk = await reader.read(CHUNK)
                if upwards:
                    self._record(chunk)
                way = self.up if upwards else self.down
                late = max(0.0, way.delay + way.jitter * self._dice.uniform(-1, 1))
                await waiting.put((time.monotonic() + late, chunk))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._while_stalled(upwards=upwards)
                if not chunk:
                    break
                await self._write(writer, chunk, upwards=upwards)
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()
            await reading
        finally:
            reading.cancel()

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes, *, upwards: bool) -> None:
        while chunk:
            way = self.up if upwards else self.down
            size, pause = way.drip or (len(chunk), 0.0)
            if way.rate:
                size, pause = max(1, round(way.rate / 20)), 0.05
            writer.write(chunk[:size])
            if not upwards:
                self.passed_at = time.monotonic()
            await writer.drain()
            chunk = chunk[size:]
            if pause:
                await asyncio.sleep(pause)
            await self._while_stalled(upwards=upwards)

    async def _while_stalled(self, *, upwards: bool) -> None:
        while (self.up if upwards else self.down).stalled:
            await self._moved.wait()

    def _record(self, chunk: bytes) -> None:
        self.received += chunk[: max(0, RECORDED - len(self.received))]


def _reset(writer: asyncio.StreamWriter) -> None:
    """A RST instead of a FIN, where it is not closed already: what is closed under TLS has no socket to ask for."""
    if not writer.is_closing():
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
