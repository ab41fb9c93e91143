"""Appends one JSON line a message, and answers when it is on disk: an effect outside the ledger, at most once."""

import asyncio
import errno
import fcntl
import os
import stat
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from agent_core.entries import EffectClass
from agent_core.frames import Command, Message
from agent_core.messengers.base import Context, Messenger, as_json
from agent_core.records import Outcome


class FileMessenger(Messenger):
    """One thread of its own writes, line by line: what hangs there (a pipe nobody reads) hangs nothing else, the process's end included."""

    effect = EffectClass.EXTERNAL

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: SimpleQueue[tuple[bytes, Future[None]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        """One that times out before its turn is not written."""
        written: Future[None] = Future()
        self._lines.put((as_json(message, command, context) + b"\n", written))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="file-messenger", daemon=True)
            self._thread.start()
        await asyncio.wrap_future(written)
        return Outcome(result={"path": self._path.name})

    def _write(self) -> None:
        while True:
            line, written = self._lines.get()
            if written.set_running_or_notify_cancel():
                try:
                    append(self._path, line)
                except BaseException as error:  # noqa: BLE001  (the thread's edge: it is the message's outcome)
                    written.set_exception(error)
                else:
                    written.set_result(None)


def append(path: Path, line: bytes) -> None:
    """On disk, whole, or taken back. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        before = os.fstat(descriptor)
        count = os.write(descriptor, line)
        try:
            _to_disk(descriptor, missing=len(line) - count)
        except OSError:
            with suppress(OSError):
                if os.fstat(descriptor).st_size == before.st_size + count:  # nobody else has appended since
                    os.ftruncate(descriptor, before.st_size)
            raise
    finally:
        os.close(descriptor)
    if before.st_size == 0:
        with suppress(OSError):  # a folder that may not be read
            _folder_to_disk(path.parent)


def _to_disk(descriptor: int, *, missing: int) -> None:
    """macOS's fsync leaves it in the drive's own memory; some volumes know nothing better."""
    if missing:
        raise OSError(errno.ENOSPC, "no space for the whole line")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def _folder_to_disk(folder: Path) -> None:
    """The name of a file that is new."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
