"""Both directions of one thread, from the ledger, a bounded part of it at a time.

A thread is whoever its id means (recipients.py): what was sent to `iMessage;-;+13105550100` and what came in from `+13105550100` are one.
"""

import sqlite3
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from msgspec import ValidationError, convert
from pydantic_core import to_json

from agent_core.engine.recipients import recipient
from agent_core.journal.reader import TEXTS, reading
from agent_core.journal.rows import LEAST_DELIVERED
from agent_core.journal.search import SLICE, STATUS, edge
from agent_core.redaction import Redactor
from agent_core.threads import MAX_MESSAGES, ThreadMessage, ThreadPage, ThreadQuery

MAX_TEXT = 1_000
_FIELD = "CASE WHEN json_valid(payload) THEN CAST(json_extract(payload, '$.thread_id') AS TEXT) END"
_TEXT = f"CASE WHEN json_valid(payload) THEN substr(coalesce({TEXTS}), 1, {MAX_TEXT}) END"
_ATTACHMENTS = "CASE WHEN json_valid(payload) THEN coalesce(json_array_length(payload, '$.attachments'), 0) ELSE 0 END"
_SENT = f"""SELECT seq, coalesce(finished_utc, due_utc, received_utc), 0, '', coalesce({_TEXT}, ''), {_ATTACHMENTS}, {STATUS}, error,
 (SELECT status FROM receipts WHERE receipts.seq = commands.seq {LEAST_DELIVERED}),
 (SELECT changed_utc FROM receipts WHERE receipts.seq = commands.seq {LEAST_DELIVERED})
 FROM commands WHERE {{which}} AND recipient({_FIELD}) = ? AND ({_TEXT} IS NOT NULL OR {_ATTACHMENTS})"""
_CAME_IN = """SELECT seq, sent_utc, 1, sender, text, attachments, CASE told WHEN 1 THEN 'acked' ELSE 'received' END, NULL, NULL, NULL
 FROM inbound WHERE {which} AND recipient(thread_id) = ?"""
_BOTH = f"{_SENT} UNION ALL {_CAME_IN} ORDER BY 1 DESC LIMIT {MAX_MESSAGES}"


def thread_page(data_dir: Path, redactor: Redactor, query: ThreadQuery) -> ThreadPage:
    """The next part. Raises NoLedger."""
    with reading(data_dir) as db:
        db.create_function("recipient", 1, _recipient, deterministic=True)
        return _of_numbers(db, redactor, query) if query.numbers else _before(db, redactor, query)


def _before(db: sqlite3.Connection, redactor: Redactor, query: ThreadQuery) -> ThreadPage:
    """Of at most SLICE numbers."""
    high = edge(db, "max(seq)") if query.before is None else edge(db, "max(seq)", "seq < ?", query.before)
    if high is None:
        return ThreadPage([])
    low = max(0, high - SLICE + 1)
    messages = _messages(db, redactor, query, f"seq BETWEEN {low} AND {high}")
    if len(messages) == MAX_MESSAGES:
        low = messages[-1].seq
    return ThreadPage(messages, low if edge(db, "max(seq)", "seq < ?", low) is not None else None)


def _of_numbers(db: sqlite3.Connection, redactor: Redactor, query: ThreadQuery) -> ThreadPage:
    return ThreadPage(_messages(db, redactor, query, f"seq IN (SELECT value FROM json_each('{to_json(query.numbers).decode()}'))"))


def _messages(db: sqlite3.Connection, redactor: Redactor, query: ThreadQuery, which: str) -> list[ThreadMessage]:
    key = _recipient(query.thread_id)
    messages: list[ThreadMessage] = []
    for row in db.execute(_BOTH.format(which=which), (key, key)):
        with suppress(ValidationError):
            messages.append(
                redactor.within(convert(dict(zip(ThreadMessage.__struct_fields__, row, strict=True)), ThreadMessage, strict=False))
            )
    return messages


@lru_cache(maxsize=4_096)
def _recipient(thread_id: str | None) -> str | None:
    """Whom it means, of as much of it as can name somebody."""
    return None if thread_id is None else recipient(thread_id[:500])
