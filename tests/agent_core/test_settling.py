"""A run whose end nobody saw, where the messenger has a record of what it sent: the record decides (PROMISES P1)."""

from typing import Any

import pytest

from agent_core.events import MarkTaken, Recorded, RunSettled, Settle, TakeMark
from agent_core.frames import Message
from agent_core.records import CommandAccepted, CommandEnded, CommandStarted, Memory, Outcome, State, UnsentFound
from tests.harness.playbook import NOTHING, THREAD, Playbook, acks, command, executes, records, remembered, to

MESSAGE = Message(THREAD, "hi")
RECEIPT = {"guid": "A1"}


def online(**sections: Any) -> Playbook:
    return Playbook(**sections).online()


def after_crash(state: State = State.RUNNING, *others: Any, **more: Any) -> Playbook:
    fields: dict[str, Any] = {"mark": "42", "runs": 1, "started_utc": 1.0} | more
    past = remembered(command("c1", "text"), state, **fields)
    return Playbook(backend={"polling": "never"}).online(Memory(tuple(sorted((past, *others), key=lambda one: one.seq)), next_seq=9))


def test_p1_nothing_runs_before_the_mark_is_on_disk() -> None:
    book = online()
    book.push("c1", "text") << TakeMark(1) << records(CommandAccepted)
    book.disk_is_prompt = False
    book >> MarkTaken(1, "42") << records(CommandStarted)
    assert book.find(records(CommandStarted)).changes[0].mark == "42"
    book >> Recorded(2) << executes("c1")
    assert book.find(executes("c1")).mark == "42"
    book.disk_is_prompt = True
    book.finish("c1", result=RECEIPT) << acks("c1", status="completed", result=RECEIPT)


def test_a_record_that_cannot_be_read_sends_nothing() -> None:
    book = online().push("c1", "text").push("c2", "text")
    book >> MarkTaken(1, None, "chat.db cannot be read") << acks("c1", status="failed", error="chat.db cannot be read")
    assert book.row("c1").status == "failed"
    book.find(TakeMark(2))


def test_p1_before_the_mark_a_crash_has_sent_nothing() -> None:
    book = after_crash(State.QUEUED, mark=None, runs=0)
    assert (book.count(TakeMark(1)), book.count(Settle)) == (1, 0)
    book >> MarkTaken(1, "50") << executes("c1")


def test_p1_what_the_record_shows_after_a_crash_is_completed_and_runs_no_more() -> None:
    book = after_crash()
    assert book.find(Settle(1, MESSAGE, "42"))
    book.told("c1: interrupted; what was sent is looked up")
    book >> RunSettled(1, Outcome(result=RECEIPT)) << acks("c1", status="completed", result=RECEIPT)
    assert book.count(executes("c1")) == 0
    assert book.snapshot.commands.interrupted == 0


def test_p1_what_was_not_sent_runs_again_from_a_new_mark() -> None:
    book = after_crash()
    book >> RunSettled(1, None) << TakeMark(1) << records(UnsentFound)
    book >> MarkTaken(1, "50") << executes("c1")
    book.finish("c1") << acks("c1", status="completed")


def test_p1_of_several_that_may_be_it_nobody_knows_and_it_runs_no_more() -> None:
    book = after_crash()
    candidates = {"candidates": [{"guid": "A1"}, {"guid": "A2"}]}
    outcome = Outcome(error="2 messages like it were sent meanwhile", unknown=True, result=candidates)
    error = "unknown outcome: 2 messages like it were sent meanwhile"
    book >> RunSettled(1, outcome) << acks("c1", status="failed", error=error, result=candidates)
    assert (book.row("c1").status, book.snapshot.commands.interrupted) == ("interrupted", 1)


def test_p3_the_next_of_its_thread_waits_until_it_is_settled() -> None:
    others = [remembered(command(name, "text", payload=to(thread)), State.QUEUED, seq) for name, thread, seq in
              (("c0", THREAD, 0), ("c2", THREAD, 2), ("c3", "+1", 3))]  # fmt: skip
    book = after_crash(State.RUNNING, *others)
    assert book.count(TakeMark) == 1
    assert book.find(TakeMark).seq == 3
    book >> RunSettled(1, Outcome(result=RECEIPT)) << TakeMark(0)


@pytest.mark.parametrize(("unknown", "final"), [(True, False), (True, True), (False, False)])
def test_only_a_doubt_that_can_still_be_resolved_is_settled(unknown: bool, final: bool) -> None:
    book = online().push("c1", "text") >> MarkTaken(1, "42")
    book.finish("c1", "timed out after 60 s", unknown=unknown, final=final)
    assert book.count(Settle) == (unknown and not final)
    assert book.count(acks("c1", status="failed")) == (not unknown or final)


def test_p1_what_hangs_again_and_again_runs_twice_at_most() -> None:
    book = online().push("c1", "text") >> MarkTaken(1, "42")
    book.finish("c1", "timed out after 60 s", unknown=True) << Settle(1, MESSAGE, "42")
    book >> RunSettled(1, None) << TakeMark(1)
    book >> MarkTaken(1, "50") << executes("c1")
    book.finish("c1", "timed out after 60 s", unknown=True) << acks("c1", error="unknown outcome: timed out after 60 s")
    assert book.count(CommandEnded) == 0
    book.lives(600)
    assert book.count(executes("c1")) == 2


def test_without_a_mark_or_a_messenger_that_settles_the_outcome_is_unknown() -> None:
    book = after_crash(mark=None)
    assert book.count(acks("c1", error="interrupted: outcome unknown")) == 1
    assert book.count(Settle) == 0


def test_what_comes_too_late_changes_nothing() -> None:
    book = online().push("c1", "text") >> MarkTaken(1, "42")
    book.finish("c1")
    book >> RunSettled(1, None) << NOTHING
    book >> MarkTaken(1, "60") << NOTHING
    book >> RunSettled(99, Outcome()) << NOTHING
