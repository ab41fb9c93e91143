"""How a store is named on the command line."""

from pathlib import Path

from agent_core.plain import plain
from agent_core.reference.store import Store, StoreRefusedError

SQLITE = "sqlite:"
FILE_NAME = "backend.sqlite3"


def open_store(url: str) -> Store:
    """`sqlite:PATH`, a file or a directory for it. Raises StoreRefusedError."""
    if url.startswith(SQLITE):
        from agent_core.reference.sqlite import SqliteStore

        path = Path(url.removeprefix(SQLITE).removeprefix("//"))
        return SqliteStore(path / FILE_NAME if path.is_dir() or not path.suffix else path)
    raise StoreRefusedError(f"a store is sqlite:PATH, found {plain(url.partition(':')[0], 40)}:…")
