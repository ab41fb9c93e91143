"""PostgreSQL as the store of many instances: one writer connection, one that listens, a few for the rest; never one per agent.

- Rows are joined, never overwritten: of two writes to a command the higher state wins, and the first terminal ack stays. So a write that is
  repeated after a lost answer to COMMIT, comes late, or crosses another instance's, changes nothing that is settled.
- A command is claimed by its state and lease, never by "newer than the last I saw": sequence numbers commit out of order. A lease is the
  epoch of the socket that was given it, or, for a poll, the moment; a later epoch of the agent makes the first void, time the second. A
  claim makes a command `queued` again until it is pushed, so that one whose answer was lost is made anew after a while.
- An agent's epoch grows by one with each socket, in one statement, wherever it is: the late end of an older one changes no row.
- The clock of leases is the database's. NOTIFY only wakes; the sweep beside it finds what a lost one would have told.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import asyncpg
from pydantic_core import from_json, to_json

from agent_core.plain import plain
from agent_core.reference.book import Changes
from agent_core.reference.hub import merged_settings
from agent_core.reference.orders import AckSeen, AckWay, Order, Status
from agent_core.reference.store import StoreDownError, StoreRefusedError
from agent_core.reference.told import Told

CONNECT_WITHIN = 3.0
ANSWER_WITHIN = 5.0
LINES = 3
CLAIM_MOST = 1_000
FAILURES = (OSError, EOFError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises over a server that is away, dies or is no primary now; TimeoutError is an OSError."""
_log = logging.getLogger("agent_core.reference")
T = TypeVar("T")

_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS edge;
CREATE TABLE IF NOT EXISTS edge.instance (instance_id text PRIMARY KEY, lease_until timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS edge.agent (
  agent_id text PRIMARY KEY, owner text, epoch bigint NOT NULL, last_seen timestamptz NOT NULL, settings text NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS agent_owner ON edge.agent (owner);
CREATE TABLE IF NOT EXISTS edge.command (
  command_id text PRIMARY KEY, seq bigint GENERATED ALWAYS AS IDENTITY, origin text NOT NULL, agent_id text NOT NULL,
  command_type text NOT NULL, body text NOT NULL, queued_utc float8 NOT NULL, status text NOT NULL DEFAULT 'queued',
  lease_epoch bigint, lease_at timestamptz, pushed int NOT NULL DEFAULT 0, polled int NOT NULL DEFAULT 0, delivered_utc float8,
  settled_utc float8, ack bytea, acks text NOT NULL DEFAULT '[]', acks_seen int NOT NULL DEFAULT 0, anomalies int NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS command_open ON edge.command (agent_id, seq) WHERE ack IS NULL;
CREATE INDEX IF NOT EXISTS command_settled ON edge.command (settled_utc) WHERE ack IS NOT NULL;
CREATE TABLE IF NOT EXISTS edge.event (
  agent_id text NOT NULL, event_id text NOT NULL, seq bigint GENERATED ALWAYS AS IDENTITY, event_type text NOT NULL,
  occurred_at text NOT NULL, payload text NOT NULL, way text NOT NULL, received_utc float8 NOT NULL, PRIMARY KEY (agent_id, event_id)
);
CREATE INDEX IF NOT EXISTS event_seq ON edge.event (seq);
"""
_TELL = """
INSERT INTO edge.event (agent_id, event_id, event_type, occurred_at, payload, way, received_utc)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[]) ON CONFLICT DO NOTHING
"""
_TOLD = """
SELECT agent_id, event_id, event_type, occurred_at, payload, way, received_utc FROM edge.event
WHERE ($1::text IS NULL OR agent_id = $1) AND ($2::text IS NULL OR event_type = $2) ORDER BY seq DESC LIMIT $3
"""
_INSERT = """
INSERT INTO edge.command (command_id, origin, agent_id, command_type, body, queued_utc, lease_epoch, lease_at)
SELECT command_id, origin, agent_id, command_type, body, queued_utc, lease_epoch, CASE WHEN lease_epoch IS NOT NULL THEN now() END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::bigint[])
  WITH ORDINALITY AS given (command_id, origin, agent_id, command_type, body, queued_utc, lease_epoch, place)
ORDER BY place ON CONFLICT DO NOTHING RETURNING command_id
"""
_TAKEN = "SELECT command_id FROM edge.command WHERE command_id = ANY($1) AND origin <> ALL($2)"
_NOTIFY = """
SELECT pg_notify('edge_' || owner, '') FROM
(SELECT DISTINCT owner FROM edge.agent WHERE agent_id = ANY($1) AND owner <> $2) AS owners
"""
_JOIN = """
UPDATE edge.command AS c SET
  status = CASE WHEN c.ack IS NOT NULL THEN c.status WHEN u.ack IS NOT NULL THEN u.status
    WHEN 'received' IN (c.status, u.status) THEN 'received' WHEN 'delivered' IN (c.status, u.status) THEN 'delivered' ELSE c.status END,
  pushed = greatest(c.pushed, u.pushed), polled = greatest(c.polled, u.polled), delivered_utc = least(c.delivered_utc, u.delivered_utc),
  settled_utc = coalesce(c.settled_utc, u.settled_utc), ack = coalesce(c.ack, u.ack),
  acks = CASE WHEN u.acks_seen > c.acks_seen THEN u.acks ELSE c.acks END,
  acks_seen = greatest(c.acks_seen, u.acks_seen), anomalies = greatest(c.anomalies, u.anomalies)
FROM unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::float8[], $6::float8[], $7::bytea[], $8::text[], $9::int[], $10::int[])
  AS u (command_id, status, pushed, polled, delivered_utc, settled_utc, ack, acks, acks_seen, anomalies)
WHERE c.command_id = u.command_id
"""
_BOTH = (
    f"WITH put AS ({_INSERT}), joined AS ({re.sub('[$]([0-9]+)', lambda place: f'${int(place[1]) + 7}', _JOIN)}) SELECT command_id FROM put"
)
"""One statement is one journey to the database and back, with its own transaction; it does not see its own new rows."""
_OPEN = "c.ack IS NULL AND c.status IN ('queued', 'delivered')"
_CLAIM_FOR_LINKS = f"""
WITH due AS (
  SELECT c.command_id, a.epoch FROM edge.command AS c JOIN edge.agent AS a USING (agent_id)
  WHERE a.owner = $1 AND ($2::text IS NULL OR a.agent_id = $2) AND {_OPEN}
    AND CASE WHEN c.lease_epoch IS NULL THEN c.lease_at IS NULL OR c.lease_at < now() - $3 * interval '1 s'
      ELSE c.lease_epoch <> a.epoch OR c.status = 'queued' AND c.lease_at < now() - $3 * interval '1 s' END
  ORDER BY c.seq LIMIT {CLAIM_MOST} FOR UPDATE OF c SKIP LOCKED
), claimed AS (
  UPDATE edge.command AS c SET lease_epoch = due.epoch, lease_at = now(), status = 'queued'
  FROM due WHERE c.command_id = due.command_id RETURNING c.*
) SELECT * FROM claimed ORDER BY seq
"""
_CLAIM_FOR_POLL = f"""
WITH due AS (
  SELECT c.command_id FROM edge.command AS c LEFT JOIN edge.agent AS a USING (agent_id)
  WHERE c.agent_id = $1 AND {_OPEN} AND (c.lease_at IS NULL OR c.lease_at < now() - $2 * interval '1 s' OR c.lease_epoch IS NOT NULL AND (
    c.lease_epoch <> a.epoch OR NOT EXISTS (SELECT FROM edge.instance AS i WHERE i.instance_id = a.owner AND i.lease_until > now())))
  ORDER BY c.seq LIMIT $3 FOR UPDATE OF c SKIP LOCKED
), claimed AS (
  UPDATE edge.command AS c SET lease_epoch = NULL, lease_at = now() FROM due WHERE c.command_id = due.command_id RETURNING c.*
) SELECT * FROM claimed ORDER BY seq
"""
_ARRIVE = """
WITH before AS (SELECT owner FROM edge.agent WHERE agent_id = $1 AND owner <> $2), took AS (
  INSERT INTO edge.agent AS a (agent_id, owner, epoch, last_seen) VALUES ($1, $2, 1, now())
  ON CONFLICT (agent_id) DO UPDATE SET owner = $2, epoch = a.epoch + 1, last_seen = now() RETURNING epoch
) SELECT took.epoch, (SELECT pg_notify('edge_' || owner, '') FROM before)::text FROM took
"""
_LEAVE = "UPDATE edge.agent SET owner = NULL, last_seen = now() WHERE agent_id = $1 AND owner = $2 AND epoch = $3"
_RENEW = """
INSERT INTO edge.instance VALUES ($1, now() + $2 * interval '1 s')
ON CONFLICT (instance_id) DO UPDATE SET lease_until = excluded.lease_until
"""
_HELD = "SELECT agent_id, epoch FROM edge.agent WHERE owner = $1"
_SETTINGS = """
WITH waiting AS (
  SELECT agent_id, settings FROM edge.agent
  WHERE ($1::text IS NULL OR owner = $1) AND ($2::text IS NULL OR agent_id = $2) AND settings <> '{}' FOR UPDATE SKIP LOCKED
) UPDATE edge.agent AS a SET settings = '{}' FROM waiting WHERE a.agent_id = waiting.agent_id RETURNING a.agent_id, waiting.settings
"""
_AGENTS = """
SELECT agent_id, epoch, extract(epoch FROM last_seen)::float8 AS seen_utc, CASE WHEN lease_until > now() THEN owner END AS owner,
  (SELECT count(*) FROM edge.command AS c WHERE c.agent_id = a.agent_id AND c.ack IS NULL) AS owed
FROM edge.agent AS a LEFT JOIN edge.instance AS i ON i.instance_id = a.owner ORDER BY agent_id LIMIT 10000
"""
_LISTED = """
SELECT * FROM edge.command WHERE ($1::text IS NULL OR agent_id = $1) AND ($2::text IS NULL OR status = $2) ORDER BY seq DESC LIMIT $3
"""
_OLD = "DELETE FROM edge.command WHERE ack IS NOT NULL AND settled_utc < extract(epoch FROM now()) - $1"


class Held(NamedTuple):
    """An agent as the store shows it; `owner` is None where no instance holds its socket."""

    agent_id: str
    epoch: int
    seen_utc: float
    owner: str | None
    owed: int


class _Line:
    """One connection, made anew after whatever went wrong with it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lock = asyncio.Lock()

    async def run(self, work: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[T]]") -> T:
        """Raises StoreDownError."""
        async with self._lock:
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await asyncpg.connect(self._dsn, timeout=CONNECT_WITHIN)
                    return await work(self._connection)
            except FAILURES as error:
                self.end()
                raise StoreDownError(f"the database: {plain(error, 200) or type(error).__name__}") from None
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class PostgresStore:
    """Shared by any number of instances. `epoch_of` tells of an agent's socket at this one."""

    def __init__(self, dsn: str, epoch_of: Callable[[str], int | None]) -> None:
        self.instance_id = secrets.token_hex(8)
        self._dsn = dsn
        self._epoch_of = epoch_of
        self._writer = _Line(dsn)
        self._lines = [_Line(dsn) for _ in range(LINES)]
        self._free: asyncio.LifoQueue[_Line] = asyncio.LifoQueue()
        self._origin = secrets.token_hex(8)

    async def open(self) -> list[Order]:
        """Raises StoreDownError, and StoreRefusedError where what is committed would not be on disk."""
        for line in self._lines:
            self._free.put_nowait(line)

        async def prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            for setting in ("fsync", "synchronous_commit"):
                if await connection.fetchval(f"SHOW {setting}") == "off":
                    raise StoreRefusedError(f"the database has {setting} = off: what it says it has could be lost; switch it on")
            if not await connection.fetchval("SHOW synchronous_standby_names"):
                _log.warning("The database has no synchronous standby: with its disk the commands are lost")
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext('edge'))")
                await connection.execute(_SCHEMA)

        await self._writer.run(prepare)
        return []

    async def close(self) -> None:
        for line in (self._writer, *self._lines):
            line.end()

    # --- orders ------------------------------------------------------------------------------------------------------

    async def write(self, changes: Changes) -> set[str]:
        """Raises StoreDownError."""
        for order in changes.new:
            order.epoch = self._epoch_of(order.agent_id)

        new, changed = self._rows(changes.new), _columns(sorted(changes.changed, key=lambda order: order.command_id))
        elsewhere = list({order.agent_id for order in changes.new if order.epoch is None})

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
            if not (changes.told or elsewhere or set(new[0]) & set(changed[0])):
                put = await connection.fetch(_BOTH, *new, *changed)
            else:
                async with connection.transaction():
                    put = await connection.fetch(_INSERT, *new)
                    await connection.fetch(_NOTIFY, elsewhere, self.instance_id)
                    await connection.execute(_JOIN, *changed)
                    await connection.execute(_TELL, *_transposed(changes.told, 7))
            if len(put) == len(changes.new):
                return set()
            return {row["command_id"] for row in await connection.fetch(_TAKEN, new[0], new[1])}

        return await self._writer.run(work)

    def _rows(self, orders: Sequence[Order]) -> list[list[object]]:
        """Of new orders."""
        rows = [(o.command_id, f"{self._origin}-{o.number}", o.agent_id, o.command_type, o.body, o.queued_utc, o.epoch) for o in orders]
        return _transposed(rows, 7)

    async def claim_for_links(self, agent_id: str | None, redeliver_after: float) -> list[Order]:
        """Open commands of the agents (or the one) whose sockets are here, that no present socket has been given; at most CLAIM_MOST."""
        return await self._orders(_CLAIM_FOR_LINKS, self.instance_id, agent_id, redeliver_after)

    async def claim_for_poll(self, agent_id: str, redeliver_after: float, at_most: int) -> list[Order]:
        """What a poll of the agent is to be answered with."""
        return await self._orders(_CLAIM_FOR_POLL, agent_id, redeliver_after, at_most)

    async def unclaim(self, ids: list[str]) -> None:
        """They were claimed for a poll and not given to it."""
        await self._fetch("UPDATE edge.command SET lease_at = NULL WHERE command_id = ANY($1) AND lease_epoch IS NULL", ids)

    async def find(self, ids: Iterable[str]) -> list[Order]:
        return await self._orders("SELECT * FROM edge.command WHERE command_id = ANY($1)", list(ids))

    async def listed(self, agent_id: str | None, status: str | None, limit: int) -> list[Order]:
        """The newest first."""
        return await self._orders(_LISTED, agent_id, status, limit)

    async def events(self) -> list[Told]:
        """None: it is the store that knows them again."""
        return []

    async def told(self, agent_id: str | None, event_type: str | None, limit: int) -> list[Told]:
        """The newest first."""
        return [Told(*row) for row in await self._fetch(_TOLD, agent_id, event_type, limit)]

    async def forget(self, older_than: float) -> None:
        """Settled commands and events, after so many seconds: their ids may come again from then on."""
        await self._fetch(_OLD, older_than)
        await self._fetch("DELETE FROM edge.event WHERE received_utc < extract(epoch FROM now()) - $1", older_than)

    # --- presence ----------------------------------------------------------------------------------------------------

    async def arrive(self, agent_id: str) -> int:
        """The agent's socket is here now, wherever it was; its epoch."""
        return int((await self._fetch(_ARRIVE, agent_id, self.instance_id))[0]["epoch"])

    async def leave(self, agent_id: str, epoch: int) -> None:
        """That socket has ended; nothing where another one has come since."""
        await self._fetch(_LEAVE, agent_id, self.instance_id, epoch)

    async def renew(self, lease: float) -> None:
        await self._fetch(_RENEW, self.instance_id, lease)

    async def held(self) -> dict[str, int]:
        """The epochs of the agents that are here."""
        return {row["agent_id"]: row["epoch"] for row in await self._fetch(_HELD, self.instance_id)}

    async def agents(self) -> list[Held]:
        return [Held(row["agent_id"], row["epoch"], row["seen_utc"], row["owner"], row["owed"]) for row in await self._fetch(_AGENTS)]

    async def add_settings(self, agent_id: str, settings: dict[str, Any]) -> None:
        """To go to the agent, wherever its socket or its next poll is."""

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO edge.agent (agent_id, epoch, last_seen) VALUES ($1, 0, now()) ON CONFLICT DO NOTHING", agent_id
                )
                kept = await connection.fetchval("SELECT settings FROM edge.agent WHERE agent_id = $1 FOR UPDATE", agent_id)
                merged = to_json(merged_settings(from_json(kept), settings)).decode()
                await connection.execute("UPDATE edge.agent SET settings = $2 WHERE agent_id = $1", agent_id, merged)
                await connection.fetch(_NOTIFY, [agent_id], "")

        await self._run(work)

    async def take_settings(self, agent_id: str | None = None) -> dict[str, dict[str, Any]]:
        """What waits for the agents whose sockets are here, or for one that polls."""
        rows = await self._fetch(_SETTINGS, None if agent_id else self.instance_id, agent_id)
        return {row["agent_id"]: from_json(row["settings"]) for row in rows}

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` for each NOTIFY to this instance, and at the start; returns when the connection has ended. Raises StoreDownError."""
        ended = asyncio.Event()
        try:
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_WITHIN)
            try:
                connection.add_termination_listener(lambda _connection: ended.set())
                await connection.add_listener(f"edge_{self.instance_id}", lambda *_notice: wake())
                wake()
                await ended.wait()
            finally:
                connection.terminate()
        except FAILURES as error:
            raise StoreDownError(plain(error, 200)) from None

    # --- how -----------------------------------------------------------------------------------------------------------

    async def _orders(self, query: str, *arguments: object) -> list[Order]:
        return [_order(row) for row in await self._fetch(query, *arguments)]

    async def _fetch(self, query: str, *arguments: object) -> "list[asyncpg.Record]":
        return await self._run(lambda connection: connection.fetch(query, *arguments))

    async def _run(self, work: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[T]]") -> T:
        line = await self._free.get()
        try:
            return await line.run(work)
        finally:
            self._free.put_nowait(line)


def _columns(orders: Sequence[Order]) -> list[list[object]]:
    rows = [
        (o.command_id, o.status.value, o.pushed, o.polled, o.delivered_utc, o.settled_utc, o.ack, to_json(o.acks).decode(), o.acks_seen,
         o.anomalies) for o in orders
    ]  # fmt: skip
    return _transposed(rows, 10)


def _transposed(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _order(row: "asyncpg.Record") -> Order:
    return Order(
        row["seq"],
        row["command_id"],
        row["agent_id"],
        row["command_type"],
        row["body"],
        row["queued_utc"],
        Status(row["status"]),
        row["pushed"],
        row["polled"],
        epoch=row["lease_epoch"],
        delivered_utc=row["delivered_utc"],
        settled_utc=row["settled_utc"],
        ack=row["ack"],
        acks=[AckSeen(AckWay(way), utc, Status(verdict)) for way, utc, verdict in from_json(row["acks"])],
        acks_seen=row["acks_seen"],
        anomalies=row["anomalies"],
    )
