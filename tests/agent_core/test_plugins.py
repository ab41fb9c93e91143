"""Messengers and handlers that installed packages bring: real packages, beside ours on the path, used and refused."""

import json
from pathlib import Path

import pytest

from agent_core.config.layers import ConfigError, load_config
from agent_core.reference.orders import Status
from tests.harness.rig import AGENT, ROOT, ack_of, message, program, served, settled, write_config

PIGEON = """
from agent_core.messengers import Messenger
from agent_core.records import Outcome

class Pigeon(Messenger):
    def __init__(self, loft):
        self.loft = loft

    async def send(self, message, command, context):
        return Outcome(result={"loft": self.loft, "carried": message.text})

def pigeon(config):
    if "loft" not in config.messenger.options:
        raise ValueError("messenger.options has no loft")
    return Pigeon(config.messenger.options["loft"])
"""
LIGHT = """
from agent_core.entries import EffectClass, Trait
from agent_core.handlers import handles
from agent_core.records import Outcome

@handles("switch_light", trait=Trait(EffectClass.EXTERNAL, idempotent=True))
async def switch_light(command, context):
    return Outcome(result={"on": command.payload["on"]})
"""
NO_LOFT = "messenger.kind: pigeon cannot be used: messenger.options has no loft"
MENDING = "; mend edge-birds, or uninstall it"


def install(folder: Path, package: str, code: str, messengers: str = "", handlers: str = "") -> str:
    """A package of one module, and the path that has it."""
    site = folder / "site"
    meta = site / f"{package}-1.2.dist-info"
    meta.mkdir(parents=True)
    (site / f"{package}.py").write_text(code)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.2\n")
    (meta / "entry_points.txt").write_text(f"[edge_console.messengers]\n{messengers}\n[edge_console.handlers]\n{handlers}\n")
    return f"{ROOT}:{site}"


async def test_a_messenger_and_a_handler_of_other_packages_are_used_and_told(tmp_path: Path) -> None:
    install(tmp_path, "edge_birds", PIGEON, messengers="pigeon = edge_birds:pigeon")
    path = install(tmp_path, "edge_lights", LIGHT, handlers="lights = edge_lights")
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url, messenger={"kind": "pigeon", "options": {"loft": "roof"}})
        async with program("--no-ui", *arguments, cwd=tmp_path, PYTHONPATH=path) as agent:
            await agent.hears(r"Loaded messenger pigeon from edge-birds 1\.2 \(/.*/site/edge_birds\.py\)")
            await agent.hears(r"Loaded handler of switch_light from edge-lights 1\.2 \(/.*/site/edge_lights\.py\)")
            await agent.hears("real-time mode")
            sent = await backend.queue(AGENT, "send_message_now", message("coo"))
            switched = await backend.queue(AGENT, "switch_light", {"on": True})
            orders = await settled(backend, sent, switched)
            assert {order.status for order in orders} == {Status.COMPLETED}
            assert [ack_of(order)["result"] for order in orders] == [{"loft": "roof", "carried": "coo"}, {"on": True}]
        async with program("doctor", "--json", *arguments, cwd=tmp_path, PYTHONPATH=path) as doctor:
            await doctor.ends()
            stages = {stage["name"]: stage for stage in json.loads("\n".join(doctor.out))["stages"]}
            assert stages["messenger"]["verdict"] == "ok"
            assert stages["messenger"]["sentence"].startswith("pigeon; messenger pigeon from edge-birds 1.2 (/")
            assert "handler of switch_light from edge-lights 1.2" in stages["messenger"]["sentence"]


@pytest.mark.parametrize(
    ("code", "points", "sentence"),
    [
        ("import nowhere", {"messengers": "pigeon = edge_birds:pigeon"}, "ModuleNotFoundError: No module named 'nowhere'" + MENDING),
        ("import sys\nsys.exit(3)", {"messengers": "pigeon = edge_birds:pigeon"}, "SystemExit: 3" + MENDING),
        (PIGEON, {"messengers": "pigeon = edge_birds:dove"}, "AttributeError: module 'edge_birds' has no attribute 'dove'" + MENDING),
        (PIGEON, {"messengers": "pigeon = edge_birds:__name__"}, "it is a str, not a class or function that makes a messenger" + MENDING),
        (PIGEON, {"messengers": "outbox = edge_birds:pigeon"}, "another messenger has that name" + MENDING),
        (PIGEON, {"handlers": "birds = edge_birds"}, "edge_birds has no function with @handles" + MENDING),
        (
            LIGHT.replace("switch_light", "emit_event"), {"handlers": "birds = edge_birds"},
            "ValueError: the command type emit_event has a handler already" + MENDING,
        ),
        (
            LIGHT.replace("switch_light", "cancel_message"), {"handlers": "birds = edge_birds"},
            "ValueError: the command type cancel_message has a handler already" + MENDING,
        ),
    ],
)  # fmt: skip
async def test_a_broken_package_is_one_sentence_before_anything_starts(
    tmp_path: Path, code: str, points: dict[str, str], sentence: str
) -> None:
    path = install(tmp_path, "edge_birds", code, **points)
    arguments = write_config(tmp_path, "http://127.0.0.1:9")
    async with program("--no-ui", "--for", "0.1", *arguments, cwd=tmp_path, PYTHONPATH=path) as broken:
        assert await broken.ends() == 2
        assert len(broken.err) == 1
        assert broken.err[0].startswith("edge-console: edge_console.")
        assert broken.err[0].endswith(f" of edge-birds 1.2 cannot be used: {sentence}")
        assert broken.out == []


async def test_two_packages_with_one_name_are_refused(tmp_path: Path) -> None:
    install(tmp_path, "edge_birds", PIGEON, messengers="pigeon = edge_birds:pigeon")
    path = install(tmp_path, "edge_doves", PIGEON, messengers="pigeon = edge_doves:pigeon")
    async with program("--no-ui", *write_config(tmp_path, "http://127.0.0.1:9"), cwd=tmp_path, PYTHONPATH=path) as broken:
        assert await broken.ends() == 2
        assert "another messenger has that name" in broken.err[0]


@pytest.mark.parametrize(("code", "sentence"), [(PIGEON, NO_LOFT), ("pigeon = str", "it makes a str, not a Messenger")])
async def test_a_messenger_that_cannot_be_made_is_one_sentence(tmp_path: Path, code: str, sentence: str) -> None:
    path = install(tmp_path, "edge_birds", code, messengers="pigeon = edge_birds:pigeon")
    arguments = write_config(tmp_path, "http://127.0.0.1:9", messenger={"kind": "pigeon"})
    async with program("--no-ui", *arguments, cwd=tmp_path, PYTHONPATH=path) as broken:
        assert await broken.ends() == 2
        assert len(broken.err) == 1
        assert sentence in broken.err[0]
    async with program("doctor", *arguments, cwd=tmp_path, PYTHONPATH=path) as doctor:
        assert await doctor.ends() == 1
        assert sentence in " ".join(" ".join(doctor.out).split())


def test_a_kind_that_nobody_brings_is_told_with_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("messenger:\n  kind: pidgeon\n")
    expected = "expected outbox, file, exec, http, imessage or what an installed package brings, found “pidgeon”"
    with pytest.raises(ConfigError, match=f"messenger.kind: {expected}$"):
        load_config(file, {"EDGE_SECRET": "a-fine-secret"})
    monkeypatch.syspath_prepend(install(tmp_path, "edge_birds", PIGEON, messengers="pigeon = edge_birds:pigeon").split(":")[1])
    expected = r"expected outbox, file, exec, http, imessage or pigeon, found “pidgeon” \(did you mean pigeon\?\)"
    with pytest.raises(ConfigError, match=f"messenger.kind: {expected}$"):
        load_config(file, {"EDGE_SECRET": "a-fine-secret"})
    file.write_text("messenger: {kind: pigeon, options: {loft: roof}}\n")
    assert load_config(file, {"EDGE_SECRET": "a-fine-secret"}).messenger.kind == "pigeon"
