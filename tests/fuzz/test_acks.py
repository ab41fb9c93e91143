"""Ack calls whose answers change over hours, for single acks and for all, by the real channel; at last the backend takes what it is given.

Whatever it was: no ack counts as proven that the backend has not read, none is held up by another, none is posted without end, and in the
end each is proven.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_core.channels.credentials import Credentials
from agent_core.channels.http import ACK_PATHS, PollingChannel
from agent_core.clock import SystemClock
from agent_core.events import AcksPosted, Event, Execute, Poll, PostAcks, Record
from agent_core.frames import Command
from agent_core.records import AcksProven
from tests.harness.playbook import Playbook, command, refused
from tests.harness.rig import HttpStub, config, http_answer

HOUR = 3_600.0
INTERVAL = 300.0
STARVED = 4 * INTERVAL
PATIENT = 12
"""Calls for one ack in seven hours, ever later; where the path itself is in doubt it is tried each interval."""
TAKEN = "taken"
PAGE = http_answer(b"<!DOCTYPE html><title>Sign in</title>", "200 OK", "Content-Type: text/html")
ANSWERS: Mapping[str, bytes] = {
    TAKEN: http_answer(b'{"ok":true}'),
    **{str(status): http_answer(status=f"{status} x") for status in (302, 400, 401, 404, 405, 409, 500, 503)},
    "429": http_answer(b"", "429 x", "Retry-After: 30"),
    "busy": http_answer(b"", "503 x", "Retry-After: 40"),
    "page": PAGE,
    "cut": http_answer(b'{"ok":true}')[:-3],
    "hung up": b"",
}
READ = frozenset({TAKEN, "cut"})
"""What a backend says that has read the ack."""


@dataclass(frozen=True)
class Manners:
    """How a backend answers, by the time in seconds and by the ack; after `cured_at` it takes all."""

    cured_at: float
    of_all: list[tuple[float, str, bool]]
    """One answer to every ack call for so many seconds, then the next; whether polls fail, too."""
    of_one: dict[str, list[str]]
    """Answers to an ack, in turn."""
    path: str
    reads_carried: bool

    def weather(self, now: float) -> tuple[str | None, bool]:
        """What all ack calls are answered, if anything, and whether polls fail."""
        end = 0.0
        for seconds, said, polls_fail in self.of_all:
            end += seconds
            if now < min(end, self.cured_at):
                return said, polls_fail
        return None, False

    def says(self, name: str, turn: int, now: float) -> str:
        """To the call of this number for an ack."""
        turns = self.of_one.get(name) if now < self.cured_at else None
        return self.weather(now)[0] or (turns[turn % len(turns)] if turns else TAKEN)


class Backend:
    """A backend of such manners at an instant, and what it has read."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self.now = 0.0
        self.calls: Counter[str] = Counter()
        self.read: set[str] = set()

    def answers(self, path: str, name: str) -> bytes:
        if path != self.manners.path:
            return ANSWERS["404"]
        said = self.manners.says(name, self.calls[name], self.now)
        self.calls[name] += 1
        if said in READ:
            self.read.add(name)
        return ANSWERS[said]


class Story:
    """An agent that polls this backend, in virtual time; its ack calls are made for real."""

    def __init__(self, backend: Backend, arrivals: dict[str, float], stub: HttpStub, runner: asyncio.Runner) -> None:
        """`arrivals`: when each command is there to be polled."""
        self.proven: dict[str, float] = {}
        """When each ack was."""
        self.book = Playbook(websocket={"enabled": False}, backend={"sync_interval_seconds": INTERVAL}).started()
        self._backend = backend
        self._to_come = sorted(arrivals.items(), key=lambda arrival: arrival[1], reverse=True)
        self._runner = runner
        self._came: list[Event] = []
        where = config(Path("unused"), stub.url)
        self._channel = PollingChannel(where, Credentials(where), SystemClock(), self._came.append)
        self._seen = 0

    def close(self) -> None:
        self._runner.run(self._channel.close())

    def goes_on(self, until: float) -> None:
        book = self.book
        while True:
            self._backend.now = book.now
            while self._reacts():
                pass
            if book.now + book.engine.wake_at - book.clock.mono > until:
                book.after(until - book.now)
                return
            book.after(max(0.0, book.engine.wake_at - book.clock.mono))

    def _reacts(self) -> bool:
        """To the next effect that asks for an answer; False where none does."""
        while self._seen < len(self.book.ever):
            _, effect = self.book.ever[self._seen]
            self._seen += 1
            match effect:
                case Record(_, changes):
                    for change in changes:
                        if isinstance(change, AcksProven):
                            self._notes(seq for seq, _ in change.acks)
                case Execute(_, one):
                    self.book.finish(one.command_id)
                case PostAcks(acks):
                    self._posts(acks)
                case Poll():
                    self._polls(effect)
                case _:
                    continue
            return True
        return False

    def _notes(self, seqs: Iterable[int]) -> None:
        for past in map(self.book.remembers, seqs):
            assert past is not None
            assert past.command.command_id in self._backend.read, f"{past.command.command_id} is proven, and was not read"
            self.proven[past.command.command_id] = self.book.now

    def _posts(self, acks: tuple[tuple[str, str], ...]) -> None:
        self._runner.run(self._channel.post_acks(acks))
        (posted,) = (event for event in self._came if isinstance(event, AcksPosted))
        self._came.clear()
        self.book >> posted

    def _polls(self, poll: Poll) -> None:
        if self._backend.manners.weather(self._backend.now)[1]:
            self.book.fail_poll(refused())
            return
        named = tuple(name for name, _ in poll.carried) if self._backend.manners.reads_carried else ()
        self._backend.read.update(named)
        due: list[Command] = []
        while self._to_come and self._to_come[-1][1] <= self.book.now:
            due.append(command(self._to_come.pop()[0], "look", payload={}))
        self.book.answer_poll(*due, proven=named)


ODD = st.sampled_from(sorted(set(ANSWERS) - {TAKEN}))
SECONDS = st.sampled_from([60.0, 1_000.0, 4_000.0])
EARLY = [f"early{number}" for number in range(6)]
LATE = [f"late{number}" for number in range(4)]
OF_ONE = st.dictionaries(st.sampled_from(EARLY), st.lists(ODD | st.just(TAKEN), min_size=1, max_size=3), max_size=len(EARLY))
OF_ALL = st.lists(st.tuples(SECONDS, ODD, st.booleans()), max_size=4)
MANNERS = st.builds(Manners, st.sampled_from([HOUR, 5 * HOUR]), st.just([]) | OF_ALL, OF_ONE, st.sampled_from(ACK_PATHS), st.booleans())
ARRIVALS = st.fixed_dictionaries(
    {name: st.sampled_from([0.0, 0.0, 400.0]) for name in EARLY},
    optional={name: st.floats(0, 4 * HOUR) for name in LATE},
)


NOBODY_KNOWS = {name: ["404"] for name in EARLY[:4]}


@settings(max_examples=40)
@given(MANNERS, ARRIVALS)
@example(Manners(5 * HOUR, [], {"early0": ["page"]}, ACK_PATHS[0], reads_carried=False), dict.fromkeys(EARLY, 0.0))
@example(Manners(5 * HOUR, [], {"early0": ["302"], "early1": ["404"]}, ACK_PATHS[0], reads_carried=False), dict.fromkeys(EARLY, 0.0))
@example(Manners(5 * HOUR, [], NOBODY_KNOWS, ACK_PATHS[1], reads_carried=False), dict.fromkeys(EARLY, 0.0))
@example(Manners(5 * HOUR, [], {"early0": ["hung up"], "early1": ["409"]}, ACK_PATHS[0], reads_carried=False), dict.fromkeys(EARLY, 0.0))
def test_in_the_end_each_ack_is_proven_and_none_starves(manners: Manners, arrivals: dict[str, float]) -> None:
    backend = Backend(manners)
    with asyncio.Runner() as runner:
        stub = HttpStub(lambda path: backend.answers(path, json.loads(stub.requests[-1].partition("\r\n\r\n")[2])["command_id"]))
        runner.run(stub.__aenter__())
        story = Story(backend, arrivals, stub, runner)
        story.goes_on(max(manners.cured_at, 4 * HOUR) + 2 * HOUR)
        story.close()
    book = story.book
    assert book.snapshot.commands.outbox == 0, sorted(set(arrivals) - set(story.proven))
    assert set(story.proven) == set(arrivals)
    if not manners.of_all:
        waits = {name: at - arrivals[name] for name, at in story.proven.items() if name not in manners.of_one}
        assert max(waits.values(), default=0.0) <= STARVED, waits
    patient = not manners.of_all and not {"404", "405"} & {said for turns in manners.of_one.values() for said in turns}
    assert max(backend.calls.values()) <= (PATIENT if patient else book.now / INTERVAL), backend.calls
