"""A job of launchd's that runs once, with the service's own property list: what it may do, the service may.

macOS grants its permissions to the process that is responsible, and for what a shell starts that is the terminal, or sshd. The job is
removed whatever comes of it, and what an earlier one left, whose caller was killed, before it begins.
"""

import asyncio
import plistlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from agent_core.messengers.programs import Ended, run_program
from agent_core.plain import plain
from agent_core.service.job import ServiceError, place
from agent_core.service.launchd import LABEL, NO_SESSION, standing_of

LABEL_ONCE = f"{LABEL}.once"
ANSWER_WITHIN = 15.0
REMOVE_WITHIN = 5.0
LOOK_EVERY, ASK_EVERY = 0.1, 1.0
"""Seconds between two looks for the answer, and between two questions to launchd whether the job still runs."""
MAX_ANSWER, MAX_ERRORS = 2**20, 2_000


def service_of(plist: bytes) -> tuple[list[str], Path]:
    """Arguments and data directory of an installed service. Raises ServiceError."""
    try:
        keys: dict[str, Any] = plistlib.loads(plist)
        return [str(word) for word in keys["ProgramArguments"]], Path(str(keys["WorkingDirectory"]))
    except (ValueError, ExpatError, KeyError, TypeError) as error:
        raise ServiceError(f"the service's property list cannot be read ({plain(error, 100)}): edge-console service install") from None


def once(plist: bytes, arguments: Sequence[str], errors: Path) -> bytes:
    """The service's own property list for a job that runs these arguments, once."""
    keys: dict[str, Any] = plistlib.loads(plist)
    for name in ("KeepAlive", "ThrottleInterval"):
        keys.pop(name, None)
    keys |= {
        "Label": LABEL_ONCE, "ProgramArguments": list(arguments), "RunAtLoad": True, "LaunchOnlyOnce": True, "ExitTimeOut": 5,
        "StandardErrorPath": str(errors),
    }  # fmt: skip
    return plistlib.dumps(keys, sort_keys=False)


def probing(arguments: Sequence[str], answer: Path) -> list[str]:
    """The arguments of `service run` as those of `service probe`. Raises ServiceError."""
    at = next((n for n in range(len(arguments) - 1) if tuple(arguments[n : n + 2]) == ("service", "run")), None)
    if at is None:
        raise ServiceError("the service that is installed is of another version: edge-console service install")
    return [*arguments[: at + 1], "probe", *arguments[at + 2 :], "--answer", str(answer)]


async def answer_of(plist: bytes, domain: str, within: float = ANSWER_WITHIN) -> bytes:
    """What the job found, within so many seconds. Raises ServiceError where it cannot run, ends without an answer, or is late; OSError."""
    arguments, folder = service_of(plist)
    job, answer, errors = (folder / f"agent.once.{ending}" for ending in ("plist", "json", "err"))
    target = f"{domain}/{LABEL_ONCE}"
    try:
        async with asyncio.timeout(within):
            if (await _launchctl("print", domain)).code:
                raise ServiceError(NO_SESSION)
            await _remove(target)
            for left in (answer, errors):
                left.unlink(missing_ok=True)
            place(job, once(plist, probing(arguments, answer), errors))
            ran = await _launchctl("bootstrap", domain, str(job))
            if ran.code:
                raise ServiceError(f"launchd starts no job to look with: {plain(ran.complaint.decode('utf-8', 'replace').strip(), 200)}")
            return await _written(answer, target, errors)
    except TimeoutError:
        raise ServiceError(f"the job that looks gave no answer within {within:g} s, and was removed") from None
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(REMOVE_WITHIN):
                await _remove(target)
        for left in (job, answer, errors):
            left.unlink(missing_ok=True)


async def _written(answer: Path, target: str, errors: Path) -> bytes:
    """Raises ServiceError where the job has ended without it."""
    loop = asyncio.get_running_loop()
    ask_at = loop.time() + ASK_EVERY
    ended = False
    while not (found := _read(answer, MAX_ANSWER)):
        if ended:
            raise ServiceError(f"the job that looks ended without an answer: {_last_line(errors)}")
        await asyncio.sleep(LOOK_EVERY)
        if loop.time() >= ask_at:
            printed = await _launchctl("print", target)
            ended = printed.code != 0 or not standing_of(printed.said.decode("utf-8", "replace")).running
            ask_at = loop.time() + ASK_EVERY
    return found


def _read(file: Path, most: int) -> bytes:
    """Nothing where it is not there yet."""
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError:
        return b""


def _last_line(errors: Path) -> str:
    lines = _read(errors, MAX_ERRORS).decode("utf-8", "replace").split("\n")
    return plain(next(filter(None, reversed(lines)), "it said nothing; is the service's Python still there?"), 200)


async def _remove(target: str) -> None:
    """`bootout` returns before the job has ended."""
    if (await _launchctl("print", target)).code == 0:
        await _launchctl("bootout", target)
        while (await _launchctl("print", target)).code == 0:  # noqa: ASYNC110  (launchd tells nobody that a job is gone)
            await asyncio.sleep(LOOK_EVERY)


async def _launchctl(*arguments: str) -> Ended:
    return await run_program(("launchctl", *arguments))
