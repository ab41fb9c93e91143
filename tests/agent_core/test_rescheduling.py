"""Scheduled messages are listed, and get another text or time (PROTOCOL §2)."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.clock import iso
from agent_core.entries import EffectClass, Trait
from agent_core.frames import Command, Message
from agent_core.journal.opening import FILE_NAME
from agent_core.records import CommandAccepted, CommandChanged, Memory, Outcome, State
from tests.harness.desk import UTC, Desk, reopened, took
from tests.harness.playbook import Playbook, acks, acks_in, command, executes, records, to
from tests.harness.rig import AGENT, config, living, message, served, settled

ANN = "+13105550100"


def scheduled(book: Playbook, command_id: str, seconds: float, thread: str = ANN, **more: Any) -> Playbook:
    return book.push(command_id, "schedule_message", payload=to(thread, command_id, send_at=book.clock.utc + seconds, **more))


class Sent:
    """A messenger that is done at once: what went when."""

    def __init__(self) -> None:
        self.texts: list[tuple[float, str]] = []

    def send(self, seq: int, command: Command, message: Message | None, utc: float) -> Outcome:
        assert message is not None
        self.texts.append((utc, message.text))
        return Outcome()

    def book(self, **how: Any) -> Playbook:
        trait = Trait(EffectClass.TRANSACTIONAL, sends=True, inline=self.send)
        return Playbook(traits={"schedule_message": trait}, **how).online()


def changed(book: Playbook, by: str, kind: str = "change_scheduled", **payload: Any) -> Playbook:
    return book.push(by, kind, payload=payload)


def result(book: Playbook, command_id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(body for _, effect in reversed(book.ever) for body in acks_in(effect) if body["command_id"] == command_id)
    return found


# --- change --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command_type", ["change_scheduled", "reschedule_message"])
def test_another_time_earlier_or_later(command_type: str) -> None:
    sent = Sent()
    book = sent.book()
    scheduled(book, "c1", 600)
    scheduled(book, "c2", 600, "+2", schedule_id="s2")
    at = book.clock.utc
    changed(book, "c3", command_type, command_id="c1", send_at=iso(at + 60)) << records(CommandChanged, CommandAccepted)
    book << acks("c3", status="completed", result={"changed": "c1", "send_at": iso(at + 60)})
    changed(book, "c4", command_type, schedule_id="s2", schedule_time=at + 900)
    book.lives(1_000)
    assert [(round(utc - at), text) for utc, text in sent.texts] == [(60, "c1"), (900, "c2")]


def test_another_text_at_the_same_time_under_whatever_key() -> None:
    book = Playbook().online()
    book.push("c1", "schedule_message", payload={"thread_id": ANN, "message": "old", "at": book.clock.utc + 60})
    changed(book, "c2", command_id="c1", text="new") << acks("c2", status="completed")
    book.lives(61)
    assert book.find(executes("c1")).message.text == "new"
    assert book.find(executes("c1")).command.payload == {"thread_id": ANN, "text": "new", "at": book.clock.utc - 61 + 60}


def test_a_time_that_is_now_sends_at_once() -> None:
    book = Playbook().online()
    scheduled(book, "c1", 600)
    changed(book, "c2", command_id="c1", send_at=book.clock.utc) << executes("c1")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"command_id": "c1"}, "missing text or send_at"),
        ({"text": "new"}, "missing schedule_id, message_id or command_id"),
        ({"command_id": "c1", "text": ""}, "invalid text: expected some"),
        ({"command_id": "c1", "send_at": "soon"}, "invalid send_at: not a time: ISO 8601 or Unix seconds expected"),
        ({"command_id": "c1", "send_at": 1_793_900_000}, "invalid send_at: 2h 56m ago"),
        ({"command_id": "nobody", "text": "new"}, "unknown: nobody"),
        ({"command_id": "c2", "text": "new"}, "cannot be changed: c2 is running"),
        ({"schedule_id": "both", "text": "new"}, "2 messages have this name: name one by its command_id"),
    ],
)
def test_what_cannot_be_changed_is_told_and_stays_as_it_was(payload: dict[str, Any], error: str) -> None:
    book = Playbook().online()
    scheduled(book, "c1", 600)
    book.push("c2", "send_message", payload=to("+2"))
    for name in ("c3", "c4"):
        scheduled(book, name, 600, "+3", schedule_id="both")
    changed(book, "c9", **payload) << acks("c9", status="failed", error=error)
    assert book.count(records(CommandChanged)) == 0
    book.lives(601)
    assert book.find(executes("c1")).message.text == "c1"


def test_one_that_has_been_sent_cannot_be_changed() -> None:
    book = Playbook().online()
    scheduled(book, "c1", 1)
    book.lives(2)
    book.finish("c1").pong()
    changed(book, "c2", command_id="c1", text="new") << acks("c2", status="failed", error="cannot be changed: c1 is completed")


def test_the_message_that_was_changed_comes_again_as_it_was_and_nobody_is_alarmed() -> None:
    book = Playbook().online()
    scheduled(book, "c1", 600)
    payload = to(ANN, "c1", send_at=book.clock.utc + 600)
    changed(book, "c2", command_id="c1", text="new")
    book.push("c1", "schedule_message", payload=payload) << acks("c1", status="received")
    book.untold("other content")
    book.lives(601)
    assert book.find(executes("c1")).message.text == "new"


def test_far_messages_are_changed_too_and_each_keeps_its_own_text() -> None:
    sent = Sent()
    book = sent.book(max_in_memory=10)
    began = book.clock.utc
    for number in range(40):
        book.push(f"c{number}", "schedule_message", payload=to(f"+{number}", f"c{number}", send_at=began + 1_000 + number))
        book.lives(1)
    changed(book, "x1", command_id="c39", text="new 39") << acks("x1", status="completed")
    changed(book, "x2", command_id="c38", send_at=began + 60) << acks("x2", status="completed")
    changed(book, "x3", command_id="c1", send_at=began + 5_000) << acks("x3", status="completed")
    book.lives(6_000)
    expected = {60: "c38", 5_000: "c1", 1_039: "new 39"} | {1_000 + number: f"c{number}" for number in range(38) if number != 1}
    assert {round(utc - began): text for utc, text in sent.texts} == expected
    assert len(sent.texts) == 40


def test_a_change_that_is_not_on_disk_yet_keeps_the_message_at_hand() -> None:
    sent = Sent()
    book = sent.book(max_in_memory=10)
    began = book.clock.utc
    for number in range(40):
        book.push(f"c{number}", "schedule_message", payload=to(f"+{number}", f"c{number}", send_at=began + 1_000 + number))
        book.lives(1)
    book.disk_is_prompt = False
    for number in range(30, 40):
        changed(book, f"x{number}", command_id=f"c{number}", text=f"new {number}")
    book.lives(30)
    assert all(not book.engine.needs(command(f"c{number}")) for number in range(30, 40)), "whose record may be the old one"
    changed(book, "x1", command_id="c39", send_at=book.clock.utc + 5)
    book.lives(6)
    assert [text for _, text in sent.texts] == ["new 39"]


def test_in_a_real_ledger_a_change_survives_a_restart(desk: Desk, desks: list[Desk]) -> None:
    desk.write(took(1, state=State.SCHEDULED, due_utc=UTC + 60), took(2, state=State.SCHEDULED, due_utc=UTC + 90))
    desk.write(CommandChanged(2, {"thread_id": "+1", "text": "new"}, UTC + 30.5, "cmd_9"))
    again, memory = reopened(desk, desks)
    assert [(one.seq, one.due_utc) for one in memory.scheduled] == [(1, UTC + 60), (2, UTC + 30.5)]
    found = again.found("cmd_2")
    assert (found.command.payload["text"], found.due_utc, found.changed_by) == ("new", UTC + 30.5, "cmd_9")


# --- list ----------------------------------------------------------------------------------------------------------------


def test_the_next_messages_are_listed_soonest_first() -> None:
    book = Playbook().online()
    scheduled(book, "c1", 600, schedule_id="s1")
    at = book.clock.utc
    book.push("c2", "schedule_message", payload=to("+2", send_at=at + 300), expires_at=at + 900)
    book.push("c3", "send_message", payload=to("+3"))
    book.push("c4", "list_scheduled", payload={}) << acks("c4", status="completed")
    assert result(book, "c4")["result"] == {
        "count": 2,
        "scheduled": [
            {"command_id": "c2", "schedule_id": "c2", "thread_id": "+2", "send_at": iso(at + 300), "expires_at": iso(at + 900)},
            {"command_id": "c1", "schedule_id": "s1", "thread_id": ANN, "send_at": iso(at + 600)},
        ],
    }
    book.push("c5", "list_scheduled", payload={"limit": 1})
    assert [one["command_id"] for one in result(book, "c5")["result"]["scheduled"]] == ["c2"]


def test_far_ones_are_in_the_list_and_an_empty_list_is_one() -> None:
    book = Playbook(max_in_memory=10).online()
    book.push("l0", "list_scheduled", payload={})
    assert result(book, "l0")["result"] == {"count": 0, "scheduled": []}
    for number in range(120):
        scheduled(book, f"c{number}", 1_000 + number, f"+{number}")
        book.lives(0.1)
    book.push("l1", "list_scheduled", payload={})
    listed = result(book, "l1")["result"]
    assert listed["count"] == 120
    assert [one["command_id"] for one in listed["scheduled"]] == [f"c{number}" for number in range(100)]


@pytest.mark.parametrize("limit", [0, 101, "10", True, None, 1.5])
def test_a_limit_that_is_none_fails(limit: object) -> None:
    Playbook().online().push("c1", "list_scheduled", payload={"limit": limit}) << acks("c1", status="failed")


def test_a_restart_later_all_is_listed() -> None:
    book = Playbook().online(Memory())
    book.push("c1", "list_scheduled", payload={}) << acks("c1", status="completed")


async def test_over_a_real_link_a_message_is_changed_listed_and_sent(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        now = here.agent.snapshot().utc
        first = await backend.queue(AGENT, "schedule_message", message("old") | {"send_at": iso(now + 3_600), "schedule_id": "s1"})
        change = await backend.queue(AGENT, "change_scheduled", {"schedule_id": "s1", "text": "new"})
        listing = await backend.queue(AGENT, "list_scheduled", {})
        await settled(backend, change, listing)
        moved = await backend.queue(AGENT, "reschedule_message", {"schedule_id": "s1", "send_at": iso(now)})
        await settled(backend, first, moved)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("SELECT text FROM outbox").fetchall() == [("new",)]
