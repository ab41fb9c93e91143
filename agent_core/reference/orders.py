"""A command as the backend keeps it, and what an agent's ack says of it (PROTOCOL §2, §4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic_core import from_json

from agent_core.clock import iso

ACKS_KEPT = 20
"""Of one command, in full; later ones are only counted."""


class CallError(Exception):
    """A call that is not granted: its HTTP status and the sentence that goes with it."""

    def __init__(self, status: int, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_after = retry_after


class Status(StrEnum):
    QUEUED = "queued"
    DELIVERED = "delivered"
    RECEIVED = "received"
    """Accepted by the agent, its outcome to follow: a scheduled message."""
    COMPLETED = "completed"
    FAILED = "failed"


SETTLED = frozenset({Status.COMPLETED, Status.FAILED})

_VERDICTS = {
    **dict.fromkeys(("completed", "complete", "success", "succeeded", "executed", "ok", "done"), Status.COMPLETED),
    **dict.fromkeys(("failed", "failure", "error", "rejected"), Status.FAILED),
    **dict.fromkeys(("received", "accepted", "executing", "running", "scheduled", "queued"), Status.RECEIVED),
}


class AckWay(StrEnum):
    """How an ack came."""

    WS = "ws"
    HTTP = "http"
    PENDING_EVENTS = "pending_events"


class AckSeen(NamedTuple):
    way: AckWay
    utc: float
    verdict: Status


@dataclass(slots=True, eq=False)
class Order:
    """One command, from its queueing to its terminal ack."""

    number: int
    command_id: str
    agent_id: str
    command_type: str
    body: str
    """The `data` object of its frame, as JSON."""
    queued_utc: float
    status: Status = Status.QUEUED
    pushed: int = 0
    polled: int = 0
    offered_at: float | None = None
    """When it was last given to a socket or a poll (monotonic); None: to nobody yet."""
    offered_on: int = 0
    """The connection it was given to; 0 is a poll."""
    epoch: int | None = None
    """In a shared store: the socket it was given to, by the agent's epoch; None: a poll, or nobody."""
    delivered_utc: float | None = None
    settled_utc: float | None = None
    ack: bytes | None = None
    """The first terminal ack, as JSON: the one that counts."""
    acks: list[AckSeen] = field(default_factory=list)
    acks_seen: int = 0
    anomalies: int = 0
    """Terminal acks that differ from the first."""

    @property
    def frame(self) -> str:
        return f'{{"type":"command","data":{self.body}}}'

    def view(self) -> dict[str, Any]:
        """As the admin calls show it."""
        body = from_json(self.body)
        return {
            "command_id": self.command_id,
            "edge_agent_id": self.agent_id,
            "command_type": self.command_type,
            "payload": body["payload"],
            "priority": body.get("priority"),
            "status": self.status,
            "queued_at": iso(self.queued_utc),
            "delivered_at": iso(self.delivered_utc) if self.delivered_utc is not None else None,
            "settled_at": iso(self.settled_utc) if self.settled_utc is not None else None,
            "deliveries": {"ws": self.pushed, "poll": self.polled},
            "ack": from_json(self.ack) if self.ack is not None else None,
            "acks": [{"way": ack.way, "at": iso(ack.utc), "status": ack.verdict} for ack in self.acks],
            "acks_seen": self.acks_seen,
            "anomalies": self.anomalies,
        }


def id_of(value: object, key: str) -> str:
    """1 to 200 printable characters, or a number; Raises CallError."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 1 <= len(text) <= 200 or not text.isprintable():
        raise CallError(400, f"{key}: 1 to 200 printable characters expected")
    return text


def verdict_of(ack: Mapping[str, Any]) -> Status:
    """What an ack says, by `status`, else by `success` (PROTOCOL §2). Raises CallError."""
    status = ack.get("status")
    if isinstance(status, str) and (verdict := _VERDICTS.get(status.lower())) is not None:
        return verdict
    success = ack.get("success")
    if status is None and isinstance(success, bool):
        return Status.COMPLETED if success else Status.FAILED
    raise CallError(400, "an ack needs a status (received, completed, failed) or a success (true, false)")


def same_ack(first: bytes, ack: Mapping[str, Any]) -> bool:
    """Whether two acks say the same: a missing key, null and an empty object do."""
    return _essence(from_json(first)) == _essence(ack)


def _essence(ack: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in ack.items() if value is not None and value != {}}
