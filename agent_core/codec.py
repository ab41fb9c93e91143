"""Events, feed entries and snapshots as JSON and back: for recordings, and for a viewer in another process.

msgspec has the schema: what is one of several classes says its name as `type`, a CommandEntry is an array. What is read is bounded and
judged: a class or value that this version does not know is a CodecError; a field that it does not know is left out.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import ValidationError, convert, to_builtins

from agent_core.events import Event
from agent_core.feed import FeedEntry
from agent_core.plain import plain
from agent_core.snapshot import Snapshot

FORMAT = 6
"""Goes up with each change after which an older reader would misunderstand."""
MAX_CHARACTERS = 64 * 2**20
"""Of one line: as much as the longest frame may have."""

_UNKNOWN = re.compile(r"""Invalid value (['"])(.*)\1 - at `[^`]*\.type`""", re.DOTALL)


class CodecError(ValueError):
    """What is wrong with what was read, in one sentence."""


def encode(value: Event | FeedEntry | Snapshot) -> Any:
    """As JSON has it."""
    return to_builtins(value, enc_hook=mapping)


def mapping(value: Any) -> dict[str, Any]:
    """A mapping that is no dict, as the empty payload."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def event_of(told: Any) -> Event:
    """Raises CodecError."""
    event: Event = _decoded(told, Event)
    return event


def entry_of(told: Any) -> FeedEntry:
    """Raises CodecError."""
    entry: FeedEntry = _decoded(told, FeedEntry)
    return entry


def snapshot_of(told: Any) -> Snapshot:
    """Raises CodecError."""
    snapshot: Snapshot = _decoded(told, Snapshot)
    return snapshot


def _decoded(told: Any, kind: Any) -> Any:
    try:
        return convert(told, kind)
    except ValidationError as error:
        if unknown := _UNKNOWN.fullmatch(str(error)):
            raise CodecError(f"it holds a {plain(unknown[2], 60)}, which this version does not know") from None
        name = told.get("type", "Snapshot") if isinstance(told, dict) else "entry"
        raise CodecError(f"its {plain(name, 60)} is not this version's: {plain(error, 120)}") from None


def line_of(value: Mapping[str, Any]) -> str:
    """One JSON object on one line, the end of it included. Raises TypeError, ValueError."""
    return json.dumps(value, separators=(",", ":")) + "\n"


def object_of(line: str) -> dict[str, Any]:
    """The object on a line. Raises CodecError."""
    if len(line) > MAX_CHARACTERS:
        raise CodecError(f"a line is longer than {MAX_CHARACTERS:,} characters")
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        raise CodecError("a line is not JSON") from None
    if not isinstance(told, dict):
        raise CodecError("a line is not a JSON object")
    return told
