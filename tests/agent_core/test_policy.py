"""What may be sent, to whom and how fast: the engine's dialogue in virtual time, then a real ledger."""

from collections import defaultdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent_core.clock import ManualClock, Moment
from agent_core.config.models import Policy, QuietHours
from agent_core.engine.pace import Pace
from agent_core.engine.quiet import Quiet
from agent_core.engine.recipients import Recipients, recipient
from agent_core.entries import EffectClass, Trait
from agent_core.events import DrainRequested, Execute, Finish, MarkTaken, Record, Recorded, ReplayRequested, TakeMark, Ticked
from agent_core.frames import Command, Message
from agent_core.records import CommandReleased, Memory, Outcome, Sent, State
from tests.harness.desk import UTC, Desk, reopened, took
from tests.harness.playbook import Playbook, acks, command, executes, remembered, to

HOUR = 3_600.0
ANN, BOB, CARL = "+13105550100", "+13105550101", "+13105550102"


class Outbox:
    """A messenger that is done at once, and when it was asked for what."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str, str]] = []

    def send(self, seq: int, command: Command, message: Message | None, utc: float) -> Outcome:
        assert message is not None
        self.sent.append((utc, message.thread_id, message.text))
        return Outcome()


def at_once(outbox: Outbox) -> dict[str, Trait]:
    return {"send_message": Trait(EffectClass.TRANSACTIONAL, sends=True, inline=outbox.send)}


def pacing(**policy: Any) -> Playbook:
    return Playbook(policy=policy).online()


def sends(book: Playbook, command_id: str, thread: str = ANN, **more: Any) -> Playbook:
    return book.push(command_id, "send_message", payload=to(thread, command_id), **more)


def ran(book: Playbook) -> list[str]:
    """Which have run, in order; each is done at once."""
    return [effect.command.command_id for _, effect in book.ever if isinstance(effect, Execute)]


def done(book: Playbook, *command_ids: str) -> None:
    for command_id in command_ids:
        book.finish(command_id)


# --- the pace ------------------------------------------------------------------------------------------------------------


def test_300_messages_to_100_new_recipients_at_20_an_hour() -> None:
    outbox = Outbox()
    book = Playbook(policy={"per_new_conversation": {"count": 20, "seconds": HOUR}}, traits=at_once(outbox)).online()
    began = book.clock.utc
    for number in range(300):
        sends(book, f"c{number}", f"+1310555{number % 100:04d}")
    book.lives(5 * HOUR)
    assert book.snapshot.commands.completed == len(outbox.sent) == 300, "none is lost, none expired"
    assert (book.snapshot.commands.failed, book.snapshot.commands.queued) == (0, 0)
    by_thread = defaultdict[str, list[str]](list)
    first = dict[str, float]()
    for utc, thread, text in outbox.sent:
        by_thread[thread].append(text)
        first.setdefault(thread, utc)
    assert all(texts == sorted(texts, key=lambda text: int(text[1:])) and len(texts) == 3 for texts in by_thread.values())
    new = sorted(first.values())
    assert all(new[number + 20] - new[number] >= HOUR - 1e-3 for number in range(80)), "never more than 20 in any hour"
    assert new[-1] - began == pytest.approx(4 * HOUR, abs=1), "and no slower than that"


def test_what_waits_is_shown_with_its_gate_and_until_when() -> None:
    book = pacing(per_recipient={"count": 1, "seconds": 600})
    sends(book, "c1") << executes("c1")
    sends(book, "c2")
    done(book, "c1")
    book.never(executes("c2"))
    row = book.row("c2")
    assert (row.status, row.error) == ("queued", "waits for policy.per_recipient, until 2026-11-05T20:40Z")
    (wait,) = book.snapshot.waits
    assert (wait.key, wait.threads, round(wait.until_utc - book.clock.utc)) == ("policy.per_recipient", 1, 600)
    book.lives(599).never(executes("c2"))
    book.lives(2)
    assert ran(book) == ["c1", "c2"]
    assert (book.row("c2").error, book.snapshot.waits) == (None, ())


def test_each_recipient_has_a_bucket_of_its_own_however_it_is_spelt() -> None:
    book = pacing(per_recipient={"count": 1, "seconds": 600})
    sends(book, "c1")
    sends(book, "c2", "iMessage;-;+1 (310) 555-0100")
    sends(book, "c3", BOB)
    assert ran(book) == ["c1", "c3"]
    book.lives(601)
    assert ran(book) == ["c1", "c3", "c2"]


def test_the_total_holds_for_all_and_lets_go_first_come_first_served() -> None:
    book = pacing(total={"count": 2, "seconds": 60})
    for number, thread in enumerate((ANN, BOB, CARL, "+4", "+5")):
        sends(book, f"c{number}", thread)
        if number < 2:
            done(book, f"c{number}")
    assert ran(book) == ["c0", "c1"]
    book.lives(61)
    sends(book, "late", "+6")
    assert ran(book) == ["c0", "c1", "c2", "c3"]
    done(book, "c2", "c3")
    book.lives(61)
    assert ran(book)[4:] == ["c4", "late"]


def test_urgent_ones_wait_before_the_others() -> None:
    book = pacing(total={"count": 1, "seconds": 60})
    sends(book, "c1")
    done(book, "c1")
    sends(book, "c2", BOB)
    sends(book, "c3", "+5")
    sends(book, "c4", CARL, priority="high")
    sends(book, "c5", BOB, priority="immediate")
    for _ in range(4):
        book.lives(61)
        done(book, ran(book)[-1])
    assert ran(book) == ["c1", "c4", "c5", "c3", "c2"]


def test_a_newcomer_does_not_take_the_token_for_which_others_wait() -> None:
    book = pacing(total={"count": 1, "seconds": 60})
    sends(book, "c1")
    done(book, "c1")
    sends(book, "c2", BOB)
    book.clock.advance(60)
    sends(book, "c3", CARL)
    assert ran(book) == ["c1", "c2"]


def test_what_sends_nothing_never_waits() -> None:
    book = pacing(total={"count": 1, "seconds": 60})
    sends(book, "c1")
    sends(book, "c2", BOB)
    book.push("c3", "look", payload={}) << executes("c3")


def test_a_token_for_which_nobody_waits_any_more_goes_to_the_next() -> None:
    book = pacing(total={"count": 1, "seconds": 60})
    sends(book, "c1")
    done(book, "c1")
    sends(book, "c2", BOB)
    sends(book, "c3", CARL)
    book.push("c4", "cancel_message", payload={"command_id": "c2"}) << acks("c2", "c4")
    book.lives(61)
    assert ran(book) == ["c1", "c3"]


def test_a_known_conversation_is_not_new() -> None:
    memory = Memory(sent=(Sent("send_message", ANN, 1_700_000_000.0), Sent("look", BOB, 1_700_000_000.0)))
    book = Playbook(policy={"per_new_conversation": {"count": 1, "seconds": HOUR}}).online(memory)
    for number, thread in enumerate((BOB, CARL, ANN)):
        sends(book, f"c{number}", thread)
    assert ran(book) == ["c0", "c2"], "what did not send has made nobody known"


def test_what_an_earlier_run_has_sent_counts() -> None:
    book = Playbook(policy={"total": {"count": 2, "seconds": HOUR}})
    utc = book.clock.utc
    book.online(Memory(sent=(Sent("send_message", ANN, utc - 4_000), Sent("send_message", ANN, utc - 1_800))))
    sends(book, "c1")
    sends(book, "c2", BOB)
    assert ran(book) == ["c1"]
    book.lives(1_799)
    assert ran(book) == ["c1"]
    book.lives(2)
    assert ran(book) == ["c1", "c2"]


def test_a_scheduled_message_that_waits_is_not_late_not_even_after_a_restart() -> None:
    book = pacing(per_recipient={"count": 1, "seconds": 2 * HOUR})
    sends(book, "c1")
    done(book, "c1")
    book.push("c2", "schedule_message", payload=to(ANN, "later") | {"send_at": book.clock.utc + 60})
    book.lives(61).never(Execute)
    assert book.remembers("c2") is not None
    past = book.remembers("c2")
    assert past is not None
    assert (past.state, book.count(CommandReleased)) == (State.QUEUED, 0)
    book.lives(2 * HOUR)
    assert ran(book) == ["c1", "c2"]


@pytest.mark.parametrize(("within", "went", "left"), [(2 * HOUR, ["c1", "c2"], ""), (60, ["c1"], "; for the next start stay 1 message(s)")])
def test_a_drain_waits_for_the_policy_for_a_time(within: float, went: list[str], left: str) -> None:
    book = pacing(total={"count": 1, "seconds": HOUR})
    sends(book, "c1")
    done(book, "c1")
    sends(book, "c2", BOB)
    book >> DrainRequested(within)
    book.lives(59)
    assert book.count(Finish()) == 0
    book.lives(within)
    if left == "":
        done(book, "c2")
        book.lives(20)
    book.told(f"Drained: nothing runs, every ack is proven{left}")
    assert ran(book) == went
    assert book.count(Finish()) == 1


def test_a_clock_that_is_set_neither_hurries_nor_holds_up_a_token() -> None:
    book = pacing(total={"count": 1, "seconds": 600})
    sends(book, "c1")
    done(book, "c1")
    sends(book, "c2", BOB)
    book.clock.utc += 86_400
    book.lives(500)
    assert ran(book) == ["c1"]
    book.clock.utc -= 2 * 86_400
    book.lives(101)
    assert ran(book) == ["c1", "c2"]


STEPS = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 5), st.booleans()), max_size=60)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_whoever_asks_whenever_no_bucket_gives_more_than_it_has_and_nobody_waits_for_ever(steps: list[tuple[float, int, bool]]) -> None:
    """Lanes with one message each, and the times at which they start, against what the buckets say."""
    rates = {
        "per_recipient": {"count": 2, "seconds": 50},
        "per_new_conversation": {"count": 1, "seconds": 30},
        "total": {"count": 3, "seconds": 40},
    }
    pace = Pace(Policy.model_validate(rates))
    mono, started, whom = 0.0, list[tuple[float, str, bool]](), dict[str, tuple[str, bool]]()

    def ask(lane: str) -> None:
        one, urgent = whom[lane]
        new = all(other != one for _, other, _ in started)
        if pace.ask(lane, one, Moment(mono, mono), urgent=urgent) is None:
            started.append((mono, one, new))

    def go_on() -> None:
        while let_go := pace.release(Moment(mono, mono)):
            for lane in let_go:
                ask(lane)

    for number, (pause, one, urgent) in enumerate(steps):
        mono += pause
        go_on()
        whom[f"lane {number}"] = f"+{one}", urgent
        ask(f"lane {number}")
    while (at := pace.wake_at(Moment(mono, mono))) < float("inf"):
        assert at > mono
        mono = at
        go_on()
    assert len(started) == len(steps)
    assert {name: count for name, count in pace.sizes.items() if name != "recipients"} == {"paced": 0, "let_go": 0, "due": 0}
    for count, seconds, some in (
        (3, 40, [at for at, _, _ in started]), (1, 30, [at for at, _, new in started if new]),
        *((2, 50, [at for at, to_whom, _ in started if to_whom == one]) for one, _ in whom.values()),
    ):  # fmt: skip
        assert all(later - sooner >= seconds - 1e-6 for sooner, later in zip(some, some[count:], strict=False))


# --- quiet hours ---------------------------------------------------------------------------------------------------------


def local(text: str, zone: str = "Europe/Berlin", *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("hours", "at", "until"),
    [
        ("22:00-07:00", "2026-11-05 21:59:59", None),
        ("22:00-07:00", "2026-11-05 22:00", "2026-11-06 07:00"),
        ("22:00-07:00", "2026-11-06 06:59:59", "2026-11-06 07:00"),
        ("22:00-07:00", "2026-11-06 07:00", None),
        ("12:00-13:30", "2026-11-06 13:29", "2026-11-06 13:30"),
        ("22:00-07:00", "2026-03-28 23:00", "2026-03-29 07:00"),  # an hour shorter: the clock goes from 02:00 to 03:00
        ("22:00-07:00", "2026-10-24 23:00", "2026-10-25 07:00"),  # an hour longer
        ("22:00-02:30", "2026-03-29 01:59", "2026-03-29 03:00"),  # that clock never shows 02:30
        ("02:00-02:30", "2026-03-29 03:10", None),
    ],
)
def test_quiet_hours_are_what_the_clock_on_the_wall_shows(hours: str, at: str, until: str | None) -> None:
    start, end = hours.split("-")
    quiet = Quiet(QuietHours(start=start, end=end, zone="Europe/Berlin"))
    assert quiet.until(local(at)) == (local(until) if until else None)


def test_an_hour_that_comes_twice_is_quiet_twice() -> None:
    quiet = Quiet(QuietHours(start="01:00", end="02:30", zone="Europe/Berlin"))
    at = "2026-10-25 02:{}"
    assert quiet.until(local(at.format("10"))) == local(at.format("30"))
    assert quiet.until(local(at.format("45"))) is None
    assert quiet.until(local(at.format("10"), fold=1)) == local(at.format("30"), fold=1)


def test_in_quiet_hours_messages_wait_for_their_end_and_all_else_goes_on() -> None:
    book = Playbook(policy={"quiet_hours": {"start": "20:00", "end": "21:00", "zone": "UTC"}}).online()  # it is 20:30
    sends(book, "c1")
    sends(book, "c2")
    book.push("c3", "look", payload={}) << executes("c3")
    assert book.row("c1").error == "waits for policy.quiet_hours, until 2026-11-05T21:00Z"
    assert book.row("c2").error is None, "it waits for c1"
    book.lives(1_790)
    assert ran(book) == ["c3"]
    book.lives(15)
    done(book, "c1", "c3")
    assert ran(book) == ["c3", "c1", "c2"]


def test_after_quiet_hours_the_buckets_hold_again() -> None:
    book = Playbook(policy={"quiet_hours": {"start": "20:00", "end": "21:00"}, "total": {"count": 1, "seconds": 60}}).online()
    for number, thread in enumerate((ANN, BOB, CARL)):
        sends(book, f"c{number}", thread)
    book.lives(1_801)
    assert ran(book) == ["c0"]
    done(book, "c0")
    book.lives(121)
    assert ran(book) == ["c0", "c1", "c2"]


def test_quiet_hours_that_the_clock_jumps_over_are_over() -> None:
    book = Playbook(policy={"quiet_hours": {"start": "20:00", "end": "21:00"}}).online()
    sends(book, "c1")
    book.sleep(HOUR) >> Ticked()
    assert ran(book) == ["c1"]


# --- who and what --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "thread", "error"),
    [
        ({"deny_recipients": [ANN]}, "+1 (310) 555-0100", f"refused: policy.deny_recipients has {ANN}"),
        ({"deny_recipients": ["310-555-0100"]}, ANN, f"refused: policy.deny_recipients has {ANN}"),
        ({"deny_recipients": [ANN]}, "(310) 555-0100", "refused: policy.deny_recipients has 3105550100"),
        ({"deny_recipients": ["Ann@Example.org"]}, "any;-;ann@EXAMPLE.org", "refused: policy.deny_recipients has ann@example.org"),
        ({"allow_recipients": [ANN]}, BOB, f"refused: policy.allow_recipients does not have {BOB}"),
        ({"allow_recipients": [ANN]}, "3105550100", "refused: policy.allow_recipients does not have 3105550100"),
        ({"allow_recipients": [ANN], "deny_recipients": [ANN]}, ANN, f"refused: policy.deny_recipients has {ANN}"),
        ({"deny_types": ["send_message"]}, ANN, "refused: policy.deny_types has send_message"),
    ],
)
def test_what_the_policy_refuses_fails_and_the_ack_says_why(policy: dict[str, Any], thread: str, error: str) -> None:
    book = pacing(**policy)
    sends(book, "c1", thread) << acks("c1", status="failed", error=error)
    book.never(Execute)


@pytest.mark.parametrize(
    ("policy", "thread"),
    [
        ({"deny_recipients": [ANN]}, "+443105550100"), ({"deny_recipients": ["+15550100"]}, ANN),
        ({"deny_recipients": [ANN]}, "iMessage;+;chat1"),
        ({"allow_recipients": ["iMessage;-;+1 310 555 0100"]}, ANN), ({"allow_recipients": ["chat12"]}, "any;+;chat12"),
        ({"deny_types": ["update_config"]}, ANN),
    ],
)  # fmt: skip
def test_what_it_does_not_name_runs(policy: dict[str, Any], thread: str) -> None:
    sends(pacing(**policy), "c1", thread) << executes("c1")


def test_a_denied_type_is_refused_also_where_the_engine_does_it_itself() -> None:
    book = pacing(deny_types=["update_config"])
    book.push("c1", "update_config", payload={"ping_interval": 20}) << acks("c1", status="failed")
    book.push("c2", "schedule_message", payload=to(ANN) | {"send_at": book.clock.utc + 60}) << acks("c2", status="received")


def test_a_scheduled_message_to_a_denied_recipient_is_refused_at_once() -> None:
    book = pacing(deny_recipients=[ANN])
    book.push("c1", "schedule_message", payload=to(ANN) | {"send_at": book.clock.utc + 60}) << acks("c1", status="failed")


@pytest.mark.parametrize(
    "spelt",
    ["+1 310 555 0100", "tel:+1-310-555-0100", "SMS;-;+13105550100", "001 310 5550100", "\u202a+1310\u200b5550100\u202c", "＋13105550100"],
)
def test_a_number_is_one_however_it_is_spelt(spelt: str) -> None:
    assert recipient(spelt) == ANN
    assert Recipients([spelt]).may_hold(ANN)


# --- expires_at ----------------------------------------------------------------------------------------------------------


def expiring(book: Playbook, command_id: str, seconds: float, thread: str = ANN, **more: Any) -> Playbook:
    return sends(book, command_id, thread, expires_at=book.clock.utc + seconds, **more)


EXPIRED = "expired: its expires_at, 2026-11-05T20:31:00.000Z, has passed"


def test_one_that_has_expired_when_it_comes_does_not_run() -> None:
    book = Playbook().online()
    expiring(book, "c1", 0) << acks("c1", status="failed", error="expired: its expires_at, 2026-11-05T20:30:00.000Z, has passed")
    book.push("c2", "update_config", payload={"ping_interval": 20}, expires_at=book.clock.utc - 1) << acks("c2", status="failed")
    expiring(book, "c3", 1) << executes("c3")


def test_one_that_expires_while_it_waits_for_its_turn_fails_then() -> None:
    book = Playbook().online()
    sends(book, "c1") << executes("c1")
    expiring(book, "c2", 60)
    book.lives(59.9).never(acks("c2"))
    assert book.lives(0.2).count(acks("c2", status="failed", error=EXPIRED)) == 1
    book.finish("c1").never(Execute)


def test_one_that_expires_while_it_waits_for_the_policy_fails_then_and_its_place_is_free() -> None:
    book = pacing(total={"count": 1, "seconds": HOUR})
    sends(book, "c1")
    done(book, "c1")
    expiring(book, "c2", 60, BOB)
    sends(book, "c3", CARL)
    assert book.lives(61).count(acks("c2", status="failed", error=EXPIRED)) == 1
    book.lives(HOUR - 60)
    assert ran(book) == ["c1", "c3"]
    assert book.engine.sizes["paced"] == book.engine.sizes["expiries"] == 0


def test_one_that_expires_while_it_is_held_fails_then() -> None:
    book = Playbook(executor={"hold": "all"}).online()
    expiring(book, "c1", 60).never(acks("c1"))
    assert book.lives(61).count(acks("c1", status="failed", error=EXPIRED)) == 1
    assert book.snapshot.commands.held == 0


def test_a_scheduled_one_that_expires_before_it_is_due_fails_when_it_expires() -> None:
    book = Playbook().online()
    book.push("c1", "schedule_message", payload=to(ANN) | {"send_at": book.clock.utc + 600}, expires_at=book.clock.utc + 60)
    assert book.snapshot.scheduled[0].due_utc == book.clock.utc + 600
    assert book.lives(61).count(acks("c1", status="failed", error=EXPIRED)) == 1
    assert book.lives(600).count(executes("c1")) == 0


def test_far_messages_that_expire_are_read_and_failed() -> None:
    book = Playbook(max_in_memory=10).online()
    for number in range(12):
        payload = to(f"+{number}") | {"send_at": book.clock.utc + 86_400 + number, "expires_at": book.clock.utc + 3_600 + number}
        book.push(f"c{number}", "schedule_message", payload=payload)
        book.lives(1)
    book.lives(3_700)
    assert book.snapshot.commands.failed == 12
    assert book.snapshot.scheduled_count == 0


def test_one_that_expires_before_its_messenger_has_a_mark_is_not_sent() -> None:

    book = Playbook().online()
    book.push("c1", "text", payload=to(ANN), expires_at=book.clock.utc + 5) << TakeMark(1)
    book.lives(6)
    book >> MarkTaken(1, "7")
    book << acks("c1", status="failed")
    book.never(Execute)


def test_one_that_expires_while_the_disk_stalls_is_not_sent() -> None:
    book = Playbook().online()
    book.disk_is_prompt = False
    expiring(book, "c1", 60).never(Execute)
    book.lives(61)

    book >> Recorded(book.find(Record).ticket)
    book.never(Execute)
    book.disk_is_prompt = True
    book >> Recorded(book.find(Record).ticket)
    book << acks("c1", status="failed", error=EXPIRED)


def test_after_a_restart_what_has_expired_meanwhile_does_not_run() -> None:
    past = [
        remembered(command(f"c{seq}", "send_message", expires_at=1_793_910_300), state, seq)
        for seq, state in enumerate((State.QUEUED, State.HELD), 1)
    ]
    book = Playbook().online(Memory(tuple(past), next_seq=3))
    assert ran(book) == []
    assert book.snapshot.commands.failed == 2


def test_what_the_operator_runs_again_does_not_expire() -> None:

    book = Playbook().online()
    past = remembered(command("c1", "send_message", expires_at=1_793_910_300), State.FAILED, 1, error="expired", finished_utc=1.0)
    book >> ReplayRequested("c1", remembered=past)
    assert len(ran(book)) == 1


def test_an_expires_at_that_is_no_time_fails() -> None:
    book = Playbook().online()
    sends(book, "c1", expires_at="soon") << acks(
        "c1", status="failed", error="invalid expires_at: not a time: ISO 8601 or Unix seconds expected"
    )


# --- the configuration and the ledger ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        *({"quiet_hours": hours} for hours in (
            {"start": "22:00"}, {"end": "22:00"}, {"start": "9:00", "end": "10:00"}, {"start": "22:00", "end": "22:00"},
            {"zone": "Mars/Olympus"}, {"zone": "../../etc/passwd"},
        )),
        {"total": {"count": -1}},
    ],
)  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(policy)


def test_the_ledger_tells_the_next_run_what_was_sent(desk: Desk, desks: list[Desk]) -> None:
    changes = [took(seq, started_utc=UTC - 100 * seq, runs=1, state=State.COMPLETED) for seq in range(1, 6)]
    desk.write(*changes, took(6, state=State.QUEUED))
    again, memory = reopened(desk, desks)
    assert memory.sent == (), "no policy asks for it"
    asks = Policy.model_validate({"total": {"count": 1, "seconds": 250}})
    again, memory = reopened(again, desks, policy=asks, clock=ManualClock(utc=UTC))
    assert [(one.command_type, one.thread_id, UTC - one.utc) for one in memory.sent] == [
        ("send_message_now", "+1", 200), ("send_message_now", "+1", 100),
    ]  # fmt: skip
    asks = Policy.model_validate({"per_new_conversation": {"count": 1, "seconds": 250}})
    _, memory = reopened(again, desks, policy=asks, clock=ManualClock(utc=UTC))
    assert [UTC - one.utc for one in memory.sent] == [300, 200, 100], "and whom it knows from before"
