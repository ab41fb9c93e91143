"""The stream in the order of a column, the columns that there are, saved filters; and that they are kept."""

import json
import random
from pathlib import Path

import pytest

from agent_core.filters import FilterError, parse
from console.panels.columns import columns_for
from console.panels.ring import FilteredView, Ring
from console.panels.sorting import SORTED_BY, Arrangement, Sort, SortedView
from console.panels.viewport import Viewport
from console.state import filter_named
from tests.console.test_app import seated
from tests.console.test_stream import bodies
from tests.harness.stills import entry, pictured

WIDTHS = (60, 80, 100, 120, 200)


def test_every_column_can_be_sorted_by() -> None:
    assert {column.name for width in WIDTHS for column in columns_for(width)} <= set(SORTED_BY)


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_hidden_leaves_its_room_to_the_others(width: int) -> None:
    for hidden in (frozenset({"time"}), frozenset({"type", "rest", "message"}), frozenset(SORTED_BY)):
        columns = columns_for(width, hidden)
        assert columns
        assert sum(column.width for column in columns) == width
        assert not {column.name for column in columns} & hidden or hidden == frozenset(SORTED_BY)


@pytest.mark.parametrize("descending", [True, False])
def test_whatever_comes_the_order_is_that_of_the_column(descending: bool) -> None:
    dice = random.Random(5)
    ring, sort = Ring(200), Sort("ack", descending)
    view = SortedView(ring, FilteredView(ring, parse("!status:failed")), sort)
    for number in range(1, 1_000):
        known = dice.random() < 0.3 and number > 150
        row = number - dice.randrange(1, 150) if known else number
        ack = dice.choice([None, 20.0, float(dice.randrange(90))])
        place = ring.put(entry(row, ack_ms=ack, status=dice.choice(["failed", "acked", "acked"])))
        view.changed([place])
    if descending:
        view.changed(ring.put_before([entry(1)], apart=True))
    shown = [ring.row(view.at(rank)) for rank in range(view.count)]
    expected = [row for row in map(ring.row, range(ring.first, ring.end)) if row.status != "failed"]
    assert sorted(shown) == sorted(expected)
    keys = [sort.key(row) for row in shown]
    assert keys == sorted(keys, reverse=not descending)
    assert [view.rank(view.at(rank)) for rank in range(view.count)] == list(range(view.count))
    viewport = Viewport(view)
    viewport.height, viewport.newest_first = 10, True
    assert [viewport.position_on(row) for row in range(3)] == [view.at(view.count - 1 - row) for row in range(3)]
    viewport.move(4)
    viewport.follow(False)
    before = [viewport.position_on(row) for row in range(10)]
    view.changed([ring.put(entry(2_000, ack_ms=1_000.0 if descending else 0.5))])
    assert [viewport.position_on(row) for row in range(10)] == before
    assert viewport.new == 1


async def test_a_click_on_a_head_sorts_turns_and_leaves_the_order() -> None:
    async with seated(entries=pictured()) as seat:
        heads = bodies(seat).splitlines()[1]
        at = (heads.index("ACK ms"), 1)
        await seat.pilot.click("#stream", offset=at)
        assert "ACK ms▼" in bodies(seat)
        assert "by ack" in bodies(seat)
        assert "504a0fe75d" in bodies(seat).splitlines()[2]
        seat.host.feed.extend([entry(1_000, "cmd_slow", ack_ms=9_000.0), entry(1_001, "cmd_fast", ack_ms=30.0)])
        await seat.until(lambda: "cmd_slow" in bodies(seat).splitlines()[2])
        await seat.pilot.click("#stream", offset=at)
        assert "ACK ms▲" in bodies(seat)
        assert "969a656aaf" in bodies(seat).splitlines()[2]
        await seat.pilot.click("#stream", offset=at)
        assert "by ack" not in bodies(seat)
        assert "cmd_fast" in bodies(seat).splitlines()[-2]


async def test_keys_sort_by_any_column_and_go_back_to_newest_last() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("S", "3")
        assert "TYPE▲" in bodies(seat)
        kinds = [line[31:47].strip("↻ ")[:12] for line in bodies(seat).splitlines()[2:-1]]
        assert kinds == sorted(kinds)
        await seat.press("o")
        assert "TYPE▼" in bodies(seat)
        await seat.press("n")
        assert seat.stream.selected is not None
        assert seat.stream.selected.status in {"failed", "interrupted"}
        await seat.press("home", "end", "pagedown", "pageup", "S", "0")
        assert "TYPE▲" not in bodies(seat)
        assert seat.stream.viewport.following


async def test_columns_are_chosen_and_a_click_beside_the_dialog_leaves_it() -> None:
    async with seated(entries=pictured()) as seat:
        await seat.press("C", "3", "6")
        assert "TYPE" not in bodies(seat)
        assert "RUN ms" not in bodies(seat)
        await seat.press("6")
        assert "RUN ms" in bodies(seat)
        await seat.pilot.click(offset=(1, 1))
        assert len(seat.app.screen_stack) == 1
        await seat.press("e", "f")


async def test_order_columns_and_zoom_outlive_the_console(tmp_path: Path) -> None:
    async with seated(entries=pictured(), data_dir=tmp_path) as seat:
        await seat.press("S", "7", "C", "4", "escape", "z")
    async with seated(entries=pictured(), data_dir=tmp_path) as seat:
        assert seat.stream.arrangement == Arrangement(sort=Sort("ack", True), hidden=frozenset({"via"}))
        assert "ACK ms▼" in bodies(seat)
        assert seat.app.screen.has_class("-zoom")


async def test_what_an_other_version_sorted_by_orders_nothing(tmp_path: Path) -> None:
    (tmp_path / "console.json").write_text(json.dumps({"sort": ["mood", True], "hidden": ["mood"]}))
    async with seated(entries=pictured(), data_dir=tmp_path) as seat:
        assert seat.stream.arrangement.sort is None


async def test_filters_are_saved_applied_and_deleted_by_name(tmp_path: Path) -> None:
    async with seated(entries=pictured(), data_dir=tmp_path) as seat:
        await seat.press("F")
        await seat.says("No saved filter")
        await seat.press("slash", *"via:poll", "enter", "F", "s", *"polled", "enter")
        await seat.says("Saved as polled")
        await seat.press("slash", *["backspace"] * 8, "enter")
        assert seat.stream.count == 22
        await seat.press("F", "1")
        assert seat.stream.count == 3
    async with seated(entries=pictured(), data_dir=tmp_path, begin_with="polled") as seat:
        assert seat.stream.wanted.text == "via:poll"
        await seat.press("F", "d", "1", "n", "F", "d", "1", "y")
        await seat.says("Deleted polled")
        await seat.press("F", "escape")
    assert filter_named(tmp_path, "polled") == "polled"
    with pytest.raises(FilterError, match="no status foo"):
        filter_named(tmp_path, "status:foo")


async def test_a_wrong_filter_of_the_start_is_said() -> None:
    async with seated(entries=pictured(), begin_with="status:foo") as seat:
        await seat.says("no status foo")
        assert seat.stream.count == 22
