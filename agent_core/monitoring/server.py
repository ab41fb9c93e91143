"""`/live`, `/ready`, `/health` and `/metrics` on loopback, from a thread and loop of their own: a blocked agent is told of, too.

One request a connection. A head must be whole in time, and only so many connections may be open: past that the one that waits longest gives
way, so that half-sent requests keep nobody out. A Host that is not this machine's is refused: no page in a browser can read here.
"""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

from agent_core.monitoring.health import health, lives, ready
from agent_core.plain import plain
from agent_core.snapshot import Snapshot

log = logging.getLogger("edge")
MAX_HEAD = 8_192
MAX_CONNECTIONS = 32
WITHIN = 5.0
STOP_WITHIN = 2.0
REQUEST = re.compile(rb"(GET|HEAD) (/[\x21-\x7e]*) HTTP/1\.[01]\r\n")
HOST = re.compile(rb"\r\nhost:[ \t]*(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?[ \t]*\r\n", re.IGNORECASE)
TEXT, JSON = "text/plain; charset=utf-8", "application/json"
Answer = tuple[int, str, bytes]


class Watched(Protocol):
    """What the server needs of the agent, from any thread."""

    turned_at: float | None

    def snapshot(self) -> Snapshot: ...


class Monitoring:
    """Serves from `start` to `stop`; where the port is taken the agent goes on without, and says so."""

    def __init__(self, agent: Watched, port: int) -> None:
        self._agent = agent
        self._port = port
        self._began_at = time.monotonic()
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="monitoring", daemon=True)
        self._pages: dict[str, Callable[[float], Answer]] = {
            "/live": self._live, "/ready": self._ready, "/health": self._health, "/metrics": self._metrics,
        }  # fmt: skip

    def start(self) -> None:
        self._agent.snapshot()
        self._thread.start()

    def stop(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(STOP_WITHIN)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve_until_over())
        except OSError as error:
            log.warning("monitoring.port %d cannot be served: %s", self._port, plain(error.strerror or error, 120))

    async def _serve_until_over(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=MAX_HEAD)
        await self._over.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._waiting) >= MAX_CONNECTIONS:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.transport.abort()
        self._waiting[writer] = None
        try:
            async with asyncio.timeout(WITHIN):
                writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except Exception as error:  # noqa: BLE001  (the edge: whatever is asked, the others are answered)
            log.warning("a request to monitoring failed: %s: %s", type(error).__name__, plain(error, 120))
        finally:
            self._waiting.pop(writer, None)
            writer.transport.abort()

    def _answer(self, head: bytes) -> bytes:
        request = REQUEST.match(head)
        page = self._pages.get(request[2].decode("ascii").partition("?")[0]) if request else None
        if request is None:
            status, kind, body = 405, TEXT, b"GET or HEAD\n"
        elif HOST.search(head) is None:
            status, kind, body = 421, TEXT, b"Host: 127.0.0.1 or localhost\n"
        elif page is None:
            status, kind, body = 404, TEXT, " ".join(self._pages).encode() + b"\n"
        else:
            status, kind, body = page(time.monotonic())
        lines = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {kind}", f"Content-Length: {len(body)}",
            "Cache-Control: no-store", "X-Content-Type-Options: nosniff", "Connection: close",
        )  # fmt: skip
        return "\r\n".join((*lines, "", "")).encode() + (b"" if request is not None and request[1] == b"HEAD" else body)

    @property
    def _turned_at(self) -> float:
        return self._agent.turned_at or self._began_at

    def _live(self, now: float) -> Answer:
        return (200, TEXT, b"lives\n") if lives(self._turned_at, now) else (503, TEXT, b"the engine does not turn\n")

    def _ready(self, now: float) -> Answer:
        return (200, TEXT, b"ready\n") if ready(self._agent.snapshot(), now) else (503, TEXT, b"no transport is verified\n")

    def _health(self, now: float) -> Answer:
        return 200, JSON, json.dumps(health(self._agent.snapshot(), self._turned_at, now), indent=1).encode() + b"\n"

    def _metrics(self, now: float) -> Answer:
        from agent_core.monitoring.metrics import CONTENT_TYPE, metrics

        return 200, CONTENT_TYPE, metrics(self._agent.snapshot(), now)
