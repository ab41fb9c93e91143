"""Health and metrics by HTTP: what they say, that they say it of a blocked agent, too, and that nobody can keep others out."""

import asyncio
import http.client
import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent_core.config import Config
from agent_core.latency import Rolling
from agent_core.monitoring.health import LATE_AFTER, lives, ready
from agent_core.monitoring.metrics import metrics
from agent_core.monitoring.server import MAX_CONNECTIONS
from agent_core.reference.faults import Faults
from agent_core.snapshot import Cause, LatencyView, LinkView, Phase, PollingView, Snapshot
from tests.harness.rig import AGENT, SECRET, config, living, message, program, served, settled, until, write_config


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def get(port: int, path: str, host: str = "127.0.0.1", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def monitored(tmp_path: Path, url: str, port: int, edge: dict[str, Any] | None = None) -> Config:
    return config(tmp_path, url, monitoring={"port": port}, edge=edge or {"agent_id": AGENT})


# --- what a snapshot says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", Phase)
def test_ready_means_that_a_transport_is_verified(phase: Phase) -> None:
    link = LinkView(phase=phase)
    verified = phase in {Phase.ONLINE, Phase.SUSPECT}
    assert ready(Snapshot(link=link), 10.0) is verified
    assert ready(Snapshot(link=link, polling=PollingView(works_until_at=9.0)), 10.0) is verified, "its answer vouches no longer"
    assert ready(Snapshot(link=link, polling=PollingView(works_until_at=11.0)), 10.0)
    assert not ready(Snapshot(link=link, polling=PollingView(works_until_at=11.0), stopping=True), 10.0)


def test_an_engine_that_does_not_turn_is_dead_within_ten_seconds() -> None:
    assert lives(100.0, 100.0 + LATE_AFTER)
    assert not lives(100.0, 110.0)


def test_the_metrics_are_the_snapshots_figures() -> None:
    took = Rolling()
    for milliseconds in (1.0, 1.0, 100.0):
        took.add(50.0, milliseconds)
    link = LinkView(phase=Phase.WAITING, attempt=3, dials=7, drops=((Cause.DEAF, 2), (Cause.NETWORK, 5)))
    page = metrics(Snapshot(link=link, latency=LatencyView(socket=took.view(50.0))), 50.0).decode()
    samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert samples['edge_console_link_phase{phase="waiting"}'] == "1.0"
    assert samples['edge_console_link_phase{phase="online"}'] == "0.0"
    assert samples["edge_console_link_attempt"] == "3.0"
    assert samples["edge_console_dials_total"] == "7.0"
    assert samples['edge_console_drops_total{cause="deaf"}'] == "2.0"
    assert samples['edge_console_ack_seconds_count{way="socket"}'] == "3.0"
    assert samples['edge_console_ack_seconds_bucket{le="0.001",way="socket"}'] == "2.0"
    assert samples['edge_console_ack_seconds_bucket{le="0.05",way="socket"}'] == "2.0"
    assert samples['edge_console_ack_seconds_bucket{le="0.1",way="socket"}'] == "3.0"
    assert float(samples['edge_console_ack_seconds_sum{way="socket"}']) == pytest.approx(0.102, rel=0.024)
    assert samples["edge_console_ping_seconds_count"] == samples['edge_console_ping_seconds_bucket{le="+Inf"}'] == "0.0"


# --- a running agent -----------------------------------------------------------------------------------------------------


async def test_a_running_agent_tells_how_it_is_and_nothing_personal(tmp_path: Path) -> None:
    port = free_port()
    async with (
        served() as backend,
        living(monitored(tmp_path, backend.url, port, edge={"agent_id": AGENT, "user_phone": "+13105550177"})) as agent,
    ):
        await agent.online()
        done = await backend.queue(AGENT, "send_message_now", message("a private text", thread="+13105550100"))
        await settled(backend, done)
        await agent.until(lambda s: s.commands.completed == 1)
        assert await asyncio.to_thread(get, port, "/live") == (200, "lives\n")
        assert await asyncio.to_thread(get, port, "/ready") == (200, "ready\n")
        told = [(await asyncio.to_thread(get, port, path))[1] for path in ("/live", "/ready", "/health", "/metrics")]
        assert json.loads(told[2])["commands"]["completed"] == 1
        assert "edge_console_commands_completed_total 1.0" in told[3]
        for secret in (SECRET, AGENT, "+1310555", "private", done, str(tmp_path), "127.0.0.1"):
            assert secret not in "".join(told)
        assert (await asyncio.to_thread(get, port, "/nothing"))[0] == 404
        assert (await asyncio.to_thread(get, port, "/health", "evil.example"))[0] == 421
        assert (await asyncio.to_thread(get, port, "/live", method="POST"))[0] == 405
        assert await asyncio.to_thread(get, port, "/live", method="HEAD") == (200, "")
    with pytest.raises(ConnectionRefusedError):
        get(port, "/live")


async def test_not_ready_while_nothing_is_verified_and_alive_throughout(tmp_path: Path) -> None:
    port = free_port()
    async with served() as backend:
        backend.faults = Faults(upgrade_status=503, sync_status=503)
        async with living(monitored(tmp_path, backend.url, port)) as agent:
            await agent.reaches(Phase.WAITING)
            assert (await asyncio.to_thread(get, port, "/ready"))[0] == 503
            assert (await asyncio.to_thread(get, port, "/live"))[0] == 200
            backend.faults = Faults()
            await agent.online()
            assert (await asyncio.to_thread(get, port, "/ready"))[0] == 200


async def test_a_blocked_loop_is_told_of_within_ten_seconds(tmp_path: Path) -> None:
    port = free_port()
    async with served() as backend, living(monitored(tmp_path, backend.url, port)) as agent:
        await agent.online()
        seen: list[int] = []

        def look() -> None:
            end = time.monotonic() + 10
            while time.monotonic() < end and 503 not in seen:
                seen.append(get(port, "/live")[0])
                time.sleep(0.1)

        looking = threading.Thread(target=look)
        looking.start()
        looking.join()  # which blocks the loop of this test, in which the agent lives
        assert seen[0] == 200
        assert seen[-1] == 503
        await until(lambda: agent.agent.turned_at is not None and time.monotonic() - agent.agent.turned_at < 1)
        assert (await asyncio.to_thread(get, port, "/live"))[0] == 200


async def test_half_sent_requests_keep_nobody_out(tmp_path: Path) -> None:
    port = free_port()
    async with served() as backend, living(monitored(tmp_path, backend.url, port)) as agent:
        await agent.online()
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * MAX_CONNECTIONS)]
        for _, writer in idle:
            writer.write(b"GET /live HTTP/1.1\r\nHost:")
        assert (await asyncio.to_thread(get, port, "/live"))[0] == 200
        first, last = idle[0][0], idle[-1]
        assert await first.read() == b"", "the one that waited longest gave way"
        last[1].write(b" localhost\r\n\r\n")
        assert (await last[0].read()).startswith(b"HTTP/1.1 200 OK\r\n")
        long, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /live HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert await long.read() == b""
        for _, open_writer in (*idle, (long, writer)):
            open_writer.close()


async def test_a_port_that_is_taken_costs_nothing_but_the_pages(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with served() as backend, living(monitored(tmp_path, backend.url, taken.getsockname()[1])) as agent:
            await agent.online()


async def test_prometheus_is_imported_with_a_port_alone_and_at_the_first_scrape(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom console.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print('loaded', *sorted({'prometheus_client', 'agent_core.monitoring'} & set(sys.modules)))"
    )
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program("--no-ui", *arguments, "--for", "0.3", cwd=tmp_path, code=code) as agent:
            assert await agent.ends() == 0
            assert re.fullmatch(r"loaded ?", agent.out[-1])
        arguments = write_config(tmp_path, backend.url, monitoring={"port": free_port()})
        async with program("--no-ui", *arguments, "--for", "0.3", cwd=tmp_path, code=code) as agent:
            assert await agent.ends() == 0
            assert agent.out[-1] == "loaded agent_core.monitoring"
