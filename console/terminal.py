"""The terminal that the console draws on: it may go away, and nobody need read it."""

import os
import signal
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from textual.drivers.linux_driver import LinuxDriver

from console.alerts import POP_TITLE, PUSH_TITLE

GIVEN_BACK = b"".join(
    b"\x1b[" + mode
    for mode in (
        b"<u", b"?2026l", b"?2004l", b"?7h", b"?2048l", b"?1000l", b"?1003l", b"?1015l", b"?1006l", b"?1004l", b"?1049l", b"?25h", b"0m",
        b"23;2t",
    )
)  # fmt: skip
"""What is sent on leaving: keys, synchronized output, paste, wrap, sizes, mouse, focus, screen, cursor, no colour, the title before."""

GIVE_BACK_TRIES = 100
PAGE_DRIVER = "console.web.driver:PageDriver"


def in_page() -> bool:
    """Whether this is the console of a page in a browser (console/web), which is no terminal."""
    return os.environ.get("TEXTUAL_DRIVER") == PAGE_DRIVER


def giving_back(output: TextIO | None) -> Callable[[], None]:
    """What gives the terminal back as it is now, without a wait for whoever reads it; to be called just before the process ends."""
    if output is None or not output.isatty():
        return lambda: None
    terminal = output.fileno()
    modes = termios.tcgetattr(terminal)

    def give_back() -> None:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, lambda _number, _frame: None)
        with suppress(OSError, termios.error):
            os.set_blocking(terminal, False)
            for _ in range(GIVE_BACK_TRIES):
                _interrupt_others()  # a write that waits for the reader keeps everybody else from writing, and a flush does not wake it
                termios.tcflush(terminal, termios.TCOFLUSH)
                with suppress(BlockingIOError):
                    if os.write(terminal, GIVEN_BACK) == len(GIVEN_BACK):
                        break
                time.sleep(0.001)
        with suppress(OSError, termios.error):
            os.set_blocking(terminal, True)
            termios.tcsetattr(terminal, termios.TCSANOW, modes)

    return give_back


def _interrupt_others() -> None:
    """Every other thread's system call begins anew."""
    for thread in threading.enumerate():
        if thread.ident is not None and thread is not threading.current_thread():
            with suppress(ProcessLookupError):
                signal.pthread_kill(thread.ident, signal.SIGUSR2)


class DetachableFile:
    """A terminal's file. Once a write has failed, nothing more is written, and nobody but `when_gone` hears of it."""

    def __init__(self, file: TextIO, when_gone: Callable[[], None]) -> None:
        self._file = file
        self._when_gone = when_gone
        self._gone = False

    def write(self, text: str) -> None:
        self._try(self._file.write, text)

    def flush(self) -> None:
        self._try(self._file.flush)

    def _try(self, act: Any, *arguments: str) -> None:
        if not self._gone:
            try:
                act(*arguments)
            except OSError:
                self._gone = True
                self._when_gone()

    def fileno(self) -> int:
        return self._file.fileno()


class DetachableDriver(LinuxDriver):
    """Textual's thread that writes ends with a write that fails; whoever draws then waits for it, and the process never ends.

    Its thread that reads finds the end of a terminal that is gone as often as it looks: it ends, too.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._file: Any = DetachableFile(self._file, self.exit_event.set)

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self.write(PUSH_TITLE)

    def stop_application_mode(self) -> None:
        self.write(POP_TITLE)
        super().stop_application_mode()
