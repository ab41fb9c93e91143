"""A journal on its own, with what it has posted, and the changes to feed it with."""

import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent_core.config.models import LedgerConfig
from agent_core.events import LedgerOpened, Recorded, RecordFailed
from agent_core.frames import Command, ack
from agent_core.journal import Journal
from agent_core.records import (
    AcksProven,
    Change,
    CommandAccepted,
    CommandEnded,
    Memory,
    Named,
    OutboxRow,
    Remembered,
    State,
    Via,
)
from tests.harness.rig import ROOT

WITHIN = 20.0
UTC = 1_793_910_600.0


class Desk:
    """A journal and what it has posted."""

    def __init__(self, folder: Path, limits: LedgerConfig | None = None, **more: Any) -> None:
        self.posts: queue.Queue[Any] = queue.Queue()
        self.seen: list[Any] = []
        self.journal = Journal(folder, limits or LedgerConfig(), self.posts.put, **more)
        self.ticket = 0

    def open(self) -> Memory:
        self.journal.start()
        memory: Memory = self.until(LedgerOpened).memory
        return memory

    def until(self, kind: type, ticket: int = 0) -> Any:
        """The next post of this kind (and up to this ticket)."""
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            with suppress(queue.Empty):
                post = self.posts.get(timeout=0.05)
                self.seen.append(post)
                if isinstance(post, kind) and getattr(post, "ticket", 0) >= ticket:
                    return post
        raise AssertionError(f"no {kind.__name__} {ticket}: {self.seen[-5:]}")

    def found(self, command_id: str) -> Remembered:
        remembered = self.journal.recall(command_id)
        assert remembered is not None
        return remembered

    def target(self, name: str) -> Remembered:
        """The message of this name."""
        (remembered,) = self.journal.look_up((Named(name),))
        return remembered

    def give(self, *changes: Change) -> int:
        self.ticket += 1
        self.journal.write(self.ticket, changes)
        return self.ticket

    def write(self, *changes: Change) -> Recorded:
        recorded: Recorded = self.until(Recorded, self.give(*changes))
        return recorded

    def failures(self) -> list[str]:
        return [post.reason for post in self.seen if isinstance(post, RecordFailed)]


def reopened(desk: Desk, desks: list[Desk], **more: Any) -> tuple[Desk, Memory]:
    desk.journal.close()
    desks.append(Desk(desk.journal.path.parent, **more))
    return desks[-1], desks[-1].open()


def took(seq: int, command_id: str = "", state: State = State.RUNNING, **more: Any) -> CommandAccepted:
    payload = {"thread_id": "+1", "text": f"hi {seq}"}
    command = Command(command_id or f"cmd_{seq}", "send_message_now", payload, issued_utc=more.pop("issued", UTC))
    began = {"started_utc": UTC, "runs": 1} if state is State.RUNNING else {}
    return CommandAccepted(Remembered(seq, command, Via.WS, state, more.pop("received", UTC), **began | more))


def ended(seq: int, command_id: str = "", *, state: State = State.COMPLETED, effect: bool = True, **more: Any) -> CommandEnded:
    name = command_id or f"cmd_{seq}"
    row = OutboxRow(seq, name, "+1", f"hi {seq}", UTC) if effect else None
    return CommandEnded(seq, state, UTC, more.pop("error", None), ack(name, "completed", UTC), row)


def proved(*seqs: int) -> AcksProven:
    return AcksProven(tuple((seq, UTC) for seq in seqs), UTC, "pong")


def settle(*seqs: int) -> tuple[Change, ...]:
    return (*(took(seq) for seq in seqs), *(ended(seq) for seq in seqs), proved(*seqs))


def fed(desk: Desk, count: int, *, first: int = 1, received: float = UTC, step: float = 1.0, group: int = 50, skip: int = 0) -> None:
    """Settled commands, one each `step` seconds; each `skip`-th one's ack stays unproven."""
    for start in range(first, first + count, group):
        seqs = range(start, min(start + group, first + count))
        changes: list[Change] = []
        for seq in seqs:
            at = received + (seq - first) * step
            changes += [took(seq, received=at, issued=at), ended(seq)]
        proven = [seq for seq in seqs if not skip or seq % skip]
        desk.give(*changes, proved(*proven))
    desk.until(Recorded, desk.ticket)


def quiet(desk: Desk) -> None:
    """Until the journal has nothing more to trim: it posts no horizon for a while."""
    with suppress(queue.Empty):
        while True:
            desk.seen.append(desk.posts.get(timeout=0.4))


def known(desk: Desk, seqs: Iterator[int] | range) -> list[int]:
    return [seq for seq in seqs if desk.journal.recall(f"cmd_{seq}") is not None]


def beside(script: str, path: Path) -> "subprocess.Popen[str]":
    """A process that does something to the path until its input ends."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
