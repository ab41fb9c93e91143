"""Whether the ledger's files are still those that were opened (PROMISES F80).

SQLite does not notice when one is removed, emptied, replaced or moved away with its directory: it writes on to what no restart will find,
and then all of it runs again.
"""

from pathlib import Path


class LedgerMoved(Exception):
    """A file of the ledger is not where it was; the sentence says which and what to do."""


class LedgerEmptied(LedgerMoved):
    """It is where it was, with nothing in it."""


class Watch:
    """Made when the file has been opened and read, so that its write-ahead log is there, too."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path = path
        self._files = {each: _identity(each) for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))}

    def look(self) -> None:
        """Raises LedgerMoved."""
        for path, identity in self._files.items():
            try:
                found = _identity(path)
            except OSError:
                found = None
            if found != identity:
                how = "removed or moved" if found is None else "replaced by another file"
                raise LedgerMoved(f"{path} was {how} while the agent runs: put it back, or restart the agent")
        if not self._path.stat().st_size:
            raise LedgerEmptied(f"{self._path} was emptied while the agent runs: restart the agent, which says what is left of it")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
