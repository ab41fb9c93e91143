"""`make soak MINUTES=30`: a headless agent and a console on real sockets, in bad weather, with the eye on what grows (P10, P11).

    python -m tests.harness.soak [--minutes M] [--seed S]

Both have timers of a tenth and less; commands of every kind come all the time, plans and cancels among them, some twice and some poisoned;
the way to the backend is refused, cut, stalled and slowed, and the backend refuses upgrades, syncs and acks. Each of a process's figures is
taken every few seconds. After the last minute the weather clears, and the backend's and the outbox's counts must agree.

Growth is judged from `JUDGED` minutes on, without the warm-up: shorter runs show it and judge the rest. What is bounded by a number is full
before the first minute begins: the stream's ring of 50,000 rows alone would take an hour, and look like a leak for as long.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_core.clock import iso
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import outbox
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Rules
from agent_core.reference.orders import CallError, Order, Status
from agent_core.reference.server import ReferenceBackend
from tests.harness.faultproxy import FaultProxy, Way
from tests.harness.rig import SECRET, descriptors_of, options, program, settings, threads_of
from tests.harness.terminal import Terminal

JUDGED = 10.0
WARM_UP = 0.3
"""Of the whole time: caches fill, and the collector finds its pace."""
SAMPLE_EVERY = 2.0
MAX_SLOPE = 0.1
"""MB a minute."""
MAX_MB = {"console": 120.0}
MAX_DESCRIPTORS, MAX_THREADS = 32, 16
QUIET_WITHIN = 90.0
COMMANDS_A_SECOND = 15
FILL, MAX_OPEN, ACKED_WITHIN = 50_000, 2_000, 60.0
"""Commands before the first minute; how many without an ack at most, and for how many seconds at that number."""
NOTED_EVERY = 5_000
"""Commands between two looks into the outbox while it is filled: the oldest are forgotten when the ledger is large enough."""
SENDS = ("send_message", "send_message_now", "schedule_message")
KEYS = ("j", "k", "g", "G", "f", "1", "2", "3", "4", "5", "z", "z", "?", "\x1b", "/", "st", "\x1b", "\x1b")
"""What an operator does who only looks."""
POISON = (r'"\ud83d"', "NaN", "1" * 4_301, "[" * 300 + "]" * 300, '"\t"', "undefined")
CLEAR = Faults()


@dataclass
class Subject:
    """One process under observation, and what the backend was told for it."""

    name: str
    folder: Path
    proxy: FaultProxy
    pid: int = 0
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)
    """Minutes since the start, resident MB, descriptors, threads."""
    slow_turns: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    cancels: dict[str, str] = field(default_factory=dict)
    """Ids of cancels, and of what each cancels."""
    planned: list[str] = field(default_factory=list)
    """What may be cancelled."""
    sent: dict[int, str] = field(default_factory=dict)
    """The ids in the outbox by their numbers, those that have been forgotten, too."""

    @property
    def agent_id(self) -> str:
        return f"soak-{self.name}"

    @property
    def data_dir(self) -> Path:
        return self.folder / "state"

    def write_config(self) -> list[str]:
        body = settings(self.data_dir, self.proxy.url, timing={"safety_sync_every": 2.0})
        path = self.folder / "config.yaml"
        path.write_text(json.dumps(body | {"edge": {"agent_id": self.agent_id}}))
        return ["--config", str(path)]

    def note_sent(self) -> None:
        self.sent |= {row.seq: row.command_id for row in outbox(self.data_dir)}

    def compacted(self) -> set[str]:
        """Of which the ledger keeps no more than the ack: what was sent has left the outbox, maybe before it was noted."""
        with closing(sqlite3.connect(f"{(self.data_dir / FILE_NAME).as_uri()}?mode=ro", uri=True)) as db:
            return {command_id for (command_id,) in db.execute("SELECT command_id FROM compacted")}

    def sample(self, minutes: float) -> None:
        with suppress(OSError):
            status = Path(f"/proc/{self.pid}/status").read_text()
            resident = int(status.partition("VmRSS:")[2].split()[0]) / 1_024
            self.samples.append((minutes, resident, descriptors_of(self.pid), threads_of(self.pid)))


# --- the processes ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def headless(subject: Subject) -> AsyncIterator[None]:
    async with program("--no-ui", *subject.write_config(), cwd=subject.folder) as running:
        subject.pid = running.pid
        following = asyncio.create_task(_follow(running.out, subject))
        try:
            yield
            running.signal(signal.SIGTERM)
            assert await running.ends(30.0) == 0, running.out[-20:] + running.err
        finally:
            following.cancel()


async def _follow(lines: list[str], subject: Subject) -> None:
    """Count what is of interest and let the rest go."""
    while True:
        await asyncio.sleep(1.0)
        subject.slow_turns += _slow_turns("\n".join(lines[:-50]))
        del lines[:-50]


@asynccontextmanager
async def console(subject: Subject) -> AsyncIterator[None]:
    with Terminal(*subject.write_config(), env={"EDGE_SECRET": SECRET}) as terminal:
        subject.pid = terminal.process.pid
        watching = asyncio.create_task(_watch(terminal))
        try:
            yield
            terminal.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(terminal.process.wait, 30.0)
            assert code == 0, f"the console ended with {code}"
        finally:
            watching.cancel()
            subject.slow_turns = sum(_slow_turns(path.read_text("utf-8", "replace")) for path in subject.data_dir.glob("*.log*"))


async def _watch(terminal: Terminal) -> None:
    """Look at the screen, and press a key now and then."""
    keys = 0
    while terminal.process.poll() is None:
        await asyncio.sleep(0 if terminal.skip() else 0.05)
        if random.random() < 0.02:
            terminal.press(KEYS[keys % len(KEYS)])
            keys += 1


def _slow_turns(text: str) -> int:
    return len(re.findall(r"one turn took \d+ ms", text))


# --- the weather and the traffic ----------------------------------------------------------------------------------------------


async def weather(backend: ReferenceBackend, subjects: list[Subject], dice: random.Random) -> None:
    """One trouble after the other, with clear sky between them."""
    while True:
        await asyncio.sleep(dice.uniform(1, 5))
        trouble = dice.choice(TROUBLES)
        proxies = [subject.proxy for subject in subjects]
        try:
            await trouble(backend, proxies, dice)
        finally:
            backend.faults = CLEAR
            for proxy in proxies:
                proxy.set(Way(), Way())
                await proxy.listen()


async def _refused(_backend: ReferenceBackend, proxies: list[FaultProxy], dice: random.Random) -> None:
    for proxy in proxies:
        await proxy.refuse()
    await asyncio.sleep(dice.uniform(0.5, 6))


async def _cut(_backend: ReferenceBackend, proxies: list[FaultProxy], dice: random.Random) -> None:
    for _ in range(dice.randint(1, 5)):
        for proxy in proxies:
            proxy.cut(gently=dice.random() < 0.5)
        await asyncio.sleep(dice.uniform(0.1, 1))


async def _stalled(_backend: ReferenceBackend, proxies: list[FaultProxy], dice: random.Random) -> None:
    up, down = dice.choice([(True, True), (True, False), (False, True)])
    for proxy in proxies:
        proxy.stall(up=up, down=down)
    await asyncio.sleep(dice.uniform(1, 20))


async def _slow(_backend: ReferenceBackend, proxies: list[FaultProxy], dice: random.Random) -> None:
    for proxy in proxies:
        way = Way(delay=0.2, jitter=0.1) if dice.random() < 0.5 else Way(rate=20_000)
        proxy.set(way, way)
    await asyncio.sleep(dice.uniform(2, 8))


def _faulty(*faults: Faults) -> Callable[[ReferenceBackend, list[FaultProxy], random.Random], Any]:
    async def trouble(backend: ReferenceBackend, proxies: list[FaultProxy], dice: random.Random) -> None:
        backend.faults = dice.choice(faults)
        for proxy in proxies:
            proxy.cut()
        await asyncio.sleep(dice.uniform(1, 6))

    return trouble


async def _poisoned_answers(backend: ReferenceBackend, proxies: list[FaultProxy], dice: random.Random) -> None:
    items = ",".join(f'{{"command_id":"poison_{dice.randrange(10**9)}","payload":{value}}}' for value in POISON)
    backend.faults = Faults(upgrade_status=503, sync_items=items)
    for proxy in proxies:
        proxy.cut()
    await asyncio.sleep(dice.uniform(1, 4))


REFUSED = [Faults(upgrade_status=503, ack_status=status, old_ack_status=status) for status in (401, 404, 409, 429, 500, 503)]
TROUBLES = (
    _refused, _cut, _stalled, _slow, _poisoned_answers, _faulty(*REFUSED), _faulty(Faults(close_code=1012), Faults(close_code=4009)),
    _faulty(Faults(upgrade_status=503), Faults(upgrade_status=401), Faults(upgrade_status=200, upgrade_body="<html>")),
    _faulty(Faults(upgrade_status=503, sync_status=500), Faults(upgrade_status=503, sync_status=429, sync_retry_after=1.0)),
    _faulty(Faults(push_twice=True), Faults(ignore_pings=True), Faults(silent=True), Faults(delay_seconds=0.5)),
)  # fmt: skip


async def fill(backend: ReferenceBackend, subject: Subject, dice: random.Random) -> None:
    """As many commands as the stream keeps, in clear weather, no faster than they are acknowledged."""
    for count in range(1, FILL + 1):
        await command(backend, subject, dice)
        if count % NOTED_EVERY == 0:
            subject.note_sent()
        await backend.until(lambda hub: hub.open_count < MAX_OPEN, ACKED_WITHIN)


async def traffic(backend: ReferenceBackend, subject: Subject, dice: random.Random) -> None:
    """About as many commands a second as say so."""
    while True:
        await asyncio.sleep(dice.expovariate(COMMANDS_A_SECOND))
        await command(backend, subject, dice)


async def command(backend: ReferenceBackend, subject: Subject, dice: random.Random) -> None:
    """Of any kind."""
    kind = dice.random()
    if kind < 0.1 and subject.planned:
        target = subject.planned.pop(dice.randrange(len(subject.planned)))
        name = await _queue(backend, subject, "cancel_message", {dice.choice(["command_id", "schedule_id"]): target})
        subject.cancels[name] = target
    elif kind < 0.25:
        name = f"plan_{dice.randrange(10**12)}"
        due = {"send_at": iso(time.time() + dice.uniform(0.2, 20)), "schedule_id": name}
        await _queue(backend, subject, "schedule_message", _message(dice) | due, name)
        subject.planned = [*subject.planned[-50:], name]
    elif kind < 0.3:
        await _queue(backend, subject, dice.choice(["emit_event", "no_such_type"]), {"event": "x" * dice.randrange(200)})
    elif kind < 0.35 and subject.orders:
        with suppress(CallError):
            await backend.repeat(dice.choice(list(subject.orders)[-200:]), by_poll=dice.random() < 0.5)
    elif kind < 0.37:
        with suppress(CallError):
            value = dice.choice(POISON)
            await backend.say(
                subject.agent_id, f'{{"type":"command","data":{{"command_id":"poison_{dice.randrange(10**9)}","data":{value}}}}}'
            )
    else:
        await _queue(backend, subject, dice.choice(["send_message", "send_message_now", "send_message_now"]), _message(dice))


def _message(dice: random.Random) -> dict[str, Any]:
    return {"thread_id": f"+1310555{dice.randrange(40):04d}", "text": "x" * dice.randrange(1, 400)}


async def _queue(backend: ReferenceBackend, subject: Subject, kind: str, payload: dict[str, Any], name: str | None = None) -> str:
    command_id = await backend.queue(subject.agent_id, kind, payload, command_id=name)
    subject.orders[command_id] = backend.hub.order(command_id)
    return command_id


# --- what came of it ------------------------------------------------------------------------------------------------------------


def judge(subject: Subject) -> dict[str, list[str]]:
    """Violations by kind, each with its ids: what the backend was told against what the outbox holds."""
    subject.note_sent()
    sent = Counter(subject.sent.values())
    completed = {name for name, order in subject.orders.items() if order.status is Status.COMPLETED}
    messages = {name for name in completed if subject.orders[name].command_type in SENDS}
    return {
        "lost (no ack, or completed and not sent)": sorted(
            {name for name, order in subject.orders.items() if order.ack is None} | (messages - sent.keys() - subject.compacted())
        ),
        "twice": sorted(name for name, times in sent.items() if times > 1),
        "sent, and said to have failed": sorted(sent.keys() & subject.orders.keys() - completed),
        "cancelled, and sent": sorted(name for name, target in subject.cancels.items() if name in completed and target in sent),
        "acks that differ": sorted(name for name, order in subject.orders.items() if order.anomalies),
    }


def measured(subject: Subject, minutes: float) -> tuple[dict[str, str], list[str]]:
    """The table's column, and which marks are passed."""
    calm = [sample for sample in subject.samples if sample[0] >= minutes * WARM_UP] or subject.samples
    at, resident, descriptors, threads = (list(column) for column in zip(*calm, strict=True))
    most = MAX_MB.get(subject.name, float("inf"))
    slopes = [statistics.linear_regression(at, column).slope if len(calm) > 2 else 0.0 for column in (resident, descriptors, threads)]
    marks = {
        f"resident over {most:.0f} MB": max(resident) > most,
        f"more than {MAX_DESCRIPTORS} descriptors": max(descriptors) > MAX_DESCRIPTORS,
        f"more than {MAX_THREADS} threads": max(threads) > MAX_THREADS,
        f"resident grows by more than {MAX_SLOPE} MB a minute": minutes >= JUDGED and slopes[0] > MAX_SLOPE,
    }
    words = ("resident MB", "descriptors", "threads")
    column = {
        f"{word}: first, last, most; a minute": f"{values[0]:.4g}, {values[-1]:.4g}, {max(values):.4g}; {slope:+.3f}"
        for word, values, slope in zip(words, (resident, descriptors, threads), slopes, strict=True)
    }
    kinds = Counter(order.status for order in subject.orders.values())
    column["turns over 100 ms"] = str(subject.slow_turns)
    column["commands"] = f"{len(subject.orders)}: " + ", ".join(f"{count} {status}" for status, count in sorted(kinds.items()))
    return column, [mark for mark, passed in marks.items() if passed]


def audited(subject: Subject) -> str:
    command = [sys.executable, "-m", "console", "audit", "verify", "--data-dir", str(subject.data_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return "OK" if ended.returncode == 0 else (ended.stdout + ended.stderr).strip()


async def soak(minutes: float, seed: int) -> int:
    """1 where a mark is passed."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        subjects = []
        backend = ReferenceBackend(options(rules=Rules(redeliver_after=1.0)))
        async with backend, FaultProxy(backend.port) as one, FaultProxy(backend.port) as two:
            for name, proxy in (("headless", one), ("console", two)):
                folder = Path(scratch) / name
                folder.mkdir()
                subjects.append(Subject(name, folder, proxy))
            async with headless(subjects[0]), console(subjects[1]):
                await _live(backend, subjects, minutes, dice)
        columns = [measured(subject, minutes) for subject in subjects]
        verdicts = [judge(subject) | {"audit verify": [word] if (word := audited(subject)) != "OK" else []} for subject in subjects]
    print(f"{'':<46}" + "".join(f"{subject.name:>46}" for subject in subjects))
    for name in columns[0][0]:
        print(f"{name:<46}" + "".join(f"{column[name]:>46}" for column, _ in columns))
    for kind in verdicts[0]:
        print(f"{kind:<46}" + "".join(f"{len(verdict[kind]):>46}" for verdict in verdicts))
    passed = [f"{subject.name}: {mark}" for subject, (_, marks) in zip(subjects, columns, strict=True) for mark in marks]
    passed += [f"{s.name}: {kind}: {' '.join(ids[:50])}" for s, v in zip(subjects, verdicts, strict=True) for kind, ids in v.items() if ids]
    print("\n".join(passed) if passed else "OK", f"(seed {seed})")
    return 1 if passed else 0


async def _live(backend: ReferenceBackend, subjects: list[Subject], minutes: float, dice: random.Random) -> None:
    """The weather and the traffic for so long, and then quiet until nothing is owed."""
    if minutes >= JUDGED:
        await asyncio.gather(*(fill(backend, subject, dice) for subject in subjects))
    began = time.monotonic()
    tasks = [asyncio.create_task(traffic(backend, subject, dice)) for subject in subjects]
    tasks.append(asyncio.create_task(weather(backend, subjects, dice)))
    try:
        while (now := (time.monotonic() - began) / 60) < minutes:
            for subject in subjects:
                subject.sample(now)
            assert not [task for task in tasks if task.done()], [task.exception() for task in tasks if task.done()]
            await asyncio.sleep(SAMPLE_EVERY)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    by = time.monotonic() + QUIET_WITHIN
    while time.monotonic() < by and any(order.ack is None for subject in subjects for order in subject.orders.values()):  # noqa: ASYNC110
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tests.harness.soak", description=__doc__, formatter_class=raw)
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M")
    parser.add_argument("--seed", type=int, default=None, help="of what is chosen; the instants stay the machine's")
    chosen = parser.parse_args()
    sys.exit(asyncio.run(soak(chosen.minutes, chosen.seed if chosen.seed is not None else random.randrange(2**31))))
