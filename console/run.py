"""The console with an agent inside it, in a terminal or, for a picture, without one."""

import argparse
import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from agent_core.signals import ENDING, heeded
from console.host import Host, LocalHost

if TYPE_CHECKING:
    from agent_core.agent import Agent
    from agent_core.black_box import Step
    from agent_core.config import Config
    from agent_core.config.origin import Origin
    from agent_core.diagnosis.findings import Conclusion, Stage
    from agent_core.recording import Recorder
    from console.app import EdgeConsole
    from console.demo import Demo
    from console.operations import ConsoleOptions
    from console.remote import RemoteHost
    from console.screens.agents import Key
    from console.tunnel import Tunnel

Configured = Callable[[ExitStack], "Config"]
"""The configuration of this run; what it needs to be held is entered into the stack."""
STOP_WITHIN = 6.0
LEAVE_WITHIN = 3.0
DUMB = frozenset({"dumb", "unknown"})
MAX_FAILURES, FAILING_WITHIN = 3, 60.0
"""So many failures of the console in so many seconds are enough of it."""
SWITCH_AFTER = 0.0001
"""Seconds that the agent's thread waits at most for its turn, whatever the console draws (ARCHITECTURE §6)."""


def run_console(
    configured: Configured, verdict: Callable[[], int], env_file: Path, seconds: float | None, recorder: "Recorder | None",
    anew: "Callable[[], Origin | None]", *,
    read_only: bool, demo: "Demo | None", begin_with: str,
) -> int:  # fmt: skip
    """Open the console; returns the exit code: at once, where `verdict`, which may take its time, is not 0.

    The agent starts when the first picture is on the screen: what it imports would hold that up. `env_file` is told of where others can
    read it. Raises what kept it from starting.
    """
    from agent_core import gc_tuning
    from console.app import EdgeConsole
    from console.terminal import giving_back

    app: EdgeConsole
    options: ConsoleOptions | None = None

    def begin(stack: ExitStack) -> "Agent":
        nonlocal options
        config = configured(stack)
        options = console_options(config, begin_with)._replace(fault=demo.fault if demo is not None else None)
        agent = logging_agent(config, stack, recorder, env_file, anew())
        app.call_later(app.configure, options)
        gc_tuning.tune_console()
        return agent

    def opened(crash: str | None) -> EdgeConsole:
        nonlocal app
        app = EdgeConsole(
            host, options=options, read_only=read_only, asks_to_quit=demo is None, theme=theme, on_first_paint=host.start,
            crash_before=crash,
        )  # fmt: skip
        return app

    sys.setswitchinterval(SWITCH_AFTER)
    host = LocalHost(begin)
    theme = _theme()
    app = opened(None)
    code = verdict()
    if code:
        return code
    stop_on_signals(host, giving_back(sys.__stderr__))
    stop_after(host, seconds)
    app = keep_open(app, opened, host)
    host.stop()
    host.join(STOP_WITHIN)
    if host.failure is not None and not host.began:
        raise host.failure
    if app.return_value:
        sys.stderr.write(f"edge-console: {app.return_value}\n")
    return app.return_code or 0


def at_terminal() -> bool:
    """Whether somebody may be there, who types and sees."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def cannot_draw() -> str:
    """The name of the terminal, where it is one that cannot draw a screen."""
    name = os.environ.get("TERM", "") or "unknown"
    return name if name in DUMB else ""


def keep_open(app: "EdgeConsole", opened: Callable[[str | None], "EdgeConsole"], host: Host) -> "EdgeConsole":
    """Run the console, and another one over the same agent where it fails; the last one.

    Where it fails again and again the agent goes on without it, until it is told to stop.
    """
    from console.base import run

    failed_at: deque[float] = deque(maxlen=MAX_FAILURES)
    while True:
        run(app)
        if app.crash is None or host.stopped:
            return app
        failed_at.append(time.monotonic())
        if len(failed_at) == MAX_FAILURES and failed_at[-1] - failed_at[0] < FAILING_WITHIN:
            break
        app = opened(app.crash)
    why = f"the console fails again and again ({app.crash}); the agent goes on without it, until ctrl+c"
    sys.stderr.write(f"edge-console: {why}\n")
    while not host.stopped:
        time.sleep(0.1)
    return app


def run_list(open_agent: "Callable[[Key], int]", tunnels: "Sequence[Tunnel]") -> int:
    """Every agent of this machine and those at the ends of tunnels in a list; the console over one of them, and back.

    Returns the exit code. Raises what keeps a tunnel from being opened the first time.
    """
    from agent_core.config.layers import ConfigError
    from agent_core.control.client import NotRunning, OtherVersion
    from console.agents import AgentsConsole
    from console.base import run

    for tunnel in tunnels:
        tunnel.open()
    chosen, trouble = None, ""
    while True:
        app = AgentsConsole(_theme(), tunnels, at=chosen, trouble=trouble)
        _on_end(app.exit)
        chosen, trouble = run(app), ""
        if app.crash is not None:
            sys.stderr.write(f"edge-console: the list failed: {app.crash}\n")
        if chosen is None:
            return app.return_code or 0
        try:
            open_agent(chosen)
        except (ConfigError, NotRunning, OtherVersion, OSError) as error:
            trouble = str(error)


def run_attached(
    config: "Config", path: Path, *, read_only: bool, begin_with: str, from_list: bool = False, tunnel: "Tunnel | None" = None
) -> int:
    """Open the console over an agent in another process; returns the exit code when it detaches. Raises what keeps it from beginning.

    Where it comes `from_list`, Escape detaches, too, where there is nothing nearer to leave. At the end of a `tunnel` there is no ledger
    to read from here but by the agent.
    """
    gc.disable()
    from agent_core import gc_tuning
    from console.app import EdgeConsole
    from console.remote import RemoteHost

    host = RemoteHost(path, read_only=read_only, tunnel=tunnel)
    host.start()
    theme = _theme()
    options = attached_options(config, begin_with, host, tunnel)

    def opened(crash: str | None) -> EdgeConsole:
        return EdgeConsole(
            host, clock=host, options=options, read_only=read_only, asks_to_quit=False, escape_quits=from_list, theme=theme,
            crash_before=crash, on_first_paint=gc_tuning.tune_console,
        )  # fmt: skip

    _on_end(host.stop)
    app = keep_open(opened(None), opened, host)
    host.stop()
    if app.return_value:
        sys.stderr.write(f"edge-console: {app.return_value}\n")
    return app.return_code or 0


def attached_options(config: "Config", begin_with: str, host: "RemoteHost", tunnel: "Tunnel | None") -> "ConsoleOptions":
    """Of a console over an agent in another process; at the end of a `tunnel` nothing that is asked of files."""
    options = console_options(config, begin_with)._replace(asked=host.asked, words=host.words, ledger=host.search, thread=host.thread)
    return options if tunnel is None else options._replace(needing=None, delays=None, diagnosis=None, log_file=None)


def run_black_box(steps: "Sequence[Step]") -> int:
    """Open the console over what was kept of an incident; returns the exit code."""
    gc.disable()
    from console.base import run
    from console.black_box import BlackBoxConsole

    app = BlackBoxConsole(steps, theme=_theme())
    _on_end(app.exit)
    run(app)
    if app.crash is not None:
        sys.stderr.write(f"edge-console: the console failed: {app.crash}\n")
    return app.return_code or 0


def _theme() -> str:
    return "edge-plain" if os.environ.get("NO_COLOR") else "edge-dark"


def _on_end(act: Callable[[], None]) -> None:
    for number in filter(heeded, ENDING):
        signal.signal(number, lambda _number, _frame: act())


def console_options(config: "Config", begin_with: str = "") -> "ConsoleOptions":
    """Where the console saves, which keys it has, with which filter it begins, and what it can ask."""
    from agent_core.redaction import Redactor
    from console.delays import last_day
    from console.history import asked, needing, searched, thread, words
    from console.keys import keymap
    from console.operations import ConsoleOptions

    folder, redactor = config.data_dir, Redactor(*config.secrets)
    return ConsoleOptions(
        pictures=folder / "screenshots",
        exports=folder / "exports",
        log_file=config.logging.file or folder / "edge-console.log",
        data_dir=folder,
        asked=partial(asked, folder),
        texts=config.console.texts,
        bell=config.console.bell,
        notify=config.console.notify,
        ledger=partial(searched, folder, redactor),
        thread=partial(thread, folder, redactor),
        needing=partial(needing, folder, redactor),
        words=partial(words, folder, redactor),
        delays=partial(last_day, folder),
        begin_with=begin_with,
        keys=keymap(config.console.keys),
        diagnosis=partial(diagnosed, config),
    )


async def diagnosed(config: "Config", *, force: bool) -> "tuple[list[Stage], Conclusion | None]":
    """What `edge-console doctor` would see from here; without `force` it leaves the backend alone while the agent runs."""
    from agent_core.clock import SystemClock
    from agent_core.diagnosis.findings import conclude
    from agent_core.diagnosis.stages import diagnose

    stages = [stage async for stage in diagnose(config, SystemClock(), force=force)]
    return stages, conclude(stages, config)


def picture_of_demo(configured: Configured, options: argparse.Namespace) -> int:
    """One picture of an agent of its own, after `options.after` seconds."""
    from console.app import EdgeConsole

    def begin(stack: ExitStack) -> "Agent":
        config = configured(stack)
        app.call_later(app.configure, console_options(config))
        return logging_agent(config, stack)

    host = LocalHost(begin)
    app = EdgeConsole(host, theme=f"edge-{options.theme}", on_first_paint=host.start)
    try:
        svg = asyncio.run(capture(app, options.size, options.after))
    finally:
        host.stop()
        host.join(STOP_WITHIN)
        if host.failure is not None:
            raise host.failure
    return _saved(svg, options.output)


def picture_of_running(config: "Config", options: argparse.Namespace) -> int:
    """The same of the agent that runs with this data_dir. Raises NotRunning, OtherVersion, OSError."""
    from agent_core.control.address import socket_path
    from console.app import EdgeConsole
    from console.remote import RemoteHost

    host = RemoteHost(socket_path(config.data_dir.expanduser()), read_only=True)
    host.start()
    console = console_options(config)._replace(data_dir=None, ledger=host.search, thread=host.thread)
    try:
        svg = asyncio.run(capture(EdgeConsole(host, theme=f"edge-{options.theme}", options=console), options.size, options.after))
    finally:
        host.stop()
    return _saved(svg, options.output)


def _saved(svg: str, output: Path) -> int:
    from agent_core.files import write_whole
    from console.screenshot import png_of

    write_whole(output, png_of(svg) if output.suffix == ".png" else svg.encode())
    return 0


async def capture(app: "EdgeConsole", size: tuple[int, int], after: float) -> str:
    """Run the app without a terminal, from its first paint for `after` seconds; the SVG of what it then shows."""
    running = asyncio.create_task(app.run_async(headless=True, size=size), name="console")
    painting = asyncio.create_task(app.painted.wait(), name="first paint")
    try:
        await asyncio.wait({running, painting}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({running}, timeout=after)
        if running.done():
            running.result()
            raise RuntimeError(app.return_value or "the console ended before the picture was taken")
        from console.screenshot import svg_of

        return svg_of(app)
    finally:
        painting.cancel()
        if not running.done():
            app.exit()
        await asyncio.wait({running})


def logging_agent(
    config: "Config", stack: ExitStack, recorder: "Recorder | None" = None, env_file: Path | None = None, origin: "Origin | None" = None
) -> "Agent":
    """An agent that logs to its file."""
    import socket

    from agent_core.agent import Agent
    from agent_core.control.directory import announced
    from agent_core.journal.data_dir import cautions
    from agent_core.logs import start_logging

    logs = start_logging(config, stream=None, to_file=True)
    stack.callback(logs.stop)
    folder = config.data_dir.expanduser()
    if origin is not None:
        stack.enter_context(announced(folder, origin.files[0]))
    told = cautions(folder, env_file)
    name = socket.gethostname()
    return Agent(config, host=name, log_to=logs.tell, recorder=recorder, redactor=logs.redactor, cautions=told, origin=origin)


def stop_after(host: LocalHost, seconds: float | None) -> None:
    if seconds is not None:
        timer = threading.Timer(seconds, host.stop)
        timer.daemon = True
        timer.start()


def stop_on_signals(host: LocalHost, give_back: Callable[[], None]) -> None:
    """The first signal stops the agent and the console ends with it; a second one ends the process at once (P12)."""
    asked = False

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            give_back()
            os._exit(128 + number)
        asked = True
        host.stop()
        threading.Thread(target=make_sure, args=(number,), daemon=True).start()

    def make_sure(number: int) -> None:
        """The screen may wait for a terminal that nobody reads; the process does not."""
        host.join(STOP_WITHIN)
        time.sleep(LEAVE_WITHIN)
        os._exit(128 + number)

    for number in filter(heeded, ENDING):
        signal.signal(number, on_signal)
