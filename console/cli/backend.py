"""`edge-console backend` and `edge-console send`: the reference backend, and a command for it."""

import argparse
import json
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from console.cli.outcome import OK


def add_parsers(commands: Any) -> None:
    """`backend`, `send`."""
    backend = commands.add_parser("backend", help="serve the reference backend on a loopback port")
    backend.add_argument("--port", type=_port, default=8787, help="0: any free one, told as one JSON line (default: 8787)")
    kept = backend.add_mutually_exclusive_group()
    kept.add_argument(
        "--store",
        metavar="URL",
        help="keep commands and acks there: sqlite:PATH, or postgresql://… for many instances (default: EDGE_STORE, else in memory)",
    )
    kept.add_argument("--data-dir", type=Path, default=SUPPRESS, metavar="DIR", help="the same as --store sqlite:DIR")
    backend.add_argument("--name", action="append", default=[], metavar="HOST", help="it is reached by this name, too, as behind a proxy")
    backend.add_argument("--enforce-limits", action="store_true", help="10 connects and 100 frames a minute, pings 10 s apart")
    about = "default: 127.0.0.1; on any other, EDGE_SECRET and EDGE_ADMIN_TOKEN must be set"
    backend.add_argument("--host", default="127.0.0.1", help=about)
    backend.add_argument("--log-format", choices=("text", "json"), default="text", help="of what is said on standard error as it happens")
    backend.add_argument("--faults", action="store_true", help="let admin calls and the page at / tell it to do wrong")
    backend.set_defaults(command=_backend)

    send = commands.add_parser("send", help="queue a command at a running reference backend")
    send.add_argument("type", help="send_message, send_message_now, schedule_message, cancel_message, update_config …")
    send.add_argument("--payload", type=_json_object, default={}, metavar="JSON", help="the command's payload, an object")
    send.add_argument("--to", metavar="ID", help="the agent (default: the only one there)")
    send.add_argument("--command-id", metavar="ID", help="default: a new one")
    send.add_argument("--priority", help="immediate, high, normal, low or deferred")
    send.add_argument("--backend", type=_url, default="http://127.0.0.1:8787", metavar="URL", help="default: %(default)s")
    send.set_defaults(command=_send)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535 expected, found {text!r}")
    return int(text)


def _url(text: str) -> str:
    from agent_core.config.models import checked_url

    try:
        return checked_url(text, "http")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, found {text!r}") from None


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('a JSON object such as \'{"thread_id": "+1…", "text": "hi"}\' expected')
    return value


def _backend(options: argparse.Namespace) -> int:
    from agent_core.reference.limits import NO_LIMITS, PROTOCOL_LIMITS
    from agent_core.reference.main import run_backend

    limits = PROTOCOL_LIMITS if options.enforce_limits else NO_LIMITS
    store = f"sqlite:{options.data_dir}" if options.data_dir is not None else options.store
    return run_backend(
        options.host,
        options.port,
        store,
        names=tuple(options.name),
        limits=limits,
        faults=options.faults,
        log_json=options.log_format == "json",
    )


def _send(options: argparse.Namespace) -> int:
    from agent_core.reference.client import send_command

    command_id = send_command(
        options.backend, None, options.to, options.type, options.payload, options.command_id, priority=options.priority
    )
    print(command_id)
    return OK
