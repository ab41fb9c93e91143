"""Everything around the engine, as models in virtual time: the disk, the network, the reference hub behind it, the agent's shell.

One heap of calls in true time drives all of it. The agent's own clocks are derived: `mono` stops while the machine sleeps, `utc` goes on
and can be set. What is asserted here is what the parts of the model can see by themselves; `worlds.py` adds what a whole world must keep.
"""

import heapq
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from itertools import count
from random import Random
from typing import Any

from msgspec.structs import replace
from pydantic_core import from_json

from agent_core import frames
from agent_core.channels.ack_batch import NO_ACK_CALL, AckBatch
from agent_core.clock import Moment
from agent_core.entries import EffectClass, Trait
from agent_core.events import (
    CommandsPolled,
    CommandsReceived,
    DialFailed,
    Event,
    Failure,
    FrameReceived,
    LedgerOpened,
    Lost,
    Opened,
    Poll,
    PollAnswered,
    PollFailed,
    Ponged,
    Recorded,
    RecordFailed,
    Registered,
    RegistrationFailed,
    Trouble,
)
from agent_core.frames import Target
from agent_core.records import (
    AcksProven,
    Arrival,
    Change,
    CommandAccepted,
    CommandChanged,
    CommandEnded,
    CommandReleased,
    CommandResolved,
    CommandStarted,
    DuplicateSeen,
    EventAdded,
    EventsSettled,
    Key,
    Memory,
    MessageReceived,
    Named,
    OutboxRow,
    OwedEvent,
    Remembered,
    Scheduled,
    SettingDropped,
    SettingStored,
    State,
    TombstoneAdded,
    TombstoneRemoved,
    Unresolved,
    UnsentFound,
    Via,
)
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Ending, Hub, Rules
from agent_core.reference.orders import AckWay, CallError

NO_FAULTS = Faults()
UTC = 1_793_910_600.0
NAME = "edge-1"
ACK_HEAD = '{"type":"command_ack","data":'
EVENT_HEAD = '{"type":"event","data":'
TRAITS = {
    "send_message": Trait(EffectClass.TRANSACTIONAL, idempotent=False, sends=True),
    "slow_message": Trait(EffectClass.TRANSACTIONAL, idempotent=False, sends=True),
    "file_message": Trait(EffectClass.EXTERNAL, idempotent=False, sends=True),
    "put_message": Trait(EffectClass.EXTERNAL, idempotent=True, sends=True),
    "mac_message": Trait(EffectClass.EXTERNAL, idempotent=False, sends=True, settles=True),
    "schedule_message": Trait(EffectClass.EXTERNAL, idempotent=False, sends=True),
    "emit_event": Trait(EffectClass.HARMLESS, idempotent=True),
}
INLINE = frozenset({"send_message", "emit_event"})
"""These run within the engine's step."""


BAD_COMMAND = re.compile(r'"command_id":"c\d*[05]"')


def is_bad(command_id: str) -> bool:
    """Each fifth one is, where the weather is against bad ones."""
    return command_id.endswith(("0", "5"))


class Broken(AssertionError):
    """An invariant does not hold."""


class Died(Exception):
    """The agent's process ends here, in the middle of whatever it was doing."""


def demand(holds: bool, sentence: str, *particulars: object) -> None:
    if not holds:
        raise Broken(f"{sentence} {' '.join(map(repr, particulars))}".strip())


class Timeline:
    """Calls due at instants of true time, in order."""

    def __init__(self) -> None:
        self.at = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = count()

    def call(self, after: float, work: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._heap, (self.at + after, next(self._number), work, args))

    @property
    def next_at(self) -> float:
        return self._heap[0][0] if self._heap else float("inf")

    def run_next(self) -> None:
        self.at, _, work, args = heapq.heappop(self._heap)
        work(*args)


# --- the disk --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """One command as the journal has it."""

    entry: Remembered
    texts: set[str] = field(default_factory=set)
    """Every ack ever recorded for it: only these may go out."""


class Disk:
    """The journal's promises over a dictionary: groups in order, all or nothing, tried again until written; it survives the process."""

    def __init__(self, time: Timeline, random: Random) -> None:
        self._time, self._random = time, random
        self.rows: dict[int, Row] = {}
        self.ids: dict[str, int] = {}
        self.outbox: dict[int, OutboxRow] = {}
        self.tombstones: dict[Target, TombstoneAdded] = {}
        self.names: defaultdict[str, list[int]] = defaultdict(list)
        self.facts: dict[str, str] = {}
        self.effects: Counter[str] = Counter()
        self.events: dict[int, EventAdded] = {}
        self._event_seqs: dict[str, int] = {}
        self.settled_events: dict[int, str] = {}
        self.came_in: set[int] = set()
        """How each of them was settled."""
        self.failing = False
        self.slow = 0.0
        self._queue: deque[tuple[int, tuple[Change, ...]]] = deque()
        self._writing = False
        self._told = False
        self._owner: Callable[[Event], None] | None = None
        self._life = 0

    def attach(self, post: Callable[[Event], None]) -> None:
        """A new process opens the file: what the last one had not written is gone."""
        self._life += 1
        self._owner = post
        self._queue.clear()
        self._writing = self._told = False
        self._open(self._life)

    def _open(self, life: int) -> None:
        if life != self._life or self._owner is None:
            return
        if self.failing:
            if not self._told:
                self._owner(RecordFailed("ledger.sqlite3: database is locked"))
            self._told = True
            self._time.call(0.5, self._open, life)
        else:
            self._told = False
            self._owner(LedgerOpened(self.memory()))

    def revive_tombstones(self, until_utc: float) -> None:
        """After a jump of the clock ahead each lives for its whole time again (PROMISES F64)."""
        self.tombstones = {target: replace(one, until_utc=until_utc) for target, one in self.tombstones.items()}

    def detach(self) -> None:
        self._life += 1
        self._owner = None
        self._queue.clear()

    def write(self, ticket: int, changes: tuple[Change, ...]) -> None:
        self._queue.append((ticket, changes))
        if not self._writing:
            self._writing = True
            self._time.call(self._takes(), self._commit, self._life, None)

    def _takes(self) -> float:
        return self._random.uniform(0.000_3, 0.003) + (self._random.uniform(0, self.slow) if self.slow else 0.0)

    def _commit(self, life: int, batch: list[tuple[int, tuple[Change, ...]]] | None) -> None:
        if life != self._life or self._owner is None:
            return
        if batch is None:
            batch = list(self._queue)
            self._queue.clear()
        if self.failing:
            if not self._told:
                self._told = True
                self._owner(RecordFailed("ledger.sqlite3: disk I/O error"))
            self._time.call(0.5, self._commit, life, batch)
            return
        self._told = False
        for _, changes in batch:
            for change in changes:
                self._apply(change)
        self._time.call(self._random.uniform(0, 0.001), self._report, life, batch[-1][0])
        if self._queue:
            self._time.call(self._takes(), self._commit, life, None)
        else:
            self._writing = False

    def _report(self, life: int, ticket: int) -> None:
        if life == self._life and self._owner is not None:
            self._owner(Recorded(ticket))

    def _apply(self, change: Change) -> None:
        match change:
            case CommandAccepted(entry, effect, names):
                for name in names:
                    self.names[name].append(entry.seq)
                taken = entry.command.command_id in self.ids or entry.seq in self.rows
                demand(not taken, "a command is taken twice", entry.seq, entry.command.command_id)
                self.rows[entry.seq] = Row(entry, {entry.ack} if entry.ack else set())
                self.ids[entry.command.command_id] = entry.seq
                self._send(entry.seq, effect)
            case CommandEnded(seq, state, utc, error, ack, effect):
                row = self.rows[seq]
                demand(not row.entry.state.ended, "a command ends twice", row.entry.command.command_id)
                row.entry = replace(row.entry, state=state, finished_utc=utc, error=error, ack=ack, proven_utc=None if ack else utc)
                row.texts |= {ack} if ack else set()
                self._send(seq, effect)
            case CommandStarted(seq, utc, mark):
                row = self.rows[seq]
                row.entry = replace(row.entry, state=State.RUNNING, started_utc=utc, runs=row.entry.runs + 1, mark=mark)
            case CommandReleased(seq, utc, state, ack):
                row = self.rows[seq]
                waited = row.entry.state in {State.HELD, State.SCHEDULED}
                demand(waited, "released, but neither held nor due", row.entry.command.command_id)
                row.entry = replace(row.entry, state=state, released_utc=utc, ack=ack)
                row.texts |= {ack} if ack else set()
            case CommandChanged(seq, payload, due, by):
                row = self.rows[seq]
                demand(
                    row.entry.state in {State.SCHEDULED, State.HELD},
                    "changed, but neither scheduled nor held",
                    row.entry.command.command_id,
                )
                row.entry = replace(row.entry, command=replace(row.entry.command, payload=payload), due_utc=due, changed_by=by)
            case UnsentFound(seq):
                row = self.rows[seq]
                row.entry = replace(row.entry, state=State.QUEUED, mark=None, unsent=row.entry.unsent + 1)
            case AcksProven(acks, utc, by):
                for seq, sent in acks:
                    self.rows[seq].entry = replace(self.rows[seq].entry, sent_utc=sent, proven_utc=utc, proven_by=by)
            case CommandResolved(seq, resolution, utc, by, guid):
                row = self.rows[seq]
                demand(row.entry.is_unresolved, "resolved, though it needs nothing", row.entry.command.command_id)
                row.entry = replace(row.entry, resolution=resolution, resolved_utc=utc, resolved_by=by, resolved_guid=guid)
            case DuplicateSeen(seq):
                demand(seq in self.rows, "a repetition of what was never written", seq)
            case TombstoneAdded(target):
                self.tombstones[target] = change
            case TombstoneRemoved(target):
                demand(target in self.tombstones, "a tombstone that is not there is removed", target)
                del self.tombstones[target]
            case _:
                self._apply_rest(change)

    def _apply_rest(self, change: Change) -> None:
        match change:
            case SettingStored(key, value):
                self.facts[key] = value
            case SettingDropped(key):
                self.facts.pop(key, None)
            case MessageReceived(seq, event):
                demand(event in self.events and seq not in self.rows, "a message came in as another's row, or of no event", seq, event)
                self.came_in.add(seq)
            case EventAdded(seq):
                demand(seq == len(self.events) + 1, "an event's number is not the next", seq)
                self.events[seq] = change
                self._event_seqs[change.text] = seq
            case EventsSettled(seqs, _, by):
                for seq in seqs:
                    demand(seq in self.events and seq not in self.settled_events, "an event is settled twice, or was never added", seq, by)
                    self.settled_events[seq] = by

    def _send(self, seq: int, effect: OutboxRow | None) -> None:
        if effect is not None:
            demand(seq not in self.outbox, "a message is in the outbox twice", effect)
            self.outbox[seq] = effect
            self.effects[effect.command_id] += 1

    def recall(self, command_id: str) -> Remembered | None:
        seq = self.ids.get(command_id)
        return self.rows[seq].entry if seq is not None else None

    def look_up(self, keys: Iterable[Key]) -> tuple[Remembered, ...]:
        return tuple(past for past in map(self._look_up, keys) if past is not None)

    def _look_up(self, key: Key) -> Remembered | None:
        if isinstance(key, str):
            return self.recall(key)
        return self._named(key.name) if isinstance(key, Named) else self.rows[key].entry

    def _named(self, name: str) -> Remembered | None:
        return self.rows[self.names[name][-1]].entry if name in self.names else None

    def memory(self) -> Memory:
        rows = sorted(self.rows.values(), key=lambda row: row.entry.seq)
        unended = tuple(row.entry for row in rows if row.entry.state in {State.QUEUED, State.RUNNING, State.HELD})
        unproven = tuple(row.entry.seq for row in rows if row.entry.ack is not None and row.entry.proven_utc is None)
        names = {seq: tuple(name for name, seqs in self.names.items() if seq in seqs) for seq in self.rows}
        later = (row.entry for row in rows if row.entry.state is State.SCHEDULED)
        scheduled = tuple(Scheduled(entry.seq, entry.due_utc or 0.0, names[entry.seq]) for entry in later)
        last = next((r.entry.command.command_id for r in reversed(rows) if r.entry.via is not Via.LOCAL), None)
        return Memory(
            unended,
            tuple(self.tombstones.values()),
            tuple(self.facts.items()),
            max((*self.rows, *self.came_in), default=0) + 1,
            last,
            unproven=unproven,
            unresolved=self.unresolved,
            scheduled=scheduled,
            events=tuple(OwedEvent(one.seq, one.event_id, one.event_type, len(one.text)) for one in self.owed_events),
            next_event=len(self.events) + 1,
        )

    @property
    def owed_events(self) -> list[EventAdded]:
        return [event for seq, event in self.events.items() if seq not in self.settled_events]

    def owes(self, text: str) -> bool:
        """Whether this event is on disk, and not settled."""
        seq = self._event_seqs.get(text)
        return seq is not None and seq not in self.settled_events

    @property
    def unresolved(self) -> Unresolved:
        states = Counter(row.entry.state for row in self.rows.values() if row.entry.is_unresolved)
        return Unresolved(states[State.FAILED], states[State.INTERRUPTED])


# --- the network and the backend -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weather:
    """How the way to the backend is at present."""

    dial: Failure | str | None = None
    """What a dial ends with; `hang`: nothing comes back; `brief`: accepted, and closed soon."""
    brief_code: int | None = None
    http: Failure | str | None = None
    """What a call ends with; `hang`: nothing comes back, and half of the calls had arrived; `html`: a page, no JSON."""
    no_up: bool = False
    no_down: bool = False
    """One direction of open sockets passes nothing (what is sent waits, as in TCP)."""
    late: float = 0.0
    """Seconds more of latency at most."""
    no_ack_call: bool = False
    refusal: Failure | None = None
    """What a call for a bad command's ack ends with."""
    poison: bool = False
    """Bad commands are spoiled on their way: no strict parser takes them, nor what they travel in."""
    faults: Faults = NO_FAULTS

    @property
    def serves(self) -> bool:
        """By HTTP good commands and their acks get through, whatever the others do."""
        return self.http is None and not (self.late or self.no_ack_call) and self.faults == NO_FAULTS

    def __str__(self) -> str:
        """What is not fair about it."""
        return ", ".join(f"{spec.name}={getattr(self, spec.name)}" for spec in fields(self) if getattr(self, spec.name) != spec.default)


FAIR = Weather()


class Wire:
    """One socket, from the dial to its end."""

    __slots__ = (
        "accepted_at",
        "agent_gone",
        "dead",
        "down_at",
        "generation",
        "hub_generation",
        "open",
        "server_gone",
        "stuck_down",
        "stuck_up",
        "up_at",
    )

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.hub_generation: int | None = None
        self.open = self.agent_gone = self.server_gone = self.dead = False
        self.up_at = self.down_at = self.accepted_at = 0.0
        self.stuck_up: list[Any] = []
        self.stuck_down: list[Any] = []


class Network:
    """Sockets and calls between one agent's process (`post`) and the hub. Wires are first in, first out; ways overtake each other."""

    def __init__(self, time: Timeline, random: Random, base_latency: float, rules: Rules) -> None:
        self.time, self._random, self._latency = time, random, base_latency
        self.hub = Hub(rules)
        self.weather = FAIR
        self.mute_since: float | None = None
        """Since when no call has been answered well; None: they are."""
        self.wires: dict[int, Wire] = {}
        self.read: dict[str, set[str]] = {}
        """Every ack text that the backend has read, by command."""
        self.events: dict[str, str] = {}
        """The events that it has read, by id, in the order in which they came first."""
        self.post: Callable[..., None] | None = None
        self.ack_call_known = False
        """This process has had a 2xx from a call for acks."""
        self.life = 0
        self.dials: list[float] = []
        self._hub_due = float("inf")

    @property
    def now(self) -> Moment:
        return Moment(self.time.at, UTC + self.time.at)

    def lag(self) -> float:
        late = self._random.uniform(0, self.weather.late) if self.weather.late else 0.0
        return self._latency * self._random.uniform(0.5, 1.5) + late

    def set_weather(self, weather: Weather) -> None:
        self.weather = weather
        self.mute_since = None if weather.http is None else self.time.at if self.mute_since is None else self.mute_since
        self.hub.faults = weather.faults
        for wire in list(self.wires.values()):
            if not weather.no_up:
                held, wire.stuck_up = wire.stuck_up, []
                for item in held:
                    self._up(wire, *item)
            if not weather.no_down:
                held, wire.stuck_down = wire.stuck_down, []
                if held:
                    self._down(wire, *held)

    # --- sockets ---------------------------------------------------------------------------------------------

    def dial(self, generation: int) -> None:
        wire = self.wires[generation] = Wire(generation)
        self.dials.append(self.time.at)
        outcome = self.weather.dial
        if outcome == "hang" or self.weather.no_up or self.weather.no_down:
            if self._random.random() < 0.2:
                self.time.call(self._random.uniform(10, 14), self._to_agent, wire, (Opened(generation),), self.life)
            return
        if isinstance(outcome, Failure):
            self.time.call(self.lag(), self._to_agent, wire, (DialFailed(generation, outcome),), self.life)
            return
        self.time.call(self.lag(), self._accept, wire)

    def _accept(self, wire: Wire) -> None:
        if wire.agent_gone:
            return
        try:
            self.hub.admit(NAME, self.now)
        except CallError as error:
            failure = Failure(Trouble.HTTP, f"HTTP {error.status}", error.status, error.retry_after)
            self._down(wire, DialFailed(wire.generation, failure))
            return
        admitted = self.hub.connect(NAME, self.now)
        wire.hub_generation = admitted.generation
        wire.accepted_at = self.time.at
        if admitted.replaced is not None:
            for old in list(self.wires.values()):
                if old.hub_generation == admitted.replaced:
                    self.close(old, 4009, "replaced")
        self._down(wire, Opened(wire.generation))
        self._flush(wire)
        if self.weather.dial == "brief":
            self.time.call(self._random.uniform(0, 0.3), self.close, wire, self.weather.brief_code, "brief")

    def close(self, wire: Wire, code: int | None, reason: str) -> None:
        """The backend ends a socket: with a closing frame, or None for a reset."""
        if wire.server_gone:
            return
        wire.server_gone = True
        if wire.hub_generation is not None:
            self.hub.disconnect(NAME, wire.hub_generation, Ending(code or 1006, reason))
        failure = (
            Failure(Trouble.CLOSED, f"closed by the backend: {code}", code) if code else Failure(Trouble.LOST, "the connection was lost")
        )
        self._down(wire, Lost(wire.generation, failure))

    def vanish(self) -> None:
        """The backend's machine is gone: no socket is told."""
        for wire in self.wires.values():
            wire.dead = wire.server_gone = True
            if wire.hub_generation is not None:
                self.hub.disconnect(NAME, wire.hub_generation, Ending(1006, "gone"))

    def present(self) -> Wire | None:
        """The socket that the hub holds for the agent's own."""
        generation = self.hub.connected(NAME)
        return next((w for w in self.wires.values() if w.hub_generation == generation and not w.server_gone), None) if generation else None

    def abort(self, generation: int) -> None:
        """The agent drops a socket: the backend hears of it if anything gets through."""
        wire = self.wires.get(generation)
        if wire is None:
            return
        wire.agent_gone = True
        if not (self.weather.no_up or wire.dead):
            self.time.call(self.lag(), self._reset, wire)

    def _reset(self, wire: Wire) -> None:
        if not wire.server_gone and wire.hub_generation is not None:
            self.hub.disconnect(NAME, wire.hub_generation, Ending(1006, "lost", "nobody"))
        wire.server_gone = True
        self.wires.pop(wire.generation, None)

    def finish(self, generation: int) -> None:
        """The agent closes with a handshake."""
        self._send(generation, "close", None)

    def send(self, generation: int, texts: Iterable[str]) -> None:
        for text in texts:
            self._send(generation, "frame", text)

    def probe(self, generation: int) -> None:
        self._send(generation, "probe", None)

    def _send(self, generation: int, kind: str, text: str | None) -> None:
        if (wire := self.wires.get(generation)) is not None:
            self._up(wire, kind, text)

    def _up(self, wire: Wire, kind: str, text: str | None) -> None:
        if wire.dead:
            return
        if self.weather.no_up:
            wire.stuck_up.append((kind, text))
            return
        wire.up_at = max(wire.up_at, self.time.at + self.lag())
        self.time.call(wire.up_at - self.time.at, self._at_server, wire, kind, text)

    def _at_server(self, wire: Wire, kind: str, text: str | None) -> None:
        if wire.server_gone or wire.dead:
            return
        if kind == "probe":
            self._down(wire, Ponged(wire.generation))
        elif kind == "close":
            wire.server_gone = True
            if wire.hub_generation is not None:
                self.hub.disconnect(NAME, wire.hub_generation, Ending(1000, "agent stopped", "agent"))
            self._down(wire, Lost(wire.generation, Failure(Trouble.CLOSED, "closed by the backend: 1000", 1000)))
        elif text is not None and wire.hub_generation is not None:
            if text.startswith(ACK_HEAD):
                self.note_read(text[len(ACK_HEAD) : -1])
            elif text.startswith(EVENT_HEAD):
                self.note_event(text[len(EVENT_HEAD) : -1])
            ending = self.hub.receive(NAME, wire.hub_generation, text, self.now)
            if ending is not None:
                self.close(wire, ending.code, ending.reason)
            self._flush(wire)

    def note_read(self, text: str) -> None:
        self.read.setdefault(from_json(text)["command_id"], set()).add(text)

    def note_event(self, text: str) -> None:
        first = self.events.setdefault(from_json(text)["event_id"], text)
        demand(first == text, "an event comes again, and says something else:", first, text)

    def flush(self) -> None:
        """Send what the hub has for the agent's socket."""
        if (wire := self.present()) is not None:
            self._flush(wire)

    def _flush(self, wire: Wire) -> None:
        if wire.hub_generation is None or wire.server_gone:
            return
        while texts := self.hub.take(NAME, wire.hub_generation, self.now):
            self._down(wire, *texts)
        due = self.hub.wake_at
        if due is not None and self._hub_due == float("inf"):
            self._hub_due = due
            self.time.call(max(0.0, due - self.time.at), self._tick_hub)

    def _tick_hub(self) -> None:
        self._hub_due = float("inf")
        for stale in self.hub.tick(self.now):
            for wire in list(self.wires.values()):
                if wire.hub_generation == stale.generation:
                    self.close(wire, None, "not heard")
        if self.hub.wake_at is not None:
            self._hub_due = self.hub.wake_at
            self.time.call(max(0.001, self.hub.wake_at - self.time.at), self._tick_hub)
        self.flush()

    def _down(self, wire: Wire, *items: Event | str) -> None:
        """What is sent in one go arrives in one go."""
        if wire.dead:
            return
        if self.weather.no_down:
            wire.stuck_down.extend(items)
            return
        wire.down_at = max(wire.down_at, self.time.at + self.lag())
        self.time.call(wire.down_at - self.time.at, self._to_agent, wire, items, self.life)

    def _to_agent(self, wire: Wire, items: tuple[Event | str, ...], life: int) -> None:
        """An old socket's news may still be on its way through the shell for a moment: it is passed on now and then."""
        if self.post is None or life != self.life or wire.dead or (wire.agent_gone and self._random.random() < 0.7):
            return
        if isinstance(items[-1], Lost | DialFailed) and not wire.agent_gone:
            self.wires.pop(wire.generation, None)
        self.post(*[_news(wire.generation, self._spoiled(item) if isinstance(item, str) else item) for item in items])

    def _spoiled(self, text: str) -> str:
        return BAD_COMMAND.sub(r'\g<0>,"odd":NaN', text) if self.weather.poison else text

    def new_life(self, post: Callable[..., None] | None) -> None:
        """Another process, or none: the kernel resets what the last one had open."""
        self.life += 1
        self.post = post
        self.ack_call_known = False
        for wire in list(self.wires.values()):
            if not wire.agent_gone:
                self.abort(wire.generation)

    # --- calls -----------------------------------------------------------------------------------------------

    def call(self, within: float, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """One POST: `work` at the backend, then `done` here with its result or a Failure, `within` seconds at most."""
        call = Call(self, done, self.life)
        self.time.call(within, call.finish, Failure(Trouble.TIMEOUT, f"no answer in {within:g} s"))
        outcome = self.weather.http
        if isinstance(outcome, Failure):
            self.time.call(self.lag(), call.finish, outcome)
        elif outcome == "html":
            self.time.call(self.lag(), call.finish, Failure(Trouble.GARBAGE, "the answer is not JSON"))
        elif outcome != "hang" or self._random.random() < 0.5:
            self.time.call(self.lag(), self._serve, call, work, outcome != "hang")

    def _serve(self, call: "Call", work: Callable[[], Any], answered: bool) -> None:
        result = work()
        if answered:
            self.time.call(self.lag(), call.finish, result)

    def poll(self, effect: Poll, within: float) -> None:
        body = {
            "edge_agent_id": NAME, "last_command_id": effect.last_command_id, "status": dict(effect.status),
            "pending_events": [
                *({"type": "command_ack", "data": from_json(ack)} for _, ack in effect.carried),
                *(from_json(event) for _, event in effect.events),
            ],
        }  # fmt: skip

        def work() -> str:
            for _, ack in effect.carried:
                self.note_read(ack)
            for _, event in effect.events:
                self.note_event(event)
            return self.hub.sync(body, self.now)

        def done(result: str | Failure) -> None:
            if isinstance(result, Failure):
                self._answer(PollFailed(effect.number, result))
                return
            answer = frames.parse_sync(self._spoiled(result).encode())
            arrivals = tuple(Arrival(command) for command in answer.commands)
            carried = tuple(command_id for command_id, _ in effect.carried)
            if arrivals and self._random.random() < 0.3:
                self._answer(CommandsPolled(effect.number, arrivals[:1]))
                arrivals = arrivals[1:]
            self._answer(PollAnswered(effect.number, arrivals, answer.proven, answer.settings, answer.malformed, carried))

        self.call(within, work, done)

    def post_acks(self, acks: tuple[tuple[str, str], ...], within: float) -> None:
        PostRun(self, acks, within).next()

    def register(self, within: float) -> None:
        def done(result: str | Failure) -> None:
            self._answer(RegistrationFailed(result) if isinstance(result, Failure) else Registered(result))

        self.call(within, lambda: NAME, done)

    def _answer(self, event: Event) -> None:
        if self.post is not None:
            self.post(event)

    def answer(self, event: Event) -> None:
        self._answer(event)


def _news(generation: int, item: Event | str) -> Event:
    if not isinstance(item, str):
        return item
    frame = frames.parse(item)
    if isinstance(frame, frames.Command):
        return CommandsReceived(generation, (Arrival(frame),))
    return FrameReceived(generation, frame)


class Call:
    """One call's answer: the first one counts, and only for the process that asked."""

    __slots__ = ("_done", "_life", "_network", "_open")

    def __init__(self, network: Network, done: Callable[[Any], None], life: int) -> None:
        self._network, self._done, self._life, self._open = network, done, life, True

    def finish(self, result: Any) -> None:
        if self._open and self._life == self._network.life:
            self._open = False
            self._done(result)


class PostRun:
    """A batch of acks, one POST after the other, judged as the real channel does."""

    def __init__(self, network: Network, acks: tuple[tuple[str, str], ...], within: float) -> None:
        self._network, self._within = network, within
        self._left = deque(acks)
        self._batch = AckBatch(tuple(command_id for command_id, _ in acks))

    def next(self) -> None:
        network = self._network
        if not self._left:
            network.answer(self._batch.outcome)
        elif network.weather.no_ack_call:
            self._done(Failure(Trouble.HTTP, "no such command", 404) if network.ack_call_known else NO_ACK_CALL)
        else:
            network.call(self._within, self._work, self._done)

    def _work(self) -> Failure | None:
        command_id, text = self._left[0]
        refusal = self._network.weather.refusal
        if refusal is not None and is_bad(command_id):
            return refusal
        self._network.note_read(text)
        self._network.hub.ack(from_json(text), AckWay.HTTP, self._network.now, NAME)
        return None

    def _done(self, failure: Failure | None) -> None:
        self._network.ack_call_known |= failure is None
        command_id, _ = self._left.popleft()
        if not self._batch.answered(command_id, failure):
            self._left.clear()
        self.next()
