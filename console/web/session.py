"""One page: a console in a process of its own, in packets of Textual's (a letter, four bytes of length, the payload), until either ends.

textual-serve has a session, too, which is not used: where a page goes away in the middle of a resize its process is left, and spins.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from agent_core.messengers.programs import end_session, environment
from console.terminal import PAGE_DRIVER

READY = b"__GANGLION__\n"
MAX_PACKET = 16 * 2**20
MAX_CELLS, MAX_SAID = 1_000, 2_000
DATA, META = b"D", b"M"


def packet(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def cells(text: Any, usual: int) -> int:
    """A number of columns or rows as a page tells it."""
    try:
        return max(1, min(MAX_CELLS, int(text)))
    except (TypeError, ValueError, OverflowError):
        return usual


async def attend(page: web.WebSocketResponse, command: Sequence[str], width: int, height: int) -> None:
    """Until the page or its console ends; nothing of the console is left then."""
    pipe = asyncio.subprocess.PIPE
    surroundings = environment() | {
        "TEXTUAL_DRIVER": PAGE_DRIVER, "TEXTUAL_COLOR_SYSTEM": "truecolor", "TERM_PROGRAM": "textual",
        "COLUMNS": str(width), "ROWS": str(height),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, env=surroundings)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    tasks = [
        asyncio.create_task(_show(page, process.stdout, process.stderr), name="page out"),
        asyncio.create_task(_hear(page, process.stdin), name="page in"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await end_session(process.pid, process.wait)
        await asyncio.gather(*tasks, return_exceptions=True)


async def _show(page: web.WebSocketResponse, out: asyncio.StreamReader, err: asyncio.StreamReader) -> None:
    """What the console draws; in its place what it says where it does not begin."""
    while (line := await out.readline()) != READY:
        if not line:
            said = (await err.read(MAX_SAID)).decode("utf-8", "replace").strip()
            await page.send_bytes(said.replace("\n", "\r\n").encode() or b"the console did not begin")
            return
    with suppress(asyncio.IncompleteReadError):
        while True:
            kind, size = await out.readexactly(1), int.from_bytes(await out.readexactly(4), "big")
            if size > MAX_PACKET:
                return
            payload = await out.readexactly(size)
            if kind == DATA:
                await page.send_bytes(payload)
            elif kind == META and json.loads(payload).get("type") == "exit":
                return


async def _hear(page: web.WebSocketResponse, keys: asyncio.StreamWriter) -> None:
    """What is typed and clicked there, and how large the page is. One that says anything else is left."""
    async for message in page:
        if message.type is not WSMsgType.TEXT:
            return
        try:
            kind, *told = message.json()
        except (ValueError, TypeError, RecursionError):
            return
        match kind, told:
            case "stdin", [str(text)]:
                keys.write(packet(DATA, text.encode("utf-8", "replace")))
            case "resize", [{"width": width, "height": height}]:
                keys.write(packet(META, json.dumps({"type": "resize", "width": cells(width, 80), "height": cells(height, 24)}).encode()))
            case (("focus" | "blur"), _):
                keys.write(packet(META, json.dumps({"type": kind}).encode()))
            case "ping", [at]:
                await page.send_json(["pong", at])
        await keys.drain()
