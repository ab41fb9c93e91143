"""What is typed: from a terminal key by key, so that what is told never cuts it in half; from anything else line by line."""

import codecs
import os
import re
import select
import signal
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Queue
from types import FrameType
from typing import Self

from console.text import width_of

CHUNK = 4_096
CHUNKS_WAITING = 16
LONGEST = 4_000
"""Characters of a line; what is typed beyond them is dropped."""
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|O.|.)?")
END, ERASE, WORD, LINE = "\x04", "\x7f\b", "\x17", "\x15"


class TypedLine:
    """The line under way. `echo` is what a terminal should show of what was typed since it was asked last."""

    def __init__(self, *, keys: bool) -> None:
        """`keys`: control characters correct the line and end the input, as keys of a terminal do."""
        self.text = ""
        self.ended = False
        self._keys = keys
        self._echo = ""

    def typed(self, keys: str) -> Iterator[str]:
        """The lines that these keys complete."""
        for key in _SEQUENCE.sub("", keys):
            if key in "\r\n":
                line, self.text = self.text, ""
                self._echo += "\n"
                yield line
            elif not self._keys and not key.isprintable():
                continue
            elif key == END:
                self.ended = self.ended or not self.text
            elif key in ERASE:
                self._drop(1)
            elif key == WORD:
                self._drop(len(self.text) - self.text.rstrip().rfind(" ") - 1)
            elif key == LINE:
                self._drop(len(self.text))
            elif key.isprintable() and len(self.text) < LONGEST:
                self.text += key
                self._echo += key

    def _drop(self, count: int) -> None:
        """The last characters, as a terminal's own line discipline does it."""
        kept = self.text[: max(0, len(self.text) - count)]
        self._echo += "\b \b" * width_of(self.text[len(kept) :])
        self.text = kept

    def echo(self) -> str:
        echo, self._echo = self._echo, ""
        return echo


class Keyboard:
    """Reads on a thread of its own. As a context it takes the terminal, and gives it back as it was."""

    def __init__(self, fd: int, *, shows: bool) -> None:
        """`shows`: what is told appears on the terminal that is typed at."""
        self._fd = fd
        self._chunks: Queue[bytes] = Queue(CHUNKS_WAITING)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._modes = termios.tcgetattr(fd) if shows and os.isatty(fd) else None
        self.line = TypedLine(keys=self._modes is not None)
        self.echoes = self._modes is not None and bool(self._modes[3] & termios.ECHO)
        """Whether what is typed is to be shown by us: the terminal does not, any more."""

    def __enter__(self) -> Self:
        self._take()
        if self._modes is not None:
            signal.signal(signal.SIGTSTP, self._suspend)
        threading.Thread(target=self._read, name="keyboard", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def lines(self, within: float) -> list[str]:
        """Those that are complete; waits at most so long for the first key."""
        try:
            chunk = self._chunks.get(timeout=within)
        except Empty:
            return []
        if not chunk:
            self.line.ended = True
        return list(self.line.typed(self._decoder.decode(chunk)))

    def give_back(self) -> None:
        """The terminal's modes, as they were; in a signal's handler, too."""
        if self._modes is not None:
            with suppress(termios.error, OSError):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)

    def _take(self) -> None:
        if self._modes is not None:
            modes = termios.tcgetattr(self._fd)
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, modes)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        self.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def _read(self) -> None:
        chunk = b"-"
        while chunk:
            try:
                select.select([self._fd], [], [])
                chunk = os.read(self._fd, CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                chunk = b""
            self._chunks.put(chunk)
