"""What needs the operator: counted, listed, and settled once and for good (PROMISES P1, P2)."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.attention import Candidate, Kind, case_of
from agent_core.clock import ManualClock
from agent_core.config.models import LedgerConfig
from agent_core.events import Execute, FollowDeliveries, HeldRefused, Lost, Recorded, RecordFailed, ReplayRequested, ResolveRequested
from agent_core.frames import ack
from agent_core.journal.audit import audit
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import needing_attention
from agent_core.records import (
    CommandAccepted,
    CommandEnded,
    CommandResolved,
    Memory,
    ReceiptAdded,
    Remembered,
    Resolution,
    State,
    Unresolved,
)
from agent_core.snapshot import CommandsView
from tests.harness.desk import UTC, Desk, fed, proved, quiet, reopened, took
from tests.harness.playbook import NOTHING, Playbook, command, lost, records, remembered, to

CANDIDATES = [{"guid": "A1", "chat": "iMessage;-;+1", "sent_at": "2026-11-05T20:30:00.000Z"}, {"guid": "A2", "chat": "c", "sent_at": "t"}]


def counted(book: Playbook) -> tuple[int, int, int]:
    shown: CommandsView = book.snapshot.commands
    return shown.interrupted, shown.unresolved, shown.overdue


def past(state: State, **more: Any) -> Remembered:
    return remembered(command("c1"), state, finished_utc=1.0, **more)


def resolve(state: State, resolution: Resolution) -> ResolveRequested:
    return ResolveRequested("c1", resolution, "ann", past(state))


def earlier(failed: int = 0, interrupted: int = 0) -> Playbook:
    """An agent whose earlier runs have left so many."""
    return Playbook(backend={"polling": "never"}).online(Memory(next_seq=9, unresolved=Unresolved(failed, interrupted)))


# --- the engine -----------------------------------------------------------------------------------------------------------


def test_what_fails_and_what_nobody_knows_are_counted_and_what_is_well_is_not() -> None:
    book = Playbook().online().push("c1").push("c2").push("c3")
    book.finish("c1", "no such recipient").finish("c2", "no answer", unknown=True).finish("c3")
    assert counted(book) == (1, 1, 0)
    assert book.snapshot.commands.attention == 2


def test_p1_what_is_resolved_as_sent_is_recorded_with_its_author_and_needs_nobody_any_more() -> None:
    book = earlier(failed=1, interrupted=2)
    book >> resolve(State.INTERRUPTED, Resolution.SENT) << records(CommandResolved) << NOTHING
    assert book.find(records(CommandResolved)).changes[0] == CommandResolved(1, Resolution.SENT, book.clock.utc, "ann")
    assert counted(book) == (1, 1, 0)
    book.told("c1 is resolved as sent by ann", "INFO")


def test_only_what_is_in_doubt_can_be_resolved_as_sent() -> None:
    book = earlier(failed=1)
    book >> resolve(State.FAILED, Resolution.SENT) << NOTHING
    book.told("cannot be resolved as sent: it is failed", "WARNING")
    book >> resolve(State.FAILED, Resolution.DISMISSED) << records(CommandResolved)
    assert counted(book) == (0, 0, 0)


def in_doubt(command_id: str = "c1", **more: Any) -> Remembered:
    told = ack(command_id, "failed", 0.0, "2 messages like it", {"candidates": CANDIDATES})
    return past(State.INTERRUPTED, ack=told, **more)


def test_p1_one_of_its_candidates_is_recorded_as_its_message_and_followed() -> None:
    memory = Memory(next_seq=9, unresolved=Unresolved(0, 2))
    book = Playbook(backend={"polling": "never"}, inbound={"enabled": True}).online(memory)
    book >> ResolveRequested("c1", Resolution.SENT, "ann", in_doubt(), "A2")
    utc = book.clock.utc
    assert book.find(records(ReceiptAdded, CommandResolved)).changes == (
        ReceiptAdded("A2", "c1", 1, utc), CommandResolved(1, Resolution.SENT, utc, "ann", "A2"),
    )  # fmt: skip
    assert book.count(FollowDeliveries(("A2",))) == 1
    assert counted(book) == (1, 0, 0)
    book.told("c1 is resolved as sent by ann: it is the message A2", "INFO")
    other = remembered(command("c2"), State.INTERRUPTED, 2, finished_utc=1.0, ack=in_doubt("c2").ack)
    book.never(CommandResolved) >> ResolveRequested("c2", Resolution.SENT, "ann", other, "A2") << NOTHING
    book.told("A2 is none of its candidates, or another command's message", "WARNING")


@pytest.mark.parametrize(("resolution", "guid"), [(Resolution.SENT, "B"), (Resolution.UNSENT, "A1"), (Resolution.DISMISSED, "A1")])
def test_only_a_candidate_can_be_its_message(resolution: Resolution, guid: str) -> None:
    book = earlier(interrupted=1)
    book >> ResolveRequested("c1", resolution, "ann", in_doubt(), guid) << NOTHING
    book.told(f"{guid} is none of its candidates", "WARNING")
    assert counted(book) == (1, 0, 0)


def test_what_was_not_sent_after_all_is_settled_and_may_be_replayed() -> None:
    book = earlier(failed=1, interrupted=1)
    book >> resolve(State.FAILED, Resolution.UNSENT) << NOTHING
    book >> resolve(State.INTERRUPTED, Resolution.UNSENT) << records(CommandResolved)
    assert counted(book) == (0, 1, 0)
    settled = past(State.INTERRUPTED, resolution=Resolution.UNSENT)
    book >> ReplayRequested("c1", remembered=settled) << records(CommandAccepted) << Execute


@pytest.mark.parametrize(("state", "more"), [
    (State.COMPLETED, {}), (State.RUNNING, {}), (State.CANCELLED, {}), (State.FAILED, {"resolution": Resolution.DISMISSED}),
])  # fmt: skip
def test_what_needs_nothing_cannot_be_resolved(state: State, more: dict[str, Any]) -> None:
    book = earlier(failed=1)
    book >> ResolveRequested("c1", Resolution.DISMISSED, "ann", past(state, **more)) << NOTHING
    book >> ResolveRequested("c1", Resolution.DISMISSED, "ann") << NOTHING
    assert counted(book) == (0, 1, 0)
    book.told("cannot be resolved as dismissed", "WARNING", times=2)


def test_asked_twice_before_the_disk_has_it_it_is_resolved_once() -> None:
    book = earlier(failed=2)
    book.disk_is_prompt = False
    book >> resolve(State.FAILED, Resolution.DISMISSED) << records(CommandResolved)
    book >> resolve(State.FAILED, Resolution.DISMISSED) << NOTHING
    assert counted(book) == (0, 1, 0)


def test_while_the_disk_is_in_trouble_nothing_is_resolved() -> None:
    book = earlier(failed=1) >> RecordFailed("full")
    book >> resolve(State.FAILED, Resolution.DISMISSED) << NOTHING
    book.told("cannot be resolved now: full", "WARNING")


def test_a_replay_settles_its_original_and_needs_the_operator_itself_where_it_fails() -> None:
    book = earlier(interrupted=1)
    book >> ReplayRequested("c1", remembered=past(State.INTERRUPTED)) << records(CommandResolved, CommandAccepted) << Execute
    assert counted(book) == (0, 0, 0)
    book.finish("replay-9-c1", "no such recipient")
    assert counted(book) == (0, 1, 0)


def test_what_the_operator_refuses_needs_nobody_but_what_nobody_approved_does() -> None:
    book = Playbook(executor={"hold": "all", "hold_timeout_seconds": 30}, backend={"polling": "never"}).online()
    book.push("c1", "send_message", payload=to("+1")).push("c2", "send_message", payload=to("+2"))
    book >> HeldRefused("c1") << records(CommandEnded, CommandResolved)
    assert book.find(records(CommandEnded, CommandResolved)).changes[1] == CommandResolved(
        1, Resolution.DISMISSED, book.clock.utc, "the operator"
    )
    assert counted(book) == (0, 0, 0)
    book.lives(31)
    assert counted(book) == (0, 1, 0)


def test_a_dry_run_settles_nothing() -> None:
    book = earlier(failed=1)
    book >> ReplayRequested("c1", dry_run=True, remembered=past(State.FAILED)) << NOTHING
    assert counted(book) == (0, 1, 0)


def test_what_the_journal_forgets_needs_nobody_any_more() -> None:
    book = earlier(failed=3, interrupted=1)
    book >> Recorded(0, 0.0, Unresolved(2, 1))
    assert counted(book) == (0, 1, 0)


def test_p2_an_ack_that_is_not_proven_for_a_minute_is_overdue_until_it_is() -> None:
    book = Playbook(backend={"polling": "never"}).online().push("c1").push("c2")
    book.finish("c1").finish("c2", "no such recipient")
    book >> Lost(1, lost())
    book.after(55)
    assert counted(book) == (0, 1, 0)
    book.after(10)
    assert counted(book) == (0, 1, 1), "the one that failed is counted already"
    book.online().lives(35)
    assert counted(book) == (0, 1, 0)


def test_f32_what_was_turned_away_is_counted_until_it_comes_again() -> None:
    book = Playbook().online() >> RecordFailed("full")
    book.push("c1")
    assert (book.snapshot.commands.turned_away, book.snapshot.commands.attention) == (1, 1)
    book >> Recorded(0)
    book.push("c1")
    assert book.snapshot.commands.turned_away == 0


# --- the journal ----------------------------------------------------------------------------------------------------------


def unwell(seq: int, state: State = State.FAILED, error: str = "no such recipient") -> CommandEnded:
    return CommandEnded(seq, state, UTC, error, ack(f"cmd_{seq}", "failed", UTC, error))


def listed(folder: Path, utc: float = UTC) -> list[tuple[int, Kind]]:
    found = needing_attention(folder, utc)
    return [(record.seq, case_of(record).kind) for record in found if isinstance(record, Remembered)]


def test_a_resolution_is_kept_over_restarts_and_found_with_its_author(desk: Desk, desks: list[Desk]) -> None:
    desk.write(took(1), took(2), took(3), unwell(1), unwell(2, State.INTERRUPTED), unwell(3, State.INTERRUPTED), proved(1, 2, 3))
    desk.write(CommandResolved(2, Resolution.SENT, UTC + 5, "ann"), CommandResolved(2, Resolution.DISMISSED, UTC + 9, "bob"))
    again, memory = reopened(desk, desks)
    assert memory.unresolved == Unresolved(failed=1, interrupted=1)
    found = again.found("cmd_2")
    assert (found.resolution, found.resolved_utc, found.resolved_by) == (Resolution.SENT, UTC + 5, "ann")
    assert [again.found(f"cmd_{seq}").is_unresolved for seq in (1, 2, 3)] == [True, False, True]
    assert listed(again.journal.path.parent) == [(3, Kind.UNKNOWN), (1, Kind.FAILED)]


def test_the_list_has_each_kind_newest_first_and_is_bounded(desk: Desk) -> None:
    folder = desk.journal.path.parent
    desk.write(*(took(seq) for seq in range(1, 6)), unwell(1), unwell(2, error="missed: due 900 s ago"), unwell(3, State.INTERRUPTED))
    desk.write(CommandEnded(4, State.COMPLETED, UTC, None, ack("cmd_4", "completed", UTC)), proved(1, 2, 3))
    assert listed(folder, UTC + 59) == [(3, Kind.UNKNOWN), (2, Kind.MISSED), (1, Kind.FAILED)]
    assert listed(folder, UTC + 61) == [(4, Kind.UNPROVEN), (3, Kind.UNKNOWN), (2, Kind.MISSED), (1, Kind.FAILED)]
    assert [one.seq for one in needing_attention(folder, UTC + 61, 2) if isinstance(one, Remembered)] == [4, 3]


@pytest.mark.parametrize(("state", "error", "result", "candidates"), [
    (State.INTERRUPTED, "2 messages like it", {"candidates": CANDIDATES}, ("A1", "A2")),
    (State.INTERRUPTED, "no answer", {}, ()),
    (State.INTERRUPTED, "odd", {"candidates": [{"guid": 1}, None]}, ()),
    (State.INTERRUPTED, "odd", {"candidates": 7}, ()),
    (State.FAILED, "no", {"candidates": CANDIDATES}, ()),
])  # fmt: skip
def test_the_candidates_of_a_doubt_are_read_from_its_ack(state: State, error: str, result: Any, candidates: Sequence[str]) -> None:
    case = case_of(past(state, error=error, ack=ack("c1", "failed", 0.0, error, result)))
    assert [one.guid for one in case.candidates] == list(candidates)
    assert case.what == error
    assert all(isinstance(one, Candidate) for one in case.candidates)
    assert (Resolution.SENT in case.resolutions) == (state is State.INTERRUPTED)


def test_what_is_forgotten_is_told_so_that_it_is_counted_no_more(tmp_path: Path, desks: list[Desk]) -> None:
    desks.append(Desk(tmp_path, LedgerConfig(retention_count=1_000), clock=ManualClock(utc=UTC + 10_000)))
    desk = desks[0]
    desk.open()
    for seq in range(1, 4):
        desk.give(took(seq, received=UTC - 10), unwell(seq, State.FAILED if seq > 1 else State.INTERRUPTED), proved(seq))
    desk.give(CommandResolved(3, Resolution.DISMISSED, UTC, "ann"))
    fed(desk, 3_000, first=4)
    quiet(desk)
    lapsed = [post.lapsed for post in desk.seen if isinstance(post, Recorded) and post.lapsed is not None]
    assert (sum(one.failed for one in lapsed), sum(one.interrupted for one in lapsed)) == (1, 1)
    assert desk.journal.recall("cmd_1") is None


def test_p1_the_audit_counts_what_is_resolved_and_names_what_cannot_be(desk: Desk) -> None:
    desk.write(took(1), took(2), took(3), unwell(1, State.INTERRUPTED), unwell(2, State.INTERRUPTED), unwell(3), proved(1, 2, 3))
    desk.write(CommandResolved(1, Resolution.SENT, UTC, "ann"), CommandResolved(3, Resolution.DISMISSED, UTC, "ann"))
    folder = desk.journal.path.parent
    found = audit(folder)
    assert (found.ok, found.interrupted, found.resolved) == (True, 2, 1)
    with closing(sqlite3.connect(folder / FILE_NAME)) as db, db:
        db.execute("UPDATE commands SET resolution = 'sent' WHERE seq = 3")
    assert [(one.command_id, one.what) for one in audit(folder).violations] == [("cmd_3", "is failed, but resolved as sent")]


def test_p1_the_audit_wants_the_message_of_a_command_among_its_candidates_and_no_others(desk: Desk) -> None:
    folder = desk.journal.path.parent
    doubts = [
        CommandEnded(seq, State.INTERRUPTED, UTC, "x", ack(f"cmd_{seq}", "failed", UTC, "x", {"candidates": CANDIDATES}))
        for seq in (1, 2, 3)
    ]
    desk.write(*map(took, (1, 2, 3)), *doubts, proved(1, 2, 3))
    desk.write(
        ReceiptAdded("A1", "cmd_1", 1, UTC), CommandResolved(1, Resolution.SENT, UTC, "ann", "A1"),
        CommandResolved(2, Resolution.SENT, UTC, "ann", "A2"), CommandResolved(3, Resolution.UNSENT, UTC, "ann"),
    )  # fmt: skip
    assert audit(folder).ok
    assert [desk.found(f"cmd_{seq}").resolved_guid for seq in (1, 2, 3)] == ["A1", "A2", None]
    with closing(sqlite3.connect(folder / FILE_NAME)) as db, db:
        db.execute("UPDATE commands SET resolved_guid = 'A1' WHERE seq > 1")
    none = "is resolved as unsent by a message that is none of its candidates"
    assert [(one.command_id, one.what) for one in audit(folder).violations] == [
        ("cmd_3", none), ("cmd_2", "is another command's message A1"), ("cmd_3", "is another command's message A1"),
    ]  # fmt: skip
