"""The console over a ledger of 200,000 commands: its first paint, the search of all of them, its memory, and what that costs the agent."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agent_core.journal.opening import FILE_NAME
from console.text import grouped
from tests.bench.__main__ import resident_mb
from tests.bench.ui import Found, Pacer, Screen
from tests.harness.past import leave_ledger

COUNT = 200_000
MORE = 1_000_000
BY_SQLITE, BY_PATTERN = "text:first", "/^past_0019.*7$/"
"""One command, the oldest of all, which SQLite finds; and what each command has to be looked at for."""
EARLY = "id:past_001234"
"""Commands of which the first found are far behind those in memory."""
ERASE = "\x15"


async def measure_whole(found: Found, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Path(scratch) / "ledger"
        ledger.mkdir()
        await asyncio.to_thread(leave_ledger, ledger, COUNT)
        measure_console(found, ledger, Path(scratch) / "report")
        driver = Pacer()
        port = await driver.start()
        for kind in ("looking on", "searching"):
            driver.forget_client()
            folder = Path(tempfile.mkdtemp(dir=scratch))
            shutil.copy(ledger / FILE_NAME, folder)
            screen = Screen([sys.executable, "-m", "console", "--config", str(configured(folder, port))])
            try:
                if kind == "looking on":
                    painted = await asyncio.to_thread(screen.until, "Connection")
                    found["200,000 in the ledger: first paint, ms"].append(painted * 1_000)
                    shown = await asyncio.to_thread(screen.until, f"past_{COUNT:08d}")
                    found["200,000 in the ledger: earlier rows, ms after it"].append((shown - painted) * 1_000)
                await driver.client()
                await asyncio.sleep(3)
                async with asyncio.TaskGroup() as group:
                    if kind == "searching":
                        group.create_task(asyncio.to_thread(searching, screen, seconds))
                    paced = await driver.pace(200, seconds)
                if kind == "searching":
                    found["200,000 in the ledger: resident, console + agent, MB"].append(resident_mb(screen.pid))
            finally:
                await asyncio.to_thread(screen.close)
            found[f"200,000 in the ledger: ack p99 at 200/s, {kind}, ms"].append(paced.p99)
        await driver.stop()


def configured(folder: Path, port: int) -> Path:
    config = folder / "config.yaml"
    config.write_text(
        f"edge: {{agent_id: bench}}\nbackend: {{url: 'http://127.0.0.1:{port}', polling: never}}\ndata_dir: '{folder}'\n"
        "ledger: {retention_count: 5000000}\n"
    )
    return config


def measure_console(found: Found, ledger: Path, report: Path) -> None:
    """With no agent: then the last figures of the border are those of the search."""
    screen = Screen([sys.executable, "-m", "tests.bench.scene", "past", str(ledger), str(MORE), str(report)])
    screen.until(f"past_{COUNT:08d}")
    time.sleep(1)
    screen.press("/")
    time.sleep(1)
    first = after(screen, EARLY, lambda: b"past_001234" in screen.tail.replace(EARLY.encode(), b""))
    found["filter over 200,000: first hits, ms"].append(first * 1_000)
    for name, text in (("by SQLite", BY_SQLITE), ("by a pattern", BY_PATTERN)):
        time.sleep(3)
        screen.press(ERASE)
        time.sleep(1)
        done = after(screen, text, lambda: f"of {grouped(COUNT)}".encode() in screen.tail)
        found[f"filter over 200,000: done, {name}, ms"].append(done * 1_000)
    screen.press("\x1b")
    time.sleep(1)
    found["200,000 in the ledger: resident, console alone, MB"].append(resident_mb(screen.pid))
    screen.press("q")
    screen.process.wait(300)
    found[f"{MORE:,} more: resident, console alone, MB"].append(float(report.read_text()))
    screen.close()


def after(screen: Screen, keys: str, seen: Callable[[], bool]) -> float:
    """Seconds from these keys until it is on the screen."""
    screen.tail = b""
    screen.press(keys)
    began = time.perf_counter()
    while not seen():
        if time.perf_counter() - began > 30:
            raise TimeoutError(f"{keys!r} found nothing; at last {screen.tail[-2_000:]!r}")
        time.sleep(0.002)
    return time.perf_counter() - began


def searching(screen: Screen, seconds: float) -> None:
    """One filter over the whole ledger after the other."""
    end = time.perf_counter() + seconds
    screen.press("/")
    time.sleep(0.5)
    while time.perf_counter() < end:
        for text in (BY_SQLITE, "status:failed", BY_PATTERN):
            screen.press(ERASE)
            time.sleep(0.2)
            screen.press(text)
            time.sleep(min(1.5, max(0.0, end - time.perf_counter())))
