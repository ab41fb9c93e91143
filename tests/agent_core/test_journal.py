"""The ledger's memory on real SQLite files (PROMISES P4, F26, F39, F40)."""

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent_core.clock import ManualClock
from agent_core.config.models import LedgerConfig
from agent_core.events import LedgerOpened, Recorded, RecordFailed
from agent_core.frames import Command, Priority, Target, ack
from agent_core.journal.opening import FILE_NAME, RESERVE_NAME
from agent_core.journal.reader import NoLedger, commands, outbox
from agent_core.journal.rows import MIGRATIONS
from agent_core.journal.writer import LedgerBusy
from agent_core.records import (
    AcksProven,
    CommandAccepted,
    CommandEnded,
    CommandStarted,
    DuplicateSeen,
    Named,
    OutboxRow,
    Remembered,
    Scheduled,
    SettingStored,
    State,
    TombstoneAdded,
    UnsentFound,
    Via,
)
from tests.harness.desk import UTC, Desk, beside, ended, fed, known, proved, quiet, reopened, settle, took
from tests.harness.rig import ROOT

# --- writing and reading --------------------------------------------------------------------------------------------------


def test_a_whole_life_is_kept_and_read_back(desk: Desk) -> None:
    desk.write(took(1, "a", State.QUEUED))
    assert desk.found("a").state is State.QUEUED
    desk.write(CommandStarted(1, UTC + 1))
    desk.write(ended(1, "a"))
    desk.write(DuplicateSeen(1, Via.POLL, UTC + 3), DuplicateSeen(1, Via.WS, UTC + 4))
    desk.write(AcksProven(((1, UTC + 2),), UTC + 5, "pong"))
    found = desk.journal.recall("a")
    assert found == Remembered(
        1, Command("a", "send_message_now", {"thread_id": "+1", "text": "hi 1"}, issued_utc=UTC), Via.WS, State.COMPLETED, UTC,
        started_utc=UTC + 1, finished_utc=UTC, runs=1, duplicates=2, duplicate_via=Via.WS, duplicate_utc=UTC + 4,
        ack=ack("a", "completed", UTC), sent_utc=UTC + 2, proven_utc=UTC + 5, proven_by="pong",
    )  # fmt: skip
    assert desk.journal.recall("b") is None


@pytest.mark.parametrize("one", [
    Remembered(1, Command("bare", ""), Via.WS, State.QUEUED, UTC),
    Remembered(1, Command("odd", "", {}, invalid="invalid command_type"), Via.POLL, State.FAILED, UTC, error="x", ack="{}"),
    Remembered(1, Command("full", "t", {"schedule_id": "s", "no\0": "\0"}, Priority.LOW, 0.0), Via.LOCAL, State.SCHEDULED, UTC, 0.0, 0.0,
               UTC, 1, ack="{}", replay_of="first"),
], ids=["bare", "odd", "full"])  # fmt: skip
def test_what_is_there_and_what_is_not_is_kept_as_it_came(desk: Desk, desks: list[Desk], one: Remembered) -> None:
    desk.write(CommandAccepted(one))
    _, memory = reopened(desk, desks)
    assert desks[-1].journal.recall(one.command.command_id) == replace(one, finished_utc=None)
    assert memory.next_seq == 2


def test_an_error_without_words_is_none_whenever_it_is_written(desk: Desk) -> None:
    desk.write(took(1), ended(1, error=""), took(2))
    desk.write(ended(2, error=""))
    assert [desk.found(f"cmd_{seq}").error for seq in (1, 2)] == [None, None]


def test_an_effect_is_written_with_its_outcome_and_once(desk: Desk) -> None:
    desk.write(took(1), ended(1))
    desk.write(ended(1))
    assert [row.command_id for row in outbox(desk.journal.path.parent)] == ["cmd_1"]


def test_what_comes_while_a_group_is_written_is_the_next_group(desk: Desk) -> None:
    with closing(sqlite3.connect(desk.journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        tickets = [desk.give(*settle(seq)) for seq in range(1, 201)]
        other.execute("ROLLBACK")
    desk.until(Recorded, tickets[-1])
    covered = [post.ticket for post in desk.seen if isinstance(post, Recorded)]
    assert covered == sorted(covered)
    assert len(covered) <= 3, "two hundred tickets need two groups"
    assert len(list(commands(desk.journal.path.parent))) == 200
    assert not desk.failures()


def test_recorded_means_on_disk(desk: Desk) -> None:
    dice, given = random.Random(3), 0
    with closing(sqlite3.connect(f"{desk.journal.path.as_uri()}?mode=ro", uri=True)) as other:
        for _ in range(100):
            for _ in range(dice.randint(1, 8)):
                given += 1
                desk.give(took(given))
            ticket = desk.until(Recorded).ticket
            assert other.execute("SELECT count(*) FROM commands").fetchone()[0] >= ticket


def test_closing_writes_what_is_at_hand_and_leaves_one_file(desk: Desk) -> None:
    for seq in range(1, 51):
        desk.give(*settle(seq))
    desk.journal.close(within=10)
    assert {path.name for path in desk.journal.path.parent.iterdir()} <= {FILE_NAME, RESERVE_NAME, "ledger.mark"}
    assert len(list(commands(desk.journal.path.parent))) == 50


def test_before_it_is_open_nothing_can_be_asked(tmp_path: Path) -> None:
    with pytest.raises(LedgerBusy):
        Desk(tmp_path).journal.recall("a")


def test_p1_no_id_is_ever_taken_for_new_while_groups_are_written_and_after_a_restart(tmp_path: Path, desks: list[Desk]) -> None:
    """The sieve is made anew many times here, from the journal's thread, while ids go on coming."""
    desks.append(Desk(tmp_path, LedgerConfig(retention_count=100, retention_days=3_650)))
    desk, dice = desks[0], random.Random(7)
    settled: list[int] = []
    desk.open()
    for round_number in range(60):
        first = 1 + len(settled)
        fresh = list(range(first, first + dice.randint(5, 40)))
        tickets = [desk.give(took(seq, received=time.time()), ended(seq)) for seq in fresh]
        for seq in dice.sample(settled, min(20, len(settled))):
            assert desk.journal.recall(f"cmd_{seq}") is not None, f"cmd_{seq} in round {round_number}"
        desk.until(Recorded, tickets[-1])
        settled += fresh
    for seq in settled:
        assert desk.journal.recall(f"cmd_{seq}") is not None
    desk, _ = reopened(desk, desks)
    for seq in settled:
        assert desk.journal.recall(f"cmd_{seq}") is not None
    assert [seq for seq in range(100_000, 110_000) if desk.journal.recall(f"cmd_{seq}")] == []


def test_a_message_is_found_by_its_id_and_by_its_name(desk: Desk) -> None:
    command = Command("c", "schedule_message", {"schedule_id": "s9", "thread_id": "+1", "text": "x"})
    desk.write(CommandAccepted(Remembered(1, command, Via.WS, State.SCHEDULED, UTC, due_utc=UTC + 60), names=("s9",)))
    assert desk.target("s9").command.command_id == "c"
    assert [past.seq for past in desk.journal.look_up(("c", Named("s9"), "s9", Named("c"), Named("s8")))] == [1, 1]


def test_a_change_that_cannot_be_written_stops_the_intake_and_is_said(desk: Desk) -> None:
    odd: Any = object()
    desk.give(took(1), CommandEnded(1, State.COMPLETED, UTC, odd, "{}"))
    assert "object" in desk.until(RecordFailed).reason


# --- what an earlier run left ---------------------------------------------------------------------------------------------


def test_p4_what_has_not_ended_comes_back_oldest_first_and_of_unproven_acks_the_numbers(desk: Desk, desks: list[Desk]) -> None:
    desk.write(*settle(1), took(2, state=State.QUEUED), took(3), took(4), ended(4))
    desk.write(took(5, state=State.SCHEDULED, due_utc=UTC + 60, ack="{}"))
    desk.write(
        AcksProven(((5, UTC),), UTC, "http"),
        TombstoneAdded(Target("later"), "cmd_9", UTC + 60),
        SettingStored("setting.sync_interval", "30"),
    )
    _, memory = reopened(desk, desks)
    assert [(past.seq, past.state) for past in memory.entries] == [
        (2, State.QUEUED), (3, State.RUNNING),
    ]  # fmt: skip
    assert memory.scheduled == (Scheduled(5, UTC + 60),)
    assert memory.unproven == (4,)
    assert [(past.seq, past.ack is not None) for past in desks[-1].journal.recall_all((4, 3, 99))] == [(3, False), (4, True)]
    assert memory.tombstones == (TombstoneAdded(Target("later"), "cmd_9", UTC + 60),)
    assert memory.kept == (("setting.sync_interval", "30"),)
    assert (memory.next_seq, memory.last_command_id) == (6, "cmd_5")


def test_p1_the_mark_is_there_when_it_is_written_that_it_runs_and_goes_when_it_waits_again(desk: Desk, desks: list[Desk]) -> None:
    desk.write(took(1, "a", State.QUEUED))
    desk.write(CommandStarted(1, UTC + 1, "42"))
    found = desk.found("a")
    assert (found.state, found.mark, found.runs, found.unsent) == (State.RUNNING, "42", 1, 0)
    desk.write(UnsentFound(1))
    _, memory = reopened(desk, desks)
    (past,) = memory.entries
    assert (past.state, past.mark, past.runs, past.unsent) == (State.QUEUED, None, 1, 1)


def test_a_replay_has_no_ack_and_is_settled_when_it_ends(desk: Desk, desks: list[Desk]) -> None:
    replay = Remembered(1, Command("replay-1-a", "emit_event"), Via.LOCAL, State.RUNNING, UTC, replay_of="a")
    desk.write(CommandAccepted(replay), CommandEnded(1, State.COMPLETED, UTC, None, None))
    _, memory = reopened(desk, desks)
    assert memory.entries == ()
    assert memory.last_command_id is None


def test_a_replay_that_ends_later_is_settled_too(desk: Desk, desks: list[Desk]) -> None:
    replay = Remembered(1, Command("replay-1-a", "send_message"), Via.LOCAL, State.RUNNING, UTC, UTC, runs=1, replay_of="a")
    desk.write(CommandAccepted(replay))
    desk.write(CommandEnded(1, State.COMPLETED, UTC + 1, None, None))
    assert desk.found("replay-1-a").proven_utc == UTC + 1
    _, memory = reopened(desk, desks)
    assert (memory.entries, memory.unproven) == ((), ())


def test_p1_an_id_that_is_there_under_another_number_has_no_second_effect(desk: Desk) -> None:
    desk.write(*settle(1))
    twin = took(2, "cmd_1")
    desk.write(replace(twin, effect=OutboxRow(2, "cmd_1", "+1", "again", UTC)), took(3))
    desk.write(twin)
    desk.write(ended(2, "cmd_1"))
    with closing(sqlite3.connect(desk.journal.path)) as db:
        assert db.execute("SELECT seq, text FROM outbox").fetchall() == [(1, "hi 1")]


def test_a_number_that_only_the_outbox_knows_is_not_given_again(desk: Desk, desks: list[Desk]) -> None:
    desk.write(*settle(1))
    with closing(sqlite3.connect(desk.journal.path)) as db, db:
        db.execute("INSERT INTO outbox VALUES (7, 'astray', '+1', 'hi', 0)")
    _, memory = reopened(desk, desks)
    assert memory.next_seq == 8


def test_p4_few_commands_with_great_payloads_do_not_grow_the_file_without_bound(desk: Desk) -> None:
    for seq in range(1, 300):
        great = Command(f"cmd_{seq}", "send_message", {"thread_id": "+1", "text": "x" * 400_000}, issued_utc=UTC)
        done = Remembered(seq, great, Via.WS, State.COMPLETED, UTC, UTC, UTC, runs=1, ack="{}", proven_utc=UTC)
        desk.write(CommandAccepted(done, names=(f"s{seq}",)))
    assert desk.journal.path.stat().st_size < 64 * 2**20
    assert (desk.found("cmd_1").ack, desk.found("cmd_1").names) == ("{}", ("s1",))
    assert desk.target("s1").command.command_id == "cmd_1"


# --- schema ---------------------------------------------------------------------------------------------------------------

NEXT = (*MIGRATIONS, "ALTER TABLE commands ADD COLUMN mood TEXT; CREATE TABLE extra (one INTEGER);")


def test_a_migration_makes_a_backup_first_and_keeps_every_row(desk: Desk, desks: list[Desk]) -> None:
    desk.write(*settle(1), took(2))
    newer, memory = reopened(desk, desks, migrations=NEXT)
    folder = desk.journal.path.parent
    assert [past.seq for past in memory.entries] == [2]
    assert newer.found("cmd_1").state is State.COMPLETED
    backup = folder / f"ledger.v{len(MIGRATIONS)}.sqlite3"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as old, closing(sqlite3.connect(folder / FILE_NAME)) as new:
        assert old.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        assert old.execute("SELECT count(*) FROM commands").fetchone()[0] == 2
        assert new.execute("PRAGMA user_version").fetchone()[0] == len(NEXT)


def test_a_migration_that_fails_leaves_the_file_as_it_was(desk: Desk, desks: list[Desk]) -> None:
    desk.write(*settle(1))
    desk.journal.close()
    broken = Desk(desk.journal.path.parent, migrations=(*MIGRATIONS, "CREATE TABLE extra (one INTEGER); SELECT nonsense;"))
    desks.append(broken)
    broken.journal.start()
    assert "nonsense" in broken.until(RecordFailed).reason
    broken.journal.close()
    desks.append(Desk(desk.journal.path.parent))
    desks[-1].open()
    assert desks[-1].journal.recall("cmd_1") is not None


def test_a_file_of_a_newer_edge_console_is_refused_and_left_alone(desk: Desk, desks: list[Desk]) -> None:
    newer, _ = reopened(desk, desks, migrations=NEXT)
    newer.journal.close()
    before = newer.journal.path.read_bytes()
    desks.append(Desk(desk.journal.path.parent))
    desks[-1].journal.start()
    assert "newer edge-console" in desks[-1].until(RecordFailed).reason
    with pytest.raises(LedgerBusy):
        desks[-1].journal.recall("cmd_1")
    desks[-1].journal.close()
    assert newer.journal.path.read_bytes() == before
    assert not list(desk.journal.path.parent.glob("*damaged*"))


# --- privacy and ownership --------------------------------------------------------------------------------------------------


def test_files_are_0600_in_a_directory_of_0700_whatever_the_umask(tmp_path: Path, desks: list[Desk]) -> None:
    before = os.umask(0)
    try:
        desks.append(Desk(tmp_path / "fresh"))
        desks[0].open()
        desks[0].write(took(1))
        folder = tmp_path / "fresh"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes
    assert f"{FILE_NAME}-wal" in modes
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- trouble ----------------------------------------------------------------------------------------------------------------


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(path.stat().st_size - 4096))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def supplant(path: Path) -> None:
    path.write_text("This is a shopping list.\n" * 500)


DAMAGES = {"truncated": truncate, "overwritten pages": overwrite, "not a database": supplant}


@pytest.mark.parametrize("how", DAMAGES)
def test_f40_a_damaged_file_stays_with_one_copy_aside_and_nothing_is_opened(desk: Desk, desks: list[Desk], how: str) -> None:
    folder, path = desk.journal.path.parent, desk.journal.path
    for first in range(1, 2_000, 100):
        desk.write(*settle(*range(first, first + 100)))
    desk.journal.close()
    DAMAGES[how](path)
    content = path.read_bytes()
    for _ in range(2):
        desks.append(Desk(folder))
        desks[-1].journal.start()
        reason = desks[-1].until(RecordFailed).reason
        assert "is damaged" in reason
        assert str(path) in reason
        with pytest.raises(LedgerBusy):
            desks[-1].journal.recall("cmd_1")
        desks[-1].journal.close()
        assert not any(isinstance(post, LedgerOpened) for post in desks[-1].seen)
    (copy,) = folder.glob("ledger.damaged-*.sqlite3")
    assert copy.name in reason
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert len(copy.read_bytes()) == len(content)
    assert path.exists()


def test_f40_when_the_damaged_file_is_moved_away_it_goes_on_by_itself(tmp_path: Path, desks: list[Desk]) -> None:
    (tmp_path / FILE_NAME).write_text("not a database, and long enough to be seen as none" * 10)
    desks.append(Desk(tmp_path))
    desks[0].journal.start()
    desks[0].until(RecordFailed)
    (tmp_path / FILE_NAME).rename(tmp_path / "moved-away")
    assert desks[0].until(LedgerOpened).memory.entries == ()
    assert desks[0].write(took(1)).ticket == 1


LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("ready", flush=True)
sys.stdin.read()
"""


def test_f39_locked_by_another_process_for_three_seconds_it_waits_and_loses_nothing(desk: Desk) -> None:
    desk.write(*settle(1))
    locker = beside(LOCKER, desk.journal.path)
    began = time.monotonic()
    threading.Timer(3.0, locker.communicate).start()
    tickets = [desk.give(*settle(seq)) for seq in range(2, 302)]
    assert desk.journal.recall("cmd_1") is not None, "reading goes on"
    desk.until(Recorded, tickets[-1])
    assert 2.5 < time.monotonic() - began < 6
    assert not desk.failures()
    assert len(list(commands(desk.journal.path.parent))) == 301


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 48 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)):
        pytest.skip("a file system of its own can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def mounted(*arguments: str) -> bool:
    return os.geteuid() == 0 and not subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def fill(folder: Path) -> Path:
    """Until nothing more goes in."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    return filler


def test_p4_on_a_full_disk_nothing_is_recorded_and_it_resumes_by_itself(small_disk: Path, desks: list[Desk]) -> None:
    desks.append(Desk(small_disk))
    desk = desks[0]
    desk.open()
    desk.write(*settle(1))
    assert (small_disk / RESERVE_NAME).stat().st_size == 2**20
    fill(small_disk)
    many = range(3, 6_000)
    given = [desk.give(took(2)), desk.give(*(took(seq) for seq in many), *(ended(seq) for seq in many))]
    assert "full" in desk.until(RecordFailed).reason
    assert not (small_disk / RESERVE_NAME).exists(), "the reserve is given up for what runs"
    filler = fill(small_disk)
    desk.give(*(took(seq) for seq in range(10_000, 20_000)))
    assert [post.ticket for post in desk.seen if isinstance(post, Recorded)][-1] <= given[-1]
    filler.unlink()
    desk.until(Recorded, desk.ticket)
    assert len(list(commands(small_disk))) == 15_999
    desk.write(proved(2))
    desk.write(proved(3))
    assert (small_disk / RESERVE_NAME).exists(), "and is made again"


def test_f40_a_read_only_directory_is_said_and_it_resumes_by_itself(small_disk: Path, desks: list[Desk]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    desks.append(Desk(small_disk))
    desks[0].journal.start()
    assert "ead-only" in desks[0].until(RecordFailed).reason
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    desks[0].until(LedgerOpened)
    assert len([post for post in desks[0].seen if isinstance(post, RecordFailed)]) == 1, "said once"
    assert desks[0].write(took(1)).ticket == 1


# --- retention ----------------------------------------------------------------------------------------------------------------


def test_retention_by_number_keeps_the_newest_and_every_unproven_ack(tmp_path: Path, desks: list[Desk]) -> None:
    desks.append(Desk(tmp_path, LedgerConfig(retention_count=1_000), clock=ManualClock(utc=UTC + 10_000)))
    desk = desks[0]
    desk.open()
    fed(desk, 5_000, skip=500)
    quiet(desk)
    kept = known(desk, range(1, 5_001))
    unproven = [seq for seq in range(1, 5_001) if seq % 500 == 0]
    assert set(unproven) <= set(kept)
    assert set(range(4_600, 5_001)) <= set(kept)
    assert 1_000 - 500 <= len(kept) <= 1_000 + len(unproven) + 500
    horizons = [post.horizon_utc for post in desk.seen if isinstance(post, Recorded)]
    assert horizons == sorted(horizons)
    forgotten = [UTC + seq - 1 for seq in range(1, 5_001) if seq not in set(kept)]
    assert max(forgotten) <= horizons[-1], "what is forgotten is older than the horizon, so it is refused"
    _, memory = reopened(desk, desks, clock=ManualClock(utc=UTC + 10_000))
    assert memory.horizon_utc == pytest.approx(horizons[-1])
    assert list(memory.unproven) == unproven


def pass_days(desk: Desk, clock: ManualClock, days: float, first: int) -> None:
    """With a command each few hours, by which the journal sees the time."""
    for number in range(int(days / 0.4)):
        clock.advance(0.4 * 86_400)
        desk.write(took(first + number, received=clock.utc, issued=clock.utc), ended(first + number), proved(first + number))


def test_retention_by_age(tmp_path: Path, desks: list[Desk]) -> None:
    clock = ManualClock(utc=UTC)
    desks.append(Desk(tmp_path, LedgerConfig(retention_days=30), clock=clock))
    desk = desks[0]
    desk.open()
    fed(desk, 1_000, skip=250)
    pass_days(desk, clock, 20, first=10_001)
    fed(desk, 1_000, first=1_001, received=clock.utc)
    pass_days(desk, clock, 20, first=10_101)
    fed(desk, 500, first=2_001, received=clock.utc)
    quiet(desk)
    assert known(desk, range(1, 2_001)) == [250, 500, 750, *range(1_000, 2_001)]


def test_a_horizon_is_told_before_anything_is_forgotten(tmp_path: Path, desks: list[Desk]) -> None:
    """Else a late duplicate could slip between the two and run again."""
    desks.append(Desk(tmp_path, LedgerConfig(retention_count=200), clock=ManualClock(utc=UTC + 10_000)))
    desk = desks[0]
    desk.open()
    for first in range(1, 3_000, 100):
        fed(desk, 100, first=first, received=UTC + first)
        told = max(post.horizon_utc for post in desk.seen if isinstance(post, Recorded))
        while not desk.posts.empty():
            post = desk.posts.get()
            desk.seen.append(post)
            told = max(told, post.horizon_utc)
        forgotten = set(range(1, first)) - set(known(desk, range(1, first)))
        told = max([told, *(post.horizon_utc for post in list(desk.posts.queue))])
        assert not forgotten or UTC + max(forgotten) <= told + 1


def test_a_backend_with_a_wild_clock_does_not_move_the_horizon_into_the_future(tmp_path: Path, desks: list[Desk]) -> None:
    desks.append(Desk(tmp_path, LedgerConfig(retention_count=100), clock=ManualClock(utc=UTC + 5_000)))
    desk = desks[0]
    desk.open()
    desk.write(took(1, issued=UTC + 10**9), ended(1), proved(1))
    fed(desk, 2_000, first=2, received=UTC)
    quiet(desk)
    assert 0 < max(post.horizon_utc for post in desk.seen if isinstance(post, Recorded)) <= UTC + 2_000


SCALE = """
import json, pathlib, queue, resource, sys, time
from agent_core.config.models import LedgerConfig
from agent_core.events import LedgerOpened
from agent_core.journal import Journal

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:")) / 1024

before = resident()
posts = queue.Queue()
journal = Journal(pathlib.Path(sys.argv[1]), LedgerConfig(), posts.put)
began = time.perf_counter()
journal.start()
assert isinstance(posts.get(timeout=30), LedgerOpened)
started = time.perf_counter() - began
times = []
for seq in range(1, 100_001, 97):
    began = time.perf_counter()
    assert journal.recall(f"cmd_{seq}") is not None
    times.append(time.perf_counter() - began)
times.sort()
median, worst = times[len(times) // 2] * 1e3, times[-len(times) // 100] * 1e3
print(json.dumps({"start_s": started, "growth_mb": resident() - before, "p50_ms": median, "p99_ms": worst}))
journal.close()
"""


def test_p4_two_hundred_thousand_ids_are_known_fast_in_a_small_file(tmp_path: Path, desks: list[Desk]) -> None:
    """At 100,000: start, memory, a duplicate's lookup. At 200,000: the file is small, and the oldest have their acks, byte for byte."""
    desks.append(Desk(tmp_path, clock=ManualClock(utc=UTC + 200_001)))
    desk = desks[0]
    desk.open()
    fed(desk, 100_000, group=500)
    quiet(desk)
    desk, _ = reopened(desk, desks, clock=ManualClock(utc=UTC + 200_001))
    done = subprocess.run([sys.executable, "-c", SCALE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    largest = 0.0
    for first in range(100_001, 200_000, 20_000):
        fed(desk, 20_000, first=first, received=UTC + first, group=500)
        largest = max(largest, desk.journal.path.stat().st_size / 2**20)
    quiet(desk)
    print(figures, f"largest {largest:.1f} MB, in the end {desk.journal.path.stat().st_size / 2**20:.1f} MB")
    assert figures["start_s"] <= 3
    assert figures["growth_mb"] <= 60
    assert figures["p99_ms"] <= 2
    assert largest <= 64
    sample = [1, 2, 1_000, 50_000, 99_999, 150_000, 200_000]
    assert known(desk, iter(sample)) == sample
    assert desk.found("cmd_1").ack == ack("cmd_1", "completed", UTC)
    assert desk.found("cmd_200000").command.payload["text"] == "hi 200000"


def test_f78_a_pipe_in_the_ledgers_place_keeps_no_reader_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(NoLedger, match="it is no file"):
        list(commands(tmp_path))
