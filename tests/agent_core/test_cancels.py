"""Whom a cancel means, whatever its names are and whenever it comes (PROTOCOL §2)."""

from pathlib import Path
from typing import Any

import pytest

from agent_core.events import Record, SendStatus
from agent_core.frames import Target, command_of
from agent_core.records import CommandAccepted, Memory, Remembered, State, TombstoneAdded, TombstoneRemoved, Via
from tests.harness.desk import Desk
from tests.harness.playbook import Playbook, acks, acks_in, executes, records, to


def online(**sections: Any) -> Playbook:
    return Playbook(**sections).online()


def scheduled(book: Playbook, command_id: str, after: float = 60, /, **more: Any) -> Playbook:
    return book.push(command_id, "schedule_message", payload=to(f"t-{command_id}", send_at=book.clock.utc + after, **more))


def cancel(book: Playbook, command_id: str, /, **target: Any) -> dict[str, Any]:
    """The ack of this cancel."""
    book.push(command_id, "cancel_message", payload=target)
    bodies = [body for _, effect in book.ever for body in acks_in(effect) if body["command_id"] == command_id]
    return bodies[-1]


def state_of(book: Playbook, *command_ids: str) -> list[str]:
    return [book.row(command_id).status for command_id in command_ids]


# --- A7: a name space for each kind of name ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["schedule_id", "message_id"])
def test_f59_a_cancel_by_schedule_name_means_the_message_of_this_name_and_not_the_command_of_this_id(key: str) -> None:
    book = online()
    scheduled(scheduled(book, "5", schedule_id=4), "6", schedule_id=5)
    assert cancel(book, "x", **{key: 5})["result"] == {"cancelled": "6"}
    assert state_of(book, "5", "6") == ["scheduled", "cancelled"]


def test_f59_a_cancel_by_command_id_means_the_command_of_this_id_and_not_the_message_of_this_name() -> None:
    book = online()
    scheduled(scheduled(book, "6", schedule_id="5"), "5", schedule_id="4")
    assert cancel(book, "x", command_id="5")["result"] == {"cancelled": "5"}
    assert state_of(book, "5", "6") == ["cancelled", "scheduled"]


@pytest.mark.parametrize(("key", "value"), [("schedule_id", "c1"), ("message_id", "c1"), ("command_id", "s1")])
def test_f59_where_nobody_is_called_so_the_other_kind_is_tried(key: str, value: str) -> None:
    book = scheduled(online(), "c1", schedule_id="s1")
    assert cancel(book, "x", **{key: value})["result"] == {"cancelled": "c1"}


@pytest.mark.parametrize("key", ["schedule_id", "command_id"])
def test_f59_a_name_that_was_sent_is_not_looked_for_in_the_other_kind(key: str) -> None:
    own, other = ("schedule_id", "n") if key == "schedule_id" else ("message_id", "else")
    book = online().push("n" if key == "command_id" else "c1", payload=to("t", **{own: other}))
    book.finish("n" if key == "command_id" else "c1")
    scheduled(book, "n" if key == "schedule_id" else "c2", message_id="else" if key == "schedule_id" else "n")
    assert cancel(book, "x", **{key: "n"})["error"].startswith("too late")
    assert state_of(book, "n" if key == "schedule_id" else "c2") == ["scheduled"]


@pytest.mark.parametrize(
    "stranger", [{"schedule_id": "row-77"}, {"message_id": "row-77"}, {"schedule_id": "row-77", "message_id": "row-78"}]
)
def test_f59_one_known_name_among_several_is_enough(stranger: dict[str, str]) -> None:
    book = scheduled(online(), "c1", schedule_id="s1")
    assert cancel(book, "x", command_id="c1", **stranger)["result"] == {"cancelled": "c1"}
    assert cancel(book, "y", command_id="c1", **stranger)["result"] == {"cancelled": "c1"}
    book.push("c2", payload=to("t")).finish("c2")
    assert cancel(book, "z", command_id="c2", **stranger)["error"].startswith("too late: c2")


def test_f59_of_several_names_the_first_by_which_a_message_waits_counts() -> None:
    book = online()
    book.push("c1", payload=to("t", schedule_id="s1")).finish("c1")
    scheduled(scheduled(book, "c2", message_id="m"), "c3", schedule_id="s3")
    assert cancel(book, "x", schedule_id="s1", message_id="m", command_id="c3")["result"] == {"cancelled": "c2"}
    assert state_of(book, "c3") == ["scheduled"]


def test_f59_each_of_several_names_means_only_who_is_called_so_though_the_journal_knows_more() -> None:
    book = online()
    book.push("c1", payload=to("t", schedule_id="s1")).finish("c1").lives(40)
    assert book.engine.sizes["entries"] == 0
    scheduled(book, "c2")
    assert cancel(book, "x", schedule_id="s1", message_id="c2")["result"] == {"cancelled": "c2"}


@pytest.mark.parametrize("given", [{"schedule_id": "s1"}, {"message_id": "m1"}, {}])
def test_f59_a_cancel_that_comes_first_is_remembered_by_each_of_its_names(given: dict[str, str]) -> None:
    book = online()
    assert cancel(book, "x", schedule_id="s1", message_id="m1", command_id="c1")["result"] == {"unknown": "s1"}
    scheduled(book, "other" if given else "c1", **given)
    assert state_of(book, "other" if given else "c1") == ["cancelled"]


def test_f59_a_tombstone_remembers_the_kind_of_its_name() -> None:
    book = online()
    assert cancel(book, "x", schedule_id="5")["result"] == {"unknown": "5"}
    scheduled(scheduled(book, "5", schedule_id="4"), "6", schedule_id="5")
    assert state_of(book, "5", "6") == ["scheduled", "cancelled"]
    assert cancel(book, "y", command_id="8")["result"] == {"unknown": "8"}
    scheduled(scheduled(book, "7", schedule_id="8"), "8")
    assert state_of(book, "7", "8") == ["scheduled", "cancelled"]


def test_f59_a_message_without_a_schedule_name_is_called_by_its_command_id() -> None:
    book = online()
    cancel(book, "x", schedule_id="c1")
    scheduled(book, "c1") << acks("c1", status="failed", error="cancelled by x")


def test_f59_every_message_of_a_name_is_cancelled() -> None:
    book = online()
    for command_id in ("c1", "c2", "c3"):
        scheduled(book, command_id, message_id="m")
    assert cancel(book, "x", message_id="m")["result"] == {"cancelled": "c1", "also": ["c2", "c3"]}
    book.lives(90)
    assert book.count(executes("c1")) + book.count(executes("c2")) + book.count(executes("c3")) == 0


# --- A8, A16: what is a name ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 201, "n" * 10_000, True, False, 1.5, [], {}, "a\nb"])
@pytest.mark.parametrize("key", ["schedule_id", "message_id"])
def test_f60_f68_what_is_no_name_is_refused_at_both_ends(key: str, name: object) -> None:
    book = online()
    scheduled(book, "c1", **{key: name})
    book << acks("c1", status="failed", error=f"invalid {key}: 1 to 200 printable characters expected")
    assert cancel(book, "x", **{key: name})["error"] == f"invalid {key}: 1 to 200 printable characters expected"


def test_f60_names_of_200_characters_are_compared_whole() -> None:
    book = online()
    scheduled(scheduled(book, "c1", schedule_id="n" * 199 + "a"), "c2", schedule_id="n" * 199 + "b")
    assert cancel(book, "x", schedule_id="n" * 199 + "b")["result"] == {"cancelled": "c2"}
    assert state_of(book, "c1", "c2") == ["scheduled", "cancelled"]


def test_f60_a_cancel_by_a_name_that_is_too_long_hits_nobody() -> None:
    book = scheduled(online(), "c1", schedule_id="n" * 200)
    assert cancel(book, "x", schedule_id="n" * 201)["status"] == "failed"
    assert state_of(book, "c1") == ["scheduled"]


@pytest.mark.parametrize("empty", ["", None])
def test_f68_an_empty_name_is_none(empty: object) -> None:
    book = scheduled(online(), "c1", schedule_id=empty, message_id=empty)
    book << acks("c1", status="received", result={"schedule_id": "c1"})
    assert cancel(book, "x", schedule_id=empty, command_id="c1")["result"] == {"cancelled": "c1"}
    assert cancel(book, "y", schedule_id=empty, message_id=empty)["error"] == "missing schedule_id, message_id or command_id"


# --- A9: too late, by every name, before and after the proof ----------------------------------------------------------------


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize(("key", "name"), [
    ("schedule_id", "s1"), ("message_id", "m1"), ("command_id", "c1"), ("command_id", "s1"), ("schedule_id", "c1"),
])  # fmt: skip
@pytest.mark.parametrize("due", [None, 5.0])
def test_f61_a_cancel_of_what_is_sent_is_too_late(proven: bool, key: str, name: str, due: float | None) -> None:
    book = online()
    if due is None:
        book.push("c1", payload=to("t", schedule_id="s1", message_id="m1"))
    else:
        scheduled(book, "c1", due, schedule_id="s1", message_id="m1").lives(due + 1)
    book.finish("c1")
    if proven:
        book.lives(40)
        assert book.engine.sizes["entries"] == 0
    ack = cancel(book, "x", **{key: name})
    assert (ack["status"], ack["error"]) == ("failed", "too late: c1 is completed")
    assert book.engine.sizes["tombstones"] == 0


def test_f61_a_second_cancel_says_what_the_first_said_after_the_proof_too() -> None:
    book = scheduled(online(), "c1", message_id="m1")
    assert cancel(book, "x", message_id="m1")["result"] == {"cancelled": "c1"}
    book.lives(40)
    assert cancel(book, "y", message_id="m1")["result"] == {"cancelled": "c1"}


def test_f61_the_newest_message_of_a_name_counts() -> None:
    book = scheduled(online(), "c1", 5, message_id="m").lives(6)
    book.finish("c1").lives(40)
    scheduled(book, "c2", message_id="m")
    assert cancel(book, "x", message_id="m")["result"] == {"cancelled": "c2"}
    book.lives(40)
    assert cancel(book, "y", message_id="m")["result"] == {"cancelled": "c2"}


def test_f61_the_journal_finds_a_message_by_each_of_its_names_whatever_became_of_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.open()
    for seq in (1, 2):
        payload = to("t", "hi", schedule_id="s", message_id=f"m{seq}")
        command = command_of({"command_id": f"c{seq}", "command_type": "send_message", "payload": payload})
        entry = Remembered(seq, command, Via.WS, State.COMPLETED, 1.0 * seq, ack="{}")
        desk.write(CommandAccepted(entry, names=("s", f"m{seq}")))
    assert [desk.target(name).seq for name in ("s", "m1", "m2")] == [2, 1, 2]
    desk.journal.close()


# --- A12: a clock that is set ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [56 * 365 * 86_400.0, 3_600.0, -3_600.0, -30 * 86_400.0])
def test_f64_a_cancel_that_came_first_holds_when_the_clock_is_set(step: float) -> None:
    book = online()
    cancel(book, "x", schedule_id="s1")
    book.sleep(step).lives(10)
    scheduled(book, "c1", schedule_id="s1") << acks("c1", status="failed", error="cancelled by x")


@pytest.mark.parametrize("step", [-30 * 86_400.0, -3_600.0, 1_800.0])
def test_f64_and_for_no_longer_than_it_should(step: float) -> None:
    book = online(ledger={"tombstone_hours": 1})
    cancel(book, "x", schedule_id="s1")
    book.sleep(step).lives(3_601)
    scheduled(book, "c1", schedule_id="s1") << acks("c1", status="received")


def test_f64_a_cancel_of_a_run_in_the_future_holds_for_its_hours_and_no_longer() -> None:
    left = TombstoneAdded(Target("s1"), "x", Playbook().clock.utc + 14 * 365 * 86_400)
    book = Playbook(ledger={"tombstone_hours": 1}).online(Memory(tombstones=(left,)))
    book.lives(3_601)
    scheduled(book, "c1", schedule_id="s1") << acks("c1", status="received")


def test_f64_uptime_does_not_jump_with_the_clock() -> None:
    book = online()
    book.sleep(-86_400).lives(70)
    assert 60 <= book.find(SendStatus).uptime_seconds <= 70


# --- A17: tombstones are bounded and say so -----------------------------------------------------------------------------------


def test_f69_a_cancel_that_cannot_be_remembered_fails_and_is_told() -> None:
    book = online(executor={"max_pending": 3})
    for number in range(3):
        assert cancel(book, f"x{number}", schedule_id=f"s{number}")["status"] == "completed"
    ack = cancel(book, "x3", schedule_id="s3")
    assert (ack["status"], ack["error"]) == ("failed", "unknown, and 3 cancels of unknown names are remembered already")
    book.told("Command x3 failed: unknown, and 3 cancels", "WARNING")
    assert cancel(book, "x4", schedule_id="s0")["status"] == "completed", "its name is remembered already"


def test_f69_a_tombstone_that_did_its_work_goes_here_and_on_disk() -> None:
    book = online(executor={"max_pending": 1})
    cancel(book, "x", schedule_id="s1")
    scheduled(book, "c1", schedule_id="s1") << records(TombstoneRemoved, CommandAccepted) << acks("c1", error="cancelled by x")
    assert book.engine.sizes["tombstones"] == 0
    assert cancel(book, "y", schedule_id="s2")["status"] == "completed"
    scheduled(book, "c2", schedule_id="s1")
    assert state_of(book, "c2") == ["scheduled"]


def test_f69_tombstones_that_are_over_make_room() -> None:
    book = online(executor={"max_pending": 2}, ledger={"tombstone_hours": 1})
    cancel(book, "x", schedule_id="s1")
    book.lives(1_800)
    cancel(book, "y", schedule_id="s2")
    assert cancel(book, "z", schedule_id="s3")["status"] == "failed"
    book.lives(1_801)
    assert cancel(book, "z2", schedule_id="s3")["status"] == "completed"
    scheduled(scheduled(book, "c1", schedule_id="s1"), "c2", schedule_id="s2")
    assert state_of(book, "c1", "c2") == ["scheduled", "cancelled"]


def test_f69_both_cancels_that_came_before_a_message_have_done_their_work() -> None:
    book = online()
    cancel(book, "x", schedule_id="s1")
    cancel(book, "y", command_id="c1")
    scheduled(book, "c1", schedule_id="s1")
    taken = [change for _, effect in book.ever if isinstance(effect, Record) for change in effect.changes]
    assert [change.target for change in taken if isinstance(change, TombstoneRemoved)] == [Target("c1", by_id=True), Target("s1")]


def test_f59_f69_the_journal_keeps_the_kind_of_a_tombstone_and_forgets_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.open()
    both = [TombstoneAdded(Target("n", by_id=by_id), "x", 9e9) for by_id in (False, True)]
    desk.write(*both)
    desk.write(TombstoneRemoved(Target("n")))
    desk.journal.close()
    again = Desk(tmp_path)
    assert again.open().tombstones == (both[1],)
    again.journal.close()
