"""Every wire frame as a model (PROTOCOL §2): `parse` is liberal, `dump_*` is strict; the only file that knows the spellings."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from pydantic_core import from_json, to_json

from agent_core.clock import iso

PAYLOAD_KEYS = ("payload", "parameters", "params", "data", "args")
THREAD_KEYS = ("thread_id", "recipient", "to")
TEXT_KEYS = ("text", "message", "message_text")
SEND_AT_KEYS = ("send_at", "schedule_time", "at")
TARGET_KEYS = ("schedule_id", "message_id", "command_id")
GREETINGS = frozenset({"connected", "ready", "welcome"})


class Priority(IntEnum):
    """Smaller is sooner."""

    IMMEDIATE = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    DEFERRED = 4

    @property
    def overtakes(self) -> bool:
        return self <= Priority.HIGH


@dataclass(frozen=True, slots=True)
class Command:
    """One command as the backend meant it, whatever its spelling. `warnings` names what had to be guessed."""

    command_id: str
    command_type: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    issued_utc: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandFrame:
    command: Command


@dataclass(frozen=True, slots=True)
class Ping:
    payload: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Pong:
    """`seq` is the number of our ping where the backend echoes it."""

    seq: int | None = None


@dataclass(frozen=True, slots=True)
class ConfigUpdate:
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Welcome:
    """`connected`, `ready` or `welcome`: the backend has let us in."""


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A type nobody told us of: counted, logged once per type, ignored."""

    frame_type: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a frame: counted, logged, ignored; the link stays up."""

    reason: str


Frame = CommandFrame | Ping | Pong | ConfigUpdate | Welcome | ErrorFrame | Unknown | Malformed


class FrameError(ValueError):
    """What is wrong with a command, in one sentence."""
