"""The log's panel: a window on lines that wrap, with a filter, levels and keys of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agent_core.feed import LogEntry
from console.panels.log import KEPT, LEVELS, LogRows
from tests.console.test_app import Seat, clean, seated
from tests.harness.stills import HOSTILE, NOON, entry


def told(*texts: str, level: str = "INFO") -> list[LogEntry]:
    return [LogEntry(NOON - 60 + number, level, text) for number, text in enumerate(texts)]


def log(seat: Seat) -> str:
    pane = seat.app.screen_stack[0].query_one("#log")
    return "\n".join(strip.text for strip in pane.render_lines(pane.size.region))


async def test_c11_new_lines_are_counted_while_it_is_frozen_and_the_streams_keys_work() -> None:
    async with seated(entries=[entry(1)]) as seat:
        seat.host.feed.extend(told(*(f"line {number:03d}." for number in range(100))))
        await seat.press("5")
        await seat.until(lambda: "line 099." in log(seat))
        await seat.press("pageup", "k", "k")
        assert "frozen" in log(seat)
        top = log(seat).splitlines()[1]
        seat.host.feed.extend(told("line 100.", "line 101."))
        await seat.until(lambda: "2 new" in log(seat))
        assert log(seat).splitlines()[1] == top
        assert "line 100." not in log(seat)
        await seat.press("g")
        assert "▌14:31:07    INFO    line 000." in log(seat)
        await seat.press("j")
        assert "▌14:31:08    INFO    line 001." in log(seat)
        await seat.press("G")
        assert "line 101." in log(seat)
        assert "● following" in log(seat)
        await seat.press("f")
        assert "frozen" in log(seat)


async def test_c11_its_filter_and_level_are_its_own() -> None:
    async with seated(entries=[entry(1, "cmd_1")]) as seat:
        seat.host.feed.extend([*told("dialling api", "dialling again"), *told("lost api", level="WARNING"), *told("no", level="ERROR")])
        await seat.press("5", "slash", *"dialling !api")
        assert "dialling again" in log(seat)
        assert "dialling api" not in log(seat)
        assert "lost" not in log(seat)
        await seat.press("escape", "l", "l")
        assert "WARNING and worse" in log(seat)
        assert ["lost api" in log(seat), "dialling" in log(seat), " no" in log(seat)] == [True, False, True]
        await seat.press("slash", *"zzz", "enter")
        assert "Nothing passes the filter" in log(seat)
        await seat.press("5")
        assert seat.stream.wanted.text == ""
        await seat.press("slash", "up")
        assert seat.app.screen.query_one("#filter").value == ""  # type: ignore[attr-defined]


async def test_c11_no_key_acts_on_a_command_that_is_not_shown() -> None:
    async with seated(entries=[entry(1, "cmd_1", effect="harmless")]) as seat:
        seat.host.feed.extend(told("one", "two"))
        await seat.press("5")
        await seat.until(lambda: "two" in log(seat))
        await seat.press("r", "e", "x", "enter", "space", "n", "w", "L")
        assert len(seat.app.screen_stack) == 1
        assert seat.host.posted == []
        assert seat.stream.marked == []
        await seat.press("up", "y")
        assert seat.app.clipboard == "2026-11-06 14:31:07 INFO one"


async def test_c11_long_lines_wrap() -> None:
    async with seated(size=(80, 24)) as seat:
        words = " ".join(f"word{number}" for number in range(60))
        seat.host.feed.extend(told(words, "the end"))
        await seat.press("5", "z")
        await seat.until(lambda: "the end" in log(seat))
        assert all(f"word{number}" in log(seat) for number in range(60))
        await seat.pilot.resize_terminal(120, 36)
        await seat.until(lambda: "word59" in log(seat) and len(log(seat).splitlines()) > 24)


async def test_hostile_lines_harm_nothing() -> None:
    async with seated(size=(80, 24)) as seat:
        seat.host.feed.extend(told(*HOSTILE))
        await seat.press("5")
        await seat.until(lambda: "lines" in log(seat))
        for _ in range(40):
            assert clean(log(seat))
            await seat.press("up")


@given(
    st.lists(st.tuples(st.sampled_from(LEVELS), st.text("ab c", max_size=60)), max_size=30),
    st.text("ab !", max_size=6), st.integers(0, 3), st.integers(4, 30),
)  # fmt: skip
def test_rows_are_what_passes_in_order_and_fit(entries: list[tuple[str, str]], words: str, least: int, width: int) -> None:
    rows = LogRows()
    rows.tell([LogEntry(0.0, level, text) for level, text in entries[:10]])
    rows.lay_out(9)
    rows.choose(words, least)
    rows.lay_out(width)
    rows.tell([LogEntry(0.0, level, text) for level, text in entries[10:]])
    rows.lay_out(width)
    found = [rows.row(position) for position in range(rows.first, rows.end)]
    assert all(cell_len(row.text) <= width for row in found)
    numbers = [row.number for row in found if row.first]
    assert numbers == sorted(set(numbers))
    wanted = [word for word in words.split() if not (word.startswith("!") and len(word) > 1)]
    unwanted = [word[1:] for word in words.split() if word.startswith("!") and len(word) > 1]
    passing = [
        number for number, (level, text) in enumerate(entries)
        if LEVELS.index(level) >= least and all(word in text for word in wanted) and not any(word in text for word in unwanted)
    ]  # fmt: skip
    assert numbers == passing


@pytest.mark.parametrize("most", [KEPT, KEPT + 1, 3 * KEPT])
def test_only_the_last_lines_are_kept(most: int) -> None:
    rows = LogRows()
    for number in range(0, most, 100):
        rows.tell([LogEntry(0.0, "INFO", f"{one}") for one in range(number, min(number + 100, most))])
        rows.lay_out(80)
    assert (rows.count, rows.kept) == (KEPT, KEPT)
    assert rows.row(rows.first).text == f"{most - KEPT}"
    assert rows.entry(rows.row(rows.end - 1).number).text == f"{most - 1}"
