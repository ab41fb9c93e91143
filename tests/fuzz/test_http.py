"""Whole HTTP answers, odd in any part, at each call: each ends as one event, raises nothing, and the engine tries again."""

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.utils import accept_key

from agent_core.channels.credentials import Credentials
from agent_core.channels.http import PollingChannel
from agent_core.channels.websocket import WebSocketChannel
from agent_core.clock import SystemClock
from agent_core.events import (
    AcksPosted,
    BackendClockRead,
    DialFailed,
    Event,
    Failure,
    Lost,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    PollFailed,
    Register,
    Registered,
    RegistrationFailed,
)
from tests.fuzz.test_sync import JSON, POISON
from tests.harness.playbook import Playbook
from tests.harness.rig import HttpStub, config

STATUSES = st.sampled_from(
    [100, 101, 103, 200, 201, 204, 206, 301, 302, 307, 400, 401, 403, 404, 405, 407, 408, 426, 429, 500, 502, 503, 530, 999]
)
STATUS_LINES = st.builds("HTTP/1.{} {} {}".format, st.integers(0, 2), STATUSES, st.sampled_from(["", "OK", "\xe4", "x" * 300]))
LINES = STATUS_LINES.map(lambda line: line.encode("latin-1")) | st.sampled_from(
    [b"HTTP/1.1", b"HTTP/2 200", b"", b"ICY 200 OK", b"\xff" * 9_000]
)
DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format, st.sampled_from(["Wed", "X"]), st.integers(-1, 99), st.sampled_from(["Oct", "Feb", "?"]),
    st.integers(0, 10**20), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.sampled_from(["GMT", "+9999", "-99999999", ""]),
)  # fmt: skip
NUMBERS = st.integers().map(str) | st.floats().map(str) | st.sampled_from(["1, 2", "9" * 5_000, "\u00b2", " 7 ", ""])
VALUES = DATES | NUMBERS | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
NAMES = st.sampled_from(
    ["Retry-After", "Set-Cookie", "Location", "Content-Type", "Content-Encoding", "Content-Length", "Transfer-Encoding", "Connection",
     "Date", "Upgrade", "WWW-Authenticate", "Sec-WebSocket-Accept", "Sec-WebSocket-Extensions", "X", "", " ", "a b", ":"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["gzip", "identity", "chunked", "chunked, chunked", "close", "Upgrade", "websocket", "permessage-deflate", "a=b; Max-Age=9e9"]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES | WORDS), max_size=5)
IDS = st.text(max_size=8) | st.sampled_from(["mac-9", " ", "\u00fc", "a\r\nb", "x" * 201]) | JSON
REGISTRATIONS = st.fixed_dictionaries({}, optional={"edge_agent_id": IDS, "auth_token": IDS}).map(lambda body: json.dumps(body).encode())
SYNCS = st.lists(JSON.map(lambda value: json.dumps(value).encode()) | POISON, max_size=3).map(
    lambda items: b'{"commands":[' + b",".join(items) + b"]}"
)
DEEP = st.integers(1, 100_000).map(lambda depth: b"[" * depth)
BODIES = REGISTRATIONS | SYNCS | DEEP | POISON | st.binary(max_size=40) | SYNCS.map(gzip.compress)
INTERIM = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"])


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A head and a body that fit together, or do not; sometimes cut short, sometimes nothing of the kind."""
    body = draw(BODIES)
    head = [draw(LINES), *(f"{name}: {value}".encode("latin-1", "replace") for name, value in draw(HEADERS))]
    framing = draw(st.sampled_from(["length", "chunked", "bad chunks", "too long", "none"]))
    if framing == "length":
        head.append(b"Content-Length: %d" % len(body))
    elif framing == "too long":
        head.append(b"Content-Length: %d" % (len(body) + draw(st.integers(1, 10**20))))
    elif framing != "none":
        head.append(b"Transfer-Encoding: chunked")
        body = chunked(body) if framing == "chunked" else draw(st.binary(max_size=9)) + chunked(body)
    whole = draw(INTERIM) + b"\r\n".join(head) + b"\r\n\r\n" + body
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 9)) == 0 else whole


def framed(first: int, data: bytes) -> bytes:
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2)
    return bytes([first]) + size + data


FIRSTS = st.sampled_from([0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8A]) | st.integers(0, 255)
STREAMS = st.lists(st.builds(framed, FIRSTS, POISON | st.binary(max_size=130)) | st.binary(max_size=9), max_size=6).map(b"".join)
HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
UPGRADES = answers() | st.builds(lambda interim, more: interim + HANDSHAKE + b"\r\n" + more, INTERIM, STREAMS)


def channel_to(url: str, posted: list[Event]) -> PollingChannel:
    where = config(Path("unused"), url)
    return PollingChannel(where, Credentials(where), SystemClock(), posted.append)


def called(answer: bytes, call: Callable[[PollingChannel], Coroutine[Any, Any, None]]) -> Event:
    """The one event that a call of the real channel leads to, where this is the answer."""
    posted: list[Event] = []

    async def go() -> None:
        async with HttpStub(lambda _path: answer) as stub:
            channel = channel_to(stub.url, posted)
            try:
                await call(channel)
            finally:
                await channel.close()

    asyncio.run(go())
    (event,) = (event for event in posted if not isinstance(event, BackendClockRead))
    return event


@given(answers())
@example(b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000)
def test_a_registration_ends_as_one_event(answer: bytes) -> None:
    event = called(answer, PollingChannel.register)
    assert isinstance(event, Registered | RegistrationFailed)
    if isinstance(event, Registered):
        assert event.agent_id.isascii()
        assert event.agent_id.isprintable()
    book = Playbook(edge={"agent_id": None, "user_phone": "+13105550100"}).started()
    book >> event
    book.after(960)
    assert book.count(Register if isinstance(event, RegistrationFailed) else OpenSocket) > 1


@given(answers())
def test_a_poll_ends_as_one_event(answer: bytes) -> None:
    event = called(answer, lambda channel: channel.poll(Poll(1, None, (), {})))
    assert isinstance(event, PollAnswered | PollFailed)
    book = Playbook(websocket={"enabled": False}).started()
    book >> event
    book.after(960)
    assert book.count(Poll) > 1


@given(answers())
def test_a_call_for_acks_ends_as_one_event(answer: bytes) -> None:
    acks = tuple((name, f'{{"command_id":"{name}"}}') for name in ("a", "b", "c"))
    event = called(answer, lambda channel: channel.post_acks(acks))
    assert isinstance(event, AcksPosted)
    assert sorted([*event.proven, *event.failed, *dict(event.refused)]) == ["a", "b", "c"]
    book = Playbook(websocket={"enabled": False}).started().answer_poll()
    book >> event
    book.after(960)


@given(UPGRADES)
@example(b"HTTP/1.1 503 Busy\r\nRetry-After: Wed, 21 Oct 99999999999999999999 07:28:00 GMT\r\n\r\n")
def test_a_dial_ends_as_one_event_and_a_link_as_another(answer: bytes) -> None:
    posted: list[Event] = []

    async def go() -> None:
        tasks: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[Any, Any, None], name: str, _failed: Callable[[Failure], Event]) -> asyncio.Task[None]:
            tasks.append(asyncio.create_task(work, name=name))
            return tasks[-1]

        def answered(_path: str) -> bytes:
            key = next(line for line in stub.requests[-1].split("\r\n") if line.lower().startswith("sec-websocket-key: "))
            return answer.replace(b"{accept}", accept_key(key.partition(": ")[2]).encode())

        async with HttpStub(answered) as stub, asyncio.timeout(30):
            where = config(Path("unused"), stub.url)
            channel = WebSocketChannel(where, Credentials(where), SystemClock(), posted.append, spawn)
            channel.open(1)
            await tasks[0]
            await asyncio.gather(*tasks, return_exceptions=True)
            assert [task.exception() for task in tasks if not task.cancelled() and task.exception()] == []

    asyncio.run(go())
    assert [type(event) for event in posted if isinstance(event, Opened | DialFailed | Lost)] in ([DialFailed], [Opened, Lost])
    book = Playbook().started()
    for event in posted:
        book >> event
    if book.count(OpenSocket) == 1:
        assert book.waits() <= 960
