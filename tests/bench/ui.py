"""`make bench-ui`: the console in a real pseudo-terminal, pairs interleaved, medians, as a table.

CPU is of one core, in per cent, from the process's own clock; the backend and the terminal's reader are other processes or threads.
"""

import argparse
import asyncio
import fcntl
import os
import pty
import resource
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.__main__ import SECRET, resident_mb
from tests.bench.driver import Driver, Latencies

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
Found = dict[str, list[float]]


class Screen:
    """A program in a pseudo-terminal, read by a thread of its own unless `pause` says not to."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str] | None = None, size: tuple[int, int] = (120, 36)) -> None:
        self._master, slave = pty.openpty()
        self.resize(*size)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "EDGE_SECRET": SECRET, **(env or {})}
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=ROOT, start_new_session=True
        )
        os.close(slave)
        self.reads: list[float] = []
        self.tail = b""
        self.reading = threading.Event()
        self.reading.set()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        while not self._ended:
            self.reading.wait()
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    chunk = os.read(self._master, 65_536)
                except OSError:
                    return
                self.tail = (self.tail + chunk)[-200_000:]
                self.reads.append(time.perf_counter())

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def until(self, text: str, within: float = 20.0) -> float:
        """Seconds since the start until this is written."""
        end = time.perf_counter() + within
        while text.encode() not in self.tail:
            if time.perf_counter() > end:
                raise TimeoutError(f"{text!r} never came")
            time.sleep(0.002)
        return time.perf_counter() - self.began

    def cpu(self, seconds: float) -> float:
        """Per cent of one core over so long."""
        before, at = self._ticks(), time.perf_counter()
        time.sleep(seconds)
        return (self._ticks() - before) / TICKS / (time.perf_counter() - at) * 100

    def _ticks(self) -> int:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def close(self) -> None:
        self.reading.set()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._ended = True
        os.close(self._master)


def still(scene: str, *arguments: str) -> Screen:
    """The console over a host that tests.bench.scene makes."""
    return Screen([sys.executable, "-m", "tests.bench.scene", scene, *arguments])


def bursts(reads: Sequence[float]) -> int:
    """How many frames: what is read within 20 ms of each other is one."""
    return sum(1 for before, after in zip([0.0, *reads], reads, strict=False) if after - before > 0.02)


# --- the console alone ---------------------------------------------------------------------------------------------------


def measure_streams(found: Found, seconds: float) -> None:
    for rate in (100, 1_000, 10_000):
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch) / "report"
            screen = still("stream", str(rate), str(report))
            screen.until("Commands")
            time.sleep(2)
            screen.reads.clear()
            own = screen.cpu(seconds)
            frames = bursts(list(screen.reads)) / seconds
            delays = key_delays(screen)
            screen.press("q")
            screen.process.wait(10)
            sent, shown, missed, lag, feeder = (float(part) for part in report.read_text().split())
            screen.close()
        found[f"stream, {rate:,}/s: CPU of the UI thread, %"].append(own - feeder)
        found[f"stream, {rate:,}/s: updates/s"].append(frames)
        found[f"stream, {rate:,}/s: key → painted p99, ms"].append(delays)
        found[f"stream, {rate:,}/s: loop delay p99, ms"].append(lag)
        found[f"stream, {rate:,}/s: rows missing"].append(sent - shown - missed)


def key_delays(screen: Screen, count: int = 60) -> float:
    """p99 from a key to the first byte that follows it, with the stream frozen so that only keys paint."""
    delays: list[float] = []
    for number in range(count):
        screen.press("k" if number % 20 else "G")
        at = time.perf_counter()
        before = len(screen.reads)
        while len(screen.reads) == before and time.perf_counter() - at < 1:
            time.sleep(0.0005)
        delays.append((time.perf_counter() - at) * 1_000)
        time.sleep(0.05)
    return sorted(delays)[int(len(delays) * 0.99) - 1]


def measure_idle(found: Found, seconds: float) -> None:
    for scene, name in (("still", "idle: CPU, %"), ("counting", "10 Hz countdown: CPU, %"), ("counting", "unfocused: CPU, %")):
        screen = still(scene)
        screen.until("Commands")
        if name.startswith("unfocused"):
            screen.press("\x1b[O")
        time.sleep(2)
        found[name].append(screen.cpu(seconds))
        if name.startswith("idle"):
            found["resident, console with no agent, MB"].append(resident_mb(screen.pid))
        screen.close()


LEAST = """
from textual.app import App
from textual.widgets import Static
class Least(App[None]):
    def compose(self):
        yield Static("pain" + "ted")
Least().run()
"""


def measure_start(found: Found) -> None:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import textual.app, textual.widgets"], check=True, cwd=ROOT)
    found["bare import textual, ms"].append((time.perf_counter() - began) * 1_000)
    screen = Screen([sys.executable, "-c", LEAST])
    found["first paint of the least textual app, ms"].append(screen.until("painted") * 1_000)
    screen.close()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.yaml"
        config.write_text(f"edge: {{agent_id: bench}}\nbackend: {{url: 'http://127.0.0.1:9', polling: never}}\ndata_dir: '{scratch}'\n")
        screen = Screen([sys.executable, "-m", "console", "--config", str(config)])
        found["first paint, ms"].append(screen.until("Connection") * 1_000)
        screen.close()
    with tempfile.TemporaryDirectory() as scratch:
        screen = Screen([sys.executable, "-m", "console", "--demo", "--data-dir", scratch])
        found["first paint (--demo, with its backend), ms"].append(screen.until("Connection") * 1_000)
        screen.until("ONLINE")
        time.sleep(1)
        found["resident, console + agent + demo backend, MB"].append(resident_mb(screen.pid))
        screen.process.send_signal(signal.SIGUSR1)
        at = time.perf_counter()
        while not list(Path(scratch, "screenshots").glob("*.svg")):
            if time.perf_counter() - at > 5:
                raise TimeoutError("no picture")
            time.sleep(0.001)
        found["SIGUSR1 → SVG, ms"].append((time.perf_counter() - at) * 1_000)
        screen.close()
    inside = [sys.executable, "-m", "tests.bench.scene", "inside"]
    for line in subprocess.run(inside, check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines():
        name, _, value = line.rpartition(" ")
        found[name].append(float(value))


# --- the agent beside the console ----------------------------------------------------------------------------------------


async def measure_agent(found: Found, seconds: float) -> None:
    driver = Pacer()
    port = await driver.start()
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("--no-ui", "looking on", "hammering", "unread"):
            driver.forget_client()
            sockets = driver.sockets
            folder = tempfile.mkdtemp(dir=scratch)
            config = Path(folder) / "config.yaml"
            backend = f"backend: {{url: 'http://127.0.0.1:{port}', polling: never}}"
            config.write_text(f"edge: {{agent_id: bench}}\n{backend}\ndata_dir: '{folder}'\n")
            extra = ["--no-ui"] if kind == "--no-ui" else []
            screen = Screen([sys.executable, "-m", "console", *extra, "--config", str(config)])
            try:
                if kind == "looking on":
                    await asyncio.to_thread(screen.until, "Connection")
                await driver.client()
                await asyncio.sleep(2)
                if kind == "--no-ui":
                    found["resident, agent alone, MB"].append(resident_mb(screen.pid))
                elif kind == "looking on":
                    found["resident, console + agent, MB"].append(resident_mb(screen.pid))
                hammer = asyncio.create_task(asyncio.to_thread(hammering, screen, seconds)) if kind == "hammering" else None
                if kind == "unread":
                    screen.reading.clear()
                paced = await driver.pace(200, 10.0 if kind == "unread" else seconds)
                if hammer is not None:
                    await hammer
                screen.reading.set()
            finally:
                await asyncio.to_thread(screen.close)
            found[f"ack p99 at 200/s, {kind}, ms"].append(paced.p99)
            if kind == "unread":
                found["unread 10 s: ack max, ms"].append(max(paced.milliseconds))
                found["unread 10 s: acks lost"].append(paced.lost)
                found["unread 10 s: reconnects"].append(driver.sockets - sockets - 1)
    await driver.stop()


class Pacer(Driver):
    """The bench's backend, sending by the clock instead of by what is answered."""

    async def pace(self, rate: int, seconds: float) -> Latencies:
        """So many commands a second, evenly."""
        found = Latencies()
        self._on_ack = found.milliseconds.append
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            self.send()
            found.sent += 1
        await asyncio.sleep(1)
        return found


def hammering(screen: Screen, seconds: float) -> None:
    """An operator at the palette, themes, a filter and the terminal's size, as fast as hands can."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        palette = ("\x10", "light", "\r", "\x10", "Theme: dark", "\r")
        for keys in (*palette, "/", "status:acked", "\r", "1", "3", "5", "5", "/", "\x7f" * 20, "\r"):
            screen.press(keys)
            time.sleep(0.1)
        for size in ((100, 30), (140, 40), (120, 36)):
            screen.resize(*size)
            os.kill(screen.pid, signal.SIGWINCH)
            time.sleep(0.1)


RATIOS = (
    ("first paint ÷ bare import", "first paint, ms", "bare import textual, ms"),
    ("CPU at 10,000/s ÷ at 100/s", "stream, 10,000/s: CPU of the UI thread, %", "stream, 100/s: CPU of the UI thread, %"),
    ("ack p99, looking on ÷ --no-ui", "ack p99 at 200/s, looking on, ms", "ack p99 at 200/s, --no-ui, ms"),
    ("ack p99, hammering ÷ --no-ui", "ack p99 at 200/s, hammering, ms", "ack p99 at 200/s, --no-ui, ms"),
    ("200,000 in the ledger: first paint ÷ bare import", "200,000 in the ledger: first paint, ms", "bare import textual, ms"),
    (
        "200,000 in the ledger: ack p99, searching ÷ looking on",
        "200,000 in the ledger: ack p99 at 200/s, searching, ms",
        "200,000 in the ledger: ack p99 at 200/s, looking on, ms",
    ),
)


def main(rounds: int, seconds: float, only: str | None) -> None:
    from tests.bench.whole import measure_whole

    found: Found = defaultdict(list)
    parts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("start", lambda: measure_start(found)), ("idle", lambda: measure_idle(found, seconds)),
        ("streams", lambda: measure_streams(found, seconds)), ("agent", lambda: asyncio.run(measure_agent(found, seconds))),
        ("whole ledger", lambda: asyncio.run(measure_whole(found, seconds))),
    )  # fmt: skip
    for number in range(1, rounds + 1):
        for name, part in parts:
            if only not in {None, name}:
                continue
            part()
            print(f"round {number}/{rounds}: {name} measured", file=sys.stderr)
    print(f"{'median of ' + str(rounds) + ' rounds':<58}{'':>10}")
    for name, values in found.items():
        print(f"{name:<58}{statistics.median(values):>10.2f}")
    for name, over, under in RATIOS:
        if not (found[over] and found[under]):
            continue
        pairs = zip(found[over], found[under], strict=True)
        print(f"{name:<58}{statistics.median(a / b for a, b in pairs):>10.2f}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"(children used {used.ru_utime + used.ru_stime:.0f} s of CPU; load {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--only", choices=("start", "idle", "streams", "agent", "whole ledger"), help="one part of it")
    options = parser.parse_args()
    main(options.rounds, options.seconds, options.only)
