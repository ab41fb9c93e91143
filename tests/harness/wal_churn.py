"""`make churn`: an hour of a busy `chat.db` in two minutes, with an agent that watches it; and what the agent holds open meanwhile.

    python -m tests.harness.wal_churn [--rows N] [--seconds S]

A row comes in each second of that hour, some of them this account's own. Every ten seconds the write-ahead log is checkpointed and
truncated, and each minute Messages closes its database, so that the log and its index are gone, and opens it again. Agent, bench and
backend are one process: no descriptor of any of them may be left over.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median

from agent_core.frames import MESSAGE_RECEIVED
from agent_core.reference.messages.app import MessagesApp
from agent_core.reference.messages.chat_db import ChatDb
from tests.harness.rig import config, living, served, until

ROWS = 3_600
CHECKPOINT_EVERY, REOPEN_EVERY, OWN_EVERY = 10, 60, 7
SAMPLES = 10
"""At the beginning and at the end, by which growth is judged."""


def descriptors() -> int:
    """Open in this process, that of the look itself included."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def churn(folder: Path, rows: int, seconds: float) -> tuple[dict[str, object], list[str]]:
    """Figures, and what is wrong."""
    opened: list[int] = []
    async with MessagesApp(folder) as app, served() as backend:
        settings = config(folder / "state", backend.url, inbound={"enabled": True}, messenger={"chat_db": str(folder / "chat.db")})
        async with living(settings) as here:
            await here.online()
            app.receive("+13105550100", "first")
            await until(lambda: backend.hub.counts["events"] == 1)
            for number in range(1, rows + 1):
                app.receive("+13105550100", f"message {number}")
                if number % OWN_EVERY == 0:
                    app.type("+13105550100", f"own {number}")
                if number % CHECKPOINT_EVERY == 0:
                    app.db.checkpoint()
                    opened.append(descriptors())
                if number % REOPEN_EVERY == 0:
                    app.db.close()
                    app.db = ChatDb(folder / "chat.db")
                await asyncio.sleep(seconds / rows)
            await until(lambda: backend.hub.counts["events"] > rows, within=30)
            told = [one.view()["payload"]["text"] for one in reversed(backend.hub.events.listed(None, MESSAGE_RECEIVED, 10**6))]
    first, last = median(opened[:SAMPLES]), median(opened[-SAMPLES:])
    figures: dict[str, object] = {
        "rows that came in": rows + 1, "checkpoints": rows // CHECKPOINT_EVERY, "reopened by Messages": rows // REOPEN_EVERY,
        "descriptors, first": first, "last": last, "most": max(opened),
    }  # fmt: skip
    wrong = [] if told == ["first", *(f"message {number}" for number in range(1, rows + 1))] else ["not each row is told once, in order"]
    return figures, wrong + ([f"descriptors have grown from {first:g} to {last:g}"] if last > first else [])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.wal_churn", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seconds", type=float, default=100.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures, wrong = asyncio.run(churn(Path(folder), asked.rows, asked.seconds))
    for name, value in figures.items():
        sys.stdout.write(f"{name:<24} {value}\n")
    sys.stdout.writelines(f"  {one}\n" for one in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
