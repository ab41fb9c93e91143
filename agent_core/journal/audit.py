"""What the records prove (P1, P2): nothing took effect twice, each finished command has an ack proven or on its way, no event is lost."""

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic_core import from_json

from agent_core.attention import candidates_of
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import reading
from agent_core.journal.soundness import unsound_page, unsound_row
from agent_core.records import DROPPED, UNWELL, Resolution, State, Via

ALLOWED = {
    Resolution.SENT: (State.INTERRUPTED,), Resolution.UNSENT: (State.INTERRUPTED,), Resolution.DISMISSED: UNWELL,
    Resolution.REPLAYED: UNWELL,
}  # fmt: skip
"""What may be resolved so."""
ENDED = tuple(state.value for state in State if state.ended)
TWICE_SENT = "SELECT command_id, count(*) FROM outbox GROUP BY command_id HAVING count(*) > 1 ORDER BY min(seq)"
SENT_ASTRAY = """SELECT o.command_id, c.state FROM outbox o LEFT JOIN commands c ON c.seq = o.seq AND c.command_id = o.command_id
 WHERE c.state IS NOT 'completed' ORDER BY o.seq"""
RECORDS = """SELECT command_id, command_type, via, state, runs - unsent, ack, proven_utc, resolution, resolved_utc, resolved_guid,
 EXISTS (SELECT 1 FROM outbox o WHERE o.seq = c.seq) FROM commands c ORDER BY seq"""
SHARED_GUIDS = """WITH resolved AS (SELECT seq, coalesce(replay_of, command_id) AS sent_as, command_id, resolved_guid,
 row_number() OVER (PARTITION BY resolved_guid ORDER BY seq) AS nth FROM commands WHERE resolved_guid IS NOT NULL)
 SELECT command_id, resolved_guid FROM resolved WHERE nth > 1
 OR EXISTS (SELECT 1 FROM receipts WHERE guid = resolved_guid AND receipts.command_id <> sent_as) ORDER BY seq"""
MISSING_EVENTS = """SELECT before + 1, seq - 1 FROM (SELECT seq, lag(seq) OVER (ORDER BY seq) AS before FROM events)
 WHERE seq > before + 1 ORDER BY seq"""
OWED_EVENTS = "SELECT event_id, event FROM events WHERE settled_utc IS NULL ORDER BY seq"
EVENT_COUNTS = f"""SELECT count(*), count(*) FILTER (WHERE settled_utc IS NULL), count(*) FILTER (WHERE settled_by = '{DROPPED}')
 FROM events"""
IN_BOTH = """SELECT here.command_id, here.command_type FROM main.commands here JOIN there.commands t ON t.command_id = here.command_id
 WHERE here.runs > 0 AND t.runs > 0 AND (here.seq, here.started_utc) IS NOT (t.seq, t.started_utc) ORDER BY here.seq"""


@dataclass(frozen=True, slots=True)
class Violation:
    command_id: str
    """Of an event: its event_id."""
    what: str


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Of the events on record: all, those that the backend is owed still, those that it will never have."""

    recorded: int
    pending: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts of commands; `proven` and `pending` are of acks."""

    commands: int
    finished: int
    proven: int
    pending: int
    interrupted: int
    resolved: int
    """Of which the operator has said what came of them."""
    events: EventCounts
    violations: tuple[Violation, ...]
    damage: str | None
    """What is wrong with the file itself: a page, an index, a row."""

    @property
    def ok(self) -> bool:
        return not self.violations and self.damage is None


def audit(data_dir: Path, repeatable: Collection[str] = (), other: Path | None = None) -> Audit:
    """Of one instant. A command of a `repeatable` type may have been started again after a crash.

    With `other`, a second data directory, no command may have run in both; one that came along with a handover has run once.
    Raises NoLedger.
    """
    with reading(data_dir) as db:
        if other is not None:
            with reading(other):
                db.execute("ATTACH ? AS there", (f"{(other / FILE_NAME).absolute().as_uri()}?mode=ro",))
        db.execute("BEGIN")
        found = _audit(db, repeatable)
        twice = db.execute(IN_BOTH) if other is not None else ()
        more = tuple(Violation(command_id, "was run in both") for command_id, kind in twice if kind not in repeatable)
        return replace(found, violations=found.violations + more)


def _audit(db: sqlite3.Connection, repeatable: Collection[str]) -> Audit:
    violations = [Violation(command_id, f"sent {times} times") for command_id, times in db.execute(TWICE_SENT)]
    violations += [Violation(command_id, f"was sent, but is {state or 'not recorded'}") for command_id, state in db.execute(SENT_ASTRAY)]
    commands = finished = proven = pending = interrupted = resolved = 0
    for command_id, command_type, via, state, runs, ack, proven_utc, resolution, resolved_utc, guid, sent in db.execute(RECORDS):
        commands += 1
        interrupted += state == State.INTERRUPTED
        if resolution is not None:
            resolved += state == State.INTERRUPTED
            if state not in ALLOWED.get(resolution, ()) or resolved_utc is None:
                violations.append(Violation(command_id, f"is {state}, but resolved as {resolution}"))
        if guid is not None and (resolution != Resolution.SENT or guid not in {one.guid for one in candidates_of(ack)}):
            violations.append(Violation(command_id, f"is resolved as {resolution} by a message that is none of its candidates"))
        if runs > 1 and not sent and command_type not in repeatable:
            violations.append(Violation(command_id, f"was run {runs} times"))
        if state in ENDED:
            finished += 1
            if via != Via.LOCAL:
                proven += proven_utc is not None
                pending += proven_utc is None
                violations += (Violation(command_id, what) for what in _faults_of(ack, command_id, state))
    violations += [Violation(command_id, f"is another command's message {guid}") for command_id, guid in db.execute(SHARED_GUIDS)]
    violations += _lost_events(db)
    events = EventCounts(*db.execute(EVENT_COUNTS).fetchone())
    damage = unsound_page(db) or unsound_row(db)
    return Audit(commands, finished, proven, pending, interrupted, resolved, events, tuple(violations), damage)


def _lost_events(db: sqlite3.Connection) -> Iterator[Violation]:
    """Numbers go up by one, and rows go from the oldest on: a gap is an event that was neither proven nor dropped."""
    for first, last in db.execute(MISSING_EVENTS):
        named = f"event {first}" if first == last else f"events {first} to {last}"
        yield Violation(named, "is neither proven nor on its way" if first == last else "are neither proven nor on their way")
    for event_id, text in db.execute(OWED_EVENTS):
        if not _names(text, event_id):
            yield Violation(event_id, "is an event that cannot be read")


def _names(text: object, event_id: str) -> bool:
    try:
        return bool(from_json(str(text))["event_id"] == event_id)
    except (ValueError, TypeError, KeyError):
        return False


def _faults_of(ack: str | None, command_id: str, state: str) -> Iterator[str]:
    """What is wrong with the ack of a finished command."""
    if ack is None:
        yield f"is {state} without an ack"
        return
    try:
        body = from_json(ack)
        named, success = body.get("command_id"), body.get("success", body.get("status") == "completed")
    except (ValueError, AttributeError):
        yield "has an ack that cannot be read"
        return
    if named != command_id:
        yield "has the ack of another command"
    elif bool(success) != (state == State.COMPLETED):
        yield f"is {state}, but its ack says otherwise"
