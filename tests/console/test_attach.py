"""The console over an agent in another process: a real agent, a real socket, a real terminal."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_core.control.address import socket_path
from agent_core.control.client import NotRunning, Viewer
from agent_core.feed import LogEntry
from agent_core.reference.server import BackendThread
from agent_core.snapshot import Phase
from console.remote import RemoteHost
from console.screenshot import BAR, CELL, LINE, PAD
from tests.harness.rig import AGENT, HOME, SECRET, config, living, message, options, program, served, settled, until, write_config
from tests.harness.terminal import Terminal

ENVIRONMENT = {"EDGE_SECRET": SECRET, "HOME": HOME.name}


@contextmanager
def headless(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "console", "--no-ui", *words], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def began(folder: Path) -> bool:
    """Whether an agent answers there."""
    try:
        Viewer(socket_path(folder), past=False).close()
    except NotRunning:
        return False
    return True


def test_an_agent_that_ends_and_starts_again_is_followed_and_q_only_detaches(tmp_path: Path) -> None:
    with BackendThread(options()) as thread:
        words = write_config(tmp_path, thread.backend.url)
        with headless(words) as agent:
            by = time.monotonic() + 20
            while not began(tmp_path / "state") and time.monotonic() < by:
                time.sleep(0.1)
            with Terminal("attach", *words, columns=100, rows=30, env=ENVIRONMENT) as terminal:
                terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
                thread.call(thread.backend.queue(AGENT, "send_message_now", message(), command_id="cmd_seen"))
                terminal.until(lambda: "seen" in terminal.text, what="the command's row")
                terminal.press("/text:hi !text:bye")
                terminal.until(lambda: "1 of 1" in terminal.text and "seen" in terminal.text, what="what the agent has found")
                terminal.press("\r")
                write_config(tmp_path, thread.backend.url, console={"texts": "masked"})
                terminal.until(lambda: " MASKED " in terminal.text, what="the mask that the configuration of the agent now asks for")
                agent.terminate()
                terminal.until(lambda: "✗ NO AGENT" in terminal.text, what="NO AGENT")
                with headless(words) as another:
                    terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE again")
                    terminal.press("5")
                    terminal.until(lambda: "Another agent has started" in terminal.text, what="the notice")
                    terminal.press("q")
                    assert terminal.ends() == 0
                    assert another.poll() is None


async def test_a_screenshot_is_of_the_running_agent_and_starts_none(tmp_path: Path) -> None:
    async with served() as backend:
        words = [*write_config(tmp_path, backend.url), "--size", "100x30", "--theme", "light", "--after", "0.5"]
        async with program("screenshot", "-o", "none.svg", *words, cwd=tmp_path) as nobody:
            assert await nobody.ends() == 4
            assert nobody.err == [f"edge-console: no agent runs with data_dir {tmp_path}/state; `edge-console --no-ui` starts one"]
        assert not (tmp_path / "none.svg").exists()
        async with living(config(tmp_path / "state", backend.url), viewed=False) as here:
            await here.online()
            await settled(backend, await backend.queue(AGENT, "send_message_now", message(), command_id="cmd_seen"))
            async with program("screenshot", "-o", "one.svg", *words, cwd=tmp_path) as picture:
                assert await picture.ends() == 0, picture.err
            drawn = (tmp_path / "one.svg").read_text()
            assert "● ONLINE" in drawn
            assert "cmd_seen" in drawn, "what an agent that nobody watched has done is in its ledger"
            assert f'width="{100 * CELL + 2 * PAD}" height="{30 * LINE + BAR + PAD}"' in drawn
            assert here.now.link.dials == 1
            assert not (tmp_path / "state" / "console.json").exists()


async def test_an_agent_that_is_held_up_is_not_shown_as_it_was(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        host = RemoteHost(socket_path(tmp_path), silent_after=1.5)
        await asyncio.to_thread(host.start)
        try:
            await until(lambda: host.snapshot().link.phase is Phase.ONLINE, "online")
            time.sleep(2.0)  # noqa: ASYNC251  (it holds up the agent, which lives in this loop)
            assert host.snapshot().unreached
            assert host.snapshot().agent_id == AGENT
            await until(lambda: host.snapshot().link.phase is Phase.ONLINE, "online again")
            lines = [entry.text for entry in host.feed.since(0).entries if isinstance(entry, LogEntry)]
            assert lines.count("The agent has said nothing for 1.5 s: it is held up or stopped") == 1
        finally:
            host.stop()
