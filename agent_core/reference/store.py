"""Commands and their acks on disk, so that a backend that was restarted still owes what it owed."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from agent_core.reference.orders import AckSeen, AckWay, Order, Status

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  command_id TEXT PRIMARY KEY, number INTEGER NOT NULL, agent_id TEXT NOT NULL, command_type TEXT NOT NULL, body TEXT NOT NULL,
  queued_utc REAL NOT NULL, status TEXT NOT NULL, pushed INTEGER NOT NULL, polled INTEGER NOT NULL, delivered_utc REAL,
  settled_utc REAL, ack BLOB, acks TEXT NOT NULL, acks_seen INTEGER NOT NULL, anomalies INTEGER NOT NULL
)
"""
_WRITE = "INSERT OR REPLACE INTO orders VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_READ = "SELECT * FROM orders ORDER BY settled_utc IS NULL, settled_utc, number"


class Store:
    """One SQLite file in `data_dir`. Raises OSError or sqlite3.Error where it cannot be opened or written."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data_dir / "backend.sqlite3"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", _SCHEMA):
            self._db.execute(statement)

    def read(self) -> Iterator[Order]:
        """All orders: the settled ones in the order in which they were, then the open ones."""
        for row in self._db.execute(_READ):
            yield _order(row)

    def write(self, orders: list[Order], forgotten: list[str]) -> None:
        """Both in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_WRITE, map(_row, orders))
            self._db.executemany("DELETE FROM orders WHERE command_id = ?", ((command_id,) for command_id in forgotten))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()


def _row(order: Order) -> tuple[object, ...]:
    return (
        order.command_id,
        order.number,
        order.agent_id,
        order.command_type,
        order.body,
        order.queued_utc,
        order.status.value,
        order.pushed,
        order.polled,
        order.delivered_utc,
        order.settled_utc,
        order.ack,
        to_json(order.acks).decode(),
        order.acks_seen,
        order.anomalies,
    )


def _order(row: tuple[Any, ...]) -> Order:
    command_id, number, agent_id, command_type, body, queued, status, pushed, polled, delivered, settled, ack, acks, seen, anomalies = row
    return Order(
        number,
        command_id,
        agent_id,
        command_type,
        body,
        queued,
        Status(status),
        pushed,
        polled,
        delivered_utc=delivered,
        settled_utc=settled,
        ack=ack,
        acks_seen=seen,
        anomalies=anomalies,
        acks=[AckSeen(AckWay(way), utc, Status(verdict)) for way, utc, verdict in from_json(str(acks))],
    )
