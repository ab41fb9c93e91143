"""The machines coupled: one `handle`, one `wake_at`, one `snapshot` (ARCHITECTURE §1).

    event ──► link, polling, ledger ──► _couple() ──► effects, in order

`_couple` derives what follows from where the machines stand, at the end of every step: whether polling runs, which way acks go, whether a
sync is due, what is written. So no step has to think of the others.

The disk is a part of the state: what must not happen before a step's changes are written is held back (barrier.py). Order of what falls
due at one instant: the link, the schedule, polling, the deafness check, shutdown.

What is shown is never better than the truth for longer than 15 s (P15): a socket that is silent for so long is dropped (link.py), an answer
to a poll vouches for no longer (polling.py), and `wake_at` has both ends, so that a viewer hears of them.

Nothing raises across this edge for anything the world can send; time and chance are arguments. One thing in here is not the engine's own:
an *inline* handler (`Trait.inline`), which only makes an outcome out of its arguments and so runs within the step, in a third of the time
that an Execute, a turn and a CommandFinished would take. It must be as pure as the engine; the agent hands it over and times it.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agent_core import __version__, frames
from agent_core.clock import INFINITY, Moment
from agent_core.config import Config
from agent_core.config.models import HOLD_ALL
from agent_core.engine.acks import MAX_IN_MEMORY, Route
from agent_core.engine.backoff import Dice
from agent_core.engine.barrier import Barrier
from agent_core.engine.clock_offset import ClockOffset
from agent_core.engine.inbound import Inbound
from agent_core.engine.ledger import Ledger
from agent_core.engine.link import Link
from agent_core.engine.polling import Polling
from agent_core.engine.repeats import Repeats
from agent_core.engine.settings import Settings, settings_of
from agent_core.engine.upstream import Upstream
from agent_core.entries import Trait
from agent_core.events import (
    AcksPosted,
    BackendClockRead,
    CancelRequested,
    CancelRunning,
    CommandFinished,
    CommandsPolled,
    CommandsReceived,
    ConfigReloaded,
    DeliveriesSeen,
    DialFailed,
    DrainRequested,
    Effect,
    Event,
    EventsRecalled,
    Finish,
    FrameReceived,
    Heard,
    HeldApproved,
    HeldRefused,
    HoldChosen,
    InboundFailed,
    InboundRead,
    IntakePaused,
    IntakeResumed,
    LedgerOpened,
    Lost,
    MarkTaken,
    MessagePosted,
    Occurred,
    Opened,
    PermissionsLost,
    PollAnswered,
    PollFailed,
    PollingModeChosen,
    Ponged,
    Recalled,
    ReconnectRequested,
    Recorded,
    RecordFailed,
    Registered,
    RegistrationFailed,
    ReloadFailed,
    ReplayRequested,
    ResolveRequested,
    RunSettled,
    Send,
    SendStatus,
    SetLogLevel,
    SettingReset,
    Started,
    StopRequested,
    Ticked,
)
from agent_core.feed import LogEntry
from agent_core.filters import FilterError
from agent_core.frames import Frame, FrameError, as_json
from agent_core.latency import Latencies
from agent_core.plain import plain
from agent_core.records import CLOCK_OFFSET, HOLD, INBOUND_CURSOR, PAUSED, Arrival, SettingDropped, SettingStored, Via
from agent_core.snapshot import DiskView, LatencyView, Phase, Snapshot

HOUR = 3_600.0
CLOCK_GRAIN = 0.5
"""Seconds: how exactly a Date of whole seconds is known."""
WS = Via.WS


@dataclass(slots=True)
class Polled:
    """What the present answer to a poll has brought so far: the ids that were new, and how many were not taken."""

    fresh: set[str] = field(default_factory=set)
    rejected: int = 0


class Vitals(NamedTuple):
    """What can be checked after every step, at a fraction of a snapshot's cost."""

    phase: Phase
    way: str
    deadline: float | None
    generation: int
    attempt: int
    agent_id: str | None
    polling: bool
    poll_in_flight: bool
    poll_at: float
    outbox: int
    running: int


class Engine:
    """The whole agent but its I/O. Not thread-safe: one event loop owns it."""

    def __init__(
        self, config: Config, traits: Mapping[str, Trait], host: str = "", *, max_in_memory: int = MAX_IN_MEMORY, rows: bool = True
    ) -> None:
        """`max_in_memory` acks at most are at hand while they wait for proof; the journal has the others.

        Without `rows` there is no CommandEntry, which costs a twentieth of what a command does and which only a viewer needs.
        """
        self._config = config
        self._backend_url, self._socket_url = config.backend.url, config.socket_url
        self._host = host
        self._effects: list[Effect] = []
        self._emit = self._effects.append
        self._link = Link(config, self._emit)
        self._polling = Polling(config, self._emit)
        self._repeats = Repeats(self._emit)
        self._settings = Settings(settings_of(config), level_is_set="level" in config.logging.model_fields_set)
        self._barrier = Barrier(self._emit)
        self._latencies = Latencies()
        self._clock_offset = ClockOffset()
        self._noted_offset: float | None = None
        posts = config.inbound.dialect == "edge_message"
        self._upstream = Upstream(self._emit, self._barrier.change, self._barrier.hold, self._repeats, posts=posts)
        self._inbound = Inbound(
            self._emit, self._barrier.change, self._barrier.hold, self._repeats, self._upstream, enabled=config.inbound.enabled
        )
        self._ledger = Ledger(
            config, traits, self._emit, self._barrier, self._repeats, self._latencies, self._settings, self._upstream, self._inbound,
            max_in_memory, rows=rows,
        )  # fmt: skip
        self._settles = any(trait.settles for trait in traits.values())
        self._started: Moment | None = None
        self._now = Moment(0.0, 0.0)
        self._dice: Dice = lambda: 0.0
        self._offset: float | None = None
        self._promised = INFINITY
        self._trouble: str | None = None
        self._was_online = False
        self._malformed = 0
        self._polled = Polled()
        self._suspects: set[str] = set()
        self._deaf_check_at = self._post_acks_at = INFINITY
        self._stop_by: float | None = None
        self._draining = False
        self._drain_by = 0.0
        self._history: deque[tuple[float, str]] = deque(maxlen=720)
        self._revision = 0
        self.finished = False
        self.needs = self._ledger.needs
        """What the agent must look up in the journal before it hands over a command."""

    # --- the three faces -----------------------------------------------------------------------------------------

    def handle(self, event: Event, now: Moment, dice: Dice) -> list[Effect]:
        """One step: what has happened, when, and the dice for it. Returns what to do, in order."""
        return self.handle_all((event,), now, dice)

    def handle_all(self, events: Iterable[Event], now: Moment, dice: Dice) -> list[Effect]:
        """One step for several events of one instant: what follows from them is derived once."""
        self._effects.clear()
        self._now, self._dice = now, dice
        self._notice_sleep()
        for event in events:
            self._dispatch(event)
        if self._started is not None and not self.finished:
            self._fire()
            self._couple()
            self._ledger.forget_settled()
        self._promised = self._next_deadline()
        self._revision += 1
        return self._effects.copy()

    @property
    def wake_at(self) -> float:
        """When, on the monotonic clock, `handle(Ticked())` is due at the latest; infinity for never."""
        return self._promised

    def _next_deadline(self) -> float:
        if self._ledger.may_start or self._barrier.may_release:
            return self._now.mono
        stop_by = INFINITY if self._stop_by is None else self._stop_by
        drain_by = self._drain_by if self._draining and self._now.mono < self._drain_by else INFINITY
        post_at = INFINITY
        if self._upstream.posts is not None and self._link.agent_id is not None and self._stop_by is None:
            post_at = max(self._now.mono, self._upstream.posts.wake_at)
        return min(
            self._link.wake_at, self._polling.wake_at, self._repeats.wake_at, self._ledger.wake_at(self._now),
            self._post_acks_at, self._deaf_check_at, stop_by, drain_by, post_at,
        )  # fmt: skip

    def snapshot(self, now: Moment, loop_lag_ms: float = 0.0) -> Snapshot:
        """The whole present as one frozen value."""
        ledger = self._ledger
        return Snapshot(
            revision=self._revision, at=now.mono, utc=now.utc, version=__version__, host=self._host,
            agent_id=plain(self._link.agent_id, 200) if self._link.agent_id else None,
            backend_url=self._backend_url, socket_url=self._socket_url,
            started_utc=self._started.utc if self._started else 0.0, clock_offset=self._clock_offset.seconds,
            link=self._link.view(now, tuple(self._history)), polling=self._polling.view(),
            commands=ledger.view(self._malformed, now), events=self._upstream.view(),
            latency=self._latency_view(now, loop_lag_ms),
            scheduled=ledger.scheduled(10), scheduled_count=ledger.scheduled_count, hold=ledger.approvals.text,
            hold_until_at=ledger.hold_until_at, hold_then="approve" if ledger.approvals.approves else "refuse",
            waits=ledger.waits(now), follows_deliveries=self._inbound.enabled and self._settles,
            disk=DiskView(self._trouble is None, self._trouble), stopping=self._link.stopping,
        )  # fmt: skip

    def _latency_view(self, now: Moment, loop_lag_ms: float) -> LatencyView:
        all_, at = self._latencies, now.mono
        return LatencyView(
            all_.socket.view(at), all_.polling.view(at), all_.run.view(at), all_.proof.view(at), all_.ping.view(at),
            all_.slowest_acks(), all_.last_ping, all_.jitter, loop_lag_ms,
        )  # fmt: skip

    def show_rows(self, *, wanted: bool) -> None:
        """Whether there are CommandEntries from now on: a viewer came, or the last one left."""
        self._ledger.show_rows(wanted=wanted)

    @property
    def phase(self) -> Phase:
        return self._link.phase

    @property
    def vitals(self) -> Vitals:
        link, polling, ledger = self._link, self._polling, self._ledger
        return Vitals(
            link.phase, self._way, link.deadline, link.generation, link.attempt, link.agent_id,
            polling.active, polling.in_flight, polling.due_at, ledger.acks.unproven, ledger.running,
        )  # fmt: skip

    @property
    def sizes(self) -> dict[str, int]:
        """How many items each growing collection holds."""
        return self._ledger.sizes | {
            "tickets": self._barrier.tickets,
            "history": len(self._history),
            "suspects": len(self._suspects),
            "repeats": len(self._repeats),
            "events": self._upstream.unproven,
        }

    # --- events --------------------------------------------------------------------------------------------------

    def _dispatch(self, event: Event) -> None:
        now = self._now
        match event:
            case CommandsReceived(generation, arrivals):
                self._commands_received(generation, arrivals)
            case CommandFinished():
                self._ledger.finished(event, now)
            case MarkTaken():
                self._ledger.mark_taken(event, now)
            case RunSettled():
                self._ledger.settled(event, now)
            case FrameReceived(generation, frame):
                self._frame_received(generation, frame)
            case Recorded():
                self._recorded(event)
            case Recalled():
                self._ledger.recalled(event, now)
            case Heard(generation):
                if self._link.is_current(generation):
                    self._link.heard(now, frame=False)
            case Ponged(generation):
                if self._link.is_current(generation):
                    self._link.probe_answered(now)
            case CommandsPolled() | PollAnswered() | PollFailed() | AcksPosted():
                self._http_answered(event)
            case _:
                self._dispatch_rare(event)

    def _http_answered(self, event: CommandsPolled | PollAnswered | PollFailed | AcksPosted) -> None:
        match event:
            case CommandsPolled(number, arrivals):
                if self._polling.is_current(number):
                    self._commands_polled(arrivals)
            case PollAnswered():
                self._poll_answered(event)
            case PollFailed(number, failure):
                self._polled = Polled()
                self._polling.failed(number, failure, self._now, self._dice)
            case AcksPosted():
                self._acks_posted(event)

    def _dispatch_rare(self, event: Event) -> None:
        now = self._now
        match event:
            case Ticked():
                pass
            case Started():
                self._started = now
                self._link.start(now)
            case LedgerOpened():
                self._open_ledger(event)
            case Opened(generation):
                self._link.opened(generation, now)
            case DialFailed(generation, failure) | Lost(generation, failure):
                self._link.failed(generation, failure, now, self._dice)
            case Registered(agent_id):
                self._link.registered(agent_id, now)
            case RegistrationFailed(failure):
                self._link.registration_failed(failure, now, self._dice)
            case RecordFailed(reason):
                self._record_failed(reason)
            case Occurred() | EventsRecalled() | MessagePosted() | InboundRead() | DeliveriesSeen() | InboundFailed():
                self._dispatch_upstream(event)
            case PermissionsLost(reason, permissions):
                self._say("WARNING", reason)
                for permission in permissions:
                    self._inbound.permission_lost(permission, reason, now)
            case BackendClockRead(least, most):
                self._clock_offset.read(least, most)
                self._note_clock_offset()
            case _:
                self._dispatch_wish(event)

    def _dispatch_upstream(self, event: Occurred | EventsRecalled | MessagePosted | InboundRead | DeliveriesSeen | InboundFailed) -> None:
        """What the backend is told of by itself."""
        now = self._now
        match event:
            case Occurred(occurrence):
                self._upstream.add(occurrence, now)
            case EventsRecalled():
                self._upstream.recalled(event, now)
            case MessagePosted():
                self._message_posted(event)
            case InboundRead():
                self._inbound.read(event, now, self._ledger.show_inbound)
            case DeliveriesSeen():
                self._inbound.seen(event, now)
            case InboundFailed():
                self._inbound.failed(event, now)

    def _dispatch_wish(self, event: Event) -> None:
        """What the operator wants, by the console or by a file."""
        now = self._now
        match event:
            case ReconnectRequested():
                self._link.force(now)
            case PollingModeChosen(mode):
                self._polling.choose(mode, now)
            case ReplayRequested():
                self._replay(event)
            case CancelRequested(command_id, remembered):
                if self._trouble is not None or not self._ledger.cancel(command_id, remembered, now):
                    self._say("WARNING", f"Command {command_id} cannot be cancelled: {self._trouble or 'it is not waiting'}")
            case HoldChosen(text):
                self._choose_hold(text)
            case HeldApproved() | HeldRefused():
                self._decide(event)
            case ResolveRequested():
                self._resolve(event)
            case ConfigReloaded():
                self._config_reloaded(event)
            case SettingReset(name):
                self._reset(name)
            case ReloadFailed(failure):
                self._say("ERROR", f"What was loaded before holds on: {failure.detail}")
            case IntakePaused() | IntakeResumed() | DrainRequested():
                self._choose_intake(event)
            case StopRequested():
                self._stop()
            case _:
                raise AssertionError(event)

    def _choose_hold(self, text: str) -> None:
        """For this run, and where the ledger can be written for the next ones."""
        approvals = self._ledger.approvals
        try:
            approvals.choose(text)
        except FilterError as error:
            self._say("WARNING", f"Held as before: {error}")
            return
        self._say("INFO", f"New commands are held: {approvals.text}" if approvals.text else "No new commands are held")
        if self._trouble is None:
            self._barrier.change(SettingDropped(HOLD) if approvals.is_configured else SettingStored(HOLD, approvals.text))

    def _restore_hold(self, text: str) -> None:
        try:
            self._ledger.approvals.choose(text)
        except FilterError as error:
            self._ledger.approvals.choose(HOLD_ALL)
            self._say("WARNING", f"Every new command is held: the filter that was chosen is none ({error})")

    def _decide(self, event: HeldApproved | HeldRefused) -> None:
        reason = self._trouble or ("stopping" if self._stop_by is not None else None)
        try:
            if reason is None and not self._decided(event):
                reason = "it is not held"
        except FrameError as error:
            reason = str(error)
        if reason is not None:
            word = "approved" if isinstance(event, HeldApproved) else "refused"
            self._say("WARNING", f"Command {event.command_id} cannot be {word}: {reason}")

    def _decided(self, event: HeldApproved | HeldRefused) -> bool:
        """False where it is not held. Raises FrameError."""
        if isinstance(event, HeldApproved):
            return self._ledger.approve(event.command_id, event.payload, self._now)
        return self._ledger.refuse(event.command_id, self._now)

    def _open_ledger(self, event: LedgerOpened) -> None:
        memory = event.memory
        self._barrier.restore(memory.last_command_id)
        kept = dict(memory.kept)
        cursor = kept.pop(INBOUND_CURSOR, None)
        if (hold := kept.pop(HOLD, None)) is not None:
            self._restore_hold(hold)
        if kept.pop(PAUSED, None) is not None:
            self._ledger.paused = True
            self._say("WARNING", "Intake is still paused, as the operator left it: `edge-console resume` takes commands again")
        self._apply(self._settings.restore({key.removeprefix("setting."): value for key, value in kept.items()}))
        if memory.forgotten:
            what = f"It does not know the last {memory.forgotten} command(s) that were taken here"
            self._say(
                "ERROR", f"The ledger is an older one, put in place of another. {what}: what the backend sends again of them runs again"
            )
        self._upstream.restore(memory.events, memory.next_event)
        self._inbound.restore(cursor, memory.receipts)
        self._ledger.restore(memory, self._now)
        self._take_again()

    def _take_again(self) -> None:
        """The disk can be written: what was not taken meanwhile is asked for."""
        if self._trouble is not None:
            self._trouble = None
            self._say("INFO", "The ledger can be written again; taking commands")
        if self._stop_by is None:
            self._ledger.open_intake(self._now)
            self._polling.sync_soon(self._now)

    def _commands_received(self, generation: int, arrivals: Iterable[Arrival]) -> None:
        if not self._link.is_current(generation):
            return
        self._link.heard(self._now, frame=True)
        self._link.delivers()
        take, now, new = self._ledger.take, self._now, False
        for arrival in arrivals:
            new |= take(arrival, WS, now)
        if new:
            self._link.brought_new(now)
        if self._suspects:
            self._suspects.difference_update(arrival.command.command_id for arrival in arrivals)

    def _frame_received(self, generation: int, frame: Frame) -> None:
        if not self._link.is_current(generation):
            return
        now = self._now
        match frame:
            case frames.Pong(seq):
                answered = self._link.ponged(seq, now)
                if answered is not None:
                    self._latencies.pinged(now.mono, answered[1] * 1_000)
                    self._ledger.acks.proved_to(answered[0], now)
                    self._upstream.proved_to(answered[0], now)
            case frames.Ping():
                self._emit(Send(generation, (frames.dump_pong(frame, now.utc),)))
            case frames.ConfigUpdate(values):
                self._configure(values)
            case frames.ErrorFrame(text):
                self._repeats.say(now, "WARNING", "errors of the backend", f"The backend says: {text}")
            case frames.Unknown(frame_type):
                self._malformed += 1
                self._repeats.say(now, "WARNING", "unknown frame types", f"Unknown frame type ignored: {plain(frame_type, 60)}")
            case frames.Malformed(reason):
                self._malformed += 1
                self._repeats.say(now, "WARNING", "malformed frames", f"Malformed frame ignored: {reason}")
            case _:
                pass
        self._link.heard(now, frame=True)

    def _poll_answered(self, event: PollAnswered) -> None:
        back, alone = self._polling.failing, self._polling.first
        purpose = self._polling.answered(event.number, self._now)
        if purpose is None:
            return
        if back or alone:
            self._link.hint(self._now, self._dice, alone=not back)
        self._malformed += len(event.malformed)
        for reason in event.malformed:
            self._repeats.say(self._now, "WARNING", "malformed commands", f"Malformed command in a sync answer ignored: {reason}")
        self._commands_polled(event.arrivals)
        polled, self._polled = self._polled, Polled()
        self._ledger.acks.arrived(event.carried, event.proven, self._now)
        self._ledger.acks.proved_ids(event.proven, "ack_events", self._now)
        self._upstream.arrived(event.proven, self._now)
        if event.settings:
            self._configure(event.settings)
        if purpose == "safety" and self._link.online:
            self._suspects = polled.fresh
            self._deaf_check_at = self._now.mono + self._config.timing.probe_within if polled.fresh else INFINITY
            if not (polled.fresh or polled.rejected):
                self._link.delivers()

    def _commands_polled(self, arrivals: Sequence[Arrival]) -> None:
        if arrivals:
            self._say("INFO", f"Received {len(arrivals)} command(s) via HTTP polling")
        before = self._ledger.rejected
        self._polled.fresh.update(one.command.command_id for one in arrivals if self._ledger.take(one, Via.POLL, self._now))
        self._polled.rejected += self._ledger.rejected - before

    def _acks_posted(self, event: AcksPosted) -> None:
        acks = self._ledger.acks
        refused, hold = acks.posted(event, self._polling.every, self._now, polls_fail=self._polling.failing)
        for command_id, why in refused:
            text = f"The backend does not take the ack of {command_id} ({why}); it is tried again, ever later"
            self._repeats.say(self._now, "WARNING", "refused acks", text)
        self._polling.acks_posted(event, self._now, self._dice, hold=hold or (bool(event.refused) and acks.overflowing))

    def _message_posted(self, event: MessagePosted) -> None:
        for arrival in event.arrivals:
            self._ledger.take(arrival, Via.POLL, self._now)
        if self._upstream.posts is not None:
            self._upstream.posts.posted(event, self._polling.every, self._now)

    def _recorded(self, event: Recorded) -> None:
        self._ledger.forgotten_up_to(event.horizon_utc)
        if event.lapsed is not None:
            self._ledger.lapsed(event.lapsed)
        self._barrier.recorded(event.ticket)
        if self._trouble is not None:
            self._take_again()

    def _note_clock_offset(self) -> None:
        """In the ledger, for whoever reads its times later: where it has changed by more than such a Date can tell."""
        offset, noted = self._clock_offset.seconds, self._noted_offset
        if self._trouble is None and offset is not None and (noted is None or abs(offset - noted) > CLOCK_GRAIN):
            self._noted_offset = offset
            self._barrier.change(SettingStored(CLOCK_OFFSET, f"{offset:.3f}"))

    def _record_failed(self, reason: str) -> None:
        if self._trouble is None:
            self._say("ERROR", f"The ledger cannot be written ({reason}); new commands stay with the backend until it can")
        self._trouble = plain(reason)
        self._ledger.close_intake()

    def _replay(self, event: ReplayRequested) -> None:
        past = event.remembered
        if past is None:
            self._say("WARNING", f"Nothing is remembered of command {event.command_id}; it cannot be replayed")
        elif event.dry_run:
            fields = past.command.payload if event.payload is None else event.payload
            self._say("INFO", f"Dry run of {event.command_id}: would run {past.command.command_type} with {as_json(fields)}")
        elif self._trouble is not None or self._stop_by is not None:
            self._say("WARNING", f"Command {event.command_id} cannot be replayed now: {self._trouble or 'stopping'}")
        else:
            self._ledger.replay(past, event.payload, self._now)

    def _resolve(self, event: ResolveRequested) -> None:
        past, name = event.remembered, plain(event.command_id, 200)
        if self._trouble is not None:
            self._say("WARNING", f"Command {name} cannot be resolved now: {self._trouble}")
        elif past is None or not self._ledger.resolve(past, event.resolution, event.by, self._now, event.guid):
            if past is None:
                why = "nothing is remembered of it"
            elif event.guid is not None and past.is_unresolved:
                why = f"{plain(event.guid, 100)} is none of its candidates, or another command's message"
            else:
                why = f"it is {past.state} and {past.resolution or 'needs nothing of the kind'}"
            self._say("WARNING", f"Command {name} cannot be resolved as {event.resolution}: {why}")
        else:
            which = "" if event.guid is None else f": it is the message {plain(event.guid, 100)}"
            self._say("INFO", f"Command {name} is resolved as {event.resolution} by {plain(event.by, 100)}{which}")

    # --- settings ------------------------------------------------------------------------------------------------

    def _configure(self, values: Mapping[str, Any]) -> None:
        """The backend may change a few settings, within bounds; the rest is refused and named (PROTOCOL §2, §7)."""
        if self._config.policy.signatures == "refuse":
            self._repeats.say(self._now, "WARNING", "unsigned settings", "Settings refused: they are not signed (policy.signatures)")
            return
        _, refused = self._settings.configure(values)
        if refused:
            self._repeats.say(self._now, "WARNING", "refused settings", "Settings refused: " + "; ".join(refused))

    def _couple_settings(self) -> None:
        accepted = self._settings.take_changed()
        self._apply(accepted)
        told = ", ".join(f"{name}={value}" for name, value in accepted.items())
        self._repeats.say(self._now, "INFO", "changes of settings", f"Settings changed: {told}")
        if self._trouble is None:
            for name, value in accepted.items():
                self._barrier.change(SettingStored(f"setting.{name}", str(value)))
                self._barrier.change(SettingStored(f"setting.{name}.at", f"{self._now.utc:.3f}"))

    def _config_reloaded(self, event: ConfigReloaded) -> None:
        self._apply(self._settings.reload(event.here, level_is_set=event.level_is_set))
        told = [f"{', '.join(event.changed)} changed"] if event.changed else []
        told += [f"{', '.join(event.redialled)} changed, so it dials anew"] if event.redialled else []
        told += [f"{', '.join(event.later)} from the next start on"] if event.later else []
        self._say("INFO", "Configuration read anew: " + ("; ".join(told) or "nothing changed"))
        if event.redialled:
            self._backend_url, self._socket_url = event.backend_url, event.socket_url
            self._link.move(event.socket_url, self._now)

    def _reset(self, name: str) -> None:
        value = self._settings.reset(name)
        if value is None:
            self._say("WARNING", f"{plain(name, 60)} was not changed by the backend: there is nothing to reset")
            return
        self._apply({name: value})
        for key in (f"setting.{name}", f"setting.{name}.at"):
            self._barrier.change(SettingDropped(key))
        self._say("INFO", f"Setting reset: {name}={value}, as configured here")

    def _apply(self, accepted: Mapping[str, Any]) -> None:
        for name, value in accepted.items():
            if name == "sync_interval":
                self._polling.poll_each(value)
            elif name == "ping_interval":
                self._link.ping_each(value)
            else:
                self._emit(SetLogLevel(value))

    # --- time ----------------------------------------------------------------------------------------------------

    def _notice_sleep(self) -> None:
        """The clocks moved apart, or our own deadline is long past: the machine slept, or this process was stopped."""
        offset = self._now.utc - self._now.mono
        drifted = self._offset is not None and abs(offset - self._offset) > self._config.timing.clock_jump
        stalled = self._now.mono - self._promised > self._config.timing.stall_threshold
        if self._offset is None or drifted:
            self._offset = offset
            self._clock_offset.forget()
        if (drifted or stalled) and self._started is not None and not self.finished:
            what = "The machine slept or its clock was set" if drifted else "This process was stopped for a while"
            self._say("WARNING", f"{what}; checking the link")
            self._link.woke(self._now, self._dice)
            self._polling.woke(self._now)

    def _fire(self) -> None:
        """Whatever is due."""
        now = self._now
        self._link.tick(now, self._dice)
        if self._barrier.may_release:
            self._ledger.release(self._barrier.release(), now)
        self._repeats.tick(now)
        self._ledger.tick(now)
        if self._link.status_due(now):
            uptime = now.mono - self._started.mono if self._started else 0.0
            self._emit(SendStatus(self._link.generation, self._ledger.scheduled_count, uptime))
        if now.mono >= self._deaf_check_at:
            self._deaf_check_at = INFINITY
            if self._suspects and self._link.online and not self._link.stopping:
                self._link.deafened(f"a sync brought {len(self._suspects)} command(s) that it should have pushed", now)
            self._suspects.clear()

    # --- coupling ------------------------------------------------------------------------------------------------

    def _couple(self) -> None:
        now, link, ledger = self._now, self._link, self._ledger
        online = link.online
        if online and not self._was_online:
            self._polling.sync_soon(now)
        elif self._was_online and not online:
            ledger.acks.unsend()
            self._deaf_check_at = INFINITY
        self._was_online = online
        if self._settings.changed:
            self._couple_settings()
        self._couple_polling()
        ledger.release(self._barrier.seal(), now)
        posts_from = self._polling.posts_from(socket_down=not online, pings_ignored=link.pings_ignored)
        http = link.agent_id is not None and now.mono >= posts_from
        ways = Route(link.generation if online else None, link.barrier, http, self._polling.carries)
        if online and not link.pings_ignored:
            ledger.acks.unpark_all()
        ledger.acks.route(ways, now)
        if online and link.pings_ignored:
            ledger.acks.prove_without_pongs(now, post=http)
        ledger.acks.recall(ways)
        if self._upstream.unproven:
            self._couple_events()
        self._post_acks_at = self._next_post(posts_from) if posts_from < INFINITY else INFINITY
        if ledger.acks.awaits_pong or (self._upstream.unproven and self._upstream.awaits_pong):
            link.want_proof(now)
        self._note_history()
        if self._draining and self._stop_by is None:
            self._end_of_drain()
        if self._stop_by is not None:
            self._continue_stop()

    def _couple_events(self) -> None:
        """By a socket whose pongs prove, else with the polls."""
        if self._by_socket:
            self._upstream.send(self._link.generation, self._link.barrier)
        else:
            self._upstream.unsend()
        if self._upstream.posts is not None and self._link.agent_id is not None and self._stop_by is None:
            self._upstream.posts.route(self._now)

    def _events_to_carry(self) -> tuple[tuple[str, str], ...]:
        return self._upstream.carry(by_socket=self._by_socket)

    @property
    def _by_socket(self) -> bool:
        return self._link.online and not self._link.pings_ignored

    def _next_post(self, posts_from: float) -> float:
        """When acks may be posted that may not now, or a refused one is due; infinity for never."""
        acks = self._ledger.acks
        if self._link.agent_id is None or not acks.unproven:
            return INFINITY
        return posts_from if posts_from > self._now.mono else acks.retry_at

    def _couple_polling(self) -> None:
        now = self._now
        if self._ledger.resync_due(now, self._polling.every):
            self._polling.sync_soon(now)
        if self._link.online and self._link.pings_ignored and self._upstream.waits:
            self._polling.sync_later(now)
        stopping = self._stop_by is not None
        self._polling.couple(
            now, self._dice, possible=self._link.agent_id is not None and not stopping, online=self._link.online,
            carry=self._ledger.acks.carry, events=self._events_to_carry, last_command_id=self._barrier.last_command_id,
            status=self._status,
        )  # fmt: skip

    def _status(self) -> dict[str, int]:
        return {"scheduled_messages": self._ledger.scheduled_count, "pending_acks": self._ledger.acks.unproven}

    @property
    def _way(self) -> str:
        """What brings commands now, as far as is known."""
        return "socket" if self._link.online else "polling" if self._polling.works else "down"

    def _note_history(self) -> None:
        """The hour's strip."""
        way = self._way
        if not self._history or self._history[-1][1] != way:
            self._history.append((self._now.utc, way))
        while len(self._history) > 1 and self._history[1][0] < self._now.utc - HOUR:
            self._history.popleft()

    # --- pause and drain -----------------------------------------------------------------------------------------

    def _choose_intake(self, event: IntakePaused | IntakeResumed | DrainRequested) -> None:
        self._ledger.paused = not isinstance(event, IntakeResumed)
        self._draining = isinstance(event, DrainRequested)
        if isinstance(event, DrainRequested):
            self._drain_by = self._now.mono + event.within
            self._say("INFO", "Draining: taking nothing new, finishing what is taken, proving every ack")
        else:
            self._say("INFO", "Intake paused: new commands stay with the backend" if self._ledger.paused else "Intake resumed")
            if self._trouble is None:
                self._barrier.change(SettingStored(PAUSED, f"{self._now.utc:.3f}") if self._ledger.paused else SettingDropped(PAUSED))

    def _end_of_drain(self) -> None:
        """Acks are waited for however long it takes; the policy's time, and a backend that takes no events, only until `_drain_by`."""
        if self._ledger.under_way or self._ledger.acks.unproven or self._barrier.tickets:
            return
        waiting = ((self._ledger.paced, "message(s) that the policy makes wait"), (self._upstream.unproven, "event(s) that are not proven"))
        left = " and ".join(f"{count} {what}" for count, what in waiting if count)
        if left and self._now.mono < self._drain_by:
            return
        self._say("INFO", "Drained: nothing runs, every ack is proven" + (f"; for the next start stay {left}" if left else ""))
        self._draining = False
        self._stop()

    # --- shutdown ------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """No new work; what runs may finish, then the link is closed with 1000 (P12)."""
        if self._stop_by is None:
            self._say("INFO", "Stopping: finishing what runs")
            self._ledger.close_intake()
            self._stop_by = self._now.mono + self._config.timing.stop_within

    def _continue_stop(self) -> None:
        now, link = self._now, self._link
        assert self._stop_by is not None
        overdue = now.mono >= self._stop_by
        if overdue and self._ledger.running and not link.stopping:
            self._emit(CancelRunning())
            self._say("WARNING", f"{self._ledger.running} command(s) still run; they are resolved at the next start")
        if not link.stopping and (overdue or not (self._ledger.running or self._barrier.tickets)):
            self._stop_by = INFINITY
            link.stop(now)
        if link.stopping and link.phase is Phase.STOPPED:
            self._repeats.close(now)
            self._say("INFO", "Stopped")
            self.finished = True
            self._emit(Finish())

    # --- words ---------------------------------------------------------------------------------------------------

    def _say(self, level: str, text: str) -> None:
        self._emit(LogEntry(self._now.utc, level, plain(text)))
