"""`edge-console logs`: the agent's log, over its rotated files, and on as it grows."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent_core.plain import plain
from console.cli.options import add_config_options, configuration
from console.cli.outcome import FAILED, OK, complain
from console.log_file import MAX_LINE, LogLine, line_of

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
LOOK_EVERY = 0.25


def add_parsers(commands: Any) -> None:
    logs = commands.add_parser("logs", help="the agent's log, oldest first, whether it runs or not")
    add_config_options(logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows, over its rotation, until ctrl+c")
    logs.add_argument("--since", type=_span, metavar="SPAN", help="only the last 90s, 15m, 1h or 2d")
    logs.add_argument("--level", choices=LEVELS, default="DEBUG", help="only lines of this level and above")
    logs.add_argument("--json", action="store_true", help="one object a line: at, level, text")
    logs.set_defaults(command=_logs)


def _span(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"a span such as 90s, 15m, 1h or 2d expected, found {text!r}")
    return float(found[1]) * UNITS[found[2]]


def _logs(options: argparse.Namespace) -> int:
    config = configuration(options)
    path = (config.logging.file or config.data_dir / "edge-console.log").expanduser()
    since = time.time() - options.since if options.since is not None else 0.0
    least = LEVELS.index(options.level)
    if not path.exists() and not options.follow:
        return complain(f"no log at {plain(path, 300)}: the agent has not run with this data_dir yet", FAILED)
    for raw in _raw_lines(path, follow=options.follow):
        line = line_of(raw)
        if line.utc >= since and (line.level not in LEVELS or LEVELS.index(line.level) >= least):
            shown = json.dumps({"at": _at(line.utc), "level": line.level, "text": line.text}) if options.json else _text(line)
            sys.stdout.write(shown + "\n")
            sys.stdout.flush() if options.follow else None
    return OK


def _text(line: LogLine) -> str:
    return f"[{_at(line.utc)}] [{line.level}] {line.text}"


def _at(utc: float) -> str:
    from agent_core.clock import iso

    return iso(utc)


def _raw_lines(path: Path, *, follow: bool) -> Iterator[str]:
    """Of the rotated files, oldest first, and of the present one; `follow` waits for more, also in the file that takes its place."""
    from agent_core.logs import rotated

    for older in reversed(rotated(path)):
        with suppress(FileNotFoundError):
            yield from _lines_in(older)
    if follow:
        yield from _followed(path)
    else:
        yield from _lines_in(path)


def _lines_in(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(MAX_LINE):
            yield line.rstrip("\n")


def _followed(path: Path) -> Iterator[str]:
    while True:
        with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
            here, begun, moved = path.stat().st_ino, "", False
            while True:
                begun += file.readline(MAX_LINE)
                if begun.endswith("\n") or len(begun) >= MAX_LINE:
                    yield begun.rstrip("\n")
                    begun = ""
                elif moved:
                    break
                else:
                    time.sleep(LOOK_EVERY)
                    moved = path.stat().st_ino != here
        time.sleep(LOOK_EVERY)
