"""Commands and their acks in one SQLite file: the store of one instance, which has it all in its book."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from agent_core.plain import plain
from agent_core.reference.book import Changes
from agent_core.reference.orders import AckSeen, AckWay, Order, Status
from agent_core.reference.store import StoreDownError, StoreRefusedError
from agent_core.reference.told import Told

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  command_id TEXT PRIMARY KEY, number INTEGER NOT NULL, agent_id TEXT NOT NULL, command_type TEXT NOT NULL, body TEXT NOT NULL,
  queued_utc REAL NOT NULL, status TEXT NOT NULL, pushed INTEGER NOT NULL, polled INTEGER NOT NULL, delivered_utc REAL,
  settled_utc REAL, ack BLOB, acks TEXT NOT NULL, acks_seen INTEGER NOT NULL, anomalies INTEGER NOT NULL
)
"""
_EVENTS = """
CREATE TABLE IF NOT EXISTS events (
  number INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, event_id TEXT NOT NULL, event_type TEXT NOT NULL, occurred_at TEXT NOT NULL,
  payload TEXT NOT NULL, way TEXT NOT NULL, received_utc REAL NOT NULL, UNIQUE (agent_id, event_id)
)
"""
_TELL = "INSERT OR IGNORE INTO events (agent_id, event_id, event_type, occurred_at, payload, way, received_utc) VALUES (?,?,?,?,?,?,?)"
_TOLD = """
SELECT agent_id, event_id, event_type, occurred_at, payload, way, received_utc FROM events
WHERE number > coalesce((SELECT max(number) FROM events), 0) - ? ORDER BY number
"""
_FORGET_TOLD = "DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?"
_WRITE = "INSERT OR REPLACE INTO orders VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_READ = "SELECT * FROM orders ORDER BY settled_utc IS NULL, settled_utc, number"

T = TypeVar("T")


class SqliteStore:
    """A thread of its own does the writing, so that a flush holds up nobody."""

    def __init__(self, path: Path, keep_events: int) -> None:
        self._path = path
        self._keep_events = keep_events
        self._db: sqlite3.Connection
        self._thread = ThreadPoolExecutor(1, "backend store")

    async def open(self) -> list[Order]:
        """Raises StoreRefusedError where the file cannot be opened or read."""
        try:
            return await self._in_thread(self._open)
        except (OSError, sqlite3.Error) as error:
            raise StoreRefusedError(f"cannot keep the backend's store in {plain(self._path)}: {plain(error)}") from None

    async def write(self, changes: Changes) -> set[str]:
        """Raises StoreDownError."""
        rows = [_row(order) for order in (*changes.new, *changes.changed)]
        try:
            await self._in_thread(self._write, rows, changes.forgotten, changes.told)
        except sqlite3.Error as error:
            raise StoreDownError(str(error)) from None
        return set()

    async def events(self) -> list[Told]:
        return await self._in_thread(lambda: [Told(*row) for row in self._db.execute(_TOLD, (self._keep_events,))])

    async def close(self) -> None:
        await self._in_thread(self._db.close)
        self._thread.shutdown()

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def _open(self) -> list[Order]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(self._path, isolation_level=None, timeout=0.5)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", _SCHEMA, _EVENTS):
            self._db.execute(statement)
        return [_order(row) for row in self._db.execute(_READ)]

    def _write(self, rows: list[tuple[object, ...]], forgotten: list[str], told: list[Told]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_WRITE, rows)
            self._db.executemany("DELETE FROM orders WHERE command_id = ?", ((command_id,) for command_id in forgotten))
            if told:
                self._db.executemany(_TELL, told)
                self._db.execute(_FORGET_TOLD, (self._keep_events,))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise


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
