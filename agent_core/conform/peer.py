"""An agent as the judge plays it: one id, its socket, its calls, and a record of what was said on both."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from agent_core import frames
from agent_core.frames import Command
from agent_core.plain import plain

T = TypeVar("T")
DIAL_WITHIN = 10.0
SHOWN = 400
KEPT = 60
"""Lines of a record: the last ones."""


class Broken(Exception):
    """The clause does not hold; the sentence says what the backend did."""


class Untestable(Exception):
    """It cannot be judged here; the sentence says why."""


class Record:
    """What was said, in order, without the secret."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self.lines: deque[str] = deque(maxlen=KEPT)

    def add(self, arrow: str, text: str) -> None:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        self.lines.append(f"{arrow} {plain(text, SHOWN)}")


class Socket:
    """An open socket; frames that nobody has asked for yet are kept."""

    def __init__(self, connection: ClientConnection, record: Record) -> None:
        self._connection = connection
        self._record = record
        self._kept: list[str | bytes] = []

    async def send(self, frame: str | bytes | dict[str, Any]) -> None:
        """Raises Broken where the socket is closed."""
        raw = json.dumps(frame) if isinstance(frame, dict) else frame
        self._record.add("→", raw if isinstance(raw, str) else repr(raw))
        try:
            await self._connection.send(raw)
        except ConnectionClosed as error:
            raise Broken(f"the socket was closed ({_why(error)})") from None

    async def next(self, wanted: Callable[[str | bytes], T | None], within: float) -> T | None:
        """What `wanted` makes of the first frame of which it makes something; None where none comes in time. Raises Broken."""
        for raw in self._kept:
            if (found := wanted(raw)) is not None:
                self._kept.remove(raw)
                return found
        try:
            async with asyncio.timeout(within):
                while True:
                    raw = await self._connection.recv()
                    self._record.add("←", raw if isinstance(raw, str) else repr(raw))
                    if (found := wanted(raw)) is not None:
                        return found
                    self._kept.append(raw)
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise Broken(f"the socket was closed ({_why(error)})") from None

    async def command(self, marker: str, within: float) -> Command | None:
        return await self.next(lambda raw: _marked(raw, marker), within)

    async def pong(self, seq: int, within: float = 10.0) -> dict[str, Any] | None:
        """The answer to a JSON ping, as it came."""
        await self.send({"type": "ping", "data": {"seq": seq}})
        return await self.next(_pong, within)

    async def alive(self, after: str) -> None:
        """Raises Broken where a JSON or a protocol ping is not answered."""
        if await self.pong(1, 5.0) is None and not await self.protocol_pong():
            raise Broken(f"after {after} the socket answers nothing")

    async def protocol_pong(self, within: float = 10.0) -> bool:
        try:
            async with asyncio.timeout(within):
                await (await self._connection.ping())
        except TimeoutError:
            return False
        except ConnectionClosed as error:
            raise Broken(f"the socket was closed ({_why(error)})") from None
        return True

    async def closed(self, within: float) -> bool:
        """Whether the backend closes it in time."""
        try:
            async with asyncio.timeout(within):
                await self._connection.wait_closed()
        except TimeoutError:
            return False
        self._record.add("←", f"close {self._connection.close_code} {self._connection.close_reason or ''}")
        return True

    def abort(self) -> None:
        self._record.add("→", "the connection is cut")
        self._connection.transport.abort()

    async def close(self) -> None:
        self._record.add("→", "close 1000")
        await self._connection.close()


class Peer:
    """One agent."""

    def __init__(self, url: str, socket_url: str, agent_id: str, secret: str, record: Record) -> None:
        self.agent_id = agent_id
        self._record = record
        self._socket_url = socket_url
        self._bearer = {"Authorization": f"Bearer {secret}"}
        self._http = httpx.AsyncClient(base_url=url.rstrip("/") + "/", trust_env=False, timeout=DIAL_WITHIN)
        self._sockets: list[ClientConnection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for connection in self._sockets:
            connection.transport.abort()
        await self._http.aclose()

    async def dial(self, *, bearer: str | None = None) -> Socket:
        """Raises Broken where the upgrade is not accepted."""
        status, socket = await self.upgrade(bearer=bearer)
        if socket is None:
            raise Broken(f"the upgrade was answered {status}")
        return socket

    async def upgrade(self, *, bearer: str | None = None) -> tuple[str, Socket | None]:
        """What the upgrade came to, as `HTTP 403` or `101`, and the socket where it is one."""
        url = f"{self._socket_url}/edge/ws?edge_agent_id={quote(self.agent_id, safe='')}"
        headers = self._headers(bearer)
        self._record.add("→", f"GET {url} (upgrade)")
        try:
            connection = await connect(
                url, additional_headers=headers, proxy=None, compression=None, ping_interval=None, open_timeout=DIAL_WITHIN, close_timeout=1
            )
        except InvalidStatus as error:
            return self._noted(f"HTTP {error.response.status_code}"), None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            return self._noted(str(error) or type(error).__name__), None
        self._sockets.append(connection)
        return self._noted("101"), Socket(connection, self._record)

    def _noted(self, text: str) -> str:
        self._record.add("←", text)
        return text

    def _headers(self, bearer: str | None = None) -> dict[str, str]:
        authorization = self._bearer if bearer is None else {"Authorization": f"Bearer {bearer}"}
        named = {"X-Edge-Agent-Id": self.agent_id} if self.agent_id.isascii() else {}
        return authorization | named

    async def call(self, path: str, body: Any = None, *, bearer: str | None = None, content: bytes | None = None) -> httpx.Response:
        """POST, or GET without a body. Raises Broken where nothing answers."""
        raw = content if content is not None else None if body is None else json.dumps(body).encode()
        headers = self._headers(bearer) | ({"Content-Type": "application/json"} if raw is not None else {})
        self._record.add("→", f"{'GET' if raw is None else 'POST'} {path} {raw.decode('utf-8', 'replace') if raw else ''}")
        try:
            answer = await self._http.request("GET" if raw is None else "POST", path.lstrip("/"), content=raw, headers=headers)
        except httpx.HTTPError as error:
            raise Broken(f"{path}: {str(error) or type(error).__name__}") from None
        self._record.add("←", f"{answer.status_code} {answer.text}")
        return answer

    async def sync(self, events: list[dict[str, Any]] | None = None) -> httpx.Response:
        """Raises Broken where it is not answered 2xx."""
        body: dict[str, Any] = {"edge_agent_id": self.agent_id, "last_command_id": None, "pending_events": events or [], "status": {}}
        answer = await self.call("/edge/sync", body)
        if not answer.is_success:
            raise Broken(f"/edge/sync was answered {answer.status_code}")
        return answer

    async def synced(self, marker: str, within: float = 0.0, events: list[dict[str, Any]] | None = None) -> Command | None:
        """The marked command, where a sync brings it within `within` seconds. Raises Broken."""
        began = asyncio.get_running_loop().time()
        while True:
            answer = await self.sync(events)
            try:
                commands = frames.parse_sync(answer.content).commands
            except frames.FrameError as error:
                raise Broken(f"/edge/sync: {error}") from None
            found = next((command for command in commands if _has(command, marker)), None)
            if found is not None or asyncio.get_running_loop().time() - began >= within:
                return found
            await asyncio.sleep(1.0)


def ack(command_id: str, **fields: Any) -> dict[str, Any]:
    """The body of an ack; without `fields` a terminal one with everything an agent says."""
    whole = {"status": "completed", "success": True, "error": None, "result": {}}
    return {"command_id": command_id, "timestamp": "2026-01-01T00:00:00.000Z"} | (fields or whole)


def _marked(raw: str | bytes, marker: str) -> Command | None:
    frame = frames.parse(raw)
    return frame if isinstance(frame, Command) and _has(frame, marker) else None


def _pong(raw: str | bytes) -> dict[str, Any] | None:
    body: dict[str, Any] | None = json.loads(raw) if isinstance(frames.parse(raw), frames.Pong) else None
    return body


def _has(command: Command, marker: str) -> bool:
    return marker in json.dumps(dict(command.payload), default=str)


def _why(error: ConnectionClosed) -> str:
    return plain(error.rcvd or "no close frame", 100)
