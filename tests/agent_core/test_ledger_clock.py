"""Clocks that jump, and what the ledger takes for old (PROMISES F64)."""

from pathlib import Path

import pytest

from agent_core.clock import ManualClock
from agent_core.config.models import LedgerConfig
from agent_core.frames import Target
from agent_core.records import TombstoneAdded
from tests.harness.desk import UTC, Desk, ended, fed, known, proved, quiet, reopened, settle, took

DAY = 86_400.0
CLOCKS_BEFORE = {"1970": 60.0, "a year behind": UTC - 365 * DAY, "forty days behind": UTC - 40 * DAY}


def busy(desk: Desk, clock: ManualClock, first: int) -> None:
    """Enough commands for the journal to look what may be forgotten."""
    fed(desk, 600, first=first, received=clock.utc)
    quiet(desk)


@pytest.mark.parametrize("before", CLOCKS_BEFORE)
def test_f64_what_came_before_the_clock_was_set_right_is_not_old(tmp_path: Path, desks: list[Desk], before: str) -> None:
    clock = ManualClock(utc=CLOCKS_BEFORE[before])
    desks.append(Desk(tmp_path, clock=clock))
    desk = desks[0]
    desk.open()
    desk.write(took(1, received=clock.utc), ended(1), proved(1))
    clock.utc = UTC
    busy(desk, clock, first=1_001)
    assert desk.journal.recall("cmd_1") is not None


@pytest.mark.parametrize("before", CLOCKS_BEFORE)
def test_f64_nor_is_it_after_a_restart_with_the_clock_set_right_between(tmp_path: Path, desks: list[Desk], before: str) -> None:
    clock = ManualClock(utc=CLOCKS_BEFORE[before])
    desks.append(Desk(tmp_path, clock=clock))
    desk = desks[0]
    desk.open()
    desk.write(took(1, received=clock.utc), ended(1), proved(1))
    clock.utc = UTC
    desk, _ = reopened(desk, desks, clock=clock)
    busy(desk, clock, first=1_001)
    desk, _ = reopened(desk, desks, clock=clock)
    busy(desk, clock, first=2_001)
    assert desk.journal.recall("cmd_1") is not None


def test_f64_an_hour_in_the_far_future_forgets_nothing(tmp_path: Path, desks: list[Desk]) -> None:
    clock = ManualClock(utc=UTC)
    desks.append(Desk(tmp_path, clock=clock))
    desk = desks[0]
    desk.open()
    desk.write(*settle(*range(1, 100)))
    clock.utc += 400 * DAY
    busy(desk, clock, first=1_001)
    clock.utc -= 400 * DAY
    busy(desk, clock, first=2_001)
    desk, _ = reopened(desk, desks, clock=clock)
    busy(desk, clock, first=3_001)
    assert known(desk, range(1, 100)) == list(range(1, 100))


def test_f64_a_cancel_lives_its_whole_time_from_the_jump_on(tmp_path: Path, desks: list[Desk]) -> None:
    clock = ManualClock(utc=60.0)
    desks.append(Desk(tmp_path, LedgerConfig(tombstone_hours=24), clock=clock))
    desk = desks[0]
    desk.open()
    desk.write(TombstoneAdded(Target("later"), "cancel_1", clock.utc + DAY))
    clock.utc = UTC
    busy(desk, clock, first=1)
    desk, memory = reopened(desk, desks, clock=clock)
    assert [one.until_utc for one in memory.tombstones] == [pytest.approx(UTC + DAY)]


def test_f64_a_machine_that_sleeps_at_night_has_a_steady_clock(tmp_path: Path, desks: list[Desk]) -> None:
    """Else nothing would ever be forgotten by age."""
    clock = ManualClock(utc=UTC)
    desks.append(Desk(tmp_path, LedgerConfig(retention_days=10), clock=clock))
    desk = desks[0]
    desk.open()
    desk.write(*settle(1))
    for night in range(1, 24):
        clock.advance(DAY / 2)
        desk.write(took(1_000 + night, received=clock.utc), ended(1_000 + night), proved(1_000 + night))
        if not night % 6:
            desk, _ = reopened(desk, desks, clock=clock, limits=LedgerConfig(retention_days=10))
    busy(desk, clock, first=2_001)
    assert desk.journal.recall("cmd_1") is None
