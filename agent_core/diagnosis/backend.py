"""What the backend answers: its HTTP, its clock, and what it notices, which are a registration, a socket and a sync."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from agent_core import frames
from agent_core.channels.connection import Connection
from agent_core.channels.credentials import Credentials
from agent_core.channels.http import PollingChannel, open_client
from agent_core.channels.network import failure_of
from agent_core.channels.websocket import dial, dial_failure, loss
from agent_core.clock import Clock
from agent_core.config import Config
from agent_core.diagnosis.findings import Exchange, Stage, failed, ok, skipped, warning
from agent_core.engine.outcomes import Rule, rule_for
from agent_core.events import Event, Failure, Poll, PollAnswered, PollFailed, Registered, RegistrationFailed, Trouble
from agent_core.figures import took
from agent_core.plain import plain
from agent_core.redaction import header

if TYPE_CHECKING:
    import httpx

READ = 2_048
SHOWN = 300
CLOCK_OFF = 60.0


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


class Backend:
    """One backend, asked with the link's own dial and the polling's own call; `within` limits a look, in seconds."""

    def __init__(self, config: Config, clock: Clock, credentials: Credentials, within: float) -> None:
        self._config = config
        self._clock = clock
        self._credentials = credentials
        self._within = within
        self._dates: list[tuple[str, float]] = []
        self._connection: Connection | None = None
        self._said = _Said()
        self._answers: list[Event] = []

    async def health(self) -> Stage:
        client = await asyncio.to_thread(open_client, self._config.backend.url, self._config.timing.poll_within)
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
            return failed(
                failure.detail, "the connection is made, but no HTTP answer comes",
                "check that backend.url is the backend's, and that it is up", failure=failure,
                exchange=self.unanswered("health", failure.detail),
            )  # fmt: skip
        finally:
            await client.aclose()
        exchange = self._seen("GET /health", response, body, utc)
        kind = response.headers.get("Content-Type", "")
        if not response.is_success:
            where = f" to {response.headers['Location']}" if "Location" in response.headers else ""
            return warning(f"HTTP {response.status_code}{where}, where 2xx is usual; the agent does without", exchange)
        if "html" in kind:
            return warning(f"HTTP {response.status_code}, a web page ({_title(body)}): is this the backend?", exchange)
        return ok(f"HTTP {response.status_code}", exchange)

    async def clock(self) -> Stage:
        for date, utc in self._dates:
            with suppress(ValueError, OverflowError):
                offset = parsedate_to_datetime(date).timestamp() + 0.5 - utc
                if abs(offset) <= CLOCK_OFF:
                    return ok(f"within {took(max(1.0, abs(offset)))} of the backend's")
                way = "behind" if offset > 0 else "ahead of"
                return warning(f"{took(abs(offset))} {way} the backend's: certificates, tokens and schedules go by it; set it (NTP)")
        return skipped("no answer told the backend's time")

    async def register(self) -> Stage:
        channel = PollingChannel(self._config, self._credentials, self._clock, self._answers.append)
        try:
            await channel.register()
        finally:
            await channel.close()
        match self._answers.pop():
            case Registered(agent_id):
                self._credentials.agent_id = agent_id
                return ok(f"the backend calls this agent {agent_id}")
            case RegistrationFailed(failure):
                return failed(
                    failure.detail, "edge.agent_id is empty and the backend gave no id",
                    "set EDGE_AGENT_ID, or USER_PHONE to be registered by", failure=failure,
                )  # fmt: skip
            case other:
                raise AssertionError(other)

    async def upgrade(self) -> Stage:
        made: list[Connection] = []

        class Watched(Connection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                made.append(self)

        now = self._clock.now()
        failure: Failure | None = None
        try:
            self._connection = await dial(self._config, self._credentials, now, Watched)
        except Exception as error:  # noqa: BLE001  (whatever a dial ends with is a finding)
            failure = dial_failure(error, now.utc)
            response = error.response if isinstance(error, InvalidStatus) else None
        else:
            response = self._connection.response
        request = getattr(made[-1], "request", None) if made else None
        headers = self._pairs(request.headers.raw_items() if request is not None else self._credentials.headers(now).items())
        path = plain(request.path if request is not None else "/edge/ws", 300)
        base = "{0.scheme}://{0.netloc}".format(urlsplit(self._config.socket_url))
        exchange = Exchange(f"GET {path.partition('?')[0]}", base + path, now.utc, headers)
        if response is not None:
            body = bytes(response.body or b"")
            answer = self._pairs(response.headers.raw_items())
            exchange = replace(exchange, status=response.status_code, headers=answer, excerpt=self._body(body))
        if failure is None:
            return ok("HTTP 101, the socket is open", exchange)
        if response is None:
            return failed(failure.detail, failure=failure, exchange=replace(exchange, trouble=self.clean(failure.detail)))
        said = f": {exchange.excerpt[:80]}" if exchange.excerpt else ""
        where = "".join(f" to {place}" for place in response.headers.get_all("Location")[:1])
        return failed(f"HTTP {response.status_code} {response.reason_phrase}{where}{said}", failure=failure, exchange=exchange)

    async def auth(self) -> Stage:
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
            return failed(f"let in, then {failure.detail}", failure=failure)
        if failure is not None or not self._said.heard:
            return skipped("nothing was heard that would tell")
        return ok("the backend talks to this agent")

    async def pong(self) -> Stage:
        if self._said.heard:
            await self._moves(lambda: self._said.ponged or self._closed() is not None)
        if (failure := self._closed()) is not None:
            return failed(failure.detail, failure=failure)
        came = ", ".join(
            f"{count} {word}" for count, word in ((self._said.commands, "command(s)"), (self._said.settings, "setting(s)")) if count
        )
        beside = f"; {came} came too and were left alone" if came else ""
        if self._said.ponged:
            return ok(f"JSON ping answered{beside}")
        if self._said.reads:
            return warning(f"protocol pings are answered, JSON pings are not: acks will be proven by HTTP{beside}")
        silent = Failure(Trouble.SILENT, "no ping was answered")
        if self._said.heard:
            return failed(
                f"the backend talks, but answers no ping{beside}",
                "what is sent does not arrive: a proxy that passes one direction only, or a backend that does not read",
                "ask the backend's engineer (doctor --for-backend); the agent will cut such a link", failure=silent,
            )  # fmt: skip
        return failed("open, but the backend says nothing", failure=silent)

    async def sync(self) -> Stage:
        seen: list[Exchange] = []
        utc = self._clock.now().utc

        def witness(response: "httpx.Response", body: bytes) -> None:
            seen.append(self._seen("POST /edge/sync", response, body, utc, self.clean(response.request.content.decode())))

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
                    return warning(f"accepted{waiting}; it brought settings that the agent may not be sent again", exchange)
                return ok(f"accepted{waiting}", exchange)
            case PollFailed(failure=failure):
                exchange = exchange or self.unanswered("sync", failure.detail)
                return failed(failure.detail.removeprefix("/edge/sync: "), failure=failure, exchange=exchange)
            case other:
                raise AssertionError(other)

    async def hang_up(self) -> None:
        """Close the socket that `upgrade` opened, if it did."""
        if self._connection is not None:
            with suppress(Exception):
                async with asyncio.timeout(1.0):
                    await self._connection.close(1000, "diagnosis ended")
            self._connection.transport.abort()

    # --- what was said -------------------------------------------------------------------------------------------------------

    def unanswered(self, name: str, trouble: str) -> Exchange | None:
        calls = {"health": ("GET", "/health"), "upgrade": ("GET", "/edge/ws"), "sync": ("POST", "/edge/sync")}
        if name not in calls:
            return None
        method, path = calls[name]
        url = self._config.socket_url if name == "upgrade" else self._config.backend.url.rstrip("/") + path
        headers = () if name == "health" else self._pairs(self._credentials.headers(self._clock.now()).items())
        return Exchange(f"{method} {path}", url, self._clock.now().utc, headers, trouble=self.clean(trouble))

    def clean(self, text: str, limit: int = SHOWN) -> str:
        return plain(self._credentials.redactor(text), limit)

    def _pairs(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((plain(name, 60), header(name, value) or self.clean(value)) for name, value in headers)[:40]

    def _body(self, raw: bytes) -> str:
        return self.clean(raw[:READ].decode("utf-8", "replace"))

    def _seen(self, call: str, response: "httpx.Response", body: bytes, utc: float, sent: str = "") -> Exchange:
        if "Date" in response.headers:
            self._dates.append((response.headers["Date"], self._clock.now().utc))
        request = [pair for pair in response.request.headers.multi_items() if pair[0] not in {"accept", "connection", "accept-encoding"}]
        return Exchange(
            call, plain(str(response.request.url)), utc, self._pairs(request), sent, response.status_code,
            self._pairs(response.headers.multi_items()), self._body(body),
        )  # fmt: skip

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
        return loss(error, self._credentials.redactor) if isinstance(error, ConnectionClosed) else None


def _title(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    low = text.lower()
    begin, end = low.find("<title>"), low.find("</title>")
    return f"“{plain(text[begin + 7 : end].strip(), 60)}”" if 0 <= begin < end else "no title"
