"""Arguments → Config → headless agent or console. What only one command needs is imported by that command."""

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from agent_core import __version__
from console.cli.options import (
    PLAIN_HELP,
    add_config_options,
    add_demo_option,
    add_filter_option,
    add_run_options,
    configuration,
    env_file,
    judge_filter,
    origin,
    overrides,
    seconds,
)
from console.cli.outcome import OK, USAGE, complain, outcome

if TYPE_CHECKING:
    from agent_core.config.origin import Origin
    from console.demo import Demo


class Parser(argparse.ArgumentParser):
    """Errors in one line, exit 2, with the word that was probably meant."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(complain(f"{_with_the_nearest(message)} (see {self.prog} --help)", USAGE))


def _with_the_nearest(message: str) -> str:
    """argparse's sentence about a choice that is none, in short."""
    found = re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL)
    if found is None:
        return message
    from difflib import get_close_matches

    what, given = found[1], found[2]
    choices = re.findall(r"[\w.-]+", found[3])
    near = get_close_matches(given[:100], choices, 1)
    meant = f": did you mean {near[0]}?" if near else f"; there are {', '.join(choices)}"
    return f"{given[:100]!r} is no {'command' if what == 'COMMAND' or what in choices else f'choice for {what}'}{meant}"


def main(arguments: list[str] | None = None) -> None:
    """The command `edge-console`; ends the process with its exit code."""
    os.umask(0o077)
    given = sys.argv[1:] if arguments is None else arguments
    options, rest = _root(add_help=False).parse_known_args(given)
    if rest:
        options = build_parser().parse_args(given)
    sys.exit(outcome(options.command, options))


def _root(*, add_help: bool = True) -> Parser:
    """What a run without a command takes: alone it is understood before any command is imported."""
    parser = Parser(prog="edge-console", add_help=add_help, description="The edge agent and its console. Without a command: run both.")
    parser.add_argument("--version", action="version", version=f"edge-console {__version__}")
    parser.set_defaults(config=None, data_dir=None, demo=False, seconds=None, record=None, filter="")
    add_run_options(parser)
    parser.add_argument("--no-ui", action="store_true", help="run the agent without the console")
    parser.add_argument("--plain", action="store_true", help=PLAIN_HELP)
    parser.add_argument("--read-only", action="store_true", help="the console only looks: it refuses all that changes anything")
    add_filter_option(parser)
    parser.add_argument("--log-format", choices=("text", "json"), help="of the lines of --no-ui")
    parser.set_defaults(command=_run)
    return parser


def build_parser() -> argparse.ArgumentParser:
    """Every command and option; the help is generated from it."""
    from console.cli import (
        about,
        attention,
        backend,
        config,
        conform,
        control,
        doctor,
        init,
        intake,
        ledger,
        logs,
        recordings,
        replays,
        secret,
        serve,
        service,
        stats,
        upkeep,
        whatif,
    )

    parser = _root()
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for family in (
        init,
        config,
        control,
        intake,
        replays,
        logs,
        backend,
        conform,
        ledger,
        attention,
        serve,
        stats,
        doctor,
        secret,
        whatif,
        recordings,
        upkeep,
    ):
        family.add_parsers(commands)
    service.add_parsers(commands, partial(_run_headless, service=True))
    about.add_parsers(commands, parser)

    screenshot = commands.add_parser("screenshot", help="a picture of the running agent's console, or of a demo's; it needs no terminal")
    add_config_options(screenshot)
    add_demo_option(screenshot)
    screenshot.add_argument("--size", type=_size, default=(120, 36), metavar="COLSxROWS", help="default: 120x36")
    screenshot.add_argument("--after", type=seconds, default=3.0, metavar="SECONDS", help="how long to look first (default: 3)")
    screenshot.add_argument("--theme", choices=("dark", "light"), default="dark")
    screenshot.add_argument("-o", "--output", type=_picture, required=True, metavar="FILE", help="FILE.svg or FILE.png")
    screenshot.set_defaults(command=_screenshot)
    return parser


# --- argument types ------------------------------------------------------------------------------------------------------


def _size(text: str) -> tuple[int, int]:
    columns, _, rows = text.lower().partition("x")
    if not (columns.isdigit() and rows.isdigit() and 10 <= int(columns) <= 500 and 4 <= int(rows) <= 200):
        raise argparse.ArgumentTypeError(f"COLSxROWS such as 120x36 expected, found {text!r}")
    return int(columns), int(rows)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in {".svg", ".png"}:
        raise argparse.ArgumentTypeError(f"a file that ends in .svg or .png expected, found {text!r}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"a file in a directory that is there expected, found {text!r}")
    return path


# --- commands ------------------------------------------------------------------------------------------------------------


def _configured(options: argparse.Namespace, stack: ExitStack, demo: "Demo | None" = None) -> Any:
    """The configuration of this run, for --demo with its backend, and the lock on its data directory."""
    from agent_core.journal.data_dir import DataDirLock, data_dir

    if options.demo:
        from console.demo import Demo

        config = stack.enter_context((demo or Demo()).running(overrides(options), options.seconds))
    else:
        config = configuration(options, require_secret=True, check_files=True)
    stack.enter_context(DataDirLock(data_dir(config)))
    return config


def _run(options: argparse.Namespace) -> int:
    if options.no_ui:
        return _run_headless(options, service=False)
    from console.run import at_terminal, cannot_draw, run_console

    if options.plain or (at_terminal() and cannot_draw()):
        return _run_plain(options, "" if options.plain else cannot_draw())
    if not at_terminal():
        return complain("the console needs a terminal; use --plain for lines, or --no-ui to run the agent without it", USAGE)
    gc.disable()
    verdict = _beside(options)
    from console.cli import recordings
    from console.demo import Demo

    recorder = recordings.recorder_for(options)
    secrets, demo = env_file(options), Demo() if options.demo else None
    return run_console(
        partial(_configured, options, demo=demo), verdict, secrets, options.seconds, recorder, partial(_anew, options),
        read_only=options.read_only, demo=demo, begin_with=options.filter,
    )  # fmt: skip


def _run_plain(options: argparse.Namespace, terminal: str) -> int:
    gc.disable()
    from console.cli import recordings
    from console.plainmode.run import run_plain

    def configured(stack: ExitStack) -> Any:
        config = _configured(options, stack)
        judge_filter(options, config.data_dir)
        return config

    recorder = recordings.recorder_for(options)
    return run_plain(
        configured, env_file(options), options.seconds, recorder, partial(_anew, options),
        read_only=options.read_only, demo=options.demo, begin_with=options.filter, terminal=terminal,
    )  # fmt: skip


def _anew(options: argparse.Namespace) -> "Origin | None":
    """The demonstration's configuration is in no file."""
    return None if options.demo else origin(options)


def _beside(options: argparse.Namespace) -> Callable[[], int]:
    """Judge the configuration in a process of its own, while this one imports textual: a wrong one leaves the terminal alone.

    The exit code, when it is asked for; what is wrong has been said then.
    """
    child = os.fork()
    if child == 0:
        os._exit(outcome(_judge, options))
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _judge(options: argparse.Namespace) -> int:
    from agent_core.messengers.choice import messenger_for
    from agent_core.plugins import load_plugins

    if options.demo:
        judge_filter(options, options.data_dir or Path())
    else:
        with ExitStack() as stack:
            config = _configured(options, stack)
            judge_filter(options, config.data_dir)
            load_plugins()
            messenger_for(config)
    return OK


def _run_headless(options: argparse.Namespace, *, service: bool) -> int:
    gc.disable()
    import asyncio

    from agent_core.agent import Agent
    from agent_core.control.directory import announced
    from agent_core.headless import run_headless
    from agent_core.journal.data_dir import cautions
    from agent_core.logs import start_logging
    from console.cli import recordings

    with ExitStack() as stack:
        config = _configured(options, stack)
        logs = start_logging(config, stream=None if service else sys.stdout, to_file=True)
        stack.callback(logs.stop)
        recorder = recordings.recorder_for(options)
        folder, source = config.data_dir.expanduser(), _anew(options)
        if source is not None:
            stack.enter_context(announced(folder, source.files[0]))
        told = cautions(folder, env_file(options))
        agent = Agent(config, log_to=logs.tell, recorder=recorder, viewed=False, redactor=logs.redactor, cautions=told, origin=source)
        asyncio.run(run_headless(agent, options.seconds, service=service))
    return OK


def _screenshot(options: argparse.Namespace) -> int:
    from console.run import picture_of_demo, picture_of_running

    if options.demo:
        return picture_of_demo(partial(_configured, options), options)
    return picture_of_running(configuration(options), options)
