"""What travels, as models: the form that the agent emits and a backend should. PROTOCOL §2 and §3 say which other spellings are understood.

JSON Schema, AsyncAPI and TypeScript are made from them (spec.py); the tests hold them against what an agent and the reference backend say.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Id = Annotated[str, Meta(min_length=1, max_length=200, description="1 to 200 printable characters")]
Instant = Annotated[str, Meta(description="ISO 8601, UTC, milliseconds and Z")]
Status = Literal["completed", "failed", "received"]
Object = dict[str, Any]


class Signature(Struct, forbid_unknown_fields=True):
    """Who vouches for a command: Ed25519 over its canonical form, in base64 (PROTOCOL §7)."""

    key_id: str
    value: str


class Command(Struct, forbid_unknown_fields=True):
    """What the backend wants done, once in effect however often it comes."""

    command_id: Id
    command_type: Annotated[str, Meta(description="send_message, send_message_now, schedule_message, cancel_message, update_config …")]
    payload: Object
    priority: Literal["immediate", "high", "normal", "low", "deferred"] | UnsetType | None = UNSET
    timestamp: Annotated[Instant | UnsetType, Meta(description="when it was issued")] = UNSET
    expires_at: Annotated[Instant | UnsetType | None, Meta(description="from then on it is not to be run")] = UNSET
    signature: Signature | UnsetType | None = UNSET


class Ack(Struct, forbid_unknown_fields=True):
    """What became of a command. `completed` and `failed` end it; `received` says that a message is scheduled."""

    command_id: Id
    timestamp: Instant
    status: Status | UnsetType = UNSET
    success: bool | UnsetType = UNSET
    error: str | UnsetType | None = UNSET
    completed_at: Instant | UnsetType | None = UNSET
    result: Object | UnsetType = UNSET


class CommandFrame(Struct, tag_field="type", tag="command", forbid_unknown_fields=True):
    """backend → agent"""

    data: Command
    timestamp: Instant | UnsetType = UNSET


class AckFrame(Struct, tag_field="type", tag="command_ack", forbid_unknown_fields=True):
    """agent → backend"""

    data: Ack


class Numbered(Struct):
    """A ping's number, which its pong echoes."""

    seq: int | UnsetType = UNSET


class PingFrame(Struct, tag_field="type", tag="ping", forbid_unknown_fields=True):
    """either way"""

    data: Numbered | UnsetType = UNSET
    timestamp: Instant | UnsetType = UNSET


class PongFrame(Struct, tag_field="type", tag="pong", forbid_unknown_fields=True):
    """the answer to a ping, either way"""

    data: Numbered | UnsetType = UNSET
    timestamp: Instant | UnsetType = UNSET


class StatusReport(Struct, forbid_unknown_fields=True):
    """How the agent is."""

    scheduled_messages: int
    active_rules: int
    uptime_seconds: int
    memory_usage_mb: int


class StatusFrame(Struct, tag_field="type", tag="status", forbid_unknown_fields=True):
    """agent → backend"""

    data: StatusReport
    timestamp: Instant | UnsetType = UNSET


class Settings(Struct):
    """What a backend may change; anything else is refused and named."""

    sync_interval: Annotated[float, Meta(ge=5, le=300, description="seconds")] | UnsetType = UNSET
    ping_interval: Annotated[float, Meta(ge=10, le=300, description="seconds")] | UnsetType = UNSET
    log_level: Literal["debug", "info", "warning", "error"] | UnsetType = UNSET


class ConfigUpdateFrame(Struct, tag_field="type", tag="config_update", forbid_unknown_fields=True):
    """backend → agent"""

    data: Settings
    timestamp: Instant | UnsetType = UNSET


class ConnectedFrame(Struct, tag_field="type", tag="connected", forbid_unknown_fields=True):
    """backend → agent, optional: the agent is let in"""

    data: Object | UnsetType = UNSET
    timestamp: Instant | UnsetType = UNSET


class ErrorFrame(Struct, tag_field="type", tag="error", forbid_unknown_fields=True):
    """backend → agent: logged"""

    data: Object
    timestamp: Instant | UnsetType = UNSET


class Event(Struct, forbid_unknown_fields=True):
    """Something that happened at the agent, once by its id however often it comes."""

    event_id: Id
    event_type: Annotated[str, Meta(description="message_received, message_status, needs_attention, permission_lost")]
    occurred_at: Instant
    payload: Object


class EventFrame(Struct, tag_field="type", tag="event", forbid_unknown_fields=True):
    """agent → backend"""

    data: Event


AgentFrame = AckFrame | EventFrame | PingFrame | PongFrame | StatusFrame
BackendFrame = CommandFrame | ConfigUpdateFrame | ConnectedFrame | ErrorFrame | PingFrame | PongFrame


class PendingEvent(Struct):
    """What travels with a poll: an event (`event_id` …), or an ack where the backend has no call for it (`type`, `data`)."""

    event_id: Id | UnsetType = UNSET
    event_type: str | UnsetType = UNSET
    occurred_at: Instant | UnsetType = UNSET
    payload: Object | UnsetType = UNSET
    type: Literal["command_ack"] | UnsetType = UNSET
    data: Ack | UnsetType = UNSET


class SyncRequest(Struct):
    """POST /edge/sync"""

    edge_agent_id: Id
    last_command_id: str | None
    pending_events: list[PendingEvent]
    status: Object


class SyncAnswer(Struct):
    """The answer to POST /edge/sync."""

    commands: list[Command]
    ack_events: Annotated[list[Any], Meta(description="ids of events that were taken, or {command_id} of acks that the backend has")]
    config_updates: Settings | UnsetType = UNSET


class RegisterRequest(Struct):
    """POST /edge/register"""

    user_phone: str | None
    apple_id: str | None
    version: str
    capabilities: list[str]
    auth_token: str | UnsetType = UNSET


class RegisterAnswer(Struct):
    """The answer to POST /edge/register."""

    edge_agent_id: Id
    auth_token: str | UnsetType = UNSET


MODELS: tuple[type[Struct], ...] = (
    CommandFrame, AckFrame, EventFrame, PingFrame, PongFrame, StatusFrame, ConfigUpdateFrame, ConnectedFrame, ErrorFrame,
    SyncRequest, SyncAnswer, RegisterRequest, RegisterAnswer,
)  # fmt: skip
