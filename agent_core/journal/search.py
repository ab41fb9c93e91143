"""Commands of the whole ledger that pass a filter, and the messages that came in, a bounded part of it at a time.

What SQLite can judge, it judges, without the interpreter's lock: so the agent in the same process goes on. It looks at the texts as they
were written and may let through what is shown otherwise: whoever shows the commands filters them once more.
"""

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import ValidationError, convert

from agent_core.feed import CommandEntry, FeedEntry
from agent_core.filters import Filter, Term, parse
from agent_core.frames import MESSAGE_RECEIVED, Priority
from agent_core.journal.reader import ASKED, like, operand, reading
from agent_core.journal.rows import LEAST_DELIVERED
from agent_core.plain import plain
from agent_core.search import MAX_FOUND, Page, Query

SLICE = 10_000
"""Numbers looked at in one statement."""
PAGE_WITHIN = 0.05
"""Seconds that the interpreter may take over what SQLite could not judge."""
THREAD_CHARACTERS = 100
EFFECT = "external"
"""What the ledger does not tell is taken for the worst."""

STATUS = "CASE WHEN state <> 'completed' THEN state WHEN proven_utc IS NOT NULL OR via = 'local' THEN 'acked' ELSE 'outbox' END"
THREAD = "CASE WHEN json_valid(payload) AND json_type(payload, '$.thread_id') = 'text' THEN json_extract(payload, '$.thread_id') END"
RUN, ACK = "max(0, finished_utc - started_utc) * 1000", "max(0, sent_utc - received_utc) * 1000"
SHOWN = f"""(SELECT seq, received_utc, command_id, command_type, via, {STATUS} AS status, {THREAD} AS thread_id, {RUN} AS run_ms,
 {ACK} AS ack_ms, error, proven_utc IS NOT NULL AS proven, replay_of, '{EFFECT}' AS effect,
 (SELECT status FROM receipts WHERE receipts.seq = commands.seq {LEAST_DELIVERED}) AS delivery, payload, priority FROM commands
 UNION ALL SELECT seq, received_utc, event_id, CAST('{MESSAGE_RECEIVED}' AS TEXT), CAST('in' AS TEXT),
 CASE told WHEN 1 THEN 'acked' ELSE 'received' END, +thread_id, NULL, NULL, CAST(NULL AS TEXT), told, CAST(NULL AS TEXT), 'harmless',
 CAST(NULL AS TEXT), CAST(json_object('text', text) AS TEXT), CAST({Priority.NORMAL.value} AS INTEGER) FROM inbound)"""
"""What the stream has rows of, under the names that the filter's terms have.

The columns of both have the same affinity, by which SQLite merges the two tables in order instead of sorting them.
"""
_TEXTS = {"id": "command_id", "type": "command_type", "error": "error", "replay": "replay_of", "thread": "thread_id"}
_WORDS = {"via": "via", "status": "status", "effect": "effect"}
ROW = "seq, received_utc, command_id, command_type, via, status, thread_id, run_ms, ack_ms, error, proven, replay_of, effect, delivery"


def page(data_dir: Path, query: Query, redacted: Callable[[list[FeedEntry]], list[FeedEntry]]) -> Page:
    """The next part. Raises FilterError, NoLedger."""
    wanted = parse(query.text, utc=query.utc, failures_only=query.failures_only)
    with reading(data_dir) as db:
        lenient = db.text_factory
        try:
            db.text_factory = str
            return _page(db, query, wanted, redacted)
        except sqlite3.OperationalError:  # a text that is not UTF-8, among others
            db.text_factory = lenient
            return _page(db, query, wanted, redacted)


def _page(db: sqlite3.Connection, query: Query, wanted: Filter, redacted: Callable[[list[FeedEntry]], list[FeedEntry]]) -> Page:
    back = query.after is None
    first, last = edge(db, "min(seq)"), edge(db, "max(seq)")
    start = _start(db, query)
    if start is None or first is None or last is None:
        return Page([])
    low, high = (max(first, start - SLICE + 1), start) if back else (start, min(last, start + SLICE - 1))
    conditions = [_condition(term) for term in wanted.terms]
    where = " AND ".join(["seq BETWEEN ? AND ?", *(condition.sql for condition in conditions if condition is not None)])
    values = [value for condition in conditions if condition is not None for value in condition.values]
    rest = wanted.only(term for term, condition in zip(wanted.terms, conditions, strict=True) if condition is None or not condition.exact)
    most, by = min(query.most, MAX_FOUND), time.perf_counter() + PAGE_WITHIN
    entries: list[FeedEntry] = []
    for row in db.execute(f"SELECT {ROW} FROM {SHOWN} WHERE {where} ORDER BY seq {'DESC' if back else 'ASC'}", [low, high, *values]):
        if not rest or _passes(rest, CommandEntry._make(row)):
            with suppress(ValidationError):  # what cannot be read
                entries.append(_shown(convert(row, CommandEntry, strict=False)))
        if len(entries) == most or time.perf_counter() > by:
            low, high = (row[0], high) if back else (low, row[0])
            break
    looked = db.execute(f"SELECT count(*) FROM {SHOWN} WHERE seq BETWEEN ? AND ?", (low, high)).fetchone()[0]
    if back:
        entries.reverse()
    found: list[Any] = redacted(entries)
    behind = low - first if back else last - high
    return Page(found, (low if back else high) if behind else None, looked, behind / (last - first + 1))


def _start(db: sqlite3.Connection, query: Query) -> int | None:
    """The first number to look at; None where there is none that way."""
    if query.after is not None:
        return edge(db, "min(seq)", "seq > ?", query.after)
    if query.before is not None:
        return edge(db, "max(seq)", "seq < ?", query.before)
    return edge(db, "max(seq)")


def edge(db: sqlite3.Connection, which: str, where: str = "1", *values: int) -> int | None:
    """The first or last number of both tables, each found in its index; None where there is none."""
    ends = " UNION ALL ".join(f"SELECT {which} AS seq FROM {table} WHERE {where}" for table in ("commands", "inbound"))
    number: int | None = db.execute(f"SELECT {which} FROM ({ends})", values * 2).fetchone()[0]
    return number


def _shown(entry: CommandEntry) -> CommandEntry:
    thread, error = entry.thread_id, entry.error
    return entry._replace(thread_id=thread and plain(thread, THREAD_CHARACTERS), error=error and plain(error))


def _passes(rest: Filter, entry: CommandEntry) -> bool:
    """What is as it was read may have what is no text where one should be, in which there is nothing to find."""
    texts = entry.command_type, entry.via, entry.status, entry.effect, entry.thread_id, entry.error, entry.replay_of
    with suppress(TypeError, AttributeError):
        return rest.holds(texts, entry.command_id, entry.run_ms if entry.ack_ms is None else entry.ack_ms, entry.utc)
    return False


class _Sql(NamedTuple):
    """A condition for SQLite; where it is not `exact` it lets more through than the term."""

    sql: str
    values: tuple[str | float, ...]
    exact: bool = True


def _condition(term: Term) -> _Sql | None:
    """None: SQLite cannot judge it."""
    name, values = term.condition
    found: _Sql | None = None
    if name in _WORDS:
        found = _Sql(f"{_WORDS[name]} IN ({', '.join('?' * len(values))})", values)
    elif name in {">", "<"}:
        found = _Sql(f"coalesce(coalesce(ack_ms, run_ms) {name} ?, 0)", values)
    elif name == "since":
        found = _Sql("received_utc >= ?", values)
    elif name in ASKED:
        found = _Sql(f"coalesce({ASKED[name]}, 0)", tuple(operand(name, str(value)) for value in values))
    elif not term.negated and name == "pattern" and (part := required(str(values[0]))):
        found = _text_condition("word", (part,))
    elif not term.negated and all(str(value).isascii() for value in values):
        found = _text_condition(name, values)
    return found and found._replace(sql=f"NOT ({found.sql})") if term.negated else found


def required(pattern: str) -> str:
    """The longest text that each match of this pattern has in it, where that is plain to see; s and k are signs beyond ASCII, too."""
    if re.search(r"[^\x20-\x7e]|[|()\[\]{}\\]", pattern):
        return ""
    return max(re.findall(r"(?:[^sSkK^$.*?+](?![*?+]))+", pattern), key=len, default="")


def _text_condition(name: str, values: tuple[str | float, ...]) -> _Sql | None:
    """Of texts that are shown in another form than they have in the ledger, where they are long or cannot be printed."""
    if name == "word":
        columns = [*_WORDS.values(), *_TEXTS.values()]
    elif name in _TEXTS:
        columns = [_TEXTS[name]]
    else:
        return None
    sql = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns for _ in values)
    return _Sql(f"({sql})", tuple(like(str(value)) for _ in columns for value in values), exact=False)
