"""What is the same for launchd and systemd: the job, how it stands, and the call of their programs."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent_core.files import write_whole
from agent_core.plain import plain

CONFIG_ERROR = 78
"""What `service run` exits with where the configuration is wrong (EX_CONFIG): starting it again would not help."""
RESTART_AFTER = 30
STOP_WITHIN = 20
"""Seconds that the agent has for a clean end: more than its own limits together."""
ANSWER_WITHIN = 30.0


class ServiceError(Exception):
    """launchd or systemd refused; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to run: `user` is set where it is the system's, which starts it without a login."""

    arguments: tuple[str, ...]
    folder: Path
    path: str
    user: str | None = None

    @property
    def errors(self) -> Path:
        """Where launchd puts what the agent says of a start that failed; all else goes to its log."""
        return self.folder / "service.err"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a service stands: `exit_code` is its last one."""

    installed: bool
    running: bool = False
    pid: int | None = None
    exit_code: int | None = None

    @property
    def words(self) -> str:
        if not self.installed:
            return "not installed"
        if self.running:
            return "running" if self.pid is None else f"running (pid {self.pid})"
        if self.exit_code == CONFIG_ERROR:
            return f"stopped: its configuration is wrong (exit {CONFIG_ERROR}); edge-console config check names what"
        return "stopped" if not self.exit_code else f"stopped, last exit {self.exit_code}"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended, and what it said."""

    code: int
    out: str
    error: str

    @property
    def said(self) -> str:
        return plain(" ".join((self.error or self.out).split()), 300) or f"exit {self.code}"


class Supervisor(Protocol):
    """launchd or systemd. Every call may raise ServiceError or OSError."""

    @property
    def file(self) -> Path: ...
    def text(self, job: Job) -> bytes: ...
    def install(self, job: Job) -> str:
        """Write its file and start it; what else the operator should know, or nothing."""
        ...

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def restart(self) -> None: ...
    def standing(self) -> Standing: ...
    def uninstall(self) -> None: ...


def call(arguments: Sequence[str]) -> Ran:
    """Raises ServiceError where it does not answer, FileNotFoundError where it is not there."""
    environ = {name: value for name, value in os.environ.items() if "SECRET" not in name and "TOKEN" not in name}
    try:
        ran = subprocess.run(  # noqa: S603  (launchctl and systemctl, with words of our own)
            arguments, capture_output=True, text=True, errors="replace", timeout=ANSWER_WITHIN, check=False, env=environ,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{arguments[0]} {arguments[1]} does not answer within {ANSWER_WITHIN:g} s") from None
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def place(file: Path, text: bytes) -> None:
    """The service's file, which others may read. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    write_whole(file, text)
    file.chmod(0o644)
