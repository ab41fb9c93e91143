"""`make bench-backend`: one instance of the reference backend, in a process of its own, and light agents in two others.

Held agents and their memory, one command to each, commands through each store with 64 in flight, and a restart with everybody coming back.
Everything on this machine's cores: what the agents and the enqueuer take is the backend's loss.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

from agent_core.reference.hub import Rules
from agent_core.reference.server import Options, ReferenceBackend
from tests.bench.__main__ import resident_mb
from tests.bench.light import SECRET
from tests.harness.pg import Cluster, programs

ADMIN = "bench-admin-0001"
ROOT = Path(__file__).parents[2]
IN_FLIGHT = 64
PROCESSES = 2
WITHIN = 300.0


async def serve(port: int) -> None:
    rules = Rules(agents=2_000_000, keep_settled=10_000)
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, port=port, store=os.environ.get("BENCH_STORE"), rules=rules)):
        print("ready", flush=True)
        await asyncio.Event().wait()


class Backend:
    def __init__(self, store: str | None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._env = os.environ | ({"BENCH_STORE": store} if store else {})
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.backend", "--serve", str(self.port), cwd=ROOT, env=self._env, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        await self.process.stdout.readline()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Crowd:
    """Light agents in a few processes, and what they say of themselves."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self.count = count
        self._said: list[dict[str, Any]] = [{} for _ in range(PROCESSES)]
        self._processes: list[asyncio.subprocess.Process] = []
        self._reading: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        share = self.count // PROCESSES
        for number in range(PROCESSES):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.bench.light", str(self._port), str(number * share), str(share),
                cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=2**20,
            )  # fmt: skip
            self._processes.append(process)
            self._reading.append(asyncio.create_task(self._read(process, number)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            await process.wait()
        for task in self._reading:
            task.cancel()

    def total(self, key: str) -> int:
        return sum(int(said.get(key, 0)) for said in self._said)

    def dials(self) -> Counter[int]:
        return sum((Counter({int(at): n for at, n in said["dials"].items()}) for said in self._said if said), Counter())

    async def until(self, key: str, least: int) -> float:
        """Seconds until the agents say so."""
        began = time.perf_counter()
        async with asyncio.timeout(WITHIN):
            while self.total(key) < least:  # noqa: ASYNC110  (other processes)
                await asyncio.sleep(0.05)
        return time.perf_counter() - began

    async def _read(self, process: asyncio.subprocess.Process, number: int) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._said[number] = json.loads(line)


async def post(port: int, agents: int, count: int, at_once: int = IN_FLIGHT) -> float:
    """Queue `count` commands, one agent after the other; returns how many a second."""
    numbers = iter(range(count))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = json.dumps(
                {"edge_agent_id": f"light-{number % agents}", "command_type": "send_message_now",
                 "payload": {"thread_id": "+13105550100", "text": "x" * 150}}
            )  # fmt: skip
            writer.write(
                f"POST /admin/commands HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ADMIN}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 202 " not in head.partition(b"\r\n")[0]:
                raise RuntimeError(head.decode())
            size = next(int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(size)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return count / (time.perf_counter() - began)


async def hold(agents: int) -> dict[str, str]:
    """In memory: everybody connects, gets one command, loses the backend and comes back."""
    async with Backend(None) as backend:
        base = resident_mb(backend.process.pid)
        async with Crowd(backend.port, agents) as crowd:
            took = await crowd.until("online", agents)
            await asyncio.sleep(1)
            each = (resident_mb(backend.process.pid) - base) * 1_024 / agents
            began = time.perf_counter()
            posts = await post(backend.port, agents, agents)
            await crowd.until("acked", agents)
            fan_out = time.perf_counter() - began
            await asyncio.sleep(1)
            await backend.kill()
            killed_utc, killed_at = time.time(), time.perf_counter()
            async with backend:
                await asyncio.sleep(0.5)
                await crowd.until("online", agents)
                back = time.perf_counter() - killed_at
                await asyncio.sleep(0.5)
                dials = {second: count for second, count in crowd.dials().items() if second >= killed_utc}
    mean = sum(dials.values()) / (max(dials) - min(dials) + 1)
    return {
        "agents held": f"{agents:,}", "connects/s": f"{agents / took:,.0f}", "memory beyond the base, KB a socket": f"{each:.1f}",
        "admin posts/s while pushing": f"{posts:,.0f}", "one command to each, until all are acked, s": f"{fan_out:.1f}",
        "after kill -9 and a start: all back, s": f"{back:.1f}", "dials a second, peak / mean": f"{max(dials.values()):,} / {mean:,.0f}",
    }  # fmt: skip


async def through(store: str | None, commands: int) -> dict[str, str]:
    """Enqueue, agent, proven ack."""
    async with Backend(store) as backend, Crowd(backend.port, 100) as crowd:
        await crowd.until("online", 100)
        await post(backend.port, 100, 500)
        await crowd.until("proven", 500)
        began, cpu = time.perf_counter(), cpu_seconds(backend.process.pid)
        posts = await post(backend.port, 100, commands)
        await crowd.until("proven", 500 + commands)
        proven = commands / (time.perf_counter() - began)
        each = (cpu_seconds(backend.process.pid) - cpu) / commands * 1_000
        return {"posts/s": f"{posts:,.0f}", "proven/s": f"{proven:,.0f}", "cpu": f"{each:.2f}"}


def cpu_seconds(pid: int) -> float:
    """Of a process, by Linux's count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main(agents: int, commands: int) -> None:
    held = await hold(agents)
    for name, value in held.items():
        print(f"| {name} | {value} |", flush=True)
    print("\n| store | posts/s | commands/s, from enqueue to proven ack | ms of the backend's CPU a command |\n|---|---|---|---|")
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        stores: dict[str, str | None] = {"memory": None, "SQLite": f"sqlite:{folder}"}
        if programs() is not None:
            cluster = stack.enter_context(Cluster())
            stores["PostgreSQL"] = cluster.dsn()
        for name, store in stores.items():
            figures = await through(store, commands)
            print(f"| {name} | {figures['posts/s']} | {figures['proven/s']} | {figures['cpu']} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench-backend")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=20_000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(options.serve) if options.serve is not None else main(options.agents, options.commands))
