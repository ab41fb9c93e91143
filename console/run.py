"""The console with an agent inside it, in a terminal or, for a picture, without one."""

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from agent_core.config import Config
from console.diagnosis_commands import recorder_for
from console.host import LocalHost

if TYPE_CHECKING:
    from agent_core.findings import Conclusion, Stage
    from agent_core.recording import Recorder

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
STOP_WITHIN = 6.0


def run_console(
    config: Config, stack: ExitStack, seconds: float | None, recorder: "Recorder | None" = None, *, read_only: bool = False
) -> int:
    """Open the console; returns the exit code. The agent starts first, so that it dials while textual is imported."""
    keys = checked_keys(config)
    host = start_agent(config, stack, recorder)
    from console.app import EdgeConsole, calm_collector, run

    app = EdgeConsole(
        host, pictures=pictures(config), exports=config.data_dir / "exports", read_only=read_only, keys=keys,
        log_file=config.logging.file or config.data_dir / "edge-console.log",
        theme="edge-plain" if os.environ.get("NO_COLOR") else "edge-dark", diagnosis=partial(diagnosed, config),
        on_first_paint=calm_collector,
    )  # fmt: skip
    stop_on_signals(host, app.exit)
    if seconds is not None:
        timer = threading.Timer(seconds, host.stop)
        timer.daemon = True
        timer.start()
    code = run(app)
    host.stop()
    host.join(STOP_WITHIN)
    if app.return_value:
        sys.stderr.write(f"edge-console: {app.return_value}\n")
    return code


async def diagnosed(config: Config) -> "tuple[list[Stage], Conclusion | None]":
    """What `edge-console doctor` would see from here; the running agent is left alone."""
    from agent_core.clock import SystemClock
    from agent_core.diagnosis import diagnose
    from agent_core.findings import conclude

    stages = [stage async for stage in diagnose(config, SystemClock())]
    return stages, conclude(stages, config)


def checked_keys(config: Config) -> dict[str, str]:
    """The configured keys, judged before anything starts. Raises `ConfigError`."""
    if not config.console.keys:
        return {}
    from console.app import EdgeConsole
    from console.keys import checked

    return checked(config.console.keys, EdgeConsole.named_bindings())


def take_screenshot(config: Config, stack: ExitStack, options: argparse.Namespace) -> int:
    """One picture after `options.after` seconds."""
    host = start_agent(config, stack, recorder_for(options))
    from console.app import EdgeConsole
    from console.screenshot import capture, png_of, write

    output: Path = options.output
    app = EdgeConsole(host, pictures=None, theme=f"edge-{options.theme}")
    try:
        svg = asyncio.run(capture(app, options.size, options.after))
    finally:
        host.stop()
    write(output, png_of(svg) if output.suffix == ".png" else svg.encode())
    host.join(STOP_WITHIN)
    return 0


def start_agent(config: Config, stack: ExitStack, recorder: "Recorder | None" = None) -> LocalHost:
    from agent_core.logs import start_logging

    logs = start_logging(config, stream=None, to_file=True)
    stack.callback(logs.stop)
    host = LocalHost(config, log_to=logs.tell, recorder=recorder)
    host.start()
    return host


def pictures(config: Config) -> Path:
    """Where ctrl+s saves."""
    return config.data_dir / "screenshots"


def stop_on_signals(host: LocalHost, leave: Callable[[], None]) -> None:
    """The first signal stops the agent and the console ends with it; a second one leaves at once (P12)."""
    asked = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            leave()
        asked = True
        host.stop()

    for number in SIGNALS:
        signal.signal(number, on_signal)
