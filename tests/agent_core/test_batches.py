"""Several events of one instant are one step; what the journal was asked before it holds until its end."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_core.clock import ManualClock
from agent_core.config.models import Auth, Config, Edge
from agent_core.engine import Engine
from agent_core.engine.ledger import MAX_INLINE_PER_STEP
from agent_core.entries import EffectClass, Trait
from agent_core.events import (
    CommandFinished,
    CommandsReceived,
    Event,
    Execute,
    FrameReceived,
    LedgerOpened,
    Opened,
    Record,
    Recorded,
    Started,
)
from agent_core.frames import Command, Pong
from agent_core.handlers import run, traits_for
from agent_core.messengers.choice import DelayedMessenger
from agent_core.messengers.file import FileMessenger
from agent_core.messengers.outbox import OutboxMessenger
from agent_core.records import Arrival, CommandAccepted, CommandEnded, OutboxRow, Outcome

TRAITS = {
    "send_message": Trait(EffectClass.TRANSACTIONAL, sends=True),
    "note": Trait(EffectClass.TRANSACTIONAL, sends=True, inline=lambda seq, command, _message, _utc: noted(seq, command)),
}
COMMAND = Command("cmd_1", "send_message", {"thread_id": "+1", "text": "hi"})


class Run:
    """An online engine; `step` hands over events of one instant and returns the effects."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.engine = Engine(Config(edge=Edge(agent_id="mac"), auth=Auth(secret="a-fine-secret")), TRAITS)
        self.step(LedgerOpened())
        self.step(Started())
        self.step(Opened(1))
        self.step(FrameReceived(1, Pong(1)))

    def step(self, *events: Event) -> list[object]:
        return list(self.engine.handle_all(events, self.clock.now(), lambda: 0.5))

    def finish(self, *events: Event) -> None:
        for effect in self.step(*events):
            match effect:
                case Execute(seq):
                    self.finish(CommandFinished(seq))
                case Record(ticket):
                    self.finish(Recorded(ticket))


def test_f24_a_duplicate_beside_the_proof_of_its_first_does_not_run() -> None:
    run = Run()
    run.finish(CommandsReceived(1, (Arrival(COMMAND),)))
    run.clock.advance(31)
    run.step()
    effects = run.step(FrameReceived(1, Pong(2)), CommandsReceived(1, (Arrival(COMMAND),)))
    assert not [effect for effect in effects if isinstance(effect, Execute)]
    assert run.engine.snapshot(run.clock.now()).commands.duplicates == 1


def test_a_settled_command_is_left_to_the_journal_after_the_step() -> None:
    run = Run()
    run.finish(CommandsReceived(1, (Arrival(COMMAND),)))
    run.clock.advance(31)
    run.step()
    run.step(FrameReceived(1, Pong(2)))
    assert run.engine.needs(COMMAND) == ("cmd_1",)


def test_p3_inline_commands_are_answered_together_and_in_order_however_many_and_of_one_thread() -> None:
    run = Run()
    effects = run.step(*(came(f"cmd_{number}", "note") for number in range(20)))
    assert ended(effects) == [f"cmd_{number}" for number in range(20)]
    assert len([effect for effect in effects if isinstance(effect, Record)]) == 1
    assert started(effects) == []


def test_p3_an_inline_command_waits_behind_a_slow_one_of_its_thread() -> None:
    run = Run()
    slow = run.step(came("slow", "send_message"), came("behind", "note"), came("beside", "note", "+2"))
    assert (started(slow), ended(slow)) == (["slow"], ["beside"])
    seq = next(effect.seq for effect in slow if isinstance(effect, Execute))
    assert ended(run.step(CommandFinished(seq))) == ["slow", "behind"]


def test_of_a_great_many_that_waited_only_so_many_answer_in_one_step() -> None:
    run = Run()
    slow = run.step(came("slow", "send_message"), *(came(f"cmd_{number}", "note") for number in range(2 * MAX_INLINE_PER_STEP)))
    seq = next(effect.seq for effect in slow if isinstance(effect, Execute))
    answered = ended(run.step(CommandFinished(seq)))
    while run.engine.wake_at <= run.clock.mono:
        assert len(answered) % MAX_INLINE_PER_STEP <= 1
        answered += ended(run.step())
    assert answered == ["slow", *(f"cmd_{number}" for number in range(2 * MAX_INLINE_PER_STEP))]


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


def ended(effects: list[object]) -> list[str]:
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


def started(effects: list[object]) -> list[str]:
    return [effect.command.command_id for effect in effects if isinstance(effect, Execute)]
