"""The hub on one port: `/edge/ws`, the HTTP calls and the admin calls, with starlette and uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from websockets.http11 import Request as Upgrade

from agent_core.clock import Clock, SystemClock
from agent_core.plain import plain
from agent_core.reference.book import taken
from agent_core.reference.calls import AdminCalls, EdgeCalls, answer, as_told, refusal
from agent_core.reference.faults import Faults, faults_of
from agent_core.reference.gate import ACCEPTED_AT_ONCE, GatedConfig, GatedProtocol, is_framed_twice, most_connections
from agent_core.reference.hub import REPLACED, Ending, Hub, Rules
from agent_core.reference.orders import CallError, Order, id_of
from agent_core.reference.page import Pages
from agent_core.reference.session import Session
from agent_core.reference.store import Store, StoreDownError, StoreRefusedError
from agent_core.reference.stores import is_shared, open_shared, open_store
from agent_core.reference.tokens import Secrets, check_agent
from agent_core.reference.told import Told
from agent_core.reference.writer import Writer

DEMO_SECRET = "demo-secret"  # noqa: S105 - known to all: for loopback only
RESTART = 1012
_MAX_TICK = 1.0
BACKLOG = 2_048
"""Connections that the system holds until they are accepted; asyncio would set it to what is accepted at once."""
_log = logging.getLogger("agent_core.reference")
T = TypeVar("T")


if TYPE_CHECKING:
    from agent_core.reference.member import Member


class CannotServeError(Exception):
    """The backend cannot start, and why, in one sentence."""


class PortTakenError(CannotServeError):
    """Somebody else listens there."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how the backend serves. Port 0 takes a free one; without `store` everything is in memory."""

    host: str = "127.0.0.1"
    port: int = 0
    secret: str = field(default=DEMO_SECRET, repr=False)
    agent_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """A secret of its own for each agent named here; the others share `secret`."""
    admin_token: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    names: tuple[str, ...] = ()
    """Names of hosts by which it is reached on loopback, too, as behind a proxy."""
    store: str | None = field(default=None, repr=False)
    """`sqlite:PATH`, or `postgresql://…`, which any number of instances may share."""
    faults: bool = True
    """May be told by admin calls to do wrong."""
    lease: float = 15
    """Seconds: an instance that cannot renew it at a shared store closes its sockets."""
    rules: Rules = field(default_factory=Rules)
    connections: int = field(default_factory=most_connections)
    """At once; past them the longest half-sent request gives way, else the answer is 503."""
    head_within: float = 10
    """Seconds for a request's head to be whole …"""
    request_within: float = 30
    """… and for the rest of it."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the embedding program's."""
        yield


class ReferenceBackend:
    """The backend, in the event loop that enters it: `async with ReferenceBackend() as backend`.

    `hub` may be read and driven from that loop only; `faults` may be set from anywhere.
    """

    def __init__(self, options: Options | None = None, clock: Clock | None = None) -> None:
        self.options = options or Options()
        self.clock: Clock = clock or SystemClock()
        self.hub = Hub(
            self.options.rules, salt=secrets.token_hex(8), journaled=self.options.store is not None, shared=is_shared(self.options.store)
        )
        self.secrets = Secrets(self.options.secret, self.options.agent_secrets)
        """What is taken from now on; may be set at any time."""
        self._loopback = is_loopback(self.options.host)
        self.port = self.options.port
        self._store: Store | None = None
        self._writer: Writer | None = None
        self._member: Member | None = None
        self._storing: list[asyncio.Task[None]] = []
        self._taken: set[str] = set()
        self._sessions: dict[int, Session] = {}
        self._resting: list[Session] = []
        """Those that have something to say when the store has written."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._queued = 0
        self._fault_ends: asyncio.TimerHandle | None = None
        self.is_told = False
        """Somebody has told it to do wrong, and it does: the demonstration's own outages wait."""
        self.draining = False
        """New sockets are refused, and /health says so."""
        self._http = Starlette(
            routes=[*EdgeCalls(self).routes(), *AdminCalls(self).routes(), *Pages(self).routes()],
            exception_handlers={
                CallError: self._refused,
                StoreDownError: _store_down,
                ClientDisconnect: _gone,
                HTTPException: _no_such_call,
                Exception: _crashed,
            },
        )

    @property
    def url(self) -> str:
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}"

    @property
    def secret(self) -> str:
        return self.options.secret

    @property
    def admin_token(self) -> str:
        return self.options.admin_token

    @property
    def faults(self) -> Faults:
        return self.hub.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.hub.faults = faults

    @property
    def may_fault(self) -> bool:
        return self.options.faults

    def set_faults(self, body: Mapping[str, Any], seconds: float | None) -> None:
        """For so long, or until told otherwise; what `body` does not name is off. Raises CallError."""
        if not self.may_fault:
            raise CallError(403, "this backend was not started with --faults")
        self.do_wrong(faults_of(body), seconds)

    def do_wrong(self, faults: Faults, seconds: float | None = None) -> None:
        """For so long, or until told otherwise; in the backend's loop."""
        self.faults = faults
        self.is_told = faults != Faults()
        if self._fault_ends is not None:
            self._fault_ends.cancel()
        loop = asyncio.get_running_loop()
        self._fault_ends = loop.call_later(seconds, self.do_wrong, Faults()) if seconds is not None else None

    @property
    def store_down(self) -> bool:
        return self._writer is not None and self._writer.down

    # --- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Raises PortTakenError or CannotServeError."""
        await self.up()
        self._ticking = asyncio.create_task(self._tick(), name="backend clock")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        await self.down()
        await self._close_store()

    async def up(self) -> None:
        """Listen, on the same port as before. Raises PortTakenError or CannotServeError."""
        if self._server is not None:
            return
        listener = _listen(self.options.host, self.port)
        self.port = listener.getsockname()[1]
        if self._store is None and self.options.store is not None:
            try:
                await self._open_store(self.options.store)
            except (StoreDownError, StoreRefusedError) as error:
                listener.close()
                raise CannotServeError(str(error)) from None
        config = GatedConfig(
            self,
            http=GatedProtocol,
            backlog=ACCEPTED_AT_ONCE,
            ws=Session,
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=120,
        )
        config.waiting, config.max_connections = {}, self.options.connections
        config.head_within, config.request_within = self.options.head_within, self.options.request_within
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="backend server")
        await self._server.listening.wait()
        listener.listen(BACKLOG)

    async def down(self) -> None:
        """Stop listening and abort every connection, with no closing handshake."""
        if self._server is None or self._serving is None:
            return
        server, self._server = self._server, None
        for listening in server.servers:
            listening.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        server.should_exit = server.force_exit = True
        await self._serving
        while self._sessions:
            await self._change()

    async def close_links(self, code: int = RESTART, reason: str = "service restart") -> None:
        """Close every agent's socket with a handshake."""
        ending = set(self._sessions)
        for generation in ending:
            self._sessions[generation].end(Ending(code, reason))
        while ending & self._sessions.keys():
            await self._change()

    async def drain(self, within: float) -> None:
        """Take no new socket and close those there are, spread over `within`, so that not all dial elsewhere at one instant."""
        self.draining = True
        sessions = list(self._sessions.values())
        for session in sessions:
            session.end(Ending(RESTART, "service restart"))
            await asyncio.sleep(within / len(sessions))
        while self._sessions:
            await self._change()

    async def _tick(self) -> None:
        rules = self.options.rules
        while True:
            await asyncio.sleep(min(_MAX_TICK, rules.drop_after / 4, (rules.ping_every or _MAX_TICK) / 4))
            for stale in self.hub.tick(self.clock.now()):
                if (session := self._sessions.get(stale.generation)) is not None:
                    session.abort()
            for session in self._sessions.values():
                if self.hub.has_frames(session.agent_id):
                    session.wake()
            if self._writer is not None:
                self._writer.poke()

    # --- what tests, the demonstration and the admin calls do with it -------------------------------------------------

    async def queue(
        self,
        agent_id: str,
        command_type: str,
        payload: Any,
        *,
        command_id: str | None = None,
        priority: str | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Owe the agent a command, pushed at once where it has a socket; returns its id. Raises CallError or StoreDownError."""
        if self._writer is not None and self._writer.overfull:
            raise StoreDownError("the store cannot be written now")
        now = self.clock.now()
        order = self.hub.compose(agent_id, command_type, payload, now, command_id=command_id, priority=priority, more=more)
        try:
            self.hub.book.add(order)
        except CallError:
            await self.answered()  # "taken" promises that it is kept
            raise
        if self._writer is None:
            self._written([order], set())
        else:
            await self._writer.answered(self.hub.book.sequence)
            if order.command_id in self._taken:
                self._taken.discard(order.command_id)
                raise taken(order.command_id)
        self._queued += 1
        if self._queued % 64 == 0:
            await asyncio.sleep(0)
        return order.command_id

    async def repeat(self, command_id: str, *, by_poll: bool = False) -> None:
        """Deliver it once more, whatever its state. Raises CallError."""
        self.hub.repeat(command_id, by_poll=by_poll)
        self._wake(self.hub.order(command_id).agent_id)

    async def configure(self, agent_id: str, settings: dict[str, Any]) -> None:
        """A config update, on the socket or with the next sync answer. Raises CallError."""
        if self._member is not None:
            await self._member.configure(agent_id, settings)
        else:
            self.hub.configure(agent_id, settings)
            self._wake(agent_id)

    async def say(self, agent_id: str, frame: str) -> None:
        """Any text on the agent's socket. Raises CallError."""
        self.hub.say(agent_id, frame)
        self._wake(agent_id)

    async def until(self, condition: Callable[[Hub], object], within: float = 5.0) -> None:
        """Return as soon as the hub meets the condition. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while not condition(self.hub):
                await self._change()

    async def _change(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def _wake(self, agent_id: str) -> None:
        if (session := self._sessions.get(self.hub.connected(agent_id) or 0)) is not None:
            session.wake()
        self.moved()

    # --- what sessions and calls need ---------------------------------------------------------------------------------

    def moved(self) -> None:
        """The hub may have changed."""
        self._moved.set()

    def is_written(self, sequence: int) -> bool:
        """Whether the store has what was noted up to there: asked before anything leaves that rests on it."""
        return self._writer is None or self._writer.has(sequence)

    def wake_when_written(self, session: Session) -> None:
        """After the store's next write."""
        self._resting.append(session)
        if self._writer is not None:
            self._writer.poke()

    async def answered(self) -> None:
        """The same for all there is, for a caller who waits. Raises StoreDownError."""
        if self._writer is not None:
            if self._member is not None:
                await self._member.look_up()
            await self._writer.answered(self.hub.book.sequence)

    async def _open_store(self, url: str) -> None:
        """Raises StoreDownError, StoreRefusedError."""
        shared = open_shared(url, self.hub.epoch) if is_shared(url) else None
        store: Store = shared or open_store(url, self.hub.rules.keep_events)
        try:
            self.hub.restore(await store.open(), await store.events())
            if shared is not None:
                from agent_core.reference.member import Member

                self._member = Member(
                    shared, self.hub, self.clock, self.options.lease, woke=self._wake, lost=self._replace, fenced=self._close_all
                )
                await self._member.join()
                self._storing.append(asyncio.create_task(self._member.run(), name="backend member"))
        except BaseException:
            await store.close()
            raise
        self._store, self._writer = store, Writer(self.hub.book, store, self._written)
        self._storing.append(asyncio.create_task(self._writer.run(), name="backend store"))
        for task in self._storing:
            task.add_done_callback(self._storing_ended)

    def _storing_ended(self, task: asyncio.Task[None]) -> None:
        """Without them nothing would be kept: better no instance than one that only seems to serve."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("%s has failed: this instance takes no more sockets", task.get_name(), exc_info=error)
            self.draining = True
            self._close_all()

    async def _close_store(self) -> None:
        if self._store is None or self._writer is None:
            return
        with contextlib.suppress(StoreDownError):
            await self._writer.answered(self.hub.book.seal())
        for task in self._storing:
            task.cancel()
        await asyncio.wait(self._storing)
        await self._store.close()

    def _written(self, new: list[Order], ids_taken: set[str]) -> None:
        """The store has what was noted, and these new orders, but for those whose ids were taken."""
        now = self.clock.now()
        for order in new:
            if order.command_id in ids_taken:
                self.hub.book.withdraw(order)
                self._taken.add(order.command_id)
            elif self._member is not None and (order.epoch is None or order.epoch != self.hub.epoch(order.agent_id)):
                self.hub.book.withdraw(order)
                self.hub.counts["queued"] += 1
            else:
                self.hub.owe(order, now)
                self._wake(order.agent_id)
        resting, self._resting = self._resting, []
        for session in resting:
            session.wake()

    def _replace(self, agent_id: str) -> None:
        if (session := self._sessions.get(self.hub.connected(agent_id) or 0)) is not None:
            session.end(Ending(REPLACED, "replaced by a newer connection"))

    def _close_all(self) -> None:
        _log.error("The store has not answered for a lease: all %d sockets are closed", len(self._sessions))
        for session in self._sessions.values():
            session.end(Ending(1012, "this instance has lost its store"))

    # --- what is not at hand -------------------------------------------------------------------------------------------

    async def look_up(self) -> None:
        """Resolve the acks of orders that are not at hand, however long it takes."""
        if self._member is not None:
            await self._member.look_up_patiently()

    async def before_poll(self, agent_id: object) -> None:
        """Raises StoreDownError."""
        if self._member is not None and isinstance(agent_id, str):
            await self._member.poll(agent_id)

    async def after_poll(self, agent_id: object) -> None:
        """Raises StoreDownError."""
        if self._member is not None and isinstance(agent_id, str):
            await self._member.polled(agent_id)

    async def owner(self, command_id: object) -> str | None:
        """Whose command it is; None where it is not known. Raises StoreDownError."""
        return self.hub.owner(command_id) if self._member is None else await self._member.owner(command_id)

    async def order(self, command_id: str) -> Order:
        """Raises CallError (404) or StoreDownError."""
        return self.hub.order(command_id) if self._member is None else await self._member.order(command_id)

    async def orders(self, agent_id: str | None = None, status: str | None = None, limit: int = 100) -> list[Order]:
        """The newest first. Raises StoreDownError."""
        if self._member is None:
            return self.hub.orders(agent_id, status, limit)
        return await self._member.orders(agent_id, status, limit)

    async def events(self, agent_id: str | None = None, event_type: str | None = None, limit: int = 100) -> list[Told]:
        """What agents have told of, the newest first. Raises StoreDownError."""
        if self._member is None:
            return self.hub.events.listed(agent_id, event_type, limit)
        return await self._member.events(agent_id, event_type, limit)

    async def agents(self) -> list[dict[str, Any]]:
        """As GET /admin/agents shows them. Raises StoreDownError."""
        return self.hub.agents() if self._member is None else await self._member.agents()

    # --- ASGI ----------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_framed_twice(scope["headers"]):
            unread = refusal(CallError(400, "Content-Length or Transfer-Encoding expected, found both"))
            unread.headers["Connection"] = "close"
            await unread(scope, receive, send)
            return
        try:
            self._check_host(_header(scope, b"host"))
        except CallError as error:
            await refusal(error)(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    def _check_host(self, host: str) -> None:
        """On loopback only what names loopback is meant for us: a browser's page may come by another name (421). Raises CallError."""
        if self._loopback and (name := _host_name(host)) not in self.options.names and not is_loopback(name):
            raise CallError(421, f"this backend serves loopback only, not {plain(host, 100)}")

    async def open(self, session: Session, request: Upgrade) -> None:
        """Judge an upgrade, and give the session to its agent."""
        faults = self.faults
        await asyncio.sleep(faults.delay_seconds)
        try:
            agent_id = self._admitted(request)
            if faults.upgrade_status is not None:
                self._refuse(session, as_told(faults.upgrade_status, faults.upgrade_body, faults.upgrade_retry_after))
                return
            if self.draining:
                self._refuse(session, refusal(CallError(503, "this instance is going away", 1)))
                return
            epoch = await self._member.arrive(agent_id) if self._member is not None else 0
        except CallError as error:
            self._refuse(session, refusal(error))
            return
        except StoreDownError as error:
            self._refuse(session, refusal(CallError(503, str(error), 1)))
            return
        if session.is_lost:
            await self._left(agent_id, epoch)
            return
        session.accept()
        if faults.close_code is not None:
            self.hub.counts["connects_closed"] += 1
            self.moved()
            session.end(Ending(faults.close_code, "as told"))
        elif (present := self.hub.epoch(agent_id)) is not None and present > epoch:
            session.end(Ending(REPLACED, "replaced by a newer connection"))
        else:
            await self._begin(session, agent_id, epoch)

    async def _begin(self, session: Session, agent_id: str, epoch: int) -> None:
        now = self.clock.now()
        generation, replaced = self.hub.connect(agent_id, now, epoch)
        if replaced is not None and (old := self._sessions.get(replaced)) is not None:
            old.end(Ending(REPLACED, "replaced by a newer connection"))
        session.begin(agent_id, generation, epoch, now.mono)
        self._sessions[generation] = session
        self.moved()
        _log.info("connected", extra={"fields": {"agent": plain(agent_id), "generation": generation, "epoch": epoch}})
        if self._member is not None:
            await self._member.give_all(agent_id)

    def ended(self, session: Session, ending: Ending) -> None:
        """The connection is no more."""
        self.hub.disconnect(session.agent_id, session.generation, ending)
        lasted = self.clock.now().mono - session.opened_at
        self.hub.durations["connected"].add(lasted)
        _log.info(
            "ended",
            extra={"fields": {"agent": plain(session.agent_id), "generation": session.generation, "seconds": round(lasted, 3)}},
        )
        if self._member is None:
            del self._sessions[session.generation]
            self.moved()
        else:
            leaving = asyncio.create_task(self._leave(session), name=f"backend leaving {session.generation}")
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, session: Session) -> None:
        try:
            await self._left(session.agent_id, session.epoch)
        finally:
            del self._sessions[session.generation]
            self.moved()

    async def _left(self, agent_id: str, epoch: int) -> None:
        if self._member is not None:
            await self._member.leave(agent_id, epoch)

    async def _refused(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, CallError)
        self.hub.counts[f"calls_refused_{error.status}"] += 1
        return refusal(error)

    def _refuse(self, session: Session, response: Response) -> None:
        self.hub.counts["connects_refused"] += 1
        _log.info("upgrade refused", extra={"fields": {"status": response.status_code}})
        self.moved()
        session.refuse(response)

    def _admitted(self, request: Upgrade) -> str:
        """The agent that dials. Raises CallError."""
        path, _, query = request.path.partition("?")
        if unquote(path) != "/edge/ws":
            raise CallError(404, "no such call")
        self._check_host(_first(request, "Host"))
        header = _first(request, "X-Edge-Agent-Id")
        try:
            named = parse_qs(query, errors="strict").get("edge_agent_id", [header])
        except ValueError:
            raise CallError(400, "edge_agent_id: percent-encoded UTF-8 expected") from None
        agent_id = id_of(named[0], "edge_agent_id")
        if header not in {"", agent_id}:
            raise CallError(403, "X-Edge-Agent-Id and edge_agent_id name two agents")
        try:
            check_agent(_first(request, "Authorization"), self.secrets, agent_id, self.clock.now().utc)
        except CallError as error:
            raise CallError(403, error.sentence) from None
        self.hub.admit(agent_id, self.clock.now())
        return agent_id


class BackendThread:
    """The same backend in a thread and loop of its own: `with BackendThread() as thread: thread.call(thread.backend.queue(…))`."""

    def __init__(self, options: Options | None = None) -> None:
        self.backend: ReferenceBackend
        self._options = options
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="reference backend", daemon=True)

    def __enter__(self) -> Self:
        """Raises what ReferenceBackend raises."""
        self._thread.start()
        self._up.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def call(self, work: Coroutine[Any, Any, T], within: float = 30.0) -> T:
        """Run a coroutine in the backend's loop, from another thread. Raises TimeoutError."""
        return self.submit(work).result(within)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the backend's loop, from another thread; it is cancelled when the backend ends."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        """Call it in the backend's loop, from another thread; nothing where that has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that started this one
            self._error = error
            self._up.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with ReferenceBackend(self._options) as self.backend:
            self._up.set()
            await self._stop.wait()


def _first(request: Upgrade, name: str) -> str:
    """A header's value, or nothing."""
    return next(iter(request.headers.get_all(name)), "")


def _header(scope: Scope, wanted: bytes) -> str:
    """A header's value, or nothing."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted), "")


@lru_cache
def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


@lru_cache
def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno in {48, 98, 10048}:
            raise PortTakenError(f"port {port} on {host} is taken by another program") from None
        raise CannotServeError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; asyncio does it only where the protocol is named
    return listening


async def _store_down(_request: Request, error: Exception) -> Response:
    return refusal(CallError(503, str(error), 1))


async def _no_such_call(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer({"error": error.detail}, error.status_code)


async def _gone(_request: Request, _error: Exception) -> Response:
    _log.debug("A caller left in the middle of its body")
    return answer({"error": "incomplete"}, 400)


async def _crashed(_request: Request, error: Exception) -> Response:
    _log.error("A call failed: %s", type(error).__name__, exc_info=error)
    return answer({"error": "the backend failed"}, 500)
