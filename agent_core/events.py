"""What the engine is told (past participles) and what it asks for (imperatives).

Events are values: a stamped list of them replays a run bit for bit. `generation` numbers sockets; news of an older one changes nothing.

What travels with a command, here and in the files below, is a frozen `Struct`: made in a quarter of a named tuple's time and read in a
third of it. `gc=False` where none can be part of a cycle: not what handlers and messengers hold.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from agent_core.feed import FeedEntry
from agent_core.frames import Command, Frame, Message, Occurrence
from agent_core.records import Arrival, Change, Delivery, Memory, Outcome, Remembered, Resolution, Unresolved
from agent_core.snapshot import PollingMode

# --- what can go wrong with an attempt, a link or a call ------------------------------------------------------------


class Trouble(StrEnum):
    """How an attempt or a link ended, as the channel saw it; `outcomes.py` has the policy for each."""

    CONNECT = "connect"
    """Refused, reset, unreachable, EOF."""
    DNS = "dns"
    TIMEOUT = "timeout"
    TLS = "tls"
    HTTP = "http"
    """An HTTP answer: `status` says which."""
    GARBAGE = "garbage"
    """An answer that is no WebSocket handshake, or no JSON where JSON is due."""
    CLOSED = "closed"
    """A closing frame: `status` is its code."""
    LOST = "lost"
    """The connection ended with no closing frame."""
    SILENT = "silent"
    """Open, but nothing was heard."""


class Failure(Struct, frozen=True, gc=False):
    """One failed attempt, link or call. `retry_after` in seconds from now."""

    trouble: Trouble
    detail: str
    status: int | None = None
    retry_after: float | None = None


# --- events ----------------------------------------------------------------------------------------------------------


class Started(Struct, frozen=True, gc=False, tag=True):
    """The agent runs."""


class LedgerOpened(Struct, frozen=True, gc=False, tag=True):
    """The journal can be used; `memory` is what it holds of earlier runs. Before this nothing is taken."""

    memory: Memory = field(default_factory=Memory)


class Ticked(Struct, frozen=True, gc=False, tag=True):
    """Nothing happened but time."""


class Registered(Struct, frozen=True, gc=False, tag=True):
    agent_id: str


class RegistrationFailed(Struct, frozen=True, gc=False, tag=True):
    failure: Failure


class Opened(Struct, frozen=True, gc=False, tag=True):
    generation: int


class DialFailed(Struct, frozen=True, gc=False, tag=True):
    generation: int
    failure: Failure


class FrameReceived(Struct, frozen=True, gc=False, tag=True):
    """Any frame but a command."""

    generation: int
    frame: Frame


class CommandsReceived(Struct, frozen=True, gc=False, tag=True):
    """Commands by socket, that came together."""

    generation: int
    arrivals: tuple[Arrival, ...]


class Heard(Struct, frozen=True, gc=False, tag=True):
    """Any sign of life that is no frame: bytes of one still arriving, or of a protocol pong."""

    generation: int


class Ponged(Struct, frozen=True, gc=False, tag=True):
    """A protocol pong: the peer reads what is sent."""

    generation: int


class Lost(Struct, frozen=True, gc=False, tag=True):
    generation: int
    failure: Failure


class CommandsPolled(Struct, frozen=True, gc=False, tag=True):
    """Commands out of an answer that brings more than a turn takes; the rest follows, at last with PollAnswered of this number."""

    number: int
    arrivals: tuple[Arrival, ...]


class PollAnswered(Struct, frozen=True, gc=False, tag=True):
    number: int
    arrivals: tuple[Arrival, ...]
    proven: tuple[str, ...] = ()
    """Ids from `ack_events`: acks the backend says it has."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    malformed: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    """Ids whose acks travelled inside this poll as `pending_events`: a 2xx proves them."""


class PollFailed(Struct, frozen=True, gc=False, tag=True):
    number: int
    failure: Failure


class AcksPosted(Struct, frozen=True, gc=False, tag=True):
    """Acks sent by HTTP, each by a call of its own."""

    proven: tuple[str, ...]
    failed: tuple[str, ...] = ()
    """Those that no call was spent on, or whose call was in trouble that the next would meet, too."""
    failure: Failure | None = None
    """That trouble."""
    unsupported: bool = False
    """Neither ack call is there, as far as is known: acks go as `pending_events` of a poll."""
    refused: tuple[tuple[str, str], ...] = ()
    """(command_id, why) of acks that were not taken, each for itself."""
    tried: tuple[str, ...] = ()
    """Those of `failed` whose calls met that trouble."""


class MessagePosted(Struct, frozen=True, gc=False, tag=True):
    """POST /edge/message was answered, perhaps with commands; `failure` is None where that was 2xx."""

    seq: int
    arrivals: tuple[Arrival, ...] = ()
    failure: Failure | None = None


class Recorded(Struct, frozen=True, gc=False, tag=True):
    """Everything up to `Record` number `ticket` is on disk; commands issued up to `horizon_utc` are no longer remembered.

    `lapsed` are those that needed the operator, and of which there is no whole record any more.
    """

    ticket: int
    horizon_utc: float = 0.0
    lapsed: Unresolved | None = None


class Recalled(Struct, frozen=True, gc=False, tag=True):
    """What the journal holds of the commands asked for by one `Recall`."""

    entries: tuple[Remembered, ...]
    seqs: tuple[int, ...] = ()
    """Those asked for."""


class Occurred(Struct, frozen=True, gc=False, tag=True):
    """Something that the backend is to be told of."""

    occurrence: Occurrence


class EventsRecalled(Struct, frozen=True, gc=False, tag=True):
    """What the journal holds of the events asked for by one `RecallEvents`, by number."""

    texts: tuple[tuple[int, str], ...]
    seqs: tuple[int, ...]
    """Those asked for."""


class InboundRead(Struct, frozen=True, gc=False, tag=True):
    """What has come in, up to the cursor; `skipped` messages are too old to be told."""

    cursor: str
    occurrences: tuple[Occurrence, ...]
    skipped: int = 0


class DeliveriesSeen(Struct, frozen=True, gc=False, tag=True):
    """Messages that were sent have come further."""

    deliveries: tuple[Delivery, ...]


class InboundFailed(Struct, frozen=True, gc=False, tag=True):
    """What comes in cannot be read; it is tried again. `permission` is what the system does not allow, where it is that."""

    reason: str
    permission: str | None = None


class PermissionsLost(Struct, frozen=True, gc=False, tag=True):
    """The system does not let this program do what it did before, and why; `permissions` are those that the backend knows by name."""

    reason: str
    permissions: tuple[str, ...] = ()


class RecordFailed(Struct, frozen=True, gc=False, tag=True):
    """The journal could not be opened or written; it keeps trying, and says `LedgerOpened` or `Recorded` when it could."""

    reason: str


class BackendClockRead(Struct, frozen=True, gc=False, tag=True):
    """An HTTP answer's Date says that the backend's clock is ahead of this machine's by so many seconds, at least and at most."""

    least: float
    most: float


class CommandFinished(Struct, frozen=True, gc=False, tag=True):
    """A handler returned."""

    seq: int
    outcome: Outcome = Outcome()


class MarkTaken(Struct, frozen=True, gc=False, tag=True):
    """Where the messenger's record of what was sent stands; None where it cannot be read, and why."""

    seq: int
    mark: str | None
    error: str = ""


class RunSettled(Struct, frozen=True, gc=False, tag=True):
    """What the messenger's record says of a run whose end nobody saw; None: it has sent nothing."""

    seq: int
    outcome: Outcome | None


class ReconnectRequested(Struct, frozen=True, gc=False, tag=True):
    pass


class PollingModeChosen(Struct, frozen=True, gc=False, tag=True):
    mode: PollingMode


class ReplayRequested(Struct, frozen=True, gc=False, tag=True):
    """The operator wants a command run again, with its own payload or an edited one; the agent adds what the journal remembers."""

    command_id: str
    payload: Mapping[str, Any] | None = None
    dry_run: bool = False
    remembered: Remembered | None = None


class CancelRequested(Struct, frozen=True, gc=False, tag=True):
    """The operator wants a message that is due later not to be sent; the agent adds what the journal remembers."""

    command_id: str
    remembered: Remembered | None = None


class ResolveRequested(Struct, frozen=True, gc=False, tag=True):
    """The operator has found out about a command that needs attention; the agent adds what the journal remembers."""

    command_id: str
    resolution: Resolution
    by: str
    remembered: Remembered | None = None
    guid: str | None = None
    """Which of its candidates it was, where there are several and it was sent."""


class ConfigReloaded(Struct, frozen=True, gc=False, tag=True):
    """The configuration was read anew: what it says now of the settings that can change at any time.

    `changed` are the keys that hold from now on, `redialled` those that hold from a new connection on, which is made at once, and `later`
    those that wait for the next start.
    """

    here: Mapping[str, Any]
    """sync_interval, ping_interval, log_level."""
    level_is_set: bool
    """The log level is given, and no default."""
    changed: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    redialled: tuple[str, ...] = ()
    backend_url: str = ""
    """Where the backend is, with `socket_url`; said where something is `redialled`."""
    socket_url: str = ""


class SettingReset(Struct, frozen=True, gc=False, tag=True):
    """The operator wants a setting that the backend has changed to be as configured here."""

    name: str


class ReloadFailed(Struct, frozen=True, gc=False, tag=True):
    """What the agent was told could not be read anew: what was read before holds on."""

    failure: Failure


class IntakePaused(Struct, frozen=True, gc=False, tag=True):
    """The operator wants no new command taken: the backend keeps them. What is taken goes on."""


class IntakeResumed(Struct, frozen=True, gc=False, tag=True):
    """The operator wants commands taken again; a drain that has begun is off, too."""


class DrainRequested(Struct, frozen=True, gc=False, tag=True):
    """The operator wants what is taken finished, every ack proven, and then the end. What is due later stays for the next start.

    `within`: seconds for which messages that the policy makes wait, and events without proof, are waited for.
    """

    within: float = 0.0


class HoldChosen(Struct, frozen=True, gc=False, tag=True):
    """The operator wants the new commands that this filter takes to wait: `all`, or none where it is empty."""

    filter: str


class HeldApproved(Struct, frozen=True, gc=False, tag=True):
    """The operator lets a held command run, with its own payload or an edited one."""

    command_id: str
    payload: Mapping[str, Any] | None = None


class HeldRefused(Struct, frozen=True, gc=False, tag=True):
    """The operator has a held command end as failed."""

    command_id: str


class StopRequested(Struct, frozen=True, gc=False, tag=True):
    pass


Event = (
    Started
    | LedgerOpened
    | Ticked
    | Registered
    | RegistrationFailed
    | Opened
    | DialFailed
    | FrameReceived
    | CommandsReceived
    | Heard
    | Ponged
    | Lost
    | CommandsPolled
    | PollAnswered
    | PollFailed
    | AcksPosted
    | MessagePosted
    | Recorded
    | Recalled
    | EventsRecalled
    | Occurred
    | InboundRead
    | DeliveriesSeen
    | InboundFailed
    | PermissionsLost
    | RecordFailed
    | BackendClockRead
    | CommandFinished
    | MarkTaken
    | RunSettled
    | ReconnectRequested
    | PollingModeChosen
    | ReplayRequested
    | CancelRequested
    | HoldChosen
    | HeldApproved
    | HeldRefused
    | ResolveRequested
    | ConfigReloaded
    | ReloadFailed
    | SettingReset
    | IntakePaused
    | IntakeResumed
    | DrainRequested
    | StopRequested
)


# --- effects: what the engine asks the agent to do, in list order; an entry goes to the feed, and a line to the log too -------


class Register(Struct, frozen=True, gc=False):
    """POST /edge/register; answer with Registered or RegistrationFailed."""


class OpenSocket(Struct, frozen=True, gc=False):
    """One attempt; answer with Opened or DialFailed of this generation, then FrameReceived, Heard, Ponged and at last Lost."""

    generation: int


class AbortSocket(Struct, frozen=True, gc=False):
    """End an attempt or a link at once, with no handshake; no answer is expected."""

    generation: int


class CloseSocket(Struct, frozen=True, gc=False):
    """Close with a handshake of at most `timing.close_within`; answer with Lost."""

    generation: int
    code: int
    reason: str


class Send(Struct, frozen=True, gc=False):
    """Frames, in order, behind those already given to this generation."""

    generation: int
    frames: tuple[str, ...]


class SendStatus(Struct, frozen=True, gc=False):
    """A status frame; the agent adds the memory it uses."""

    generation: int
    scheduled: int
    uptime_seconds: float


class Probe(Struct, frozen=True, gc=False):
    """A protocol ping; answer with Ponged."""

    generation: int


class Poll(Struct, frozen=True, gc=False):
    """POST /edge/sync; answer with PollAnswered or PollFailed of this number."""

    number: int
    last_command_id: str | None
    carried: tuple[tuple[str, str], ...]
    """(command_id, ack) that travel as `pending_events`."""
    status: Mapping[str, Any]
    events: tuple[tuple[str, str], ...] = ()
    """(event_id, event) that travel beside them."""


class PostAcks(Struct, frozen=True, gc=False):
    """POST each (command_id, ack); answer with one AcksPosted for all."""

    acks: tuple[tuple[str, str], ...]


class PostMessage(Struct, frozen=True, gc=False):
    """POST /edge/message with this event, a message that came in; answer with MessagePosted."""

    seq: int
    event: str


class Record(Struct, frozen=True, gc=False):
    """Write these in one transaction; answer with Recorded, which may cover several tickets."""

    ticket: int
    changes: tuple[Change, ...]


class Recall(Struct, frozen=True, gc=False):
    """Read these commands from the journal, by number; answer with one Recalled for all, however long it takes."""

    seqs: tuple[int, ...]


class RecallEvents(Struct, frozen=True, gc=False):
    """Read these events from the journal, by number; answer with EventsRecalled, however long it takes."""

    seqs: tuple[int, ...]


class ReadInbound(Struct, frozen=True, gc=False):
    """Watch for what comes in behind this cursor (None: from now on); answer with one InboundRead, however long it takes."""

    cursor: str | None


class FollowDeliveries(Struct, frozen=True, gc=False):
    """Watch how far these messages come, too, which were sent; answer with DeliveriesSeen as they do."""

    guids: tuple[str, ...]


class Execute(Struct, frozen=True, gc=False):
    """Run the handler, one with no answer at hand; answer with CommandFinished. `message` is what a sending command asks for."""

    seq: int
    command: Command
    message: Message | None = None
    mark: str | None = None


class TakeMark(Struct, frozen=True, gc=False):
    """Ask the messenger where its record of what was sent stands; answer with MarkTaken."""

    seq: int


class Settle(Struct, frozen=True, gc=False):
    """Ask the messenger what its record says of this message since `mark`, however long it takes; answer with RunSettled."""

    seq: int
    message: Message
    mark: str


class CancelRunning(Struct, frozen=True, gc=False):
    """Time to stop is up: cancel the handlers; no answer is expected."""


class SetLogLevel(Struct, frozen=True, gc=False):
    level: str


class Finish(Struct, frozen=True, gc=False):
    """Everything is done: the agent may end."""


Effect = (
    Register
    | OpenSocket
    | AbortSocket
    | CloseSocket
    | Send
    | SendStatus
    | Probe
    | Poll
    | PostAcks
    | PostMessage
    | Record
    | Recall
    | RecallEvents
    | ReadInbound
    | FollowDeliveries
    | Execute
    | TakeMark
    | Settle
    | CancelRunning
    | SetLogLevel
    | FeedEntry
    | Finish
)
