"""Consoles that look on, one of them stopped, and what that costs the agent under load: nothing may be lost, and hardly any time.

    python -m tests.harness.onlookers [--seconds S] [--rate R] [--rounds N]

A headless agent takes commands by the clock, alone and then with three consoles attached, each in a terminal of its own. The third is
sent SIGSTOP for the whole time, as by ctrl+z, and then goes on; at last all three are killed under load, and ten viewers come and go. The
consoles note what their feeds bring: the two that read must have each entry of each command, and the third must say how many it missed.

The delays are those of this machine, where consoles, agent and backend share the cores.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from agent_core.control.address import socket_path
from agent_core.control.client import Viewer
from agent_core.feed import CommandEntry, Feed, FeedEntry, LogEntry, ProvenEntry
from agent_core.files import write_whole
from console.remote import RemoteHost
from tests.bench.driver import Latencies
from tests.bench.ui import Pacer, Screen
from tests.harness.rig import cpu_seconds_of, descriptors_of, until

CONSOLES = 3
CAUGHT_UP_WITHIN, LOOK_EVERY = 30.0, 0.2
LIFE = ["sent", "acked"]
"""What is told of a command that runs at once."""
VISITS = 10
MAX_RATIO = 1.2
Noted = dict[str, list[str]]
"""Per command the states that a console was told, in their order; under the empty name, what does not fit."""


class NotedFeed(Feed):
    """A console's own feed, which keeps in mind all that has come."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: Noted = defaultdict(list)
        self._names: dict[int, str] = {}

    def extend(self, entries: Sequence[FeedEntry]) -> None:
        for entry in entries:
            if isinstance(entry, CommandEntry):
                self._names[entry.row] = entry.command_id
                self.noted[entry.command_id].append(entry.status)
            elif isinstance(entry, ProvenEntry):
                for row in entry.rows:
                    self.noted[self._names.get(row, "")].append("acked")
            elif isinstance(entry, LogEntry) and "came faster" in entry.text:
                self.noted[""].append(entry.text)
        super().extend(entries)


def look(data_dir: Path, notes: Path) -> None:
    """Be such a console; SIGUSR2 has it write down what it has been told."""
    from agent_core import gc_tuning
    from console.app import EdgeConsole
    from console.base import run

    host = RemoteHost(socket_path(data_dir), read_only=True)
    host.feed = feed = NotedFeed()
    signal.signal(signal.SIGUSR2, lambda _number, _frame: write_whole(notes, json.dumps(feed.noted).encode()))
    host.start()
    run(EdgeConsole(host, clock=host, read_only=True, asks_to_quit=False, on_first_paint=gc_tuning.tune_console))
    host.stop()


class Onlooker:
    """One console, in a process and a terminal of its own."""

    def __init__(self, data_dir: Path, number: int) -> None:
        self._notes = data_dir / f"notes-{number}.json"
        self._screen = Screen([sys.executable, "-m", "tests.harness.onlookers", "--look", str(data_dir), str(self._notes)])

    def wait(self) -> None:
        """Until it is on the screen."""
        self._screen.until("Commands", 60)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._screen.pid, number)

    async def told(self) -> Noted:
        """Up to now."""
        self._notes.unlink(missing_ok=True)
        self.signal(signal.SIGUSR2)
        await until(self._notes.exists, "a console's notes")
        told: Noted = json.loads(await asyncio.to_thread(self._notes.read_text))
        return told

    def close(self) -> None:
        self.signal(signal.SIGKILL)
        self._screen.close()


async def look_on(seconds: float, rate: int) -> tuple[list[str], dict[str, float]]:
    """One round: what must not be, and the figures."""
    driver = Pacer()
    port = await driver.start()
    violations: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        config = folder / "config.yaml"
        backend = f"backend: {{url: 'http://127.0.0.1:{port}', polling: never}}"
        config.write_text(f"edge: {{agent_id: onlooked}}\n{backend}\ntiming: {{ack_ping_interval: 1}}\ndata_dir: '{folder}'\n")
        agent = stack.enter_context(closing(Screen([sys.executable, "-m", "console", "--no-ui", "--config", str(config)])))
        await driver.client()
        await driver.pace(rate, 1.0)
        alone, spent_alone = await _paced(driver, rate, seconds, agent.pid)
        before = descriptors_of(agent.pid)
        consoles = [stack.enter_context(closing(Onlooker(folder, number))) for number in range(CONSOLES)]
        for console in consoles:
            await asyncio.to_thread(console.wait)
        reading, stopped = consoles[:-1], consoles[-1]
        began = driver.sent
        stopped.signal(signal.SIGSTOP)
        watched, spent_watched = await _paced(driver, rate, seconds, agent.pid)
        stopped.signal(signal.SIGCONT)
        ids = [f"cmd_{number:08d}" for number in range(began, driver.sent)]
        for number, console in enumerate(reading):
            violations += _judged(f"console {number}", await _caught_up(console, ids[-1]), ids)
        late = await _caught_up(stopped, ids[-1])
        missed = sum(int(text.split()[0].replace(",", "")) for text in late.get("", []) if "came faster" in text)
        if not missed and any(name not in late for name in ids):
            violations.append("the stopped console has missed entries and does not say so")
        pacing = asyncio.create_task(driver.pace(rate, max(1.0, seconds / 4)))
        await asyncio.sleep(0.3)
        for console in consoles:
            console.signal(signal.SIGKILL)
        killed = await pacing
        for _ in range(VISITS):
            with await asyncio.to_thread(Viewer, socket_path(folder)) as viewer:
                await asyncio.to_thread(viewer.next, 5.0)
        try:
            await until(lambda: descriptors_of(agent.pid) <= before)
        except AssertionError:
            violations.append(f"{descriptors_of(agent.pid)} descriptors after the last viewer, and {before} before the first")
        lost = {name: paced.lost for name, paced in (("alone", alone), ("looked on", watched), ("killed", killed))}
        violations += [f"{count} acks lost {name}" for name, count in lost.items() if count]
        if driver.sockets != 1:
            violations.append(f"{driver.sockets} sockets where one was enough")
    await driver.stop()
    return violations, {
        "commands": float(driver.sent), "ack p50 alone, ms": alone.p50, "ack p50 looked on, ms": watched.p50,
        "ack p99 alone, ms": alone.p99, "ack p99 looked on, ms": watched.p99, "ack p99 while consoles are killed, ms": killed.p99,
        "agent's CPU a command alone, µs": spent_alone, "agent's CPU a command looked on, µs": spent_watched,
        "entries that the stopped console missed, as told": float(missed),
    }  # fmt: skip


async def _paced(driver: Pacer, rate: int, seconds: float, pid: int) -> tuple[Latencies, float]:
    """The delays, and the processor time of that process a command, in microseconds."""
    before = cpu_seconds_of(pid)
    paced = await driver.pace(rate, seconds)
    return paced, (cpu_seconds_of(pid) - before) / paced.sent * 1e6


async def _caught_up(console: Onlooker, last: str) -> Noted:
    """What it was told, the last command with it."""
    async with asyncio.timeout(CAUGHT_UP_WITHIN):
        while (told := await console.told()).get(last, LIFE[:1])[-1] != LIFE[-1]:  # noqa: ASYNC110  (it notes when it is asked)
            await asyncio.sleep(LOOK_EVERY)
    return told


def _judged(name: str, told: Noted, ids: Sequence[str]) -> list[str]:
    """Each command that was sent has been told, from its run to the proof of its ack."""
    wrong = [f"{name} has {told.get(one)} of {one}" for one in ids if told.get(one) != LIFE]
    return wrong[:3] + [f"{name}: {len(wrong)} lives are not whole"] * bool(wrong) + [f"{name}: {text}" for text in told.get("", [])]


def main(seconds: float, rate: int, rounds: int) -> int:
    """Some rounds and their medians; 1 where something was lost."""
    violations: list[str] = []
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        wrong, figures = asyncio.run(look_on(seconds, rate))
        violations += wrong
        for name, value in figures.items():
            found[name].append(value)
        print(f"round {number + 1}/{rounds}: {len(wrong)} violation(s)", file=sys.stderr)
    print(f"{f'{CONSOLES} consoles, one stopped for {seconds:g} s, {rate}/s; median of {rounds}':<64}")
    for name, values in found.items():
        print(f"{name:<54}{statistics.median(values):>10,.2f}")
    pairs = zip(found["ack p99 looked on, ms"], found["ack p99 alone, ms"], strict=True)
    print(f"{f'ack p99, looked on ÷ alone (mark {MAX_RATIO})':<54}{statistics.median(a / b for a, b in pairs):>10.2f}")
    print(f"(load {os.getloadavg()[0]:.1f})")
    print("\n".join(violations) or "nothing is missing")
    return 1 if violations else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for which one console is stopped, and the agent alone before")
    parser.add_argument("--rate", type=int, default=500, help="commands a second")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--look", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look is not None:
        look(*options.look)
    else:
        sys.exit(main(options.seconds, options.rate, options.rounds))
