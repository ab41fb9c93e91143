"""systemd: a unit of the user's, or of the system's, whose watchdog the engine's own turns feed (notify.py)."""

import os
import pwd
from pathlib import Path

from agent_core.service.job import CONFIG_ERROR, RESTART_AFTER, STOP_WITHIN, Job, Ran, ServiceError, Standing, call, place

UNIT = "edge-console.service"
WATCHDOG_AFTER = 30
NO_SESSION = (
    "there is no user session of systemd here: `sudo loginctl enable-linger {user}`, log in again and run this once more, "
    "or use --system, which starts without a login"
)
NO_LINGER = "the service ends when {user} logs out, and does not start at boot: sudo loginctl enable-linger {user}"


def unit(job: Job) -> str:
    """The unit file. A configuration error is not started again; an agent that stops turning is."""
    user = f"User={job.user}\n" if job.user is not None else ""
    return f"""\
[Unit]
Description=edge-console agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
{user}ExecStart={" ".join(map(quoted, job.arguments))}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={str(job.folder).replace("%", "%%")}
Environment={quoted(f"PATH={job.path}", dollars=False)}
Restart=on-failure
RestartSec={RESTART_AFTER}
RestartPreventExitStatus={CONFIG_ERROR}
WatchdogSec={WATCHDOG_AFTER}
WatchdogSignal=SIGKILL
TimeoutStopSec={STOP_WITHIN}
KillMode=mixed
UMask=0077

[Install]
WantedBy={"default.target" if job.user is None else "multi-user.target"}
"""


def quoted(word: str, *, dollars: bool = True) -> str:
    """A word as a unit file takes it for that very text; `$` means something only in a command line."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if dollars else escaped}"'


def unit_file(*, system: bool, home: Path) -> Path:
    return (Path("/etc/systemd/system") if system else home / ".config" / "systemd" / "user") / UNIT


def standing_of(shown: str) -> Standing:
    """What `systemctl show` says."""
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    pid, code = int(values.get("MainPID") or 0), int(values.get("ExecMainStatus") or 0)
    active = values.get("ActiveState") in {"active", "activating", "reloading"} and pid > 0
    return Standing(values.get("LoadState") == "loaded", active, pid or None, code)


class Systemd:
    def __init__(self, *, system: bool) -> None:
        self._system = system
        self.file = unit_file(system=system, home=Path.home())

    def text(self, job: Job) -> bytes:
        return unit(job).encode()

    def install(self, job: Job) -> str:
        self._do("show-environment")
        place(self.file, self.text(job))
        self._do("daemon-reload")
        self._do("enable", UNIT)
        self._do("restart", "--no-block", UNIT)
        return "" if self._system or _lingers() else NO_LINGER.format(user=_user())

    def start(self) -> None:
        self._do("start", "--no-block", UNIT)

    def stop(self) -> None:
        self._do("stop", UNIT)

    def restart(self) -> None:
        self._do("restart", "--no-block", UNIT)

    def standing(self) -> Standing:
        return standing_of(self._do("show", "-p", "LoadState,ActiveState,MainPID,ExecMainStatus", UNIT).out)

    def uninstall(self) -> None:
        if not self.file.exists():
            raise ServiceError("no service is installed: edge-console service install")
        self._do("disable", "--now", UNIT)
        self.file.unlink()
        self._do("daemon-reload")

    def _do(self, *arguments: str) -> Ran:
        ran = call(("systemctl", *([] if self._system else ["--user"]), *arguments))
        if not ran.code:
            return ran
        if "not loaded" in ran.error or "not found" in ran.error or "does not exist" in ran.error:
            raise ServiceError("no service is installed: edge-console service install")
        if "not been booted" in ran.error:
            raise ServiceError("systemd does not run on this machine; --print shows the unit that it would get")
        if not self._system and "connect to bus" in ran.error:
            raise ServiceError(NO_SESSION.format(user=_user()))
        raise ServiceError(f"systemctl {arguments[0]} failed: {ran.said}")


def _lingers() -> bool:
    try:
        return call(("loginctl", "show-user", _user(), "-p", "Linger", "--value")).out.strip() == "yes"
    except FileNotFoundError:
        return False


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
