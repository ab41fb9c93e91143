"""The engineer's loop: start the backend, judge it, wait until a source file is saved, end it, and again."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from agent_core.conform.bench import Target
from agent_core.conform.judge import Result, Verdict, judge
from agent_core.conform.report import GLYPHS, summary
from agent_core.plain import plain

LOOK_EVERY = 0.5
REST = 0.3
"""Seconds without another save before the backend is started anew."""
END_WITHIN = 5.0
MAX_FILES = 20_000
SKIPPED = {".git", ".venv", "venv", "node_modules", "__pycache__", "dist", "build"}
COLOURS = {Result.PASS: "\x1b[32m", Result.FAIL: "\x1b[31m", Result.NOT_TESTABLE: "\x1b[2m"}
EXCHANGE_SHOWN = 6


class Workshop:
    """One backend under work; `command` starts it."""

    def __init__(
        self, target: Target, command: Sequence[str], only: Sequence[str], ready_within: float, folder: Path | None = None
    ) -> None:
        self._target = target
        self._command = command
        self._only = only
        self._ready_within = ready_within
        self._folder = folder or Path()
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    async def run(self) -> int:
        """Until a signal; the exit code: 2 where the backend cannot even be started."""
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            return await self._work()
        except asyncio.CancelledError:
            return 0

    async def _work(self) -> int:
        while True:
            seen = await asyncio.to_thread(self._files)
            try:
                process = await asyncio.create_subprocess_exec(*self._command, cwd=self._folder, start_new_session=True)
            except OSError as error:
                print(f"edge-console: {self._command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
                return 2
            try:
                if await self._ready(process):
                    self._show(await judge(self._target, self._only))
                else:
                    print(f"Nothing answers at {self._target.url}; waiting for a change")  # noqa: T201
                await self._changed(seen)
            finally:
                await _end(process)

    async def _ready(self, process: asyncio.subprocess.Process) -> bool:
        parts = urlsplit(self._target.url)
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        by = time.monotonic() + self._ready_within
        while process.returncode is None and time.monotonic() < by:
            with suppress(OSError):
                (await asyncio.to_thread(socket.create_connection, address, 1.0)).close()
                return True
            await asyncio.sleep(0.1)
        return False

    async def _changed(self, seen: dict[str, float]) -> None:
        """Return once files differ from what was seen, and no more of them is being saved."""
        before = seen
        while True:
            await asyncio.sleep(LOOK_EVERY if before == seen else REST)
            now = await asyncio.to_thread(self._files)
            if now == before != seen:
                return
            before = now

    def _files(self) -> dict[str, float]:
        return dict(entry for entry, _ in zip(_saved(self._folder), range(MAX_FILES), strict=False))

    def _show(self, verdicts: Sequence[Verdict]) -> None:
        """A line a clause, and what was said in the smallest exchange that fails."""
        out = ["\x1b[2J\x1b[H" if self._colour else ""]
        for verdict in verdicts:
            line = f"{GLYPHS[verdict.result]} {verdict.clause.id:<4} {verdict.sentence}"
            out.append(f"{COLOURS[verdict.result]}{line}\x1b[0m" if self._colour else line)
        failed = [verdict for verdict in verdicts if verdict.result is Result.FAIL]
        if failed:
            smallest = min(failed, key=lambda verdict: len(verdict.exchange))
            out += ["", f"{smallest.clause.id}, PROTOCOL {smallest.clause.section}: {smallest.clause.says}"]
            out += [f"  {line}" for line in smallest.exchange[-EXCHANGE_SHOWN:]]
        out += ["", f"{summary(verdicts)} · {time.strftime('%H:%M:%S')} · judged again when a file is saved; ctrl+c ends"]
        print("\n".join(out), flush=True)  # noqa: T201


def _saved(folder: Path) -> Iterator[tuple[str, float]]:
    """Every source file below, and when it was saved."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118  (thousands of them, each half second)
            with suppress(OSError):
                yield plain(path, 4_096), os.stat(path).st_mtime  # noqa: PTH116


async def _end(process: asyncio.subprocess.Process) -> None:
    """The process and whatever it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN):
                await process.wait()
                return
