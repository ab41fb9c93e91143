"""What the policy keeps back, as the console shows it: the row, the inspector, the schedule's panel."""

from datetime import UTC, date

import pytest
from msgspec.structs import replace

from agent_core.records import State
from agent_core.snapshot import WaitView
from console.panels.columns import Look, columns_for, command_line
from console.panels.details import DETAILS
from console.panels.ring import Ring
from console.screens.pages import record_page
from console.themes import inks_of
from tests.harness.stills import NOON, ONLINE, entry, remembered, text_of, view_of

WAITS = "waits for policy.total, until 2026-11-05T14:40Z"
INKS = inks_of("edge-dark")


@pytest.mark.parametrize(("status", "tone"), [("queued", "note"), ("acked", "note"), ("failed", "bad")])
def test_a_row_says_for_what_it_waits_and_only_a_failure_looks_like_one(status: str, tone: str) -> None:
    ring = Ring()
    ring.put(entry(1, status=status, error=WAITS, thread_id="+1"))
    row = ring.row(0)
    line = command_line(row, columns_for(150), Look(INKS, UTC, date(2026, 11, 5)))
    assert [ink for text, ink in line if WAITS[:20] in text] == [INKS.tone(tone)]
    page = text_of(record_page(row, remembered("cmd_1", state=State.QUEUED), INKS, UTC))
    assert f"{'error' if tone == 'bad' else 'policy':<10}{WAITS}" in page


def test_the_schedules_panel_says_how_many_threads_wait_and_until_when() -> None:
    snapshot = replace(ONLINE, waits=(WaitView("policy.total", 3, NOON + 600),))
    drawn = text_of(dict(DETAILS)["Schedule and outbox"](view_of(snapshot), 110, 14))
    assert "3 threads by policy.total, the first until" in drawn
    assert "kept back" not in text_of(dict(DETAILS)["Schedule and outbox"](view_of(ONLINE), 110, 14))
