"""The agent without a screen: runs until a signal or for so many seconds, and ends cleanly."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from msgspec import to_builtins

from agent_core import gc_tuning
from agent_core.agent import Agent, log
from agent_core.events import StopRequested
from agent_core.files import dated, write_whole
from agent_core.journal.data_dir import data_dir
from agent_core.service.notify import report_turns
from agent_core.signals import ENDING, heeded

SWITCH_AFTER = 0.001
"""Seconds for which a busy agent may keep the interpreter from its journal: in 5 ms (Python's) a burst piles up in memory."""


def save_state(agent: Agent) -> None:
    """SIGUSR1: the whole present as text in the data directory, beside the console's screenshots."""
    present = to_builtins(agent.present())
    try:
        path = dated(data_dir(agent.config) / "screenshots", "state", time.time(), "txt")
        write_whole(path, (json.dumps(present, indent=1) + "\n").encode())
    except OSError as error:
        log.warning("the state cannot be saved: %s", error.strerror)
    else:
        log.info("state saved: %s", path)


async def run_headless(agent: Agent, seconds: float | None = None, *, service: bool = False) -> None:
    """Run an agent to its clean end. The first signal asks for it, a second one ends the process at once (P12).

    SIGHUP is one of them, except under a `service`, which has no terminal to lose: there it makes the agent read anew. The
    second does not wait for the loop, which a handler may hold up. Raises what ended the agent.
    """
    sys.setswitchinterval(SWITCH_AFTER)
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True

    ending = [number for number in filter(heeded, ENDING) if not (service and number is signal.SIGHUP)]
    for number in ending:
        loop.add_signal_handler(number, agent.post, StopRequested())
        signal.signal(number, on_signal)
    if service:
        loop.add_signal_handler(signal.SIGHUP, agent.reload)
    if heeded(signal.SIGUSR1):
        loop.add_signal_handler(signal.SIGUSR1, save_state, agent)
    timer = loop.call_later(seconds, agent.post, StopRequested()) if seconds is not None else None
    loop.call_later(2.0, gc_tuning.tune_headless)
    beside = [report_turns(agent, os.environ)]
    if service and shutil.which("launchctl"):
        from agent_core.diagnosis.grants import watch

        beside.append(watch(agent.post, agent.config, Path(sys.executable)))
    tasks = [loop.create_task(work, name="supervisor") for work in beside]
    try:
        await agent.run()
    finally:
        for task in tasks:
            task.cancel()
        if timer is not None:
            timer.cancel()
        for number in (*ENDING, signal.SIGUSR1):
            loop.remove_signal_handler(number)
