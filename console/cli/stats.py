"""`edge-console stats`: whose delay it was, from the ledger, also while the agent runs."""

import argparse
import json
import re
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from console.cli.options import add_config_options, configuration
from console.cli.outcome import OK

if TYPE_CHECKING:
    from agent_core.delays import Delays

UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
HOURS_SHOWN = 48


def add_parsers(commands: Any) -> None:
    """`stats`."""
    stats = commands.add_parser(
        "stats", help="whose delay it was: each command's time in the backend, lane, effect, link and proof",
        description="Splits the time of each command that came from the backend: backend (issued until received, corrected by how far its "
        "clock is ahead), lane (until started), effect (until finished), link (until its ack was sent), proof (until the backend was known "
        "to have it). Late is what took more than a second without the proof.",
    )  # fmt: skip
    add_config_options(stats)
    stats.add_argument("--since", type=_ago, default=UNITS["w"], metavar="TIME", help="so long ago, as 30m, 24h or 7d (default: 7d)")
    stats.add_argument("--json", action="store_true", help="one object: sentence, and p50, p95, max (seconds) and count of each part")
    stats.set_defaults(command=_stats)


def _ago(text: str) -> float:
    """Seconds."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhdw])", text.lower(), re.ASCII)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"a time such as 30m, 24h or 7d expected, found {text[:40]!r}")
    return float(found[1]) * UNITS[found[2]]


def _stats(options: argparse.Namespace) -> int:
    from agent_core.clock import SystemClock
    from agent_core.journal.reader import delays_since

    now = SystemClock().now().utc
    delays = delays_since(configuration(options).data_dir.expanduser(), now - options.since)
    if options.json:
        print(json.dumps(_whole(delays), indent=1))
    else:
        _print(delays, now)
    return OK


def _whole(delays: "Delays") -> dict[str, Any]:
    from agent_core.clock import iso
    from agent_core.delays import LATE_SECONDS

    return {
        "sentence": delays.sentence, "since_utc": iso(delays.since_utc), "commands": delays.commands, "late": delays.late,
        "late_seconds": LATE_SECONDS, "clock_offset": delays.clock_offset, **{name: asdict(one) for name, one in delays.spreads.items()},
        "hours": [
            {"hour_utc": iso(hour.begins_utc), "commands": hour.commands, "mean": hour.means._asdict()} for hour in delays.hours
        ],
    }  # fmt: skip


def _print(delays: "Delays", now: float) -> None:
    from console.delays import report

    width = min(120, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 100
    print(*report(delays, width, HOURS_SHOWN, now), sep="\n")
