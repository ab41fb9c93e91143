"""What the journal keeps: one row a command, and the changes that the ledger asks to be written.

A row's `seq` orders arrivals and is the number by which the feed and the console know the command.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from agent_core.frames import Command, Target


class State(StrEnum):
    """How far a command has come."""

    QUEUED = "queued"
    RUNNING = "running"
    SCHEDULED = "scheduled"
    HELD = "held"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    def __init__(self, name: str) -> None:
        self.ended = name not in {"queued", "running", "scheduled", "held"}


class Via(StrEnum):
    """Which way a command came: the socket, the HTTP fallback, or the operator (a replay)."""

    WS = "ws"
    POLL = "poll"
    LOCAL = "local"


class Resolution(StrEnum):
    """What the operator has found of a command that needed attention: it was sent after all, it was not, it is of no consequence, it was
    run again.
    """

    SENT = "sent"
    UNSENT = "unsent"
    DISMISSED = "dismissed"
    REPLAYED = "replayed"


class Remembered(Struct, frozen=True, gc=False):
    """One command's whole record, as `ledger show` prints it."""

    seq: int
    command: Command
    via: Via
    state: State
    received_utc: float
    started_utc: float | None = None
    finished_utc: float | None = None
    due_utc: float | None = None
    runs: int = 0
    duplicates: int = 0
    duplicate_via: Via | None = None
    duplicate_utc: float | None = None
    error: str | None = None
    ack: str | None = None
    """The ack's `data` object as JSON text: sent again byte for byte."""
    sent_utc: float | None = None
    proven_utc: float | None = None
    proven_by: str | None = None
    """`pong`, `http`, `pending_events` or `ack_events`."""
    replay_of: str | None = None
    mark: str | None = None
    """Where its messenger's record of what was sent stood before it ran last."""
    unsent: int = 0
    """How often that record has shown that a run sent nothing."""
    released_utc: float | None = None
    """When it was let go, where it had been held."""
    resolution: Resolution | None = None
    resolved_utc: float | None = None
    resolved_by: str | None = None
    resolved_guid: str | None = None
    """Of the message that it is, where several might have been it."""
    names: tuple[str, ...] = ()
    """Of a compacted message, whose payload is gone: what it called itself."""
    changed_by: str | None = None
    """Which command has changed its text or its time since it came."""
    delivery: str | None = None
    """How far the message that it has sent had come at `delivery_utc`, where that is known."""
    delivery_utc: float | None = None

    @property
    def is_unresolved(self) -> bool:
        """It failed, or nobody knows its outcome, and the operator has not settled it; a compacted one is past that."""
        return self.state in UNWELL and self.resolution is None and self.finished_utc is not None


OVERDUE_AFTER = 60.0
"""Seconds: an ack that is not proven by then needs attention."""
UNWELL = frozenset({State.FAILED, State.INTERRUPTED})
"""The ends that somebody should look at."""


class Unresolved(Struct, frozen=True, gc=False):
    """How many commands need the operator, by their state."""

    failed: int = 0
    interrupted: int = 0


class Named(Struct, frozen=True, gc=False):
    """Messages by the name that their payload gives them, `schedule_id` or `message_id`."""

    name: str


Key = str | Named | int
"""What the journal can be asked for: a command id, the newest message of a name, or a command's number."""


class Arrival(Struct, frozen=True, gc=False):
    """A command as it comes in, with what the journal holds of what the ledger needs to know (`Ledger.needs`)."""

    command: Command
    known: tuple[Remembered, ...] = ()
    unread: bool = False
    """The journal could not be asked: not to be taken now."""
    unsigned: str | None = None
    """What is wrong with its signature, where signatures are looked at."""


class OutboxRow(Struct, frozen=True, gc=False, tag=True):
    """One message that would be sent; written together with its command's outcome, so it is there exactly once."""

    seq: int
    command_id: str
    thread_id: str
    text: str
    sent_utc: float


class Outcome(Struct, frozen=True):
    """What a command came to: `error` None is success; `row` is committed with it."""

    error: str | None = None
    result: Mapping[str, Any] = MappingProxyType({})
    row: OutboxRow | None = None
    unknown: bool = False
    """Nobody can say whether it took effect; `error` says why."""
    final: bool = False
    """Whoever could find out has looked already."""
    permission: str | None = None
    """What the system does not allow this program, where it is that."""


# --- changes, in the past tense; the journal has one statement for each --------------------------------------------


class CommandAccepted(Struct, frozen=True, gc=False):
    """A new command, as far as it has come in this step, with the effect it had in the same database."""

    entry: Remembered
    effect: OutboxRow | None = None
    names: tuple[str, ...] = ()
    """By which a cancel may name it beside its id."""


class CommandStarted(Struct, frozen=True, gc=False):
    """Its handler is about to run, from this mark on where there are marks."""

    seq: int
    utc: float
    mark: str | None = None


class CommandReleased(Struct, frozen=True, gc=False):
    """One that was held may run: at once, or when it is due, which its first ack says."""

    seq: int
    utc: float
    state: State = State.QUEUED
    ack: str | None = None


class CommandChanged(Struct, frozen=True, gc=False):
    """A scheduled message has another text or time, or a held command another payload; `by` which command, or whom."""

    seq: int
    payload: Mapping[str, Any]
    due_utc: float | None
    by: str


class UnsentFound(Struct, frozen=True, gc=False):
    """The run that was under way is known to have sent nothing: the command waits for another."""

    seq: int


class CommandEnded(Struct, frozen=True, gc=False):
    """One that was taken before has its terminal outcome and ack (None: a replay, which has none), with its effect."""

    seq: int
    state: State
    utc: float
    error: str | None
    ack: str | None
    effect: OutboxRow | None = None


class AcksProven(Struct, frozen=True, gc=False):
    """The backend is known to have these acks; `sent_utc` is when each went out last."""

    acks: tuple[tuple[int, float | None], ...]
    utc: float
    by: str


class CommandResolved(Struct, frozen=True, gc=False):
    """It needs the operator's attention no more; `by` is who has seen to that."""

    seq: int
    resolution: Resolution
    utc: float
    by: str
    guid: str | None = None
    """Which of several messages it is."""


class DuplicateSeen(Struct, frozen=True, gc=False):
    """It came again."""

    seq: int
    via: Via
    utc: float


class TombstoneAdded(Struct, frozen=True, gc=False):
    """A cancel came before what it cancels: remembered until `until_utc`."""

    target: Target
    by: str
    until_utc: float


class TombstoneRemoved(Struct, frozen=True, gc=False):
    """What it was kept for has come, and is cancelled."""

    target: Target


class EventAdded(Struct, frozen=True, gc=False):
    """The backend is to be told of it: `text` is the event's object as JSON, sent byte for byte."""

    seq: int
    event_id: str
    event_type: str
    utc: float
    text: str


DROPPED = "dropped"
"""How an event is settled that the backend will never have."""


class EventsSettled(Struct, frozen=True, gc=False):
    """The backend is known to have these events, or they are dropped; `by` says which, and how."""

    seqs: tuple[int, ...]
    utc: float
    by: str


FINAL = frozenset({"read", "failed"})
"""The statuses of a delivery after which none comes."""


class Delivery(Struct, frozen=True, gc=False, tag=True):
    """How far a message that was sent has come: sent, delivered, read, or failed with Messages' `code`."""

    guid: str
    status: str
    code: int = 0
    utc: float | None = None
    """When, where that is known."""


class MessageReceived(Struct, frozen=True, gc=False):
    """A message has come in: `seq` is its row in the stream, `event` the number of the event that tells the backend of it."""

    seq: int
    event: int
    event_id: str
    thread_id: str
    sender: str
    text: str
    attachments: int
    sent_utc: float
    utc: float


class ReceiptAdded(Struct, frozen=True, gc=False):
    """The command of this number has sent this message: its delivery is followed."""

    guid: str
    command_id: str
    seq: int
    utc: float


class ReceiptChanged(Struct, frozen=True, gc=False):
    """Its delivery has come so far."""

    guid: str
    status: str
    utc: float


class Receipt(Struct, frozen=True, gc=False):
    """A message that a command has sent, and how far its delivery had come when it was last looked."""

    guid: str
    command_id: str
    seq: int
    status: str | None = None


INBOUND_CURSOR = "inbound_cursor"
"""The fact's key: up to where what came in has been told."""
HOLD = "hold"
PAUSED = "paused"
"""The fact's key: since when the operator has had the backend keep new commands."""
"""The fact's key: which new commands the operator has chosen to hold."""
CLOCK_OFFSET = "clock_offset"
"""The fact's key: seconds that the backend's clock is ahead of this machine's."""


class SettingStored(Struct, frozen=True, gc=False):
    """A fact that outlives the process: `last_command_id`, a changed setting."""

    key: str
    value: str


class SettingDropped(Struct, frozen=True, gc=False):
    """The fact is no more."""

    key: str


Change = (
    CommandAccepted
    | CommandStarted
    | CommandReleased
    | CommandChanged
    | UnsentFound
    | CommandEnded
    | AcksProven
    | CommandResolved
    | DuplicateSeen
    | TombstoneAdded
    | TombstoneRemoved
    | SettingStored
    | SettingDropped
    | EventAdded
    | EventsSettled
    | MessageReceived
    | ReceiptAdded
    | ReceiptChanged
)


class Scheduled(Struct, frozen=True, gc=False):
    """What is needed of a message that is due later until it is near; the journal has the rest."""

    seq: int
    due_utc: float
    """Or when it expires, if that is earlier."""
    names: tuple[str, ...] = ()


class OwedEvent(Struct, frozen=True, gc=False):
    """An event that the backend is not known to have; the journal has its text, of so many characters."""

    seq: int
    event_id: str
    event_type: str
    size: int
    row: int = 0
    """Its row in the stream; 0: it has none."""


class Sent(Struct, frozen=True, gc=False):
    """A command that was started: a message, if its type is one that sends."""

    command_type: str
    thread_id: str
    utc: float


class Memory(Struct, frozen=True, gc=False):
    """What the journal hands to the engine at the start: what has not ended, oldest first, and the kept facts."""

    entries: tuple[Remembered, ...] = ()
    tombstones: tuple[TombstoneAdded, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    next_seq: int = 1
    last_command_id: str | None = None
    horizon_utc: float = 0.0
    unproven: tuple[int, ...] = ()
    """Numbers of the commands that have ended or are scheduled, but whose ack is not proven."""
    forgotten: int = 0
    """Commands that the ledger knew before, by the mark beside it: an older one was put in its place."""
    unresolved: Unresolved = Unresolved()
    scheduled: tuple[Scheduled, ...] = ()
    events: tuple[OwedEvent, ...] = ()
    next_event: int = 1
    sent: tuple[Sent, ...] = ()
    """What was started of late, oldest first, and before that the last to each thread; only where the policy asks for it."""
    receipts: tuple[Receipt, ...] = ()
    """The last ones, oldest first."""
