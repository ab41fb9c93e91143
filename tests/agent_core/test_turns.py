"""The agent's turn: called whenever there is something to do, and the end of the agent when it fails."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_core.agent import HEARTBEAT, Agent
from agent_core.engine import Engine
from agent_core.events import CancelRequested, Effect, Event
from tests.harness.rig import config, living, until

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


def calls(monkeypatch: pytest.MonkeyPatch, error: type[BaseException] = Exception, fails_on: type[Event] | None = None) -> list[int]:
    """How many events each step had; one that has `fails_on` raises `error`."""
    steps: list[int] = []
    handle_all = Engine.handle_all

    def noted(self: Engine, events: Iterable[Event], *rest: Any) -> list[Effect]:
        told = list(events)
        steps.append(len(told))
        if fails_on is not None and any(isinstance(event, fails_on) for event in told):
            raise error
        return handle_all(self, told, *rest)

    monkeypatch.setattr(Engine, "handle_all", noted)
    return steps


class Panic(BaseException):
    """As what a library in another language may raise."""


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration, asyncio.CancelledError, Panic])
async def test_what_a_step_raises_ends_the_agent_and_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    steps = calls(monkeypatch, error, CancelRequested)
    agent = Agent(config(tmp_path, NOBODY))
    async with running(agent) as task:
        await until(lambda: steps, "a step")
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


async def test_a_cancelled_agent_takes_no_further_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = calls(monkeypatch)
    agent = Agent(config(tmp_path, NOBODY))
    async with running(agent) as task:
        await until(lambda: len(steps) > 1, "two steps")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        taken = len(steps)
        agent.post(CancelRequested("cmd_1"))
        await asyncio.sleep(HEARTBEAT * 1.3)
        assert len(steps) == taken


async def test_an_idle_agent_looks_at_the_clocks_once_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(config(tmp_path, NOBODY, backend={"polling": "never"}, websocket={"enabled": False})) as here:
        await here.until(lambda s: s.started_utc > 0, "the start")
        await asyncio.sleep(0.2)
        steps = calls(monkeypatch)
        await asyncio.sleep(HEARTBEAT * 3.5)
        assert 2 <= len(steps) <= 5
