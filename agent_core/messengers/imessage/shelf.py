"""Files where Messages may read them: it lives in a sandbox, and one that lies elsewhere goes out as error 25, or not at all.

Messages takes its own copy when it likes, so each of ours stays for KEPT_SECONDS; one that Messages refers to stays with the conversation.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent_core.messengers.base import StagedFile
from agent_core.messengers.imessage.chat_db import ChatDb

FOLDER = "edge-console"
KEPT_SECONDS = 86_400.0


class Shelf:
    """Every call blocks for a moment."""

    def __init__(self, db: ChatDb) -> None:
        self._db = db
        self._folder = db.attachments.resolve() / FOLDER

    def put(self, files: Sequence[StagedFile]) -> list[Path]:
        """Copies of them, under the same names and as private. Raises OSError."""
        if not files:
            return []
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear()
        return [self._copy(file.path) for file in files]

    def _copy(self, path: Path) -> Path:
        copy = Path(tempfile.mkdtemp(dir=self._folder)) / path.name
        with path.open("rb") as source, os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            shutil.copyfileobj(source, target)
        return copy

    def _clear(self) -> None:
        """What Messages has had time enough to copy."""
        for old in self._folder.iterdir():
            if old.stat().st_mtime < time.time() - KEPT_SECONDS and not self._db.refers_to(f"{FOLDER}/{old.name}/"):
                shutil.rmtree(old, ignore_errors=True)
