"""What earlier runs have sent, as far as the policy's buckets ask for it; a few milliseconds for each ten thousand commands."""

import sqlite3
from collections.abc import Iterator

from agent_core.config.models import Policy
from agent_core.records import Sent

MOST = 200_000
STARTED = """SELECT command_type, CAST(thread AS TEXT), {utc} FROM (SELECT command_type, started_utc,
 CASE WHEN json_valid(payload) THEN json_extract(payload, '$.thread_id') END AS thread FROM commands WHERE started_utc {when} ?)
 WHERE typeof(thread) IN ('text', 'integer') {group} ORDER BY 3 DESC LIMIT ?"""
LATELY = STARTED.format(utc="started_utc", when=">", group="")
LAST_BEFORE = STARTED.format(utc="max(started_utc)", when="<=", group="GROUP BY command_type, thread")


def sent(db: sqlite3.Connection, policy: Policy, utc: float) -> Iterator[Sent]:
    """Oldest first: before the longest bucket's time the last to each thread, then everything. Raises sqlite3.Error."""
    if not (seconds := policy.longest):
        return
    lately = db.execute(LATELY, (utc - seconds, MOST)).fetchall()
    if policy.per_new_conversation.count:
        lately += db.execute(LAST_BEFORE, (utc - seconds, MOST)).fetchall()
    for row in reversed(lately):
        yield Sent(*row)
