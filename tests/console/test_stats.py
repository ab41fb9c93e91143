"""`edge-console stats`: whose delay it was, as text and as JSON, of a ledger that an agent has written."""

import json
from pathlib import Path

from agent_core.delays import Delays, Instants, delays
from console.delays import by_hour, clock, last_day, report, table
from tests.agent_core.test_ledger_file import running, tool
from tests.console.test_app import seated
from tests.harness.rig import AGENT, message, settled
from tests.harness.stills import NOON

UTC = 1_793_910_600.0
PARTS = ("backend", "link", "lane", "effect", "proof")


async def test_stats_of_a_running_agent(tmp_path: Path) -> None:
    async with running(tmp_path) as (backend, folder):
        ids = [await backend.queue(AGENT, "send_message_now", message("hello")) for _ in range(3)]
        await settled(backend, *ids)
        code, out, err = await tool("stats", "--json", "--since", "1h", "--data-dir", folder)
        assert (code, err) == (0, "")
        told = json.loads(out)
        assert told["commands"] == 3
        assert told["clock_offset"] is not None, "the reference backend's Date"
        assert abs(told["clock_offset"]) < 2
        for name in PARTS:
            assert set(told[name]) == {"count", "p50", "p95", "max"}
        assert [told[name]["count"] for name in ("backend", "lane", "effect")] == [3, 3, 3]
        assert sum(hour["commands"] for hour in told["hours"]) == 3
        code, out, err = await tool("stats", "--data-dir", folder)
        assert (code, err) == (0, "")
        assert out.splitlines()[0].removesuffix("(over 1 s)").strip().endswith(("late", "backend", "ms", " s"))
        assert "█ backend" in out


async def test_stats_before_any_run_and_of_a_wrong_time_are_one_sentence(tmp_path: Path) -> None:
    code, out, err = await tool("stats", "--data-dir", tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no ledger" in err
    code, out, err = await tool("stats", "--since", "soon", "--data-dir", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "30m, 24h or 7d" in err


def test_the_bars_are_as_long_as_their_hours_and_stacked_as_a_life_goes() -> None:
    slow = Instants(UTC - 6, UTC, None, UTC + 3, UTC + 4, UTC + 5, UTC + 10)
    fast = Instants(UTC + 7_197, UTC + 7_200, None, UTC + 7_200, UTC + 7_200, UTC + 7_200, None)
    found = delays([slow, fast], 4.0, 0.0)
    first, second = map(str, by_hour(found, 80, 9, UTC))
    room = sum(map(first.count, "█▓▒░·"))
    assert "█▓▒░·" in "".join(sorted(set(first), key=first.index)), "as a life goes"
    assert first.count("█") == room / 2
    assert second.count("█") == round(7 / 20 * room)
    assert "15.0 s +    5.0 s" in first, "a proof is nobody's wait"
    assert "7.0 s +   0.0 ms" in second
    assert (len(first), len(second)) == (80, 80)
    assert len(list(by_hour(found, 80, 1, UTC))) == 1
    assert not list(by_hour(found, 80, 0, UTC))
    assert all(len(line) <= 80 for line in table(found))
    assert clock(found) == "backend's clock: 4.0 s ahead, by its HTTP Date; taken into account"


async def test_the_latency_panel_at_length_has_the_same_split_of_the_last_day_and_copies_it() -> None:
    late = Instants(UTC - 6, UTC, None, UTC + 3, UTC + 4, UTC + 5, UTC + 60)
    found = delays([late], 4.0, 0.0)
    asked: list[float] = []

    def last(now: float) -> Delays:
        asked.append(now)
        return found

    async with seated(size=(120, 60), delays=last) as seat:
        await seat.shows("Commands")
        assert not asked, "nobody looks"
        await seat.press("3")
        await seat.shows(found.sentence)
        await seat.shows("backend's clock: 4.0 s ahead")
        assert all(row.rstrip() in seat.screen() for row in table(found))
        (hour,) = map(str, by_hour(found, 116, 9, NOON))
        assert max(hour.split(), key=len) in seat.screen(), "its bar"
        await seat.press("y")
        assert seat.app.clipboard.splitlines() == list(report(found, 100, 24, NOON))
        await seat.press("3")
        await seat.shows("Commands")
        assert len(asked) == 1


def test_of_no_ledger_the_panel_says_nothing(tmp_path: Path) -> None:
    assert last_day(tmp_path, UTC) is None
