"""Why does it not connect? The way to the backend, stage by stage, with the link's own dial and the polling's own call.

    configuration, secret, data_dir, disk, proxy │ dns, tcp, tls │ health, clock │ lock │ register, upgrade, auth, pong, sync

What is of this machine comes first, then the network from below upwards. `lock` stands right before what the backend notices: a second
socket with this agent's id would make it close a running agent's (4009), and a sync would take what waits for that agent. So where an
agent runs on this data_dir, those stages are skipped, unless the caller insists.

Nothing is run, acked or written: commands that arrive here stay owed. Every stage has a limit, and the whole has one.
"""

import asyncio
import os
import shutil
import socket
import ssl
import stat
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from agent_core import frames
from agent_core.channels.credentials import Credentials, fingerprint
from agent_core.channels.http import PollingChannel, open_client
from agent_core.channels.network import failure_of, is_loopback, tls_context
from agent_core.channels.websocket import Connection, dial, dial_failure, loss
from agent_core.clock import Clock
from agent_core.config import Config
from agent_core.diagnosis.findings import Exchange, Stage, Verdict
from agent_core.diagnosis.reach import certificate, certificate_trouble, described, reach, resolved, unverified
from agent_core.engine.outcomes import Rule, rule_for
from agent_core.events import Event, Failure, Poll, PollAnswered, PollFailed, Registered, RegistrationFailed, Trouble
from agent_core.journal.data_dir import DataDirLock
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import fault
from agent_core.plain import plain

if TYPE_CHECKING:
    import httpx

WITHIN = 5.0
"""Seconds for one stage at most."""
WHOLE = 30.0
READ = 2_048
SHOWN = 300
ADDRESSES = 8
CLOCK_OFF = 60.0
EXPIRY_NEAR = 14
"""Days that a certificate should still be good for."""
ROOM, LITTLE_ROOM = 10 * 2**20, 200 * 2**20


async def diagnose(
    config: Config, clock: Clock, *, env_file: Path | None = None, force: bool = False, within: float = WITHIN
) -> AsyncIterator[Stage]:
    """Each stage as soon as it is known; never raises for anything the machine or the network does.

    `env_file` is the .env whose mode is looked at; `force` dials and syncs though an agent runs on the same data_dir; `within` limits
    a stage, in seconds.
    """
    async for stage in _Diagnosis(config, clock, env_file, within, force=force).stages():
        yield stage


# --- what a look comes to ----------------------------------------------------------------------------------------------------


def _ok(sentence: str, exchange: Exchange | None = None) -> Stage:
    return Stage("", Verdict.OK, sentence, exchange=exchange)


def _warning(sentence: str, exchange: Exchange | None = None) -> Stage:
    return Stage("", Verdict.WARNING, sentence, exchange=exchange)


def _skipped(sentence: str) -> Stage:
    return Stage("", Verdict.SKIPPED, sentence)


def _failed(sentence: str, cause: str | None = None, advice: str | None = None, **more: Any) -> Stage:
    return Stage("", Verdict.FAILED, sentence, cause=cause, advice=advice, **more)


@dataclass(frozen=True, slots=True)
class _Target:
    """One host that is dialled, or the proxy in its place."""

    suffix: str
    host: str
    port: int
    name: str
    """The host that a certificate has to be for."""
    secure: bool
    proxied: bool


@dataclass(slots=True)
class _Said:
    """What came over the doctor's own socket."""

    commands: int = 0
    settings: int = 0
    ponged: bool = False
    heard: bool = False
    """Anything at all."""
    reads: bool = False
    """A protocol pong came."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, messages: list[bytes]) -> None:
        for frame in map(frames.parse, messages):
            self.commands += isinstance(frame, frames.Command)
            self.settings += isinstance(frame, frames.ConfigUpdate)
            self.ponged = self.ponged or isinstance(frame, frames.Pong)
        self.moved.set()

    def hear(self) -> None:
        self.heard = True
        self.moved.set()

    def read(self) -> None:
        self.reads = True


class _Diagnosis:
    def __init__(self, config: Config, clock: Clock, env_file: Path | None, within: float, *, force: bool) -> None:
        self._config = config
        self._clock = clock
        self._env_file = env_file
        self._within = within
        self._force = force
        self._credentials = Credentials(config)
        self._folder = config.data_dir.expanduser()
        self._end = clock.now().mono + WHOLE
        self._dates: list[tuple[str, float]] = []
        self._addresses: list[tuple[Any, ...]] = []
        self._hold = ""
        self._connection: Connection | None = None
        self._said = _Said()
        self._answers: list[Event] = []

    async def stages(self) -> AsyncIterator[Stage]:
        secretless = ""
        for name, look in self._looks_at_this_machine():
            stage = await self._look(name, look)
            if name == "secret" and stage.verdict is Verdict.FAILED:
                secretless = "there is no secret"
            yield stage
        obstacles: list[str] = []
        for target in self._targets():
            obstacle = ""
            for name, visit in (("dns", self._dns), ("tcp", self._tcp), ("tls", self._tls)):
                stage = await self._look(name + target.suffix, self._unless(obstacle, visit, target))
                if stage.verdict is Verdict.FAILED:
                    obstacle = f"{stage.name} failed"
                yield stage
            obstacles.append(obstacle)
        yield await self._look("health", self._unless(obstacles[-1], self._health))
        yield await self._look("clock", self._clock_offset)
        yield await self._look("lock", self._lock)
        by_socket, by_http = (obstacle or secretless or self._hold for obstacle in (obstacles[0], obstacles[-1]))
        if self._credentials.agent_id is None:
            yield await self._look("register", self._unless(by_http, self._register))
            if self._credentials.agent_id is None:
                by_socket, by_http = by_socket or "there is no agent id", by_http or "there is no agent id"
        async for stage in self._socket_stages(by_socket):
            yield stage
        yield await self._look("sync", self._unless(by_http, self._sync))

    async def _socket_stages(self, obstacle: str) -> AsyncIterator[Stage]:
        if not self._config.websocket.enabled:
            obstacle = "websocket.enabled is false"
        try:
            for name, look in (("upgrade", self._upgrade), ("auth", self._auth), ("pong", self._pong)):
                stage = await self._look(name, self._unless(obstacle, look))
                if stage.verdict is Verdict.FAILED:
                    obstacle = obstacle or f"{name} failed"
                yield stage
        finally:
            if self._connection is not None:
                with suppress(Exception):
                    async with asyncio.timeout(1.0):
                        await self._connection.close(1000, "diagnosis ended")
                self._connection.transport.abort()

    # --- one look ------------------------------------------------------------------------------------------------------------

    async def _look(self, name: str, look: Callable[[], Awaitable[Stage]]) -> Stage:
        """Timed, within its limit; whatever it raises is a finding."""
        began = self._clock.now().mono
        limit = max(0.01, min(self._within, self._end - began))
        try:
            async with asyncio.timeout(limit):
                found = await look()
        except TimeoutError:
            found = self._late(name, limit)
        except Exception as error:  # noqa: BLE001  (a diagnosis says what happened, whatever it is)
            failure = failure_of(error)
            found = _failed(plain(failure.detail, SHOWN), failure=failure)
        return replace(found, name=name, ms=(self._clock.now().mono - began) * 1_000, sentence=self._clean(found.sentence, 400))

    def _late(self, name: str, limit: float) -> Stage:
        sentence = f"no answer in {limit:g} s"
        failure = Failure(Trouble.TIMEOUT, sentence)
        exchange = self._unanswered(name, sentence)
        kind = name.partition(" ")[0]
        if kind == "dns":
            return _failed(sentence, "the name servers do not answer: no network, or a VPN that is half up", "check this machine's network")
        if kind == "tcp":
            return _failed(
                sentence, "packets vanish on the way: a firewall, a VPN, or the wrong address", "check the address and the firewalls"
            )
        if kind in {"tls", "health"}:
            return _failed(
                sentence, "something accepts the connection there and says nothing: a backend that hangs, or no backend at all",
                "see whether the backend is up, and whether host and port are those of the backend", failure=failure, exchange=exchange,
            )  # fmt: skip
        return _failed(sentence, failure=failure, exchange=exchange)

    def _unanswered(self, name: str, trouble: str) -> Exchange | None:
        calls = {"health": ("GET", "/health"), "upgrade": ("GET", "/edge/ws"), "sync": ("POST", "/edge/sync")}
        if name not in calls:
            return None
        method, path = calls[name]
        url = self._config.socket_url if name == "upgrade" else self._config.backend.url.rstrip("/") + path
        headers = () if name == "health" else self._pairs(self._credentials.headers(self._clock.now().utc).items())
        return Exchange(f"{method} {path}", url, self._clock.now().utc, headers, trouble=self._clean(trouble))

    def _unless(self, obstacle: str, look: Callable[..., Awaitable[Stage]], *arguments: Any) -> Callable[[], Awaitable[Stage]]:
        async def go() -> Stage:
            return _skipped(obstacle) if obstacle else await look(*arguments)

        return go

    def _clean(self, text: str, limit: int = SHOWN) -> str:
        return plain(self._credentials.masked(text), limit)

    def _pairs(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((plain(name, 60), _hidden(name, value) or self._clean(value)) for name, value in headers)[:40]

    def _body(self, raw: bytes) -> str:
        return self._clean(raw[:READ].decode("utf-8", "replace"))

    # --- this machine --------------------------------------------------------------------------------------------------------

    def _looks_at_this_machine(self) -> tuple[tuple[str, Callable[[], Awaitable[Stage]]], ...]:
        return (
            ("configuration", self._configuration), ("secret", self._secret), ("data_dir", self._data_dir), ("disk", self._disk),
            ("proxy", self._proxy),
        )  # fmt: skip

    async def _configuration(self) -> Stage:
        who = self._credentials.agent_id or "an agent without an id"
        if not self._config.websocket.enabled:
            return _warning(f"{who} at {self._config.backend.url}; websocket.enabled is false, so HTTP only")
        return _ok(f"{who} at {self._config.backend.url}, socket at {self._config.socket_url}")

    async def _secret(self) -> Stage:
        secret = self._config.auth.secret.get_secret_value()
        if not secret:
            return _failed("none", "no secret is set", "put EDGE_SECRET=… into the environment or into .env beside config.yaml")
        sentence = f"present, fingerprint {fingerprint(secret)} ({self._config.auth.mode})"
        if self._env_file is not None and self._env_file.is_file():
            mode = stat.S_IMODE(self._env_file.stat().st_mode)
            if mode & 0o077:
                return _warning(f"{sentence}; .env has mode {mode:04o}, so others can read it: chmod 600 .env")
            sentence += f"; .env has mode {mode:04o}"
        return _ok(sentence)

    async def _data_dir(self) -> Stage:
        folder = self._folder
        if not folder.exists():
            above = _existing(folder)
            if os.access(above, os.W_OK | os.X_OK):
                return _ok(f"{folder} is not there yet; the first start makes it")
            return _failed(
                f"{folder} is not there and cannot be made", f"{above} cannot be written by this user", "choose another data_dir"
            )
        if not folder.is_dir():
            return _failed(f"{folder} is no directory", "a file is in its place", "choose another data_dir")
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            return _failed(
                f"{folder} cannot be written: {error.strerror}", "the ledger cannot be kept, so no command would be taken",
                "give this user the directory, or choose another data_dir",
            )  # fmt: skip
        if (wrong := await asyncio.to_thread(fault, folder)) is not None:
            return _failed(
                wrong, "no command is run until the ledger is sound, so that none takes effect twice",
                f"move {FILE_NAME} away, and its memory with it",
            )  # fmt: skip
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o077:
            return _warning(f"{folder} has mode {mode:04o}, so others can look inside: chmod 700 it")
        return _ok(f"{folder}, mode {mode:04o}, writable")

    async def _disk(self) -> Stage:
        free = shutil.disk_usage(_existing(self._folder)).free
        sentence = f"{free / 2**30:,.1f} GiB free" if free >= 2**30 else f"{free / 2**20:,.0f} MiB free"
        if free < ROOM:
            return _failed(sentence, "the disk is full: the ledger cannot be written, so no command is taken", "make room on that disk")
        return _warning(f"{sentence}: the ledger may grow to 64 MiB, the logs to 10") if free < LITTLE_ROOM else _ok(sentence)

    async def _proxy(self) -> Stage:
        names = sorted({name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value})
        ways = [(word, proxy) for word, proxy in (("the socket", self._socket_proxy()), ("HTTP", self._http_proxy())) if proxy]
        if ways:
            return _ok("; ".join(f"{word} goes through {_without_login(proxy)}" for word, proxy in ways) + f" ({', '.join(names)})")
        return _ok(f"none applies ({', '.join(names)} set)" if names else "none")

    def _socket_proxy(self) -> str | None:
        return None if is_loopback(self._config.socket_url) else get_proxy(parse_uri(self._config.socket_url))

    def _http_proxy(self) -> str | None:
        parts = urlsplit(self._config.backend.url)
        if is_loopback(self._config.backend.url) or urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        proxies = urllib.request.getproxies()
        return proxies.get(parts.scheme) or proxies.get("all")

    # --- the network ---------------------------------------------------------------------------------------------------------

    def _targets(self) -> list[_Target]:
        """Where the socket goes, and where HTTP goes if that is elsewhere."""
        found = [_target(self._config.backend.url, self._http_proxy(), "")]
        if self._config.websocket.enabled:
            found.insert(0, _target(self._config.socket_url, self._socket_proxy(), ""))
        if len(found) == 2 and found[0] == found[1]:
            found.pop()
        return [replace(target, suffix=" http" if number else "") for number, target in enumerate(found)]

    async def _dns(self, target: _Target) -> Stage:
        try:
            self._addresses = await resolved(target.host, target.port)
        except socket.gaierror as error:
            failure = failure_of(error)
            return _failed(
                f"{target.host}: {failure.detail.removeprefix('DNS: ')}",
                f"the name {target.host} leads nowhere: misspelt, or no name server",
                f"check {'the proxy variables' if target.proxied else 'backend.url'} and this machine's network", failure=failure,
            )  # fmt: skip
        shown = ", ".join(address[0] for _, address in self._addresses[:ADDRESSES])
        more = f" and {len(self._addresses) - ADDRESSES} more" if len(self._addresses) > ADDRESSES else ""
        return _ok(f"{'proxy ' if target.proxied else ''}{target.host} is {shown}{more}")

    async def _tcp(self, target: _Target) -> Stage:
        """Every address at once; one that answers is enough, as it is for the link."""
        tried = self._addresses[:ADDRESSES]
        limit = self._within * 0.9
        results = await asyncio.gather(*(reach(family, address, limit) for family, address in tried))
        words = ", ".join(f"{address[0]} {result or 'answers'}" for (_, address), result in zip(tried, results, strict=True))
        if None in results:
            return _ok(f"port {target.port}: {words}")
        refused = "refused" in words
        return _failed(
            f"port {target.port}: {words}",
            f"nothing listens at {target.host}:{target.port}: the backend is down, or the port is wrong" if refused
            else f"{target.host}:{target.port} cannot be reached: a firewall, no network, or the wrong address",
            "start the backend, or check the port in backend.url" if refused else "check this machine's network and the address",
        )  # fmt: skip

    async def _tls(self, target: _Target) -> Stage:
        if not target.secure:
            return _skipped("not encrypted: to this machine only")
        if target.proxied:
            return _skipped("through a proxy; the upgrade checks it")
        try:
            shown = await certificate(target.host, target.port, tls_context(), target.name)
        except ssl.SSLCertVerificationError as error:
            seen = await unverified(target.host, target.port, target.name)
            return _failed(
                f"{error.verify_message}{'; it is ' + seen if seen else ''}", *certificate_trouble(error, target.name),
                failure=failure_of(error),
            )  # fmt: skip
        except (ssl.SSLError, ConnectionError) as error:
            return _failed(
                failure_of(error).detail, f"{target.host}:{target.port} does not speak TLS, or not one of this decade",
                "check the port, and whether the backend expects http:// there", failure=failure_of(error),
            )  # fmt: skip
        days = (ssl.cert_time_to_seconds(shown["notAfter"]) - self._clock.now().utc) / 86_400 if "notAfter" in shown else EXPIRY_NEAR
        return _warning(f"{described(shown)}: only {days:.0f} day(s) more") if days < EXPIRY_NEAR else _ok(described(shown))

    async def _health(self) -> Stage:
        client = await asyncio.to_thread(open_client, self._config)
        utc = self._clock.now().utc
        try:
            async with client.stream("GET", "health", headers={"Accept-Encoding": "identity"}) as response:
                body = b""
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) >= READ:
                        break
        except Exception as error:  # noqa: BLE001  (whatever httpx raises is a finding)
            failure = failure_of(error)
            return _failed(
                failure.detail, "the connection is made, but no HTTP answer comes",
                "check that backend.url is the backend's, and that it is up", failure=failure,
                exchange=self._unanswered("health", failure.detail),
            )  # fmt: skip
        finally:
            await client.aclose()
        exchange = self._seen("GET /health", response, body, utc)
        kind = response.headers.get("Content-Type", "")
        if not response.is_success:
            where = f" to {response.headers['Location']}" if "Location" in response.headers else ""
            return _warning(f"HTTP {response.status_code}{where}, where 2xx is usual; the agent does without", exchange)
        if "html" in kind:
            return _warning(f"HTTP {response.status_code}, a web page ({_title(body)}): is this the backend?", exchange)
        return _ok(f"HTTP {response.status_code}", exchange)

    def _seen(self, call: str, response: "httpx.Response", body: bytes, utc: float, sent: str = "") -> Exchange:
        if "Date" in response.headers:
            self._dates.append((response.headers["Date"], self._clock.now().utc))
        request = [pair for pair in response.request.headers.multi_items() if pair[0] not in {"accept", "connection", "accept-encoding"}]
        return Exchange(
            call, plain(str(response.request.url)), utc, self._pairs(request), sent, response.status_code,
            self._pairs(response.headers.multi_items()), self._body(body),
        )  # fmt: skip

    async def _clock_offset(self) -> Stage:
        for date, utc in self._dates:
            with suppress(ValueError, OverflowError):
                offset = parsedate_to_datetime(date).timestamp() + 0.5 - utc
                if abs(offset) <= CLOCK_OFF:
                    return _ok(f"within {max(1.0, abs(offset)):.0f} s of the backend's")
                way = "behind" if offset > 0 else "ahead of"
                return _warning(f"{abs(offset):,.0f} s {way} the backend's: certificates, tokens and schedules go by it; set it (NTP)")
        return _skipped("no answer told the backend's time")

    # --- what the backend notices --------------------------------------------------------------------------------------------

    async def _lock(self) -> Stage:
        lock = DataDirLock(self._folder)
        if not lock.held:
            return _ok("free: no agent runs on this data_dir")
        owner = lock.owner()
        who = "this very program" if owner == os.getpid() else f"pid {owner or 'unknown'}"
        if self._force:
            return _warning(f"an agent runs ({who}); forced: the backend closes a socket of its own (4009) in favour of this one")
        self._hold = "an agent runs here"
        return _ok(f"an agent runs ({who}): the rest would take its place at the backend, so it is skipped; stop it, or use --force")

    async def _register(self) -> Stage:
        channel = PollingChannel(self._config, self._credentials, self._clock, self._answers.append)
        try:
            await channel.register()
        finally:
            await channel.close()
        match self._answers.pop():
            case Registered(agent_id):
                self._credentials.agent_id = agent_id
                return _ok(f"the backend calls this agent {agent_id}")
            case RegistrationFailed(failure):
                return _failed(
                    failure.detail, "edge.agent_id is empty and the backend gave no id",
                    "set EDGE_AGENT_ID, or USER_PHONE to be registered by", failure=failure,
                )  # fmt: skip
            case other:
                raise AssertionError(other)

    async def _upgrade(self) -> Stage:
        made: list[Connection] = []

        class Watched(Connection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                made.append(self)

        utc = self._clock.now().utc
        failure: Failure | None = None
        try:
            self._connection = await dial(self._config, self._credentials, utc, Watched)
        except Exception as error:  # noqa: BLE001  (whatever a dial ends with is a finding)
            failure = dial_failure(error, utc)
            response = error.response if isinstance(error, InvalidStatus) else None
        else:
            response = self._connection.response
        request = getattr(made[-1], "request", None) if made else None
        headers = self._pairs(request.headers.raw_items() if request is not None else self._credentials.headers(utc).items())
        path = plain(request.path if request is not None else "/edge/ws", 300)
        base = "{0.scheme}://{0.netloc}".format(urlsplit(self._config.socket_url))
        exchange = Exchange(f"GET {path.partition('?')[0]}", base + path, utc, headers)
        if response is not None:
            body = bytes(response.body or b"")
            answer = self._pairs(response.headers.raw_items())
            exchange = replace(exchange, status=response.status_code, headers=answer, excerpt=self._body(body))
        if failure is None:
            return _ok("HTTP 101, the socket is open", exchange)
        if response is None:
            return _failed(failure.detail, failure=failure, exchange=replace(exchange, trouble=self._clean(failure.detail)))
        said = f": {exchange.excerpt[:80]}" if exchange.excerpt else ""
        where = "".join(f" to {place}" for place in response.headers.get_all("Location")[:1])
        return _failed(f"HTTP {response.status_code} {response.reason_phrase}{where}{said}", failure=failure, exchange=exchange)

    async def _auth(self) -> Stage:
        """Whoever lets us in says something: a frame, a pong. Whoever does not, closes."""
        connection = self._connection
        assert connection is not None
        connection.listen(self._said.take, self._said.hear, self._said.read)
        with suppress(ConnectionClosed):
            await connection.send_all([frames.dump_ping(1, self._clock.now().utc)])
            await connection.ping()
        await self._moves(lambda: self._said.heard or connection.state is not State.OPEN)
        if connection.state is not State.OPEN:
            await connection.wait_closed()
        failure = self._closed()
        if failure is not None and rule_for(failure, first_loss=False) is Rule.REFUSED:
            return _failed(f"let in, then {failure.detail}", failure=failure)
        if failure is not None or not self._said.heard:
            return _skipped("nothing was heard that would tell")
        return _ok("the backend talks to this agent")

    async def _moves(self, done: Callable[[], bool]) -> None:
        """Until `done`, or for most of a stage's time."""
        end = self._clock.now().mono + self._within * 0.9
        while not done() and (left := end - self._clock.now().mono) > 0:
            self._said.moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(0.1, left)):
                    await self._said.moved.wait()

    def _closed(self) -> Failure | None:
        connection = self._connection
        assert connection is not None
        error = connection.close_exc if connection.close_code is not None else None
        return loss(error, self._credentials.masked) if isinstance(error, ConnectionClosed) else None

    async def _pong(self) -> Stage:
        if self._said.heard:
            await self._moves(lambda: self._said.ponged or self._closed() is not None)
        if (failure := self._closed()) is not None:
            return _failed(failure.detail, failure=failure)
        came = ", ".join(
            f"{count} {word}" for count, word in ((self._said.commands, "command(s)"), (self._said.settings, "setting(s)")) if count
        )
        beside = f"; {came} came too and were left alone" if came else ""
        if self._said.ponged:
            return _ok(f"JSON ping answered{beside}")
        if self._said.reads:
            return _warning(f"protocol pings are answered, JSON pings are not: acks will be proven by HTTP{beside}")
        silent = Failure(Trouble.SILENT, "no ping was answered")
        if self._said.heard:
            return _failed(
                f"the backend talks, but answers no ping{beside}",
                "what is sent does not arrive: a proxy that passes one direction only, or a backend that does not read",
                "ask the backend's engineer (doctor --for-backend); the agent will cut such a link", failure=silent,
            )  # fmt: skip
        return _failed("open, but the backend says nothing", failure=silent)

    async def _sync(self) -> Stage:
        seen: list[Exchange] = []
        utc = self._clock.now().utc

        def witness(response: "httpx.Response", body: bytes) -> None:
            seen.append(self._seen("POST /edge/sync", response, body, utc, self._clean(response.request.content.decode())))

        channel = PollingChannel(self._config, self._credentials, self._clock, self._answers.append, witness)
        try:
            await channel.poll(Poll(1, None, (), {}))
        finally:
            await channel.close()
        exchange = seen[-1] if seen else None
        match self._answers.pop():
            case PollAnswered(arrivals=arrivals, settings=settings):
                waiting = f"; {len(arrivals)} command(s) wait and stay; a backend may pause before it offers them again" if arrivals else ""
                if settings:
                    return _warning(f"accepted{waiting}; it brought settings that the agent may not be sent again", exchange)
                return _ok(f"accepted{waiting}", exchange)
            case PollFailed(failure=failure):
                exchange = exchange or self._unanswered("sync", failure.detail)
                return _failed(failure.detail.removeprefix("/edge/sync: "), failure=failure, exchange=exchange)
            case other:
                raise AssertionError(other)


# --- underneath --------------------------------------------------------------------------------------------------------------


def _existing(folder: Path) -> Path:
    return next((above for above in (folder, *folder.parents) if above.exists()), Path("/"))


def _hidden(name: str, value: str) -> str | None:
    if name.lower() in {"authorization", "proxy-authorization"}:
        return f"{plain(value.partition(' ')[0], 20)} ***"
    return "***" if name.lower() in {"cookie", "set-cookie"} else None


def _without_login(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"//{url}")
    return plain(f"{parts.scheme or 'http'}://{parts.netloc.rpartition('@')[2]}", 120)


def _target(url: str, proxy: str | None, suffix: str) -> _Target:
    parts = urlsplit(url)
    secure = parts.scheme in {"https", "wss"}
    name, port = parts.hostname or "", parts.port or (443 if secure else 80)
    if proxy is None:
        return _Target(suffix, name, port, name, secure, proxied=False)
    via = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    usual = 1080 if via.scheme.startswith("socks") else 443 if via.scheme == "https" else 80
    return _Target(suffix, via.hostname or "", via.port or usual, name, secure, proxied=True)


def _title(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    low = text.lower()
    begin, end = low.find("<title>"), low.find("</title>")
    return f"“{plain(text[begin + 7 : end].strip(), 60)}”" if 0 <= begin < end else "no title"
