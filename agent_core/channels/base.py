"""What the agent asks of a channel to the backend."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from agent_core.config import Config
from agent_core.events import Event, Failure

Spawn = Callable[[Coroutine[Any, Any, None], str, Callable[[Failure], Event]], asyncio.Task[None]]
"""Starts a task from its work, its name, and what to post where the work raises."""


class Channel(Protocol):
    """One link at a time, named by its generation; every call returns at once, and its answers are events.

    `open` leads to Opened or DialFailed, then FrameReceived, CommandsReceived, Heard, Ponged and at last Lost. A call for another
    generation than the latest changes nothing.
    """

    def configure(self, config: Config) -> None:
        """From the next attempt on it is as `config` says."""

    def open(self, generation: int) -> None:
        """Make one attempt, without a deadline: the engine has one, and aborts."""

    def send(self, generation: int, texts: tuple[str, ...]) -> None:
        """Send text frames, in order, behind those given before."""

    def probe(self, generation: int) -> None:
        """Ask for a Ponged, behind what was given to send."""

    def close(self, generation: int, code: int, reason: str) -> None:
        """End the link with a handshake; Lost tells when it is over."""

    def abort(self, generation: int) -> None:
        """End the attempt or the link at once; no event follows."""
