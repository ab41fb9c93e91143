"""What each command type does: a function by decorator, with its effect class and idempotence declared beside it.

Cancels and `update_config` are not here: they change only the engine's own state, so the engine does them itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agent_core.clock import Clock
from agent_core.frames import Command, Message
from agent_core.ledger import EffectClass, Trait
from agent_core.messengers import Envelope, Messenger, Sent
from agent_core.records import OutboxRow


class Outcome(NamedTuple):
    """What a command came to: `error` None is success; `row` is committed with it."""

    error: str | None = None
    result: Mapping[str, Any] = MappingProxyType({})
    row: OutboxRow | None = None


class Context(NamedTuple):
    """What a handler may use."""

    seq: int
    messenger: Messenger
    clock: Clock
    message: Message | None = None
    """What a command that sends asks for, already understood."""


Handler = Callable[[Command, Context], Outcome | Awaitable[Outcome]]
REGISTRY: dict[str, tuple[Handler, Trait]] = {}


def handles(*command_types: str, trait: Trait) -> Callable[[Handler], Handler]:
    """Register a handler. With `trait.sends` the effect class is the configured messenger's.

    A plain function must not block and touch nothing outside; it runs without a task. Anything else is a coroutine function.
    """

    def register(handler: Handler) -> Handler:
        for command_type in command_types:
            REGISTRY[command_type] = (handler, trait)
        return handler

    return register


def traits_for(messenger: Messenger, registry: Mapping[str, tuple[Handler, Trait]] = REGISTRY) -> dict[str, Trait]:
    """What the engine needs to know of each type."""
    return {name: Trait(messenger.effect, trait.idempotent, sends=True) if trait.sends else trait for name, (_, trait) in registry.items()}


@handles("send_message", "send_message_now", "schedule_message", trait=Trait(sends=True))
def send(command: Command, context: Context) -> Outcome | Awaitable[Outcome]:
    """Send a message now; one for later comes here when it is due."""
    assert context.message is not None
    sent = context.messenger.send(Envelope(context.seq, command.command_id, context.message, context.clock.now().utc))
    return Outcome(result=sent.result, row=sent.row) if isinstance(sent, Sent) else _later(sent)


async def _later(sending: Awaitable[Sent]) -> Outcome:
    sent = await sending
    return Outcome(result=sent.result, row=sent.row)


@handles("emit_event", trait=Trait(EffectClass.HARMLESS, idempotent=True))
def emit_event(command: Command, context: Context) -> Outcome:  # noqa: ARG001
    """Nothing but an answer: shows that a command gets through."""
    return Outcome(result={"event": str(command.payload.get("event", ""))[:200]})


async def run(pending: Awaitable[Outcome], within: float) -> Outcome:
    """A handler's outcome in at most `within` seconds; whatever it raises is a failed outcome."""
    try:
        async with asyncio.timeout(within):
            return await pending
    except TimeoutError:
        return Outcome(error=f"timed out after {within:g} s")
    except Exception as error:  # noqa: BLE001  (the task edge: a handler's error is its command's outcome)
        return Outcome(error=f"{type(error).__name__}: {error}")
