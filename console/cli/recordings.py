"""`--record FILE`, and `edge-console replay`: a run kept, and run again."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_core import __version__
from agent_core.figures import took
from agent_core.plain import plain
from console.cli.outcome import FAILED, OK, USAGE, complain, said

if TYPE_CHECKING:
    from agent_core.recording import Recorder

REPLAY_HELP = """Feeds the recorded events of a run (--record) to this version's engine, in virtual time, and prints the phases and effects.
Exit code 0: the same as recorded; 1: not, and the difference is shown as a unified diff; 2: FILE is no recording.

With --ui, FILE is what an agent kept of an incident, in the directory `incidents` of its data directory: nothing runs, and the console
shows it step by step."""


def add_parsers(commands: Any) -> None:
    """`replay`."""
    raw = argparse.RawDescriptionHelpFormatter
    replay = commands.add_parser("replay", help="run a recording again, and compare", description=REPLAY_HELP, formatter_class=raw)
    replay.add_argument("file", type=Path, metavar="FILE", help="made with --record; for --ui one of data_dir/incidents")
    replay.add_argument("--ui", action="store_true", help="step through a black box in the console, by < > Home End")
    replay.add_argument("-q", "--quiet", action="store_true", help="only the verdict, and the difference if there is one")
    replay.set_defaults(command=_replay)


def recorder_for(options: argparse.Namespace) -> "Recorder | None":
    """The recorder that was asked for. Raises OSError, where the file exists too."""
    if options.record is None:
        return None
    from agent_core.recording import Recorder

    return Recorder(options.record)


def _replay(options: argparse.Namespace) -> int:
    return _replay_in_console(options.file) if options.ui else _replay_recording(options)


def _replay_in_console(file: Path) -> int:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return complain("the console needs a terminal", USAGE)
    from agent_core.black_box import NoBlackBox, kept
    from console.run import run_black_box

    try:
        return run_black_box(kept(file))
    except (NoBlackBox, OSError) as error:
        return complain(said(error) if isinstance(error, OSError) else str(error), USAGE)


def _replay_recording(options: argparse.Namespace) -> int:
    from agent_core.recording import Recording, RecordingError, difference

    try:
        recording = Recording.read(options.file)
        recorded, again = recording.story(), recording.replayed()
    except (RecordingError, OSError) as error:
        return complain(said(error) if isinstance(error, OSError) else str(error), USAGE)
    changes = difference(recorded, again, f"recorded by {recording.version}", f"replayed by {__version__}")
    if not options.quiet:
        for line in again if not changes else ():
            print(line)
    for line in changes:
        print(plain(line))
    steps, ending = f"{len(recording.steps):,} steps, {took(recording.seconds)}", _ENDINGS.get(recording.end, recording.end)
    verdict = f"NOT the same as recorded by {recording.version}" if changes else "the same phases and effects as recorded"
    print(f"{steps} from {recording.begun}{ending}: {verdict}")
    return FAILED if changes else OK


_ENDINGS: Mapping[str, str] = {"closed": "", "full": " (its size was full)", "cut off": " (the process ended before it was closed)"}
