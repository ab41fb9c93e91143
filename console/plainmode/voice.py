"""What is told, on its way to whoever listens: a thread of its own writes, so that one who does not read holds nothing up."""

import os
import select
import threading
import time
from collections.abc import Iterable
from queue import Empty, Full, Queue

from agent_core.plain import plain

LONGEST = 4_000
PIECES_WAITING = 10_000
BYTES_AT_ONCE = 4_096
PAUSE = 3.0
"""Seconds without a key after which what is told no longer waits."""


class Held:
    """Lines that wait while another one is half typed, unless its typist pauses."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._half = ""
        self._typed_at = 0.0

    def add(self, lines: Iterable[str]) -> None:
        self._lines += lines

    def due(self, half: str, now: float) -> list[str]:
        """What may be told at this instant, while so much of a line is typed."""
        if half != self._half:
            self._half, self._typed_at = half, now
        if half and now < self._typed_at + PAUSE:
            return []
        lines, self._lines = self._lines, []
        return lines


class Voice:
    """Plain text to a descriptor. Of a listener who is too slow the lines are dropped and counted; `gone`: there is none any more."""

    def __init__(self, fd: int, encoding: str) -> None:
        self.gone = False
        self._fd = fd
        self._encoding = encoding
        self._pieces: Queue[str | None] = Queue(PIECES_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="voice", daemon=True)
        self._thread.start()

    def say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._put(f"{plain(line, LONGEST)}\n")

    def echo(self, keys: str) -> None:
        """What was typed: nothing but what can be printed, and ends of lines."""
        if keys:
            self._put(keys)

    def close(self, within: float) -> None:
        """Write what waits, for at most `within` seconds."""
        by = time.monotonic() + within
        while time.monotonic() < by:
            try:
                self._pieces.put(None, timeout=0.05)
            except Full:
                continue
            break
        self._thread.join(max(0.0, by - time.monotonic()))

    def _put(self, text: str) -> None:
        if self._lost:
            text = f"… {self._lost:,} lines were not told: nobody read them\n{text}"
        try:
            self._pieces.put_nowait(text)
        except Full:
            self._lost += 1
        else:
            self._lost = 0

    def _write(self) -> None:
        more = True
        while more:
            pieces = [self._pieces.get()]
            try:
                while sum(len(piece or "") for piece in pieces) < BYTES_AT_ONCE:
                    pieces.append(self._pieces.get_nowait())
            except Empty:
                pass
            more = None not in pieces
            self._send("".join(filter(None, pieces)).encode(self._encoding, "replace"))

    def _send(self, rest: bytes) -> None:
        while rest and not self.gone:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                self.gone = True
