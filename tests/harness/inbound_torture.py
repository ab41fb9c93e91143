"""`make torture-inbound`: messages come in at a bench while the agent that watches it is killed over and over; then all is counted.

    python -m tests.harness.inbound_torture [--rows N] [--kills N] [--seed S]

The agent is a process of its own, killed with SIGKILL at random instants. Meanwhile rows are written in several conversations, some of them
this account's own, the write-ahead log is checkpointed, and the backend refuses now and then. At the end the agent may finish in peace.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_core.frames import MESSAGE_RECEIVED
from agent_core.journal.audit import audit
from agent_core.reference.faults import Faults
from agent_core.reference.messages.app import MessagesApp
from agent_core.reference.server import ReferenceBackend
from tests.harness.rig import program, served, settings, until

THREADS = tuple(f"+1310555{number:04d}" for number in range(8))
TROUBLES = (Faults(), Faults(), Faults(), Faults(upgrade_status=503), Faults(sync_status=503), Faults(ignore_pings=True))


@dataclass
class World:
    rows: int
    kills: int
    dice: random.Random
    folder: Path
    received: list[tuple[str, str]] = field(default_factory=list)
    """Thread and GUID, in the order in which they came in."""
    own: int = 0
    lives: int = 0

    async def run(self) -> tuple[list[str], dict[str, object]]:
        """Violations and figures."""
        began = time.monotonic()
        async with MessagesApp(self.folder) as app, served() as backend:
            arguments = self._configured(backend.url)
            async with program("--no-ui", *arguments, cwd=self.folder) as agent:
                await agent.hears("real-time mode")
                await until(lambda: backend.hub.counts["syncs"] > 0)
                await asyncio.sleep(0.5)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(app))
                for _ in range(self.kills):
                    await self._live_and_die(backend, arguments)
                backend.faults = Faults()
            async with program("--no-ui", *arguments, cwd=self.folder) as agent:
                await agent.hears("real-time mode", within=60)
                await until(lambda: backend.hub.counts["events"] >= self.rows or agent.process.returncode is not None, within=600)
                await asyncio.sleep(1.0)
                os.kill(agent.pid, signal.SIGTERM)
                assert await agent.ends() == 0, agent.out[-10:]
            violations = self._violations(backend)
            figures: dict[str, object] = {
                "rows that came in": len(self.received), "rows of our own": self.own, "kills": self.kills,
                "events at the backend": backend.hub.counts["events"], "came again": backend.hub.counts["events_again"],
                "seconds": f"{time.monotonic() - began:.0f}",
            }  # fmt: skip
        return violations, figures

    def _configured(self, url: str) -> list[str]:
        whole = settings(self.folder / "state", url, inbound={"enabled": True}, messenger={"chat_db": str(self.folder / "chat.db")})
        (self.folder / "config.json").write_text(json.dumps(whole))
        return ["--config", str(self.folder / "config.json")]

    async def _write(self, app: MessagesApp) -> None:
        """In heaps and alone, each life's share of them."""
        while len(self.received) < self.rows:
            share = self.rows * min(self.lives, self.kills) // self.kills
            for _ in range(min(self.dice.choice((1, 1, 1, 5, 40)), share - len(self.received))):
                thread = self.dice.choice(THREADS)
                self.received.append((thread, app.receive(thread, f"message {len(self.received)}")))
                if self.dice.random() < 0.1:
                    self.own += 1
                    app.type(thread, f"own {self.own}")
            if self.dice.random() < 0.1:
                app.db.checkpoint()
            await asyncio.sleep(self.dice.uniform(0, 0.05))

    async def _live_and_die(self, backend: ReferenceBackend, arguments: Sequence[str]) -> None:
        self.lives += 1
        backend.faults = self.dice.choice(TROUBLES)
        heard = backend.hub.counts["syncs"] + backend.hub.counts["connects"] + backend.hub.counts["syncs_refused"]
        async with program("--no-ui", *arguments, cwd=self.folder) as agent:
            counts = backend.hub.counts
            await until(lambda: counts["syncs"] + counts["connects"] + counts["syncs_refused"] > heard, within=60)
            await asyncio.sleep(self.dice.uniform(0, 0.5))
            assert agent.process.returncode is None, f"the agent ended by itself: {agent.out[-10:]} {agent.err}"
            os.kill(agent.pid, signal.SIGKILL)

    def _violations(self, backend: ReferenceBackend) -> list[str]:
        told = list(reversed(backend.hub.events.listed(None, MESSAGE_RECEIVED, 10**9)))
        payloads: list[dict[str, Any]] = [one.view()["payload"] for one in told]
        times = Counter(payload["guid"] for payload in payloads)
        wrong = [f"told {times[guid]} times: {guid}" for _, guid in self.received if times[guid] != 1]
        wrong += [f"an echo is told: {payload['text']}" for payload in payloads if payload["text"].startswith("own")]
        for thread in THREADS:
            expected = [guid for name, guid in self.received if name == thread]
            if [payload["guid"] for payload in payloads if payload["thread_id"] == thread] != expected:
                wrong.append(f"not in order: {thread}")
        return wrong + [f"{one.command_id} {one.what}" for one in audit(self.folder / "state").violations]


async def torture(rows: int, kills: int, seed: int) -> tuple[list[str], dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        return await World(rows, kills, random.Random(seed), Path(folder)).run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.inbound_torture", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args()
    violations, figures = asyncio.run(torture(asked.rows, asked.kills, asked.seed))
    for name, value in (("seed", asked.seed), *figures.items(), ("violations", len(violations))):
        sys.stdout.write(f"{name:<24} {value}\n")
    sys.stdout.writelines(f"  {one}\n" for one in violations[:20])
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
