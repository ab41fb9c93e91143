"""The connection, phase by phase (PROMISES §2)."""

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from agent_core.events import (
    AbortSocket,
    CloseSocket,
    DialFailed,
    Failure,
    Finish,
    FrameReceived,
    Heard,
    Lost,
    Opened,
    OpenSocket,
    Poll,
    PollFailed,
    Ponged,
    Probe,
    ReconnectRequested,
    Register,
    Registered,
    RegistrationFailed,
    Send,
    SendStatus,
    Started,
    StopRequested,
    Ticked,
    Trouble,
)
from agent_core.frames import Malformed, Ping, Pong, Unknown
from agent_core.snapshot import Cause, Phase
from tests.harness.playbook import NOTHING, Playbook, closed, frames_in, http, like, lost, pings, refused

EXACT = {"jitter": "none"}


def test_from_the_first_dial_to_online() -> None:
    book = Playbook()
    book.started() << OpenSocket(1)
    assert book.phase is Phase.CONNECTING
    book >> Opened(1)
    book << pings(1) << NOTHING
    assert book.phase is Phase.VERIFYING
    book >> FrameReceived(1, Pong(1))
    book << NOTHING
    assert book.phase is Phase.ONLINE
    book.told("Connecting to WebSocket: ws://127.0.0.1:8787/edge/ws")
    book.told("WebSocket connected - real-time mode enabled").told("Command delivery: Real-time via WebSocket")


def test_a_greeting_verifies_as_well_as_a_pong() -> None:
    book = Playbook().started()
    book >> Opened(1)
    assert book.greet().phase is Phase.ONLINE


def test_a_protocol_pong_alone_does_not_verify_at_once() -> None:
    book = Playbook().started()
    book >> Opened(1)
    assert (book >> Heard(1)).phase is Phase.VERIFYING


# --- every way an attempt or a link can end ----------------------------------------------------------------------------

LADDER = (Phase.WAITING, 0.25, 1.0, Cause.NETWORK)
PROTOCOL_ERROR = (Phase.WAITING, 0.25, 16.0, Cause.PROTOCOL)
AUTH = (Phase.REFUSED, 60.0, 60.0, Cause.AUTH)
PORTAL = (Phase.PORTAL, 5.0, 5.0, Cause.PORTAL)
REPLACED = (Phase.REPLACED, 60.0, 66.0, Cause.REPLACED)

ATTEMPTS = {
    "refused": (refused(), *LADDER),
    "reset": (Failure(Trouble.CONNECT, "connection reset by peer"), *LADDER),
    "dns": (Failure(Trouble.DNS, "no such host"), *LADDER),
    "timeout": (Failure(Trouble.TIMEOUT, "no answer"), *LADDER),
    "tls": (Failure(Trouble.TLS, "certificate has expired"), Phase.WAITING, 10.0, 10.0, Cause.TLS),
    "garbage": (Failure(Trouble.GARBAGE, "not HTTP"), *PORTAL),
    "200": (http(200), *PORTAL),
    "204": (http(204), *PORTAL),
    "301": (http(301), *PORTAL),
    "302": (http(302), *PORTAL),
    "307": (http(307), *PORTAL),
    "400": (http(400), *LADDER),
    "401": (http(401), *AUTH),
    "403": (http(403), *AUTH),
    "404": (http(404), *LADDER),
    "408": (http(408), *LADDER),
    "426": (http(426), *LADDER),
    "429": (http(429), Phase.WAITING, 15.0, 16.5, Cause.BUSY),
    "429 in 30": (http(429, 30), Phase.WAITING, 30.0, 33.0, Cause.BUSY),
    "429 in an hour": (http(429, 3600), Phase.WAITING, 900.0, 900.0, Cause.BUSY),
    "429 at once": (http(429, 0), Phase.WAITING, 15.0, 16.5, Cause.BUSY),
    "500": (http(500), *LADDER),
    "502": (http(502), *LADDER),
    "503": (http(503), *LADDER),
    "503 in 20": (http(503, 20), Phase.WAITING, 20.0, 22.0, Cause.BUSY),
    "530": (http(530), *LADDER),
}
CLOSES = {
    1000: LADDER,
    1002: PROTOCOL_ERROR,
    1003: PROTOCOL_ERROR,
    1005: LADDER,
    1006: LADDER,
    1007: PROTOCOL_ERROR,
    1008: AUTH,
    1009: PROTOCOL_ERROR,
    1010: PROTOCOL_ERROR,
    1011: LADDER,
    1012: (Phase.WAITING, 0.25, 5.0, Cause.SERVER_RESTART),
    1013: (Phase.WAITING, 15.0, 16.5, Cause.BUSY),
    3000: LADDER,
    4000: LADDER,
    4001: AUTH,
    4003: AUTH,
    4401: AUTH,
    4403: AUTH,
    4009: REPLACED,
    4409: REPLACED,
}


def ends(failure: Failure, dice: float, *, online: bool) -> tuple[Playbook, float]:
    """One attempt, or one link, that ends so; and the delay that follows."""
    book = Playbook(dice=dice)
    if online:
        book.online().lose(failure)
    else:
        book.started() >> DialFailed(1, failure)
    view = book.snapshot.link
    assert view.retry_at is not None
    return book, view.retry_at - book.clock.mono


@pytest.mark.parametrize("name", ATTEMPTS)
def test_each_failed_attempt_has_its_phase_delay_and_cause(name: str) -> None:
    failure, phase, least, most, cause = ATTEMPTS[name]
    for dice, bound in ((0.0, least), (0.999_999, most)):
        book, delay = ends(failure, dice, online=False)
        assert delay == pytest.approx(bound, rel=1e-4)
        assert book.phase is phase
        assert dict(book.snapshot.link.drops) == {cause: 1}
        assert book.waits() == pytest.approx(delay)


@pytest.mark.parametrize("code", CLOSES)
def test_each_closing_code_has_its_phase_delay_and_cause(code: int) -> None:
    phase, least, most, cause = CLOSES[code]
    for dice, bound in ((0.0, least), (0.999_999, most)):
        book, delay = ends(closed(code), dice, online=True)
        assert delay == pytest.approx(bound, rel=1e-4)
        assert book.phase is phase
        drop = book.snapshot.link.last_drop
        assert drop is not None
        assert (drop.cause, drop.lifetime) == (cause, 0.0)
        assert book.waits() == pytest.approx(delay)


def test_going_away_is_a_restart_on_the_first_loss_and_a_network_trouble_later() -> None:
    book = Playbook(dice=0.999_999).online().lives(60)
    book.lose(closed(1001))
    assert book.waits() == pytest.approx(5, rel=1e-4)
    book.online().lose(closed(1001))
    assert book.waits() == pytest.approx(2, rel=1e-4)
    assert dict(book.snapshot.link.drops) == {Cause.SERVER_RESTART: 2}


def test_f15_a_lost_connection_and_a_silent_one_climb_the_ladder() -> None:
    book = Playbook(backoff=EXACT).online().lose(lost())
    assert (book.phase, book.waits()) == (Phase.WAITING, 1)
    book.online()
    assert book.waits() == pytest.approx(15 + 2)
    assert dict(book.snapshot.link.drops) == {Cause.NETWORK: 1, Cause.HALF_OPEN: 1}


# --- the ladder --------------------------------------------------------------------------------------------------------


def test_f1_the_ladder_without_jitter_is_1_2_4_8_16_32_60_60() -> None:
    book = Playbook(backoff=EXACT).started()
    for step in (1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60):
        book >> DialFailed(book.generation, refused())
        assert book.snapshot.link.step == step
        assert book.waits() == pytest.approx(step)
    book.told("Scheduling WebSocket reconnect attempt 1/10 in 1000ms").told("attempt 10/10 in 60000ms")
    book.told("attempt 10/10 in 60000ms, slow lane", "DEBUG")


def test_after_the_last_attempt_the_lane_is_slow_and_never_ends() -> None:
    book = Playbook(backoff=EXACT, websocket={"reconnect_attempts": 2}).started()
    for step in (1, 2, 4):
        book >> DialFailed(book.generation, refused())
        assert book.waits() == pytest.approx(step)
    book.told("attempt 2/2 in 2000ms", "INFO").told("attempt 2/2 in 4000ms, slow lane")
    assert book.snapshot.link.attempt == 3


def test_full_jitter_stays_inside_the_step_and_above_the_floor() -> None:
    dice = random.Random(7).random
    book = Playbook(dice=dice).started()
    for step in (1, 2, 4, 8, 16, 32, 60, 60):
        book >> DialFailed(book.generation, refused())
        assert 0.25 <= book.waits() <= step


def test_opening_does_not_reset_the_ladder_but_stability_does() -> None:
    book = Playbook(backoff=EXACT).started()
    for step in (1, 2, 4, 8):
        book >> DialFailed(book.generation, refused())
        assert book.waits() == pytest.approx(step)
    book.online().lives(29.9).lose()
    assert book.waits() == pytest.approx(16)
    book.online().lives(30).lose()
    assert book.waits() == pytest.approx(1)


def test_stability_is_at_least_as_long_as_the_last_step() -> None:
    book = Playbook(backoff=EXACT).started()
    for _ in range(8):
        book >> DialFailed(book.generation, refused())
        book.waits()
    book.online().lives(59).lose()
    assert book.waits() == pytest.approx(60)
    book.online().lives(60).lose()
    assert book.waits() == pytest.approx(1)


def test_a_stable_link_shows_no_attempt_and_a_forced_cycle_starts_at_the_foot() -> None:
    book = Playbook(backoff=EXACT).started()
    for _ in range(5):
        book >> DialFailed(book.generation, refused())
        book.waits()
    book.online()
    assert book.snapshot.link.attempt == 5
    book.lives(40)
    assert book.snapshot.link.attempt == 0
    book >> ReconnectRequested()
    book >> DialFailed(book.generation, refused())
    assert book.waits() == pytest.approx(1)


def test_1012_does_not_reset_the_ladder() -> None:
    book = Playbook(backoff=EXACT, dice=0.0).started()
    for step in (1, 2, 4):
        book >> DialFailed(book.generation, refused())
        assert book.waits() == pytest.approx(step)
    book.online().lose(closed(1012))
    assert book.waits() == pytest.approx(0.25)
    book >> DialFailed(book.generation, refused())
    assert book.waits() == pytest.approx(16)


def test_f8_refusals_double_from_one_minute_to_five_and_stay_there() -> None:
    book = Playbook().started()
    for wait in (60, 120, 240, 300, 300):
        book >> DialFailed(book.generation, http(401))
        assert book.phase is Phase.REFUSED
        assert book.waits() == pytest.approx(wait)


def test_f9_a_backend_that_greets_and_then_refuses_is_not_asked_each_minute() -> None:
    book = Playbook().started()
    for wait in (60, 120, 240, 300):
        book >> Opened(book.generation)
        book.greet().lose(closed(4401))
        assert book.waits() == pytest.approx(wait)


def test_f42_replaced_holds_a_minute_tries_once_and_then_each_five_minutes() -> None:
    book = Playbook(dice=0.0).online().lose(closed(4009))
    assert book.waits() == pytest.approx(60)
    book.online().lose(closed(4009))
    assert book.phase is Phase.REPLACED
    assert book.waits() == pytest.approx(300)
    book.online().lives(60).lose(closed(4009))
    assert book.waits() == pytest.approx(300)
    book.online().lives(400).lose(closed(4009))
    assert book.waits() == pytest.approx(60)


# --- attempts without an answer ----------------------------------------------------------------------------------------


def test_f14_an_unanswered_dial_is_given_up_and_dialled_again() -> None:
    """The original died for ever here."""
    book = Playbook(backoff=EXACT).started()
    book.after(9.9).never(AbortSocket)
    book.after(0.1) << AbortSocket(1)
    assert book.phase is Phase.WAITING
    book.after(1) << OpenSocket(2)
    assert book.waits() == pytest.approx(10 + 2)
    book.told("no answer in 10 s")


def test_an_open_socket_that_says_nothing_is_probed_then_dropped() -> None:
    book = Playbook(backoff=EXACT).started()
    book >> Opened(1)
    book.after(4.9).never(Probe)
    book.after(0.1) << Probe(1)
    assert book.phase is Phase.VERIFYING
    book.after(4.9).never(AbortSocket)
    book.after(0.1) << AbortSocket(1)
    book.told("open, but the backend said nothing")
    assert dict(book.snapshot.link.drops) == {Cause.HALF_OPEN: 1}


def test_f52_a_backend_that_answers_only_protocol_pings_keeps_the_link_with_a_warning() -> None:
    book = Playbook().started()
    book >> Opened(1)
    book.after(5) << Probe(1)
    book >> Ponged(1)
    assert book.phase is Phase.ONLINE
    assert book.snapshot.link.pings_ignored
    book.told("no JSON pings", "WARNING", times=1)
    book.lives(3600, json_pongs=False)
    assert (book.phase, book.count(OpenSocket)) == (Phase.ONLINE, 1)
    assert book.count(pings()) == 16
    book.told("no JSON pings", times=1)


@pytest.mark.parametrize("calm", [0, 7, 15, 29, 31])
def test_f16_f82_a_peer_that_talks_and_never_reads_is_dropped_within_thirty_seconds(calm: int) -> None:
    book = Playbook(backoff=EXACT).online()
    book.lives(calm)
    probes = book.count(Probe)
    talks(book, 14)
    assert book.phase is Phase.ONLINE
    assert book.count(Probe) > probes
    talks(book, 16)
    book.told("nothing that was sent was answered for 25 s")
    assert dict(book.snapshot.link.drops) == {Cause.HALF_OPEN: 1}


def test_f16_a_pong_of_either_kind_keeps_a_peer_that_talks() -> None:
    for pong in (Ponged(1), FrameReceived(1, Pong())):
        book = Playbook().online()
        for _ in range(100):
            talks(book, 22)
            book >> pong
        assert (book.phase, book.count(OpenSocket)) == (Phase.ONLINE, 1)


def test_f18_f82_a_peer_that_brings_new_commands_is_kept_though_its_pong_is_late_and_old_ones_do_not_count() -> None:
    book = Playbook(backoff=EXACT).online()
    for number in range(20):
        talks(book, 5)
        book.push(f"c{number}")
    assert (book.phase, book.count(OpenSocket)) == (Phase.ONLINE, 1)
    for _ in range(6):
        talks(book, 5)
        book.push("c1")
    book.told("nothing that was sent was answered for 25 s")


def talks(book: Playbook, seconds: int) -> None:
    """Frames come, and no answers."""
    for _ in range(seconds):
        if book.phase is Phase.ONLINE:
            book.after(1) >> FrameReceived(book.generation, Ping())


# --- keepalive ---------------------------------------------------------------------------------------------------------


def test_f15_silence_is_probed_after_ten_seconds_and_dead_after_fifteen() -> None:
    book = Playbook(backoff=EXACT).online()
    book.after(9.9).never(Probe)
    book.after(0.1) << Probe(1) << NOTHING
    assert book.phase is Phase.SUSPECT
    book.after(4.9).never(AbortSocket)
    book.after(0.1) << AbortSocket(1) << Poll
    assert book.phase is Phase.WAITING
    book.told("nothing heard for 15.0 s")


def test_an_answered_probe_brings_the_link_back_as_it_was() -> None:
    book = Playbook().online()
    since = book.snapshot.link.since_at
    book.after(12)
    assert book.phase is Phase.SUSPECT
    book >> Heard(1)
    assert book.phase is Phase.ONLINE
    assert book.snapshot.link.since_at == since
    book.after(9.9).never(Probe)
    book.after(0.1) << Probe(1)


def test_any_byte_puts_the_probe_off() -> None:
    book = Playbook().online()
    for event in (Heard(1), FrameReceived(1, Unknown("x")), FrameReceived(1, Malformed("not JSON")), FrameReceived(1, Ping())):
        book.after(9)
        book >> event
        assert book.phase is Phase.ONLINE
        book >> Ponged(1)
    assert book.count(Probe) == 0


def test_a_json_ping_goes_out_each_thirty_seconds_and_is_measured() -> None:
    book = Playbook().online().lives(29.9)
    assert book.count(pings()) == 1
    book.lives(0.1)
    assert book.times(pings()) == [0, 30]
    book.lives(300)
    assert book.times(pings())[-1] == pytest.approx(330)
    book.lives(29)
    assert book.snapshot.link.next_ping_at == pytest.approx(book.clock.mono + 1)


def test_a_ping_is_answered_with_its_own_payload() -> None:
    book = Playbook().online()
    book >> FrameReceived(1, Ping({"t": 7}))
    (frame,) = frames_in(book.find(Send))
    assert (frame["type"], frame["data"]) == ("pong", {"t": 7})


def test_a_status_frame_goes_out_each_minute_or_not_at_all() -> None:
    book = Playbook().online().lives(180)
    assert book.times(SendStatus) == [60, 120, 180]
    assert Playbook(websocket={"status_interval_seconds": 0}).online().lives(180).count(SendStatus) == 0


def measured(book: Playbook) -> float | None:
    latest = book.snapshot.latency.last_ping_ms
    return None if latest is None else round(latest)


def test_a_pong_with_a_number_answers_that_ping() -> None:
    book = Playbook(websocket={"ping_interval_seconds": 2}).started()
    book >> Opened(1)
    book.after(2) << pings(2)
    book.after(1) >> FrameReceived(1, Pong(2))
    assert measured(book) == 1000
    assert book.phase is Phase.ONLINE


def test_a_pong_without_a_number_answers_the_oldest_ping() -> None:
    book = Playbook(websocket={"ping_interval_seconds": 2}).started()
    book >> Opened(1)
    book.after(2) << pings(2)
    book.after(1) >> FrameReceived(1, Pong())
    assert measured(book) == 3000


@pytest.mark.parametrize("seq", [-1, 0, 1, 99, 10**30])
def test_a_pong_for_a_ping_that_is_not_out_answers_nothing(seq: int) -> None:
    book = Playbook().online().lives(30)
    assert measured(book) == 0
    book.lives(29.5).after(0.5) << pings(3)
    book >> FrameReceived(1, Pong(seq))
    assert measured(book) == 0
    book >> FrameReceived(1, Pong(3))
    assert book.snapshot.latency.ping.count == 3


# --- forcing -----------------------------------------------------------------------------------------------------------


def in_waiting(book: Playbook) -> None:
    book.started() >> DialFailed(1, refused())


def in_refused(book: Playbook) -> None:
    book.started() >> DialFailed(1, http(403))


def in_portal(book: Playbook) -> None:
    book.started() >> DialFailed(1, http(200))


def in_replaced(book: Playbook) -> None:
    book.online().lose(closed(4009))


def in_busy(book: Playbook) -> None:
    book.started() >> DialFailed(1, http(429, 600))


def in_verifying(book: Playbook) -> None:
    book.started() >> Opened(1)


def in_online(book: Playbook) -> None:
    book.online()


def in_suspect(book: Playbook) -> None:
    book.online().after(12)


def in_connecting(book: Playbook) -> None:
    book.started().after(2)


EVERYWHERE: list[Callable[[Playbook], None]] = [
    in_waiting, in_refused, in_portal, in_replaced, in_busy, in_verifying, in_online, in_suspect, in_connecting,
]  # fmt: skip


@pytest.mark.parametrize("somewhere", EVERYWHERE)
def test_f49_a_forced_dial_goes_out_at_once_and_only_once(somewhere: Callable[[Playbook], None]) -> None:
    book = Playbook()
    somewhere(book)
    before = book.generation
    book >> ReconnectRequested()
    book << OpenSocket(before + 1)
    for _ in range(100):
        book >> ReconnectRequested()
        book.never(OpenSocket)
    assert book.online().phase is Phase.ONLINE


@pytest.mark.parametrize("somewhere", [in_verifying, in_online, in_suspect, in_connecting])
def test_forcing_aborts_what_is_there_first(somewhere: Callable[[Playbook], None]) -> None:
    book = Playbook()
    somewhere(book)
    book >> ReconnectRequested()
    book << AbortSocket(1) << OpenSocket(2)


def test_forcing_a_hundred_times_over_half_a_minute_never_has_two_in_flight() -> None:
    book = Playbook().started()
    for _ in range(100):
        book.after(0.3) >> ReconnectRequested()
    assert book.count(OpenSocket) <= 31


def test_forcing_from_online_counts_as_the_operators_drop() -> None:
    book = Playbook().online().lives(10)
    book >> ReconnectRequested()
    assert dict(book.snapshot.link.drops) == {Cause.OPERATOR: 1}


def test_forcing_before_the_start_or_without_a_socket_says_so() -> None:
    book = Playbook()
    book >> ReconnectRequested()
    book << NOTHING
    book = Playbook(websocket={"enabled": False}).started()
    book >> ReconnectRequested()
    book.never(OpenSocket).told("the link is off", "WARNING")


# --- old news ----------------------------------------------------------------------------------------------------------


def test_news_of_an_older_socket_changes_nothing() -> None:
    book = Playbook().online().lose()
    book.waits()
    book.online()
    generation, dials = book.generation, book.snapshot.link.dials
    old = (Opened(1), DialFailed(1, refused()), Lost(1, closed(4009)), FrameReceived(1, Pong(1)), Heard(1), FrameReceived(1, Ping()))
    for event in old:
        book >> event
        book << NOTHING
    assert (book.phase, book.generation, book.snapshot.link.dials) == (Phase.ONLINE, generation, dials)


def test_news_of_a_socket_that_was_given_up_changes_nothing() -> None:
    book = Playbook(backoff=EXACT).started()
    book.after(10) << AbortSocket(1)
    for event in (Opened(1), DialFailed(1, http(401)), Lost(1, closed(4009))):
        book >> event
        book.never(OpenSocket, Send)
        assert book.phase is Phase.WAITING
    assert book.waits() == pytest.approx(1)


def test_news_of_a_socket_that_does_not_exist_changes_nothing() -> None:
    book = Playbook().started()
    book >> Opened(7)
    book << NOTHING
    assert book.phase is Phase.CONNECTING


# --- the hint ----------------------------------------------------------------------------------------------------------


def down_for_long(**more: Any) -> Playbook:
    """Nothing answers for ten minutes; the next dial is up to a minute away and the poll in flight will be the judge."""
    book = Playbook(backoff=EXACT, **more).started()
    while book.now < 600 or book.phase is not Phase.WAITING:
        book.after(1)
        if book.phase is Phase.CONNECTING:
            book >> DialFailed(book.generation, refused())
        if book.snapshot.polling.in_flight:
            book.fail_poll(refused())
    book >> Ticked()
    while not book.snapshot.polling.in_flight:
        book.after(0.5)
    if book.phase is Phase.CONNECTING:
        book >> DialFailed(book.generation, refused())
    return book


def test_p7_a_poll_that_succeeds_again_is_a_hint_to_dial_within_a_second() -> None:
    book = down_for_long()
    book.answer_poll()
    assert book.waits() <= 1


def test_a_lone_loss_redials_within_a_second_when_the_first_poll_shows_that_the_backend_was_never_gone() -> None:
    book = Playbook(dice=0.9).online()
    book.lives(40)
    book >> Lost(book.generation, refused())
    assert book.snapshot.link.retry_at is not None
    assert book.snapshot.link.retry_at - book.clock.mono > 10, "a crowd would be spread"
    book.answer_poll()
    assert book.waits() <= 1


def test_a_poll_that_goes_on_succeeding_is_no_hint() -> None:
    book = down_for_long()
    book.answer_poll()
    book.waits()
    book >> DialFailed(book.generation, refused())
    retry_at = book.snapshot.link.retry_at
    book.after(20)
    book.answer_poll()
    assert book.snapshot.link.retry_at == retry_at


def test_hints_come_no_oftener_than_each_ten_seconds() -> None:
    book = down_for_long(backend={"sync_interval_seconds": 2})
    hints = []
    for _ in range(15):
        retry_at = book.snapshot.link.retry_at
        book.answer_poll()
        if book.snapshot.link.retry_at != retry_at:
            hints.append(book.now)
        for _ in range(2):
            while not book.snapshot.polling.in_flight:
                book.after(0.1)
                if book.phase is Phase.CONNECTING:
                    book >> DialFailed(book.generation, refused())
            if _ == 0:
                book.fail_poll(refused())
    assert len(hints) >= 2
    assert all(later - earlier >= 10 for earlier, later in pairwise(hints))


@pytest.mark.parametrize("failure", [http(403), http(429, 600), closed(4009)])
def test_a_refused_busy_or_replaced_link_takes_no_hint(failure: Failure) -> None:
    book = Playbook().online().lose(failure) if failure.trouble is Trouble.CLOSED else Playbook().started()
    if failure.trouble is Trouble.HTTP:
        book >> DialFailed(1, failure)
    retry_at = book.snapshot.link.retry_at
    number = book.find(Poll).number
    book >> PollFailed(number, refused())
    while not book.snapshot.polling.in_flight:
        book.after(1)
    book.answer_poll()
    assert book.snapshot.link.retry_at == retry_at


# --- sleep and standstill ----------------------------------------------------------------------------------------------


def test_wake_by_drift_probes_the_link_with_three_seconds_to_answer() -> None:
    book = Playbook(backoff=EXACT).online().lives(5)
    book.sleep(3600) >> Ticked()
    book << Probe(1)
    assert book.phase is Phase.SUSPECT
    book.after(2.9).never(AbortSocket)
    book.after(0.1) << AbortSocket(1)
    assert dict(book.snapshot.link.drops) == {Cause.SLEEP: 1}
    book.told("slept", "WARNING", times=1)


def test_wake_with_the_peer_alive_keeps_the_link() -> None:
    book = Playbook().online().lives(5)
    book.sleep(3600) >> Ticked()
    book >> Heard(1)
    assert (book.phase, book.lives(60).count(OpenSocket)) == (Phase.ONLINE, 1)


@pytest.mark.parametrize("step", [-3600, -6, 6, 3600])
def test_a_step_of_the_wall_clock_only_asks_the_peer(step: float) -> None:
    book = Playbook().online().lives(5)
    book.sleep(step) >> Ticked()
    book << Probe(1)
    book >> Heard(1)
    book.lives(60)
    assert (book.phase, book.count(OpenSocket)) == (Phase.ONLINE, 1)
    book.told("clock was set", times=1)


def test_a_small_drift_is_none() -> None:
    book = Playbook().online().lives(5)
    book.sleep(4.9) >> Ticked()
    book << NOTHING


def test_f45_stopped_for_twenty_seconds_with_the_peer_alive_keeps_the_link() -> None:
    book = Playbook().online().lives(5)
    book.stall(20) >> Ticked()
    book << Probe(1)
    book.never(AbortSocket)
    book >> Heard(1)
    assert (book.phase, book.lives(60).count(OpenSocket)) == (Phase.ONLINE, 1)
    book.told("stopped for a while")


def test_f45_stopped_for_twenty_seconds_with_the_peer_gone_is_noticed_in_three() -> None:
    book = Playbook().online().lives(5)
    book.stall(20) >> Ticked()
    book.after(3) << AbortSocket(1)


def test_f45_what_lay_in_the_buffer_is_a_sign_of_life() -> None:
    book = Playbook().online().lives(5)
    book.stall(20) >> FrameReceived(1, Pong(None))
    book.never(AbortSocket)
    assert book.phase is Phase.ONLINE


def test_waking_while_waiting_does_not_sit_out_the_wait() -> None:
    book = Playbook(backoff=EXACT).started()
    for _ in range(7):
        book >> DialFailed(book.generation, refused())
        book.waits()
    book >> DialFailed(book.generation, refused())
    book.sleep(3600) >> Ticked()
    assert book.waits() <= 1


def test_waking_while_busy_or_refused_keeps_the_wait() -> None:
    for failure in (http(429, 600), http(403), closed(4009)):
        book = Playbook().started()
        book >> DialFailed(1, failure)
        retry_at = book.snapshot.link.retry_at
        book.sleep(3600) >> Ticked()
        assert book.snapshot.link.retry_at == retry_at


def test_waking_while_dialling_gives_the_dial_its_full_time() -> None:
    book = Playbook().started().after(8)
    book.stall(20) >> Ticked()
    book.never(AbortSocket).after(9.9).never(AbortSocket)
    book.after(0.1) << AbortSocket(1)


# --- registration ------------------------------------------------------------------------------------------------------


def test_without_an_agent_id_registration_comes_first() -> None:
    book = Playbook(edge={"agent_id": None}).started()
    book << Register() << NOTHING
    book >> Registered("mac-9")
    book << OpenSocket(1)
    book.told("Registered as mac-9")
    assert book.snapshot.agent_id == "mac-9"


def test_register_always_registers_in_spite_of_an_id() -> None:
    Playbook(edge={"register": "always"}).started() << Register() << NOTHING


def test_registration_that_fails_is_tried_again_on_the_ladder_and_nothing_else_happens() -> None:
    book = Playbook(backoff=EXACT, edge={"agent_id": None}).started()
    for step in (1, 2, 4):
        book >> RegistrationFailed(http(404))
        book << NOTHING
        book.after(step) << Register() << NOTHING
    book >> RegistrationFailed(http(403))
    assert book.phase is Phase.REFUSED


def test_an_unanswered_registration_is_tried_again() -> None:
    book = Playbook(backoff=EXACT, edge={"agent_id": None}).started()
    book.after(10).never(AbortSocket)
    book.after(1) << Register()


def test_a_registration_that_comes_twice_dials_once() -> None:
    book = Playbook(edge={"agent_id": None}).started()
    book >> Registered("mac-9")
    book >> Registered("mac-10")
    book << NOTHING
    assert book.snapshot.agent_id == "mac-9"


def test_with_the_socket_switched_off_only_polling_runs() -> None:
    book = Playbook(websocket={"enabled": False}).started()
    book.never(OpenSocket) << Poll
    assert book.phase is Phase.OFF
    assert book.lives(3600).count(OpenSocket) == 0


# --- stopping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("somewhere", EVERYWHERE)
def test_f47_stop_ends_in_every_phase(somewhere: Callable[[Playbook], None]) -> None:
    book = Playbook()
    somewhere(book)
    began = book.now
    book >> StopRequested()
    book.after(5)
    assert book.engine.finished
    assert book.times(Finish)[-1] - began <= 2
    assert book.phase is Phase.STOPPED


def test_stop_of_an_open_link_closes_with_1000_and_waits_for_the_end() -> None:
    book = Playbook().online()
    book >> StopRequested()
    book << CloseSocket(1, 1000, "agent stopped") << NOTHING
    book.lose(closed(1000)) << Finish() << NOTHING


def test_stop_with_a_dead_peer_does_not_wait_for_long() -> None:
    book = Playbook().online()
    book >> StopRequested()
    book.after(0.75) << AbortSocket(1) << Finish()


def test_stop_with_a_peer_that_goes_on_talking_does_not_wait_for_long() -> None:
    for somewhere in (in_verifying, in_online, in_suspect):
        book = Playbook()
        somewhere(book)
        book >> StopRequested()
        book >> FrameReceived(1, Unknown("chatter"))
        book.after(0.75) << AbortSocket(1) << Finish()


def test_stop_while_dialling_aborts_the_dial() -> None:
    book = Playbook().started()
    book >> StopRequested()
    book << AbortSocket(1) << Finish()


def test_stop_during_registration_and_with_the_socket_off() -> None:
    for book in (Playbook(edge={"agent_id": None}), Playbook(websocket={"enabled": False})):
        book.started() >> StopRequested()
        book << Finish()


def test_a_stop_that_comes_before_the_start_is_obeyed_at_the_start() -> None:
    book = Playbook()
    book >> StopRequested()
    book >> Started()
    book << Finish()


def test_after_a_stop_nothing_dials() -> None:
    book = Playbook().online()
    book >> StopRequested()
    book >> ReconnectRequested()
    book.never(OpenSocket)
    book.lose()
    book.after(600).never(OpenSocket, Poll)


# --- politeness (P8) ---------------------------------------------------------------------------------------------------


def dials_by_minute(book: Playbook, minutes: int, answer: Callable[[Playbook], None]) -> list[int]:
    """How many dials in the first minute, and the most in any later minute that begins with a dial."""
    book.started()
    while book.now < minutes * 60:
        if book.phase is Phase.CONNECTING:
            answer(book)
        if book.snapshot.polling.in_flight:
            book.answer_poll() if random.Random(book.now).random() < 0.5 else book.fail_poll(refused())
        book.after(max(0.0, min(book.engine.wake_at - book.clock.mono, 5.0)))
    times = book.times(OpenSocket)
    later = [at for at in times if at > 60]
    return [sum(at <= 60 for at in times), max(sum(0 <= other - at < 59.999 for other in later) for at in later)]


def restarts_for_ever(book: Playbook) -> None:
    book >> Opened(book.generation)
    book.greet().lose(closed(1012))


def closes_after_50_ms(book: Playbook) -> None:
    book >> Opened(book.generation)
    book.greet().after(0.05)
    book.lose(closed(1000))


def refuses_for_ever(book: Playbook) -> None:
    book >> DialFailed(book.generation, refused())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", [restarts_for_ever, closes_after_50_ms, refuses_for_ever])
def test_p8_f5_f7_no_fault_makes_it_dial_too_often(fault: Callable[[Playbook], None], seed: int) -> None:
    first, later = dials_by_minute(Playbook(dice=random.Random(seed).random), 60, fault)
    assert 3 <= first <= 14
    assert 1 <= later <= 8


@pytest.mark.parametrize("failure", [http(401), http(403), closed(4401), closed(1008)])
def test_p8_f8_at_most_six_tries_in_ten_minutes_where_we_are_refused(failure: Failure) -> None:
    book = Playbook(dice=random.Random(3).random).started()
    while book.now < 600:
        if book.phase is Phase.CONNECTING and failure.trouble is Trouble.CLOSED:
            book >> Opened(book.generation)
            book.greet().lose(failure)
        elif book.phase is Phase.CONNECTING:
            book >> DialFailed(book.generation, failure)
        if book.snapshot.polling.in_flight:
            book.fail_poll(http(401))
        book.after(max(0.0, book.engine.wake_at - book.clock.mono))
    assert 3 <= book.count(OpenSocket) <= 6
    assert 3 <= book.count(Poll) <= 6


def test_f44_a_day_of_outage_in_virtual_time_is_a_short_log_and_a_bounded_history() -> None:
    book = Playbook(dice=random.Random(1).random).started()
    while book.now < 86_400:
        if book.phase is Phase.CONNECTING:
            refuses_for_ever(book)
        if book.snapshot.polling.in_flight:
            book.fail_poll(refused())
        book.after(max(0.0, book.engine.wake_at - book.clock.mono))
    assert sum(line.level != "DEBUG" for line in book.lines) <= 2_000
    assert len(book.snapshot.link.history) <= 720
    assert book.count(OpenSocket) > 1_440


# --- what is shown -----------------------------------------------------------------------------------------------------


def test_a_link_that_is_cut_like_clockwork_is_called_an_idle_cut() -> None:
    book = Playbook(backoff=EXACT)
    for _ in range(3):
        book.online().lives(100).lose()
        book.waits()
    assert dict(book.snapshot.link.drops) == {Cause.NETWORK: 2, Cause.IDLE_CUT: 1}


def test_the_last_outage_and_the_lifetimes_are_remembered() -> None:
    book = Playbook(backoff=EXACT).online().lives(100).lose()
    book.waits()
    book.online()
    view = book.snapshot.link
    assert view.last_outage_seconds == pytest.approx(1)
    assert view.lifetimes == pytest.approx((100,))
    assert (view.down_since_at, view.sessions, view.dials) == (None, 2, 2)


def test_a_hostile_reason_is_shown_as_plain_text() -> None:
    book = Playbook().online().lose(Failure(Trouble.CLOSED, "bye\x1b[2J\u202e", 1000))
    drop = book.snapshot.link.last_drop
    assert drop is not None
    assert drop.detail.isprintable()
    assert all(line.text.isprintable() for line in book.lines)


def test_an_unknown_type_is_told_once_and_counted_each_time() -> None:
    book = Playbook().online()
    for _ in range(3):
        book >> FrameReceived(1, Unknown("gossip"))
    book.told("Unknown frame type ignored: gossip", times=1)
    assert book.snapshot.commands.malformed == 3


def test_the_deadline_of_each_phase_is_one() -> None:
    for somewhere in EVERYWHERE:
        book = Playbook()
        somewhere(book)
        book.after(1_000)
        book << like(OpenSocket)
