"""What the operator does with commands: replay, edit, copy, save, load, look at panels."""

import json
import re
import shlex
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.widgets import TextArea

from agent_core.events import CancelRequested, HeldApproved, HeldRefused, HoldChosen, ReplayRequested
from agent_core.feed import LogEntry
from agent_core.latency import Rolling
from agent_core.snapshot import Cause, DiskView, Drop, LatencyView, Phase, PollingMode, PollingView, ScheduledView
from console.replay import AT_ONCE, SILENT_AFTER
from console.screens.editor import PayloadError, editable, payload_of
from tests.console.test_app import clean, seated
from tests.console.test_stream import bodies
from tests.harness.stills import CUT, FAILING, HOSTILE, NOON, OFFLINE, ONLINE, REFUSED, WAITING, entry, pictured, present, remembered


async def test_marked_commands_are_replayed_a_few_at_once_with_progress() -> None:
    commands = [entry(number, f"cmd_{number}") for number in range(1, 8)]
    async with seated(entries=commands) as seat:
        for _ in range(7):
            await seat.press("space", "up")
        await seat.press("r")
        assert "7 marked commands" in seat.dialog()
        await seat.press("y")
        asked = [f"cmd_{number}" for number in range(1, 8)]
        assert [event.command_id for event in seat.host.posted] == asked[:AT_ONCE]  # type: ignore[union-attr]
        seat.host.feed.extend([entry(101, "replay-101-cmd_1", via="local", replay_of="cmd_1")])
        seat.host.feed.extend([entry(102, "replay-102-cmd_2", via="local", replay_of="cmd_2", status="failed")])
        await seat.until(lambda: "↻ replay 2/7, 1 failed · Esc cancels" in bodies(seat))
        assert [event.command_id for event in seat.host.posted] == asked[: AT_ONCE + 2]  # type: ignore[union-attr]
        await seat.press("escape")
        await seat.until(lambda: "1 not asked for" in seat.toasts())
        for number in range(3, 7):
            seat.host.feed.extend([entry(100 + number, f"replay-{number}", via="local", replay_of=f"cmd_{number}")])
        await seat.until(lambda: "6/7, 1 failed: done" in seat.toasts())
        assert len(seat.host.posted) == 6


async def test_a_message_that_is_due_later_is_cancelled_after_a_question() -> None:
    async with seated(entries=[entry(1, "cmd_1"), entry(2, "cmd_2", status="scheduled")]) as seat:
        await seat.press("x")
        assert "cmd_2" in seat.dialog()
        await seat.press("n")
        assert seat.host.posted == []
        await seat.press("x", "y")
        assert seat.host.posted == [CancelRequested("cmd_2")]
        await seat.press("up", "x")
        await seat.until(lambda: "Only what is due later" in seat.toasts())


async def test_a_held_command_is_approved_or_refused_after_a_question() -> None:
    held = replace(ONLINE, commands=replace(ONLINE.commands, held=2))
    async with seated(held, entries=[entry(1, "cmd_1", status="held"), entry(2, "cmd_2", status="held"), entry(3, "cmd_3")]) as seat:
        await seat.shows("HELD: 2 commands wait for you")
        await seat.press("a")
        await seat.until(lambda: "Only what is held" in seat.toasts())
        await seat.press("up", "a")
        assert "cmd_2" in seat.dialog()
        await seat.press("enter", "n")
        assert seat.host.posted == []
        await seat.press("a", "y")
        await seat.press("up", "X", "y")
        assert seat.host.posted == [HeldApproved("cmd_2"), HeldRefused("cmd_1")]


async def test_a_held_payload_is_edited_before_it_is_approved() -> None:
    async with seated(entries=[entry(1, "cmd_1", status="held", effect="harmless")]) as seat:
        await seat.press("e")
        seat.app.screen.query_one(TextArea).load_text('{"thread_id": "+1", "text": "kinder words"}')
        await seat.press("ctrl+r")
        assert "Let it run with this payload?" in str(seat.app.screen.query_one(".dialog").border_title)
        assert "kinder words" in seat.dialog()
        assert "second time" not in seat.dialog()
        await seat.press("enter")
        assert seat.host.posted == []
        await seat.press("y")
        assert seat.host.posted == [HeldApproved("cmd_1", {"thread_id": "+1", "text": "kinder words"})]


async def test_the_header_says_that_commands_are_held_and_how_many_wait_and_the_banner_for_how_long() -> None:
    async with seated(replace(ONLINE, hold="all")) as seat:
        assert " HOLD " in seat.screen().splitlines()[0]
        seat.host.change(commands=replace(ONLINE.commands, held=2), hold_until_at=seat.clock.now().mono + 272)
        await seat.shows(" HOLD 2 ")
        assert "HELD: 2; the first is refused in 4m 32s" in seat.screen()
        seat.clock.advance(260)
        await seat.shows("refused in 12 s")
        seat.host.change(hold="", hold_then="approve")
        await seat.shows("approved in 12 s")
        seat.host.change(commands=ONLINE.commands, hold_until_at=None)
        await seat.until(lambda: "HOLD" not in seat.screen())


async def test_what_is_held_is_chosen_all_none_or_by_the_filter() -> None:
    async with seated(replace(ONLINE, hold="all"), entries=[entry(1, "cmd_1")]) as seat:
        await seat.press("h")
        assert "all  (now)" in seat.dialog()
        await seat.press("n")
        await seat.press("slash", *"type:send", "enter")
        await seat.press("h", "f")
        assert seat.host.posted == [HoldChosen(""), HoldChosen("type:send")]


@pytest.mark.parametrize("key", ["h", "a", "X"])
async def test_who_only_looks_holds_nothing(key: str) -> None:
    async with seated(entries=[entry(1, "cmd_1", status="held")], read_only=True) as seat:
        await seat.press(key, "y", "a")
        assert seat.host.posted == []


async def test_an_effect_seen_outside_wants_a_y() -> None:
    async with seated(entries=[entry(1, "cmd_1", effect="external")]) as seat:
        await seat.press("r")
        assert "seen outside" in seat.dialog()
        await seat.press("enter")
        assert seat.host.posted == []
        await seat.press("y")
        assert seat.host.posted == [ReplayRequested("cmd_1")]


async def test_a_replay_that_nobody_answers_is_given_up() -> None:
    async with seated(entries=[entry(1, "cmd_1", effect="harmless")]) as seat:
        await seat.press("r")
        seat.clock.advance(SILENT_AFTER + 1)
        await seat.until(lambda: "no answer any more" in seat.toasts())


async def test_c5_c8_a_record_says_dates_durations_and_what_a_replay_sends() -> None:
    told = [entry(1, "cmd_1", status="scheduled"), entry(2, "replay-2-cmd_1", via="local", replay_of="cmd_1")]
    async with seated(entries=told) as seat:
        seat.host.records["cmd_1"] = remembered("cmd_1", due_utc=NOON + 3 * 86_400)
        seat.host.records["replay-2-cmd_1"] = remembered("replay-2-cmd_1", replay_of="cmd_1", proven_utc=NOON)
        await seat.press("up", "enter")
        assert "2026-11-09 14:32:07.000      +3d 00h  due" in seat.dialog()
        await seat.press("J")
        for words in ("✓ done", "none: a replay sends no ack", "ended, with no ack to send"):
            assert words in seat.dialog()
        assert "None" not in seat.dialog()


async def test_c8_the_inspector_shows_what_happens_while_it_is_open_and_goes_to_the_next() -> None:
    async with seated(entries=[entry(number, f"cmd_{number}", status="sent") for number in range(1, 60)]) as seat:
        await seat.press("enter")
        assert "↗ sent" in seat.dialog()
        seat.host.feed.extend([entry(59, "cmd_59", status="acked", proven=True)])
        seat.host.records["cmd_59"] = remembered("cmd_59", sent_utc=NOON, proven_utc=NOON, proven_by="pong")
        await seat.until(lambda: "✓ acked" in seat.dialog() and "proven by pong" in seat.dialog())
        seat.host.feed.extend([entry(60, "cmd_60")])
        await seat.until(lambda: seat.stream.live.end == 60)
        assert "cmd_59" in seat.dialog()
        await seat.press("J")
        assert "cmd_60" in seat.dialog()
        await seat.press("K", "K")
        assert "cmd_58" in seat.dialog()
        await seat.press("escape")
        assert seat.stream.selected is not None
        assert seat.stream.selected.command_id == "cmd_58"


async def test_c8_the_keys_of_the_stream_scroll_a_dialog() -> None:
    async with seated(entries=[entry(1, "cmd_1")], size=(80, 24)) as seat:
        seat.host.records["cmd_1"] = remembered("cmd_1", payload={f"key {number}": number for number in range(100)})
        await seat.press("enter")
        box = seat.app.screen.query_one(".dialog")
        for key, holds in (("j", lambda: box.scroll_y > 0), ("G", lambda: box.scroll_y > 80), ("k", lambda: box.scroll_y > 0)):
            await seat.press(key)
            await seat.until(holds)
        await seat.press("g")
        await seat.until(lambda: box.scroll_y == 0)


async def test_a_replay_is_compared_with_its_original() -> None:
    told = [entry(1, "cmd_1", status="failed"), entry(2, "replay-2-cmd_1", via="local", replay_of="cmd_1")]
    async with seated(entries=told) as seat:
        seat.host.records["replay-2-cmd_1"] = remembered("replay-2-cmd_1", payload={"text": "changed"}, replay_of="cmd_1")
        await seat.press("enter")
        for part in ("Beside the original cmd_1", "the other", '-  "text": "hi there"', '+  "text": "changed"'):
            assert part in seat.dialog()


async def test_a_command_is_compared_with_the_marked_one() -> None:
    async with seated(entries=[entry(1, "cmd_1"), entry(2, "cmd_2")]) as seat:
        await seat.press("up", "space", "end", "enter")
        assert "Beside the marked one cmd_1" in seat.dialog()
        assert "payloads are the same" in seat.dialog()


async def test_the_payload_is_edited_judged_in_place_and_run_after_a_question() -> None:
    async with seated(entries=[entry(1, "cmd_1")]) as seat:
        await seat.press("e")
        area = seat.app.screen.query_one(TextArea)
        area.text = '{"text": }'
        await seat.pilot.pause()
        assert "✗ line 1, column 10: Expecting value" in seat.dialog()
        await seat.press("ctrl+r")
        assert seat.host.posted == []
        area.text = '{"thread_id": "+1", "text": "again"}'
        await seat.press("ctrl+r")
        assert "Run it with this payload?" in str(seat.app.screen.query(".dialog").first().border_title)
        assert "again" in seat.dialog()
        await seat.press("y")
        assert seat.host.posted == [ReplayRequested("cmd_1", {"thread_id": "+1", "text": "again"})]


async def test_c14_a_dry_run_asks_nothing_and_is_answered_as_json_in_place() -> None:
    async with seated(entries=[entry(1, "cmd_1", effect="external")]) as seat:
        await seat.press("e", "ctrl+d")
        assert seat.host.posted == [ReplayRequested("cmd_1", {"thread_id": "+13105550100", "text": "hi there"}, dry_run=True)]
        seat.host.feed.extend([LogEntry(NOON, "INFO", 'Dry run of cmd_1: would run send_message with {"text":"hi","n":null}')])
        await seat.until(lambda: 'would run send_message\n{\n  "text": "hi",\n  "n": null\n}' in seat.dialog())
        assert seat.app.screen.query_one(TextArea).has_focus
        seat.host.feed.extend([LogEntry(NOON, "INFO", "Dry run of cmd_1: would run \x1b[31m with {broken")])
        await seat.until(lambda: "would run ␛[31m with {broken" in seat.dialog())


async def test_c14_what_was_left_half_edited_is_kept() -> None:
    async with seated(entries=[entry(1, "cmd_1"), entry(2, "cmd_2")]) as seat:
        await seat.press("e", "escape")
        assert "draft" not in seat.toasts()
        await seat.press("e")
        seat.app.screen.query_one(TextArea).text = '{"half": '
        await seat.press("escape")
        await seat.until(lambda: "Your draft is kept" in seat.toasts())
        await seat.press("up", "e")
        assert "half" not in seat.app.screen.query_one(TextArea).text
        await seat.press("escape", "down", "e")
        assert seat.app.screen.query_one(TextArea).text == '{"half": '
        seat.app.screen.query_one(TextArea).text = '{"whole": 1}'
        await seat.press("ctrl+r", "y", "e")
        assert "whole" not in seat.app.screen.query_one(TextArea).text
        assert seat.host.posted == [ReplayRequested("cmd_2", {"whole": 1})]


@pytest.mark.parametrize("raw", [raw for raw in HOSTILE if raw != "\ud800"])
def test_what_is_edited_is_printable_and_says_the_same(raw: str) -> None:
    payload = {"text": raw[:2_000]}
    text = editable(payload)
    assert text.replace("\n", "").isprintable()
    assert payload_of(text) == payload


@pytest.mark.parametrize(("text", "says"), [
    ("[1]", "an object"), ("NaN", "no JSON"), ("{", "line 1"), ("[" * 100_000, "depth"), ('{"a": "\\ud800"}', "surrogate"),
])  # fmt: skip
def test_what_is_no_payload_says_why(text: str, says: str) -> None:
    with pytest.raises(PayloadError, match=says):
        payload_of(text)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("i", "cmd_1"), ("r", "not registered"), ("v", "hi there"), ("j", '"command_id": "cmd_1"'), ("c", "/admin/commands")],
)
async def test_copy(key: str, expected: str) -> None:
    async with seated(entries=[entry(1, "cmd_1", status="failed", error="not registered")]) as seat:
        await seat.press("y", key)
        assert expected in seat.app.clipboard
        await seat.until(lambda: "Copied" in seat.toasts())


async def test_a_curl_line_is_one_that_a_shell_takes_apart_safely() -> None:
    async with seated(entries=[entry(1, "cmd_1")]) as seat:
        seat.host.records["cmd_1"] = remembered("cmd_1", payload={"text": "'; rm -rf / #\n$(x) `y`"})
        await seat.press("y", "c")
        words = shlex.split(seat.app.clipboard)
        assert words[:5] == ["curl", "-sS", "-X", "POST", "https://api.example.net/admin/commands"]
        assert json.loads(words[-1])["payload"] == {"text": "'; rm -rf / #\n$(x) `y`"}


@pytest.mark.parametrize(("key", "kind"), [("j", "jsonl"), ("c", "csv"), ("m", "md")])
async def test_what_passes_the_filter_is_saved(tmp_path: Path, key: str, kind: str) -> None:
    async with seated(entries=pictured(), exports=tmp_path / "exports") as seat:
        await seat.press("E", "w", key)
        await seat.until(lambda: "Saved 3 commands" in seat.toasts())
    (saved,) = (tmp_path / "exports").iterdir()
    assert saved.suffix == f".{kind}"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "3ff17fd374" in saved.read_text()
    assert "b0cb91ce37" not in saved.read_text()


async def test_c6_a_saved_session_is_marked_and_only_looked_at_while_the_live_one_goes_on(tmp_path: Path) -> None:
    async with seated(entries=pictured(), exports=tmp_path) as seat:
        await seat.press("E", "w", "j")
        await seat.until(lambda: "Saved" in seat.toasts())
        await seat.press("E", "L", "1")
        assert "Session commands-20261106-143207-000.jsonl" in bodies(seat)
        assert seat.stream.count == 3
        seat.host.feed.extend([entry(90, "cmd_live")])
        await seat.until(lambda: seat.stream.live.end == 23)
        assert "cmd_live" not in bodies(seat)
        assert "3 saved · 2 failed ·  not live: Esc leaves " in bodies(seat)
        assert "1 204 total" not in bodies(seat)
        assert "following" not in bodies(seat)
        for key in ("r", "e", "x"):
            await seat.press(key)
            await seat.until(lambda: "only looked at" in seat.toasts())
            assert len(seat.app.screen_stack) == 1
        assert seat.host.posted == []
        await seat.press("enter")
        assert "no record" in seat.dialog()
        await seat.press("escape", "escape")
        assert "cmd_live" in bodies(seat)


@pytest.mark.parametrize("wrong", ["{", "[]", '{"utc": "x"}', "\x1b[2J", '{"utc": 1e999}'])
async def test_a_file_that_is_no_session_is_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "x.jsonl").write_text(wrong + "\n")
    async with seated(entries=pictured(), exports=tmp_path) as seat:
        await seat.press("L", "1")
        await seat.until(lambda: "x.jsonl cannot be shown: line 1 is no saved command" in seat.toasts())


async def test_nowhere_to_save_and_nothing_to_load() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("w")
        await seat.until(lambda: "nowhere to save rows" in seat.toasts())
        await seat.press("L")
        await seat.until(lambda: "No saved session" in seat.toasts())


SCHEDULED = replace(ONLINE, scheduled=(ScheduledView("sched_1", "cmd_1", "+13105550100", NOON + 3_600),), scheduled_count=1)


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 36), (200, 60)])
async def test_panels_at_length(size: tuple[int, int]) -> None:
    async with seated(SCHEDULED, pictured(), size=size) as seat:
        seat.host.feed.extend([LogEntry(NOON, "WARNING", "the backend says hello")])
        expected = {"1": "phase", "2": "polling mode", "3": "slowest", "4": "sched_1", "5": "says hello"}
        for key, words in expected.items():
            await seat.press(key)
            await seat.shows(words)
        await seat.press("5")
        await seat.until(lambda: "Commands" in seat.screen())
        await seat.press("tab", "tab")
        await seat.until(lambda: "polling mode" in seat.screen())
        await seat.press("shift+tab", "z")
        await seat.until(lambda: "Ack latency" not in seat.screen() and "phase" in seat.screen())
        await seat.press("escape", "escape")
        await seat.until(lambda: "Ack latency" in seat.screen())
        assert seat.app.focused is seat.stream


async def test_panel_details_and_a_second_console_show_the_same_figures() -> None:
    rolling = Rolling()
    for number in range(200_000):
        rolling.add(number / 1_000, 400.0 if number % 50 == 0 else 12.0 if number % 10 == 0 else 4.0)
    snapshot = replace(ONLINE, latency=LatencyView(socket=rolling.view(200.0)))
    shown = []
    for entries in ([entry(number, f"cmd_{number}", ack_ms=77.0, proven=True) for number in range(1, 100)], []):
        async with seated(snapshot, entries=entries) as seat:
            panel = re.search(r"p50 (\S+) +p95 (\S+) +p99 (\S+) ms", seat.screen())
            await seat.press("3")
            await seat.shows("by socket")
            details = re.search(r"│ ack +(1\d\d \d{3}) +(\S+) +(\S+) +(\S+)", seat.screen())
            assert panel
            assert details
            assert 120_000 <= int(details[1].replace(" ", "")) <= 122_000, "two minutes at 1,000 commands/s"
            shown += [[round(float(figure)) for figure in figures] for figures in (panel.groups(), details.groups()[1:])]
    assert shown == [[4, 12, 400]] * 4


NAMELESS = replace(WAITING, agent_id=None, polling=PollingView(), link=replace(WAITING.link, last_drop=replace(CUT, detail="HTTP 400")))


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (REFUSED, "✗ REFUSED: 403 on the upgrade: forbidden"),
        (present(Phase.REPLACED), "✗ REPLACED"),
        (OFFLINE, "✗ OFFLINE: socket: nothing heard for 15 s; polling: connection refused"),
        (replace(OFFLINE, polling=replace(FAILING, mode=PollingMode.NEVER)), "polling: never"),
        (replace(OFFLINE, link=replace(OFFLINE.link, last_drop=replace(CUT, detail="connection refused"))), "OFFLINE: connection refused "),
        (NAMELESS, "no agent id: HTTP 400"),
        (NAMELESS, "set EDGE_AGENT_ID or USER_PHONE"),
        (present(Phase.ONLINE, deaf=True), "▲ DEAF"),
        (replace(ONLINE, disk=DiskView(False, "database or disk is full")), "✗ DISK: database or disk is full"),
        (replace(ONLINE, disk=DiskView(False, "database or disk is full")), "make room; it goes on by itself"),
        (replace(ONLINE, disk=DiskView(False, "/home/fuller/ledger.sqlite3 is damaged (page 2)")), "move it away; it goes on by itself"),
        (
            replace(ONLINE, disk=DiskView(False, "ledger.sqlite3 is empty, but held commands (ledger.mark)")),
            "put it back; it goes on by itself",
        ),
        (replace(ONLINE, commands=replace(ONLINE.commands, interrupted=2)), "2 commands: outcome unknown"),
    ],
)
async def test_a_banner_for_what_needs_the_operator(snapshot: object, words: str) -> None:
    async with seated(snapshot, pictured()) as seat:  # type: ignore[arg-type]
        await seat.until(lambda: words in seat.screen())
        seat.host.change(link=ONLINE.link, polling=ONLINE.polling, disk=DiskView(), commands=ONLINE.commands)
        await seat.until(lambda: words not in seat.screen())


async def test_a_long_banner_has_the_rows_it_needs() -> None:
    why = "closed by the backend: 4401 the token of this agent has expired, ask for a new one at https://api.example.net/tokens"
    refused = replace(REFUSED, link=replace(REFUSED.link, last_drop=Drop(NOON, Cause.AUTH, why, None)))
    async with seated(refused, pictured(), size=(80, 24)) as seat:
        banner = seat.app.query_one("#banner")
        await seat.until(lambda: banner.size.height == 3)
        said = "".join(strip.text for strip in banner.render_lines(banner.size.region))
        assert said.split() == f"✗ REFUSED: {why} check EDGE_SECRET and the agent's id, then R".split()
        assert seat.stream.region.y == 12
        await seat.pilot.resize_terminal(200, 60)
        seat.host.change()
        await seat.until(lambda: banner.size.height == 1)
        assert why in seat.screen()


async def test_no_banner_where_there_is_no_need() -> None:
    async with seated(WAITING) as seat:
        assert not seat.app.query_one("#banner").display


async def test_badges() -> None:
    trouble = replace(present(Phase.ONLINE, PollingView(mode=PollingMode.ALWAYS), deaf=True), disk=DiskView(False, "full"))
    async with seated(trouble, read_only=True) as seat:
        for badge in (" READ-ONLY ", " POLL ALWAYS ", " DEAF ", " DISK "):
            assert badge in seat.screen().splitlines()[0]


async def test_read_only_refuses_all_that_changes_anything() -> None:
    async with seated(entries=pictured(), read_only=True) as seat:
        for key in ("R", "p", "r", "e", "x"):
            await seat.press(key)
            assert len(seat.app.screen_stack) == 1
        await seat.until(lambda: "only looks" in seat.toasts())
        assert seat.host.posted == []
        await seat.press("enter", "r", "escape")
        assert seat.host.posted == []


@pytest.mark.parametrize("raw", HOSTILE)
async def test_hostile_text_harms_no_panel(raw: str) -> None:
    trouble = replace(
        REFUSED, disk=DiskView(False, raw), backend_url=raw, socket_url=raw, scheduled=(ScheduledView(raw, raw, raw, NOON + 5),),
        polling=replace(WAITING.polling, last_error=raw), link=replace(REFUSED.link, last_drop=replace(CUT, detail=raw)),
    )  # fmt: skip
    async with seated(trouble) as seat:
        seat.host.feed.extend([LogEntry(NOON, "INFO", raw)])
        for key in "12345":
            await seat.press(key)
            assert clean(seat.screen())
            detail, log = seat.app.query_one("#detail"), seat.app.query_one("#log")
            shown = next(one for one in (detail, log) if one.display)
            assert {strip.cell_length for strip in shown.render_lines(shown.size.region)} == {120}
