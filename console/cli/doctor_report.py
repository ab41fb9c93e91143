"""What the doctor found as JSON, and as a Markdown report for the backend's engineer."""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from agent_core import __version__
from agent_core.figures import took
from agent_core.plain import plain

if TYPE_CHECKING:
    from agent_core.config import Config
    from agent_core.diagnosis.findings import Conclusion, Exchange, Stage

SOCKET_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def as_json(stages: "Sequence[Stage]", conclusion: "Conclusion | None", config: "Config | None", began: float) -> dict[str, Any]:
    from agent_core.clock import iso

    return {
        "ok": conclusion is None, "version": __version__, "utc": iso(began),
        "agent_id": config.edge.agent_id if config else None, "backend_url": config.backend.url if config else None,
        "socket_url": config.socket_url if config else None, "fingerprint": fingerprint_of(config),
        "stages": [
            {"name": one.name, "verdict": one.verdict, "ms": round(one.ms, 1), "sentence": one.sentence,
             "status": one.exchange.status if one.exchange else None}
            for one in stages
        ],
        "conclusion": None if conclusion is None else {"stage": conclusion.stage, "cause": conclusion.cause, "advice": conclusion.advice},
    }  # fmt: skip


def fingerprint_of(config: "Config | None") -> str | None:
    """The secret's fingerprint; None without a secret."""
    from agent_core.channels.credentials import fingerprint

    secret = config.auth.secret.get_secret_value() if config is not None else ""
    return fingerprint(secret) if secret else None


def report(stages: "Sequence[Stage]", conclusion: "Conclusion | None", config: "Config | None", began: float) -> Iterator[str]:
    import platform

    from agent_core.clock import iso

    yield "# An edge agent does not connect as it should" if conclusion is not None else "# An edge agent's diagnosis: nothing failed"
    yield ""
    yield f"- made {iso(began)} (UTC) by edge-console {__version__}, Python {platform.python_version()}, {platform.system()}"
    if config is not None:
        yield f"- agent `{plain(config.edge.agent_id or 'without an id', 200)}`, auth mode `{config.auth.mode}`, secret not in this report"
        yield f"- secret's fingerprint `{fingerprint_of(config) or 'no secret'}`: compare with"
        yield "  `printf 'edge-console:%s' \"$EDGE_SECRET\" | sha256sum | cut -c1-8`"
        yield f"- socket `{config.socket_url}`, HTTP `{config.backend.url}`"
    if conclusion is not None:
        yield f"- first failing stage: **{conclusion.stage}**; likely: {_cell(conclusion.cause)}"
    yield from ("", "## Stages", "", "| stage | verdict | time | found |", "|---|---|---|---|")
    for stage in stages:
        yield f"| {stage.name} | {stage.verdict} | {took(stage.ms / 1_000)} | {_cell(stage.sentence)} |"
    for stage in stages:
        if stage.exchange is not None:
            yield from _exchange(stage.exchange)
    if config is not None:
        yield from _reproduction(config)


def _cell(text: str) -> str:
    """As it is in a Markdown table or list: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", plain(text))


def _exchange(one: "Exchange") -> Iterator[str]:
    from agent_core.clock import iso

    yield from ("", f"## {one.call}", "", f"Sent {iso(one.at_utc)}:", "")
    yield from _block([f"{one.call.split()[0]} {one.url}", *_lines(one.request, one.body)])
    yield ""
    if one.status is None:
        yield f"No answer: {_cell(one.trouble or 'unknown')}"
        return
    yield "Received:"
    yield ""
    yield from _block([f"HTTP {one.status}", *_lines(one.headers, one.excerpt)])


def _lines(headers: Sequence[tuple[str, str]], body: str) -> list[str]:
    return [*(f"{name}: {value}" for name, value in headers), *(["", body] if body else [])]


def _block(lines: Sequence[str]) -> Iterator[str]:
    """An indented block: nothing inside can end it."""
    yield from (f"    {plain(line, 1_000)}".rstrip() for line in lines)


def _reproduction(config: "Config") -> Iterator[str]:
    """Commands that send the same, with a placeholder for the secret."""
    agent_id = config.edge.agent_id or "AGENT_ID"
    yield from ("", "## To reproduce", "")
    if config.auth.mode == "hmac_token":
        yield '`$EDGE_SECRET` here is a token made from it: base64 of `id:phone:unix_ts:hex(HMAC-SHA256(secret, "id:phone:unix_ts"))`.'
        yield ""
    bearer = '-H "Authorization: Bearer $EDGE_SECRET"'
    who = f"-H {shlex.quote(f'X-Edge-Agent-Id: {agent_id}')}"
    upgrade = f"-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: {SOCKET_KEY}'"
    socket_url = "http" + config.socket_url.removeprefix("ws") + "?" + urlencode({"edge_agent_id": agent_id})
    body = json.dumps({"edge_agent_id": agent_id, "last_command_id": None, "pending_events": [], "status": {}})
    yield from _block([
        "EDGE_SECRET='the secret'",
        f"curl --http1.1 -i -N -m 10 {upgrade} \\", f"  {bearer} {who} {shlex.quote(socket_url)}",
        f"curl -i -m 10 -H 'Content-Type: application/json' {bearer} {who} \\",
        f"  -d {shlex.quote(body)} {shlex.quote(config.backend.url.rstrip('/') + '/edge/sync')}",
    ])  # fmt: skip
