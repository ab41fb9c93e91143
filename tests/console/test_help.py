"""The help, and the words that are looked for in it."""

from rich.style import Style

from console.panels.lines import BLANK, Line
from console.screens.help import narrowed
from tests.console.test_app import seated

PLAIN = Style.null()


def head(text: str) -> Line:
    return ((text, PLAIN),)


def row(key: str, meaning: str) -> Line:
    return ((key, PLAIN), (f"  {meaning}", PLAIN))


def test_the_lines_with_all_the_words_stand_below_their_heads() -> None:
    lines = [head("Anywhere"), row("R", "Dial now"), row("q", "Quit"), BLANK, head("The log"), row("f", "Follow, or quit following")]
    assert list(narrowed(lines, [])) == lines
    assert list(narrowed(lines, ["quit"])) == [lines[0], lines[2], BLANK, lines[4], lines[5]]
    assert list(narrowed(lines, ["quit", "follow"])) == [lines[4], lines[5]]
    assert list(narrowed(lines, ["log"])) == [lines[4]]
    assert not list(narrowed(lines, ["nowhere"]))


async def test_c17_the_help_is_searched_and_escape_takes_the_words_away_first() -> None:
    async with seated() as seat:
        await seat.press("question_mark", "slash", *"copy zz")
        await seat.until(lambda: "No line has all these words." in seat.dialog())
        await seat.press("backspace", "backspace", "backspace")
        await seat.until(lambda: "Copy" in seat.dialog())
        rows = [row for row in seat.dialog().splitlines() if row.strip()]
        assert [row for row in rows if "copy" not in row.lower()] == ["The stream"]
        await seat.press("enter", "j", "Y")
        assert seat.app.clipboard.startswith("The stream"), "j and Y are the box's again"
        await seat.press("escape")
        await seat.until(lambda: "Dial now" in seat.dialog())
        assert len(seat.app.screen_stack) == 2
        await seat.press("escape")
        await seat.until(lambda: len(seat.app.screen_stack) == 1)


async def test_c17_the_filters_language_is_searched_as_well() -> None:
    async with seated() as seat:
        await seat.press("slash", "f1", "slash", *"since")
        await seat.until(lambda: "since:10m" in seat.dialog() and "status:" not in seat.dialog())
        await seat.press("escape", "escape", *"via:ws", "enter")
        assert seat.stream.wanted.text == "via:ws"
