"""The agent's turn: called whenever there is something to do, and the end of the agent when it fails."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from agent_core.agent import HEARTBEAT, MAX_ARRIVALS, Agent
from agent_core.clock import Moment, SystemClock
from agent_core.events import CancelRequested
from agent_core.feed import FeedEntry, LogEntry
from tests.harness.rig import HttpStub, config, for_a_while, http_answer, living, until

NOBODY = "http://127.0.0.1:9"
THREADS, EACH = 4, 1_000


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[asyncio.Task[None]]:
    """Until the block ends, at the latest."""
    task = asyncio.create_task(agent.run(), name="agent")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


class WatchedClock(SystemClock):
    """Knows when it was looked at on the agent's thread; the journal looks, too, when it likes."""

    def __init__(self) -> None:
        self.looks: list[float] = []

    def now(self) -> Moment:
        moment = super().now()
        if threading.current_thread() is threading.main_thread():
            self.looks.append(moment.mono)
        return moment

    @property
    def turns(self) -> int:
        """Looks that are further apart than those of one turn."""
        return 1 + sum(later - earlier > HEARTBEAT / 2 for earlier, later in pairwise(self.looks))


class Panic(BaseException):
    """As what a library in another language may raise."""


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration, asyncio.CancelledError, Panic])
async def test_what_a_step_raises_ends_the_agent_and_is_raised(tmp_path: Path, error: type[BaseException]) -> None:
    told: list[FeedEntry] = []

    def tell(entries: Sequence[FeedEntry]) -> None:
        told.extend(entries)
        if any(isinstance(entry, LogEntry) and "cannot be cancelled" in entry.text for entry in entries):
            raise error

    agent = Agent(config(tmp_path, NOBODY), log_to=tell)
    async with running(agent) as task:
        await until(lambda: told, "a step")
        agent.post(CancelRequested("cmd_1"))
        with pytest.raises(RuntimeError if error is StopIteration else error):
            await asyncio.wait_for(task, 5)
    assert not [thread for thread in threading.enumerate() if thread.name == "journal"]


async def test_nothing_that_other_threads_post_is_left_lying(tmp_path: Path) -> None:
    async with living(config(tmp_path, NOBODY)) as here:

        def post(number: int) -> None:
            for count in range(EACH):
                here.post(CancelRequested(f"cmd_{number}_{count}"))

        await asyncio.gather(*(asyncio.to_thread(post, number) for number in range(THREADS)))
        await here.hears("cannot be cancelled", THREADS * EACH)
        for number in range(THREADS):
            counts = [int(text.split("_")[2].split()[0]) for text in here.said(f"cmd_{number}_.*cannot be cancelled")]
            assert counts == list(range(EACH)), "each thread's in its order"


async def test_a_cancelled_agent_takes_no_further_turn(tmp_path: Path) -> None:
    clock = WatchedClock()
    agent = Agent(config(tmp_path, NOBODY), clock=clock)
    async with running(agent) as task:
        await until(lambda: agent.snapshot().started_utc, "the start")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        looks = len(clock.looks)
        agent.post(CancelRequested("cmd_1"))
        await for_a_while(HEARTBEAT * 1.3, lambda: len(clock.looks) == looks)


async def test_an_idle_agent_looks_at_the_clocks_once_a_heartbeat(tmp_path: Path) -> None:
    clock = WatchedClock()
    async with running(Agent(config(tmp_path, NOBODY, backend={"polling": "never"}, websocket={"enabled": False}), clock=clock)):
        await until(lambda: clock.turns > 3, "looks at the clocks")
        assert clock.turns <= 2 + (clock.looks[-1] - clock.looks[0]) / HEARTBEAT


@pytest.mark.parametrize("kind", ["cancel_message", "emit_event"])
async def test_f70_an_answer_of_thousands_of_commands_is_taken_turn_by_turn(tmp_path: Path, kind: str) -> None:
    commands = [{"command_id": f"c{n}", "command_type": kind, "payload": {"schedule_id": f"s{n}"}} for n in range(9_000)]
    answers = [http_answer(b'{"commands":[]}'), http_answer(json.dumps({"commands": commands}).encode())]
    turns: list[int] = []

    def tell(entries: Sequence[FeedEntry]) -> None:
        turns.append(sum(isinstance(entry, LogEntry) and "executed successfully" in entry.text for entry in entries))

    async with HttpStub(lambda path: answers[-1 if path.endswith("/edge/sync") and len(answers) > 1 else 0]) as stub:
        settings = config(tmp_path, stub.url, websocket={"enabled": False}, backend={"polling": "always"})
        async with running(Agent(settings, log_to=tell)):
            await until(lambda: sum(turns) >= 9_000, "9,000 commands", within=60)
    assert sum(turns) == 9_000, "each once"
    assert max(turns) <= MAX_ARRIVALS
