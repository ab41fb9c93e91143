"""The fault matrix (PROMISES §3) on real sockets, with the timers scaled down; the defaults are checked in virtual time elsewhere."""

import asyncio
import gzip
import json
import re
import signal
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.utils import accept_key

from agent_core.agent import Agent
from agent_core.channels.credentials import Credentials
from agent_core.channels.websocket import WebSocketChannel
from agent_core.clock import SystemClock
from agent_core.entries import EffectClass, Trait
from agent_core.events import Event, Failure, Lost, Opened, ReconnectRequested
from agent_core.frames import Command
from agent_core.handlers import REGISTRY, handles
from agent_core.messengers import Context
from agent_core.records import Outcome
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Rules
from agent_core.reference.orders import AckWay, Status
from agent_core.reference.server import BackendThread, ReferenceBackend
from agent_core.snapshot import Cause, Phase
from tests.harness.faultproxy import FaultProxy, Way
from tests.harness.rig import (
    AGENT,
    QUICK_EARS,
    SECRET,
    HttpStub,
    Living,
    Puppet,
    above,
    ack_of,
    config,
    for_a_while,
    http_answer,
    living,
    message,
    options,
    program,
    served,
    settled,
    until,
    write_config,
)

BACK_AT_ONCE = {"timing": {"stable_after": 0.05}, "backoff": {"base_seconds": 0.05, "cap_seconds": 0.05, "jitter": "none"}}


@dataclass
class Scene:
    """An agent whose socket goes through a proxy, and whose calls go straight to the backend."""

    backend: ReferenceBackend
    proxy: FaultProxy
    here: Living

    async def sends(self, text: str) -> None:
        """A message gets through, whatever way."""
        await settled(self.backend, await self.backend.queue(AGENT, "send_message_now", message(text)))
        assert self.here.sent().count(text) == 1


@asynccontextmanager
async def scene(tmp_path: Path, *, rules: Rules | None = None, **sections: Any) -> AsyncIterator[Scene]:
    more = {"rules": rules} if rules else {}
    async with served(**more) as backend, FaultProxy(backend.port) as proxy:
        url = {"websocket_url": proxy.socket_url} | sections.pop("backend", {})
        async with living(config(tmp_path, backend.url, backend=url, **sections)) as here:
            yield Scene(backend, proxy, here)


# --- the backend is away, or goes ------------------------------------------------------------------------------------


async def test_f1_backend_down_at_start(tmp_path: Path) -> None:
    async with served() as backend:
        await backend.down()
        name = await backend.queue(AGENT, "send_message_now", message("early"))
        async with living(config(tmp_path, backend.url)) as here:
            await here.hears("Scheduling WebSocket reconnect", 3)
            await here.hears("HTTP polling failed")
            await backend.up()
            await here.online()
            await settled(backend, name)
            assert here.sent() == ["early"]


async def test_f2_the_poll_that_works_again_is_a_hint_to_dial(tmp_path: Path) -> None:
    patient = {"base_seconds": 60, "cap_seconds": 60, "jitter": "none"}
    async with served() as backend, living(config(tmp_path, backend.url, backoff=patient)) as here:
        await here.online()
        await backend.down()
        await here.hears("reconnect attempt 1/10 in 60000ms")
        await here.hears("HTTP polling failed")
        await backend.up()
        await here.online()
        assert here.now.link.dials == 2


@pytest.mark.parametrize("gently", [False, True])
async def test_f3_cut_mid_session(tmp_path: Path, *, gently: bool) -> None:
    async with scene(tmp_path) as at:
        await at.here.online()
        await at.proxy.refuse()
        await at.proxy.listen()
        at.proxy.cut(gently=gently)
        await at.here.until(lambda s: s.link.last_drop is not None)
        drop = at.here.now.link.last_drop
        assert drop is not None
        assert drop.cause is Cause.NETWORK
        assert drop.lifetime is not None
        await at.here.until(lambda s: s.link.sessions == 2)
        assert len(at.here.said("Command delivery: HTTP polling")) == 2
        await at.sends("after")


async def test_f4_closed_by_the_backend(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for count, code in enumerate((1000, 1001, 1011), 1):
            await at.here.session(count)
            polls = at.backend.hub.counts["syncs"]
            await at.backend.close_links(code, "bye")
            await at.here.hears(f"WebSocket error: closed by the backend: {code} bye")
            await until(above(polls, lambda: at.backend.hub.counts["syncs"]))
        await at.here.online()
        await at.sends("after")


async def test_f5_1012_on_every_connect_is_no_storm(tmp_path: Path) -> None:
    minute = 0.6
    ladder = {"base_seconds": 0.05, "cap_seconds": minute, "floor_seconds": 0.05}
    async with scene(tmp_path, backoff=ladder, timing={"restart_within": 0.06}) as at:
        at.backend.faults = Faults(close_code=1012)
        await for_a_while(2.5 * minute, lambda: at.here.phase is not Phase.ONLINE or len(at.proxy.dialled_at) == 1)
        assert at.proxy.dials_in_any(minute) <= 14
        assert len([t for t in at.proxy.dialled_at if t > at.proxy.dialled_at[0] + minute]) <= 16
        at.backend.faults = Faults()
        await at.here.online()


async def test_f6_1013_waits_as_for_a_busy_backend(tmp_path: Path) -> None:
    async with scene(tmp_path, timing={"busy_first": 0.4}) as at:
        at.backend.faults = Faults(close_code=1013)
        line = await at.here.hears(r"reconnect attempt 1/10 in (\d+)ms")
        assert 400 <= int(line.rsplit(" ", 1)[1].removesuffix("ms")) <= 440
        at.backend.faults = Faults()
        await at.here.online()


async def test_f7_accept_then_close_for_ever(tmp_path: Path) -> None:
    ladder = {"base_seconds": 0.05, "cap_seconds": 0.6, "floor_seconds": 0.05}
    async with served() as backend, Puppet(greet=True, close_after=0.05) as puppet:
        urls = {"websocket_url": puppet.socket_url}
        async with living(config(tmp_path, backend.url, backend=urls, backoff=ladder, timing={"stable_after": 30})) as here:
            await for_a_while(1.5, lambda: True)
            assert 3 <= puppet.links <= 14 + 16
            await settled(backend, await backend.queue(AGENT, "send_message_now", message("polled")))
            assert here.now.link.dials <= 30


async def test_f8_401_on_both_ways_then_let_in(tmp_path: Path) -> None:
    waits = {"refused_first": 0.3, "refused_cap": 0.8}
    async with scene(tmp_path, timing=waits) as at:
        at.backend.faults = Faults(upgrade_status=401, sync_status=401)
        await at.backend.close_links(1000)
        await at.here.reaches(Phase.REFUSED)
        name = await at.backend.queue(AGENT, "send_message_now", message("held"))
        await at.here.until(lambda s: s.link.attempt >= 3)
        assert at.backend.hub.counts["connects_refused"] <= 4
        assert at.backend.hub.counts["syncs_refused"] <= 5
        assert at.here.now.link.last_drop is not None
        assert at.here.now.link.last_drop.cause is Cause.AUTH
        at.backend.faults = Faults()
        dials = at.here.now.link.dials
        await at.here.reaches(Phase.REFUSED)
        at.here.post(ReconnectRequested())
        await at.here.until(lambda s: s.link.dials > dials, within=1.0)
        await at.here.online()
        await settled(at.backend, name)
        assert at.here.sent() == ["held"]


async def test_f9_refused_by_status_or_code(tmp_path: Path) -> None:
    async with scene(tmp_path, timing={"refused_first": 0.05, "refused_cap": 0.1}) as at:
        for count, faults in enumerate((Faults(upgrade_status=403), *(Faults(close_code=code) for code in (4401, 1008, 4001)))):
            await at.here.online()
            at.backend.faults = faults
            at.proxy.cut()
            await at.here.reaches(Phase.REFUSED)
            await at.sends(f"polled {count}")
            at.backend.faults = Faults()
        await at.here.online()
        assert dict(at.here.now.link.drops)[Cause.AUTH] >= 4


async def test_f10_429_with_retry_after_is_obeyed_on_both_ways(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=429, upgrade_retry_after=1, sync_status=429, sync_retry_after=1)
        async with living(config(tmp_path, backend.url)) as here:
            line = await here.hears(r"reconnect attempt 1/10 in \d+ms")
            assert 1_000 <= int(line.rsplit(" ", 1)[1].removesuffix("ms")) <= 1_100
            await until(lambda: backend.hub.counts["syncs_refused"] == 1)
            began = time.monotonic()
            backend.faults = Faults()
            await backend.until(lambda hub: hub.counts["syncs"] >= 1)
            assert time.monotonic() - began >= 0.5, "a poll waits as long as it was told to"
            await here.online()


ODD_HEADS = (
    ("503 Busy", "Retry-After: 1", "Retry-After: 2"), ("503 Busy", "Retry-After: \u00b2"), ("429 Many", "Retry-After: " + "9" * 40),
    ("503 Busy", "Retry-After: Mon, 01 Jan 0001 00:00:00 +2359"), ("503 Busy", "Retry-After: Fri, 31 Dec 9999 23:59:59 -9999"),
    ("302 Found", "Location: http://a", "Location: http://b"), ("401 No", "WWW-Authenticate: \xff\xfe"), ("200 OK", "Content-Length: 5"),
    ("101 Switching Protocols", *["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: x"] * 2),
)  # fmt: skip


@pytest.mark.parametrize("head", ODD_HEADS)
async def test_f11_f13_odd_headers_end_one_attempt_and_nothing_else(tmp_path: Path, head: tuple[str, ...]) -> None:
    stub = HttpStub(lambda _path: http_answer(b"x", *head))
    async with stub, living(config(tmp_path, stub.url, timing={"busy_cap": 0.2})) as here:
        await here.hears("WebSocket error: ", 2)
        await here.hears("HTTP polling failed: ")


async def test_f11_http_errors_climb_the_normal_ladder(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=404)
        steps = {"base_seconds": 0.05, "cap_seconds": 0.1, "jitter": "none"}
        async with living(config(tmp_path, backend.url, backoff=steps)) as here:
            await here.hears("reconnect attempt 1/10 in 50ms")
            for number, status in enumerate((408, 426, 500, 502, 503, 530), 2):
                backend.faults = Faults(upgrade_status=status)
                await here.hears(f"WebSocket error: HTTP {status}")
                await here.hears(f"reconnect attempt {number}/10 in 100ms")
            backend.faults = Faults()
            await here.online()


# --- somebody else answers -----------------------------------------------------------------------------------------------


async def test_f12_captive_portal_on_both_ways(tmp_path: Path) -> None:
    page = http_answer(b"<html><script>alert(1)</script>Please log in</html>", "200 OK", "Content-Type: text/html")
    async with HttpStub(lambda _path: page) as portal, living(config(tmp_path, portal.url)) as here:
        await here.reaches(Phase.PORTAL)
        await here.hears("HTTP polling failed: .*not JSON")
        await here.hears("WebSocket error: HTTP 200", 2)
        assert here.now.commands.received == 0
        assert here.sent() == []


async def test_f12_a_redirect_is_never_followed(tmp_path: Path) -> None:
    async with HttpStub(lambda _path: http_answer()) as other:
        statuses = iter(("301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect") * 100)
        async with HttpStub(lambda _path: http_answer(b"", next(statuses), f"Location: {other.url}/edge/sync")) as portal:
            async with living(config(tmp_path, portal.url)) as here:
                await here.reaches(Phase.PORTAL)
                await here.hears("HTTP polling failed: .*HTTP 30")
                await here.hears("WebSocket error: HTTP 30", 2)
                await here.until(lambda s: s.polling.failures >= 2)
            assert any(SECRET in request for request in portal.requests)
            assert other.requests == []


GARBAGE = (
    b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\xff\x00\xff" * 100, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm9wZQ==\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 100_000, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000,
)  # fmt: skip


async def test_f13_garbage_or_an_end_in_the_handshake(tmp_path: Path) -> None:
    quick: dict[str, Any] = {"timing": {"portal_min_wait": 0.05}, "backoff": {"base_seconds": 0.05, "cap_seconds": 0.1}}
    async with scene(tmp_path, **quick) as at:
        await at.here.online()
        for count, answer in enumerate(GARBAGE, 1):
            at.proxy.answer = answer
            at.proxy.cut()
            dials = len(at.proxy.dialled_at)
            await until(above(dials + 1, lambda: len(at.proxy.dialled_at)))
            await at.here.hears(r"WebSocket error: (no WebSocket handshake|the connection was closed during|.*reset)", count)
        at.proxy.answer = None
        await at.here.online()
        await at.sends("after")


async def test_f14_slow_loris_handshake_ends_in_time(tmp_path: Path) -> None:
    await asyncio.gather(*(_slow_loris(tmp_path / str(dripped), dripped) for dripped in (True, False)))


async def _slow_loris(tmp_path: Path, dripped: bool) -> None:
    async with scene(tmp_path, timing={"dial_within": 0.3}) as at:
        await at.here.online()
        at.proxy.swallow = not dripped
        if dripped:
            at.proxy.set(down=Way(drip=(1, 0.03)))
        at.proxy.cut()
        await at.here.hears(r"WebSocket error: no answer in 0\.3 s", 2)
        await until(lambda: at.proxy.open <= 1, "no dial is left open")
        at.proxy.swallow = False
        at.proxy.set(down=Way())
        await at.here.online()
        await at.sends("after")


# --- half-open and slow links --------------------------------------------------------------------------------------------


async def test_f15_two_way_blackhole(tmp_path: Path) -> None:
    async with scene(tmp_path, timing=QUICK_EARS) as at:
        await at.here.online()
        at.proxy.stall()
        await at.here.reaches(Phase.SUSPECT)
        await at.here.until(lambda s: s.link.last_drop is not None)
        assert at.here.now.link.last_drop is not None
        assert at.here.now.link.last_drop.cause is Cause.HALF_OPEN
        await at.sends("polled")
        at.proxy.stall(up=False, down=False)
        await at.here.online()
        await at.sends("pushed")


async def test_f16_one_way_blackhole(tmp_path: Path) -> None:
    await asyncio.gather(*(_one_way(tmp_path / direction, direction) for direction in ("up", "down")))


async def _one_way(tmp_path: Path, direction: str) -> None:
    async with scene(tmp_path, timing=QUICK_EARS) as at:
        await at.here.online()
        at.proxy.stall(up=direction == "up", down=direction == "down")
        await at.here.until(lambda s: s.link.last_drop is not None)
        assert at.here.now.link.last_drop is not None
        assert at.here.now.link.last_drop.cause is Cause.HALF_OPEN
        await at.sends("polled")
        at.proxy.stall(up=False, down=False)
        await at.here.online()
        await at.sends("after")


async def test_f16_a_dead_socket_is_dropped_whatever_is_queued_on_it(tmp_path: Path) -> None:
    async with scene(tmp_path, timing=QUICK_EARS) as at:
        await at.here.online()
        at.proxy.stall(up=True, down=False)
        big = json.dumps({"type": "ping", "data": {"padding": "x" * 500_000}})
        for _ in range(40):
            await at.backend.say(AGENT, big)
        await at.here.until(lambda s: s.link.last_drop is not None)
        await at.sends("polled")
        at.proxy.stall(up=False, down=False)
        await at.here.online()


@pytest.mark.parametrize(("padding", "ears", "words"), [
    (10, QUICK_EARS, "nothing that was sent was answered for"), (200_000, {}, "the backend does not read what it is sent"),
])  # fmt: skip
async def test_f16_f82_a_backend_that_sends_without_reading_is_dropped(
    tmp_path: Path, padding: int, ears: dict[str, float], words: str
) -> None:
    chatter = json.dumps({"type": "ping", "data": {"padding": "x" * padding}})
    async with served() as backend, Puppet(chatter=chatter) as puppet:
        urls = {"websocket_url": puppet.socket_url}
        async with living(config(tmp_path, backend.url, backend=urls, timing=ears)) as here:
            await here.hears(f"WebSocket error: {words}")
            await here.until(lambda s: dict(s.link.drops) == {Cause.HALF_OPEN: 1})
            await settled(backend, await backend.queue(AGENT, "send_message_now", message("polled")))


async def test_f16_a_great_backlog_is_sent_to_a_backend_that_reads(tmp_path: Path) -> None:
    posted: list[Event] = []
    async with Puppet() as puppet:
        where = config(tmp_path, "http://127.0.0.1:1", backend={"websocket_url": puppet.socket_url})
        tasks: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[Any, Any, None], name: str, _failed: Callable[[Failure], Event]) -> asyncio.Task[None]:
            tasks.append(asyncio.create_task(work, name=name))
            return tasks[-1]

        channel = WebSocketChannel(where, Credentials(where), SystemClock(), posted.append, spawn)
        channel.open(1)
        await until(lambda: Opened(1) in posted)
        backlog = tuple(json.dumps({"type": "status", "data": {"padding": "x" * 1_000}}) for _ in range(10_000))
        for texts in (backlog, *((text,) for text in backlog[:100])):
            channel.send(1, texts)
        await until(lambda: len(puppet.frames) == 10_100)
        assert not [event for event in posted if isinstance(event, Lost)]
        channel.abort(1)
        await asyncio.gather(*tasks, return_exceptions=True)


# --- names, certificates, proxies ----------------------------------------------------------------------------------------


async def test_f20_the_first_address_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Happy eyeballs: the first address takes nobody (its queue is full), the second is well."""
    async with served() as backend:
        with deaf_listener("127.0.0.2", backend.port):
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, backend.port)) for host in ("127.0.0.2", "127.0.0.1")]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_names, **_more: found)
            urls = {"websocket_url": f"ws://localhost:{backend.port}"}
            async with living(config(tmp_path, backend.url, backend=urls)) as here:
                await here.online()
                assert here.now.link.dials == 1


async def test_f21_an_unknown_name_is_a_dns_trouble(tmp_path: Path) -> None:
    async with living(config(tmp_path, "https://no-such-host.invalid")) as here:
        await here.hears("WebSocket error: DNS: ", 2)
        await here.hears("HTTP polling failed: .*DNS: ")
        assert here.phase in {Phase.WAITING, Phase.CONNECTING}


@pytest.mark.parametrize(("kind", "words"), [
    ("expired", r"expired certificate; is this machine's clock right\?"),
    ("early", r"not yet valid certificate; is this machine's clock right\?"),
    ("wrong-host", "wrong host: certificate is not valid for 'localhost'"),
    ("strange", "not trusted: nobody known here has signed the certificate"),
    ("self-signed", "self-signed certificate, which nobody here trusts"),
])  # fmt: skip
async def test_f22_a_bad_certificate_is_refused_and_named_and_gets_no_bearer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    trusted, stranger = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    now, day = datetime.now(UTC), timedelta(days=1)
    issued = {
        "expired": lambda: trusted.issue_cert("localhost", not_before=now - 9 * day, not_after=now - day),
        "early": lambda: trusted.issue_cert("localhost", not_before=now + day, not_after=now + 9 * day),
        "wrong-host": lambda: trusted.issue_cert("elsewhere.example"),
        "strange": lambda: stranger.issue_cert("localhost"),
        "self-signed": lambda: trustme.LeafCert(stranger.private_key_pem.bytes(), stranger.cert_pem.bytes(), []),
    }
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued[kind]().configure_cert(tls)
    async with served() as backend, FaultProxy(backend.port, tls=tls) as proxy:
        await backend.queue(AGENT, "send_message_now", message("never"))
        async with living(config(tmp_path, f"https://localhost:{proxy.port}")) as here:
            await here.hears(f"WebSocket error: TLS: {words}")
            await here.hears(f"HTTP polling failed: .*TLS: {words}")
            await here.until(lambda s: s.link.dials >= 2 and s.polling.failures >= 2)
            assert here.now.link.last_drop is not None
            assert here.now.link.last_drop.cause is Cause.TLS
        assert bytes(proxy.received) == b""
        assert backend.hub.counts["connects"] == backend.hub.counts["syncs"] == 0


async def test_f23_proxy_variables_do_not_touch_a_loopback_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with HttpStub(lambda _path: http_answer(b"", "502 Bad Gateway")) as elsewhere, served() as backend:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy", "socks_proxy"):
            monkeypatch.setenv(name, elsewhere.url)
            monkeypatch.setenv(name.upper(), elsewhere.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        early = await backend.queue(AGENT, "send_message_now", message("by http"))
        async with living(config(tmp_path, backend.url)) as here:
            await here.online()
            await settled(backend, early, await backend.queue(AGENT, "send_message_now", message("by socket")))
        assert elsewhere.requests == []


# --- the same command again ----------------------------------------------------------------------------------------------


async def test_f24_the_same_id_three_times_by_socket(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.here.online()
        (order,) = await settled(at.backend, await at.backend.queue(AGENT, "send_message_now", message("once")))
        for acks in (2, 3):
            await at.backend.repeat(order.command_id)
            await until(lambda: order.acks_seen >= acks)  # noqa: B023  (awaited here)
        assert (order.anomalies, at.here.sent()) == (0, ["once"])
        await at.here.until(lambda s: s.commands.duplicates == 2)


async def test_f25_by_socket_and_poll_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path, backend={"polling": "always"}, messenger={"delay_seconds": 0.05}) as at:
        at.backend.faults = Faults(push_twice=True)
        await at.here.online()
        names = [await at.backend.queue(AGENT, "send_message_now", message(f"{number}", f"+1310555{number:04d}")) for number in range(10)]
        for name in names:
            await at.backend.repeat(name, by_poll=True)
        orders = await settled(at.backend, *names)
        await until(lambda: all(order.polled for order in orders))
        await at.here.until(lambda s: s.commands.duplicates >= 20)
        assert sorted(at.here.sent()) == sorted(f"{number}" for number in range(10))
        assert sum(order.anomalies for order in orders) == 0


async def test_f26_again_after_a_restart(tmp_path: Path) -> None:
    async with served() as backend:
        configuration = config(tmp_path, backend.url)
        async with living(configuration) as here:
            await here.online()
            (order,) = await settled(backend, await backend.queue(AGENT, "send_message_now", message("once")))
            await here.until(lambda s: s.commands.proven == 1)
        first = order.acks_seen
        async with living(configuration) as here:
            await here.online()
            await backend.repeat(order.command_id)
            await until(lambda: order.acks_seen == first + 1)
            await here.hears(f"Command {order.command_id} is a duplicate; it is not run again")
            assert (order.anomalies, here.sent()) == (0, ["once"])


async def test_f27_an_ack_into_a_dead_link_arrives_by_the_next_way(tmp_path: Path) -> None:
    async with scene(tmp_path, timing=QUICK_EARS) as at:
        await at.here.online()
        at.proxy.stall(up=True, down=False)
        name = await at.backend.queue(AGENT, "send_message_now", message("acked twice"))
        await at.here.hears(f"Command {name} executed successfully")
        (order,) = await settled(at.backend, name)
        assert order.acks[0].way is AckWay.HTTP
        assert at.here.sent() == ["acked twice"]
        await at.here.until(lambda s: s.commands.proven == 1 and s.commands.outbox == 0)


# --- handlers ------------------------------------------------------------------------------------------------------------


@handles("rig_raises", trait=Trait(EffectClass.EXTERNAL))
async def _raises(command: Command, context: Context) -> Outcome:
    raise RuntimeError("the phone is \x1b[31mon fire")


@handles("rig_raises_at_once", trait=Trait(EffectClass.EXTERNAL))
def _raises_at_once(command: Command, context: Context) -> Outcome:
    raise KeyError("no such thing")


@handles("rig_exits", trait=Trait(EffectClass.EXTERNAL))
async def _exits(command: Command, context: Context) -> Outcome:
    raise SystemExit(0)


@handles("rig_hangs", trait=Trait(EffectClass.EXTERNAL))
async def _hangs(command: Command, context: Context) -> Outcome:
    await asyncio.Event().wait()
    return Outcome()


@handles("rig_blocks", trait=Trait(EffectClass.EXTERNAL))
async def _blocks(command: Command, context: Context) -> Outcome:
    await asyncio.sleep(0)
    time.sleep(float(command.payload["seconds"]))  # noqa: ASYNC251  (that is the fault)
    return Outcome()


@handles("rig_blocks_at_once", trait=Trait(EffectClass.EXTERNAL))
def _blocks_at_once(command: Command, context: Context) -> Outcome:
    time.sleep(float(command.payload["seconds"]))
    return Outcome()


async def test_f30_a_handler_that_raises_hangs_or_exits_is_a_failed_command(tmp_path: Path) -> None:
    ends = {
        "rig_raises": "RuntimeError: the phone is", "rig_raises_at_once": "KeyError", "rig_hangs": "timed out after 0.3 s",
        "rig_exits": "SystemExit",
    }  # fmt: skip
    async with scene(tmp_path, executor={"timeout_seconds": 0.3}) as at:
        await at.here.online()
        for command_type, error in ends.items():
            (order,) = await settled(at.backend, await at.backend.queue(AGENT, command_type, {}))
            assert order.status is Status.FAILED
            assert error in ack_of(order)["error"]
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("command-")])
        assert at.here.now.link.dials == 1
        await at.sends("after")


async def test_f31_a_handler_that_blocks_the_loop_is_named_and_the_link_stays(tmp_path: Path) -> None:
    ears = {"silence_after": 0.5, "probe_within": 0.5, "stall_threshold": 0.5}
    with BackendThread(options()) as thread:
        backend = thread.backend
        async with living(config(tmp_path, backend.url, timing=ears)) as here:
            await here.online()
            for command_type in ("rig_blocks", "rig_blocks_at_once"):
                name = thread.call(backend.queue(AGENT, command_type, {"seconds": 0.8}))
                await here.hears(f"Command {name} executed successfully")
                await here.hears(rf"{name} \({command_type}\) held up the agent for \d\.\d s")
            thread.call(backend.queue(AGENT, "send_message_now", message("after")))
            await until(lambda: here.sent() == ["after"])
            assert (here.now.link.dials, here.now.link.sessions) == (1, 1)


async def test_f30_a_command_of_a_type_that_is_gone_since_fails(tmp_path: Path) -> None:
    async def never(command: Command, context: Context) -> Outcome:
        await asyncio.Event().wait()
        return Outcome()

    handles("rig_gone", trait=Trait(EffectClass.HARMLESS, idempotent=True))(never)
    async with served() as backend:
        configuration = config(tmp_path, backend.url, timing={"stop_within": 0.1})
        async with living(configuration) as here:
            await here.online()
            name = await backend.queue(AGENT, "rig_gone", {})
            await here.until(lambda s: s.commands.running == 1)
        del REGISTRY["rig_gone"]
        async with living(configuration):
            (order,) = await settled(backend, name)
            assert ack_of(order)["error"] == "unsupported_command_type: rig_gone"


# --- frames and bodies ---------------------------------------------------------------------------------------------------

LOOKS_RIGHT = {"command_id": "ok", "command_type": "send_message_now", "payload": message("still here")}
ODD_FRAMES: list[str | bytes] = [
    b"\xff\xfe\x00", b"\x80", "", " ", "null", "[]", "[[[[", "true", "7", '"text"', "NaN", "{", '{"type":7}', "{}", '{"type":null}',
    '{"type":"command"}', '{"type":"command","data":null}', '{"type":"command","data":[]}', '{"type":"command","data":{"command_id":""}}',
    '{"type":"command","data":{"command_id":true,"command_type":"send_message"}}', '{"type":"command","data":{"command_id":1.5}}',
    '{"type":"command","data":{"command_id":' + "9" * 4_000 + ',"command_type":"x"}}',
    '{"type":"command","data":{"command_id":' + "9" * 9_000 + ',"command_type":"x"}}',
    '{"type":"command","data":{"command_id":"' + "x" * 201 + '"}}', '{"type":"command","data":{"command_id":"\\ud800"}}',
    '{"type":"pong"}', '{"type":"pong","data":{"seq":"x"}}',
    '{"type":"pong","data":{"seq":' + "9" * 4_000 + "}}", '{"type":"pong","data":{"seq":-1}}',
    '{"type":"ping","data":7}', '{"type":"config_update","data":"x"}', '{"type":"error"}', '{"type":"error","data":{"message":{"a":[1]}}}',
    '{"type":"' + "t" * 10_000 + '"}', "[" * 100_000, '{"a":' * 50_000, '{"type":"x","data":' + "[" * 5_000 + "]" * 5_000 + "}",
    json.dumps({"type": "command", "data": {"command_id": "c\u0000d", "command_type": "x"}}), '\ufeff{"type":"ping"}',
]  # fmt: skip
INVALID_COMMANDS: list[dict[str, Any]] = [
    {"command_id": "i1"}, {"command_id": "i2", "command_type": 7},
    {"command_id": "i3", "command_type": "no_such_type", "payload": {}},
    {"command_id": "i4", "command_type": "send_message_now", "payload": []},
    {"command_id": "i5", "command_type": "send_message_now", "payload": "x"},
    {"command_id": "i6", "command_type": "send_message_now", "payload": {"thread_id": "t"}},
    {"command_id": "i7", "command_type": "send_message_now", "payload": {"text": "x"}},
    {"command_id": "i8", "command_type": "send_message_now", "payload": {"text": 7, "thread_id": {}}},
    {"command_id": "i9", "command_type": "schedule_message", "payload": message(send_at="tomorrow")},
    {"command_id": "i10", "command_type": "schedule_message", "payload": message(send_at=1e300)},
    {"command_id": "i11", "command_type": "cancel_message", "payload": {}},
    {"command_id": "i12", "command_type": "update_config", "payload": {"x": {}}},
    {"command_id": "i13", "command_type": "", "payload": {}}, {"command_id": "i14", "command_type": "x" * 101, "payload": {}},
]  # fmt: skip


@asynccontextmanager
async def puppet_scene(tmp_path: Path, **sections: Any) -> AsyncIterator[tuple[Puppet, Living]]:
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(served())
        puppet = await stack.enter_async_context(Puppet())
        urls = {"websocket_url": puppet.socket_url}
        here = await stack.enter_async_context(living(config(tmp_path, backend.url, backend=urls, **sections)))
        await here.online()
        yield puppet, here


async def test_f33_commands_that_are_wrong_get_a_failed_ack(tmp_path: Path) -> None:
    async with puppet_scene(tmp_path) as (puppet, here):
        for command in INVALID_COMMANDS:
            await puppet.say(json.dumps({"type": "command", "data": command}))
        extra = {"unknown": {"deep": [1]}, "payload": message("extra", deep={"a": []}), "priority": "whatever", "timestamp": "never"}
        await puppet.say(json.dumps({"type": "command", "data": LOOKS_RIGHT | extra, "also": True}))
        await until(lambda: len(puppet.acks()) == len(INVALID_COMMANDS) + 1, f"{puppet.acks().keys()}")
        acks = puppet.acks()
        assert {name for name, ack in acks.items() if ack["success"]} == {"ok"}
        assert all(acks[command["command_id"]]["error"] for command in INVALID_COMMANDS)
        assert acks["i3"]["error"] == "unsupported_command_type: no_such_type"
        assert here.sent() == ["extra"]
        assert here.now.link.dials == 1


async def test_f34_frames_that_are_none_are_counted_and_the_link_stays(tmp_path: Path) -> None:
    async with puppet_scene(tmp_path) as (puppet, here):
        for frame in ODD_FRAMES:
            await puppet.say(frame)
        await puppet.say(json.dumps({"type": "command", "data": LOOKS_RIGHT}).encode(), "last words")
        await until(lambda: "ok" in puppet.acks())
        await here.hears("Malformed frame ignored: not JSON")
        assert here.sent() == ["still here"]
        assert here.now.link.dials == 1
        await here.until(lambda s: s.commands.malformed >= 25)


async def test_f34_an_unknown_type_is_said_once(tmp_path: Path) -> None:
    async with puppet_scene(tmp_path) as (puppet, here):
        for _ in range(20):
            await puppet.say('{"type":"novelty"}', '{"type":"command","data":7}')
        await puppet.say(json.dumps({"type": "command", "data": LOOKS_RIGHT}))
        await until(lambda: "ok" in puppet.acks())
        assert len(here.said("Unknown frame type ignored: novelty")) == 1


async def test_f35_a_frame_of_ten_mebibytes_closes_1009_and_the_link_comes_back(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.here.online()
        before = await at.backend.queue(AGENT, "send_message_now", message("before"))
        await at.backend.say(AGENT, json.dumps({"type": "command", "data": {"command_id": "big", "padding": "x" * (10 * 2**20)}}))
        await at.here.hears("closed by this agent: 1009")
        await at.here.until(lambda s: s.link.sessions == 2)
        await settled(at.backend, before)
        await at.sends("after")
        assert at.here.now.link.last_drop is not None
        assert at.here.now.link.last_drop.cause is Cause.PROTOCOL


BODIES = (
    (200, " " * (5 * 2**20)), (200, "<html>"), (200, ""), (200, "[]"), (200, "null"), (200, '{"commands":7,"ack_events":{}}'), (204, ""),
    (500, "x"), (502, "<html>"), (404, ""), (200, '{"commands":[7,null,{}],"ack_events":[null,1.5,{}],"config_updates":[]}'),
)  # fmt: skip


async def test_f36_a_poll_fails_alone(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = down = Faults(upgrade_status=503)
        async with living(config(tmp_path, backend.url, backend={"sync_interval_seconds": 0.05})) as here:
            for number, (status, body) in enumerate(BODIES):
                backend.faults = Faults(upgrade_status=503, sync_status=status, sync_body=body)
                polls = here.now.polling.polls
                await until(above(polls + 1, lambda: here.now.polling.polls))
                backend.faults = down
                await settled(backend, await backend.queue(AGENT, "send_message_now", message(f"poll {number}")))
            assert here.sent() == [f"poll {number}" for number in range(len(BODIES))]
            assert here.now.polling.failures >= len(BODIES) // 2


async def test_f36_a_dripped_answer_has_a_total_deadline(tmp_path: Path) -> None:
    async with served() as backend, FaultProxy(backend.port) as proxy:
        backend.faults = Faults(upgrade_status=503)
        proxy.set(down=Way(drip=(1, 0.05)))
        urls = {"websocket_url": backend.url.replace("http", "ws")}
        async with living(config(tmp_path, proxy.url, backend=urls, timing={"poll_within": 0.5})) as here:
            await here.hears(r"HTTP polling failed: .*no answer in 0\.5 s")
            proxy.set(down=Way())
            await settled(backend, await backend.queue(AGENT, "send_message_now", message("next poll")))


async def test_f36_a_compressed_bomb_is_neither_asked_for_nor_opened(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (40 * 2**20), 9)
    answer = http_answer(bomb, "200 OK", "Content-Encoding: gzip", "Content-Type: application/json")
    stub = HttpStub(lambda path: answer if "sync" in path else http_answer(b"", "503 Unavailable"))
    async with stub, living(config(tmp_path, stub.url)) as here:
        await here.hears("HTTP polling failed")
        polls = [request for request in stub.requests if "/edge/sync" in request]
        assert all(re.search(r"(?i)accept-encoding: identity\r\n", request) for request in polls)
        assert here.now.commands.received == 0


async def test_f37_a_cancel_before_its_message_twice_and_after(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.here.online()
        due = at.backend.clock.now().utc + 30

        async def told(command_type: str, payload: dict[str, Any]) -> dict[str, Any]:
            (order,) = await settled(at.backend, await at.backend.queue(AGENT, command_type, payload))
            return ack_of(order)

        assert (await told("cancel_scheduled", {"schedule_id": "early"}))["success"]
        assert "cancelled" in (await told("schedule_message", message("early", schedule_id="early", send_at=due)))["error"]
        planned = await at.backend.queue(AGENT, "schedule_message", message("planned", schedule_id="p", send_at=due))
        await until(lambda: at.backend.hub.order(planned).status is Status.RECEIVED)
        assert (await told("cancel_scheduled", {"schedule_id": "p"}))["success"]
        assert (await told("cancel_scheduled", {"schedule_id": "p"}))["success"]
        await settled(at.backend, planned)
        sent = await told("send_message_now", message("sent"))
        assert "too late" in (await told("cancel_message", {"command_id": sent["command_id"]}))["error"]
        assert at.here.sent() == ["sent"]


# --- rivals --------------------------------------------------------------------------------------------------------------


async def test_f41_a_second_agent_on_the_same_directory_names_the_owner(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program("--no-ui", *arguments, cwd=tmp_path) as first:
            await first.hears("real-time mode")
            async with program("--no-ui", *arguments, cwd=tmp_path) as second:
                assert await second.ends() == 1
                assert second.out == []
                assert len(second.err) == 1
                assert f"in use by the agent with pid {first.pid}" in second.err[0]
            assert first.process.returncode is None
            assert backend.hub.counts["connects"] == 1


async def test_f42_replaced_holds_back_and_does_not_fight(tmp_path: Path) -> None:
    hold = {"replaced_wait": 0.8, "replaced_every": 3.0}
    async with served() as backend, living(config(tmp_path / "a", backend.url, timing=hold)) as first:
        await first.online()
        async with living(config(tmp_path / "b", backend.url, timing=hold)) as second:
            await second.online()
            await first.reaches(Phase.REPLACED)
            connects = backend.hub.counts["connects"]
            await for_a_while(0.5, lambda: backend.hub.counts["connects"] == connects)
            assert second.phase is Phase.ONLINE
            await second.reaches(Phase.REPLACED)
            await first.online()
            connects = backend.hub.counts["connects"]
            await for_a_while(0.5, lambda: backend.hub.counts["connects"] == connects)


async def test_f42_the_closing_code_counts_though_the_socket_is_reset_with_it(tmp_path: Path) -> None:
    async def replace(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", await reader.readuntil(b"\r\n\r\n"))
        assert key is not None
        head = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(key[1].decode())}\r\n\r\n"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + head.encode() + b"\x88\x02" + struct.pack(">H", 4009))
        writer.close()

    server = await asyncio.start_server(replace, "127.0.0.1", 0)
    async with server, living(config(tmp_path, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")) as here:
        await here.reaches(Phase.REPLACED)


# --- the process ---------------------------------------------------------------------------------------------------------


async def test_f45_stopped_and_continued(tmp_path: Path) -> None:
    await asyncio.gather(*(_stopped(tmp_path / peer, peer) for peer in ("alive", "gone")))


async def _stopped(folder: Path, peer: str) -> None:
    folder.mkdir()  # noqa: ASYNC240
    ears = {"silence_after": 0.3, "probe_within": 0.3, "wake_probe_within": 0.8, "stall_threshold": 0.4}
    async with served() as backend, FaultProxy(backend.port) as proxy:
        arguments = write_config(folder, backend.url, timing=ears, backend={"websocket_url": proxy.socket_url})
        async with program("--no-ui", *arguments, cwd=folder) as agent:
            await agent.hears("real-time mode")
            agent.signal(signal.SIGSTOP)
            if peer == "gone":
                proxy.stall()
            await for_a_while(1.2, lambda: True)
            name = await backend.queue(AGENT, "send_message_now", message("meanwhile"))
            agent.signal(signal.SIGCONT)
            await agent.hears("This process was stopped for a while")
            if peer == "gone":
                await agent.hears("WebSocket disconnected")
                await settled(backend, name)
                proxy.stall(up=False, down=False)
                await agent.hears("real-time mode", 2)
            else:
                await settled(backend, name)
                await for_a_while(0.9, lambda: backend.hub.counts["connects"] == 1 and not agent.said("disconnected"))


async def test_f46_a_core_task_that_dies_ends_the_agent_with_its_error(tmp_path: Path) -> None:
    async with served() as backend:

        def refuse(_lines: object) -> None:
            raise ValueError("no room for a line")

        agent = Agent(config(tmp_path, backend.url), log_to=refuse)
        with pytest.raises(ValueError, match="no room for a line"):
            async with asyncio.timeout(10):
                await agent.run()
        assert not [task for task in asyncio.all_tasks() if re.match("socket-|sender-|poll-|command-", task.get_name())]
        await backend.until(lambda hub: hub.connected(AGENT) is None)


FATAL = """
import sys
from agent_core.handlers import handles
from agent_core.entries import Trait
from console.cli.main import main

class Fatal(BaseException):
    pass

@handles("rig_dies", trait=Trait())
async def dies(command, context):
    raise Fatal("beyond all handlers")

main(sys.argv[1:])
"""


async def test_f46_and_the_process_says_so_and_exits_with_an_error(tmp_path: Path) -> None:
    async with served() as backend, program("--no-ui", *write_config(tmp_path, backend.url), cwd=tmp_path, code=FATAL) as agent:
        await agent.hears("real-time mode")
        await backend.queue(AGENT, "rig_dies", {})
        assert await agent.ends() != 0
        assert "beyond all handlers" in agent.err[-1]


async def test_f52_a_backend_that_ignores_json_pings(tmp_path: Path) -> None:
    await asyncio.gather(*(_ignores_pings(tmp_path / str(greets), greets) for greets in (True, False)))


async def _ignores_pings(tmp_path: Path, greets: bool) -> None:
    waits = {"pong_timeout_seconds": 0.3, "ping_interval_seconds": 0.4}
    async with served(rules=Rules(greet=greets, redeliver_after=5)) as backend:
        backend.faults = Faults(ignore_pings=True)
        async with living(config(tmp_path, backend.url, websocket=waits, timing=QUICK_EARS)) as here:
            await here.online()
            await here.hears("answers no JSON pings; acks are proven by HTTP")
            (order,) = await settled(backend, await backend.queue(AGENT, "send_message_now", message("proven by http")))
            await here.until(lambda s: s.commands.proven == 1)
            assert AckWay.HTTP in {ack.way for ack in order.acks}
            await for_a_while(1.0, lambda: here.now.link.dials == 1)
            assert here.now.link.pings_ignored


async def test_a_deaf_socket_is_noticed_by_the_safety_sync(tmp_path: Path) -> None:
    waits = {"safety_sync_every": 0.4, "probe_within": 0.2}
    async with served() as backend:
        backend.faults = Faults(silent=True)
        async with living(config(tmp_path, backend.url, websocket={"pong_timeout_seconds": 0.3}, timing=waits)) as here:
            await here.online()
            await settled(backend, await backend.queue(AGENT, "send_message_now", message("by the safety sync")))
            await here.hears("The socket is deaf: ")
            backend.faults = Faults()
            await here.until(lambda s: s.link.sessions >= 2 and s.link.phase is Phase.ONLINE)
            await settled(backend, await backend.queue(AGENT, "send_message_now", message("by the new socket")))
            await here.until(lambda s: not s.link.deaf)
            assert here.sent() == ["by the safety sync", "by the new socket"]


# --- what the tests above need of the machine ------------------------------------------------------------------------------


@contextmanager
def deaf_listener(host: str, port: int) -> Iterator[None]:
    """Listens and never takes anybody: with its queue full, a connection neither opens nor fails."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield
