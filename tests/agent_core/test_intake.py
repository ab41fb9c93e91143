"""Pause, resume and drain: what is taken goes on, the rest stays with the backend, and a drain ends with every ack proven."""

from agent_core.events import DrainRequested, Finish, IntakePaused, IntakeResumed, Poll
from tests.agent_core.test_ledger import online, ran
from tests.harness.playbook import NOTHING, acks, executes


def test_what_is_taken_goes_on_while_intake_is_paused() -> None:
    book = online().push("c1")
    book >> IntakePaused()
    book.told("Intake paused: new commands stay with the backend")
    book.finish("c1") << acks("c1")
    book.push("c2") << NOTHING
    assert ran(book) == ["c1"]
    assert book.snapshot.commands.paused
    assert book.snapshot.commands.rejected == 1
    assert book.snapshot.link.sessions == 1


def test_after_resume_the_backend_is_asked_for_what_it_kept() -> None:
    book = online()
    book >> IntakePaused()
    book.push("c1")
    book.lives(60).never(executes("c1"))
    book >> IntakeResumed()
    book << Poll
    assert not book.snapshot.commands.paused


def test_a_drain_ends_when_all_is_finished_and_every_ack_is_proven() -> None:
    book = online().push("c1")
    book >> DrainRequested()
    book.push("c2") << NOTHING
    book.finish("c1") << acks("c1")
    assert book.count(Finish()) == 0, "the ack is not proven yet"
    book.lives(20)
    book.told("Drained: nothing runs, every ack is proven")
    assert ran(book) == ["c1"]
    assert book.count(Finish()) == 1
    assert book.snapshot.commands.outbox == 0


def test_a_drain_without_anything_to_do_ends_at_once() -> None:
    book = online()
    book >> DrainRequested()
    book.told("Drained: nothing runs, every ack is proven")


def test_resume_calls_a_drain_off() -> None:
    book = online().push("c1")
    book >> DrainRequested()
    book >> IntakeResumed()
    book.finish("c1")
    book.lives(60)
    assert book.count(Finish()) == 0
    book.push("c2")
    assert ran(book) == ["c1", "c2"]
