"""`edge-console attention`: what needs the operator, and what to do about each, from the ledger, also while the agent runs."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from agent_core.plain import plain
from console.cli.options import add_config_options, configuration
from console.cli.outcome import OK

if TYPE_CHECKING:
    from agent_core.attention import Case


def add_parsers(commands: Any) -> None:
    attention = commands.add_parser(
        "attention", help="what needs you, newest first: unknown outcomes, failures, missed, acks unproven for a minute",
        description="Lists at most 500 commands with what has happened to each and what to do. `commands replay` runs one again, `commands "
        "resolve` settles it. What was turned away is not in the ledger: the backend has it, and is asked for it again.",
    )  # fmt: skip
    add_config_options(attention)
    attention.add_argument("--json", action="store_true", help="an array of {command_id, kind, what, do, resolve_as, candidates …}")
    attention.set_defaults(command=_attention)


def _attention(options: argparse.Namespace) -> int:
    from agent_core.attention import case_of
    from agent_core.clock import SystemClock
    from agent_core.journal.reader import needing_attention
    from agent_core.records import Remembered
    from agent_core.redaction import Redactor

    config = configuration(options)
    redactor = Redactor(*config.secrets)
    found = needing_attention(config.data_dir.expanduser(), SystemClock().now().utc)
    cases = [case_of(redactor.within(record)) for record in found if isinstance(record, Remembered)]
    if options.json:
        print(json.dumps([_fields(case) for case in cases], indent=1))
        return OK
    for case in cases:
        print(f"{plain(case.record.command.command_id, 200)}  {case.kind}: {plain(case.what, 300)}")
        for one in case.candidates:
            print(f"    perhaps {plain(one.guid, 100)} in {plain(one.chat, 100)}, sent {plain(one.sent_at, 40)}")
        print(f"    {case.do}")
    if not cases:
        print("nothing needs you")
    return OK


def _fields(case: "Case") -> dict[str, Any]:
    from agent_core.clock import iso

    finished = case.record.finished_utc
    return {
        "command_id": case.record.command.command_id, "kind": case.kind, "what": case.what, "do": case.do,
        "resolve_as": list(case.resolutions), "candidates": [one._asdict() for one in case.candidates],
        "finished_utc": None if finished is None else iso(finished),
    }  # fmt: skip
