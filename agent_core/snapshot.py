"""The whole present as one frozen value.

Instants are absolute: `*_at` and `*_by` are on the monotonic clock (`Moment.mono`), `*_utc` are Unix seconds. A viewer subtracts its own
now; so a snapshot stays true until the state changes, and equal revisions mean there is nothing to draw.
"""

from enum import StrEnum

from msgspec import Struct, field

from agent_core.latency import Histogram


class Phase(StrEnum):
    """Where the link is; shown to the operator as it is."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    VERIFYING = "verifying"
    ONLINE = "online"
    SUSPECT = "suspect"
    WAITING = "waiting"
    REFUSED = "refused"
    PORTAL = "portal"
    REPLACED = "replaced"
    OFF = "off"


class PollingMode(StrEnum):
    """When the HTTP fallback runs: while the link is not online, always, or never."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Cause(StrEnum):
    """Why a link ended or an attempt failed: a small set, so that it can be counted."""

    SERVER_RESTART = "server restart"
    AUTH = "auth"
    IDLE_CUT = "idle cut"
    NETWORK = "network"
    HALF_OPEN = "half-open"
    SLEEP = "sleep"
    REPLACED = "replaced"
    PROTOCOL = "protocol"
    PORTAL = "portal"
    TLS = "tls"
    BUSY = "busy"
    DEAF = "deaf"
    OPERATOR = "operator"


class Drop(Struct, frozen=True, gc=False):
    """The end of one link or one attempt, in the operator's words."""

    utc: float
    cause: Cause
    detail: str
    lifetime: float | None
    """Seconds the link had lived; None for an attempt that never opened."""


class LinkView(Struct, frozen=True, gc=False):
    phase: Phase = Phase.STOPPED
    since_at: float = 0.0
    since_utc: float = 0.0
    attempt: int = 0
    """The attempt under way or waited for, 1 = first; 0 while online and stable."""
    attempts_max: int = 10
    step: float = 0.0
    """The present step of the ladder in seconds (1, 2, 4 … 60); 0 when not waiting on the ladder."""
    ladder: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 60)
    wait_from_at: float | None = None
    retry_at: float | None = None
    """When the next dial goes out, in `waiting`, `refused`, `portal`, `replaced`."""
    down_since_at: float | None = None
    """Since when there has been no verified link; None while there is one."""
    dials: int = 0
    sessions: int = 0
    """Links that were verified since the start."""
    last_ping_at: float | None = None
    last_pong_at: float | None = None
    next_ping_at: float | None = None
    pings_ignored: bool = False
    """The peer answers no JSON pings (PROMISES F52)."""
    deaf: bool = False
    """The safety sync found commands that the socket should have pushed."""
    last_drop: Drop | None = None
    drops: tuple[tuple[Cause, int], ...] = ()
    lifetimes: tuple[float, ...] = ()
    """Seconds that the last ten links lived."""
    last_outage_utc: float | None = None
    """When the last outage that is over began."""
    last_outage_seconds: float = 0.0
    history: tuple[tuple[float, str], ...] = ()
    """The last hour as (from_utc, 'socket' | 'polling' | 'down'), oldest first."""


class PollingView(Struct, frozen=True, gc=False):
    mode: PollingMode = PollingMode.AUTO
    active: bool = False
    in_flight: bool = False
    next_at: float | None = None
    works_until_at: float | None = None
    """Until when the last good answer vouches that polling works (P15); None: it does not run, or nothing vouches for it."""
    polls: int = 0
    failures: int = 0
    last_ok_utc: float | None = None
    last_error: str | None = None
    every: float = 15.0


class CommandsView(Struct, frozen=True, gc=False):
    received: int = 0
    """Distinct commands taken, over any way."""
    completed: int = 0
    failed: int = 0
    duplicates: int = 0
    malformed: int = 0
    rejected: int = 0
    """Not taken: intake full, or the disk in trouble."""
    queued: int = 0
    running: int = 0
    outbox: int = 0
    """Acks made and not yet proven."""
    proven: int = 0
    held: int = 0
    """Commands that wait for the operator's word."""
    interrupted: int = 0
    """Commands with unknown outcome, waiting for the operator; as `unresolved`, of earlier runs, too."""
    unresolved: int = 0
    """Commands that failed or missed their time, and that the operator has not settled."""
    overdue: int = 0
    """Commands that have ended well, but whose ack is not proven after a minute, or is left to the journal."""
    turned_away: int = 0
    """Commands that were not taken and have not come again."""
    oldest_waiting_utc: float | None = None
    """When the command came that has waited longest for its turn."""
    paused: bool = False
    """By the operator: the backend keeps new commands."""

    @property
    def attention(self) -> int:
        """What needs the operator."""
        return self.interrupted + self.unresolved + self.overdue + self.turned_away


class EventsView(Struct, frozen=True, gc=False):
    """What the backend is told: made and not yet proven; proven and dropped since the start."""

    unproven: int = 0
    proven: int = 0
    dropped: int = 0


class LatencyView(Struct, frozen=True, gc=False):
    """The last two minutes."""

    socket: Histogram = field(default_factory=Histogram)
    """From a command's arrival by socket to its ack on the wire."""
    polling: Histogram = field(default_factory=Histogram)
    """The same for commands that came by polling."""
    run: Histogram = field(default_factory=Histogram)
    """Handlers that are waited for."""
    proof: Histogram = field(default_factory=Histogram)
    """From an ack on the wire to its proof."""
    ping: Histogram = field(default_factory=Histogram)
    slowest_acks: tuple[tuple[float, float], ...] = ()
    """(at, ms) of the slowest ack in each two seconds that had any, oldest first."""
    last_ping_ms: float | None = None
    jitter_ms: float | None = None
    loop_lag_ms: float = 0.0

    @property
    def ack(self) -> Histogram:
        return self.socket + self.polling


class ScheduledView(Struct, frozen=True, gc=False):
    schedule_id: str
    command_id: str
    thread_id: str
    due_utc: float


class WaitView(Struct, frozen=True, gc=False):
    """What the policy keeps back: at which key of the configuration, how many threads, and when the first of them may go on."""

    key: str
    threads: int
    until_utc: float


class DiskView(Struct, frozen=True, gc=False):
    """`ok` or the trouble in one sentence; while in trouble nothing new is taken."""

    ok: bool = True
    trouble: str | None = None


class ConsoleView(Struct, frozen=True, gc=False):
    """What the agent's configuration says of consoles, as it was read last (`console.texts`, `console.bell`, `console.notify`)."""

    texts: str = "shown"
    bell: bool = False
    notify: bool = False


class Snapshot(Struct, frozen=True, gc=False):
    revision: int = 0
    at: float = 0.0
    utc: float = 0.0
    version: str = ""
    host: str = ""
    agent_id: str | None = None
    backend_url: str = ""
    socket_url: str = ""
    started_utc: float = 0.0
    clock_offset: float | None = None
    """Seconds that the backend's clock is ahead of this machine's, by the Dates of its HTTP answers; None where none told."""
    link: LinkView = field(default_factory=LinkView)
    polling: PollingView = field(default_factory=PollingView)
    commands: CommandsView = field(default_factory=CommandsView)
    events: EventsView = field(default_factory=EventsView)
    latency: LatencyView = field(default_factory=LatencyView)
    scheduled: tuple[ScheduledView, ...] = ()
    """The next ten; `scheduled_count` has the number of all."""
    scheduled_count: int = 0
    hold: str = ""
    """Which new commands are held: a filter, `all`, or none."""
    hold_until_at: float | None = None
    """When the first of those that are held is decided in the operator's place; None: never."""
    hold_then: str = "refuse"
    """How it is decided then: `approve` or `refuse`."""
    waits: tuple[WaitView, ...] = ()
    follows_deliveries: bool = False
    """It tells what becomes of the messages that were sent."""
    disk: DiskView = field(default_factory=DiskView)
    console: ConsoleView | None = None
    """None: nobody has said."""
    stopping: bool = False
    gone: bool = False
    """Said by a viewer in another process, whose agent has ended."""
    unreached: bool = False
    """Said by a viewer in another process that hears nothing of its agent: it is held up or stopped, or the way to it is lost."""
