"""Wall clocks that are wrong at the start, jump by seconds or years, or stand behind a dead process, against what the ledger remembers.

The engine over its real journal. What was taken is not run again as long as it is to be remembered, whatever the clock says meanwhile;
what is due later goes out neither early nor twice, and is not lost; a cancel that came first holds for its hours, and not for ever; and
nothing new is ever taken for old.
"""

import queue
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_core.clock import ManualClock, iso
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.events import (
    CommandFinished,
    CommandsReceived,
    Effect,
    Event,
    Execute,
    FrameReceived,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    Ponged,
    Probe,
    Recall,
    Recalled,
    Record,
    Recorded,
    Send,
    Started,
    Ticked,
)
from agent_core.frames import Pong, command_of
from agent_core.journal import Journal
from agent_core.records import Arrival
from tests.harness.playbook import TRAITS, acks_in, frames_in, to
from tests.harness.virtual import UTC

HOUR, DAY, YEAR = 3_600.0, 86_400.0, 365 * 86_400.0
CONFIG = Config.model_validate(
    {
        "edge": {"agent_id": "mac-1"}, "ledger": {"retention_days": 2, "tombstone_hours": 6},
        "schedule": {"max_late_seconds": 30 * DAY},
    }
)  # fmt: skip
REMEMBERED, CANCELLED = 2 * DAY, 6 * HOUR
UNNOTICED = 0.2 * DAY
"""A jump up to this is not told from time that nobody watched."""


@dataclass
class Known:
    """What the backend has of one command id."""

    fields: dict[str, Any]
    came_at: float
    """True time, as all of `…_at` here."""
    due_utc: float | None = None
    runs: int = 0
    missed: bool = False
    cancelled: bool = False
    latest_utc: float = 0.0
    """What the wall clock has shown at most since it came."""


class Machine:
    """One ledger on disk through any number of lives of its process, and a backend that knows the true time."""

    def __init__(self, folder: Path, wrong_by: float) -> None:
        self.clock = ManualClock(utc=UTC + wrong_by)
        self.at = 0.0
        self.known: dict[str, Known] = {}
        self.tombstones: dict[str, float] = {}
        """When each name was cancelled that nobody had."""
        self.ahead = 0.0
        """Seconds that the clock has gained in steps that nobody can notice."""
        self.restored_at = 0.0
        """When cancels may have begun to live anew: at a start, and after a jump."""
        self._folder = folder
        self._asked = 0
        self.starts()

    # --- life ------------------------------------------------------------------------------------------------------

    def starts(self) -> None:
        self.restored_at = self.at
        self._posts: queue.Queue[Any] = queue.Queue()
        self._journal = Journal(self._folder, CONFIG.ledger, self._posts.put, clock=self.clock)
        self._engine = Engine(CONFIG, TRAITS)
        self._ticket = self._recorded = self._generation = 0
        self._inbox: list[Event] = []
        self._journal.start()
        self.tell(self._posts.get(timeout=20), Started())

    def ends(self) -> None:
        self._journal.close(20)

    def tell(self, *events: Event) -> None:
        """These and all that follows from them at this instant: disk, socket and polls answer at once."""
        self._inbox += events
        while self._inbox:
            event = self._inbox.pop(0)
            for effect in self._engine.handle(event, self.clock.now(), lambda: 0.5):
                self._perform(effect)
            while self._recorded < self._ticket or not self._posts.empty():
                post = self._posts.get(timeout=20)
                assert isinstance(post, Recorded), post
                self._recorded = max(self._recorded, post.ticket)
                self._inbox.append(post)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Record(ticket, changes):
                self._journal.write(ticket, changes)
                self._ticket = ticket
            case Execute(seq, command):
                self._runs(command.command_id)
                self._inbox.append(CommandFinished(seq))
            case OpenSocket(generation):
                self._generation = generation
                self._inbox += [Opened(generation), FrameReceived(generation, Pong(None))]
            case Send(generation):
                pings = [frame["data"]["seq"] for frame in frames_in(effect) if frame["type"] == "ping"]
                self._inbox += [FrameReceived(generation, Pong(seq)) for seq in pings]
            case Probe(generation):
                self._inbox.append(Ponged(generation))
            case Poll(number):
                self._inbox.append(PollAnswered(number, ()))
            case Recall(seqs):
                self._inbox.append(Recalled(self._journal.recall_all(seqs), seqs))
            case _:
                pass
        for body in acks_in(effect):
            self._answered(body)

    # --- what must hold ----------------------------------------------------------------------------------------------

    def _runs(self, name: str) -> None:
        one = self.known[name]
        one.runs += 1
        assert one.runs == 1, f"{name} runs again, {self.at - one.came_at:.0f} s after it came"
        assert not one.cancelled, f"{name} runs, and was cancelled"
        assert one.due_utc is None or one.latest_utc >= one.due_utc, f"{name} is early"

    def _answered(self, body: dict[str, Any]) -> None:
        one, error = self.known.get(body["command_id"]), body["error"] or ""
        if one is None or body["status"] == "received":
            return
        assert not error.startswith("expired"), f"{body['command_id']} is new, and taken for old"
        if error.startswith("missed"):
            assert one.due_utc is not None
            assert one.latest_utc - one.due_utc > CONFIG.schedule.max_late_seconds
            one.missed = True
        one.cancelled |= error.startswith("cancelled")

    # --- what happens ------------------------------------------------------------------------------------------------

    def comes(self, name: str, due_in: float | None, *, stamped: bool) -> None:
        """A message; the same again where it is known. `due_in` is by the clock here, `stamped` with the backend's time."""
        if name not in self.known:
            later: dict[str, Any] = {} if due_in is None else {"send_at": self.clock.utc + due_in}
            stamp = {"timestamp": iso(UTC + self.at)} if stamped else {}
            kind = "send_message_now" if due_in is None else "schedule_message"
            fields = {"command_id": name, "command_type": kind, "payload": to(name, **later)} | stamp
            self._comes_new(name, Known(fields, self.at, later.get("send_at"), latest_utc=self.clock.utc))
        elif self.at - self.known[name].came_at < REMEMBERED - self.ahead:
            self._deliver(self.known[name].fields)

    def _comes_new(self, name: str, one: Known) -> None:
        self.known[name] = one
        self._deliver(one.fields)
        if (cancelled_at := self.tombstones.pop(name, None)) is not None:
            if self.at - cancelled_at < CANCELLED - self.ahead:
                assert one.cancelled, f"the cancel of {name} was forgotten after {self.at - cancelled_at:.0f} s"
            elif self.at - max(cancelled_at, self.restored_at) > CANCELLED:
                assert not one.cancelled, f"the cancel of {name} held for {self.at - cancelled_at:.0f} s"

    def cancel(self, name: str) -> None:
        self._asked += 1
        fields = {"command_id": f"x{self._asked}", "command_type": "cancel_message", "payload": {"command_id": name}}
        if name not in self.known:
            self.tombstones[name] = self.at
        elif self.at - self.known[name].came_at >= REMEMBERED - self.ahead:
            return
        self._deliver(fields)

    def _deliver(self, fields: dict[str, Any]) -> None:
        command = command_of(fields)
        self.tell(CommandsReceived(self._generation, (Arrival(command, self._journal.look_up(self._engine.needs(command))),)))

    def passes(self, seconds: float) -> None:
        """In portions, since a clock that is looked at now and then is known to be steady."""
        while seconds > 0:
            portion = min(seconds, 4 * HOUR)
            self._moves(portion, portion)
            self.cancel(f"{self.at}")
            seconds -= portion

    def steps(self, by: float) -> None:
        """Somebody sets the clock."""
        self._moves(0.0, self._settable(by))

    def restarts(self, down: float, by: float) -> None:
        """It is down for so long, and the clock is set meanwhile."""
        self.ends()
        self.at += down
        self.clock.advance(down)
        by = self._settable(by)
        self._notes(by)
        self.clock.utc += by
        self._sees()
        self.starts()
        self.tell(Ticked())

    def _settable(self, by: float) -> float:
        """No machine's clock goes before 1970."""
        return max(by, -self.clock.utc)

    def _moves(self, seconds: float, wall: float) -> None:
        self.at += seconds
        self.clock.advance(seconds)
        self.clock.utc += wall - seconds
        self._notes(wall - seconds)
        self._sees()
        for _ in range(3):
            self.tell(Ticked())

    def _notes(self, step: float) -> None:
        self.ahead += step if 0 < step <= UNNOTICED else 0.0
        self.restored_at = self.at if step else self.restored_at

    def _sees(self) -> None:
        for one in self.known.values():
            one.latest_utc = max(one.latest_utc, self.clock.utc)

    def settles(self) -> None:
        """The clock reaches each time that something is due: nothing is lost."""
        for due in sorted(one.due_utc for one in self.known.values() if one.due_utc is not None):
            if self.clock.utc < due + 1:
                self.steps(due + 1 - self.clock.utc)
        lost = [name for name, one in self.known.items() if not (one.runs or one.missed or one.cancelled)]
        assert lost == []


NAMES = st.integers(1, 5).map("c{}".format)
STEPS = st.sampled_from([-10 * YEAR, -40 * DAY, -DAY, -HOUR, -5.0, 5.0, HOUR, DAY, 40 * DAY, 10 * YEAR])
Deed = tuple[Any, ...]
DEEDS: st.SearchStrategy[Deed] = st.one_of(
    st.tuples(st.just("comes"), NAMES, st.none() | st.sampled_from([60.0, DAY, 20 * DAY]), st.booleans()),
    st.tuples(st.just("cancel"), NAMES),
    st.tuples(st.just("passes"), st.sampled_from([60.0, 2 * HOUR, 7 * HOUR, 2.5 * DAY])),
    st.tuples(st.just("steps"), STEPS),
    st.tuples(st.just("restarts"), st.sampled_from([0.0, HOUR, DAY]), st.just(0.0) | STEPS),
)
AT_START = st.sampled_from([0.0, -UTC + 60.0, -40 * DAY, 40 * DAY, 10 * YEAR])


YEARS_AHEAD_FOR_DAYS: list[Deed] = [
    ("comes", "c1", None, False), ("passes", 2.5 * DAY), ("restarts", 0.0, 0.0), ("passes", 60.0), ("steps", -10 * YEAR),
    ("comes", "c2", None, True),
]  # fmt: skip
"""What had come without a time of its own was forgotten by the wrong clock, and all that came later counted as older than that."""


NOTHING_WITH_A_TIME_IS_FORGOTTEN: list[Deed] = [("passes", 2.5 * DAY), ("restarts", 0.0, 0.0), ("restarts", 0.0, 0.0), ("cancel", "c1")]
"""A horizon of 0.0 was written for commands without a time of their own, and the next start took it for damage."""


@settings(max_examples=12)
@given(AT_START, st.lists(DEEDS, max_size=14))
@example(10 * YEAR, YEARS_AHEAD_FOR_DAYS)
@example(0.0, NOTHING_WITH_A_TIME_IS_FORGOTTEN)
def test_no_clock_makes_the_ledger_forget_or_remember_wrongly(wrong_by: float, deeds: list[Deed]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder), wrong_by)
        try:
            for verb, *values in deeds:
                match verb:
                    case "comes":
                        machine.comes(values[0], values[1], stamped=values[2])
                    case "cancel":
                        machine.cancel(values[0])
                    case "passes":
                        machine.passes(values[0])
                    case "steps":
                        machine.steps(values[0])
                    case _:
                        machine.restarts(*values)
            machine.settles()
        finally:
            machine.ends()
