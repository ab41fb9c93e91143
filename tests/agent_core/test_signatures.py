"""Signed commands (PROTOCOL §7): what holds and what does not, and the samples of both languages."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent_core.config.models import Policy
from agent_core.events import CommandsReceived, Execute, FrameReceived, ReplayRequested, SetLogLevel
from agent_core.frames import Command, ConfigUpdate, as_json, command_of, parse
from agent_core.records import Arrival, State
from agent_core.signatures import Signatures
from tests.harness.playbook import Playbook, acks, executes, remembered
from tests.harness.rig import AGENT, ack_of, config, living, message, program, served, settled, write_config
from tests.harness.typescript import compiler

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
PRIVATE, OTHER = ("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=")


def sample() -> Any:
    """docs/samples/signing.py."""
    spec = importlib.util.spec_from_file_location("signing_sample", SAMPLES / "signing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SIGNING = sample()
KEYS = {"2026-10": SIGNING.public_key(OTHER), "2026-11": SIGNING.public_key(PRIVATE)}
COMMAND = {
    "command_id": "cmd_1", "command_type": "send_message_now", "priority": "high", "timestamp": "2026-11-05T20:30:00.000Z",
    "payload": {
        "thread_id": "+13105550100", "text": "héllo ✓ \u2028 \U0001f600", "n": [1, 2.5, 1e21, 1e-7, 0.1, True, None],
        "z": {}, "a": {"é": 1, "e": 2},
    },
    "expires_at": "2099-11-05T20:30:00.000Z",
}  # fmt: skip
SIGNED: dict[str, Any] = SIGNING.sign(COMMAND, "2026-11", PRIVATE)


def verdict(body: dict[str, Any]) -> str | None:
    policy = Policy.model_validate({"signatures": "refuse", "signature_keys": KEYS})
    return Signatures(policy).against(command_of(body))


# --- what holds ----------------------------------------------------------------------------------------------------------


def test_the_order_of_keys_and_the_spaces_between_make_no_difference() -> None:
    def turned(value: Any) -> Any:
        return {name: turned(value[name]) for name in reversed(value)} if isinstance(value, dict) else value

    for text in (json.dumps(SIGNED), json.dumps(turned(SIGNED), indent=4, ensure_ascii=False), as_json(SIGNED)):
        frame = parse(f'{{"type": "command", "data": {text}}}')
        assert isinstance(frame, Command)
        assert Signatures(Policy.model_validate({"signatures": "warn", "signature_keys": KEYS})).against(frame) is None


def test_a_payload_by_another_name_and_absent_members_that_are_null_are_the_same() -> None:
    body = {name: value for name, value in SIGNED.items() if name != "payload"}
    assert verdict(body | {"params": SIGNED["payload"]}) is None
    small = SIGNING.sign({"command_id": "c", "command_type": "emit_event"}, "2026-11", PRIVATE)
    assert verdict(small) is None
    assert verdict(small | {"payload": {}, "priority": None, "timestamp": None, "expires_at": None}) is None


def test_either_of_two_keys_holds_while_one_takes_the_others_place() -> None:
    assert verdict(SIGNING.sign(COMMAND, "2026-10", OTHER)) is None
    assert verdict(SIGNING.sign(COMMAND, "2026-10", PRIVATE)) == "its signature by 2026-10 does not hold"


@pytest.mark.parametrize(
    "change",
    [
        {"command_id": "cmd_2"}, {"command_type": "send_message"}, {"priority": "low"}, {"timestamp": "2026-11-05T20:30:01.000Z"},
        {"expires_at": "2100-01-01T00:00:00Z"}, {"expires_at": None}, {"payload": SIGNED["payload"] | {"text": "bye"}},
        {"payload": SIGNED["payload"] | {"priority": "low"}}, {"payload": {}},
    ],
)  # fmt: skip
def test_a_signature_holds_for_nothing_that_was_changed(change: dict[str, Any]) -> None:
    assert verdict(SIGNED | change) == "its signature by 2026-11 does not hold"


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (None, "it is not signed"),
        ("text", "it is not signed"),
        ({"key_id": 7, "value": "x"}, "it is not signed"),
        ({"key_id": "2025", "value": SIGNED["signature"]["value"]}, "its key is not known: 2025"),
        ({"key_id": "2026-11", "value": "AAAA"}, "its signature by 2026-11 does not hold"),
        ({"key_id": "2026-11", "value": "no base64!"}, "its signature cannot be checked: Only base64 data is allowed"),
    ],
)
def test_what_is_no_signature_is_told(signature: object, why: str) -> None:
    assert verdict(SIGNED | {"signature": signature}) == why


@pytest.mark.parametrize("payload", [{"n": 2**60}, {"text": "x" * 70_000}, {"n": float("inf")}])
def test_what_has_no_canonical_form_cannot_be_checked(payload: dict[str, Any]) -> None:
    assert str(verdict(SIGNED | {"payload": payload})).startswith("its signature cannot be checked: ")


# --- in the engine -------------------------------------------------------------------------------------------------------


def judged(book: Playbook, why: str | None, **extra: Any) -> Playbook:
    one = command_of(COMMAND | {"expires_at": None} | extra)
    return book >> CommandsReceived(book.generation, (Arrival(one, book.arrival(one).known, unsigned=why),))


def asking(signatures: str) -> Playbook:
    return Playbook(policy={"signatures": signatures, "signature_keys": KEYS}).online()


def test_refused_it_fails_and_the_ack_says_why() -> None:
    book = asking("refuse")
    judged(book, "it is not signed") << acks("cmd_1", status="failed", error="refused: it is not signed (policy.signatures)")
    book.never(Execute)
    judged(book, None, command_id="cmd_2") << executes("cmd_2")


def test_warned_of_it_runs_and_is_shown() -> None:
    book = asking("warn")
    judged(book, "it is not signed") << executes("cmd_1")
    book.told("Command cmd_1: it is not signed", "WARNING")
    assert book.row("cmd_1").error == "not as signed: it is not signed"
    book.finish("cmd_1") << acks("cmd_1", status="completed")


def test_what_the_operator_runs_again_needs_no_signature() -> None:
    book = asking("refuse")
    past = remembered(command_of(COMMAND), State.FAILED, 1, error="refused", finished_utc=1.0)
    book >> ReplayRequested("cmd_1", remembered=past)
    assert book.count(Execute) == 1


@pytest.mark.parametrize(("signatures", "taken"), [("refuse", 0), ("warn", 1)])
def test_settings_that_are_no_command_cannot_be_signed(signatures: str, taken: int) -> None:
    book = asking(signatures)
    book >> FrameReceived(book.generation, ConfigUpdate({"log_level": "debug"}))
    assert book.count(SetLogLevel) == taken


# --- the configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", [{"signatures": "refuse"}, {"signature_keys": {"a": "AAAA"}}, {"signature_keys": {"a": "?"}}, {"signatures": "on"}]
)
def test_signatures_without_a_key_and_keys_that_are_none_are_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(policy)


@pytest.mark.parametrize("arguments", [["--no-ui", "--for", "1"], ["config", "check"]])
async def test_without_the_extra_it_is_one_sentence_and_exit_2(tmp_path: Path, arguments: list[str]) -> None:
    told = write_config(tmp_path, "http://127.0.0.1:1", policy={"signatures": "refuse", "signature_keys": KEYS})
    code = "import sys; sys.modules['cryptography'] = None; from console.cli.main import main; main()"
    async with program(*told, *arguments, cwd=tmp_path, code=code) as process:
        assert await process.ends() == 2
    assert len(process.err) == 1
    assert "policy.signatures" in process.err[0]
    assert " install " in process.err[0]


# --- over a real link, and the samples -----------------------------------------------------------------------------------


async def test_over_a_real_link_what_the_sample_signs_runs_and_nothing_else(tmp_path: Path) -> None:
    policy = {"signatures": "refuse", "signature_keys": KEYS}
    async with served() as backend, living(config(tmp_path, backend.url, policy=policy)) as here:
        await here.online()
        ids = []
        for name, changed in (("good", {}), ("bad", {"text": "other"})):
            signed = SIGNING.sign({"command_id": name, "command_type": "send_message_now", "payload": message()}, "2026-11", PRIVATE)
            more = {"signature": signed["signature"]}
            ids.append(await backend.queue(AGENT, "send_message_now", message() | changed, command_id=name, more=more))
        ids.append(await backend.queue(AGENT, "send_message_now", message()))
        good, bad, unsigned = await settled(backend, *ids)
    assert ack_of(good)["status"] == "completed"
    assert ack_of(bad)["error"] == "refused: its signature by 2026-11 does not hold (policy.signatures)"
    assert ack_of(unsigned)["error"] == "refused: it is not signed (policy.signatures)"


def test_the_python_sample_by_its_command_line() -> None:
    def run(*arguments: str, told: str = "") -> dict[str, Any]:
        command = [sys.executable, str(SAMPLES / "signing.py"), *arguments]
        found: dict[str, Any] = json.loads(
            subprocess.run(command, input=told, check=True, capture_output=True, text=True, timeout=60).stdout
        )
        return found

    pair = run("new")
    signed = run("sign", "mine", pair["private_key"], told=json.dumps(COMMAND))
    keys = Policy.model_validate({"signatures": "refuse", "signature_keys": {"mine": pair["public_key"]}})
    assert Signatures(keys).against(command_of(signed)) is None


def test_the_typescript_sample_signs_the_same_bytes(tmp_path: Path) -> None:
    how = ["--module", "nodenext", "--target", "es2022", "--outDir", str(tmp_path)]
    shutil.copy(SAMPLES / "signing.ts", tmp_path / "signing.mts")
    compiled = subprocess.run([*compiler(), *how, "signing.mts"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=100)
    assert compiled.returncode == 0, compiled.stdout
    command = ["node", "signing.mjs", "2026-11", PRIVATE]
    ran = subprocess.run(command, cwd=tmp_path, input=json.dumps(COMMAND), check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(ran.stdout)["signature"] == SIGNED["signature"], "Ed25519 is deterministic"
    assert verdict(json.loads(ran.stdout)) is None
