"""The HTTP calls: the agent's fallback (PROTOCOL §3) and the backend's own surface (PROTOCOL §5)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from types import MappingProxyType
from typing import Any, Protocol

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent_core.clock import Clock
from agent_core.plain import plain
from agent_core.reference.faults import Faults, checked_seconds
from agent_core.reference.hub import Hub
from agent_core.reference.metrics import CONTENT_TYPE, metrics
from agent_core.reference.orders import AckWay, CallError, Order, id_of
from agent_core.reference.tokens import Secrets, bearer_of, check_admin, check_agent
from agent_core.reference.told import Told
from agent_core.reference.wire import parse

BODY_MAX = 2**20
ATTACHMENT_MAX = 100 * 2**20
_LISTED_MAX = 10_000
_MORE = ("timestamp", "expires_at", "signature")
"""What a command may say of itself beside what the backend says of it."""

Call = Callable[[Request], Awaitable[Response]]


class Shell(Protocol):
    """What the calls need of the backend around them."""

    hub: Hub
    clock: Clock
    faults: Faults

    @property
    def secrets(self) -> Secrets: ...
    @property
    def store_down(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def admin_token(self) -> str: ...
    async def answered(self) -> None: ...
    async def before_poll(self, agent_id: object) -> None: ...
    async def after_poll(self, agent_id: object) -> None: ...
    async def owner(self, command_id: object) -> str | None: ...
    async def order(self, command_id: str) -> Order: ...
    async def orders(self, agent_id: str | None, status: str | None, limit: int) -> list[Order]: ...
    async def agents(self) -> list[dict[str, Any]]: ...
    async def events(self, agent_id: str | None, event_type: str | None, limit: int) -> list[Told]: ...
    def moved(self) -> None: ...
    async def queue(
        self,
        agent_id: str,
        command_type: str,
        payload: Any,
        *,
        command_id: str | None = None,
        priority: str | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> str: ...
    def set_faults(self, body: Mapping[str, Any], seconds: float | None) -> None: ...
    async def configure(self, agent_id: str, settings: dict[str, Any]) -> None: ...


def answer(content: Any, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")


def refusal(error: CallError) -> Response:
    headers = {} if error.retry_after is None else {"Retry-After": f"{max(1, ceil(error.retry_after))}"}
    return Response(to_json({"error": error.sentence}), error.status, headers, media_type="application/json")


def as_told(status: int, body: str, retry_after: float | None) -> Response:
    """A faulty answer (faults.py)."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Response(body, status, headers, media_type="text/plain")


async def body_of(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises CallError (413, 400)."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_MAX:
            raise CallError(413, "a body of at most 1 MiB is taken")
        chunks.append(chunk)
    try:
        body = parse(b"".join(chunks))
    except ValueError as error:
        raise CallError(400, f"the body cannot be taken: {error}") from None
    if not isinstance(body, dict):
        raise CallError(400, "the body is not a JSON object")
    return body


class EdgeCalls:
    """What agents call."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def routes(self) -> list[Route]:
        return [
            Route("/edge/sync", self.sync, methods=["POST"]),
            Route("/edge/register", self.register, methods=["POST"]),
            Route("/edge/command/ack", self.ack, methods=["POST"]),
            Route("/edge/ack_command", self.old_ack, methods=["POST"]),
            Route("/edge/message", self.message, methods=["POST"]),
            Route("/edge/attachments/{name}", self.attachment, methods=["PUT"]),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
        ]

    async def sync(self, request: Request) -> Response:
        claimed = self._caller(request)
        faults = self._shell.faults
        body = await body_of(request)
        if faults.sync_status is not None:
            self._shell.hub.counts["syncs_refused"] += 1
            return await self._faulty(faults.sync_status, faults.sync_body, faults.sync_retry_after)
        named = body.get("edge_agent_id")
        if claimed is None:
            self._check(request, named if isinstance(named, str) else None)
        elif named is not None and str(named) != claimed:
            raise CallError(403, "X-Edge-Agent-Id and edge_agent_id name two agents")
        await self._shell.before_poll(named)
        text = self._shell.hub.sync(body, self._shell.clock.now())
        await self._shell.after_poll(named)
        if faults.sync_items:
            text = text.replace('{"commands":[', f'{{"commands":[{faults.sync_items},', 1)
        return await self._settled(Response(text, media_type="application/json"))

    async def register(self, request: Request) -> Response:
        body = await body_of(request)
        token = body.get("auth_token")
        authorization = request.headers.get("authorization") or (f"Bearer {token}" if isinstance(token, str) else None)
        check_agent(authorization, self._shell.secrets, None, self._shell.clock.now().utc)
        agent_id = self._shell.hub.register(body)
        return await self._settled(answer({"edge_agent_id": agent_id}))

    async def ack(self, request: Request) -> Response:
        return await self._ack(request, self._shell.faults.ack_status)

    async def old_ack(self, request: Request) -> Response:
        return await self._ack(request, self._shell.faults.old_ack_status)

    async def _ack(self, request: Request, status: int | None) -> Response:
        claimed = self._caller(request)
        body = await body_of(request)
        if claimed is None:
            self._check(request, await self._shell.owner(body.get("command_id")))
        if status is not None:
            return await self._faulty(status, "", None)
        self._shell.hub.ack(body, AckWay.HTTP, self._shell.clock.now(), claimed)
        return await self._settled(answer({"ok": True}))

    async def message(self, request: Request) -> Response:
        """A message that came in, as the agent of the original tells it; the answer is a sync's."""
        claimed = self._caller(request)
        body = await body_of(request)
        named = body.get("edge_agent_id")
        if claimed is None:
            self._check(request, named if isinstance(named, str) else None)
        elif named is not None and str(named) != claimed:
            raise CallError(403, "X-Edge-Agent-Id and edge_agent_id name two agents")
        await self._shell.before_poll(named)
        text = self._shell.hub.message(body, self._shell.clock.now())
        await self._shell.after_poll(named)
        return await self._settled(Response(text, media_type="application/json"))

    async def attachment(self, request: Request) -> Response:
        """A file by `fetch_attachment`: measured, and not kept."""
        claimed, digest, size = self._caller(request), hashlib.sha256(), 0
        if claimed is None:
            self._check(request, None)
        async for chunk in request.stream():
            size += len(chunk)
            if size > ATTACHMENT_MAX:
                raise CallError(413, "an attachment of at most 100 MiB is taken")
            digest.update(chunk)
        self._shell.hub.attach(claimed, request.path_params["name"], size, digest.hexdigest())
        return await self._settled(Response(status_code=204))

    def _caller(self, request: Request) -> str | None:
        """The agent that the headers name, if its secret is right; one that names none is judged once the body has. Raises CallError."""
        claimed = request.headers.get("x-edge-agent-id")
        if claimed is not None:
            self._check(request, id_of(claimed, "X-Edge-Agent-Id"))
        else:
            bearer_of(request.headers.get("authorization"))
        return claimed

    def _check(self, request: Request, agent_id: str | None) -> None:
        check_agent(request.headers.get("authorization"), self._shell.secrets, agent_id, self._shell.clock.now().utc)

    async def _settled(self, response: Response) -> Response:
        """Nothing leaves before what it rests on is in the store."""
        self._shell.moved()
        await self._shell.answered()
        await asyncio.sleep(self._shell.faults.delay_seconds)
        return response

    async def _faulty(self, status: int, body: str, retry_after: float | None) -> Response:
        self._shell.moved()
        await asyncio.sleep(self._shell.faults.delay_seconds)
        return as_told(status, body, retry_after)

    async def health(self, _request: Request) -> Response:
        draining = self._shell.draining
        body = {"status": "draining" if draining else "ok", "agents_connected": self._shell.hub.connected_count}
        return answer(body, 503 if draining else 200)

    async def metrics(self, _request: Request) -> Response:
        shell = self._shell
        return Response(metrics(shell.hub, shell.clock.now().utc, shell.store_down), media_type=CONTENT_TYPE)


class AdminCalls:
    """What backend engineers, `edge-console send` and the demonstration call."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def routes(self) -> list[Route]:
        calls: list[tuple[str, str, Call]] = [
            ("POST", "/admin/commands", self.queue),
            ("GET", "/admin/commands", self.commands),
            ("GET", "/admin/commands/{command_id:path}", self.command),
            ("GET", "/admin/events", self.events),
            ("GET", "/admin/attachments", self.attachments),
            ("GET", "/admin/agents", self.agents),
            ("POST", "/admin/agents/{agent_id:path}/config", self.configure),
            ("GET", "/admin/faults", self.read_faults),
            ("PUT", "/admin/faults", self.set_faults),
            ("POST", "/admin/faults", self.set_faults_for),
        ]
        return [Route(path, self._guarded(call), methods=[method]) for method, path, call in calls]

    def _guarded(self, call: Call) -> Call:
        async def guarded(request: Request) -> Response:
            check_admin(request.headers.get("authorization"), self._shell.admin_token)
            return await call(request)

        return guarded

    async def queue(self, request: Request) -> Response:
        body = await body_of(request)
        if unknown := body.keys() - {"edge_agent_id", "command_type", "payload", "priority", "command_id", *_MORE}:
            raise CallError(400, f"unknown key {plain(min(unknown), 60)}")
        command_id = await self._shell.queue(
            body.get("edge_agent_id", ""),
            body.get("command_type", ""),
            body.get("payload", {}),
            command_id=body.get("command_id"),
            priority=body.get("priority"),
            more={key: body[key] for key in _MORE if key in body},
        )
        return answer({"command_id": command_id}, 202)

    async def commands(self, request: Request) -> Response:
        query = request.query_params
        found = await self._shell.orders(query.get("edge_agent_id"), query.get("status"), _limit(query.get("limit", "100")))
        return answer({"commands": [order.view() for order in found]})

    async def events(self, request: Request) -> Response:
        query = request.query_params
        found = await self._shell.events(query.get("edge_agent_id"), query.get("event_type"), _limit(query.get("limit", "100")))
        return answer({"events": [told.view() for told in found]})

    async def command(self, request: Request) -> Response:
        return answer((await self._shell.order(request.path_params["command_id"])).view())

    async def attachments(self, _request: Request) -> Response:
        return answer({"attachments": list(self._shell.hub.attachments)})

    async def agents(self, _request: Request) -> Response:
        return answer({"agents": await self._shell.agents()})

    async def configure(self, request: Request) -> Response:
        await self._shell.configure(request.path_params["agent_id"], await body_of(request))
        return answer({"ok": True}, 202)

    async def read_faults(self, _request: Request) -> Response:
        return answer(self._shell.faults.view())

    async def set_faults(self, request: Request) -> Response:
        self._shell.set_faults(await body_of(request), None)
        return answer(self._shell.faults.view())

    async def set_faults_for(self, request: Request) -> Response:
        body = await body_of(request)
        seconds = checked_seconds(body.pop("seconds", None))
        self._shell.set_faults(body, seconds)
        return answer(self._shell.faults.view() | {"seconds": seconds}, 202)


def _limit(text: str) -> int:
    """Raises CallError."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _LISTED_MAX:
        raise CallError(400, f"limit: 1 to {_LISTED_MAX} expected")
    return int(text)
