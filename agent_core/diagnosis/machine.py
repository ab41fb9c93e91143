"""What is looked at on this machine: the settings, the data directory, its disk, and who holds it."""

import asyncio
import os
import shutil
import stat
import tempfile
from pathlib import Path

from agent_core.channels.credentials import Credentials, fingerprint
from agent_core.config import Config
from agent_core.diagnosis.findings import Stage, failed, ok, warning
from agent_core.diagnosis.mac import login_findings, power_findings
from agent_core.diagnosis.messages import unreadable
from agent_core.diagnosis.policy import told
from agent_core.figures import size
from agent_core.journal.data_dir import DataDirLock, DataDirUnusable, examine, exposed
from agent_core.journal.reader import fault
from agent_core.messengers.base import MessengerError
from agent_core.messengers.choice import messenger_for
from agent_core.messengers.programs import run_program
from agent_core.plugins import PluginError, load_plugins

MAC_COMMANDS = (
    ("pmset", "-g"), ("fdesetup", "status"), ("defaults", "read", "/Library/Preferences/com.apple.loginwindow", "autoLoginUser"),
)  # fmt: skip
ROOM, LITTLE_ROOM = 10 * 2**20, 200 * 2**20


class Machine:
    """`env_file` is the .env whose mode is looked at; `force` goes on though an agent runs here."""

    def __init__(self, config: Config, credentials: Credentials, env_file: Path | None, *, force: bool) -> None:
        self._config = config
        self._credentials = credentials
        self._env_file = env_file
        self._force = force
        self._folder = config.data_dir.expanduser()
        self.hold = ""
        """Why the backend is not dialled, where an agent runs here."""

    async def configuration(self) -> Stage:
        who = self._credentials.agent_id or "an agent without an id"
        if not self._config.websocket.enabled:
            return warning(f"{who} at {self._config.backend.url}; websocket.enabled is false, so HTTP only")
        return ok(f"{who} at {self._config.backend.url}, socket at {self._config.socket_url}")

    async def secret(self) -> Stage:
        secret = self._config.auth.secret.get_secret_value()
        if not secret:
            return failed("none", "no secret is set", "put EDGE_SECRET=… into the environment or into .env beside config.yaml")
        sentence = f"present, fingerprint {fingerprint(secret)} ({self._config.auth.mode})"
        if self._env_file is not None and self._env_file.is_file():
            if (wide := exposed(self._env_file)) is not None:
                return warning(f"{sentence}; {wide}")
            sentence += f"; .env has mode {stat.S_IMODE(self._env_file.stat().st_mode):04o}"
        return ok(sentence)

    async def data_dir(self) -> Stage:
        folder = self._folder
        if not folder.exists():
            above = _existing(folder)
            if os.access(above, os.W_OK | os.X_OK):
                return ok(f"{folder} is not there yet; the first start makes it")
            return failed(f"{folder} is not there and cannot be made", f"{above} cannot be written by this user", "choose another data_dir")
        if not folder.is_dir():
            return failed(f"{folder} is no directory", "a file is in its place", "choose another data_dir")
        try:
            examine(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except DataDirUnusable as error:
            return failed(str(error), "the agent does not start on what others can change", "see the stage's own sentence")
        except OSError as error:
            return failed(
                f"{folder} cannot be written: {error.strerror}", "the ledger cannot be kept, so no command would be taken",
                "give this user the directory, or choose another data_dir",
            )  # fmt: skip
        if (wrong := await asyncio.to_thread(fault, folder)) is not None:
            what, advice = wrong
            return failed(what, "no command is run until the ledger is sound, so that none takes effect twice", advice)
        if (wide := exposed(folder)) is not None:
            return warning(wide)
        return ok(f"{folder}, mode {stat.S_IMODE(folder.stat().st_mode):04o}, writable")

    async def disk(self) -> Stage:
        free = shutil.disk_usage(_existing(self._folder)).free
        sentence = f"{size(free)} free"
        if free < ROOM:
            return failed(sentence, "the disk is full: the ledger cannot be written, so no command is taken", "make room on that disk")
        return warning(f"{sentence}: the ledger may grow to 64 MiB, the logs to 10") if free < LITTLE_ROOM else ok(sentence)

    async def messenger(self) -> Stage:
        """With it whatever installed packages bring, for one that is broken keeps the agent from starting."""
        try:
            plugins = load_plugins()
            messenger = messenger_for(self._config)
        except (PluginError, MessengerError) as error:
            return failed(str(error), "the agent would not start with it", "mend what the sentence names")
        if messenger.settles:
            try:
                await messenger.mark()
            except OSError as error:
                return unreadable(error, "nothing is sent whose record cannot be read")
        return ok("; ".join([self._config.messenger.kind, *map(str, plugins)]))

    async def policy(self) -> Stage:
        return ok(told(self._config.policy))

    async def unattended(self) -> Stage:
        """On a Mac alone."""
        power, vault, login = [await _said(*command) for command in MAC_COMMANDS]
        found = [*power_findings(power), *login_findings(vault, login)]
        return warning("; ".join(found)) if found else ok("it does not sleep, starts again after a power failure, and logs in by itself")

    async def lock(self) -> Stage:
        lock = DataDirLock(self._folder)
        try:
            held = lock.held
        except DataDirUnusable as error:
            return failed(str(error), "the agent does not start where it could not be alone", "see the stage's own sentence")
        if not held:
            return ok("free: no agent runs on this data_dir")
        owner = lock.owner()
        who = "this very program" if owner == os.getpid() else f"pid {owner or 'unknown'}"
        if self._force:
            return warning(f"an agent runs ({who}); forced: the backend closes a socket of its own (4009) in favour of this one")
        self.hold = "an agent runs here"
        return ok(f"an agent runs ({who}): the rest would take its place at the backend, so it is skipped; stop it, or use --force")


async def _said(*command: str) -> str:
    """What a program says; nothing where it cannot be run."""
    try:
        return (await run_program(command)).said.decode("utf-8", "replace")
    except OSError:
        return ""


def _existing(folder: Path) -> Path:
    return next((above for above in (folder, *folder.parents) if above.exists()), Path("/"))
