"""`make bench`: the agent, its ledger on with synchronous=FULL, against a bare client; processes of their own, interleaved, medians."""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.bench.backlog import Backlog
from tests.bench.driver import Driver

SECRET = "bench-secret-0001"
POLL_EVERY = 0.05
BY_POLLING = 1_000
Figures = dict[str, float]


async def measure(kind: str, driver: Driver, port: int, scratch: Path, burst: int) -> Figures:
    """One client process through every load."""
    driver.forget_client()
    began = time.perf_counter()
    sockets = driver.sockets
    process = await start(kind, port, scratch)
    try:
        await driver.client()
        figures = {"start → online, ms": (time.perf_counter() - began) * 1_000}
        await asyncio.sleep(0.5)
        await driver.pump(200, 1)
        alone = await driver.pump(1_000, 1)
        crowd = await driver.pump(20_000, 64)
        flood = await driver.pump(burst, burst)
        figures |= {
            "1 in flight, p50 ms": alone.p50, "1 in flight, p99 ms": alone.p99,
            "64 in flight, commands/s": crowd.per_second, "64 in flight, p50 ms": crowd.p50, "64 in flight, p99 ms": crowd.p99,
            "burst, commands/s": flood.per_second, "burst, lost": flood.lost, "sockets used": driver.sockets - sockets,
            "resident, MB": resident_mb(process.pid),
        }  # fmt: skip
    finally:
        process.terminate()
        await process.wait()
    return figures


async def measure_polling(kind: str, backlog: Backlog, port: int, scratch: Path, name: str) -> Figures:
    """One client process without a socket, through a backlog."""
    process = await start(kind, port, scratch, by_polling=True)
    try:
        drained = await backlog.drain(name, BY_POLLING)
    finally:
        process.terminate()
        await process.wait()
    return {"by polling, commands/s": drained.per_second, "by polling, lost": drained.lost}


async def start(kind: str, port: int, scratch: Path, *, by_polling: bool = False) -> asyncio.subprocess.Process:
    if kind == "bare":
        bare = ("tests.bench.bare_poller", f"http://127.0.0.1:{port}", str(POLL_EVERY)) if by_polling else (
            "tests.bench.bare", f"ws://127.0.0.1:{port}/edge/ws",
        )  # fmt: skip
        return await asyncio.create_subprocess_exec(sys.executable, "-m", *bare)
    config = scratch / "config.yaml"
    ways = f"polling: always, sync_interval_seconds: {POLL_EVERY}" if by_polling else "polling: never"
    config.write_text(
        f"edge: {{agent_id: bench}}\nbackend: {{url: 'http://127.0.0.1:{port}', {ways}}}\nwebsocket: {{enabled: {not by_polling}}}\n"
        f"executor: {{max_pending: 100000}}\ndata_dir: '{tempfile.mkdtemp(dir=scratch)}'\n"
    )
    environment = {**os.environ, "EDGE_SECRET": SECRET}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled once, not at each start
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console", "--no-ui", "--config", str(config), env=environment, stdout=asyncio.subprocess.DEVNULL
    )


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def main(rounds: int, burst: int) -> None:
    driver, backlog = Driver(), Backlog()
    port, http_port = await driver.start(), backlog.start()
    found: dict[str, list[Figures]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(1, rounds + 1):
            for kind in ("bare", "agent"):
                figures = await measure(kind, driver, port, Path(scratch), burst)
                figures |= await measure_polling(kind, backlog, http_port, Path(scratch), f"{kind}{number}")
                found[kind].append(figures)
                print(f"round {number}/{rounds}: {kind} measured", file=sys.stderr)
    await driver.stop()
    await backlog.stop()
    print_table(found)


def print_table(found: dict[str, list[Figures]]) -> None:
    print(f"{'median of ' + str(len(found['bare'])) + ' rounds':<28}{'bare':>12}{'agent':>12}{'agent/bare':>12}")
    for name in found["bare"][0]:
        bare, agent = (statistics.median(figures[name] for figures in found[kind]) for kind in ("bare", "agent"))
        print(f"{name:<28}{bare:>12.2f}{agent:>12.2f}{agent / bare if bare else float('nan'):>12.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--burst", type=int, default=20_000)
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.burst))
