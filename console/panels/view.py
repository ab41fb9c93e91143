"""What a drawing is drawn from: the present, the time, and the ink."""

from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from agent_core.clock import Moment
from agent_core.delays import Delays
from agent_core.snapshot import Phase, PollingMode, Snapshot
from console.themes import Inks

DEGRADED_TONES = frozenset({"warn", "bad"})


class Key(NamedTuple):
    """One key as the footer and the help name it; `action` is what a click on it does."""

    display: str
    label: str
    action: str


@dataclass(frozen=True, slots=True)
class View:
    """All that a panel may look at."""

    snapshot: Snapshot
    now: Moment
    inks: Inks
    zone: tzinfo | None = None
    keys: tuple[Key, ...] = ()
    stopping: bool = False
    read_only: bool = False
    texts: str = "shown"
    """To whom messages go and what they say: `shown`, `masked`, or `off`."""
    delays: Delays | None = None
    """Whose the last day's delays were, once the ledger has been asked."""
    step: str = ""
    """Which of a black box's steps this is; empty where it is the present."""

    @property
    def masked(self) -> bool:
        return self.texts != "shown"


@dataclass(frozen=True, slots=True)
class Status:
    """The state in one word, a glyph and a tone."""

    glyph: str
    word: str
    tone: str

    @property
    def degraded(self) -> bool:
        return self.tone in DEGRADED_TONES


def polling_works(snapshot: Snapshot, now: Moment) -> bool | None:
    """Whether the fallback delivers, as long as its last answer vouches for that; None: nobody knows."""
    polling = snapshot.polling
    if polling.mode is PollingMode.NEVER or polling.last_error is not None:
        return False
    return True if polling.works_until_at is not None and now.mono < polling.works_until_at else None


_FIXED = {
    Phase.ONLINE: Status("●", "ONLINE", "good"),
    Phase.SUSPECT: Status("▲", "SUSPECT", "warn"),
    Phase.REFUSED: Status("✗", "REFUSED", "bad"),
    Phase.REPLACED: Status("✗", "REPLACED", "bad"),
    Phase.STOPPED: Status("◌", "STARTING", "muted"),
}


def status_of(snapshot: Snapshot, now: Moment, stopping: bool = False) -> Status:
    """The pill: never better than the truth, and `OFFLINE` where neither way delivers: nor does any while the agent has no id."""
    link = snapshot.link
    if snapshot.gone:
        return Status("✗", "NO AGENT", "bad")
    if snapshot.unreached:
        return Status("✗", "NO CONTACT", "bad")
    if snapshot.stopping or stopping:
        return Status("◌", "STOPPING", "muted")
    if link.phase in _FIXED:
        return _FIXED[link.phase]
    works = polling_works(snapshot, now)
    first = link.sessions == 0 and link.last_drop is None
    if first and link.phase in {Phase.CONNECTING, Phase.VERIFYING}:
        return Status("◌", link.phase.upper(), "accent")
    if works is None and link.phase is Phase.OFF and snapshot.polling.last_ok_utc is None:
        return Status("◌", "CONNECTING", "accent")
    if works:
        return Status("●", "POLLING", "accent") if link.phase is Phase.OFF else Status("▲", "FALLBACK", "warn")
    unknown = snapshot.agent_id is None and link.last_drop is not None
    if works is False or unknown:
        return Status("✗", "OFFLINE", "bad")
    if link.phase is Phase.PORTAL:
        return Status("✗", "PORTAL", "bad")
    return Status("▲", "RETRYING", "warn")


def counting(snapshot: Snapshot, now: Moment) -> bool:
    """Whether something on the screen changes ten times a second: a countdown under a minute, or an attempt under way."""
    link = snapshot.link
    if link.phase in {Phase.CONNECTING, Phase.VERIFYING, Phase.SUSPECT}:
        return True
    if link.phase is Phase.ONLINE and not link.pings_ignored:
        return False
    due = due_at(snapshot)
    return due is not None and 0 <= due - now.mono < 60


def due_at(snapshot: Snapshot) -> float | None:
    """What the backoff panel counts down to: the next dial, ping or poll."""
    link = snapshot.link
    if link.phase is Phase.ONLINE:
        return link.next_ping_at
    if link.phase is Phase.OFF:
        return snapshot.polling.next_at
    return link.retry_at
