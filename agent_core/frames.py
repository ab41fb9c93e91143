"""Every wire frame as a model (PROTOCOL §2): `parse` is liberal, `dump_*` is strict; the only file that knows the spellings."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

import msgspec.structs
from msgspec import UNSET, Struct, UnsetType, to_builtins
from pydantic_core import from_json, to_json

from agent_core.clock import iso
from agent_core.json_parts import BOM, members, parts

PAYLOAD_KEYS = ("payload", "parameters", "params", "data", "args")
TEXT_KEYS = ("text", "message", "message_text")
SEND_AT_KEYS = ("send_at", "schedule_time", "at")
NAME_KEYS = ("schedule_id", "message_id")
_UNNAMED = frozenset(NAME_KEYS).isdisjoint
MAX_LISTED = 100
SIGNED = ("command_id", "command_type", "priority", "timestamp", "expires_at")
"""What a signature covers beside the payload, where it is there."""
TARGET_KEYS = (*NAME_KEYS, "command_id")
MAX_RESCUED = 128 * 2**10
"""Bytes of a frame in which an id is still looked for, so that a turn stays short."""
FIRST_UTC = 946_684_800.0
"""The year 2000: a command that says it was made before that has a clock or a field that was never set."""
LAST_UTC = 253_402_300_799.0
"""The last second of the year 9999: what comes after it cannot be written as ISO 8601."""
NO_TIME = "not a time: ISO 8601 or Unix seconds expected"
_SHA256 = re.compile("[0-9a-f]{64}")
MAX_ATTACHMENTS = 10
_LEAP_SECOND = re.compile(r"\d[Tt ]\d\d:\d\d:60")
GREETINGS = frozenset({"connected", "ready", "welcome"})


class Priority(IntEnum):
    """Smaller is sooner."""

    IMMEDIATE = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    DEFERRED = 4

    def __init__(self, rank: int) -> None:
        self.overtakes = rank <= 1


PRIORITIES = {priority.name.lower(): priority for priority in Priority}
NORMAL = Priority.NORMAL


class Signature(Struct, frozen=True, gc=False):
    """Who vouches for a command (PROTOCOL §7), over its payload and these fields as they came."""

    key_id: str
    value: str
    fields: Mapping[str, Any]


class Command(Struct, frozen=True, gc=False, tag=True):
    """One command as the backend meant it, whatever its spelling. `warnings` names what had to be guessed."""

    command_id: str
    command_type: str
    payload: Mapping[str, Any] = MappingProxyType({})
    priority: Priority = Priority.NORMAL
    issued_utc: float | None = None
    warnings: tuple[str, ...] = ()
    invalid: str | None = None
    """Why it cannot be run, where the id is good enough to say so in a failed ack."""
    expires_utc: float | None = None
    """From then on it is not to be run."""
    signature: Signature | None = None


class Ping(Struct, frozen=True, gc=False, tag=True):
    payload: Mapping[str, Any] | None = None


class Pong(Struct, frozen=True, gc=False, tag=True):
    """`seq` is the number of our ping where the backend echoes it."""

    seq: int | None = None


class ConfigUpdate(Struct, frozen=True, gc=False, tag=True):
    values: Mapping[str, Any]


class Welcome(Struct, frozen=True, gc=False, tag=True):
    """`connected`, `ready` or `welcome`: the backend has let us in."""


class ErrorFrame(Struct, frozen=True, gc=False, tag=True):
    text: str


class Unknown(Struct, frozen=True, gc=False, tag=True):
    """A type nobody told us of: counted, logged once per type, ignored."""

    frame_type: str


class Malformed(Struct, frozen=True, gc=False, tag=True):
    """Not a frame: counted, logged, ignored; the link stays up."""

    reason: str


Frame = Command | Ping | Pong | ConfigUpdate | Welcome | ErrorFrame | Unknown | Malformed


class FrameError(ValueError):
    """What is wrong with a command, in one sentence."""


# --- in: liberal -----------------------------------------------------------------------------------------------------


def parse(raw: str | bytes) -> Frame:
    """One frame from the backend; never raises (PROTOCOL §1: malformed frames are counted, the link stays up)."""
    try:
        body = from_json(raw, allow_inf_nan=False, cache_strings="keys")  # values seldom come twice: they would fill 1.5 MB in vain
    except (ValueError, TypeError) as error:
        return _rescued_frame(raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass"), error)
    if not isinstance(body, dict):
        return Malformed(f"a JSON {type(body).__name__}, not an object")
    kind = body.get("type")
    if not isinstance(kind, str):
        return Malformed("no type")
    if kind == "command":
        try:
            return command_of(_envelope(body))
        except FrameError as error:
            return Malformed(str(error))
    return _small_frame(kind, body)


def _rescued_frame(raw: bytes, error: Exception) -> Frame:
    """A frame that is not JSON: a command is taken for its failed ack, where its id can be read."""
    if raw.startswith(BOM) and not raw.startswith(BOM, len(BOM)):
        return parse(raw[len(BOM) :])
    with suppress(ValueError):
        if len(raw) <= MAX_RESCUED and _readable(members(raw).get("type")) == "command":
            return _unreadable(raw, error)
    return Malformed("not JSON")


def _unreadable(raw: bytes, error: Exception) -> Command:
    """The command in an object that is not JSON, as invalid. Raises ValueError where its id cannot be read, either."""
    nested = {name: members(value) if value.startswith(b"{") else value for name, value in members(raw).items()}
    fields = {name: _readable(value) for name, value in _envelope(nested).items()}
    command_type = fields.get("command_type")
    return Command(_command_id(fields.get("command_id")), command_type if _is_type(command_type) else "", invalid=f"invalid JSON: {error}")


def _readable(raw: Any) -> Any:
    """A value of JSON; None where it is not one."""
    try:
        return from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except (ValueError, TypeError):
        return None


def _small_frame(kind: str, body: dict[str, Any]) -> Frame:
    inner = body.get("data")
    fields: dict[str, Any] = inner if isinstance(inner, dict) else {}
    if kind == "pong":
        seq = fields.get("seq")
        return Pong(seq if isinstance(seq, int) and not isinstance(seq, bool) else None)
    if kind == "ping":
        return Ping(fields or None)
    if kind == "config_update":
        return ConfigUpdate(fields or {k: v for k, v in body.items() if k not in {"type", "timestamp"}})
    if kind in GREETINGS:
        return Welcome()
    if kind == "error":
        return ErrorFrame(str(fields.get("message") or fields.get("error") or body.get("message") or body.get("error") or "unnamed"))
    return Unknown(kind)


def _envelope(body: dict[str, Any]) -> dict[str, Any]:
    """The object that carries the command: `data`, else a `payload` that has a `command_id`, else the frame itself."""
    for key in ("data", "payload"):
        inner = body.get(key)
        if isinstance(inner, dict) and "command_id" in inner and ("command_id" not in body or "command_type" in inner):
            return inner
    return body


def command_of(fields: Mapping[str, Any]) -> Command:
    """A command from the object that carries it, on the socket or in a sync answer.

    Raises FrameError where there is no usable id; any other fault is told in `Command.invalid`, so that it can be acknowledged as failed.
    """
    command_id = _command_id(fields.get("command_id"))
    command_type = fields.get("command_type")
    invalid = None
    if not _is_type(command_type):
        command_type, invalid = "", "invalid command_type"
    payload = _first(fields, PAYLOAD_KEYS)
    if payload is None:
        payload = {}
    if not isinstance(payload, dict):
        payload, invalid = {}, invalid or "invalid payload: not an object"
    warnings: list[str] = []
    priority = _priority(fields.get("priority", payload.get("priority")), warnings)
    issued_utc = _issued(fields.get("timestamp"), warnings)
    expires_utc = None
    expires = fields.get("expires_at")
    if (expires := payload.get("expires_at") if expires is None else expires) is not None:
        try:
            expires_utc = instant(expires, warnings)
        except FrameError as error:
            invalid = invalid or f"invalid expires_at: {error}"
    signature = fields.get("signature")
    signed = None if signature is None else _signature(signature, fields)
    return Command(command_id, command_type, payload, priority, issued_utc, tuple(warnings), invalid, expires_utc, signed)


def _signature(given: Any, fields: Mapping[str, Any]) -> Signature | None:
    """None where it is none."""
    key_id, value = (given.get("key_id"), given.get("value")) if isinstance(given, dict) else (None, None)
    if not isinstance(key_id, str) or not isinstance(value, str):
        return None
    return Signature(key_id, value, {name: fields[name] for name in SIGNED if fields.get(name) is not None})


def _is_type(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= 100 and value.isprintable()


def _issued(stamp: Any, warnings: list[str]) -> float | None:
    """When a command was made; None where that is not said, or cannot be (a zero time, in whatever epoch)."""
    if stamp is None:
        return None
    try:
        issued_utc = instant(stamp, warnings)
    except FrameError as error:
        warnings.append(str(error))
        return None
    if issued_utc >= FIRST_UTC:
        return issued_utc
    warnings.append("an implausible timestamp, taken as none")
    return None


def _command_id(value: Any) -> str:
    if isinstance(value, str) and 1 <= len(value) <= 200 and value.isprintable():
        return value
    if (command_id := _id_of(value)) is None:
        raise FrameError("no command_id of 1 to 200 printable characters")
    return command_id


def _id_of(value: Any) -> str | None:
    """1 to 200 printable characters, or a whole number as its digits; None where it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 1 <= len(value) <= 200 and value.isprintable() else None


def _priority(value: Any, warnings: list[str]) -> Priority:
    if value is None or value == "normal":
        return NORMAL
    try:
        if isinstance(value, str) and not value.strip().isdigit():
            return PRIORITIES[value.strip().lower()]
        return Priority(int(value))
    except (KeyError, ValueError, TypeError, OverflowError):
        warnings.append("unknown priority, taken as normal")
        return NORMAL


def instant(value: Any, warnings: list[str] | None = None) -> float:
    """Unix seconds from ISO 8601 (naive = UTC, with a warning), Unix seconds or milliseconds (PROTOCOL §2). Raises FrameError."""
    if isinstance(value, str):
        text = value.strip()
        if not text.replace(".", "", 1).isdecimal():
            return _iso_instant(text, warnings)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_UTC * 1_000:
        raise FrameError(NO_TIME)
    return value / 1_000 if value >= 1e11 else float(value)


def _iso_instant(text: str, warnings: list[str] | None) -> float:
    try:
        leap = _LEAP_SECOND.search(text) if ":60" in text else None
        spelt = text[: leap.end() - 2] + "59" + text[leap.end() :] if leap else text
        moment = datetime.fromisoformat(spelt.upper())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
            if warnings is not None:
                warnings.append("a time without zone, taken as UTC")
        utc = moment.timestamp() + bool(leap)
    except (ValueError, OverflowError):
        raise FrameError(NO_TIME) from None
    if utc > LAST_UTC:
        raise FrameError(NO_TIME)
    return utc


class Attachment(Struct, frozen=True, gc=False):
    """A file that a message takes along: where it is, and what it must be."""

    url: str
    sha256: str
    bytes: int
    name: str


class Message(Struct, frozen=True, gc=False):
    """What a send or schedule command asks for. `due_utc` None means now."""

    thread_id: str
    text: str
    due_utc: float | None = None
    names: tuple[str, ...] = ()
    """Further names a cancel may use: the payload's `schedule_id`, `message_id`."""
    attachments: tuple[Attachment, ...] = ()


def message_of(command: Command) -> Message:
    """The message inside a send_message, send_message_now or schedule_message. Raises FrameError, naming the field."""
    payload = command.payload
    text = _first(payload, TEXT_KEYS)
    attachments = () if (attached := payload.get("attachments")) is None else _attachments(attached)
    if text is None and attachments:
        text = ""
    if not isinstance(text, str) or not (text or attachments):
        raise FrameError("missing text")
    return Message(thread_of(command), text, _due(command), () if _UNNAMED(payload) else _names(payload), attachments)


def _attachments(given: Any) -> tuple[Attachment, ...]:
    """Raises FrameError."""
    if not isinstance(given, list) or len(given) > MAX_ATTACHMENTS:
        raise FrameError(f"invalid attachments: a list of at most {MAX_ATTACHMENTS} expected")
    return tuple(map(_attachment, given))


def _attachment(given: Any) -> Attachment:
    fields = given if isinstance(given, dict) else {}
    url, sha256, size, name = (fields.get(key) for key in ("url", "sha256", "bytes", "name"))
    if not isinstance(url, str) or not 1 <= len(url) <= 2_000 or not url.isprintable():
        raise FrameError("invalid attachments: a url expected")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
        raise FrameError("invalid attachments: sha256 as 64 hexadecimal digits expected")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise FrameError("invalid attachments: bytes as a whole number expected")
    if not isinstance(name, str) or not 1 <= len(name) <= 500:
        raise FrameError("invalid attachments: a name expected")
    return Attachment(url, sha256.lower(), size, name)


def _names(payload: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (_name(payload, key) for key in NAME_KEYS))))


def _first(fields: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = fields.get(key)
        if value is not None:
            return value
    return None


def thread_of(command: Command) -> str:
    """The conversation a command belongs to. Raises FrameError."""
    thread = command.payload.get("thread_id")
    if isinstance(thread, int) and not isinstance(thread, bool):
        thread = str(thread)
    if not isinstance(thread, str) or not 1 <= len(thread) <= 500:
        raise FrameError("missing thread_id")
    return thread


def _due(command: Command) -> float | None:
    if command.command_type == "send_message_now" or command.priority is Priority.IMMEDIATE:
        return None
    value = _first(command.payload, SEND_AT_KEYS)
    if value is None:
        if command.command_type == "schedule_message":
            raise FrameError("missing send_at")
        return None
    try:
        return instant(value)
    except FrameError as error:
        raise FrameError(f"invalid send_at: {error}") from None


class Target(Struct, frozen=True, gc=False):
    """What a cancel names: a command by its id, or messages by the name that their payload gives them."""

    name: str
    by_id: bool = False


def cancel_targets(command: Command) -> tuple[Target, ...]:
    """By schedule_id, message_id and command_id, those that it gives in this order. Raises FrameError."""
    named = ((key, _name(command.payload, key)) for key in TARGET_KEYS)
    targets = tuple(dict.fromkeys(Target(name, by_id=key == "command_id") for key, name in named if name is not None))
    if not targets:
        raise FrameError("missing schedule_id, message_id or command_id")
    return targets


def _name(payload: Mapping[str, Any], key: str) -> str | None:
    """A name that a message has or a cancel gives; None where it is absent or empty. Raises FrameError."""
    value = payload.get(key)
    if value is None or value == "":
        return None
    if (name := _id_of(value)) is None:
        raise FrameError(f"invalid {key}: 1 to 200 printable characters expected")
    return name


MESSAGE_RECEIVED, MESSAGE_STATUS = "message_received", "message_status"
NEEDS_ATTENTION, PERMISSION_LOST = "needs_attention", "permission_lost"


class Occurrence(Struct, frozen=True, gc=False, tag=True):
    """What has happened here and the backend is told: an `event` on the wire, once by its `event_id` (PROTOCOL §2)."""

    event_type: str
    event_id: str
    occurred_utc: float
    payload: Mapping[str, Any]


def event_id_of(event_type: str, *what: str) -> str:
    """The same for the same thing, whoever tells of it and however often."""
    return "evt_" + blake2b("\0".join((event_type, *what)).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


class Rescheduling(Struct, frozen=True, gc=False):
    """What is to change of a scheduled message; None: nothing."""

    text: str | None
    due_utc: float | None


def rescheduling_of(command: Command) -> Rescheduling:
    """Raises FrameError, naming the field."""
    text, due = _first(command.payload, TEXT_KEYS), _first(command.payload, SEND_AT_KEYS)
    if text is None and due is None:
        raise FrameError("missing text or send_at")
    if text is not None and (not isinstance(text, str) or not text):
        raise FrameError("invalid text: expected some")
    try:
        return Rescheduling(text, None if due is None else instant(due))
    except FrameError as error:
        raise FrameError(f"invalid send_at: {error}") from None


def rescheduled(command: Command, change: Rescheduling) -> Command:
    """The message with another text or time, in the emitted form."""
    fields = dict(command.payload)
    for keys, value in ((TEXT_KEYS, change.text), (SEND_AT_KEYS, None if change.due_utc is None else iso(change.due_utc))):
        if value is not None:
            fields = {key: held for key, held in fields.items() if key not in keys} | {keys[0]: value}
    return msgspec.structs.replace(command, payload=fields)


def listed_of(command: Command) -> int:
    """How many scheduled messages a list is to have: `limit`, 1 to 100, which is the default. Raises FrameError."""
    limit = command.payload.get("limit", MAX_LISTED)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_LISTED:
        raise FrameError(f"invalid limit: 1 to {MAX_LISTED} expected")
    return limit


def listed(command: Command, due_utc: float) -> dict[str, Any]:
    """A scheduled message, as a list has it. Raises FrameError."""
    message = message_of(command)
    schedule_id = message.names[0] if message.names else command.command_id
    fields = {"command_id": command.command_id, "schedule_id": schedule_id, "thread_id": message.thread_id, "send_at": iso(due_utc)}
    return fields if command.expires_utc is None else fields | {"expires_at": iso(command.expires_utc)}


class SyncAnswer(Struct, frozen=True, gc=False):
    """The backend's answer to POST /edge/sync (PROTOCOL §3)."""

    commands: tuple[Command, ...]
    proven: tuple[str, ...]
    settings: Mapping[str, Any]
    malformed: tuple[str, ...]


def parse_sync(raw: bytes) -> SyncAnswer:
    """Raises FrameError where the answer is no JSON object; a bad item inside is failed or counted, and spoils no other."""
    try:
        body = from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        body = _rescued_answer(raw)
    if not isinstance(body, dict):
        raise FrameError("the answer is not a JSON object")
    commands: list[Command] = []
    malformed: list[str] = []
    for item in _items(body, "commands"):
        try:
            commands.append(item if isinstance(item, Command) else command_of(_envelope(item) if isinstance(item, dict) else {}))
        except FrameError as error:
            malformed.append(str(error))
    proven = [item.get("command_id", item.get("event_id")) if isinstance(item, dict) else item for item in _items(body, "ack_events")]
    updates = body.get("config_updates")
    return SyncAnswer(
        tuple(commands),
        tuple(str(item) for item in proven if isinstance(item, str | int)),
        updates if isinstance(updates, dict) else {},
        tuple(malformed),
    )


def _rescued_answer(raw: bytes) -> dict[str, Any]:
    """An answer that is not JSON as a whole, each item judged alone. Raises FrameError."""
    try:
        fields = members(raw)
        lists = {name: [_judged(item) for item in parts(value)] for name, value in fields.items() if value.startswith(b"[")}
    except ValueError:
        raise FrameError("the answer is not JSON") from None
    return {name: _readable(value) for name, value in fields.items()} | lists


def _judged(raw: bytes) -> Any:
    """An item; as an invalid command where it is no JSON but has an id, else None."""
    try:
        return from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        with suppress(ValueError):
            return _unreadable(raw, error)
        return None


def _items(body: Mapping[str, Any], key: str) -> list[Any]:
    found = body.get(key)
    return found if isinstance(found, list) else []


# --- out: strict -----------------------------------------------------------------------------------------------------


def dump_ping(seq: int, utc: float) -> str:
    return f'{{"type":"ping","data":{{"seq":{seq}}},"timestamp":"{iso(utc)}"}}'


def dump_pong(ping: Ping, utc: float) -> str:
    return as_json({"type": "pong", **({"data": ping.payload} if ping.payload else {}), "timestamp": iso(utc)})


def dump_ack(ack: str) -> str:
    """The frame around a stored ack, which goes out byte for byte as it was recorded."""
    return f'{{"type":"command_ack","data":{ack}}}'


def event(occurrence: Occurrence) -> str:
    """An event's object as JSON (PROTOCOL §2)."""
    return as_json({
        "event_id": occurrence.event_id, "event_type": occurrence.event_type, "occurred_at": iso(occurrence.occurred_utc),
        "payload": dict(occurrence.payload),
    })  # fmt: skip


def dump_event(event: str) -> str:
    """The frame around a stored event."""
    return f'{{"type":"event","data":{event}}}'


def dump_edge_message(agent_id: str | None, event: str) -> str:
    """The body of POST /edge/message (PROTOCOL §3): a message that came in, of whose event this is the text."""
    body = from_json(event)
    told = {"edge_agent_id": agent_id, "event_id": body["event_id"], "message_id": body["payload"].get("guid"), **body["payload"]}
    return as_json(told | {"timestamp": body["occurred_at"]})


def dump_sync(
    agent_id: str | None, last_command_id: str | None, acks: Iterable[str], status: Mapping[str, Any], events: Iterable[str] = ()
) -> str:
    """The body of a sync; acks and events travel in it byte for byte as they were recorded (PROTOCOL §3)."""
    fields = as_json({"edge_agent_id": agent_id, "last_command_id": last_command_id, "status": dict(status)})
    return f'{fields[:-1]},"pending_events":[{",".join([*map(dump_ack, acks), *events])}]}}'


def dump_status(scheduled: int, uptime_seconds: float, memory_mb: float, utc: float) -> str:
    counts = {"scheduled_messages": scheduled, "active_rules": 0}
    counts |= {"uptime_seconds": int(uptime_seconds), "memory_usage_mb": round(memory_mb)}
    return as_json({"type": "status", "data": counts, "timestamp": iso(utc)})


class _AckBody(Struct, frozen=True, gc=False):
    command_id: str
    status: str | UnsetType
    success: bool | UnsetType
    error: str | None
    timestamp: str
    completed_at: str | None
    result: dict[str, Any]


def ack(
    command_id: str, status: str, utc: float, error: str | None = None, result: Mapping[str, Any] | None = None, dialect: str = "superset"
) -> str:
    """An ack's `data` object as JSON: `status` received, completed or failed, in the configured dialect (PROTOCOL §2)."""
    at = iso(utc)
    body = _AckBody(
        command_id, UNSET if dialect == "success" else status, UNSET if dialect == "status" else status != "failed", error, at,
        at if status == "completed" else None, {},
    )  # fmt: skip
    if result or error:
        return as_json(to_builtins(body) | {"result": dict(result or {})})
    return msgspec.json.encode(body).decode()


def as_json(body: Mapping[str, Any], *, nan: Literal["null", "constants"] = "null") -> str:
    """JSON that can be sent and stored, whatever is in the body."""
    try:
        return to_json(body, inf_nan_mode=nan, fallback=str).decode()
    except ValueError:  # half a surrogate pair, from the name of a file or the text of an error
        return json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
