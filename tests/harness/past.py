"""A ledger as an agent would have left it after many commands: a real one, and one by hand for a console."""

import time
from collections.abc import Iterator
from pathlib import Path

from agent_core.feed import CommandEntry
from agent_core.filters import parse
from agent_core.frames import Command
from agent_core.journal.opening import FILE_NAME, open_ledger
from agent_core.journal.rows import write
from agent_core.records import Change, CommandAccepted, Remembered, State, Via
from agent_core.search import Page, Query
from tests.harness.stills import NOON, entry


def leave_ledger(data_dir: Path, count: int) -> None:
    """The last ended now, one a second; each 50th failed, each 1,000th by polling, the first says `the very first`."""
    db, _, _ = open_ledger(data_dir / FILE_NAME)
    began = time.time() - count
    db.execute("PRAGMA synchronous = off")
    for start in range(1, count + 1, 5_000):
        write(db, _commands(began, range(start, min(start + 5_000, count + 1))))
    db.close()


def _commands(began: float, numbers: range) -> Iterator[Change]:
    for number in numbers:
        text = "the very first" if number == 1 else f"Your parcel {number} is on its way"
        payload = {"thread_id": f"+1310555{number % 97:04d}", "text": text}
        failed = number % 50 == 0
        at = began + number
        yield CommandAccepted(
            Remembered(
                number, Command(f"past_{number:08d}", "send_message_now", payload), Via.POLL if number % 1_000 == 0 else Via.WS,
                State.FAILED if failed else State.COMPLETED, at, at + 0.01, at + 0.02,
                error="the recipient is not registered" if failed else None,
                ack='{"status":"completed"}', proven_utc=at + 0.1,
            )
        )  # fmt: skip


def past(most: int) -> "Past":
    return Past([entry(number, f"cmd_{number}", utc=NOON - 90_000 + number) for number in range(1, most + 1)])


class Past:
    """A ledger with these commands, of which `at_once` are looked at for a page."""

    def __init__(self, entries: list[CommandEntry], at_once: int = 10_000) -> None:
        self.entries, self._at_once = entries, at_once
        self.asked: list[Query] = []

    def __call__(self, query: Query) -> Page:
        self.asked.append(query)
        wanted = parse(query.text, utc=query.utc, failures_only=query.failures_only)
        low, high = query.after or 0, query.before or 2**62
        behind = [one for one in self.entries if low < one.row < high]
        looked = behind[-self._at_once :] if query.after is None else behind[: self._at_once]
        found = [one for one in looked if wanted.holds((one.command_type, one.via, one.status, "", "", "", ""), one.command_id, one.ack_ms)]
        if query.after is None:
            cut, edge = found[-query.most :], looked[0].row if looked else 0
            edge = cut[0].row if len(found) > query.most else edge
            more = bool(behind) and edge > behind[0].row
        else:
            cut, edge = found[: query.most], looked[-1].row if looked else 0
            edge = cut[-1].row if len(found) > query.most else edge
            more = bool(behind) and edge < behind[-1].row
        return Page(cut, edge if more else None, len(looked), (len(behind) - len(looked)) / max(1, len(self.entries)))
