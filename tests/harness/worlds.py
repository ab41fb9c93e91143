"""Random worlds in virtual time: the engine facing the reference hub through every fault there is, checked after every step.

`python -m tests.harness.worlds --days 30 [--seed 7]` runs more of them and prints what they came to. One seed is one world; a world that
fails is run again with less and less of its script until nothing can be left out, and is printed with the end of its dialogue.
"""

import argparse
import gc
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Any

from msgspec.structs import replace
from pydantic_core import from_json

from agent_core import frames
from agent_core.clock import Moment
from agent_core.config.models import Config, Edge, Executor
from agent_core.engine.cancels import CANCELS
from agent_core.engine.engine import Engine, Vitals
from agent_core.entries import EffectClass
from agent_core.events import (
    AbortSocket,
    AcksPosted,
    CancelRequested,
    CancelRunning,
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
    HeldApproved,
    HeldRefused,
    HoldChosen,
    LedgerOpened,
    Lost,
    MarkTaken,
    Occurred,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    PollFailed,
    PollingModeChosen,
    Ponged,
    PostAcks,
    Probe,
    Recall,
    Recalled,
    RecallEvents,
    ReconnectRequested,
    Record,
    Register,
    RegistrationFailed,
    ReplayRequested,
    RunSettled,
    Send,
    SendStatus,
    Settle,
    Started,
    StopRequested,
    TakeMark,
    Ticked,
    Trouble,
)
from agent_core.feed import CommandEntry, LogEntry, ProvenEntry
from agent_core.frames import Command, FrameError, Message, Occurrence
from agent_core.records import (
    DROPPED,
    AcksProven,
    Arrival,
    CommandAccepted,
    CommandEnded,
    CommandReleased,
    CommandStarted,
    EventsSettled,
    OutboxRow,
    Outcome,
    Remembered,
    Unresolved,
    UnsentFound,
    Via,
)
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Rules
from agent_core.snapshot import Phase, PollingMode
from tests.harness.virtual import (
    ACK_HEAD,
    EVENT_HEAD,
    FAIR,
    INLINE,
    NAME,
    TRAITS,
    UTC,
    Died,
    Disk,
    Network,
    Timeline,
    Weather,
    demand,
    is_bad,
)

BETWEEN = frozenset({Phase.WAITING, Phase.REFUSED, Phase.PORTAL, Phase.REPLACED})
OPEN = frozenset({Phase.VERIFYING, Phase.ONLINE, Phase.SUSPECT})
UP = frozenset({Phase.ONLINE, Phase.SUSPECT})
LONGEST = {Phase.CONNECTING: 10.0, Phase.VERIFYING: 10.0, Phase.ONLINE: 10.0, Phase.SUSPECT: 5.0}
"""Seconds that a phase's deadline may be away."""
NO_DEADLINE = frozenset({Phase.STOPPED, Phase.OFF})
EPS = 1e-6
UNDER_WAY = 4.5
"""Seconds that an answer may still be under way when the backend is gone, at most."""
LATE = 1e-5
"""How late a timer of ours fires."""
ALONE = (
    Started,
    Opened,
    DialFailed,
    Lost,
    ReconnectRequested,
    RegistrationFailed,
    PollFailed,
    AcksPosted,
    PollAnswered,
    StopRequested,
    PollingModeChosen,
)
DECIDES = Executor(hold_timeout_seconds=600, hold_then="approve")
CONFIG = Config(edge=Edge(agent_id=NAME), executor=DECIDES)
UNREGISTERED = Config(edge=Edge(user_phone="+13105550100"), executor=DECIDES)
SETTLE_WITHIN = 4_000.0
DAY = 86_400.0
YEAR = 365 * DAY
WRONG_AT_START = (-56 * YEAR, -2 * DAY, 400 * DAY)
MANY_ACKS = 15
"""So many one after the other may take longer than an interval of polling."""


@dataclass(slots=True)
class Figure:
    """Mean and worst of a measured time."""

    count: int = 0
    total: float = 0.0
    worst: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.worst = max(self.worst, value)

    def merge(self, other: "Figure") -> None:
        self.count += other.count
        self.total += other.total
        self.worst = max(self.worst, other.worst)

    def __str__(self) -> str:
        return f"{self.count:>8,} times, mean {self.total / self.count:6.2f} s, worst {self.worst:6.2f} s" if self.count else "   never"


@dataclass(slots=True)
class Tally:
    """What one or many worlds came to."""

    worlds: int = 0
    events: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    figures: defaultdict[str, Figure] = field(default_factory=lambda: defaultdict(Figure))

    def merge(self, other: "Tally") -> None:
        self.worlds += other.worlds
        self.events += other.events
        self.seconds += other.seconds
        self.counts.update(other.counts)
        for name, figure in other.figures.items():
            self.figures[name].merge(figure)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a world's script."""

    at: float
    verb: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:10.3f}  {self.verb} {' '.join(map(str, self.args))}"


@dataclass(slots=True)
class Claim:
    """What the engine has told the journal of one command, written yet or not."""

    seq: int
    command: Command
    lane: str
    names: tuple[str, ...]
    via: Via
    due_utc: float | None
    ack: str | None
    held: bool = False
    released: bool = False
    """It was held: those of its thread that came later may have gone before it."""


class World:
    """One machine with its agent, and the world outside. `run()` raises Broken where something is not as it must be."""

    def __init__(
        self, seed: int, script: Sequence[Item], config: Config = CONFIG, rules: Rules | None = None, *, latency: float | None = None
    ) -> None:
        self.seed, self.script, self.config = seed, script, config
        self.random = Random(seed)
        self.dice = Random(seed + 1).random
        self.time = Timeline()
        self.disk = Disk(self.time, Random(seed + 2))
        base = self.random.choice((0.002, 0.03, 0.2)) if latency is None else latency
        self.network = Network(self.time, Random(seed + 3), base, rules or Rules(ping_every=self.random.choice((0, 0, 25))))
        self.tally = Tally(worlds=1)
        self.dialogue: deque[tuple[float, Event | list[Event] | str, Sequence[Effect]]] = deque(maxlen=60)
        self.lines = 0
        self.slept = 0.0
        self.wall = Random(seed + 4).choice(WRONG_AT_START) if seed % 7 == 5 else 0.0
        self.external: Counter[str] = Counter()
        self.caught: Counter[str] = Counter()
        self.record: list[str] = []
        """Ids of the messages that have gone out through a messenger that settles, as its own record has them."""
        self.forbidden: set[str] = set()
        self.watched: dict[str, int] = {}
        """Good commands that come by polls alone, and how many answered polls have had them: two at most until they are terminal."""
        self.posting = 0
        """Acks in the calls under way."""
        self.came_due: set[int] = set()
        """Messages that were due when the clock was set: back, perhaps, while they waited for their turn."""
        self.queued = 0
        self.occurred = 0
        """Things that the backend is to be told of: whoever sees them begins again, after a crash, with what is not on disk."""
        self.crash_at: str | None = None
        self.process: Process | None = None
        self.asleep_at: float | None = None
        self._weather_number = 0
        self.healed_at: float | None = None
        self.broken_all = False

    # --- life ------------------------------------------------------------------------------------------------

    def run(self, until: float = 0.0, *, settle: bool = True) -> Tally:
        """Play the script to `until` at least, then, unless told otherwise, see that everything comes to its end."""
        self.start()
        for item in self.script:
            self.time.call(item.at, self.play, item)
        end = max((item.at for item in self.script), default=0.0) + 1.0
        self.go(max(end, until))
        if settle:
            self.settle()
        self.tally.seconds = self.time.at
        return self.tally

    def now(self) -> Moment:
        at = self.time.at
        awake = at if self.asleep_at is None else self.asleep_at
        return Moment(awake - self.slept + 1_000.0, UTC + at + self.wall)

    def start(self) -> None:
        if self.process is None:
            self.process = Process(self)
            self.network.new_life(self.process.post)
            self.disk.attach(self.process.post)
        if self.process is not None and not self.process.is_started:
            self.process.post(Started())

    def go(self, until: float, done: Any = None) -> None:
        """Let time pass."""
        spins = 0
        timeline = self.time
        while True:
            process = self.process
            wake = process.wakes_at if process is not None and not process.frozen else float("inf")
            upcoming = timeline.next_at
            at = min(wake, upcoming)
            if at > until or (done is not None and done()):
                timeline.at = max(timeline.at, min(until, at))
                return
            if wake <= upcoming:
                spins = spins + 1 if wake <= timeline.at else 0
                demand(spins < 10, "the engine's wake_at does not move: the loop would spin", wake, timeline.at)
                timeline.at = max(timeline.at, wake)
                assert process is not None
                process.post(Ticked())
            else:
                timeline.run_next()

    def settle(self) -> None:
        """Everything works again: everything must come to its end."""
        for verb, args in (("fair", ()), ("disk", ("ok",)), ("clock_right", ()), ("mode", (PollingMode.AUTO,))):
            self.play(Item(self.time.at, verb, args))
        self.crash_at = None
        self.start()
        self.time.call(8.0, self.start)
        self.go(self.time.at + SETTLE_WITHIN, self.settled)
        process = self.process
        demand(process is not None, "the agent is gone")
        assert process is not None
        demand(self.settled(), "not everything came to its end:", self._unsettled())
        self.go(self.time.at + 40)
        self.go(self.time.at + 40, self.settled)
        demand(self.settled(), "what had come to its end began again:", self._unsettled())
        self._check_orders()
        self._check_events()
        self._check_sizes(process.engine.sizes)
        shown = process.engine.snapshot(self.now()).commands
        demand(Unresolved(shown.unresolved, shown.interrupted) == self.disk.unresolved, "what needs the operator is counted wrong:", shown)
        self.process_stop()
        self.go(self.time.at + 6, lambda: self.process is None)
        demand(self.process is None, "the agent does not stop in 6 s")

    def settled(self) -> bool:
        process = self.process
        return (
            process is not None and not process.frozen and self.network.hub.open_count == 0 and process.vitals.outbox == 0
            and process.vitals.phase in UP and not process.stopping
            and process.engine.sizes["entries"] == process.engine.sizes["events"] == 0
        )  # fmt: skip

    def _unsettled(self) -> str:
        assert self.process is not None
        still = [f"{o.command_id} {o.command_type} {o.status}" for o in self.network.hub.orders(NAME) if o.ack is None]
        return f"{self.process.vitals} {self.process.engine.sizes} open: {still[:5]}"

    def _check_orders(self) -> None:
        for order in self.network.hub.orders(NAME, limit=100_000):
            command_id = order.command_id
            demand(order.anomalies == 0, "two different terminal acks for", command_id)
            row = self.disk.rows[self.disk.ids[command_id]].entry
            effects = self.external[command_id] + self.disk.effects[command_id]
            trait = TRAITS.get(order.command_type)
            if trait is None or trait.effect is EffectClass.HARMLESS:
                continue
            limit = 1 + self.caught[command_id] if trait.idempotent else 1
            demand(effects <= limit, "more than one effect:", command_id, effects)
            if row.state == "completed":
                demand(effects >= 1, "acknowledged, and never done:", command_id)
            elif row.state == "interrupted":
                demand(self.caught[command_id] > 0 or trait.settles, "interrupted, though no crash caught it:", command_id)
            elif not (trait.idempotent and self.caught[command_id]):
                demand(effects == 0, "done, and acknowledged as not done:", command_id, row.state, row.error)

    def _check_events(self) -> None:
        """All that happened is at the backend, once, and in order."""
        disk, told = self.disk, self.network.hub.events.listed(NAME, None, 1_000_000)
        ids = [event.event_id for event in disk.events.values()]
        demand(set(ids) >= {f"o{number}" for number in range(1, self.occurred + 1)}, "not all that happened is on disk")
        demand(len(set(ids)) == len(ids), "an event is on disk twice")
        demand(not disk.owed_events and DROPPED not in disk.settled_events.values(), "events are owed still, or dropped")
        demand([event.event_id for event in reversed(told)] == ids, "the backend has not every event once, in order")
        self.tally.counts["events told"] = len(told)

    def _check_sizes(self, sizes: dict[str, int]) -> None:
        limits = {"suspects": 1_000, "tombstones": 10_000, "history": 720, "schedule": 2 * 64, "repeats": 200}
        for name, size in sizes.items():
            demand(size <= limits.get(name, 0), "memory that is not given back:", name, size)

    # --- the script ------------------------------------------------------------------------------------------

    def play(self, item: Item) -> None:
        self.dialogue.append((self.time.at, str(item), ()))
        getattr(self, f"play_{item.verb}")(*item.args)

    def play_weather(self, name: str, weather: Weather, seconds: float) -> None:
        self._weather_number += 1
        self.healed_at = None
        if self.process is not None:
            self.process.dead_since = None
        self.broken_all = name in {"gone", "vanished", "dns", "hole"}
        if not weather.serves:
            self.watched.clear()
        self.network.set_weather(weather)
        if name == "gone":
            for wire in list(self.network.wires.values()):
                self.network.close(wire, self.random.choice((None, None, 1000, 1001, 1012)), "going")
        elif name == "vanished":
            self.network.vanish()
        if weather.no_down and self.process is not None and self.process.vitals.phase in UP:
            self.process.dead_since = self.time.at
        self.time.call(seconds, self._clear, self._weather_number)

    def _clear(self, number: int) -> None:
        if number == self._weather_number:
            self.play_fair()

    def play_fair(self) -> None:
        self.network.set_weather(FAIR)
        process = self.process
        if process is not None:
            process.dead_since = None
            down = process.vitals.phase not in OPEN
            if self.broken_all and down and not process.frozen and process.is_plain and process.hopes:
                self.healed_at = self.time.at
        self.broken_all = False

    def play_close(self, code: int | None) -> None:
        if (wire := self.network.present()) is not None:
            self.network.close(wire, code, "closed")

    def play_vanish(self) -> None:
        if self.process is not None and self.process.vitals.phase in UP:
            self.process.dead_since = self.time.at
        self.network.vanish()

    def play_sleep(self, seconds: float) -> None:
        """The machine sleeps: its monotonic clock stops, the world goes on."""
        if self._freeze():
            self.asleep_at = self.time.at
            self.time.call(seconds, self._wake, self.process, seconds)
            if seconds > 20 and self.random.random() < 0.5:
                for wire in self.network.wires.values():
                    wire.dead = True

    def _wake(self, process: "Process", slept: float) -> None:
        self.slept += slept
        self.asleep_at = None
        if process is self.process:
            process.frozen = False
            process.disturbed()
            self.time.call(self.random.uniform(0, 1), self._beat, process)
            if process.inbox:
                process.turn()

    def _beat(self, process: "Process") -> None:
        if process is self.process and not process.frozen:
            process.post(Ticked())

    def play_stall(self, seconds: float) -> None:
        """SIGSTOP: the clocks go on, the process does not."""
        if self._freeze():
            self.time.call(seconds, self._go_on, self.process)

    def _go_on(self, process: "Process") -> None:
        if process is self.process:
            process.frozen = False
            process.disturbed()
            if self.random.random() < 0.5:
                process.inbox.appendleft(Ticked())
            process.turn()
            if process is self.process:
                process.post(Ticked())

    def _freeze(self) -> bool:
        process = self.process
        if process is None or process.frozen:
            return False
        process.frozen = True
        self.healed_at = process.dead_since = None
        self.watched.clear()
        return True

    def play_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.came_due |= {seq for seq, row in self.disk.rows.items() if row.entry.due_utc and row.entry.due_utc <= self.now().utc}
        self.wall += seconds
        if seconds > DAY:
            self.disk.revive_tombstones(self.now().utc + self.config.ledger.tombstone_hours * 3_600)
        if self.process is not None:
            self.process.disturbed()
            self.time.call(self.random.uniform(0, 1), self._beat, self.process)

    def play_clock_right(self) -> None:
        self.play_clock(-self.wall)

    def play_crash(self, where: str | None, down: float) -> None:
        """Now, or at the next commit, execution, effect or ack."""
        self.crash_down = down
        if where is None:
            self.die()
        else:
            self.crash_at = where

    def maybe_die(self, where: str) -> None:
        if self.crash_at == where:
            self.crash_at = None
            raise Died

    def die(self) -> None:
        process = self.process
        if process is None or process.frozen:
            return
        self.tally.counts["crashes"] += 1
        self._end()
        self.time.call(self.crash_down, self.start)

    crash_down = 1.0

    def _end(self) -> None:
        self.healed_at = None
        self.watched.clear()
        self.process = None
        for row in self.disk.rows.values():
            if row.entry.state == "running":
                self.caught[row.entry.command.command_id] += 1
        self.network.new_life(None)
        self.disk.detach()

    def ended(self) -> None:
        """A graceful end."""
        self._end()

    def play_stop(self, down: float) -> None:
        self.process_stop()
        self.time.call(down + 6, self.start)

    def process_stop(self) -> None:
        if self.process is not None and not self.process.stopping and not self.process.frozen:
            self.process.stopping = True
            self.watched.clear()
            self.process.post(StopRequested())
            if self.process is not None:
                self.process.stop_by = self.now().mono + 5.5

    def play_reconnect(self) -> None:
        self._tell(ReconnectRequested())

    def play_mode(self, mode: PollingMode) -> None:
        if self.process is not None:
            self.healed_at = None
            self.watched.clear()
            self._tell(PollingModeChosen(mode))

    def play_replay(self) -> None:
        ended = [row.entry for row in self.disk.rows.values() if row.entry.state.ended and row.entry.command.invalid is None]
        if ended:
            self._tell(ReplayRequested(self.random.choice(ended[-20:]).command.command_id))

    def play_hold(self, text: str) -> None:
        self._tell(HoldChosen(text))

    def play_decide(self, approve: bool) -> None:
        """The operator approves or refuses something that waits for him, or something that does not."""
        held = [row.entry for row in self.disk.rows.values() if row.entry.state == "held"]
        entries = held or [row.entry for row in self.disk.rows.values()]
        if entries:
            command_id = entries[self.queued % len(entries)].command.command_id
            self._tell(HeldApproved(command_id) if approve else HeldRefused(command_id))

    def play_tick(self) -> None:
        self._tell(Ticked())

    def _tell(self, event: Event) -> None:
        if self.process is not None:
            self.process.post(event)

    def play_disk(self, state: str, seconds: float = 0.0) -> None:
        self.watched.clear()
        self.disk.failing = state == "failing"
        self.disk.slow = {"slow": 0.5, "slower": 3.0}.get(state, 0.0)
        if seconds:
            self.time.call(seconds, self.play_disk, "ok")

    def play_commands(self, batch: Iterable[tuple[str, dict[str, Any], str | None]]) -> None:
        """The backend owes the agent new commands."""
        hub, now = self.network.hub, self.network.now
        for command_type, payload, priority in batch:
            self.queued += 1
            fields = dict(payload)
            if (after := fields.pop("after", None)) is not None:
                fields["send_at"] = now.utc + after
            for key, letter in (("command_id", "c"), ("schedule_id", "s")):
                if key in fields:
                    fields[key] = f"{letter}{self.queued + fields[key]}"
            hub.queue(NAME, command_type, fields, now, command_id=f"c{self.queued}", priority=priority)
            if command_type == "emit_event" and self.delivers_by_polls and not is_bad(f"c{self.queued}"):
                self.watched[f"c{self.queued}"] = 0
        self.tally.counts["commands"] = self.queued
        self.network.flush()

    @property
    def delivers_by_polls(self) -> bool:
        """Nothing but what may stand beside a good command keeps it from its end; where the backend asks to wait, that is obeyed first."""
        process, disk = self.process, self.disk
        well = process is not None and not (process.frozen or process.stopping) and process.mode is not PollingMode.NEVER
        prompt = not (disk.failing or disk.slow) and self.posting <= MANY_ACKS and not self.has_operator
        return well and prompt and self.network.weather.serves and self.network.hub.connected(NAME) is None

    @property
    def has_operator(self) -> bool:
        """Somebody who holds commands."""
        return self.seed % 4 == 3

    def posts(self, acks: int) -> None:
        self.posting = acks
        if acks > MANY_ACKS:
            self.watched.clear()

    def polls(self) -> None:
        """Another poll goes out: what two of them have had must have come to its end."""
        for command_id, polls in list(self.watched.items()):
            order = next((order for order in self.network.hub.orders(NAME, limit=100_000) if order.command_id == command_id), None)
            if order is not None and order.ack is not None:
                del self.watched[command_id]
                self.tally.counts["good commands within two polls"] += 1
            demand(polls < 2 or command_id not in self.watched, "a good command is not terminal within two polls:", command_id)

    def play_again(self, by_poll: bool, other: bool) -> None:
        """The backend sends an old command once more; `other`: with other content under the same id."""
        hub = self.network.hub
        orders = hub.orders(NAME, limit=30)
        if not orders:
            return
        order = self.random.choice(orders)
        if other and hub.connected(NAME) is not None and order.command_id in self.disk.ids:
            hub.say(
                NAME,
                f'{{"type":"command","data":{{"command_id":"{order.command_id}","command_type":"file_message","payload":{{"thread_id":"t0","text":"other"}}}}}}',
            )
        elif by_poll or hub.connected(NAME) is None:
            hub.repeat(order.command_id, by_poll=True)
        else:
            hub.repeat(order.command_id)
        self.network.flush()

    def play_say(self, text: str) -> None:
        if self.network.hub.connected(NAME) is not None:
            self.network.hub.say(NAME, text)
            self.network.flush()

    def play_occur(self, count: int) -> None:
        self.occurred += count
        if self.process is not None:
            self.process.see()

    def play_settings(self, values: dict[str, Any]) -> None:
        self.network.hub.configure(NAME, values)
        self.network.flush()


class Process:
    """The agent's shell around one engine, as agent.py has it; every step of the engine is checked here."""

    def __init__(self, world: World) -> None:
        self.world = world
        traits = {name: replace(trait, inline=self._inline) if name in INLINE else trait for name, trait in TRAITS.items()}
        self.engine = Engine(world.config, traits, "simulated", max_in_memory=10 if world.seed % 2 else 4_000)
        self.inbox: deque[Event] = deque()
        self.frozen = self.stopping = False
        self.stop_by = float("inf")
        self.mode = world.config.backend.polling
        self.running: dict[int, Command] = {}
        self.claims = {seq: _claim_of(row.entry) for seq, row in world.disk.rows.items()}
        self.vitals = self.engine.vitals
        self.wakes_at = float("inf")
        self.dead_since: float | None = None
        self._in_turn = self.is_started = False
        self._live: int | None = None
        self._opened = False
        self._ticket = 0
        self._generation = 0
        self._poll_number = 0
        self._offset: float | None = None
        self._heard = float("-inf")
        self._attempt = 0
        self._online_at: float | None = None
        self._step_before = 0.0
        self._not_before = self._poll_not_before = float("-inf")
        self._last_failure: Failure | None = None
        self._dials: deque[float] = deque()
        self._lost_at: float | None = None
        self._lane_last: dict[str, int] = {}
        looked_up = [row.entry for row in world.disk.rows.values() if row.entry.state == "running" and row.entry.mark is not None]
        self._lane_running: dict[str, int] = {self.claims[entry.seq].lane: entry.seq for entry in looked_up}
        self._urgent: defaultdict[str, set[int]] = defaultdict(set)
        self._held_back = self._spread_retry = self.polls_fail = False
        self._out: set[int] = set()
        """Whose message has gone out."""
        self._seen: int | None = None
        """How much of what occurred the engine has been told; None: its ledger is not open."""
        self._polled_at: float | None = None
        self._asked_for: tuple[str, ...] = ()
        self._answered_at = float("-inf")
        self._disturbed_at = float("-inf")

    @property
    def is_plain(self) -> bool:
        """Nothing but the ladder stands between it and its next dial."""
        return (
            self.vitals.phase in {Phase.WAITING, Phase.CONNECTING}
            and self._not_before <= self.world.now().mono
            and self._poll_not_before <= self.world.now().mono
        )

    @property
    def hopes(self) -> bool:
        """Its polls have failed, and the next good one will be a hint."""
        return self.polls_fail and self.mode is not PollingMode.NEVER

    def disturbed(self) -> None:
        """Its clocks were not what they should be: the promises on time are counted from here."""
        self._disturbed_at = self.world.now().mono
        if self.stopping:
            self.stop_by = self._disturbed_at + 5.5
        self._dials.clear()
        self.dead_since = None

    # --- turns -----------------------------------------------------------------------------------------------

    def post(self, *events: Event) -> None:
        self.inbox.extend(events)
        if not self.frozen and not self._in_turn:
            self.turn()

    def turn(self) -> None:
        """All that is at hand, in one group for the disk."""
        self._in_turn = True
        records: list[Record] = []
        try:
            while self.inbox:
                self._step([event for event in map(self._with_memory, self._batch()) if event is not None], records)
            for record in records:
                self.world.maybe_die("commit")
                self.world.disk.write(record.ticket, record.changes)
        except Died:
            self.world.die()
            return
        finally:
            self._in_turn = False
        if self.engine.finished:
            self.world.ended()
            return

    def see(self) -> None:
        """What has occurred since the last look, as a reader with a cursor sees it."""
        if self._seen is not None:
            first, self._seen = self._seen + 1, self.world.occurred
            now = self.world.now().utc
            self.post(*(Occurred(Occurrence("seen", f"o{number}", now, {"n": number})) for number in range(first, self._seen + 1)))

    def _batch(self) -> list[Event]:
        """What came at once; the turns of the link stay apart, so that each can be judged."""
        inbox = self.inbox
        batch = [inbox.popleft()]
        while inbox and not isinstance(batch[0], ALONE) and not isinstance(inbox[0], ALONE):
            batch.append(inbox.popleft())
        return batch

    def _step(self, events: list[Event], records: list[Record]) -> None:
        """One step of the engine, for one event or for all that came at once."""
        world, engine = self.world, self.engine
        if not events:
            return
        now = world.now()
        before, promised = self.vitals, engine.wake_at
        offset = now.utc - now.mono
        quiet = now.mono < promised and offset == self._offset
        drifted = self._offset is not None and abs(offset - self._offset) > 1.0
        self._offset = offset
        self._check_shown(before, now.mono)
        news = [event for event in events if not self._is_stale(event, before)]
        effects = engine.handle_all(events, now, world.dice)
        world.tally.events += len(events)
        self.vitals = after = engine.vitals
        self.wakes_at = engine.wake_at - 1_000.0 + world.slept + LATE
        world.dialogue.append((world.time.at, events[0] if len(events) == 1 else events, effects))
        if quiet and all(isinstance(event, Ticked) for event in news):
            demand(not effects and after == before, "news of an old socket, or nothing at all, changed something:", events, effects)
        if drifted or now.mono - promised > 1.9:
            self.disturbed()
        turn = news[0] if news and isinstance(news[0], ALONE) else None
        self._note(news, turn, now)
        for effect in effects:
            if isinstance(effect, Record):
                self._claim(effect, now)
        for effect in effects:
            self._perform(effect, now, records)
        if isinstance(turn, Lost | DialFailed):
            self._live = None
        if any(isinstance(event, LedgerOpened) for event in events):
            self._seen = sum(event.event_type == "seen" for event in world.disk.events.values())
            self.see()
        if self.is_started:
            self._check(turn, before, after, now)

    def _note(self, news: list[Event], turn: Event | None, now: Moment) -> None:
        """What the news means for what must hold."""
        if isinstance(turn, Opened):
            self._opened, self._heard = True, now.mono
        elif isinstance(turn, PollingModeChosen):
            self.mode = turn.mode
        elif isinstance(turn, PollAnswered) and turn.number == self._poll_number:
            self._answered_at = now.mono
            self.world.watched |= {one: self.world.watched[one] + 1 for one in self._asked_for if one in self.world.watched}
        elif isinstance(turn, AcksPosted):
            self.world.posting = 0
        elif isinstance(turn, Started):
            self.is_started = True
        elif isinstance(turn, ReconnectRequested):
            self._not_before = float("-inf")
            self._dials.clear()
        elif turn is None:
            for event in news:
                if isinstance(event, FrameReceived | CommandsReceived | Ponged):
                    self._heard = now.mono
                    break

    def _is_stale(self, event: Event, before: Vitals) -> bool:
        """News of a socket that is not, or no longer, the present one."""
        if not isinstance(event, Opened | DialFailed | Lost | FrameReceived | CommandsReceived | Ponged):
            return False
        return event.generation != before.generation or before.phase not in OPEN | {Phase.CONNECTING}

    def _with_memory(self, event: Event) -> Event | None:
        disk = self.world.disk
        match event:
            case CommandsReceived(generation, arrivals):
                lost = disk.failing and self.world.dice() < 0.5
                return None if lost else CommandsReceived(generation, tuple(map(self._recall, arrivals)))
            case PollAnswered() | CommandsPolled() if event.arrivals:
                return replace(event, arrivals=tuple(self._recall(arrival) for arrival in event.arrivals))
            case ReplayRequested(command_id) | CancelRequested(command_id):
                return replace(event, remembered=disk.recall(command_id))
        return event

    def _recall(self, arrival: Arrival) -> Arrival:
        return replace(arrival, known=self.world.disk.look_up(self.engine.needs(arrival.command)))

    # --- effects ---------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect, now: Moment, records: list[Record]) -> None:
        world = self.world
        match effect:
            case LogEntry(level=level):
                world.lines += level != "DEBUG"
            case CommandEntry() | ProvenEntry():
                pass
            case Record():
                records.append(effect)
            case Send(generation, texts):
                demand(generation == self._live and self._opened, "frames for a socket that is not open", effect)
                for text in texts:
                    if text.startswith(ACK_HEAD):
                        self._check_ack(text[len(ACK_HEAD) : -1])
                    elif text.startswith(EVENT_HEAD):
                        self._check_event(text[len(EVENT_HEAD) : -1])
                world.network.send(generation, texts)
            case Execute():
                self._execute(effect, now)
            case OpenSocket(generation):
                self._dial(generation, now)
            case _:
                self._perform_rare(effect, now)

    def _perform_rare(self, effect: Effect, now: Moment) -> None:
        world = self.world
        match effect:
            case AbortSocket(generation):
                demand(generation == self._live, "an abort of what is not there", effect, self._live)
                self._live = None
                world.network.abort(generation)
            case Probe(generation):
                demand(generation == self._live and self._opened, "a probe for a socket that is not open", effect)
                world.network.probe(generation)
            case SendStatus(generation, scheduled, uptime):
                demand(generation == self._live and self._opened, "a status for a socket that is not open", effect)
                world.network.send(generation, (frames.dump_status(scheduled, uptime, 40.0, now.utc),))
            case Poll(carried=carried, events=events):
                self._poll(effect, now)
                for _, text in events:
                    self._check_event(text)
                for _, text in carried:
                    self._check_ack(text)
            case PostAcks(acks):
                world.posts(len(acks))
                for _, text in acks:
                    self._check_ack(text)
                world.network.post_acks(acks, 10.0)
            case Recall() | RecallEvents():
                world.time.call(world.random.uniform(0, 0.003), self._read, effect)
            case CloseSocket(generation):
                world.network.finish(generation)
            case Register():
                world.network.register(10.0)
            case TakeMark() | Settle():
                self._ask_messenger(effect)
            case CancelRunning():
                self.running.clear()
            case Finish():
                demand(self.vitals.phase is Phase.STOPPED, "finished, and the link is not stopped")
            case _:
                pass

    def _ask_messenger(self, effect: TakeMark | Settle) -> None:
        time, dice = self.world.time, self.world.dice
        if isinstance(effect, TakeMark):
            time.call(dice() * 0.2, self._mark, effect.seq)
        else:
            time.call(dice() * 5.0, self._settle, effect.seq, int(effect.mark))

    def _read(self, effect: Recall | RecallEvents) -> None:
        world, seqs = self.world, effect.seqs
        if world.process is not self:
            return
        if world.disk.failing or self.frozen:
            world.time.call(0.5, self._read, effect)
        elif isinstance(effect, Recall):
            self.post(Recalled(tuple(world.disk.rows[seq].entry for seq in sorted(seqs)), seqs))
        else:
            self.post(EventsRecalled(tuple((seq, world.disk.events[seq].text) for seq in seqs), seqs))

    def _dial(self, generation: int, now: Moment) -> None:
        demand(self._live is None, "a dial while another socket is there:", generation, self._live)
        demand(generation > self._generation, "a generation that is not new", generation)
        self._live, self._opened, self._generation = generation, False, generation
        demand(now.mono >= self._not_before - EPS, "a dial before the time that the backend asked to wait for:", now.mono, self._not_before)
        self._dials.append(now.mono)
        while self._dials[0] < now.mono - 60:
            self._dials.popleft()
        demand(len(self._dials) <= 14, "more than 14 dials in a minute")
        self.world.tally.counts["dials"] += 1
        self.world.network.dial(generation)

    def _poll(self, effect: Poll, now: Moment) -> None:
        demand(now.mono >= self._poll_not_before - EPS, "a poll before the time that the backend asked to wait for")
        demand(effect.number == self._poll_number + 1, "a poll number is skipped")
        self._poll_number = effect.number
        self._polled_at = now.mono
        self.world.polls()
        self._asked_for = tuple(self.world.watched)
        self.world.tally.counts["polls"] += 1
        self.world.network.poll(effect, 10.0)

    def _execute(self, effect: Execute, now: Moment) -> None:
        world, seq, command = self.world, effect.seq, effect.command
        claim, trait = self.claims[seq], TRAITS[command.command_type]
        demand(seq not in self.running, "a command runs twice at once", seq)
        row = world.disk.rows.get(seq)
        if trait.effect is EffectClass.EXTERNAL:
            demand(row is not None and row.entry.state == "running", "a handler starts before that is on disk", seq, command.command_id)
            assert row is not None
            demand(trait.repeatable or row.entry.runs == 1 + row.entry.unsent, "an interrupted command runs again", command.command_id)
            demand(not trait.settles or effect.mark == row.entry.mark, "a handler starts from a mark that is not on disk", effect.mark)
        self._check_due(claim, now)
        self.running[seq] = command
        world.maybe_die("execute")
        fails = world.dice() < 0.05
        dwell = world.dice() * world.random.choice((0.01, 0.3, 3.0))
        if trait.effect is EffectClass.EXTERNAL and not fails:
            world.time.call(dwell * world.dice(), self._effect, seq)
        if trait.settles and not fails and world.dice() < 0.1:
            world.time.call(dwell * world.dice() * 1.1, self._doubt, seq)
        world.time.call(dwell, self._finish, seq, claim, fails)

    def _doubt(self, seq: int) -> None:
        """A handler gives up without knowing whether its message has gone out."""
        if self.world.process is self and not self.frozen and self.running.pop(seq, None) is not None:
            self.post(CommandFinished(seq, Outcome("no answer", unknown=True)))

    def _mark(self, seq: int) -> None:
        if self.world.process is not self:
            return
        if self.frozen:
            self.world.time.call(0.5, self._mark, seq)
        elif self.world.dice() < 0.03:
            self.post(MarkTaken(seq, None, "the record cannot be read"))
        else:
            self.post(MarkTaken(seq, str(len(self.world.record))))

    def _settle(self, seq: int, mark: int) -> None:
        if self.world.process is not self:
            return
        if self.frozen:
            self.world.time.call(0.5, self._settle, seq, mark)
        else:
            sent = self.claims[seq].command.command_id in self.world.record[mark:]
            self.post(RunSettled(seq, Outcome() if sent else None))

    def _inline(self, seq: int, command: Command, message: Message | None, utc: float) -> Outcome:
        """An inline handler."""
        self.world.maybe_die("execute")
        if self.world.dice() < 0.05:
            return Outcome("boom")
        return Outcome(row=OutboxRow(seq, command.command_id, message.thread_id, message.text, utc) if message is not None else None)

    def _check_due(self, claim: Claim, now: Moment) -> None:
        command_id, forbidden = claim.command.command_id, self.world.forbidden
        asked_for = claim.via is Via.LOCAL
        demand(asked_for or not ({command_id, *claim.names} & forbidden), "a cancelled message is sent:", command_id, claim.names)
        came_due = claim.due_utc is None or now.utc >= claim.due_utc - EPS or claim.seq in self.world.came_due
        demand(came_due, "a scheduled message goes early", command_id)

    def _effect(self, seq: int) -> None:
        """A message goes out into the world."""
        if self.world.process is not self or seq not in self.running or seq in self._out:
            return
        if self.frozen:
            self.world.time.call(0.5, self._effect, seq)
            return
        self._out.add(seq)
        command_id = self.claims[seq].command.command_id
        self.world.external[command_id] += 1
        if TRAITS[self.claims[seq].command.command_type].settles:
            self.world.record.append(command_id)
        again = self.world.caught[command_id] if TRAITS[self.claims[seq].command.command_type].idempotent else 0
        demand(self.world.external[command_id] <= 1 + again, "a second effect of", command_id)
        try:
            self.world.maybe_die("effect")
        except Died:
            self.world.die()

    def _finish(self, seq: int, claim: Claim, fails: bool) -> None:
        if self.world.process is not self or seq not in self.running:
            return
        if self.frozen:
            self.world.time.call(0.5, self._finish, seq, claim, fails)
            return
        if not fails and TRAITS[claim.command.command_type].effect is EffectClass.EXTERNAL:
            self._effect(seq)
            if self.world.process is not self:
                return
        del self.running[seq]
        row = None
        command = claim.command
        if not fails and TRAITS[command.command_type].effect is EffectClass.TRANSACTIONAL:
            row = OutboxRow(seq, command.command_id, claim.lane, "text", self.world.now().utc)
        self.post(CommandFinished(seq, Outcome("boom" if fails else None, row=row)))

    # --- what must hold --------------------------------------------------------------------------------------

    def _claim(self, record: Record, now: Moment) -> None:
        demand(record.ticket == self._ticket + 1, "a ticket is skipped", record.ticket)
        self._ticket = record.ticket
        for change in record.changes:
            match change:
                case CommandAccepted(entry):
                    self.claims[entry.seq] = claim = _claim_of(entry)
                    demand(self.world.disk.recall(entry.command.command_id) is None, "taken again:", entry.command.command_id)
                    demand(not claim.held or entry.runs == 0, "held, and runs:", entry.command.command_id)
                    if entry.state == "queued" and entry.command.priority.overtakes:
                        self._urgent[claim.lane].add(entry.seq)
                    if entry.runs:
                        self._check_start(entry.seq, claim, now)
                case CommandEnded(seq=seq, ack=ack):
                    claim = self.claims[seq]
                    claim.ack, claim.held = ack, False
                    self._urgent[claim.lane].discard(seq)
                    if self._lane_running.get(claim.lane) == seq:
                        del self._lane_running[claim.lane]
                case CommandReleased(seq=seq, state=state, ack=ack):
                    claim = self.claims[seq]
                    demand(claim.held, "released, and was not held:", claim.command.command_id)
                    claim.held, claim.released, claim.ack = False, True, ack
                    if state == "queued" and claim.command.priority.overtakes:
                        self._urgent[claim.lane].add(seq)
                case CommandStarted(seq):
                    self._check_start(seq, self.claims[seq], now)
                case UnsentFound(seq):
                    self._lane_running.pop(self.claims[seq].lane, None)
                case AcksProven(acks):
                    for seq, _ in acks:
                        claim = self.claims[seq]
                        read = self.world.network.read.get(claim.command.command_id, ())
                        demand(claim.ack in read, "proven, and the backend has not read it:", claim.command.command_id, change.by)
                case EventsSettled(seqs, _, by):
                    for seq in seqs:
                        read_event = self.world.disk.events[seq].event_id in self.world.network.events
                        demand(read_event or by == DROPPED, "an event is proven, and the backend has not read it:", seq, by)

    def _check_ack(self, text: str) -> None:
        ack = from_json(text)
        seq = self.world.disk.ids.get(ack["command_id"])
        row = self.world.disk.rows[seq] if seq is not None else None
        demand(row is not None and text in row.texts, "an ack goes out that is not on disk:", text)
        assert row is not None
        if row.entry.command.command_type in CANCELS and ack["status"] == "completed":
            self.world.forbidden.update(map(str, ack["result"].values()))
        self.world.maybe_die("ack")

    def _check_event(self, text: str) -> None:
        demand(self.world.disk.owes(text), "an event goes out that is not on disk, or has arrived:", text)

    def _check_start(self, seq: int, claim: Claim, now: Moment) -> None:
        lane = claim.lane
        demand(not claim.held, "started, and is held:", claim.command.command_id)
        demand(lane not in self._lane_running, "two of one thread run at once", lane, seq)
        if claim.command.command_type in INLINE:
            self._check_due(claim, now)
        else:
            self._lane_running[lane] = seq
        if claim.command.priority.overtakes:
            self._urgent[lane].discard(seq)
        else:
            has_its_turn = TRAITS[claim.command.command_type].settles
            demand(has_its_turn or not self._urgent[lane], "an urgent command is overtaken", lane, seq)
            if claim.due_utc is None and not claim.released:
                again = has_its_turn and seq == self._lane_last.get(lane)
                demand(again or seq > self._lane_last.get(lane, 0), "the order in a thread is broken", lane, seq)
                self._lane_last[lane] = seq

    def _check(self, turn: Event | None, before: Vitals, after: Vitals, now: Moment) -> None:
        phase, mono = after.phase, now.mono
        self._check_deadline(after, mono)
        self._check_ladder(turn, before, after, mono)
        self._check_polling(turn, before, after, mono)
        demand(len(self.running) <= self.world.config.executor.concurrency, "too many run at once")
        if phase in UP and mono - self._disturbed_at > 15.5:
            demand(mono - self._heard <= 15.1, "said to be online, and nothing was heard for", mono - self._heard)
        if (phase in UP) != (before.phase in UP):
            self._turned(phase, mono)
        demand(mono <= self.stop_by, "stopping takes longer than 5.5 s")

    def _check_shown(self, shown: Vitals, mono: float) -> None:
        """What was shown until now: was polling as good as it was said to be, within 15 s (P15)?"""
        mute = self.world.network.mute_since
        if shown.way == "polling" and mute is not None and mono - self._disturbed_at > 16:
            silent = self.world.time.at - mute
            demand(silent <= 15.1 + UNDER_WAY, "polling is said to work, and the backend has answered nobody for", silent)

    def _check_deadline(self, after: Vitals, mono: float) -> None:
        phase, deadline = after.phase, after.deadline
        demand(
            (deadline is None) == (phase in NO_DEADLINE), "a phase without its deadline, or a deadline without its phase:", phase, deadline
        )
        wake = self.engine.wake_at
        if deadline is not None:
            longest = LONGEST.get(phase, 990.0)
            demand(deadline <= mono + longest + EPS, "a deadline too far away:", phase, deadline - mono)
            demand(wake <= deadline, "the engine would sleep past its deadline:", phase, wake, deadline)

    def _check_ladder(self, turn: Event | None, before: Vitals, after: Vitals, mono: float) -> None:
        if before.phase in BETWEEN and after.phase in BETWEEN:
            assert after.deadline is not None
            assert before.deadline is not None
            demand(after.deadline <= before.deadline + EPS, "a wait became longer")
        elif after.phase in BETWEEN:
            self._failed(turn, after, mono)
        if after.phase in UP and before.phase not in UP:
            self._online_at = mono
        elif before.phase in UP and after.phase is Phase.CONNECTING:
            if self._stable(mono):
                self._attempt = 0
            self._online_at = None

    def _stable(self, mono: float) -> bool:
        return self._online_at is not None and mono - self._online_at >= max(30.0, self._step_before)

    def _failed(self, turn: Event | None, after: Vitals, mono: float) -> None:
        """An attempt or a link ended: is the wait what PROMISES §2 says?"""
        first = self._online_at is not None and (self._attempt == 0 or self._stable(mono))
        stable, opened = self._stable(mono), self._online_at is not None
        self._attempt = 1 if self._stable(mono) else self._attempt + 1
        self._online_at = None
        demand(after.attempt == self._attempt, "the ladder is on the wrong step:", after.attempt, self._attempt)
        failure = turn.failure if isinstance(turn, Lost | DialFailed | RegistrationFailed) else Failure(Trouble.TIMEOUT, "")
        self._step_before = step = min(60.0, 2.0 ** min(self._attempt - 1, 9))
        self._spread_retry = stable or (self._spread_retry and not opened)
        least, most, phase = _wait(failure, step, first=first)
        if self._spread_retry and least == min(0.25, step) and phase is Phase.WAITING:
            most = max(most, 20.0 if self._attempt == 1 else 32.0)
        assert after.deadline is not None
        wait = after.deadline - mono
        polite = 60.0 if len(self._dials) >= 7 else 0.0
        demand(least - EPS <= wait <= max(most, polite) + EPS, "a wait outside its bounds:", wait, least, most, failure)
        demand(after.phase is phase, "the wrong phase:", after.phase, phase, failure)
        self._not_before = mono + least if phase is not Phase.WAITING or least >= 15 else float("-inf")

    def _check_polling(self, turn: Event | None, before: Vitals, after: Vitals, mono: float) -> None:
        possible = after.agent_id is not None and not self.stopping
        should = possible and (self.mode is PollingMode.ALWAYS or (self.mode is PollingMode.AUTO and after.phase not in UP))
        demand(after.polling == should, "polling runs and should not, or should and does not:", after.polling, should)
        if turn is not None:
            self._note_hold(turn, before, mono)
        if after.way == "polling":
            until = self._answered_at + 15.0
            demand(mono < until, "polling is said to work, and its last answer is old:", mono - self._answered_at)
            demand(self.engine.wake_at <= until + EPS, "nobody would be woken when polling can no longer be said to work")
        if after.polling and not after.poll_in_flight:
            demand(
                after.poll_at <= max(mono + 331.0, self._poll_not_before * 1.0 + 91.0),
                "the next poll is too far away:",
                after.poll_at - mono,
            )

    def _note_hold(self, event: Event, before: Vitals, mono: float) -> None:
        """Until when the backend wants no poll."""
        failure: Failure | None = None
        if (isinstance(event, PollFailed) and before.poll_in_flight and event.number == self._poll_number) or (
            isinstance(event, AcksPosted) and event.failed and not event.unsupported
        ):
            failure = event.failure
            self.polls_fail = self.polls_fail or isinstance(event, PollFailed)
        elif isinstance(event, PollAnswered) and before.poll_in_flight and event.number == self._poll_number:
            self._held_back = self.polls_fail = False
        if failure is not None and (failure.status in {401, 403, 429} or failure.retry_after is not None):
            self._held_back = True
            self.world.watched.clear()
        if failure is not None and (failure.status == 429 or failure.retry_after is not None):
            self._poll_not_before = mono + min(900.0, max(15.0, failure.retry_after or 0.0))
        elif failure is not None and failure.status in {401, 403}:
            self._poll_not_before = mono + 60.0

    def _turned(self, phase: Phase, mono: float) -> None:
        """Online, or no longer."""
        world, figures = self.world, self.world.tally.figures
        if phase in UP:
            world.tally.counts["sessions"] += 1
            if world.healed_at is not None:
                figures["P7 recovery"].add(world.time.at - world.healed_at)
            world.healed_at = None
            world.watched.clear()
            return
        if self.dead_since is not None and mono - self._disturbed_at > 16:
            figures["P5 detection"].add(min(world.time.at - self.dead_since, mono - self._heard))
        self.dead_since = None
        if self.mode is PollingMode.AUTO and not self.stopping and self._poll_not_before <= mono:
            recent = self._polled_at if self._polled_at is not None else float("-inf")
            demand(self.vitals.poll_in_flight or recent == mono or self._held_back, "the link is lost and no poll went out at once")


def _claim_of(entry: Remembered) -> Claim:
    lane: str = ""
    names: tuple[str, ...] = ()
    trait = TRAITS.get(entry.command.command_type)
    if trait is not None and trait.sends:
        try:
            message = frames.message_of(entry.command)
            lane, names = message.thread_id, message.names
        except FrameError:
            pass
    held, released = entry.state == "held", entry.released_utc is not None
    return Claim(entry.seq, entry.command, lane, names, entry.via, entry.due_utc, entry.ack, held, released)


def _wait(failure: Failure, step: float, *, first: bool) -> tuple[float, float, Phase]:
    """The least and the longest wait, and the phase: PROMISES §2 in other words."""
    floor, status = min(0.25, step), failure.status
    after = failure.retry_after or 0.0
    match failure.trouble:
        case Trouble.TLS:
            return 10.0, max(10.0, step), Phase.WAITING
        case Trouble.GARBAGE:
            return max(5.0, floor), max(5.0, step), Phase.PORTAL
        case Trouble.CLOSED if status == 1012 or (status == 1001 and first):
            return 0.25, max(5.0, step), Phase.WAITING
        case Trouble.CLOSED if status in {1008, 4001, 4003, 4401, 4403}:
            return 60.0, 300.0, Phase.REFUSED
        case Trouble.CLOSED if status in {4009, 4409}:
            return 60.0, 330.0, Phase.REPLACED
        case Trouble.CLOSED if status == 1013:
            return 15.0, 16.5, Phase.WAITING
        case Trouble.CLOSED if status in {1002, 1003, 1007, 1009, 1010}:
            return 0.25, max(16.0, step), Phase.WAITING
        case Trouble.HTTP if status in {401, 403}:
            return 60.0, 300.0, Phase.REFUSED
        case Trouble.HTTP if status == 429 or (status == 503 and failure.retry_after is not None):
            return min(900.0, max(15.0, after)), min(900.0, 1.1 * max(15.0, after)), Phase.WAITING
        case Trouble.HTTP if status is not None and 200 <= status < 400:
            return 5.0, max(5.0, step), Phase.PORTAL
    return floor, step, Phase.WAITING


# --- scripts ---------------------------------------------------------------------------------------------------------

STATUSES = (401, 403, 404, 426, 429, 500, 502, 503, 530)
REFUSALS = (
    *(Failure(Trouble.HTTP, f"HTTP {status}", status) for status in (302, 400, 401, 404, 409, 500, 503)),
    Failure(Trouble.HTTP, "HTTP 429", 429, 20.0), Failure(Trouble.CONNECT, "connection reset"), Failure(Trouble.GARBAGE, "a web page"),
)  # fmt: skip
JUMPS = (-3_600.0, -30.0, -2.0, 2.0, 30.0, 3_600.0, -10 * YEAR, -40 * DAY, 40 * DAY, 10 * YEAR)
CODES = (None, 1000, 1001, 1002, 1006, 1008, 1009, 1012, 1013, 4001, 4009, 4401)


SETTINGS: tuple[dict[str, Any], ...] = ({"sync_interval": 12}, {"sync_interval": 15}, {"ping_interval": 25}, {"log_level": "info"}, {})
SAYINGS = (
    '{"type":"pong"}', '{"type":"pong","data":{"seq":0}}', '{"type":"ping"}', '{"type":"noise"}', '{"type":"command"}', "[1]", "{",
)  # fmt: skip


def random_script(seed: int, hours: float = 1.5) -> list[Item]:
    """What happens to a world, drawn from a seed."""
    random = Random(seed * 7919 + 5)
    items: list[Item] = []
    at = random.uniform(0, 5)
    calm = random.choice((20.0, 60.0, 150.0))
    while at < hours * 3_600:
        items.append(_random_item(random, at))
        at += random.expovariate(1 / calm) if random.random() < 0.7 else random.uniform(0, 3)
    items += _operator(Random(seed), hours) if seed % 4 == 3 else ()
    items += _happenings(Random(seed), hours) if seed % 4 == 2 else ()
    return sorted(items, key=lambda item: item.at)


def _operator(random: Random, hours: float) -> Iterator[Item]:
    """Somebody who holds commands now and then, and decides each for itself."""
    at = 0.0
    while (at := at + random.expovariate(1 / 60)) < hours * 3_600:
        if random.random() < 0.2:
            yield Item(at, "hold", (random.choice(("", "all", "type:send", "thread:t1,t2", "!type:file", "type:(")),))
        else:
            yield Item(at, "decide", (random.random() < 0.6,))


def _happenings(random: Random, hours: float) -> Iterator[Item]:
    """What the backend is told of, now and then in heaps."""
    at = 0.0
    while (at := at + random.expovariate(1 / 90)) < hours * 3_600:
        yield Item(at, "occur", (random.choice((1, 1, 1, 3, 20, 300)),))


def _random_item(random: Random, at: float) -> Item:
    draw = random.random()
    if draw < 0.42:
        return Item(at, "commands", (tuple(_random_command(random) for _ in range(random.choice((1, 1, 2, 5, 20)))),))
    if draw < 0.67:
        name, weather = _random_weather(random)
        return Item(at, "weather", (name, weather, random.choice((2.0, 10.0, 40.0, 40.0, 150.0, 600.0)) * random.uniform(0.5, 1.5)))
    return _random_blow(random, at)


def _random_blow(random: Random, at: float) -> Item:
    verb = random.choice(
        ("close", "close", "vanish", "sleep", "stall", "clock", "crash", "crash", "stop", "reconnect", "reconnect", "mode", "mode",
         "replay", "tick",
         "disk", "disk", "again", "again", "say", "settings")
    )  # fmt: skip
    draws: dict[str, Callable[[], tuple[Any, ...]]] = {
        "close": lambda: (random.choice(CODES),),
        "again": lambda: (random.random() < 0.5, random.random() < 0.3),
        "sleep": lambda: (random.choice((3.0, 30.0, 400.0, 3_000.0)) * random.uniform(0.3, 1),),
        "stall": lambda: (random.choice((1.0, 5.0, 25.0)) * random.uniform(0.3, 1),),
        "clock": lambda: (random.choice(JUMPS) * random.uniform(0.5, 1),),
        "crash": lambda: (random.choice((None, "commit", "execute", "effect", "ack")), random.choice((0.2, 5.0, 100.0))),
        "stop": lambda: (random.choice((0.2, 60.0)),),
        "mode": lambda: (random.choice((PollingMode.AUTO, PollingMode.AUTO, PollingMode.ALWAYS, PollingMode.NEVER)),),
        "disk": lambda: (random.choice(("failing", "slow", "slower")), random.choice((1.0, 10.0, 60.0)) * random.uniform(0.3, 1)),
        "settings": lambda: (random.choice(SETTINGS),),
        "say": lambda: (random.choice(SAYINGS),),
    }  # fmt: skip
    return Item(at, verb, draws[verb]() if verb in draws else ())


def _random_command(random: Random) -> tuple[str, dict[str, Any], str | None]:
    priority = random.choice((None, None, None, "high", "immediate", "low"))
    thread = f"t{random.randrange(4)}"
    draw = random.random()
    if draw < 0.1:
        target = {random.choice(("command_id", "schedule_id")): random.choice((-6, -3, -2, -1, 1, 2))}
        return random.choice(("cancel_message", "cancel_scheduled")), target, priority
    if draw < 0.14:
        return "unknown_type", {}, None
    if draw < 0.18:
        return "send_message", {"thread_id": thread}, None
    if draw < 0.21:
        return "update_config", {"ping_interval": random.choice((20, 30, 4))}, None
    if draw < 0.36:
        payload: dict[str, Any] = {
            "thread_id": thread,
            "text": "later",
            "after": random.choice((-2_000, -5, 0.5, 20, 300, 900)) * random.uniform(0.5, 1),
        }
        if random.random() < 0.6:
            payload["schedule_id"] = 0
        return random.choice(("schedule_message", "send_message", "put_message", "mac_message")), payload, None
    if draw < 0.46:
        return "emit_event", {"event": "x"}, priority
    return (
        random.choice(("send_message", "send_message", "slow_message", "file_message", "put_message", "mac_message", "mac_message")),
        {"thread_id": thread, "text": "hi"},
        priority,
    )


def _random_weather(random: Random) -> tuple[str, Weather]:
    refused, dns = Failure(Trouble.CONNECT, "connection refused"), Failure(Trouble.DNS, "no such host")
    status = random.choice(STATUSES)
    wait = random.choice((None, None, 5.0, 30.0, 400.0, 5_000.0)) if status in {429, 503} else None
    answer = Failure(Trouble.HTTP, f"HTTP {status}", status, wait)
    page = random.choice(
        (Failure(Trouble.GARBAGE, "no WebSocket handshake"), Failure(Trouble.HTTP, "200", 200), Failure(Trouble.HTTP, "302", 302))
    )
    choices: dict[str, Weather] = {
        "gone": Weather(dial=refused, http=refused),
        "vanished": Weather(dial=random.choice((refused, "hang")), http=random.choice((refused, "hang"))),
        "dns": Weather(dial=dns, http=dns),
        "tls": Weather(dial=Failure(Trouble.TLS, "certificate has expired"), http=random.choice((None, Failure(Trouble.TLS, "expired")))),
        "hole": Weather(dial="hang", http="hang", no_up=True, no_down=True),
        "hole up": Weather(no_up=True, http=random.choice((None, "hang"))),
        "hole down": Weather(no_down=True, http=random.choice((None, "hang"))),
        "status": Weather(dial=answer, http=random.choice((None, None, answer))),
        "http status": Weather(http=answer),
        "portal": Weather(dial=page, http="html"),
        "brief": Weather(dial="brief", brief_code=random.choice(CODES)),
        "late": Weather(late=random.choice((0.5, 4.0))),
        "http hang": Weather(http="hang"),
        "mute": Weather(faults=Faults(silent=True)),
        "no pongs": Weather(faults=Faults(ignore_pings=True)),
        "twice": Weather(faults=Faults(push_twice=True), late=0.5),
        "no ack call": Weather(no_ack_call=True, dial=random.choice((None, refused))),
        "refused acks": Weather(refusal=random.choice(REFUSALS), dial=random.choice((None, refused, refused))),
        "poison": Weather(poison=True, dial=random.choice((None, refused, refused))),
    }
    name = random.choice(sorted(choices))
    return name, choices[name]


# --- many worlds -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trial:
    """A world that failed: why, and the end of its dialogue."""

    seed: int
    script: tuple[Item, ...]
    why: str
    dialogue: str

    def __str__(self) -> str:
        lines = "\n".join(f"    {item}" for item in self.script)
        head = f"world {self.seed} fails: {self.why}\n  its script, as short as it could be made:\n{lines}"
        return f"{head}\n  the end of its dialogue:\n{self.dialogue}"


def world_of(seed: int, script: Sequence[Item] | None = None) -> World:
    return World(seed, random_script(seed) if script is None else script, UNREGISTERED if seed % 10 == 3 else CONFIG)


def attempt(seed: int, script: Sequence[Item] | None = None) -> Tally | Trial:
    world = world_of(seed, script)
    try:
        return world.run()
    except Exception as error:  # noqa: BLE001  (whatever the engine raises is a failed world)
        why = f"{type(error).__name__}: {error}"
        came = tuple(item for item in world.script if item.at <= world.time.at)
        return Trial(seed, came, why, _transcript(world))


def _transcript(world: World, last: int = 25) -> str:
    lines = []
    for at, event, effects in list(world.dialogue)[-last:]:
        lines.append(f"    {at:10.3f} >> {str(event)[:300]}")
        lines += [f"               << {str(effect)[:300]}" for effect in effects]
    return "\n".join(lines)


def shrink(trial: Trial, within: float = 30.0) -> Trial:
    """Leave out of a failing script whatever can be left out, for at most `within` seconds."""
    until = time.monotonic() + within
    kind = trial.why[:40]
    size = len(trial.script) // 2
    while size and time.monotonic() < until:
        start = 0
        while start < len(trial.script) and time.monotonic() < until:
            shorter = trial.script[:start] + trial.script[start + size :]
            again = attempt(trial.seed, shorter)
            if isinstance(again, Trial) and again.why[:40] == kind:
                trial = again
            else:
                start += size
        size //= 2
    return trial


def _share(seeds: Iterable[int], events: int) -> Tally | Trial:
    total = Tally()
    gc.set_threshold(200_000)
    for seed in seeds:
        result = attempt(seed)
        if isinstance(result, Trial):
            return result
        total.merge(result)
        if total.events >= events:
            break
    return total


def simulate(first: int, *, events: int = 0, days: float = 0.0, jobs: int = 2) -> tuple[Tally, float] | Trial:
    """Worlds from seed `first` on, until so many events (or days) are done; the tally and the seconds it took, or the first failure."""
    began, total = time.perf_counter(), Tally()
    seed, chunk = first, 8
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        while total.events < events or total.seconds < days * 86_400:
            seeds = [range(seed + i * chunk, seed + (i + 1) * chunk) for i in range(jobs * 2)]
            seed += chunk * jobs * 2
            for result in pool.map(partial(_share, events=10**12), seeds):
                if isinstance(result, Trial):
                    return result
                total.merge(result)
    return total, time.perf_counter() - began


def table(total: Tally, took: float) -> str:
    days = total.seconds / 86_400
    rows = [
        f"worlds {total.worlds:,}   events {total.events:,}   simulated {days:,.1f} days   in {took:.1f} s",
        f"{total.events / took:,.0f} events/s   {days / took:,.2f} simulated days/s",
        *(f"{name:<16} {figure}" for name, figure in sorted(total.figures.items())),
        "   ".join(f"{name} {number:,}" for name, number in sorted(total.counts.items())),
    ]
    return "\n".join(rows)


def _drill(number: int) -> int:
    for seed in range(number):
        if isinstance(failed := attempt(seed), Trial):
            sys.stdout.write(f"world {seed}: {failed.why}\n")
            return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.worlds", description=__doc__)
    parser.add_argument("--days", type=float, default=10.0, help="simulated days")
    parser.add_argument("--seed", type=int, default=None, help="the first world; with --only, the one world")
    parser.add_argument("--only", action="store_true", help="run that one world, and shrink it if it fails")
    parser.add_argument("--drill", type=int, default=0, metavar="N", help="N worlds, ended by the first that fails (mutation drill)")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args(arguments)
    if asked.drill:
        return _drill(asked.drill)
    first = asked.seed if asked.seed is not None else time.time_ns() % 10**9
    sys.stdout.write(f"first seed {first}\n")
    result = attempt(first) if asked.only else simulate(first, days=asked.days, jobs=asked.jobs)
    if isinstance(result, Trial):
        sys.stdout.write(f"{shrink(result)}\n")
        return 1
    total, took = (result, 1.0) if isinstance(result, Tally) else result
    sys.stdout.write(table(total, took) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
