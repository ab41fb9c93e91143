"""The backend on real sockets: `websockets` and httpx on one side, ReferenceBackend on the other."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent_core.reference.faults import Faults
from agent_core.reference.hub import Ending, Rules
from agent_core.reference.limits import PROTOCOL_LIMITS
from agent_core.reference.orders import AckWay, Status
from agent_core.reference.server import BackendThread, Options, PortTakenError, ReferenceBackend

AGENT = "mac-1"
SECRET = "canary-secret"
ADMIN = "canary-admin"
HELLO = {"thread_id": "+13105550100", "text": "hi"}


def options(**more: Any) -> Options:
    return Options(secret=SECRET, admin_token=ADMIN, **more)


@pytest.fixture
async def backend() -> AsyncIterator[ReferenceBackend]:
    async with ReferenceBackend(options()) as running:
        yield running


@pytest.fixture
async def http(backend: ReferenceBackend) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(backend) as client:
        yield client


def caller(backend: ReferenceBackend, bearer: str = SECRET) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=backend.url, headers={"Authorization": f"Bearer {bearer}"}, trust_env=False, timeout=5)


def admin(backend: ReferenceBackend) -> httpx.AsyncClient:
    return caller(backend, ADMIN)


async def dial(backend: ReferenceBackend, agent: str = AGENT, bearer: str = SECRET) -> ClientConnection:
    return await connect(
        f"{backend.url.replace('http', 'ws')}/edge/ws?edge_agent_id={agent}",
        additional_headers={"Authorization": f"Bearer {bearer}"},
        proxy=None,
        compression=None,
        ping_interval=None,
        close_timeout=1,
    )


async def online(backend: ReferenceBackend, agent: str = AGENT) -> ClientConnection:
    link = await dial(backend, agent)
    assert (await frame(link))["type"] == "connected"
    return link


async def frame(link: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        body: dict[str, Any] = json.loads(await link.recv())
    return body


async def closing(link: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(5):
            while True:
                await link.recv()
    return link.close_code or 0, link.close_reason or ""


async def refused(backend: ReferenceBackend, **named: str) -> tuple[int, Headers, bytes]:
    with pytest.raises(InvalidStatus) as error:
        await dial(backend, **named)
    answer = error.value.response
    return answer.status_code, answer.headers, bytes(answer.body)


def ack(command_id: str, **more: Any) -> str:
    return json.dumps({"type": "command_ack", "data": {"command_id": command_id, "status": "completed", "success": True} | more})


async def test_a_push_its_ack_and_a_normal_close(backend: ReferenceBackend) -> None:
    link = await online(backend)
    command_id = await backend.queue(AGENT, "send_message_now", HELLO)
    assert (await frame(link))["data"]["command_id"] == command_id
    await link.send(ack(command_id))
    await link.send('{"type":"ping","data":{"seq":7}}')
    pong = await frame(link)
    assert (pong["type"], pong["data"]) == ("pong", {"seq": 7})
    order = backend.hub.order(command_id)
    assert (order.status, order.pushed, order.polled, order.acks[0].way) == (Status.COMPLETED, 1, 0, AckWay.WS), "read before the pong"
    await link.close(1000, "goodbye")
    await backend.until(lambda hub: hub.last_ending(AGENT) is not None)
    assert backend.hub.last_ending(AGENT) == Ending(1000, "goodbye", "agent")


async def test_a_lost_connection_is_not_a_close(backend: ReferenceBackend) -> None:
    link = await online(backend)
    link.transport.abort()
    await backend.until(lambda hub: hub.last_ending(AGENT) is not None)
    assert backend.hub.last_ending(AGENT) == Ending(1006, "lost", "nobody")


async def test_a_newer_connection_replaces_the_old(backend: ReferenceBackend) -> None:
    old = await online(backend)
    new = await online(backend)
    code, reason = await closing(old)
    assert (code, reason) == (4009, "replaced by a newer connection")
    command_id = await backend.queue(AGENT, "send_message_now", HELLO)
    assert (await frame(new))["data"]["command_id"] == command_id
    await new.close()


async def test_a_poll_serves_what_the_socket_could_not_and_takes_acks(backend: ReferenceBackend, http: httpx.AsyncClient) -> None:
    names = [await backend.queue(AGENT, "send_message_now", HELLO) for _ in range(3)]
    answer = (await http.post("/edge/sync", json={"edge_agent_id": AGENT, "last_command_id": None, "pending_events": []})).json()
    assert [command["command_id"] for command in answer["commands"]] == names
    assert answer["commands"][0]["payload"] == HELLO
    body = {"success": True, "status": "completed"}
    assert (await http.post("/edge/command/ack", json=body | {"command_id": names[0]})).status_code == 200
    assert (await http.post("/edge/ack_command", json=body | {"command_id": names[1]})).status_code == 200
    event = {"type": "command_ack", "data": body | {"command_id": names[2]}}
    answer = (await http.post("/edge/sync", json={"edge_agent_id": AGENT, "pending_events": [event]})).json()
    assert answer["commands"] == []
    assert [event["command_id"] for event in answer["ack_events"]] == names
    assert [backend.hub.order(name).acks[0].way for name in names] == [AckWay.HTTP, AckWay.HTTP, AckWay.PENDING_EVENTS]


async def test_the_wrong_secret_is_401_and_403_at_the_upgrade(backend: ReferenceBackend) -> None:
    assert (await refused(backend, bearer="wrong"))[0] == 403
    async with caller(backend, "wrong") as client:
        for path in ("/edge/sync", "/edge/register", "/edge/command/ack", "/edge/ack_command"):
            answer = await client.post(path, json={})
            assert (answer.status_code, list(answer.json())) == (401, ["error"])
    async with httpx.AsyncClient(base_url=backend.url, trust_env=False) as client:
        assert (await client.post("/edge/sync", json={})).status_code == 401
    assert backend.hub.agents() == []


def token(agent: str, age: float = 0, secret: str = SECRET) -> str:
    text = f"{agent}:+13105550100:{int(time.time() - age)}"
    return base64.b64encode(f"{text}:{hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}".encode()).decode()


async def test_a_token_made_with_the_secret_opens_both_ways(backend: ReferenceBackend) -> None:
    link = await dial(backend, bearer=token(AGENT))
    assert (await frame(link))["type"] == "connected"
    await link.close()
    async with caller(backend, token(AGENT, age=80_000)) as client:
        assert (await client.post("/edge/sync", json={"edge_agent_id": AGENT})).status_code == 200
        assert (await client.post("/edge/sync", json={"edge_agent_id": "mac-2"})).status_code == 403
    for wrong in (token(AGENT, age=90_000), token(AGENT, age=-4_000), token(AGENT, secret="other"), "bm90aGluZw=="):
        async with caller(backend, wrong) as client:
            assert (await client.post("/edge/sync", json={"edge_agent_id": AGENT})).status_code == 401
    assert (await refused(backend, bearer=token("mac-2")))[0] == 403


async def test_admin_calls_need_their_own_token(backend: ReferenceBackend, http: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/admin/commands"), ("GET", "/admin/commands"), ("GET", "/admin/agents"), ("PUT", "/admin/faults")):
        assert (await http.request(method, path, json={})).status_code == 401


async def test_the_admin_calls(backend: ReferenceBackend) -> None:
    async with admin(backend) as client:
        asked = {"edge_agent_id": AGENT, "command_type": "send_message_now", "payload": HELLO, "priority": "high", "command_id": "mine"}
        queued = await client.post("/admin/commands", json=asked)
        assert (queued.status_code, queued.json()) == (202, {"command_id": "mine"})
        assert (await client.post("/admin/commands", json=asked)).status_code == 409
        assert (await client.post("/admin/commands", json=asked | {"typo": 1})).status_code == 400
        shown = (await client.get("/admin/commands/mine")).json()
        assert (shown["status"], shown["payload"], shown["priority"]) == ("queued", HELLO, "high")
        assert shown["deliveries"] == {"ws": 0, "poll": 0}
        assert [command["command_id"] for command in (await client.get("/admin/commands?status=queued")).json()["commands"]] == ["mine"]
        assert (await client.get("/admin/commands?limit=-1")).status_code == 400
        assert (await client.get("/admin/commands/other")).status_code == 404
        assert (await client.post(f"/admin/agents/{AGENT}/config", json={"log_level": "info"})).status_code == 202
        link = await online(backend)
        assert (await frame(link))["data"] == {"log_level": "info"}
        (agent,) = (await client.get("/admin/agents")).json()["agents"]
        assert (agent["edge_agent_id"], agent["connected"], agent["open_commands"]) == (AGENT, True, 1)
        await link.close()


async def test_health_and_metrics_are_open(backend: ReferenceBackend) -> None:
    async with httpx.AsyncClient(base_url=backend.url, trust_env=False) as client:
        assert (await client.get("/health")).json() == {"status": "ok", "agents_connected": 0}
        await backend.queue(AGENT, "send_message_now", HELLO)
        text = (await client.get("/metrics")).text
        assert 'edge_backend_events_total{event="queued"} 1' in text
        assert "edge_backend_commands_open 1" in text
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/edge/sync")).status_code == 405


async def test_registration_gives_an_id(http: httpx.AsyncClient) -> None:
    answer = await http.post("/edge/register", json={"user_phone": "+13105550100", "apple_id": None, "version": "1", "capabilities": []})
    assert answer.json()["edge_agent_id"].startswith("edge_")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"{}", 400),
        (b'{"edge_agent_id":"a\\u0007"}', 400),
        (b" " * (2**20 + 1), 413),
    ],
)
async def test_malformed_bodies_get_one_sentence(http: httpx.AsyncClient, content: bytes, status: int) -> None:
    answer = await http.post("/edge/sync", content=content)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


async def test_malformed_frames_leave_the_socket_up(backend: ReferenceBackend) -> None:
    link = await online(backend)
    for raw in ("nonsense", "[]", b"\xff\xfe", '{"type":7}', ack("nobody's")):
        await link.send(raw)
    await link.send('{"type":"ping"}')
    assert (await frame(link))["type"] == "pong"
    assert backend.hub.counts["malformed"] == 3
    await link.close()


@pytest.mark.parametrize("step", [1, 3, 10_000])
async def test_messages_come_through_however_they_are_cut(backend: ReferenceBackend, step: int) -> None:
    said = b"".join((
        masked(0x81, b'{"type":"ping"}'),
        masked(0x01, b'{"type":'), masked(0x89, b"alive"), masked(0x00, b'"pi'), masked(0x80, b'ng"}'),
        masked(0x82, b'{"type":"ping","pad":"' + b"x" * 200 + b'"}'),
        masked(0x81, b'{"type":"ping","pad":"' + b"x" * 70_000 + b'"}'),
        masked(0x81, b'{"type":"ping"}'),
    ))  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
    writer.write(
        f"GET /edge/ws?edge_agent_id={AGENT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {backend.secret}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    for at in range(0, 400, step):
        writer.write(said[at : min(at + step, 400)])
        await asyncio.sleep(0)
    writer.write(said[400:])
    await backend.until(lambda hub: hub.counts["pings"] == 5)
    heard = b""
    while heard.count(b'"pong"') < 5:
        heard += await reader.read(65_536)
    assert b"\x8a\x05alive" in heard
    assert backend.hub.counts["malformed"] == 0
    writer.close()


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2) if size < 65_536 else b"\xff" + size.to_bytes(8)
    mask = b"abcd"
    return bytes([first]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def test_a_frame_too_big_is_closed_with_1009(backend: ReferenceBackend) -> None:
    link = await online(backend)
    await link.send("x" * (2**20 + 1))
    assert (await closing(link))[0] == 1009


async def test_limits_close_with_1008_and_answer_429() -> None:
    async with ReferenceBackend(options(rules=Rules(limits=PROTOCOL_LIMITS))) as backend:
        for _ in range(9):
            await (await online(backend)).close()
        link = await online(backend)
        await link.send('{"type":"ping"}')
        await link.send('{"type":"ping"}')
        assert await closing(link) == (1008, "a ping each 10 s is allowed")
        status, headers, _ = await refused(backend)
        assert status == 429
        assert 50 <= int(headers["Retry-After"]) <= 60


async def test_an_agent_that_says_nothing_is_dropped() -> None:
    async with ReferenceBackend(options(rules=Rules(drop_after=0.2))) as backend:
        link = await online(backend)
        assert (await closing(link))[0] == 1006
        assert backend.hub.connected(AGENT) is None


async def test_the_upgrade_refused_while_polling_works(backend: ReferenceBackend, http: httpx.AsyncClient) -> None:
    backend.faults = Faults(upgrade_status=503, upgrade_retry_after=30, upgrade_body="restarting")
    command_id = await backend.queue(AGENT, "send_message_now", HELLO)
    status, headers, body = await refused(backend)
    assert (status, headers["Retry-After"], body) == (503, "30", b"restarting")
    assert backend.hub.counts["connects_refused"] == 1
    answer = (await http.post("/edge/sync", json={"edge_agent_id": AGENT})).json()
    assert answer["commands"][0]["command_id"] == command_id
    backend.faults = Faults()
    await (await online(backend)).close()


async def test_faults_of_the_calls_set_over_http(backend: ReferenceBackend, http: httpx.AsyncClient) -> None:
    async with admin(backend) as client:
        told = {"sync_status": 429, "sync_retry_after": 7, "sync_body": "<html>", "ack_status": 404, "old_ack_status": 405}
        assert (await client.put("/admin/faults", json=told)).status_code == 200
        assert (await client.get("/admin/faults")).json()["ack_status"] == 404
        answer = await http.post("/edge/sync", json={"edge_agent_id": AGENT})
        assert (answer.status_code, answer.headers["Retry-After"], answer.text) == (429, "7", "<html>")
        assert (await http.post("/edge/command/ack", json={})).status_code == 404
        assert (await http.post("/edge/ack_command", json={})).status_code == 405
        assert (await client.put("/admin/faults", json={"nonsense": True})).status_code == 400
        await client.put("/admin/faults", json={})
        assert (await http.post("/edge/sync", json={"edge_agent_id": AGENT})).status_code == 200


async def test_accepted_then_closed_at_once(backend: ReferenceBackend, caplog: pytest.LogCaptureFixture) -> None:
    backend.faults = Faults(close_code=1012)
    link = await dial(backend)
    assert (await closing(link))[0] == 1012
    await link.wait_closed()
    assert backend.hub.connected(AGENT) is None
    assert [record for record in caplog.records if record.name == "asyncio"] == [], "its answer to the close is read, too"


async def test_a_silent_backend_reads_and_says_nothing(backend: ReferenceBackend) -> None:
    backend.faults = Faults(silent=True)
    link = await dial(backend)
    await link.send('{"type":"ping"}')
    await backend.queue(AGENT, "send_message_now", HELLO)
    await backend.until(lambda hub: hub.counts["pings"] == 1)
    async with asyncio.timeout(5):
        await (await link.ping())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await link.recv()
    await link.close()


async def test_each_command_twice_and_answers_late(backend: ReferenceBackend) -> None:
    link = await online(backend)
    backend.faults = Faults(push_twice=True, delay_seconds=0.2)
    started = time.monotonic()
    command_id = await backend.queue(AGENT, "send_message_now", HELLO)
    assert [(await frame(link))["data"]["command_id"] for _ in range(2)] == [command_id] * 2
    assert time.monotonic() - started >= 0.2
    await link.close()


async def test_links_closed_with_a_code(backend: ReferenceBackend) -> None:
    links = [await online(backend, agent) for agent in ("mac-1", "mac-2")]
    reading = [asyncio.create_task(closing(link)) for link in links]
    await backend.close_links(1012, "service restart")
    assert await asyncio.gather(*reading) == [(1012, "service restart")] * 2
    assert backend.hub.connected_count == 0


async def test_a_peer_that_does_not_read_is_aborted_when_replaced(backend: ReferenceBackend) -> None:
    deaf = await connect(
        f"ws://127.0.0.1:{backend.port}/edge/ws?edge_agent_id={AGENT}",
        additional_headers={"Authorization": f"Bearer {SECRET}"},
        proxy=None,
        compression=None,
        ping_interval=None,
        max_queue=1,
    )
    deaf.transport.pause_reading()
    for _ in range(200):
        await backend.queue(AGENT, "send_message_now", HELLO | {"text": "x" * 60_000})
    new = await online(backend)
    await asyncio.gather(backend.close_links(), closing(new))
    deaf.transport.resume_reading()
    assert (await closing(deaf))[0] == 1006


async def test_down_refuses_and_up_listens_on_the_same_port(backend: ReferenceBackend) -> None:
    link = await online(backend)
    port = backend.port
    await backend.down()
    assert (await closing(link))[0] == 1006
    with pytest.raises(ConnectionRefusedError):
        await dial(backend)
    command_id = await backend.queue(AGENT, "send_message_now", HELLO)
    await backend.up()
    assert backend.port == port
    await (await online(backend)).close()
    assert backend.hub.order(command_id).status is Status.QUEUED


async def test_a_taken_port_is_said_so(backend: ReferenceBackend) -> None:
    with pytest.raises(PortTakenError, match="is taken"):
        async with ReferenceBackend(options(port=backend.port)):
            pass


async def test_a_restart_keeps_what_was_owed_and_what_was_settled(tmp_path: Path) -> None:
    kept = options(store=f"sqlite:{tmp_path / 'with a space'}")
    async with ReferenceBackend(kept) as backend:
        link = await online(backend)
        done, pushed = [await backend.queue(AGENT, "send_message_now", HELLO | {"text": text}) for text in ("one", "two")]
        await frame(link)
        await frame(link)
        await link.send(ack(done, result={"n": 1}))
        await backend.until(lambda hub: hub.counts["completed"] == 1)
        await backend.down()
        queued = await backend.queue(AGENT, "send_message_now", HELLO)
    async with ReferenceBackend(kept) as backend, caller(backend) as client:
        answer = (await client.post("/edge/sync", json={"edge_agent_id": AGENT})).json()
        assert [command["command_id"] for command in answer["commands"]] == [pushed, queued]
        order = backend.hub.order(done)
        assert (order.status, order.pushed, order.acks[0].way) == (Status.COMPLETED, 1, AckWay.WS)
        different = {"command_id": done, "status": "failed", "success": False}
        assert (await client.post("/edge/command/ack", json=different)).status_code == 200
        assert order.anomalies == 1
        assert await backend.queue(AGENT, "send_message_now", HELLO) not in {done, pushed, queued}
    assert (tmp_path / "with a space" / "backend.sqlite3").stat().st_mode & 0o077 == 0


async def test_what_cannot_be_written_is_not_answered_and_written_later(tmp_path: Path) -> None:
    async with ReferenceBackend(options(store=f"sqlite:{tmp_path}")) as backend, caller(backend) as agent, admin(backend) as client:
        asked = {"edge_agent_id": AGENT, "command_type": "send_message_now", "payload": HELLO, "command_id": "mine"}
        link = await online(backend)
        with contextlib.closing(sqlite3.connect(tmp_path / "backend.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for answer in (
                await client.post("/admin/commands", json=asked),
                await agent.post("/edge/sync", json={"edge_agent_id": AGENT}),
                await client.post("/admin/commands", json=asked | {"command_id": "another"}),
                await client.post("/admin/commands", json=asked),
            ):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert (await frame(link))["data"]["command_id"] == "mine", "nobody gets it before the store has it"
        assert (await client.post("/admin/commands", json=asked)).status_code == 409, "taken says that it is kept"
        await link.close()
    async with ReferenceBackend(options(store=f"sqlite:{tmp_path}")) as backend:
        assert backend.hub.order("mine").status is Status.DELIVERED


async def test_a_pong_waits_for_the_ack_before_it_to_be_written(tmp_path: Path) -> None:
    async with ReferenceBackend(options(store=f"sqlite:{tmp_path}")) as backend:
        link, other_agent = await online(backend), await online(backend, "mac-2")
        command_id = await backend.queue(AGENT, "send_message_now", HELLO)
        await frame(link)
        with contextlib.closing(sqlite3.connect(tmp_path / "backend.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await link.send(ack(command_id))
            await link.send('{"type":"ping"}')
            await backend.until(lambda hub: hub.counts["pings"] == 1)
            await other_agent.send('{"type":"ping"}')
            assert (await frame(other_agent))["type"] == "pong", "what rests on nothing is said"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await link.recv()
        assert (await frame(link))["type"] == "pong"
        async with asyncio.TaskGroup() as closing_all:
            closing_all.create_task(link.close())
            closing_all.create_task(other_agent.close())


async def test_a_burst_of_5000_respects_back_pressure(backend: ReferenceBackend) -> None:
    link = await online(backend)
    link.transport.pause_reading()
    names = [await backend.queue(AGENT, "send_message_now", HELLO | {"text": "x" * 1_500}) for _ in range(5_000)]
    assert backend.hub.counts["pushed"] < 5_000, "what the agent does not read is not pushed"
    link.transport.resume_reading()
    seen = []
    for _ in names:
        command_id = (await frame(link))["data"]["command_id"]
        seen.append(command_id)
        await link.send(ack(command_id))
    await backend.until(lambda hub: hub.counts["completed"] == 5_000)
    assert seen == names
    await link.close()


def test_the_backend_runs_in_a_thread_of_its_own() -> None:
    with BackendThread(options()) as thread:
        command_id = thread.call(thread.backend.queue(AGENT, "send_message_now", HELLO))
        thread.backend.faults = Faults(sync_status=500)
        with httpx.Client(base_url=thread.backend.url, headers={"Authorization": f"Bearer {SECRET}"}, trust_env=False) as client:
            assert client.post("/edge/sync", json={"edge_agent_id": AGENT}).status_code == 500
            thread.backend.faults = Faults()
            assert client.post("/edge/sync", json={"edge_agent_id": AGENT}).json()["commands"][0]["command_id"] == command_id
        taken = options(port=thread.backend.port)
        with pytest.raises(PortTakenError), BackendThread(taken):
            pass
        port = thread.backend.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_options_do_not_print_their_secrets() -> None:
    assert "canary" not in repr(options())
