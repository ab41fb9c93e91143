"""The connection: phases, keepalive, retry, as deadlines (PROMISES §2).

| phase      | means                                   | its one deadline                | and then                        |
|------------|-----------------------------------------|---------------------------------|---------------------------------|
| stopped    | not started, or stopped                 | none                            |                                 |
| connecting | registration or a dial is in flight     | dial_within                     | abort, failed: timeout          |
| verifying  | open, nothing heard yet                 | half of pong_timeout, then all  | probe, then abort: silent       |
| online     | the peer has spoken                     | silence_after since last byte   | suspect                         |
| suspect    | silent, a probe is out                  | probe_within                    | abort, lost: silent             |
| waiting    | between attempts                        | retry_at                        | dial                            |
| refused    | the backend does not let us in          | retry_at                        | dial                            |
| portal     | somebody else answered                  | retry_at                        | dial                            |
| replaced   | another agent has this id               | retry_at                        | dial                            |
| off        | websocket.enabled is false              | none                            |                                 |

Beside the phase's deadline an open link has two clocks: the next JSON ping (pings.py) and the next status frame. A ping whose predecessor
is unanswered takes a probe along. A peer that talks is asked whether it reads, too: by a probe for each silence_after without an answer of
either kind and without a new command, the second time by a JSON ping, too; probe_within later the link is dead, whatever else comes on it.

Invariants: at most one attempt or socket at a time; every way an attempt can end leads to a phase with a deadline; news of another
generation changes nothing; the ladder climbs on every failure and falls to its foot only after a link was stable; a link is online only
after the peer has spoken. Simultaneous deadlines: phase first, then ping, then status.
"""

from collections import Counter, deque
from collections.abc import Callable

from agent_core.clock import INFINITY, Moment
from agent_core.config import Config
from agent_core.engine import backoff
from agent_core.engine.backoff import Dice
from agent_core.engine.outcomes import Rule, cause_of, rule_for
from agent_core.engine.pings import Pings
from agent_core.events import AbortSocket, CloseSocket, Effect, Failure, OpenSocket, Probe, Register, Send, Trouble
from agent_core.feed import LogEntry
from agent_core.plain import plain
from agent_core.snapshot import Cause, Drop, LinkView, Phase

MAX_DIALS_PER_WINDOW = 8
"""In any span as long as the ladder's last step, but the first of a trouble, no more dials than this (P8)."""
OPEN = frozenset({Phase.VERIFYING, Phase.ONLINE, Phase.SUSPECT})
NO_EARLY_RETRY = frozenset({Rule.BUSY, Rule.REFUSED, Rule.REPLACED})
"""What asks for patience is not hurried by a poll's success."""
MAY_RETRY_EARLY = frozenset({Rule.LADDER, Rule.RESTART})
"""What may be tried again soon after it failed, when a poll succeeded meanwhile: it has no least wait of its own."""
BETWEEN = frozenset({Phase.WAITING, Phase.REFUSED, Phase.PORTAL, Phase.REPLACED})


class Link:
    """One machine; every method is a step at `now`, its effects go to `emit` in order."""

    def __init__(self, config: Config, emit: Callable[[Effect], None]) -> None:
        self._config = config
        self._timing = config.timing
        self._emit = emit
        self._url = config.socket_url
        self._ladder = backoff.ladder(config.backoff)
        self.agent_id: str | None = None if config.edge.register_ == "always" else config.edge.agent_id
        self.phase = Phase.STOPPED
        self.generation = 0
        self.attempt = 0
        self.pings_ignored = False
        self._deaf = False
        """A sync brought what the socket should have pushed, and nothing has shown since that it can."""
        self.dials = 0
        self.sessions = 0
        self.last_drop: Drop | None = None
        self.drops: Counter[Cause] = Counter()
        self.lifetimes: deque[float] = deque(maxlen=10)
        self._cuts: list[float] = []
        self.stopping = False
        self._since = self._verified_at = Moment(0, 0)
        self._deadline: float | None = None
        self._wait_from: float | None = None
        self._step = 0.0
        self._rule = Rule.LADDER
        self._rule_failures = 0
        self._dialled_at = self._failing_since = float("-inf")
        self._dialled: deque[float] = deque(maxlen=MAX_DIALS_PER_WINDOW)
        self._online_at: float | None = None
        self._heard_at = self._answered_at = self._asked_at = 0.0
        self._probing = False
        self._woke = False
        self._down: Moment | None = None
        self._outage: tuple[float, float] | None = None
        self._said_down = False
        self._hinted_at = float("-inf")
        self._hinted = self._spread_retry = False
        self._pings = Pings(config.websocket.ping_interval_seconds)
        self._next_status_at = INFINITY

    # --- what others ask -----------------------------------------------------------------------------------------

    @property
    def _first_retry_after_stable_link(self) -> bool:
        """A stable link was lost by no more than the network, and this is the wait before its first redial."""
        return self.phase is Phase.WAITING and self._rule is Rule.LADDER and self._spread_retry and self.attempt == 1

    @property
    def online(self) -> bool:
        """The peer has spoken and is not known to be gone."""
        return self.phase is Phase.ONLINE or self.phase is Phase.SUSPECT

    @property
    def barrier(self) -> int:
        """The number of the next JSON ping: its pong proves everything sent before it."""
        return self._pings.barrier

    @property
    def deadline(self) -> float | None:
        """The present phase's own deadline; None in a phase that has none."""
        return self._deadline

    @property
    def wake_at(self) -> float:
        """The earliest deadline; infinity where there is none."""
        deadline = INFINITY if self._deadline is None else self._deadline
        return min(deadline, self._pings.next_at, self._next_status_at)

    def is_current(self, generation: int) -> bool:
        return generation == self.generation and (self.phase is Phase.ONLINE or self.phase is Phase.CONNECTING or self.phase in OPEN)

    # --- steps ---------------------------------------------------------------------------------------------------

    def start(self, now: Moment) -> None:
        self._down = now
        self._dial(now)

    def registered(self, agent_id: str, now: Moment) -> None:
        if self.phase is Phase.CONNECTING and self.agent_id is None:
            self.agent_id = agent_id
            self._say(now, "INFO", f"Registered as {agent_id}")
            self._dial(now)

    def registration_failed(self, failure: Failure, now: Moment, dice: Dice) -> None:
        if self.phase is Phase.CONNECTING and self.agent_id is None:
            self._end(failure, now, dice)

    def opened(self, generation: int, now: Moment) -> None:
        if generation != self.generation or self.phase is not Phase.CONNECTING:
            return
        self._heard_at = self._answered_at = self._asked_at = now.mono
        self._pings.begin()
        self.pings_ignored = self._probing = self._woke = False
        self._enter(Phase.VERIFYING, now, now.mono + self._config.websocket.pong_timeout_seconds / 2)
        self._ping(now)

    def failed(self, generation: int, failure: Failure, now: Moment, dice: Dice) -> None:
        """A dial failed, or an open link ended."""
        if self.is_current(generation):
            self._end(failure, now, dice)

    def heard(self, now: Moment, *, frame: bool) -> None:
        """The peer gave a sign of life; a frame always verifies, anything else only after the JSON ping went unanswered for long."""
        self._heard_at = now.mono
        if self.stopping or self.phase is Phase.ONLINE:
            return
        if self.phase is Phase.SUSPECT:
            self._enter(Phase.ONLINE, self._verified_at, now.mono + self._timing.silence_after)
            self._woke = False
        elif self.phase is Phase.VERIFYING and frame:
            self._verified(now)
        elif self.phase is Phase.VERIFYING and self._probing:
            self._ignored(now)
            self._verified(now)

    def probe_answered(self, now: Moment) -> None:
        """The peer answered a protocol ping: it reads, whatever it makes of the JSON pings."""
        self._answered_at = now.mono
        self.heard(now, frame=False)

    def ponged(self, seq: int | None, now: Moment) -> tuple[int, float] | None:
        """Which ping a JSON pong answers, and its round trip in seconds; None where it answers none."""
        answered = self._pings.ponged(seq, now)
        if answered is not None:
            self._answered_at = now.mono
            self.pings_ignored = False
        return answered

    def force(self, now: Moment) -> None:
        """The operator wants a new connection now: at once, in every phase, and never two in flight."""
        if self.stopping or self.phase in {Phase.STOPPED, Phase.OFF}:
            self._say(now, "WARNING", f"Reconnect asked for, but the link is {self.phase}")
        elif self.phase is not Phase.CONNECTING:
            if self.phase in OPEN:
                self.close_for(Cause.OPERATOR, "reconnect asked for by the operator", now)
            self._dial(now)
        elif now.mono - self._dialled_at >= self._timing.early_retry_delay and self.agent_id is not None:
            self._emit(AbortSocket(self.generation))
            self._dial(now)

    def move(self, url: str, now: Moment) -> None:
        """The backend is there from now on: what goes to where it was ends, and with it all patience with it."""
        self._url = url
        if self.stopping or self.phase in {Phase.STOPPED, Phase.OFF}:
            return
        if self.phase in OPEN:
            self.close_for(Cause.OPERATOR, "the backend's address was changed here", now)
        elif self.phase is Phase.CONNECTING and self.agent_id is not None:
            self._emit(AbortSocket(self.generation))
        self.attempt = self._rule_failures = 0
        if self.phase is not Phase.CONNECTING or self.agent_id is not None:
            self._dial(now)

    def close_for(self, cause: Cause, detail: str, now: Moment) -> None:
        """End an open link for a reason of our own; the caller dials or waits next."""
        self._reset_backoff(now)
        self._emit(AbortSocket(self.generation))
        self._forget(cause, detail, now)

    def deafened(self, detail: str, now: Moment) -> None:
        """The socket does not bring what the backend has for us: cycle it."""
        self.close_for(Cause.DEAF, detail, now)
        self._say(now, "WARNING", f"The socket is deaf: {detail}; opening a new one")
        self._dial(now)
        self._deaf = True

    def hint(self, now: Moment, dice: Dice, *, alone: bool) -> None:
        """A poll has succeeded again after a failure: the backend is back, so dial soon (P7), or again soon where a dial hangs.

        `alone`: the first poll after a loss succeeded, so the backend was never gone; this link alone was lost, and no crowd dials with us.
        """
        if now.mono - self._hinted_at < self._timing.early_retry_interval or (alone and not self._first_retry_after_stable_link):
            return
        soon = self._politely(now.mono + self._timing.early_retry_delay * dice())
        if self.phase is Phase.WAITING and self._rule not in NO_EARLY_RETRY:
            self._hinted_at = now.mono
            self._deadline = min(self._deadline or soon, soon)
        self._hinted = self.phase is Phase.CONNECTING

    def woke(self, now: Moment, dice: Dice) -> None:
        """The machine or this process slept: doubt an open link at once, and do not sit out the rest of a wait."""
        if self.phase in OPEN and not self.stopping:
            self._emit(Probe(self.generation))
            self._probing = self._woke = True
            self._heard_at = self._answered_at = now.mono
            phase = self.phase if self.phase is Phase.VERIFYING else Phase.SUSPECT
            self._enter(phase, now, now.mono + self._timing.wake_probe_within)
        elif self.phase is Phase.CONNECTING:
            self._deadline = now.mono + self._timing.dial_within
        elif self.phase is Phase.WAITING and self._rule is not Rule.BUSY:
            soon = self._politely(now.mono + self._timing.early_retry_delay * dice())
            self._deadline = min(self._deadline or soon, soon)

    def ping_each(self, seconds: float) -> None:
        """The backend wants another interval between JSON pings, from the next one on."""
        self._pings.every = seconds

    def delivers(self) -> None:
        """The socket has brought what the backend has for us: it is not deaf."""
        self._deaf = False

    def brought_new(self, now: Moment) -> None:
        """The socket serves us; a pong that is due may wait behind more that is new (PROMISES F18)."""
        self._answered_at = now.mono

    def status_due(self, now: Moment) -> bool:
        """Whether a status frame is to go out now; each is asked for once."""
        if now.mono < self._next_status_at:
            return False
        self._next_status_at = now.mono + self._config.websocket.status_interval_seconds
        return True

    def want_proof(self, now: Moment) -> None:
        """Acks wait for a pong: bring the next ping forward, as far as the backend's limits allow."""
        self._pings.hasten(now, self._timing.ack_ping_interval)

    def tick(self, now: Moment, dice: Dice) -> None:
        """Act on every deadline that has come."""
        if self._deadline is not None and now.mono >= self._deadline:
            self._due(now, dice)
        if now.mono >= self._pings.next_at:
            self._ping_again(now)

    def stop(self, now: Moment) -> None:
        """Close with 1000 where there is a link; the shell reports Lost."""
        self.stopping = True
        if self.phase in OPEN:
            self._emit(CloseSocket(self.generation, 1000, "agent stopped"))
            self._deadline = now.mono + self._timing.close_within + 0.25
            self._pings.end()
            self._next_status_at = INFINITY
        else:
            if self.phase is Phase.CONNECTING and self.agent_id is not None:
                self._emit(AbortSocket(self.generation))
            self._enter(Phase.STOPPED, now, None)

    def view(self, now: Moment, history: tuple[tuple[float, str], ...]) -> LinkView:
        between = self.phase in BETWEEN
        return LinkView(
            phase=self.phase, since_at=self._since.mono, since_utc=self._since.utc,
            attempt=0 if self._stable(now) else self.attempt, attempts_max=self._config.websocket.reconnect_attempts,
            step=self._step if between else 0.0, ladder=self._ladder,
            wait_from_at=self._wait_from if between else None, retry_at=self._deadline if between else None,
            down_since_at=self._down.mono if self._down else None,
            dials=self.dials, sessions=self.sessions,
            last_ping_at=self._pings.sent_at, last_pong_at=self._pings.answered_at,
            next_ping_at=self._pings.next_at if self._pings.next_at < INFINITY else None,
            pings_ignored=self.pings_ignored, deaf=self._deaf,
            last_drop=self.last_drop, drops=tuple(self.drops.items()), lifetimes=tuple(self.lifetimes),
            last_outage_utc=self._outage[0] if self._outage else None,
            last_outage_seconds=self._outage[1] if self._outage else 0.0,
            history=history,
        )  # fmt: skip

    # --- deadlines -----------------------------------------------------------------------------------------------

    def _due(self, now: Moment, dice: Dice) -> None:
        silent = now.mono - self._heard_at
        if self.stopping:
            self._emit(AbortSocket(self.generation))
            self._enter(Phase.STOPPED, now, None)
        elif self.phase in BETWEEN:
            self._dial(now)
        elif self.phase is Phase.CONNECTING:
            self._abort(Failure(Trouble.TIMEOUT, f"no answer in {self._timing.dial_within:g} s"), now, dice)
        elif self.phase is Phase.VERIFYING and not self._probing:
            self._emit(Probe(self.generation))
            self._probing = True
            self._deadline = self._since.mono + self._config.websocket.pong_timeout_seconds
        elif self.phase is Phase.VERIFYING:
            self._abort(Failure(Trouble.SILENT, "open, but the backend said nothing"), now, dice)
        elif self.phase is Phase.ONLINE and now.mono < self._heard_at + self._timing.silence_after:
            self._ask_whether_it_reads(now, dice)
        elif self.phase is Phase.ONLINE:
            self._emit(Probe(self.generation))
            self._enter(Phase.SUSPECT, now, now.mono + self._timing.probe_within)
        elif self.phase is Phase.SUSPECT:
            self._abort(Failure(Trouble.SILENT, f"nothing heard for {silent:.1f} s"), now, dice)

    def _ask_whether_it_reads(self, now: Moment, dice: Dice) -> None:
        every = self._timing.silence_after
        dead_at = self._answered_at + 2 * every + self._timing.probe_within
        if now.mono >= dead_at:
            unanswered = now.mono - self._answered_at
            self._abort(Failure(Trouble.SILENT, f"nothing that was sent was answered for {unanswered:.0f} s"), now, dice)
            return
        asked_in_vain = self._asked_at > self._answered_at
        self._asked_at = max(self._asked_at, self._answered_at)
        if now.mono >= self._asked_at + every:
            self._asked_at = now.mono
            self._emit(Probe(self.generation))
            if asked_in_vain and not self._pings.overdue(now, 0.0):
                self._ping(now)
        self._deadline = min(self._heard_at + every, self._asked_at + every, dead_at)

    def _ping_again(self, now: Moment) -> None:
        if self._pings.overdue(now, self._config.websocket.pong_timeout_seconds):
            self._ignored(now)
            self._emit(Probe(self.generation))
        self._ping(now)

    def _ignored(self, now: Moment) -> None:
        if not self.pings_ignored:
            self.pings_ignored = True
            self._say(now, "WARNING", "The backend answers no JSON pings; acks are proven by HTTP")

    def _ping(self, now: Moment) -> None:
        self._emit(Send(self.generation, (self._pings.ping(now),)))

    # --- transitions ---------------------------------------------------------------------------------------------

    def _enter(self, phase: Phase, since: Moment, deadline: float | None) -> None:
        if phase is not self.phase:
            self.phase = phase
            self._since = since
        self._deadline = deadline

    def _dial(self, now: Moment) -> None:
        self._hinted = False
        self._dialled_at = now.mono
        self._dialled.append(now.mono)
        if self.agent_id is None:
            self._enter(Phase.CONNECTING, now, now.mono + self._timing.dial_within)
            self._emit(Register())
        elif not self._config.websocket.enabled:
            self._enter(Phase.OFF, now, None)
        else:
            self._enter(Phase.CONNECTING, now, now.mono + self._timing.dial_within)
            self.generation += 1
            self.dials += 1
            self._narrate(now, f"Connecting to WebSocket: {self._url}")
            self._emit(OpenSocket(self.generation))

    def _verified(self, now: Moment) -> None:
        self.sessions += 1
        self._online_at, self._verified_at = now.mono, now
        if self._down is not None and self.sessions > 1:
            self._outage = (self._down.utc, now.mono - self._down.mono)
        self._down, self._said_down = None, False
        every = self._config.websocket.status_interval_seconds
        self._next_status_at = now.mono + every if every else INFINITY
        self._enter(Phase.ONLINE, now, now.mono + self._timing.silence_after)
        self._say(now, "INFO", "WebSocket connected - real-time mode enabled")
        self._say(now, "INFO", "Command delivery: Real-time via WebSocket")

    def _abort(self, failure: Failure, now: Moment, dice: Dice) -> None:
        if self.agent_id is not None:
            self._emit(AbortSocket(self.generation))
        self._end(failure, now, dice)

    def _end(self, failure: Failure, now: Moment, dice: Dice) -> None:
        """An attempt or a link is over: name the cause, choose the delay, wait."""
        self._deaf = False
        if self.stopping:
            self._enter(Phase.STOPPED, now, None)
            return
        self._spread_retry = self._stable(now) or (self._spread_retry and self._online_at is None)
        self._reset_backoff(now)
        rule = rule_for(failure, first_loss=self.attempt == 0 and self._online_at is not None)
        cause = Cause.SLEEP if self._woke else cause_of(failure, rule)
        self._rule_failures = self._rule_failures + 1 if rule is self._rule else 1
        self._rule = rule
        self.attempt += 1
        self._narrate(now, f"WebSocket error: {failure.detail}", "WARNING")
        self._forget(cause, failure.detail, now)
        timing, ladder = self._timing, self._config.backoff
        wait = backoff.delay(
            rule, self.attempt, self._rule_failures, failure.retry_after, dice, timing, ladder, spread_retry=self._spread_retry
        )
        self._step = backoff.step(self.attempt, self._config.backoff)
        self._wait_from = now.mono
        if self.attempt == 1:
            self._failing_since = now.mono
        if self._hinted and rule in MAY_RETRY_EARLY:
            wait = min(wait, self._timing.early_retry_delay)
            self._hinted_at = now.mono
        self._enter(rule.phase, now, self._politely(now.mono + wait))
        shown, last = min(self.attempt, self._config.websocket.reconnect_attempts), self._config.websocket.reconnect_attempts
        lane = ", slow lane" if self.attempt > last else ""
        self._narrate(now, f"Scheduling WebSocket reconnect attempt {shown}/{last} in {wait * 1000:.0f}ms{lane}")

    def _forget(self, cause: Cause, detail: str, now: Moment) -> None:
        """Leave the open state: count the drop, stop the link's clocks."""
        lifetime = self._lifetime(now) if self._online_at is not None else None
        if lifetime is not None:
            self.lifetimes.append(lifetime)
            self._cuts = [*self._cuts[-2:], lifetime] if cause is Cause.NETWORK else []
            if self._cut_regularly():
                cause, detail = Cause.IDLE_CUT, f"{detail}; cut every {lifetime:.0f} s"
        self.last_drop = Drop(now.utc, cause, plain(detail), lifetime)
        self.drops[cause] += 1
        self._online_at, self._next_status_at = None, INFINITY
        self._pings.end()
        self._woke = False
        if self._down is None:
            self._down = now
        if not self._said_down:
            self._said_down = True
            self._say(now, "WARNING", "WebSocket disconnected - falling back to HTTP polling")

    def _cut_regularly(self) -> bool:
        last = self._cuts
        return len(last) == 3 and min(last) >= 5 and max(last) <= 1.05 * min(last)

    def _lifetime(self, now: Moment) -> float:
        return now.mono - self._online_at if self._online_at is not None else 0.0

    def _stable(self, now: Moment) -> bool:
        return self._online_at is not None and self._lifetime(now) >= max(self._timing.stable_after, self._step)

    def _reset_backoff(self, now: Moment) -> None:
        """What went wrong before a stable link no longer counts; a rival that lets us stay for less than its turn is still there."""
        if self._stable(now):
            self.attempt = 0
            if self._rule is not Rule.REPLACED or self._lifetime(now) > self._timing.replaced_every:
                self._rule_failures = 0

    def _politely(self, at: float) -> float:
        """`at`, or later where a fault that flaps would make us dial too often."""
        span = self._config.backoff.cap_seconds
        if at - self._failing_since < span or len(self._dialled) < MAX_DIALS_PER_WINDOW:
            return at
        return max(at, self._dialled[0] + span)

    def _narrate(self, now: Moment, text: str, level: str = "INFO") -> None:
        """Lines that repeat with every attempt: all of the first ones, then each tenth, so that a day's outage fits the log (F44)."""
        loud = self.attempt <= self._config.websocket.reconnect_attempts or self.attempt % 10 == 0
        self._say(now, level if loud else "DEBUG", text)

    def _say(self, now: Moment, level: str, text: str) -> None:
        self._emit(LogEntry(now.utc, level, plain(text)))
