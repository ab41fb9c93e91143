"""What led to an incident, in the console: one step back is the console as it was then."""

from pathlib import Path

from msgspec.structs import replace
from textual.pilot import Pilot

from agent_core.black_box import Incident, Step, keep, kept
from agent_core.feed import FeedEntry, LogEntry, ProvenEntry
from agent_core.redaction import Redactor
from agent_core.snapshot import Cause, Drop, Phase
from console.black_box import BlackBoxConsole
from console.screenshot import text_of
from tests.harness.stills import NOON, ONLINE, entry
from tests.harness.terminal import Terminal

PASTS: tuple[list[FeedEntry], ...] = (
    [LogEntry(NOON, "INFO", "all is well"), entry(1, "cmd_first", status="sent")],
    [ProvenEntry(NOON + 1, (1,)), entry(2, "cmd_second", status="running")],
    [entry(2, "cmd_second", status="failed", error="no"), LogEntry(NOON + 2, "WARNING", "it was refused")],
)


def steps() -> list[Step]:
    refused = replace(ONLINE.link, phase=Phase.REFUSED, last_drop=Drop(NOON, Cause.AUTH, "HTTP 403", None))
    presents = [replace(ONLINE, revision=number, utc=NOON + number, at=ONLINE.at + number) for number in range(3)]
    presents[2] = replace(presents[2], link=refused)
    return [Step(past, 3 * number, present) for number, (past, present) in enumerate(zip(PASTS, presents, strict=True))]


def row(app: BlackBoxConsole, name: str) -> str:
    return next((line for line in text_of(app).splitlines() if name in line), "")


async def press(pilot: Pilot[str], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def test_each_step_is_the_console_as_it_was_then() -> None:
    app = BlackBoxConsole(steps(), theme="edge-dark")
    async with app.run_test(size=(120, 36)) as pilot:
        await app.painted.wait()
        await pilot.pause()
        assert "STEP 3/3" in row(app, "edge-console")
        assert "✗ REFUSED: HTTP 403" in text_of(app)
        assert "failed" in row(app, "second")
        await press(pilot, "less_than_sign")
        assert "● ONLINE" in row(app, "STEP 2/3")
        assert "REFUSED" not in text_of(app)
        assert "running" in row(app, "second")
        assert "acked" in row(app, "first")
        await press(pilot, "home", "less_than_sign")
        assert "STEP 1/3" in text_of(app)
        assert "sent" in row(app, "first")
        assert "second" not in text_of(app)
        await press(pilot, "5", "end")
        assert "✗ REFUSED: HTTP 403" in text_of(app)
        assert [name in text_of(app) for name in ("all is well", "3 entries before these were not kept", "it was refused")] == [True] * 3
        await press(pilot, "home")
        assert "all is well" in text_of(app)
        assert "it was refused" not in text_of(app)
        await press(pilot, "escape", "slash", "less_than_sign", "home", "x")
        assert "x<" in text_of(app), "in the filter these keys write"
        assert "STEP 1/3" in text_of(app)


def test_a_file_is_stepped_through_in_a_terminal_and_what_is_none_is_refused(tmp_path: Path) -> None:
    path = keep(tmp_path, Incident.REFUSED, steps(), Redactor())
    assert len(kept(path)) == 3
    with Terminal("replay", "--ui", str(path), columns=100, rows=30) as terminal:
        terminal.until(lambda: "STEP 3/3" in terminal.text, what="the incident")
        terminal.press("<")
        terminal.until(lambda: "STEP 2/3" in terminal.text, what="the step before")
        terminal.press("q")
        assert terminal.ends() == 0
    path.write_text("{}\n")
    with Terminal("replay", "--ui", str(path), columns=100, rows=30) as terminal:
        assert terminal.ends() == 2
        assert "is no black box of this version" in " ".join(terminal.text.split())
