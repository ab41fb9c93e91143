"""The engine and its journal together under anything that can happen to them, against a model that is a dict (P1, P2, P4, F26, F28)."""

import queue
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic_core import from_json

from agent_core.clock import ManualClock
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.engine.ledger import OUTCOME_UNKNOWN
from agent_core.events import (
    AbortSocket,
    AcksPosted,
    CommandFinished,
    CommandsReceived,
    Event,
    Execute,
    Failure,
    FrameReceived,
    LedgerOpened,
    Lost,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    PollFailed,
    PostAcks,
    Recall,
    Recalled,
    Record,
    Recorded,
    Send,
    Started,
    Ticked,
    Trouble,
)
from agent_core.frames import Pong, command_of
from agent_core.journal import Journal
from agent_core.journal.audit import audit
from agent_core.journal.reader import outbox
from agent_core.records import Arrival, OutboxRow, Outcome
from tests.harness.playbook import AGENT_ID, TRAITS, acks_in, to
from tests.harness.rig import records

KINDS = ("send_message_now", "note", "set", "look")
THREADS = ("+1", "+2", "+3")
DOWN = Failure(Trouble.LOST, "cut")


@dataclass
class Known:
    """What the model remembers of one id."""

    command: dict[str, Any]
    effects: int = 0
    """Outside the ledger, seen by the model; those inside are the outbox's rows."""
    ack: str | None = None
    """The first terminal ack that ever left, as text."""
    read: bool = False
    """The backend has read an ack."""


class Ledgers(RuleBasedStateMachine):
    """A process that may die at any moment; the disk is the journal's real file."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name)
        self.clock = ManualClock()
        self.model: dict[str, Known] = {}

    @initialize()
    def begin(self) -> None:
        self.posts: queue.Queue[Any] = queue.Queue()
        self.journal = Journal(self.folder, Config().ledger, self.posts.put, clock=self.clock)
        self.engine = Engine(Config.model_validate({"edge": {"agent_id": AGENT_ID}}), TRAITS, max_in_memory=2)
        self.running: list[Execute] = []
        self.unread: list[str] = []
        """Frames that are on the wire."""
        self.generation = self.ticket = self.recorded = 0
        self.online = False
        self.dialling = False
        self.poll: Poll | None = None
        self.posted: PostAcks | None = None
        self.journal.start()
        memory = self.posts.get(timeout=10)
        assert isinstance(memory, LedgerOpened), memory
        self.tell(memory)
        self.tell(Started())
        self.disk()

    def tell(self, event: Event) -> None:
        self.clock.advance(0.001)
        wanted: list[tuple[int, ...]] = []
        for effect in self.engine.handle(event, self.clock.now(), lambda: 0.5):
            match effect:
                case Record(ticket, changes):
                    self.journal.write(ticket, changes)
                    self.ticket = ticket
                case Execute():
                    self.running.append(effect)
                case Send():
                    self.unread += list(effect.frames)
                case OpenSocket(generation):
                    self.generation, self.online, self.dialling = generation, False, True
                case AbortSocket():
                    self.online = self.dialling = False
                case Poll():
                    self.poll = effect
                case PostAcks():
                    self.posted = effect
                case Recall(seqs):
                    wanted.append(seqs)
                case _:
                    pass
            self.check_acks(acks_in(effect) if not isinstance(effect, Poll) else [])
        for seqs in wanted:
            self.tell(Recalled(self.journal.recall_all(seqs), seqs))

    def check_acks(self, bodies: list[dict[str, Any]]) -> None:
        """A stored ack is the same for ever, and none leaves before the file has it."""
        for body in bodies:
            if body["status"] == "received":
                continue
            record = self.journal.recall(body["command_id"])
            assert record is not None
            assert record.ack is not None
            assert from_json(record.ack) == body
            known = self.model[body["command_id"]]
            known.ack = known.ack or record.ack
            assert known.ack == record.ack, "another ack than the first"

    def disk(self) -> None:
        """The disk answers for all it was given."""
        while self.recorded < self.ticket:
            last = self.ticket
            while self.recorded < last:
                post = self.posts.get(timeout=10)
                assert isinstance(post, Recorded), post
                self.recorded = post.ticket
            self.tell(Recorded(last))

    # --- what happens ----------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS), thread=st.sampled_from(THREADS), later=st.sampled_from((0, 0, 0, 5.0)), urgent=st.booleans())
    def arrives(self, kind: str, thread: str, later: float, urgent: bool) -> None:
        name = f"c{len(self.model)}"
        payload: dict[str, Any] = to(thread, name) | ({"send_at": self.clock.utc + later} if later and kind == "note" else {})
        fields = {"command_id": name, "command_type": kind, "payload": payload, "priority": "high" if urgent else "normal"}
        self.model[name] = Known(fields)
        self.push(fields)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def arrives_again(self, data: st.DataObject) -> None:
        self.push(self.model[data.draw(st.sampled_from(sorted(self.model)))].command)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(sorted(self.model)))
        name = f"c{len(self.model)}"
        fields = {"command_id": name, "command_type": "cancel_message", "payload": {"command_id": target}}
        self.model[name] = Known(fields)
        self.push(fields)

    def push(self, fields: dict[str, Any]) -> None:
        """By socket where there is one, else as the answer to a poll; unheard where there is neither: the backend sends it again."""
        command = command_of(fields)
        arrival = Arrival(command, self.journal.look_up(self.engine.needs(command)))
        if self.online:
            self.tell(CommandsReceived(self.generation, (arrival,)))
        elif self.poll is not None:
            poll, self.poll = self.poll, None
            self.tell(PollAnswered(poll.number, (arrival,)))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), failing=st.booleans())
    def finishes(self, data: st.DataObject, failing: bool) -> None:
        run = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        name = run.command.command_id
        if failing:
            self.tell(CommandFinished(run.seq, Outcome("it failed")))
        elif run.command.command_type == "note":
            row = OutboxRow(run.seq, name, str(run.command.payload["thread_id"]), name, self.clock.utc)
            self.tell(CommandFinished(run.seq, Outcome(row=row)))
        else:
            self.model[name].effects += 1
            self.tell(CommandFinished(run.seq))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def dies_between_effect_and_record(self, data: st.DataObject) -> None:
        run = self.running[data.draw(st.integers(0, len(self.running) - 1))]
        if run.command.command_type != "note":
            self.model[run.command.command_id].effects += 1
        self.dies()

    @rule()
    def dies(self) -> None:
        """What the engine had not been told is gone; what the journal has taken it may or may not have written: here, it has."""
        self.journal.close(10)
        self.begin()

    @rule()
    def the_disk_answers(self) -> None:
        self.disk()

    @rule()
    def the_link_opens(self) -> None:
        if self.dialling:
            self.unread.clear()
            self.online, self.dialling = True, False
            self.tell(Opened(self.generation))
            self.tell(FrameReceived(self.generation, Pong(None)))

    @precondition(lambda self: self.online)
    @rule()
    def the_link_breaks(self) -> None:
        self.unread.clear()
        self.online = False
        self.tell(Lost(self.generation, DOWN))

    @precondition(lambda self: self.online)
    @rule(count=st.sampled_from((1, 2, 1_000)))
    def the_backend_reads(self, count: int = 1_000) -> None:
        """The next of what is on the wire, answering each ping."""
        texts, self.unread = self.unread[:count], self.unread[count:]
        for frame in (from_json(text) for text in texts):
            if frame["type"] == "command_ack" and frame["data"]["status"] != "received":
                self.model[frame["data"]["command_id"]].read = True
            elif frame["type"] == "ping":
                self.tell(FrameReceived(self.generation, Pong(frame["data"]["seq"])))

    @precondition(lambda self: self.posted)
    @rule(read=st.booleans(), answered=st.booleans())
    def the_post_is_over(self, read: bool, answered: bool) -> None:
        """Read and answered, read with the answer lost, or lost."""
        assert self.posted is not None
        names = tuple(name for name, _ in self.posted.acks)
        self.posted = None
        for name in names:
            self.model[name].read |= read or answered
        self.tell(AcksPosted(names) if answered else AcksPosted((), names, DOWN))

    @rule(seconds=st.sampled_from((0.2, 3.0, 20.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.poll is not None:
            poll, self.poll = self.poll, None
            self.tell(PollFailed(poll.number, DOWN))
        self.tell(Ticked())

    # --- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def one_effect_an_id(self) -> None:
        for name, known in self.model.items():
            if known.command["command_type"] == "send_message_now":
                assert known.effects <= 1, f"{name} took effect {known.effects} times"

    @invariant()
    def nothing_is_proven_that_was_not_read(self) -> None:
        for record in records(self.folder):
            if record.proven_utc is not None and record.ack is not None and record.state.ended:
                assert self.model[record.command.command_id].read, f"{record.command.command_id} is proven and was not read"

    def teardown(self) -> None:
        """In the quiet all that is on disk ends, is acked and proven; the outbox has each message of what was completed, once."""
        try:
            self.settle()
            self.judge()
        finally:
            self.journal.close(10)
            self.scratch.cleanup()

    def settle(self) -> None:
        for _ in range(200):
            self.disk()
            while self.running:
                run = self.running.pop()
                name = run.command.command_id
                row = OutboxRow(run.seq, name, "+1", name, self.clock.utc) if run.command.command_type == "note" else None
                self.model[name].effects += row is None
                self.tell(CommandFinished(run.seq, Outcome(row=row)))
            self.the_link_opens()
            if self.online:
                self.the_backend_reads(count=1_000)
            if self.posted is not None:
                self.the_post_is_over(read=True, answered=True)
            self.time_passes(3.0)
            if not any(record.proven_utc is None or not record.state.ended for record in records(self.folder)):
                break

    def judge(self) -> None:
        sent = [row.command_id for row in outbox(self.folder)]
        assert len(sent) == len(set(sent)), "a message twice"
        for record in records(self.folder):
            name = record.command.command_id
            known = self.model[name]
            assert record.state.ended, f"{name} is {record.state}"
            assert record.proven_utc is not None, f"the ack of {name} is not proven"
            assert record.ack is not None
            done = from_json(record.ack)["success"]
            if record.command.command_type == "note":
                assert (name in sent) == done
            elif record.command.command_type == "send_message_now" and record.error != OUTCOME_UNKNOWN:
                assert known.effects == (1 if done else 0) or not done, f"{name}: {known.effects} effects, done={done}"
        assert audit(self.folder, {"note", "set", "look"}).ok


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
