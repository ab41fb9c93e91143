"""Scenes for `make bench-ui`: the console over a host that stands still, counts down or is fed; and what is measured inside it."""

import asyncio
import gc
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from agent_core import gc_tuning
from agent_core.clock import SystemClock
from agent_core.feed import CommandEntry
from agent_core.filters import parse
from agent_core.redaction import Redactor
from agent_core.snapshot import Snapshot
from console.app import EdgeConsole
from console.base import run
from console.history import searched
from console.operations import ConsoleOptions
from console.panels.ring import FilteredView, Ring
from console.panels.stream import Stream
from console.screenshot import png_of, svg_of
from tests.bench.__main__ import resident_mb
from tests.harness.stills import ONLINE, StillHost, entry, pictured, remembered


def present(counting: bool) -> Snapshot:
    now = SystemClock().now()
    link = replace(
        ONLINE.link, since_at=now.mono - 100, since_utc=now.utc - 100, last_ping_at=now.mono, last_pong_at=now.mono,
        next_ping_at=now.mono + 59 if counting else None, history=((now.utc - 3_000, "socket"),),
    )  # fmt: skip
    return replace(ONLINE, link=link, utc=now.utc, at=now.mono, latency=replace(ONLINE.latency, slowest_acks=()))


class FedHost(StillHost):
    """Appends `rate` commands a second, in steps of 10 ms, from one second after the start until it is stopped."""

    def __init__(self, rate: int) -> None:
        super().__init__(present(False))
        self._rate = rate
        self.sent = 0
        self.share = 0.0
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        time.sleep(1)
        began, used = time.perf_counter(), time.thread_time()
        while not self.stops:
            due = int((time.perf_counter() - began) * self._rate)
            while self.sent < due:
                self.sent += 1
                self.feed.extend([
                    CommandEntry(
                        self.sent, time.time(), f"cmd_{self.sent:012x}", "send_message_now", "ws", "acked", "+13105550100", 12.0,
                        20.0 + self.sent % 50, None, True,
                    )
                ])  # fmt: skip
            self.change(commands=replace(self.present.commands, received=self.sent))
            time.sleep(0.01)
        self.share = (time.thread_time() - used) / (time.perf_counter() - began) * 100
        time.sleep(0.4)
        self.stopped = True


class Sampled(EdgeConsole):
    """Notes how late its loop is, and at the end what it has counted."""

    counted = (0, 0)

    def on_ready(self) -> None:
        self.late: list[float] = []
        self._due = 0.0
        self.set_interval(0.5, self._count)
        self.run_worker(self._sample(), name="sample")

    async def _sample(self) -> None:
        while True:
            due = time.perf_counter() + 0.05
            await asyncio.sleep(0.05)
            self.late.append((time.perf_counter() - due) * 1_000)

    def _count(self) -> None:
        stream = self.screen_stack[0].query_one(Stream)
        self.counted = (stream.live.end, stream.missed)

    def exit(self, *arguments: object, **rest: object) -> None:
        self._count()
        super().exit(*arguments, **rest)  # type: ignore[arg-type]


def stream(rate: int, report: Path) -> None:
    host = FedHost(rate)
    app = Sampled(host, asks_to_quit=False, on_first_paint=gc_tuning.tune_console)
    run(app)
    late = sorted(app.late)
    shown, missed = app.counted
    report.write_text(f"{host.sent} {shown} {missed} {late[int(len(late) * 0.99)]:.2f} {host.share:.2f}")


async def inside() -> None:
    """Figures of single operations, one a line."""
    ring = Ring()
    for number in range(60_000):
        status = "failed" if number % 50 == 0 else "acked"
        ring.put(entry(number, thread_id=f"+1310555{number % 97:04d}", status=status, ack_ms=number % 500))
    for text in ("type:send status:failed", "!cmd_00 >250ms 0001", "/f+00$/"):
        began = time.perf_counter()
        FilteredView(ring, parse(text))
        print(f"filter {text} over 50,000 rows, ms {(time.perf_counter() - began) * 1_000:.1f}")
    told = pictured()
    host = StillHost(ONLINE, told, {one.command_id: remembered(one.command_id) for one in told})
    app = EdgeConsole(host, asks_to_quit=False)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(1.0)
        gc_tuning.tune_console()
        for turn in ("first time", "again"):
            painted = asyncio.Event()
            began = time.perf_counter()
            app.operations.inspect()
            app.screen.call_after_refresh(painted.set)
            await painted.wait()
            print(f"inspector opened, {turn}, ms {(time.perf_counter() - began) * 1_000:.1f}")
            await pilot.pause(0.2)
            await pilot.press("escape")
        svg = svg_of(app)
        began = time.perf_counter()
        png_of(svg)
        print(f"PNG 120×36, ms {(time.perf_counter() - began) * 1_000:.0f}")
        gc.collect()
        stream = app.screen.query_one(Stream)
        before = resident_mb(os.getpid())
        for start in range(1, 1_000_001, 1_000):
            stream.take([entry(number) for number in range(start, start + 1_000)])
            if start % 50_000 == 1:
                await pilot.pause(0)
        gc.collect()
        print(f"resident after 1,000,000 commands, MB more {resident_mb(os.getpid()) - before:.1f}")


class PastHost(StillHost):
    """Where it is told to stop, it first appends so many commands, as fast as the console takes them, and writes how much it then holds."""

    def __init__(self, more: int, report: Path) -> None:
        super().__init__(present(False))
        self._more, self._report = more, report

    def stop(self) -> None:
        if not self.stops:
            threading.Thread(target=self._feed, daemon=True).start()
        super().stop()

    def _feed(self) -> None:
        for start in range(1_000_000, 1_000_000 + self._more, 250):
            self.feed.extend([entry(number) for number in range(start, start + 250)])
            self.change(commands=replace(self.present.commands, received=start))
            time.sleep(0.01)
        time.sleep(2)
        self._report.write_text(f"{resident_mb(os.getpid()):.1f}")
        self.stopped = True


class Patient(EdgeConsole):
    """Waits for its host's end, whenever that is."""

    async def action_quit(self) -> None:
        self.host.stop()


def past(ledger: Path, more: int, report: Path) -> None:
    options = ConsoleOptions(ledger=partial(searched, ledger, Redactor("the-secret-of-the-bench")))
    run(Patient(PastHost(more, report), options=options, on_first_paint=gc_tuning.tune_console))


def main(scene: str, *arguments: str) -> None:
    if scene == "inside":
        asyncio.run(inside())
    elif scene == "past":
        past(Path(arguments[0]), int(arguments[1]), Path(arguments[2]))
    elif scene == "stream":
        stream(int(arguments[0]), Path(arguments[1]))
    else:
        run(EdgeConsole(StillHost(present(scene == "counting"), pictured()), on_first_paint=gc_tuning.tune_console))


if __name__ == "__main__":
    main(*sys.argv[1:])
