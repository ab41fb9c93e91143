"""Messages and cancels whose ids and names come from one small pool, against a plain model of what PROTOCOL §2 and §4 say of them.

What is sent, and what each command is answered, must be what the model says: nothing after a cancel that was completed, nothing twice,
whatever comes again with whatever content, whatever dies in between.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import from_json

from agent_core.clock import ManualClock
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.engine.ledger import OUTCOME_UNKNOWN
from agent_core.events import (
    CommandFinished,
    CommandsReceived,
    Effect,
    Event,
    Execute,
    FrameReceived,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    Ponged,
    Probe,
    Recall,
    Recalled,
    Record,
    Send,
    Started,
    Ticked,
)
from agent_core.figures import took
from agent_core.frames import Pong, Target, command_of
from agent_core.records import Arrival, Outcome
from tests.harness.playbook import acks_in, frames_in
from tests.harness.virtual import NAME, TRAITS, Disk, Timeline

WAITING = frozenset({"scheduled", "queued"})
ENDED = frozenset({"completed", "failed", "cancelled", "interrupted"})
KEYS = ("schedule_id", "message_id", "command_id")
SHORTLY, LONG = 1.0, 2_000.0
CONFIG = Config.model_validate({"edge": {"agent_id": NAME}})


# --- the model -------------------------------------------------------------------------------------------------------------


@dataclass
class Known:
    """One command id: what came first under it, how far it is, and what its terminal ack must say."""

    command_id: str
    command_type: str
    payload: Mapping[str, Any]
    names: tuple[str, ...]
    due_utc: float | None
    state: str = "queued"
    error: str | None = None
    result: dict[str, Any] = field(default_factory=dict)

    def end(self, state: str, error: str | None = None, result: Mapping[str, Any] | None = None) -> None:
        self.state, self.error, self.result = state, error, dict(result or {})

    @property
    def answer(self) -> tuple[str, str | None, dict[str, Any]]:
        return "completed" if self.state == "completed" else "failed", self.error, self.result


class Model:
    """What the backend may expect, by the words of the protocol: a dict in order of arrival."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}
        self.tombstones: dict[Target, str] = {}

    def comes(self, command_id: str, command_type: str, payload: Mapping[str, Any], utc: float) -> None:
        if command_id in self.known:
            return
        names = tuple(payload[key] for key in KEYS if key in payload and command_type != "cancel_message")
        one = Known(command_id, command_type, payload, names, payload.get("send_at"))
        if command_type == "cancel_message":
            self.cancel(one, [Target(payload[key], by_id=key == "command_id") for key in KEYS if key in payload])
        elif killers := [by for by in map(self.tombstones.get, self.graves(one)) if by is not None]:
            one.end("cancelled", f"cancelled by {killers[0]}")
            for target in self.graves(one):
                self.tombstones.pop(target, None)
        elif one.due_utc is not None and one.due_utc > utc:
            one.state = "scheduled"
        self.known[command_id] = one

    def graves(self, one: Known) -> list[Target]:
        """By which it may have been cancelled before it came."""
        return [Target(one.command_id, by_id=True), *map(Target, dict.fromkeys(one.names or (one.command_id,)))]

    def called(self, target: Target) -> list[Known]:
        """Who is called so, oldest first: of the kind of name that is given, else of the other."""
        own = [self.known[target.name]] if target.name in self.known else []
        named = [one for one in self.known.values() if target.name in one.names]
        return (own or named) if target.by_id else (named or own)

    def cancel(self, one: Known, targets: list[Target]) -> None:
        found = [called for target in targets if (called := self.called(target))]
        waiting = next((those for called in found if (those := [other for other in called if other.state in WAITING])), [])
        for other in waiting:
            other.end("cancelled", f"cancelled by {one.command_id}")
        ids = [other.command_id for other in waiting]
        if ids:
            one.end("completed", None, {"cancelled": ids[0]} | ({"also": ids[1:]} if ids[1:] else {}))
        elif not found:
            self.tombstones |= dict.fromkeys(targets, one.command_id)
            one.end("completed", None, {"unknown": targets[0].name})
        elif (last := found[0][-1]).state == "cancelled":
            one.end("completed", None, {"cancelled": last.command_id})
        else:
            one.end("failed", f"too late: {last.command_id} is {last.state}")


# --- the engine over a disk, with its link up ---------------------------------------------------------------------------------


class Machine:
    """One ledger through any number of lives of its process; every effect is held against the model."""

    def __init__(self, max_in_memory: int) -> None:
        self.clock = ManualClock()
        self.model = Model()
        self.answered: set[str] = set()
        """Whose terminal ack has gone out."""
        self.story: list[str] = []
        self._max_in_memory = max_in_memory
        self._timeline = Timeline()
        self._disk = Disk(self._timeline, Random(0))
        self.starts()

    def starts(self) -> None:
        """A new process; what ran in the last one is interrupted, or runs again where it had no effect but its record."""
        for one in self.model.known.values():
            late = self.clock.utc - (one.due_utc or self.clock.utc)
            if one.state == "running" and not TRAITS[one.command_type].repeatable:
                one.end("interrupted", OUTCOME_UNKNOWN)
            elif one.state == "running":
                one.state = "queued"
            elif one.state == "scheduled" and late > CONFIG.schedule.max_late_seconds:
                one.end("failed", f"missed: due {took(late)} ago")
        self.running: dict[int, str] = {}
        self.generation = 0
        self._engine = Engine(CONFIG, TRAITS, max_in_memory=self._max_in_memory)
        self._inbox: list[Event] = []
        self._disk.attach(self._inbox.append)
        self.tell(Started())

    def tell(self, *events: Event) -> None:
        """These and all that follows from them at this instant: disk, socket and polls answer at once."""
        self._inbox += events
        while self._inbox:
            event = self._inbox.pop(0)
            for effect in self._engine.handle(event, self.clock.now(), lambda: 0.5):
                self._perform(effect)
            while self._timeline.next_at < float("inf"):
                self._timeline.run_next()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Record(ticket, changes):
                self._disk.write(ticket, changes)
            case Execute():
                self._runs(effect)
            case OpenSocket(generation):
                self.generation = generation
                self._inbox += [Opened(generation), FrameReceived(generation, Pong(None))]
            case Send(generation):
                pings = [frame["data"]["seq"] for frame in frames_in(effect) if frame["type"] == "ping"]
                self._inbox += [FrameReceived(generation, Pong(seq)) for seq in pings]
            case Probe(generation):
                self._inbox.append(Ponged(generation))
            case Poll(number):
                self._inbox.append(PollAnswered(number, ()))
            case Recall(seqs):
                self._inbox.append(Recalled(tuple(self._disk.rows[seq].entry for seq in seqs), seqs))
            case _:
                pass
        for body in acks_in(effect):
            self._answers(body)

    def _runs(self, effect: Execute) -> None:
        command = effect.command
        one = self.model.known[command.command_id]
        assert one.state in WAITING, f"{command.command_id} runs, though it is {one.state}: {one.error}"
        assert one.due_utc is None or self.clock.utc >= one.due_utc, f"{command.command_id} is early"
        assert (command.command_type, command.payload) == (one.command_type, one.payload), f"{command.command_id} runs as another"
        one.state = "running"
        self.running[effect.seq] = command.command_id

    def _answers(self, body: dict[str, Any]) -> None:
        one = self.model.known[body["command_id"]]
        if body["status"] == "received":
            assert one.due_utc is not None
            assert body["result"] == {"schedule_id": (*one.names, one.command_id)[0]}
            return
        assert one.state in ENDED, f"{one.command_id} is answered, and {one.state}: {body}"
        assert (body["status"], body["error"], body["result"]) == one.answer, one.command_id
        self.answered.add(one.command_id)

    def deliver(self, command_id: str, command_type: str, payload: dict[str, Any]) -> None:
        command = command_of({"command_id": command_id, "command_type": command_type, "payload": payload})
        arrival = Arrival(command, self._disk.look_up(self._engine.needs(command)))
        self.model.comes(command_id, command_type, payload, self.clock.utc)
        self.tell(CommandsReceived(self.generation, (arrival,)))

    def finish(self, number: int, *, well: bool) -> None:
        """One of those that run, if any."""
        if self.running:
            seq = sorted(self.running)[number % len(self.running)]
            one = self.model.known[self.running.pop(seq)]
            one.end(*(("completed",) if well else ("failed", "boom")))
            self.tell(CommandFinished(seq, Outcome(None if well else "boom")))

    def passes(self, seconds: float) -> None:
        end = self.clock.mono + seconds
        while self._engine.wake_at <= end:
            self.clock.advance(max(0.0, self._engine.wake_at - self.clock.mono))
            self.tell(Ticked())
        self.clock.advance(end - self.clock.mono)

    def settle(self) -> None:
        """All that can happen happens: each command has ended, was answered as it should be, and its ack is proven."""
        for _ in range(20):
            self.passes(LONG / 20)
            while self.running:
                self.finish(0, well=True)
        self.passes(60)
        known = self.model.known
        assert {one.command_id: one.state for one in known.values() if one.state not in ENDED} == {}
        assert self.answered == set(known)
        for one in known.values():
            row = self._disk.rows[self._disk.ids[one.command_id]].entry
            assert (row.state, row.proven_utc is not None) == (one.state, True), one.command_id
            assert row.ack is not None
            assert from_json(row.ack)["error"] == one.error
        assert self._engine.sizes["tombstones"] == len(self.model.tombstones)
        assert self._engine.sizes["entries"] == self._engine.sizes["lanes"] == self._engine.sizes["names"] == 0


# --- sequences -----------------------------------------------------------------------------------------------------------------

POOL = st.integers(1, 6).map(str)
IDS = st.integers(1, 12).map(str)
NAMED = st.fixed_dictionaries({}, optional={"schedule_id": POOL, "message_id": POOL})
TO = st.fixed_dictionaries({"thread_id": st.sampled_from(["t1", "t2"]), "text": st.sampled_from(["hi", "ho"])})
AFTER = st.sampled_from([2.0, 50.0, 1_500.0])
CANCELS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries(dict.fromkeys(keys, POOL))
)
Step = tuple[Any, ...]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("send"), IDS, st.sampled_from(["file_message", "slow_message"]), TO, NAMED),
    st.tuples(st.just("schedule"), IDS, AFTER, TO, NAMED),
    st.tuples(st.just("cancel"), IDS, CANCELS),
    st.tuples(st.just("again"), st.integers(0, 50)),
    st.tuples(st.just("finish"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("pass"), st.sampled_from([SHORTLY, 40.0, 600.0])),
    st.tuples(st.just("die")),
)


def play(machine: Machine, steps: list[Step]) -> Iterator[Step]:
    sent: list[tuple[str, str, dict[str, Any]]] = []
    for step in steps:
        match step:
            case ("send", name, kind, to, named):
                sent.append((name, kind, to | named))
            case ("schedule", name, after, to, named):
                sent.append((name, "schedule_message", to | named | {"send_at": machine.clock.utc + after}))
            case ("cancel", name, targets):
                sent.append((name, "cancel_message", targets))
            case ("again", number):
                sent += [sent[number % len(sent)]] if sent else []
            case ("finish", number, well):
                machine.finish(number, well=well)
            case ("pass", seconds):
                machine.passes(seconds)
            case ("die",):
                machine.starts()
        if step[0] in {"send", "schedule", "cancel", "again"} and sent:
            machine.deliver(*sent[-1])
        yield step


MESSAGE = {"thread_id": "t1", "text": "hi"}
TWO_NAMES_ONE_OF_WHICH_IS_PAST: list[Step] = [
    ("cancel", "5", {"schedule_id": "1"}),
    ("send", "1", "file_message", MESSAGE, {}),
    ("send", "3", "file_message", MESSAGE, {}),
    ("send", "2", "file_message", MESSAGE, {}),
    ("cancel", "4", {"schedule_id": "1", "message_id": "2"}),
]
"""The cancel was completed as if 1 alone had been meant, and 2 was sent."""


@given(st.lists(STEPS, max_size=30), st.sampled_from([4_000, 1]))
@example(TWO_NAMES_ONE_OF_WHICH_IS_PAST, 1)
def test_what_is_sent_and_answered_is_what_a_plain_model_says(steps: list[Step], max_in_memory: int) -> None:
    machine = Machine(max_in_memory)
    for _ in play(machine, steps):
        pass
    machine.settle()
