"""`edge-console backup`, `restore`, `handover`, `upgrade` and `report`: what is done now and then, over years."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agent_core.figures import size
from agent_core.plain import plain
from console.cli.control import agent_socket
from console.cli.options import add_config_options, configuration, seconds
from console.cli.outcome import FAILED, OK, USAGE, complain

LOCK_WITHIN = 10.0
HANDOVER_HELP = """Drains the running agent (or takes one that has ended), keeps it from starting on this data_dir again, and writes its
ledger with all that is due later to FILE. Elsewhere: edge-console restore FILE, then start the agent there. Afterwards
`audit verify --both` proves that no command took effect here and there."""
REHEARSE_HELP = """Feeds recordings (--record) to this version's engine: install the new version beside the old one and ask it before it
takes over. Exit code 0: the same effects, acks and dials as recorded in each; 1: not, and which; 2: a FILE is no recording."""
RESTORE_HELP = """Puts a backup in the ledger's place; the agent must not run. The ledger that was there stays beside it under another name.
Commands that were taken after the backup are not known then: what the backend sends again of them runs again, and the agent says so."""


def add_parsers(commands: Any) -> None:
    backup = commands.add_parser("backup", help="copy the ledger to FILE, also while the agent runs")
    backup.set_defaults(command=_back_up)
    restore = commands.add_parser("restore", help="put a backup in the ledger's place", description=RESTORE_HELP)
    restore.set_defaults(command=_restore)
    handover = commands.add_parser("handover", help="end here, and pack what another agent needs to go on", description=HANDOVER_HELP)
    handover.add_argument("--timeout", type=seconds, default=300.0, metavar="SECONDS", help="for the drain (default: 300)")
    handover.set_defaults(command=_hand_over)
    for parser in (backup, restore, handover):
        parser.add_argument("file", type=Path, metavar="FILE")
        add_config_options(parser)
    upgrade = commands.add_parser(
        "upgrade", help="see before an upgrade whether the new version acts as the old one", description=REHEARSE_HELP
    )
    upgrade.add_argument(
        "--rehearse", type=Path, nargs="+", required=True, metavar="RECORDING", help="made with --record by the old version"
    )
    upgrade.set_defaults(command=_rehearse)
    report = commands.add_parser("report", help="pack what somebody who helps needs, with no secret in it, as a zip")
    add_config_options(report)
    report.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: edge-console-report-….zip here")
    report.add_argument("--recording", type=Path, metavar="FILE", help="a recording to put in, too")
    report.set_defaults(command=_report)


def _back_up(options: argparse.Namespace) -> int:
    from agent_core.journal.backup import back_up

    count = back_up(configuration(options).data_dir.expanduser(), options.file)
    print(f"{plain(options.file, 300)}: {count:,} commands, {size(options.file.stat().st_size)}")
    return OK


def _restore(options: argparse.Namespace) -> int:
    from agent_core.journal.backup import restore
    from agent_core.journal.data_dir import DataDirLock, data_dir

    folder = data_dir(configuration(options))
    with DataDirLock(folder):
        kept = restore(folder, options.file)
    print(f"restored into {plain(folder, 300)}" + (f"; the ledger that was there is {kept}" if kept else ""))
    return OK


def _hand_over(options: argparse.Namespace) -> int:
    from agent_core.control.client import NotRunning
    from agent_core.journal.backup import back_up, fence
    from agent_core.journal.data_dir import HANDED_OVER, data_dir
    from console.cli.intake import drain

    if options.file.exists():
        return complain(f"{plain(options.file, 300)} is there already", FAILED)
    folder = data_dir(configuration(options))
    try:
        if (code := drain(agent_socket(options), folder, options.timeout)) != OK:
            return code
    except NotRunning:
        pass
    with _lock_within(folder, LOCK_WITHIN):
        fence(folder, f"to {options.file.absolute()}")
        try:
            count = back_up(folder, options.file)
        except BaseException:
            (folder / HANDED_OVER).unlink()
            raise
    print(f"handed over: {count} commands in {plain(options.file, 300)}; no agent starts on {plain(folder, 300)} any more")
    print("elsewhere: edge-console restore FILE, then start the agent")
    return OK


@contextmanager
def _lock_within(folder: Path, within: float) -> Iterator[None]:
    """A drained agent gives it back a moment after it is seen to end. Raises DataDirInUse."""
    from agent_core.journal.data_dir import DataDirInUse, DataDirLock

    by = time.monotonic() + within
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(DataDirLock(folder))
                break
            except DataDirInUse:
                if time.monotonic() > by:
                    raise
                time.sleep(0.1)
        yield


def _rehearse(options: argparse.Namespace) -> int:
    from agent_core import __version__
    from agent_core.recording import Recording, RecordingError, difference

    worst = OK
    for file in options.rehearse:
        try:
            recording = Recording.read(file)
            changes = difference(recording.story(), recording.replayed(), f"recorded by {recording.version}", f"replayed by {__version__}")
        except (RecordingError, OSError) as error:
            worst = max(worst, complain(str(error), USAGE))
            continue
        steps = f"{plain(file, 200)}: {len(recording.steps):,} steps by {recording.version}"
        if not changes:
            print(f"{steps}: {__version__} acts the same")
            continue
        print(f"{steps}: {__version__} acts otherwise; edge-console replay {plain(file, 200)} shows how", file=sys.stderr)
        worst = max(worst, FAILED)
    return worst


def _report(options: argparse.Namespace) -> int:
    from console.cli.report import report

    path = report(configuration(options, with_secret=True), options)
    print(f"{plain(path, 300)}: no secret and no message's text is in it, but ids and names are; look through it before you send it")
    return OK
