"""Arguments → Config → headless agent or console. What only one command needs is imported by that command."""

import argparse
import gc
import json
import os
import sys
from argparse import SUPPRESS
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from agent_core import __version__
from console.cli import doctor, ledger

OK, FAILED, USAGE, NO_PERMISSION = 0, 1, 2, 5


class Parser(argparse.ArgumentParser):
    """Errors in one line, exit 2."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_complain(f"{self.prog}: {message} (see {self.prog} --help)", USAGE))


def main(arguments: list[str] | None = None) -> None:
    """The command `edge-console`; ends the process with its exit code."""
    os.umask(0o077)
    options = build_parser().parse_args(arguments)
    sys.exit(_outcome(options.command, options))


def _outcome(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return command(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:  # noqa: BLE001  (the process's edge: one sentence, never a traceback)
        return _explain(error)


def _explain(error: Exception) -> int:
    from agent_core.config.layers import ConfigError
    from agent_core.plain import plain

    name = type(error).__name__
    if isinstance(error, ConfigError):
        return _complain(str(error), USAGE)
    if name in {"CannotServeError", "PortTakenError"}:
        return _complain(str(error), USAGE)
    if name in {"DataDirInUse", "NoLedger", "SendError"}:
        return _complain(str(error), FAILED)
    if isinstance(error, PermissionError):
        return _complain(f"no permission: {plain(error)}", NO_PERMISSION)
    if isinstance(error, OSError):
        return _complain(plain(error), FAILED)
    return _complain(f"unexpected {name}: {plain(error)}", FAILED)


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(f"edge-console: {sentence.removeprefix('edge-console: ')}\n")
    return code


def build_parser() -> argparse.ArgumentParser:
    """Every command and option; the help is generated from it."""
    parser = Parser(prog="edge-console", description="The edge agent and its console. Without a command: run both.")
    parser.add_argument("--version", action="version", version=f"edge-console {__version__}")
    parser.set_defaults(config=None, data_dir=None, demo=False, seconds=None, record=None)
    _add_run_options(parser)
    parser.add_argument("--no-ui", action="store_true", help="run the agent without the console")
    parser.add_argument("--read-only", action="store_true", help="the console only looks: it refuses all that changes anything")
    parser.add_argument("--log-format", choices=("text", "json"), help="of the lines of --no-ui")
    parser.set_defaults(command=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    backend = commands.add_parser("backend", help="serve the reference backend on a loopback port")
    backend.add_argument("--port", type=_port, default=8787, help="0: any free one, told as one JSON line (default: 8787)")
    backend.add_argument("--data-dir", type=Path, default=SUPPRESS, help="keep commands and acks there (default: in memory)")
    backend.add_argument("--enforce-limits", action="store_true", help="10 connects and 100 frames a minute, pings 10 s apart")
    backend.set_defaults(command=_backend)

    send = commands.add_parser("send", help="queue a command at a running reference backend")
    send.add_argument("type", help="send_message, send_message_now, schedule_message, cancel_message, update_config …")
    send.add_argument("--payload", type=_json_object, default={}, metavar="JSON", help="the command's payload, an object")
    send.add_argument("--to", metavar="ID", help="the agent (default: the only one there)")
    send.add_argument("--command-id", metavar="ID", help="default: a new one")
    send.add_argument("--priority", help="immediate, high, normal, low or deferred")
    send.add_argument("--backend", default="http://127.0.0.1:8787", metavar="URL", help="default: %(default)s")
    send.set_defaults(command=_send)

    outbox = commands.add_parser("outbox", help="what the outbox messenger has recorded as sent")
    listing = outbox.add_subparsers(required=True, metavar="ls").add_parser("ls", help="list the messages, oldest first")
    _add_config_options(listing)
    listing.add_argument("--json", action="store_true", help="an array of {command_id, thread_id, text, sent_utc}")
    listing.set_defaults(command=_outbox)

    ledger.add_parsers(commands, _add_config_options)
    doctor.add_parsers(commands, _add_config_options)

    screenshot = commands.add_parser("screenshot", help="a picture of the console, with no terminal at all")
    _add_run_options(screenshot)
    screenshot.add_argument("--size", type=_size, default=(120, 36), metavar="COLSxROWS", help="default: 120x36")
    screenshot.add_argument("--after", type=_seconds, default=3.0, metavar="SECONDS", help="how long to run first (default: 3)")
    screenshot.add_argument("--theme", choices=("dark", "light"), default="dark")
    screenshot.add_argument("-o", "--output", type=_picture, required=True, metavar="FILE", help="FILE.svg or FILE.png")
    screenshot.set_defaults(command=_screenshot)
    return parser


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    """They may stand before or behind the command: its own defaults, which argparse would take last, are those of the whole."""
    parser.add_argument("--config", type=Path, default=SUPPRESS, metavar="FILE", help="default: config.yaml here, if there is one")
    parser.add_argument("--data-dir", type=Path, default=SUPPRESS, metavar="DIR", help="outranks the configuration's data_dir")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    _add_config_options(parser)
    parser.add_argument("--demo", action="store_true", default=SUPPRESS, help="against a reference backend inside, with traffic")
    parser.add_argument("--for", dest="seconds", type=_seconds, default=SUPPRESS, metavar="SECONDS", help="stop after so long")
    doctor.add_record_options(parser)


# --- argument types ------------------------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"seconds expected, found {text!r}")
    return value


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535 expected, found {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    columns, _, rows = text.lower().partition("x")
    if not (columns.isdigit() and rows.isdigit() and 10 <= int(columns) <= 500 and 4 <= int(rows) <= 200):
        raise argparse.ArgumentTypeError(f"COLSxROWS such as 120x36 expected, found {text!r}")
    return int(columns), int(rows)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in {".svg", ".png"}:
        raise argparse.ArgumentTypeError(f"a file that ends in .svg or .png expected, found {text!r}")
    return path


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('a JSON object such as \'{"thread_id": "+1…", "text": "hi"}\' expected')
    return value


# --- commands ------------------------------------------------------------------------------------------------------------


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    chosen = {"data_dir": options.data_dir, "logging.format": getattr(options, "log_format", None)}
    return {key: value for key, value in chosen.items() if value is not None}


def _configured(options: argparse.Namespace, stack: ExitStack) -> Any:
    """The configuration of this run, for --demo with its backend, and the lock on its data directory."""
    from agent_core.config.layers import load_config
    from agent_core.journal.data_dir import DataDirLock, data_dir

    if options.demo:
        from console.demo import demonstration

        config = stack.enter_context(demonstration(_overrides(options), options.seconds))
    else:
        config = load_config(options.config, os.environ, overrides=_overrides(options))
    stack.enter_context(DataDirLock(data_dir(config)))
    return config


def _run(options: argparse.Namespace) -> int:
    if options.no_ui:
        return _run_headless(options)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return _complain("the console needs a terminal; use --no-ui to run the agent without it", USAGE)
    gc.disable()
    verdict = _beside(options)
    from console.run import run_console

    recorder = doctor.recorder_for(options)
    return run_console(partial(_configured, options), verdict, options.seconds, recorder, read_only=options.read_only)


def _beside(options: argparse.Namespace) -> Callable[[], int]:
    """Judge the configuration in a process of its own, while this one imports textual: a wrong one leaves the terminal alone.

    The exit code, when it is asked for; what is wrong has been said then.
    """
    child = os.fork()
    if child == 0:
        os._exit(_outcome(_judge, options))
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _judge(options: argparse.Namespace) -> int:
    if not options.demo:
        with ExitStack() as stack:
            config = _configured(options, stack)
            if config.console.keys:
                from console.run import checked_keys

                checked_keys(config)
    return OK


def _run_headless(options: argparse.Namespace) -> int:
    import asyncio

    from agent_core.agent import Agent
    from agent_core.headless import run_headless
    from agent_core.logs import start_logging

    with ExitStack() as stack:
        config = _configured(options, stack)
        logs = start_logging(config, stream=sys.stdout, to_file=True)
        stack.callback(logs.stop)
        recorder = doctor.recorder_for(options)
        asyncio.run(run_headless(Agent(config, log_to=logs.tell, recorder=recorder, viewed=False), options.seconds))
    return OK


def _backend(options: argparse.Namespace) -> int:
    from agent_core.reference.limits import NO_LIMITS, PROTOCOL_LIMITS
    from agent_core.reference.main import run_backend

    limits = PROTOCOL_LIMITS if options.enforce_limits else NO_LIMITS
    return run_backend(port=options.port, data_dir=options.data_dir, limits=limits)


def _send(options: argparse.Namespace) -> int:
    from agent_core.reference.main import send_command

    command_id = send_command(
        options.backend, None, options.to, options.type, options.payload, options.command_id, priority=options.priority
    )
    print(command_id)
    return OK


def _outbox(options: argparse.Namespace) -> int:
    from agent_core.clock import iso
    from agent_core.config.layers import load_config
    from agent_core.journal.reader import outbox
    from agent_core.plain import plain

    config = load_config(options.config, os.environ, overrides=_overrides(options), require_secret=False)
    rows = outbox(config.data_dir)
    if options.json:
        fields = [{"command_id": r.command_id, "thread_id": r.thread_id, "text": r.text, "sent_utc": iso(r.sent_utc)} for r in rows]
        print(json.dumps(fields, ensure_ascii=True, indent=1))
    else:
        for row in rows:
            print(f"{iso(row.sent_utc)}  {row.command_id:<18}  {plain(row.thread_id, 20):<16}  {plain(row.text, 100)}")
    return OK


def _screenshot(options: argparse.Namespace) -> int:
    from console.run import take_screenshot

    return take_screenshot(partial(_configured, options), options, doctor.recorder_for(options))
