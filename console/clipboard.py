"""What `y` copies, and the ways to a clipboard: OSC 52 by Textual, tmux's own buffer, macOS' pbcopy."""

import asyncio
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress

from agent_core.plain import plain
from agent_core.records import Remembered
from console.panels.ring import Row
from console.text import text_of_message

MOST_CHARACTERS = 70_000
"""Terminals refuse a longer OSC 52."""
ANSWER_WITHIN = 2.0


def command_json(record: Remembered) -> str:
    """The command as one JSON object on one line of ASCII, safe to paste anywhere."""
    command = record.command
    fields = {
        "command_id": command.command_id, "command_type": command.command_type, "payload": dict(command.payload),
        "priority": command.priority.name.lower(),
    }  # fmt: skip
    return json.dumps(fields, default=str)


def copies(row: Row, record: Remembered | None, agent_id: str | None, backend_url: str) -> list[tuple[str, str, str]]:
    """(key, what it is, the text), for one command; a line of text never ends by itself in a shell that it is pasted into."""
    found = [("i", "the id", plain(row.command_id, 1_000))]
    if row.error:
        found.append(("r", "why it failed", plain(row.error, MOST_CHARACTERS)))
    if record is None:
        return found
    value = text_of_message(record.command.payload)
    if value is not None:
        found.append(("v", "the text", plain(value, MOST_CHARACTERS)))
    found.append(("j", "JSON", command_json(record)))
    body = json.dumps(
        {"edge_agent_id": agent_id, "command_type": record.command.command_type, "payload": dict(record.command.payload)}, default=str
    )
    address = shlex.quote(backend_url.rstrip("/") + "/admin/commands")
    headers = "-H 'Content-Type: application/json' -H \"Authorization: Bearer $EDGE_ADMIN_TOKEN\""
    found.append(("c", "a curl line that queues it again", f"curl -sS -X POST {address} {headers} -d {shlex.quote(body)}"))
    return found


def programs() -> list[Sequence[str]]:
    """The programs on this machine that take text for a clipboard."""
    found: list[Sequence[str]] = []
    if os.environ.get("TMUX") and shutil.which("tmux"):
        found.append(("tmux", "load-buffer", "-w", "-"))
    if shutil.which("pbcopy"):
        found.append(("pbcopy",))
    return found


async def hand_to(program: Sequence[str], text: str) -> bool:
    """Give the text to a program; False where it does not take it in time."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_WITHIN):
            process = await asyncio.create_subprocess_exec(
                *program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            await process.communicate(text.encode(errors="replace"))
            return process.returncode == 0
    return False
