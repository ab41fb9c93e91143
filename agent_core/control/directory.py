"""The agents of this user on this machine: a private directory with one small file for each, there from an agent's start to its clean end.

What a crash has left stays, so that the agent is missed, for as long as its data directory is there.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from agent_core.files import write_whole

log = logging.getLogger("edge")
DIRECTORY = Path("~/.local/state/edge-console/agents")
MAX_BYTES = 10_000
MAX_AGENTS = 100


class Announced(msgspec.Struct, frozen=True):
    """Where an agent keeps its data, and its config.yaml where it has one; absolute paths."""

    data_dir: str
    config: str | None


@contextmanager
def announced(data_dir: Path, config: Path) -> Iterator[None]:
    """Others find the agent until the block ends. Where that cannot be, the log says so."""
    path, here = _file(data_dir), Announced(str(data_dir.absolute()), str(config.absolute()) if config.is_file() else None)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(here) + b"\n")
    except OSError as error:
        log.warning("`attach --all` will not find this agent: %s cannot be written (%s)", path.parent, error.strerror)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def known() -> list[Announced]:
    """The agents that were announced, at most MAX_AGENTS; what is left of those whose data directory is gone is removed."""
    found: list[Announced] = []
    for path in sorted(DIRECTORY.expanduser().glob("*.json")):
        with suppress(OSError, msgspec.MsgspecError), path.open("rb") as file:
            agent = msgspec.json.decode(file.read(MAX_BYTES), type=Announced)
            if Path(agent.data_dir).is_dir():
                found.append(agent)
            else:
                path.unlink()
    return found[:MAX_AGENTS]


def _file(data_dir: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(data_dir.resolve()), digest_size=8).hexdigest()
    return DIRECTORY.expanduser() / f"{name}.json"
