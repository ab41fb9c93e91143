"""The benchmark's backend: a lean socket server that sends commands and counts acks; the same for every client measured.

It must cost less than what it measures. On `websockets`' own server a command took it 25 µs, more than the bare client's 22: with 64 in
flight a client that acks many at once had nothing to do for a sixth of the time, and for a fourth more it was fed no faster than the driver
could send. One that acks each for itself did not show that.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server
from pydantic_core import from_json

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


class Driver(WSListener):
    """Accepts one client at a time on a loopback port."""

    def __init__(self) -> None:
        self.sockets = self.sent = 0
        self._transport: WSTransport | None = None
        self._connected = asyncio.Event()
        self._sent_at: dict[str, float] = {}
        self._on_ack: Callable[[float], None] = lambda _ms: None
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await ws_create_server(lambda _request: self, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def client(self, within: float = 20.0) -> None:
        """Wait for the next client to speak."""
        async with asyncio.timeout(within):
            await self._connected.wait()

    def forget_client(self) -> None:
        self._connected.clear()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.sockets += 1
        self._transport = transport

    def pause_writing(self) -> None:
        """A burst is meant to pile up."""

    def resume_writing(self) -> None:
        pass

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self._hear(transport, from_json(frame.get_payload_as_bytes()))

    def _hear(self, transport: WSTransport, body: dict[str, Any]) -> None:
        if body["type"] == "command_ack":
            sent_at = self._sent_at.pop(body["data"]["command_id"], None)
            if sent_at is not None:
                self._on_ack((time.perf_counter() - sent_at) * 1_000)
        elif body["type"] == "ping":
            seq = (body.get("data") or {}).get("seq", 0)
            transport.send(WSMsgType.TEXT, f'{{"type":"pong","data":{{"seq":{seq}}}}}'.encode())
            self._connected.set()

    def send(self) -> None:
        """The next command."""
        assert self._transport is not None
        number, self.sent = self.sent, self.sent + 1
        command_id = f"cmd_{number:08d}"
        self._sent_at[command_id] = time.perf_counter()
        self._transport.send(WSMsgType.TEXT, COMMAND.format(id=command_id, thread=number % 97).encode())

    async def pump(self, count: int, in_flight: int) -> Latencies:
        """Send `count` commands with at most `in_flight` unanswered, and time each."""
        found = Latencies()
        done = asyncio.Event()
        self._sent_at.clear()

        def send() -> None:
            found.sent += 1
            self.send()

        def on_ack(milliseconds: float) -> None:
            found.milliseconds.append(milliseconds)
            if found.sent < count:
                send()
            elif not found.lost:
                done.set()

        self._on_ack = on_ack
        began = time.perf_counter()
        for _ in range(min(count, in_flight)):
            send()
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await done.wait()
        found.seconds = time.perf_counter() - began
        return found
