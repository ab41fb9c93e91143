"""The agent's process under torture: the program, with a trigger in it at each boundary of an effect.

python -m tests.harness.mortal CONFIG [before|after|recorded:N]
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from agent_core.agent import Agent
from agent_core.config.layers import load_config
from agent_core.events import Event, Recorded
from agent_core.frames import Command
from agent_core.handlers import REGISTRY, Handler
from agent_core.headless import run_headless
from agent_core.journal.data_dir import DataDirLock, data_dir
from agent_core.messengers import Context
from agent_core.records import Outcome

SENDS = ("send_message", "send_message_now", "schedule_message")
BOUNDARIES = ("before", "after", "recorded")


class Trigger:
    """Kills this process at the n-th boundary of one kind."""

    def __init__(self, spec: str) -> None:
        self._kind, _, count = spec.partition(":")
        self._left = int(count or 0)

    def reached(self, kind: str) -> None:
        if kind == self._kind:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Agent):
    """An agent that may die when its journal has written and nothing has followed from that yet."""

    trigger: Trigger

    def post(self, event: Event) -> None:
        if isinstance(event, Recorded):
            self.trigger.reached("recorded")
        super().post(event)


def mined(handler: Handler, trigger: Trigger) -> Handler:
    """The same handler with a boundary on either side of its effect."""

    async def _awaited(pending: Any) -> Outcome:
        outcome: Outcome = await pending
        trigger.reached("after")
        return outcome

    def run(command: Command, context: Context) -> Any:
        trigger.reached("before")
        outcome = handler(command, context)
        if isinstance(outcome, Outcome):
            trigger.reached("after")
            return outcome
        return _awaited(outcome)

    return run


def run_agent(config_path: Path, spec: str) -> None:
    config = load_config(config_path, os.environ)
    trigger = Trigger(spec)
    for name in SENDS:
        handler, trait = REGISTRY[name]
        REGISTRY[name] = (mined(handler, trigger), trait)
    with DataDirLock(data_dir(config)):
        agent = Mortal(config)
        agent.trigger = trigger
        asyncio.run(run_headless(agent))


if __name__ == "__main__":
    run_agent(Path(sys.argv[1]), sys.argv[2])
