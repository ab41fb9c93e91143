"""`D`: what the doctor sees, in the console."""

import asyncio
import socket
from functools import partial
from pathlib import Path

from textual.widgets import Static

from agent_core.config.models import Auth, Backend, Config, Edge
from agent_core.diagnosis.findings import Stage
from console.app import EdgeConsole
from console.operations import ConsoleOptions
from console.run import diagnosed
from tests.harness.stills import ONLINE, REFUSED, VERIFYING, WAITING, StillHost, clock


def nobody(tmp_path: Path) -> Config:
    """A configuration for a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    backend = Backend(url=f"http://127.0.0.1:{port}")
    return Config(edge=Edge(agent_id="mac"), backend=backend, auth=Auth(secret="a-fine-secret"), data_dir=tmp_path)


def text(app: EdgeConsole) -> str:
    """What the dialog and the toasts say."""
    return "\n".join([*(str(it.content) for it in app.screen.query(Static)), *(str(it.render()) for it in app.screen.query("Toast"))])


async def test_d_names_the_first_failing_stage_and_what_to_do(tmp_path: Path) -> None:
    app = EdgeConsole(StillHost(ONLINE), clock=clock())
    async with app.run_test(size=(120, 36)) as pilot:
        app.configure(ConsoleOptions(diagnosis=partial(diagnosed, nobody(tmp_path))))
        await pilot.press("D")
        async with asyncio.timeout(20):
            while "First failing stage: tcp" not in text(app):
                await pilot.pause(0.05)
        assert "Do:" in text(app)
        await pilot.press("escape")
        assert "First failing stage" not in text(app)


async def test_d_dials_beside_the_agent_only_where_it_has_no_socket_to_lose() -> None:
    forced = []

    async def looked(*, force: bool) -> tuple[list[Stage], None]:
        forced.append(force)
        return [], None

    for snapshot in (ONLINE, VERIFYING, WAITING, REFUSED):
        app = EdgeConsole(StillHost(snapshot), clock=clock())
        async with app.run_test(size=(120, 36)) as pilot:
            app.configure(ConsoleOptions(diagnosis=looked))
            await pilot.press("D")
            await pilot.pause(0.1)
    assert forced == [False, False, True, True]


async def test_d_without_a_way_to_look_says_so() -> None:
    app = EdgeConsole(StillHost(ONLINE), clock=clock())
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await pilot.press("D")
        await pilot.pause(0.1)
        assert "no way to look" in text(app)
