"""The commands: each id once in effect (PROTOCOL §4, PROMISES P1, P3); their acks are in acks.py.

    queued ──► running ──► completed | failed | interrupted
      ▲   └──────────────► cancelled
    scheduled ───────────► cancelled | missed
    held ────────────────► cancelled | refused, or on as a new one (approvals.py)

    to a messenger with a record of its own (`trait.settles`):

    queued ─ TakeMark ─► MarkTaken ─ running ─► its end was seen ──────────────► completed | failed
       ▲                                └─ nobody saw it ─ Settle ─► RunSettled ─► completed | failed | interrupted
       └─────────────────────────────────────────────────────────── it sent nothing

On disk first: `running` before a handler starts, the outcome before its ack goes out (barrier.py). A transactional handler has no effect
but the row that is written together with its outcome, so it need not wait to start; after a crash it simply runs again.

Invariants: an id is taken once, whatever way it came and however often; per thread first in, first out, one at a time; immediate and
high go first; cancels act at once; memory holds what is unsettled, the journal knows the rest and its answer comes with the event
(`Arrival`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from agent_core import frames
from agent_core.attention import candidates_of
from agent_core.clock import INFINITY, Moment, iso
from agent_core.config import Config
from agent_core.engine.acks import MAX_IN_MEMORY, RECALL_BATCH, Acks
from agent_core.engine.approvals import Approvals
from agent_core.engine.barrier import Barrier, Held
from agent_core.engine.cancels import CANCELS, RESCHEDULES, Names, Tombstones
from agent_core.engine.inbound import Inbound, guids_of
from agent_core.engine.lanes import Lanes
from agent_core.engine.policy import pace_of, rules_of
from agent_core.engine.recipients import recipient
from agent_core.engine.rejections import Rejections
from agent_core.engine.repeats import Repeats
from agent_core.engine.schedule import Schedule
from agent_core.engine.settings import Settings
from agent_core.engine.upstream import Upstream
from agent_core.entries import INTERNAL, ON_DISK, Ack, EffectClass, Entry, Inline, Outgoing, Trait, ack_of
from agent_core.events import CommandFinished, Effect, Execute, MarkTaken, ReadInbound, Recall, Recalled, RunSettled, Settle, TakeMark
from agent_core.feed import CommandEntry, LogEntry
from agent_core.figures import took
from agent_core.filters import FilterError
from agent_core.frames import NEEDS_ATTENTION, Command, FrameError, Occurrence, Rescheduling, Target, event_id_of
from agent_core.latency import Latencies
from agent_core.plain import plain
from agent_core.records import (
    Arrival,
    CommandAccepted,
    CommandChanged,
    CommandEnded,
    CommandReleased,
    CommandResolved,
    CommandStarted,
    DuplicateSeen,
    Key,
    Memory,
    Named,
    OutboxRow,
    Outcome,
    Remembered,
    Resolution,
    State,
    Unresolved,
    UnsentFound,
    Via,
)
from agent_core.snapshot import CommandsView, ScheduledView, WaitView

OUTCOME_UNKNOWN = "interrupted: outcome unknown"
CONFIGURES = "update_config"
LISTS = "list_scheduled"
ENGINES_OWN = CANCELS | RESCHEDULES | {CONFIGURES, LISTS}
QUEUED, RUNNING, SCHEDULED, HELD, COMPLETED, FAILED, CANCELLED, INTERRUPTED = State
WAITING = frozenset({QUEUED, SCHEDULED, HELD})
OPERATOR = "the operator"
"""Who has done what the console asked for."""
MAX_DECIDED_PER_STEP = 200
MAX_TURNED_AWAY = 1_000
"""Messages that the schedule had no room for and that are asked for by their ids when it has."""
MAX_NAMED = 100
"""Messages of one name that a cancel cancels at once."""
MAX_INLINE_PER_STEP = 500
"""After as many inline handlers in a step what waits for its turn goes on in the next one, so that the loop breathes."""
WS, LOCAL, EXTERNAL = Via.WS, Via.LOCAL, EffectClass.EXTERNAL
"""By their short names: until Python 3.12 looking up an enum's member costs as much as a call, and a command needs twenty."""


@dataclass(slots=True)
class Counts:
    received: int = 0
    completed: int = 0
    failed: int = 0
    duplicates: int = 0


class Ledger:
    """One machine; every method is a step at `now`. Effects that need no disk go to `emit` in order."""

    def __init__(
        self,
        config: Config,
        traits: Mapping[str, Trait],
        emit: Callable[[Effect], None],
        barrier: Barrier,
        repeats: Repeats,
        latencies: Latencies,
        settings: Settings,
        upstream: Upstream,
        inbound: Inbound,
        max_in_memory: int = MAX_IN_MEMORY,
        *,
        rows: bool = True,
    ) -> None:
        self._config = config
        self._max_scheduled = config.schedule.max
        self._dialect = config.ack.dialect
        self._traits = traits
        self._emit = emit
        self._barrier = barrier
        self._change, self._hold = barrier.change, barrier.hold
        self._repeats = repeats
        self._latencies = latencies
        self._settings = settings
        self._upstream, self._inbound = upstream, inbound
        self._rejections = Rejections(config.executor.max_pending)
        self._rows = rows
        self._next_seq = 1
        self._entries: dict[str, Entry] = {}
        self._by_seq: dict[int, Entry] = {}
        self._names = Names()
        self.approvals = Approvals(config.executor)
        self._lanes = Lanes()
        self._rules, self._pace = rules_of(config.policy), pace_of(config.policy)
        """None where the policy asks for nothing of the kind: then a command costs no more than a look at that."""
        self._expiries = Schedule()
        """Of commands that wait, but for those that are due later."""
        self._inline_runs = 0
        self._schedule = Schedule(max(2, max_in_memory // 5))
        self._turned_away = Rejections(MAX_TURNED_AWAY)
        """What the schedule had no room for."""
        self._fetching: set[int] = set()
        """Scheduled messages that the journal is asked for."""
        self._unread: dict[int, float] = {}
        """Those of them that are due already, and since when."""
        self._acceptances: list[Entry] = []
        """Whose first ack is proven or left to the journal, of scheduled messages."""
        self._tombstones = Tombstones(config.ledger.tombstone_hours, config.executor.max_pending)
        self._told_full = self._told_schedule_full = False
        self._intake_open = False
        self.paused = False
        """By the operator: nothing new is taken, all else goes on."""
        self._settled: list[Entry] = []
        """Whose ack is proven or left to the journal, and who has none."""
        self.running = 0
        self.counts = Counts()
        self._unwell = {FAILED: 0, INTERRUPTED: 0}
        """Commands that the operator has not settled, of earlier runs, too."""
        self._changed: set[int] = set()
        """Messages whose change may not be on disk yet: they stay at hand."""
        self._resolving: set[int] = set()
        """Settled, while the journal may not know it yet."""
        self.acks = Acks(
            emit, barrier.change, self._show, self._by_seq.get, self._settled.append, self._acceptances.append, latencies, max_in_memory
        )
        self._horizon_utc = 0.0

    # --- intake --------------------------------------------------------------------------------------------------

    def restore(self, memory: Memory, now: Moment) -> None:
        """Take up what an earlier run left unsettled (PROMISES P1)."""
        self._next_seq = memory.next_seq
        self._horizon_utc = memory.horizon_utc
        self._unwell = {FAILED: memory.unresolved.failed, INTERRUPTED: memory.unresolved.interrupted}
        self._tombstones.restore(memory.tombstones, now)
        self.acks.owe(memory.unproven)
        if self._pace is not None:
            sends = [(recipient(one.thread_id), one.utc) for one in memory.sent if self._traits.get(one.command_type, INTERNAL).sends]
            self._pace.restore(sends, now)
        for one in memory.scheduled:
            self._schedule.add(one.seq, one.due_utc, at_hand=False)
            self._names.add(one.names, one.seq)
        for past in memory.entries:
            self._restore(past, now)

    def _restore(self, past: Remembered, now: Moment) -> None:
        entry = self._adopt(past, now)
        if past.state is SCHEDULED and past.due_utc is not None:
            self._schedule.add(entry.seq, _first(past.due_utc, past.command.expires_utc))
            if past.ack is not None and past.proven_utc is None:
                self.acks.keep(ack_of(entry), now)
        elif past.state is HELD:
            self.approvals.add(entry)
            self._let_expire(entry)
        elif past.state is RUNNING and not entry.trait.repeatable and past.mark is not None and entry.trait.settles and entry.message:
            self._lanes.resume(entry)
            self.running += 1
            self._settle(entry, past.mark, "interrupted", now)
        elif past.state is RUNNING and not entry.trait.repeatable:
            self._say(now, "ERROR", f"Command {entry.command.command_id} was interrupted, its outcome is unknown; it is not run again")
            self._end(entry, INTERRUPTED, OUTCOME_UNKNOWN, {}, now)
        else:
            self._enqueue(entry)
        self._show(entry)

    def _adopt(self, past: Remembered, now: Moment) -> Entry:
        arrived = Moment(now.mono - max(0.0, now.utc - past.received_utc), past.received_utc)
        entry = Entry(
            past.seq, past.command, self._traits.get(past.command.command_type, INTERNAL), past.via, past.state, arrived, fresh=False,
            due_utc=past.due_utc, error=past.error, ack=past.ack, proven=past.proven_utc is not None, replay_of=past.replay_of,
            unsent=past.unsent, changed_by=past.changed_by,
        )  # fmt: skip
        if entry.trait.sends:
            with suppress(FrameError):
                self._address(entry)
        self._keep_at_hand(entry)
        self._schedule.came(entry.seq)
        return entry

    def needs(self, command: Command) -> Sequence[Key]:
        """What must be looked up in the journal before this command is taken: what is not at hand of its id and of what it cancels."""
        entry = self._entries.get(command.command_id)
        keys: Sequence[Key] = (command.command_id,) if entry is None or entry.command.payload is ON_DISK else ()
        if command.command_type in ENGINES_OWN:
            with suppress(FrameError):
                return (*keys, *self._needed_by(command))
        return keys

    def _needed_by(self, command: Command) -> Iterator[Key]:
        """For what the engine does itself. Raises FrameError."""
        if command.command_type in CANCELS or command.command_type in RESCHEDULES:
            for target in frames.cancel_targets(command):
                yield target.name
                yield Named(target.name)
                yield from sorted(seq for seq in self._names.find(target.name) if seq not in self._by_seq)[:MAX_NAMED]
        elif command.command_type == LISTS:
            yield from (seq for seq, _ in self._schedule.soonest(frames.listed_of(command)) if self._at_hand(seq) is None)

    def _at_hand(self, seq: int) -> Entry | None:
        """In whole."""
        entry = self._by_seq.get(seq)
        return entry if entry is not None and entry.command.payload is not ON_DISK else None

    def show_rows(self, *, wanted: bool) -> None:
        self._rows = wanted

    def take(self, arrival: Arrival, via: Via, now: Moment) -> bool:
        """One command, come by socket or poll. True where it was new and is taken."""
        command = arrival.command
        known = self._entries.get(command.command_id)
        past = _itself(arrival) if arrival.known else None
        if known is None and past is not None:
            if not self._intake_open:
                self.counts.duplicates += 1
                return False
            known = self._adopt(past, now)
        if known is not None:
            self._repeat(command, past, via, known, now)
            return False
        if arrival.unread or not self._may_take(now):
            self._rejections.add(command.command_id)
            return False
        if self._schedule.count() >= self._max_scheduled and self._is_for_later(command, now):
            self._turned_away.add(command.command_id)
            return False
        self._rejections.discard(command.command_id)
        self._turned_away.discard(command.command_id)
        self.counts.received += 1
        if via is WS:
            self._emit(LogEntry(now.utc, "INFO", f"Received command via WebSocket: {command.command_id}"))
        for warning in command.warnings:
            self._say(now, "WARNING", f"Command {command.command_id}: {warning}")
        entry = self._new(command, via, now)
        if arrival.unsigned is not None and self._is_refused_unsigned(entry, arrival.unsigned, now):
            return True
        self._begin(entry, now, arrival.known)
        return True

    def _is_refused_unsigned(self, entry: Entry, why: str, now: Moment) -> bool:
        """As the policy wants it: else it is only told."""
        if self._config.policy.signatures == "refuse":
            self._end(entry, FAILED, f"refused: {why} (policy.signatures)", {}, now)
            return True
        entry.remark = f"not as signed: {why}"
        self._repeats.say(now, "WARNING", "commands whose signature does not hold", f"Command {entry.command.command_id}: {why}")
        return False

    def replay(self, past: Remembered, payload: Mapping[str, Any] | None, now: Moment) -> None:
        """Run a remembered command again, as a local entry of its own that points to the original and sends no ack."""
        self.resolve(past, Resolution.REPLAYED, OPERATOR, now)
        original = past.replay_of or past.command.command_id
        command_id = f"replay-{self._next_seq}-{original}"[:200]
        fields = past.command.payload if payload is None else payload
        command = replace(past.command, command_id=command_id, payload=fields, issued_utc=None, expires_utc=None, warnings=())
        entry = self._new(command, LOCAL, now)
        entry.replay_of = original
        self._begin(entry, now)

    def resolve(self, past: Remembered, resolution: Resolution, by: str, now: Moment, guid: str | None = None) -> bool:
        """Settle what needed the operator, as the message `guid` where it was sent as one of its candidates; False where it needs nothing,
        or not in this way.
        """
        known = past.state is INTERRUPTED or resolution not in {Resolution.SENT, Resolution.UNSENT}
        if not (past.is_unresolved and known) or past.seq in self._resolving:
            return False
        if guid is not None:
            if resolution is not Resolution.SENT or all(one.guid != guid for one in candidates_of(past.ack)) or self._inbound.knows(guid):
                return False
            self._inbound.sent(guid, past.replay_of or past.command.command_id, past.seq, now)
        self._resolving.add(past.seq)
        self._unwell[past.state] -= 1
        self._change(CommandResolved(past.seq, resolution, now.utc, plain(by, 100), guid))
        return True

    def lapsed(self, unresolved: Unresolved) -> None:
        """The journal has forgotten these."""
        self._unwell[FAILED] -= unresolved.failed
        self._unwell[INTERRUPTED] -= unresolved.interrupted

    def _new(self, command: Command, via: Via, now: Moment) -> Entry:
        trait = self._traits.get(command.command_type, INTERNAL)
        entry = Entry(self._next_seq, command, trait, via, QUEUED, now, timed_from=now.mono)
        self._next_seq += 1
        self._keep_at_hand(entry)
        return entry

    def _keep_at_hand(self, entry: Entry) -> None:
        self._entries[entry.command.command_id] = entry
        self._by_seq[entry.seq] = entry

    def _may_take(self, now: Moment) -> bool:
        full = self.pending >= self._config.executor.max_pending
        if full and not self._told_full:
            self._say(now, "WARNING", f"Intake is full: {self.pending} commands are waiting; new ones stay with the backend")
        self._told_full = full
        return self._intake_open and not self.paused and not full

    def resync_due(self, now: Moment, every: float) -> bool:
        """Whether the backend is to be asked for what was rejected: there is room for it."""
        if not self.rejected or (self._rejections.idle and self._turned_away.idle):
            return False
        room = self._intake_open and not self.paused and self.pending <= self._config.executor.max_pending // 2
        later = room and self.scheduled_count <= self._max_scheduled * 3 // 4
        self._told_schedule_full &= not later
        due = (self._rejections.resync_due(now, room=room, every=every), self._turned_away.resync_due(now, room=later, every=every))
        return any(due)

    @property
    def rejected(self) -> int:
        """Commands not taken since the start."""
        return self._rejections.count + self._turned_away.count

    def _is_for_later(self, command: Command, now: Moment) -> bool:
        """A message that would have to wait for its time, for which there is no room."""
        due = None
        if self._traits.get(command.command_type, INTERNAL).sends:
            with suppress(FrameError):
                due = frames.message_of(command).due_utc
        if due is None or due <= now.utc:
            return False
        if not self._told_schedule_full:
            self._say(now, "WARNING", f"The schedule is full: {self.scheduled_count} messages wait; new ones stay with the backend")
        self._told_schedule_full = True
        return True

    @property
    def under_way(self) -> int:
        """Commands that come to their end by themselves: neither due later, nor held, nor waiting for the policy."""
        return max(self._lanes.queued - self.paced + self.running, self._barrier.unwritten)

    @property
    def paced(self) -> int:
        """Commands that wait for the policy."""
        return sum(map(self._lanes.count, self._pace.waiting)) if self._pace is not None else 0

    @property
    def pending(self) -> int:
        """Commands that wait for their turn, for the operator or for the disk."""
        return max(self._lanes.queued + self.running + self.approvals.count(), self._barrier.unwritten)

    def _begin(self, entry: Entry, now: Moment, targets: Sequence[Remembered] = ()) -> None:
        """Decide what a new command asks for: end it at once, schedule it, or queue it."""
        command = entry.command
        if command.invalid is not None:
            self._end(entry, FAILED, command.invalid, {}, now)
        elif entry.trait is INTERNAL and command.command_type not in ENGINES_OWN:
            self._end(entry, FAILED, f"unsupported_command_type: {plain(command.command_type, 100)}", {}, now)
        elif command.issued_utc is not None and command.issued_utc <= self._horizon_utc:
            self._end(entry, FAILED, "expired: older than the ledger remembers", {}, now)
        elif command.expires_utc is not None and command.expires_utc <= now.utc:
            self._end(entry, FAILED, _expired(command), {}, now)
        elif self._rules is not None and (why := self._rules.against_type(command.command_type)) is not None:
            self._end(entry, FAILED, why, {}, now)
        else:
            try:
                self._admit(entry, now, targets)
            except FrameError as error:
                self._end(entry, FAILED, str(error), {}, now)

    def _admit(self, entry: Entry, now: Moment, targets: Sequence[Remembered]) -> None:
        if entry.command.command_type in ENGINES_OWN:
            self._do_itself(entry, targets, now)
            return
        due = self._address(entry) if entry.trait.sends else None
        if self._tombstones.count() and (by := self._cancelled_before(entry, now)) is not None:
            self._end(entry, CANCELLED, f"cancelled by {by}", {}, now)
        elif self._rules is not None and entry.trait.sends and (why := self._rules.against_recipient(entry.lane)) is not None:
            self._end(entry, FAILED, why, {}, now)
        elif due is not None and entry.via is not LOCAL and now.utc - due > self._config.schedule.max_late_seconds:
            self._end(entry, FAILED, f"missed: due {took(now.utc - due)} ago", {}, now)
        elif self.approvals.text and entry.via is not LOCAL and self._is_to_be_held(entry, now):
            self._keep_back(entry, due, now)
        elif due is not None and due > now.utc:
            self._plan(entry, due, now)
        elif self._intake_open and self._pace is None and entry.trait.inline is not None and entry.lane not in self._lanes:
            self._run_inline(entry, entry.trait.inline, now)
        else:
            self._enqueue(entry)
            self.start_waiting(now)
            if entry.fresh:
                self._accepted(entry, now)
                self._show(entry)

    def _do_itself(self, entry: Entry, known: Sequence[Remembered], now: Moment) -> None:
        """Raises FrameError."""
        command_type = entry.command.command_type
        if command_type == CONFIGURES:
            self._configure(entry, now)
        elif command_type == LISTS:
            self._list(entry, known, now)
        elif command_type in RESCHEDULES:
            self._reschedule(entry, known, now)
        else:
            self._cancel(entry, known, now)

    def _address(self, entry: Entry) -> float | None:
        """Lane, names and due time of a message. Raises FrameError."""
        entry.message = message = frames.message_of(entry.command)
        entry.lane, entry.names = message.thread_id, message.names
        if entry.names:
            self._names.add(entry.names, entry.seq)
        return message.due_utc

    def _repeat(self, command: Command, past: Remembered | None, via: Via, known: Entry, now: Moment) -> None:
        """An id that is known: its stored ack again, unchanged, and never its effect (PROTOCOL §4)."""
        self.counts.duplicates += 1
        if not self._intake_open:
            return
        self._change(DuplicateSeen(known.seq, via, now.utc))
        original = past.command if past is not None else known.command
        changed_by = past.changed_by if past is not None else known.changed_by
        comparable = original.command_type and original.payload is not ON_DISK and changed_by is None
        if comparable and (command.command_type, command.payload) != (original.command_type, original.payload):
            text = f"Command {command.command_id} came again with other content; it is not run"
            self._repeats.say(now, "WARNING", "commands with other content", text)
        else:
            self._repeats.say(now, "INFO", "duplicates", f"Command {command.command_id} is a duplicate; it is not run again")
        if past is not None and self.acks.came_again(past.proven_by):
            text = f"Command {command.command_id} comes again though a poll has carried its ack: the backend does not read pending_events"
            self._say(now, "WARNING", text)
        on_its_way = known.outgoing is not None and not known.outgoing.barrier
        room = self.acks.may_repeat(self._config.executor.max_pending)
        if known.ack is not None and known.state is not RUNNING and room and not on_its_way:
            self._hold(ack_of(known, again=True))
        if self._rows:
            row = self._row(known)
            self._emit(row._replace(row=self._next_seq, utc=now.utc, via=str(via), status="duplicate", run_ms=None, ack_ms=None))
        self._next_seq += 1

    # --- the operator's word -------------------------------------------------------------------------------------

    def _is_to_be_held(self, entry: Entry, now: Moment) -> bool:
        try:
            return self.approvals.takes(entry)
        except FilterError as error:
            self._say(now, "WARNING", f"Every new command is held from now on: {error}")
            return True

    def _keep_back(self, entry: Entry, due_utc: float | None, now: Moment) -> None:
        entry.due_utc, entry.state = due_utc, HELD
        self._let_expire(entry)
        self.approvals.add(entry)
        self._accepted(entry, now)
        self._show(entry)
        self._repeats.say(now, "INFO", "held commands", f"Command {entry.command.command_id} is held: it waits for the operator")

    def approve(self, command_id: str, payload: Mapping[str, Any] | None, now: Moment) -> bool:
        """Let it run, with another payload where one is given; False where no such command is held. Raises FrameError."""
        entry = self._entries.get(command_id)
        if entry is None or entry.state is not HELD:
            return False
        if payload is not None:
            self._amend(entry, payload)
        self._let_go(entry, now)
        self.start_waiting(now)
        return True

    def _amend(self, entry: Entry, payload: Mapping[str, Any]) -> None:
        """Give it another payload; the names by which it may be cancelled stay. Raises FrameError, and then it is as it was."""
        command = replace(entry.command, payload=payload)
        if entry.trait.sends:
            message = frames.message_of(command)
            why = self._rules.against_recipient(message.thread_id) if self._rules is not None else None
            if why is not None:
                raise FrameError(why)
            entry.message, entry.lane, entry.due_utc = message, message.thread_id, message.due_utc
        entry.command, entry.changed_by = command, OPERATOR
        self._change(CommandChanged(entry.seq, payload, entry.due_utc, OPERATOR))

    def refuse(self, command_id: str, now: Moment) -> bool:
        """End it as failed, which the operator knows then; False where no such command is held."""
        entry = self._entries.get(command_id)
        if entry is None or entry.state is not HELD:
            return False
        self._refuse(entry, "refused by the operator", now)
        self._unwell[FAILED] -= 1
        self._change(CommandResolved(entry.seq, Resolution.DISMISSED, now.utc, OPERATOR))
        return True

    def _refuse(self, entry: Entry, why: str, now: Moment) -> None:
        self.approvals.remove(entry)
        self._end(entry, FAILED, why, {}, now)

    def _let_go(self, entry: Entry, now: Moment) -> None:
        """On as a new one; what has fallen due meanwhile is not late, for it was kept back."""
        self.approvals.remove(entry)
        entry.timed_from = now.mono
        if entry.due_utc is not None and entry.due_utc > now.utc:
            self._plan(entry, entry.due_utc, now)
        else:
            self._change(CommandReleased(entry.seq, now.utc))
            self._enqueue(entry)
            self._show(entry)

    def _decide_overdue(self, now: Moment) -> None:
        """In the operator's place, as configured; of very many the rest in the next step."""
        after = self._config.executor.hold_timeout_seconds
        for entry in self.approvals.overdue(now.mono, MAX_DECIDED_PER_STEP):
            if self.approvals.approves:
                self._let_go(entry, now)
            else:
                self._refuse(entry, f"refused: nobody approved it within {after:g} s", now)
        self.start_waiting(now)

    # --- cancel and schedule -------------------------------------------------------------------------------------

    def _cancel(self, entry: Entry, known: Sequence[Remembered], now: Moment) -> None:
        """Of the names that it gives the first counts by which a message waits, else the first that is known."""
        targets = frames.cancel_targets(entry.command)
        found, waiting = self._meant(targets, entry, known)
        victims = [one if isinstance(one, Entry) else self._adopt(one, now) for one in waiting]
        for victim in victims:
            self._withdraw(victim)
            self._end(victim, CANCELLED, f"cancelled by {entry.command.command_id}", {}, now)
        ids = [victim.command.command_id for victim in victims]
        if len(ids) >= MAX_NAMED:
            self._end(entry, FAILED, f"{len(ids)} messages of this name are cancelled; there may be more", {"cancelled": ids[0]}, now)
        elif ids:
            self._end(entry, COMPLETED, None, {"cancelled": ids[0]} | ({"also": ids[1:]} if ids[1:] else {}), now)
        elif not found:
            self._add_tombstones(entry, targets, now)
        elif (last := found[0][-1]).state is CANCELLED:
            self._end(entry, COMPLETED, None, {"cancelled": last.command.command_id}, now)
        else:
            self._end(entry, FAILED, f"too late: {last.command.command_id} is {last.state}", {}, now)

    def _meant(
        self, targets: Iterable[Target], entry: Entry, known: Sequence[Remembered]
    ) -> tuple[list[Sequence[Entry | Remembered]], list[Entry | Remembered]]:
        """Who is called by each name that anybody has, and of the first by which a message waits those that do."""
        found = [named for target in targets if (named := self._named(target, entry, known))]
        return found, next(filter(None, map(self._waiting, found)), [])

    def _waiting(self, named: Sequence[Entry | Remembered]) -> list[Entry | Remembered]:
        """Those that can still be cancelled; of a message that only the journal has, it is the schedule that knows."""
        return [one for one in named if one.state in WAITING and (isinstance(one, Entry) or self._is_scheduled(one.seq))]

    def _named(self, target: Target, cancel: Entry, known: Iterable[Remembered]) -> Sequence[Entry | Remembered]:
        """Whom a cancel may mean, oldest first: at hand, else as the journal remembers them; in the kind of name that it gives, if any."""
        own = self._entries.get(target.name)
        past = {one.seq: one for one in known if one.seq not in self._by_seq}.values()
        by_id: list[Entry | Remembered] = [one for one in past if one.command.command_id == target.name]
        by_id += [own] if own is not None and own is not cancel else []
        by_name: list[Entry | Remembered] = [one for one in past if target.name in self._names_of(one)]
        by_name += [self._by_seq[seq] for seq in self._names.find(target.name) if seq in self._by_seq]
        return sorted((by_id or by_name) if target.by_id else (by_name or by_id), key=lambda one: one.seq)

    def _names_of(self, past: Remembered) -> Sequence[str]:
        """By which a cancel may name it beside its id; of a compacted one, whose payload is gone, the journal tells."""
        if self._traits.get(past.command.command_type, INTERNAL).sends:
            with suppress(FrameError):
                return frames.message_of(past.command).names
        return past.names

    def _reschedule(self, entry: Entry, known: Sequence[Remembered], now: Moment) -> None:
        """Give the one scheduled message that it names another text or time. Raises FrameError."""
        targets, change = frames.cancel_targets(entry.command), frames.rescheduling_of(entry.command)
        found, waiting = self._meant(targets, entry, known)
        if not found:
            raise FrameError(f"unknown: {plain(targets[0].name, 200)}")
        if len(waiting) > 1:
            raise FrameError(f"{len(waiting)} messages have this name: name one by its command_id")
        one = waiting[0] if waiting else found[0][-1]
        if one.state is not SCHEDULED or not waiting:
            raise FrameError(f"cannot be changed: {one.command.command_id} is {one.state}")
        if change.due_utc is not None and now.utc - change.due_utc > self._config.schedule.max_late_seconds:
            raise FrameError(f"invalid send_at: {took(now.utc - change.due_utc)} ago")
        due = self._change_message(one if isinstance(one, Entry) else self._adopt(one, now), change, entry.command.command_id, known)
        self._end(entry, COMPLETED, None, {"changed": one.command.command_id, "send_at": iso(due)}, now)

    def _change_message(self, victim: Entry, change: Rescheduling, by: str, known: Iterable[Remembered]) -> float:
        """When it is due from now on. It stays at hand until that is on disk. Raises FrameError."""
        past = victim.command
        if past.payload is ON_DISK:
            past = next((one.command for one in known if one.seq == victim.seq), past)
        if past.payload is ON_DISK:
            raise FrameError("the message cannot be read now: try again")
        self._withdraw(victim)
        victim.command, victim.changed_by = frames.rescheduled(past, change), by
        self._address(victim)
        due = change.due_utc if change.due_utc is not None else victim.due_utc
        assert due is not None
        victim.due_utc = due
        self._schedule.add(victim.seq, _first(due, past.expires_utc))
        self._changed.add(victim.seq)
        self._change(CommandChanged(victim.seq, victim.command.payload, due, by))
        self._show(victim)
        return due

    def _list(self, entry: Entry, known: Iterable[Remembered], now: Moment) -> None:
        """The next scheduled messages. Raises FrameError."""
        read = {past.seq: past for past in known}
        soonest = [seq for seq, _ in self._schedule.soonest(frames.listed_of(entry.command))]
        found = [self._at_hand(seq) or read.get(seq) for seq in soonest]
        scheduled = [frames.listed(one.command, one.due_utc) for one in found if one is not None and one.due_utc is not None]
        self._end(entry, COMPLETED, None, {"count": self.scheduled_count, "scheduled": scheduled}, now)

    def cancel(self, command_id: str, past: Remembered | None, now: Moment) -> bool:
        """By the operator; False where no such command is scheduled."""
        victim = self._entries.get(command_id)
        if victim is None and past is not None and self._is_scheduled(past.seq):
            victim = self._adopt(past, now)
        if victim is None or victim.state is not SCHEDULED:
            return False
        self._withdraw(victim)
        self._end(victim, CANCELLED, "cancelled by the operator", {}, now)
        return True

    def _add_tombstones(self, entry: Entry, targets: Sequence[Target], now: Moment) -> None:
        """Nobody by those names here: remember the cancel for a message that may still come (P3)."""
        unknown = {"unknown": targets[0].name}
        added = [self._tombstones.add(target, entry.command.command_id, now) for target in targets]
        for tombstone in filter(None, added):
            self._change(tombstone)
        if None in added:
            error = f"unknown, and {self._tombstones.count()} cancels of unknown names are remembered already"
            self._end(entry, FAILED, error, unknown, now)
            return
        self._end(entry, COMPLETED, None, unknown, now)

    def _cancelled_before(self, entry: Entry, now: Moment) -> str | None:
        """Which cancel came before this message."""
        first = None
        for by, removed in self._tombstones.take(entry.command.command_id, entry.names, now):
            self._change(removed)
            first = first or by
        return first

    def _configure(self, entry: Entry, now: Moment) -> None:
        accepted, refused = self._settings.configure(entry.command.payload)
        state = COMPLETED if accepted or not refused else FAILED
        error = None if state is COMPLETED else "; ".join(refused)
        self._end(entry, state, error, {"accepted": accepted, "refused": refused}, now)

    def _withdraw(self, victim: Entry) -> None:
        if victim.state is SCHEDULED:
            self._schedule.remove(victim.seq)
            self._unread.pop(victim.seq, None)
        elif victim.state is HELD:
            self.approvals.remove(victim)
        else:
            self._lanes.withdraw(victim)
            self._leave_gate(victim)

    def _plan(self, entry: Entry, due_utc: float, now: Moment) -> None:
        entry.due_utc, entry.state = due_utc, SCHEDULED
        self._schedule.add(entry.seq, _first(due_utc, entry.command.expires_utc))
        if entry.via is not LOCAL:
            schedule_id = entry.names[0] if entry.names else entry.command.command_id
            entry.ack = frames.ack(entry.command.command_id, "received", now.utc, None, {"schedule_id": schedule_id}, self._dialect)
            self._hold(ack_of(entry))
        if entry.fresh:
            self._accepted(entry, now)
        else:
            self._change(CommandReleased(entry.seq, now.utc, SCHEDULED, entry.ack))
        self._show(entry)

    def _fire_due(self, now: Moment) -> None:
        """Queue every scheduled message whose time has come; those too late are missed (P9)."""
        for seq, due in self._schedule.take_due(now.utc):
            entry = self._by_seq.get(seq)
            if entry is None or entry.command.payload is ON_DISK:
                self._unread[seq] = due
            else:
                self._fire(entry, due, now)
        self._fetch(self._unread)
        self.start_waiting(now)

    def _fire(self, entry: Entry, due: float, now: Moment) -> None:
        if _is_expired(entry, now):
            self._end(entry, FAILED, _expired(entry.command), {}, now)
        elif now.utc - due > self._config.schedule.max_late_seconds:
            self._end(entry, FAILED, f"missed: due {took(now.utc - due)} ago", {}, now)
        else:
            if self._pace is not None:  # it may wait for long, and is not late for that, also after a restart
                self._change(CommandReleased(entry.seq, now.utc, QUEUED, entry.ack))
            self._enqueue(entry)

    def _is_scheduled(self, seq: int) -> bool:
        return seq in self._schedule or seq in self._unread

    def _fetch(self, seqs: Iterable[int]) -> None:
        """Have these scheduled messages read, that are not at hand."""
        asked = [seq for seq in seqs if seq not in self._fetching]
        self._fetching.update(asked)
        for first in range(0, len(asked), RECALL_BATCH):
            self._emit(Recall(tuple(asked[first : first + RECALL_BATCH])))

    @property
    def hold_until_at(self) -> float | None:
        """When the first held command's time is up."""
        due_at = self.approvals.due_at if self._intake_open else INFINITY
        return due_at if due_at < INFINITY else None

    # --- time ----------------------------------------------------------------------------------------------------

    def wake_at(self, now: Moment) -> float:
        """When, on the monotonic clock, something is due; infinity for never."""
        resync_at = min(self._rejections.wake_at, self._turned_away.wake_at)
        if not self._intake_open:
            return resync_at
        wait = max(0.0, min(self._schedule.next_utc, self._expiries.next_utc) - now.utc)
        paced_until = self._pace.wake_at(now) if self._pace is not None else INFINITY
        return min(resync_at, now.mono + wait, self.approvals.due_at, paced_until)

    def tick(self, now: Moment) -> None:
        """Start what may start, and act on every time that has come."""
        self.start_waiting(now)
        if self._intake_open:
            if self._schedule.next_utc <= now.utc:
                self._fire_due(now)
            if self.approvals.due_at <= now.mono:
                self._decide_overdue(now)
            if self._expiries.next_utc <= now.utc:
                self._expire(now)

    # --- execution -----------------------------------------------------------------------------------------------

    def _enqueue(self, entry: Entry) -> None:
        entry.state = QUEUED
        self._lanes.add(entry)
        self._let_expire(entry)

    @property
    def may_start(self) -> bool:
        """Something waits for its turn only: after a step, only where MAX_INLINE_PER_STEP has cut it short."""
        return self._intake_open and self.running < self._config.executor.concurrency and self._lanes.ready

    def start_waiting(self, now: Moment) -> None:
        """Start what may start, at most `executor.concurrency` at once."""
        self._start_ready(now)
        while self._pace is not None and (lanes := self._pace.release(now)):
            for lane in lanes:
                self._lanes.recall(lane)
            self._start_ready(now)

    def _start_ready(self, now: Moment) -> None:
        while self.may_start and self._inline_runs < MAX_INLINE_PER_STEP:
            entry = self._lanes.take()
            if (self._pace is not None or entry.command.expires_utc is not None) and not self._may_go(entry, now):
                continue
            if (inline := entry.trait.inline) is None:
                self._execute(entry, now)
            else:
                self._run_inline(entry, inline, now)
                self._lanes.leave(entry)

    def _may_go(self, entry: Entry, now: Moment) -> bool:
        """It is its turn, and the policy has a token for it; else it waits at the head of its lane, or has expired."""
        if _is_expired(entry, now):
            self._lanes.leave(entry)
            self._leave_gate(entry)
            self._end(entry, FAILED, _expired(entry.command), {}, now)
            return False
        if self._pace is None or not entry.trait.sends:
            return True
        urgent = entry.command.priority.overtakes
        wait = self._pace.ask(entry.lane, recipient(entry.lane), now, urgent=urgent)
        if wait is None:
            entry.waits = None
            return True
        self._lanes.put_back(entry)
        waits, entry.waits = entry.waits, f"waits for {wait.gate}, until {iso(wait.until_utc)[:16]}Z"
        if entry.waits != waits and not entry.fresh:
            self._show(entry)
        return False

    def _leave_gate(self, entry: Entry) -> None:
        if self._pace is not None and entry.lane not in self._lanes:
            self._pace.leave(entry.lane)

    def _let_expire(self, entry: Entry) -> None:
        if entry.command.expires_utc is not None:
            self._expiries.add(entry.seq, entry.command.expires_utc)

    def _expire(self, now: Moment) -> None:
        """End what waits and is not to be run any more."""
        for seq, _ in self._expiries.take_due(now.utc):
            entry = self._by_seq.get(seq)
            if entry is not None and (entry.state is QUEUED or entry.state is HELD):
                self._withdraw(entry)
                self._end(entry, FAILED, _expired(entry.command), {}, now)
        self.start_waiting(now)

    def _begin_to_run(self, entry: Entry, now: Moment) -> None:
        entry.state, entry.began_at = RUNNING, now.mono
        if entry.due_utc is not None:
            entry.timed_from = now.mono
        if not entry.fresh:
            self._change(CommandStarted(entry.seq, now.utc, entry.mark))

    def _run_inline(self, entry: Entry, inline: Inline, now: Moment) -> None:
        self._begin_to_run(entry, now)
        self._inline_runs += 1
        self._complete(entry, inline(entry.seq, entry.command, entry.message, now.utc), now)

    def _execute(self, entry: Entry, now: Moment) -> None:
        """Have a handler run, from a mark on where its messenger has any."""
        self.running += 1
        if entry.trait.settles:
            self._take_mark(entry, now)
        else:
            self._start(entry, now)

    def _take_mark(self, entry: Entry, now: Moment) -> None:
        """On disk it goes on waiting, for nothing is sent before the mark is there, too."""
        if entry.fresh:
            self._accepted(entry, now)
        entry.state = RUNNING
        self._emit(TakeMark(entry.seq))

    def mark_taken(self, event: MarkTaken, now: Moment) -> None:
        entry = self._by_seq.get(event.seq)
        if entry is None or entry.state is not RUNNING:
            return
        entry.mark = event.mark
        if event.mark is None:
            self._finish(entry, Outcome(error=event.error), now)
        else:
            self._start(entry, now)

    def _start(self, entry: Entry, now: Moment) -> None:
        """At once, or once it is on disk that it runs."""
        self._begin_to_run(entry, now)
        if entry.fresh:
            self._accepted(entry, now)
        if entry.trait.effect is EXTERNAL:
            self._show(entry)
            self._hold(entry)
        else:
            self._emit(Execute(entry.seq, entry.command, entry.message))

    def finished(self, event: CommandFinished, now: Moment) -> None:
        """A handler returned. Where it cannot say what it has done, its messenger's record decides."""
        entry = self._by_seq.get(event.seq)
        if entry is None or entry.state is not RUNNING:
            return
        outcome = event.outcome
        if outcome.unknown and not outcome.final and entry.mark is not None and not entry.unsent:
            self._settle(entry, entry.mark, outcome.error or "no outcome", now)
        else:
            self._finish(entry, outcome, now)

    def _settle(self, entry: Entry, mark: str, why: str, now: Moment) -> None:
        entry.state = RUNNING
        self._say(now, "WARNING", f"Command {entry.command.command_id}: {why}; what was sent is looked up")
        assert entry.message is not None
        self._emit(Settle(entry.seq, entry.message, mark))

    def settled(self, event: RunSettled, now: Moment) -> None:
        """What the record says; a run that has sent nothing is followed by another, from a mark of its own."""
        entry = self._by_seq.get(event.seq)
        if entry is None or entry.state is not RUNNING:
            return
        if event.outcome is not None:
            self._finish(entry, event.outcome, now)
            return
        self._say(now, "INFO", f"Command {entry.command.command_id} was not sent; it runs again")
        entry.unsent += 1
        self._change(UnsentFound(entry.seq))
        self._take_mark(entry, now)

    def _finish(self, entry: Entry, outcome: Outcome, now: Moment) -> None:
        self.running -= 1
        if entry.began_at is not None:
            entry.run_ms = (now.mono - entry.began_at) * 1_000
            self._latencies.run.add(now.mono, entry.run_ms)
        self._lanes.leave(entry)
        self._complete(entry, outcome, now)
        if entry.trait.settles:
            self._note_receipt(entry, outcome, now)
        self.start_waiting(now)

    def _note_receipt(self, entry: Entry, outcome: Outcome, now: Moment) -> None:
        """Where the messenger has a record: the delivery of what it sent is followed by its GUIDs there."""
        if entry.state is COMPLETED and (guids := guids_of(outcome.result)):
            self._inbound.permission_found("automation")
            for guid in guids:
                self._inbound.sent(guid, entry.replay_of or entry.command.command_id, entry.seq, now)
        elif outcome.permission is not None:
            self._inbound.permission_lost(outcome.permission, outcome.error or "", now)

    def _complete(self, entry: Entry, outcome: Outcome, now: Moment) -> None:
        error = outcome.error.encode("utf-8", "replace").decode() if outcome.error else None
        state = FAILED if error else COMPLETED
        if error and outcome.unknown and entry.trait.effect is EXTERNAL:
            state, error = INTERRUPTED, f"unknown outcome: {error}"
        self._end(entry, state, error, outcome.result, now, effect=outcome.row)

    def _end(
        self, entry: Entry, state: State, error: str | None, result: Mapping[str, Any], now: Moment, *, effect: OutboxRow | None = None
    ) -> None:
        """The terminal outcome: recorded with its effect, then acknowledged. How long it was waited for is no latency."""
        if entry.state is SCHEDULED or entry.state is HELD:
            entry.timed_from = now.mono
        entry.state, entry.error = state, error
        if entry.command.expires_utc is not None:
            self._expiries.remove(entry.seq)
        done = state is COMPLETED
        self.counts.completed += done
        if state is not COMPLETED and state is not CANCELLED:
            self.counts.failed += 1
            self._unwell[state] += 1
            if state is INTERRUPTED:
                self._tell_unknown(entry, error, result, now)
        if entry.via is LOCAL:
            entry.ack = None
        else:
            status = "completed" if done else "failed"
            entry.ack = frames.ack(entry.command.command_id, status, now.utc, error, result, self._dialect)
        if entry.fresh:
            self._accepted(entry, now, effect)
        else:
            self._change(CommandEnded(entry.seq, state, now.utc, error, entry.ack, effect))
        if entry.ack is None:
            self._settled.append(entry)
        else:
            entry.proven = False
            self._hold(ack_of(entry))
        self._narrate_end(entry, now)
        if entry.ack is None or not self._intake_open:
            self._show(entry)

    def _tell_unknown(self, entry: Entry, error: str | None, result: Mapping[str, Any], now: Moment) -> None:
        """The backend's people can look, too: nobody else may know whether it was sent."""
        command_id = entry.command.command_id
        payload = {"command_id": entry.replay_of or command_id, "error": error} | (
            {"candidates": result["candidates"]} if "candidates" in result else {}
        )
        event_id = event_id_of(NEEDS_ATTENTION, command_id, str(entry.arrived.utc))
        self._upstream.add(Occurrence(NEEDS_ATTENTION, event_id, now.utc, payload), now)

    def _narrate_end(self, entry: Entry, now: Moment) -> None:
        if entry.state is COMPLETED:
            self._emit(LogEntry(now.utc, "INFO", f"Command {entry.command.command_id} executed successfully"))
        else:
            self._say(now, "WARNING", f"Command {entry.command.command_id} {entry.state}: {entry.error}")

    # --- the disk ------------------------------------------------------------------------------------------------

    def release(self, held: Iterable[Held], now: Moment) -> None:
        """The journal has what these waited for."""
        for one in held:
            if isinstance(one, Ack):
                self.acks.keep(one, now)
                if one.terminal or (one.entry.state is SCHEDULED and self._is_far(one.entry)):
                    self._leave_to_journal(one.entry)
            elif isinstance(one, Outgoing):
                self._upstream.keep(one)
            elif isinstance(one, ReadInbound):
                self._emit(one)
            elif one.state is RUNNING and _is_expired(one, now):
                self._finish(one, Outcome(error=_expired(one.command)), now)
            elif one.state is RUNNING:
                self._emit(Execute(one.seq, one.command, one.message, one.mark))

    def _leave_to_journal(self, entry: Entry) -> None:
        """Of its payload and text there is no need for long: the journal has them."""
        entry.command = Command(entry.command.command_id, entry.command.command_type, ON_DISK)
        entry.message = None
        if entry.due_utc is not None:
            self._schedule.left(entry.seq)

    def recalled(self, event: Recalled, now: Moment) -> None:
        """The journal has brought back whose ack is to be sent again, or scheduled messages that are due soon."""
        for_acks = self.acks.recalled(event.seqs)
        for past in event.entries:
            if past.seq in self._fetching:
                self._came_near(past, now)
            if for_acks and past.ack is not None and past.proven_utc is None:
                entry = self._by_seq.get(past.seq) or self._adopt(past, now)
                if entry.outgoing is None:
                    self.acks.keep(ack_of(entry), now)
                if entry.state is SCHEDULED and self._is_far(entry):
                    self._leave_to_journal(entry)
        self._give_up(event.seqs, now)
        self.start_waiting(now)

    def _came_near(self, past: Remembered, now: Moment) -> None:
        self._fetching.discard(past.seq)
        if not self._is_scheduled(past.seq):
            return
        entry = self._by_seq.get(past.seq)
        if entry is None:
            entry = self._adopt(past, now)
        elif entry.command.payload is ON_DISK:
            entry.command = past.command
            with suppress(FrameError):
                self._address(entry)
            self._schedule.came(entry.seq)
        if (due := self._unread.pop(past.seq, None)) is not None:
            if self._intake_open:
                self._fire(entry, due, now)
            else:
                self._schedule.add(past.seq, due)

    def _give_up(self, seqs: Iterable[int], now: Moment) -> None:
        """What the journal was asked for and cannot read is not sent; `audit verify` names it."""
        for seq in self._fetching.intersection(seqs):
            self._fetching.discard(seq)
            self._schedule.remove(seq)
            self._unread.pop(seq, None)
            self._say(now, "ERROR", f"The scheduled message number {seq} cannot be read from the ledger; it is not sent")

    def forget_settled(self) -> None:
        """Leave to the journal what is settled or far: at a step's end, for the arrivals within it were looked up before it began."""
        self._inline_runs = 0
        entries, by_seq = self._entries, self._by_seq
        for entry in self._settled:
            entry.outgoing = None
            entries.pop(entry.command.command_id, None)
            by_seq.pop(entry.seq, None)
            if entry.names:
                self._names.discard(entry.names, entry.seq)
        self._settled.clear()
        if (self._resolving or self._changed) and not self._barrier.tickets:
            self._resolving.clear()
            self._changed.clear()
        for entry in self._acceptances:
            self._leave_if_far(entry)
        self._acceptances.clear()
        if self._schedule.count():
            self._keep_the_nearest()

    def _keep_the_nearest(self) -> None:
        """Of the scheduled messages those are at hand that are due next."""
        for seq in self._schedule.surplus():
            if (entry := self._by_seq.get(seq)) is not None and entry.proven:
                self._leave_if_far(entry)
        if not self._fetching and self._intake_open:
            self._fetch(self._schedule.wanted())

    def _leave_if_far(self, entry: Entry) -> None:
        if entry.state is SCHEDULED and entry.outgoing is None and self._is_far(entry):
            self._schedule.left(entry.seq)
            self._forget(entry)

    def _is_far(self, entry: Entry) -> bool:
        """It may be left to the journal, which has it as it is."""
        return self._schedule.is_far(entry.seq) and entry.seq not in self._changed

    def _forget(self, entry: Entry) -> None:
        self._entries.pop(entry.command.command_id, None)
        self._by_seq.pop(entry.seq, None)

    @property
    def sizes(self) -> dict[str, int]:
        """How many items each of its collections holds: all of them are bounded by what is unsettled."""
        return {
            "entries": len(self._entries), "by_seq": len(self._by_seq), "names": len(self._names),
            "schedule": self._schedule.footprint, "tombstones": self._tombstones.count(), "outbox": self.acks.unproven,
            "resolving": len(self._resolving), "rejected_ids": len(self._rejections) + len(self._turned_away),
            "held": self.approvals.count(), "fetching": len(self._fetching), "unread": len(self._unread),
            "expiries": self._expiries.footprint,
        } | self._lanes.sizes | (self._pace.sizes if self._pace is not None else {})  # fmt: skip

    # --- words and views -----------------------------------------------------------------------------------------

    def open_intake(self, now: Moment) -> None:
        """The disk can be written: take commands, and start what waits."""
        self._intake_open = True
        self.start_waiting(now)

    def close_intake(self) -> None:
        """The disk is in trouble, or the agent stops: take and start nothing."""
        self._intake_open = False

    def forgotten_up_to(self, horizon_utc: float) -> None:
        """The journal no longer remembers commands issued until then."""
        self._horizon_utc = max(self._horizon_utc, horizon_utc)

    def view(self, malformed: int, now: Moment) -> CommandsView:
        counts = self.counts
        return CommandsView(
            received=counts.received, completed=counts.completed, failed=counts.failed, duplicates=counts.duplicates,
            malformed=malformed, rejected=self.rejected, queued=self._lanes.queued, running=self.running,
            outbox=self.acks.unproven, proven=self.acks.proven, held=self.approvals.count(), interrupted=self._unwell[INTERRUPTED],
            unresolved=self._unwell[FAILED], overdue=self.acks.overdue(now), turned_away=len(self._rejections) + len(self._turned_away),
            oldest_waiting_utc=self._lanes.waits_since_utc, paused=self.paused,
        )  # fmt: skip

    @property
    def scheduled_count(self) -> int:
        return self._schedule.count() + len(self._unread)

    def scheduled(self, count: int) -> tuple[ScheduledView, ...]:
        """The next `count` messages due."""
        rows = []
        for seq, due in self._schedule.soonest(count):
            entry = self._by_seq.get(seq)
            if entry is None:
                continue
            schedule_id = entry.names[0] if entry.names else entry.command.command_id
            due_utc = due if entry.due_utc is None else entry.due_utc
            rows.append(ScheduledView(plain(schedule_id, 200), entry.command.command_id, plain(entry.lane, 100), due_utc))
        return tuple(rows)

    def waits(self, now: Moment) -> tuple[WaitView, ...]:
        """What the policy keeps back."""
        found = self._pace.waits(now) if self._pace is not None else ()
        return tuple(WaitView(wait.gate, threads, wait.until_utc) for wait, threads in found)

    def _accepted(self, entry: Entry, now: Moment, effect: OutboxRow | None = None) -> None:
        """As it stands: what has begun or ended did so in this step."""
        entry.fresh = False
        began, runs = (None, 0) if entry.began_at is None else (now.utc, 1)
        finished = now.utc if entry.state.ended else None
        proven = finished if entry.ack is None else None
        self._barrier.accept(
            CommandAccepted(
                Remembered(
                    entry.seq, entry.command, entry.via, entry.state, entry.arrived.utc, began, finished, entry.due_utc, runs,
                    0, None, None, entry.error, entry.ack, None, proven, None, entry.replay_of,
                ),
                effect, entry.names,
            )
        )  # fmt: skip

    def _show(self, entry: Entry) -> None:
        if self._rows:
            self._emit(self._row(entry))

    def show_inbound(self, occurrence: Occurrence, now: Moment) -> int:
        """A message that came in, as a row of the stream; its number."""
        thread, number = plain(str(occurrence.payload.get("thread_id", "")), 100), self._next_seq
        self._next_seq += 1
        if self._rows:
            self._emit(
                CommandEntry(number, now.utc, occurrence.event_id, occurrence.event_type, "in", "received", thread, effect="harmless")
            )
        return number

    def _row(self, entry: Entry) -> CommandEntry:
        status: str = entry.state
        if entry.state is COMPLETED:
            on_the_wire = entry.outgoing is not None and entry.outgoing.barrier
            status = "acked" if entry.proven or entry.via is LOCAL else "sent" if on_the_wire else "outbox"
        command = entry.command
        note = plain(entry.error) if entry.error else entry.waits or entry.remark
        return CommandEntry(
            entry.seq, entry.arrived.utc, command.command_id, command.command_type, entry.via, status,
            plain(entry.lane, 100) if entry.lane else None, entry.run_ms, entry.ack_ms, note,
            entry.proven, entry.replay_of, entry.trait.effect,
        )  # fmt: skip

    def _say(self, now: Moment, level: str, text: str) -> None:
        self._emit(LogEntry(now.utc, level, plain(text)))


def _first(due_utc: float, expires_utc: float | None) -> float:
    """When something is to be done about a scheduled message."""
    return due_utc if expires_utc is None else min(due_utc, expires_utc)


def _is_expired(entry: Entry, now: Moment) -> bool:
    return entry.command.expires_utc is not None and entry.command.expires_utc <= now.utc


def _expired(command: Command) -> str:
    return f"expired: its expires_at, {iso(command.expires_utc or 0.0)}, has passed"


def _itself(arrival: Arrival) -> Remembered | None:
    """What the journal holds of this very command."""
    return next((past for past in arrival.known if past.command.command_id == arrival.command.command_id), None)
