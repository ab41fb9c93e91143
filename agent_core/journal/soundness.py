"""Whether a ledger file can be believed: its pages, its indexes against its tables, the words and types in its rows (PROMISES F40).

A key that is wrong in the index alone would let its command take effect again; a state that nobody knows would end the agent as soon as
its command comes again.
"""

import sqlite3
from collections.abc import Iterable, Mapping

from agent_core.frames import Priority
from agent_core.journal.rows import MIGRATIONS
from agent_core.plain import plain
from agent_core.records import Resolution, State, Via


def _one_of(values: Iterable[str | int]) -> str:
    return f"{{0}} IN ({', '.join(map(repr, values))})"


def _or_null(test: str) -> str:
    return f"({{0}} IS NULL OR {test})"


REAL, TEXT, INTEGER, BLOB = (f"typeof({{0}}) = '{kind}'" for kind in ("real", "text", "integer", "blob"))
STATE, VIA, PRIORITY, RESOLUTION = (_one_of(member.value for member in kind) for kind in (State, Via, Priority, Resolution))
TESTS: Mapping[str, Mapping[str, str]] = {
    "commands": {
        "command_id": TEXT, "command_type": TEXT, "priority": PRIORITY, "via": VIA, "state": STATE, "received_utc": REAL,
        "due_utc": f"({REAL} OR {{0}} IS NULL AND state <> 'scheduled')", "runs": INTEGER, "duplicates": INTEGER,
        "duplicate_via": _or_null(VIA), "resolution": _or_null(RESOLUTION),
        **dict.fromkeys(("issued_utc", "started_utc", "finished_utc", "duplicate_utc", "sent_utc", "proven_utc"), _or_null(REAL)),
        **dict.fromkeys(("released_utc", "expires_utc"), _or_null(REAL)),
        "resolved_utc": f"({REAL} OR {{0}} IS NULL AND resolution IS NULL)",
        **dict.fromkeys(("payload", "invalid", "error", "ack", "proven_by", "replay_of", "changed_by"), _or_null(TEXT)),
        **dict.fromkeys(("resolved_by", "resolved_guid"), _or_null(TEXT)),
    },
    "compacted": {
        "command_id": TEXT, "issued_utc": _or_null(REAL), "received_utc": REAL, "via": VIA, "state": STATE, "ack": _or_null(BLOB),
    },
    "outbox": {"command_id": TEXT, "thread_id": TEXT, "text": TEXT, "sent_utc": REAL},
    "names": {"name": TEXT, "seq": INTEGER},
    "tombstones": {"target": TEXT, "by_id": INTEGER, "cancelled_by": TEXT, "until_utc": REAL},
    "events": {
        "event_id": TEXT, "event_type": TEXT, "event": f"({TEXT} OR {{0}} IS NULL AND settled_utc IS NOT NULL)", "added_utc": REAL,
        "settled_utc": _or_null(REAL), "settled_by": _or_null(TEXT),
    },
    "inbound": {
        "event_id": TEXT, "event": INTEGER, "seq": INTEGER, "attachments": INTEGER, "told": INTEGER,
        **dict.fromkeys(("thread_id", "sender", "text"), TEXT), **dict.fromkeys(("sent_utc", "received_utc"), REAL),
    },
    "receipts": {
        "guid": TEXT, "command_id": TEXT, "seq": INTEGER, "status": _or_null(TEXT), "sent_utc": REAL, "changed_utc": _or_null(REAL),
    },
    "facts": {"key": TEXT, "value": f"{TEXT} AND (key NOT GLOB '*_utc' OR {{0}} IN ('0', '0.0') OR {{0}} + 0.0 <> 0)"},
}  # fmt: skip
"""What holds for each column; the first one names the row."""


def unsound_page(db: sqlite3.Connection) -> str | None:
    """What is wrong with the pages, or with an index compared with its table; None where nothing is. Raises sqlite3.Error."""
    verdict = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return None if verdict == "ok" else plain(verdict)


def unsound_row(db: sqlite3.Connection) -> str | None:
    """The first row that this version cannot read, and why; None where there is none. Raises sqlite3.Error."""
    if db.execute("PRAGMA user_version").fetchone()[0] != len(MIGRATIONS):
        return None
    for table, tests in TESTS.items():
        sound = {column: f"({test.format(column)})" for column, test in tests.items()}
        cases = " ".join(f"WHEN {test} IS NOT 1 THEN '{column} is ' || quote({column})" for column, test in sound.items())
        query = f"SELECT quote({next(iter(tests))}), CASE {cases} END FROM {table} WHERE ({' AND '.join(sound.values())}) IS NOT 1 LIMIT 1"
        if (row := db.execute(query).fetchone()) is not None:
            return f"{table}, {plain(row[0], 80)}: {plain(row[1], 80)}"
    return None
