"""Light agents for `make bench-backend`: thousands in a process, each a socket that acknowledges at once and redials as a real one does.

`python -m tests.bench.light PORT FIRST COUNT` prints one JSON line a second: how many are online, have been acked, and dialled.
"""

import asyncio
import json
import os
import random
import struct
import sys
import time
from base64 import b64encode
from contextlib import nullcontext

from agent_core.config.models import Backoff, Timing
from agent_core.engine.backoff import delay
from agent_core.engine.outcomes import Rule

SECRET = "bench-secret-0001"
DIALS_AT_ONCE = 100
PING_EVERY = 30.0
DIAL_WITHIN = 10.0


class Agents:
    def __init__(self, port: int, first: int, count: int) -> None:
        self._port = port
        self._names = [f"light-{number}" for number in range(first, first + count)]
        self._dialling = asyncio.Semaphore(DIALS_AT_ONCE)
        self._dice = random.Random(first)
        self.online = self.acked = self.proven = 0
        self.dials_by_second: dict[int, int] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self._names:
                tasks.create_task(self._live(name))
            tasks.create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            print(
                json.dumps({"online": self.online, "acked": self.acked, "proven": self.proven, "dials": self.dials_by_second}), flush=True
            )
            await asyncio.sleep(0.25)

    async def _live(self, name: str) -> None:
        attempt, stable = 0, False
        while True:
            if attempt:
                await asyncio.sleep(delay(Rule.LADDER, attempt, attempt, None, self._dice.random, Timing(), Backoff(), spread_retry=stable))
            try:
                async with nullcontext() if stable else self._dialling, asyncio.timeout(DIAL_WITHIN):
                    reader, writer = await self._dial(name)
            except (OSError, asyncio.IncompleteReadError, ConnectionError):
                attempt += 1
                continue
            attempt, stable = 1, True
            self.online += 1
            try:
                await self._hear(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                self.online -= 1
                writer.close()

    async def _dial(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        second = int(time.time())
        self.dials_by_second[second] = self.dials_by_second.get(second, 0) + 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        key = b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /edge/ws?edge_agent_id={name} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {SECRET}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            writer.close()
            raise ConnectionError
        return reader, writer

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unproven = 0
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def ping() -> None:
            nonlocal timer
            writer.write(masked(b'{"type":"ping"}'))
            timer = loop.call_later(PING_EVERY, ping)

        timer = loop.call_later(self._dice.random() * PING_EVERY, ping)
        try:
            while True:
                head = await reader.readexactly(2)
                size = head[1] & 0x7F
                if size >= 126:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
                body = await reader.readexactly(size)
                if head[0] & 0x0F == 8:
                    return
                if body.startswith(b'{"type":"command"'):
                    command_id = json.loads(body)["data"]["command_id"]
                    ack = f'{{"type":"command_ack","data":{{"command_id":"{command_id}","status":"completed"}}}}'.encode()
                    writer.write(masked(ack) + masked(b'{"type":"ping"}'))
                    self.acked += 1
                    unproven += 1
                elif body.startswith(b'{"type":"pong"'):
                    self.proven += unproven
                    unproven = 0
        finally:
            if timer is not None:
                timer.cancel()


def masked(text: bytes) -> bytes:
    """One text frame."""
    size = len(text)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, size)
    return head + b"\0\0\0\0" + text


if __name__ == "__main__":
    asyncio.run(Agents(*map(int, sys.argv[1:4])).run())
