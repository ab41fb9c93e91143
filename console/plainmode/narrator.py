"""What has changed since the last look, a line a change; of a flood the first ones, and then its sum each second."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, tzinfo

from agent_core.clock import Moment
from agent_core.feed import CommandEntry, LogEntry
from console.panels.ring import Row
from console.panels.view import View
from console.plainmode.facts import Fact, facts
from console.text import day_of, grouped, moment, shown, took

MAX_A_SECOND = 20
"""Commands, and lines of the log, told one by one."""
MAX_REMEMBERED = 50_000
SETTLES_WITHIN = 1.0
"""Seconds in which an agent tells what it has told before, and what it remembers."""
LOUD = frozenset({"WARNING", "ERROR"})
TOLD_OTHERWISE = re.compile(r"WebSocket (error: |disconnected )|HTTP polling failed: |Command \S+ (failed|cancelled): ")
"""What the log warns of that is a fact or a command's end here."""
ANSWERS = re.compile(r"Dry run of |Command \S+ is resolved as |Attached again|Another agent has started")
"""What the log tells of what the operator has asked for."""
WAYS = {"ws": "by WebSocket", "poll": "by polling"}
OPEN = {
    "queued": "waits for its turn",
    "running": "runs",
    "scheduled": "is due later",
    "held": "waits for you: `approve ID` or `refuse ID`",
}
ENDED = dict.fromkeys(("outbox", "sent", "acked"), "Completed") | {
    "failed": "Failed", "duplicate": "Came again", "cancelled": "Cancelled", "interrupted": "Outcome unknown", "refused": "Refused",
    "received": "Came in",
}  # fmt: skip


class Recent:
    """Keys seen lately, the oldest forgotten."""

    def __init__(self) -> None:
        self._seen: dict[object, None] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._seen

    def add(self, key: object) -> bool:
        """Whether it is new."""
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True


class Flood:
    """Lets so many a second through, and counts the rest by kind."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._ends_at = 0.0
        self._told = 0
        self._left: Counter[str] = Counter()

    def admits(self, kind: str) -> bool:
        if self._told < MAX_A_SECOND:
            self._told += 1
            return True
        self._left[kind] += 1
        return False

    def sums(self, now: float) -> Iterator[str]:
        """What was not told in the second that is over."""
        if now >= self._ends_at:
            if self._left:
                kinds = ", ".join(f"{grouped(count)} {kind}" for kind, count in self._left.most_common())
                yield f"… {grouped(self._left.total())} more {self._what}: {kinds}"
            self._ends_at, self._told = now + 1.0, 0
            self._left.clear()


class Narrator:
    """Told of the present and of the feed's news, it says what an operator should hear, each thing once."""

    def __init__(self, began_utc: float, zone: tzinfo | None) -> None:
        """What came before `began_utc`, and is told at first, is the past: it is not said."""
        self._began_utc = began_utc
        self._settled_at: float | None = None
        self._zone = zone
        self._facts: dict[str, Fact] = {}
        self._today: date | None = None
        self._seen = Recent()
        self._commands, self._lines = Flood("commands"), Flood("lines of the log")

    def facts(self, view: View) -> Iterator[str]:
        """Those that are other ones now."""
        if not view.snapshot.revision:
            return
        if self._settled_at is None:
            self._settled_at = view.now.mono + SETTLES_WITHIN
        for name, fact in facts(view).items():
            if said := fact.after(self._facts.get(name)):
                yield self._at(view.now.utc, view.now, said)
            self._facts[name] = fact

    def command(self, entry: CommandEntry, row: Row, now: Moment, *, wanted: bool) -> Iterator[str]:
        """When it is taken, and when it ends; `row` is as it may be shown. One that is not wanted is only remembered."""
        ended = entry.status in ENDED
        here = entry.row, entry.utc
        first = self._seen.add(here)
        earlier = first and entry.utc < self._began_utc and (self._settled_at is None or now.mono < self._settled_at)
        if not self._seen.add((*here, ended)) or (not ended and not first) or earlier or not wanted:
            return
        kind = ENDED[entry.status].lower() if ended else "taken"
        if self._commands.admits(kind):
            yield self._at(now.utc, now, sentence(row))

    def log(self, line: LogEntry, text: str, now: Moment, *, whole: bool) -> Iterator[str]:
        """Warnings and errors that nothing else tells, and answers; the `whole` log where the operator wants it."""
        loud = line.level in LOUD and not TOLD_OTHERWISE.match(line.text)
        if line.utc < self._began_utc or not (whole or loud or ANSWERS.match(line.text)) or not self._seen.add((line.utc, line.text)):
            return
        if self._lines.admits(line.level.lower()):
            yield self._at(line.utc, now, f"{line.level.capitalize()}: {text}")

    def sums(self, now: Moment) -> Iterator[str]:
        """What a flood has left, and the date where it is another one."""
        self._began_utc = min(self._began_utc, now.utc)
        for text in (*self._commands.sums(now.mono), *self._lines.sums(now.mono)):
            yield self._at(now.utc, now, text)
        today = day_of(now.utc, self._zone)
        if self._today != today:
            self._today = today
            yield f"It is {today:%A}, {today.isoformat()}."

    def _at(self, utc: float, now: Moment, text: str) -> str:
        return f"{moment(utc, now.utc, self._zone)} {text}"


def sentence(row: Row) -> str:
    """How it stands: the word first."""
    if row.via == "in":
        return f"Came in: a message from {shown(row.thread_id or '?', 100)}"
    word = ENDED.get(row.status) or ("Replay" if row.via == "local" else "Taken")
    named = [f"{word}: {shown(row.command_id, 200)}", shown(row.command_type, 100)]
    if row.thread_id:
        named.append(f"to {shown(row.thread_id, 100)}")
    named.append(f"a replay of {shown(row.replay_of or '?', 200)}" if row.via == "local" else WAYS.get(row.via, shown(row.via, 20)))
    if row.status in OPEN:
        named.append(OPEN[row.status])
    elif row.run_ms is not None:
        named.append(f"in {took(row.run_ms)}")
    if row.status == "outbox":
        named.append("its ack waits for the link")
    return ", ".join(named) + (f": {shown(row.error, 300)}" if row.error else "")
