"""Every spelling of the wire in, one form out (PROTOCOL §2)."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent_core import frames
from agent_core.frames import (
    Command,
    ConfigUpdate,
    ErrorFrame,
    FrameError,
    Malformed,
    Ping,
    Pong,
    Priority,
    SyncAnswer,
    Unknown,
    Welcome,
)

UTC = 1_793_910_600.0


def parsed(body: Any) -> frames.Frame:
    return frames.parse(json.dumps(body))


def command(**fields: Any) -> Command:
    frame = parsed({"type": "command", "data": {"command_id": "c1", "command_type": "send_message", **fields}})
    assert isinstance(frame, Command), frame
    return frame


# --- the envelope and its spellings ------------------------------------------------------------------------------------

INNER = {"command_id": "c1", "command_type": "look", "payload": {"a": 1}}


@pytest.mark.parametrize(
    "body",
    [
        {"type": "command", "data": INNER},
        {"type": "command", "payload": INNER},
        {"type": "command", **INNER},
        {"type": "command", "data": {"unrelated": 1}, **INNER},
        {"type": "command", "data": INNER, "timestamp": "2026-11-05T20:30:00Z", "extra": [1]},
        {"type": "command", "data": {**INNER, "extra": None}},
        *({"type": "command", "data": {"command_id": "c1", "command_type": "look", key: {"a": 1}}} for key in frames.PAYLOAD_KEYS),
        *({"type": "command", "command_id": "c1", "command_type": "look", key: {"a": 1}} for key in frames.PAYLOAD_KEYS),
        {"type": "command", "data": {"command_id": "c1", "command_type": "look", "payload": None, "args": {"a": 1}}},
    ],
)
def test_a_command_in_each_of_its_spellings(body: dict[str, Any]) -> None:
    frame = parsed(body)
    assert isinstance(frame, Command)
    assert frame == Command("c1", "look", {"a": 1})


def test_the_first_payload_key_wins_and_none_is_an_empty_payload() -> None:
    assert command(args={"a": 2}, payload={"a": 1}).payload == {"a": 1}
    assert command().payload == {}


@pytest.mark.parametrize(
    ("given_id", "taken"),
    [("c1", "c1"), (7, "7"), (0, "0"), (-1, "-1"), ("x" * 200, "x" * 200), ("é ü", "é ü"), (10**40, "1" + "0" * 40)],
)
def test_ids_that_are_taken(given_id: Any, taken: str) -> None:
    assert command(command_id=given_id).command_id == taken


@pytest.mark.parametrize("given_id", [None, "", "x" * 201, "a\nb", "a\x1b[2J", "\u202e", True, 1.5, [], {}])
def test_f33_ids_that_are_not(given_id: Any) -> None:
    frame = parsed({"type": "command", "data": {"command_id": given_id, "command_type": "look"}})
    assert frame == Malformed("no command_id of 1 to 200 printable characters")


@pytest.mark.parametrize("kind", [None, "", "x" * 101, "a\x00b", 7, [], {}])
def test_f33_a_type_that_is_none_is_answered_and_not_dropped(kind: Any) -> None:
    assert command(command_type=kind).invalid == "invalid command_type"


@pytest.mark.parametrize("payload", [[], "x", 7, True, 1.5])
def test_f33_a_payload_that_is_no_object_is_answered_and_not_dropped(payload: Any) -> None:
    assert command(payload=payload).invalid == "invalid payload: not an object"


@pytest.mark.parametrize(
    ("spelling", "taken"),
    [
        ("immediate", Priority.IMMEDIATE),
        ("HIGH", Priority.HIGH),
        (" Normal ", Priority.NORMAL),
        ("Low", Priority.LOW),
        ("deferred", Priority.DEFERRED),
        (0, Priority.IMMEDIATE),
        ("1", Priority.HIGH),
        (4, Priority.DEFERRED),
        (2.0, Priority.NORMAL),
        (None, Priority.NORMAL),
    ],
)
def test_priorities_on_the_command_or_inside_the_payload(spelling: Any, taken: Priority) -> None:
    assert (command(priority=spelling).priority, command(priority=spelling).warnings) == (taken, ())
    if spelling is not None:
        assert command(payload={"priority": spelling}).priority is taken


@pytest.mark.parametrize("spelling", ["urgent", "", 9, -1, [], {}, "²", 10**30])
def test_an_unknown_priority_is_normal_with_a_warning(spelling: Any) -> None:
    taken = command(priority=spelling)
    assert (taken.priority, taken.warnings) == (Priority.NORMAL, ("unknown priority, taken as normal",))


@pytest.mark.parametrize(
    ("spelling", "utc"),
    [
        ("2026-11-05T20:30:00Z", 1_793_910_600.0),
        ("2026-11-05T20:30:00.250Z", 1_793_910_600.25),
        ("2026-11-05T21:30:00+01:00", 1_793_910_600.0),
        ("2026-11-05 20:30:00+00:00", 1_793_910_600.0),
        (" 2026-11-05T20:30:00Z ", 1_793_910_600.0),
        (1_793_910_600, 1_793_910_600.0),
        (1_793_910_600.5, 1_793_910_600.5),
        (1_793_910_600_250, 1_793_910_600.25),
        ("1793910600", 1_793_910_600.0),
        ("1793910600250", 1_793_910_600.25),
        ("9999-12-31T23:59:59Z", 253_402_300_799.0),
        ("1969-12-31T23:59:59Z", -1.0),
        (0, 0.0),
        ("2026-11-05t20:30:00z", 1_793_910_600.0),
        ("2026-11-05t21:30:00.5+01:00", 1_793_910_600.5),
        ("2016-12-31T23:59:60Z", 1_483_228_800.0),
        ("2016-12-31t23:59:60.25z", 1_483_228_800.25),
        ("2017-01-01 00:59:60+01:00", 1_483_228_800.0),
    ],
)
def test_f81_times_in_each_of_their_spellings(spelling: Any, utc: float) -> None:
    warnings: list[str] = []
    assert frames.instant(spelling, warnings) == pytest.approx(utc)
    assert warnings == []


def test_a_naive_time_is_utc_with_a_warning() -> None:
    taken = command(timestamp="2026-11-05T20:30:00")
    assert (taken.issued_utc, taken.warnings) == (UTC, ("a time without zone, taken as UTC",))


NO_TIMES: tuple[Any, ...] = (
    "", "soon", "2026-13-05T00:00:00Z", "nan", "inf", "-5", -1, 1e15, 10**400, True, [], {}, float("nan"), None, "2016-12-31T23:59:61Z",
    "2016-12-31T23:60:60Z", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-01:00", 253_402_300_800_000,
)  # fmt: skip


@pytest.mark.parametrize("spelling", NO_TIMES)
def test_f66_what_is_no_time_or_cannot_be_written_is_refused(spelling: Any) -> None:
    with pytest.raises(FrameError, match="not a time"):
        frames.instant(spelling)


def test_a_bad_timestamp_is_a_warning_and_no_reason_to_drop_a_command() -> None:
    stamps: tuple[Any, ...] = ("soon", 10**400, [])
    for stamp in stamps:
        taken = command(timestamp=stamp)
        assert (taken.issued_utc, taken.invalid, len(taken.warnings)) == (None, None, 1)


# --- messages and cancels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", frames.TEXT_KEYS)
def test_the_text_in_each_of_its_spellings(key: str) -> None:
    assert frames.message_of(command(payload={"thread_id": 7, key: "hi"})) == frames.Message("7", "hi")


@pytest.mark.parametrize("key", frames.TARGET_KEYS)
def test_a_cancel_by_each_name(key: str) -> None:
    assert frames.cancel_targets(command(command_type="cancel_message", payload={key: 12})) == (frames.Target("12", key == "command_id"),)


def test_a_cancel_gives_its_schedule_names_first_and_none_twice() -> None:
    payload = {"command_id": "s", "message_id": "s", "schedule_id": "s"}
    assert frames.cancel_targets(command(payload=payload)) == (frames.Target("s"), frames.Target("s", by_id=True))


# --- the small frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "frame"),
    [
        ({"type": "pong"}, Pong(None)),
        ({"type": "pong", "data": {"seq": 3}}, Pong(3)),
        ({"type": "pong", "data": {"seq": "3"}}, Pong(None)),
        ({"type": "pong", "data": {"seq": True}}, Pong(None)),
        ({"type": "pong", "data": [3]}, Pong(None)),
        ({"type": "ping"}, Ping(None)),
        ({"type": "ping", "data": {"a": 1}}, Ping({"a": 1})),
        ({"type": "config_update", "data": {"sync_interval": 60}}, ConfigUpdate({"sync_interval": 60})),
        ({"type": "config_update", "sync_interval": 60, "timestamp": "x"}, ConfigUpdate({"sync_interval": 60})),
        ({"type": "connected"}, Welcome()),
        ({"type": "ready", "data": {}}, Welcome()),
        ({"type": "welcome"}, Welcome()),
        ({"type": "error", "data": {"message": "no"}}, ErrorFrame("no")),
        ({"type": "error", "data": {"error": "no"}}, ErrorFrame("no")),
        ({"type": "error", "message": "no"}, ErrorFrame("no")),
        ({"type": "error", "error": "no"}, ErrorFrame("no")),
        ({"type": "error"}, ErrorFrame("unnamed")),
        ({"type": "gossip"}, Unknown("gossip")),
        ({"type": "Command"}, Unknown("Command")),
        ({"type": 7}, Malformed("no type")),
        ({}, Malformed("no type")),
        ([], Malformed("a JSON list, not an object")),
        (None, Malformed("a JSON NoneType, not an object")),
        ("ping", Malformed("a JSON str, not an object")),
    ],
)
def test_the_other_frames(body: Any, frame: frames.Frame) -> None:
    result = parsed(body)
    assert (type(result), result) == (type(frame), frame)


# --- f34: hostile ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        "", " ", "{", "}", "nul", '{"type":"ping"', "\x00", "NaN", '{"type":"ping","data":{"a":NaN}}', b"\xff\xfe", b"\x80", b"\xc3\x28",
        '{"type":"ping","data":{"a":"\\ud800"}}', "[" * 100_000, '{"a":' * 100_000, '{"type":"ping","data":{"a":' + "9" * 10_000 + "}}",
    ],
)  # fmt: skip
def test_f34_what_is_no_json_is_malformed(raw: str | bytes) -> None:
    assert frames.parse(raw) == Malformed("not JSON")


def test_f34_binary_utf8_is_accepted_and_the_last_of_two_keys_wins() -> None:
    assert frames.parse(b'{"type":"ping","type":"pong"}') == Pong(None)
    assert frames.parse(b'{"type":"error","message":"\xc3\xa9"}') == ErrorFrame("é")


def test_deep_json_within_the_parsers_limit_is_answered() -> None:
    deep: Any = {}
    for _ in range(180):
        deep = {"a": deep}
    frame = parsed({"type": "ping", "data": deep})
    assert isinstance(frame, Ping)
    assert json.loads(frames.dump_pong(frame, UTC))["data"] == deep


@pytest.mark.parametrize("size", [10, 400, 4_299])
def test_huge_numbers_are_carried(size: int) -> None:
    number = "9" * size
    fields = f'"timestamp":{number},"priority":{number},"payload":{{"n":{number}}}'
    assert isinstance(frames.parse(f'{{"type":"command","command_id":"c1","command_type":"x",{fields}}}'), Command)
    assert isinstance(frames.parse(f'{{"type":"pong","data":{{"seq":{number}}}}}'), Pong)
    assert isinstance(frames.parse(f'{{"type":"command","command_id":{number}}}'), Command if size <= 200 else Malformed)


def test_infinities_come_back_as_null() -> None:
    frame = frames.parse('{"type":"ping","data":{"a":1e999}}')
    assert isinstance(frame, Ping)
    assert json.loads(frames.dump_pong(frame, UTC))["data"] == {"a": None}


def test_a_megabyte_is_parsed() -> None:
    text = "é" * 500_000
    assert command(payload={"thread_id": "t", "text": text}).payload["text"] == text


# --- the sync answer ---------------------------------------------------------------------------------------------------


def synced(**body: Any) -> SyncAnswer:
    return frames.parse_sync(json.dumps(body).encode())


def test_a_sync_answer() -> None:
    answer = synced(
        commands=[INNER, {"data": INNER}, {"command_type": "x"}, 7, None],
        ack_events=["c1", 2, {"command_id": "c3"}, {}, None], config_updates={"sync_interval": 60},
    )  # fmt: skip
    assert answer.commands == (Command("c1", "look", {"a": 1}),) * 2
    assert answer.malformed == ("no command_id of 1 to 200 printable characters",) * 3
    assert (answer.proven, answer.settings) == (("c1", "2", "c3"), {"sync_interval": 60})


@pytest.mark.parametrize("body", [{}, {"commands": None}, {"commands": {}, "ack_events": "c1", "config_updates": []}])
def test_a_sync_answer_with_nothing_in_it(body: dict[str, Any]) -> None:
    assert synced(**body) == SyncAnswer((), (), {}, ())


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"null", b"\xff", b"[" * 9_999])
def test_f36_what_is_no_sync_answer(raw: bytes) -> None:
    with pytest.raises(FrameError, match="the answer is not"):
        frames.parse_sync(raw)


# --- out ---------------------------------------------------------------------------------------------------------------


def test_what_is_emitted() -> None:
    assert json.loads(frames.dump_ping(3, UTC)) == {"type": "ping", "data": {"seq": 3}, "timestamp": "2026-11-05T20:30:00.000Z"}
    assert json.loads(frames.dump_pong(Ping(), UTC)) == {"type": "pong", "timestamp": "2026-11-05T20:30:00.000Z"}
    assert json.loads(frames.dump_status(3, 3600.9, 44.6, UTC)) == {
        "type": "status", "timestamp": "2026-11-05T20:30:00.000Z",
        "data": {"scheduled_messages": 3, "active_rules": 0, "uptime_seconds": 3600, "memory_usage_mb": 45},
    }  # fmt: skip
    ack = frames.ack("c1", "completed", UTC + 0.09, result={})
    assert json.loads(frames.dump_ack(ack)) == {
        "type": "command_ack",
        "data": {
            "command_id": "c1", "status": "completed", "success": True, "error": None, "timestamp": "2026-11-05T20:30:00.090Z",
            "completed_at": "2026-11-05T20:30:00.090Z", "result": {},
        },
    }  # fmt: skip


def test_acks_travel_in_a_sync_byte_for_byte() -> None:
    stored = '{"command_id": "c1",  "success":true}'
    body = frames.dump_sync("mac-1", None, [stored, stored], {"scheduled_messages": 3})
    assert body.count(f'{{"type":"command_ack","data":{stored}}}') == 2
    assert json.loads(body) == {
        "edge_agent_id": "mac-1", "last_command_id": None, "status": {"scheduled_messages": 3},
        "pending_events": [{"type": "command_ack", "data": json.loads(stored)}] * 2,
    }  # fmt: skip
    assert json.loads(frames.dump_sync(None, "c9", [], {}))["pending_events"] == []


@pytest.mark.parametrize(("status", "success"), [("completed", True), ("received", True), ("failed", False)])
def test_the_dialects(status: str, success: bool) -> None:
    both = json.loads(frames.ack("c1", status, UTC))
    assert (both["status"], both["success"]) == (status, success)
    assert "status" not in json.loads(frames.ack("c1", status, UTC, dialect="success"))
    assert "success" not in json.loads(frames.ack("c1", status, UTC, dialect="status"))


# --- whatever comes ----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["command_id", "command_type", "priority", "timestamp", "seq", "message", *frames.PAYLOAD_KEYS, *frames.TEXT_KEYS, *frames.SEND_AT_KEYS,
     *frames.TARGET_KEYS, "thread_id"]
)  # fmt: skip
TYPES = st.sampled_from(["command", "ping", "pong", "config_update", "connected", "error", "status", ""])
FIELDS = st.dictionaries(KEYS, JSON | st.text(max_size=9) | st.dictionaries(KEYS, JSON, max_size=5), max_size=8)


def understood(frame: frames.Frame) -> None:
    """Everything that a later step asks of a frame: it may refuse with FrameError, and with nothing else."""
    if isinstance(frame, Ping):
        json.loads(frames.dump_pong(frame, UTC))
    if isinstance(frame, Command):
        for ask in (frames.message_of, frames.cancel_targets):
            with suppress(FrameError):
                ask(frame)


@given(st.text() | st.binary())
def test_parse_never_raises(raw: str | bytes) -> None:
    understood(frames.parse(raw))


@given(TYPES, FIELDS, FIELDS)
def test_nothing_shaped_like_a_frame_raises(kind: str, inner: dict[str, Any], outer: dict[str, Any]) -> None:
    understood(frames.parse(json.dumps({**outer, "type": kind, "data": inner})))
    understood(frames.parse(json.dumps({**outer, "type": kind})))


@given(FIELDS)
def test_no_command_that_can_be_named_raises_anything_else(fields: dict[str, Any]) -> None:
    frame = frames.parse(json.dumps({"type": "command", "data": {**fields, "command_id": "c1", "command_type": "schedule_message"}}))
    assume(isinstance(frame, Command))
    understood(frame)


@given(JSON)
def test_no_sync_answer_raises_anything_else(body: Any) -> None:
    with suppress(FrameError):
        frames.parse_sync(json.dumps(body).encode())


@given(st.text(), st.none() | st.text(), st.dictionaries(st.text(), JSON, max_size=4))
def test_an_ack_is_json_whatever_is_in_it_and_goes_out_byte_for_byte(command_id: str, error: str | None, result: dict[str, Any]) -> None:
    ack = frames.ack(command_id, "failed" if error else "completed", UTC, error=error, result=result)
    frame = frames.dump_ack(ack)
    assert ack in frame
    body = json.loads(frame, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["data"]
    assert (body["command_id"], body["error"], body["result"].keys()) == (command_id, error, result.keys())


@given(st.text(alphabet=st.characters(codec=None), max_size=20))
def test_half_a_surrogate_pair_in_an_error_still_makes_an_ack(text: str) -> None:
    json.loads(frames.ack("c1", "failed", UTC, error=text + "\udcff").encode())
