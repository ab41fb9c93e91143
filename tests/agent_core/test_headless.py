"""The real program without a screen, as a process: its lines, its signals, its exit codes."""

import asyncio
import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_core.reference.faults import Faults
from agent_core.reference.hub import Ending
from agent_core.reference.orders import AckWay, Status
from tests.harness.faultproxy import FaultProxy
from tests.harness.mortal import SENDS
from tests.harness.rig import AGENT, SECRET, Program, for_a_while, message, program, records, report, served, settled, until, write_config

LINE = r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] \[(DEBUG|INFO|WARNING|ERROR)\] "


@asynccontextmanager
async def headless(tmp_path: Path, url: str, *more: str, **sections: dict[str, Any]) -> AsyncIterator[Program]:
    async with program("--no-ui", *write_config(tmp_path, url, **sections), *more, cwd=tmp_path) as agent:
        yield agent


async def ends_in(agent: Program, number: signal.Signals, within: float, what: str) -> int:
    """Its exit code after a signal; the time goes into a printed line."""
    began = time.monotonic()
    agent.signal(number)
    code = await agent.ends()
    took = time.monotonic() - began
    report(f"{number.name} {what}: out in {took:.2f} s")
    assert took <= within
    return code


async def test_the_lines_that_the_operator_of_the_original_knows(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=403)
        async with headless(tmp_path, backend.url, backend={"sync_interval_seconds": 1}) as agent:
            polled = await backend.queue(AGENT, "send_message_now", message("polled"))
            await agent.hears(rf"Command {polled} executed successfully")
            backend.faults = Faults()
            await agent.hears("Real-time via WebSocket")
            pushed = await backend.queue(AGENT, "send_message_now", message("pushed"))
            await settled(backend, polled, pushed)
            agent.signal(signal.SIGTERM)
            assert await agent.ends() == 0
    for wanted in (
        rf"{LINE}Connecting to WebSocket: ws://127\.0\.0\.1:{backend.port}/edge/ws$",
        rf"{LINE}WebSocket error: .*403$",
        rf"{LINE}WebSocket disconnected - falling back to HTTP polling$",
        rf"{LINE}Command delivery: HTTP polling every 1s$",
        rf"{LINE}Scheduling WebSocket reconnect attempt 1/10 in \d+ms$",
        rf"{LINE}WebSocket connected - real-time mode enabled$",
        rf"{LINE}Command delivery: Real-time via WebSocket$",
        rf"{LINE}Received command via WebSocket: {pushed}$",
        rf"{LINE}Command {pushed} executed successfully$",
    ):
        assert agent.said(wanted), wanted
    assert all(re.match(LINE, line) for line in agent.out)
    assert agent.err == []


async def test_json_lines(tmp_path: Path) -> None:
    async with served() as backend, headless(tmp_path, backend.url, "--log-format", "json", "--for", "0.5") as agent:
        assert await agent.ends() == 0
        lines = [json.loads(line) for line in agent.out]
        assert {"at", "level", "text"} <= lines[0].keys()
        assert any(line["text"] == "Command delivery: Real-time via WebSocket" for line in lines)


async def test_the_demonstration_runs_its_cycle_and_ends_well(tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    demonstration = program("--no-ui", "--demo", "--for", "6", "--data-dir", "state", cwd=tmp_path, secret=None, TMPDIR=str(scratch))
    async with demonstration as demo:
        assert await demo.ends(30) == 0
    assert demo.err == []
    assert list(scratch.iterdir()) == [], "nothing stays behind"
    by_socket = {re.sub(".*: ", "", line) for line in demo.said("Received command via WebSocket")}
    assert by_socket
    assert demo.said(r"Received \d+ command\(s\) via HTTP polling")
    sent = {row.command.command_id: row for row in records(tmp_path / "state", "completed") if row.command.command_type in SENDS}
    assert sent.keys() & by_socket
    assert sent.keys() - by_socket, "and by polling"
    guids = [json.loads(row.ack or "{}")["result"]["guid"] for row in sent.values()]
    assert len(guids) == len(set(guids)) >= 8, "each is a row of Messages"
    assert demo.said(r"\d+ message\(s\) came in"), "people answer"


async def test_no_console_library_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom console.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print('loaded', sorted(n for n in sys.modules if n.split('.')[0] in {'textual', 'rich', 'uvicorn', 'starlette'}))"
    )
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program("--no-ui", *arguments, "--for", "0.3", cwd=tmp_path, code=code) as agent:
            assert await agent.ends() == 0
            assert agent.out[-1] == "loaded []"


# --- P12, F47 ----------------------------------------------------------------------------------------------------------


async def test_f47_a_signal_while_online_closes_1000_and_exits_0(tmp_path: Path) -> None:
    async def tell(number: signal.Signals) -> None:
        folder = tmp_path / number.name
        folder.mkdir()
        async with served() as backend, headless(folder, backend.url) as agent:
            await agent.hears("real-time mode")
            assert await ends_in(agent, number, 6.0, "idle, online") == 0
            assert backend.hub.last_ending(AGENT) == Ending(1000, "agent stopped", "agent")
            assert agent.out[-1].endswith("Stopped")
            assert agent.err == []

    await asyncio.gather(*map(tell, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))


IGNORING = ("sh", "-c", 'trap "" "$0"; exec "$@"')
"""A program begun so that it finds a signal ignored, as `nohup` does it with HUP."""


async def test_f67_a_signal_found_ignored_stays_ignored(tmp_path: Path) -> None:
    async def tell(number: signal.Signals) -> None:
        folder = tmp_path / number.name
        folder.mkdir()
        async with served() as backend:
            arguments = write_config(folder, backend.url)
            under = (*IGNORING, number.name.removeprefix("SIG"))
            async with program("--no-ui", *arguments, cwd=folder, under=under) as agent:
                await agent.hears("real-time mode")
                agent.process.send_signal(number)
                await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
                assert not (folder / "state" / "screenshots").exists()
                assert await ends_in(agent, signal.SIGTERM, 6.0, "first signal that counts") == 0

    await asyncio.gather(*map(tell, (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1)))


async def test_f67_term_is_heeded_always(tmp_path: Path) -> None:
    under = (*IGNORING, "TERM")
    async with served() as backend, program("--no-ui", *write_config(tmp_path, backend.url), cwd=tmp_path, under=under) as agent:
        await agent.hears("real-time mode")
        assert await ends_in(agent, signal.SIGTERM, 6.0, "TERM found ignored") == 0


async def test_f67_the_backend_under_nohup_of_an_interactive_kind(tmp_path: Path) -> None:
    async with program("backend", "--port", "0", cwd=tmp_path, under=(*IGNORING, "INT")) as backend:
        await backend.hears("listening|http://")
        backend.process.send_signal(signal.SIGINT)
        await for_a_while(0.3, lambda: backend.process.returncode is None)
        assert await ends_in(backend, signal.SIGTERM, 6.0, "the backend") == 0


async def test_f47_term_lets_what_runs_finish_and_sends_its_ack(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"messenger": {"delay_seconds": 0.6}, "timing": {"stop_within": 4.0}}
    async with served() as backend, headless(tmp_path, backend.url, **slow) as agent:
        await agent.hears("real-time mode")
        name = await backend.queue(AGENT, "send_message_now", message())
        await agent.hears(f"Received command via WebSocket: {name}")
        assert await ends_in(agent, signal.SIGTERM, 10.0, "with a command of 0.6 s") == 0
        order = backend.hub.order(name)
        assert (order.status, order.acks[0].way) == (Status.COMPLETED, AckWay.WS)


async def test_f47_term_does_not_wait_for_a_command_without_end(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"messenger": {"delay_seconds": 600}, "timing": {"stop_within": 0.5}}
    async with served() as backend, headless(tmp_path, backend.url, **slow) as agent:
        await agent.hears("real-time mode")
        name = await backend.queue(AGENT, "send_message_now", message())
        await agent.hears(f"Received command via WebSocket: {name}")
        assert await ends_in(agent, signal.SIGTERM, 10.0, "with a command without end, 0.5 s allowed") == 0
        assert agent.said("still run; they are resolved at the next start")
        assert backend.hub.order(name).ack is None


async def test_f47_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"messenger": {"delay_seconds": 600}, "timing": {"stop_within": 60.0}}
    async with served() as backend, headless(tmp_path, backend.url, **slow) as agent:
        await agent.hears("real-time mode")
        name = await backend.queue(AGENT, "send_message_now", message())
        await agent.hears(f"Received command via WebSocket: {name}")
        agent.signal(signal.SIGTERM)
        await agent.hears("Stopping: finishing what runs")
        assert await ends_in(agent, signal.SIGTERM, 1.5, "a second time") == 128 + signal.SIGTERM


BLOCKS = """
import sys, time
from agent_core.handlers import handles
from agent_core.entries import EffectClass, Trait
from console.cli.main import main

@handles("rig_blocks", trait=Trait(EffectClass.EXTERNAL))
async def blocks(command, context):
    print("blocked", flush=True)
    while True:
        time.sleep(600)

main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_f79_a_second_signal_waits_for_no_loop_that_is_held_up(tmp_path: Path, number: signal.Signals) -> None:
    async with served() as backend, program("--no-ui", *write_config(tmp_path, backend.url), cwd=tmp_path, code=BLOCKS) as agent:
        await agent.hears("real-time mode")
        await backend.queue(AGENT, "rig_blocks", {})
        await agent.hears("blocked")
        agent.signal(number)
        await asyncio.sleep(0.1)
        agent.signal(number)
        assert await agent.ends() == 128 + number


async def test_f79_a_second_signal_waits_for_no_peer_and_no_queue(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"messenger": {"delay_seconds": 600}, "timing": {"stop_within": 60.0, "close_within": 60.0}}
    async with served() as backend, FaultProxy(backend.port) as proxy, headless(tmp_path, proxy.url, **slow) as agent:
        await agent.hears("real-time mode")
        for number in range(3_000):
            await backend.queue(AGENT, "send_message_now", message(thread=str(number % 7)))
        await agent.hears("Received command", 4)
        proxy.stall()
        agent.signal(signal.SIGTERM)
        await agent.hears("Stopping: finishing what runs")
        agent.signal(signal.SIGHUP)
        assert await agent.ends() == 128 + signal.SIGHUP


async def test_f47_term_in_backoff_and_in_polls_and_dials_that_hang(tmp_path: Path) -> None:
    patient = {"dial_within": 60, "poll_within": 60}
    async with FaultProxy(1) as proxy:
        await proxy.refuse()
        async with headless(tmp_path, proxy.url, backoff={"base_seconds": 60, "cap_seconds": 60, "jitter": "none"}) as agent:
            await agent.hears("reconnect attempt 1/10 in 60000ms")
            assert await ends_in(agent, signal.SIGTERM, 6.0, "in backoff") == 0
        proxy.swallow = True
        await proxy.listen()
        async with headless(tmp_path, proxy.url, timing=patient) as agent:
            await until(lambda: b"/edge/ws" in proxy.received and b"/edge/sync" in proxy.received)
            assert await ends_in(agent, signal.SIGTERM, 6.0, "in a dial and a poll without answer") == 0


async def test_f47_term_with_a_dead_peer(tmp_path: Path) -> None:
    async with served() as backend, FaultProxy(backend.port) as proxy, headless(tmp_path, proxy.url) as agent:
        await agent.hears("real-time mode")
        proxy.stall()
        assert await ends_in(agent, signal.SIGTERM, 6.0, "with a dead peer") == 0


# --- bad input ---------------------------------------------------------------------------------------------------------

Prepare = Callable[[Path], None]


def writes(text: str) -> Prepare:
    def prepare(folder: Path) -> None:
        (folder / "config.yaml").write_text(text)

    return prepare


def nothing(_folder: Path) -> None:
    pass


def a_directory(folder: Path) -> None:
    (folder / "config.yaml").mkdir()


def a_file_in_the_way(folder: Path) -> None:
    (folder / "config.yaml").write_text("data_dir: state/below\n")
    (folder / "state").write_text("a file")


BAD: dict[str, tuple[list[str], Prepare, int, str]] = {
    "unknown key": (["--no-ui"], writes("backend:\n  sync_intervall_seconds: 3\n"), 2, r"\.yaml:2: .*mean backend\.sync_interval_seconds"),
    "wrong type": (["--no-ui"], writes("backend:\n  sync_interval_seconds: soon\n"), 2, r"config\.yaml:2: .*expected a number"),
    "bad YAML": (["--no-ui"], writes("backend: [\n"), 2, r"config\.yaml:\d"),
    "a secret in the file": (["--no-ui"], writes(f"auth:\n  secret: {SECRET}\n"), 2, r"config\.yaml:2"),
    "missing": (["--no-ui", "--config", "elsewhere.yaml"], nothing, 2, r"elsewhere\.yaml: expected a file, found nothing"),
    "a directory": (["--no-ui", "--config", "config.yaml"], a_directory, 2, r"config\.yaml"),
    "no directory for the state": (["--no-ui"], a_file_in_the_way, 2, "data_dir: expected a directory, but .*state is none"),
    "unknown option": (["--no-uy"], nothing, 2, "--no-uy"),
    "no number": (["--no-ui", "--for", "soon"], nothing, 2, "seconds expected"),
    "no terminal": ([], nothing, 2, "needs a terminal"),
    "bad payload": (["send", "send_message", "--payload", "{"], nothing, 2, "JSON object"),
    "nobody there": (["send", "send_message", "--backend", "http://127.0.0.1:1"], nothing, 1, "no backend answers"),
}


async def test_bad_input_is_one_line_and_a_code(tmp_path: Path) -> None:
    async def tell(name: str) -> None:
        arguments, prepare, code, words = BAD[name]
        folder = tmp_path / name
        folder.mkdir()
        prepare(folder)
        async with two_at_once, program(*arguments, cwd=folder) as wrong:
            assert await wrong.ends() == code, (name, wrong.err)
            assert len(wrong.err) == 1, (name, wrong.err)
            assert wrong.out == [], name
            assert re.match(rf"edge-console: .*{words}", wrong.err[0]), (name, wrong.err)
            assert SECRET not in wrong.err[0], name

    two_at_once = asyncio.Semaphore(2)
    await asyncio.gather(*map(tell, BAD))


async def test_no_secret_is_one_line_that_says_where_it_belongs(tmp_path: Path) -> None:
    async with program("--no-ui", cwd=tmp_path, secret=None, EDGE_SECRETS="misspelt") as wrong:
        assert await wrong.ends() == 2
        assert len(wrong.err) == 1
        assert re.search(r"EDGE_SECRET: expected the secret .*did you mean EDGE_SECRET", wrong.err[0])


async def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with program("backend", "--port", port, cwd=tmp_path) as wrong:
            assert await wrong.ends() == 2
            assert len(wrong.err) == 1
            assert port in wrong.err[0]


async def test_a_damaged_ledger_keeps_the_link_and_runs_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "ledger.sqlite3").write_bytes(b"this is not a database, whatever its name says" * 100)

    async with served() as backend, headless(tmp_path, backend.url) as agent:
        await agent.hears("is damaged .* a copy is ledger.damaged-")
        await agent.hears("real-time mode")
        name = await backend.queue(AGENT, "send_message_now", message())
        order = backend.hub.order(name)
        await until(lambda: order.pushed)
        await for_a_while(0.3, lambda: order.ack is None)
        assert await ends_in(agent, signal.SIGTERM, 6.0, "with a damaged ledger") == 0
        assert order.ack is None
