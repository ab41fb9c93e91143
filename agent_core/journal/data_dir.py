"""The data directory: one agent's at a time, private, and no way to a file elsewhere (PROMISES F41, F74, F77).

The lock is on the directory itself. A lock file can be removed while it is held, and the next agent would then hold another one.
"""

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from agent_core.config import Config
from agent_core.plain import plain

OURS = ("agent.", "ledger.", "edge-console.log", "screenshots", "exports", "incidents")
"""How the names of what is kept there begin."""
HANDED_OVER = "agent.handed-over"
"""There where the ledger is another agent's by now."""
OTHERS_READ, GROUP_WRITES, OTHERS_WRITE = 0o077, 0o020, 0o002


class DataDirInUse(Exception):
    """Another agent owns the directory; the sentence names it."""


class DataDirUnusable(Exception):
    """The directory cannot be made, or is no safe place for an agent's memory; the sentence says why and what to do."""


def data_dir(config: Config) -> Path:
    """The data directory, made private (0700) where it did not exist. Raises DataDirUnusable, PermissionError."""
    folder = config.data_dir.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except PermissionError:
        raise
    except OSError as error:
        raise DataDirUnusable(f"data_dir {plain(folder, 300)} cannot be made: {error.strerror}; choose another one") from None
    return folder


def examine(folder: Path) -> None:
    """What others could have put there would be followed or believed. Raises DataDirUnusable, OSError."""
    if (folder / HANDED_OVER).exists():
        why = "two agents that know the same commands would run them twice"
        raise DataDirUnusable(f"data_dir {folder} was handed over: {why}; if the other never ran, remove {HANDED_OVER} there")
    found, me = folder.stat(), os.geteuid()
    if me not in {0, found.st_uid}:
        raise DataDirUnusable(f"data_dir {folder} belongs to another user (uid {found.st_uid}); choose another one")
    if found.st_mode & OTHERS_WRITE:
        raise DataDirUnusable(f"data_dir {folder} can be written by everybody (mode {_mode(found)}): look what is in it, then chmod 700 it")
    for path in sorted(folder.iterdir()):
        if path.name.startswith(OURS):
            inner = path.lstat()
            if stat.S_ISLNK(inner.st_mode):
                raise DataDirUnusable(f"{path} is a link, and what is written to it would go elsewhere; remove it")
            if me not in {0, inner.st_uid}:
                raise DataDirUnusable(f"{path} belongs to another user (uid {inner.st_uid}); remove it, or choose another data_dir")


def exposed(path: Path) -> str | None:
    """Who else can look into a file or directory, and what to do about it; None where nobody can, or it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    is_folder = stat.S_ISDIR(found.st_mode)
    if is_folder and found.st_uid != os.geteuid():
        return f"{path} belongs to another user (uid {found.st_uid}), who can change what is in it"
    if not found.st_mode & OTHERS_READ:
        return None
    who = "its group can write to it" if found.st_mode & GROUP_WRITES else "others can look inside" if is_folder else "others can read it"
    return f"{path} has mode {_mode(found)}, so {who}: chmod {'700' if is_folder else '600'} {path}"


def cautions(folder: Path, env_file: Path | None) -> list[str]:
    """What is to be told at the start: who else can read the data directory, or the secret."""
    return [text for path in (folder, env_file) if path is not None and (text := exposed(path)) is not None]


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


class DataDirLock:
    """Held for as long as the agent lives; the system gives it back however the agent ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = folder / "agent.pid"
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Raises DataDirInUse, DataDirUnusable, or OSError where the directory cannot be written."""
        examine(self._folder)
        self._descriptor = self._locked()
        if self._descriptor is None:
            owner = f"the agent with pid {self.owner() or 'unknown'}"
            raise DataDirInUse(f"{self._folder} is in use by {owner}; look at it with `edge-console attach`, or stop it first")
        self._owner.unlink(missing_ok=True)
        with os.fdopen(os.open(self._owner, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(f"{os.getpid()}\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._owner.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _locked(self) -> int | None:
        """A descriptor that holds the lock; None where somebody else does. Raises DataDirUnusable, OSError."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            why = f"the file system of data_dir {self._folder} has no locks ({error.strerror}), so two agents could run on it"
            raise DataDirUnusable(f"{why}; choose one on a local disk") from None
        return descriptor

    def owner(self) -> int | None:
        """The pid of the agent that holds the directory, where one wrote it."""
        with suppress(OSError, ValueError), os.fdopen(os.open(self._owner, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            return int(file.read(20))
        return None

    @property
    def held(self) -> bool:
        """Somebody, perhaps this very process, holds the directory; nothing is left behind by asking. Raises DataDirUnusable, OSError."""
        if not self._folder.is_dir():
            return False
        descriptor = self._locked()
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None
