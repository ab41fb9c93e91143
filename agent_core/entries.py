"""A command that is not settled yet, and what its handler declares."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from agent_core.clock import Moment
from agent_core.frames import Command, Message
from agent_core.records import Outcome, State, Via


class EffectClass(StrEnum):
    """What running a command does to the world."""

    HARMLESS = "harmless"
    TRANSACTIONAL = "transactional"
    EXTERNAL = "external"


Inline = Callable[[int, Command, Message | None, float], Outcome]
"""What a command comes to, from its number, itself, what it asks to be sent, and the time (UTC); never raises."""


class Trait(Struct, frozen=True):
    """What a handler declares: what it touches, whether it may run twice, and whether it sends a message (thread, text, perhaps a time)."""

    effect: EffectClass = EffectClass.EXTERNAL
    idempotent: bool = False
    sends: bool = False
    settles: bool = False
    """What became of a run that nobody saw the end of can be looked up, from a mark on that is noted before it."""
    inline: Inline | None = None
    """A handler that touches nothing outside and waits for nothing: it runs within the engine's step."""

    @property
    def repeatable(self) -> bool:
        """May run again after a crash in the middle."""
        return self.idempotent or self.effect is not EffectClass.EXTERNAL


ON_DISK: Mapping[str, Any] = MappingProxyType({})
"""In place of an ended command's payload: only the journal has it, so that acks may wait for proof in great numbers."""
INTERNAL = Trait(EffectClass.HARMLESS, idempotent=True)
"""What the engine does itself: cancels, settings."""


class Entry(Struct):
    """A command that is not settled yet."""

    seq: int
    command: Command
    trait: Trait
    via: Via
    state: State
    arrived: Moment
    fresh: bool = True
    """Nothing of it has been given to the journal yet."""
    lane: str = ""
    due_utc: float | None = None
    names: tuple[str, ...] = ()
    message: Message | None = None
    timed_from: float | None = None
    """When this process got it, or began it where it was scheduled: its ack's latency counts from here."""
    began_at: float | None = None
    run_ms: float | None = None
    ack_ms: float | None = None
    error: str | None = None
    ack: str | None = None
    proven: bool = False
    outgoing: "Ack | None" = None
    """Its newest ack that is on its way."""
    replay_of: str | None = None
    mark: str | None = None
    unsent: int = 0
    changed_by: str | None = None
    """Which command has changed its text or its time since it came."""
    waits: str | None = None
    """For what it waits beside its turn, in a few words."""
    remark: str | None = None
    """What is odd about it, though it runs."""


class Ack(Struct):
    """One ack on its way to proof; a terminal one settles its command."""

    entry: Entry
    text: str
    terminal: bool
    barrier: int = 0
    """The ping whose pong proves it; 0 while it is not on the socket."""
    sent_utc: float | None = None
    again: bool = False
    """For a duplicate; the first one is on its way to proof, too."""
    refusals: int = 0
    """How often the backend has refused it by HTTP; it is not posted again before `not_before` (monotonic)."""
    not_before: float = 0.0
    is_forgiven: bool = False
    """It was posted before its time once, when calls worked again."""
    kept_at: float = 0.0
    """Since when it waits for its proof (monotonic)."""


class Outgoing(Struct):
    """One event on its way to proof; `text` is None where only the journal has it."""

    seq: int
    event_id: str
    size: int
    text: str | None
    row: int = 0
    """Its row in the stream; 0: it has none."""
    posted: bool = False
    """It goes by POST /edge/message."""
    barrier: int = 0
    """The ping whose pong proves it; 0 while it is not on the socket."""


def ack_of(entry: Entry, *, again: bool = False) -> Ack:
    """Its stored ack, to go out once more."""
    assert entry.ack is not None
    entry.outgoing = Ack(entry, entry.ack, entry.state.ended, again=again)
    return entry.outgoing
