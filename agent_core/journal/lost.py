"""A ledger that is missing or empty where what stands beside it says that it held commands (PROMISES F40).

SQLite would make a new one, and without a word throw away what the write-ahead log still holds. All that was known would be forgotten, and
what the backend sends again would take effect again.
"""

import stat
from pathlib import Path

from agent_core.journal.mark import FILE_NAME as MARK_NAME


def lost(path: Path) -> str | None:
    """That the ledger is gone, and what to do; None where it is there, or nothing says that there was one. Raises OSError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        how = "missing"
    else:
        if found.st_size or not stat.S_ISREG(found.st_mode):
            return None
        how = "empty"
    mark, log = path.with_name(MARK_NAME), path.with_name(f"{path.name}-wal")
    signs = [*([mark.name] if _held(mark) else []), *([log.name] if log.is_file() and log.stat().st_size else [])]
    if not signs:
        return None
    beside = " and ".join(signs)
    what = f"{path} is {how}, but held commands ({beside})"
    return f"{what}: no command is run, lest it run twice, until you put it back, restore a backup, or move {beside} away to begin anew"


def _held(mark: Path) -> bool:
    """One that cannot be read was written by an agent all the same."""
    try:
        return mark.read_text(encoding="ascii", errors="replace").strip() not in {"", "0"}
    except FileNotFoundError:
        return False
