"""A file that is there whole or not at all, readable by nobody but its owner."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """In place of what was there, mode 0600; on any failure what was there stays. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def dated(folder: Path, name: str, utc: float, ending: str) -> Path:
    """`folder/name-20261106-143207-000.ending`, in a folder that is there and readable by nobody else. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = datetime.fromtimestamp(utc, UTC)
    return folder / f"{name}-{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1_000:03d}.{ending}"
