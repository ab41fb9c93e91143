"""Which messenger the configuration means."""

import asyncio
import inspect
from collections.abc import Callable

from agent_core.config.models import Config, MessengerKind
from agent_core.frames import Command, Message
from agent_core.messengers.base import Context, Messenger
from agent_core.messengers.file import FileMessenger
from agent_core.messengers.outbox import OutboxMessenger
from agent_core.records import Outcome

Factory = Callable[[Config], Messenger]


def _file(config: Config) -> Messenger:
    assert config.messenger.path is not None
    return FileMessenger(config.messenger.path)


FACTORIES: dict[MessengerKind, Factory] = {
    MessengerKind.OUTBOX: lambda _config: OutboxMessenger(),
    MessengerKind.FILE: _file,
}


class DelayedMessenger(Messenger):
    """Another messenger that takes its time: for rehearsals, and for proofs that need a crash in the middle."""

    def __init__(self, inner: Messenger, seconds: float) -> None:
        self.effect, self.idempotent = inner.effect, inner.idempotent
        self._inner = inner
        self._seconds = seconds

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        await asyncio.sleep(self._seconds)
        sent = self._inner.send(message, command, context)
        return await sent if inspect.isawaitable(sent) else sent

    async def close(self) -> None:
        await self._inner.close()


def messenger_for(config: Config) -> Messenger:
    """The configured messenger."""
    chosen = FACTORIES[config.messenger.kind](config)
    delay = config.messenger.delay_seconds
    return DelayedMessenger(chosen, delay) if delay else chosen
