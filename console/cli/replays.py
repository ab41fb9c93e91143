"""`edge-console commands ls`, `show`, `replay`, `cancel` and `resolve`: what the agent knows of its commands, and what to do with one."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from agent_core.plain import plain
from console.cli.control import ask
from console.cli.ledger import add_ls, add_show
from console.cli.options import add_config_options, configuration
from console.cli.outcome import FAILED, OK, USAGE, complain

if TYPE_CHECKING:
    from agent_core.records import Remembered

CANCELLED_WITHIN = 5.0
LOOK_EVERY = 0.05
MAX_PAYLOAD = 2**20 - 2_000


def add_parsers(commands: Any) -> None:
    below = commands.add_parser("commands", help="the agent's commands: ls, show, replay, cancel, resolve").add_subparsers(
        required=True, title="commands", metavar="COMMAND"
    )
    replay = below.add_parser("replay", help="have the running agent run a command once more, which sends no ack; asks first")
    replay.add_argument("--payload", metavar="JSON", help="with this in place of its own")
    replay.add_argument("--dry-run", action="store_true", help="only tell, in the agent's log, what would run")
    replay.set_defaults(command=_replay)
    cancel = below.add_parser("cancel", help="have the running agent not send a message that is due later; asks first")
    cancel.set_defaults(command=_cancel)
    resolve = below.add_parser("resolve", help="say what came of a command that needs attention: sent, not sent, or of no consequence")
    resolve.add_argument("--as", dest="resolution", required=True, choices=("sent", "unsent", "dismissed"),
                         help="sent, unsent: only of an unknown outcome")  # fmt: skip
    resolve.add_argument("--guid", help="with --as sent: which of its candidates it was, as `attention` lists them")
    resolve.set_defaults(command=_resolve)
    for parser in (replay, cancel, resolve):
        parser.add_argument("id", metavar="ID", help="its command_id")
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
        add_config_options(parser)
    add_ls(below)
    add_show(below)


def _replay(options: argparse.Namespace) -> int:
    from agent_core.events import ReplayRequested

    payload = None
    if options.payload is not None:
        try:
            payload = json.loads(options.payload[:MAX_PAYLOAD])
        except (ValueError, RecursionError):
            payload = ()
        if not isinstance(payload, dict):
            return complain("--payload: expected a JSON object", USAGE)
    record = _known(options)
    if record is None:
        return FAILED
    if not options.dry_run and (code := _unless_agreed(options, f"Run {_words(record)} once more?")) is not None:
        return code
    said = "told in the log" if options.dry_run else "asked for; edge-console commands ls --last 5 shows what has come of it"
    return ask(options, ReplayRequested(options.id, payload, options.dry_run), f"replay of {plain(options.id, 200)}: {said}")


def _cancel(options: argparse.Namespace) -> int:
    from agent_core.events import CancelRequested

    record = _known(options)
    if record is None:
        return FAILED
    if record.state != "scheduled":
        return complain(f"command {plain(options.id, 200)} is {record.state}: only one that is due later can be cancelled", FAILED)
    if (code := _unless_agreed(options, f"Cancel {_words(record)}?")) is not None:
        return code
    if (code := ask(options, CancelRequested(options.id), f"asked to cancel {plain(options.id, 200)}")) != OK:
        return code
    return _see_it_cancelled(options)


def _resolve(options: argparse.Namespace) -> int:
    import getpass

    from agent_core.events import ResolveRequested
    from agent_core.records import Resolution, State

    record, resolution = _known(options), Resolution(options.resolution)
    if options.guid is not None and resolution is not Resolution.SENT:
        return complain("--guid says which message was sent: it goes with --as sent", USAGE)
    if record is None:
        return FAILED
    if not record.is_unresolved:
        return complain(f"command {plain(options.id, 200)} is {record.state}{_settled(record)}: it needs nothing", FAILED)
    if resolution is not Resolution.DISMISSED and record.state is not State.INTERRUPTED:
        return complain(f"command {plain(options.id, 200)} is {record.state}: only an unknown outcome is resolved as {resolution}", FAILED)
    if options.guid is not None and (wrong := _not_a_candidate(record, options.guid)):
        return complain(wrong, FAILED)
    which = "" if options.guid is None else f": it is the message {plain(options.guid, 100)}"
    if (code := _unless_agreed(options, f"Resolve {_words(record)} as {resolution}{which}?")) is not None:
        return code
    request = ResolveRequested(options.id, resolution, getpass.getuser(), guid=options.guid)
    if (code := ask(options, request, f"asked to resolve {plain(options.id, 200)} as {resolution}")) != OK:
        return code
    return _see_it_resolved(options)


def _not_a_candidate(record: "Remembered", guid: str) -> str:
    """Why it cannot be that message; empty where it can."""
    from agent_core.attention import candidates_of

    guids = [one.guid for one in candidates_of(record.ack)]
    if guid in guids:
        return ""
    have = f"its candidates are {', '.join(plain(one, 100) for one in guids)}" if guids else "it has no candidates: --as sent alone says it"
    return f"{plain(guid, 100)} is none of the messages that command {plain(record.command.command_id, 200)} may be; {have}"


def _settled(record: "Remembered") -> str:
    return "" if record.resolution is None else f" and resolved as {record.resolution} by {plain(record.resolved_by or '?', 100)}"


def _see_it_resolved(options: argparse.Namespace) -> int:
    from agent_core.journal.reader import find

    folder, by = configuration(options).data_dir.expanduser(), time.monotonic() + CANCELLED_WITHIN
    while time.monotonic() < by:
        record = find(folder, options.id)
        if record is None or not record.is_unresolved:
            return OK
        time.sleep(LOOK_EVERY)
    return complain("it was not resolved: edge-console logs tells why", FAILED)


def _see_it_cancelled(options: argparse.Namespace) -> int:
    from agent_core.journal.reader import find

    folder, by = configuration(options).data_dir.expanduser(), time.monotonic() + CANCELLED_WITHIN
    while time.monotonic() < by:
        record = find(folder, options.id)
        if record is not None and record.state != "scheduled":
            break
        time.sleep(LOOK_EVERY)
    state = "gone" if record is None else str(record.state)
    return OK if state == "cancelled" else complain(f"it was not cancelled: it is {state}", FAILED)


def _known(options: argparse.Namespace) -> "Remembered | None":
    """What the ledger knows of it; None where that is nothing, which is said. Raises NoLedger."""
    from agent_core.journal.reader import named
    from agent_core.journal.rows import BadRow

    found = named(configuration(options).data_dir.expanduser(), options.id)
    for record in found:
        if not isinstance(record, BadRow) and record.command.command_id == options.id:
            return record
    complain(f"the ledger knows no command {plain(options.id, 200)}", FAILED)
    return None


def _words(record: "Remembered") -> str:
    return f"{plain(record.command.command_id, 200)} ({plain(record.command.command_type, 100)}, {record.state})"


def _unless_agreed(options: argparse.Namespace, question: str) -> int | None:
    """None where it is wanted; else the exit code."""
    if options.yes:
        return None
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return complain("this changes something: say --yes where there is no terminal to ask at", USAGE)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return None if sys.stdin.readline().strip().lower() in {"y", "yes"} else complain("nothing was done", FAILED)
