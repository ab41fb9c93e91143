"""Hold and attention from end to end: a real backend, an agent on its own thread, and the console attached to it over its socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.widgets import TextArea

from agent_core.config.models import Config
from agent_core.control.address import socket_path
from agent_core.reference.server import ReferenceBackend
from console.app import EdgeConsole
from console.host import LocalHost
from console.remote import RemoteHost
from console.run import console_options, logging_agent
from tests.console.test_app import Seat
from tests.harness.rig import AGENT, config, message, records, served, settled, until
from tests.harness.stills import clock


@asynccontextmanager
async def attached(tmp_path: Path, *, read_only: bool = False, **executor: Any) -> AsyncIterator[tuple[ReferenceBackend, Seat, Config]]:
    async with served() as backend:
        settings = config(tmp_path, backend.url, executor=executor)
        local = LocalHost(lambda stack: logging_agent(settings, stack, None))
        local.start()
        await until(lambda: local.began and local.snapshot().link.phase == "online")
        host = RemoteHost(socket_path(settings.data_dir), read_only=read_only)
        await asyncio.to_thread(host.start)
        app = EdgeConsole(host, asks_to_quit=False, options=console_options(settings))
        try:
            async with app.run_test(size=(120, 36), notifications=True) as pilot:
                yield backend, Seat(app, host, clock(), pilot), settings  # type: ignore[arg-type]  # a host that lives
        finally:
            host.stop()
            local.stop()
            await asyncio.to_thread(local.join, 5)


async def test_what_is_held_is_approved_edited_and_refused_from_an_attached_console(tmp_path: Path) -> None:
    async with attached(tmp_path, hold="all") as (backend, seat, settings):
        names = [await backend.queue(AGENT, "send_message_now", message(text, f"+1310555010{n}")) for n, text in enumerate("abc")]
        await seat.shows(" HOLD 3 ")
        await seat.until(lambda: seat.stream.count == 3)
        await seat.press("home", "a", "y")
        await settled(backend, names[0])
        await seat.shows(" HOLD 2 ")
        await seat.press("j", "e")
        await seat.until(lambda: seat.app.screen.query(TextArea))
        seat.app.screen.query_one(TextArea).load_text('{"thread_id": "+13105550199", "text": "kinder words"}')
        await seat.press("ctrl+r", "y")
        await settled(backend, names[1])
        await seat.press("j", "X", "y")
        await settled(backend, names[2])
        await seat.until(lambda: "kinder words" in seat.screen() and "refused by the operator" in seat.screen())
        kept = {record.command.command_id: record for record in records(settings.data_dir)}
        assert [kept[name].state for name in names] == ["completed", "completed", "failed"]
        assert kept[names[1]].command.payload["text"] == "kinder words"
        assert (kept[names[1]].changed_by, kept[names[2]].resolution) == ("the operator", "dismissed")
        assert " ! " not in seat.screen().splitlines()[0]
        await seat.press("h", "n")
        await seat.until(lambda: "HOLD" not in seat.screen())
        await settled(backend, await backend.queue(AGENT, "send_message_now", message()))


async def test_what_nobody_approves_is_refused_in_time_and_then_needs_the_operator_who_dismisses_it(tmp_path: Path) -> None:
    async with attached(tmp_path, hold="type:send_message_now", hold_timeout_seconds=0.5, hold_then="refuse") as (backend, seat, settings):
        late = await backend.queue(AGENT, "send_message_now", message())
        await settled(backend, late)
        await seat.shows(" ! 1 ")
        await seat.press("exclamation_mark")
        await seat.until(lambda: "nobody approved it within 0.5 s" in seat.dialog())
        await seat.press("d")
        await seat.until(lambda: "Nothing in the ledger needs you" in seat.dialog())
        await seat.press("escape")
        await seat.until(lambda: " ! " not in seat.screen().splitlines()[0])
        (kept,) = records(settings.data_dir)
        assert kept.resolution == "dismissed"


async def test_what_is_not_refused_in_time_runs_where_the_configuration_says_so(tmp_path: Path) -> None:
    async with attached(tmp_path, hold="all", hold_timeout_seconds=0.5, hold_then="approve") as (backend, seat, _):
        await settled(backend, await backend.queue(AGENT, "send_message_now", message("at last")))
        await seat.until(lambda: "at last" in seat.screen() and "✓ acked" in seat.screen())


async def test_a_viewer_that_only_looks_is_refused_by_the_agent_itself(tmp_path: Path) -> None:
    async with attached(tmp_path, read_only=True, hold="all") as (backend, seat, settings):
        bad = await backend.queue(AGENT, "set_wallpaper", {})
        held = await backend.queue(AGENT, "send_message_now", message())
        await settled(backend, bad)
        await seat.shows(" HOLD 1 ")
        await seat.press("slash", *"status:held", "enter", "a", "y", "exclamation_mark")
        await seat.until(lambda: bad in seat.dialog())
        await seat.press("d", "escape", "5")
        await seat.until(lambda: seat.screen().count("The agent refused: this viewer only looks") == 2)
        kept = {record.command.command_id: (record.state, record.resolution) for record in records(settings.data_dir)}
        assert kept == {bad: ("failed", None), held: ("held", None)}
