"""The real program in a real pseudo-terminal, its screen read back with pyte."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

from tests.harness.rig import HOME

COMMAND = (sys.executable, "-m", "console")


class Terminal:
    """`with Terminal("--demo") as terminal: terminal.until(lambda: "ONLINE" in terminal.text)`."""

    def __init__(
        self, *arguments: str, columns: int = 120, rows: int = 36, env: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self._master, slave = pty.openpty()
        self._resize(columns, rows)
        self.modes_before = termios.tcgetattr(slave)
        around = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        environment = {**around, "HOME": HOME.name, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*command, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        self._slave = slave
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """As when the connection is cut: what the program writes fails from now on."""
        if not self._closed:
            self._closed = True
            os.close(self._master)
            os.close(self._slave)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    @property
    def modes(self) -> list[object]:
        return termios.tcgetattr(self._slave)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self._resize(columns, rows)
        self.process.send_signal(signal.SIGWINCH)

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        """All of them, as fast as the program takes them."""
        left = keys.encode()
        while left:
            left = left[os.write(self._master, left) :]

    def read(self, seconds: float) -> bool:
        """Take what the program writes for at most so long; False where there was nothing."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return False
        try:
            chunk = os.read(self._master, 65_536)
        except OSError:
            return False
        self.raw += chunk
        self._stream.feed(chunk)
        return True

    def skip(self, seconds: float = 0.0) -> bool:
        """Take what the program writes within so long, without a look at it; False where there was nothing."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            return bool(os.read(self._master, 65_536))
        except OSError:
            return False

    def until(self, true: Callable[[], bool], within: float = 15.0, what: str = "it") -> None:
        """Read until the screen shows it; the failure shows the screen."""
        end = time.monotonic() + within
        while not true():
            assert time.monotonic() < end, f"{what} did not come within {within:g} s; the screen:\n{self.text}"
            self.read(0.05)

    def ends(self, within: float = 8.0) -> int:
        """Wait for the program's end; its exit code."""
        end = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < end, f"still running after {within:g} s; the screen:\n{self.text}"
            self.read(0.05)
        while self.read(0.05):
            pass
        return self.process.returncode
