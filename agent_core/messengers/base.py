"""What a messenger is. It declares what its effect is, so that the ledger knows what a crash in the middle means."""

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

from msgspec import Struct

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


@runtime_checkable
class Messenger(Protocol):
    """Subclass it for the defaults, which promise nothing: after a crash in the middle of `send` the outcome is unknown."""

    effect: EffectClass = EffectClass.EXTERNAL
    idempotent: bool = False
    """The same command sent twice arrives once, because the receiver knows it again; so it is sent again after a crash."""

    def send(self, message: Message, command: Command, context: Context) -> Outcome | Awaitable[Outcome]:
        """Returns at once where it touches nothing but the ledger, else it is awaited. Raises OSError where the message did not go."""
        ...

    async def close(self) -> None:
        """The agent ends; what was held open may go."""
        return
