"""What given settings would do: the real engine in virtual time, through an outage (of everything, or of the socket alone).

Nothing takes time but the waits: a dial is refused, a poll answered, a row recorded at the instant it is asked for.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent_core.clock import ManualClock, Moment
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.events import (
    AcksPosted,
    CloseSocket,
    DialFailed,
    Effect,
    Event,
    Failure,
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
    Record,
    Recorded,
    Register,
    Registered,
    Send,
    Started,
    Ticked,
    Trouble,
)
from agent_core.frames import Pong, Welcome
from agent_core.snapshot import PollingMode

BEFORE = 120.0
"""Seconds of a healthy link before the outage, so that it begins as a stable link's end."""
AFTER = 1_000.0
"""Seconds after the outage in which the link is expected back."""
DOWN = Failure(Trouble.CONNECT, "connection refused")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One dial: when, in seconds from the start of the outage, and on which step of the ladder (0: after the last)."""

    at: float
    step: float


@dataclass(frozen=True, slots=True)
class SimulatedOutcome:
    """One agent's way through one outage; seconds count from its start."""

    attempts: tuple[Attempt, ...]
    polls: tuple[float, ...]
    """When a poll was sent, during the outage."""
    back_after: float
    """From the end of the outage to online."""


def through_outage(config: Config, outage: float, seed: int, *, polling_works: bool = False) -> SimulatedOutcome:
    """The dials and polls of one agent while its socket, and unless `polling_works` HTTP too, is out for so many seconds."""
    return _World(config, outage, seed, polling_works=polling_works).run()


class _World:
    def __init__(self, config: Config, outage: float, seed: int, *, polling_works: bool) -> None:
        self._clock = ManualClock()
        self._from = self._clock.mono + BEFORE
        self._till = self._from + outage
        self._polling_works = polling_works
        self._engine = Engine(_as_given(config), {})
        self._dice = random.Random(seed).random
        self._attempts: list[Attempt] = []
        self._polls: list[float] = []

    def run(self) -> SimulatedOutcome:
        self._tell(LedgerOpened(), Started())
        self._go_to(self._from)
        if self._engine.snapshot(self._clock.now()).link.sessions:
            self._tell(Lost(self._engine.vitals.generation, Failure(Trouble.LOST, "the connection was lost")))
        self._go_to(self._till)
        end = self._till + AFTER
        while not self._online and self._clock.mono < end:
            self._go_to(min(self._engine.wake_at, end))
        attempts = tuple(one for one in self._attempts if one.at <= self._till - self._from)
        return SimulatedOutcome(attempts, tuple(self._polls), self._clock.mono - self._till)

    @property
    def _online(self) -> bool:
        return self._engine.snapshot(self._clock.now()).link.down_since_at is None

    @property
    def _out(self) -> bool:
        return self._from <= self._clock.mono < self._till

    def _go_to(self, mono: float) -> None:
        while self._engine.wake_at < mono:
            self._clock.advance(max(0.0, self._engine.wake_at - self._clock.mono))
            self._tell(Ticked())
        self._clock.advance(max(0.0, mono - self._clock.mono))
        self._tell(Ticked())

    def _tell(self, *events: Event) -> None:
        """Tell the engine, and answer what it asks for, until it asks for nothing."""
        waiting = list(events)
        while waiting:
            now: Moment = self._clock.now()
            asked = self._engine.handle_all(waiting, now, self._dice)
            waiting = [answer for effect in asked for answer in self._answers(effect)]

    def _answers(self, effect: Effect) -> Iterator[Event]:
        match effect:
            case Register():
                yield Registered("what-if")
            case OpenSocket(generation):
                yield from self._dialled(generation)
            case Send(generation):
                yield FrameReceived(generation, Pong())
            case Probe(generation):
                yield Ponged(generation)
            case CloseSocket(generation):
                yield Lost(generation, Failure(Trouble.CLOSED, "closed", 1000))
            case Poll(number):
                if self._out:
                    self._polls.append(self._clock.mono - self._from)
                yield PollAnswered(number, ()) if self._polling_works or not self._out else PollFailed(number, DOWN)
            case PostAcks(acks):
                yield AcksPosted(tuple(command_id for command_id, _ in acks))
            case Record(ticket):
                yield Recorded(ticket)

    def _dialled(self, generation: int) -> Iterator[Event]:
        if self._out:
            step = self._engine.snapshot(self._clock.now()).link.attempt
            ladder = self._engine.snapshot(self._clock.now()).link.ladder
            self._attempts.append(Attempt(self._clock.mono - self._from, ladder[min(max(step, 1), len(ladder)) - 1]))
            yield DialFailed(generation, DOWN)
        else:
            yield Opened(generation)
            yield FrameReceived(generation, Welcome())


def _as_given(config: Config) -> Config:
    """With an id and a socket: what is asked is how it redials."""
    edge = config.edge.model_copy(update={"agent_id": config.edge.agent_id or "what-if", "register_": "auto"})
    return config.model_copy(update={"edge": edge, "websocket": config.websocket.model_copy(update={"enabled": True})})


# --- many of them ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forecast:
    """What to expect of these settings. Seconds, and requests an hour for all agents together."""

    first: SimulatedOutcome
    """One agent's way, seed by seed the first."""
    dials_an_hour: float
    polls_an_hour: float
    delay_mean: float | None
    """From a command's making to the poll that brings it, while only the socket is out; None where nothing polls."""
    delay_most: float | None
    back_mean: float
    back_most: float
    dials_first_minute: int
    """By one agent, at most."""
    peak: int
    """Agents that dial in the same second of the outage, at most, when all lose the backend at once."""


def forecast(config: Config, outage: float, agents: int, seed: int) -> Forecast:
    """`agents` runs with seeds from `seed` on."""
    down = [through_outage(config, outage, seed + number) for number in range(agents)]
    polling = [through_outage(config, outage, seed + number, polling_works=True) for number in range(agents)]
    hours = outage / 3_600
    gaps = [after - before for one in polling for before, after in pairwise(one.polls)]
    polls = config.backend.polling is not PollingMode.NEVER
    seconds = Counter(second for one in down for second in {int(attempt.at) for attempt in one.attempts})
    return Forecast(
        first=down[0],
        dials_an_hour=sum(len(one.attempts) for one in polling) / hours,
        polls_an_hour=sum(len(one.polls) for one in polling) / hours,
        delay_mean=_mean_wait(gaps) if gaps and polls else None,
        delay_most=max(gaps) if gaps and polls else None,
        back_mean=sum(one.back_after for one in down) / agents,
        back_most=max(one.back_after for one in down),
        dials_first_minute=max(sum(attempt.at < 60 for attempt in one.attempts) for one in down),
        peak=max(seconds.values(), default=0),
    )


def _mean_wait(gaps: Sequence[float]) -> float:
    """Of a command that is made at any moment: half a gap, and it falls into a long one more often."""
    return sum(gap * gap for gap in gaps) / (2 * sum(gaps))
