"""Which messenger the configuration means."""

import asyncio
import inspect
from collections.abc import Callable

from agent_core.config.models import Config, MessengerKind
from agent_core.frames import Command, Message
from agent_core.messengers.base import Context, Messenger, MessengerError
from agent_core.messengers.outbox import OutboxMessenger
from agent_core.plain import plain
from agent_core.records import Outcome

Factory = Callable[[Config], Messenger]


def _outbox(_config: Config) -> Messenger:
    return OutboxMessenger()


def _file(config: Config) -> Messenger:
    from agent_core.messengers.file import FileMessenger

    assert config.messenger.path is not None
    return FileMessenger(config.messenger.path)


def _exec(config: Config) -> Messenger:
    from agent_core.messengers.exec import ExecMessenger

    return ExecMessenger(config.messenger.command)


def _http(config: Config) -> Messenger:
    from agent_core.messengers.http import HttpMessenger

    assert config.messenger.url is not None
    return HttpMessenger(config.messenger.url, config.messenger.token, config.executor.timeout_seconds)


def _imessage(config: Config) -> Messenger:
    from agent_core.messengers.imessage.messenger import imessage

    return imessage(config)


FACTORIES: dict[str, Factory] = {
    MessengerKind.OUTBOX: _outbox,
    MessengerKind.FILE: _file,
    MessengerKind.EXEC: _exec,
    MessengerKind.HTTP: _http,
    MessengerKind.IMESSAGE: _imessage,
}
"""By `messenger.kind`; plugins.py adds those of installed packages."""


class DelayedMessenger(Messenger):
    """Another messenger that takes its time: for rehearsals, and for proofs that need a crash in the middle."""

    def __init__(self, inner: Messenger, seconds: float) -> None:
        self.effect, self.idempotent, self.settles, self.attaches = inner.effect, inner.idempotent, inner.settles, inner.attaches
        self._inner = inner
        self._seconds = seconds

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        await asyncio.sleep(self._seconds)
        sent = self._inner.send(message, command, context)
        return await sent if inspect.isawaitable(sent) else sent

    async def mark(self) -> str:
        return await self._inner.mark()

    async def settle(self, mark: str, message: Message) -> Outcome | None:
        return await self._inner.settle(mark, message)

    async def close(self) -> None:
        await self._inner.close()


def messenger_for(config: Config) -> Messenger:
    """The configured messenger. Raises MessengerError."""
    settings = config.messenger
    try:
        chosen = FACTORIES[settings.kind](config)
    except Exception as error:  # noqa: BLE001  (whatever a messenger of somebody else's does where it is made)
        raise MessengerError(f"messenger.kind: {plain(settings.kind)} cannot be used: {plain(error)}") from None
    if not isinstance(chosen, Messenger):
        raise MessengerError(f"messenger.kind: {plain(settings.kind)} cannot be used: it makes a {type(chosen).__name__}, not a Messenger")
    return DelayedMessenger(chosen, settings.delay_seconds) if settings.delay_seconds else chosen
