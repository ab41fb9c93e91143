"""What led to an incident: the last presents with the feed entries between them, in memory until something goes wrong, then in a file.

The ring costs a present a second, and one at each change of phase. A file holds what a viewer would have been told meanwhile, line by line
(control/messages.py): the greeting, then in turn what has happened and the present that it led to.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, NamedTuple

from agent_core import __version__
from agent_core.codec import FORMAT, CodecError
from agent_core.control.messages import Greeting, Past, Present, Said, dump, said_of
from agent_core.feed import FeedEntry
from agent_core.files import dated, write_whole
from agent_core.plain import plain
from agent_core.redaction import Redactor
from agent_core.snapshot import Phase, Snapshot

FOLDER = "incidents"
EVERY = 1.0
MAX_STEPS, MAX_ENTRIES = 50, 40
"""Presents that are kept, and feed entries before each."""
MAX_LINE = 2**22
MAX_FILES = 10
AGAIN_AFTER = 600.0
"""Seconds in which an incident of one kind is kept once."""


class Incident(StrEnum):
    REFUSED = "refused"
    REPLACED = "replaced"
    DEAF = "deaf"
    DISK = "disk"
    UNKNOWN_OUTCOME = "unknown-outcome"


class Step(NamedTuple):
    """A present, and the newest of what has happened since the one before; `dropped` entries were more."""

    entries: Sequence[FeedEntry]
    dropped: int
    snapshot: Snapshot


class BlackBox:
    """The ring. Its agent asks nothing of it before `due_at`, unless the phase is another one."""

    def __init__(self) -> None:
        self.due_at = float("-inf")
        self.phase = Phase.STOPPED
        self._steps: deque[Step] = deque(maxlen=MAX_STEPS)
        self._entries: deque[FeedEntry] = deque(maxlen=MAX_ENTRIES)
        self._told = 0
        self._lasting: frozenset[Incident] = frozenset()
        self._kept_at: dict[Incident, float] = {}

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is kept now, oldest first."""
        return tuple(self._steps)

    def tell(self, entries: Sequence[FeedEntry]) -> None:
        """What has happened."""
        self._told += len(entries)
        self._entries.extend(entries)

    def look(self, snapshot: Snapshot) -> list[Incident]:
        """The next present; the incidents that begin with it and are to be kept."""
        before = self._steps[-1].snapshot if self._steps else snapshot
        self._steps.append(Step(tuple(self._entries), self._told - len(self._entries), snapshot))
        self._entries.clear()
        self._told = 0
        self.due_at, self.phase = snapshot.at + EVERY, snapshot.link.phase
        wrong = _wrong(snapshot, before)
        new = [one for one in Incident if one in wrong and one not in self._lasting]
        begun = [one for one in new if snapshot.at - self._kept_at.get(one, float("-inf")) >= AGAIN_AFTER]
        self._kept_at |= dict.fromkeys(begun, snapshot.at)
        self._lasting = wrong if snapshot.link.phase is Phase.ONLINE else wrong | (self._lasting & {Incident.REFUSED, Incident.REPLACED})
        return begun


def _wrong(snapshot: Snapshot, before: Snapshot) -> frozenset[Incident]:
    found = {
        Incident.REFUSED: snapshot.link.phase is Phase.REFUSED,
        Incident.REPLACED: snapshot.link.phase is Phase.REPLACED,
        Incident.DEAF: snapshot.link.deaf,
        Incident.DISK: not snapshot.disk.ok,
        Incident.UNKNOWN_OUTCOME: snapshot.commands.interrupted > before.commands.interrupted,
    }
    return frozenset(incident for incident, there in found.items() if there)


def keep(data_dir: Path, incident: Incident, steps: Sequence[Step], redactor: Redactor) -> Path:
    """Write them to a file of their own; of more than MAX_FILES the oldest go. Raises OSError."""
    last = steps[-1].snapshot
    lines = [dump(Greeting(FORMAT, __version__, os.getpid(), last.host))]
    for entries, dropped, snapshot in steps:
        lines += (dump(redactor.within(one)) for one in (Past(list(entries), dropped), Present(snapshot)))
    path = dated(data_dir / FOLDER, incident, last.utc, "jsonl")
    write_whole(path, b"".join(lines))
    for old in sorted(path.parent.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)[:-MAX_FILES]:
        old.unlink(missing_ok=True)
    return path


class NoBlackBox(Exception):
    """The file is none that this version can read; the sentence says why."""


def kept(path: Path) -> list[Step]:
    """What a file holds. Raises NoBlackBox, OSError."""
    try:
        with path.open("rb") as file:
            _judge(path, said_of(file.readline(MAX_LINE)))
            told = [said_of(line) for line in _lines(file)]
    except CodecError:
        raise NoBlackBox(f"{plain(path, 300)} is no black box of this version ({__version__})") from None
    steps: list[Step] = []
    past = Past([])
    for said in told:
        if isinstance(said, Past):
            past = said
        elif isinstance(said, Present):
            steps.append(Step(past.entries, past.dropped, said.snapshot))
            past = Past([])
    if not steps:
        raise NoBlackBox(f"{plain(path, 300)} holds no step")
    return steps


def _judge(path: Path, said: Said) -> None:
    """Raises NoBlackBox where it is no greeting of a program that this one understands."""
    if not isinstance(said, Greeting):
        raise NoBlackBox(f"{plain(path, 300)} is no black box: it does not say who made it")
    if said.format != FORMAT:
        made = f"format {said.format}, made by version {plain(said.version, 40)}"
        raise NoBlackBox(f"{plain(path, 300)} is a black box of {made}; this version, {__version__}, reads format {FORMAT}")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    for _ in range(2 * MAX_STEPS):
        if line := file.readline(MAX_LINE):
            yield line
