"""Where a message goes. A messenger declares what its effect is, so that the ledger knows what a crash in the middle means."""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Protocol

from msgspec import Struct

from agent_core.config.models import Config, MessengerKind
from agent_core.entries import EffectClass
from agent_core.frames import Command, Message
from agent_core.records import Outcome


class Context(Struct, frozen=True):
    """What a handler may use; `utc` is when it started."""

    seq: int
    utc: float
    messenger: "Messenger"
    message: Message | None = None
    """What a command that sends asks for, already understood."""


class Messenger(Protocol):
    """`send` returns at once where it touches nothing but the ledger, else it is awaited. Raises OSError where the message did not go."""

    effect: EffectClass

    def send(self, message: Message, command: Command, context: Context) -> Outcome | Awaitable[Outcome]: ...


class DelayedMessenger:
    """Another messenger that takes its time: for rehearsals, and for proofs that need a crash in the middle."""

    def __init__(self, inner: Messenger, seconds: float) -> None:
        self.effect = inner.effect
        self._inner = inner
        self._seconds = seconds

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        await asyncio.sleep(self._seconds)
        sent = self._inner.send(message, command, context)
        return await sent if inspect.isawaitable(sent) else sent


def messenger_for(config: Config) -> Messenger:
    """The configured messenger."""
    from agent_core.messengers.file import FileMessenger
    from agent_core.messengers.outbox import OutboxMessenger

    settings = config.messenger
    chosen: Messenger = OutboxMessenger()
    if settings.kind is MessengerKind.FILE and settings.path is not None:
        chosen = FileMessenger(settings.path)
    return DelayedMessenger(chosen, settings.delay_seconds) if settings.delay_seconds else chosen
