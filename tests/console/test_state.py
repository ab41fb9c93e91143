"""What a console keeps for the next one, and what the ledger knows of the time before it."""

import json
from pathlib import Path

import pytest

from agent_core.filters import Ask
from agent_core.redaction import Redactor
from agent_core.search import Page, Query
from console.history import asked, searched
from console.operations import RECALLED
from console.state import BrokenState, State, load, save
from tests.console.test_app import seated
from tests.console.test_stream import bodies
from tests.harness.past import past
from tests.harness.rig import AGENT, config, living, served, settled
from tests.harness.stills import entry


def test_state_is_kept_and_private(tmp_path: Path) -> None:
    assert load(tmp_path) == State()
    kept = State("edge-light", ("via:poll", "/x/"), newest_first=True, ages=True)
    save(tmp_path, kept)
    assert load(tmp_path) == kept
    assert (tmp_path / "console.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"filters": 5}', '{"filters": [5]}', '{"ages": "yes"}', "[" * 10_000, '"' + "x" * 200_000 + '"']
)
def test_a_broken_state_is_set_aside_and_said(tmp_path: Path, broken: str) -> None:
    (tmp_path / "console.json").write_text(broken)
    with pytest.raises(BrokenState, match=r"console\.json could not be read: .* console\.broken\.json"):
        load(tmp_path)
    assert (tmp_path / "console.broken.json").read_text() == broken
    assert load(tmp_path) == State()


def test_what_a_later_version_kept_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "console.json").write_text(json.dumps({"theme": "edge-contrast", "zoom": 3}))
    assert load(tmp_path) == State("edge-contrast")


async def test_c9_theme_filters_and_order_outlive_the_console(tmp_path: Path) -> None:
    async with seated(entries=[entry(1)], data_dir=tmp_path) as seat:
        await seat.press("slash", *"via:ws", "enter", "o", "t")
        seat.app.action_theme("edge-light")
    async with seated(entries=[entry(1)], data_dir=tmp_path) as seat:
        assert seat.app.theme == "edge-light"
        assert "newest first" in bodies(seat)
        await seat.press("slash", "up")
        assert "via:ws" in seat.app.screen.query_one("#filter").value  # type: ignore[attr-defined]


async def test_c9_a_broken_state_is_said_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "console.json").write_text("{")
    async with seated(data_dir=tmp_path) as seat:
        await seat.until(lambda: "the console begins anew" in seat.toasts())


async def test_c9_the_ledgers_last_commands_come_first_and_older_ones_on_demand() -> None:
    ledger = past(1_300)
    async with seated(entries=[entry(1_301, "cmd_live")], ledger=ledger) as seat:
        await seat.until(lambda: seat.stream.live.end == 1)
        assert [seat.stream.live.row(place).command_id for place in (-2, -1, 0)] == ["cmd_1299", "cmd_1300", "cmd_live"]
        assert seat.stream.count == RECALLED + 1
        assert "cmd_1299" in bodies(seat)
        await seat.press(*["pageup"] * 27)
        await seat.until(lambda: seat.stream.count == 2 * RECALLED + 1)


async def test_c9_the_newest_of_the_earlier_commands_at_the_foot_is_a_row_and_no_second_heading() -> None:
    async with seated(entries=[entry(number, f"cmd_{number}") for number in range(101, 130)], ledger=past(100)) as seat:
        await seat.until(lambda: seat.stream.count == 129)
        await seat.press(*["up"] * 29, "pageup")
        for _ in range(3):
            assert bodies(seat).count("STATUS") == 1
            await seat.press("up")


async def test_c9_what_the_feed_tells_of_an_earlier_command_changes_it_in_its_place() -> None:
    async with seated(ledger=past(10)) as seat:
        await seat.until(lambda: seat.stream.count == 10)
        seat.host.feed.extend([entry(4, "cmd_4", status="failed"), entry(11, "cmd_11")])
        await seat.until(lambda: "✗ failed" in bodies(seat))
        assert (seat.stream.count, seat.stream.live.find(4), seat.stream.live.find(11)) == (11, -7, 0)


async def test_c9_a_ledger_that_cannot_be_read_ends_nothing() -> None:
    def unreadable(_: Query) -> Page:
        raise OSError("locked")

    async with seated(entries=[entry(1, "cmd_1")], ledger=unreadable) as seat:
        await seat.until(lambda: "That failed: OSError: locked" in seat.toasts() and "cmd_1" in bodies(seat))


def test_c9_there_is_no_past_without_a_ledger(tmp_path: Path) -> None:
    assert searched(tmp_path, Redactor(), Query()) == Page([])


async def test_c9_c12_a_real_ledger_is_recalled_and_asked(tmp_path: Path) -> None:
    async with served() as backend:
        told = [
            await backend.queue(AGENT, "send_message_now", {"thread_id": "+1", "text": text}, priority=priority)
            for text, priority in (("Hello 100%", "high"), ("hello_you", "normal"), ("bye", "normal"))
        ]
        async with living(config(tmp_path, backend.url)) as here:
            await settled(backend, *told)
            folder = here.agent.config.data_dir
    rows = {row.command_id: row for row in searched(folder, Redactor(), Query()).entries}
    assert {rows[name].status for name in told} <= {"acked", "outbox"}
    assert all(rows[name].run_ms is not None and rows[name].thread_id == "+1" for name in told)
    numbers = {row.row: told.index(row.command_id) for row in rows.values() if row.command_id in told}

    def found(field: str, value: str, after: int = 0) -> set[int]:
        return {numbers[number] for number in asked(folder, Ask(field, value), after)[0]}

    assert found("text", "hello") == {0, 1}
    assert found("text", "100%") == {0}
    assert found("text", "o_y") == {1}
    assert found("payload", "+1") == {0, 1, 2}
    assert found("priority", "high") == {0}
    assert found("text", "hello", after=max(numbers)) == set()
    assert [row.row for row in searched(folder, Redactor(), Query(before=max(numbers))).entries] == sorted(numbers)[:-1]
