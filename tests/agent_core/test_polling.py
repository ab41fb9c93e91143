"""The HTTP fallback: derived, never switched (PROMISES P6)."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from agent_core.events import (
    AcksPosted,
    DialFailed,
    Failure,
    LedgerOpened,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    PollFailed,
    PollingModeChosen,
    PostAcks,
    ReconnectRequested,
    RecordFailed,
    Started,
    Ticked,
    Trouble,
)
from agent_core.records import Arrival
from agent_core.snapshot import Cause, Phase, PollingMode
from tests.harness.playbook import NOTHING, Playbook, carries, closed, command, executes, http, posts, refused

OFF = {"enabled": False}


def in_connecting(book: Playbook) -> None:
    book.started()


def in_verifying(book: Playbook) -> None:
    book.started() >> Opened(1)


def in_waiting(book: Playbook) -> None:
    book.started() >> DialFailed(1, refused())


def in_refused(book: Playbook) -> None:
    book.started() >> DialFailed(1, http(403))


def in_portal(book: Playbook) -> None:
    book.started() >> DialFailed(1, http(200))


def in_replaced(book: Playbook) -> None:
    book.online().lose(closed(4009))


DOWN: list[Callable[[Playbook], None]] = [in_connecting, in_verifying, in_waiting, in_refused, in_portal, in_replaced]


@pytest.mark.parametrize("somewhere", DOWN)
def test_auto_polls_in_every_phase_that_is_not_online(somewhere: Callable[[Playbook], None]) -> None:
    book = Playbook()
    somewhere(book)
    assert book.snapshot.polling.active


@pytest.mark.parametrize("somewhere", DOWN)
def test_never_polls_nowhere(somewhere: Callable[[Playbook], None]) -> None:
    book = Playbook(backend={"polling": "never"})
    somewhere(book)
    book.after(100)
    assert book.count(Poll) == 0
    assert not book.snapshot.polling.active


def test_auto_rests_while_online_and_while_a_probe_is_out() -> None:
    book = Playbook().online()
    assert not book.snapshot.polling.active
    book.after(12)
    assert (book.phase, book.snapshot.polling.active) == (Phase.SUSPECT, False)


def test_always_polls_over_a_live_link_too() -> None:
    book = Playbook(backend={"polling": "always"}).online().lives(60)
    assert book.count(Poll) >= 5
    assert book.phase is Phase.ONLINE


def test_never_takes_no_drain_and_posts_no_ack() -> None:
    book = Playbook(backend={"polling": "never"}).online().push("c1").lose().finish("c1")
    book.after(600).never(PostAcks)
    assert (book.count(Poll), book.count(PostAcks)) == (0, 0)


def test_p6_the_first_poll_is_at_once_when_the_link_is_lost() -> None:
    book = Playbook().online().lives(60)
    book.lose() << Poll
    book.told("Command delivery: HTTP polling every 15s")


@pytest.mark.parametrize(("dice", "interval"), [(0.0, 14.25), (0.5, 13.875), (0.999_999, 13.5)])
def test_p6_and_then_each_interval_within_ten_percent(dice: float, interval: float) -> None:
    book = Playbook(websocket=OFF, dice=dice).started()
    for _ in range(5):
        book.answer_poll()
        book.after(interval + 0.01) << Poll << NOTHING
    times = book.times(Poll)
    assert [b - a for a, b in pairwise(times)] == pytest.approx([interval] * 5, abs=0.06)


def test_p15_an_answer_vouches_for_polling_for_15_seconds() -> None:
    book = Playbook(websocket=OFF).started()
    assert book.snapshot.polling.works_until_at is None
    book.answer_poll()
    assert book.snapshot.polling.works_until_at == book.clock.mono + 15
    book.after(14.99)
    assert ways(book) == ["down", "polling"]
    book.after(0.01)
    assert book.snapshot.polling.in_flight
    assert book.snapshot.polling.works_until_at is None
    assert ways(book) == ["down", "polling", "down"]
    book.answer_poll()
    assert ways(book)[3:] == ["polling"]


def test_p15_a_bad_answer_ends_it_at_once() -> None:
    book = Playbook(websocket=OFF).started().answer_poll()
    book.after(14.25).fail_poll(refused())
    assert book.snapshot.polling.works_until_at is None
    assert ways(book)[-1] == "down"


def test_p15_a_drain_sync_vouches_when_the_link_is_lost_and_a_sleep_ends_that() -> None:
    book = Playbook().online()
    assert book.snapshot.polling.works_until_at is None
    book.lose()
    assert ways(book)[-2:] == ["socket", "polling"]
    book.answer_poll().sleep(3_600) >> Ticked()
    book << Poll
    assert ways(book)[-1] == "down"


@pytest.mark.parametrize("every", [5, 15, 60, 300])
def test_p15_a_healthy_poller_does_not_flap(every: int) -> None:
    dice = random.Random(every)
    book = Playbook(websocket=OFF, backend={"sync_interval_seconds": every}, dice=dice.random).started()
    while book.now < 20 * every:
        if book.snapshot.polling.in_flight:
            book.after(dice.uniform(0.01, 0.2)).answer_poll()
        book.after(0.1)
    assert "down" not in ways(book)[1:]


def ways(book: Playbook) -> list[str]:
    return [way for _, way in book.snapshot.link.history]


def test_p6_polling_stops_when_the_link_is_verified_and_the_overlapping_poll_is_merged() -> None:
    book = Playbook().started()
    book << Poll
    book >> Opened(1)
    book.greet() << NOTHING
    book.answer_poll(command("c1")) << Poll << executes("c1")
    book.answer_poll(command("c1"))
    assert book.count(executes("c1")) == 1
    book.lives(200)
    assert book.count(Poll) == 2


def test_one_drain_sync_after_each_opening() -> None:
    book = Playbook().online().lives(100)
    assert book.count(Poll) == 2
    book.lose().answer_poll()
    book.waits()
    book.online().lives(100)
    assert book.count(Poll) == 4


def test_a_slow_safety_sync_runs_over_a_live_link() -> None:
    book = Playbook().online().lives(910)
    assert book.times(Poll)[2:] == pytest.approx([300, 600, 900])
    assert Playbook(timing={"safety_sync_every": 0}).online().lives(3_600).count(Poll) == 2


@pytest.mark.parametrize("mode", PollingMode)
def test_f82_a_safety_sync_runs_in_every_mode_and_finds_a_deaf_socket(mode: PollingMode) -> None:
    book = Playbook(backend={"polling": mode}).online()
    book.lives(299.9).greet().after(0.2) << Poll
    book.answer_poll(command("c1")).after(5.1) << OpenSocket(2)
    assert book.snapshot.link.deaf


def test_f82_mode_never_asks_no_oftener_than_that() -> None:
    assert Playbook(backend={"polling": "never"}).online().lives(910).times(Poll) == pytest.approx([300, 600, 900])
    assert Playbook(backend={"polling": "never"}, timing={"safety_sync_every": 0}).online().lives(3_600).count(Poll) == 0


# --- deafness ----------------------------------------------------------------------------------------------------------


def safety_sync_brings(book: Playbook, *names: str) -> Playbook:
    book.lives(295).after(4.9)
    book.greet().after(0.2) << Poll
    return book.answer_poll(*(command(name) for name in names))


def test_a_safety_sync_that_brings_what_the_socket_should_have_pushed_cycles_the_socket() -> None:
    book = safety_sync_brings(Playbook().online(), "c1", "c2")
    book << executes("c1")
    book.after(4.9).never(OpenSocket)
    book.after(0.2) << OpenSocket(2)
    assert book.snapshot.link.deaf
    assert dict(book.snapshot.link.drops) == {Cause.DEAF: 1}
    book.told("The socket is deaf: a sync brought 2 command(s)", "WARNING")
    assert book.online().snapshot.link.deaf
    assert not book.push("c3").snapshot.link.deaf


def test_a_socket_counts_as_deaf_until_a_sync_brings_nothing_that_it_should_have() -> None:
    book = safety_sync_brings(Playbook().online(), "c1")
    book.after(5.1).online()
    assert book.snapshot.link.deaf
    assert not safety_sync_brings(book).snapshot.link.deaf


def test_a_sync_whose_commands_cannot_be_taken_does_not_clear_the_word() -> None:
    book = safety_sync_brings(Playbook().online(), "c1")
    book.after(5.1).online() >> RecordFailed("full")
    assert safety_sync_brings(book, "c2").snapshot.link.deaf


def test_a_push_that_comes_a_moment_later_clears_the_suspicion() -> None:
    book = safety_sync_brings(Playbook().online(), "c1").push("c1")
    assert book.lives(60).count(OpenSocket) == 1


def test_a_safety_sync_that_brings_nothing_or_only_duplicates_is_fine() -> None:
    book = Playbook().online().push("c1")
    safety_sync_brings(book, "c1")
    assert book.lives(60).count(OpenSocket) == 1


def test_a_new_link_does_not_inherit_the_suspicion() -> None:
    book = safety_sync_brings(Playbook().online(), "c1")
    book >> ReconnectRequested()
    book.online().lives(60)
    assert book.count(OpenSocket) == 2


def test_a_drain_sync_is_expected_to_bring_commands() -> None:
    book = Playbook().started()
    book >> Opened(1)
    book.greet().answer_poll().answer_poll(command("c1")).lives(60)
    assert book.count(OpenSocket) == 1


# --- answers -----------------------------------------------------------------------------------------------------------


def test_a_late_answer_changes_nothing() -> None:
    book = Playbook(websocket=OFF).started()
    book.after(12)
    assert book.snapshot.polling.last_error == "no answer"
    book >> PollAnswered(1, (Arrival(command("c1")),))
    book << NOTHING
    book.after(3) << Poll
    book >> PollAnswered(1, (Arrival(command("c1")),))
    book << NOTHING
    book.answer_poll(command("c2")) << executes("c2")


def test_a_poll_without_an_answer_is_given_up_by_our_own_watch() -> None:
    book = Playbook(websocket=OFF).started()
    for _ in range(10):
        book.after(15)
    assert book.count(Poll) == 11
    assert book.snapshot.polling.failures == 10
    book.told("HTTP polling failed: no answer", "WARNING", times=1)


def test_a_failure_is_told_once_a_spell_and_so_is_its_end() -> None:
    book = Playbook(websocket=OFF).started()
    for _ in range(3):
        book.fail_poll(refused()).after(15)
    book.answer_poll().after(15).fail_poll(refused())
    book.told("connection refused", "WARNING", times=2).told("HTTP polling works again", times=1)
    view = book.snapshot.polling
    assert (view.failures, view.last_error) == (4, "connection refused")


def test_f36_a_poll_that_fails_fails_alone() -> None:
    book = Playbook(websocket=OFF).started()
    for failure in (Failure(Trouble.GARBAGE, "the answer is not JSON"), http(500), http(204)):
        book.fail_poll(failure)
        book.after(15) << Poll
    book.answer_poll(command("c1"), malformed=("no command_id",)) << executes("c1")
    assert book.snapshot.commands.malformed == 1


@pytest.mark.parametrize("status", [401, 403])
def test_f8_refusals_hold_polling_back_from_one_minute_to_five(status: int) -> None:
    book = Playbook(websocket=OFF).started()
    for wait in (60, 120, 240, 300, 300):
        book.fail_poll(http(status))
        book.after(wait - 0.1).never(Poll)
        book.after(0.2) << Poll
    book.answer_poll()
    book.after(15) << Poll


@pytest.mark.parametrize(("failure", "wait"), [(http(429), 15), (http(429, 120), 120), (http(503, 60), 60), (http(429, 9_999), 900)])
def test_retry_after_is_obeyed_up_to_a_quarter_of_an_hour(failure: Failure, wait: float) -> None:
    book = Playbook(websocket=OFF, dice=0.0).started().fail_poll(failure)
    book.after(wait - 1.6).never(Poll)
    book.after(1.7) << Poll
    book.fail_poll(refused())
    book.after(15) << Poll


def test_refusals_of_acks_count_as_well() -> None:
    book = Playbook(websocket=OFF).started().answer_poll(command("c1")).finish("c1") << posts("c1")
    book >> AcksPosted((), ("c1",), http(401))
    book.after(59).never(Poll, PostAcks)
    book.after(2) << Poll


def test_an_answer_that_was_under_way_does_not_end_the_wait_that_an_ack_call_was_asked_for() -> None:
    book = Playbook(websocket=OFF).started().answer_poll(command("c1")).finish("c1").after(15) << Poll
    book >> AcksPosted((), ("c1",), http(429, 120), tried=("c1",))
    book.answer_poll()
    book.after(119).never(Poll, PostAcks)
    book.after(14) << Poll


def test_acks_go_with_the_polls_where_there_is_no_call_for_them() -> None:
    book = Playbook(websocket=OFF).started().answer_poll(command("c1")).finish("c1")
    book >> AcksPosted((), ("c1",), http(404), unsupported=True)
    book.after(15).never(PostAcks)
    book << carries("c1")
    book.answer_poll(proven=("c1",))
    assert book.snapshot.commands.proven == 1


# --- the operator ------------------------------------------------------------------------------------------------------


def test_the_mode_is_changed_at_once() -> None:
    book = Playbook().online().lives(20)
    book >> PollingModeChosen(PollingMode.ALWAYS)
    book << Poll
    book.answer_poll() >> PollingModeChosen(PollingMode.NEVER)
    book.lives(270)
    assert book.times(Poll)[-1] == pytest.approx(20)
    book.lose().never(Poll)
    book >> PollingModeChosen(PollingMode.AUTO)
    book << Poll
    book.told("Polling mode: never")


def test_f49_a_hundred_toggles_leave_one_poll_in_flight_and_the_right_mode() -> None:
    book = Playbook().online()
    for n in range(100):
        book >> PollingModeChosen(list(PollingMode)[n % 3])
        book.after(0.01)
    assert book.snapshot.polling.mode is PollingMode.AUTO
    assert book.count(Poll) == 3


def test_the_backend_may_change_the_interval() -> None:
    book = Playbook(websocket=OFF).started().answer_poll(settings={"sync_interval": 60, "color": "red"})
    book.after(14) << Poll
    book.answer_poll().after(55).never(Poll)
    book.after(1) << Poll
    book.told("Settings changed: sync_interval=60.0").told("color is not one a backend may change", "WARNING")


def test_no_poll_before_there_is_an_id_or_after_a_stop() -> None:
    book = Playbook(edge={"agent_id": None})
    book >> LedgerOpened()
    book >> Started()
    book.after(9).never(Poll)


def test_a_closed_intake_is_no_reason_to_poll_without_a_pause() -> None:
    book = Playbook()
    book >> Started()
    book.online().push("c1")
    for _ in range(20):
        book.answer_poll(command("c1"))
    assert book.count(Poll) <= 3


def test_what_a_poll_carries_about_us() -> None:
    book = Playbook(websocket=OFF).started()
    poll = book.find(Poll)
    assert (poll.number, poll.last_command_id, poll.carried) == (1, None, ())
    assert poll.status == {"scheduled_messages": 0, "pending_acks": 0}


def test_an_old_poll_that_fails_changes_nothing() -> None:
    book = Playbook(websocket=OFF).started().answer_poll()
    book >> PollFailed(1, http(401))
    assert book.snapshot.polling.failures == 0
    book.after(15) << Poll


def test_p6_the_worst_gap_through_a_silent_death_is_twenty_seconds() -> None:
    for seed in range(20):
        book = Playbook(dice=random.Random(seed).random).online().lives(random.Random(seed).uniform(0, 60))
        dead_at = book.now
        book.after(16)
        assert book.times(Poll)[-1] - dead_at <= 15.5
