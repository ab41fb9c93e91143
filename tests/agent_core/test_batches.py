"""Several events of one instant are one step; what the journal was asked before it holds until its end."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_core.engine.ledger import MAX_INLINE_PER_STEP
from agent_core.entries import EffectClass, Trait
from agent_core.events import (
    CommandFinished,
    CommandsReceived,
    Effect,
    Event,
    Execute,
    FrameReceived,
    Record,
    Ticked,
)
from agent_core.frames import Command, Pong
from agent_core.handlers import run, traits_for
from agent_core.messengers.choice import DelayedMessenger
from agent_core.messengers.file import FileMessenger
from agent_core.messengers.outbox import OutboxMessenger
from agent_core.records import Arrival, CommandAccepted, CommandEnded, OutboxRow, Outcome
from tests.harness.playbook import THREAD, TRAITS, Playbook, acks, command, executes, to

INLINE = Trait(EffectClass.TRANSACTIONAL, sends=True, inline=lambda seq, command, _message, _utc: noted(seq, command))
COMMAND = Command("cmd_1", "send_message", {"thread_id": "+1", "text": "hi"})


def online() -> Playbook:
    return Playbook(traits=TRAITS | {"note": INLINE}, backend={"polling": "never"}).online()


def step(book: Playbook, *events: Event) -> list[Effect]:
    """What one step asks for, and what it goes on to once its changes are on disk."""
    before = len(book.ever)
    book.handle_together(*events)
    return [effect for _, effect in book.ever[before:]]


def test_f24_a_duplicate_beside_the_proof_of_its_first_does_not_run() -> None:
    book = online()
    book.push("c1", payload=to(THREAD)) << executes("c1")
    book.finish("c1") << acks("c1")
    book.lives(31, json_pongs=False)
    again = CommandsReceived(1, (book.arrival(command("c1", payload=to(THREAD))),))
    book.handle_together(FrameReceived(1, Pong(2)), again).never(Execute)
    assert (book.snapshot.commands.proven, book.snapshot.commands.duplicates) == (1, 1)


def test_a_settled_command_is_left_to_the_journal_after_the_step() -> None:
    book = online()
    book.push("c1", payload=to(THREAD))
    assert book.engine.needs(command("c1", payload=to(THREAD))) == ()
    book.finish("c1")
    book.lives(31)
    assert book.snapshot.commands.proven == 1
    assert book.engine.needs(command("c1", payload=to(THREAD))) == ("c1",)


def test_p3_inline_commands_are_answered_together_and_in_order_however_many_and_of_one_thread() -> None:
    effects = step(online(), *(came(f"cmd_{number}", "note") for number in range(20)))
    assert ended(effects) == [f"cmd_{number}" for number in range(20)]
    assert len([effect for effect in effects if isinstance(effect, Record)]) == 1
    assert started(effects) == []


def test_p3_an_inline_command_waits_behind_a_slow_one_of_its_thread() -> None:
    book = online()
    slow = step(book, came("slow", "send_message"), came("behind", "note"), came("beside", "note", "+2"))
    assert (started(slow), ended(slow)) == (["slow"], ["beside"])
    assert ended(step(book, CommandFinished(book.find(executes("slow")).seq))) == ["slow", "behind"]


def test_of_a_great_many_that_waited_only_so_many_answer_in_one_step() -> None:
    book = online()
    names = [f"cmd_{number}" for number in range(2 * MAX_INLINE_PER_STEP)]
    step(book, came("slow", "send_message"), *(came(name, "note") for name in names))
    answered = ended(step(book, CommandFinished(book.find(executes("slow")).seq)))
    while book.engine.wake_at <= book.clock.mono:
        assert len(answered) % MAX_INLINE_PER_STEP <= 1
        answered += ended(step(book, Ticked()))
    assert answered == ["slow", *names]


def test_what_answers_at_once_and_stays_inside_the_ledger_is_inline(tmp_path: Path) -> None:
    outbox, file = OutboxMessenger(), FileMessenger(tmp_path / "sent")
    for messenger, inline in ((outbox, True), (file, False), (DelayedMessenger(outbox, 0.1), False)):
        assert (traits_for(messenger)["send_message"].inline is not None) is inline
    assert traits_for(file)["emit_event"].inline is not None


def test_a_plain_handler_that_would_have_to_be_awaited_has_failed() -> None:
    async def slow() -> Outcome:
        raise AssertionError

    pending = slow()
    inline = traits_for(OutboxMessenger(), {"odd": (lambda _command, _context: pending, Trait(EffectClass.HARMLESS))})["odd"].inline
    assert inline is not None
    assert inline(1, COMMAND, None, 0.0).error == "TypeError: a handler that is awaited must be a coroutine function"
    pending.close()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


CIRCLE: dict[str, Any] = {}
CIRCLE["again"] = CIRCLE


@pytest.mark.parametrize(("odd", "error"), [
    (lambda: wrong(result=5), "TypeError: "), (lambda: Outcome(result=CIRCLE), "ValueError: "), (lambda: None, "TypeError: the handler"),
    (lambda: wrong(error=ValueError()), "TypeError: the handler"), (lambda: raising(Mute()), "Mute"),
    (lambda: raising(asyncio.CancelledError()), "CancelledError"), (lambda: raising(SystemExit(3)), "SystemExit: 3"),
])  # fmt: skip
async def test_whatever_a_handler_does_it_is_its_own_command_that_fails(odd: Callable[[], Any], error: str) -> None:
    inline = traits_for(OutboxMessenger(), {"odd": (lambda _command, _context: odd(), Trait(EffectClass.HARMLESS))})["odd"].inline
    assert inline is not None
    assert (inline(1, COMMAND, None, 0.0).error or "").startswith(error)

    async def awaited() -> Any:
        return odd()

    if error != "CancelledError":
        assert ((await run(awaited(), COMMAND, 5.0, lambda _command, _seconds: None)).error or "").startswith(error)


def wrong(**fields: Any) -> Outcome:
    return Outcome(**fields)


def raising(error: BaseException) -> Any:
    raise error


def noted(seq: int, command: Command) -> Outcome:
    return Outcome(row=OutboxRow(seq, command.command_id, "+1", "hi", 0.0))


def ended(effects: list[Effect]) -> list[str]:
    """The ids of those whose outcome is recorded, in order."""
    changes = [change for effect in effects if isinstance(effect, Record) for change in effect.changes]
    acks = [
        change.entry.ack if isinstance(change, CommandAccepted) else change.ack
        for change in changes
        if isinstance(change, CommandAccepted | CommandEnded)
    ]
    return [json.loads(ack)["command_id"] for ack in acks if ack is not None]


def came(command_id: str, command_type: str, thread: str = "+1") -> CommandsReceived:
    return CommandsReceived(1, (Arrival(Command(command_id, command_type, {"thread_id": thread, "text": "hi"})),))


def started(effects: list[Effect]) -> list[str]:
    return [effect.command.command_id for effect in effects if isinstance(effect, Execute)]
