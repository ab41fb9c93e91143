"""The two ways to have Messages send: Apple's `osascript`, and `imsg rpc` where it is installed.

Either says that a message is on its way, or refuses it for good, or leaves a doubt; that it was sent neither can prove.
"""

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from agent_core.messengers.programs import end_session, environment, run_program
from agent_core.plain import plain

SEND_WITHIN = 25.0
"""Longer than the script's own limit, so that it is Messages that gives up."""
SCRIPT = """on run argv
    set {theWay, theTarget, theService, theKind, theContent} to argv
    if theKind is "file" then set theContent to POSIX file theContent as alias
    with timeout of 20 seconds
        tell application "Messages"
            if theWay is "chat" then
                send theContent to chat id theTarget
            else if theService is "SMS" then
                send theContent to participant theTarget of (1st account whose service type = SMS)
            else
                send theContent to participant theTarget of (1st account whose service type = iMessage)
            end if
        end tell
    end timeout
end run"""
MAX_TEXT = 100_000
"""Bytes; a system takes no longer argument."""
NO_SUCH_OBJECT, NOT_ALLOWED = -1728, -1743
REFUSALS = {
    NO_SUCH_OBJECT: "Messages knows no such recipient",
    -1719: "no {service} account is signed in: see the settings of Messages (SMS needs Text Message Forwarding on the phone)",
    NOT_ALLOWED: "this program may not control Messages: allow it in System Settings, Privacy & Security, Automation",
    -600: "Messages does not run, and could not be started",
    -10810: "Messages does not run, and could not be started",
}
"""By number of what is refused before anything is sent."""


class Refused(Exception):
    """Nothing was sent; the sentence says why, `number` what AppleScript calls it."""

    def __init__(self, said: str, number: int = 0) -> None:
        super().__init__(said)
        self.number = number


class Doubtful(Exception):
    """It may have been sent."""


@dataclass(frozen=True, slots=True)
class Addressee:
    """`target` is a chat's live id, or a person's number or address where there is no chat yet."""

    target: str
    is_chat: bool
    service: str


class Way(Protocol):
    async def send(self, to: Addressee, content: str | Path) -> str | None:
        """A text, or a file where Messages may read it. The message's GUID where it is told. Raises Refused, Doubtful, OSError."""
        ...

    async def close(self) -> None: ...


class AppleScript(Way):
    """One script, the same for all: recipient and content are its arguments, so that nothing in them is ever read as script."""

    async def send(self, to: Addressee, content: str | Path) -> str | None:
        way = "chat" if to.is_chat else "participant"
        command = ["osascript", "-e", SCRIPT, way, to.target, to.service, _kind(content), str(content)]
        try:
            async with asyncio.timeout(SEND_WITHIN):
                ended = await run_program(command)
        except TimeoutError:
            raise Doubtful(f"osascript did not end in {SEND_WITHIN:g} s") from None
        if ended.code == 0:
            return None
        complaint = ended.complaint.decode("utf-8", "replace").strip()
        number = re.search(r"\((-?[0-9]+)\)$", complaint)
        raise _trouble(int(number[1]) if number else ended.code, complaint, to)

    async def close(self) -> None:
        return


class Imsg(Way):
    """`imsg rpc`, started when it is first needed and again after it has ended; one call at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = count(1)

    async def send(self, to: Addressee, content: str | Path) -> str | None:
        service = {"SMS": "sms", "iMessage": "imessage"}[to.service]
        place = {"chat_guid": to.target} if to.is_chat else {"to": to.target, "service": service}
        process = await self._started()
        try:
            async with asyncio.timeout(SEND_WITHIN):
                answer = await self._call(process, "send", {**place, _kind(content): str(content)})
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise Doubtful(f"imsg did not answer in {SEND_WITHIN:g} s") from None
            if isinstance(error, OSError | ValueError | EOFError):
                raise Doubtful(f"imsg ended in the middle of a message: {plain(error, 200)}") from None
            raise
        if "error" in answer:
            trouble = answer["error"] if isinstance(answer["error"], dict) else {}
            raise _trouble(trouble.get("code"), str(trouble.get("message")), to)
        guid = answer["result"].get("guid") if isinstance(answer.get("result"), dict) else None
        return guid if isinstance(guid, str) else None

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end_session(process.pid, process.wait)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
            self._process = await asyncio.create_subprocess_exec(
                "imsg", "rpc", stdin=pipe, stdout=pipe, stderr=null, start_new_session=True, env=environment(), limit=2**20
            )
        return self._process

    async def _call(self, process: asyncio.subprocess.Process, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The answer to this call; what else comes, notifications or answers that are late, is none."""
        assert process.stdin is not None
        assert process.stdout is not None
        number = next(self._numbers)
        process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}).encode() + b"\n")
        await process.stdin.drain()
        while line := await process.stdout.readline():
            with suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict) and answer.get("id") == number:
                    return answer
        raise EOFError("no answer")


def _kind(content: str | Path) -> str:
    return "file" if isinstance(content, Path) else "text"


def _trouble(number: object, said: str, to: Addressee) -> Exception:
    if isinstance(number, int) and number in REFUSALS:
        return Refused(REFUSALS[number].format(service=to.service), number)
    return Doubtful(f"Messages answered {plain(said, 200)} ({plain(number, 20)})")
