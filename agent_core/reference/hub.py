"""What is to be done, pure: which agents are here, which commands they are owed, what their acks mean for them.

No I/O, no clock: each call is told when it happens. A shell (server.py, or a simulated world) carries frames between `receive` and `take`.
The orders are in a book (book.py), whose truth is a store's (store.py). A command is kept until its first terminal ack and goes
- to the socket, once, while there is one;
- to a poll, where no present socket has been given it, or `redeliver_after` has passed since; never once the agent says `received`;
- to the socket again, with the answer to a ping, where a poll or an earlier socket was given it and `redeliver_after` has passed since.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pydantic_core import to_json

from agent_core.clock import Moment, iso
from agent_core.frames import MESSAGE_RECEIVED
from agent_core.plain import plain
from agent_core.reference.book import Book
from agent_core.reference.durations import Durations
from agent_core.reference.faults import Faults
from agent_core.reference.limits import NO_LIMITS, Limits, Window
from agent_core.reference.orders import ACKS_KEPT, SETTLED, AckSeen, AckWay, CallError, Order, Status, id_of, same_ack, verdict_of
from agent_core.reference.told import Events, Told, told_of
from agent_core.reference.wire import parse

REPLACED = 4009
POLICY = 1008
_PRIORITIES = ("immediate", "high", "normal", "low", "deferred")
_ACKS_NAMED = 1_000
_ATTACHMENTS_KEPT = 100
_LOOKED_AT = 1_000
_SEQ_ECHOED = 200
_CONTROL_KEPT = 1_000
_SETTINGS_KEPT = 20_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rules:
    """How the hub serves. Seconds and counts."""

    redeliver_after: float = 10
    """What was delivered and not acknowledged is answered to a poll after this."""
    drop_after: float = 60
    """A connection not heard for this long is dropped."""
    ping_every: float = 0
    """JSON pings of our own; 0 = none."""
    greet: bool = True
    """Say `connected` first."""
    limits: Limits = NO_LIMITS
    keep_settled: int = 200_000
    keep_open: int = 200_000
    keep_events: int = 50_000
    agents: int = 10_000
    poll_count: int = 1_000
    """Commands in one sync answer, at most …"""
    poll_bytes: int = 700_000
    """… and their size."""


class Ending(NamedTuple):
    """How a connection ended, or must end."""

    code: int
    reason: str
    by: str = "backend"
    """`agent`, `backend`, or `nobody`: it was lost."""


class Stale(NamedTuple):
    """A connection that was dropped: abort it."""

    agent_id: str
    generation: int


class AckTaken(NamedTuple):
    """An ack as it came, by `way` and at `now`; from nobody known where `agent_id` is None."""

    command_id: str
    body: Mapping[str, Any]
    way: AckWay
    now: Moment
    agent_id: str | None


class Admitted(NamedTuple):
    """A new connection, and the one it replaces: close that with 4009."""

    generation: int
    replaced: int | None


@dataclass(slots=True)
class _Link:
    """One of thousands: an empty list takes a tenth of an empty deque."""

    generation: int
    epoch: int
    since_utc: float
    heard_at: float
    ping_sent_at: float
    ping_heard_at: float | None = None
    control: list[str] = field(default_factory=list)
    pushes: list[Order] = field(default_factory=list)
    overdue: list[Order] = field(default_factory=list)


@dataclass(slots=True)
class _Agent:
    agent_id: str
    connects_window: Window
    frames_window: Window
    link: _Link | None = None
    connects: int = 0
    refused: int = 0
    syncs: int = 0
    heard_utc: float | None = None
    last_ending: Ending | None = None
    last_command_id: str | None = None
    reported: Mapping[str, Any] = field(default_factory=dict)
    again: list[Order] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    acked: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    """Ids of events that came, to be named in the answer."""


class Hub:
    """`salt` makes this hub's command ids its own. `shared`: an ack of an order that is not at hand waits in `unknown` for `resolve`."""

    def __init__(self, rules: Rules | None = None, *, salt: str = "", journaled: bool = False, shared: bool = False) -> None:
        self.rules = rules or Rules()
        self.book = Book(keep_settled=self.rules.keep_settled, keep_open=self.rules.keep_open, journaled=journaled, shared=shared)
        self.events = Events(self.rules.keep_events)
        self.attachments: deque[dict[str, Any]] = deque(maxlen=_ATTACHMENTS_KEPT)
        """What was put of late: by whom, under what name, its size and SHA-256."""
        self.unknown: list[AckTaken] = []
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        """What happened since the start, by name: `pushed`, `polled`, `completed`, `failed`, `acks_ws`, `anomalies`, `strays` …"""
        self.durations = {"settled": Durations(), "connected": Durations()}
        self._salt = salt
        self._shared = shared
        self._agents: dict[str, _Agent] = {}
        self._generation = 0
        self._number = 0

    # --- commands --------------------------------------------------------------------------------------------------

    def queue(
        self,
        agent_id: str,
        command_type: str,
        payload: Any,
        now: Moment,
        *,
        command_id: str | None = None,
        priority: str | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Order:
        """A new command, owed to the agent from now on. Raises what `compose` and `Book.add` raise."""
        order = self.compose(agent_id, command_type, payload, now, command_id=command_id, priority=priority, more=more)
        self.book.add(order)
        self.owe(order, now)
        return order

    def compose(
        self,
        agent_id: str,
        command_type: str,
        payload: Any,
        now: Moment,
        *,
        command_id: str | None = None,
        priority: str | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Order:
        """A command as it would be kept, with what `more` it is to say of itself. Raises CallError (400)."""
        if not isinstance(payload, Mapping):
            raise CallError(400, "payload: an object expected")
        if priority is not None and priority not in _PRIORITIES:
            raise CallError(400, f"priority: one of {', '.join(_PRIORITIES)} expected")
        agent = self._agent(id_of(agent_id, "edge_agent_id"))
        command_type = id_of(command_type, "command_type")
        self._number += 1
        chosen = self._new_id() if command_id is None else id_of(command_id, "command_id")
        issued = {} if "signature" in more else {"timestamp": iso(now.utc)}
        fields = {"command_id": chosen, "command_type": command_type, "payload": payload} | issued | dict(more)
        body = _json("payload", fields | ({"priority": priority} if priority else {}))
        return Order(self._number, chosen, agent.agent_id, command_type, body, now.utc)

    def owe(self, order: Order, now: Moment) -> None:
        """The order is in the store: it goes to the socket, where there is one, else waits for a poll."""
        self.counts["queued"] += 1
        self.give(order, now)

    def give(self, order: Order, now: Moment, *, to_poll: bool = False) -> None:
        """An order to be delivered from here, whatever was done about it elsewhere."""
        order = self.book.owe(order)
        link = self._agent(order.agent_id).link
        if order.status is Status.DELIVERED:
            order.status = Status.QUEUED
        if link is not None and not to_poll:
            order.offered_at, order.offered_on = now.mono, link.generation
            link.pushes.append(order)
        else:
            order.offered_at = None

    def repeat(self, command_id: str, *, by_poll: bool = False) -> None:
        """Deliver a command once more, whatever its state. Raises CallError (404, or 409 where there is no socket to push on)."""
        order = self.order(command_id)
        agent = self._agent(order.agent_id)
        if by_poll:
            agent.again.append(order)
        elif agent.link is None:
            raise CallError(409, "the agent has no socket")
        else:
            agent.link.control.append(order.frame)
            order.pushed += 1
            self.counts["pushed"] += 1
            self.book.note(order, awaited=False)

    def configure(self, agent_id: str, settings: Mapping[str, Any]) -> None:
        """A config update: on the socket, or with the next sync answer; later keys replace earlier ones. Raises CallError."""
        agent = self._agent(id_of(agent_id, "edge_agent_id"))
        agent.settings = merged_settings(agent.settings, settings)

    def order(self, command_id: str) -> Order:
        """Raises CallError (404)."""
        if (order := self.book.get(command_id)) is None:
            raise CallError(404, "no such command")
        return order

    def owner(self, command_id: object) -> str | None:
        """Whose command it is; None where it is not known."""
        order = self.book.get(command_id)
        return order.agent_id if order is not None else None

    def orders(self, agent_id: str | None = None, status: str | None = None, limit: int = 100) -> list[Order]:
        """The newest first."""
        return self.book.listed(agent_id, status, limit)

    @property
    def open_count(self) -> int:
        """Commands without a terminal ack."""
        return self.book.open_count

    # --- the socket ------------------------------------------------------------------------------------------------

    def admit(self, agent_id: str, now: Moment) -> None:
        """Whether the agent may dial at all. Raises CallError (429)."""
        agent = self._agent(id_of(agent_id, "edge_agent_id"))
        if wait := agent.connects_window.admit(now.mono):
            agent.refused += 1
            raise CallError(429, f"{self.rules.limits.connects_per_minute:g} connects a minute are allowed", wait)

    def connect(self, agent_id: str, now: Moment, epoch: int = 0) -> Admitted:
        """A socket is open; it is the agent's only one from now on. `epoch` is its number in a shared store."""
        agent = self._agent(agent_id)
        replaced = agent.link
        self._generation += 1
        agent.link = link = _Link(self._generation, epoch, now.utc, now.mono, now.mono)
        agent.connects += 1
        agent.heard_utc = now.utc
        self.counts["connects"] += 1
        if self.rules.greet:
            link.control.append(
                f'{{"type":"connected","data":{{"heartbeat_seconds":{self.rules.drop_after:g}}},"timestamp":"{iso(now.utc)}"}}'
            )
        return Admitted(link.generation, replaced.generation if replaced else None)

    def disconnect(self, agent_id: str, generation: int, ending: Ending) -> None:
        """A socket has ended. A late one, already replaced or dropped, leaves the present one alone."""
        agent = self._agent(agent_id)
        if agent.link is not None and agent.link.generation == generation:
            agent.link = None
            agent.last_ending = ending

    def receive(self, agent_id: str, generation: int, raw: str | bytes, now: Moment) -> Ending | None:
        """One frame from the agent; never raises. Returns how to close where a limit is passed."""
        agent = self._agent(agent_id)
        agent.heard_utc = now.utc
        link = agent.link if agent.link is not None and agent.link.generation == generation else None
        if link is not None:
            link.heard_at = now.mono
        if agent.frames_window.admit(now.mono):
            return Ending(POLICY, f"{self.rules.limits.frames_per_minute:g} frames a minute are allowed")
        try:
            frame = parse(raw)
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            self.counts["malformed"] += 1
            return None
        return self._frame(agent, link, frame, now)

    def _frame(self, agent: _Agent, link: _Link | None, frame: dict[str, Any], now: Moment) -> Ending | None:
        kind, inner = frame.get("type"), frame.get("data")
        if kind == "command_ack":
            try:
                self.ack(inner if isinstance(inner, dict) else frame, AckWay.WS, now, agent.agent_id)
            except CallError:
                self.counts["malformed"] += 1
        elif kind == "ping":
            self.counts["pings"] += 1
            return self._pinged(agent, link, inner, now) if link is not None else None
        elif kind == "event":
            if not self._told(agent, inner if isinstance(inner, dict) else frame, "ws", now):
                self.counts["malformed"] += 1
        elif kind == "status" and isinstance(inner, dict):
            agent.reported = _report(inner)
        elif kind != "pong":
            self.counts["unknown_frames"] += 1
        return None

    def _pinged(self, agent: _Agent, link: _Link, inner: Any, now: Moment) -> Ending | None:
        delivered = (order for order in self.book.owed(agent.agent_id) if order.status is Status.DELIVERED)
        link.overdue = [order for order in delivered if self._owed(order, link.generation, now)]
        earlier, link.ping_heard_at = link.ping_heard_at, now.mono
        if earlier is not None and now.mono - earlier < self.rules.limits.ping_every:
            return Ending(POLICY, f"a ping each {self.rules.limits.ping_every:g} s is allowed")
        if not self.faults.ignore_pings and len(link.control) < _CONTROL_KEPT:
            seq = inner.get("seq") if isinstance(inner, dict) else None
            text = to_json(seq).decode() if isinstance(seq, bool | int | float | str) else ""
            echo = f'"data":{{"seq":{text}}},' if 1 <= len(text) <= _SEQ_ECHOED else ""
            link.control.append(f'{{"type":"pong",{echo}"timestamp":"{iso(now.utc)}"}}')
        return None

    def say(self, agent_id: str, frame: str) -> None:
        """Any text on the agent's socket, behind nothing but earlier control frames. Raises CallError (409) where there is none."""
        agent = self._agent(agent_id)
        if agent.link is None:
            raise CallError(409, "the agent has no socket")
        agent.link.control.append(frame)

    def has_frames(self, agent_id: str) -> bool:
        agent = self._agents.get(agent_id)
        if agent is None or agent.link is None:
            return False
        return bool(agent.link.control or agent.link.pushes or agent.link.overdue or agent.settings)

    def take(self, agent_id: str, generation: int, now: Moment, at_most: int = 64) -> list[str]:
        """Frames to send now, in order; empty when there is nothing to say or the socket is no longer the agent's."""
        agent = self._agent(agent_id)
        link = agent.link
        if link is None or link.generation != generation:
            return []
        if self.faults.silent:
            link.control.clear()
            return []
        frames = _taken(link.control, at_most)
        if agent.settings:
            frames.append(_text({"type": "config_update", "data": agent.settings, "timestamp": iso(now.utc)}))
            agent.settings = {}
        times = 2 if self.faults.push_twice else 1
        for waiting, status in ((link.pushes, Status.QUEUED), (link.overdue, Status.DELIVERED)):
            while waiting and len(frames) < at_most:
                for order in _taken(waiting, ceil((at_most - len(frames)) / times)):
                    if order.status is status:
                        frames.extend(self._push(order, generation, now, times))
        return frames

    def _push(self, order: Order, generation: int, now: Moment, times: int) -> list[str]:
        order.pushed += times
        self.counts["pushed"] += times
        self._delivered(order, generation, now)
        return [order.frame] * times

    def _delivered(self, order: Order, generation: int, now: Moment) -> None:
        self.counts["redelivered"] += order.delivered_utc is not None
        order.offered_at, order.offered_on = now.mono, generation
        if order.status is Status.QUEUED:
            order.status = Status.DELIVERED
        if order.delivered_utc is None:
            order.delivered_utc = now.utc
        self.book.note(order, awaited=False)

    def tick(self, now: Moment) -> list[Stale]:
        """What is due by time alone: pings of our own, and connections not heard for `drop_after`."""
        stale = []
        for agent in self._agents.values():
            link = agent.link
            if link is None:
                continue
            if now.mono - link.heard_at >= self.rules.drop_after:
                agent.link = None
                agent.last_ending = Ending(1006, f"not heard for {self.rules.drop_after:g} s")
                self.counts["dropped"] += 1
                stale.append(Stale(agent.agent_id, link.generation))
            elif self.rules.ping_every and now.mono - link.ping_sent_at >= self.rules.ping_every:
                link.ping_sent_at = now.mono
                link.control.append(f'{{"type":"ping","timestamp":"{iso(now.utc)}"}}')
        return stale

    @property
    def wake_at(self) -> float | None:
        """When `tick` has something to do (monotonic); None: never, as things stand."""
        links = [agent.link for agent in self._agents.values() if agent.link is not None]
        drops = [link.heard_at + self.rules.drop_after for link in links]
        pings = [link.ping_sent_at + self.rules.ping_every for link in links if self.rules.ping_every]
        return min(drops + pings, default=None)

    # --- HTTP ------------------------------------------------------------------------------------------------------

    def register(self, body: Mapping[str, Any]) -> str:
        """The id of the agent of this phone (or Apple id): the same one each time it asks. Raises CallError."""
        subject = body.get("user_phone") or body.get("apple_id")
        if subject is None:
            raise CallError(400, "user_phone or apple_id expected")
        name = hashlib.blake2b(id_of(subject, "user_phone").encode(), digest_size=5).hexdigest()
        return self._agent(f"edge_{name}").agent_id

    def sync(self, body: Mapping[str, Any], now: Moment) -> str:
        """The answer to POST /edge/sync, as JSON. Raises CallError."""
        agent = self._agent(id_of(body.get("edge_agent_id"), "edge_agent_id"))
        agent.syncs += 1
        agent.heard_utc = now.utc
        self.counts["syncs"] += 1
        last, events, reported = body.get("last_command_id"), body.get("pending_events"), body.get("status")
        agent.last_command_id = last[:200] if isinstance(last, str) else agent.last_command_id
        agent.reported = _report(reported) if isinstance(reported, dict) else agent.reported
        for event in events if isinstance(events, list) else []:
            self._pending_event(agent, event, now)
        commands = ",".join(self._serve(agent, now))
        acked = to_json([*agent.events, *({"command_id": command_id} for command_id in agent.acked)]).decode()
        agent.acked.clear()
        agent.events.clear()
        updates = f',"config_updates":{to_json(agent.settings).decode()}' if agent.settings else ""
        agent.settings = {}
        return f'{{"commands":[{commands}],"ack_events":{acked}{updates}}}'

    def message(self, body: Mapping[str, Any], now: Moment) -> str:
        """The answer to POST /edge/message, with what the agent is owed. Raises CallError."""
        agent = self._agent(id_of(body.get("edge_agent_id"), "edge_agent_id"))
        agent.heard_utc = now.utc
        payload = {key: value for key, value in body.items() if key not in {"edge_agent_id", "event_id", "timestamp"}}
        named = body.get("event_id") or body.get("message_id")
        event = {"event_id": named, "event_type": MESSAGE_RECEIVED, "occurred_at": body.get("timestamp"), "payload": payload}
        if not self._told(agent, event, "message", now):
            raise CallError(400, "event_id or message_id: 1 to 200 characters expected")
        return f'{{"commands":[{",".join(self._serve(agent, now))}]}}'

    def _pending_event(self, agent: _Agent, event: Any, now: Moment) -> None:
        """An ack that travels with a poll, or any other event; one with an `event_id` is acknowledged by it (PROTOCOL §3)."""
        if not isinstance(event, dict) or "command_ack" not in (event.get("type"), event.get("event_type")):
            self._told(agent, event if isinstance(event, dict) else {}, "sync", now)
            return
        event_id = event.get("event_id")
        if isinstance(event_id, str) and 1 <= len(event_id) <= 200:
            _name(agent.events, event_id)
        inner = event.get("data", event.get("payload"))
        try:
            self.ack(inner if isinstance(inner, dict) else event, AckWay.PENDING_EVENTS, now, agent.agent_id)
        except CallError:
            self.counts["malformed"] += 1

    def _told(self, agent: _Agent, body: Mapping[str, Any], way: str, now: Moment) -> bool:
        """An event: kept once, and named in the answer to the next sync each time; False where it is none."""
        told = told_of(agent.agent_id, body, way, now.utc)
        if told is None:
            self.counts["other_events"] += 1
            return False
        _name(agent.events, told.event_id)
        if self.events.take(told):
            self.counts["events"] += 1
            self.book.tell(told)
        else:
            self.counts["events_again"] += 1
            self.book.seal()  # the first one may be on its way to the store still
        return True

    def attach(self, agent_id: str | None, name: str, size: int, sha256: str) -> None:
        """A file was put here."""
        self.attachments.appendleft({"edge_agent_id": agent_id, "name": plain(name, 200), "bytes": size, "sha256": sha256})

    def _serve(self, agent: _Agent, now: Moment) -> list[str]:
        generation = agent.link.generation if agent.link is not None else 0
        due = (order for order in self.book.owed(agent.agent_id) if self._owed(order, generation, now))
        bodies: list[str] = []
        size = 0
        for order in [*agent.again, *islice(due, self.rules.poll_count)]:
            size += len(order.body)
            if bodies and size > self.rules.poll_bytes:
                break
            if agent.again and agent.again[0] is order:
                del agent.again[0]
            order.polled += 1
            self.counts["polled"] += 1
            self._delivered(order, 0, now)
            bodies.append(order.body)
        return bodies

    def _owed(self, order: Order, generation: int, now: Moment) -> bool:
        """Whether a poll is to be answered with it."""
        if order.status is Status.RECEIVED:
            return False
        if order.offered_at is None or order.offered_on not in {0, generation}:
            return True
        return now.mono - order.offered_at >= self.rules.redeliver_after

    # --- acks ------------------------------------------------------------------------------------------------------

    def ack(self, body: Mapping[str, Any], way: AckWay, now: Moment, agent_id: str | None = None) -> Order | None:
        """One ack, by any way: the first terminal one counts, an equal one is nothing new, another one an anomaly.

        Returns None for a command that is unknown or not this agent's: counted and not refused, or it would be sent for ever.
        Raises CallError.
        """
        command_id = id_of(body.get("command_id"), "command_id")
        verdict = verdict_of(body)
        self.counts[_ACK_COUNTS[way]] += 1
        order = self.book.get(command_id)
        taken = AckTaken(command_id, body, way, now, agent_id)
        if order is None and self._shared:
            self.unknown.append(taken)
            return None
        return self._judge(order, verdict, taken)

    def resolve(self, taken: AckTaken, order: Order | None) -> None:
        """What the store says of an order that was not at hand."""
        self._judge(self.book.get(taken.command_id) or order, verdict_of(taken.body), taken)

    def _judge(self, order: Order | None, verdict: Status, taken: AckTaken) -> Order | None:
        agent_id, owner = taken.agent_id, taken.agent_id if order is None else order.agent_id
        if order is None or (agent_id is not None and owner != agent_id):
            self.counts["strays"] += 1
            order = None
        else:
            self._apply(order, verdict, taken.body, AckSeen(taken.way, taken.now.utc, verdict))
        if agent_id is not None or owner is not None:
            _name(self._agent(agent_id or str(owner)).acked, taken.command_id)
        return order

    def _apply(self, order: Order, verdict: Status, body: Mapping[str, Any], seen: AckSeen) -> None:
        order.acks_seen += 1
        if len(order.acks) < ACKS_KEPT:
            order.acks.append(seen)
        self.book.note(order, awaited=True)
        if order.ack is not None:
            if verdict in SETTLED and not same_ack(order.ack, body):
                order.anomalies += 1
                self.counts["anomalies"] += 1
            return
        order.status = verdict
        if verdict in SETTLED:
            order.ack = to_json(body)
            order.settled_utc = seen.utc
            self.durations["settled"].add(max(0.0, seen.utc - order.queued_utc))
            self.counts[verdict.value] += 1
            self.book.settle(order)

    # --- what was, and what is ---------------------------------------------------------------------------------------

    def restore(self, orders: Iterable[Order], events: Iterable[Told] = ()) -> None:
        """What an earlier run wrote down, in its order."""
        self.events.restore(events)
        kept = list(orders)
        self._number = max([self._number, *(order.number for order in kept)])
        self.book.restore(kept)

    def connected(self, agent_id: str) -> int | None:
        """The generation of the agent's present socket."""
        agent = self._agents.get(agent_id)
        return agent.link.generation if agent is not None and agent.link is not None else None

    def epoch(self, agent_id: str) -> int | None:
        """The number of the agent's present socket in a shared store."""
        agent = self._agents.get(agent_id)
        return agent.link.epoch if agent is not None and agent.link is not None else None

    def epochs(self) -> dict[str, int]:
        """Of all agents with a socket here."""
        return {agent_id: agent.link.epoch for agent_id, agent in self._agents.items() if agent.link is not None}

    def last_ending(self, agent_id: str) -> Ending | None:
        """How the agent's last socket that was not replaced ended."""
        agent = self._agents.get(agent_id)
        return agent.last_ending if agent is not None else None

    def agents(self) -> list[dict[str, Any]]:
        """As GET /admin/agents shows them."""
        return [_agent_view(agent, self.book.owes(agent.agent_id)) for agent in self._agents.values()]

    @property
    def connected_count(self) -> int:
        return sum(agent.link is not None for agent in self._agents.values())

    def _agent(self, agent_id: str) -> _Agent:
        if (agent := self._agents.get(agent_id)) is not None:
            return agent
        if len(self._agents) >= self.rules.agents and not self._forget_one():
            raise CallError(429, "too many agents")
        limits = self.rules.limits
        agent = _Agent(agent_id, Window(limits.connects_per_minute), Window(limits.frames_per_minute))
        self._agents[agent_id] = agent
        return agent

    def _forget_one(self) -> bool:
        """Make room: the agent known longest that has no socket and is owed nothing goes. Those in use move behind the others."""
        for agent_id, agent in list(islice(self._agents.items(), _LOOKED_AT)):
            del self._agents[agent_id]
            if agent.link is None and not (self.book.owes(agent_id) or agent.again or agent.settings):
                return True
            self._agents[agent_id] = agent
        return False

    def _new_id(self) -> str:
        for attempt in range(100):
            seed = f"{self._salt}:{self._number}:{attempt}"
            found = "cmd_" + hashlib.blake2b(seed.encode(), digest_size=5).hexdigest()
            if found not in self.book:
                break
        return found


_ACK_COUNTS = {way: f"acks_{way.value}" for way in AckWay}


def _taken(waiting: list[T], at_most: int) -> list[T]:
    """Those that have waited longest, and no longer there."""
    first = waiting[:at_most]
    del waiting[:at_most]
    return first


def _name(names: list[str], name: str) -> None:
    """To be named in the next answer; the oldest gives way."""
    names.append(name)
    if len(names) > _ACKS_NAMED:
        del names[0]


def _text(body: Mapping[str, Any]) -> str:
    return to_json(body).decode()


def _json(key: str, body: Mapping[str, Any]) -> str:
    """As JSON that comes through everywhere. Raises CallError (400)."""
    try:
        text = _text(body)
        parse(text)
    except ValueError as error:
        raise CallError(400, f"{key}: cannot be sent as JSON: {plain(error, 100)}") from None
    return text


def merged_settings(kept: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """What waits for an agent, later keys in place of earlier ones. Raises CallError (400)."""
    merged = {**kept, **more}
    if len(_json("settings", merged)) > _SETTINGS_KEPT:
        raise CallError(400, f"settings: at most {_SETTINGS_KEPT} characters wait for an agent")
    return merged


def _report(status: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an agent's status: figures and short texts."""
    few = islice(status.items(), 32)
    return {key[:60]: value[:200] if isinstance(value, str) else value for key, value in few if isinstance(value, int | float | str)}


def _agent_view(agent: _Agent, owed: int) -> dict[str, Any]:
    link, ending = agent.link, agent.last_ending
    return {
        "edge_agent_id": agent.agent_id,
        "connected": link is not None,
        "connected_at": iso(link.since_utc) if link is not None else None,
        "generation": link.generation if link is not None else None,
        "heard_at": iso(agent.heard_utc) if agent.heard_utc is not None else None,
        "connects": agent.connects,
        "connects_refused": agent.refused,
        "syncs": agent.syncs,
        "open_commands": owed,
        "last_command_id": plain(agent.last_command_id) if agent.last_command_id is not None else None,
        "last_close": {"code": ending.code, "reason": plain(ending.reason), "by": ending.by} if ending is not None else None,
        "reported": agent.reported,
    }
