"""`edge-console service`: the agent under launchd or systemd, for the user or for the system."""

import argparse
import os
import pwd
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.cli.options import add_config_options, configuration, judge_keys, overrides
from console.cli.outcome import NO_PERMISSION, NOT_RUNNING, OK, USAGE, complain, outcome

if TYPE_CHECKING:
    from agent_core.service.job import Job, Supervisor

Command = Callable[[argparse.Namespace], int]
MAX_ERRORS = 64_000
PATHS = ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
INSTALL_HELP = """Writes the service's file and starts it: launchd on a Mac, systemd elsewhere. The service does not see this shell's
environment: the secret comes from .env beside config.yaml, or from where auth says. --user (the default) runs in the user's own session,
which Messages needs; --system starts without a login, as the user who calls sudo."""


def add_parsers(commands: Any, run_headless: Command) -> None:
    """`service install`, `start`, `stop`, `restart`, `status`, `uninstall`, and `run`, which is what the service runs."""
    service = commands.add_parser("service", help="the agent under launchd or systemd: install, start, stop, restart, status, uninstall")
    below = service.add_subparsers(required=True, title="commands", metavar="COMMAND")
    install = below.add_parser("install", help="write the service's file and start it", description=INSTALL_HELP)
    add_config_options(install)
    install.add_argument("--print", action="store_true", help="only show the file that would be written")
    install.set_defaults(command=_install)
    for name, command, what in (
        ("start", _start, "start it"), ("stop", _stop, "stop it, until it is started again or the machine is"),
        ("restart", _restart, "stop it and start it"), ("status", _status, "how it stands; exit 0: running, 4: not running"),
        ("uninstall", _uninstall, "stop it and remove its file; data_dir stays"),
    ):  # fmt: skip
        below.add_parser(name, help=what).set_defaults(command=command)
    for parser in below.choices.values():
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--user", dest="system", action="store_false", default=False, help="the user's own (default)")
        which.add_argument("--system", action="store_true", help="the system's, which starts without a login")
    run = below.add_parser("run", help="what the service runs: the agent without a screen; exit 78: its configuration is wrong")
    add_config_options(run)
    run.set_defaults(command=partial(_run, run_headless))
    probe = below.add_parser("probe", help="what doctor has launchd run, once: looks what macOS lets the service do, and writes it down")
    add_config_options(probe)
    probe.add_argument("--answer", type=Path, required=True, metavar="FILE", help="where to")
    probe.set_defaults(command=_probe)


def _probe(options: argparse.Namespace) -> int:
    import asyncio

    from agent_core.diagnosis.permissions import write_answer

    asyncio.run(write_answer(configuration(options), options.answer))
    return OK


def _run(run_headless: Command, options: argparse.Namespace) -> int:
    from agent_core.service.job import CONFIG_ERROR

    _bound_errors()
    code = outcome(run_headless, options)
    return CONFIG_ERROR if code == USAGE else code


def _bound_errors() -> None:
    """launchd appends to the file of standard error for ever."""
    from stat import S_ISREG

    found = os.fstat(2)
    if S_ISREG(found.st_mode) and found.st_size > MAX_ERRORS:
        os.ftruncate(2, 0)


def _install(options: argparse.Namespace) -> int:
    if options.system and not options.print and os.geteuid():
        return complain("a service of the system is installed by root: sudo edge-console service install --system", NO_PERMISSION)
    user = _user() if options.system else None
    if user == "root" and not options.print:
        return complain("the agent should not run as root: call sudo from the account that it is to run as", USAGE)
    if user is not None:
        os.environ["HOME"] = pwd.getpwnam(user).pw_dir
    job, supervisor = _job(options, user), _supervisor(system=options.system)
    if options.print:
        sys.stdout.write(supervisor.text(job).decode())
        return OK
    _make_folder(job)
    more = supervisor.install(job)
    print(f"installed and started: {supervisor.file}")
    print(more or "edge-console service status shows how it stands, edge-console attach what it does")
    return OK


def _user() -> str:
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def _job(options: argparse.Namespace, user: str | None) -> "Job":
    """Judged as the service will see it. Raises ConfigError."""
    from agent_core.config.layers import load
    from agent_core.service.job import Job

    file = options.config or Path("config.yaml")
    seen = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    config = load(file, seen, overrides=overrides(options), require_secret=not options.print, judge=judge_keys).config
    folder = config.data_dir.expanduser().absolute()
    python = Path(sys.executable).absolute()
    arguments = (str(python), "-P", "-m", "console", "service", "run", "--config", str(file.absolute()), "--data-dir", str(folder))
    return Job(arguments, folder, os.pathsep.join(dict.fromkeys((str(python.parent), *PATHS))), user)


def _make_folder(job: "Job") -> None:
    """launchd and systemd start nothing in a directory that is not there."""
    if not job.folder.exists():
        job.folder.mkdir(mode=0o700, parents=True)
        if job.user is not None:
            shutil.chown(job.folder, job.user)


def _supervisor(*, system: bool) -> "Supervisor":
    from agent_core.service.launchd import Launchd
    from agent_core.service.systemd import Systemd

    return Launchd(system=system) if sys.platform == "darwin" or shutil.which("launchctl") else Systemd(system=system)


def _start(options: argparse.Namespace) -> int:
    _supervisor(system=options.system).start()
    return _say("started")


def _stop(options: argparse.Namespace) -> int:
    _supervisor(system=options.system).stop()
    return _say("stopped")


def _restart(options: argparse.Namespace) -> int:
    _supervisor(system=options.system).restart()
    return _say("started anew")


def _uninstall(options: argparse.Namespace) -> int:
    supervisor = _supervisor(system=options.system)
    supervisor.uninstall()
    return _say(f"removed {supervisor.file}")


def _say(text: str) -> int:
    print(text)
    return OK


def _status(options: argparse.Namespace) -> int:
    supervisor = _supervisor(system=options.system)
    standing = supervisor.standing()
    print(f"{supervisor.file.stem}: {standing.words}")
    return OK if standing.running else NOT_RUNNING
