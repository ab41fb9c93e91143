"""A PostgreSQL of our own for a test: a primary, and a synchronous standby that can be promoted; gone at the end.

PostgreSQL refuses to run as root: then its files and processes are the user `postgres`'s.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

WITHIN = 60.0
ROLE = "edge"


def programs() -> Path | None:
    """Where PostgreSQL's programs are; None where it is not installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (found := shutil.which("initdb")) is not None:
        places.append(Path(found).resolve().parent)
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_basebackup").exists()), None)


class Database:
    """One server, on a Unix socket in a directory of its own."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.folder = cluster.folder / name
        self._cluster = cluster
        self._files = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir()
        self._cluster.own(self.folder)

    def create(self) -> None:
        self._cluster.run("initdb", "-D", str(self._files), "-U", ROLE, "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync")

    def copy(self, primary: "Database") -> None:
        """Anew, whatever was there."""
        shutil.rmtree(self._files, ignore_errors=True)
        self._cluster.run(
            "pg_basebackup", "-D", str(self._files), "-R", "-X", "stream", "-c", "fast", "--no-sync",
            "-d", f"host={primary.folder} user={ROLE} application_name=standby",
        )  # fmt: skip

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = self._cluster.spawn(
            "postgres", "-D", str(self._files), "-c", "listen_addresses=", "-k", str(self.folder), "-c", "shared_buffers=32MB", log=log
        )
        deadline = time.monotonic() + WITHIN
        while self._cluster.ask("pg_isready", "-h", str(self.folder), "-U", ROLE):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2_000:]}")
            time.sleep(0.05)

    def sql(self, statement: str) -> str:
        """What psql prints."""
        return self._cluster.run("psql", "-h", str(self.folder), "-U", ROLE, "-d", "postgres", "-Atqc", statement)

    def promote(self) -> None:
        self.sql("SELECT pg_promote()")

    def kill(self) -> None:
        """kill -9 of the server and all its processes."""
        if self._process is not None:
            family = [self._process.pid, *_children(self._process.pid)]
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        for left in (self._files / "postmaster.pid", self.folder / ".s.PGSQL.5432", self.folder / ".s.PGSQL.5432.lock"):
            left.unlink(missing_ok=True)


class Cluster:
    """`with Cluster() as cluster`: `primary` runs; `add_standby` gives it a synchronous standby."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self._programs = found
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.folder = Path(tempfile.mkdtemp(prefix="edge-pg-"))
        self.folder.chmod(0o755)
        self._databases: list[Database] = []
        self.primary: Database

    def __enter__(self) -> Self:
        self.primary = self._new()
        self.primary.create()
        self.primary.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for database in self._databases:
            database.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_standby(self, again: Database | None = None) -> Database:
        """A synchronous one, from now on: a commit is answered when both have it. `again`: in the place of one that was killed."""
        standby = again or self._new()
        standby.copy(self.primary)
        standby.start()
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.primary.sql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + WITHIN
        while self.primary.sql("SELECT sync_state FROM pg_stat_replication") != "sync":
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.05)
        return standby

    def fail_over(self, standby: Database, after: float = 0) -> Database:
        """kill -9 of the primary; the standby takes its place, `after` seconds without any. Returns what was killed."""
        killed = self.primary
        killed.kill()
        time.sleep(after)
        standby.promote()
        self.primary = standby
        return killed

    def dsn(self, *folders: Path) -> str:
        """Of all its servers, whichever is the primary; or of what listens in these directories instead."""
        places = folders or tuple(database.folder for database in self._databases)
        hosts, ports = ",".join(map(str, places)), ",".join("5432" for _ in places)
        return f"postgresql:///postgres?user={ROLE}&host={hosts}&port={ports}&target_session_attrs=read-write"

    def own(self, path: Path) -> None:
        if os.getuid() == 0:
            shutil.chown(path, self._user, self._user)

    def run(self, program: str, *arguments: str) -> str:
        ran = subprocess.run(
            [self._programs / program, *arguments], user=self._who, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{program}: {ran.stderr}"
        return ran.stdout.strip()

    def ask(self, program: str, *arguments: str) -> int:
        return subprocess.run(
            [self._programs / program, *arguments], user=self._who, cwd=self.folder, capture_output=True, check=False
        ).returncode

    def spawn(self, program: str, *arguments: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [str(self._programs / program), *arguments]
        return subprocess.Popen(
            command, user=self._who, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    @property
    def _who(self) -> str | None:
        return self._user if os.getuid() == 0 else None

    def _new(self) -> Database:
        database = Database(self, f"db{len(self._databases)}")
        self._databases.append(database)
        return database


def _children(pid: int) -> list[int]:
    """Each of a server's processes is a group of its own."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]
