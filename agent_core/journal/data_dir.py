"""One agent per data directory: a lock that names its owner (PROMISES F41)."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from agent_core.config import Config
from agent_core.plain import plain


class DataDirUnusable(Exception):
    """The directory cannot be made, and why."""


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


class DataDirInUse(Exception):
    """Another agent owns the directory; the sentence names it."""


class DataDirLock:
    """Held for as long as the agent lives; the system gives it back however the agent ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / "agent.lock", mode=0o600)
        self._owner = folder / "agent.pid"

    def __enter__(self) -> Self:
        """Raises DataDirInUse, or OSError where the directory cannot be written."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataDirInUse(f"{self._folder} is in use by the agent with pid {self.owner() or 'unknown'}; one agent at a time") from None
        self._owner.write_text(f"{os.getpid()}\n")
        self._owner.chmod(0o600)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._owner.unlink(missing_ok=True)
        self._lock.release()

    def owner(self) -> int | None:
        """The pid of the agent that holds the directory, where one wrote it."""
        try:
            return int(self._owner.read_text())
        except (OSError, ValueError):
            return None

    @property
    def held(self) -> bool:
        """Somebody, perhaps this very process, holds the directory now; nothing is left behind by asking."""
        if not (self._folder / "agent.lock").exists():
            return False
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return True
        self._lock.release()
        return False
