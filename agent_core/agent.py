"""The shell around the engine: one event loop owns it, everything else posts events to it or performs its effects (ARCHITECTURE §1).

A turn, called by the first event after the last one or by the engine's own alarm: take all events at hand, let the engine handle them as
one step, perform its effects in order.
"""

import asyncio
import logging
import random
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from msgspec.structs import replace

from agent_core.attachments import Attachments
from agent_core.black_box import BlackBox, Incident, keep
from agent_core.channels.base import Channel
from agent_core.channels.credentials import Credentials
from agent_core.channels.http import PollingChannel, Sent
from agent_core.channels.network import failure_of
from agent_core.channels.websocket import WebSocketChannel
from agent_core.clock import Clock, Moment, SystemClock
from agent_core.config import Config
from agent_core.config.layers import ConfigError
from agent_core.config.origin import Origin, adopted, differences
from agent_core.control.server import ControlServer
from agent_core.daemon_threads import DAEMON_THREADS
from agent_core.engine import Engine
from agent_core.engine.settings import KEYS as SETTING_KEYS
from agent_core.engine.settings import settings_of
from agent_core.events import (
    AbortSocket,
    AcksPosted,
    CancelRequested,
    CancelRunning,
    CloseSocket,
    CommandFinished,
    CommandsPolled,
    CommandsReceived,
    ConfigReloaded,
    Effect,
    Event,
    EventsRecalled,
    Execute,
    Failure,
    Finish,
    FollowDeliveries,
    LedgerOpened,
    MarkTaken,
    MessagePosted,
    OpenSocket,
    Poll,
    PollAnswered,
    PollFailed,
    PollingModeChosen,
    PostAcks,
    PostMessage,
    Probe,
    ReadInbound,
    Recall,
    Recalled,
    RecallEvents,
    Record,
    RecordFailed,
    Register,
    RegistrationFailed,
    ReloadFailed,
    ReplayRequested,
    ResolveRequested,
    RunSettled,
    Send,
    SendStatus,
    SetLogLevel,
    Settle,
    Started,
    TakeMark,
    Trouble,
)
from agent_core.feed import Feed, FeedEntry, LogEntry
from agent_core.frames import Command, dump_status
from agent_core.handlers import REGISTRY, UNSUPPORTED, check, run, sound, start, traits_for
from agent_core.journal import Journal
from agent_core.journal.data_dir import data_dir
from agent_core.journal.writer import LedgerBusy
from agent_core.messengers import Context
from agent_core.messengers.choice import messenger_for
from agent_core.plain import plain
from agent_core.plugins import load_plugins
from agent_core.records import Arrival, Outcome, Remembered
from agent_core.redaction import Redactor
from agent_core.secret_sources import SecretMissing, Secrets, SecretUnavailable, source_of
from agent_core.snapshot import ConsoleView, Snapshot

if TYPE_CHECKING:
    from agent_core.filters import Ask
    from agent_core.messengers.imessage.watcher import InboundWatcher
    from agent_core.monitoring.server import Monitoring
    from agent_core.recording import Recorder
    from agent_core.search import Page, Query
    from agent_core.signatures import Signatures
    from agent_core.threads import ThreadPage, ThreadQuery

HEARTBEAT = 1.0
"""Seconds between two looks at the clocks at the latest: a sleep of the machine shows within this."""
PUBLISH_EVERY = 0.05
RECALL_AGAIN = 0.5
CLOSE_WITHIN = 2.0
SETTLE_WITHIN = 900.0
SLOW_TURN = 0.1
WATCH_EVERY = 1.0
AT_ONCE = frozenset((*SETTING_KEYS.values(), "backend.polling", "console.texts", "console.bell", "console.notify"))
"""The keys that change while the agent runs; those that are neither here nor in REDIALLED wait for its next start."""
REDIALLED = frozenset({"backend.url", "backend.websocket_url", "websocket.max_frame_bytes"})
"""The keys that change with a new connection, which is made at once."""
MAX_ARRIVALS = 500
"""Commands taken in one turn: a few ten milliseconds with what must be looked up (PROMISES P11)."""

MAX_SIGNED_ARRIVALS = 50
"""The same where each signature is looked at."""

ENTRIES = get_args(FeedEntry)

log = logging.getLogger("edge")
LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
Asking = ReplayRequested | CancelRequested | ResolveRequested
ASKING = get_args(Asking)
"""What the operator asks for by a command's id, for which the journal is looked up."""
BRINGING = (CommandsReceived, PollAnswered, MessagePosted)
"""What brings commands."""


class Agent:
    """One agent: `await run()` until a StopRequested is done. `post` may be called from any thread."""

    def __init__(
        self, config: Config, *, clock: Clock | None = None, seed: int | None = None, host: str = "",
        log_to: Callable[[Sequence[FeedEntry]], None] | None = None, recorder: "Recorder | None" = None, viewed: bool = True,
        redactor: Redactor | None = None, cautions: Sequence[str] = (), origin: Origin | None = None,
    ) -> None:  # fmt: skip
        """`host` is this machine's name for the console; `log_to` gets the feed's entries, a turn's at a time.

        `recorder` keeps the run, and brings the seed for it. Where it is not `viewed`, the feed stays empty. `redactor` is the log's:
        it learns here what a registration gives. `cautions` are told first. With an `origin` the configuration is read anew
        where its files change.
        """
        self.config = self._configured = config
        self._origin = origin
        self._looked = self._loaded = origin.look() if origin is not None else ()
        self._log = log_to or (lambda _entries: None)
        self._redactor = redactor or Redactor(*config.secrets)
        self.feed = Feed(redacted=self._redactor.entries)
        self._viewed = self._viewed_inside = viewed
        self._clock = clock or SystemClock()
        self._recorder = recorder
        self._host = host
        utc = self._clock.now().utc
        self._told: list[FeedEntry] = [LogEntry(utc, "WARNING", plain(text)) for text in cautions]
        self._told += (LogEntry(utc, "INFO", f"Loaded {plugin}") for plugin in load_plugins())
        self._dice = random.Random(recorder.seed if recorder is not None else seed).random
        self._messenger = messenger_for(config)
        self._registry = dict(REGISTRY)
        self._inbound = self._watcher()
        self._signatures = _signatures(config)
        traits = traits_for(self._messenger, self._registry, self._held_up)
        self._engine = Engine(config, traits, host, rows=viewed or recorder is not None)
        if recorder is not None:
            recorder.begin(config, traits, self._clock.now(), self._redactor)
        self._credentials = Credentials(config, self._redactor, source_of(config.auth), self._say)
        self._staging = self._attachments(config)
        self._journal = Journal(data_dir(config), config.ledger, self.post, clock=self._clock, policy=config.policy)
        self._inbox: list[Event] = []
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._early = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._watching: asyncio.TimerHandle | None = None
        self._thread_id = 0
        self.turned_at: float | None = None
        """When, on the monotonic clock, the engine turned last; any thread may look."""
        self._lag_ms = 0.0
        self._published = self.present()
        self._publish_timer: asyncio.TimerHandle | None = None
        self._observed = False
        self._black_box = BlackBox()

    # --- from any thread -------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Tell the engine; a no-op once the agent has ended."""
        loop = self._loop
        if loop is None:
            self._inbox.append(event)
            return
        with suppress(RuntimeError):
            if threading.get_ident() == self._thread_id:
                self._accept(event)
            else:
                loop.call_soon_threadsafe(self._accept_at_once, event)

    def snapshot(self) -> Snapshot:
        """The latest published present; asking for it keeps it published, at most 20 times a second."""
        if not self._observed:
            self._observed = True
            if threading.get_ident() == self._thread_id:
                self._published = self.present()
        return self._published

    def present(self) -> Snapshot:
        """The present itself; on the agent's own thread only."""
        present = self._engine.snapshot(self._clock.now(), self._lag_ms)
        agent_id, scheduled = self._redactor.within((present.agent_id, present.scheduled))
        said = self._configured.console
        console = ConsoleView(said.texts, said.bell, said.notify)
        return replace(present, agent_id=agent_id, scheduled=scheduled, console=console)

    def look_on(self, viewers: int) -> None:
        """How many viewers in other processes want feed entries; on the agent's own thread only. With none, none are kept."""
        if self._viewed_inside or self._viewed == bool(viewers):
            return
        self._viewed = bool(viewers)
        self._engine.show_rows(wanted=self._viewed or self._recorder is not None)
        if not self._viewed:
            self.feed.clear()

    def lookup(self, command_id: str) -> Remembered | None:
        """A command's whole record, read from the journal on a connection of its own."""
        from agent_core.journal.reader import find

        return self._redactor.within(find(data_dir(self.config), command_id))

    def search(self, query: "Query") -> "Page":
        """One page of the ledger, read as `lookup` does. Raises FilterError, NoLedger."""
        from agent_core.journal.search import page

        return page(data_dir(self.config), query, self._redactor.entries)

    def asked(self, ask: "Ask", after: int) -> tuple[set[int], int]:
        """The commands behind that number that are so, and the last number, read as `lookup` does. Raises FilterError, NoLedger."""
        from agent_core.filters import FilterError
        from agent_core.journal.reader import asked

        try:
            return asked(data_dir(self.config), ask.field, ask.value, after)
        except KeyError:
            raise FilterError(f"the ledger cannot be asked for {ask.field}:{ask.value}") from None

    def words(self, seqs: Sequence[int]) -> dict[int, str]:
        """How the messages of these commands begin, read as `lookup` does. Raises NoLedger."""
        from agent_core.journal.reader import first_words

        return {seq: self._redactor(text) for seq, text in first_words(data_dir(self.config), seqs).items()}

    def thread(self, query: "ThreadQuery") -> "ThreadPage":
        """One page of a thread, read as `lookup` does. Raises NoLedger."""
        from agent_core.journal.threads import thread_page

        return thread_page(data_dir(self.config), self._redactor, query)

    # --- on the agent's own loop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until stopped. Raises what ended a core task, never quietly."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(DAEMON_THREADS)
        self._thread_id = threading.get_ident()
        self._journal.start()
        self._staging.clear()
        control = ControlServer(self, data_dir(self.config), self._host)
        monitoring = self._monitored()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._socket: Channel = WebSocketChannel(
                    self.config, self._credentials, self._clock, self._accept_at_once, self._spawn_at_edge
                )
                self._http = PollingChannel(self.config, self._credentials, self._clock, self._accept)
                self._background: set[asyncio.Task[None]] = set()
                await self._await_ledger()
                await control.open()
                self._over = self._loop.create_future()
                self._inbox.append(Started())
                self._turn()
                if self._origin is not None:
                    self._watch()
                await self._over
                if self._failure is not None:
                    raise self._failure
                for task in self._background | self._running:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from group_error
        finally:
            for timer in (self._alarm, self._watching):
                if timer is not None:
                    timer.cancel()
            self._published = self.present()
            await control.close()
            if monitoring is not None:
                monitoring.stop()
            await self._http.close()
            if self._inbound is not None:
                self._inbound.close()
            await self._close_messenger()
            self._journal.close()
            if self._recorder is not None:
                self._recorder.close()

    def _watcher(self) -> "InboundWatcher | None":
        """For what comes in, and the command that fetches attachments of it. Raises MessengerError."""
        if not self.config.inbound.enabled:
            return None
        from agent_core.messengers.imessage.fetching import FETCH_ATTACHMENT, TRAIT, AttachmentFetcher
        from agent_core.messengers.imessage.watcher import inbox_of, watcher_for

        inbox = inbox_of(self.config)
        fetcher = AttachmentFetcher(inbox, lambda: self.config.backend.url, self._put)
        self._registry[FETCH_ATTACHMENT] = fetcher.fetch, TRAIT
        return watcher_for(self.config, inbox, self.post, self._clock)

    def _attachments(self, config: Config) -> Attachments:
        return Attachments(config, lambda: self._credentials.headers(self._clock.now()))

    async def _put(self, url: str, path: Path) -> Sent:
        return await self._http.put(url, path)

    def _monitored(self) -> "Monitoring | None":
        if self.config.monitoring.port is None:
            return None
        from agent_core.monitoring.server import Monitoring

        monitoring = Monitoring(self, self.config.monitoring.port)
        monitoring.start()
        return monitoring

    async def _close_messenger(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._messenger.close()
        except Exception as error:  # noqa: BLE001  (a messenger of somebody else's must not keep the agent from ending)
            log.warning("the messenger could not be closed: %s", plain(error))

    async def _await_ledger(self) -> None:
        """Let the journal say how it stands before the link starts, so that a normal start takes commands from the first moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while not any(isinstance(event, LedgerOpened | RecordFailed) for event in self._inbox):
                    self._early.clear()
                    await self._early.wait()

    def _accept(self, event: Event) -> None:
        if self._over is None:
            self._early.set()
        elif not self._inbox:
            asyncio.get_running_loop().call_soon(self._turn)
        self._inbox.append(event)

    def _accept_at_once(self, event: Event) -> None:
        """With a turn of its own where none is coming, which spares a round of the loop; never from within a turn."""
        if self._over is None or self._inbox:
            self._accept(event)
        else:
            self._inbox.append(event)
            self._turn()

    def _turn(self) -> None:
        """One turn, and the alarm for the engine's next deadline. What it raises ends the agent."""
        assert self._over is not None
        if self._over.done():
            return
        now = self._clock.now()
        try:
            self._step(now)
        except BaseException as error:  # noqa: BLE001  (the edge: `run` raises it, whatever it is)
            self._failure = error
        self.turned_at = now.mono
        if self._failure is not None or self._engine.finished:
            if not self._over.done():
                self._over.set_result(None)
            return
        after = self._clock.now().mono
        self._set_alarm(after)
        if after - now.mono > SLOW_TURN:
            log.info("one turn took %.0f ms", (after - now.mono) * 1_000)

    def _set_alarm(self, now: float) -> None:
        """Where there is one that rings earlier it stays: a look at the clocks too many is cheaper than a new alarm each turn."""
        due = max(now, min(self._engine.wake_at, now + HEARTBEAT))
        if self._alarm is not None:
            if self._alarm_at <= due:
                return
            self._alarm.cancel()
        self._alarm, self._alarm_at = asyncio.get_running_loop().call_later(due - now, self._ring), due

    def _ring(self) -> None:
        self._alarm = None
        if not self._inbox:
            self._lag_ms = max(0.0, self._clock.now().mono - self._alarm_at) * 1_000
            self._turn()

    def _step(self, now: Moment) -> None:
        """Everything at hand, or only the clock."""
        events = self._take()
        effects = self._engine.handle_all(events, now, self._dice)
        if self._recorder is not None:
            self._recorder.step(now, events, effects, self._engine.vitals.phase)
        self._perform_all(effects, now.utc)
        if self._told:
            if self._viewed:
                self.feed.extend(self._told)
            self._log(self._told)
            self._black_box.tell(self._told)
            self._told = []
        if now.mono >= self._black_box.due_at or self._engine.phase is not self._black_box.phase:
            self._look_for_incidents()
        self._publish_soon()

    def _look_for_incidents(self) -> None:
        for incident in self._black_box.look(self.present()):
            assert self._loop is not None
            keeping = self._loop.run_in_executor(None, keep, data_dir(self.config), incident, self._black_box.steps, self._redactor)
            keeping.add_done_callback(partial(self._tell_of_incident, incident))

    def _tell_of_incident(self, incident: Incident, keeping: "asyncio.Future[Path]") -> None:
        if keeping.cancelled():
            return
        if (error := keeping.exception()) is not None:
            self._say("WARNING", f"What led to the incident ({incident}) cannot be kept: {plain(error, 200)}")
        else:
            self._say("INFO", f"What led to the incident ({incident}) is kept: edge-console replay --ui {keeping.result()}")

    def _take(self) -> list[Event]:
        """The events at hand with what the journal remembers, or as many of them as bring MAX_ARRIVALS commands; the rest is next."""
        inbox, self._inbox = self._inbox, []
        room = MAX_ARRIVALS if self._signatures is None else MAX_SIGNED_ARRIVALS
        events: list[Event] = []
        for number, event in enumerate(inbox):
            if isinstance(event, BRINGING):
                arrivals = event.arrivals[:room]
                room -= len(arrivals)
                known = tuple(map(self._recall, arrivals))
                if len(arrivals) < len(event.arrivals):
                    events.append(_part(event, known))
                    self._inbox = [replace(event, arrivals=event.arrivals[len(arrivals) :]), *inbox[number + 1 :]]
                    asyncio.get_running_loop().call_soon(self._turn)
                    break
                events.append(_whole(event, known))
            elif not isinstance(event, ASKING):
                events.append(event)
            elif (found := self._with_memory(event)) is not None:
                events.append(found)
        return events

    def _with_memory(self, event: Asking) -> Asking | None:
        if event.remembered is not None:
            return event
        try:
            return replace(event, remembered=self._journal.recall(event.command_id))
        except LedgerBusy as error:
            log.warning("the ledger cannot be read (%s): nothing is replayed, cancelled or resolved", error)
            return None

    def _recall(self, arrival: Arrival) -> Arrival:
        if self._signatures is not None and (unsigned := self._signatures.against(arrival.command)) is not None:
            arrival = replace(arrival, unsigned=unsigned)
        try:
            known = self._journal.look_up(self._engine.needs(arrival.command))
        except LedgerBusy as error:
            log.debug("the ledger cannot be read (%s): a command stays with the backend", error)
            return replace(arrival, unread=True)
        return replace(arrival, known=known) if known else arrival

    # --- reading anew ------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read configuration and secret anew, with no pause of anything; on the agent's own loop."""
        self._spawn_at_edge(self._reload(), "reload", ReloadFailed)

    async def _reload(self) -> None:
        if self._origin is None:
            await self._credentials.read_anew()
            return
        try:
            config = await asyncio.to_thread(self._origin.load)
        except (ConfigError, SecretMissing, SecretUnavailable) as error:
            self._accept(ReloadFailed(Failure(Trouble.GARBAGE, plain(str(error).replace("\n", "; "), 1_000))))
            return
        if source_of(self.config.auth) is not None:
            await self._credentials.read_anew()
        elif config.auth.secret != self._configured.auth.secret:
            self._credentials.take(Secrets(config.auth.secret.get_secret_value()))
        changed = tuple(key for key in differences(self._configured, config) if key in AT_ONCE)
        others = [key for key in differences(self.config, config) if key not in AT_ONCE]
        redialled, later = (tuple(key for key in others if (key in REDIALLED) is wanted) for wanted in (True, False))
        if redialled:
            await self._move(adopted(self.config, config, redialled))
        if "backend.polling" in changed:
            self._accept(PollingModeChosen(config.backend.polling))
        level_is_set = "level" in config.logging.model_fields_set
        places = self.config.backend.url, self.config.socket_url
        self._accept(ConfigReloaded(settings_of(config), level_is_set, changed, later, redialled, *places))
        self._configured = config

    async def _move(self, config: Config) -> None:
        """What is asked of the backend from now on is asked where it is in `config`."""
        self.config = config
        self._staging = self._attachments(config)
        self._socket.configure(config)
        await self._http.configure(config)

    def _watch(self) -> None:
        """A change counts once it is a look old: whoever writes a file has ended by then."""
        assert self._origin is not None
        assert self._loop is not None
        before, self._looked = self._looked, self._origin.look()
        if self._looked == before != self._loaded:
            self._loaded = before
            self.reload()
        self._watching = self._loop.call_later(WATCH_EVERY, self._watch)

    # --- effects -----------------------------------------------------------------------------------------------

    def _perform_all(self, effects: list[Effect], utc: float) -> None:
        for effect in effects:
            if isinstance(effect, ENTRIES):
                self._told.append(effect)
            elif isinstance(effect, Execute):
                self._execute(effect, utc)
            elif isinstance(effect, Record):
                self._journal.write(effect.ticket, effect.changes)
            elif isinstance(effect, Send):
                self._socket.send(effect.generation, effect.frames)
            else:
                self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case OpenSocket(generation):
                self._socket.open(generation)
            case AbortSocket(generation):
                self._socket.abort(generation)
            case CloseSocket(generation, code, reason):
                self._socket.close(generation, code, reason)
            case Probe(generation):
                self._socket.probe(generation)
            case SendStatus(generation, scheduled, uptime):
                self._socket.send(generation, (dump_status(scheduled, uptime, memory_mb(), self._clock.now().utc),))
            case Poll(number=number):
                self._spawn_call(self._http.poll(effect), f"poll-{number}", partial(PollFailed, number))
            case PostAcks(acks):
                command_ids = tuple(command_id for command_id, _ in acks)
                self._spawn_call(self._http.post_acks(acks), "post-acks", partial(AcksPosted, (), command_ids))
            case PostMessage(seq):
                self._spawn_call(self._http.post_message(effect), f"post-message-{seq}", partial(MessagePosted, seq, ()))
            case Register():
                self._spawn_call(self._http.register(), "register", RegistrationFailed)
            case TakeMark() | Settle():
                self._ask_messenger(effect)
            case Recall() | RecallEvents():
                self._read(effect)
            case _:
                self._perform_rare(effect)

    def _perform_rare(self, effect: Effect) -> None:
        match effect:
            case ReadInbound(cursor):
                assert self._inbound is not None
                self._inbound.read_from(cursor)
            case FollowDeliveries(guids):
                assert self._inbound is not None
                self._inbound.follow(guids)
            case SetLogLevel(level):
                log.setLevel(LEVELS[level])
            case CancelRunning():
                for task in self._running:
                    task.cancel()
            case Finish():
                pass
            case _:
                raise AssertionError(effect)

    def _read(self, effect: Recall | RecallEvents) -> None:
        seqs = effect.seqs
        try:
            if isinstance(effect, Recall):
                self._accept(Recalled(self._journal.recall_all(seqs), seqs))
            else:
                self._accept(EventsRecalled(self._journal.recall_events(seqs), seqs))
        except LedgerBusy as error:
            log.debug("the ledger cannot be read (%s): acks and events wait", error)
            assert self._loop is not None
            self._loop.call_later(RECALL_AGAIN, self._read, effect)

    def _execute(self, effect: Execute, utc: float) -> None:
        """A coroutine as a task of its own; a plain function has answered."""
        seq, command = effect.seq, effect.command
        handler, _ = self._registry.get(command.command_type, UNSUPPORTED)
        began = time.monotonic()
        outcome = start(handler, command, Context(seq, utc, self._messenger, effect.message, effect.mark, self._staging))
        check(began, command, self._held_up)
        if isinstance(outcome, Outcome):
            self._accept(CommandFinished(seq, outcome))
            return
        task = self._spawn(self._run_handler(seq, command, outcome), f"command-{seq}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_handler(self, seq: int, command: Command, pending: Awaitable[Outcome]) -> None:
        self._accept(CommandFinished(seq, await run(pending, command, self.config.executor.timeout_seconds, self._held_up)))

    def _ask_messenger(self, effect: TakeMark | Settle) -> None:
        seq = effect.seq
        if isinstance(effect, Settle):
            self._spawn_call(self._settle(effect), f"settle-{seq}", partial(_unsettled, seq))
        else:
            self._spawn_call(self._take_mark(seq), f"mark-{seq}", lambda failure: MarkTaken(seq, None, failure.detail))

    async def _take_mark(self, seq: int) -> None:
        async with asyncio.timeout(self.config.executor.timeout_seconds):
            self._accept(MarkTaken(seq, await self._messenger.mark()))

    async def _settle(self, effect: Settle) -> None:
        async with asyncio.timeout(SETTLE_WITHIN):
            outcome = await self._messenger.settle(effect.mark, effect.message)
            self._accept(RunSettled(effect.seq, None if outcome is None else sound(outcome)))

    def _held_up(self, command: Command, seconds: float) -> None:
        text = f"Command {command.command_id} ({command.command_type}) held up the agent for {seconds:.1f} s; its handler must not block"
        self._say("WARNING", text)

    def _say(self, level: str, text: str) -> None:
        """With the next turn."""
        self._told.append(LogEntry(self._clock.now().utc, level, plain(text)))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._group.create_task(work, name=name)

    def _spawn_at_edge(self, work: Coroutine[Any, Any, None], name: str, failed: Callable[[Failure], Event]) -> asyncio.Task[None]:
        """A task that meets the world: whatever it raises becomes the event that `failed` makes of it, and never ends the agent."""
        task = self._spawn(self._end_as_event(work, failed), name)
        task.add_done_callback(lambda _task: work.close())  # a task that is cancelled before its first step never comes to its work
        return task

    async def _end_as_event(self, work: Coroutine[Any, Any, None], failed: Callable[[Failure], Event]) -> None:
        try:
            await work
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            log.debug("what was raised at the edge", exc_info=error)
            self._accept(failed(self._redactor.within(failure_of(error))))

    def _spawn_call(self, work: Coroutine[Any, Any, None], name: str, failed: Callable[[Failure], Event]) -> None:
        task = self._spawn_at_edge(work, name, failed)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # --- publishing --------------------------------------------------------------------------------------------

    def _publish_soon(self) -> None:
        if self._observed and self._publish_timer is None and self._loop is not None:
            self._publish_timer = self._loop.call_later(PUBLISH_EVERY, self._publish)

    def _publish(self) -> None:
        self._publish_timer = None
        self._published = self.present()


def _signatures(config: Config) -> "Signatures | None":
    if config.policy.signatures == "off":
        return None
    from agent_core.signatures import Signatures

    return Signatures(config.policy)


def _unsettled(seq: int, failure: Failure) -> Event:
    return RunSettled(seq, Outcome(error=f"what was sent cannot be looked up: {failure.detail}", unknown=True))


Bringing = CommandsReceived | PollAnswered | MessagePosted


def _whole(event: Bringing, known: tuple[Arrival, ...]) -> Event:
    return CommandsReceived(event.generation, known) if isinstance(event, CommandsReceived) else replace(event, arrivals=known)


def _part(event: Bringing, known: tuple[Arrival, ...]) -> Event:
    """The beginning of it, the rest of which follows."""
    return CommandsPolled(event.number, known) if isinstance(event, PollAnswered) else _whole(event, known)


def memory_mb() -> float:
    """The process's largest resident size so far, in MB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (2**20 if sys.platform == "darwin" else 2**10)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
