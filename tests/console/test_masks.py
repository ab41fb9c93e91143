"""To whom messages go and what they say: masked on the screen, and in all that leaves it."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_core.config.layers import ConfigError, load_config
from agent_core.feed import LogEntry
from agent_core.snapshot import ConsoleView, ScheduledView
from console.masks import masked, masked_record, masked_within
from console.screenshot import svg_of
from tests.console.test_app import Seat, seated
from tests.harness.stills import NOON, ONLINE, entry, needing_cases, remembered

PHONE, TEXT = "+13105550100", "hi there"
WHY = f"no route to {PHONE}"
TOLD = [entry(7, "cmd_7", thread_id=PHONE, error=WHY, status="failed"), entry(8, "cmd_8", thread_id=PHONE)]
PRESENT = replace(
    ONLINE, agent_id=PHONE, hold=f"thread:{PHONE}", scheduled=(ScheduledView("s", "cmd_9", PHONE, NOON + 60),), scheduled_count=1,
    commands=replace(ONLINE.commands, unresolved=1),
)  # fmt: skip


def seen(seat: Seat) -> str:
    """All that is painted, said or in a title, also as a picture has it."""
    titles = "".join(str(box.border_title) for box in seat.app.screen.query(".dialog"))
    return "\n".join((seat.screen(), seat.dialog(), seat.toasts(), titles, svg_of(seat.app).replace("&#160;", " ")))


def saved(folder: Path) -> list[dict[str, object]]:
    (file,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(("text", "says"), [
    (PHONE, "•••00"), ("sent to +1 (310) 555-0100, late", "sent to •••00, late"), ("ann@example.net is away", "•••et is away"),
    ("iMessage;-;+13105550100", "iMessage;-;•••00"), ('would run x with {"text": "hi {you}"}', "would run x with {•••}"),
    ("503 after 1200 s of cmd_1310555010", "503 after 1200 s of cmd_1310555010"),
])  # fmt: skip
def test_a_sentence_without_what_is_somebodys(text: str, says: str) -> None:
    assert masked_within(text) == says


def test_of_a_record_the_keys_and_figures_stay() -> None:
    payload = {"thread_id": PHONE, "text": TEXT, "n": 3, "phone": 13105550100, "to": [{"name": "Ann"}], "urgent": True, "none": None}
    record = masked_record(remembered("cmd_1", payload=payload, error=WHY, ack='{"error": "x"}'))
    assert record.command.payload == {
        "thread_id": "•••00", "text": "•••", "n": 3, "phone": "•••", "to": [{"name": "•••"}], "urgent": True, "none": None
    }  # fmt: skip
    assert (record.error, record.ack, masked("bob")) == ("no route to •••00", "•••", "•••")


@pytest.mark.parametrize("keys", [
    (), ("k",), ("1",), ("4",), ("5",), ("enter",), ("r",), ("k", "enter"), ("h",), ("exclamation_mark",), ("exclamation_mark", "enter"),
    ("exclamation_mark", "r"), ("e",), ("exclamation_mark", "e"), ("x",), ("question_mark",), ("q",),
])  # fmt: skip
async def test_masked_nothing_shows_to_whom_or_what(keys: tuple[str, ...]) -> None:
    async with seated(PRESENT, TOLD, needing=lambda _: needing_cases()) as seat:
        seat.host.feed.extend([LogEntry(NOON, "INFO", f"{PHONE} said"), LogEntry(NOON, "INFO", f'Dry run of c: with {{"text": "{TEXT}"}}')])
        await seat.press("m", *keys)
        await seat.shows(" MASKED ")
        await seat.pilot.pause(0.15)
        assert "5550100" not in seen(seat)
        assert TEXT not in seen(seat)


async def test_m_masks_at_once_and_shows_again_in_the_stream_and_the_inspector() -> None:
    async with seated(PRESENT, TOLD, size=(200, 60)) as seat:
        assert PHONE in seat.screen()
        await seat.press("enter")
        assert TEXT in seat.dialog()
        await seat.press("m")
        assert TEXT not in seat.dialog()
        await seat.press("m")
        assert TEXT in seat.dialog()
        await seat.press("escape", "m")
        await seat.until(lambda: PHONE not in seat.screen() and "•••00" in seat.screen())


async def test_a_picture_right_after_the_key_is_masked_too() -> None:
    async with seated(PRESENT, TOLD, size=(200, 60)) as seat:
        await seat.press("v")
        await seat.until(lambda: TEXT in svg_of(seat.app).replace("&#160;", " "))
        await seat.app.run_action("app.operate('mask')")
        picture = svg_of(seat.app).replace("&#160;", " ")
        assert PHONE not in picture
        assert TEXT not in picture


async def test_masked_nothing_is_copied_or_saved_that_is_not_seen(tmp_path: Path) -> None:
    async with seated(PRESENT, TOLD, exports=tmp_path, texts="masked") as seat:
        await seat.press("k", "y")
        assert "r  why it failed" in seat.dialog()
        assert "JSON" not in seat.dialog()
        await seat.press("r")
        assert seat.app.clipboard == "no route to •••00"
        await seat.press("w", "j")
        await seat.until(lambda: list(tmp_path.glob("*.jsonl")))
        assert [row["thread_id"] for row in saved(tmp_path)] == ["•••00", "•••00"]
        await seat.press("m", "y")
        assert "JSON" in seat.dialog()


async def test_off_is_not_shown_by_any_key() -> None:
    async with seated(PRESENT, TOLD, size=(200, 60), texts="off") as seat:
        await seat.press("m")
        await seat.says("console.texts in the configuration says so")
        await seat.press("enter")
        assert PHONE not in seen(seat)


async def test_a_configuration_read_anew_masks_at_once_and_leaves_the_operators_choice() -> None:
    async with seated(PRESENT, TOLD, size=(200, 60)) as seat:
        seat.host.change(console=ConsoleView("masked"))
        await seat.shows(" MASKED ")
        await seat.press("m")
        await seat.until(lambda: " MASKED " not in seat.screen())
        seat.host.change(console=ConsoleView("masked", bell=True))
        await seat.pilot.pause(0.15)
        assert " MASKED " not in seat.screen()


def test_another_word_for_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("console: {texts: hidden}")
    with pytest.raises(ConfigError, match=r"console\.texts"):
        load_config(tmp_path / "config.yaml", {"EDGE_SECRET": "s" * 20})
