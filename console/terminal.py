"""The terminal that the console draws on: it may go away, and nobody need read it."""

from typing import Any, TextIO

from textual.drivers.linux_driver import LinuxDriver


class DetachableFile:
    """A terminal's file. Once a write has failed, nothing more is written, and nobody hears of it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
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

    def fileno(self) -> int:
        return self._file.fileno()


class DetachableDriver(LinuxDriver):
    """Textual's thread that writes ends with a write that fails; whoever draws then waits for it, and the process never ends."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._file: Any = DetachableFile(self._file)
