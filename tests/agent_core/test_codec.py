"""Events, feed entries and snapshots as JSON and back: equal, bounded, and one sentence for what is not known here."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.codec import MAX_CHARACTERS, CodecError, encode, entry_of, event_of, line_of, object_of, snapshot_of
from agent_core.events import (
    AcksPosted,
    BackendClockRead,
    CancelRequested,
    CommandFinished,
    CommandsPolled,
    CommandsReceived,
    ConfigReloaded,
    DeliveriesSeen,
    DialFailed,
    DrainRequested,
    Event,
    EventsRecalled,
    Failure,
    FrameReceived,
    Heard,
    HeldApproved,
    HeldRefused,
    HoldChosen,
    InboundFailed,
    InboundRead,
    IntakePaused,
    IntakeResumed,
    LedgerOpened,
    Lost,
    MarkTaken,
    MessagePosted,
    Occurred,
    Opened,
    PermissionsLost,
    PollAnswered,
    PollFailed,
    PollingModeChosen,
    Ponged,
    Recalled,
    ReconnectRequested,
    Recorded,
    RecordFailed,
    Registered,
    RegistrationFailed,
    ReloadFailed,
    ReplayRequested,
    ResolveRequested,
    RunSettled,
    SettingReset,
    Started,
    StopRequested,
    Ticked,
    Trouble,
)
from agent_core.feed import CommandEntry, DeliveryEntry, FeedEntry, LogEntry, ProvenEntry
from agent_core.frames import (
    Command,
    ConfigUpdate,
    ErrorFrame,
    Frame,
    Malformed,
    Occurrence,
    Ping,
    Pong,
    Priority,
    Target,
    Unknown,
    Welcome,
)
from agent_core.records import Arrival, Delivery, Memory, OutboxRow, Outcome, Remembered, Resolution, State, TombstoneAdded, Unresolved, Via
from agent_core.snapshot import PollingMode, Snapshot
from tests.harness.playbook import Playbook, refused, to
from tests.harness.stills import FAILING, OFFLINE, ONLINE, POLL_ONLY, REFUSED, STOPPING, WAITING, present

COMMAND = Command(
    "cmd_1", "send_message", {"thread_id": "+1", "type": "Ping", "list": [1, {"a": None}]}, Priority.HIGH, 1.5, ("odd",), "why"
)
PAST = Remembered(3, COMMAND, Via.POLL, State.COMPLETED, 5.0, ack='{"command_id":"cmd_1"}', duplicate_via=Via.WS)
BAD = Failure(Trouble.HTTP, "503", 503, 2.5)
FRAMES: tuple[Frame, ...] = (
    COMMAND, Ping({"a": [1]}), Ping(), Pong(3), Pong(), ConfigUpdate({"sync_interval": 20, "type": "Pong"}), Welcome(), ErrorFrame("no"),
    Unknown("gossip"), Malformed("no type"),
)  # fmt: skip
EVENTS: tuple[Event, ...] = (
    Started(), Ticked(), LedgerOpened(),
    LedgerOpened(Memory((PAST,), (TombstoneAdded(Target("a"), "b", 3.0),), (("k", "v"),), 9, "cmd_0", 2.0, (1, 2))),
    Registered("mac-1"), RegistrationFailed(BAD), Opened(1), DialFailed(4, BAD), CommandsReceived(2, (Arrival(COMMAND, (PAST,)),)),
    Heard(1), Ponged(1), Lost(1, BAD), *(FrameReceived(2, frame) for frame in FRAMES), PollFailed(3, Failure(Trouble.TIMEOUT, "late")),
    CommandsPolled(2, (Arrival(COMMAND),)),
    PollAnswered(2, (Arrival(COMMAND, unread=True),), ("cmd_0",), {"odd": [None, True]}, ("no id",), ("cmd_9",)),
    AcksPosted(("a",), ("b",), BAD, unsupported=True), Recorded(4, 1.0, Unresolved(1, 2)), Recalled((PAST,)), RecordFailed("full"),
    MarkTaken(1, "42"), MarkTaken(1, None, "no chat.db"), RunSettled(1, None), RunSettled(1, Outcome("x", unknown=True, final=True)),
    BackendClockRead(-0.5, 0.75), EventsRecalled(((1, "{}"),), (1, 2)), Occurred(Occurrence("seen", "evt_1", 1.5, {"type": "Ping"})),
    InboundRead("7@1", (Occurrence("seen", "evt_1", 1.5, {"text": "hi"}),), 3), InboundFailed("denied", "full_disk_access"),
    PermissionsLost("upgraded", ("automation",)),
    MessagePosted(3, (Arrival(COMMAND),)), MessagePosted(3, failure=BAD),
    DeliveriesSeen((Delivery("G", "failed", 22, 1.5),)),
    CommandFinished(1), CommandFinished(1, Outcome("x", {"path": "x"}, OutboxRow(1, "cmd_1", "+1", "hi", 3.0))), ReconnectRequested(),
    PollingModeChosen(PollingMode.NEVER), ReplayRequested("cmd_1", {"text": "hi"}, dry_run=True, remembered=PAST), ReplayRequested("cmd_1"),
    HoldChosen("all"), HeldApproved("cmd_1"), HeldRefused("cmd_1"),
    CancelRequested("cmd_1"), ResolveRequested("cmd_1", Resolution.SENT, "ann", PAST),
    StopRequested(), ReloadFailed(BAD), SettingReset("log_level"), IntakePaused(), IntakeResumed(),
    DrainRequested(),
    ConfigReloaded({"sync_interval": 15.0, "log_level": "INFO"}, True, ("logging.level",), ("data_dir",)),
    ConfigReloaded({}, False, redialled=("backend.url",), backend_url="http://b", socket_url="ws://b/edge/ws"),
)  # fmt: skip
ENTRIES: tuple[FeedEntry, ...] = (
    LogEntry(1.5, "INFO", "said"), CommandEntry(1, 2.0, "cmd_1", "t", "ws", "acked"), ProvenEntry(3.0, (1, 2)),
    DeliveryEntry(4.0, 1, "read"),
    CommandEntry(1, 2.0, "cmd_1", "t", "local", "failed", "+1", 0.5, 1.5, "why", True, "cmd_0", "harmless", "read"),
)  # fmt: skip
SNAPSHOTS = (Snapshot(), ONLINE, OFFLINE, WAITING, REFUSED, STOPPING, POLL_ONLY, present(ONLINE.link.phase, FAILING))


def through_text(told: Any) -> Any:
    return object_of(line_of({"it": told}))["it"]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_comes_back_equal(event: Event) -> None:
    back = event_of(through_text(encode(event)))
    assert back == event
    assert type(back) is type(event)


def test_every_class_of_every_union_is_there() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))
    assert {type(frame) for frame in FRAMES} == set(get_args(Frame))
    assert {type(entry) for entry in ENTRIES} == set(get_args(FeedEntry))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_every_entry_comes_back_equal(entry: FeedEntry) -> None:
    back = entry_of(through_text(encode(entry)))
    assert back == entry
    assert type(back) is type(entry)


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=range(len(SNAPSHOTS)))
def test_a_whole_snapshot_comes_back_equal(snapshot: Snapshot) -> None:
    assert snapshot_of(through_text(encode(snapshot))) == snapshot


def test_the_snapshots_of_a_life_come_back_equal_and_show_the_same_figures() -> None:
    book = Playbook().online().push("c1").push("c2", "schedule_message", payload=to("+1", send_at="2031-01-01T00:00:00Z"))
    book.after(0.25).finish("c1")
    for seen in (book.lives(40).snapshot, book.lose(refused()).snapshot, book.after(60).snapshot):
        back = snapshot_of(through_text(encode(seen)))
        assert back == seen
        assert back.latency.ack.percentile(0.5) == seen.latency.ack.percentile(0.5) is not None


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("\ud83d")


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12))
def test_any_payload_comes_back_equal(value: Any) -> None:
    event = CommandsReceived(1, (Arrival(Command("cmd_1", "t", {"value": value})),))
    assert event_of(through_text(encode(event))) == event


UNKNOWN = {
    "an event": ({"type": "Teleported"}, "it holds a Teleported, which this version does not know"),
    "a frame": ({"type": "FrameReceived", "generation": 1, "frame": {"type": "Rumour"}}, "it holds a Rumour, which"),
    "an effect": ({"type": "OpenSocket", "generation": 1}, "it holds a OpenSocket, which"),
    "a hostile name": ({"type": "x\x1b[2J' - at `$.type`"}, "it holds a x\\x1b"),
    "a part": ({"type": "Memory"}, "it holds a Memory, which"),
    "a value": ({"type": "PollingModeChosen", "mode": "sometimes"}, "its PollingModeChosen is not this version's: Invalid enum value"),
    "too little": ({"type": "Opened"}, "its Opened is not this version's: Object missing required field `generation`"),
    "no name": ({"generation": 1}, "missing required field `type`"),
    "a list": ([1, 2], "its entry is not this version's"),
    "nothing": (None, "its entry is not this version's"),
}  # fmt: skip


@pytest.mark.parametrize(("told", "sentence"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_this_version_does_not_know_is_one_sentence(told: Any, sentence: str) -> None:
    with pytest.raises(CodecError) as wrong:
        event_of(told)
    assert sentence in str(wrong.value)
    assert str(wrong.value).isprintable()
    assert len(str(wrong.value)) < 250


def test_an_entry_and_a_snapshot_are_judged_too() -> None:
    for decode, told in ((entry_of, ["x"]), (entry_of, {"type": "Gossip"}), (snapshot_of, {"revision": "x"}), (snapshot_of, 5)):
        with pytest.raises(CodecError):
            decode(told)


def test_a_field_of_a_later_version_is_left_out() -> None:
    assert event_of({"type": "Opened", "generation": 1, "colour": "red"}) == Opened(1)


@pytest.mark.parametrize("line", ["", "x", "[]", "7", "[" * 100_000, '{"a":' * 100_000, '{"a":"' + "x" * MAX_CHARACTERS + '"}'])
def test_what_is_no_object_is_one_sentence(line: str) -> None:
    with pytest.raises(CodecError, match="a line is"):
        object_of(line)


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    line = line_of({"text": "a\nb\u2028c\ud83d"})
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"text": "a\nb\u2028c\ud83d"}
