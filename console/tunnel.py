"""The way to an agent on another machine: `ssh -L` from a socket here to the agent's socket there, for as long as this program runs."""

import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from agent_core.control.address import NAME
from agent_core.control.client import NotRunning
from agent_core.control.directory import DIRECTORY
from agent_core.plain import plain

OPEN_WITHIN = 30.0
"""Seconds for a connection that asks nothing of the operator."""
LOOK_EVERY, END_WITHIN = 0.05, 0.5
MAX_LISTED = 100_000
OPTIONS = (
    "ExitOnForwardFailure=yes", "StreamLocalBindUnlink=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3",
    "ControlPath=none", "LogLevel=ERROR",
)  # fmt: skip
"""ssh gives a dead connection up after 15 s; with a shared one it would not end with it."""
_DESTINATION = re.compile(r"((?:[\w.][\w.+-]*@)?[\w.][\w.-]*)(?::(/.*))?", re.ASCII)


class Unreachable(NotRunning):
    """ssh has not brought us there; the sentence has its own words."""


class Destination(NamedTuple):
    """`user@host:/data_dir`, of which user and data_dir may be left out."""

    host: str
    data_dir: PurePosixPath | None

    @classmethod
    def of(cls, text: str) -> "Destination":
        """Raises ValueError."""
        found = _DESTINATION.fullmatch(text)
        if found is None:
            raise ValueError(f"user@host or user@host:/its/data_dir expected, found {text!r}")
        return cls(found[1], PurePosixPath(found[2]) if found[2] else None)


class Tunnel:
    """One agent's socket, here. `open` again where it has ended, from any thread; whatever ends this process ends ssh, too."""

    def __init__(self, destination: Destination) -> None:
        """Without a data_dir: of the one agent that was announced there. Raises Unreachable, OSError."""
        self.host = destination.host
        self.data_dir = destination.data_dir or _only_one(destination.host)
        self._opening = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="edge-"))
        self.path = self._folder / NAME
        self._errors = self._folder / "ssh.err"
        self._ssh: subprocess.Popen[bytes] | None = None
        self._asks = True

    def open(self) -> None:
        """Only the first time ssh may ask for a password. Raises Unreachable, OSError."""
        with self._opening:
            self._open()

    def _open(self) -> None:
        if self._ssh is not None and self._ssh.poll() is None:
            return
        self.path.unlink(missing_ok=True)
        by = None if self._asks else time.monotonic() + OPEN_WITHIN
        words = _ssh(self.host, "cat", "-L", f"{self.path}:{self.data_dir / NAME}", asks=self._asks)
        with self._errors.open("wb") as errors:
            self._ssh = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)  # noqa: S603
        while not self.path.is_socket():
            if self._ssh.poll() is not None:
                raise Unreachable(f"ssh {self.host}: {self._last_words()}")
            if by is not None and time.monotonic() > by:
                self._ssh.kill()
                raise Unreachable(f"ssh {self.host}: no connection within {OPEN_WITHIN:g} s")
            time.sleep(LOOK_EVERY)
        self._asks = False

    @property
    def ended(self) -> str | None:
        """In ssh's own words, where it has ended: what it carried ends a moment before it does."""
        if self._ssh is None:
            return None
        try:
            self._ssh.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            return None
        return self._last_words()

    def close(self) -> None:
        if self._ssh is not None:
            self._ssh.terminate()
            self._ssh.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _last_words(self) -> str:
        assert self._ssh is not None
        said = self._errors.read_bytes() if self._errors.exists() else b""
        return _last(said) or f"exit {self._ssh.returncode}"


def _ssh(host: str, command: str, *options: str, asks: bool) -> list[str]:
    settings = [*OPTIONS, *([] if asks else ["BatchMode=yes"])]
    return ["ssh", *(word for setting in settings for word in ("-o", setting)), *options, "--", host, command]


def _last(said: bytes) -> str:
    return plain(said.decode("utf-8", "replace").strip().rpartition("\n")[2], 200)


def _only_one(host: str) -> PurePosixPath:
    """The data_dir of the agent that was announced at a host. Raises Unreachable, OSError."""
    words = _ssh(host, f"cat {DIRECTORY}/*.json", asks=True)
    ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603  (ssh, with words of our own)
    if ran.returncode == 255:
        raise Unreachable(f"ssh {host}: {_last(ran.stderr) or 'it does not connect'}")
    found: list[str] = []
    for line in ran.stdout[:MAX_LISTED].splitlines():
        try:
            found.append(str(json.loads(line)["data_dir"]))
        except (ValueError, TypeError, KeyError):
            continue
    if len(found) == 1:
        return PurePosixPath(found[0])
    if found:
        raise Unreachable("several agents run there: " + ", ".join(f"{host}:{plain(one, 200)}" for one in found[:10]))
    raise Unreachable(f"no agent of that user is known at {host}; name its data_dir: {host}:/its/data_dir")
