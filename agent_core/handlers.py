"""What each command type does: a function by decorator, with its effect class and idempotence declared beside it.

Cancels and `update_config` are not here: they change only the engine's own state, so the engine does them itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from time import monotonic
from types import coroutine
from typing import Any

from msgspec.structs import replace

from agent_core.engine.ledger import ENGINES_OWN
from agent_core.entries import EffectClass, Inline, Trait
from agent_core.frames import Command, Message, as_json
from agent_core.messengers.base import AttachmentRefused, Context, Messenger, Staging
from agent_core.records import Outcome

Handler = Callable[[Command, Context], Outcome | Awaitable[Outcome]]
HeldUp = Callable[[Command, float], None]
"""Told whose handler kept everybody else waiting, and for how many seconds."""
HELD_UP = 0.25
REGISTRY: dict[str, tuple[Handler, Trait]] = {}


def handles(*command_types: str, trait: Trait) -> Callable[[Handler], Handler]:
    """Register a handler. With `trait.sends` the effect class is the configured messenger's.

    A plain function must not block. Where its trait says that it touches nothing outside it runs inline, within the engine's step, and then
    depends on nothing but its arguments. Anything else is a coroutine function. Raises ValueError for a type that is taken.
    """

    def register(handler: Handler) -> Handler:
        for command_type in command_types:
            known = REGISTRY.get(command_type)
            if command_type in ENGINES_OWN or (known is not None and known[0].__module__ != handler.__module__):
                raise ValueError(f"the command type {command_type} has a handler already")
            REGISTRY[command_type] = (handler, trait)
        return handler

    return register


def traits_for(
    messenger: Messenger, registry: Mapping[str, tuple[Handler, Trait]] = REGISTRY, held_up: HeldUp = lambda _command, _seconds: None
) -> dict[str, Trait]:
    """What the engine needs to know of each type: also the messenger's part, and the handlers that run inline; one that blocks is told."""
    found = {}
    for name, (handler, declared) in registry.items():
        effect = messenger.effect if declared.sends else declared.effect
        idempotent = messenger.idempotent if declared.sends else declared.idempotent
        awaited = iscoroutinefunction(messenger.send if declared.sends else handler)
        inline = None if awaited or effect is EffectClass.EXTERNAL else _inline(handler, messenger, held_up)
        found[name] = replace(declared, effect=effect, idempotent=idempotent, settles=declared.sends and messenger.settles, inline=inline)
    return found


def _inline(handler: Handler, messenger: Messenger, held_up: HeldUp) -> Inline:
    def inline(seq: int, command: Command, message: Message | None, utc: float) -> Outcome:
        began = monotonic()
        outcome = start(handler, command, Context(seq, utc, messenger, message))
        check(began, command, held_up)
        return outcome if isinstance(outcome, Outcome) else _failed(TypeError("a handler that is awaited must be a coroutine function"))

    return inline


@handles("send_message", "send_message_now", "schedule_message", trait=Trait(sends=True))
def send(command: Command, context: Context) -> Outcome | Awaitable[Outcome]:
    """Send a message now; one for later comes here when it is due."""
    message = context.message
    assert message is not None
    if not message.attachments:
        return context.messenger.send(message, command, context)
    if not context.messenger.attaches or context.staging is None:
        return Outcome(error="the configured messenger sends no attachments")
    return _send_along(message, command, context, context.staging)


async def _send_along(message: Message, command: Command, context: Context, staging: Staging) -> Outcome:
    """With the files that it takes along. Raises OSError."""
    try:
        async with staging.staged(message.attachments) as files:
            sent = context.messenger.send(message, command, replace(context, files=files))
            return await sent if isawaitable(sent) else sent
    except AttachmentRefused as error:
        return Outcome(error=str(error))


@handles("emit_event", trait=Trait(EffectClass.HARMLESS, idempotent=True))
def emit_event(command: Command, context: Context) -> Outcome:  # noqa: ARG001
    """Nothing but an answer: shows that a command gets through."""
    return Outcome(result={"event": str(command.payload.get("event", ""))[:200]})


def start(handler: Handler, command: Command, context: Context) -> Outcome | Awaitable[Outcome]:
    """A handler's outcome, or what it must be awaited for with `run`; whatever it raises is a failed outcome."""
    try:
        outcome = handler(command, context)
        return outcome if not isinstance(outcome, Outcome) and isawaitable(outcome) else sound(outcome)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001  (a handler's error is its command's outcome)
        return _failed(error)


async def run(pending: Awaitable[Outcome], command: Command, within: float, held_up: HeldUp) -> Outcome:
    """A handler's outcome in at most `within` seconds; whatever it raises is a failed outcome."""
    try:
        async with asyncio.timeout(within):
            return sound(await _stepped(pending, command, held_up))
    except TimeoutError:
        return Outcome(error=f"timed out after {within:g} s", unknown=True)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (the task edge: a handler's error is its command's outcome)
        return _failed(error)


@coroutine
def _stepped(pending: Awaitable[Outcome], command: Command, held_up: HeldUp) -> Generator[Any, Any, Outcome]:
    """`await pending`, with a look at the clock after each step: one that blocks is found where it happens."""
    steps: Any = pending.__await__()
    resume: Callable[[], Any] = partial(steps.send, None)
    while True:
        began = monotonic()
        try:
            awaited = resume()
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        finally:
            check(began, command, held_up)
        try:
            yield awaited
            resume = partial(steps.send, None)
        except BaseException as error:  # noqa: BLE001  (a cancel goes to the handler)
            resume = partial(steps.throw, error)


def check(began: float, command: Command, held_up: HeldUp) -> None:
    """Tell where a handler has kept the loop since `began`."""
    if (took := monotonic() - began) > HELD_UP:
        held_up(command, took)


def sound(outcome: object) -> Outcome:
    """`outcome`, if it is one that can be written. Raises TypeError, and ValueError where its result goes round in circles."""
    if not isinstance(outcome, Outcome) or (outcome.error is not None and not isinstance(outcome.error, str)):
        raise TypeError("the handler returned no Outcome, or one whose error is no text")
    if outcome.result:
        as_json(dict(outcome.result))
    return outcome


def _failed(error: BaseException) -> Outcome:
    try:
        return Outcome(error=f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001  (an error whose text raises)
        return Outcome(error=type(error).__name__)


def _unsupported(command: Command, context: Context) -> Outcome:  # noqa: ARG001
    """For a command that an earlier version took and this one does not know."""
    return Outcome(error=f"unsupported_command_type: {command.command_type}")


UNSUPPORTED: tuple[Handler, Trait] = (_unsupported, Trait())
