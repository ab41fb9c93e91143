"""Events on their way to the backend: what came in, what became of what was sent, what needs somebody (PROTOCOL §4).

    added ──(on disk)──► waiting ──► sent ───────► proven     by the pong for a ping sent after it, or because `ack_events` names it
                          ▲ │ └────► carried ──────┘          by a poll's 2xx, at a backend that has shown that it takes events
                          └─┼─────── link lost
                            └──────► dropped                  the oldest, past MAX_UNPROVEN or MAX_BYTES

The discipline is that of the acks (acks.py), but for three things. Events keep their order, whatever way they take, so that a backend which
passes over what it has had sees each conversation in its order. They have no call of their own: while the socket is down polls carry them,
and only a few at a time until the backend has named one. And nobody waits for them: where a backend takes none, the oldest go, counted and
told.

Invariants: an event goes out only when the journal has it, and behind every older one; it leaves by proof or as dropped. At most
`IN_FLIGHT` are unproven on the socket, and no more than twice `AT_HAND` have their texts in memory: the journal has the others
(`RecallEvents`).
"""

from collections import deque
from collections.abc import Callable, Iterable

from agent_core import frames
from agent_core.clock import Moment
from agent_core.engine.edge_messages import EdgeMessages
from agent_core.engine.repeats import Repeats
from agent_core.entries import Outgoing
from agent_core.events import Effect, EventsRecalled, RecallEvents, Send
from agent_core.feed import ProvenEntry
from agent_core.frames import MESSAGE_RECEIVED, Occurrence
from agent_core.records import DROPPED, Change, EventAdded, EventsSettled, OwedEvent
from agent_core.snapshot import EventsView

MAX_UNPROVEN = 20_000
MAX_BYTES = 16 * 2**20
IN_FLIGHT = 2_000
AT_HAND = 100
TRIED = 5
"""Events that a poll carries to a backend that has not named any yet."""


class Upstream:
    """One machine; every method is a step. Effects go to `emit`, what is to be written to `change`, what waits for that to `hold`."""

    def __init__(
        self, emit: Callable[[Effect], None], change: Callable[[Change], None], hold: Callable[[Outgoing], None], repeats: Repeats,
        *, posts: bool = False,
    ) -> None:  # fmt: skip
        """`posts`: what came in goes by POST /edge/message."""
        self._emit = emit
        self._change = change
        self._hold = hold
        self._repeats = repeats
        self._next_seq = 1
        self.unproven = self._bytes = 0
        self._waiting: deque[Outgoing] = deque()
        self._sent: deque[Outgoing] = deque()
        self._carried: tuple[Outgoing, ...] = ()
        self._recalling: tuple[int, ...] = ()
        self._takes_carried = False
        """The backend has shown that it takes the events that polls carry."""
        self._proven = self._dropped = 0
        self.posts = EdgeMessages(emit, self._left, repeats) if posts else None

    # --- in --------------------------------------------------------------------------------------------------------

    def restore(self, owed: Iterable[OwedEvent], next_seq: int) -> None:
        """Only the journal has these, and they are not proven."""
        self._next_seq = next_seq
        for one in owed:
            self.unproven += 1
            self._bytes += one.size
            self.keep(Outgoing(one.seq, one.event_id, one.size, None, one.row, self._is_posted(one.event_type)))

    def add(self, occurrence: Occurrence, now: Moment, *, row: int = 0) -> int:
        """Tell the backend, once the journal has it; its `row` in the stream, where it has one, then says so. The event's number."""
        text = frames.event(occurrence)
        event = Outgoing(self._next_seq, occurrence.event_id, len(text), text, row, self._is_posted(occurrence.event_type))
        self._next_seq += 1
        self.unproven += 1
        self._bytes += event.size
        self._change(EventAdded(event.seq, event.event_id, occurrence.event_type, now.utc, text))
        self._hold(event)
        if self.unproven > MAX_UNPROVEN or self._bytes > MAX_BYTES:
            self._drop(now)
        return event.seq

    def keep(self, event: Outgoing) -> None:
        """The journal has it: it may go out."""
        if event.posted and self.posts is not None:
            self.posts.keep(event)
            return
        if len(self._waiting) >= AT_HAND:
            event.text = None
        self._waiting.append(event)

    def _is_posted(self, event_type: str) -> bool:
        return self.posts is not None and event_type == MESSAGE_RECEIVED

    def _drop(self, now: Moment) -> None:
        dropped = []
        while (oldest := self._oldest()) and (self.unproven > MAX_UNPROVEN or self._bytes > MAX_BYTES):
            dropped.append(oldest.popleft())
            self._forget(dropped[-1:])
        if dropped:
            self._prove(dropped, DROPPED, now)
            text = f"The backend takes no events: {self.unproven} wait, {self._dropped} older ones are dropped since the start"
            self._repeats.say(now, "ERROR", "dropped events", text)

    def _oldest(self) -> deque[Outgoing] | None:
        """Where the oldest one stands."""
        queues = filter(None, (self._sent, self._waiting, self.posts.queue if self.posts is not None else None))
        return min(queues, key=lambda queue: queue[0].seq, default=None)

    # --- out -------------------------------------------------------------------------------------------------------

    def send(self, generation: int, barrier: int) -> None:
        """By the open socket, in order, as many as may be in flight."""
        texts = []
        while self._waiting and self._waiting[0].text is not None and len(self._sent) < IN_FLIGHT:
            event = self._waiting.popleft()
            texts.append(frames.dump_event(event.text or ""))
            event.text, event.barrier = None, barrier
            self._sent.append(event)
        if texts:
            self._emit(Send(generation, tuple(texts)))
        if len(self._sent) < IN_FLIGHT:
            self._recall()

    def unsend(self) -> None:
        """There is no socket whose pongs prove: what was not proven waits again."""
        for event in self._sent:
            event.barrier = 0
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self._recall()

    def carry(self, *, by_socket: bool) -> tuple[tuple[str, str], ...]:
        """The oldest, to travel inside a poll where no socket brings them; they stay where they are until it is answered (`arrived`)."""
        count = AT_HAND if self._takes_carried else TRIED
        carried: list[Outgoing] = []
        for event in () if by_socket else self._waiting:
            if event.text is None or len(carried) >= count:
                break
            carried.append(event)
        self._carried = tuple(carried)
        return tuple((event.event_id, event.text or "") for event in carried)

    def _recall(self) -> None:
        """Have the next ones read where they are not at hand."""
        if self._waiting and self._waiting[0].text is None and not self._recalling:
            self._recalling = tuple(event.seq for event, _ in zip(self._waiting, range(AT_HAND), strict=False))
            self._emit(RecallEvents(self._recalling))

    def recalled(self, answer: EventsRecalled, now: Moment) -> None:
        """What the journal cannot read it has lost."""
        if self.posts is not None:
            self.posts.recalled(answer, now)
        if answer.seqs != self._recalling:
            return
        self._recalling = ()
        texts, asked = dict(answer.texts), set(answer.seqs)
        lost = []
        for event in self._waiting:
            if event.seq in asked:
                event.text = texts.get(event.seq)
                lost += [event] if event.text is None else []
        if lost:
            self._settle(lost, DROPPED, now)
            self._repeats.say(now, "ERROR", "unreadable events", f"{len(lost)} event(s) cannot be read from the ledger; they are not sent")

    # --- proof -----------------------------------------------------------------------------------------------------

    def proved_to(self, ping: int, now: Moment) -> None:
        """The pong for this ping shows that the backend has read every event sent before it."""
        proven = []
        while self._sent and self._sent[0].barrier <= ping:
            proven.append(self._sent.popleft())
        self._left(proven, "pong", now)

    def arrived(self, named: Iterable[str], now: Moment) -> None:
        """A poll was answered: `ack_events` names what the backend has, and perhaps what the poll carried has come with it."""
        carried, self._carried = self._carried, ()
        told = set(named)
        self._takes_carried = self._takes_carried or any(event.event_id in told for event in carried)
        if self._takes_carried:
            self._settle(carried, "pending_events", now)
        if told and self.unproven:
            self._settle([event for event in (*self._sent, *self._waiting) if event.event_id in told], "ack_events", now)

    def _settle(self, events: Iterable[Outgoing], by: str, now: Moment) -> None:
        """Wherever they stand; what is settled already is passed over."""
        seqs = {event.seq for event in events}
        settled = [event for event in (*self._sent, *self._waiting) if event.seq in seqs]
        if settled:
            self._sent = deque(event for event in self._sent if event.seq not in seqs)
            self._waiting = deque(event for event in self._waiting if event.seq not in seqs)
            self._left(settled, by, now)

    def _left(self, events: list[Outgoing], by: str, now: Moment) -> None:
        self._forget(events)
        self._prove(events, by, now)

    def _prove(self, events: list[Outgoing], by: str, now: Moment) -> None:
        if events:
            if by == DROPPED:
                self._dropped += len(events)
            else:
                self._proven += len(events)
                if rows := tuple(event.row for event in events if event.row):
                    self._emit(ProvenEntry(now.utc, rows))
            self._change(EventsSettled(tuple(event.seq for event in events), now.utc, by))

    def _forget(self, events: Iterable[Outgoing]) -> None:
        for event in events:
            self.unproven -= 1
            self._bytes -= event.size

    # --- views -----------------------------------------------------------------------------------------------------

    @property
    def awaits_pong(self) -> bool:
        return bool(self._sent)

    @property
    def waits(self) -> bool:
        """Some are on disk and not on their way."""
        return bool(self._waiting)

    def view(self) -> EventsView:
        return EventsView(self.unproven, self._proven, self._dropped)
