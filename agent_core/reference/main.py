"""`edge-console backend` and `edge-console send`, without their arguments' parsing."""

import asyncio
import json
import os
import secrets
import signal
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent_core.plain import plain
from agent_core.reference.hub import Rules
from agent_core.reference.limits import NO_LIMITS, Limits
from agent_core.reference.server import DEMO_SECRET, CannotServeError, Options, ReferenceBackend, is_loopback


class SendError(Exception):
    """The backend did not take the command, and why, in one sentence."""


def run_backend(
    host: str = "127.0.0.1",
    port: int = 8787,
    data_dir: Path | None = None,
    *,
    admin_token: str | None = None,
    secret: str | None = None,
    agent_secrets: Mapping[str, str] | None = None,
    limits: Limits = NO_LIMITS,
) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code. Raises CannotServeError, of which PortTakenError is one.

    Tokens not given are EDGE_SECRET and EDGE_ADMIN_TOKEN, else, on loopback only, a well-known secret and an admin token made for this
    run, told once on standard error.
    With port 0 standard output is one JSON line, `{"port": N, "url": "…"}`, as soon as calls are answered.
    """
    secret = secret or os.environ.get("EDGE_SECRET")
    admin_token = admin_token or os.environ.get("EDGE_ADMIN_TOKEN")
    if not (secret and admin_token) and not is_loopback(host):
        raise CannotServeError(f"EDGE_SECRET and EDGE_ADMIN_TOKEN must be set to serve on {plain(host, 100)}")
    notes = []
    if not secret:
        notes.append(f"agents' secret (EDGE_SECRET is not set): {DEMO_SECRET}")
    if not admin_token:
        admin_token = secrets.token_urlsafe(18)
        notes.append(f"admin token of this run (EDGE_ADMIN_TOKEN is not set): {admin_token}")
    options = Options(host, port, secret or DEMO_SECRET, agent_secrets or {}, admin_token, data_dir=data_dir, rules=Rules(limits=limits))
    try:
        asyncio.run(_serve(options, notes))
    except (OSError, sqlite3.Error) as error:
        if data_dir is None:
            raise
        raise CannotServeError(f"cannot keep the backend's store in {plain(data_dir)}: {plain(error)}") from None
    return 0


async def _serve(options: Options, notes: list[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with ReferenceBackend(options) as backend:
        if options.port == 0:
            sys.stdout.write(json.dumps({"port": backend.port, "url": backend.url}) + "\n")
            sys.stdout.flush()
        sys.stderr.write("".join(f"{line}\n" for line in [f"reference backend on {backend.url}, SIGINT ends it", *notes]))
        sys.stderr.flush()
        await stop.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await backend.close_links(1001, "going away")


def send_command(
    url: str,
    admin_token: str | None,
    agent_id: str | None,
    command_type: str,
    payload: Mapping[str, Any],
    command_id: str | None = None,
    *,
    priority: str | None = None,
) -> str:
    """Queue one command at a running backend and return its id. Raises SendError.

    Without `agent_id` it is for the only agent that is connected, or else known; without `admin_token` EDGE_ADMIN_TOKEN is used.
    """
    import httpx

    token = admin_token or os.environ.get("EDGE_ADMIN_TOKEN", "none")
    body = {"command_type": command_type, "payload": dict(payload), "command_id": command_id, "priority": priority}
    try:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False) as client:
            chosen = agent_id or _only_agent(_answer(client.get("/admin/agents")).get("agents", []))
            body |= {"edge_agent_id": chosen}
            found = _answer(client.post("/admin/commands", json={key: value for key, value in body.items() if value is not None}))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SendError(f"no backend answers at {plain(url, 200)}: {plain(error, 200) or type(error).__name__}") from None
    return str(found.get("command_id"))


def _answer(response: Any) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise SendError(f"the backend answered {response.status_code} with something that is not a JSON object")
    if response.status_code == 401:
        raise SendError("the backend answered 401: set EDGE_ADMIN_TOKEN to the admin token that it told when it started")
    if response.status_code >= 300:
        raise SendError(f"the backend answered {response.status_code}: {plain(body.get('error', 'no reason given'), 300)}")
    return body


def _only_agent(agents: list[dict[str, Any]]) -> str:
    connected = [agent for agent in agents if agent.get("connected")]
    candidates = connected or agents
    if len(candidates) != 1:
        names = ", ".join(plain(agent.get("edge_agent_id"), 60) for agent in candidates[:10])
        raise SendError(f"which agent? {names}" if candidates else "no agent has called this backend yet: name one")
    return str(candidates[0]["edge_agent_id"])
