"""What macOS lets the service do: asked by a job that stands where the service stands, for what a shell may says nothing of it (MACOS §3).

`doctor` has launchd run `service probe` once (service/one_shot.py); that takes the looks below, each with its limit, and writes down what
they found. A dialog for consent is seen by nobody there: what waits for one is late.
"""

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from agent_core.clock import SystemClock
from agent_core.config import Config
from agent_core.config.models import MessengerKind
from agent_core.diagnosis.findings import Stage, Verdict, failed, ok, skipped, warning
from agent_core.diagnosis.mac import allow, is_beside, local_network
from agent_core.diagnosis.reach import Reach, refusal, resolved
from agent_core.files import write_whole
from agent_core.messengers.imessage.chat_db import ChatDb, ChatDbUnreadable
from agent_core.messengers.imessage.messenger import chat_db_of, way_of
from agent_core.messengers.imessage.ways import NOT_ALLOWED
from agent_core.messengers.programs import run_program
from agent_core.plain import plain
from agent_core.secret_sources import KeychainSource, SecretMissing, SecretUnavailable
from agent_core.service import launchd
from agent_core.service.interpreter import binary_of, interpreter_at, remember
from agent_core.service.job import ServiceError
from agent_core.service.one_shot import answer_of, service_of

WITHIN = 5.0
"""Seconds for one look; they are taken at once."""
SCRIPT = """with timeout of 4 seconds
    tell application "Messages" to count accounts
end timeout"""
NOBODY_SEES = "a dialog for consent waits, where nobody sees it"
Look = Callable[[], Awaitable[Stage]]


# --- doctor's side -----------------------------------------------------------------------------------------------------------


async def permissions(config: Config) -> list[Stage]:
    """What the installed service may; one stage says why that cannot be known. Takes seconds, and leaves no job behind."""
    folder = config.data_dir.expanduser().absolute()
    try:
        return await _asked(folder)
    except (ServiceError, OSError, msgspec.MsgspecError) as error:
        return [replace(warning(f"what the service may is not known: {plain(error, 300)}"), name="permissions")]


async def _asked(folder: Path) -> list[Stage]:
    found = launchd.installed(Path.home())
    if found is None:
        return [_unasked("no service is installed, and what a shell may says nothing of one: edge-console service install")]
    file, system = found
    if system and os.geteuid():
        return [_unasked("the service is the system's: sudo edge-console doctor")]
    plist = file.read_bytes()
    arguments, its_folder = service_of(plist)
    if its_folder != folder:
        return [_unasked(f"the service that is installed has another data_dir, {plain(its_folder, 200)}")]
    stages = msgspec.json.decode(await answer_of(plist, launchd.domain(system=system, uid=os.getuid())), type=list[Stage])
    if all(stage.verdict is not Verdict.FAILED for stage in stages):
        remember(folder, await interpreter_at(Path(arguments[0])))
    return stages


def _unasked(sentence: str) -> Stage:
    return replace(skipped(sentence), name="permissions")


# --- the job's side ----------------------------------------------------------------------------------------------------------


async def write_answer(config: Config, answer: Path) -> None:
    """Take every look, and write what they found. Raises OSError."""
    binary = binary_of(Path(sys.executable))
    looks: list[tuple[str, Look]] = [
        ("disk_access", lambda: disk_access(config, binary)), ("automation", lambda: automation(config, binary)),
        ("local_network", lambda: local(config, binary)), ("keychain", lambda: keychain(config, binary)),
    ]  # fmt: skip
    stages = await asyncio.gather(*(_taken(name, look) for name, look in looks))
    write_whole(answer, msgspec.json.encode(stages))


async def _taken(name: str, look: Look) -> Stage:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(WITHIN):
            found = await look()
    except TimeoutError:
        found = failed(f"no answer in {WITHIN:g} s", NOBODY_SEES, "log in at the screen, answer the dialog, and run doctor again")
    except Exception as error:  # noqa: BLE001  (the job's edge: a look that fails is a finding)
        found = failed(plain(error, 200) or type(error).__name__)
    return replace(found, name=name, ms=(loop.time() - began) * 1_000)


async def disk_access(config: Config, binary: Path) -> Stage:
    """Full Disk Access, without which nobody reads `chat.db`."""
    if config.messenger.kind != MessengerKind.IMESSAGE and not config.inbound.enabled:
        return skipped("nothing here reads Messages")
    path = chat_db_of(config)
    try:
        await asyncio.to_thread(ChatDb(path).mark)
    except ChatDbUnreadable as error:
        if not error.is_denied:
            return failed(str(error), "Messages has not been used by this user yet", "sign in at Messages, and send one message by hand")
        return failed(f"{binary} may not read {path}", "it has no Full Disk Access", allow(str(binary), "Full Disk Access"))
    return ok(f"{binary} may read {path}")


async def automation(config: Config, binary: Path) -> Stage:
    """Automation of Messages, without which `osascript` sends nothing."""
    if config.messenger.kind != MessengerKind.IMESSAGE:
        return skipped("nothing here sends by Messages")
    if way_of(config) == "imsg":
        return skipped("imsg sends, by permissions of its own")
    ended = await run_program(("osascript", "-e", SCRIPT))
    if ended.code == 0:
        return ok(f"{binary} may control Messages")
    complaint = plain(ended.complaint.decode("utf-8", "replace").strip(), 200)
    number = re.search(r"\((-?[0-9]+)\)$", complaint)
    if number and int(number[1]) == NOT_ALLOWED:
        remedy = allow(str(binary), "Automation")
        return failed(f"{binary} may not control Messages ({NOT_ALLOWED})", "Automation of Messages is not allowed to it", remedy)
    return failed(f"Messages cannot be asked: {complaint}", "Messages does not run, or nobody is signed in there", "sign in at Messages")


async def local(config: Config, binary: Path) -> Stage:
    """Local Network, without which every address beside this Mac is said to have no route."""
    reach = Reach(config, SystemClock(), WITHIN)
    await reach.proxy()
    found = [pair for target in reach.targets() for pair in await resolved(target.host, target.port)]
    beside = [(family, address) for family, address in found if is_beside(str(address[0]))]
    said = await asyncio.gather(*(refusal(family, address, WITHIN * 0.8) for family, address in beside))
    return judged([(str(address[0]), word) for (_, address), word in zip(beside, said, strict=True)], binary)


def judged(answers: Sequence[tuple[str, str | None]], binary: Path) -> Stage:
    """Of the backend's addresses in the local network: what each said."""
    if not answers:
        return skipped("the backend is not in the local network")
    words = ", ".join(f"{address} {word or 'answers'}" for address, word in answers)
    why = local_network(answers, is_mac=True, python=str(binary))
    return ok(f"{words}, for {binary}") if why is None else failed(words, *why)


async def keychain(config: Config, binary: Path) -> Stage:
    """The entry that holds the secret."""
    if config.auth.keychain is None:
        return skipped("the secret is not in the Keychain")
    source = KeychainSource(config.auth.keychain)
    try:
        await asyncio.to_thread(source.read)
    except SecretMissing as error:
        return failed(str(error), "the service's user has no such entry", "edge-console secret set")
    except SecretUnavailable as error:
        remedy = f"Keychain Access, {source.where}, Access Control: allow {binary}; a LaunchDaemon has no login keychain: auth.secret_file"
        return failed(str(error), "the Keychain is locked, or does not let this program read the entry", remedy)
    return ok(f"{binary} may read {source.where}")
