"""How a command ends: its exit code, and one sentence on standard error for whatever went wrong."""

import argparse
import os
import sys
from collections.abc import Callable

OK, FAILED, USAGE, NOT_ONLINE, NOT_RUNNING, NO_PERMISSION = 0, 1, 2, 3, 4, 5
FAILURES = frozenset(
    {
        "BackupUnfit", "DataDirInUse", "LaterSchema", "NoLedger", "OtherVersion", "SecretUnavailable", "SendError", "ServiceError",
        "Unreachable",
    }
)  # fmt: skip
"""By name, since to import them all takes its time: the exceptions that say in one sentence what has failed."""


def outcome(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run `command`; its exit code, or that of what it raised."""
    try:
        return command(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:  # noqa: BLE001  (the process's edge: one sentence, never a traceback)
        return _explain(error)


def complain(sentence: str, code: int) -> int:
    """Say what is wrong, a sentence a line; returns `code`."""
    for line in sentence.split("\n"):
        sys.stderr.write(f"edge-console: {line.removeprefix('edge-console: ')}\n")
    return code


def _explain(error: Exception) -> int:
    from agent_core.config.layers import ConfigError
    from agent_core.plain import plain

    name = type(error).__name__
    if isinstance(error, ConfigError):
        return complain(str(error), USAGE)
    if name in {"CannotServeError", "PortTakenError", "DataDirUnusable", "PluginError", "MessengerError", "SecretMissing"}:
        return complain(str(error), USAGE)
    if name in {"NotRunning", "NoAnswer"}:
        return complain(str(error), NOT_RUNNING)
    if name in FAILURES:
        return complain(str(error), FAILED)
    if isinstance(error, ModuleNotFoundError):
        from agent_core.extras import advice

        return complain(advice(error.name or plain(error)), USAGE)
    if isinstance(error, PermissionError):
        return complain(f"no permission: {said(error)}", NO_PERMISSION)
    if isinstance(error, OSError):
        return complain(said(error), FAILED)
    return complain(f"unexpected {name}: {plain(error)}", FAILED)


def said(error: OSError) -> str:
    """What the system refused, and why, without its number."""
    from agent_core.plain import plain

    return f"{plain(error.filename, 300)}: {error.strerror}" if error.filename and error.strerror else plain(error)
