"""Appends one JSON line a message, flushed: an effect outside the ledger, at most once."""

import asyncio
import json
import os
from pathlib import Path

from agent_core.entries import EffectClass
from agent_core.frames import Command, Message
from agent_core.messengers import Context
from agent_core.records import Outcome


class FileMessenger:
    effect = EffectClass.EXTERNAL

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        line = {"command_id": command.command_id, "thread_id": message.thread_id, "text": message.text, "sent_utc": context.utc}
        await asyncio.to_thread(self._append, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        return Outcome(result={"path": self._path.name})

    def _append(self, content: bytes) -> None:
        """One write to a file in append mode, so that neighbours never mix; a line cut short by a full disk is taken back."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, content) != len(content):
                os.ftruncate(descriptor, before)
                raise OSError(28, "no space for the whole line", str(self._path))
        finally:
            os.close(descriptor)
