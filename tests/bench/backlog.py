"""The benchmark's backend without a socket: hands out a backlog by POST /edge/sync and counts the acks; the same for every client."""

import asyncio
import socket
import time
from contextlib import suppress

import uvicorn
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.bench.driver import Latencies

AT_ONCE = 50


class Backlog:
    """Accepts one client at a time on a loopback port. A command is handed out until it is acked, as by any backend."""

    def __init__(self) -> None:
        routes = [Route("/edge/sync", self._sync, methods=["POST"]), Route("/edge/command/ack", self._ack, methods=["POST"])]
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning"))
        self._asked = asyncio.Event()
        self._done = asyncio.Event()
        self._owed: dict[str, float] = {}
        self._found = Latencies()

    def start(self) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._serving = asyncio.create_task(self._server.serve([listening]), name="backlog")
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._serving

    async def drain(self, name: str, count: int) -> Latencies:
        """Owe `count` commands to a client that is polling, and time each to its ack."""
        async with asyncio.timeout(20):
            await self._asked.wait()
        began = time.perf_counter()
        self._found = Latencies(count)
        self._owed = {f"{name}_{number:06d}": began for number in range(count)}
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await self._done.wait()
        self._found.seconds = time.perf_counter() - began
        self._asked.clear()
        self._done.clear()
        return self._found

    async def _sync(self, request: Request) -> Response:
        await request.body()
        self._asked.set()
        owed = list(self._owed)[:AT_ONCE]
        payload = {"thread_id": "+13105550100", "text": "Dinner at eight? I booked the table by the window."}
        commands = [{"command_id": one, "command_type": "send_message_now", "payload": payload} for one in owed]
        return JSONResponse({"commands": commands, "ack_events": []})

    async def _ack(self, request: Request) -> Response:
        command_id = from_json(await request.body())["command_id"]
        if (owed_at := self._owed.pop(command_id, None)) is not None:
            self._found.milliseconds.append((time.perf_counter() - owed_at) * 1_000)
            if not self._owed:
                self._done.set()
        return JSONResponse({})
