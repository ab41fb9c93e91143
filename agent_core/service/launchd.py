"""launchd: a LaunchAgent of the user's GUI session, or a LaunchDaemon, which starts without a login and cannot send by Messages.

`bootstrap` fails with a bare 5 both for a job that is there already and for a session that is not: so both are looked at first. `bootout`
returns before the job has ended, and until then `bootstrap` fails, too: so it is tried again for as long as a clean end may take.
"""

import os
import plistlib
import re
import time
from pathlib import Path
from typing import Any

from agent_core.service.job import RESTART_AFTER, STOP_WITHIN, Job, Ran, ServiceError, Standing, call, place

LABEL = "io.github.edge-console.agent"
AGAIN_AFTER = 0.5
NO_SESSION = (
    "nobody is logged in at this Mac's screen, and a service of the user runs only there (Messages needs that session): log in at the "
    "screen or by screen sharing and run this again, or use --system, which starts without a login and cannot send by Messages"
)


def plist(job: Job) -> bytes:
    """The job's property list. It is started again after every end but a clean one, at most each half minute."""
    keys: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": list(job.arguments),
        "WorkingDirectory": str(job.folder),
        "EnvironmentVariables": {"PATH": job.path},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": RESTART_AFTER,
        "ExitTimeOut": STOP_WITHIN,
        "Umask": 0o077,
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(job.errors),
    }
    if job.user is not None:
        keys["UserName"] = job.user
    return plistlib.dumps(keys, sort_keys=False)


def plist_file(*, system: bool, home: Path) -> Path:
    return (Path("/Library/LaunchDaemons") if system else home / "Library" / "LaunchAgents") / f"{LABEL}.plist"


def installed(home: Path) -> tuple[Path, bool] | None:
    """The file of the service that is installed, and whether it is the system's."""
    places = [(plist_file(system=system, home=home), system) for system in (False, True)]
    return next((place for place in places if place[0].exists()), None)


def domain(*, system: bool, uid: int) -> str:
    return "system" if system else f"gui/{uid}"


def standing_of(printed: str) -> Standing:
    """What `launchctl print` says of a job that is loaded."""
    state = re.search(r"^\s*state = (.*)$", printed, re.MULTILINE)
    pid = re.search(r"^\s*pid = (\d+)$", printed, re.MULTILINE)
    code = re.search(r"^\s*last exit code = (\d+)", printed, re.MULTILINE)
    running = state is not None and state[1].strip() == "running"
    return Standing(True, running, int(pid[1]) if pid else None, int(code[1]) if code else None)


class Launchd:
    def __init__(self, *, system: bool) -> None:
        self._domain = domain(system=system, uid=os.getuid())
        self._target = f"{self._domain}/{LABEL}"
        self.file = plist_file(system=system, home=Path.home())

    def text(self, job: Job) -> bytes:
        return plist(job)

    def install(self, job: Job) -> str:
        self._require_session()
        place(self.file, plist(job))
        self._unload()
        _call("enable", self._target)
        self._load()
        return ""

    def start(self) -> None:
        self._require_file()
        self._require_session()
        if self._loaded().code:
            self._load()
        else:
            _done(_call("kickstart", self._target), "start")

    def stop(self) -> None:
        """Unloaded, since a stopped job that stays loaded may be started again."""
        self._require_file()
        self._unload()

    def restart(self) -> None:
        self._require_file()
        self._require_session()
        self._unload()
        self._load()

    def standing(self) -> Standing:
        printed = self._loaded()
        return Standing(self.file.exists()) if printed.code else standing_of(printed.out)

    def uninstall(self) -> None:
        self._require_file()
        self._unload()
        self.file.unlink()

    def _loaded(self) -> Ran:
        return _call("print", self._target)

    def _require_file(self) -> None:
        if not self.file.exists():
            raise ServiceError("no service is installed: edge-console service install")

    def _require_session(self) -> None:
        if _call("print", self._domain).code:
            raise ServiceError(NO_SESSION)

    def _unload(self) -> None:
        if self._loaded().code == 0:
            _call("bootout", self._target)
            by = time.monotonic() + STOP_WITHIN + 5
            while self._loaded().code == 0:
                if time.monotonic() > by:
                    raise ServiceError("launchd could not end the service in time: edge-console service status")
                time.sleep(AGAIN_AFTER)

    def _load(self) -> None:
        by = time.monotonic() + STOP_WITHIN
        while (ran := _call("bootstrap", self._domain, str(self.file))).code and time.monotonic() < by:
            if ran.code not in {5, 36, 37}:
                break
            time.sleep(AGAIN_AFTER)
        _done(ran, "start")


def _call(*arguments: str) -> Ran:
    return call(("launchctl", *arguments))


def _done(ran: Ran, what: str) -> None:
    if ran.code:
        raise ServiceError(f"launchd could not {what} the service: {ran.said}")
