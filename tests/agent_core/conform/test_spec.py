"""The models, held against what an agent and the reference backend really say, and against the compilers of others."""

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent_core.clock import Moment
from agent_core.conform.models import AgentFrame, BackendFrame, RegisterAnswer, RegisterRequest, SyncAnswer, SyncRequest
from agent_core.conform.spec import FORMATS, definitions, typescript
from agent_core.reference.hub import Ending, Hub
from agent_core.reference.server import ReferenceBackend
from tests.harness.rig import AGENT, config, living, message, online_at, options, settled, until
from tests.harness.typescript import compiler


class Witness(Hub):
    """Keeps what the agent says and what it is told."""

    def __init__(self) -> None:
        super().__init__(salt="spec")
        self.heard: list[str | bytes] = []
        self.told: list[str] = []
        self.synced: list[tuple[Any, str]] = []
        self.registered: list[tuple[Any, str]] = []

    def receive(self, agent_id: str, generation: int, raw: str | bytes, now: Moment) -> Ending | None:
        self.heard.append(raw)
        return super().receive(agent_id, generation, raw, now)

    def take(self, agent_id: str, generation: int, now: Moment, at_most: int = 64) -> list[str]:
        frames = super().take(agent_id, generation, now, at_most)
        self.told += frames
        return frames

    def sync(self, body: Any, now: Moment) -> str:
        answer = super().sync(body, now)
        self.synced.append((body, answer))
        return answer

    def register(self, body: Any) -> str:
        found = super().register(body)
        self.registered.append((body, json.dumps({"edge_agent_id": found})))
        return found


async def test_what_an_agent_and_the_backend_say_is_what_the_models_say(tmp_path: Path) -> None:
    backend = ReferenceBackend(options())
    backend.hub = hub = Witness()
    quick = {"status_interval_seconds": 0.2, "ping_interval_seconds": 0.2}
    unnamed = {"agent_id": None, "user_phone": "+13105550100"}
    async with backend, living(config(tmp_path, backend.url, websocket=quick, edge=unnamed)) as here:
        await until(lambda: hub.registered and here.agent.snapshot().agent_id)
        agent_id = str(here.agent.snapshot().agent_id)
        await online_at(backend, agent_id)
        ids = [await backend.queue(agent_id, "send_message_now", message(), priority="high")]
        ids.append(await backend.queue(agent_id, "schedule_message", {**message(), "send_at": "2000-01-01T00:00:00Z"}))
        ids.append(await backend.queue(agent_id, "no_such_type", {}))
        await backend.configure(agent_id, {"sync_interval": 60})
        await settled(backend, *ids)
        await until(lambda: {json.loads(raw)["type"] for raw in hub.heard} >= {"ping", "status", "command_ack"})
        await backend.down()
        late = await backend.queue(agent_id, "emit_event", {})
        await backend.up()
        await settled(backend, late)
    assert {type(msgspec.json.decode(raw, type=AgentFrame)).__name__ for raw in hub.heard} >= {"PingFrame", "StatusFrame", "AckFrame"}
    said = {type(msgspec.json.decode(raw, type=BackendFrame)).__name__ for raw in hub.told}
    assert said >= {"CommandFrame", "PongFrame", "ConnectedFrame", "ConfigUpdateFrame"}
    for body, answer in hub.synced:
        msgspec.convert(body, SyncRequest)
        msgspec.json.decode(answer, type=SyncAnswer)
    for body, answer in hub.registered:
        msgspec.convert(body, RegisterRequest)
        msgspec.json.decode(answer, type=RegisterAnswer)
    assert agent_id != AGENT


@pytest.mark.parametrize("form", ["json-schema", "asyncapi"])
def test_every_reference_in_a_schema_leads_somewhere(form: str) -> None:
    whole = json.loads(FORMATS[form]())

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [one for inner in node.values() for one in references(inner)]
        return [one for inner in node for one in references(inner)] if isinstance(node, list) else []

    found = references(whole)
    assert found
    for reference in found:
        place: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_markdown_has_every_model_and_every_clause() -> None:
    text = FORMATS["md"]()
    assert all(f"\n# {name}\n" in text for name in definitions(""))
    assert "| W1 |" in text


USES = """
import type { AgentFrame, BackendFrame } from "./protocol";
const command: BackendFrame = { type: "command", data: { command_id: "cmd_1", command_type: "emit_event", payload: {} } };
export function answer(frame: AgentFrame): BackendFrame | undefined {
  switch (frame.type) {
    case "ping": return { type: "pong", data: frame.data };
    case "command_ack": return frame.data.status === "failed" ? command : undefined;
    default: return undefined;
  }
}
"""
MISUSES = (
    'import type { BackendFrame } from "./protocol";\nexport const frame: BackendFrame = { type: "command", data: { command_id: 7 } };\n'
)


def test_typescript_takes_what_is_right_and_refuses_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "protocol.ts").write_text(typescript())
    for name, text, code in (("uses", USES, 0), ("misuses", MISUSES, 2)):
        (tmp_path / f"{name}.ts").write_text(text)
        ran = subprocess.run(
            [*compiler(), "--noEmit", f"{name}.ts"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=100
        )
        assert ran.returncode == code, ran.stdout
