"""The app, driven by keys against a host that stands still."""

import gc
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from textual._styles_cache import StylesCache
from textual.events import AppBlur, AppFocus, Key
from textual.pilot import Pilot
from textual.widgets import Static

from agent_core.clock import ManualClock
from agent_core.events import PollingModeChosen, ReconnectRequested, ReplayRequested
from agent_core.feed import CommandEntry, ProvenEntry
from agent_core.records import Remembered
from agent_core.snapshot import PollingMode, PollingView, ScheduledView, Snapshot
from console.app import FORESIGHT_AFTER, HINT_SECONDS, EdgeConsole
from console.demo import Demo
from console.operations import ConsoleOptions
from console.panels.stream import Stream
from console.run import keep_open
from console.screens.help import Help
from console.screenshot import svg_of
from tests.harness.stills import (
    FALLING_BACK,
    HOSTILE,
    NOON,
    NOTHING_YET,
    OFFLINE,
    ONLINE,
    REFUSED,
    STOPPING,
    VERIFYING,
    WAITING,
    StillHost,
    clock,
    entry,
    pictured,
    remembered,
)


class Seat:
    """An operator in front of a console."""

    def __init__(self, app: EdgeConsole, host: StillHost, clock: ManualClock, pilot: Pilot[str]) -> None:
        self.app, self.host, self.clock, self.pilot = app, host, clock, pilot

    @property
    def stream(self) -> Stream:
        return self.app.screen_stack[0].query_one(Stream)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    def screen(self) -> str:
        """What is painted, row by row."""
        lines = [widget.render_lines(widget.size.region) for widget in self.app.screen_stack[0].children if widget.display]
        return "\n".join(strip.text for strips in lines for strip in strips)

    def dialog(self) -> str:
        return "\n".join(str(static.content) for static in self.app.screen.query(Static))

    def toasts(self) -> str:
        return "\n".join(str(toast.render()) for toast in self.app.screen.query("Toast"))

    async def says(self, words: str) -> None:
        await self.until(lambda: words in self.toasts())

    async def shows(self, words: str) -> None:
        await self.until(lambda: words in self.screen())

    async def until(self, holds: Callable[[], object]) -> None:
        for _ in range(400):
            if holds():
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"never came true; on the screen:\n{self.screen()}\n{self.dialog()}")


@asynccontextmanager
async def seated(
    snapshot: Snapshot = ONLINE, entries: Iterable[CommandEntry] = (), size: tuple[int, int] = (120, 36), *, read_only: bool = False,
    **options: Any,
) -> AsyncIterator[Seat]:  # fmt: skip
    told = list(entries)
    host = StillHost(snapshot, told, {one.command_id: remembered(one.command_id) for one in told})
    time = clock()
    app = EdgeConsole(host, clock=time, zone=UTC, read_only=read_only)
    async with app.run_test(size=size, notifications=True) as pilot:
        app.configure(ConsoleOptions(**options))
        await pilot.pause()
        yield Seat(app, host, time, pilot)


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (59, 16), (60, 15)])
async def test_f48_too_small_a_terminal_says_what_it_needs(size: tuple[int, int]) -> None:
    async with seated(entries=pictured(), size=size) as seat:
        assert "60×16"[: size[0]] in seat.screen() or "needs" in seat.screen()
        assert f"has {size[0]}×{size[1]}" in seat.screen() or size[0] < 30
        await seat.press("R", "f", "up", "question_mark", "escape", "5", "z", "slash", "x", "escape")
        seat.host.change(link=REFUSED.link)
        await seat.pilot.pause(0.2)
        assert "REFUSED" not in seat.screen()


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (99, 29), (120, 36), (200, 60)])
@pytest.mark.parametrize("snapshot", [ONLINE, WAITING, REFUSED, VERIFYING, OFFLINE, STOPPING, NOTHING_YET, Snapshot()])
async def test_every_size_paints_every_state(size: tuple[int, int], snapshot: Snapshot) -> None:
    async with seated(snapshot, pictured(), size=size) as seat:
        lines = seat.screen().splitlines()
        for title in ("edge-console", "Connection", "Backoff", "Ack latency", "Commands", "Quit"):
            assert title in seat.screen()
        assert len(lines) == 1 + 3 * (11 if size[1] >= 30 else 8) + (size[1] - 2 - (11 if size[1] >= 30 else 8)) + 1


async def test_f48_a_storm_of_resizes_is_survived() -> None:
    async with seated(entries=pictured()) as seat:
        for size in [(20, 5), (200, 60), (1, 1), (61, 17), (119, 29), (3, 40), (120, 36)]:
            await seat.pilot.resize_terminal(*size)
        await seat.until(lambda: "cmd_f305da8467" in seat.screen())


async def test_reconnect() -> None:
    async with seated(WAITING) as seat:
        await seat.press("R")
        assert seat.host.posted == [ReconnectRequested()]


async def test_c19_p_says_what_each_polling_mode_means_and_one_more_key_chooses() -> None:
    async with seated() as seat:
        await seat.press("p")
        for words in ("auto    while the socket is down  (now)", "always  beside", "without the socket nothing arrives"):
            assert words in seat.dialog()
        await seat.press("p", "escape")
        assert seat.host.posted == []
        for key, mode in (("b", PollingMode.ALWAYS), ("n", PollingMode.NEVER), ("a", PollingMode.AUTO)):
            await seat.press("p", key)
            assert seat.host.posted[-1] == PollingModeChosen(mode)
            seat.host.change(polling=PollingView(mode=mode))
        await seat.press("p")
        await seat.pilot.click(".dialog", offset=(6, 3))
        assert seat.host.posted[-1] == PollingModeChosen(PollingMode.ALWAYS)


async def test_replay_asks_first_and_says_what_it_will_do() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("up", "up", "r")
        for part in ("cmd_f305da8467", "send_message_now", "+13105550100", "hi there", "recorded in the outbox", "second time"):
            assert part in seat.dialog()
        await seat.press("n")
        assert seat.host.posted == []
        await seat.press("r", "y")
        assert seat.host.posted == [ReplayRequested("cmd_f305da8467")]


async def test_replay_of_something_harmless_just_runs() -> None:
    async with seated(entries=[entry(1, "cmd_1", effect="harmless")]) as seat:
        await seat.press("r")
        assert seat.host.posted == [ReplayRequested("cmd_1")]


async def test_replay_asks_about_the_command_that_was_chosen_whatever_arrives_meanwhile() -> None:
    async with seated(entries=[entry(1, "cmd_1")]) as seat:
        await seat.press("r")
        seat.host.feed.extend([entry(2, "cmd_2")])
        await seat.until(lambda: seat.stream.ring.end == 2)
        await seat.press("enter")
        assert seat.host.posted == [ReplayRequested("cmd_1")]


async def test_keys_without_a_command_do_no_harm() -> None:
    async with seated(NOTHING_YET) as seat:
        await seat.press("r", "enter", "up", "down", "pageup", "pagedown", "home", "end", "f", "f")
        assert seat.host.posted == []
        assert "edge-console send" in seat.screen()


async def test_inspect_shows_the_record() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("enter")
        for part in ("cmd_c305da84d1", "received (ws)", '"text": "hi there"'):
            assert part in seat.dialog()
        await seat.press("escape")
        assert len(seat.app.screen_stack) == 1


async def test_inspect_without_a_record_says_so() -> None:
    async with seated(entries=[entry(1, "cmd_1")]) as seat:
        seat.host.records.clear()
        await seat.press("enter")
        assert "no record" in seat.dialog()


def hostile() -> list[CommandEntry]:
    return [entry(number, raw, raw, error=raw, status="failed", thread_id=raw, replay_of=raw) for number, raw in enumerate(HOSTILE, 1)]


async def test_hostile_text_is_painted_and_pictured_harmlessly() -> None:
    async with seated(OFFLINE, hostile(), size=(200, 60)) as seat:
        assert clean(seat.screen())
        assert clean(svg_of(seat.app))


async def test_what_is_said_takes_the_place_of_what_was_said_before() -> None:
    async with seated(entries=pictured(), size=(80, 24)) as seat:
        for _ in range(4):
            await seat.press("R")
            await seat.until(lambda: "Dialling now" in seat.toasts())
        await seat.press("p", "b")
        await seat.until(lambda: "Dialling now" not in seat.toasts() and seat.toasts())
        assert len(seat.app.screen.query("Toast")) == 1


async def test_hostile_text_harms_no_dialog_and_no_toast() -> None:
    async with seated(OFFLINE, hostile(), size=(80, 24)) as seat:
        await seat.press("slash", *"!via:local", "enter")
        for number, raw in enumerate(reversed(HOSTILE), 1_000):
            payload = {raw[:999]: raw[:999], "thread_id": raw[:999], "text": raw[:9_999]}
            seat.host.records[raw] = remembered(raw, raw, payload, ack=raw, error=raw)
            await seat.pilot.press("r")
            assert clean(seat.dialog())
            await seat.pilot.press("y")
            assert seat.host.posted[-1] == ReplayRequested(raw)
            seat.host.feed.extend([entry(number, f"replay-{raw}", raw, status="failed", error=raw, replay_of=raw, via="local")])
            await seat.until(lambda: "Replay ✗ failed" in seat.toasts())
            await seat.pilot.press("enter")
            assert clean(seat.dialog())
            assert clean(seat.toasts())
            seat.app.clear_notifications()
            await seat.press("y")
            assert clean(seat.dialog())
            await seat.press("c")
            assert seat.app.clipboard.isascii()
            assert clean(seat.app.clipboard)
            await seat.until(lambda: "Copied" in seat.toasts() or "too large" in seat.toasts())
            assert clean(seat.toasts())
            seat.app.clear_notifications()
            await seat.pilot.press("escape", "up")


def clean(text: str) -> bool:
    return text.replace("\n", "").isprintable()


async def test_follow_and_freeze() -> None:
    async with seated(entries=[entry(number) for number in range(1, 101)]) as seat:
        assert "● following" in seat.screen()
        await seat.press("f")
        for number in range(101, 113):
            seat.host.feed.extend([entry(number)])
        await seat.until(lambda: "12 new" in seat.screen())
        assert seat.stream.selected is not None
        assert seat.stream.selected.command_id == entry(100).command_id
        assert entry(112).command_id not in seat.screen()
        await seat.press("f")
        assert entry(112).command_id in seat.screen()
        assert "● following" in seat.screen()


async def test_a_command_changes_in_its_place() -> None:
    async with seated(entries=[entry(1, "cmd_1", status="running", ack_ms=None), entry(2, "cmd_2")]) as seat:
        assert "running" in seat.screen()
        seat.host.feed.extend([entry(1, "cmd_1", status="failed")])
        await seat.until(lambda: "✗ failed" in seat.screen())
        assert seat.screen().count("cmd_1") == 1
        assert "running" not in seat.screen()


async def test_the_proof_of_many_acks_at_once_shows_at_each_of_them() -> None:
    async with seated(entries=[entry(number, status="sent") for number in range(1, 4)]) as seat:
        await seat.until(lambda: seat.stream.live.end == 3)
        seat.host.feed.extend([entry(4, status="sent")])
        seat.host.feed.extend([ProvenEntry(1.0, (1, 2, 4, 77))])
        await seat.until(lambda: seat.stream.live.end == 4)
        await seat.pilot.pause(0.2)
        assert [seat.stream.live.row(place).status for place in range(4)] == ["acked", "acked", "sent", "acked"]


async def test_the_cursor_stays_on_its_command_and_never_slides_away() -> None:
    async with seated(entries=[entry(number) for number in range(1, 31)]) as seat:
        await seat.press("up", "up")
        chosen = entry(28).command_id
        for number in range(31, 200):
            seat.host.feed.extend([entry(number)])
        await seat.until(lambda: "new" in seat.screen())
        assert seat.stream.selected is not None
        assert seat.stream.selected.command_id == chosen
        assert chosen in seat.screen()
        assert not seat.stream.viewport.following
        await seat.press("end")
        assert seat.stream.viewport.following
        assert entry(199).command_id in seat.screen()


async def test_moving_through_the_stream() -> None:
    async with seated(entries=[entry(number) for number in range(1, 201)]) as seat:

        def at() -> str:
            assert seat.stream.selected is not None
            return seat.stream.selected.command_id

        await seat.press("home")
        assert at() == entry(1).command_id
        await seat.press("down", "down")
        assert at() == entry(3).command_id
        await seat.press("pagedown")
        assert at() == entry(22).command_id
        await seat.press("pageup", "pageup")
        assert at() == entry(1).command_id
        await seat.press("end", "up")
        assert at() == entry(199).command_id
        await seat.press("down")
        assert seat.stream.viewport.following


async def test_the_mouse_scrolls_and_picks() -> None:
    async with seated(entries=[entry(number) for number in range(1, 101)]) as seat:
        await seat.pilot.click(Stream, offset=(20, 5))
        assert seat.stream.selected is not None
        picked = seat.stream.selected.command_id
        assert seat.screen().split("▌")[1].split("\n")[0].count(picked) == 1
        await seat.pilot.double_click(Stream, offset=(20, 5))
        await seat.until(lambda: picked in seat.dialog())


async def test_a_hundred_thousand_commands() -> None:
    async with seated() as seat:
        for number in range(1, 100_001):
            seat.host.feed.extend([entry(number)])
            if number % 15_000 == 0:
                await seat.until(lambda: seat.stream.ring.end == number)  # noqa: B023 - awaited before the next turn
        await seat.until(lambda: seat.stream.ring.end == 100_000)
        assert seat.stream.ring.end - seat.stream.ring.first == 50_000
        assert entry(100_000).command_id in seat.screen()


async def test_entries_that_were_overwritten_unread_are_owned_up_to() -> None:
    async with seated() as seat:
        for number in range(1, 30_001):
            seat.host.feed.extend([entry(number)])
        await seat.until(lambda: seat.stream.ring.end == 20_000)
        await seat.until(lambda: "10 000 not shown" in seat.screen())


class Counted(EdgeConsole):
    """Counts what it paints."""

    paints = 0

    def post_display_hook(self) -> None:
        self.paints += 1


@pytest.mark.parametrize("snapshot", [REFUSED, ONLINE])
async def test_the_same_present_is_not_drawn_again(snapshot: Snapshot) -> None:
    app = Counted(StillHost(snapshot, pictured()), clock=clock(), zone=UTC)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(FORESIGHT_AFTER + 0.5)
        before = app.paints
        await pilot.pause(0.5)
        assert app.paints == before


async def test_a_new_present_is_drawn() -> None:
    async with seated() as seat:
        seat.host.change(link=WAITING.link, polling=FALLING_BACK)
        await seat.until(lambda: "▲ FALLBACK" in seat.screen())
        seat.clock.advance(5)
        await seat.until(lambda: "next 1 s" in seat.screen())


async def test_a_countdown_runs_between_two_seconds() -> None:
    async with seated(WAITING, size=(200, 60)) as seat:
        before = seat.screen()
        seat.clock.advance(0.3)
        await seat.until(lambda: seat.screen() != before)
        await seat.press("2")
        await seat.until(lambda: "in 12.4 s" in seat.screen())
        seat.clock.advance(0.2)
        await seat.until(lambda: "in 12.2 s" in seat.screen())


async def test_while_nobody_looks_it_looks_less_often() -> None:
    async with seated() as seat:
        seat.app.post_message(AppBlur())
        await seat.until(lambda: not seat.app.app_focus)
        seat.host.change(link=WAITING.link)
        await seat.pilot.pause(0.3)
        assert "● ONLINE" in seat.screen()
        seat.app.post_message(AppFocus())
        await seat.until(lambda: "RETRYING" in seat.screen())


async def test_help_lists_the_keys_that_work() -> None:
    async with seated() as seat:
        await seat.press("question_mark")
        for part in ("R", "Dial now", "^s", "PgUp", "↑ k", "End G", "^p :", "Every action by name", "The stream"):
            assert part in seat.dialog()
        await seat.press("question_mark")
        assert len(seat.app.screen_stack) == 1


async def test_the_palette_has_our_actions_and_no_others() -> None:
    async with seated() as seat:
        titles = {command.title for command in seat.app.get_system_commands(seat.app.screen_stack[0])}
        assert {"Reconnect  (R)", "Polling  (p)", "Replay  (r)", "Quit  (q)", "Theme: light", "Newest  (End)"} <= titles
        assert not {"Maximize", "Keys", "Screenshot"} & titles
        for key in ("ctrl+p", "colon"):
            await seat.press(key)
            await seat.until(lambda: len(seat.app.screen_stack) == 2)
            await seat.press("escape")
        await seat.press("colon", *"reconnect")
        await seat.until(lambda: seat.app.screen.query("CommandList").first().highlighted is not None)  # type: ignore[attr-defined]
        await seat.pilot.pause(0.2)
        await seat.press("enter")
        await seat.until(lambda: seat.host.posted == [ReconnectRequested()])


async def test_a_demonstration_is_told_to_do_wrong_from_the_palette() -> None:
    demo = Demo()
    with demo.running({}, None) as config:

        def sync() -> int:
            headers = {"Authorization": f"Bearer {config.secrets[0]}"}
            return httpx.post(f"{config.backend.url}/edge/sync", json={"edge_agent_id": "a"}, headers=headers, trust_env=False).status_code

        async with seated(fault=demo.fault) as seat:
            for words, said, status in (
                ("sync_status=418 seconds=30", "The backend was told: sync_status=418", 418),
                ("sync_status=17", "sync_status: 200 to 599 expected", 418),
                ("off", "The backend was told: off", 200),
            ):
                await seat.press("colon", *f"fault {words}")
                await seat.until(lambda: seat.app.screen.query("CommandList").first().highlighted is not None)  # type: ignore[attr-defined]
                await seat.pilot.pause(0.2)
                await seat.press("enter")
                await seat.says(said)
                assert sync() == status


async def test_every_theme_can_be_put_on() -> None:
    async with seated(entries=pictured()) as seat:
        assert set(seat.app.available_themes) == {"edge-dark", "edge-light", "edge-contrast", "edge-plain"}
        for name in ("edge-light", "edge-contrast", "edge-dark"):
            seat.app.action_theme(name)
            await seat.pilot.pause(0.2)
            ground = seat.app.screen_stack[0].query_one("#header").render_lines(seat.app.size.region)[0]
            assert ground is not None


async def test_c17_a_click_on_a_panel_opens_it_at_length_and_another_one_closes_it() -> None:
    async with seated(entries=pictured()) as seat:
        for name, says in (("#connection", "dials"), ("#backoff", "polling mode"), ("#latency", "objective")):
            await seat.pilot.click(name, offset=(5, 3))
            await seat.until(lambda: says in seat.screen())  # noqa: B023 - awaited before the next turn
            await seat.pilot.click(name, offset=(5, 3))
            await seat.until(lambda: says not in seat.screen())  # noqa: B023
        assert seat.app.focused is seat.stream


async def test_c17_read_only_offers_no_key_that_it_refuses() -> None:
    async with seated(entries=pictured(), read_only=True) as seat:
        last = seat.screen().splitlines()[-1]
        assert "Filter" in last
        assert not {"Reconnect", "Polling", "Replay", "Edit"} & set(last.split())


async def test_c17_under_a_dialog_the_footer_names_the_dialogs_keys() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("enter")
        await seat.until(lambda: "Esc Close" in seat.screen().splitlines()[-1])
        assert "Polling" not in seat.screen().splitlines()[-1]
        await seat.press("escape")
        await seat.until(lambda: "Polling" in seat.screen().splitlines()[-1])


async def test_a_click_on_the_footer_is_the_key() -> None:
    async with seated() as seat:
        await seat.pilot.click("#footer", offset=(3, 0))
        assert seat.host.posted == [ReconnectRequested()]


async def test_screenshot_is_saved_and_said(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    async with seated(pictures=pictures) as seat:
        await seat.press("ctrl+s")
        await seat.until(lambda: "Saved" in seat.toasts())
    (saved,) = pictures.glob("*.svg")
    assert "Connection" in saved.with_suffix(".txt").read_text()
    assert saved.name == "edge-console-20261106-143207-000.svg"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert pictures.stat().st_mode & 0o777 == 0o700


async def test_a_screenshot_that_cannot_be_saved_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for pictures, words in ((tmp_path / "file", "No picture"), (None, "nowhere to save")):
        async with seated(pictures=pictures) as seat:
            await seat.press("ctrl+s")
            await seat.says(words)


async def test_c2_q_asks_and_says_what_is_pending() -> None:
    pending = replace(ONLINE.commands, outbox=3, running=2)
    due = (ScheduledView("sched_1", "cmd_1", "+1", NOON + 3 * 86_400),)
    async with seated(replace(ONLINE, commands=pending, scheduled=due, scheduled_count=1)) as seat:
        await seat.press("q")
        for words in ("3 acks unproven", "2 running", "1 messages due later", "the next 11-09 14:32:07"):
            assert words in seat.dialog()
        await seat.press("enter", "q")
        assert (seat.host.stops, len(seat.app.screen_stack)) == (0, 1)
        await seat.press("q", "y")
        assert seat.host.stops == 1


async def test_c2_ctrl_c_only_says_how_to_quit_and_asks_when_it_comes_again() -> None:
    async with seated() as seat:
        await seat.press("ctrl+c")
        await seat.until(lambda: "q stops the agent" in seat.toasts())
        seat.clock.advance(HINT_SECONDS + 1)
        await seat.press("ctrl+c")
        assert len(seat.app.screen_stack) == 1
        await seat.press("ctrl+c")
        assert "Nothing is pending" in seat.dialog()
        await seat.press("ctrl+c", "ctrl+c", "ctrl+q")
        assert (seat.host.stops, len(seat.app.screen_stack)) == (0, 2)


DIALOGS = {
    "inspector": ("enter",), "help": ("question_mark",), "replay": ("r",), "editor": ("e",), "copy": ("y",), "polling": ("p",),
    "palette": ("ctrl+p",), "quit": ("q",),
}  # fmt: skip


@pytest.mark.parametrize("keys", DIALOGS.values(), ids=DIALOGS)
async def test_c3_quitting_help_and_a_picture_are_alive_in_every_dialog(tmp_path: Path, keys: tuple[str, ...]) -> None:
    async with seated(entries=pictured(), pictures=tmp_path) as seat:
        await seat.press(*keys)
        await seat.until(lambda: len(seat.app.screen_stack) == 2)
        before = seat.app.screen
        await seat.press("ctrl+c")
        await seat.until(lambda: "q stops the agent" in seat.toasts())
        await seat.press("f1")
        assert isinstance(seat.app.screen, Help) != (keys == ("question_mark",))
        await seat.press("f1" if isinstance(seat.app.screen, Help) else "question_mark", "ctrl+s")
        await seat.until(lambda: list(tmp_path.glob("*.svg")))
        while len(seat.app.screen_stack) > 1 and seat.app.screen is not before:
            await seat.press("escape")
        await seat.press("ctrl+q")
        assert "Nothing is pending" in seat.dialog()
        assert seat.host.stops == 0


@pytest.mark.parametrize("keys", DIALOGS.values(), ids=DIALOGS)
async def test_c13_a_dialog_is_modal_for_every_key(keys: tuple[str, ...]) -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press(*keys)
        await seat.until(lambda: len(seat.app.screen_stack) == 2)
        selected = seat.stream.selected
        await seat.press("tab", "shift+tab", "3", "z", "R", "p", "D", "f", "o", "slash", "x")
        await seat.pilot.pause(0.2)
        assert seat.app.screen_stack[0].classes.isdisjoint({"-detail", "-zoom", "-filtering"})
        assert (seat.stream.selected, seat.stream.viewport.following) == (selected, True)
        assert [event for event in seat.host.posted if not isinstance(event, PollingModeChosen)] == []


async def test_c2_leaving_the_inspector_and_help_never_quits() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("enter", "question_mark")
        assert "copy" in seat.dialog().lower()
        assert "Here" in seat.dialog()
        await seat.press("q", "q", "q")
        assert "Nothing is pending" in seat.dialog()
        assert seat.host.stops == 0


async def test_a_click_beside_a_dialog_leaves_it() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("question_mark")
        await seat.pilot.click(offset=(1, 1))
        await seat.until(lambda: len(seat.app.screen_stack) == 1)
        assert "-detail" not in seat.app.screen.classes


async def test_in_a_demo_q_stops_at_once() -> None:
    app = EdgeConsole(host := StillHost(ONLINE), clock=clock(), asks_to_quit=False)
    async with app.run_test() as pilot:
        await pilot.press("q")
        assert host.stops == 1


async def test_quit_stops_the_agent_and_waits_for_it() -> None:
    async with seated() as seat:
        await seat.press("q", "y")
        assert seat.host.stops == 1
        assert "STOPPING" in seat.screen()
        assert seat.app.return_code is None
        seat.host.stopped = True
        await seat.until(lambda: seat.app.return_code == 0)


async def test_quit_gives_up_after_five_seconds() -> None:
    async with seated() as seat:
        await seat.press("q", "y")
        seat.clock.advance(5.1)
        await seat.until(lambda: seat.app.return_code == 0)


async def test_quit_twice_leaves_at_once() -> None:
    async with seated() as seat:
        await seat.press("q", "y", "q")
        await seat.until(lambda: seat.app.return_code == 0)


async def test_a_failed_agent_ends_the_console_with_one_line() -> None:
    async with seated() as seat:
        seat.host.failure = RuntimeError("journal\x1b[31m gone")
        await seat.until(lambda: seat.app.return_code == 1)
        assert seat.app.return_value == "the agent failed: journal␛[31m gone"


async def test_a_modal_does_not_hide_that_the_link_is_gone() -> None:
    async with seated() as seat:
        await seat.press("question_mark")
        seat.host.change(link=WAITING.link, polling=replace(FALLING_BACK, last_error="no route"))
        await seat.until(lambda: "✗ OFFLINE" in seat.screen())


class Broken(StillHost):
    """Fails when the operator reconnects or looks at a record, and for a while when it is looked at."""

    unwell = False

    def post(self, event: object) -> None:
        raise ZeroDivisionError("a\x1b[31m secret place")

    def lookup(self, command_id: str) -> Remembered | None:
        raise OSError("disk")

    def snapshot(self) -> Snapshot:
        if self.unwell:
            raise RuntimeError("no snapshot")
        return super().snapshot()


async def test_c18_what_fails_in_a_key_or_in_looking_is_said_and_the_console_goes_on(tmp_path: Path) -> None:
    host = Broken(ONLINE, pictured())
    app = EdgeConsole(host, clock=clock(), options=ConsoleOptions(log_file=tmp_path / "edge.log"))
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        seat = Seat(app, host, clock(), pilot)
        await seat.press("R")
        await seat.until(lambda: "That failed: ZeroDivisionError: a␛[31m secret place. The log: " in seat.toasts())
        await seat.press("enter")
        await seat.until(lambda: "That failed: OSError: disk" in seat.toasts())
        host.unwell = True
        await seat.until(lambda: "That failed: RuntimeError: no snapshot" in seat.toasts())
        host.unwell = False
        host.change(link=WAITING.link)
        await seat.until(lambda: "RETRYING" in seat.screen())
        assert app.crash is None


async def test_c18_what_cannot_be_drawn_says_so_in_its_place() -> None:
    broken = replace(ONLINE, latency=replace(ONLINE.latency, loop_lag_ms=None))
    async with seated(broken, [entry(1, utc=-math.inf), entry(2)]) as seat:
        await seat.press("t")
        assert seat.screen().count("✗ cannot be drawn: ") == 2
        assert entry(2).command_id in seat.screen()


async def test_c18_a_second_enter_in_the_palette_does_nothing() -> None:
    async with seated() as seat:
        for _ in range(3):
            await seat.press("colon", *"reconnect")
            await seat.until(lambda: seat.app.screen.query("CommandList").first().highlighted is not None)  # type: ignore[attr-defined]
            await seat.pilot.pause(0.2)
            before = len(seat.host.posted)
            for _ in range(4):
                seat.app.post_message(Key("enter", "\r"))
            await seat.until(lambda: len(seat.host.posted) > before and len(seat.app.screen_stack) == 1)  # noqa: B023 - awaited before the next turn
            await seat.pilot.pause(0.2)
            assert len(seat.host.posted) == before + 1


async def test_c18_a_page_up_in_a_palette_that_is_just_opening_does_nothing() -> None:
    async with seated() as seat:
        for typed in ("", "r", "re"):
            for key in ("colon", *typed, *["pageup"] * 3):
                seat.app.post_message(Key(key, None))
            for _ in range(30):
                await seat.pilot.pause(0.005)
                seat.app.post_message(Key("pageup", None))
            assert not seat.toasts()
            await seat.press("escape", "escape", "escape")


async def test_c16_what_stood_over_the_panels_leaves_nothing_behind() -> None:
    def caches() -> int:
        gc.collect()
        return sum(isinstance(each, StylesCache) for each in gc.get_objects())

    async def look(seat: Seat) -> None:
        await seat.press("question_mark")
        await seat.until(lambda: len(seat.app.screen_stack) == 2)
        await seat.press("escape")
        await seat.until(lambda: len(seat.app.screen_stack) == 1)

    async with seated() as seat:
        await look(seat)
        await seat.pilot.pause(0.2)
        after_one = caches()
        for _ in range(5):
            await look(seat)
        await seat.until(lambda: caches() <= after_one + 2)


class Fragile(EdgeConsole):
    """Breaks where Textual has no edge of ours: in a message, in a widget's message, or while it is drawn."""

    def __init__(self, host: StillHost, how: str, crash_before: str | None = None) -> None:
        super().__init__(host, clock=clock(), crash_before=crash_before, on_first_paint=self.begin)
        self.how = how
        self.collects = False

    def begin(self) -> None:
        self.collects = gc.isenabled()
        self.set_timer(0.1, self.break_)

    def break_(self) -> None:
        stream = self.screen_stack[0].query_one(Stream)
        if self.how == "message":
            self.call_later(self._raise)
        elif self.how == "widget":
            stream.call_later(self._raise)
        elif self.how == "timer":
            self._raise()
        elif self.how == "ends":
            self.exit()

    def _raise(self) -> None:
        raise ZeroDivisionError(self.how)


class Headless(Fragile):
    def run(self, **_: Any) -> str | None:
        return super().run(headless=True, size=(80, 24))


@pytest.mark.parametrize("how", ["message", "widget", "timer"])
def test_c18_a_console_that_breaks_is_opened_anew_over_the_same_agent(how: str) -> None:
    host, opened = StillHost(ONLINE, pictured()), []

    def again(crash: str | None) -> EdgeConsole:
        opened.append(crash)
        return Headless(host, "ends", crash)

    gc.disable()  # as until the first picture
    last = keep_open(Headless(host, how), again, host)
    assert isinstance(last, Fragile)
    assert last.collects, "else its memory would grow for ever"
    assert opened == [f"ZeroDivisionError: {how}"]
    assert (last.crash, last.return_code, host.stops) == (None, 0, 0)


def test_c18_where_it_breaks_again_and_again_the_agent_goes_on_alone(capsys: pytest.CaptureFixture[str]) -> None:
    host = StillHost(ONLINE)
    stopping = threading.Timer(3.0, setattr, (host, "stopped", True))
    stopping.start()
    keep_open(Headless(host, "timer"), partial(Headless, host, "timer"), host)
    stopping.join()
    said = capsys.readouterr().err
    assert said.endswith("fails again and again (ZeroDivisionError: timer); the agent goes on without it, until ctrl+c\n")
    assert "Traceback" not in said
    assert host.stops == 0
