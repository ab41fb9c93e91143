"""The messenger that posts: real servers on loopback, well-behaved and not."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from agent_core.frames import Command, Message
from agent_core.messengers import Context
from agent_core.messengers.http import HttpMessenger
from agent_core.records import Outcome
from agent_core.reference.orders import Status
from tests.harness.rig import AGENT, ack_of, message, program, served, settled, until, write_config

TOKEN = "canary-token-1"
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
UNSENT = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
DONE = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"guid":"A1"}'


@dataclass
class Receiver:
    """A server that gives each request the next answer of its script, the last one again and again."""

    script: Sequence[Answer]
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                head = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
                self.bodies.append(await reader.readexactly(int(head["content-length"])))
                self.heads.append(head)
                self.at.append(time.time())
                answer = self.script[min(len(self.heads), len(self.script)) - 1]
                if callable(answer):
                    await answer(writer)
                    break
                writer.write(answer)
        writer.close()

    @property
    def keys(self) -> list[str]:
        return [head["idempotency-key"] for head in self.heads]


@asynccontextmanager
async def receiver(*script: Answer) -> AsyncIterator[Receiver]:
    found = Receiver(script)
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(found.serve(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/send"
    try:
        yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def hang(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(600)


async def hang_up(_writer: asyncio.StreamWriter) -> None:
    """With the request read."""


async def drip(writer: asyncio.StreamWriter) -> None:
    for _ in count():
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def drip_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await drip(writer)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    await drip(writer)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(100):
        writer.write(b"x" * 1_000_000)
        await writer.drain()


def status(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""]).encode()


def messenger(url: str, within: float = 20.0, token: str = TOKEN) -> HttpMessenger:
    return HttpMessenger(url, SecretStr(token), within, first_wait=0.01)


async def send(by: HttpMessenger, command_id: str = "cmd_1") -> Outcome:
    asked = Message("+13105550100", 'a "quoted" line\n👋')
    return await by.send(asked, Command(command_id, "send_message_now"), Context(1, 1_793_910_600.0, by, asked))


async def test_the_message_is_posted_with_its_key_and_the_answer_is_the_receipt() -> None:
    async with receiver(DONE) as at:
        assert await send(messenger(at.url)) == Outcome(result={"http_status": 200, "guid": "A1"})
        assert json.loads(at.bodies[0]) == {
            "command_id": "cmd_1", "thread_id": "+13105550100", "text": 'a "quoted" line\n👋', "sent_utc": 1_793_910_600.0,
        }  # fmt: skip
        assert (at.heads[0]["authorization"], at.heads[0]["content-type"]) == (f"Bearer {TOKEN}", "application/json")
        assert at.keys == ["cmd_1"]


async def test_without_a_token_nothing_is_shown() -> None:
    async with receiver(DONE) as at:
        await send(messenger(at.url, token=""))
        assert "authorization" not in at.heads[0]


async def test_what_the_server_says_back_of_the_token_goes_no_further() -> None:
    said = json.dumps({"you sent": f"Bearer {TOKEN}"}).encode()
    async with receiver(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)) as at:
        assert (await send(messenger(at.url))).result["you sent"] == "Bearer ***"


@pytest.mark.parametrize("command_id", ["cmd\r\nX-Evil: 1", 'cmd "1"', "日本", "a b"])
async def test_an_id_that_fits_no_header_has_a_key_all_the_same(command_id: str) -> None:
    async with receiver(DONE) as at:
        by = messenger(at.url)
        await send(by, command_id)
        await send(by, command_id)
        await send(by, command_id + "2")
        assert at.keys[0] == at.keys[1] != at.keys[2]
        assert "x-evil" not in at.heads[0]


@pytest.mark.parametrize("answer", [status("204 No Content"), status("202 Accepted"), drip_body, flood])
async def test_2xx_is_done_whatever_the_body_is(answer: Answer) -> None:
    async with receiver(answer) as at:
        outcome = await send(messenger(at.url))
        assert outcome.error is None
        assert len(at.heads) == 1


@pytest.mark.parametrize("line", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "422 Unprocessable", "501 Not Implemented"])
async def test_what_will_not_pass_is_not_tried_again(line: str) -> None:
    async with receiver(status(line), DONE) as at:
        assert (await send(messenger(at.url))).error == f"HTTP {line[:3]}"
        assert len(at.heads) == 1


async def test_a_redirect_is_not_followed() -> None:
    async with receiver(DONE) as other, receiver(status("307 Temporary Redirect", f"Location: {other.url}")) as at:
        assert await send(messenger(at.url)) == Outcome(error="HTTP 307, and redirects are not followed")
        assert other.heads == []


async def test_a_server_in_trouble_is_asked_again_with_the_same_key() -> None:
    async with receiver(UNSENT, hang_up, status("500 Oops"), DONE) as at:
        assert (await send(messenger(at.url))).result["guid"] == "A1"
        assert at.keys == ["cmd_1"] * 4


@pytest.mark.parametrize("answer", [UNSENT, hang_up, drip_head, status("408 Request Timeout")])
async def test_what_may_have_arrived_and_is_never_answered_for_leaves_the_outcome_unknown(answer: Answer) -> None:
    async with receiver(answer) as at:
        outcome = await send(messenger(at.url, within=4.0))
        assert outcome.error
        assert outcome.unknown
        assert len(at.heads) > 1
        assert set(at.keys) == {"cmd_1"}


async def test_a_refusal_after_an_attempt_that_may_have_arrived_proves_nothing() -> None:
    async with receiver(hang_up, status("409 Conflict")) as at:
        assert await send(messenger(at.url)) == Outcome(error="HTTP 409", unknown=True)


async def test_where_nobody_listens_nothing_has_arrived() -> None:
    async with receiver(DONE) as at:
        url = at.url
    outcome = await send(messenger(url, within=2.0))
    assert outcome == Outcome(error="connection refused")


async def test_retry_after_is_obeyed_by_all_messages() -> None:
    again = datetime.now(UTC) + timedelta(seconds=2)
    async with receiver(status("429 Slow down", f"Retry-After: {format_datetime(again, usegmt=True)}"), DONE) as at:
        by = messenger(at.url)
        assert (await send(by)).error is None
        assert at.at[1] >= int(again.timestamp())


async def test_a_pause_longer_than_a_command_may_take_ends_it_and_the_next_ones_at_once() -> None:
    async with receiver(status("429 Slow down", "Retry-After: 600"), DONE) as at:
        by = messenger(at.url)
        first, second = await send(by), await send(by, "cmd_2")
        assert (first.error or "").startswith("HTTP 429; not to be tried again for ")
        assert (second.error or "").startswith("the server has asked for a pause; not to be tried again for ")
        assert not first.unknown
        assert not second.unknown
        assert len(at.heads) == 1


async def test_p1_a_crash_in_the_middle_posts_again_with_the_same_key(tmp_path: Path) -> None:
    async with receiver(hang, DONE) as at, served() as backend:
        arguments = write_config(tmp_path, backend.url, messenger={"kind": "http", "url": at.url})
        async with program("--no-ui", *arguments, cwd=tmp_path, EDGE_MESSENGER_TOKEN=TOKEN) as agent:
            await agent.hears("real-time mode")
            name = await backend.queue(AGENT, "send_message_now", message())
            await until(lambda: at.heads)
            agent.signal(signal.SIGKILL)
            await agent.ends(5)
        async with program("--no-ui", *arguments, cwd=tmp_path, EDGE_MESSENGER_TOKEN=TOKEN):
            (order,) = await settled(backend, name)
        assert order.status is Status.COMPLETED
        assert ack_of(order)["result"]["guid"] == "A1"
        assert at.keys == [name, name]
        assert [head["authorization"] for head in at.heads] == [f"Bearer {TOKEN}"] * 2
    assert [path for path in (tmp_path / "state").iterdir() if path.is_file() and TOKEN.encode() in path.read_bytes()] == []
