"""The messenger that runs a program: real programs, well-behaved and not."""

import asyncio
import json
import os
import signal
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from agent_core.frames import Command, Message
from agent_core.handlers import run
from agent_core.messengers import Context
from agent_core.messengers.exec import ExecMessenger
from agent_core.records import Outcome
from tests.harness.rig import AGENT, SECRET, ack_of, message, program, served, settled, until, write_config

TEXT = 'a "quoted" \\ line\nEOF\n$(true) & do shell script "x" 👋'
COMMAND = Command("cmd_1", "send_message_now")


def python(folder: Path, body: str) -> list[str]:
    path = folder / "send.py"
    path.write_text("import json, os, signal, sys, time\n" + body)
    return [sys.executable, str(path)]


async def send(command: list[str], within: float = 30.0, text: str = TEXT) -> Outcome:
    messenger, asked = ExecMessenger(command), Message("+13105550100", text)
    pending = messenger.send(asked, COMMAND, Context(1, 1_793_910_600.0, messenger, asked))
    return await run(pending, COMMAND, within, lambda _command, _seconds: None)


def gone(file: Path) -> bool:
    """The process that wrote its id there; one that nobody has waited for yet is dead, too."""
    if not file.exists() or not (pid := file.read_text()):
        return False
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(int(pid), 0)
        return sys.platform == "linux" and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


async def test_the_message_is_on_its_stdin_and_its_line_is_the_receipt(tmp_path: Path) -> None:
    outcome = await send(python(tmp_path, 'print(json.dumps({"guid": "A1", "got": json.load(sys.stdin)}))'))
    assert outcome == Outcome(result={"guid": "A1", "got": {
        "command_id": "cmd_1", "thread_id": "+13105550100", "text": TEXT, "sent_utc": 1_793_910_600.0,
    }})  # fmt: skip


async def test_a_receipt_is_no_duty() -> None:
    assert await send(["true"]) == Outcome()


async def test_a_long_text_arrives_whole(tmp_path: Path) -> None:
    outcome = await send(python(tmp_path, 'print(json.dumps({"length": len(json.load(sys.stdin)["text"])}))'), text="é" * 500_000)
    assert outcome.result == {"length": 500_000}


async def test_another_exit_code_says_that_nothing_was_sent(tmp_path: Path) -> None:
    outcome = await send(python(tmp_path, 'sys.exit("first line\\nno such \x1b[31mrecipient")'))
    assert outcome == Outcome(error="exit code 1: no such ␛[31mrecipient")


@pytest.mark.parametrize("body", ["print('sent!')", "print([1])", "print('{}\\n{}')", "print('{' * 9_000)", "os.write(1, b'\\xff')"])
async def test_a_success_with_something_else_than_a_receipt_proves_nothing(tmp_path: Path, body: str) -> None:
    outcome = await send(python(tmp_path, body))
    assert (outcome.error, outcome.unknown) == ("exit code 0, but its answer is not one JSON object of at most 16 KiB", True)


async def test_of_100_mb_only_so_much_is_kept(tmp_path: Path) -> None:
    body = "for _ in range(100):\n    sys.stdout.write('x' * 1_000_000); sys.stderr.write('y' * 1_000_000)\n"
    tracemalloc.start()
    try:
        outcome = await send(python(tmp_path, body))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert outcome.unknown


async def test_a_program_that_is_not_there_has_sent_nothing() -> None:
    outcome = await send(["/no/such/program"])
    assert (outcome.error or "").startswith("FileNotFoundError: ")
    assert not outcome.unknown


async def test_one_that_dies_of_a_signal_may_have_sent(tmp_path: Path) -> None:
    outcome = await send(python(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"))
    assert (outcome.error, outcome.unknown) == ("the program was ended by signal 9", True)


@pytest.mark.parametrize("polite", [True, False], ids=["ends by TERM", "ignores TERM"])
async def test_one_that_hangs_is_ended_with_what_it_started(tmp_path: Path, polite: bool) -> None:
    ignores = "" if polite else "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    body = f"""{ignores}if os.fork() == 0:
    open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
else:
    open({str(tmp_path / "parent")!r}, "w").write(str(os.getpid()))
time.sleep(600)
"""
    outcome = await send(python(tmp_path, body), within=1.5)
    assert outcome == Outcome(error="timed out after 1.5 s", unknown=True)
    await until(lambda: gone(tmp_path / "child") and gone(tmp_path / "parent"))


async def test_a_child_that_holds_the_pipe_holds_up_nobody_and_does_not_stay(tmp_path: Path) -> None:
    body = f"""if os.fork() == 0:
    open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
    time.sleep(600)
while not os.path.exists({str(tmp_path / "child")!r}):
    time.sleep(0.01)
print('{{"guid": "A1"}}')
"""
    assert await send(python(tmp_path, body)) == Outcome(result={"guid": "A1"})
    await until(lambda: gone(tmp_path / "child"))


async def test_one_that_has_left_its_session_and_holds_the_pipe_holds_up_nobody(tmp_path: Path) -> None:
    body = f"""if os.fork() == 0:
    os.setsid()
    open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
    time.sleep(600)
while not os.path.exists({str(tmp_path / "child")!r}):
    time.sleep(0.01)
print('{{"guid": "A1"}}')
"""
    try:
        assert await send(python(tmp_path, body)) == Outcome(result={"guid": "A1"})
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


async def test_one_that_never_reads_is_no_trouble(tmp_path: Path) -> None:
    assert await send(python(tmp_path, "sys.stdin.close()"), text="x" * 1_000_000) == Outcome()


async def test_no_descriptor_and_no_process_is_left(tmp_path: Path) -> None:
    command = python(tmp_path, "pass")
    await send(command)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    await asyncio.gather(*(send(command) for _ in range(8)))
    await until(lambda: len(os.listdir("/dev/fd")) <= before)  # noqa: PTH208


async def test_a_program_sees_nothing_of_the_agents_secrets_and_sends_in_the_agents_place(tmp_path: Path) -> None:
    command = python(tmp_path, 'print(json.dumps({"seen": dict(os.environ), "argv": sys.argv[1:]}))')
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url, messenger={"kind": "exec", "command": [*command, "--quiet"]})
        async with program("--no-ui", *arguments, cwd=tmp_path, EDGE_MESSENGER_TOKEN="canary-token-1") as agent:
            await agent.hears("real-time mode")
            (order,) = await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
            result = json.dumps(ack_of(order))
            assert '"argv": ["--quiet"]' in result
            assert '"PATH"' in result
            assert SECRET not in result
            assert "canary" not in result
