"""Several events of one instant are one step; what the journal was asked before it holds until its end."""

from agent_core.clock import ManualClock
from agent_core.config import Auth, Config, Edge
from agent_core.engine import Engine
from agent_core.events import (
    CommandFinished,
    CommandReceived,
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
from agent_core.ledger import EffectClass, Trait
from agent_core.records import Arrival

TRAITS = {"send_message": Trait(EffectClass.TRANSACTIONAL, sends=True)}
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
                    self.finish(CommandFinished(seq, None))
                case Record(ticket):
                    self.finish(Recorded(ticket))


def test_f24_a_duplicate_beside_the_proof_of_its_first_does_not_run() -> None:
    run = Run()
    run.finish(CommandReceived(1, Arrival(COMMAND)))
    run.clock.advance(31)
    run.step()
    effects = run.step(FrameReceived(1, Pong(2)), CommandReceived(1, Arrival(COMMAND)))
    assert not [effect for effect in effects if isinstance(effect, Execute)]
    assert run.engine.snapshot(run.clock.now()).commands.duplicates == 1


def test_a_settled_command_is_left_to_the_journal_after_the_step() -> None:
    run = Run()
    run.finish(CommandReceived(1, Arrival(COMMAND)))
    run.clock.advance(31)
    run.step()
    run.step(FrameReceived(1, Pong(2)))
    assert not run.engine.knows("cmd_1")
