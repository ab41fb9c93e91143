"""Messages that came in, in the way of the agent that came before: by POST /edge/message, one at a time, in order (PROTOCOL §3).

    kept ──► posted ──► proven by a 2xx
      ▲         ├─────► refused for itself: dropped, and told, for those behind it cannot wait for ever
      └─────────┘       any other failure: tried again after the interval of polling, or when Retry-After says

Invariants: one is posted at a time, and none before an older one is settled.
"""

from collections import deque
from collections.abc import Callable

from agent_core.clock import INFINITY, Moment
from agent_core.engine.repeats import Repeats
from agent_core.entries import Outgoing
from agent_core.events import Effect, EventsRecalled, MessagePosted, PostMessage, RecallEvents
from agent_core.records import DROPPED

AT_HAND = 100
MAX_WAIT = 900.0
REFUSED = frozenset({400, 413, 415, 422})
"""What a backend says of this message, which it would say of it again."""
POSTED_BY = "edge_message"
Settled = Callable[[list[Outgoing], str, Moment], None]


class EdgeMessages:
    """One machine; every method is a step. `settled` hears what has left, and how."""

    def __init__(self, emit: Callable[[Effect], None], settled: Settled, repeats: Repeats) -> None:
        self._emit = emit
        self._settled = settled
        self._repeats = repeats
        self.queue: deque[Outgoing] = deque()
        """All that are not settled, oldest first; the first one may be on its way."""
        self._posting: int | None = None
        self._recalling: tuple[int, ...] = ()
        self._not_before = float("-inf")

    def keep(self, event: Outgoing) -> None:
        """The journal has it: it may go out."""
        if len(self.queue) >= AT_HAND:
            event.text = None
        self.queue.append(event)

    @property
    def wake_at(self) -> float:
        """When the next one may go out; infinity for none."""
        waits = self.queue and self._posting is None and not self._recalling
        return self._not_before if waits else INFINITY

    def route(self, now: Moment) -> None:
        if not self.queue or self._posting is not None or self._recalling or now.mono < self._not_before:
            return
        first = self.queue[0]
        if first.text is None:
            self._recalling = tuple(event.seq for event, _ in zip(self.queue, range(AT_HAND), strict=False))
            self._emit(RecallEvents(self._recalling))
        else:
            self._posting = first.seq
            self._emit(PostMessage(first.seq, first.text))

    def recalled(self, answer: EventsRecalled, now: Moment) -> None:
        if not self._recalling or answer.seqs != self._recalling:
            return
        self._recalling = ()
        texts, asked = dict(answer.texts), set(answer.seqs)
        lost = []
        for event in self.queue:
            if event.seq in asked:
                event.text = texts.get(event.seq)
                lost += [event] if event.text is None else []
        if lost:
            self.queue = deque(event for event in self.queue if event not in lost)
            self._settled(lost, DROPPED, now)

    def posted(self, event: MessagePosted, every: float, now: Moment) -> None:
        """`every` is the interval of polling, in seconds."""
        if event.seq != self._posting:
            return
        self._posting, failure = None, event.failure
        if not self.queue or self.queue[0].seq != event.seq:
            return  # it was dropped meanwhile, as the oldest of too many
        if failure is None:
            self._settled([self.queue.popleft()], POSTED_BY, now)
            self._not_before = float("-inf")
        elif failure.status in REFUSED:
            text = f"The backend refuses a message that came in; it is dropped ({failure.detail})"
            self._repeats.say(now, "ERROR", "refused messages", text)
            self._settled([self.queue.popleft()], DROPPED, now)
        else:
            self._repeats.say(now, "WARNING", "unposted messages", f"What came in waits: {failure.detail}")
            self._not_before = now.mono + min(max(every, failure.retry_after or 0.0), MAX_WAIT)
