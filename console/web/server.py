"""The pages' server, on loopback: whoever has the token in the URL may look, and only a page of its own may connect.

A browser carries requests of any page to this machine: so Host and Origin must be this server's, and each address begins with the token.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from hmac import compare_digest
from importlib.resources import files
from pathlib import Path
from typing import Self

import textual_serve
from aiohttp import web

from console.web.session import attend, cells

LOOPBACK = "127.0.0.1"
MAX_PAGES = 8
MAX_MESSAGE = 2**20
HEARTBEAT = 15.0
FONT_SIZES = range(6, 65)
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
FOCUS = 'addEventListener("load", () => document.querySelector(".xterm-helper-textarea").focus())\n'
"""So that keys count before the first click."""
PAGE = files("console.web").joinpath("page.html")
STATIC = Path(str(files(textual_serve).joinpath("static")))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PortTakenError(Exception):
    """Another program listens there."""


class Server:
    """`async with Server(command, port) as server` serves `server.url` until the block ends; each page runs `command`."""

    def __init__(self, command: Sequence[str], port: int = 0) -> None:
        """Port 0: a free one."""
        self._command = command
        self.port = port
        self._token = secrets.token_urlsafe(24)
        self._pages: set[web.WebSocketResponse] = set()
        app = web.Application(middlewares=[self._guarded])
        app.add_routes([
            web.get(f"/{self._token}/", self._page), web.get(f"/{self._token}/ws", self._session),
            web.get(f"/{self._token}/focus.js", self._focus), web.static(f"/{self._token}/static", STATIC),
        ])  # fmt: skip
        app.on_shutdown.append(self._end_pages)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def __aenter__(self) -> Self:
        """Raises PortTakenError."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, LOOPBACK, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise PortTakenError(f"port {self.port} of {LOOPBACK} cannot be had: {error.strerror}; choose another by --port") from None
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/{self._token}/"

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host not in {f"{name}:{self.port}" for name in (LOOPBACK, "localhost")}:
            raise web.HTTPForbidden(text="this server is asked for by another name than its own\n")
        if not compare_digest(request.path.split("/")[1].encode(), self._token.encode()):
            raise web.HTTPNotFound(text="the address has no token, or that of an earlier run: take it from where `serve` runs\n")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS | {"Content-Security-Policy": f"{POLICY}; connect-src ws://{request.host}"})
        return response

    async def _page(self, request: web.Request) -> web.StreamResponse:
        size = cells(request.query.get("fontsize"), 16)
        text = PAGE.read_text("utf-8").replace("{socket}", f"ws://{request.host}/{self._token}/ws")
        return web.Response(text=text.replace("{font_size}", str(size if size in FONT_SIZES else 16)), content_type="text/html")

    async def _focus(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=FOCUS, content_type="text/javascript")

    async def _session(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="only a page of this server may connect\n")
        if len(self._pages) >= MAX_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{MAX_PAGES} pages are open, and no more may be\n")
        page = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=MAX_MESSAGE)
        self._pages.add(page)
        try:
            await page.prepare(request)
            await attend(page, self._command, cells(request.query.get("width"), 80), cells(request.query.get("height"), 24))
        finally:
            self._pages.discard(page)
            await page.close()
        return page

    async def _end_pages(self, _app: web.Application) -> None:
        await asyncio.gather(*(page.close(code=1001) for page in tuple(self._pages)), return_exceptions=True)
