"""The acks on their way to proof (PROTOCOL §4, PROMISES P2).

    kept ──► sent ──────► proven     by the pong for a ping sent after it
      ▲ ├──► posted ──┘              by a 2xx, or because `ack_events` names it
      │ │      └──► parked           refused: posted again after a while, ever later
      └─┴── link lost, post failed, its time has come

Invariants: an ack leaves by proof only, and goes out oldest first; one that is refused, or at which a call breaks off, holds up no other.
At most `MAX_IN_MEMORY` are at hand with their text; of more there is the number, and the journal has the rest: `Spilled` while they are
out, `_unsent` while they are not. Those are read again (`Recall`) when there is a way for them, and then wait like any other.

Where the backend has no call for acks they are carried by polls, in turn. A 2xx of such a poll proves them only once the backend has shown
that it reads what is carried, by naming one in `ack_events`; a command that comes again though its ack was proven so shows the opposite.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from agent_core import frames
from agent_core.clock import INFINITY, Moment
from agent_core.entries import ON_DISK, Ack, Entry
from agent_core.events import AcksPosted, Effect, PostAcks, Recall, Send
from agent_core.feed import ProvenEntry
from agent_core.latency import Latencies
from agent_core.records import OVERDUE_AFTER, UNWELL, AcksProven, Change, Via

POLL = Via.POLL
CARRIED_BY = "pending_events"
"""How an ack is proven that a poll has carried."""
POST_BATCH = 50
MAX_IN_MEMORY = 500
"""Acks at hand with all that is known of them: a kilobyte each."""
RECALL_BATCH = 500
TOLD_AT_ONCE = 500
RETRY_FACTOR, MAX_RETRY_AFTER = 4.0, 3_600.0
"""A refused ack is posted again after the interval of polling, then each time so many times later, to an hour."""


class Spilled(Struct, frozen=True, gc=False):
    """Acks that went out together, of which only the journal has more than the number."""

    barrier: int
    sent_utc: float
    seqs: tuple[int, ...]


class Route(Struct, frozen=True, gc=False):
    """The ways an ack may take now: the open socket's generation and next ping, calls of their own, polls."""

    generation: int | None
    barrier: int
    post: bool
    carry: bool

    @property
    def any(self) -> bool:
        return self.generation is not None or self.post or self.carry


class Acks:
    """One machine; every method is a step at `now`. Effects go to `emit` in order, what is to be written to `change`."""

    def __init__(
        self, emit: Callable[[Effect], None], change: Callable[[Change], None], show: Callable[[Entry], None],
        at_hand: Callable[[int], Entry | None], settled: Callable[[Entry], None], accepted: Callable[[Entry], None], latencies: Latencies,
        max_in_memory: int,
    ) -> None:  # fmt: skip
        """`settled` is told whose last ack is proven or left to the journal: nothing of it is needed here any more.

        `accepted` is told whose first one is, of a message that is due later.
        """
        self._emit = emit
        self._change = change
        self._show = show
        self._at_hand = at_hand
        self._settled = settled
        self._accepted = accepted
        self._latencies = latencies
        self._max_in_memory = max_in_memory
        self._kept: deque[Ack] = deque()
        self._sent: deque[Ack] = deque()
        self._spilled: deque[Spilled] = deque()
        self._spilled_count = 0
        self._unsent: deque[int] = deque()
        self._recalling: tuple[int, ...] = ()
        self._posted: tuple[Ack, ...] = ()
        self._parked: list[Ack] = []
        self._calls_in_trouble = False
        self._carried: tuple[Ack, ...] = ()
        self._carry_from = 0
        self._reads_carried = False
        """The backend has shown that it reads the acks that polls carry."""
        self._unshown: list[Entry] = []
        self.proven = 0

    # --- in --------------------------------------------------------------------------------------------------------

    def keep(self, ack: Ack, now: Moment) -> None:
        """The journal has it: it may go out."""
        ack.kept_at = now.mono
        self._kept.append(ack)
        self._unshown.append(ack.entry)

    def owe(self, seqs: Iterable[int]) -> None:
        """Only the journal has these, and they are not proven."""
        self._unsent.extend(seqs)

    def recalled(self, seqs: Sequence[int]) -> bool:
        """The journal has answered; True where it was these acks that were asked for. What it brought is kept one by one."""
        asked = bool(self._recalling) and seqs == self._recalling
        if asked:
            self._recalling = ()
        return asked

    def may_repeat(self, most: int) -> bool:
        """There is room for the ack of a duplicate."""
        return len(self._sent) < most

    # --- out -------------------------------------------------------------------------------------------------------

    def route(self, ways: Route, now: Moment) -> None:
        """Put kept acks on their way, oldest first: by the open socket at once, else by HTTP in batches."""
        if ways.post and now.mono >= self.retry_at:
            self._unpark(now)
        if self._kept:
            self._put_out(ways, now)
        if len(self._kept) > self._max_in_memory:
            self._spill()
        for entry in self._unshown:
            self._show(entry)
        self._unshown.clear()

    def _put_out(self, ways: Route, now: Moment) -> None:
        if ways.generation is not None:
            frame_texts, spilled = [], []
            self._time(self._kept, now)
            for ack in self._kept:
                ack.barrier, ack.sent_utc = ways.barrier, now.utc
                frame_texts.append(frames.dump_ack(ack.text))
                if ack.terminal and not ack.again and len(self._sent) >= self._max_in_memory:
                    spilled.append(ack.entry)
                else:
                    self._sent.append(ack)
            self._kept.clear()
            self._emit(Send(ways.generation, tuple(frame_texts)))
            if spilled:
                self._spilled.append(Spilled(ways.barrier, now.utc, tuple(entry.seq for entry in spilled)))
                self._spilled_count += len(spilled)
                for entry in spilled:
                    self._settled(entry)
        elif ways.post and not self._posted:
            self.post(now)

    def _spill(self) -> None:
        """No way for so many: the newest are spilled to the journal, but before them those that were refused or came from there."""
        waiting = self._new_ones_first()
        self._kept = deque(waiting[: self._max_in_memory])
        for ack in waiting[self._max_in_memory :]:
            if ack.terminal or ack.entry.command.payload is ON_DISK:
                self._leave_to_journal(ack)
            else:
                self._kept.append(ack)

    def _new_ones_first(self) -> list[Ack]:
        return sorted(self._kept, key=lambda ack: ack.refusals > 0 or ack.entry.timed_from is None)

    def _leave_to_journal(self, ack: Ack) -> None:
        self._unsent.append(ack.entry.seq)
        ack.entry.outgoing = None
        (self._settled if ack.terminal else self._accepted)(ack.entry)

    def recall(self, ways: Route) -> None:
        """Nothing is kept and there is a way: have the next ones read that only the journal has."""
        if self._unsent and not (self._kept or self._recalling) and ways.any:
            count = min(RECALL_BATCH, self._max_in_memory, len(self._unsent))
            self._recalling = tuple(self._unsent.popleft() for _ in range(count))
            self._emit(Recall(self._recalling))

    def post(self, now: Moment) -> None:
        """Send the oldest kept acks by HTTP, new ones before those that were refused or that the journal had."""
        if self._kept and not self._posted:
            self._kept = deque(self._new_ones_first())
            self._posted = self._take_kept(POST_BATCH)
            self._time(self._posted, now)
            for ack in self._posted:
                ack.sent_utc = now.utc
            self._emit(PostAcks(tuple((ack.entry.command.command_id, ack.text) for ack in self._posted)))

    def prove_without_pongs(self, now: Moment, *, post: bool) -> None:
        """Acks on a socket whose peer answers no JSON ping go by HTTP as well, or with a poll, for the proof (PROMISES F52)."""
        if post and not self._posted:
            for _ in range(min(POST_BATCH, len(self._sent))):
                self._kept.append(self._sent.popleft())
            self.post(now)
        if not self._sent:
            self._unsend_spilled()

    def carry(self, count: int) -> tuple[tuple[str, str], ...]:
        """Unproven acks, in turn, to travel inside a poll; they stay where they are until it is answered (`arrived`)."""
        waiting = [*self._kept, *self._parked, *self._sent]
        first = self._carry_from = self._carry_from % max(1, len(waiting))
        self._carried = tuple((waiting[first:] + waiting[:first])[:count])
        return tuple((ack.entry.command.command_id, ack.text) for ack in self._carried)

    def arrived(self, ids: Iterable[str], named: Iterable[str], now: Moment) -> None:
        """The poll that carried acks was answered: these and no later ones of the same command; `ack_events` names some."""
        travelled, told = set(ids), set(named)
        unproven = {id(ack) for ack in (*self._kept, *self._parked, *self._sent)}
        batch, self._carried = self._carried, ()
        arrived = [ack for ack in batch if id(ack) in unproven and ack.entry.command.command_id in travelled]
        if any(ack.entry.command.command_id in told and not ack.barrier for ack in arrived):
            self._reads_carried = True
        if self._reads_carried:
            self._prove(arrived, CARRIED_BY, now)
            self._let_go(arrived)
        else:
            self._carry_from += len(batch)

    def came_again(self, proven_by: str | None) -> bool:
        """A command is delivered again whose ack was proven so. True where that is news: what polls carry is not read."""
        if proven_by != CARRIED_BY or not self._reads_carried:
            return False
        self._reads_carried = False
        return True

    def _take_kept(self, count: int) -> tuple[Ack, ...]:
        """The oldest, one a command, since the answer goes by command: a copy, or an acceptance that the outcome overtook, is dropped."""
        taken: dict[int, Ack] = {}
        while self._kept and len(taken) < count:
            ack = self._kept.popleft()
            if ack.terminal or not ack.entry.state.ended:
                taken.setdefault(ack.entry.seq, ack)
        return tuple(taken.values())

    def _time(self, acks: Iterable[Ack], now: Moment) -> None:
        """Commands that came together have taken the same time: they are counted at once."""
        counts: dict[tuple[bool, float], int] = {}
        for ack in acks:
            entry = ack.entry
            if ack.terminal and entry.ack_ms is None and entry.timed_from is not None:
                entry.ack_ms = (now.mono - entry.timed_from) * 1_000
                taken = entry.via is POLL, entry.ack_ms
                counts[taken] = counts.get(taken, 0) + 1
        for (polled, ms), count in counts.items():
            (self._latencies.polling if polled else self._latencies.socket).add(now.mono, ms, count)

    # --- proof -----------------------------------------------------------------------------------------------------

    def proved_to(self, ping: int, now: Moment) -> None:
        """The pong for this ping shows that the backend has read every ack sent before it."""
        proven = []
        while self._sent and self._sent[0].barrier <= ping:
            proven.append(self._sent.popleft())
        spilled = []
        while self._spilled and self._spilled[0].barrier <= ping:
            spilled.append(self._spilled.popleft())
        if spilled:
            self._prove_spilled(spilled, now)
        self._prove(proven, "pong", now)

    def _prove_spilled(self, batches: Iterable[Spilled], now: Moment) -> None:
        acks = tuple((seq, batch.sent_utc) for batch in batches for seq in batch.seqs)
        self._change(AcksProven(acks, now.utc, "pong"))
        self._count_proven([sent_utc for _, sent_utc in acks], now)
        self._spilled_count -= len(acks)
        for seq, _ in acks:
            if (again := self._at_hand(seq)) is not None:
                again.proven = True
        for first in range(0, len(acks), TOLD_AT_ONCE):
            self._emit(ProvenEntry(now.utc, tuple(seq for seq, _ in acks[first : first + TOLD_AT_ONCE])))

    def unsend(self) -> None:
        """The socket is gone: what it did not prove is kept again, oldest first."""
        for ack in self._sent:
            ack.barrier = 0
        self._kept.extendleft(reversed(self._sent))
        self._sent.clear()
        self._unsend_spilled()

    def _unsend_spilled(self) -> None:
        self._unsent.extendleft(reversed([seq for spilled in self._spilled for seq in spilled.seqs]))
        self._spilled.clear()
        self._spilled_count = 0

    def posted(self, event: AcksPosted, every: float, now: Moment, *, polls_fail: bool) -> tuple[Sequence[tuple[str, str]], bool]:
        """A batch came back. Returns (command id, why) of what is refused for the first time, and whether the next batch is to wait.

        An ack whose call broke off counts as refused, too, unless polls fail as well. `every` is the interval of polling.
        """
        accepted, refused = set(event.proven), dict(event.refused)
        if event.failure is not None and not (event.unsupported or polls_fail):
            refused |= dict.fromkeys(event.tried, event.failure.detail)
        batch, self._posted = self._posted, ()
        self._prove([ack for ack in batch if ack.entry.command.command_id in accepted], "http", now)
        rest = [ack for ack in batch if ack.entry.command.command_id not in accepted]
        left = [ack for ack in rest if ack.entry.command.command_id not in refused]
        self._kept.extend(ack for ack in left if ack.entry.command.command_id in event.tried)
        self._kept.extendleft(ack for ack in reversed(left) if ack.entry.command.command_id not in event.tried)
        if event.proven and self._calls_in_trouble:
            self._forgive(now)
        self._calls_in_trouble = not event.proven and (self._calls_in_trouble or event.failure is not None)
        parked = [ack for ack in rest if ack.entry.command.command_id in refused]
        for ack in parked:
            ack.refusals += 1
            ack.not_before = now.mono + min(every * RETRY_FACTOR ** min(ack.refusals - 1, 20), MAX_RETRY_AFTER)
            self._park(ack)
        told = [(ack.entry.command.command_id, refused[ack.entry.command.command_id]) for ack in parked if ack.refusals == 1]
        is_in_vain = not parked or any(ack.refusals <= 1 for ack in rest)
        return told, bool(event.failed) and is_in_vain and not (event.proven or event.unsupported)

    def _forgive(self, now: Moment) -> None:
        """Calls work again: what was refused meanwhile has its turn now, but once only, for the trouble may come of one of these."""
        for ack in self._parked:
            if not ack.is_forgiven:
                ack.not_before, ack.is_forgiven = now.mono, True

    def _park(self, ack: Ack) -> None:
        if ack.terminal and len(self._parked) >= self._max_in_memory:
            self._leave_to_journal(ack)
        else:
            self._parked.append(ack)

    def _unpark(self, now: Moment) -> None:
        """Those whose time has come go out again, behind those that were never refused."""
        self._kept.extend(ack for ack in self._parked if ack.not_before <= now.mono)
        self._parked = [ack for ack in self._parked if ack.not_before > now.mono]

    def unpark_all(self) -> None:
        """There is a socket whose pongs prove: what was refused by HTTP goes out by it with the rest."""
        if self._parked:
            self._kept.extend(self._parked)
            self._parked.clear()

    @property
    def retry_at(self) -> float:
        """When the next refused one is to be posted again; infinity for none."""
        return min((ack.not_before for ack in self._parked), default=INFINITY)

    @property
    def overflowing(self) -> bool:
        """More are refused than can be remembered."""
        return len(self._parked) >= self._max_in_memory

    def proved_ids(self, ids: Iterable[str], by: str, now: Moment) -> None:
        """The backend names acks that it has; of a scheduled message it may mean the one on acceptance, so that proves nothing."""
        wanted = set(ids)
        unproven = (ack for ack in (*self._kept, *self._parked, *self._sent) if ack.terminal and ack.entry.due_utc is None)
        proven = [ack for ack in unproven if ack.entry.command.command_id in wanted]
        self._prove(proven, by, now)
        self._let_go(proven)

    def _prove(self, acks: list[Ack], by: str, now: Moment) -> None:
        if not acks:
            return
        if rows := tuple((ack.entry.seq, ack.sent_utc) for ack in acks if ack.text == ack.entry.ack):
            self._change(AcksProven(rows, now.utc, by))
        sent: list[float | None] = []
        for ack in acks:
            if ack.terminal and not ack.entry.proven:
                sent.append(ack.sent_utc)
            if ack.text == ack.entry.ack:
                ack.entry.proven = True
            if ack.entry.outgoing is ack:
                ack.entry.outgoing = None
            if ack.terminal:
                self._settled(ack.entry)
            elif ack.entry.proven:
                self._accepted(ack.entry)
            self._show(ack.entry)
        self._count_proven(sent, now)

    def _count_proven(self, sent: Sequence[float | None], now: Moment) -> None:
        """When each of them was sent; None where a poll has carried it."""
        self.proven += len(sent)
        for sent_utc, count in Counter(sent).items():
            if sent_utc is not None:
                self._latencies.proof.add(now.mono, (now.utc - sent_utc) * 1_000, count)

    def _let_go(self, acks: list[Ack]) -> None:
        if acks:
            proven = {id(ack) for ack in acks}
            self._kept = deque(ack for ack in self._kept if id(ack) not in proven)
            self._sent = deque(ack for ack in self._sent if id(ack) not in proven)
            self._parked = [ack for ack in self._parked if id(ack) not in proven]

    @property
    def unproven(self) -> int:
        on_disk = self._spilled_count + len(self._unsent) + len(self._recalling)
        return len(self._kept) + len(self._sent) + len(self._posted) + len(self._parked) + on_disk

    def overdue(self, now: Moment) -> int:
        """How many commands that ended well wait for their proof too long; of what only the journal has, all that is not out."""
        before = now.mono - OVERDUE_AFTER
        waiting = {id(ack.entry) for ack in (*self._kept, *self._sent, *self._posted, *self._parked)
                   if ack.kept_at < before and ack.terminal and ack.entry.state not in UNWELL}  # fmt: skip
        return (
            len(waiting) + len(self._unsent) + sum(len(batch.seqs) for batch in self._spilled if batch.sent_utc < now.utc - OVERDUE_AFTER)
        )

    @property
    def awaits_pong(self) -> bool:
        return bool(self._sent or self._spilled)
