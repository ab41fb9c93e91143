"""The pure engine in dialogues.

    book = Playbook(backoff={"jitter": "none"})
    book >> Started()                       # `>>`  tells the engine what has happened
    book << OpenSocket(1)                   # `<<`  is what it must ask for next
    book >> DialFailed(1, refused())
    book.after(1.0) << OpenSocket(2)        # time passes; on its way the engine is woken at each of its deadlines
    book << NOTHING                         # and it asks for nothing else

What the engine asks for since the last `>>` or `after` stands in a row. `<<` takes the first that matches out of the row; what it
has passed over is gone, so a list of `<<` is also a claim about order. A pattern is an effect, a class of effects,
`like(Class, field=value or predicate)`, or one of the phrases below (`pings`, `acks`, `executes` …). Lines for the log are apart:
`book.told("…")`.

Whatever a test is about, every step is watched: no second socket or poll while one is in flight, no number used twice, no deadline
left in the past, no handler started and no ack sent before the disk has what it must have.

A mismatch prints the whole dialogue.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple, replace

from agent_core.clock import ManualClock
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.engine.acks import MAX_IN_MEMORY
from agent_core.entries import EffectClass, Trait
from agent_core.events import (
    AbortSocket,
    AcksPosted,
    CloseSocket,
    CommandFinished,
    CommandsPolled,
    CommandsReceived,
    DialFailed,
    Effect,
    Event,
    EventsRecalled,
    Execute,
    Failure,
    Finish,
    FrameReceived,
    LedgerOpened,
    Lost,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    PollFailed,
    Ponged,
    PostAcks,
    Probe,
    Recall,
    Recalled,
    RecallEvents,
    Record,
    Recorded,
    Send,
    Started,
    Ticked,
    Trouble,
)
from agent_core.feed import CommandEntry, DeliveryEntry, FeedEntry, LogEntry, ProvenEntry, proven
from agent_core.frames import Command, Pong, Welcome, command_of
from agent_core.records import (
    AcksProven,
    Arrival,
    Change,
    CommandAccepted,
    CommandChanged,
    CommandEnded,
    CommandReleased,
    CommandStarted,
    EventAdded,
    Key,
    Memory,
    Named,
    Outcome,
    Remembered,
    State,
    UnsentFound,
    Via,
)
from agent_core.snapshot import Phase, Snapshot

TRAITS = {
    "send_message": Trait(EffectClass.EXTERNAL, sends=True),
    "send_message_now": Trait(EffectClass.EXTERNAL, sends=True),
    "schedule_message": Trait(EffectClass.EXTERNAL, sends=True),
    "note": Trait(EffectClass.TRANSACTIONAL, sends=True),
    "text": Trait(EffectClass.EXTERNAL, sends=True, settles=True),
    "look": Trait(EffectClass.HARMLESS),
    "set": Trait(EffectClass.EXTERNAL, idempotent=True),
}
"""Handlers for the tests: messages that leave the ledger, one that is a row in it, one on record elsewhere, two that touch little."""
THREAD = "+13105550100"
AGENT_ID = "mac-1"
SHOWN = 160


class Phrase:
    """A pattern with words for the mismatch."""

    def __init__(self, words: str, matches: Callable[[Effect], bool]) -> None:
        self._words = words
        self.matches = matches

    def __repr__(self) -> str:
        return self._words


Pattern = Effect | type | Phrase
NOTHING = Phrase("NOTHING", lambda _: False)


def like(kind: type, **wanted: Any) -> Phrase:
    """An effect of this class whose named fields are so; a wanted value may be a predicate."""

    def fits(effect: Effect) -> bool:
        if not isinstance(effect, kind):
            return False
        return all(want(getattr(effect, name)) if callable(want) else getattr(effect, name) == want for name, want in wanted.items())

    return Phrase(f"{kind.__name__}({', '.join(f'{name}={want!r}' for name, want in wanted.items())})", fits)


def frames_in(effect: Effect) -> list[dict[str, Any]]:
    return [json.loads(text) for text in effect.frames] if isinstance(effect, Send) else []


def acks_in(effect: Effect) -> list[dict[str, Any]]:
    """The acks that leave with this effect, by whichever way."""
    if isinstance(effect, PostAcks):
        return [json.loads(text) for _, text in effect.acks]
    if isinstance(effect, Poll):
        return [json.loads(text) for _, text in effect.carried]
    return [frame["data"] for frame in frames_in(effect) if frame["type"] == "command_ack"]


def pings(seq: int | None = None) -> Phrase:
    """A JSON ping goes out."""

    def fits(effect: Effect) -> bool:
        return any(frame["type"] == "ping" and seq in {None, frame["data"]["seq"]} for frame in frames_in(effect))

    return Phrase(f"pings({'' if seq is None else seq})", fits)


def acks(*command_ids: str, **wanted: Any) -> Phrase:
    """Acks of exactly these commands leave by socket, in this order; `wanted` are fields of each."""
    return _acks(Send, command_ids, wanted)


def posts(*command_ids: str, **wanted: Any) -> Phrase:
    """The same, by HTTP."""
    return _acks(PostAcks, command_ids, wanted)


def carries(*command_ids: str, **wanted: Any) -> Phrase:
    """The same, inside a poll."""
    return _acks(Poll, command_ids, wanted)


def _acks(kind: type, command_ids: Iterable[str], wanted: dict[str, Any]) -> Phrase:
    def fits(effect: Effect) -> bool:
        bodies = acks_in(effect)
        named = [body["command_id"] for body in bodies] == list(command_ids)
        return isinstance(effect, kind) and named and all(body.get(key) == want for body in bodies for key, want in wanted.items())

    words = [*map(repr, command_ids), *(f"{key}={want!r}" for key, want in wanted.items())]
    return Phrase(f"an ack by {kind.__name__} of {', '.join(words) or 'nothing'}", fits)


def events_in(effect: Effect) -> list[dict[str, Any]]:
    """The events that leave with this effect, by whichever way."""
    if isinstance(effect, Poll):
        return [json.loads(text) for _, text in effect.events]
    return [frame["data"] for frame in frames_in(effect) if frame["type"] == "event"]


def tells(*event_ids: str) -> Phrase:
    """Exactly these events leave, in this order, by socket or inside a poll."""
    words = f"tells({', '.join(map(repr, event_ids))})"
    return Phrase(words, lambda effect: [body["event_id"] for body in events_in(effect)] == list(event_ids))


def executes(command_id: str) -> Phrase:
    """A handler starts for this command."""
    return Phrase(f"executes({command_id!r})", lambda effect: isinstance(effect, Execute) and effect.command.command_id == command_id)


def records(*kinds: type) -> Phrase:
    """A record whose changes are of exactly these classes, in order."""
    words = ", ".join(kind.__name__ for kind in kinds)
    return Phrase(f"records({words})", lambda effect: isinstance(effect, Record) and [type(c) for c in effect.changes] == list(kinds))


# --- what the world says -----------------------------------------------------------------------------------------------


def refused() -> Failure:
    return Failure(Trouble.CONNECT, "connection refused")


def lost() -> Failure:
    return Failure(Trouble.LOST, "connection lost")


def closed(code: int) -> Failure:
    return Failure(Trouble.CLOSED, f"closed with {code}", code)


def http(status: int, retry_after: float | None = None) -> Failure:
    return Failure(Trouble.HTTP, f"HTTP {status}", status, retry_after)


def command(command_id: str, command_type: str = "send_message_now", **extra: Any) -> Command:
    """A command from the wire; a message to one thread unless told otherwise."""
    body = {"command_id": command_id, "command_type": command_type, "payload": {"thread_id": THREAD, "text": "hi"}}
    return command_of(body | extra)


def to(thread: str, text: str = "hi", **more: Any) -> dict[str, Any]:
    """The payload of a message to this thread."""
    return {"thread_id": thread, "text": text, **more}


# --- the dialogue ------------------------------------------------------------------------------------------------------


class Playbook:
    """One engine, one clock, and everything that was said. Keywords are sections of the configuration."""

    def __init__(
        self, *, traits: dict[str, Trait] | None = None, dice: float | Callable[[], float] = 0.5, max_in_memory: int = MAX_IN_MEMORY,
        **sections: Any,
    ) -> None:  # fmt: skip
        sections["edge"] = {"agent_id": AGENT_ID} | sections.get("edge", {})
        self.config = Config.model_validate(sections)
        self.clock = ManualClock()
        self.engine = Engine(self.config, TRAITS if traits is None else traits, "test", max_in_memory=max_in_memory)
        self.dice = dice
        """A number in [0, 1), or something that gives them."""
        self.disk_is_prompt = True
        """Each Record is answered with Recorded at once; else the test says when."""
        self.ever: list[tuple[float, Effect]] = []
        """Every effect with its time, lines apart."""
        self.lines: list[LogEntry] = []
        self.rows: list[CommandEntry] = []
        self._row: list[Effect] = []
        self._pings: list[int] = []
        self._dialogue: list[str] = []
        self._memory: dict[str, Remembered] = {}
        self._named: dict[str, str] = {}
        self._events: dict[int, str] = {}
        self._watch = Watch(self.config.timing.poll_within)
        self._born = self.clock.mono

    # --- saying and expecting

    def __rshift__(self, event: Event) -> "Playbook":
        """Something has happened."""
        self._row.clear()
        self._handle(event)
        return self

    def handle_together(self, *events: Event) -> "Playbook":
        """Several things have happened at one instant: one step of the engine."""
        self._row.clear()
        self._handle(*events)
        return self

    def __lshift__(self, pattern: Pattern) -> "Playbook":
        """The engine must have asked for this."""
        if pattern is NOTHING:
            if self._row:
                self._fail("nothing more", self._row)
            return self
        for position, effect in enumerate(self._row):
            if _matches(pattern, effect):
                del self._row[: position + 1]
                return self
        self._fail(_words(pattern), self._row)
        return self

    def after(self, seconds: float) -> "Playbook":
        """Time passes, and the engine is woken at each of its deadlines on the way."""
        self._row.clear()
        end = self.clock.mono + seconds
        idle = 0
        while not self.engine.finished and self.engine.wake_at <= end + 1e-9:
            idle = idle + 1 if self.engine.wake_at <= self.clock.mono else 0
            if idle > 10:
                self._fail("an engine that goes on to its next deadline", [])
            self._advance_to(self.engine.wake_at)
            self._handle(Ticked())
        self._advance_to(end)
        return self

    def never(self, *patterns: Pattern) -> "Playbook":
        """None of these has been asked for since the last `>>` or `after`."""
        for pattern in patterns:
            if found := [effect for effect in self._row if _matches(pattern, effect)]:
                self._fail(f"no {_words(pattern)}", found)
        return self

    def told(self, text: str, level: str | None = None, times: int | None = None) -> "Playbook":
        """A line with this in it has been told since the beginning (so many times)."""
        found = [line for line in self.lines if text in line.text and level in {None, line.level}]
        if not found or times not in {None, len(found)}:
            self._fail(f"a line {level or ''} with {text!r} {'' if times is None else f'{times} times'}", self.lines)
        return self

    def untold(self, text: str) -> "Playbook":
        if found := [line for line in self.lines if text in line.text]:
            self._fail(f"no line with {text!r}", found)
        return self

    def row(self, command_id: str) -> CommandEntry:
        """How the stream shows this command now."""
        found = [entry for entry in self.rows if entry.command_id == command_id]
        if not found:
            self._fail(f"a row for {command_id!r}", self.rows)
        return found[-1]

    def count(self, pattern: Pattern, since: float | None = None) -> int:
        """How often this was asked for, ever or from an instant (monotonic)."""
        return sum(_matches(pattern, effect) for at, effect in self.ever if since is None or at >= since)

    def times(self, pattern: Pattern) -> list[float]:
        """When this was asked for, in seconds since the beginning."""
        return [at - self._born for at, effect in self.ever if _matches(pattern, effect)]

    def find(self, pattern: Pattern) -> Any:
        """The latest effect that matches."""
        found = [effect for _, effect in self.ever if _matches(pattern, effect)]
        if not found:
            self._fail(_words(pattern), [effect for _, effect in self.ever])
        return found[-1]

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.mono - self._born

    @property
    def snapshot(self) -> Snapshot:
        return self.engine.snapshot(self.clock.now())

    @property
    def phase(self) -> Phase:
        return self.snapshot.link.phase

    @property
    def generation(self) -> int:
        return self._watch.generation

    # --- turns of phrase

    def started(self, memory: Memory | None = None) -> "Playbook":
        """The ledger is open and the agent runs; the first dial is out."""
        self >> LedgerOpened(memory or Memory())
        return self >> Started()

    def online(self, memory: Memory | None = None) -> "Playbook":
        """Started, opened, verified; no poll is in flight any more."""
        if not self._watch.generation and self.phase is Phase.STOPPED:
            self.started(memory)
        self >> Opened(self.generation)
        self >> FrameReceived(self.generation, Pong(None))
        for _ in range(3):
            self.answer_poll()
        assert self.phase is Phase.ONLINE, self.dialogue
        return self

    def waits(self, at_most: float = 1_000.0) -> float:
        """Seconds until the next dial, which has then gone out."""
        began, dials = self.clock.mono, self.count(OpenSocket)
        while self.count(OpenSocket) == dials:
            if self.engine.wake_at > began + at_most:
                self._fail(f"a dial within {at_most:g} s", [])
            self.after(max(0.0, self.engine.wake_at - self.clock.mono))
        return self.clock.mono - began

    def lives(self, seconds: float, *, json_pongs: bool = True) -> "Playbook":
        """Time passes over a healthy link: pings, probes and polls are answered, dials are not."""
        end = self.clock.mono + seconds
        while True:
            while self._pings and json_pongs:
                self >> FrameReceived(self.generation, Pong(self._pings[0]))
            if any(isinstance(effect, Probe) for effect in self._row):
                self >> Ponged(self.generation)
            self.answer_poll()
            if self.engine.wake_at > end or self.engine.finished:
                return self.after(max(0.0, end - self.clock.mono))
            self.after(max(0.0, self.engine.wake_at - self.clock.mono))

    def answer_poll(self, *commands: Command, **more: Any) -> "Playbook":
        """The poll in flight, if there is one, is answered with these commands."""
        if self._watch.poll is None:
            return self
        carried = tuple(command_id for command_id, _ in self.find(Poll).carried)
        arrivals = tuple(self.arrival(one) for one in commands)
        return self >> PollAnswered(self._watch.poll, arrivals, carried=carried, **more)

    def fail_poll(self, failure: Failure) -> "Playbook":
        assert self._watch.poll is not None, self.dialogue
        return self >> PollFailed(self._watch.poll, failure)

    def push(self, command_id: str, command_type: str = "send_message_now", **extra: Any) -> "Playbook":
        """A command comes by the open socket."""
        return self >> CommandsReceived(self.generation, (self.arrival(command(command_id, command_type, **extra)),))

    def arrival(self, one: Command) -> Arrival:
        """A command as the agent hands it over: with what the journal remembers, where the engine must ask."""
        found = map(self.remembers, self.engine.needs(one))
        return Arrival(one, tuple(past for past in found if past is not None))

    def remembers(self, key: Key) -> Remembered | None:
        """What the journal would find."""
        if isinstance(key, int):
            return next((past for past in self._memory.values() if past.seq == key), None)
        return self._memory.get(self._named.get(key.name, "") if isinstance(key, Named) else key)

    def finish(self, command_id: str, error: str | None = None, **more: Any) -> "Playbook":
        """The handler of this command returns."""
        return self >> CommandFinished(self.find(executes(command_id)).seq, Outcome(error, **more))

    def pong(self, seq: int | None = None) -> "Playbook":
        """The backend answers a JSON ping: the newest, unless told which."""
        newest = [frame["data"]["seq"] for _, effect in self.ever for frame in frames_in(effect) if frame["type"] == "ping"][-1]
        return self >> FrameReceived(self.generation, Pong(newest if seq is None else seq))

    def greet(self) -> "Playbook":
        return self >> FrameReceived(self.generation, Welcome())

    def lose(self, failure: Failure | None = None) -> "Playbook":
        return self >> Lost(self.generation, failure or lost())

    def sleep(self, seconds: float) -> "Playbook":
        """The machine sleeps: the wall clock goes on, the monotonic one stands still."""
        self.clock.utc += seconds
        self._dialogue.append(f"{self.now:10.3f}    (asleep for {seconds:g} s)")
        return self

    def stall(self, seconds: float) -> "Playbook":
        """The process stands still: both clocks go on and nobody wakes the engine."""
        self.clock.advance(seconds)
        self._dialogue.append(f"{self.now:10.3f}    (stopped for {seconds:g} s)")
        return self

    # --- underneath

    def _roll(self) -> float:
        return self.dice() if callable(self.dice) else self.dice

    def _handle(self, *events: Event) -> None:
        self._dialogue += [f"{self.now:10.3f} >> {_short(event)}" for event in events]
        asked = self.engine.handle_all(events, self.clock.now(), self._roll)
        for event in events:
            self._watch.told(event)
            if isinstance(event, FrameReceived) and isinstance(event.frame, Pong):
                self._pings = [seq for seq in self._pings if event.frame.seq is not None and seq > event.frame.seq]
        for effect in asked:
            if isinstance(effect, FeedEntry):
                self._tell(effect)
                continue
            self._dialogue.append(f"{'':10} << {_short(effect)}")
            if trouble := self._watch.asked(effect, self.now):
                self._fail(f"an engine that keeps its promises, but {trouble}", [effect])
            self.ever.append((self.clock.mono, effect))
            if isinstance(effect, Record):
                self._remember(effect.changes)
            self._pings += [frame["data"]["seq"] for frame in frames_in(effect) if frame["type"] == "ping"]
            if isinstance(effect, OpenSocket):
                self._pings.clear()
            self._row.append(effect)
        if not self.engine.finished and self.engine.wake_at < self.clock.mono - 1e-6 and self.snapshot.started_utc:
            self._fail("a deadline in the future", [])
        if self.disk_is_prompt and (tickets := [effect.ticket for effect in asked if isinstance(effect, Record)]):
            self._handle(Recorded(tickets[-1]))
        for recall in [effect for effect in asked if isinstance(effect, Recall)]:
            if known := [past for past in self._memory.values() if past.seq in recall.seqs]:
                self._handle(Recalled(tuple(known), recall.seqs))
        for asking in [effect for effect in asked if isinstance(effect, RecallEvents)]:
            texts = tuple((seq, self._events[seq]) for seq in asking.seqs if seq in self._events)
            self._handle(EventsRecalled(texts, asking.seqs))

    def _remember(self, changes: Iterable[Change]) -> None:
        """As the journal would."""
        for change in changes:
            if isinstance(change, CommandAccepted):
                self._memory[change.entry.command.command_id] = change.entry
                self._named |= dict.fromkeys(change.names, change.entry.command.command_id)
            elif isinstance(change, EventAdded):
                self._events[change.seq] = change.text
            for past in list(self._memory.values()):
                if isinstance(change, CommandEnded) and change.seq == past.seq:
                    self._memory[past.command.command_id] = replace(past, state=change.state, error=change.error, ack=change.ack)
                elif isinstance(change, CommandReleased) and change.seq == past.seq:
                    self._memory[past.command.command_id] = replace(past, state=change.state, ack=change.ack)
                elif isinstance(change, CommandChanged) and change.seq == past.seq:
                    changed = replace(past.command, payload=change.payload)
                    self._memory[past.command.command_id] = replace(past, command=changed, due_utc=change.due_utc, changed_by=change.by)
                elif isinstance(change, AcksProven) and past.seq in dict(change.acks):
                    self._memory[past.command.command_id] = replace(past, proven_utc=change.utc, proven_by=change.by)

    def _tell(self, entry: FeedEntry) -> None:
        if isinstance(entry, LogEntry):
            self.lines.append(entry)
            self._dialogue.append(f"{'':10}    {entry.level} {entry.text}")
        elif isinstance(entry, ProvenEntry):
            self.rows += [proven(row) for row in self.rows if row.row in entry.rows]
        elif isinstance(entry, DeliveryEntry):
            self.rows += [row._replace(delivery=entry.delivery) for row in self.rows if row.row == entry.row][-1:]
        else:
            self.rows.append(entry)

    def _advance_to(self, mono: float) -> None:
        self.clock.advance(max(0.0, mono - self.clock.mono))

    @property
    def dialogue(self) -> str:
        return "\n".join(["", *self._dialogue])

    def _fail(self, expected: str, came: Iterable[object]) -> None:
        seen = "\n".join(f"    {_short(one)}" for one in came) or "    nothing"
        raise AssertionError(f"the dialogue so far:\n{self.dialogue}\n\nexpected: {expected}\ncame:\n{seen}")


class Watch:
    """What must hold in every dialogue, whatever it is about."""

    def __init__(self, poll_within: float) -> None:
        self.generation = 0
        self.poll: int | None = None
        self._poll_within = poll_within
        self._poll_by = 0.0
        self._socket = False
        self._polls = 0
        self._ticket = self._written = 0
        self._began: dict[int, int] = {}
        self._ended: dict[str, int] = {}
        self._ids: dict[int, Command] = {}
        self._runs: Counter[int] = Counter()
        self._added: dict[str, int] = {}

    def told(self, event: Event) -> None:
        match event:
            case DialFailed(generation) | Lost(generation) if generation == self.generation:
                self._socket = False
            case PollAnswered(number=number) | PollFailed(number=number) if number == self.poll:
                self.poll = None
            case Recorded(ticket=ticket):
                self._written = max(self._written, ticket)
            case LedgerOpened(memory):
                self._remember(memory.entries)
            case Recalled(entries):
                self._remember(entries)
            case _:
                pass
        arrivals = event.arrivals if isinstance(event, PollAnswered | CommandsPolled | CommandsReceived) else ()
        self._remember(past for arrival in arrivals for past in arrival.known)

    def _remember(self, entries: Iterable[Remembered]) -> None:
        for past in entries:
            self._ids[past.seq] = past.command
            if past.ack is not None:
                self._ended[past.command.command_id] = 0

    def asked(self, effect: Effect, now: float) -> str | None:
        """What is wrong with it, if anything."""
        match effect:
            case OpenSocket(generation):
                clash = self._socket or generation != self.generation + 1
                self._socket, self.generation = True, generation
                return "a second socket is in flight" if clash else None
            case AbortSocket(generation):
                self._socket = self._socket and generation != self.generation
            case Send(generation) | Probe(generation) | CloseSocket(generation) if not self._socket or generation != self.generation:
                return "this socket is not open"
            case Poll(number):
                clash = number != self._polls + 1 or (self.poll is not None and now < self._poll_by)
                self.poll = self._polls = number
                self._poll_by = now + self._poll_within
                if clash:
                    return "a poll is in flight, or the number is not the next"
            case Record(ticket, changes):
                return self._recorded(ticket, changes)
            case Execute(seq, one):
                return self._executed(seq, one)
            case Finish() if self._socket:
                return "a socket is left open"
            case _:
                pass
        early = [body["event_id"] for body in events_in(effect) if self._added.get(body["event_id"], 0) > self._written]
        if early:
            return f"the event {early} is not on disk"
        early = [body["command_id"] for body in acks_in(effect) if self._ended.get(body["command_id"], self._ticket + 1) > self._written]
        return f"the ack of {early} is not on disk" if early else None

    def _recorded(self, ticket: int, changes: Iterable[Change]) -> str | None:
        for change in changes:
            if isinstance(change, CommandAccepted):
                self._ids[change.entry.seq] = change.entry.command
                if change.entry.state is State.RUNNING:
                    self._began[change.entry.seq] = ticket
                if change.entry.ack is not None:
                    self._ended.setdefault(change.entry.command.command_id, ticket)
            elif isinstance(change, CommandStarted):
                self._began[change.seq] = ticket
            elif isinstance(change, EventAdded):
                self._added.setdefault(change.event_id, ticket)
            elif isinstance(change, UnsentFound):
                self._runs[change.seq] -= 1
            elif isinstance(change, CommandEnded | CommandReleased) and change.ack is not None and change.seq in self._ids:
                self._ended[self._ids[change.seq].command_id] = ticket
        wrong, self._ticket = ticket != self._ticket + 1, ticket
        return "its ticket is not the next" if wrong else None

    def _executed(self, seq: int, one: Command) -> str | None:
        self._runs[seq] += 1
        if self._runs[seq] > 1:
            return "it runs for the second time"
        external = TRAITS[one.command_type].effect is EffectClass.EXTERNAL
        return "its start is not on disk" if external and self._began.get(seq, self._ticket + 1) > self._written else None


def _matches(pattern: Pattern, effect: Effect) -> bool:
    if isinstance(pattern, Phrase):
        return pattern.matches(effect)
    if isinstance(pattern, type):
        return isinstance(effect, pattern)
    return type(effect) is type(pattern) and effect == pattern


def _words(pattern: Pattern) -> str:
    return pattern.__name__ if isinstance(pattern, type) else _short(pattern)


def _short(one: object) -> str:
    """As its constructor would be written, fields of no interest left out."""
    if isinstance(one, Send):
        text = f"Send({one.generation}, {' '.join(one.frames)})"
    elif isinstance(one, Struct):
        text = f"{type(one).__name__}({', '.join(map(str, astuple(one)))})"
    else:
        text = repr(one)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def remembered(one: Command, state: State, seq: int = 1, **more: Any) -> Remembered:
    """A record of an earlier run."""
    return Remembered(seq=seq, command=one, via=Via.WS, state=state, received_utc=1_793_910_000.0, **more)


def posted(
    book: Playbook, *failed: str, failure: Failure | None = None, unsupported: bool = False, refused: dict[str, int] | None = None
) -> AcksPosted:
    """The answer to the latest PostAcks: all proven but these, at the first of which the call broke off where there is a failure."""
    ids = [command_id for command_id, _ in book.find(PostAcks).acks]
    alone = tuple((one, f"HTTP {status}") for one, status in (refused or {}).items() if one in ids)
    proven = tuple(one for one in ids if one not in failed and one not in dict(alone))
    tried = failed[:1] if failure is not None else ()
    return AcksPosted(proven, failed, failure, unsupported, alone, tried)
