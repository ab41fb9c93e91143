"""PostgreSQL as the store, on a cluster of our own: what is written, claimed and refused; several instances; what is lost when one dies."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent_core.reference.hub import Rules
from agent_core.reference.orders import Status
from agent_core.reference.server import CannotServeError, Options, ReferenceBackend
from tests.harness.pg import Cluster, programs
from tests.harness.torture_backend import Arena, torture

pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")

SECRET, ADMIN, AGENT = "canary-secret", "canary-admin", "mac-1"
HELLO = {"thread_id": "+13105550100", "text": "hi"}
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def clean(cluster: Cluster) -> Cluster:
    cluster.primary.sql("DROP SCHEMA IF EXISTS edge CASCADE")
    return cluster


def instance(dsn: str, **more: Any) -> ReferenceBackend:
    return ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, store=dsn, lease=3, **more))


@pytest.fixture
async def pair(clean: Cluster) -> AsyncIterator[tuple[ReferenceBackend, ReferenceBackend]]:
    async with instance(clean.dsn(), rules=Rules(redeliver_after=1)) as one, instance(clean.dsn(), rules=Rules(redeliver_after=1)) as two:
        yield one, two


async def dial(backend: ReferenceBackend, agent: str = AGENT) -> ClientConnection:
    url = f"{backend.url.replace('http', 'ws')}/edge/ws?edge_agent_id={agent}"
    link = await connect(url, additional_headers={"Authorization": f"Bearer {SECRET}"}, proxy=None, ping_interval=None, close_timeout=1)
    assert (await frame(link))["type"] == "connected"
    return link


async def frame(link: ClientConnection, within: float = 10) -> dict[str, Any]:
    async with asyncio.timeout(within):
        body: dict[str, Any] = json.loads(await link.recv())
    return body


async def closing(link: ClientConnection, within: float = 10) -> int:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(within):
            while True:
                await link.recv()
    return link.close_code or 0


async def call(backend: ReferenceBackend, method: str, path: str, body: Any = None, bearer: str = ADMIN) -> httpx.Response:
    async with httpx.AsyncClient(base_url=backend.url, trust_env=False, timeout=15) as client:
        return await client.request(method, path, json=body, headers={"Authorization": f"Bearer {bearer}"})


def ack(command_id: str, **more: Any) -> str:
    return json.dumps({"type": "command_ack", "data": {"command_id": command_id, "status": "completed"} | more})


async def polled(backend: ReferenceBackend, **more: Any) -> list[str]:
    answer = await call(backend, "POST", "/edge/sync", {"edge_agent_id": AGENT} | more, SECRET)
    assert answer.status_code == 200, answer.text
    return [command["command_id"] for command in answer.json()["commands"]]


async def shown(backend: ReferenceBackend, command_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while not condition(view := (await call(backend, "GET", f"/admin/commands/{command_id}")).json()):  # noqa: ASYNC110  (of the store)
            await asyncio.sleep(0.05)
    return dict(view)


Pair = tuple[ReferenceBackend, ReferenceBackend]


async def test_a_command_reaches_its_agent_through_either_instance(pair: Pair) -> None:
    one, two = pair
    link = await dial(two)
    names = [await backend.queue(AGENT, "send_message_now", HELLO) for backend in (one, two, one)]
    heard = [(await frame(link))["data"]["command_id"] for _ in names]
    assert sorted(heard) == sorted(names)
    for name in names:
        await link.send(ack(name, result={"n": 1}))
    await link.send('{"type":"ping"}')
    assert (await frame(link))["type"] == "pong"
    view = await shown(one, names[0], lambda view: view["ack"] is not None)
    assert (view["status"], view["ack"]["result"]) == ("completed", {"n": 1})
    assert {command["command_id"] for command in (await call(one, "GET", "/admin/commands")).json()["commands"]} == set(names)
    (agent,) = (await call(one, "GET", "/admin/agents")).json()["agents"]
    assert (agent["edge_agent_id"], agent["connected"], agent["open_commands"], agent["epoch"]) == (AGENT, True, 0, 1)
    await link.close()


async def test_an_id_is_taken_whoever_took_it(pair: Pair) -> None:
    asked = {"edge_agent_id": AGENT, "command_type": "send_message_now", "payload": HELLO, "command_id": "mine"}
    answers = await asyncio.gather(*(call(backend, "POST", "/admin/commands", asked) for backend in pair * 4))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    assert await polled(pair[0]) == ["mine"]


async def test_a_socket_elsewhere_replaces_and_the_late_end_changes_nothing(pair: Pair) -> None:
    one, two = pair
    old = await dial(one)
    new = await dial(two)
    assert await closing(old) == 4009
    name = await one.queue(AGENT, "send_message_now", HELLO)
    assert (await frame(new))["data"]["command_id"] == name
    (agent,) = (await call(one, "GET", "/admin/agents")).json()["agents"]
    assert (agent["connected"], agent["epoch"]) == (True, 2)
    await new.close()


async def test_what_an_earlier_socket_was_given_the_next_one_gets_wherever_it_is(pair: Pair) -> None:
    one, two = pair
    old = await dial(one)
    name = await two.queue(AGENT, "send_message_now", HELLO)
    assert (await frame(old))["data"]["command_id"] == name
    old.transport.abort()
    new = await dial(two)
    assert (await frame(new))["data"]["command_id"] == name
    await new.send(ack(name))
    assert (await shown(one, name, lambda view: view["ack"] is not None))["status"] == "completed"
    await new.close()


async def test_a_poll_elsewhere_gets_only_what_no_socket_has(pair: Pair) -> None:
    one, two = pair
    first = await one.queue(AGENT, "send_message_now", HELLO)
    assert await polled(two) == [first]
    assert await polled(one) == [], "just given"
    link = await dial(one)
    second = await two.queue(AGENT, "send_message_now", HELLO)
    heard = await frame(link)
    assert heard["data"]["command_id"] == second
    assert second not in await polled(two)
    answer = await call(two, "POST", "/edge/command/ack", {"command_id": second, "status": "failed", "error": "no"}, SECRET)
    assert answer.status_code == 200
    assert (await shown(one, second, lambda view: view["ack"] is not None))["status"] == "failed"
    await link.send(ack(first))
    await shown(two, first, lambda view: view["ack"] is not None)
    await link.send(ack(second))
    await link.send('{"type":"ping"}')
    while (await frame(link))["type"] != "pong":
        pass
    assert (await shown(two, second, bool))["status"] == "failed", "the first terminal ack counts"
    await link.close()


async def test_what_a_poll_has_no_room_for_is_not_held_back(clean: Cluster) -> None:
    async with instance(clean.dsn(), rules=Rules(poll_bytes=1_000)) as one, instance(clean.dsn()) as two:
        names = [await one.queue(AGENT, "send_message_now", HELLO | {"text": "x" * 700}) for _ in range(3)]
        assert await polled(one) == names[:1]
        assert await polled(two) == names[1:]


async def test_acks_come_with_a_poll_at_any_instance(pair: Pair) -> None:
    one, two = pair
    name = await one.queue(AGENT, "send_message_now", HELLO)
    assert await polled(one) == [name]
    event = {"type": "command_ack", "data": {"command_id": name, "success": True}}
    assert await polled(two, pending_events=[event, {"type": "command_ack", "data": {"command_id": "nobody's", "success": True}}]) == []
    assert (await shown(one, name, lambda view: view["ack"] is not None))["acks"][0]["way"] == "pending_events"
    assert two.hub.counts["strays"] == 1


async def test_settings_find_the_agent(pair: Pair) -> None:
    one, two = pair
    assert (await call(one, "POST", f"/admin/agents/{AGENT}/config", {"log_level": "info"})).status_code == 202
    answer = await call(two, "POST", "/edge/sync", {"edge_agent_id": AGENT}, SECRET)
    assert answer.json()["config_updates"] == {"log_level": "info"}
    link = await dial(two)
    await one.configure(AGENT, {"sync_interval": 60})
    assert (await frame(link))["data"] == {"sync_interval": 60}
    await link.close()


async def test_an_event_is_kept_once_whatever_instance_it_comes_to(pair: Pair) -> None:
    event = {"event_id": "evt_1", "event_type": "seen", "occurred_at": "2026-01-01T00:00:00.000Z", "payload": {"n": 1}}
    for backend in (*pair, *pair):
        answer = await call(backend, "POST", "/edge/sync", {"edge_agent_id": AGENT, "pending_events": [event]}, SECRET)
        assert answer.json()["ack_events"] == ["evt_1"]
        assert [(told.agent_id, told.event_id, told.payload) for told in await backend.events(AGENT)] == [(AGENT, "evt_1", '{"n":1}')]
    assert await pair[0].events("other") == []


async def test_a_restart_of_all_instances_keeps_everything(clean: Cluster) -> None:
    async with instance(clean.dsn()) as backend:
        names = [await backend.queue(AGENT, "send_message_now", HELLO) for _ in range(3)]
    async with instance(clean.dsn()) as backend:
        assert await polled(backend) == names
        await shown(backend, names[0], lambda view: view["status"] == Status.DELIVERED)
        assert (await call(backend, "GET", "/admin/commands/other")).status_code == 404


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
async def test_a_database_that_could_lose_what_it_says_it_has_is_refused(clean: Cluster, setting: str) -> None:
    clean.primary.sql(f"ALTER SYSTEM SET {setting} = off")
    clean.primary.sql("SELECT pg_reload_conf()")
    try:
        async with asyncio.timeout(10):
            while clean.primary.sql(f"SHOW {setting}") != "off":  # noqa: ASYNC110  (the server reads its file when it likes)
                await asyncio.sleep(0.05)
        with pytest.raises(CannotServeError, match=f"{setting} = off"):
            await instance(clean.dsn()).up()
    finally:
        clean.primary.sql(f"ALTER SYSTEM RESET {setting}")
        clean.primary.sql("SELECT pg_reload_conf()")


async def test_no_synchronous_standby_is_said(clean: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "agent_core.reference")
    async with instance(clean.dsn()):
        assert "no synchronous standby" in caplog.text


async def test_a_database_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CannotServeError, match="the database"):
        async with instance(f"postgresql:///x?user=u&host={tmp_path}"):
            pass


async def test_a_standby_alone_is_no_store() -> None:
    with Cluster() as own:
        standby = own.add_standby()
        with pytest.raises(CannotServeError, match="the database"):
            await instance(own.dsn(standby.folder)).up()


@contextlib.asynccontextmanager
async def relay(cluster: Cluster, name: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """A way to the primary of one's own."""
    folder = cluster.folder / name
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.harness.relay", str(folder / ".s.PGSQL.5432"), str(cluster.primary.folder / ".s.PGSQL.5432"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield process, folder
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        await process.wait()


async def test_an_instance_cut_from_the_database_closes_its_sockets_within_its_lease(clean: Cluster) -> None:
    loop = asyncio.get_running_loop()
    async with relay(clean, "cut") as (process, folder), instance(clean.dsn(folder)) as cut, instance(clean.dsn()) as other:
        link = await dial(cut)
        process.send_signal(signal.SIGSTOP)
        stopped_at = loop.time()
        asked = {"edge_agent_id": AGENT, "command_type": "send_message_now", "payload": HELLO}
        answer = asyncio.create_task(call(cut, "POST", "/admin/commands", asked))
        assert await closing(link) == 1012
        closed_after = loop.time() - stopped_at
        new = await dial(other)
        name = await other.queue(AGENT, "send_message_now", HELLO)
        assert (await frame(new))["data"]["command_id"] == name
        refused = await answer
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert (await call(cut, "GET", "/health")).status_code == 200
        process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await call(cut, "POST", "/admin/commands", asked)).status_code == 202:
                        break
                await asyncio.sleep(0.2)
        await new.close()
    assert closed_after < 3, "a lease"


async def test_while_the_database_is_away_sockets_stay_and_acks_are_held(clean: Cluster) -> None:
    async with relay(clean, "away") as (process, folder), instance(clean.dsn(folder)) as backend:
        link = await dial(backend)
        name = await backend.queue(AGENT, "send_message_now", HELLO)
        await frame(link)
        process.send_signal(signal.SIGSTOP)
        await link.send(ack(name))
        await link.send('{"type":"ping"}')
        with pytest.raises(TimeoutError):
            await frame(link, within=0.5)
        process.send_signal(signal.SIGCONT)
        assert (await frame(link))["type"] == "pong"
        assert (await shown(backend, name, lambda view: view["ack"] is not None))["status"] == "completed"
        await link.close()


async def test_two_instances_lose_nothing_when_one_is_killed_and_then_the_primary() -> None:
    with Cluster() as own:
        standby = own.add_standby()
        async with Arena(own, agents=20, rate=40) as arena:
            await arena.reach_of_new()
            await arena.instances[0].kill()
            after_instance = await arena.reach_of_new()
            await arena.instances[0].start()
            await asyncio.to_thread(own.fail_over, standby, 1.5)
            after_primary = await arena.reach_of_new()
            found = await arena.quiet()
    assert {kind: names for kind, names in found.items() if names} == {}
    print(f"the slowest of 40 commands queued after the kill: instance {after_instance:.1f} s, primary {after_primary:.1f} s")


async def test_three_cycles_of_the_torture_lose_nothing_and_repeat_nothing() -> None:
    found = await torture(cycles=3, agents=20, rate=40, seed=3, tell=False)
    assert {kind: names for kind, names in found.items() if names} == {}


async def test_a_claim_whose_answer_was_lost_is_made_anew_though_the_socket_stays(pair: Pair, clean: Cluster) -> None:
    link = await dial(pair[0])
    columns = "command_id, origin, agent_id, command_type, body, queued_utc, status, lease_epoch, lease_at"
    body = '{"command_id":"c1","command_type":"emit_event","payload":{}}'
    for status in ("queued", "delivered"):
        values = f"'{status}', 'x', '{AGENT}', 'emit_event', '{body.replace('c1', status)}', 0, '{status}'"
        epoch = 1 if status == "queued" else 0
        clean.primary.sql(f"INSERT INTO edge.command ({columns}) VALUES ({values}, {epoch}, now())")
    assert {(await frame(link))["data"]["command_id"] for _ in range(2)} == {"queued", "delivered"}
    await link.close()
