"""Appends one JSON line a message, and answers when it is on disk: an effect outside the ledger, at most once."""

import asyncio
import errno
import fcntl
import json
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from agent_core.entries import EffectClass
from agent_core.frames import Command, Message
from agent_core.messengers import Context
from agent_core.records import Outcome


class FileMessenger:
    effect = EffectClass.EXTERNAL

    def __init__(self, path: Path) -> None:
        self._path = path
        self._alone = threading.Lock()

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        line = {"command_id": command.command_id, "thread_id": message.thread_id, "text": message.text, "sent_utc": context.utc}
        await asyncio.to_thread(self._append, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        return Outcome(result={"path": self._path.name})

    def _append(self, content: bytes) -> None:
        """One line at a time, for one that is cut short, or does not reach the disk, is taken back. Raises OSError."""
        with self._alone:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            before = os.fstat(descriptor)
            try:
                _write(descriptor, content)
                if stat.S_ISREG(before.st_mode):
                    _to_disk(descriptor)
                    if before.st_size == 0:
                        _folder_to_disk(self._path.parent)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, before.st_size)
                raise
            finally:
                os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.ENOSPC, "no space for the whole line")


def _to_disk(descriptor: int) -> None:
    """macOS's fsync leaves it in the drive's own memory."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _folder_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
