"""`edge-console pause`, `resume` and `drain`: what the running agent takes, and a clean end with every ack proven."""

import argparse
import time
from typing import TYPE_CHECKING, Any

from console.cli.control import agent_socket, ask
from console.cli.options import add_config_options, configuration, seconds
from console.cli.outcome import FAILED, OK, complain

if TYPE_CHECKING:
    from pathlib import Path

    from agent_core.control.client import Viewer

LEFT = (("commands not finished", ("queued", "running")), ("acks not proven", ("unproven",)))
WAITING_SHARE = 0.9
"""Of the timeout, for what may never come; the rest is for the agent's end."""
DRAIN_HELP = """Takes nothing new, finishes what is taken, waits until the backend is known to have every ack and event, and ends the agent.
Messages due later or held stay in the ledger for the next start, and so do, near the timeout, those that the policy makes wait and events
that the backend does not take. Exit 0: nothing else is left; 1: something is, or not in time (the agent goes on draining; `resume` calls
it off). Under launchd or systemd the agent stays down until it is started again."""


def add_parsers(commands: Any) -> None:
    pause = commands.add_parser("pause", help="have the running agent take no new commands until resume, also after a restart")
    pause.set_defaults(command=_pause)
    resume = commands.add_parser("resume", help="have the running agent take commands again")
    resume.set_defaults(command=_resume)
    drain = commands.add_parser("drain", help="have the running agent finish, prove every ack, and end", description=DRAIN_HELP)
    drain.add_argument("--timeout", type=seconds, default=300.0, metavar="SECONDS", help="how long to wait (default: 300)")
    drain.set_defaults(command=_drain)
    for parser in (pause, resume, drain):
        add_config_options(parser)


def _pause(options: argparse.Namespace) -> int:
    from agent_core.events import IntakePaused

    return ask(options, IntakePaused(), "paused: the backend keeps new commands")


def _resume(options: argparse.Namespace) -> int:
    from agent_core.events import IntakeResumed

    return ask(options, IntakeResumed(), "resumed")


def _drain(options: argparse.Namespace) -> int:
    return drain(agent_socket(options), configuration(options).data_dir.expanduser(), options.timeout)


def drain(socket: "Path", folder: "Path", timeout: float) -> int:
    """Have the agent drain, and wait for its end; the exit code. Raises NotRunning, NoLedger."""
    from agent_core.control.client import Viewer
    from agent_core.control.messages import Post
    from agent_core.events import DrainRequested

    with Viewer(socket, past=False) as viewer:
        viewer.send(Post(1, DrainRequested(timeout * WAITING_SHARE)))
        ended = _ends(viewer, time.monotonic() + timeout)
    left = _left(folder)
    if not ended:
        return complain(f"not drained within {timeout:g} s: {left}; it goes on, edge-console resume calls it off", FAILED)
    if left is not None:
        return complain(f"the agent has ended before all was drained: {left}; edge-console logs tells why", FAILED)
    print("drained: nothing runs, every ack and event is proven, the agent has ended")
    return OK


def _ends(viewer: "Viewer", by: float) -> bool:
    try:
        while viewer.next(by - time.monotonic()) is not None:
            pass
    except TimeoutError:
        return False
    return True


def _left(folder: "Path") -> str | None:
    """What the ledger holds that a drain would have finished; None for nothing. Raises NoLedger."""
    from agent_core.journal.reader import commands, owed_events

    counts = [(what, sum(1 for state in states for _ in commands(folder, state))) for what, states in LEFT]
    counts.append(("events not proven", owed_events(folder)))
    return ", ".join(f"{count} {what}" for what, count in counts if count) or None
