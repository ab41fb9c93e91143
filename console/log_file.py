"""The agent's log, read back from its files."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from agent_core.plain import plain

LINE = re.compile(r"\[([^\]]{1,40})\] \[([A-Z]{1,20})\] (.*)")
MAX_LINE = 65_536
TAIL = 2**18
"""Bytes of each file that `last_lines` looks at."""


class LogLine(NamedTuple):
    utc: float
    level: str
    text: str


def line_of(raw: str) -> LogLine:
    """A line of the file; one of another form keeps its text. Nothing in it can steer a terminal."""
    if found := LINE.fullmatch(raw):
        with suppress(ValueError, OverflowError):
            return LogLine(datetime.fromisoformat(found[1]).astimezone(UTC).timestamp(), found[2], plain(found[3], MAX_LINE))
    return LogLine(0.0, "INFO", plain(raw, MAX_LINE))


def last_lines(path: Path) -> list[LogLine]:
    """The end of the log, oldest first, over one rotation; what is of another form is left out."""
    from agent_core.logs import rotated

    raw = [line for file in (rotated(path)[0], path) for line in _end_of(file)]
    return [line for line in map(line_of, raw) if line.utc]


def _end_of(path: Path) -> list[str]:
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read(TAIL).decode("utf-8", "replace").splitlines()
    return []
