"""Every agent of this machine in one list: real agents and sockets, found in a directory of the test's own."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from agent_core.control.directory import DIRECTORY, Announced, announced, known
from agent_core.reference.server import BackendThread
from console.agents import AgentsConsole
from console.screens.agents import Key
from console.screenshot import text_of
from tests.harness.rig import AGENT, SECRET, WITHIN, config, living, options, served, write_config
from tests.harness.terminal import Terminal


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


async def shows(pilot: Pilot[Key], look: Callable[[str], object]) -> None:
    try:
        async with asyncio.timeout(WITHIN):
            while not look(text_of(pilot.app)):
                await pilot.pause(0.05)
    except TimeoutError:
        raise AssertionError(text_of(pilot.app)) from None


def row(text: str, name: str) -> str:
    """The first line that names it."""
    return next((line for line in text.splitlines() if name in line), "")


async def test_agents_come_change_and_go_and_enter_chooses_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    app = AgentsConsole("edge-dark")
    async with served() as backend, living(config(first, backend.url), viewed=False) as here, app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, lambda text: "No agent of yours runs here" in text)
        with announced(first, tmp_path / "none.yaml"):
            await shows(pilot, lambda text: "● ONLINE" in row(text, AGENT))
            with announced(second, tmp_path / "none.yaml"):
                await shows(pilot, lambda text: "✗ NO AGENT" in row(text, tmp_path.name[:10]))
                refused = config(second, backend.url, secret="another-secret", edge={"agent_id": "mac-2"})
                async with living(refused) as other:
                    await other.hears("HTTP 401|HTTP 403")
                    await shows(pilot, lambda text: "✗ REFUSED" in row(text, "mac-2"))
                    await pilot.press("down")
                    assert "→ check EDGE_SECRET" in text_of(app)
                await shows(pilot, lambda text: "✗ NO AGENT" in row(text, "mac-2"))
            await shows(pilot, lambda text: "mac-2" not in text)
            assert not here.agent.feed.since(0).entries, "the list asks for no feed"
            await pilot.press("enter")
    assert app.return_value == Announced(str(first), None)


def test_who_is_listed_is_private_and_what_is_left_of_a_removed_data_dir_goes(tmp_path: Path, home: Path) -> None:
    gone, here = tmp_path / "gone", tmp_path / "here"
    gone.mkdir()
    here.mkdir()
    (here / "config.yaml").write_text("")
    folder = home / DIRECTORY.relative_to("~")
    with announced(gone, gone / "config.yaml"), announced(here, here / "config.yaml"):
        (folder / "strange.json").write_text("[")
        assert {path.stat().st_mode & 0o777 for path in folder.glob("[0-9a-f]*.json")} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700
        gone.rmdir()
        assert known() == [Announced(str(here), str(here / "config.yaml"))]
        assert len(list(folder.glob("[0-9a-f]*.json"))) == 1
    assert known() == []


def test_an_agent_is_opened_from_the_list_and_escape_comes_back(tmp_path: Path, home: Path) -> None:
    environment = {"EDGE_SECRET": SECRET, "HOME": str(home)}
    with BackendThread(options()) as thread:
        words = write_config(tmp_path, thread.backend.url)
        agent = subprocess.Popen([sys.executable, "-m", "console", "--no-ui", *words], env=environment, stdout=subprocess.DEVNULL)
        try:
            with Terminal("attach", "--all", columns=100, rows=30, env=environment) as terminal:
                terminal.until(lambda: "1 agent of this machine" in terminal.text and "● ONLINE" in terminal.text, what="its row")
                terminal.press("\r")
                terminal.until(lambda: "Ack latency" in terminal.text and "● ONLINE" in terminal.text, what="the console")
                terminal.press("\x1b")
                terminal.until(lambda: "1 agent of this machine" in terminal.text, what="the list again")
                terminal.press("q")
                assert terminal.ends() == 0
            assert agent.poll() is None
        finally:
            agent.terminate()
            agent.wait()
        assert not list((home / DIRECTORY.relative_to("~")).iterdir())
