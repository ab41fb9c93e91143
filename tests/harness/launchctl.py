"""A `launchctl` for the PATH: it starts, shows and ends jobs, and misbehaves as the real one does.

A file beside it makes it worse: `no-session` (nobody is logged in at the screen), `hangs` (it does not come back from that word).
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PROGRAM = """#!/bin/sh
"exec" "{python}" "$0" "$@"
import os, pathlib, plistlib, signal, subprocess, sys, time

here = pathlib.Path(__file__).parent
command, target = sys.argv[1], sys.argv[2]
(here / "calls").open("a").write(" ".join(sys.argv[1:]) + "\\n")


def end(code, said=""):
    print(said, file=sys.stderr)
    sys.exit(code)


def lives(pid):
    try:
        return pathlib.Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if (here / "hangs").exists() and (here / "hangs").read_text() == command:
    time.sleep(60)
if (here / "no-session").exists() and target.startswith("gui/"):
    end(112 if command == "print" else 5, "Bootstrap failed: 5: Input/output error")
keys = plistlib.loads(pathlib.Path(sys.argv[3]).read_bytes()) if command == "bootstrap" else {{}}
label = keys.get("Label") or target.rpartition("/")[2]
job, lingering = here / f"{{label}}.pid", here / f"{{label}}.lingering"
if lingering.exists():  # what bootout has ended is there for a while
    looks = int(lingering.read_text()) - 1
    lingering.write_text(str(looks)) if looks else (lingering.unlink(), job.unlink())
if command == "print" and target.count("/") == 1:
    end(0)
elif command == "print":
    if not job.exists():
        end(113, "Could not find service in domain")
    pid = job.read_text()
    if lives(pid):
        print("x = {{\\n\\tstate = running\\n\\tpid = " + pid + "\\n\\tlast exit code = (never exited)\\n}}")
    else:  # what has ended by itself stays loaded
        print("x = {{\\n\\tstate = not running\\n\\tlast exit code = 78: EX_CONFIG\\n}}")
elif command == "bootout":
    if not job.exists():
        end(3, "Boot-out failed: 3: No such process")
    if lives(job.read_text()):
        os.kill(int(job.read_text()), signal.SIGTERM)
    lingering.write_text("3")
    end(36, "Boot-out failed: 36: Operation now in progress")
elif command == "bootstrap":
    if job.exists():
        end(5, "Bootstrap failed: 5: Input/output error\\nTry re-running the command as root for richer errors.")
    try:
        started = subprocess.Popen(
            keys["ProgramArguments"], cwd=keys["WorkingDirectory"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(keys["StandardErrorPath"], "a"), start_new_session=True,
            env=keys["EnvironmentVariables"] | {{"HOME": os.environ["HOME"], "PYTHONPATH": os.environ["PYTHONPATH"]}},
        )
        job.write_text(str(started.pid))
    except OSError:  # the real one has no word for a program that is not there
        job.write_text("0")
elif command not in ("enable", "kickstart"):
    end(64, "Unrecognized subcommand")
"""


class Launchctl:
    """In a folder of its own, which is to be on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.add("launchctl", PROGRAM.format(python=sys.executable))

    def add(self, name: str, text: str) -> None:
        """Another program beside it."""
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.folder}:/usr/bin:/bin"

    @property
    def calls(self) -> str:
        return (self.folder / "calls").read_text() if (self.folder / "calls").exists() else ""

    def pid(self, label: str) -> int:
        """Of the job that is loaded under this label. Raises FileNotFoundError."""
        return int((self.folder / f"{label}.pid").read_text())

    def misbehave(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text)

    def end(self) -> None:
        """Whatever still runs."""
        for job in self.folder.glob("*.pid"):
            with suppress(OSError, ValueError):
                if pid := int(job.read_text()):
                    os.kill(pid, signal.SIGKILL)
