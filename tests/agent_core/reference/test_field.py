"""What the field did to backends (PROMISES F84–F93), on real sockets."""

import asyncio
import json
import logging
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent_core.clock import Moment
from agent_core.reference.hub import Hub, Rules
from agent_core.reference.orders import CallError
from agent_core.reference.server import Options, ReferenceBackend
from agent_core.reference.wire import MAX_DEPTH, parse

AGENT, OTHER = "mac-1", "mac-2"
SECRET, ADMIN = "canary-secret", "canary-admin"
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def backend() -> AsyncIterator[ReferenceBackend]:
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, agent_secrets={OTHER: "secret-of-mac-2"})) as running:
        yield running


async def call(backend: ReferenceBackend, path: str, body: bytes | dict[str, Any], bearer: str = SECRET, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(base_url=backend.url, trust_env=False, timeout=5) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(path, content=content, headers={"Authorization": f"Bearer {bearer}"} | named)


async def raw(backend: ReferenceBackend, request: bytes, within: float = 5.0) -> bytes:
    """What the backend answers, up to the end of the connection or of what comes at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
    try:
        writer.write(request)
        async with asyncio.timeout(within):
            return await reader.read(4_096)
    finally:
        writer.close()


def upgrade(backend: ReferenceBackend, query: str = f"edge_agent_id={AGENT}", version: str = "1.1", extra: str = "") -> bytes:
    lines = [
        f"GET /edge/ws?{query} HTTP/{version}", f"Host: 127.0.0.1:{backend.port}", f"Authorization: Bearer {SECRET}",
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]  # fmt: skip
    return ("\r\n".join(lines) + f"\r\n{extra}\r\n").encode()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (what a log holds tells nobody that it changed)
            await asyncio.sleep(0.02)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


POISON = ("1e999", "[-1e999]", '{"a": NaN}', "9" * 4_301, '"\\ud83d"', "[" * 198 + "]" * 198, "[" * 100_000)


@pytest.mark.parametrize("value", POISON, ids=lambda value: value[:12])
async def test_f84_f85_what_no_agent_could_read_is_refused_at_the_door(backend: ReferenceBackend, value: str) -> None:
    bodies = {
        "/admin/commands": f'{{"edge_agent_id": "{AGENT}", "command_type": "emit_event", "payload": {{"x": {value}}}}}',
        f"/admin/agents/{AGENT}/config": f'{{"sync_interval": {value}}}',
        "/edge/sync": f'{{"edge_agent_id": "{AGENT}", "status": {{"load": {value}}}}}',
        "/edge/command/ack": f'{{"command_id": "c1", "status": "completed", "result": {{"x": {value}}}}}',
    }
    for path, body in bodies.items():
        answer = await call(backend, path, body.encode(), ADMIN if "admin" in path else SECRET)
        assert answer.status_code == 400, path
        assert isinstance(answer.json()["error"], str)
    assert backend.hub.open_count == 0
    assert parse((await call(backend, "/edge/sync", {"edge_agent_id": AGENT})).content) == {"commands": [], "ack_events": []}


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "\ud83d", {"deep": eval("[" * 80 + "]" * 80)}])
def test_f84_f85_a_program_that_queues_is_told_too(value: object) -> None:
    hub = Hub()
    with pytest.raises(CallError, match="cannot be sent"):
        hub.queue(AGENT, "emit_event", {"x": value}, Moment(0, 0))
    with pytest.raises(CallError, match="cannot be sent"):
        hub.configure(AGENT, {"x": value})
    hub.queue(AGENT, "emit_event", {"x": eval("[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2))}, Moment(0, 0))


async def test_f84_a_frame_with_such_a_number_is_counted_and_nothing_else(backend: ReferenceBackend) -> None:
    generation = backend.hub.connect(AGENT, Moment(0, 0)).generation
    for data in ('"status","data":{"load":1e999}', '"command_ack","data":{"command_id":"c","status":"failed","result":NaN}'):
        frame = f'{{"type":{data}}}'
        assert backend.hub.receive(AGENT, generation, frame, Moment(1, 1)) is None
    assert backend.hub.counts["malformed"] == 2
    assert backend.hub.agents()[0]["reported"] == {}


async def test_f86_heads_that_the_socket_library_would_never_answer_are_refused(backend: ReferenceBackend) -> None:
    for extra in (f"X-Long: {'a' * 9_000}\r\n", "".join(f"X-{number}: 1\r\n" for number in range(136))):
        assert status(await raw(backend, upgrade(backend, extra=extra))) == 431
    assert status(await raw(backend, upgrade(backend, query=f"edge_agent_id={AGENT}&pad={'a' * 9_000}"))) == 431
    assert status(await raw(backend, upgrade(backend, extra=f"X-Long: {'a' * 70_000}\r\n"))) in {400, 431}
    assert status(await raw(backend, upgrade(backend))) == 101


HELD = """
import asyncio, resource, socket, sys
import httpx
from agent_core.reference.server import Options, ReferenceBackend
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
async def main():
    async with ReferenceBackend(Options(secret="canary-secret", admin_token="canary-admin")) as backend:
        print(backend.port, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


async def test_f86_half_sent_requests_do_not_take_the_place_of_others() -> None:
    """300 of them at 256 descriptors: /health answers, and nothing is written about them."""
    wanted = 400
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
        pytest.skip(f"this process may not have {wanted} descriptors")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HELD, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    halves: list[socket.socket] = []
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        for number in range(300):
            half = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), 5)
            half.sendall(b"POST /edge/sync HTTP/1.1\r\nHost: 127" if number % 3 else b"G")
            halves.append(half)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as client:
            for _ in range(3):
                assert (await client.get("/health")).status_code == 200
        _, errors = await process.communicate(b"\n")
        assert (process.returncode, errors) == (0, b"")
    finally:
        for half in halves:
            half.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_f86_what_is_not_whole_in_time_is_ended_and_an_open_socket_is_not() -> None:
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, head_within=0.2, request_within=0.3)) as backend:
        reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        writer.write(upgrade(backend))
        assert status(await reader.read(4_096)) == 101
        post = f"POST /edge/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: 9\r\n\r\n{{"
        for half in (b"", b"GET /health HT", post.encode()):
            assert status(await raw(backend, half)) == 408
        whole = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert status(await raw(backend, whole)) == 200
        await asyncio.sleep(0.5)
        assert backend.hub.connected_count == 1
        writer.close()


async def test_f86_empty_lines_hold_no_connection() -> None:
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, head_within=0.2)) as backend, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert status(await reader.read(4_096)) == 200
        writer.write(b"\r\n\r\n")
        assert status(await reader.read()) == 408
        writer.close()


async def test_f86_no_head_and_no_trailer_grows_without_end(backend: ReferenceBackend) -> None:
    get, many = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-Pad: 1\r\n" * 10_000
    assert status(await raw(backend, get + many)) == 431
    assert status(await raw(backend, get + b"X-Long: " + b"a" * 100_000)) == 431
    post = f"POST /edge/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {SECRET}\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert status(await raw(backend, post.encode() + b"1\r\n{\r\n0\r\n" + 8 * many)) == 431


async def test_f86_past_its_limit_a_busy_backend_says_503() -> None:
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, connections=2)) as backend:
        links = [await asyncio.open_connection("127.0.0.1", backend.port) for _ in range(2)]
        for number, (reader, writer) in enumerate(links):
            writer.write(upgrade(backend, query=f"edge_agent_id=mac-{number}"))
            assert status(await reader.read(4_096)) == 101
        assert status(await raw(backend, b"")) == 503
        for _, writer in links:
            writer.transport.abort()
        await backend.until(lambda hub: hub.connected_count == 0)
        assert status(await raw(backend, upgrade(backend))) == 101


async def test_f87_a_caller_that_leaves_in_its_body_is_one_debug_line(backend: ReferenceBackend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agent_core.reference")
    for path in ("/edge/sync", "/edge/command/ack", "/edge/register"):
        _, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
    await until(lambda: len(caplog.records) == 3)
    assert [record.levelno for record in caplog.records] == [logging.DEBUG] * 3
    assert all(record.exc_info is None for record in caplog.records)


async def test_f88_a_registration_may_bring_the_secret_in_its_body(backend: ReferenceBackend) -> None:
    body = {"user_phone": "+13105550100", "auth_token": SECRET}
    async with httpx.AsyncClient(base_url=backend.url, trust_env=False) as client:
        answers = [await client.post("/edge/register", json=body), await client.post("/edge/register", json=body | {"auth_token": "wrong"})]
        answers += [await client.post("/edge/register", json={"user_phone": "+13105550100"})]
    assert [answer.status_code for answer in answers] == [200, 401, 401]
    assert (await call(backend, "/edge/register", body | {"auth_token": None})).json() == answers[0].json()


async def test_f89_events_are_acknowledged_in_their_own_terms(backend: ReferenceBackend) -> None:
    command_id = await backend.queue(AGENT, "emit_event", {})
    events = [
        {"event_id": "evt_1", "event_type": "message_received", "payload": {}},
        {"event_id": command_id, "event_type": "command_ack", "payload": {"command_id": command_id, "status": "completed"}},
        {"type": "other"}, "nonsense", {"event_id": "x" * 201, "event_type": "y"},
    ]  # fmt: skip
    answer = await call(backend, "/edge/sync", {"edge_agent_id": AGENT, "pending_events": events})
    assert answer.json()["ack_events"] == ["evt_1", command_id, {"command_id": command_id}]
    assert backend.hub.order(command_id).ack is not None
    assert (await call(backend, "/edge/sync", {"edge_agent_id": AGENT})).json()["ack_events"] == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8787", "192.168.1.7", "localhost.evil.example", ""])
async def test_f90_what_was_not_sent_to_loopback_is_not_for_us(backend: ReferenceBackend, host: str) -> None:
    assert (await call(backend, "/admin/commands", {}, ADMIN, Host=host)).status_code == 421
    assert (await call(backend, "/edge/sync", {"edge_agent_id": AGENT}, Host=host)).status_code == 421
    shown = upgrade(backend).replace(f"Host: 127.0.0.1:{backend.port}".encode(), f"Host: {host}".encode())
    assert status(await raw(backend, shown)) == 421


async def test_f90_the_host_of_an_absolute_target_goes_before_the_headers(backend: ReferenceBackend) -> None:
    for target, expected in (("http://127.0.0.1/health", 200), ("http://evil.example/health", 421), ("http://[/health", 400)):
        assert status(await raw(backend, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())) == expected
    assert status(await raw(backend, b"GET /health HTTP/1.1\r\nHost: [\r\n\r\n")) == 421


async def test_f90_a_name_that_is_told_is_ours_too() -> None:
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, names=("backend.example",))) as backend:
        for host, code in (("backend.example", 200), ("backend.example:443", 200), ("evil.example", 421)):
            assert (await call(backend, "/edge/sync", {"edge_agent_id": AGENT}, Host=host)).status_code == code


@pytest.mark.parametrize("host", ["localhost:8787", "127.0.0.1", "[::1]:8787", "127.8.8.8"])
async def test_f90_every_name_of_loopback_is_ours(backend: ReferenceBackend, host: str) -> None:
    assert (await call(backend, "/edge/sync", {"edge_agent_id": AGENT}, Host=host)).status_code == 200


def test_f91_invented_agents_do_not_lock_real_ones_out() -> None:
    hub = Hub(Rules(agents=50))
    hub.queue("owed", "emit_event", {}, Moment(0, 0))
    hub.connect("present", Moment(0, 0))
    for number in range(500):
        hub.sync({"edge_agent_id": f"invented-{number}"}, Moment(0, 0))
    hub.sync({"edge_agent_id": "late-but-real"}, Moment(1, 1))
    known = {agent["edge_agent_id"] for agent in hub.agents()}
    assert {"owed", "present", "late-but-real"} <= known
    assert len(known) == 50


def test_f91_agents_in_use_are_never_forgotten() -> None:
    hub = Hub(Rules(agents=3))
    for number in range(3):
        hub.queue(f"mac-{number}", "emit_event", {}, Moment(0, 0))
    with pytest.raises(CallError, match="too many agents"):
        hub.sync({"edge_agent_id": "one-more"}, Moment(0, 0))


async def test_f92_the_header_and_the_body_must_name_one_agent(backend: ReferenceBackend) -> None:
    command_id = await backend.queue(AGENT, "emit_event", {})
    assert (await call(backend, "/edge/sync", {"edge_agent_id": AGENT}, X_Edge_Agent_Id="mac-9")).status_code == 403
    assert status(await raw(backend, upgrade(backend, extra="X-Edge-Agent-Id: mac-9\r\n"))) == 403
    await call(backend, "/edge/command/ack", {"command_id": command_id, "status": "completed"}, X_Edge_Agent_Id="mac-9")
    assert backend.hub.order(command_id).ack is None, "another agent's"
    await call(backend, "/edge/command/ack", {"command_id": command_id, "status": "completed"}, X_Edge_Agent_Id=AGENT)
    assert backend.hub.order(command_id).ack is not None


async def test_f92_an_agent_with_a_secret_of_its_own_is_served_by_no_other(backend: ReferenceBackend) -> None:
    for headers in ({}, {"X_Edge_Agent_Id": OTHER}):
        assert (await call(backend, "/edge/sync", {"edge_agent_id": OTHER}, **headers)).status_code == 401
        assert (await call(backend, "/edge/sync", {"edge_agent_id": OTHER}, "secret-of-mac-2", **headers)).status_code == 200
    assert (await call(backend, "/edge/sync", {"edge_agent_id": AGENT}, "secret-of-mac-2")).status_code == 401
    assert status(await raw(backend, upgrade(backend, query=f"edge_agent_id={OTHER}"))) == 403
    command_id = await backend.queue(OTHER, "emit_event", {})
    assert (await call(backend, "/edge/command/ack", {"command_id": command_id, "status": "completed"})).status_code == 401


async def test_f93_odd_requests(backend: ReferenceBackend) -> None:
    for query in ("edge_agent_id=%ff", "edge_agent_id=%fe", "edge_agent_id=%C3%28"):
        assert status(await raw(backend, upgrade(backend, query=query))) == 400
    assert status(await raw(backend, upgrade(backend, query="edge_agent_id=caf%C3%A9"))) == 101
    assert status(await raw(backend, upgrade(backend, version="1.0"))) == 400
    absolute = f"GET http://127.0.0.1:{backend.port}/health HTTP/1.1\r\nHost: 127.0.0.1:{backend.port}\r\n\r\n"
    assert status(await raw(backend, absolute.encode())) == 200
    elsewhere = absolute.replace("http://127.0.0.1", "http://evil.example", 1)
    assert status(await raw(backend, elsewhere.encode())) == 421


FRAMED_TWICE = {
    "not in chunks": "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "in chunks, with a request behind": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "an upgrade": "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
}  # fmt: skip


@pytest.mark.parametrize("how", FRAMED_TWICE)
async def test_f93_a_body_of_two_lengths_is_refused_and_the_connection_closed(backend: ReferenceBackend, how: str) -> None:
    head = upgrade(backend)[:-2] if how == "an upgrade" else b"POST /edge/sync HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
    writer.write(head + FRAMED_TWICE[how].encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("seq", ["true", "7", '"seven"', "1.5"])
def test_f93_a_pong_echoes_what_the_ping_said(seq: str) -> None:
    hub = Hub(Rules(greet=False))
    generation = hub.connect(AGENT, Moment(0, 0)).generation
    hub.receive(AGENT, generation, f'{{"type":"ping","data":{{"seq":{seq}}}}}', Moment(1, 1))
    assert json.loads(hub.take(AGENT, generation, Moment(1, 1))[0])["data"] == {"seq": json.loads(seq)}
