"""`fetch_attachment`: the backend has a file that came with a message put where it says, at its own origin and nowhere else."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from agent_core.channels.http import HttpTrouble
from agent_core.channels.network import origin_of
from agent_core.entries import EffectClass, Trait
from agent_core.frames import Command
from agent_core.messengers.base import Context
from agent_core.messengers.imessage.inbox import Inbox
from agent_core.records import Outcome

FETCH_ATTACHMENT = "fetch_attachment"
TRAIT = Trait(EffectClass.HARMLESS, idempotent=True)
"""Putting it there twice is as putting it there once."""


class Content(Protocol):
    bytes: int

    @property
    def sha256(self) -> str: ...


Put = Callable[[str, Path], Awaitable[Content]]


class AttachmentFetcher:
    """The handler. `put` sends a file to a URL of the backend, which is at `backend_url` now."""

    def __init__(self, inbox: Inbox, backend_url: Callable[[], str], put: Put) -> None:
        self._inbox = inbox
        self._backend_url = backend_url
        self._put = put

    async def fetch(self, command: Command, context: Context) -> Outcome:  # noqa: ARG002
        guid, url = command.payload.get("guid"), command.payload.get("url")
        if not isinstance(guid, str) or not isinstance(url, str):
            return Outcome(error="missing guid or url")
        if origin_of(url) is None or origin_of(url) != origin_of(self._backend_url()):
            return Outcome(error="the url is not at the backend's own origin")
        path = await asyncio.to_thread(self._inbox.attachment_file, guid)
        if path is None:
            return Outcome(error="there is no such attachment, or its file has not come yet")
        try:
            content = await self._put(url, path)
        except HttpTrouble as error:
            return Outcome(error=error.failure.detail)
        return Outcome(result={"bytes": content.bytes, "sha256": content.sha256})
