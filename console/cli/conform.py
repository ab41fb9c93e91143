"""`conform` judges a backend by the clauses of docs/PROTOCOL.md, `dev` whenever its source is saved; `spec` prints the wire as models."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from console.cli.options import seconds
from console.cli.outcome import FAILED, OK, USAGE, complain

if TYPE_CHECKING:
    from agent_core.conform.bench import Target
    from agent_core.conform.judge import Verdict


def add_parsers(commands: Any) -> None:
    """`conform`, `dev`, `spec`."""
    about = "judge a backend by the clauses of docs/PROTOCOL.md, acting as agents"
    conform = commands.add_parser("conform", help=about, description=f"{about}; the agents' secret is EDGE_SECRET")
    _add_target(conform)
    form = conform.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the verdicts, with what was said")
    form.add_argument("--junit", type=Path, metavar="FILE", help="write them as JUnit XML, too")
    conform.set_defaults(command=_conform)

    dev = commands.add_parser("dev", help="start a backend, judge it, and again whenever a file below this directory is saved")
    _add_target(dev)
    dev.add_argument("--ready-within", type=seconds, default=20.0, metavar="SECONDS", help="for the port to answer (default: 20)")
    dev.add_argument("backend", nargs="+", metavar="CMD", help="behind --: the command that starts it")
    dev.set_defaults(command=_dev)

    spec = commands.add_parser("spec", help="the wire as models: JSON Schema, AsyncAPI, TypeScript types, or Markdown")
    spec.add_argument(
        "--format", choices=("json-schema", "asyncapi", "typescript", "md"), default="json-schema", help="default: %(default)s"
    )
    spec.set_defaults(command=_spec)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="http:// or https://, as backend.url")
    parser.add_argument("--websocket-url", metavar="URL", help="default: the URL with http→ws, https→wss")
    queueing = parser.add_mutually_exclusive_group()
    queueing.add_argument("--enqueue", metavar="'CMD {agent} {type} {payload}'", help="a command that queues one for an agent")
    queueing.add_argument("--admin-token", metavar="TOKEN", help="POST /admin/commands queues it (default: EDGE_ADMIN_TOKEN)")
    parser.add_argument("--agent", action="append", default=[], metavar="ID", help="play only this id (again for more); default: new ones")
    parser.add_argument("--only", action="append", default=[], metavar="CLAUSE", help="judge only this clause (again for more)")


def _target(options: argparse.Namespace) -> "Target | str":
    """The backend that is meant, or what is wrong with the arguments."""
    from agent_core.conform.bench import Target
    from agent_core.conform.clauses import BY_ID

    parts = urlsplit(options.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return f"URL: http:// or https:// with a host expected, found {options.url!r}"
    if unknown := [name for name in options.only if name not in BY_ID]:
        return f"--only: {unknown[0]} is no clause; there are {', '.join(BY_ID)}"
    secret = os.environ.get("EDGE_SECRET")
    if not secret:
        return "the agents' secret is not set: put it into EDGE_SECRET"
    admin_token = None if options.enqueue else options.admin_token or os.environ.get("EDGE_ADMIN_TOKEN")
    socket_url = options.websocket_url or "ws" + options.url.removeprefix("http")
    return Target(options.url, socket_url.rstrip("/"), secret, admin_token, options.enqueue, tuple(options.agent))


def _conform(options: argparse.Namespace) -> int:
    from agent_core.conform import judge
    from agent_core.conform.judge import Result
    from agent_core.conform.report import as_json, as_junit, lines

    target = _target(options)
    if isinstance(target, str):
        return complain(target, USAGE)
    verdicts = asyncio.run(judge(target, options.only, _progress()))
    if options.junit is not None:
        options.junit.write_text(as_junit(verdicts), encoding="utf-8")
    print(as_json(verdicts) if options.json else "\n".join(lines(verdicts)))
    return FAILED if any(verdict.result is Result.FAIL for verdict in verdicts) else OK


def _progress() -> "Callable[[Verdict], None]":
    """On a terminal, how many verdicts have fallen."""
    count = 0

    def tell(_verdict: "Verdict") -> None:
        nonlocal count
        count += 1
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[Kjudged {count} …\r")
            sys.stderr.flush()

    return tell


def _spec(options: argparse.Namespace) -> int:
    from agent_core.conform.spec import FORMATS

    print(FORMATS[options.format]())
    return OK


def _dev(options: argparse.Namespace) -> int:
    from agent_core.conform.workshop import Workshop

    target = _target(options)
    if isinstance(target, str):
        return complain(target, USAGE)
    return asyncio.run(Workshop(target, options.backend, options.only, options.ready_within).run())
