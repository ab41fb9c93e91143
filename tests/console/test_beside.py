"""The selected command's record beside the stream, where there is room for it."""

from pathlib import Path

from console.state import load
from tests.console.test_app import Seat, seated
from tests.harness.stills import NOON, entry, remembered


def beside(seat: Seat) -> str:
    pane = seat.app.query_one("#beside")
    return "\n".join(strip.text for strip in pane.render_lines(pane.size.region)) if pane.display else ""


async def test_on_a_wide_screen_v_shows_the_selected_record_and_it_follows_the_cursor_and_what_happens() -> None:
    told = [entry(1, "cmd_1"), entry(2, "cmd_2", status="sent")]
    async with seated(entries=told, size=(160, 45)) as seat:
        assert beside(seat) == ""
        await seat.press("v")
        await seat.until(lambda: "cmd_2" in beside(seat) and "hi there" in beside(seat))
        await seat.press("k")
        await seat.until(lambda: "cmd_1" in beside(seat) and "cmd_2" not in beside(seat))
        await seat.press("j")
        await seat.until(lambda: "↗ sent" in beside(seat))
        seat.host.records["cmd_2"] = remembered("cmd_2", sent_utc=NOON, proven_utc=NOON, proven_by="pong")
        seat.host.feed.extend([entry(2, "cmd_2", status="acked", proven=True)])
        await seat.until(lambda: "✓ acked" in beside(seat) and "ack proven by" in beside(seat))
        await seat.press("m")
        await seat.until(lambda: "hi there" not in beside(seat) and "thread_id" in beside(seat))
        await seat.press("1")
        assert beside(seat) == ""
        await seat.press("1", "v")
        assert beside(seat) == ""


async def test_what_is_too_long_for_it_is_folded() -> None:
    async with seated(entries=[entry(1, "cmd_1", error="why " * 40, status="failed")], size=(160, 45)) as seat:
        await seat.press("v")
        await seat.until(lambda: beside(seat).count("why") >= 40)


async def test_on_a_smaller_screen_it_waits_for_room_and_says_so() -> None:
    async with seated(entries=[entry(1, "cmd_1")]) as seat:
        await seat.press("v")
        await seat.says("from 160 columns; this terminal has 120")
        assert beside(seat) == ""
        await seat.pilot.resize_terminal(170, 45)
        await seat.until(lambda: "cmd_1" in beside(seat))


async def test_it_is_there_again_in_the_next_console(tmp_path: Path) -> None:
    async with seated(entries=[entry(1, "cmd_1")], size=(160, 45), data_dir=tmp_path) as seat:
        await seat.press("v")
    assert load(tmp_path).beside
    async with seated(entries=[entry(1, "cmd_1")], size=(160, 45), data_dir=tmp_path) as seat:
        await seat.until(lambda: "cmd_1" in beside(seat))
