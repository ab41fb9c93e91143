"""Files that a message takes along: fetched, verified, staged for its messenger, and removed after it (PROTOCOL §2).

A file comes from the backend's own origin or one that is configured, by a GET that follows no redirect, within half of what the command
may take, and in no more bytes than the command says. It is given on only where its size and its SHA-256 are the command's. It lies in
`data_dir` under a name that is safe, for nobody else to read; whatever becomes of the message nothing stays, and what a crash leaves goes
at the next start.
"""

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent_core.channels.http import open_client
from agent_core.channels.network import failure_of, origin_of
from agent_core.config import Config
from agent_core.frames import Attachment
from agent_core.messengers.base import AttachmentRefused, StagedFile
from agent_core.plain import plain

FOLDER = "attachments"
SPARE = 64 * 2**20
"""Bytes that stay free on the disk."""
MAX_NAME = 120
"""Bytes of a file's name."""


class Attachments:
    """`headers` are those that the backend's own origin is shown, and nobody else."""

    def __init__(self, config: Config, headers: Callable[[], Mapping[str, str]]) -> None:
        self._folder = config.data_dir.expanduser() / FOLDER
        self._own = origin_of(config.backend.url)
        self._allowed = {self._own, *map(origin_of, config.messenger.attachment_origins)} - {None}
        self._max_bytes = config.messenger.attachment_max_bytes
        self._within = config.executor.timeout_seconds / 2
        self._headers = headers

    def clear(self) -> None:
        """What an earlier run left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @asynccontextmanager
    async def staged(self, attachments: Sequence[Attachment]) -> AsyncIterator[tuple[StagedFile, ...]]:
        """The files, for as long as this lasts. Raises AttachmentRefused, OSError."""
        self._check(attachments)
        folder = await asyncio.to_thread(self._new_folder, attachments)
        try:
            try:
                async with asyncio.timeout(self._within):
                    files = [await self._fetch(one, folder / str(number)) for number, one in enumerate(attachments)]
            except TimeoutError:
                raise AttachmentRefused(f"the attachments did not come within {self._within:g} s") from None
            yield tuple(files)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    def _check(self, attachments: Sequence[Attachment]) -> None:
        for one in attachments:
            if origin_of(one.url) not in self._allowed:
                raise AttachmentRefused("an attachment is neither at the backend's own origin nor at one of messenger.attachment_origins")
        if (size := sum(one.bytes for one in attachments)) > self._max_bytes:
            raise AttachmentRefused(f"the attachments have {size} bytes, and messenger.attachment_max_bytes is {self._max_bytes}")

    def _new_folder(self, attachments: Sequence[Attachment]) -> Path:
        """With one for each, so that two of a name do not meet."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(self._folder).free < SPARE + sum(one.bytes for one in attachments):
            raise AttachmentRefused("there is no room on the disk for the attachments")
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        for number in range(len(attachments)):
            (folder / str(number)).mkdir(mode=0o700)
        return folder

    async def _fetch(self, one: Attachment, folder: Path) -> StagedFile:
        name = safe_name(one.name)
        path = folder / name
        client = await asyncio.to_thread(open_client, one.url, self._within, 1)
        headers = {"Accept-Encoding": "identity", **(self._headers() if origin_of(one.url) == self._own else {})}
        try:
            async with client, client.stream("GET", one.url, headers=headers, follow_redirects=False) as response:
                _check_status(response.status_code, name)
                digest = await _write(path, response.aiter_raw(), one.bytes, name)
        except (AttachmentRefused, OSError):
            raise
        except Exception as error:  # noqa: BLE001  (whatever a call ends with is this command's failure)
            raise AttachmentRefused(f"the attachment {name} did not come: {plain(failure_of(error).detail, 300)}") from None
        if digest != one.sha256:
            raise AttachmentRefused(f"the attachment {name} is another file: its SHA-256 differs")
        return StagedFile(path, name, one.bytes, one.sha256)


def _check_status(status: int, name: str) -> None:
    if status != 200:
        redirects = ", and redirects are not followed" if 300 <= status < 400 else ""
        raise AttachmentRefused(f"the attachment {name} was answered with HTTP {status}{redirects}")


async def _write(path: Path, chunks: AsyncIterator[bytes], size: int, name: str) -> str:
    """Its SHA-256, once it is there whole. Raises AttachmentRefused, OSError."""
    digest, came = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        async for chunk in chunks:
            came += len(chunk)
            if came > size:
                break
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    if came != size:
        raise AttachmentRefused(f"the attachment {name} has {'more' if came > size else 'less'} than its {size} bytes")
    return digest.hexdigest()


def safe_name(name: str) -> str:
    """One part of a path, with nothing in it that is not shown, and no hidden file."""
    last = re.split(r"[/\\:]", unicodedata.normalize("NFC", name))[-1]
    shown = "".join(c if c.isprintable() else "_" for c in last).strip().lstrip(".-~ ").encode("utf-8", "replace").decode()
    stem, dot, ending = shown.rpartition(".")
    tail = f"{dot}{ending}" if stem and len(ending.encode()) <= 16 else ""
    head = (stem if tail else shown).encode()[: MAX_NAME - len(tail.encode())].decode("utf-8", "ignore")
    return f"{head}{tail}" or "attachment"
