"""What the backend can be told to do wrong, for demonstrations, tests and rehearsals."""

from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

import msgspec

from agent_core.plain import plain
from agent_core.reference.orders import CallError

MAX_SECONDS = 3_600
_STATUS = {"kind": int, "low": 200, "high": 599}
_CODE = {"kind": int, "low": 1000, "high": 4999}
_SECONDS = {"kind": int | float, "low": 0, "high": MAX_SECONDS}


@dataclass(frozen=True, slots=True)
class Faults:
    """None, False, zero or empty is no fault. Seconds are seconds, statuses are of HTTP, codes are of WebSocket."""

    upgrade_status: int | None = field(default=None, metadata=_STATUS)
    """The upgrade is answered with this."""
    upgrade_retry_after: float | None = field(default=None, metadata=_SECONDS)
    upgrade_body: str = ""
    close_code: int | None = field(default=None, metadata=_CODE)
    """The upgrade is accepted and the socket closed at once."""
    silent: bool = False
    """The socket is accepted and read, and nothing is ever said on it."""
    ignore_pings: bool = False
    """JSON pings get no pong; protocol pings do."""
    push_twice: bool = False
    """Each command goes out twice on the socket."""
    sync_status: int | None = field(default=None, metadata=_STATUS)
    sync_retry_after: float | None = field(default=None, metadata=_SECONDS)
    sync_body: str = ""
    sync_items: str = ""
    """This text stands before the commands of each sync answer, whatever it makes of it."""
    ack_status: int | None = field(default=None, metadata=_STATUS)
    """POST /edge/command/ack is answered with this."""
    old_ack_status: int | None = field(default=None, metadata=_STATUS)
    """POST /edge/ack_command is answered with this."""
    delay_seconds: float = field(default=0, metadata=_SECONDS)
    """Every answer is late by this."""

    def view(self) -> dict[str, Any]:
        return asdict(self)


_KNOWN = {spec.name: spec for spec in fields(Faults)}


def faults_of(body: Mapping[str, Any]) -> Faults:
    """The faults a PUT /admin/faults asks for; what it does not name is off. Raises CallError, naming the key."""
    for key, value in body.items():
        if key not in _KNOWN:
            raise CallError(400, f"unknown fault {plain(key, 60)}; known are {', '.join(_KNOWN)}")
        if value != _KNOWN[key].default and not _fits(_KNOWN[key], value):
            raise CallError(400, f"{key}: {_expected(_KNOWN[key])} expected")
    return Faults(**body)


def in_words(words: str) -> tuple[Faults, float | None]:
    """`ack_status=404 seconds=30`, or `off`: which faults, and for how long, None: until told otherwise. Raises CallError."""
    pairs = [word.partition("=") for word in words.split() if word != "off"]
    body = {key: _value(text) if given else True for key, given, text in pairs}
    seconds = checked_seconds(body.pop("seconds")) if "seconds" in body else None
    return faults_of(body), seconds


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def checked_seconds(value: object) -> float:
    """For how long. Raises CallError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        raise CallError(400, f"seconds: more than 0, at most {MAX_SECONDS:g} expected")
    return value


def _fits(spec: Field[Any], value: object) -> bool:
    if spec.metadata:
        low, high = spec.metadata["low"], spec.metadata["high"]
        return isinstance(value, spec.metadata["kind"]) and not isinstance(value, bool) and low <= value <= high
    return isinstance(value, type(spec.default))


def _expected(spec: Field[Any]) -> str:
    return f"{spec.metadata['low']} to {spec.metadata['high']}" if spec.metadata else type(spec.default).__name__
