"""The stream under keys: filter, failures, order, times, marks."""

import pytest

from agent_core.feed import ProvenEntry
from agent_core.filters import Ask
from console.panels.filterbar import FilterBar
from tests.console.test_app import Seat, seated
from tests.harness.stills import NOON, entry, pictured


def bodies(seat: Seat) -> str:
    return "\n".join(strip.text for strip in seat.stream.render_lines(seat.stream.size.region))


async def test_a_filter_works_while_it_is_typed_and_stays_after_enter() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash", *"status:fai")
        assert "2 of 22" in bodies(seat)
        assert "cmd_3ff17fd374" in bodies(seat)
        assert "cmd_b0cb91ce37" not in bodies(seat)
        await seat.press("enter")
        assert "/status:fai" in bodies(seat)
        assert seat.app.focused is seat.stream
        assert "Reconnect" in seat.screen()


async def test_a_wrong_filter_says_so_and_keeps_the_last_good_one() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash", *"via:poll", "space", *">x")
        assert "> wants a time" in bodies(seat)
        assert "3 of 22" in bodies(seat)
        await seat.press("enter")
        assert "> wants a time" in bodies(seat)
        await seat.press("escape")
        assert "wants a time" not in bodies(seat)
        assert seat.stream.wanted.text == ""


async def test_c12_nothing_half_typed_is_kept() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash", *"via:poll", "enter", "slash", *["backspace"] * 8, *"status:foo", "enter")
        assert seat.app.screen.query_one(FilterBar).has_focus
        assert "no status foo" in bodies(seat)
        await seat.pilot.click("#stream", offset=(20, 4))
        assert seat.stream.wanted.text == "via:poll"


async def test_c12_tab_completes_fields_and_values() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash", *"stat", "tab", *"fai", "tab", *",int", "tab")
        assert seat.app.screen.query_one(FilterBar).value == "status:failed,interrupted"
        await seat.press("enter")
        assert "3 of 22" in bodies(seat)


async def test_c12_a_word_of_the_message_is_asked_of_the_ledger() -> None:
    questions: list[tuple[Ask, int]] = []
    texts = {1: "hello", 2: "bye", 3: "hello again"}

    def asked(ask: Ask, after: int) -> tuple[set[int], int]:
        questions.append((ask, after))
        return {number for number, text in texts.items() if number > after and ask.value in text}, max(texts)

    async with seated(entries=[entry(number, f"cmd_{number}") for number in texts], asked=asked) as seat:
        await seat.press("slash", *"text:hello", "enter")
        await seat.until(lambda: seat.stream.count == 2)
        assert "cmd_2" not in bodies(seat)
        texts[4] = "hello once more"
        seat.host.feed.extend([entry(4, "cmd_4")])
        await seat.until(lambda: seat.stream.live.end == 4)
        seat.clock.advance(1.1)
        await seat.until(lambda: seat.stream.count == 3)
        assert (Ask("text", "hello"), 3) in questions
        await seat.press("E")
        assert seat.stream.count == 0


async def test_c12_f1_in_the_bar_explains_the_language() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash", *"via:", "f1")
        for words in ("since:10m", "text:hello", "regular expression", "Tab completes"):
            assert words in seat.dialog()
        await seat.press("escape", *"poll", "enter")
        assert seat.stream.wanted.text == "via:poll"


@pytest.mark.parametrize("leaving", [("tab",), ("shift+tab",), ("click",), ("ctrl+p", "escape")])
async def test_c1_no_bare_key_acts_while_the_bar_shows(leaving: tuple[str, ...]) -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash", *"st")
        for key in leaving:
            await (seat.pilot.click("#stream", offset=(20, 4)) if key == "click" else seat.press(key))
        showing = seat.app.screen.has_class("-filtering")
        assert showing == seat.app.screen.query_one(FilterBar).has_focus == (leaving != ("click",))
        if showing:
            await seat.press("p", "r", "R", "q", "e", "x", "3")
            assert len(seat.app.screen_stack) == 1
            assert seat.app.screen.query_one(FilterBar).value.endswith("prRqex3")
        assert seat.host.posted == []
        assert seat.host.stops == 0


async def test_escape_brings_the_filter_before_back() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash", *"via:poll", "enter", "slash", *" status:acked")
        assert "1 of 22" in bodies(seat)
        await seat.press("escape")
        assert "3 of 22" in bodies(seat)


async def test_filters_used_before_are_at_the_arrow() -> None:
    async with seated(entries=pictured()) as seat:
        for text in ("via:poll", "type:emit"):
            await seat.press("slash", *["backspace"] * 10, *text, "enter")
        await seat.press("slash", "up", "up")
        assert seat.app.screen.query_one(FilterBar).value == "via:poll"
        await seat.press("down")
        assert seat.app.screen.query_one(FilterBar).value == "type:emit"


async def test_the_filter_can_be_put_off_and_on() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("backslash", "slash", *"via:poll", "enter", "backslash")
        assert "(/via:poll is off)" in bodies(seat)
        assert "cmd_5f1cfb10f6" in bodies(seat)
        await seat.press("backslash")
        assert "3 of 22" in bodies(seat)


async def test_n_jumps_to_the_next_match_also_while_the_filter_is_off() -> None:
    async with seated(entries=pictured()) as seat:

        def at() -> str:
            assert seat.stream.selected is not None
            return seat.stream.selected.command_id

        await seat.press("N")
        assert at() == "cmd_77aa00f1c2"
        await seat.press("N")
        assert at() == "cmd_504a0fe75d"
        await seat.press("slash", *"via:local", "enter", "backslash", "home", "n")
        assert at() == "cmd_b27b121dc5"
        await seat.press("n")
        assert at() == "cmd_b27b121dc5"


async def test_failures_only() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("E")
        assert "✗ failures only" in bodies(seat)
        assert "3 of 22" in bodies(seat)
        await seat.press("E")
        assert "cmd_5f1cfb10f6" in bodies(seat)


async def test_what_arrives_and_changes_goes_through_the_filter() -> None:
    async with seated(entries=[entry(1, "cmd_1", status="running"), entry(2, "cmd_2")]) as seat:
        await seat.press("E")
        assert "Nothing passes the filter" in bodies(seat)
        seat.host.feed.extend([entry(1, "cmd_1", status="failed")])
        seat.host.feed.extend([entry(3, "cmd_3", status="failed")])
        seat.host.feed.extend([entry(4, "cmd_4")])
        await seat.until(lambda: "2 of 4" in bodies(seat))
        seat.host.feed.extend([entry(1, "cmd_1", status="acked")])
        await seat.until(lambda: "1 of 4" in bodies(seat))


async def test_what_comes_in_is_shown_among_the_commands_and_when_the_backend_has_it() -> None:
    came = entry(2, "evt_1", "message_received", via="in", status="received", thread_id="+13105550100", run_ms=None, ack_ms=None)
    async with seated(entries=[entry(1, "cmd_1"), came]) as seat:
        row = next(line for line in bodies(seat).splitlines() if "evt_1" in line)
        assert "in  " in row
        assert "↘ received" in row
        seat.host.feed.extend([ProvenEntry(came.utc, (2,))])
        await seat.until(lambda: "✓ told" in bodies(seat))


async def test_a_frozen_stream_under_a_filter_loses_nothing() -> None:
    async with seated(entries=[entry(number, status="failed" if number % 2 else "acked") for number in range(1, 101)]) as seat:
        await seat.press("E", "f")
        for number in range(101, 121):
            seat.host.feed.extend([entry(number, status="failed" if number % 2 else "acked")])
        await seat.until(lambda: "10 new" in bodies(seat))
        assert entry(99).command_id in bodies(seat)
        assert entry(119).command_id not in bodies(seat)
        await seat.press("end")
        assert entry(119).command_id in bodies(seat)
        await seat.press("home")
        assert seat.stream.selected is not None
        assert seat.stream.selected.command_id == entry(1).command_id
        await seat.press("pagedown", "down")
        assert seat.stream.selected.command_id == entry(2 * 21 - 2 + 1).command_id


async def test_newest_first_turns_the_window_and_the_keys_with_it() -> None:
    async with seated(entries=[entry(number) for number in range(1, 101)]) as seat:
        await seat.press("o")
        rows = bodies(seat).splitlines()
        assert entry(100).command_id in rows[2]
        assert entry(99).command_id in rows[3]
        await seat.press("down")
        assert seat.stream.selected is not None
        assert seat.stream.selected.command_id == entry(99).command_id
        await seat.pilot.click("#stream", offset=(20, 4))
        assert seat.stream.selected.command_id == entry(98).command_id
        await seat.press("o")
        assert "newest first" not in bodies(seat)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
async def test_c7_why_a_command_failed_is_on_the_screen(width: int) -> None:
    failed = [entry(1, "cmd_1", status="failed", error="no such recipient"), entry(2, "cmd_2")]
    async with seated(entries=failed, size=(width, 30)) as seat:
        assert ("no such recipient" in bodies(seat)) == (width >= 100)
        await seat.press("up")
        assert bodies(seat).count("no such recipient") == 1
        long = "the provider answers: 21610 attempt to send to an unsubscribed recipient, of 2026-11-01"
        seat.host.feed.extend([entry(1, "cmd_1", status="failed", error=long)])
        await seat.until(lambda: long[:57] in bodies(seat))


async def test_c5_a_rule_stands_between_days() -> None:
    days = [entry(1, "cmd_1", utc=NOON - 86_400), entry(2, "cmd_2"), entry(3, "cmd_3")]
    async with seated(entries=days) as seat:

        def ruled() -> list[int]:
            strips = seat.stream.render_lines(seat.stream.size.region)
            return [y for y, strip in enumerate(strips) if any(segment.style and segment.style.underline for segment in strip)]

        assert ruled() == [2]
        await seat.press("o")
        assert ruled() == [3]


async def test_ages_instead_of_times() -> None:
    async with seated(entries=[entry(1, utc=NOON - 65)]) as seat:
        await seat.press("t")
        assert "1m 05s ago" in bodies(seat)
        seat.clock.advance(2)
        await seat.until(lambda: "1m 07s ago" in bodies(seat))
        await seat.press("t")
        assert "14:31:02.000" in bodies(seat)


async def test_marks() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("space", "up", "space", "up", "space", "space")
        assert [row.command_id for row in seat.stream.marked] == ["cmd_77aa00f1c2", "cmd_c305da84d1"]
        assert bodies(seat).count("◆ ") == 1
        assert "◆ 2 marked" in bodies(seat)


@pytest.mark.parametrize("wild", ["/(a+)+$/", "x" * 300, "[/bold]", '"', "!", "!!", "/[/", "\\"])
async def test_anything_may_be_typed(wild: str) -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("slash")
        seat.app.screen.query_one(FilterBar).value = wild
        await seat.press("enter", "n", "N", "backslash")
        assert "Commands" in bodies(seat)


async def test_a_pattern_that_takes_too_long_is_refused_and_nothing_breaks() -> None:
    slow = [entry(number, "a" * 200 + "!a", "a" * 100 + str(number)) for number in range(3_000)]
    async with seated(entries=slow) as seat:
        await seat.until(lambda: seat.stream.ring.end == 3_000)
        await seat.press("slash")
        seat.app.screen.query_one(FilterBar).value = r"/(\w|\w\w)*\W$/"
        await seat.until(lambda: "takes too long" in bodies(seat))
        await seat.press("enter", "n", "backslash", "E", "f", "f")
        assert "Commands" in bodies(seat)
