"""`edge-console outbox …`, `ledger …` and `audit …`: the ledger read from outside, also while the agent runs."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_core.plain import plain
from console.cli.options import add_config_options, configuration
from console.cli.outcome import FAILED, OK, complain

if TYPE_CHECKING:
    from agent_core.journal.rows import BadRow
    from agent_core.records import Remembered
    from agent_core.redaction import Redactor

STATES = ("queued", "running", "scheduled", "held", "completed", "failed", "cancelled", "interrupted", "unproven")
WAYS = {"ws": "ws", "poll": "http", "local": "local"}
SUMMARY = (
    "command_id", "command_type", "status", "via", "received_utc", "finished_utc", "due_utc", "runs", "duplicates", "error", "proven_utc",
)  # fmt: skip
VIOLATIONS_SHOWN = 50


def add_parsers(commands: Any) -> None:
    """`outbox ls`, `ledger ls`, `ledger show`, `ledger export` and `audit verify`."""
    outbox = commands.add_parser("outbox", help="what the outbox messenger has recorded as sent")
    listing = outbox.add_subparsers(required=True, metavar="ls").add_parser("ls", help="list the messages, oldest first")
    add_config_options(listing)
    listing.add_argument("--json", action="store_true", help="an array of {command_id, thread_id, text, sent_utc}")
    listing.set_defaults(command=_outbox)
    ledger = commands.add_parser("ledger", help="what the agent knows of its commands: ls, show, export").add_subparsers(
        required=True, title="commands", metavar="COMMAND"
    )
    add_ls(ledger)
    add_show(ledger)
    export = ledger.add_parser("export", help="whole records, one JSON object a line, oldest first")
    export.set_defaults(command=_export)
    audit = commands.add_parser("audit", help="prove from the records that all is well: verify").add_subparsers(
        required=True, metavar="verify"
    )
    verify = audit.add_parser(
        "verify", help="no command took effect twice, each finished one has an ack; exit 1 and the ids where not",
        description="Proves from the records that no command_id took effect twice and that each finished command has an ack that is proven "
        "or on its way. Whether a second start after a crash is harmless is judged by the messenger that is configured now.",
    )  # fmt: skip
    verify.add_argument("--json", action="store_true", help="one object: ok, counts, violations")
    verify.add_argument("--both", type=Path, metavar="DIR", help="and that no command took effect here and in this data_dir, too")
    verify.set_defaults(command=_verify)
    for parser in (export, verify):
        add_config_options(parser)


def add_ls(below: Any) -> None:
    listing = below.add_parser("ls", help="list commands, oldest first, one a line")
    add_config_options(listing)
    listing.add_argument("--status", choices=STATES, metavar="S", help=f"only these: {', '.join(STATES)} (ack not proven yet)")
    listing.add_argument("--last", type=_count, metavar="N", help="only the newest N")
    listing.add_argument("--json", action="store_true", help="an array of objects")
    listing.set_defaults(command=_ls)


def add_show(below: Any) -> None:
    show = below.add_parser("show", help="one command's life: received, duplicate, ran, ack sent, proven, with times")
    add_config_options(show)
    show.add_argument("id", metavar="ID", help="its command_id, or how that begins")
    show.add_argument("--json", action="store_true", help="the whole record as one object")
    show.set_defaults(command=_show)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:10]) < 10**9:
        raise argparse.ArgumentTypeError(f"a number of commands expected, found {text!r}")
    return int(text)


def _ledger_of(options: argparse.Namespace) -> "tuple[Path, Redactor]":
    """Where it is, and what takes secrets out of its records: a backend may have said them back in an id."""
    from agent_core.redaction import Redactor

    config = configuration(options)
    return config.data_dir.expanduser(), Redactor(*config.secrets)


# --- ls ------------------------------------------------------------------------------------------------------------------


def _ls(options: argparse.Namespace) -> int:
    from agent_core.journal.reader import commands

    folder, redactor = _ledger_of(options)
    found = map(redactor.within, commands(folder, options.status, options.last))
    if options.json:
        _print_array(_summary(row) for row in found)
        return OK
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100_000
    count = 0
    for row in found:
        if not count:
            print(_columns("RECEIVED (UTC)", "STATUS", "VIA", "ACK", "COMMAND", "TYPE"))
        count += 1
        print(_fit(_line(row), width))
    if not count:
        sys.stderr.write("no such commands\n" if options.status else "no commands yet\n")
    return OK


def _line(record: "Remembered | BadRow") -> str:
    from agent_core.journal.rows import BadRow

    if isinstance(record, BadRow):
        return f"{_columns('-', 'unreadable', '-', '-', record.command_id, '')}  {record.why}"
    command_id, command_type = plain(record.command.command_id, 200), plain(record.command.command_type, 100)
    columns = _columns(
        _date(record.received_utc, "%m-%d %H:%M:%S"), record.state, WAYS[record.via], _ack_word(record), command_id, command_type
    )
    return f"{columns}  {plain(record.error, 300)}" if record.error else columns


def _columns(received: str, status: str, via: str, ack: str, command_id: str, command_type: str) -> str:
    return f"{received:<14}  {status:<11}  {via:<5}  {ack:<7}  {command_id:<18}  {command_type}"


def _date(utc: float, form: str) -> str:
    """Where no calendar has it, such as the year 10000, the seconds since 1970 as they are."""
    try:
        return f"{datetime.fromtimestamp(utc, UTC):{form}}"
    except (ValueError, OverflowError, OSError):
        return f"{utc:.0f}"


def _fit(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def _ack_word(record: "Remembered") -> str:
    if record.ack is None:
        return "-"
    return "proven" if record.proven_utc is not None else "pending"


def _print_array(items: Iterable[dict[str, Any]]) -> None:
    """One item a line, never all in memory."""
    before = "["
    for item in items:
        print(f"{before}\n {json.dumps(item)}", end="")
        before = ","
    print("\n]" if before == "," else "[]")


def _summary(record: "Remembered | BadRow") -> dict[str, Any]:
    from agent_core.journal.rows import BadRow

    whole = _whole(record)
    return whole if isinstance(record, BadRow) else {key: whole[key] for key in SUMMARY} | {"ack": _ack_word(record)}


def _whole(record: "Remembered | BadRow") -> dict[str, Any]:
    """Every field; times as ISO 8601, the ack as the object that was or will be sent. Of a bad row what is wrong with it."""
    from pydantic_core import to_jsonable_python

    from agent_core.journal.rows import BadRow

    if isinstance(record, BadRow):
        return {"seq": record.seq, "command_id": record.command_id, "unreadable": record.why}
    command = record.command
    times = (
        "received_utc", "started_utc", "finished_utc", "due_utc", "duplicate_utc", "released_utc", "sent_utc", "proven_utc", "resolved_utc",
    )  # fmt: skip
    at = {name: getattr(record, name) for name in times}
    return {
        "command_id": command.command_id, "command_type": command.command_type, "status": record.state, "via": WAYS[record.via],
        "payload": to_jsonable_python(dict(command.payload), inf_nan_mode="null"), "priority": command.priority.name.lower(),
        "issued_utc": _iso(command.issued_utc), "expires_utc": _iso(command.expires_utc), **{name: _iso(utc) for name, utc in at.items()},
        "runs": record.runs, "duplicates": record.duplicates,
        "duplicate_via": WAYS[record.duplicate_via] if record.duplicate_via is not None else None,
        "error": record.error, "proven_by": record.proven_by, "replay_of": record.replay_of,
        "changed_by": record.changed_by,
        "resolution": record.resolution, "resolved_by": record.resolved_by, "resolved_guid": record.resolved_guid, "seq": record.seq,
        "delivery": record.delivery, "delivery_utc": _iso(record.delivery_utc),
        "ack": _ack_object(record.ack),
    }  # fmt: skip


def _iso(utc: float | None) -> str | None:
    from agent_core.clock import iso

    try:
        return None if utc is None else iso(utc)
    except (ValueError, OverflowError, OSError):
        return f"{utc:.0f}"


def _ack_object(ack: str | None) -> Any:
    """The text itself where it is no JSON."""
    from pydantic_core import from_json

    try:
        return None if ack is None else from_json(ack, allow_inf_nan=False)
    except ValueError:
        return ack


# --- show, export --------------------------------------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> int:
    from agent_core.journal.reader import named, outbox
    from agent_core.journal.rows import BadRow

    folder, redactor = _ledger_of(options)
    found = redactor.within(named(folder, options.id))
    if len(found) != 1:
        ids = ", ".join(plain(row.command_id if isinstance(row, BadRow) else row.command.command_id, 60) for row in found)
        sentence = f"which one? {ids}" if found else f"the ledger knows no command {plain(options.id, 60)}"
        return complain(sentence, FAILED)
    record = found[0]
    if options.json:
        print(json.dumps(_whole(record), indent=1))
        return OK
    if isinstance(record, BadRow):
        return complain(f"the record of {record.command_id} cannot be read: {record.why}", FAILED)
    steps = list(_life(record))
    print(f"{plain(record.command.command_id, 200)}  {plain(record.command.command_type, 100)}  {record.state}")
    print(" · ".join(word for word, _, _ in steps))
    print()
    for word, utc, remark in steps:
        print(f"  {_long(utc):<23}  {word:<16}  {remark}".rstrip())
    print()
    for label, text in _particulars(record):
        print(f"  {label:<9} {text}")
    for row in map(redactor.within, outbox(folder, record.seq)):
        print(f"  {'outbox':<9} to {plain(row.thread_id, 60)}: {plain(row.text, 200)}")
    return OK


def _life(record: "Remembered") -> Iterator[tuple[str, float | None, str]]:
    """(step, when, remark), in the order in which they happened; what is still to come last."""
    steps: list[tuple[str, float, str]] = [(f"received({WAYS[record.via]})", record.received_utc, "")]
    if record.duplicate_utc is not None and record.duplicate_via is not None:
        again = f"came again {record.duplicates} times, last then" if record.duplicates > 1 else "came again"
        steps.append((f"duplicate({WAYS[record.duplicate_via]})", record.duplicate_utc, again))
    if record.released_utc is not None:
        fell_due = record.due_utc is not None and record.due_utc <= record.released_utc
        steps.append(("released", record.released_utc, "it was due" if fell_due else "it was held for the operator"))
    if record.started_utc is not None:
        steps.append(("ran", record.started_utc, f"started {record.runs} times, last then" if record.runs > 1 else ""))
    if record.finished_utc is not None:
        steps.append((str(record.state), record.finished_utc, plain(record.error, 300) if record.error else ""))
    if record.resolution is not None and record.resolved_utc is not None:
        which = f": it is {plain(record.resolved_guid, 100)}" if record.resolved_guid else ""
        steps.append((f"resolved as {record.resolution}", record.resolved_utc, f"by {plain(record.resolved_by or '?', 100)}{which}"))
    if record.sent_utc is not None:
        steps.append(("ack sent", record.sent_utc, ""))
    if record.delivery is not None and record.delivery_utc is not None:
        steps.append((f"message {record.delivery}", record.delivery_utc, ""))
    if record.proven_utc is not None and record.ack is not None:
        steps.append(("proven", record.proven_utc, f"by {record.proven_by}" if record.proven_by else ""))
    yield from sorted(steps, key=lambda step: step[1])
    if record.state == "scheduled" and record.due_utc is not None:
        yield "due", record.due_utc, ""
    if record.ack is not None and record.proven_utc is None:
        yield "ack not proven", None, "it is sent again until the backend is known to have it"


def _long(utc: float | None) -> str:
    text = "-" if utc is None else _date(utc, "%Y-%m-%d %H:%M:%S.%f")
    return text[:-3] if "." in text else text


def _particulars(record: "Remembered") -> Iterator[tuple[str, str]]:
    yield "payload", plain(json.dumps(dict(record.command.payload), ensure_ascii=False), 1_000)
    if record.command.priority.name != "NORMAL":
        yield "priority", record.command.priority.name.lower()
    if record.due_utc is not None and record.state != "scheduled":
        yield "was due", _long(record.due_utc)
    if record.changed_by is not None:
        yield "changed", f"by {plain(record.changed_by, 200)}"
    if record.command.expires_utc is not None:
        yield "expires", _long(record.command.expires_utc)
    if record.replay_of is not None:
        yield "replay of", plain(record.replay_of, 200)
    if record.ack is not None:
        yield "ack", plain(record.ack, 2_000)


def _export(options: argparse.Namespace) -> int:
    from agent_core.journal.reader import commands

    folder, redactor = _ledger_of(options)
    for record in commands(folder):
        print(json.dumps(_whole(redactor.within(record))))
    return OK


# --- outbox --------------------------------------------------------------------------------------------------------------


def _outbox(options: argparse.Namespace) -> int:
    from agent_core.journal.reader import outbox

    folder, redactor = _ledger_of(options)
    rows = map(redactor.within, outbox(folder))
    if options.json:
        fields = [{"command_id": r.command_id, "thread_id": r.thread_id, "text": r.text, "sent_utc": _iso(r.sent_utc)} for r in rows]
        print(json.dumps(fields, ensure_ascii=True, indent=1))
    else:
        for row in rows:
            print(f"{_iso(row.sent_utc)}  {plain(row.command_id, 200):<18}  {plain(row.thread_id, 20):<16}  {plain(row.text, 100)}")
    return OK


# --- audit ---------------------------------------------------------------------------------------------------------------


def _verify(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from agent_core.handlers import traits_for
    from agent_core.journal.audit import audit
    from agent_core.messengers.choice import messenger_for
    from agent_core.plugins import load_plugins

    config = configuration(options)
    load_plugins()
    traits = traits_for(messenger_for(config))
    repeatable = {name for name, trait in traits.items() if trait.repeatable}
    found = audit(config.data_dir.expanduser(), repeatable, options.both.expanduser() if options.both is not None else None)
    if options.json:
        violations = [{"command_id": one.command_id, "what": one.what} for one in found.violations]
        print(json.dumps({
            "ok": found.ok, "commands": found.commands, "finished": found.finished, "acks_proven": found.proven,
            "acks_pending": found.pending, "interrupted": found.interrupted, "resolved": found.resolved,
            "events": asdict(found.events), "violations": violations, "damage": found.damage,
        }, indent=1))  # fmt: skip
        return OK if found.ok else FAILED
    print(f"{'commands':<13}{found.commands:>9,}")
    print(f"{'finished':<13}{found.finished:>9,}   acks proven {found.proven:,}, pending {found.pending:,}")
    if found.interrupted:
        left = found.interrupted - found.resolved
        told = f"of {left:,} the outcome is unknown: see `attention`" if left else "all resolved by the operator"
        print(f"{'interrupted':<13}{found.interrupted:>9,}   {told}")
    if found.events.recorded:
        dropped = f", dropped {found.events.dropped:,}" if found.events.dropped else ""
        print(f"{'events':<13}{found.events.recorded:>9,}   pending {found.events.pending:,}{dropped}")
    print(f"{'violations':<13}{len(found.violations):>9,}")
    for one in found.violations[:VIOLATIONS_SHOWN]:
        print(f"  {plain(one.command_id, 200)}  {plain(one.what)}")
    if len(found.violations) > VIOLATIONS_SHOWN:
        print(f"  … and {len(found.violations) - VIOLATIONS_SHOWN:,} more (--json has all)")
    if found.damage is not None:
        print(f"damaged      {found.damage}")
    print("OK: nothing took effect twice, every finished command has its ack" if found.ok else "NOT OK")
    return OK if found.ok else FAILED
