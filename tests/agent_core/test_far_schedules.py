"""Messages that are due in years: memory holds their time, the journal the rest, and they go out all the same (F71)."""

from typing import Any

import pytest

from agent_core.events import CancelRequested, CommandsReceived, Execute, LedgerOpened, Poll, Recall, Recalled, RecordFailed, Started
from agent_core.records import Arrival, Memory, Remembered, Scheduled, State
from tests.harness.playbook import AGENT_ID, Playbook, acks, acks_in, command, executes, remembered, to

DAY = 86_400.0
NEAR = 2
"""Of `max_in_memory` a fifth."""


def online(**sections: Any) -> Playbook:
    return Playbook(max_in_memory=5 * NEAR, backend={"polling": "never"}, **sections).online()


def later(book: Playbook, number: int, after: float, **more: Any) -> Playbook:
    payload = to(f"t{number}", f"text {number}", send_at=book.clock.utc + after, schedule_id=f"s{number}", message_id="all", **more)
    return book.push(f"c{number}", "schedule_message", payload=payload)


def many(book: Playbook, count: int = 20, first: float = DAY, step: float = 60.0) -> Playbook:
    """`count` messages, the last one first; their first acks are proven."""
    for number in reversed(range(count)):
        later(book, number, first + step * number)
    return book.lives(40)


def sent(book: Playbook) -> list[tuple[str, str]]:
    return [(effect.command.command_id, effect.message.text) for _, effect in book.ever if isinstance(effect, Execute) and effect.message]


def go_on(book: Playbook, seconds: float) -> Playbook:
    """Time passes in steps; whatever has started is done."""
    end = book.clock.mono + seconds
    while book.clock.mono < end:
        book.lives(min(30.0, end - book.clock.mono))
        for command_id, _ in sent(book):
            if book.row(command_id).status == "running":
                book.finish(command_id)
    return book


def cancel(book: Playbook, name: str, **target: Any) -> dict[str, Any]:
    book.push(name, "cancel_message", payload=target)
    return [body for _, effect in book.ever for body in acks_in(effect) if body["command_id"] == name][-1]


# --- memory -------------------------------------------------------------------------------------------------------------------


def test_f71_p10_only_the_nearest_are_at_hand() -> None:
    book = many(online(), 50)
    sizes = book.engine.sizes
    assert sizes["entries"] == sizes["by_seq"] <= 2 * NEAR
    assert (book.snapshot.scheduled_count, book.snapshot.commands.outbox) == (50, 0)
    assert [view.command_id for view in book.snapshot.scheduled][:NEAR] == ["c0", "c1"]


def test_f71_p10_without_a_way_for_their_first_acks_no_more_are_at_hand_either() -> None:
    book = Playbook(max_in_memory=5 * NEAR, websocket={"enabled": False}).started()
    for number in range(100):
        fields = to("t", "x" * 500, send_at=book.clock.utc + DAY + number)
        while not book.snapshot.polling.in_flight:
            book.after(max(0.0, book.engine.wake_at - book.clock.mono))
        book.answer_poll(command(f"c{number}", "schedule_message", payload=fields))
    assert book.engine.sizes["entries"] <= 5 * NEAR + 50 + 3 * NEAR
    assert book.snapshot.commands.outbox == 100


def test_f59_f71_a_cancel_by_several_names_means_those_of_the_first_by_which_any_wait() -> None:
    book = many(online())
    assert cancel(book, "x", schedule_id="s15", message_id="s16")["result"] == {"cancelled": "c15"}
    for command_id in ("c30", "c31"):
        book.push(command_id, "schedule_message", payload=to("t", send_at=book.clock.utc + 2 * DAY, schedule_id="c31"))
    book.lives(40)
    assert cancel(book, "y", schedule_id="c31")["result"] == {"cancelled": "c30", "also": ["c31"]}
    assert book.snapshot.scheduled_count == 19


# --- they go out all the same ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [60.0, 0.001, 0.0])
def test_f71_each_goes_out_at_its_time_with_its_own_text_and_once(step: float) -> None:
    book = many(online(executor={"concurrency": 64}), step=step)
    go_on(book, DAY - 100)
    assert sent(book) == []
    go_on(book, 100 + 20 * step)
    assert sorted(sent(book)) == sorted((f"c{number}", f"text {number}") for number in range(20))
    if step > 1:
        assert [command_id for command_id, _ in sent(book)] == [f"c{number}" for number in range(20)]
    go_on(book, 60)
    assert (book.engine.sizes["entries"], book.engine.sizes["names"], book.snapshot.scheduled_count) == (0, 0, 0)


def test_f71_p9_the_next_ones_are_read_before_they_are_due() -> None:
    book = go_on(many(online()), DAY - 41)
    for number in range(20):
        reads = book.count(Recall)
        book.after(book.engine.snapshot(book.clock.now()).scheduled[0].due_utc - book.clock.utc)
        assert sent(book)[-1][0] == f"c{number}", "in the step in which it is due"
        book.finish(f"c{number}")
        assert book.count(Recall) <= reads + 1
        go_on(book, 1)


def test_f71_a_clock_that_jumps_makes_them_due_at_once_and_none_is_lost() -> None:
    book = many(online(executor={"concurrency": 64}), step=1.0)
    book.sleep(DAY + 300)
    go_on(book, 60)
    assert len(sent(book)) == 20


def test_f71_what_is_too_late_after_a_jump_is_missed() -> None:
    book = many(online(), step=1.0)
    book.sleep(2 * DAY)
    go_on(book, 60)
    assert sent(book) == []
    assert book.row("c7").status == "failed"
    assert (book.row("c7").error or "").startswith("missed")


def test_f71_a_run_that_ends_leaves_them_to_the_next_one() -> None:
    was = many(online())
    rows = [was.remembers(f"c{number}") for number in range(20)]
    kept = tuple(Scheduled(row.seq, row.due_utc or 0.0, (f"s{number}", "all")) for number, row in enumerate(rows) if row is not None)
    book = Playbook(max_in_memory=5 * NEAR, backend={"polling": "never"})
    book.clock.utc = was.clock.utc
    book >> LedgerOpened(Memory(scheduled=kept, next_seq=99))
    book >> Started()
    asked: set[int] = set()
    while pending := [effect for _, effect in book.ever if isinstance(effect, Recall) and effect.seqs[0] not in asked]:
        for effect in pending:
            asked.update(effect.seqs)
            book >> Recalled(tuple(row for row in rows if row is not None and row.seq in effect.seqs), effect.seqs)
    assert book.engine.sizes["entries"] <= 2 * NEAR
    assert book.snapshot.scheduled_count == 20
    assert [view.command_id for view in book.snapshot.scheduled] == ["c0", "c1"]


# --- cancels and duplicates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "name"), [("command_id", "c15"), ("schedule_id", "s15"), ("command_id", "s15"), ("schedule_id", "c15")])
def test_f71_a_far_message_is_cancelled_by_each_of_its_names(key: str, name: str) -> None:
    book = many(online())
    assert cancel(book, "x", **{key: name})["result"] == {"cancelled": "c15"}
    assert (book.snapshot.scheduled_count, book.engine.sizes["tombstones"]) == (19, 0)
    go_on(book, DAY + 20 * 60)
    assert len(sent(book)) == 19
    assert "c15" not in dict(sent(book))


def test_f71_all_messages_of_a_name_are_cancelled_near_or_far() -> None:
    book = many(online())
    ack = cancel(book, "x", message_id="all")
    assert [ack["result"]["cancelled"], *ack["result"]["also"]] == [f"c{number}" for number in reversed(range(20))]
    go_on(book, DAY + 20 * 60)
    assert (sent(book), book.snapshot.scheduled_count, book.engine.sizes["names"]) == ([], 0, 0)


def test_f71_of_more_than_a_cancel_takes_at_once_it_says_that_there_may_be_more() -> None:
    book = many(online(), 150)
    first = cancel(book, "x", message_id="all")
    left = book.snapshot.scheduled_count
    assert (first["status"], first["error"]) == ("failed", f"{150 - left} messages of this name are cancelled; there may be more")
    assert 0 < left <= 50
    book.lives(40)
    second = cancel(book, "y", message_id="all")
    assert (second["status"], 1 + len(second["result"]["also"])) == ("completed", left)
    assert book.snapshot.scheduled_count == 0


def test_f71_the_operator_cancels_a_far_message() -> None:
    book = many(online())
    book >> CancelRequested("c15", book.remembers("c15"))
    book << acks("c15", status="failed", error="cancelled by the operator")
    assert book.snapshot.scheduled_count == 19
    book >> CancelRequested("nobody")
    book.told("Command nobody cannot be cancelled")


def test_f71_a_message_that_is_cancelled_while_it_is_read_is_not_sent() -> None:
    book = Playbook(max_in_memory=5 * NEAR, backend={"polling": "never"}).online()
    due = book.clock.utc + 10
    row = remembered(command("c1", "schedule_message", payload=to("t", send_at=due, schedule_id="s1")), State.SCHEDULED, 1, due_utc=due)
    book = Playbook(max_in_memory=5 * NEAR, backend={"polling": "never"}, edge={"agent_id": AGENT_ID})
    book.online(Memory(scheduled=(Scheduled(1, due, ("s1",)),), next_seq=2))
    assert book.count(Recall((1,))) == 1
    book.lives(11)
    assert (sent(book), book.snapshot.scheduled_count) == ([], 1)
    book >> CommandsReceived(book.generation, (Arrival(command("x", "cancel_message", payload={"schedule_id": "s1"}), (row,)),))
    book << acks("c1", "x")
    book >> Recalled((row,), (1,))
    assert (sent(book), book.snapshot.scheduled_count) == ([], 0)


def test_f71_f24_a_duplicate_of_a_far_message_gets_its_first_ack_again_and_is_far_again() -> None:
    book = many(online())
    before = book.engine.sizes["entries"]
    past = book.remembers("c15")
    assert past is not None
    book >> CommandsReceived(book.generation, (Arrival(past.command, (past,)),))
    book << acks("c15", status="received")
    book.lives(40)
    assert (book.engine.sizes["entries"], book.snapshot.scheduled_count) == (before, 20)
    go_on(book, DAY + 20 * 60)
    assert sent(book).count(("c15", "text 15")) == 1


# --- the disk ---------------------------------------------------------------------------------------------------------------------


def test_f71_what_is_read_while_the_disk_fails_goes_out_when_it_works() -> None:
    book = Playbook(max_in_memory=5 * NEAR, backend={"polling": "never"})
    due = book.clock.utc + 10
    book.online(Memory(scheduled=(Scheduled(1, due, ("s1",)),), next_seq=2))
    book.lives(11)
    book >> RecordFailed("full")
    row = remembered(command("c1", "schedule_message", payload=to("t", send_at=due, schedule_id="s1")), State.SCHEDULED, 1, due_utc=due)
    book >> Recalled((row,), (1,))
    assert sent(book) == []
    book >> LedgerOpened(Memory(next_seq=2))
    book << executes("c1")


def test_f71_a_message_that_cannot_be_read_is_told_and_holds_up_no_other() -> None:
    book = Playbook(max_in_memory=5 * NEAR, backend={"polling": "never"})
    due = book.clock.utc + 10
    book.online(Memory(scheduled=(Scheduled(1, due), Scheduled(2, due)), next_seq=3))
    row: Remembered = remembered(command("c2", "schedule_message", payload=to("t", send_at=due)), State.SCHEDULED, 2, due_utc=due)
    book >> Recalled((row,), (1, 2))
    book.told("The scheduled message number 1 cannot be read from the ledger", "ERROR", times=1)
    book.lives(11)
    assert [command_id for command_id, _ in sent(book)] == ["c2"]
    assert book.snapshot.scheduled_count == 0


# --- schedule.max -------------------------------------------------------------------------------------------------------------------


def test_f71_past_the_bound_messages_for_later_stay_with_the_backend_and_nothing_else_does() -> None:
    book = Playbook(schedule={"max": 8}).online()
    for number in range(12):
        later(book, number, DAY + number)
    assert (book.snapshot.scheduled_count, book.snapshot.commands.received, book.snapshot.commands.rejected) == (8, 8, 4)
    book.told("The schedule is full: 8 messages wait; new ones stay with the backend", "WARNING", times=1)
    book.push("now").finish("now") << acks("now", status="completed")
    book.push("past", "schedule_message", payload=to("p", send_at=book.clock.utc - 1)) << executes("past")
    book.push("bad", "schedule_message", payload={}) << acks("bad", status="failed")
    assert cancel(book, "x", schedule_id="s3")["result"] == {"cancelled": "c3"}


def test_f71_when_there_is_room_again_the_backend_is_asked_for_them_and_not_before() -> None:
    book = Playbook(schedule={"max": 8}, timing={"safety_sync_every": 0}).online()
    for number in range(12):
        later(book, number, DAY + number)
    polls = book.count(Poll)
    book.lives(3_600)
    assert book.count(Poll) == polls
    for number in range(2):
        cancel(book, f"x{number}", command_id=f"c{number}")
    assert book.count(Poll) == polls + 1
    missing = [command(f"c{n}", "schedule_message", payload=to("t", send_at=book.clock.utc + DAY)) for n in (8, 9, 10, 11)]
    book.answer_poll(*missing)
    assert book.snapshot.scheduled_count == 8
