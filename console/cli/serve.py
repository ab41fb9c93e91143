"""`edge-console serve`: the attached console in a browser on this machine."""

import argparse
import sys
from typing import Any

from console.cli.control import agent_socket
from console.cli.options import add_config_options, add_filter_option, configuration, judge_filter
from console.cli.outcome import OK

SERVE_HELP = """Serves the console over the agent that runs with this data_dir to browsers on this machine: at the URL that it prints,
whose token is new with each run, until ctrl+c. It holds no agent: each page has a console of its own, which ends with the page, and the
agent goes on. From another machine: ssh -L PORT:127.0.0.1:PORT, with the same PORT."""


def add_parsers(commands: Any) -> None:
    serve = commands.add_parser("serve", help="the attached console in a browser on this machine (extra web)", description=SERVE_HELP)
    add_config_options(serve)
    serve.add_argument("--port", type=_port, default=0, metavar="P", help="on 127.0.0.1 (default: a free one)")
    serve.add_argument("--read-only", action="store_true", default=argparse.SUPPRESS, help="only look: the agent refuses the rest")
    add_filter_option(serve)
    serve.set_defaults(command=_serve)


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= 65_535:
        return int(text)
    raise argparse.ArgumentTypeError(f"a port from 1 to 65535 expected, found {text[:40]!r}")


def _serve(options: argparse.Namespace) -> int:
    import asyncio

    from agent_core.control.client import Viewer

    config = configuration(options)
    judge_filter(options, config.data_dir)
    with Viewer(agent_socket(options), read_only=True, past=False):
        asyncio.run(_until_ended(_command(options), options.port))
    return OK


def _command(options: argparse.Namespace) -> list[str]:
    """What each page runs."""
    command = [sys.executable, "-P", "-m", "console", "attach", "--filter", options.filter]
    command += ["--config", str(options.config)] if options.config else []
    command += ["--data-dir", str(options.data_dir)] if options.data_dir else []
    return command + ["--read-only"] * bool(options.read_only)


async def _until_ended(command: list[str], port: int) -> None:
    """Raises PortTakenError."""
    import asyncio

    from agent_core.signals import ENDING, heeded
    from console.web.server import Server

    ended = asyncio.Event()
    for number in filter(heeded, ENDING):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with Server(command, port) as server:
        print(f"{server.url}\nwhoever has this address sees the console: ctrl+c ends it", flush=True)
        await ended.wait()
