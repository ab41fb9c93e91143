"""An agent and the reference backend on real sockets: what is promised of every ordinary day."""

import asyncio
import json
import re
import ssl
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent_core.events import PollingModeChosen, ReconnectRequested
from agent_core.feed import LogEntry
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Ending, Rules
from agent_core.reference.limits import PROTOCOL_LIMITS
from agent_core.reference.orders import AckWay, Status
from agent_core.snapshot import Cause, Phase, PollingMode
from tests.harness.faultproxy import FaultProxy
from tests.harness.rig import (
    AGENT,
    SECRET,
    HttpStub,
    above,
    ack_of,
    argv_of,
    config,
    control_bytes,
    descriptors_of,
    files_below,
    for_a_while,
    http_answer,
    living,
    message,
    program,
    report,
    served,
    settled,
    threads_of,
    until,
    write_config,
)


async def test_online_with_the_lines_the_operator_knows(tmp_path: Path) -> None:
    async with served() as backend:
        async with living(config(tmp_path, backend.url)) as here:
            await here.online()
            (order,) = await settled(backend, await backend.queue(AGENT, "send_message_now", message("one")))
            await here.until(lambda s: s.commands.proven == 1)
            assert (order.pushed, order.polled, order.status, here.sent()) == (1, 0, Status.COMPLETED, ["one"])
            assert [row.status for row in here.rows(order.command_id)][-1] == "acked"
            assert not here.now.polling.active
            wanted = [
                f"Connecting to WebSocket: {backend.url.replace('http', 'ws')}/edge/ws",
                "WebSocket connected - real-time mode enabled",
                "Command delivery: Real-time via WebSocket",
                f"Received command via WebSocket: {order.command_id}",
                f"Command {order.command_id} executed successfully",
            ]
            assert [line for line in here.lines if line in wanted] == wanted
        assert backend.hub.last_ending(AGENT) == Ending(1000, "agent stopped", "agent")


async def test_refused_403_polling_delivers_then_the_socket_takes_over(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=403)
        async with living(config(tmp_path, backend.url)) as here:
            await here.hears("WebSocket error: .*403")
            await here.hears("WebSocket disconnected - falling back to HTTP polling")
            await here.hears(r"Command delivery: HTTP polling every 0\.1s")
            await here.hears(r"Scheduling WebSocket reconnect attempt 1/10 in \d+ms")
            polls = backend.hub.counts["syncs"]
            names = [await backend.queue(AGENT, "send_message_now", message(f"polled {number}")) for number in range(3)]
            orders = await settled(backend, *names)
            assert backend.hub.counts["syncs"] <= polls + 5, "delivered within an interval, or the few that a slow machine takes"
            assert [(order.pushed, order.polled) for order in orders] == [(0, 1)] * 3
            assert {ack.way for order in orders for ack in order.acks} == {AckWay.HTTP}
            assert sorted(here.sent()) == ["polled 0", "polled 1", "polled 2"]
            assert here.phase in {Phase.REFUSED, Phase.CONNECTING}
            backend.faults = Faults()
            await here.online()
            await here.until(lambda s: not s.polling.active and not s.polling.in_flight)
            polls = backend.hub.counts["syncs"]
            (pushed,) = await settled(backend, await backend.queue(AGENT, "send_message_now", message("pushed")))
            assert (pushed.pushed, pushed.polled) == (1, 0)
            await for_a_while(0.6, lambda: backend.hub.counts["syncs"] == polls)
            assert len(here.sent()) == 4


async def test_server_gone_for_a_while_and_back(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        await backend.down()
        name = await backend.queue(AGENT, "send_message_now", message("while down"))
        await here.hears("Scheduling WebSocket reconnect", 4)
        await here.hears("HTTP polling failed: .*refused")
        assert here.now.link.down_since_at is not None
        await backend.up()
        await here.online()
        (order,) = await settled(backend, name)
        assert here.sent() == ["while down"]
        assert order.anomalies == 0
        assert here.now.link.last_outage_seconds > 0
        await here.until(lambda s: not s.polling.active)


async def test_refused_connections_climb_the_ladder_exactly(tmp_path: Path) -> None:
    async with FaultProxy(1) as proxy:
        await proxy.refuse()
        steps = {"base_seconds": 0.05, "cap_seconds": 0.4, "jitter": "none"}
        async with living(config(tmp_path, proxy.url, backoff=steps)) as here:
            await here.hears("Connecting to WebSocket", 7)
            waits = [int(match.group(1)) for match in re.finditer(r"attempt \d+/10 in (\d+)ms", "\n".join(here.lines))]
            assert waits[:6] == [50, 100, 200, 400, 400, 400]
            dials = [entry.utc for entry in here.entries if isinstance(entry, LogEntry) and entry.text.startswith("Connecting to")]
            gaps = [later - earlier for earlier, later in pairwise(dials)]
            steps_taken = zip((0.05, 0.1, 0.2, 0.4, 0.4, 0.4), gaps, strict=False)
            assert all(step - 0.005 <= gap <= 1.5 * step + 0.3 for step, gap in steps_taken)
            assert here.said(r"WebSocket error: .*refused")
            assert here.now.link.ladder == (0.05, 0.1, 0.2, 0.4)


async def test_after_the_last_attempt_the_slow_lane_and_never_an_end(tmp_path: Path) -> None:
    async with served() as backend, FaultProxy(backend.port) as proxy:
        await proxy.refuse()
        short: dict[str, Any] = {"websocket": {"reconnect_attempts": 2}, "backoff": {"cap_seconds": 0.2}}
        async with living(config(tmp_path, proxy.url, **short)) as here:
            await here.hears(r"attempt 2/2 in \d+ms, slow lane")
            await proxy.listen()
            await here.online()


async def test_an_agent_without_an_id_registers_first(tmp_path: Path) -> None:
    async with served() as backend:
        edge = {"agent_id": None, "user_phone": "+13105550100"}
        async with living(config(tmp_path, backend.url, edge=edge)) as here:
            snapshot = await here.online()
            assert snapshot.agent_id is not None
            assert here.said(f"Registered as {snapshot.agent_id}")
            await settled(backend, await backend.queue(snapshot.agent_id, "send_message_now", message()))


NONSENSE: tuple[tuple[dict[str, object], str], ...] = (
    ({"edge_agent_id": "caf\u00e9"}, "no edge_agent_id of printable ASCII"), ({"edge_agent_id": "a\r\nb"}, "no edge_agent_id"),
    ({}, "no edge_agent_id"),
    ({"edge_agent_id": "mac-9", "auth_token": "new\r\nX-Injected: yes"}, "auth_token cannot be sent"),
    ({"edge_agent_id": "mac-9", "auth_token": 7}, "auth_token cannot be sent"),
)  # fmt: skip


async def test_a_registration_that_answers_nonsense_is_tried_again(tmp_path: Path) -> None:
    answers = [http_answer()]
    async with served() as backend, HttpStub(lambda _path: answers[-1]) as stub:
        urls = {"websocket_url": backend.url.replace("http", "ws")}
        edge = {"agent_id": None, "user_phone": "+13105550100"}
        quick: dict[str, Any] = {"timing": {"portal_min_wait": 0.05}, "backoff": {"base_seconds": 0.05, "cap_seconds": 0.05}}
        async with living(config(tmp_path, stub.url, backend=urls, edge=edge, **quick)) as here:
            for answer, sentence in NONSENSE:
                said = len(here.said(re.escape(sentence)))
                answers.append(http_answer(json.dumps(answer).encode()))
                await here.hears(re.escape(sentence), said + 1)
                assert here.now.agent_id is None
            answers.append(http_answer(json.dumps({"edge_agent_id": "mac-9", "auth_token": SECRET}).encode()))
            assert (await here.online()).agent_id == "mac-9"


async def test_an_hmac_token_lets_in_too(tmp_path: Path) -> None:
    edge = {"user_phone": "+13105550100", "agent_id": AGENT}
    async with served() as backend, living(config(tmp_path, backend.url, auth={"mode": "hmac_token"}, edge=edge)) as here:
        await here.online()
        await settled(backend, await backend.queue(AGENT, "send_message_now", message()))


async def test_commands_queued_before_the_start_come_by_the_drain_sync(tmp_path: Path) -> None:
    async with served() as backend:
        names = [await backend.queue(AGENT, "send_message_now", message(f"early {number}")) for number in range(3)]
        async with living(config(tmp_path, backend.url, backend={"polling": "auto", "sync_interval_seconds": 300})) as here:
            await here.online()
            orders = await settled(backend, *names)
            assert sum(order.pushed for order in orders) == 0
            assert here.sent() == ["early 0", "early 1", "early 2"]


async def test_polling_modes_of_the_operator(tmp_path: Path) -> None:
    async with served() as backend, FaultProxy(backend.port) as proxy:
        urls = {"websocket_url": proxy.socket_url}
        async with living(config(tmp_path, backend.url, backend=urls)) as here:
            await here.online()
            here.post(PollingModeChosen(PollingMode.ALWAYS))
            await here.until(lambda s: s.polling.active and s.link.phase is Phase.ONLINE)
            polls = backend.hub.counts["syncs"]
            await until(lambda: backend.hub.counts["syncs"] >= polls + 2)
            here.post(PollingModeChosen(PollingMode.NEVER))
            await here.until(lambda s: not s.polling.active and not s.polling.in_flight)
            await proxy.refuse()
            await here.reaches(Phase.WAITING)
            polls = backend.hub.counts["syncs"]
            await for_a_while(0.5, lambda: backend.hub.counts["syncs"] == polls)
            here.post(PollingModeChosen(PollingMode.AUTO))
            await until(lambda: backend.hub.counts["syncs"] > polls)


async def test_the_operators_reconnect_dials_at_once_and_never_twice(tmp_path: Path) -> None:
    async with served() as backend, FaultProxy(backend.port) as proxy:
        slow = {"base_seconds": 60, "cap_seconds": 60, "jitter": "none"}
        urls = {"websocket_url": proxy.socket_url}
        async with living(config(tmp_path, backend.url, backend=urls, backoff=slow)) as here:
            await here.online()
            here.post(ReconnectRequested())
            await here.until(lambda s: s.link.sessions == 2 and s.link.phase is Phase.ONLINE)
            assert here.now.link.last_drop is not None
            assert here.now.link.last_drop.cause is Cause.OPERATOR
            await proxy.refuse()
            await here.reaches(Phase.WAITING)
            await proxy.listen()
            for _ in range(100):
                here.post(ReconnectRequested())
            await here.online()
            await for_a_while(0.3, lambda: proxy.open <= 1)
            assert len(proxy.dialled_at) <= 4


async def test_the_limits_of_a_strict_backend_are_kept(tmp_path: Path) -> None:
    async with served(rules=Rules(limits=PROTOCOL_LIMITS)) as backend:
        pings = {"ping_interval_seconds": 30, "pong_timeout_seconds": 10}
        async with living(config(tmp_path, backend.url, websocket=pings, timing={"ack_ping_interval": 12})) as here:
            await here.online()
            names = [await backend.queue(AGENT, "send_message_now", message(f"{number}")) for number in range(50)]
            await settled(backend, *names)
            await for_a_while(0.3, lambda: here.phase is Phase.ONLINE)
            assert here.now.link.dials == 1


@pytest.mark.parametrize(("faults", "way"), [
    (Faults(upgrade_status=503, ack_status=404), AckWay.HTTP),
    (Faults(upgrade_status=503, ack_status=405, old_ack_status=404), AckWay.PENDING_EVENTS),
])  # fmt: skip
async def test_acks_find_the_way_that_the_backend_has(tmp_path: Path, faults: Faults, way: AckWay) -> None:
    async with served() as backend:
        backend.faults = faults
        async with living(config(tmp_path, backend.url)) as here:
            orders = await settled(backend, *[await backend.queue(AGENT, "send_message_now", message(f"{n}")) for n in range(3)])
            assert {order.acks[0].way for order in orders} == {way}
            await here.until(lambda s: s.commands.proven == 3)
            assert len(here.sent()) == 3


async def test_a_schedule_is_kept_fired_and_acknowledged_twice(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        due = backend.clock.now().utc + 1.2
        name = await backend.queue(AGENT, "schedule_message", message("later", schedule_id="s1", send_at=due))
        await until(lambda: backend.hub.order(name).status is Status.RECEIVED)
        await here.until(lambda s: s.scheduled_count == 1)
        (order,) = await settled(backend, name)
        assert [ack.verdict for ack in order.acks] == [Status.RECEIVED, Status.COMPLETED]
        assert order.settled_utc is not None
        assert order.settled_utc >= due
        assert here.sent() == ["later"]


async def test_settings_from_the_backend_are_applied_or_refused_by_name(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        await backend.configure(AGENT, {"sync_interval": 20, "secret": "x", "ping_interval": 1})
        await here.hears("Settings changed: sync_interval=20")
        await here.hears("Settings refused: .*secret is not one")
        await here.until(lambda s: s.polling.every == 20)


async def test_tls_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    async with served() as backend, FaultProxy(backend.port, tls=tls) as proxy:
        url = f"https://localhost:{proxy.port}"
        early = await backend.queue(AGENT, "send_message_now", message("by https"))
        async with living(config(tmp_path, url)) as here:
            await here.online()
            assert here.now.socket_url.startswith("wss://localhost")
            await settled(backend, early, await backend.queue(AGENT, "send_message_now", message("by wss")))
            proxy.cut()
            await here.until(lambda s: s.link.sessions == 2)
            assert sorted(here.sent()) == ["by https", "by wss"]


async def test_a_trust_store_that_is_put_right_counts_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    async with (
        served() as backend, FaultProxy(backend.port, tls=tls) as proxy,
        living(config(tmp_path, f"https://localhost:{proxy.port}", websocket={"enabled": False})) as here,
    ):  # fmt: skip
        await here.until(lambda s: s.polling.failures > 1)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        await settled(backend, await backend.queue(AGENT, "send_message_now", message("by https")))


# --- P10, P13, P14 -----------------------------------------------------------------------------------------------------


async def test_p10_fifty_reconnects_leave_nothing_behind(tmp_path: Path) -> None:
    swift: dict[str, Any] = {"timing": {"stable_after": 0.05}, "backoff": {"base_seconds": 0.05, "cap_seconds": 0.05, "jitter": "none"}}
    async with served() as backend, FaultProxy(backend.port) as proxy:
        arguments = write_config(tmp_path, proxy.url, **swift)
        async with program("--no-ui", *arguments, cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            for number in range(50):
                connects = backend.hub.counts["connects"]
                proxy.cut(gently=number % 2 == 0)
                await until(above(connects, lambda: backend.hub.counts["connects"]))
                await settled(backend, await backend.queue(AGENT, "send_message_now", message(f"{number}")))
            descriptors, threads = descriptors_of(agent.pid), threads_of(agent.pid)
            report(f"after 50 reconnects: {descriptors} descriptors, {threads} threads")
            assert descriptors <= 32
            assert threads <= 16


async def test_p10_no_task_outlives_its_socket_or_its_agent(tmp_path: Path) -> None:
    swift: dict[str, Any] = {"timing": {"stable_after": 0.05}, "backoff": {"base_seconds": 0.05, "cap_seconds": 0.05, "jitter": "none"}}
    async with served() as backend, FaultProxy(backend.port) as proxy:
        before = {task.get_name() for task in asyncio.all_tasks()}
        async with living(config(tmp_path, backend.url, backend={"websocket_url": proxy.socket_url}, **swift)) as here:
            for session in range(1, 11):
                await here.session(session)
                proxy.cut()
            await here.until(lambda s: s.link.sessions == 11 and not s.polling.in_flight)
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert len([name for name in names if re.match("socket-|sender-", name)]) == 2
            assert not [name for name in names if re.match("poll-|post-acks|register", name)]
        left = [task.get_name() for task in asyncio.all_tasks()]
        assert not [name for name in left if re.match("agent|socket-|sender-|poll-|command-|post-acks", name) and name not in before]


async def test_p13_the_secret_is_nowhere(tmp_path: Path) -> None:
    echoing = json.dumps({"type": "error", "data": {"message": f"your bearer {SECRET} is odd"}})
    async with served() as backend:
        async with program("--no-ui", *write_config(tmp_path, backend.url, logging={"level": "DEBUG"}), cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            await backend.say(AGENT, echoing)
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()), await backend.queue(AGENT, "odd", {}))
            await agent.hears("The backend says: your bearer")
            await backend.close_links(4001, f"bad token {SECRET}")
            await agent.hears("closed by the backend: 4001")
            backend.faults = Faults(upgrade_status=401, sync_status=401, upgrade_body=SECRET, sync_body=SECRET)
            await agent.hears("HTTP polling failed")
            backend.faults = Faults()
            await agent.hears("real-time mode", 2)
            shown = argv_of(agent.pid)
            agent.process.terminate()
            assert await agent.ends() == 0
        assert SECRET.encode() not in shown
        assert SECRET not in "\n".join(agent.out + agent.err)
        files = files_below(tmp_path)
        assert {"edge-console.log", "ledger.sqlite3"} <= files.keys()
        assert [name for name, content in files.items() if SECRET.encode() in content] == []


async def test_p13_nor_in_what_a_console_would_show(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        await backend.say(AGENT, json.dumps({"type": "error", "data": {"message": f"odd bearer {SECRET}"}}))
        await here.hears("The backend says")
        await backend.close_links(4001, f"bad token {SECRET}")
        await here.hears("closed by the backend: 4001")
        await here.reaches(Phase.REFUSED, Phase.CONNECTING, Phase.ONLINE)
        assert SECRET not in repr(here.agent.feed.since(0))
        assert SECRET not in repr(here.now)
        assert SECRET not in repr(here.agent.config)
        assert SECRET not in repr(here.lines)


HOSTILE = "\x1b]52;c;QQ==\x07\x1b[2J\x9b31m\u202e\u2066\u200b\ufeff\r\n[INFO] forged [/bold] \x00"


async def test_p14_hostile_text_reaches_no_line_as_it_is(tmp_path: Path) -> None:
    frames: list[dict[str, Any]] = [
        {"type": "command", "data": {"command_id": f"bad{HOSTILE}", "command_type": "send_message", "payload": {}}},
        {"type": "command", "data": {"command_id": "h1", "command_type": f"do{HOSTILE}", "payload": {}}},
        {"type": "command", "data": {"command_id": "h2", "command_type": "send_message_now", "payload": message(HOSTILE, f"t{HOSTILE}")}},
        {"type": "command", "data": {"command_id": "h3", "command_type": "cancel_message", "payload": {"schedule_id": HOSTILE}}},
        {"type": "command", "data": {"command_id": "h4", "command_type": "update_config", "payload": {HOSTILE: 1}}},
        {"type": "command", "data": {"command_id": "h5", "command_type": "send_message_now", "payload": message(), "priority": HOSTILE}},
        {"type": "command", "data": {"command_id": "h6", "command_type": "send_message_now", "payload": message(), "timestamp": HOSTILE}},
        {"type": f"odd{HOSTILE}"},
        {"type": "error", "data": {"message": HOSTILE}},
        {"type": "config_update", "data": {HOSTILE: HOSTILE, "log_level": HOSTILE}},
        {"type": "ping", "data": {HOSTILE: HOSTILE}},
    ]
    async with served() as backend:
        async with program("--no-ui", *write_config(tmp_path, backend.url, logging={"level": "DEBUG"}), cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            for frame in frames:
                await backend.say(AGENT, json.dumps(frame))
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
            await backend.close_links(4001, HOSTILE[:60])
            await agent.hears("closed by the backend: 4001")
            poisoned = json.dumps({"commands": [frames[0]["data"]]})
            backend.faults = Faults(upgrade_status=500, upgrade_body=HOSTILE, sync_status=200, sync_body=poisoned)
            await agent.hears("Malformed command in a sync answer")
            agent.process.terminate()
            assert await agent.ends() == 0
        written = [files_below(tmp_path)["edge-console.log"], "\n".join(agent.out + agent.err).encode()]
        assert control_bytes(written) == []
        assert all(re.match(r"\[\d{4}-\d\d-\d\dT[\d:.]+Z\] \[(DEBUG|INFO|WARNING|ERROR)\] \S", line) for line in agent.out)
        assert ack_of(backend.hub.order(backend.hub.orders(AGENT)[0].command_id))["success"] is True
