"""Pause, resume and drain: what is taken goes on, the rest stays with the backend, and a drain ends with every ack proven."""

from agent_core.events import DrainRequested, Finish, IntakePaused, IntakeResumed, Poll
from agent_core.records import PAUSED, Memory, SettingDropped, SettingStored
from tests.agent_core.test_ledger import online, ran
from tests.harness.playbook import NOTHING, Playbook, acks, executes, records


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


def test_a_pause_outlives_a_restart_and_a_drain_does_not() -> None:
    book = online()
    book >> IntakePaused()
    stored = book.find(records(SettingStored)).changes
    assert [change.key for change in stored if isinstance(change, SettingStored)] == [PAUSED]
    book >> IntakeResumed()
    book << records(SettingDropped)
    book >> DrainRequested()
    assert book.count(records(SettingStored)) == 1, "who drains an agent wants it to work when it is started again"
    again = Playbook().online(Memory(kept=((PAUSED, "1.0"),)))
    again.told("Intake is still paused, as the operator left it: `edge-console resume` takes commands again")
    again.push("c1") << NOTHING
    assert again.snapshot.commands.paused
    again >> IntakeResumed()
    again << Poll


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
