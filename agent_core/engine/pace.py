"""How fast messages go: buckets of tokens, and the lanes that wait for one (config `policy`).

A message takes a token of each bucket that it concerns (its recipient's, that of new conversations, the total) when it starts, and each
token comes back `seconds` after it was taken: so there are at most `count` messages in any `seconds`. What finds no token waits where it
is, at the head of its lane, and its lane at the gate that opens last; behind it the order of the lane stays. A gate that opens lets as many
lanes go on as it has tokens, first come first served, urgent ones before the others; whoever comes later waits behind them.

    ready ─ ask ─► starts
      ▲      └───► waits at a gate ─ it opens ─┐
      └────────────────────────────────────────┘

Tokens count by the monotonic clock, so that a clock that is set neither hurries nor holds up a message; only quiet hours are wall time.
What was sent before the start comes from the ledger.

Invariants: a lane waits at one gate at most; at a gate where nobody waits and of which all tokens are there nothing is kept.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from agent_core.clock import INFINITY, Moment
from agent_core.config.models import Policy, Rate
from agent_core.engine.quiet import Quiet

MAX_RECIPIENTS = 100_000
"""Of whom it is kept what was sent to them lately; past it the first are forgotten."""
MAX_KNOWN = 300_000
"""Recipients that are no new conversation."""
RECIPIENT, NEW, TOTAL, QUIET = "policy.per_recipient", "policy.per_new_conversation", "policy.total", "policy.quiet_hours"


class Wait(NamedTuple):
    """Which gate is closed, and until when as far as is known."""

    gate: str
    until_utc: float


@dataclass(slots=True)
class Gate:
    """Tokens that are away, by when they were taken (monotonic), and the lanes that wait for one."""

    name: str
    rate: Rate
    taken: deque[float] = field(default_factory=deque)
    urgent: OrderedDict[str, None] = field(default_factory=OrderedDict)
    normal: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.urgent) + len(self.normal)

    def tokens(self, mono: float) -> int:
        """How many are there."""
        while self.taken and self.taken[0] + self.rate.seconds <= mono:
            self.taken.popleft()
        return self.rate.count - len(self.taken)

    def opens_at(self, mono: float, after: int = 0) -> float:
        """When there is a token for who waits behind `after` others."""
        rounds, place = divmod(after, self.rate.count)
        away = place - self.tokens(mono)
        return (mono if away < 0 else self.taken[away] + self.rate.seconds) + rounds * self.rate.seconds

    def join(self, lane: str, *, urgent: bool) -> None:
        waiting, other = (self.urgent, self.normal) if urgent else (self.normal, self.urgent)
        other.pop(lane, None)
        waiting[lane] = None

    def leave(self, lane: str) -> None:
        self.urgent.pop(lane, None)
        self.normal.pop(lane, None)

    def first(self) -> str:
        lane, _ = (self.urgent or self.normal).popitem(last=False)
        return lane


class Pace:
    """One machine; `ask` before each message, `release` and `wake_at` for those that wait."""

    def __init__(self, policy: Policy) -> None:
        self._per_recipient = policy.per_recipient
        self._new, self._total = Gate(NEW, policy.per_new_conversation), Gate(TOTAL, policy.total)
        self._quiet = Quiet(policy.quiet_hours) if policy.quiet_hours.start else None
        self._at_night = Gate(QUIET, Rate())
        self._recipients: OrderedDict[str, Gate] = OrderedDict()
        """Those to whom something was sent lately, in the order of the last time, or for whom something waits."""
        self._known: OrderedDict[str, None] = OrderedDict()
        self._due: list[tuple[float, str]] = []
        """When gates of recipients open at which lanes wait; each is in there once."""
        self._in_due: set[str] = set()
        self.waiting: dict[str, tuple[Gate, Wait]] = {}
        """Where each lane waits, and what was said of it."""
        self._let_go: set[str] = set()
        """Lanes whose turn it is, though others wait."""

    def restore(self, sends: Iterable[tuple[str, float]], now: Moment) -> None:
        """What earlier runs have sent, (recipient, UTC), oldest first."""
        for one, utc in sends:
            self._take(one, now.mono - max(0.0, now.utc - utc), new=one not in self._known)

    def ask(self, lane: str, recipient: str, now: Moment, *, urgent: bool) -> Wait | None:
        """None: it starts, and its tokens are taken. Else its lane waits."""
        closed = self._closed(lane, recipient, now, urgent=urgent)
        if closed is None:
            self.leave(lane)
            self._take(recipient, now.mono, new=recipient not in self._known)
            return None
        gate, at = closed
        return self._wait_at(gate, lane, recipient, Wait(gate.name, now.utc + at - now.mono), now, urgent=urgent)

    def _closed(self, lane: str, recipient: str, now: Moment, *, urgent: bool) -> tuple[Gate, float] | None:
        """The gate that opens last of those that are closed to this lane, and when."""
        found = [(gate, gate.opens_at(now.mono, self._before(lane, gate, urgent=urgent))) for gate in self._gates(recipient)]
        if self._quiet is not None and (until := self._quiet.until(now.utc)) is not None:
            found.append((self._at_night, now.mono + until - now.utc))
        last = max(found, key=lambda one: one[1], default=None)
        return last if last is not None and last[1] > now.mono else None

    def _before(self, lane: str, gate: Gate, *, urgent: bool) -> int:
        """How many lanes come first there."""
        if lane in self._let_go:
            return 0
        let_go = 0 if gate.name is RECIPIENT else len(self._let_go)
        others = len(gate.urgent) if urgent else len(gate)
        return let_go + others - (lane in gate.urgent or (not urgent and lane in gate.normal))

    def _gates(self, recipient: str) -> Iterator[Gate]:
        if self._total.rate.count:
            yield self._total
        if self._new.rate.count and recipient not in self._known:
            yield self._new
        if (gate := self._recipients.get(recipient)) is not None:
            yield gate

    def _wait_at(self, gate: Gate, lane: str, recipient: str, wait: Wait, now: Moment, *, urgent: bool) -> Wait:
        """One that waits there already keeps its place."""
        before, said = self.waiting.get(lane, (gate, wait))
        if before is gate and said.until_utc > now.utc:
            wait = min(wait, said)
        elif before is not gate:
            before.leave(lane)
        self._let_go.discard(lane)
        if gate.name is RECIPIENT and recipient not in self._in_due:
            self._in_due.add(recipient)
            heapq.heappush(self._due, (now.mono + wait.until_utc - now.utc, recipient))
        gate.join(lane, urgent=urgent)
        self.waiting[lane] = gate, wait
        return wait

    def _take(self, recipient: str, mono: float, *, new: bool) -> None:
        if self._total.rate.count:
            self._total.taken.append(mono)
        if new and self._new.rate.count:
            self._new.taken.append(mono)
            self._get_to_know(recipient)
        if self._per_recipient.count:
            if recipient not in self._recipients:
                self._recipients[recipient] = Gate(RECIPIENT, self._per_recipient)
            self._recipients[recipient].taken.append(mono)
            self._recipients.move_to_end(recipient)
            self._forget_old(mono)

    def _get_to_know(self, recipient: str) -> None:
        self._known[recipient] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _forget_old(self, mono: float) -> None:
        """Those whose tokens are all back are at the front; for each that comes two may go."""
        for _ in range(2):
            recipient, gate = next(iter(self._recipients.items()))
            if len(gate):
                self._recipients.move_to_end(recipient)
            elif gate.tokens(mono) == gate.rate.count or len(self._recipients) > MAX_RECIPIENTS:
                del self._recipients[recipient]
            else:
                return

    # --- those that wait -----------------------------------------------------------------------------------------

    def leave(self, lane: str) -> None:
        """Nothing waits in it any more."""
        if (waited := self.waiting.pop(lane, None)) is not None:
            waited[0].leave(lane)
        self._let_go.discard(lane)

    def release(self, now: Moment) -> list[str]:
        """Lanes that may ask again, for a gate is open."""
        let_go: list[str] = []
        if len(self._at_night) and (self._quiet is None or self._quiet.until(now.utc) is None):
            let_go += self._open(self._at_night, len(self._at_night))
        for gate in (self._total, self._new):
            if len(gate):
                let_go += self._open(gate, gate.tokens(now.mono) - len(self._let_go))
        while self._due and self._due[0][0] <= now.mono:
            _, recipient = heapq.heappop(self._due)
            self._in_due.discard(recipient)
            if (of_one := self._recipients.get(recipient)) is not None and len(of_one):
                let_go += self._open(of_one, of_one.tokens(now.mono))
                if len(of_one):
                    self._in_due.add(recipient)
                    heapq.heappush(self._due, (of_one.opens_at(now.mono, max(0, of_one.tokens(now.mono))), recipient))
        return let_go

    def _open(self, gate: Gate, tokens: int) -> Iterator[str]:
        for _ in range(min(tokens, len(gate))):
            lane = gate.first()
            del self.waiting[lane]
            self._let_go.add(lane)
            yield lane

    def wake_at(self, now: Moment) -> float:
        """When the next gate opens at which somebody waits (monotonic); of one that is open those who start take the next along."""
        times = [at for gate in (self._total, self._new) if len(gate) and (at := gate.opens_at(now.mono)) > now.mono]
        if self._due:
            times.append(self._due[0][0])
        if len(self._at_night) and self._quiet is not None:
            times.append(now.mono + max(0.0, (self._quiet.until(now.utc) or now.utc) - now.utc))
        return min(times, default=INFINITY)

    def waits(self, now: Moment) -> Iterator[tuple[Wait, int]]:
        """For what, until when for the first of them, and how many lanes wait."""
        for gate in (self._total, self._new):
            if len(gate):
                yield Wait(gate.name, now.utc + gate.opens_at(now.mono) - now.mono), len(gate)
        at_recipients = len(self.waiting) - len(self._total) - len(self._new) - len(self._at_night)
        if at_recipients and self._due:
            yield Wait(RECIPIENT, now.utc + self._due[0][0] - now.mono), at_recipients
        if len(self._at_night) and self._quiet is not None:
            yield Wait(QUIET, self._quiet.until(now.utc) or now.utc), len(self._at_night)

    @property
    def sizes(self) -> dict[str, int]:
        return {"paced": len(self.waiting), "let_go": len(self._let_go), "recipients": len(self._recipients), "due": len(self._due)}
