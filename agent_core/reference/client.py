"""`edge-console send`: one command for a running backend; nothing of the server is needed."""

import os
import re
from collections.abc import Mapping
from typing import Any

from agent_core.plain import plain
from agent_core.reference.admin_token import token_for


class SendError(Exception):
    """The backend did not take the command, and why, in one sentence."""


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

    Without `agent_id` it is for the only agent that is connected, or else known; without `admin_token` it is EDGE_ADMIN_TOKEN,
    or that of this user's backend on this machine.
    """
    import httpx

    token = admin_token or os.environ.get("EDGE_ADMIN_TOKEN") or token_for(url) or "none"
    body = {"command_type": command_type, "payload": dict(payload), "command_id": command_id, "priority": priority}
    try:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False) as client:
            chosen = agent_id or _only_agent(_answer(client.get("/admin/agents")).get("agents", []))
            body |= {"edge_agent_id": chosen}
            found = _answer(client.post("/admin/commands", json={key: value for key, value in body.items() if value is not None}))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SendError(f"no backend answers at {plain(url, 200)}: {_said(error)}; `edge-console backend` starts one") from None
    return str(found.get("command_id"))


def _said(error: Exception) -> str:
    return plain(re.sub(r"^\[Errno \d+\] ", "", str(error)), 200) or type(error).__name__


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
        there = f"more than one agent is there ({names})" if candidates else "no agent has called this backend yet"
        raise SendError(f"{there}: name the agent with --to ID")
    return str(candidates[0]["edge_agent_id"])
