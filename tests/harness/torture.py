"""`make torture`: the agent is killed over and over; at the end the backend's and the messenger's counts must agree (P1, P2, F28, F29).

    python -m tests.harness.torture [--cycles N] [--messenger outbox|file|imessage|both] [--seed S]

A cycle: the agent is started on what the kills before it have left; commands reach it by socket and by poll, many of them more than
once; it is killed with SIGKILL, at a random instant or at a boundary: before the n-th effect, between an effect and its record, between a
record and what follows from it. After the last cycle it may finish in peace. Backend and agent are processes of their own.

With `imessage` the messages, some with a file, go to a bench that misbehaves, while a human types some of the same texts there.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx

from agent_core.clock import iso
from agent_core.engine.inbound import guids_of
from agent_core.engine.ledger import OUTCOME_UNKNOWN
from agent_core.frames import instant
from agent_core.journal.audit import audit
from agent_core.journal.reader import outbox
from agent_core.records import State
from agent_core.reference.hub import Rules
from agent_core.reference.messages.app import Fault, MessagesApp
from agent_core.reference.messages.programs import install
from agent_core.reference.server import Options, ReferenceBackend
from tests.harness.mac import rows_of
from tests.harness.mortal import BOUNDARIES, SENDS
from tests.harness.rig import ADMIN, AGENT, ROOT, SECRET, HttpStub, http_answer, records, settings

COMMANDS_A_CYCLE = 10
REPEAT_EVERY = 0.05
REFUSING = {"upgrade_status": 503}
TWICE = {"push_twice": True}
LATE_BY = 0.5
WITH_FILE, PICTURE = 0.2, b"picture" * 1_000
SMOOTH = (Fault.NONE,) * 20
MAC_FAULTS = (
    *SMOOTH, Fault.SAYS_SENT, Fault.LATE, Fault.LATE, Fault.TWICE, Fault.HANGS, Fault.HANGS_SENT, Fault.IGNORES_TERM, Fault.GHOST,
    Fault.MAY_HAVE_COMPLETED, Fault.MAY_HAVE_COMPLETED_SENT, Fault.ATTACHED_LATE, Fault.NEVER_ATTACHED,
)  # fmt: skip
TROUBLES: tuple[dict[str, Any], ...] = ({}, {}, TWICE, TWICE | {"ack_status": 500}, REFUSING, REFUSING, {"close_code": 1012})


# --- the backend's process: the reference backend, which repeats itself ----------------------------------------------------


async def run_backend(data_dir: Path, seed: int) -> None:
    dice = random.Random(seed)
    quiet, stop = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, quiet.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    rules = Rules(redeliver_after=0.5)
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, store=f"sqlite:{data_dir}", rules=rules)) as backend:
        print(backend.port, flush=True)
        while not stop.is_set():
            await asyncio.sleep(REPEAT_EVERY)
            if not quiet.is_set() and (recent := backend.hub.orders(AGENT, limit=40)):
                by_poll = backend.hub.connected(AGENT) is None or dice.random() < 0.3
                await backend.repeat(dice.choice(recent).command_id, by_poll=by_poll)


# --- what is judged, pure ---------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """What the witnesses say at the end: the backend of its commands, the messenger of its messages, the ledger of itself."""

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    """As the backend shows them, by id; all that were queued."""
    sent: Counter[str] = field(default_factory=Counter)
    """Messages by command id."""
    sent_utc: dict[str, float] = field(default_factory=dict)
    interrupted: set[str] = field(default_factory=set)
    """By the ledger's word."""
    typed: set[str] = field(default_factory=set)
    """Messages of which somebody else has sent the like, too."""
    expected: dict[str, list[str]] = field(default_factory=dict)
    """By command id what must stand in Messages' own record: its text, then its file."""
    proven: dict[str, list[str]] = field(default_factory=dict)
    """What stands there in the rows that the ack names."""
    files: Counter[str] = field(default_factory=Counter)
    """Files that were really sent, by command id."""
    proofs: Counter[str] = field(default_factory=Counter)
    """By row of that record, how many commands it proves."""
    unproven: set[str] = field(default_factory=set)
    audited: dict[str, str] = field(default_factory=dict)


def judge(found: Findings, *, exact: bool) -> dict[str, list[str]]:
    """Violations by kind, each with its ids. `exact`: the messenger's effect is in the ledger, so that nothing may be interrupted."""
    orders = found.orders
    messages = {name for name, order in orders.items() if order["command_type"] in SENDS}
    completed = {name for name, order in orders.items() if order["status"] == "completed"}
    acked = {name for name, order in orders.items() if order["ack"] is not None}
    reported = {name for name in acked if str(orders[name]["ack"].get("error")).startswith((OUTCOME_UNKNOWN, "unknown outcome: "))}
    early = [name for name, utc in found.sent_utc.items() if name in orders and utc < _due(orders[name]) - 0.001]
    return {
        "lost (no message, though acked completed)": sorted((completed & messages) - found.sent.keys() - found.typed),
        "effective twice": sorted(name for name, times in (*found.sent.items(), *found.files.items()) if times > 1),
        "completed without its rows": sorted(
            name for name in completed & found.expected.keys() if found.proven.get(name) != found.expected[name]
        ),
        "rows that prove two": sorted(row for row, times in found.proofs.items() if times > 1),
        "acks missing": sorted(orders.keys() - acked),
        "acks that differ": sorted(name for name, order in orders.items() if order["anomalies"]),
        "failed, and not as interrupted": sorted(acked - completed - reported),
        "interrupted, and not reported so": sorted(found.interrupted ^ reported),
        "sent, and acked as neither": sorted(found.sent.keys() - completed - reported),
        "interrupted in a transaction": sorted(found.interrupted) if exact else [],
        "sent too early": sorted(early),
        "acks unproven in the quiet": sorted(found.unproven),
        "audit": sorted(f"{name} {what}" for name, what in found.audited.items()),
    }


def _due(order: dict[str, Any]) -> float:
    return instant(order["payload"].get("send_at", 0))


# --- one world: a backend, an agent, a messenger -----------------------------------------------------------------------------


@dataclass
class World:
    messenger: str
    cycles: int
    dice: random.Random
    folder: Path
    queued: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    started_in: list[float] = field(default_factory=list)
    quiet_within: ClassVar[float] = 60.0
    longest: ClassVar[float] = 0.7
    """Seconds for which an agent lives before it is killed at any instant."""

    async def run(self) -> tuple[dict[str, list[str]], dict[str, object]]:
        """Violations and figures."""
        began = time.monotonic()
        self.backend, port = await self._start_backend()
        self.config = self.folder / "config.json"
        self.config.write_text(json.dumps(self.settings(port)))
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=10, trust_env=False) as self.http:
            try:
                for number in range(1, self.cycles + 1):
                    await self.cycle()
                    if number % 25 == 0:
                        print(f"{self.messenger}: {number}/{self.cycles} cycles", file=sys.stderr, flush=True)
                await self.finish_in_peace()
                found, figures = await self.findings()
            finally:
                self.backend.terminate()
                await self.backend.wait()
        figures["seconds"] = f"{time.monotonic() - began:.0f}"
        return judge(found, exact=self.messenger == "outbox"), figures

    def settings(self, port: int) -> dict[str, Any]:
        fast = settings(self.folder / "data", f"http://127.0.0.1:{port}")
        fast["timing"]["safety_sync_every"] = 0.5
        fast["messenger"] = {"kind": self.messenger, "path": str(self.folder / "messages.jsonl")}
        return fast

    def environment(self, dwell: float) -> dict[str, str]:
        return {**os.environ, "EDGE_SECRET": SECRET, "EDGE__MESSENGER__DELAY_SECONDS": f"{dwell:.3f}"}

    async def _start_backend(self) -> tuple[asyncio.subprocess.Process, int]:
        arguments = ("-m", "tests.harness.torture", "--serve", str(self.folder / "backend"), "--seed", str(self.dice.randrange(2**31)))
        with (self.folder / "backend.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        return process, int(await process.stdout.readline())

    async def _start_agent(self, dwell: float, spec: str = "") -> asyncio.subprocess.Process:
        arguments = ("-m", "tests.harness.mortal", str(self.config), spec)
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, env=self.environment(dwell))

    async def cycle(self) -> None:
        dice = self.dice
        await self.http.put("/admin/faults", json=dice.choice(TROUBLES))
        at_boundary = dice.random() < 0.5
        spec = f"{dice.choice(BOUNDARIES)}:{dice.randint(1, 6)}" if at_boundary else ""
        for _ in range(dice.randint(0, 4)):
            await self._queue()
        syncs = await self._heard()
        agent = await self._start_agent(dice.uniform(0, 0.2), spec)
        began = time.monotonic()
        while agent.returncode is None and await self._heard() == syncs and time.monotonic() < began + 20:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.started_in.append(time.monotonic() - began)
        live = asyncio.create_task(self._traffic())
        with suppress(TimeoutError):
            await asyncio.wait_for(agent.wait(), 1.0 if at_boundary else dice.uniform(0, self.longest))
        if agent.returncode is None:
            agent.kill()
            await agent.wait()
            spec = "instant"
        assert agent.returncode == -signal.SIGKILL, f"the agent ended by itself with {agent.returncode}"
        self.kills[spec.partition(":")[0]] += 1
        await live

    async def _heard(self) -> tuple[object, ...]:
        """What changes as soon as the agent has reached the backend."""
        agents = (await self.http.get("/admin/agents")).json()["agents"]
        return tuple((agent["syncs"], agent["connects"], agent["connects_refused"]) for agent in agents)

    async def _traffic(self) -> None:
        for _ in range(COMMANDS_A_CYCLE - 2):
            await self._queue()
            await asyncio.sleep(self.dice.uniform(0, 0.06))

    async def _queue(self) -> None:
        dice = self.dice
        command_type = dice.choice(("send_message", "send_message_now", "send_message_now", "schedule_message", "emit_event"))
        payload: dict[str, Any] = {"thread_id": f"+1310555{dice.randint(0, 5):04d}", "text": f"message {len(self.queued)}"}
        payload |= self.more(command_type)
        if command_type == "schedule_message":
            payload["send_at"] = iso(time.time() + dice.uniform(0.05, 1.5))
        body = {"edge_agent_id": AGENT, "command_type": command_type, "payload": payload}
        answer = await self.http.post("/admin/commands", json=body | {"priority": dice.choice(("normal", "normal", "high"))})
        self.queued.append(answer.json()["command_id"])

    def more(self, command_type: str) -> dict[str, Any]:
        """What else the next command has."""
        return {}

    async def finish_in_peace(self) -> None:
        self.backend.send_signal(signal.SIGUSR1)
        await self.http.put("/admin/faults", json={})
        syncs = await self._heard()
        agent = await self._start_agent(0.0)
        by = time.monotonic() + self.quiet_within
        while time.monotonic() < by and agent.returncode is None and await self._heard() == syncs:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        while time.monotonic() < by and agent.returncode is None and (await self._open() or self._unproven()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        if agent.returncode is None:
            agent.terminate()
        assert await agent.wait() == 0, "the agent does not end well"

    async def _open(self) -> int:
        agents = (await self.http.get("/admin/agents")).json()["agents"]
        return sum(agent["open_commands"] for agent in agents)

    def _unproven(self) -> set[str]:
        return {record.command.command_id for record in records(self.folder / "data", "unproven")}

    async def findings(self) -> tuple[Findings, dict[str, object]]:
        found = Findings(unproven=self._unproven())
        for name in self.queued:
            found.orders[name] = (await self.http.get(f"/admin/commands/{name}")).json()
        for name, utc in self.messages():
            found.sent[name] += 1
            found.sent_utc[name] = utc
        rows = records(self.folder / "data")
        found.interrupted = {record.command.command_id for record in rows if record.state is State.INTERRUPTED}
        checked = audit(self.folder / "data", set(SENDS) | {"emit_event"} if self.messenger == "outbox" else {"emit_event"})
        found.audited = {one.command_id: one.what for one in checked.violations}
        interrupted, messages = found.interrupted, found.sent.keys()
        figures: dict[str, object] = {
            "cycles": self.cycles,
            "kills": ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items())),
            "commands queued": len(self.queued),
            "taken by socket / poll": " / ".join(str(sum(record.via == via for record in rows)) for via in ("ws", "poll")),
            "delivered in all": sum(sum(order["deliveries"].values()) for order in found.orders.values()),
            "duplicates recognised": sum(record.duplicates for record in rows),
            "started again after a kill": sum(record.runs > 1 for record in rows),
            "messages": sum(found.sent.values()),
            "interrupted, with / without message": f"{len(interrupted & messages)} / {len(interrupted - messages)}",
            "acks received by the backend": sum(order["acks_seen"] for order in found.orders.values()),
            "start to first call, s (median)": f"{sorted(self.started_in)[len(self.started_in) // 2]:.2f}" if self.started_in else "-",
        }
        return found, figures

    def messages(self) -> Iterable[tuple[str, float]]:
        if self.messenger == "outbox":
            return [(row.command_id, row.sent_utc) for row in outbox(self.folder / "data")]
        path = self.folder / "messages.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(line["command_id"], line["sent_utc"]) for line in lines]


@dataclass
class MacWorld(World):
    """The messages go to a Mac's Messages, which misbehaves, and at which a human types some of the same texts."""

    quiet_within: ClassVar[float] = 300.0
    longest: ClassVar[float] = 2.5
    left: list[tuple[str, float]] = field(default_factory=list)
    """Texts and names of files that were asked for and really sent."""
    attached: set[int] = field(default_factory=set)
    """Numbers of the commands with a file."""
    typed: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    """Ids of what was running when a kill came."""

    async def run(self) -> tuple[dict[str, list[str]], dict[str, object]]:
        async with MessagesApp(self.folder, late_by=LATE_BY) as self.app, HttpStub(lambda _path: http_answer(PICTURE)) as self.files:
            self.programs = install(self.folder)
            self.app.on_asked = self._asked
            self.app.on_sent = lambda text: self.left.append((text, time.time()))
            return await super().run()

    def settings(self, port: int) -> dict[str, Any]:
        bench = {
            "kind": "imessage",
            "chat_db": str(self.folder / "chat.db"),
            "settle_seconds": 2 * LATE_BY,
            "attachment_origins": [self.files.url],
        }
        return super().settings(port) | {"messenger": bench}

    def environment(self, dwell: float) -> dict[str, str]:
        way = {"EDGE__MESSENGER__WAY": self.dice.choice(("imsg", "applescript"))}
        return super().environment(dwell) | way | {"PATH": f"{self.programs}:{os.environ['PATH']}"}

    async def cycle(self) -> None:
        self.app.faults.clear()
        self.app.faults.extend(self.dice.choices(MAC_FAULTS, k=20))
        await super().cycle()
        self.cut |= {record.command.command_id for record in records(self.folder / "data", "running") if record.mark is not None}

    def more(self, command_type: str) -> dict[str, Any]:
        number = len(self.queued)
        if command_type not in SENDS or self.dice.random() > WITH_FILE:
            return {}
        self.attached.add(number)
        url = f"{self.files.url}/{number}"
        return {
            "attachments": [{"url": url, "sha256": hashlib.sha256(PICTURE).hexdigest(), "bytes": len(PICTURE), "name": f"file {number}"}]
        }

    async def finish_in_peace(self) -> None:
        self.app.faults.clear()
        await super().finish_in_peace()

    def _asked(self, target: str, text: str) -> None:
        if text and self.dice.random() < 0.2:
            self.typed.add(text)
            asyncio.get_running_loop().call_later(self.dice.uniform(0, 0.3), self.app.type, target, text)

    async def findings(self) -> tuple[Findings, dict[str, object]]:
        found, figures = await super().findings()
        found.typed = {self._id_of(text) for text in self.typed}
        found.files = Counter(self._id_of(content) for content, _ in self.left if content.startswith("file"))
        rows = {row["guid"]: row["text"] if row["attached"] is None else row["attached"] for row in rows_of(self.folder)}
        for number, name in enumerate(self.queued):
            order = found.orders[name]
            if order["command_type"] in SENDS and order["status"] == "completed":
                guids = guids_of(order["ack"]["result"])
                found.proofs.update(guids)
                found.proven[name] = [rows.get(guid, "") for guid in guids]
                found.expected[name] = [f"message {number}", *([f"file {number}"] if number in self.attached else [])]
        undecided = self.cut & found.interrupted
        figures["cut by a kill, and settled"] = f"{len(self.cut - undecided)} of {len(self.cut)}"
        figures["files sent"] = sum(found.files.values())
        figures["typed by a human, too"] = len(self.typed)
        return found, figures

    def messages(self) -> Iterable[tuple[str, float]]:
        return [(self._id_of(content), utc) for content, utc in self.left if content.startswith("message")]

    def _id_of(self, content: str) -> str:
        return self.queued[int(content.split()[1])]


WORLDS = {"imessage": MacWorld}


async def torture(messengers: list[str], cycles: int, seed: int) -> int:
    """Every messenger's world at once; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch:
        folders = [Path(tempfile.mkdtemp(dir=scratch)) for _ in messengers]
        worlds = [
            WORLDS.get(name, World)(name, cycles, random.Random(f"{seed}-{name}"), folder)
            for name, folder in zip(messengers, folders, strict=True)
        ]
        results = await asyncio.gather(*(world.run() for world in worlds))
    verdicts, figures = [verdict for verdict, _ in results], [figures for _, figures in results]
    _print_table(messengers, figures)
    print()
    _print_table(messengers, [{kind: len(ids) for kind, ids in verdict.items()} for verdict in verdicts])
    for name, verdict in zip(messengers, verdicts, strict=True):
        for kind, ids in verdict.items():
            if ids:
                print(f"{name}: {kind}: {' '.join(ids[:100])}")
    clean = not any(ids for verdict in verdicts for ids in verdict.values())
    print("OK" if clean else f"NOT OK (seed {seed})")
    return 0 if clean else 1


def _print_table(heads: list[str], columns: list[dict[str, Any]]) -> None:
    print(f"{'':<44}" + "".join(f"{head:>44}" for head in heads))
    for name in columns[0]:
        print(f"{name:<44}" + "".join(f"{column[name]!s:>44}" for column in columns))


if __name__ == "__main__":
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tests.harness.torture", description=__doc__, formatter_class=raw)
    parser.add_argument("--cycles", type=int, default=20, metavar="N")
    parser.add_argument("--messenger", choices=("outbox", "file", "imessage", "both"), default="both")
    parser.add_argument("--seed", type=int, default=None, help="of what is chosen; the instants of the kills stay the machine's")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.randrange(2**31)
    if chosen.serve is not None:
        asyncio.run(run_backend(chosen.serve, seed))
    else:
        sys.exit(asyncio.run(torture(["outbox", "file"] if chosen.messenger == "both" else [chosen.messenger], chosen.cycles, seed)))
