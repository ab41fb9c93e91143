"""Leaves each message as a file in a folder, from where another program takes it."""

import asyncio
import hashlib
from pathlib import Path

from agent_core.config import Config
from agent_core.files import write_whole
from agent_core.frames import Command, Message
from agent_core.messengers import Context, Messenger
from agent_core.messengers.base import as_json
from agent_core.records import Outcome


class Spool(Messenger):
    idempotent = True  # the file's name is the command's, so the same message left twice is one file

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        name = hashlib.sha256(command.command_id.encode()).hexdigest()[:32] + ".json"
        await asyncio.to_thread(write_whole, self._folder / name, as_json(message, command, context))
        return Outcome(result={"file": name})


def spool(config: Config) -> Spool:
    folder = Path(str(config.messenger.options.get("folder", "")))
    if not folder.is_absolute() or not folder.is_dir():
        raise ValueError(f"messenger.options: expected folder: the path of a folder that is there, found {str(folder)!r}")
    return Spool(folder)
