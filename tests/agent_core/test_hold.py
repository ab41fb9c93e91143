"""New commands that wait for the operator's word: the engine's dialogue, then a real ledger and a real link."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent_core.config.models import Executor
from agent_core.events import CommandsReceived, DrainRequested, Execute, HeldApproved, HeldRefused, HoldChosen, Send, StopRequested
from agent_core.frames import Command, Message
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.rows import MIGRATIONS
from agent_core.records import (
    HOLD,
    PAUSED,
    CommandAccepted,
    CommandChanged,
    CommandReleased,
    CommandStarted,
    Memory,
    Remembered,
    SettingDropped,
    SettingStored,
    State,
    Via,
)
from tests.harness.desk import UTC, Desk, ended, reopened, took
from tests.harness.playbook import Playbook, acks, executes, records, to
from tests.harness.rig import AGENT, config, living, message, served, settled, until

MINE, OTHER = to("+1", "mine"), to("+2", "other")


def holding(hold: str = "thread:+1", **executor: Any) -> Playbook:
    return Playbook(executor={"hold": hold} | executor).online()


# --- held ----------------------------------------------------------------------------------------------------------------


def test_what_the_filter_takes_waits_on_disk_and_is_not_acked() -> None:
    book = holding()
    book.push("c1", "send_message", payload=MINE) << records(CommandAccepted)
    book.never(Execute, acks("c1"))
    assert book.row("c1").status == "held"
    assert (book.snapshot.commands.held, book.snapshot.hold) == (1, "thread:+1")
    book.push("c2", "send_message", payload=OTHER) << executes("c2")
    book.lives(3_600).never(executes("c1"))


def test_approved_it_runs_and_is_acked_as_any_other() -> None:
    book = holding()
    book.push("c1", "send_message", payload=MINE)
    book >> HeldApproved("c1")
    book << records(CommandReleased, CommandStarted) << executes("c1")
    book.finish("c1") << acks("c1", status="completed")
    assert book.snapshot.commands.held == 0


def test_with_another_payload_it_runs_as_that_says() -> None:
    book = holding(concurrency=2)
    book.push("c1", "send_message", payload=MINE)
    book >> HeldApproved("c1", OTHER)
    book << records(CommandChanged, CommandReleased, CommandStarted) << executes("c1")
    assert book.find(Execute).message == Message("+2", "other", None, ())
    assert book.find(Execute).command.payload == OTHER
    book.finish("c1").push("c1", "send_message", payload=MINE)
    book.told("c1 is a duplicate; it is not run again", "INFO")


def test_with_a_time_of_its_own_it_is_scheduled() -> None:
    book = holding()
    book.push("c1", "send_message", payload=MINE)
    book >> HeldApproved("c1", MINE | {"send_at": book.clock.utc + 600})
    book << acks("c1", status="received")
    assert book.row("c1").status == "scheduled"


@pytest.mark.parametrize(("payload", "why"), [({"thread_id": "+2"}, "missing text"), (to("+666"), "policy.deny_recipients")])
def test_a_payload_that_cannot_run_leaves_it_held(payload: dict[str, Any], why: str) -> None:
    book = Playbook(executor={"hold": "all"}, policy={"deny_recipients": ["+666"]}).online()
    book.push("c1", "send_message", payload=MINE)
    book >> HeldApproved("c1", payload)
    book.never(Execute, records(CommandChanged))
    assert (book.row("c1").status, book.snapshot.commands.held) == ("held", 1)
    assert why in book.lines[-1].text
    book >> HeldApproved("c1")
    book << executes("c1")


def test_the_present_says_when_and_how_it_is_decided() -> None:
    book = holding(hold_timeout_seconds=30, hold_then="approve")
    assert book.snapshot.hold_until_at is None
    book.push("c1", "send_message", payload=MINE)
    assert (book.snapshot.hold_until_at, book.snapshot.hold_then) == (book.clock.mono + 30, "approve")


def test_refused_it_fails_and_the_backend_is_told_why() -> None:
    book = holding()
    book.push("c1", "send_message", payload=MINE)
    book.lives(60)
    book >> HeldRefused("c1")
    book << acks("c1", status="failed", error="refused by the operator")
    book.never(Execute)
    assert book.snapshot.commands.failed == 1
    assert book.snapshot.latency.ack.percentile(0.99) == 0.0, "how long it waited is no latency"


def test_a_message_due_later_is_held_before_it_is_scheduled() -> None:
    book = holding()
    book.push("c1", "schedule_message", payload=MINE | {"send_at": book.clock.utc + 600})
    book.never(acks("c1"))
    book >> HeldApproved("c1")
    book << acks("c1", status="received")
    assert book.row("c1").status == "scheduled"
    book.lives(599).never(Execute)


def test_what_fell_due_while_it_was_held_runs_at_its_approval() -> None:
    book = holding(timeout_seconds=60)
    book.push("c1", "schedule_message", payload=MINE | {"send_at": book.clock.utc + 60})
    book.lives(7_200).never(Execute)
    book >> HeldApproved("c1")
    assert book.row("c1").status in {"running", "sent", "outbox"}


def test_cancels_settings_and_the_operators_own_replays_are_never_held() -> None:
    book = holding("all")
    book.push("c1", "send_message", payload=MINE)
    book.push("c2", "cancel_message", payload={"command_id": "c1"}) << acks("c1", "c2")
    assert book.row("c1").status == "cancelled"
    assert book.snapshot.commands.held == 0
    book.push("c3", "update_config", payload={"ping_interval": 20}) << acks("c3", status="completed")


def test_a_held_one_that_comes_again_is_held_once() -> None:
    book = holding("all")
    book.push("c1", "send_message", payload=MINE)
    book.push("c1", "send_message", payload=MINE).never(acks("c1"), Execute)
    assert book.snapshot.commands.held == 1


def test_only_what_is_held_can_be_decided() -> None:
    book = holding()
    book >> HeldApproved("nobody")
    assert book.told("nobody cannot be approved: it is not held")
    book.push("c1", "send_message", payload=MINE)
    book >> StopRequested()
    book >> HeldRefused("c1")
    assert book.told("c1 cannot be refused: stopping")


def test_held_commands_count_for_the_intake() -> None:
    book = holding("all", max_pending=3)
    for number in range(5):
        book.push(f"c{number}", "send_message", payload=MINE)
    assert (book.snapshot.commands.held, book.snapshot.commands.rejected) == (3, 2)


def test_a_drain_does_not_wait_for_what_is_held() -> None:
    book = holding("all")
    book.push("c1", "send_message", payload=MINE)
    book >> DrainRequested()
    assert book.told("Drained: nothing runs")


# --- the choice ----------------------------------------------------------------------------------------------------------


def test_the_operators_choice_holds_from_now_on_and_is_kept() -> None:
    book = holding("")
    book.push("c1", "send_message", payload=MINE) << executes("c1")
    book >> HoldChosen("all")
    assert book.find(records(SettingStored)).changes == (SettingStored(HOLD, "all"),)
    book.push("c2", "send_message", payload=OTHER).never(Execute)
    book >> HoldChosen("")
    book << records(SettingDropped)
    book.push("c3", "send_message", payload=to("+3")) << executes("c3")
    assert book.snapshot.commands.held == 1, "what is held stays so"


def test_a_filter_that_is_none_changes_nothing() -> None:
    book = holding()
    book >> HoldChosen("sttus:x")
    assert book.told("Held as before: no field sttus")
    assert book.snapshot.hold == "thread:+1"


@pytest.mark.parametrize(("kept", "now"), [("all", "all"), ("nofield:x", "all"), ("", "")])
def test_the_choice_outlives_a_restart(kept: str, now: str) -> None:
    book = Playbook(executor={"hold": "thread:+1"}).online(Memory(kept=((HOLD, kept),)))
    assert book.snapshot.hold == now


def test_a_pattern_that_takes_too_long_holds_everything() -> None:
    book = holding("/^(a|aa)+$/")
    book.push("c1", "send_message", payload=to("a" * 60 + "!a")).never(Execute)
    assert book.told("Every new command is held from now on: this pattern takes too long")
    book.push("c2", "send_message", payload=OTHER).never(Execute)


@pytest.mark.parametrize("hold", ["nofield:x", "/(/", "!"])
def test_a_wrong_filter_in_the_configuration_is_refused(hold: str) -> None:
    with pytest.raises(ValidationError, match="expected a filter, all, or nothing"):
        Executor(hold=hold)


# --- the timeout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["approve", "refuse"])
def test_after_the_timeout_it_is_decided_as_configured(then: str) -> None:
    book = holding(hold_timeout_seconds=30, hold_then=then)
    book.push("c1", "send_message", payload=MINE)
    book.lives(29).never(Execute, acks("c1"))
    book.lives(1.5)
    refusal = acks("c1", status="failed", error="refused: nobody approved it within 30 s")
    assert (book.count(executes("c1")), book.count(refusal)) == ((1, 0) if then == "approve" else (0, 1))


def test_many_are_decided_in_steps_that_let_the_loop_breathe() -> None:
    book = holding("all", hold_timeout_seconds=30)
    arrivals = tuple(book.arrival(Command(f"c{number}", "send_message", MINE)) for number in range(500))
    book >> CommandsReceived(book.generation, arrivals)
    assert book.snapshot.commands.held == 500
    book.lives(31)
    assert book.snapshot.commands.failed == 500


def test_after_a_restart_it_waits_on_and_its_time_counts_from_its_arrival() -> None:
    book = Playbook(executor={"hold_timeout_seconds": 30, "hold_then": "approve"})
    past = Remembered(1, Command("c1", "send_message", MINE), Via.WS, State.HELD, book.clock.utc - 20)
    book.online(Memory((past,), next_seq=2)).never(Execute, Send)
    assert book.row("c1").status == "held"
    book.lives(8).never(Execute)
    assert book.lives(3).count(executes("c1")) == 1


# --- on disk -------------------------------------------------------------------------------------------------------------


def test_a_held_command_and_its_release_are_read_back(desk: Desk, desks: list[Desk]) -> None:
    desk.write(took(1, "a", State.HELD), took(2, "b", State.HELD), took(3, "c", State.HELD, due_utc=UTC + 60))
    desk.write(
        CommandReleased(2, UTC + 5),
        CommandReleased(3, UTC + 6, State.SCHEDULED, "{}"),
        SettingStored(HOLD, "all"),
        SettingStored(PAUSED, "1"),
    )
    there, memory = reopened(desk, desks)
    assert [(one.command.command_id, one.state) for one in memory.entries[:2]] == [("a", State.HELD), ("b", State.QUEUED)]
    assert memory.kept == ((HOLD, "all"), (PAUSED, "1"))
    assert [there.found(name).released_utc for name in "abc"] == [None, UTC + 5, UTC + 6]
    assert there.found("c").ack == "{}"


def test_a_ledger_of_the_version_before_is_brought_up(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
        for number, script in enumerate(MIGRATIONS[:5], 1):
            db.executescript(f"{script};PRAGMA user_version = {number};")
    desk = Desk(tmp_path)
    desk.open()
    desk.write(took(1, "a"), ended(1, "a"))
    assert desk.found("a").released_utc is None
    desk.journal.close()


async def test_over_a_real_link_a_held_command_is_unacked_until_it_is_approved(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url, executor={"hold": "all"})) as agent:
        await agent.online()
        first = await backend.queue(AGENT, "send_message_now", message("one"))
        second = await backend.queue(AGENT, "send_message_now", message("two"))
        await until(lambda: agent.now.commands.held == 2)
        assert agent.now.commands.outbox == 0
        agent.post(HeldApproved(first))
        agent.post(HeldRefused(second))
        good, bad = await settled(backend, first, second)
        assert (good.status, bad.status) == ("completed", "failed")
