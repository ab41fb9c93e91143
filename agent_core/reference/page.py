"""The page at `/` for people: agents, commands, one command's life, sending, faults. Rendered here, without a line of script.

A browser asks for the admin token as a password (any name). It would send it along with a form of another site, too, so each form of ours
carries a token of its own that no other site can read.
"""

import binascii
import hmac
import json
import secrets
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import fields
from html import escape
from typing import Any, Protocol
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agent_core.clock import iso
from agent_core.plain import plain
from agent_core.reference.faults import Faults, checked_seconds
from agent_core.reference.orders import CallError, Order
from agent_core.reference.tokens import same
from agent_core.reference.told import Told
from agent_core.reference.wire import parse

SHOWN = 50
FORM_MAX = 2**18
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2330;background:#fff}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dde1e8;vertical-align:top}
th{font-weight:600;color:#566}code,pre{font:13px/1.5 ui-monospace,monospace}pre{white-space:pre-wrap;background:#f4f6f9;padding:.8rem}
h2{margin-top:2rem}input,select,textarea{font:inherit;margin:.2rem .6rem .2rem 0}.bad{color:#b00020}
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}


class Shell(Protocol):
    """What the page needs of the backend around it."""

    faults: Faults

    @property
    def admin_token(self) -> str: ...
    @property
    def may_fault(self) -> bool: ...
    async def agents(self) -> list[dict[str, Any]]: ...
    async def order(self, command_id: str) -> Order: ...
    async def orders(self, agent_id: str | None = None, status: str | None = None, limit: int = 100) -> list[Order]: ...
    async def events(self, agent_id: str | None = None, event_type: str | None = None, limit: int = 100) -> list[Told]: ...
    async def queue(self, agent_id: str, command_type: str, payload: Any) -> str: ...
    def set_faults(self, body: Mapping[str, Any], seconds: float | None) -> None: ...


class Pages:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._form_token = secrets.token_urlsafe(18)

    def routes(self) -> list[Route]:
        return [
            Route("/", self.front),
            Route("/commands/{command_id:path}", self.command),
            Route("/send", self.send, methods=["POST"]),
            Route("/faults", self.fault, methods=["POST"]),
        ]

    async def front(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        agents, orders, events = await self._shell.agents(), await self._shell.orders(limit=SHOWN), await self._shell.events(limit=SHOWN)
        parts = ["<h2>Agents</h2>", _agents(agents), "<h2>Commands</h2>", _orders(orders), "<h2>Events</h2>", _events(events)]
        parts.append(self._sending(agents))
        if self._shell.may_fault:
            parts.append(self._faults())
        return _page("Reference backend", parts)

    async def command(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        view = (await self._shell.order(request.path_params["command_id"])).view()
        rows = [(key, _code(value) if isinstance(value, dict | list) else _text(value)) for key, value in view.items()]
        return _page(f"Command {view['command_id']}", ['<p><a href="/">All</a></p>', _table((), rows)])

    async def send(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        form = await self._form(request)
        try:
            payload = parse(form.get("payload", ""))
        except ValueError as error:
            raise CallError(400, f"payload: {error}") from None
        command_id = await self._shell.queue(form.get("agent", ""), form.get("type", ""), payload)
        return RedirectResponse(f"/commands/{quote(command_id, safe='')}", 303)

    async def fault(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        form = await self._form(request)
        try:
            value, seconds = parse(form.get("value") or "true"), float(form.get("seconds", ""))
        except ValueError:
            raise CallError(400, "a fault needs a JSON value, and a number of seconds") from None
        self._shell.set_faults({form["fault"]: value} if form.get("fault") else {}, checked_seconds(seconds))
        return RedirectResponse("/", 303)

    # --- who may, and what they sent -----------------------------------------------------------------------------------

    def _refused(self, request: Request) -> Response | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            password = b64decode(value, validate=True).decode().partition(":")[2] if scheme.lower() == "basic" else ""
        except (binascii.Error, UnicodeError):
            password = ""
        if same(password, self._shell.admin_token):
            return None
        return Response("The admin token is the password.", 401, {"WWW-Authenticate": 'Basic realm="edge-console backend"'})

    async def _form(self, request: Request) -> dict[str, str]:
        """Raises CallError."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_MAX:
                raise CallError(413, "a form of at most 256 KiB is taken")
        try:
            form = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True, errors="strict").items()}
        except ValueError:
            raise CallError(400, "the form cannot be read") from None
        if not hmac.compare_digest(form.get("token", "").encode(), self._form_token.encode()):
            raise CallError(403, "the form is not of this page as it is now: load it again")
        return form

    # --- forms ----------------------------------------------------------------------------------------------------------

    def _hidden(self) -> str:
        return f'<input type="hidden" name="token" value="{self._form_token}">'

    def _sending(self, agents: list[dict[str, Any]]) -> str:
        known = "".join(f'<option value="{_text(agent["edge_agent_id"])}">' for agent in agents)
        return (
            f'<h2>Send</h2><form method="post" action="/send">{self._hidden()}'
            f'<input name="agent" list="agents" placeholder="agent" required><datalist id="agents">{known}</datalist>'
            '<input name="type" value="send_message_now" required>'
            '<input name="payload" size="50" value="{&quot;thread_id&quot;: &quot;+13105550100&quot;, &quot;text&quot;: &quot;hi&quot;}">'
            "<button>Send</button></form>"
        )

    def _faults(self) -> str:
        known = "".join(f"<option>{spec.name}</option>" for spec in fields(Faults))
        now = {key: value for key, value in self._shell.faults.view().items() if value}
        return (
            f'<h2>Faults</h2><p class="bad" id="faults">{_code(now) if now else "none"}</p>'
            f'<form method="post" action="/faults">{self._hidden()}<select name="fault"><option value="">none</option>{known}</select>'
            '<input name="value" placeholder="value, as JSON"> for <input name="seconds" size="5" value="30"> s <button>Set</button></form>'
        )


def _agents(agents: list[dict[str, Any]]) -> str:
    rows = [
        (
            _text(agent["edge_agent_id"]),
            "online" if agent["connected"] else "offline",
            _text(agent.get("reported", {}).get("version", "")),
            _text(agent["open_commands"]),
            _text(agent.get("heard_at") or ""),
        )
        for agent in agents
    ]
    return _table(("Agent", "Presence", "Version", "Open commands", "Heard"), rows)


def _orders(orders: Iterable[Order]) -> str:
    rows = [
        (
            f'<a href="/commands/{quote(order.command_id, safe="")}">{_text(order.command_id)}</a>',
            _text(order.agent_id),
            _text(order.command_type),
            _text(order.status.value),
            _text(iso(order.queued_utc)),
        )
        for order in orders
    ]
    return _table(("Command", "Agent", "Type", "Status", "Queued"), rows)


def _events(events: Iterable[Told]) -> str:
    rows = [(_text(told.occurred_at), _text(told.agent_id), _text(told.event_type), _text(told.payload)) for told in events]
    return _table(("Occurred", "Agent", "Type", "What"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    return escape(plain("" if value is None else value, 500))


def _code(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"


def _page(title: str, parts: Iterable[str]) -> Response:
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title><style>{_STYLE}</style></head>'
    return Response(f"{head}<body><h1>{_text(title)}</h1>{''.join(parts)}</body></html>", 200, _HEADERS, media_type="text/html")
