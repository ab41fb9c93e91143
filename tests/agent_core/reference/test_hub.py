"""The hub as dialogues: time is a number, the socket a list of frames."""

import json
from typing import Any

import pytest

from agent_core.clock import ManualClock
from agent_core.reference.faults import Faults, faults_of
from agent_core.reference.hub import Ending, Hub, Rules, Stale
from agent_core.reference.limits import PROTOCOL_LIMITS, Limits
from agent_core.reference.orders import AckWay, CallError, Status

AGENT = "mac-1"


class Talk:
    """A hub, a clock and one agent."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.clock = ManualClock()
        self.hub = Hub(rules or Rules(greet=False), salt="test")

    def after(self, seconds: float) -> list[Stale]:
        return self.hub.tick(self.clock.advance(seconds))

    def dial(self, agent: str = AGENT) -> int:
        return self.hub.connect(agent, self.clock.now()).generation

    def queue(self, text: str = "hi", **named: Any) -> str:
        return self.hub.queue(AGENT, "send_message_now", {"thread_id": "+13105550100", "text": text}, self.clock.now(), **named).command_id

    def hears(self, generation: int, at_most: int = 64) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.hub.take(AGENT, generation, self.clock.now(), at_most)]

    def ids(self, generation: int) -> list[str]:
        return [frame["data"]["command_id"] for frame in self.hears(generation) if frame["type"] == "command"]

    def says(self, generation: int, frame: Any, agent: str = AGENT) -> Ending | None:
        raw = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        return self.hub.receive(agent, generation, raw, self.clock.now())

    def acks(self, generation: int, command_id: str, status: str = "completed", **more: Any) -> None:
        self.says(generation, {"type": "command_ack", "data": {"command_id": command_id, "status": status} | more})

    def polls(self, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.hub.sync({"edge_agent_id": AGENT, **more}, self.clock.now()))
        return answer

    def polled(self) -> list[str]:
        return [command["command_id"] for command in self.polls()["commands"]]


def test_a_command_is_pushed_once_and_settled_by_its_ack() -> None:
    talk = Talk()
    link = talk.dial()
    first = talk.queue("one", priority="high")
    (frame,) = talk.hears(link)
    assert frame["type"] == "command"
    assert frame["data"] | {"timestamp": ""} == {
        "command_id": first,
        "command_type": "send_message_now",
        "payload": {"thread_id": "+13105550100", "text": "one"},
        "priority": "high",
        "timestamp": "",
    }
    assert talk.hears(link) == []
    assert talk.hub.order(first).status is Status.DELIVERED
    talk.acks(link, first)
    assert talk.hub.order(first).status is Status.COMPLETED
    assert talk.hub.open_count == 0
    talk.after(100)
    assert talk.polled() == []


def test_what_the_socket_could_not_take_is_answered_to_a_poll() -> None:
    talk = Talk()
    first, second = talk.queue(), talk.queue()
    assert talk.polled() == [first, second]
    assert talk.polled() == [], "just given: wait for the ack"
    talk.after(10)
    assert talk.polled() == [first, second]
    assert talk.hub.order(first).polled == 2
    assert talk.hub.order(first).pushed == 0


def test_a_push_without_ack_is_answered_to_a_poll_after_a_while() -> None:
    talk = Talk()
    link = talk.dial()
    first = talk.queue()
    talk.hears(link)
    talk.after(9.9)
    assert talk.polled() == []
    talk.after(0.1)
    assert talk.polled() == [first]


def test_a_push_on_a_socket_that_is_gone_is_answered_at_once() -> None:
    talk = Talk()
    link = talk.dial()
    first = talk.queue()
    talk.hears(link)
    talk.hub.disconnect(AGENT, link, Ending(1006, "lost", "nobody"))
    talk.after(0.5)
    talk.dial()
    assert talk.polled() == [first]


def test_what_a_poll_was_given_and_nobody_acked_comes_with_a_later_pong() -> None:
    talk = Talk()
    command = talk.queue()
    assert talk.polled() == [command]
    link = talk.dial()
    talk.says(link, {"type": "ping"})
    assert talk.ids(link) == []
    talk.after(30)
    talk.says(link, {"type": "ping"})
    assert talk.ids(link) == [command]


def test_a_poll_leaves_alone_what_waits_for_the_socket() -> None:
    talk = Talk()
    link = talk.dial()
    first = talk.queue()
    assert talk.polled() == []
    assert talk.ids(link) == [first]


def test_a_scheduled_command_is_not_served_again() -> None:
    talk = Talk()
    link = talk.dial()
    first = talk.queue()
    talk.hears(link)
    talk.acks(link, first, "received", success=True)
    talk.after(1_000)
    talk.dial()
    assert talk.polled() == []
    assert talk.hub.open_count == 1
    talk.acks(link, first)
    assert talk.hub.open_count == 0


def test_acks_are_idempotent_and_the_first_terminal_one_counts() -> None:
    talk = Talk()
    link = talk.dial()
    first = talk.queue()
    talk.hears(link)
    talk.acks(link, first, result={})
    talk.acks(link, first, error=None)
    assert talk.hub.order(first).anomalies == 0, "null and {} say nothing"
    talk.acks(link, first, "failed")
    talk.acks(link, first, "received")
    order = talk.hub.order(first)
    assert (order.status, order.anomalies, order.acks_seen) == (Status.COMPLETED, 1, 4)
    assert talk.hub.counts["anomalies"] == 1
    assert talk.hub.counts["completed"] == 1


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ({"success": True}, Status.COMPLETED),
        ({"success": False}, Status.FAILED),
        ({"status": "completed"}, Status.COMPLETED),
        ({"status": "FAILED"}, Status.FAILED),
        ({"status": "received", "success": True}, Status.RECEIVED),
        ({"status": "executing"}, Status.RECEIVED),
    ],
)
def test_both_dialects_of_an_ack_are_understood(body: dict[str, Any], verdict: Status) -> None:
    talk = Talk()
    first = talk.queue()
    talk.hub.ack({"command_id": first} | body, AckWay.HTTP, talk.clock.now())
    assert talk.hub.order(first).status is verdict


@pytest.mark.parametrize("body", [{}, {"status": "maybe"}, {"status": 7, "success": True}, {"success": "yes"}])
def test_an_ack_that_says_nothing_is_refused(body: dict[str, Any]) -> None:
    talk = Talk()
    with pytest.raises(CallError):
        talk.hub.ack({"command_id": talk.queue()} | body, AckWay.HTTP, talk.clock.now())


def test_acks_travel_with_a_poll_and_are_named_in_its_answer() -> None:
    talk = Talk()
    first, second = talk.queue(), talk.queue()
    talk.polls()
    events = [
        {"type": "command_ack", "data": {"command_id": first, "success": True}},
        {"type": "command_ack", "command_id": second, "status": "failed"},
        {"type": "weather"},
        7,
        {"type": "command_ack"},
    ]
    answer = talk.polls(pending_events=events, last_command_id=second)
    assert [event["command_id"] for event in answer["ack_events"]] == [first, second]
    assert [talk.hub.order(name).status for name in (first, second)] == [Status.COMPLETED, Status.FAILED]
    assert talk.hub.order(first).acks[0].way is AckWay.PENDING_EVENTS
    assert talk.polls()["ack_events"] == []


def test_a_stray_ack_is_counted_and_named_so_that_it_stops() -> None:
    talk = Talk()
    link = talk.dial()
    talk.acks(link, "cmd_of_another_life")
    assert talk.hub.counts["strays"] == 1
    assert talk.polls()["ack_events"] == [{"command_id": "cmd_of_another_life"}]


def test_an_agent_cannot_ack_for_another() -> None:
    talk = Talk()
    first = talk.queue()
    other = talk.dial("mac-2")
    talk.says(other, {"type": "command_ack", "data": {"command_id": first, "status": "completed"}}, agent="mac-2")
    assert talk.hub.order(first).status is Status.QUEUED


def test_the_newest_connection_replaces_the_old_and_its_late_close_changes_nothing() -> None:
    talk = Talk()
    old = talk.dial()
    new = talk.hub.connect(AGENT, talk.clock.now())
    assert new.replaced == old
    talk.hub.disconnect(AGENT, old, Ending(4009, "replaced"))
    assert talk.hub.connected(AGENT) == new.generation
    first = talk.queue()
    assert talk.ids(old) == []
    assert talk.ids(new.generation) == [first]


def test_an_ack_read_from_a_replaced_socket_still_counts() -> None:
    talk = Talk()
    old = talk.dial()
    first = talk.queue()
    talk.hears(old)
    talk.dial()
    talk.acks(old, first)
    assert talk.hub.order(first).status is Status.COMPLETED


def test_a_silent_agent_is_dropped_after_a_minute() -> None:
    talk = Talk()
    link = talk.dial()
    talk.after(30)
    talk.says(link, {"type": "ping"})
    assert talk.hub.wake_at == talk.clock.mono + 60
    assert talk.after(59) == []
    assert talk.after(1) == [Stale(AGENT, link)]
    assert talk.hub.connected(AGENT) is None
    assert talk.hub.wake_at is None


def test_pings_are_answered_behind_the_acks_read_before_and_echo_the_number() -> None:
    talk = Talk(Rules())
    link = talk.dial()
    talk.says(link, {"type": "ping", "data": {"seq": 41}})
    talk.says(link, b'{"type":"ping"}')
    greeting, numbered, bare = talk.hears(link)
    assert greeting["type"] == "connected"
    assert (numbered["type"], numbered["data"]) == ("pong", {"seq": 41})
    assert "data" not in bare


def test_the_backend_pings_when_told_to() -> None:
    talk = Talk(Rules(greet=False, ping_every=20))
    link = talk.dial()
    talk.after(20)
    assert [frame["type"] for frame in talk.hears(link)] == ["ping"]
    talk.after(10)
    assert talk.hears(link) == []


def test_settings_go_with_the_socket_or_with_the_next_poll() -> None:
    talk = Talk()
    talk.hub.configure(AGENT, {"sync_interval": 60})
    talk.hub.configure(AGENT, {"log_level": "info"})
    assert talk.polls()["config_updates"] == {"sync_interval": 60, "log_level": "info"}
    assert "config_updates" not in talk.polls()
    link = talk.dial()
    talk.hub.configure(AGENT, {"ping_interval": 30})
    (frame,) = talk.hears(link)
    assert (frame["type"], frame["data"]) == ("config_update", {"ping_interval": 30})


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "7",
        b"\xff\xfe",
        "[" * 5_000,
        '{"type":"command_ack"}',
        '{"type":"command_ack","data":7}',
    ],
)
def test_malformed_frames_are_counted_and_nothing_else(raw: str | bytes) -> None:
    talk = Talk()
    link = talk.dial()
    assert talk.says(link, raw) is None
    assert talk.hub.counts["malformed"] == 1
    assert talk.hub.connected(AGENT) == link


def test_limits_are_off_unless_asked_for_and_end_a_chatty_socket_with_1008() -> None:
    calm, strict = Talk(), Talk(Rules(limits=PROTOCOL_LIMITS))
    for talk, ending in ((calm, None), (strict, 1008)):
        link = talk.dial()
        endings = [talk.says(link, {"type": "pong"}) for _ in range(101)]
        assert (endings[-1].code if endings[-1] else None) == ending
        assert endings[:100] == [None] * 100


def test_pings_may_not_be_too_frequent_on_one_socket() -> None:
    talk = Talk(Rules(limits=PROTOCOL_LIMITS))
    first = talk.dial()
    assert talk.says(first, {"type": "ping"}) is None
    second = talk.dial()
    assert talk.says(second, {"type": "ping"}) is None, "a new socket pings at once"
    talk.after(9)
    ending = talk.says(second, {"type": "ping"})
    assert ending is not None
    assert ending.code == 1008


def test_the_eleventh_connect_of_a_minute_waits() -> None:
    talk = Talk(Rules(limits=Limits(connects_per_minute=10)))
    for _ in range(10):
        talk.hub.admit(AGENT, talk.clock.now())
        talk.after(1)
    with pytest.raises(CallError) as refused:
        talk.hub.admit(AGENT, talk.clock.now())
    assert (refused.value.status, refused.value.retry_after) == (429, 50)
    talk.after(50)
    talk.hub.admit(AGENT, talk.clock.now())


def test_settled_commands_are_forgotten_beyond_their_number() -> None:
    talk = Talk(Rules(keep_settled=3))
    names = [talk.queue() for _ in range(5)]
    for name in names:
        talk.hub.ack({"command_id": name, "success": True}, AckWay.HTTP, talk.clock.now())
    assert [order.command_id for order in talk.hub.orders()] == names[:1:-1]
    talk.hub.ack({"command_id": names[0], "success": True}, AckWay.HTTP, talk.clock.now())
    assert talk.hub.counts["strays"] == 1


def test_open_commands_are_bounded() -> None:
    talk = Talk(Rules(keep_open=2))
    first = talk.queue()
    talk.queue()
    with pytest.raises(CallError):
        talk.queue()
    talk.hub.ack({"command_id": first, "success": True}, AckWay.HTTP, talk.clock.now())
    talk.queue()


def test_a_poll_is_bounded_in_number_and_bytes() -> None:
    talk = Talk(Rules(poll_count=3, poll_bytes=1_000))
    names = [talk.queue() for _ in range(4)] + [talk.queue("x" * 2_000), talk.queue()]
    assert talk.polled() == names[:3]
    assert talk.polled() == [names[3]]
    assert talk.polled() == [names[4]]
    assert talk.polled() == [names[5]]


def test_a_taken_id_or_a_bad_command_is_refused() -> None:
    talk = Talk()
    talk.queue(command_id="mine")
    now = talk.clock.now()
    wrong: tuple[tuple[str, Any, dict[str, Any], int], ...] = (
        ("send", {}, {"command_id": "mine"}, 409),
        ("send", {}, {"command_id": "a\nb"}, 400),
        ("send", {}, {"command_id": "x" * 201}, 400),
        ("send", [], {}, 400),
        ("", {}, {}, 400),
        ("send", {}, {"priority": "urgent"}, 400),
    )
    for kind, payload, named, status in wrong:
        with pytest.raises(CallError) as refused:
            talk.hub.queue(AGENT, kind, payload, now, **named)
        assert refused.value.status == status


def test_ids_differ_between_hubs_and_not_between_runs_of_a_test() -> None:
    ids = [Hub(salt=salt).queue(AGENT, "x", {}, ManualClock().now()).command_id for salt in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]


def test_a_repeat_goes_out_whatever_the_state() -> None:
    talk = Talk()
    link = talk.dial()
    first = talk.queue()
    talk.hears(link)
    talk.acks(link, first)
    talk.hub.repeat(first)
    assert talk.ids(link) == [first]
    talk.hub.repeat(first, by_poll=True)
    assert talk.polled() == [first]
    assert talk.polled() == []
    assert talk.hub.order(first).status is Status.COMPLETED


def test_faults_of_the_socket() -> None:
    talk = Talk()
    link = talk.dial()
    talk.hub.faults = Faults(push_twice=True, ignore_pings=True)
    first = talk.queue()
    talk.says(link, {"type": "ping"})
    assert talk.ids(link) == [first, first]
    talk.hub.faults = Faults(silent=True)
    second = talk.queue()
    talk.says(link, {"type": "ping"})
    assert talk.hears(link) == []
    talk.hub.faults = Faults()
    assert talk.ids(link) == [second]


@pytest.mark.parametrize(
    "body",
    [
        {"sync_status": 42},
        {"silent": 1},
        {"delay_seconds": -1},
        {"close_code": "x"},
        {"upgrade_status": True},
        {"upgrade_body": 7},
        {"typo": 1},
    ],
)
def test_faults_that_make_no_sense_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(CallError):
        faults_of(body)


def test_faults_that_make_sense_are_taken() -> None:
    body = {"upgrade_status": 503, "upgrade_retry_after": 1.5, "upgrade_body": "no", "silent": True, "sync_status": None}
    assert faults_of(body) == Faults(upgrade_status=503, upgrade_retry_after=1.5, upgrade_body="no", silent=True)


def test_a_registration_is_answered_with_the_same_id_each_time() -> None:
    talk = Talk()
    first = talk.hub.register({"user_phone": "+13105550100"})
    assert first == talk.hub.register({"user_phone": "+13105550100"}) != talk.hub.register({"user_phone": "+13105550101"})
    with pytest.raises(CallError):
        talk.hub.register({})


def test_a_burst_is_taken_in_batches_in_order() -> None:
    talk = Talk()
    link = talk.dial()
    names = [talk.queue() for _ in range(200)]
    taken: list[str] = []
    while batch := talk.ids(link):
        assert len(batch) <= 64
        taken += batch
    assert taken == names


def test_changes_are_given_once_or_again_when_they_could_not_be_written() -> None:
    hub, now = Hub(Rules(keep_settled=1), journaled=True), ManualClock().now()
    names = [hub.queue(AGENT, "x", {}, now).command_id for _ in range(3)]
    changes = hub.book.changes()
    assert ([order.command_id for order in changes.new], changes.changed, changes.forgotten) == (names, [], [])
    assert not hub.book.changes()
    for name in names[:2]:
        hub.ack({"command_id": name, "success": True}, AckWay.HTTP, now)
    hub.book.unwritten(changes)
    again = hub.book.changes()
    assert [order.command_id for order in again.new] == names[1:]
    assert again.forgotten == names[:1]
    hub.ack({"command_id": names[2], "success": True}, AckWay.HTTP, now)
    assert [order.command_id for order in hub.book.changes().changed] == names[2:]


def test_what_must_be_written_is_counted_and_a_delivery_need_not_be() -> None:
    hub, now = Hub(journaled=True), ManualClock().now()
    generation = hub.connect(AGENT, now).generation
    command_id = hub.queue(AGENT, "x", {}, now).command_id
    queued = hub.book.sequence
    hub.book.changes()
    hub.take(AGENT, generation, now)
    assert (hub.book.sequence, len(hub.book.changes().changed)) == (queued, 1)
    hub.ack({"command_id": command_id, "success": True}, AckWay.HTTP, now)
    assert (hub.book.sequence, len(hub.book.changes().changed)) == (queued + 1, 1)
