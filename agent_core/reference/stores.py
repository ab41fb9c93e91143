"""How a store is named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent_core.plain import plain
from agent_core.reference.store import Store, StoreRefusedError

if TYPE_CHECKING:
    from agent_core.reference.postgres import PostgresStore

SQLITE = "sqlite:"
POSTGRES = ("postgresql://", "postgres://")
FILE_NAME = "backend.sqlite3"


def open_store(url: str, keep_events: int) -> Store:
    """`sqlite:PATH`, a file or a directory for it. Raises StoreRefusedError."""
    if url.startswith(SQLITE):
        from agent_core.reference.sqlite import SqliteStore

        path = Path(url.removeprefix(SQLITE).removeprefix("//"))
        return SqliteStore(path / FILE_NAME if path.is_dir() or not path.suffix else path, keep_events)
    raise StoreRefusedError(f"a store is sqlite:PATH, or postgresql://…, found {plain(url.partition(':')[0], 40)}:…")


def is_shared(url: str | None) -> bool:
    """Whether several instances may use it at once."""
    return url is not None and url.startswith(POSTGRES)


def open_shared(url: str, epoch_of: Callable[[str], int | None]) -> PostgresStore:
    """`postgresql://…`. Raises StoreRefusedError."""
    try:
        from agent_core.reference.postgres import PostgresStore
    except ModuleNotFoundError:
        raise StoreRefusedError("a PostgreSQL store needs the extra postgres: pip install 'edge-console[postgres]'") from None
    return PostgresStore(url, epoch_of)
