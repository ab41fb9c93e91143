"""What comes from outside ends as an event, whatever it is: no header, no answer and no error of a library ends the agent."""

import asyncio
import gc
import itertools
import json
import signal
import ssl
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from agent_core.channels.credentials import Credentials
from agent_core.channels.network import failure_of, proxy_for, retry_after
from agent_core.clock import ManualClock, Moment, SystemClock
from agent_core.daemon_threads import DaemonThreads
from agent_core.events import Failure, ReconnectRequested, Trouble
from agent_core.reference.faults import Faults
from agent_core.snapshot import Phase
from tests.harness.rig import AGENT, HttpStub, Puppet, config, http_answer, living, message, program, served, settled, until, write_config

SOON = {"busy_first": 0.05, "busy_cap": 0.1, "refused_first": 0.05, "refused_cap": 0.1}


class Panic(BaseException):
    """As what a library in another language may raise."""


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


ERRORS: tuple[BaseException, ...] = (
    RuntimeError("the clock fell off the wall"), OverflowError("Python int too large to convert to C int"), RecursionError("deep"),
    MemoryError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), UnicodeError("label too long"), struct.error("short"),
    ssl.SSLError(1, "[SSL] wrong version"), ssl.CertificateError("odd"), OSError(5, 7), StopAsyncIteration(), Mute(), Panic("at the disco"),
    ExceptionGroup("two", [ValueError("a"), OSError("b")]), BaseExceptionGroup("one", [Panic("inside")]),
)  # fmt: skip


class FlawedClock(SystemClock):
    """Raises one error after the other, each in the next task whose name starts with `victim`."""

    def __init__(self, victim: str) -> None:
        self._victim = victim
        self._seen: set[str] = set()
        self.left = list(ERRORS)

    def now(self) -> Moment:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if self.left and task is not None and task.get_name().startswith(self._victim):
            raise self.left.pop(0)
        return super().now()


# --- F53: the class: one catch at the edge of each task -------------------------------------------------------------------

QUICK = {"base_seconds": 0.05, "cap_seconds": 0.05, "floor_seconds": 0.05}


@pytest.mark.parametrize("victim", ["socket-", "poll-", "post-acks"])
async def test_f46_f53_whatever_a_task_at_the_edge_raises_is_one_failed_attempt(tmp_path: Path, victim: str) -> None:
    clock = FlawedClock(victim)
    async with served() as backend:
        backend.faults = Faults(upgrade_status=503)
        quick = config(tmp_path, backend.url, backend={"sync_interval_seconds": 0.05}, backoff=QUICK, timing=SOON)
        async with living(quick, clock=clock) as here:
            names = [await backend.queue(AGENT, "send_message_now", message()) for _ in ERRORS]
            await until(lambda: not clock.left, "all the errors", 60.0)
            for name in names:
                await settled(backend, name)
            backend.faults = Faults()
            await here.online()
            assert here.said("(WebSocket error|HTTP polling failed): (/edge/sync: )?(Runtime|Overflow)Error: ") or victim == "post-acks"


async def test_f46_f53_a_registration_that_raises_has_failed(tmp_path: Path) -> None:
    clock = FlawedClock("register")
    edge = {"agent_id": None, "register": "always", "user_phone": "+13105550100"}
    async with served() as backend, living(config(tmp_path, backend.url, edge=edge, backoff=QUICK), clock=clock) as here:
        await here.hears("OverflowError: Python int too large")
        await here.hears("Panic: at the disco")
        await here.hears("Registered as ")
        await here.online()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_f53_every_error_has_words(error: BaseException) -> None:
    failure = failure_of(error)
    assert failure.detail
    assert isinstance(failure.detail, str)
    if not isinstance(error, OSError | BaseExceptionGroup):
        assert type(error).__name__ in failure.detail


def test_f53_errors_that_cause_each_other_end_somewhere() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__cause__ = second, first
    assert failure_of(first).detail == "ValueError: first"


# --- F53: the row: Retry-After --------------------------------------------------------------------------------------------

NO_WAIT = (
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "Wed, 99 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 99999999999:28:00 GMT", "-5", "NaN",
    "inf", "1e9", "", ",", "0x10", "\u00b2", "Wed, 21 Oct 2026 07:28:00 +99999999999999999999", "1" * 4_301, "5;6", "5 s",
)  # fmt: skip
A_WAIT = (
    ("120", 120.0), ("1.5", 1.5), ("5, 30", 30.0), ("30,5", 30.0), ("0", 0.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
    ("Thu, 01 Jan 1970 00:01:40 -0000", 90.0), ("Tue, 01 Jan 1901 00:00:00 GMT", 0.0), ("Fri, 31 Dec 9999 23:59:59 -2359", 253402387129.0),
)  # fmt: skip


@pytest.mark.parametrize("value", NO_WAIT)
def test_f53_an_unusable_retry_after_is_none(value: str) -> None:
    assert retry_after([value], 10.0) is None
    assert retry_after([value, "7"], 10.0) == 7.0


@pytest.mark.parametrize(("value", "seconds"), A_WAIT)
def test_f53_a_usable_retry_after_is_a_wait(value: str, seconds: float) -> None:
    assert retry_after([value], 10.0) == seconds


@given(st.lists(st.text() | st.from_regex(r"\w{3}, \d+ (Jan|Oct) \d+ \d+:\d+:\d+ ([+-]\d+|GMT)"), max_size=3))
def test_f53_no_retry_after_raises(values: list[str]) -> None:
    wait = retry_after(values, 1_793_910_600.0)
    assert wait is None or wait >= 0


@pytest.mark.parametrize("value", NO_WAIT[:3])
async def test_f53_an_odd_retry_after_ends_one_attempt_on_each_way(tmp_path: Path, value: str) -> None:
    stub = HttpStub(lambda _path: http_answer(b"x", "503 Busy", f"Retry-After: {value}"))
    async with stub, living(config(tmp_path, stub.url, timing=SOON)) as here:
        await here.hears("WebSocket error: HTTP 503", 2)
        await here.hears("HTTP polling failed: .*HTTP 503")


async def test_f47_a_dial_that_the_stop_overtakes_is_not_begun(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    async with HttpStub(lambda _path: http_answer(b"", "503 Busy")) as stub, living(config(tmp_path, stub.url)) as here:
        await here.reaches(Phase.WAITING)
        here.post(ReconnectRequested())
        await here.stop()
    del here
    gc.collect()
    assert [str(one.message) for one in recwarn if "never awaited" in str(one.message)] == []


# --- F54: an answer that is too deep --------------------------------------------------------------------------------------

DEEP = (
    b"[" * 100_000, b'{"edge_agent_id":' * 50_000, b'{"edge_agent_id":"mac-1","more":' + b"[" * 300 + b"]" * 300 + b"}", b"\xff", b"",
)  # fmt: skip


@pytest.mark.parametrize("body", DEEP)
async def test_f54_a_registration_that_cannot_be_read_has_failed(tmp_path: Path, body: bytes) -> None:
    good = json.dumps({"edge_agent_id": AGENT}).encode()
    answers = [body, body]
    stub = HttpStub(lambda path: http_answer((answers.pop() if answers else good) if path == "/edge/register" else b"{}"))
    edge = {"agent_id": None, "register": "always", "user_phone": "+13105550100"}
    async with stub, living(config(tmp_path, stub.url, edge=edge, timing=SOON)) as here:
        await here.hears("the answer is not JSON", 2)
        await here.hears(f"Registered as {AGENT}")


@pytest.mark.parametrize("body", [b"{" + b"[" * 100_000, *DEEP[:2], *DEEP[3:]])
async def test_f54_a_sync_that_cannot_be_read_fails_alone(tmp_path: Path, body: bytes) -> None:
    async with HttpStub(lambda _path: http_answer(body)) as stub, living(config(tmp_path, stub.url)) as here:
        await here.hears("HTTP polling failed: the answer is not JSON")
        await until(lambda: here.now.polling.failures > 2)


# --- F78: a name lookup that hangs ----------------------------------------------------------------------------------------

HUNG = """
import socket, sys, time
from console.cli.main import main

look_up, asked = socket.getaddrinfo, []

def hang(*names, **more):
    print("asked for a name", flush=True)
    asked.append(names)
    if len(asked) > ANSWERED:
        time.sleep(600)
    return look_up("127.0.0.1", *names[1:], **more)

socket.getaddrinfo = hang
main(sys.argv[1:])
"""


@pytest.mark.parametrize("register", ["auto", "always"])
async def test_f78_a_hung_lookup_keeps_nobody_from_leaving(tmp_path: Path, register: str) -> None:
    edge = {"agent_id": AGENT, "register": register, "user_phone": "+13105550100"}
    arguments = write_config(tmp_path, "https://backend.invalid", edge=edge)
    async with program("--no-ui", *arguments, cwd=tmp_path, code="ANSWERED = 0" + HUNG) as agent:
        await agent.hears("asked for a name", 1 if register == "always" else 2)
        agent.signal(signal.SIGTERM)
        assert await agent.ends() == 0
        assert agent.said("Stopped")


@pytest.mark.parametrize("answered", [0, 2])
async def test_f78_and_the_doctor_tells_of_it_and_ends(tmp_path: Path, answered: int) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url.replace("127.0.0.1", "localhost"))
        async with program("doctor", "--force", *arguments, cwd=tmp_path, code=f"ANSWERED = {answered}" + HUNG) as doctor:
            assert await doctor.ends(60.0) == 1
            assert len(doctor.said("asked for a name")) > answered


async def test_f78_calls_that_hang_cost_no_more_than_their_threads() -> None:
    threads = DaemonThreads(2)
    loop = asyncio.get_running_loop()
    may_go = threading.Event()
    before = threading.active_count()
    hung = [loop.run_in_executor(threads, may_go.wait) for _ in range(20)]
    late = loop.run_in_executor(threads, lambda: "taken in turn")
    failing = loop.run_in_executor(threads, int, "x")
    cancelled = loop.run_in_executor(threads, hung.clear)
    cancelled.cancel()
    await asyncio.sleep(0)
    assert threading.active_count() == before + 2
    may_go.set()
    assert await late == "taken in turn"
    with pytest.raises(ValueError, match="invalid literal"):
        await failing
    assert all(await asyncio.gather(*hung))
    assert len(hung) == 20
    assert await loop.run_in_executor(threads, threading.active_count) == before + 2


# --- F58: a token and a wrong clock ---------------------------------------------------------------------------------------

DAY = 86_400.0
HMAC: dict[str, dict[str, Any]] = {"auth": {"mode": "hmac_token"}, "edge": {"agent_id": AGENT, "user_phone": "+13105550100"}}


def bearer(credentials: Credentials, clock: ManualClock) -> str:
    return credentials.headers(clock.now())["Authorization"]


@pytest.mark.parametrize("step", [-2 * DAY, -3_600.0, 3_600.0, 2 * DAY])
def test_f58_a_clock_that_is_set_makes_a_new_token(tmp_path: Path, step: float) -> None:
    credentials, clock = Credentials(config(tmp_path, "http://127.0.0.1:1", auth=HMAC["auth"], edge=HMAC["edge"])), ManualClock()
    first = bearer(credentials, clock)
    clock.advance(3_600.0)
    clock.utc += 2.0
    assert bearer(credentials, clock) == first
    clock.utc += step
    assert bearer(credentials, clock) != first


@pytest.mark.parametrize(
    ("failure", "renewed"),
    [
        (Failure(Trouble.HTTP, "", 401), True), (Failure(Trouble.HTTP, "", 403), True), (Failure(Trouble.CLOSED, "", 4401), True),
        (Failure(Trouble.CLOSED, "", 1008), True), (Failure(Trouble.HTTP, "", 503), False), (Failure(Trouble.CLOSED, "", 1001), False),
        (Failure(Trouble.TIMEOUT, ""), False),
    ],
)  # fmt: skip
def test_f58_a_refused_token_is_not_shown_again(tmp_path: Path, failure: Failure, *, renewed: bool) -> None:
    credentials, clock = Credentials(config(tmp_path, "http://127.0.0.1:1", auth=HMAC["auth"], edge=HMAC["edge"])), ManualClock()
    first = bearer(credentials, clock)
    clock.advance(60.0)
    credentials.failed(failure)
    assert (bearer(credentials, clock) != first) is renewed


class WrongClock(SystemClock):
    """Off by `off` seconds, and set right by taking that away."""

    off = 2 * DAY

    def now(self) -> Moment:
        moment = super().now()
        return Moment(moment.mono, moment.utc + self.off)


async def test_f58_both_ways_are_let_in_once_the_clock_is_right(tmp_path: Path) -> None:
    clock = WrongClock()
    async with (
        served() as backend,
        living(config(tmp_path, backend.url, timing=SOON, auth=HMAC["auth"], edge=HMAC["edge"]), clock=clock) as here,
    ):
        await here.hears("WebSocket error: HTTP 40[13]")
        await here.hears("HTTP polling failed: .*HTTP 401")
        clock.off = 0.0
        await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
        await here.online()


# --- F63: proxies ---------------------------------------------------------------------------------------------------------

NO_PROXIES = ("localhost,fd00::/8", "fd00::/8", "10.0.0.0/8,::1/128,[::1", "http://[bad,*.corp", "a:b:c,:99999,%", "\u00fc", ",,")


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """None is set."""
    for name in ("http", "https", "all", "ws", "wss", "socks", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("excepted", NO_PROXIES)
async def test_f63_what_cannot_be_read_in_no_proxy_is_passed_over(tmp_path: Path, proxies: pytest.MonkeyPatch, excepted: str) -> None:
    async with HttpStub(lambda _path: http_answer(b"", "502 Bad Gateway")) as proxy:
        proxies.setenv("https_proxy", proxy.url.removeprefix("http://"))
        proxies.setenv("no_proxy", excepted)
        async with living(config(tmp_path, "https://backend.invalid")) as here:
            await until(lambda: len([one for one in proxy.requests if one.startswith("CONNECT backend.invalid:443")]) >= 4)
            await here.hears("HTTP polling failed: .*502")


def test_f63_only_the_proxy_of_this_url_counts(proxies: pytest.MonkeyPatch) -> None:
    proxies.setenv("http_proxy", "http://[bad")
    assert proxy_for("https://backend.invalid") is None
    proxies.setenv("all_proxy", "elsewhere:3128")
    assert proxy_for("https://backend.invalid") == "http://elsewhere:3128"
    proxies.setenv("https_proxy", "http://user:canary@elsewhere:99999")
    with pytest.raises(OSError, match=r"^the proxy for https:// is no URL with a host and a port$"):
        proxy_for("https://backend.invalid")
    with pytest.raises(OSError, match="the proxy for wss:// is no URL"):
        proxy_for("wss://backend.invalid")
    assert proxy_for("http://127.0.0.1:8000") is None
    proxies.setenv("no_proxy", "fd00::/8,.invalid")
    assert proxy_for("https://backend.invalid") is None
    assert proxy_for("wss://backend.invalid") is None


# --- F65: cookies ---------------------------------------------------------------------------------------------------------


async def test_f65_no_cookie_is_kept_or_sent(tmp_path: Path) -> None:
    numbers = itertools.count()

    def answer(path: str) -> bytes:
        cookie = f"Set-Cookie: c{next(numbers)}={'x' * 900}; Path=/; Max-Age=99999"
        body = b'{"edge_agent_id":"mac-1"}' if path == "/edge/register" else b'{"commands":[]}'
        return http_answer(body, "503 Busy" if path.startswith("/edge/ws") else "200 OK", cookie)

    edge = {"agent_id": AGENT, "register": "always", "user_phone": "+13105550100"}
    async with HttpStub(answer) as stub, living(config(tmp_path, stub.url, edge=edge, timing=SOON)) as here:
        await here.until(lambda s: s.polling.polls > 5 and s.link.dials > 3)
        assert [one for one in stub.requests if "cookie" in one.lower()] == []


# --- F82: a peer that leaves the connection open ---------------------------------------------------------------------------


@pytest.mark.parametrize("last", [Frame(Opcode.CLOSE, b"\x03\xe9gone"), Frame(Opcode.TEXT, b"x" * 2**21)])
async def test_f82_a_peer_that_closes_and_leaves_the_connection_open_is_left(tmp_path: Path, last: Frame) -> None:
    """Whatever it goes on to say: after a closing frame, or one that ends the link, there is nothing more to hear."""
    mute: dict[str, Any] = {
        "websocket": {"ping_interval_seconds": 300, "status_interval_seconds": 0},
        "timing": {"silence_after": 600, "safety_sync_every": 0, "close_within": 0.3},
    }
    async with (
        Puppet() as puppet,
        living(config(tmp_path, "http://127.0.0.1:1", backend={"websocket_url": puppet.socket_url}, **mute)) as here,
    ):
        await here.online()
        assert puppet.link is not None
        puppet.link.transport.pause_reading()
        puppet.link.transport.write(last.serialize(mask=False))
        chatter = asyncio.create_task(_chatter(puppet.link.transport))
        await here.hears(r"closed by the backend: 1001 gone|closed by this agent: 1009")
        await asyncio.gather(chatter, return_exceptions=True)


async def _chatter(transport: asyncio.Transport) -> None:
    while not transport.is_closing():
        transport.write(Frame(Opcode.PING, b"").serialize(mask=False))
        await asyncio.sleep(0.05)
