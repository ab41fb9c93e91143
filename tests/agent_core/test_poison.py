"""F55: commands are judged one by one; what is bad in one costs only its own ack."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core import frames
from agent_core.frames import Command, FrameError, Malformed
from agent_core.json_parts import members, parts
from agent_core.reference.faults import Faults
from tests.harness.rig import AGENT, HttpStub, Puppet, config, http_answer, living, message, served, settled, until

VALUES = {
    "half an emoji": rb'"\ud83d"', "its other half": rb'"a\ude00b"', "NaN": b"NaN", "minus infinity": b"-Infinity",
    "4,301 digits": b"1" * 4_301, "depth 300": b"[" * 300 + b"]" * 300, "depth 100,000": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a raw tab": b'"a\tb"', "a raw newline": b'"a\nb"', "a raw NUL": b'"a\x00b"', "no UTF-8": b'"\xff\xfe"',
    "half a character": b'"\xe2\x82"', "a bad escape": rb'"\x41"', "single quotes": b"'a'", "a trailing comma": b"[1,]",
    "a comment": b"/* , */ 1", "leading zeros": b"007", "nothing": b"", "a bare word": b"undefined", "a plus": b"+1",
    "a missing colon": b'{"a" 1}',
}  # fmt: skip
GOOD = b'{"command_id":"good","command_type":"send_message_now","payload":{"thread_id":"t","text":"hi"}}'


def bad(value: bytes, command_id: bytes = b'"bad"') -> bytes:
    return b'{"command_id":' + command_id + b',"command_type":"send_message_now","payload":{"thread_id":"t","text":' + value + b"}}"


def answer(*items: bytes, more: bytes = b"") -> bytes:
    return b'{"commands":[' + b",".join(items) + b"]" + more + b"}"


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_f55_the_good_command_runs_and_the_bad_one_is_answered(value: bytes) -> None:
    for items in ((bad(value), GOOD), (GOOD, bad(value)), (bad(value), bad(value, b"7"), GOOD, bad(value, b'"worse"'))):
        found = frames.parse_sync(answer(*items, more=b',"ack_events":["a",{"command_id":"b"}],"config_updates":{"sync_interval":60}'))
        by_id = {command.command_id: command for command in found.commands}
        assert len(found.commands) == len(items)
        assert by_id["good"].invalid is None
        assert by_id["good"].payload == {"thread_id": "t", "text": "hi"}
        assert all(by_id[name].invalid for name in by_id.keys() - {"good"})
        assert (found.proven, found.settings, found.malformed) == (("a", "b"), {"sync_interval": 60}, ())


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_f55_one_without_a_readable_id_is_counted(value: bytes) -> None:
    found = frames.parse_sync(answer(b'{"command_id":' + (value or b"1.5") + b',"payload":NaN}', GOOD))
    assert [command.command_id for command in found.commands] == ["good"]
    assert found.malformed == ("no command_id of 1 to 200 printable characters",)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_f55_what_is_bad_beside_the_commands_spoils_none(value: bytes) -> None:
    found = frames.parse_sync(answer(GOOD, more=b',"config_updates":' + value + b',"ack_events":["a",' + value + b'],"more":' + value))
    assert [command.command_id for command in found.commands] == ["good"]
    assert found.proven[0] == "a"


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_f55_a_frame_whose_id_can_be_read_is_a_failed_command(value: bytes) -> None:
    for frame in (
        b'{"type":"command","data":' + bad(value) + b"}", b'{"data":' + bad(value) + b',"type":"command"}',
        b'{"type":"command","payload":' + bad(value) + b"}", b'{"type":"command",' + bad(value)[1:],
    ):  # fmt: skip
        read = frames.parse(frame)
        if len(frame) > frames.MAX_RESCUED:
            assert read == Malformed("not JSON")
        else:
            assert isinstance(read, Command)
            assert read.command_id == "bad"
            assert read.command_type == "send_message_now"
            assert read.invalid is not None
            assert read.invalid.startswith("invalid")


@pytest.mark.parametrize("kind", [b'"pong"', b'"command', b"command", b"NaN", b'"\\ud83d"', b"{}", b"[]", b""])
def test_f55_a_frame_of_no_readable_kind_is_counted(kind: bytes) -> None:
    assert frames.parse(b'{"type":' + kind + b',"data":' + bad(b"NaN") + b"}") == Malformed("not JSON")


def test_f55_the_id_is_the_commands_own_and_never_one_inside_its_payload() -> None:
    cancel = rb'{"payload":{"command_id":"victim","note":"\ud83d"},"command_type":"cancel_message","command_id":"own"}'
    nameless = rb'{"payload":{"message_id":"victim","note":"\ud83d","text":"\"command_id\":\"victim\""},"command_type":"cancel_message"}'
    found = frames.parse_sync(answer(cancel, nameless))
    assert [command.command_id for command in found.commands] == ["own"]
    read = frames.parse(b'{"type":"command","data":' + cancel + b"}")
    assert isinstance(read, Command)
    assert read.command_id == "own"


@pytest.mark.parametrize(
    "raw", [b"", b"[", b"{", b"<html>{}</html>", b'{"commands":[', answer(GOOD)[:-1], answer(GOOD) + b"x", b"{}{}", b"[{}]", b"\xff"]
)
def test_f55_an_answer_that_is_no_object_has_failed(raw: bytes) -> None:
    with pytest.raises(FrameError):
        frames.parse_sync(raw)


def test_f81_a_byte_order_mark_is_no_fault() -> None:
    mark = b"\xef\xbb\xbf"
    assert frames.parse_sync(mark + answer(GOOD)) == frames.parse_sync(answer(GOOD))
    assert frames.parse(mark + b'{"type":"pong"}') == frames.Pong()
    assert frames.parse(mark + b'{"type":"command","data":' + GOOD + b"}") == frames.parse(b'{"type":"command","data":' + GOOD + b"}")
    assert frames.parse(mark + mark) == Malformed("not JSON")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON), st.sampled_from([None, 1]))
def test_f55_the_parts_of_an_object_are_its_members(body: dict[str, Any], indent: int | None) -> None:
    raw = json.dumps(body, indent=indent).encode()
    assert {name: json.loads(value) for name, value in members(raw).items()} == body


@given(st.lists(JSON), st.booleans())
def test_f55_the_parts_of_an_array_are_its_elements(body: list[Any], ascii_only: bool) -> None:
    raw = json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert [json.loads(part) for part in parts(raw)] == body


# --- on sockets -------------------------------------------------------------------------------------------------------------


async def test_f55_by_polling(tmp_path: Path) -> None:
    body = answer(bad(VALUES["half an emoji"]), GOOD, bad(VALUES["depth 300"], b'"deep"'), b'{"command_id":NaN}')

    def reply(path: str) -> bytes:
        return http_answer(body if path == "/edge/sync" else b"{}", "404 Not Found" if path.startswith("/edge/ws") else "200 OK")

    async with HttpStub(reply) as stub, living(config(tmp_path, stub.url)) as here:
        await until(lambda: len([text for text in stub.requests if "POST /edge/command/ack" in text]) >= 3, "three acks")
        acks = {}
        for text in stub.requests:
            if "POST /edge/command/ack" in text:
                ack = json.loads(text.partition("\r\n\r\n")[2])
                acks[ack["command_id"]] = ack
        assert here.sent() == ["hi"]
        assert {name: ack["success"] for name, ack in acks.items()} == {"good": True, "bad": False, "deep": False}
        assert "invalid JSON" in acks["bad"]["error"]
        await here.hears("Malformed command in a sync answer ignored: no command_id")


async def test_f55_a_good_command_is_terminal_within_two_polls_whatever_stands_beside_it(tmp_path: Path) -> None:
    async with served() as backend:
        items = b",".join(bad(value, b'"bad_%d"' % number) for number, value in enumerate(VALUES.values()) if b"\xff" not in value)
        backend.faults = Faults(upgrade_status=503, sync_items=items.decode("utf-8", "ignore"))
        async with living(config(tmp_path, backend.url)) as here:
            await here.hears("HTTP polling")
            name = await backend.queue(AGENT, "send_message_now", message())
            polls = here.now.polling.polls
            await until(lambda: here.sent() == ["hi"], "the message")
            assert here.now.polling.polls <= polls + 2
            await settled(backend, name)


async def test_f55_by_socket(tmp_path: Path) -> None:
    async with Puppet() as puppet, living(config(tmp_path, "http://127.0.0.1:1", backend={"websocket_url": puppet.socket_url})) as here:
        await here.online()
        for number, value in enumerate(VALUES.values()):
            if len(value) < frames.MAX_RESCUED:
                await puppet.say(b'{"type":"command","data":' + bad(value, b'"bad_%d"' % number) + b"}")
        await puppet.say(b'{"type":"command","data":' + GOOD + b"}")
        await until(lambda: "good" in puppet.acks(), "the good one's ack")
        assert here.sent() == ["hi"]
        assert {ack["success"] for name, ack in puppet.acks().items() if name != "good"} == {False}
        assert len(puppet.acks()) == len(VALUES)
        assert here.now.link.sessions == 1
