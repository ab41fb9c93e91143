"""What needs the operator, in words: of a command's record what has happened to it, and what to do about it."""

from enum import StrEnum
from typing import Any, NamedTuple

from pydantic_core import from_json

from agent_core.records import Remembered, Resolution, State

MAX_CANDIDATES = 10


class Kind(StrEnum):
    UNKNOWN = "unknown outcome"
    MISSED = "missed"
    FAILED = "failed"
    UNPROVEN = "unproven"


class Candidate(NamedTuple):
    """One of several messages that may be the command's own, as its messenger told them."""

    guid: str
    chat: str
    sent_at: str


class Case(NamedTuple):
    """One command that needs the operator."""

    record: Remembered
    kind: Kind
    what: str
    do: str
    candidates: tuple[Candidate, ...] = ()

    @property
    def resolutions(self) -> tuple[Resolution, ...]:
        """By which it can be settled as it is; an ack is settled by its proof alone."""
        found = {Kind.UNPROVEN: (), Kind.UNKNOWN: (Resolution.SENT, Resolution.UNSENT, Resolution.DISMISSED)}
        return found.get(self.kind, (Resolution.DISMISSED,))


def case_of(record: Remembered) -> Case:
    """Of a record that `needing_attention` has found."""
    error = record.error or "no reason given"
    if not record.is_unresolved:
        return Case(record, Kind.UNPROVEN, "the backend is not known to have its ack", "the ack goes out again by itself; see to the link")
    if record.state is State.INTERRUPTED:
        candidates = candidates_of(record.ack)
        if candidates:
            return Case(record, Kind.UNKNOWN, error, "one of these, or none? resolve it so, or replay it", candidates)
        return Case(record, Kind.UNKNOWN, error, "look where it was to go: resolve it as sent or unsent, or replay it")
    if error.startswith("missed: "):
        return Case(record, Kind.MISSED, error, "replay it to send it now, or dismiss it")
    return Case(record, Kind.FAILED, error, "replay it once the cause is gone, or dismiss it")


def candidates_of(ack: str | None) -> tuple[Candidate, ...]:
    """The messages of which one may be the command's, by its ack."""
    """Out of the ack's result; whatever is not as messengers tell it is none."""
    try:
        told: Any = from_json(ack or "{}")["result"]["candidates"]
        return tuple(Candidate(str(one["guid"]), str(one["chat"]), str(one["sent_at"])) for one in told[:MAX_CANDIDATES])
    except (ValueError, TypeError, KeyError):
        return ()
