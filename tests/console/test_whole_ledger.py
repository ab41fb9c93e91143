"""The whole ledger in the stream: the filter, n and N, and Home reach what is not in memory."""

import threading

from agent_core.filters import FilterError
from agent_core.search import Page, Query
from console.operations import RECALLED
from console.panels.ring import Ring
from tests.console.test_app import Seat, seated
from tests.console.test_stream import bodies
from tests.harness.past import Past, past
from tests.harness.stills import NOON, entry

COUNT = 3_000


def chosen(seat: Seat) -> str:
    return seat.stream.selected.command_id if seat.stream.selected is not None else ""


def on_top(seat: Seat) -> str:
    return bodies(seat).splitlines()[2]


def with_failures(*numbers: int) -> Past:
    return Past([
        entry(number, f"cmd_{number}", utc=NOON - 90_000 + number, status="failed" if number in numbers else "acked")
        for number in range(1, COUNT + 1)
    ], at_once=600)  # fmt: skip


async def recalled(seat: Seat) -> None:
    await seat.until(lambda: seat.stream.count == RECALLED)


async def test_c9_the_filter_finds_what_only_the_ledger_has_and_live_commands_beside() -> None:
    async with seated(ledger=Past(past(COUNT).entries, at_once=600)) as seat:
        await recalled(seat)
        await seat.press("slash", *"id:cmd_7", "enter")
        await seat.until(lambda: "111 of 3 000" in bodies(seat))
        seat.host.feed.extend([entry(COUNT + 1, "cmd_700x"), entry(COUNT + 2, "cmd_x"), entry(7, "cmd_7", status="failed")])
        await seat.until(lambda: "112 of 3 002" in bodies(seat))
        await seat.press("home")
        assert chosen(seat) == "cmd_7"
        assert "✗ failed" in on_top(seat)
        await seat.press("backslash")
        assert seat.stream.count == RECALLED + 2
        await seat.press("backslash")
        await seat.until(lambda: "112 of 3 002" in bodies(seat))


async def test_c9_a_search_says_how_far_it_is_and_ends_by_escape_or_by_another_filter() -> None:
    ledger, go_on = Past(past(COUNT).entries, at_once=600), threading.Event()

    def slow(query: Query) -> Page:
        if query.text == "id:cmd_7" and query.before is not None and query.before < 2_000:
            go_on.wait(20)
        return ledger(query)

    async with seated(ledger=slow) as seat:
        await recalled(seat)
        try:
            await seat.press("slash", *"id:cmd_7")
            await seat.until(lambda: "of 1 100 so far · 37%" in bodies(seat))
            await seat.press("enter", "escape")
            assert "stopped" in bodies(seat)
            assert "so far" not in bodies(seat)
            go_on.set()
            asked = len(ledger.asked)
            await seat.pilot.pause(0.3)
            assert len(ledger.asked) <= asked + 1
            await seat.press("slash", "0", "enter")
            await seat.until(lambda: "11 of 3 000" in bodies(seat))
        finally:
            go_on.set()


async def test_c9_a_filter_that_takes_too_long_in_the_ledger_says_so() -> None:
    def slow(query: Query) -> Page:
        if query.text:
            raise FilterError("this pattern takes too long")
        return Page([])

    async with seated(entries=[entry(1)], ledger=slow) as seat:
        await seat.press("slash", *"/a/", "enter")
        await seat.until(lambda: "takes too long" in bodies(seat))
        assert "so far" not in bodies(seat)
        await seat.press("slash", *["backspace"] * 3, "enter")
        assert "takes too long" not in bodies(seat)


async def test_c9_home_is_the_oldest_of_the_ledger_from_where_the_way_down_is_whole() -> None:
    async with seated(ledger=past(COUNT)) as seat:
        await recalled(seat)
        await seat.press("home")
        await seat.until(lambda: chosen(seat) == "cmd_1")
        assert "earlier, End for the newest" in bodies(seat)
        for number in range(2, COUNT + 1):
            seat.stream.action_move(1)
            if chosen(seat) != f"cmd_{number}":
                raise AssertionError(number)
            if number % 50 == 0:
                await seat.pilot.pause(0.02)
        assert "End for the newest" not in bodies(seat)
        await seat.press("home")
        await seat.until(lambda: chosen(seat) == "cmd_1")
        await seat.press("end")
        assert chosen(seat) == f"cmd_{COUNT}"
        assert seat.stream.live.whole_from == seat.stream.live.first


async def test_c9_n_and_capital_n_find_failures_in_the_whole_ledger() -> None:
    async with seated(ledger=with_failures(2, 900, 2_990)) as seat:
        await recalled(seat)
        for step, number in (("N", 2_990), ("N", 900), ("N", 2), ("n", 900), ("n", 2_990)):
            await seat.press(step)
            await seat.until(lambda: chosen(seat) == f"cmd_{number}")  # noqa: B023 - awaited before the next turn
        await seat.press("n")
        assert chosen(seat) == "cmd_2990"


async def test_c9_marks_do_not_pass_to_other_commands() -> None:
    async with seated(ledger=past(COUNT)) as seat:
        await recalled(seat)
        await seat.press("home")
        await seat.until(lambda: chosen(seat) == "cmd_1")
        await seat.press("space")
        assert [row.command_id for row in seat.stream.marked] == ["cmd_1"]
        await seat.press("end", "home")
        await seat.until(lambda: chosen(seat) == "cmd_1")
        assert seat.stream.marked == []


def test_a_full_ring_makes_room_for_what_is_older() -> None:
    ring = Ring(10)
    ring.put_all([entry(number) for number in range(101, 121)])
    ring.forget_before(ring.end - 5)
    places = ring.put_before([entry(number) for number in (3, 50, 51)], apart=True)
    assert [ring.number(place) for place in places] == [3, 50, 51]
    assert (ring.whole_from, ring.number(ring.whole_from), ring.find(110), ring.find(50)) == (15, 116, None, 13)
    ring.put_all([entry(number) for number in range(121, 126)])
    assert (ring.find(50), ring.find(51), ring.whole_from) == (None, None, 15)
    ring.put_all([entry(126), entry(127)])
    assert ring.whole_from == ring.first == 17
