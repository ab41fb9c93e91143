"""The admin token of a backend that made its own, kept in a file that only this user can read, so that `send` finds it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import urlsplit


@contextmanager
def kept(port: int, token: str) -> Iterator[None]:
    """Keep the token of the backend on `port` while the block runs; where there is no private place, it is not kept."""
    path = _folder() / f"{port}.token"
    private = False
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        private = _is_ours(path.parent)
        if private:
            path.unlink(missing_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(token)
    try:
        yield
    finally:
        with suppress(OSError):
            if private:
                path.unlink()


def token_for(url: str) -> str | None:
    """The token that this user's backend on that port of this machine keeps; None where there is none."""
    try:
        parts = urlsplit(url)
        path = _folder() / f"{parts.port}.token"
        if parts.hostname in {"127.0.0.1", "::1", "localhost"} and _is_ours(path.parent):
            return path.read_text()[:200]
    except (OSError, ValueError):
        pass
    return None


def _folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or gettempdir()) / f"edge-console-{os.getuid()}"


def _is_ours(folder: Path) -> bool:
    """Anybody may make a directory of that name where it is not there yet."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
