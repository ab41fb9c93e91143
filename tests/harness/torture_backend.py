"""Kill instances and databases at random moments under load, and count at the agents and in the store: `make torture-backend CYCLES=50`.

Two instances share a PostgreSQL with a synchronous standby. Light agents dial either, as a balancer would have them do, run each command_id
once and acknowledge it; an enqueuer repeats each command with the same id until one instance has said 202, or 409. At the end each command
must have had one effect at its agent, and the store must owe nothing.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from agent_core.reference.hub import Rules
from agent_core.reference.server import Options, ReferenceBackend
from tests.harness.pg import Cluster, programs

SECRET, ADMIN = "torture-secret-1", "torture-admin-1"
ROOT = Path(__file__).parents[2]
QUIET_WITHIN = 90.0
PING_EVERY = 1.0


# --- an instance's process -------------------------------------------------------------------------------------------------


async def run_instance(dsn: str, port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    options = Options(secret=SECRET, admin_token=ADMIN, port=port, store=dsn, lease=6, rules=Rules(redeliver_after=2))
    async with ReferenceBackend(options):
        print("ready", flush=True)
        await stop.wait()


class Instance:
    """One backend's process, on the same port each time it starts."""

    def __init__(self, dsn: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._dsn = dsn
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        while True:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.harness.torture_backend", "--instance", str(self.port),
                cwd=ROOT, env=os.environ | {"EDGE_STORE": self._dsn}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            assert self._process.stdout is not None
            if await self._process.stdout.readline():
                return
            await self._process.wait()
            await asyncio.sleep(0.2)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


# --- agents and enqueuer ----------------------------------------------------------------------------------------------------


class Arena:
    """`async with Arena(cluster, agents, rate) as arena`: load until the end of the block."""

    def __init__(self, cluster: Cluster, agents: int, rate: float, seed: int = 1) -> None:
        self.cluster = cluster
        self.instances = [Instance(cluster.dsn()) for _ in range(2)]
        self.effects: Counter[str] = Counter()
        """By what the payload says, so that one command queued under two ids shows."""
        self.queued: dict[str, float] = {}
        """When each was promised to be kept (monotonic)."""
        self.reached: dict[str, float] = {}
        self._names = [f"mac-{number}" for number in range(agents)]
        self._rate = rate
        self._dice = random.Random(seed)
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._enqueuing: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(trust_env=False, timeout=8, limits=httpx.Limits(max_connections=200))

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(instance.start() for instance in self.instances))
        self._tasks = [asyncio.create_task(self._agent(name), name=name) for name in self._names]
        self._load = asyncio.create_task(self._enqueue(), name="enqueuer")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._tasks, self._load, *self._enqueuing):
            task.cancel()
        await asyncio.gather(*self._tasks, self._load, *self._enqueuing, return_exceptions=True)
        await self._client.aclose()
        for instance in self.instances:
            await instance.kill()

    async def quiet(self) -> dict[str, list[str]]:
        """No more commands; once all have arrived, what is wrong, by kind."""
        self._load.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_WITHIN):
                while self._enqueuing or self.queued.keys() - self.reached.keys() or self._store("ack IS NULL"):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        kept = self._store("true")
        return {
            "lost": sorted(self.queued.keys() - self.effects.keys()),
            "effective twice": sorted(name for name, times in self.effects.items() if times > 1),
            "not in the store": sorted(self.queued.keys() - kept),
            "owed by the store for ever": sorted(self._store("ack IS NULL")),
        }

    async def reach_of_new(self, count: int = 40) -> float:
        """Seconds until the next `count` commands that are promised have reached their agents, the slowest of them."""
        started_at, before = time.monotonic(), set(self.queued)

        def reached() -> bool:
            new = [name for name in self.queued if name not in before][:count]
            return len(new) == count and all(name in self.reached for name in new)

        while not reached():  # noqa: ASYNC110  (twenty agents and an enqueuer: no one event says so)
            await asyncio.sleep(0.02)
        return max(at for name, at in self.reached.items() if name not in before) - started_at

    def _store(self, where: str) -> set[str]:
        return set(self.cluster.primary.sql(f"SELECT command_id FROM edge.command WHERE {where}").split())

    async def _enqueue(self) -> None:
        while True:
            self._number += 1
            task = asyncio.create_task(self._queue(f"c{self._number}", self._dice.choice(self._names)))
            self._enqueuing.add(task)
            task.add_done_callback(self._enqueuing.discard)
            await asyncio.sleep(1 / self._rate)

    async def _queue(self, name: str, agent_id: str) -> None:
        body = {"edge_agent_id": agent_id, "command_type": "emit_event", "payload": {"name": name}, "command_id": name}
        while True:
            url = self._dice.choice(self.instances).url
            with contextlib.suppress(httpx.HTTPError):
                answer = await self._client.post(f"{url}/admin/commands", json=body, headers={"Authorization": f"Bearer {ADMIN}"})
                if answer.status_code in {202, 409}:
                    self.queued[name] = time.monotonic()
                    return
            await asyncio.sleep(0.1 + self._dice.random() * 0.3)

    async def _agent(self, agent_id: str) -> None:
        done: set[str] = set()
        while True:
            url = self._dice.choice(self.instances).url.replace("http", "ws")
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                async with asyncio.timeout(5):
                    link = await connect(
                        f"{url}/edge/ws?edge_agent_id={agent_id}", additional_headers={"Authorization": f"Bearer {SECRET}"},
                        proxy=None, compression=None, ping_interval=None, close_timeout=0.2,
                    )  # fmt: skip
                async with link:
                    pinging = asyncio.create_task(self._ping(link))
                    try:
                        async for text in link:
                            await self._hear(link, json.loads(text), done)
                    finally:
                        pinging.cancel()
            await asyncio.sleep(0.1 + self._dice.random() * 0.4)

    async def _hear(self, link: ClientConnection, frame: dict[str, dict[str, dict[str, str]]], done: set[str]) -> None:
        if frame["type"] != "command":
            return
        command_id = str(frame["data"]["command_id"])
        if command_id not in done:
            done.add(command_id)
            name = frame["data"]["payload"]["name"]
            self.effects[name] += 1
            self.reached[name] = time.monotonic()
        await link.send(json.dumps({"type": "command_ack", "data": {"command_id": command_id, "status": "completed"}}))

    async def _ping(self, link: ClientConnection) -> None:
        with contextlib.suppress(WebSocketException):
            while True:
                await asyncio.sleep(PING_EVERY)
                await link.send('{"type":"ping"}')


# --- the drill ----------------------------------------------------------------------------------------------------------------


async def torture(cycles: int, agents: int, rate: float, seed: int, tell: bool = True) -> dict[str, list[str]]:
    dice = random.Random(seed)
    with Cluster() as cluster:
        standby = cluster.add_standby()
        async with Arena(cluster, agents, rate, seed) as arena:
            for cycle in range(cycles):
                await asyncio.sleep(dice.uniform(0.2, 2))
                began_at = time.monotonic()
                if dice.random() < 0.7:
                    victim = dice.choice(arena.instances)
                    await victim.kill()
                    await asyncio.sleep(dice.uniform(0, 1))
                    await victim.start()
                    what = "an instance"
                else:
                    killed = await asyncio.to_thread(cluster.fail_over, standby, dice.uniform(0, 1.5))
                    standby = await asyncio.to_thread(cluster.add_standby, killed)
                    what = "the primary, its standby promoted"
                if tell:
                    print(
                        f"cycle {cycle + 1}: killed {what}; {time.monotonic() - began_at:.1f} s; "
                        f"queued {len(arena.queued):,}, effective {len(arena.effects):,}", flush=True,
                    )  # fmt: skip
            found = await arena.quiet()
            if tell:
                print(f"queued {len(arena.queued):,}, effective {sum(arena.effects.values()):,}, each once: {not any(found.values())}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture-backend")
    parser.add_argument("--instance", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--agents", type=int, default=50)
    parser.add_argument("--rate", type=float, default=100, help="commands a second")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if options.instance is not None:
        asyncio.run(run_instance(os.environ["EDGE_STORE"], options.instance))
        return 0
    if programs() is None:
        print("PostgreSQL is not installed: apt-get install -y postgresql")
        return 1
    print(f"seed {options.seed}")
    found = asyncio.run(torture(options.cycles, options.agents, options.rate, options.seed))
    for kind, names in found.items():
        print(f"{kind}: {len(names)} {' '.join(names[:10])}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
