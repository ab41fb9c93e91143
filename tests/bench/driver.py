"""The benchmark's backend: a lean socket server that sends commands and counts acks; the same for every client measured."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic_core import from_json
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

COMMAND = (
    '{{"type":"command","data":{{"command_id":"{id}","command_type":"send_message_now","payload":{{"thread_id":"+1310555{thread:04d}",'
    '"text":"Dinner at eight? I booked the table by the window."}},"priority":"normal","timestamp":"2026-11-05T20:30:00.000Z"}}}}'
)


@dataclass
class Latencies:
    """Round trips in milliseconds, and what was lost."""

    sent: int = 0
    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def p99(self) -> float:
        return sorted(self.milliseconds)[int(len(self.milliseconds) * 0.99)]

    @property
    def lost(self) -> int:
        return self.sent - len(self.milliseconds)

    @property
    def per_second(self) -> float:
        return len(self.milliseconds) / self.seconds


class Driver:
    """Accepts one client at a time on a loopback port."""

    def __init__(self) -> None:
        self.sockets = 0
        self._connection: ServerConnection | None = None
        self._connected = asyncio.Event()
        self._sent_at: dict[str, float] = {}
        self._on_ack: Callable[[str, float], None] = lambda _id, _at: None
        self._numbers = itertools.count()
        self._server: Server | None = None

    async def start(self) -> int:
        self._server = await serve(self._serve, "127.0.0.1", 0, compression=None, ping_interval=None, max_queue=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def client(self, within: float = 20.0) -> None:
        """Wait for the next client to speak."""
        async with asyncio.timeout(within):
            await self._connected.wait()

    def forget_client(self) -> None:
        self._connected.clear()

    async def _serve(self, connection: ServerConnection) -> None:
        self.sockets += 1
        self._connection = connection
        with suppress(ConnectionClosed):
            async for raw in connection:
                frame = from_json(raw)
                if frame["type"] == "command_ack":
                    self._on_ack(frame["data"]["command_id"], time.perf_counter())
                elif frame["type"] == "ping":
                    seq = (frame.get("data") or {}).get("seq", 0)
                    await connection.send(f'{{"type":"pong","data":{{"seq":{seq}}}}}')
                    self._connected.set()

    async def pump(self, count: int, in_flight: int) -> Latencies:
        """Send `count` commands with at most `in_flight` unanswered, and time each."""
        assert self._connection is not None
        found = Latencies(count)
        room = asyncio.Semaphore(in_flight)
        done = asyncio.Event()

        def on_ack(command_id: str, at: float) -> None:
            sent_at = self._sent_at.pop(command_id, None)
            if sent_at is not None:
                found.milliseconds.append((at - sent_at) * 1_000)
                room.release()
                if len(found.milliseconds) == count:
                    done.set()

        self._on_ack = on_ack
        began = time.perf_counter()
        for _ in range(count):
            await room.acquire()
            number = next(self._numbers)
            command_id = f"cmd_{number:08d}"
            self._sent_at[command_id] = time.perf_counter()
            await self._connection.send(COMMAND.format(id=command_id, thread=number % 97))
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await done.wait()
        found.seconds = time.perf_counter() - began
        return found
