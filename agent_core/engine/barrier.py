"""The disk as a part of the state: what is changed, what waits for the change, and what goes on once it is written (PROMISES P1, P2).

    change ──┐
             ├──► sealed under a ticket ──► Record ──► (the journal) ──► Recorded ──► released
    hold   ──┘

Within a step the machines say what is to be written (`change`, `accept`) and what must not happen before it is (`hold`): a handler's start,
an ack. At the step's end `seal` makes one numbered Record of the changes, and what is held waits under its ticket until `recorded` covers
it. A step that changes nothing holds under the last ticket still on its way, for what it holds may rest on that; where none is on its way
nothing is held back.

What was held for long is released in portions, a step each, so that a slow disk that catches up does not stall the loop.

A slow or full disk therefore delays commands and acks, and never the link; what gathers meanwhile is one commit of the journal.

Invariants: tickets go up by one and are released in order; what is held in a step is released by a Recorded of that step's ticket or of a
later one, and by nothing else.
"""

from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from agent_core.entries import Ack, Entry, Outgoing
from agent_core.events import Effect, ReadInbound, Record
from agent_core.records import Change, CommandAccepted, Via

LOCAL = Via.LOCAL
RELEASED_AT_ONCE = 1_000
Held = Entry | Ack | Outgoing | ReadInbound
"""What waits for the disk: a command whose handler is to start, an ack or an event that is to go out, a look at what else has come in."""


class Sealed(Struct, frozen=True, gc=False):
    """What waits for `ticket`; once it is on disk `last_command_id` is, too, and `accepted` commands are since the start."""

    ticket: int
    held: tuple[Held, ...]
    last_command_id: str | None
    accepted: int


class Barrier:
    """One machine; `change` and `hold` take one item each, and the order within a step is kept. The Record goes to `emit`."""

    def __init__(self, emit: Callable[[Effect], None]) -> None:
        self._emit = emit
        self._changes: list[Change] = []
        self._held: list[Held] = []
        self._sealed: deque[Sealed] = deque()
        self._ticket = 0
        self._recorded = 0
        self._accepted = 0
        self.unwritten = 0
        """Commands taken that are not on disk."""
        self._last_accepted: str | None = None
        self.change = self._changes.append
        self.hold = self._held.append
        self.last_command_id: str | None = None
        """The newest command from the backend that is on disk."""

    def restore(self, last_command_id: str | None) -> None:
        """What an earlier run left on disk."""
        self.last_command_id = self._last_accepted = last_command_id

    def accept(self, change: CommandAccepted) -> None:
        """A change that counts: a command is taken."""
        self._accepted += 1
        self.unwritten += 1
        if change.entry.via is not LOCAL:
            self._last_accepted = change.entry.command.command_id
        self._changes.append(change)

    def seal(self) -> Sequence[Held]:
        """End a step. Returns what need not wait, since no change is on its way to the disk."""
        held = tuple(self._held)
        self._held.clear()
        if self._changes:
            self._ticket += 1
            self._emit(Record(self._ticket, tuple(self._changes)))
            self._changes.clear()
        elif held and self._sealed:
            held = (*self._sealed.pop().held, *held)
        else:
            return held
        self._sealed.append(Sealed(self._ticket, held, self._last_accepted, self._accepted))
        return ()

    def recorded(self, ticket: int) -> None:
        """Everything up to `ticket` is on disk."""
        self._recorded = max(self._recorded, ticket)

    @property
    def may_release(self) -> bool:
        """Something waits for nothing any more."""
        return bool(self._sealed) and self._sealed[0].ticket <= self._recorded

    def release(self) -> Sequence[Held]:
        """What need not wait any more, as much of it as a step should take: once RELEASED_AT_ONCE is passed the rest stays for the next."""
        released: list[Held] = []
        while self.may_release and len(released) < RELEASED_AT_ONCE:
            written = self._sealed.popleft()
            self.last_command_id, self.unwritten = written.last_command_id, self._accepted - written.accepted
            released += written.held
        return released

    @property
    def tickets(self) -> int:
        """Records on their way to the disk."""
        return len(self._sealed)
