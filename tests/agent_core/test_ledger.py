"""The commands: once in effect, each ack proven (PROTOCOL §4, PROMISES P1–P3)."""

import itertools
import json
import random
from typing import Any

import pytest

from agent_core.clock import iso
from agent_core.events import (
    CancelRunning,
    CloseSocket,
    CommandFinished,
    CommandsReceived,
    Execute,
    Finish,
    LedgerOpened,
    Lost,
    Poll,
    PollAnswered,
    PollFailed,
    Ponged,
    PostAcks,
    Recall,
    Recalled,
    Record,
    Recorded,
    RecordFailed,
    ReplayRequested,
    Send,
    SetLogLevel,
    Started,
    StopRequested,
)
from agent_core.frames import Command, Target
from agent_core.records import (
    AcksProven,
    Arrival,
    CommandAccepted,
    CommandEnded,
    DuplicateSeen,
    Memory,
    Named,
    OutboxRow,
    Remembered,
    SettingStored,
    State,
    TombstoneAdded,
)
from tests.harness.playbook import (
    NOTHING,
    THREAD,
    Playbook,
    acks,
    acks_in,
    carries,
    command,
    executes,
    http,
    lost,
    posted,
    posts,
    records,
    refused,
    remembered,
    to,
)


def online(**sections: Any) -> Playbook:
    return Playbook(**sections).online()


def offline(**sections: Any) -> Playbook:
    """The socket is out of reach; the first poll is answered."""
    return Playbook(websocket={"enabled": False}, **sections).started().answer_poll()


def polled(book: Playbook, *commands: Command) -> Playbook:
    """The next poll brings these."""
    while not book.snapshot.polling.in_flight:
        book.after(max(0.0, book.engine.wake_at - book.clock.mono))
    return book.answer_poll(*commands)


def ran(book: Playbook) -> list[str]:
    return [effect.command.command_id for _, effect in book.ever if isinstance(effect, Execute)]


def all_acks(book: Playbook, command_id: str) -> list[str]:
    """Every ack of this command as it went out, by whichever way."""
    return [json.dumps(body) for _, effect in book.ever for body in acks_in(effect) if body["command_id"] == command_id]


# --- one command, from arrival to proof --------------------------------------------------------------------------------


def test_a_command_is_recorded_run_recorded_acked_and_proven() -> None:
    book = online()
    book.push("c1") << records(CommandAccepted) << executes("c1") << NOTHING
    assert book.row("c1").status == "running"
    book.finish("c1", result={"n": 1}) << records(CommandEnded)
    book << acks("c1", status="completed", success=True, error=None, result={"n": 1}) << NOTHING
    assert (book.row("c1").status, book.snapshot.commands.outbox) == ("sent", 1)
    book.lives(12)
    assert (book.row("c1").status, book.snapshot.commands.outbox, book.snapshot.commands.proven) == ("acked", 0, 1)
    book.told("Received command via WebSocket: c1").told("Command c1 executed successfully")


def test_a_handler_that_fails_gets_a_failed_ack() -> None:
    book = online()
    book.push("c1").finish("c1", "no such number") << acks("c1", status="failed", success=False, error="no such number", completed_at=None)
    assert book.row("c1").status == "failed"


@pytest.mark.parametrize(
    ("dialect", "has", "lacks"),
    [
        ("superset", {"status": "completed", "success": True}, set()),
        ("success", {"success": True}, {"status"}),
        ("status", {"status": "completed"}, {"success"}),
    ],
)
def test_the_ack_speaks_the_configured_dialect(dialect: str, has: dict[str, object], lacks: set[str]) -> None:
    book = online(ack={"dialect": dialect}).push("c1").finish("c1")
    (body,) = acks_in(book.find(acks("c1")))
    assert has.items() <= body.items()
    assert not lacks & body.keys()


def test_an_unknown_type_gets_a_failed_ack_and_runs_nothing() -> None:
    book = online().push("c1", "make_coffee\x1b")
    book << acks("c1", status="failed", error="invalid command_type")
    book.push("c2", "make_coffee") << acks("c2", status="failed", error="unsupported_command_type: make_coffee")
    assert ran(book) == []


@pytest.mark.parametrize(
    ("kind", "payload", "error"),
    [
        ("send_message", [1], "invalid payload: not an object"),
        ("send_message", "text", "invalid payload: not an object"),
        ("send_message", {}, "missing text"),
        ("send_message", {"text": "hi"}, "missing thread_id"),
        ("send_message", {"thread_id": [], "text": "hi"}, "missing thread_id"),
        ("send_message", {"thread_id": THREAD}, "missing text"),
        ("send_message", {"thread_id": THREAD, "text": 7}, "missing text"),
        ("send_message", to(THREAD, schedule_time="soon"), "invalid send_at: not a time: ISO 8601 or Unix seconds expected"),
        ("schedule_message", to(THREAD), "missing send_at"),
        ("schedule_message", to(THREAD, send_at={}), "invalid send_at: not a time: ISO 8601 or Unix seconds expected"),
        ("schedule_message", to(THREAD, send_at=10**400), "invalid send_at: not a time: ISO 8601 or Unix seconds expected"),
        ("cancel_message", {}, "missing schedule_id, message_id or command_id"),
        ("cancel_scheduled", {"message_id": None}, "missing schedule_id, message_id or command_id"),
    ],
)
def test_f33_a_command_that_cannot_be_run_gets_a_failed_ack_that_says_why(kind: str, payload: object, error: str) -> None:
    book = online()
    book.push("c1", kind, payload=payload) << records(CommandAccepted) << acks("c1", status="failed", error=error)
    assert ran(book) == []


def test_a_command_older_than_the_ledgers_memory_is_refused() -> None:
    book = online()
    book >> Recorded(0, horizon_utc=book.clock.utc - 100)
    book.push("c1", timestamp=iso(book.clock.utc - 200)) << acks("c1", status="failed", error="expired: older than the ledger remembers")
    book.push("c2", timestamp=iso(book.clock.utc - 50)) << executes("c2")


NO_TIMES = ["0001-01-01T00:00:00Z", 0, "0", 1, "1970-01-01T00:00:00.000Z", "1601-01-01T00:00:00Z", "1999-12-31T23:59:59Z"]


@pytest.mark.parametrize("stamp", NO_TIMES)
@pytest.mark.parametrize("forgotten", [0.0, 100.0])
def test_f62_a_command_of_an_implausible_time_runs_with_a_warning(stamp: object, forgotten: float) -> None:
    book = online()
    book >> Recorded(0, horizon_utc=forgotten and book.clock.utc - forgotten)
    book.push("c1", timestamp=stamp) << executes("c1")
    book.told("Command c1: an implausible timestamp, taken as none", "WARNING")


def test_f62_a_ledger_that_has_forgotten_nothing_refuses_nobody() -> None:
    book = online()
    book.push("c1", timestamp="2000-01-01T00:00:00Z") << executes("c1")
    book.untold("timestamp")


# --- once --------------------------------------------------------------------------------------------------------------


def test_f24_a_duplicate_of_a_running_command_is_silent() -> None:
    book = online().push("c1").push("c1").push("c1")
    book << records(DuplicateSeen) << NOTHING
    assert ran(book) == ["c1"]
    assert book.finish("c1").count(acks("c1")) == 1
    assert book.snapshot.commands.duplicates == 2


def test_f24_a_duplicate_of_a_finished_command_gets_the_stored_ack_byte_for_byte() -> None:
    book = online().push("c1").finish("c1", result={"z": 1, "a": [1.5, None]})
    book.lives(5).push("c1") << records(DuplicateSeen) << acks("c1")
    first, again = all_acks(book, "c1")
    assert first == again
    assert ran(book) == ["c1"]


def test_f26_a_duplicate_after_the_proof_and_after_a_restart_gets_the_stored_ack() -> None:
    stored = '{"command_id":"c1","status":"completed","note":"as it was written"}'
    past = remembered(command("c1"), State.COMPLETED, ack=stored, proven_utc=1_793_910_001.0, finished_utc=1_793_910_000.5)
    book = online()
    book >> CommandsReceived(1, (Arrival(command("c1"), (past,)),))
    assert stored in book.find(acks("c1")).frames[0]
    assert ran(book) == []
    assert book.snapshot.commands.received == 0
    book.lives(30)
    assert book.engine.sizes["entries"] == 0


def test_f25_the_same_id_by_socket_and_by_poll_runs_once() -> None:
    book = online(backend={"polling": "always"}).push("c1")
    polled(book, command("c1"))
    book.finish("c1")
    assert ran(book) == ["c1"]
    book = offline()
    polled(book, command("c2"), command("c2"))
    assert ran(book) == ["c2"]


def test_the_same_id_with_other_content_is_not_run_and_warned_of() -> None:
    book = online().push("c1").finish("c1")
    book.push("c1", payload=to(THREAD, "other")) << acks("c1", status="completed")
    book.told("c1 came again with other content; it is not run", "WARNING")
    assert ran(book) == ["c1"]
    book.push("c1", payload={"text": "hi", "thread_id": THREAD})
    book.told("c1 is a duplicate", "INFO", times=1)


def test_a_duplicate_does_not_overtake_an_ack_that_is_still_waiting() -> None:
    book = offline()
    polled(book, command("c1"))
    book.finish("c1") << posts("c1") << NOTHING
    polled(book, command("c1"))
    book.never(PostAcks)


def test_hundreds_of_commands_three_times_over_take_effect_once_each() -> None:
    book = online(backend={"polling": "always"})
    ids = [f"c{n}" for n in range(300)]
    for _, command_id in itertools.product(range(2), ids):
        book.push(command_id, "look", payload={})
        if book.snapshot.commands.running:
            book.finish(command_id)
    polled(book, *(command(one, "look", payload={}) for one in ids))
    assert sorted(ran(book)) == sorted(ids)
    assert len({json.loads(text)["command_id"] for one in ids for text in all_acks(book, one)}) == 300


def test_a_second_finish_changes_nothing() -> None:
    book = online().push("c1").finish("c1").finish("c1", "again")
    book << NOTHING
    book >> CommandFinished(999)
    book << NOTHING


# --- order -------------------------------------------------------------------------------------------------------------


def test_p3_one_conversation_is_first_in_first_out_one_at_a_time() -> None:
    book = online()
    for n in range(5):
        book.push(f"c{n}")
    assert ran(book) == ["c0"]
    for n in range(5):
        book.finish(f"c{n}")
    assert ran(book) == [f"c{n}" for n in range(5)]


def test_p3_conversations_go_side_by_side_as_many_as_allowed() -> None:
    book = online(executor={"concurrency": 3})
    for n in range(5):
        book.push(f"c{n}", payload=to(f"thread-{n}"))
    assert ran(book) == ["c0", "c1", "c2"]
    assert (book.snapshot.commands.running, book.snapshot.commands.queued) == (3, 2)
    book.finish("c1") << executes("c3")
    book.finish("c3") << executes("c4")


def test_p3_immediate_and_high_overtake_within_and_between_conversations() -> None:
    book = online(executor={"concurrency": 1})
    book.push("running").push("n1").push("n2", payload=to("other"))
    book.push("h1", priority="high").push("i1", priority="IMMEDIATE", payload=to("third")).push("low", priority="low")
    for n in range(5):
        book.finish(ran(book)[n])
    assert ran(book)[:3] == ["running", "i1", "h1"]
    assert ran(book).index("n1") < ran(book).index("low")


def test_p3_random_traffic_keeps_the_order_of_each_lane() -> None:
    dice = random.Random(5)
    book = online()
    arrived: dict[str, list[str]] = {}
    for n in range(400):
        lane, name = f"t{dice.randrange(6)}", f"c{n}"
        arrived.setdefault(lane, []).append(name)
        book.push(name, payload=to(lane))
        running = [one for one in ran(book) if book.row(one).status == "running"]
        if running and dice.random() < 0.8:
            book.finish(dice.choice(running))
    while running := [one for one in ran(book) if book.row(one).status == "running"]:
        book.finish(dice.choice(running))
    order = ran(book)
    for names in arrived.values():
        assert [one for one in order if one in set(names)] == names
    assert book.snapshot.commands.queued == 0


def test_a_timeout_is_the_agents_matter_and_a_lane_that_is_slow_holds_up_no_other() -> None:
    book = online().push("slow").push("after").push("other", payload=to("x")) << executes("other")
    book.lives(3600)
    assert book.row("slow").status == "running"
    book.finish("slow", "timed out after 60 s") << executes("after")


# --- the disk comes first ----------------------------------------------------------------------------------------------


def test_p1_nothing_runs_and_nothing_is_acked_before_the_disk_has_it() -> None:
    book = online()
    book.disk_is_prompt = False
    book.push("c1") << records(CommandAccepted) << NOTHING
    book >> Recorded(1)
    book << executes("c1")
    book.finish("c1") << records(CommandEnded) << NOTHING
    book.push("c1") << records(DuplicateSeen) << NOTHING
    book >> Recorded(2)
    book << acks("c1") << NOTHING
    book >> Recorded(3)
    book << NOTHING


def test_an_answer_for_one_ticket_covers_none_after_it() -> None:
    book = online()
    book.disk_is_prompt = False
    book.push("c1").push("c2", payload=to("x"))
    book >> Recorded(1)
    book << executes("c1") << NOTHING


def test_one_answer_covers_all_tickets_before_it() -> None:
    book = online()
    book.disk_is_prompt = False
    book.push("c1").push("c2", payload=to("x"))
    book >> Recorded(2)
    book << executes("c1") << executes("c2")


def test_an_ack_without_a_change_of_its_own_waits_for_what_is_on_its_way() -> None:
    book = online().push("c1").finish("c1")
    book.disk_is_prompt = False
    book.push("c2", payload=to("x")).push("c1")
    book.never(Send)
    book >> Recorded(book.find(Record).ticket)
    book << executes("c2") << acks("c1")


def test_what_touches_only_the_ledger_starts_at_once_and_its_effect_is_in_the_same_record() -> None:
    book = online()
    book.disk_is_prompt = False
    book.push("c1", "note") << executes("c1") << records(CommandAccepted)
    row = OutboxRow(1, "c1", THREAD, "hi", book.clock.utc)
    book.finish("c1", row=row) << records(CommandEnded)
    (ended,) = book.find(Record).changes
    assert ended.effect == row
    book.never(Send)


def test_last_command_id_is_told_only_once_it_is_on_disk() -> None:
    book = offline()
    book.disk_is_prompt = False
    polled(book, command("c1"))
    book.after(20)
    assert book.find(Poll).last_command_id is None
    book.answer_poll() >> Recorded(1)
    book.after(20)
    assert book.find(Poll).last_command_id == "c1"


def test_last_command_id_outlives_a_restart() -> None:
    book = Playbook(websocket={"enabled": False}).started(Memory(last_command_id="c9"))
    assert book.find(Poll).last_command_id == "c9"


def test_before_the_ledger_is_open_nothing_is_taken() -> None:
    book = Playbook()
    book >> Started()
    book.online().push("c1") << NOTHING
    assert book.snapshot.commands.rejected == 1
    book >> LedgerOpened()
    book << Poll
    book.answer_poll(command("c1")) << executes("c1")


def test_a_full_disk_closes_the_intake_keeps_the_link_and_ends_by_itself_with_a_sync() -> None:
    book = online()
    book.disk_is_prompt = False
    book.push("c1").push("q1")
    book >> Recorded(2)
    book.finish("c1")
    book >> RecordFailed("database or disk is full")
    assert book.snapshot.disk.trouble == "database or disk is full"
    book.never(acks("c1"), executes("q1"))
    book.push("c2") << NOTHING
    book.push("c1") << NOTHING
    book.told("database or disk is full", "ERROR", times=1)
    book >> RecordFailed("database or disk is full")
    book.told("database or disk is full", "ERROR", times=1)
    assert book.lives(60).phase == "online"
    book >> Recorded(3)
    book << Poll << acks("c1")
    assert book.snapshot.disk.ok
    book.told("taking commands")
    book >> Recorded(book.find(Record).ticket)
    assert ran(book) == ["c1", "q1"]


def test_a_duplicate_that_comes_while_the_disk_fails_is_not_asked_for_again() -> None:
    book = online()
    book >> RecordFailed("full")
    book >> CommandsReceived(book.generation, (Arrival(command("c1"), (ended("c1", 1),)),))
    assert book.engine.sizes["rejected_ids"] == 0
    assert (book.snapshot.commands.duplicates, book.snapshot.commands.rejected) == (1, 0)


def test_half_a_surrogate_pair_in_an_error_can_be_written() -> None:
    book = online().push("c1").finish("c1", "no such file: \udcff")
    changes = [change for _, effect in book.ever if isinstance(effect, Record) for change in effect.changes]
    assert [change.error for change in changes if isinstance(change, CommandEnded)] == ["no such file: ?"]


def test_p10_a_disk_that_is_slow_but_does_not_fail_fills_no_memory() -> None:
    book = online(executor={"max_pending": 4})
    book.disk_is_prompt = False
    for number in range(4):
        book.push(f"n{number}", "look", payload={}).finish(f"n{number}")
    book.push("n4", "look", payload={}).push("n5", "look", payload={})
    assert (book.snapshot.commands.received, book.snapshot.commands.rejected) == (4, 2)
    book.told("Intake is full: 4 commands are waiting", "WARNING", times=1)
    book.disk_is_prompt = True
    book >> Recorded(book.find(Record).ticket)
    book << Poll
    book.answer_poll(command("n4", "look", payload={}))
    assert book.snapshot.commands.received == 5


def test_what_was_turned_away_while_the_disk_was_full_comes_by_poll() -> None:
    book = online()
    book.disk_is_prompt = False
    book >> RecordFailed("full")
    book.push("c1")
    book >> Recorded(0)
    book << Poll
    book.answer_poll(command("c1")) << records(CommandAccepted)


def test_a_duplicate_while_the_disk_is_full_is_left_to_the_backend_and_leaves_nothing_behind() -> None:
    book = online()
    past = remembered(command("c1"), State.COMPLETED, ack='{"command_id":"c1"}', proven_utc=1.0)
    book >> RecordFailed("full")
    book >> CommandsReceived(1, (Arrival(command("c1"), (past,)),))
    book << NOTHING
    assert book.engine.sizes["entries"] == 0


# --- proof by pong -----------------------------------------------------------------------------------------------------


def test_p2_only_the_pong_of_a_later_ping_proves_an_ack() -> None:
    book = online(websocket={"ping_interval_seconds": 8}).lives(7)
    book.after(1)
    book.push("c1").finish("c1") << acks("c1")
    book.pong(2)
    assert book.snapshot.commands.proven == 0
    book.lives(8)
    assert book.snapshot.commands.proven == 1


def test_p2_a_late_second_pong_for_an_old_ping_proves_nothing() -> None:
    book = online().lives(30).push("c1").finish("c1")
    book.after(11).pong(2)
    book.after(1)
    book.pong(2).pong(1)
    assert book.snapshot.commands.proven == 0
    book.pong(3)
    assert book.snapshot.commands.proven == 1


def test_p2_acks_that_wait_bring_the_next_ping_forward_within_the_backends_limits() -> None:
    book = online().push("c1").finish("c1")
    book.lives(11.9)
    assert book.snapshot.commands.proven == 0
    book.lives(0.1)
    assert book.snapshot.commands.proven == 1


def test_a_proof_is_recorded_with_the_ways_name_and_settles_the_command() -> None:
    book = online().push("c1").finish("c1").lives(12)
    (change,) = book.find(records(AcksProven)).changes
    assert change.by == "pong"
    assert book.engine.sizes | {"history": 0} == dict.fromkeys(book.engine.sizes, 0) | {"entries": 0}


def test_f27_what_a_lost_link_did_not_prove_is_sent_again_oldest_first_on_the_next() -> None:
    book = online(backend={"polling": "never"})
    for n in range(4):
        book.push(f"c{n}").finish(f"c{n}")
    book.lose()
    assert book.row("c0").proven is False
    book.push("late")
    book.waits()
    book.online()
    assert [body["command_id"] for body in acks_in(book.find(acks("c0", "c1", "c2", "c3")))] == ["c0", "c1", "c2", "c3"]
    book.lives(12)
    assert book.snapshot.commands.proven == 4


def test_f27_what_was_sent_on_the_old_link_goes_before_what_was_made_since() -> None:
    book = online(backend={"polling": "never"}).push("c1").push("c2", payload=to("x")).finish("c1")
    book.disk_is_prompt = False
    book.finish("c2")
    book.handle_together(Lost(1, lost()), Recorded(book.find(Record).ticket))
    book.disk_is_prompt = True
    book.waits()
    book.online()
    assert book.count(acks("c1", "c2")) == 1


def test_a_pong_of_the_new_link_proves_only_what_was_sent_on_it() -> None:
    book = online(backend={"polling": "never"}).push("c1").finish("c1").lose()
    book.waits()
    book.online()
    assert book.snapshot.commands.proven == 0
    book.lives(12)
    assert book.snapshot.commands.proven == 1


def test_a_result_that_comes_when_the_link_is_down_is_acked_on_the_next() -> None:
    book = online(backend={"polling": "never"}).push("c1").lose().finish("c1")
    book.never(Send, PostAcks)
    book.waits()
    book.online()
    assert book.count(acks("c1")) == 1
    assert ran(book) == ["c1"]


def test_two_acks_of_one_command_are_one_proof() -> None:
    book = online().push("c1").finish("c1").push("c1").lives(30)
    assert book.count(acks("c1")) == 2
    assert book.snapshot.commands.proven == 1


# --- proof by HTTP -----------------------------------------------------------------------------------------------------


def test_without_a_socket_acks_go_by_http_and_a_2xx_proves_them() -> None:
    book = offline()
    polled(book, command("c1"))
    book.finish("c1") << posts("c1", status="completed")
    book >> posted(book)
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (1, 0)
    assert book.find(records(AcksProven)).changes[0].by == "http"


def test_a_batch_that_was_posted_partly_is_sent_again_behind_where_it_broke() -> None:
    book = offline()
    polled(book, *(command(f"c{n}", payload=to(f"t{n}")) for n in range(3)))
    book.disk_is_prompt = False
    for n in range(3):
        book.finish(f"c{n}")
    book >> Recorded(book.find(Record).ticket)
    book << posts("c0", "c1", "c2")
    book.disk_is_prompt = True
    book >> posted(book, "c1", "c2", failure=http(500))
    book << posts("c2")
    book >> posted(book)
    assert book.snapshot.commands.proven == 2
    book.after(15) << posts("c1")


def test_one_batch_is_in_flight_at_a_time_and_holds_fifty() -> None:
    book = offline(executor={"concurrency": 64})
    polled(book, *(command(f"c{n}", "look", payload={}) for n in range(60)))
    for n in range(60):
        book.finish(f"c{n}")
    assert book.count(PostAcks) == 1
    book >> posted(book)
    assert len(book.find(PostAcks).acks) == 50
    book >> posted(book)
    assert len(book.find(PostAcks).acks) == 9
    book >> posted(book)
    assert book.snapshot.commands.proven == 60


def test_f52_acks_on_a_socket_without_pongs_are_proven_by_http() -> None:
    book = online().push("c1").finish("c1") << acks("c1")
    book.never(PostAcks).lives(45, json_pongs=False)
    assert book.count(posts("c1")) == 1
    book >> posted(book)
    assert (book.snapshot.commands.proven, book.phase) == (1, "online")


def test_f52_and_without_a_call_for_acks_the_safety_sync_carries_them() -> None:
    book = online().push("c1").finish("c1").lives(45, json_pongs=False)
    book >> posted(book, "c1", failure=http(404), unsupported=True)
    book.lives(290, json_pongs=False)
    assert book.find(Poll).carried[0][0] == "c1"


def test_ack_events_prove_what_they_name() -> None:
    book = online(backend={"polling": "always"}).lives(13.8).push("c1").finish("c1").push("c2").finish("c2")
    book.after(0.2).answer_poll(proven=("c1", "nobody"))
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (1, 1)


def test_where_the_backend_has_no_call_for_acks_they_travel_with_the_polls() -> None:
    book = offline()
    polled(book, command("c1"))
    book.finish("c1") << posts("c1")
    book >> posted(book, "c1", failure=http(404), unsupported=True)
    book.told("they travel with the polls", times=1)
    book.after(15) << carries("c1", status="completed")
    book.answer_poll(proven=("c1",))
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (1, 0)
    book.after(30)
    assert book.find(Poll).carried == ()


def test_an_ack_that_is_made_while_another_of_the_same_command_travels_is_not_proven_with_it() -> None:
    book = offline()
    polled(book, command("x"))
    book.finish("x")
    book >> posted(book, "x", failure=http(404), unsupported=True)
    book.after(15).answer_poll(command("c1", "schedule_message", payload=to(THREAD, send_at=book.clock.utc + 20)), proven=("x",))
    book.after(15) << carries("c1", status="received")
    book.after(5) << executes("c1")
    book.finish("c1")
    book.answer_poll()
    assert book.snapshot.commands.outbox == 1
    book.after(15) << carries("c1", status="completed")
    book.answer_poll()
    assert book.snapshot.commands.outbox == 0


def test_an_ack_that_a_pong_has_proven_is_not_proven_again_by_the_poll_that_carried_it() -> None:
    book = online(backend={"polling": "always"}).push("x").finish("x").lives(45, json_pongs=False)
    book >> posted(book, "x", failure=http(404), unsupported=True)
    while book.now < 74 or not book.snapshot.polling.in_flight:
        book.after(0.5) >> Ponged(1)
        book.greet()
    assert book.find(Poll).carried
    book.pong()
    assert book.snapshot.commands.outbox == 0
    proofs = book.count(records(AcksProven))
    book.answer_poll()
    assert book.count(records(AcksProven)) == proofs


def test_a_poll_that_fails_proves_nothing_of_what_it_carried() -> None:
    book = offline()
    polled(book, command("c1"))
    book.finish("c1")
    book >> posted(book, "c1", failure=http(404), unsupported=True)
    book.after(15).fail_poll(refused())
    assert book.snapshot.commands.outbox == 1
    book.after(15) << carries("c1")


# --- schedules ---------------------------------------------------------------------------------------------------------


def scheduled(book: Playbook, command_id: str, seconds: float, **more: Any) -> Playbook:
    return book.push(command_id, "schedule_message", payload=to(THREAD, send_at=book.clock.utc + seconds, **more))


def test_p9_a_scheduled_message_is_accepted_at_once_and_sent_at_its_time() -> None:
    book = online()
    scheduled(book, "c1", 60, schedule_id="s1") << acks("c1", status="received", success=True, result={"schedule_id": "s1"})
    assert (book.row("c1").status, book.snapshot.scheduled_count) == ("scheduled", 1)
    (view,) = book.snapshot.scheduled
    assert (view.schedule_id, view.command_id, view.due_utc) == ("s1", "c1", pytest.approx(book.clock.utc + 60))
    book.lives(59.999)
    assert ran(book) == []
    book.lives(0.002)
    assert ran(book) == ["c1"]
    book.finish("c1") << acks("c1", status="completed")
    book.lives(30)
    assert (book.snapshot.commands.outbox, book.snapshot.scheduled_count) == (0, 0)


def test_without_a_schedule_id_the_command_id_serves() -> None:
    scheduled(online(), "c1", 60) << acks("c1", status="received", result={"schedule_id": "c1"})


def test_a_duplicate_of_a_scheduled_one_gets_received_again_and_is_sent_once() -> None:
    book = online()
    scheduled(book, "c1", 60)
    payload = dict(book.find(Record).changes[0].entry.command.payload)
    book.push("c1", "schedule_message", payload=payload) << acks("c1", status="received")
    book.lives(61)
    assert ran(book) == ["c1"]
    book.push("c1", "schedule_message", payload=payload).never(Send)


@pytest.mark.parametrize("kind", ["send_message", "schedule_message"])
@pytest.mark.parametrize("key", ["send_at", "schedule_time", "at"])
def test_any_spelling_of_the_time_schedules(kind: str, key: str) -> None:
    book = online()
    book.push("c1", kind, payload=to(THREAD) | {key: book.clock.utc + 60}) << acks("c1", status="received")


def test_f38_past_now_and_soon() -> None:
    book = online()
    scheduled(book, "past", -10) << executes("past")
    book.finish("past")
    scheduled(book, "now", 0) << executes("now")
    book.finish("now")
    scheduled(book, "soon", 1)
    book.lives(1)
    assert ran(book) == ["past", "now", "soon"]
    scheduled(book, "long past", -901) << acks("long past", status="failed", error="missed: due 15m 01s ago")
    book.push("in 9999", "schedule_message", payload=to(THREAD, send_at="9999-12-31T23:59:59Z")) << acks("in 9999", status="received")
    book.push("naive", "schedule_message", payload=to(THREAD, send_at="2026-11-05T20:35:00")) << acks("naive", status="received")


def test_immediate_is_sent_now_whatever_its_time() -> None:
    book = online()
    book.push("c1", "schedule_message", payload=to(THREAD, send_at=book.clock.utc + 60), priority="immediate") << executes("c1")
    book.push("c2", "send_message_now", payload=to("x", schedule_time=book.clock.utc + 60)) << executes("c2")


@pytest.mark.parametrize(("slept", "state"), [(60 + 899, "running"), (60 + 902, "failed")])
def test_p9_after_sleep_a_late_one_runs_up_to_the_limit_and_is_missed_after_it(slept: float, state: str) -> None:
    book = online()
    scheduled(book, "c1", 60).sleep(slept) >> Recorded(0)
    assert book.row("c1").status == state
    if state == "failed":
        assert "missed: due" in str(book.row("c1").error)


@pytest.mark.parametrize("step", [-3600, 3600, -7200])
def test_p9_a_step_of_the_clock_moves_no_message(step: float) -> None:
    book = online()
    scheduled(book, "c1", 7200)
    book.sleep(step).lives(7200 - step - 0.01)
    assert ran(book) == []
    book.lives(0.02)
    assert ran(book) == ["c1"]


def test_a_schedule_survives_a_restart() -> None:
    book = Playbook()
    due = book.clock.utc + 30
    past = remembered(command("c1", "schedule_message", payload=to(THREAD, send_at=due, schedule_id="s1")), State.SCHEDULED, due_utc=due)
    book.online(Memory((past,), next_seq=2)).lives(31)
    assert ran(book) == ["c1"]
    (change,) = book.find(Record).changes
    assert (change.seq, change.utc) == (1, pytest.approx(due))


def test_a_received_ack_that_was_not_proven_is_sent_after_a_restart() -> None:
    one = command("c1", "schedule_message", payload=to(THREAD, send_at=2e9))
    past = remembered(one, State.SCHEDULED, due_utc=2e9, ack='{"command_id":"c1","status":"received"}')
    book = Playbook(backend={"polling": "never"}).online(Memory((past,), next_seq=2))
    assert book.count(acks("c1", status="received")) == 1
    book.lives(30)
    assert (book.snapshot.commands.outbox, book.snapshot.scheduled_count) == (0, 1)


# --- cancels -----------------------------------------------------------------------------------------------------------


def cancel(book: Playbook, name: str, target: object, key: str = "command_id", kind: str = "cancel_message") -> Playbook:
    return book.push(name, kind, payload={key: target})


@pytest.mark.parametrize("kind", ["cancel_message", "cancel_scheduled"])
@pytest.mark.parametrize(("key", "target"), [("schedule_id", "s1"), ("message_id", "m1"), ("command_id", "c1")])
def test_f37_a_scheduled_message_is_cancelled_by_each_of_its_names(kind: str, key: str, target: str) -> None:
    book = online()
    scheduled(book, "c1", 60, schedule_id="s1", message_id="m1")
    cancel(book, "x", target, key, kind) << acks("c1", "x")
    body, other = (json.loads(one) for one in (all_acks(book, "c1")[-1], all_acks(book, "x")[-1]))
    assert (body["status"], body["error"]) == ("failed", "cancelled by x")
    assert (other["status"], other["result"]) == ("completed", {"cancelled": "c1"})
    assert (book.row("c1").status, book.snapshot.scheduled_count) == ("cancelled", 0)
    assert ran(book.lives(120)) == []


@pytest.mark.parametrize(("key", "target"), [("schedule_id", "s1"), ("message_id", "m1"), ("command_id", "c1")])
def test_a_message_that_waits_in_its_lane_is_cancelled_by_each_of_its_names(key: str, target: str) -> None:
    book = online().push("first")
    scheduled(book, "c1", 5, schedule_id="s1", message_id="m1").lives(6)
    book.push("m", payload=to(THREAD, message_id="m9"))
    cancel(book, "x", target, key) << acks("c1", "x")
    cancel(book, "y", "m9", "message_id") << acks("m", "y")
    book.finish("first").lives(60)
    assert ran(book) == ["first"]
    assert (book.snapshot.commands.queued, book.engine.sizes["lanes"], book.engine.sizes["names"]) == (0, 0, 0)


def test_f37_twice_is_the_same_as_once() -> None:
    book = online()
    scheduled(book, "c1", 60)
    cancel(book, "x", "c1")
    cancel(book, "y", "c1") << acks("y", status="completed", result={"cancelled": "c1"})


@pytest.mark.parametrize("key", ["schedule_id", "command_id"])
def test_a_running_message_is_too_late_to_cancel(key: str) -> None:
    book = online().push("c1", payload=to(THREAD, schedule_id="c1"))
    cancel(book, "x", "c1", key) << acks("x", status="failed", error="too late: c1 is running")
    book.finish("c1") << acks("c1", status="completed")


def test_a_finished_message_is_too_late_to_cancel_here_or_in_the_journal() -> None:
    book = online().push("c1").finish("c1")
    cancel(book, "x", "c1") << acks("x", status="failed", error="too late: c1 is completed")
    past = remembered(command("old"), State.COMPLETED, 99)
    book >> CommandsReceived(1, (Arrival(command("y", "cancel_message", payload={"command_id": "old"}), known=(past,)),))
    book << acks("y", status="failed", error="too late: old is completed")


@pytest.mark.parametrize(("key", "target"), [("schedule_id", "s1"), ("message_id", "m1"), ("command_id", "c1")])
def test_f37_a_cancel_that_comes_first_is_kept_for_what_it_names(key: str, target: str) -> None:
    book = online()
    cancel(book, "x", target, key) << records(TombstoneAdded, CommandAccepted) << acks("x", status="completed", result={"unknown": target})
    scheduled(book, "c1", 60, schedule_id="s1", message_id="m1") << acks("c1", status="failed", error="cancelled by x")
    assert ran(book.lives(90)) == []


def test_a_cancel_that_came_first_is_kept_for_a_day_and_over_a_restart() -> None:
    book = online()
    book.sleep(100)
    until = book.clock.utc + 50
    book = Playbook().online(Memory(tombstones=(tombstone("c1", "x", until), tombstone("c2", "y", 5.0))))
    book.push("c2") << executes("c2")
    book.push("c1") << acks("c1", status="failed", error="cancelled by x")
    book = online()
    cancel(book, "x", "c1")
    book.lives(24 * 3600 + 1).push("c1") << executes("c1")


def tombstone(command_id: str, by: str, until_utc: float) -> TombstoneAdded:
    return TombstoneAdded(Target(command_id, by_id=True), by, until_utc)


def test_a_name_may_be_used_again_when_its_message_is_over() -> None:
    book = online()
    scheduled(book, "c1", 5, message_id="m1").lives(6)
    book.finish("c1").lives(20)
    scheduled(book, "c2", 60, message_id="m1")
    cancel(book, "x", "m1", "message_id") << acks("c2", "x")
    assert ran(book.lives(90)) == ["c1"]


def test_a_cancel_of_itself_is_a_cancel_of_nobody() -> None:
    cancel(online(), "x", "x") << acks("x", status="completed", result={"unknown": "x"})


# --- after a crash -----------------------------------------------------------------------------------------------------


def after_crash(one: Command, state: State, **more: Any) -> Playbook:
    return Playbook(backend={"polling": "never"}).online(Memory((remembered(one, state, **more),), next_seq=2))


def test_p1_an_external_command_that_was_running_is_not_run_again_and_says_so() -> None:
    book = after_crash(command("c1"), State.RUNNING, started_utc=1.0, runs=1)
    assert ran(book) == []
    assert book.count(acks("c1", status="failed", error="interrupted: outcome unknown")) == 1
    assert (book.row("c1").status, book.snapshot.commands.interrupted) == ("interrupted", 1)
    book.told("c1 was interrupted, its outcome is unknown", "ERROR")


def test_p1_a_handler_that_cannot_say_what_became_of_its_effect_leaves_the_outcome_unknown() -> None:
    book = online().push("c1").finish("c1", "no answer in 10 s", unknown=True)
    assert book.count(acks("c1", status="failed", error="unknown outcome: no answer in 10 s")) == 1
    assert (book.row("c1").status, book.snapshot.commands.interrupted) == ("interrupted", 1)


def test_p1_what_touches_nothing_outside_has_plainly_failed() -> None:
    book = online().push("c1", "look", payload={}).finish("c1", "timed out after 60 s", unknown=True)
    assert book.count(acks("c1", status="failed", error="timed out after 60 s")) == 1
    assert book.snapshot.commands.interrupted == 0


@pytest.mark.parametrize(("kind", "payload"), [("set", {}), ("note", to(THREAD)), ("look", {})])
def test_p1_an_idempotent_transactional_or_harmless_command_runs_again(kind: str, payload: dict[str, object]) -> None:
    book = after_crash(command("c1", kind, payload=payload), State.RUNNING, started_utc=1.0, runs=1)
    assert ran(book) == ["c1"]
    book.finish("c1") << acks("c1", status="completed")


def test_what_was_queued_runs_in_its_old_order() -> None:
    past = tuple(remembered(command(f"c{n}"), State.QUEUED, n) for n in range(1, 4))
    book = Playbook().online(Memory(past, next_seq=4)).push("new")
    for one in ("c1", "c2", "c3"):
        book.finish(one)
    assert ran(book) == ["c1", "c2", "c3", "new"]


def test_acks_that_were_not_proven_are_read_again_and_go_out_oldest_first() -> None:
    past = tuple(ended(f"c{n}", n) for n in range(1, 4))
    book = Playbook(backend={"polling": "never"}).online(Memory(next_seq=4, unproven=(1, 2, 3)))
    assert book.count(Recall((1, 2, 3))) == 1
    assert book.snapshot.commands.outbox == 3
    book >> Recalled(past, (1, 2, 3))
    assert book.count(acks("c1", "c2", "c3")) == 1
    book.lives(12)
    assert (book.snapshot.commands.outbox, book.engine.sizes["entries"]) == (0, 0)


def ended(command_id: str, seq: int, **more: object) -> Remembered:
    return remembered(command(command_id), State.COMPLETED, seq, ack=f'{{"command_id":"{command_id}","status":"completed"}}', **more)


# --- more acks than are kept at hand -------------------------------------------------------------------------------------


def done(book: Playbook, *command_ids: str) -> Playbook:
    for command_id in command_ids:
        book.push(command_id).finish(command_id)
    return book


def test_p10_of_acks_beyond_so_many_only_the_number_is_kept_and_a_pong_proves_them_all_the_same() -> None:
    book = done(online(max_in_memory=2), "c1", "c2", "c3", "c4")
    assert [book.count(acks(f"c{n}")) for n in range(1, 5)] == [1, 1, 1, 1]
    assert (book.engine.sizes["entries"], book.snapshot.commands.outbox) == (2, 4)
    book.lives(30)
    left, at_hand = book.find(records(AcksProven, AcksProven)).changes
    assert [[seq for seq, _ in change.acks] for change in (left, at_hand)] == [[3, 4], [1, 2]]
    assert [book.row(f"c{n}").status for n in range(1, 5)] == ["acked"] * 4
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox, book.engine.sizes["entries"]) == (4, 0, 0)


def test_p10_f27_what_a_lost_link_leaves_unproven_is_read_again_and_sent_on_the_next() -> None:
    book = done(online(max_in_memory=1, backend={"polling": "never"}), "c1", "c2", "c3")
    book.lose()
    assert book.snapshot.commands.outbox == 3
    book.waits()
    book.online()
    assert [book.count(Recall((n,))) for n in (2, 3)] == [1, 1]
    assert [book.count(acks(f"c{n}")) for n in (1, 2, 3)] == [2, 2, 2]
    book.lives(30)
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (3, 0)


def test_p10_what_was_proven_before_it_is_read_again_is_not_sent_again() -> None:
    book = Playbook(backend={"polling": "never"}).online(Memory(next_seq=3, unproven=(1, 2)))
    book >> Recalled((ended("c1", 1, proven_utc=5.0), ended("c2", 2)), (1, 2))
    assert [book.count(acks(one)) for one in ("c1", "c2")] == [0, 1]
    assert book.snapshot.commands.outbox == 1


def test_p10_without_any_way_no_more_acks_are_at_hand_either() -> None:
    book = online(max_in_memory=1, backend={"polling": "never"})
    for number in range(1, 4):
        book.push(f"c{number}")
    book.lose()
    for number in range(1, 4):
        book.finish(f"c{number}")
    assert (book.engine.sizes["entries"], book.snapshot.commands.outbox) == (1, 3)
    book.waits()
    book.online()
    assert [book.count(acks(f"c{n}")) for n in (1, 2, 3)] == [1, 1, 1]


def test_p10_a_duplicate_of_one_of_those_gets_the_ack_that_the_journal_has() -> None:
    book = done(online(max_in_memory=1), "c1", "c2")
    assert book.engine.needs(command("c2")) == ("c2",)
    book >> CommandsReceived(book.generation, (Arrival(command("c2"), (ended("c2", 2),)),))
    assert ran(book) == ["c1", "c2"]
    assert book.count(acks("c2")) == 2
    book.lives(30)
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (2, 0)


def test_p10_by_http_they_are_read_again_batch_by_batch() -> None:
    book = offline(max_in_memory=1)
    polled(book, *(command(f"c{n}", payload=to(f"t{n}")) for n in range(1, 4)))
    book.finish("c1") << posts("c1")
    first = posted(book)
    book.finish("c2").finish("c3")
    assert book.engine.sizes["entries"] == 2
    book >> first
    book << posts("c2")
    book >> posted(book)
    book << posts("c3")
    book >> posted(book)
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (3, 0)


def test_f26_a_duplicate_of_what_was_restored_is_known() -> None:
    book = after_crash(command("c1"), State.QUEUED).push("c1")
    assert ran(book) == ["c1"]


def test_new_numbers_go_on_from_the_old_ones() -> None:
    book = Playbook().online(Memory(next_seq=41)).push("c1")
    assert book.find(Record).changes[0].entry.seq == 41


# --- replay ------------------------------------------------------------------------------------------------------------


def test_a_replay_runs_again_as_an_entry_of_its_own_and_sends_no_ack() -> None:
    book = online()
    book >> ReplayRequested("c1", remembered=remembered(command("c1"), State.COMPLETED))
    book << records(CommandAccepted) << executes("replay-1-c1")
    book.finish("replay-1-c1") << records(CommandEnded) << NOTHING
    row = book.row("replay-1-c1")
    assert (row.replay_of, row.via, row.status) == ("c1", "local", "acked")
    assert book.count(Send) == 1
    assert book.engine.sizes["entries"] == 0


def test_a_replay_may_have_another_payload_and_a_replay_of_a_replay_points_to_the_original() -> None:
    book = online()
    past = remembered(command("replay-1-c1"), State.COMPLETED, replay_of="c1")
    book >> ReplayRequested("replay-1-c1", payload=to("other", "changed"), remembered=past)
    effect = book.find(Execute)
    assert (effect.command.payload["text"], book.row(effect.command.command_id).replay_of) == ("changed", "c1")


def test_a_replay_of_a_message_whose_time_is_over_is_sent_now() -> None:
    book = online()
    past = remembered(command("c1", "schedule_message", payload=to(THREAD, send_at=book.clock.utc - 86_400)), State.COMPLETED)
    book >> ReplayRequested("c1", remembered=past)
    book << executes("replay-1-c1")


def test_a_dry_run_says_what_it_would_do_and_does_nothing() -> None:
    book = online()
    book >> ReplayRequested("c1", dry_run=True, remembered=remembered(command("c1"), State.COMPLETED))
    book << NOTHING
    book.told("would run send_message_now with")


def test_what_is_not_remembered_or_not_possible_now_is_said() -> None:
    book = online()
    book >> ReplayRequested("c1")
    book << NOTHING
    book.told("Nothing is remembered of command c1", "WARNING")
    book >> RecordFailed("full")
    book >> ReplayRequested("c1", remembered=remembered(command("c1"), State.COMPLETED))
    book << NOTHING
    book.told("cannot be replayed now: full")


def test_the_ledger_says_what_must_be_looked_up_for_a_command() -> None:
    book = online().push("c1")
    needs = book.engine.needs
    assert needs(command("new")) == ("new",)
    assert needs(command("c1")) == ()
    assert needs(command("x", "cancel_message", payload={"schedule_id": 7})) == ("x", "7", Named("7"))
    assert needs(command("x", "cancel_message", payload={})) == ("x",)


# --- bounds ------------------------------------------------------------------------------------------------------------


def test_f32_past_the_bound_commands_stay_with_the_backend_and_are_asked_for_when_there_is_room() -> None:
    book = online(executor={"max_pending": 4})
    for n in range(7):
        book.push(f"c{n}")
    assert (book.snapshot.commands.received, book.snapshot.commands.rejected) == (4, 3)
    book.told("Intake is full", "WARNING", times=1)
    book.finish("c0").never(Poll)
    book.finish("c1") << Poll
    book.answer_poll(command("c4"), command("c5"))
    for n in range(2, 6):
        book.finish(f"c{n}")
    assert ran(book) == [f"c{n}" for n in range(6)]


def test_a_duplicate_is_known_even_when_the_intake_is_full() -> None:
    book = online(executor={"max_pending": 1}).push("c1").push("c1")
    assert (book.snapshot.commands.duplicates, book.snapshot.commands.rejected) == (1, 0)


def test_p10_what_is_over_leaves_nothing_behind() -> None:
    book = online()
    for n in range(200):
        scheduled(book, f"s{n}", 5, message_id=f"m{n}")
        book.push(f"c{n}", payload=to(f"t{n}", message_id=f"n{n}")).finish(f"c{n}")
    book.lives(30)
    for n in range(200):
        book.finish(f"s{n}")
    book.lives(60)
    sizes = book.engine.sizes
    assert sizes.pop("schedule") <= 3 * 200 + 200
    assert sizes.pop("history") <= 2
    assert set(sizes.values()) == {0}


# --- settings ----------------------------------------------------------------------------------------------------------


def test_update_config_changes_what_is_allowed_and_names_the_rest() -> None:
    book = online().push("c1", "update_config", payload={"sync_interval": 60, "log_level": "debug", "secret": "x", "ping_interval": 5})
    book << SetLogLevel("DEBUG")
    (body,) = acks_in(book.find(acks("c1", status="completed")))
    assert body["result"]["accepted"] == {"sync_interval": 60.0, "log_level": "DEBUG"}
    assert body["result"]["refused"] == ["secret is not one a backend may change", "ping_interval must be 10 to 300 s"]
    assert book.snapshot.polling.every == 60
    changes = [
        change for _, effect in book.ever if isinstance(effect, Record) for change in effect.changes if isinstance(change, SettingStored)
    ]
    assert {one.key: one.value for one in changes} == {
        "setting.sync_interval": "60.0", "setting.sync_interval.at": f"{book.clock.utc:.3f}",
        "setting.log_level": "DEBUG", "setting.log_level.at": f"{book.clock.utc:.3f}",
    }  # fmt: skip


def test_update_config_with_nothing_acceptable_fails() -> None:
    book = online().push("c1", "update_config", payload={"sync_interval": 0.1})
    book << acks("c1", status="failed", error="sync_interval must be 5 to 300 s")


def test_changed_settings_outlive_a_restart() -> None:
    book = Playbook().online(Memory(kept=(("setting.sync_interval", "60.0"), ("setting.log_level", "DEBUG"), ("setting.x", "1"))))
    assert book.snapshot.polling.every == 60
    assert book.count(SetLogLevel("DEBUG")) == 1


# --- stopping ----------------------------------------------------------------------------------------------------------


def test_p12_stop_lets_a_running_command_finish_and_acks_it_before_the_link_is_closed() -> None:
    book = online().push("c1").push("c2")
    book >> StopRequested()
    book << NOTHING
    book.push("c3") << NOTHING
    book.after(1)
    book.finish("c1") << records(CommandEnded) << acks("c1") << CloseSocket(1, 1000, "agent stopped")
    book >> Lost(1, lost())
    book << Finish()
    assert ran(book) == ["c1"]


def test_p12_stop_waits_for_the_disk() -> None:
    book = online().push("c1")
    book.disk_is_prompt = False
    book.finish("c1") >> StopRequested()
    book << NOTHING
    book >> Recorded(book.find(Record).ticket)
    book << acks("c1") << CloseSocket(1, 1000, "agent stopped")


def test_p12_stop_does_not_wait_for_ever() -> None:
    book = online().push("c1")
    book >> StopRequested()
    book.lives(3.9).never(CancelRunning)
    book.after(0.1) << CancelRunning() << CloseSocket(1, 1000, "agent stopped")
    book.after(0.75) << Finish()
    book.told("1 command(s) still run", "WARNING")


# --- old news ----------------------------------------------------------------------------------------------------------


def test_a_command_by_an_older_socket_is_left_to_the_backend() -> None:
    book = online().lose()
    book.waits()
    book.online()
    book >> CommandsReceived(1, (Arrival(command("c1")),))
    book << NOTHING


def test_a_late_poll_brings_nothing() -> None:
    book = offline()
    book.after(15)
    number = book.find(Poll).number
    book >> PollFailed(number, refused())
    book >> PollAnswered(number, (Arrival(command("c1")),))
    book << NOTHING


def test_a_handler_with_an_odd_result_still_gets_its_ack() -> None:
    book = online().push("c1").finish("c1", "bad name \udcff", result={"n": float("nan")})
    book << acks("c1", status="failed")
    book.push("c2").finish("c2", result={"n": float("inf"), "o": object()}) << acks("c2", status="completed")
