"""Which program macOS grants its permissions to: not `python`, but the file that runs in the end, by its path and what is in it.

So an upgrade of the interpreter loses them without a word. What they were granted to is remembered in the data directory.
"""

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec

from agent_core.files import write_whole
from agent_core.messengers.programs import run_program
from agent_core.plain import plain

FRAMEWORK_APP = Path("Resources/Python.app/Contents/MacOS/Python")
"""What a framework's `bin/python` turns into at its start, beside `bin`."""
MEMORY = "agent.interpreter"
MAX_BYTES = 10_000


class Interpreter(msgspec.Struct, frozen=True):
    """`version` is only said: path and SHA-256 tell two of them apart."""

    path: str
    sha256: str
    version: str

    def __str__(self) -> str:
        return plain(f"{self.path} ({self.version or 'of an unknown version'})", 300)

    def is_same(self, other: "Interpreter") -> bool:
        return (self.path, self.sha256) == (other.path, other.sha256)


def binary_of(executable: Path) -> Path:
    """The file that runs when `executable` is started: links followed, and through the stub of a framework."""
    found = executable.resolve()
    app = found.parent.parent / FRAMEWORK_APP
    return app if app.is_file() else found


def stamp_of(executable: Path) -> tuple[str, int, int, int]:
    """Differs once another file runs. Raises OSError where none does."""
    binary = binary_of(executable)
    found = binary.stat()
    return str(binary), found.st_ino, found.st_size, found.st_mtime_ns


async def interpreter_at(executable: Path) -> Interpreter:
    """What runs there now. Raises OSError."""
    binary = binary_of(executable)
    digest = await asyncio.to_thread(_digest, binary)
    said = (await run_program((str(executable), "-V"))).said.decode("utf-8", "replace")
    return Interpreter(str(binary), digest, plain(said.strip(), 40))


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def remembered(folder: Path) -> Interpreter | None:
    """To which everything that was needed was granted; None where that is not known."""
    try:
        with (folder / MEMORY).open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=Interpreter)
    except (OSError, msgspec.MsgspecError):
        return None


def remember(folder: Path, interpreter: Interpreter) -> None:
    """Where the directory is this user's: what root wrote, the service could not read. Raises OSError."""
    if folder.stat().st_uid == os.geteuid():
        write_whole(folder / MEMORY, msgspec.json.encode(interpreter) + b"\n")
