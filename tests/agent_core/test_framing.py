"""Text frames by the short way are what the library would have made of them, however the bytes are cut."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from agent_core.channels.connection import Connection
from agent_core.channels.framing import text_frames

MOST = 70_000
SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65_535, 65_536, MOST])


SOCKET = socket.socket()


class Wire(asyncio.Transport):
    """Nothing behind it: writes are counted."""

    def __init__(self) -> None:
        super().__init__({"socket": SOCKET})
        self.writes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return False


class Alone(Connection):
    """The same connection without the short way."""

    def data_received(self, data: bytes) -> None:
        ClientConnection.data_received(self, data)
        self._hand_over()


class Ear:
    """A connection that is being dialled, and the library as its server. `heard` is what was handed over, a read at a time."""

    def __init__(self, kind: type[Connection] = Connection) -> None:
        self.protocol = ClientProtocol(parse_uri("ws://backend/edge/ws"), max_size=MOST)
        self.connection = kind(self.protocol)
        self.wire = Wire()
        self.connection.connection_made(self.wire)
        self.protocol.send_request(self.protocol.connect())
        server = ServerProtocol()
        server.receive_data(b"".join(self.protocol.data_to_send()))
        server.send_response(server.accept(server.events_received()[0]))  # type: ignore[arg-type]
        self.response = b"".join(server.data_to_send())
        self.heard: list[list[bytes]] = []
        self.connection.listen(self.heard.append, lambda: None, lambda: None)

    def hear(self, stream: bytes, cuts: Iterable[int] = ()) -> list[bytes]:
        marks = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
        for start, stop in pairwise(marks):
            self.connection.data_received(stream[start:stop])
        return [message for together in self.heard for message in together]


def text(size: int, letter: int = 97) -> bytes:
    return bytes([letter]) * size


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Messages in order, and the frames that carry them, with control frames in between."""
    messages: list[bytes] = []
    stream = b""
    for number in range(draw(st.integers(1, 6))):
        message = text(draw(SIZES), 97 + number)
        messages.append(message)
        kind = draw(st.sampled_from(["text", "text", "text", "binary", "parts"]))
        if kind == "parts":
            cut = draw(st.integers(0, len(message)))
            stream += frame(Opcode.TEXT, message[:cut], fin=False) + frame(Opcode.PING, b"between")
            stream += frame(Opcode.CONT, message[cut:])
        else:
            stream += frame(Opcode.TEXT if kind == "text" else Opcode.BINARY, message)
        if draw(st.booleans()):
            stream += frame(draw(st.sampled_from([Opcode.PING, Opcode.PONG])), b"x")
    return messages, stream


@given(streams(), st.lists(st.integers(0, 2**20), max_size=12))
def test_whatever_frames_come_and_however_they_are_cut_the_messages_come_in_order(said: tuple[list[bytes], bytes], cuts: list[int]) -> None:
    messages, stream = said

    async def run() -> None:
        ear = Ear()
        assert ear.hear(ear.response + stream, cuts) == messages
        assert ear.protocol.state is State.OPEN

    asyncio.run(run())


ODD = [
    b"\x81\x7e\x00\x05short", b"\x81\x7f\0\0\0\0\0\0\0\x05longer", b"\x81\x7f\x01\x00\x00\x00\x81\x02{}", b"\x83\x02{}", b"\xc1\x02{}",
    b"\x81\x82", b"\x89\x7e\x00\x7e", b"\x09\x00", frame(Opcode.TEXT, b"part", fin=False), frame(Opcode.CONT, b"part"),
    frame(Opcode.CONT, b"", fin=False),
    frame(Opcode.CLOSE, b""), frame(Opcode.CLOSE, b"\x03\xf4restart"), frame(Opcode.CLOSE, b"\x00\x01"), frame(Opcode.TEXT, text(MOST + 1)),
    Frame(Opcode.TEXT, b"masked").serialize(mask=True),
]  # fmt: skip
ANYTHING = st.sampled_from(ODD) | SIZES.map(lambda size: frame(Opcode.TEXT, text(size))) | st.binary(max_size=20)


@settings(max_examples=1_000)
@example(frame(Opcode.TEXT, b"part", fin=False) + frame(Opcode.TEXT, text(MOST)), [], 1)
@example(frame(Opcode.TEXT, b"part", fin=False) + frame(Opcode.CONT, b"part", fin=False) + frame(Opcode.CONT, text(MOST - 6)), [], 1)
@given(st.lists(ANYTHING, max_size=8).map(b"".join), st.lists(st.integers(0, 2**20), max_size=12), st.integers(0, 40))
def test_whatever_bytes_come_the_library_alone_makes_the_same_of_them(stream: bytes, cuts: list[int], missing: int) -> None:
    async def found(kind: type[Connection]) -> tuple[object, ...]:
        ear = Ear(kind)
        heard = ear.hear(ear.response + stream[: len(stream) - missing], cuts)
        ear.connection.eof_received()
        return heard, ear.protocol.state, ear.protocol.close_sent, ear.protocol.close_rcvd

    assert asyncio.run(found(Connection)) == asyncio.run(found(Alone))


WAITS = st.sampled_from(
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n", b"HTTP/1.1 102 \r\n\r\n"]
)


@given(st.lists(WAITS, max_size=3).map(b"".join), st.lists(st.integers(0, 2**20), max_size=12))
def test_f81_answers_that_only_ask_to_wait_are_passed_over(waits: bytes, cuts: list[int]) -> None:
    async def run() -> None:
        ear = Ear()
        assert ear.hear(waits + ear.response + frame(Opcode.TEXT, b"first"), cuts) == [b"first"]
        assert ear.connection.response is not None
        assert ear.connection.response.status_code == 101

    asyncio.run(run())


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 103 " + b"x" * 20_000, b"HTTP/1.1 1", b"HTTP/1.1 1xx No\r\n\r\n", b"HTTP/1.0 100 Continue\r\n\r\n"]
)
@pytest.mark.parametrize("cuts", [(), range(40)])
async def test_f81_and_what_only_begins_like_one_is_no_handshake(head: bytes, cuts: Sequence[int]) -> None:
    ear = Ear()
    ear.hear(head, cuts)
    ear.connection.eof_received()
    assert ear.protocol.handshake_exc is not None


async def test_byte_by_byte() -> None:
    ear = Ear()
    stream = frame(Opcode.TEXT, b"one") + frame(Opcode.PING, b"p") + frame(Opcode.TEXT, text(200)) + frame(Opcode.BINARY, b"three")
    assert ear.hear(ear.response + stream, range(2_000)) == [b"one", text(200), b"three"]


async def test_what_comes_together_is_handed_over_together() -> None:
    ear = Ear()
    ear.hear(ear.response)
    ear.hear(b"".join(frame(Opcode.TEXT, b"x%d" % number) for number in range(50)))
    assert [len(together) for together in ear.heard] == [50]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param(Frame(Opcode.TEXT, b"masked").serialize(mask=True), CloseCode.PROTOCOL_ERROR, id="masked"),
        (frame(Opcode.TEXT, text(MOST + 1)), CloseCode.MESSAGE_TOO_BIG),
        (frame(Opcode.BINARY, text(MOST + 1)), CloseCode.MESSAGE_TOO_BIG),
        (b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", CloseCode.MESSAGE_TOO_BIG),
        (b"\x81\x7f\x01\x00\x00\x00\x81\x02{}", CloseCode.MESSAGE_TOO_BIG),
        (b"\x83\x04abcd", CloseCode.PROTOCOL_ERROR),
        (b"\x83\x7f\x00\x00\x00\x00\x00\x01\x00\x00", CloseCode.PROTOCOL_ERROR),
        (b"\xc1\x04abcd", CloseCode.PROTOCOL_ERROR),
        (frame(Opcode.TEXT, b"begun", fin=False) + frame(Opcode.TEXT, b"another"), CloseCode.PROTOCOL_ERROR),
        (frame(Opcode.TEXT, text(MOST), fin=False) + frame(Opcode.CONT, b"too much"), CloseCode.MESSAGE_TOO_BIG),
    ],
)
@pytest.mark.parametrize("cuts", [(), range(40)])
async def test_what_is_wrong_with_a_frame_is_the_librarys_to_say(wrong: bytes, code: CloseCode, cuts: Sequence[int]) -> None:
    ear = Ear()
    ear.hear(ear.response)
    assert ear.hear(frame(Opcode.TEXT, b"good") + wrong + frame(Opcode.TEXT, b"never"), cuts) == [b"good"]
    assert ear.protocol.close_sent is not None
    assert ear.protocol.close_sent.code == code


async def test_a_flood_of_pings_is_answered_with_one_write() -> None:
    ear = Ear()
    ear.hear(ear.response)
    ear.wire.writes = 0
    ear.hear(frame(Opcode.PING, b"") * 1_000)
    assert ear.wire.writes == 1


async def test_what_comes_behind_a_close_is_not_heard() -> None:
    ear = Ear()
    ear.hear(ear.response)
    close = frame(Opcode.CLOSE, b"\x03\xf4restart")
    assert ear.hear(frame(Opcode.TEXT, b"good") + close + frame(Opcode.TEXT, b"never")) == [b"good"]
    assert ear.protocol.close_rcvd is not None
    assert ear.protocol.close_rcvd.code == CloseCode.SERVICE_RESTART


@given(st.lists(SIZES.map(lambda size: "ä" * size) | st.text(max_size=200), min_size=1, max_size=8))
def test_what_is_written_is_what_a_server_reads(texts: list[str]) -> None:
    server = ServerProtocol(state=State.OPEN, max_size=None)
    server.receive_data(text_frames(texts))
    read = server.events_received()
    assert [(event.opcode, bytes(event.data).decode(), event.fin) for event in read if isinstance(event, Frame)] == [
        (Opcode.TEXT, one, True) for one in texts
    ]


def test_each_frame_has_a_mask_of_its_own() -> None:
    frames = text_frames(["aaaa"] * 100)
    assert len({frames[start + 2 : start + 6] for start in range(0, len(frames), 10)}) > 90
