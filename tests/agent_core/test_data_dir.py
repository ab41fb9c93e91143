"""The data directory: one agent's at a time, and no way to a file elsewhere (PROMISES F41, F74, F77, F81)."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_core.config import Config
from agent_core.journal.data_dir import DataDirInUse, DataDirLock, DataDirUnusable, cautions, data_dir
from agent_core.journal.opening import FILE_NAME, RESERVE_NAME
from tests.harness.desk import Desk, beside
from tests.harness.rig import AGENT, ROOT, message, program, served, settled, write_config

HOLDER = """
import pathlib, sys
from agent_core.journal.data_dir import DataDirLock
with DataDirLock(pathlib.Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def test_f41_the_lock_names_its_owner_and_outlives_no_process(folder: Path) -> None:
    holder = beside(HOLDER, folder)
    with pytest.raises(DataDirInUse, match=rf"pid {holder.pid}\b"), DataDirLock(folder):
        pass
    holder.kill()
    holder.communicate()
    with DataDirLock(folder) as lock:
        assert lock.owner() == os.getpid()
        assert lock.held
    assert lock.owner() is None
    assert not lock.held
    assert list(folder.iterdir()) == []


def emptied(folder: Path) -> Path:
    for path in folder.iterdir():
        path.unlink()
    return folder


def moved(folder: Path) -> Path:
    return folder.rename(folder.with_name("elsewhere"))


def linked(folder: Path) -> Path:
    link = folder.with_name("link")
    link.symlink_to(folder)
    return link


@pytest.mark.parametrize("how", [emptied, moved, linked])
def test_f74_no_second_agent_on_one_ledger_whatever_was_removed_or_moved(folder: Path, how: Callable[[Path], Path]) -> None:
    holder = beside(HOLDER, folder)
    there = how(folder)
    assert DataDirLock(there).held
    with pytest.raises(DataDirInUse), DataDirLock(there):
        pass
    holder.communicate()
    with DataDirLock(there):
        pass


async def test_f74_with_every_file_of_the_lock_removed_a_second_program_does_not_start(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program(*arguments, "--no-ui", cwd=tmp_path) as first:
            await first.hears("real-time mode")
            for path in (tmp_path / "state").glob("agent.*"):
                path.unlink()
            async with program(*arguments, "--no-ui", cwd=tmp_path) as second:
                assert await second.ends() == 1
                assert "is in use by the agent" in second.err[0]
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()))


NO_LOCKS = """
import errno, fcntl, os, pathlib, sys
def flock(descriptor, operation):
    raise OSError(getattr(errno, sys.argv[2]), os.strerror(getattr(errno, sys.argv[2])))
fcntl.flock = flock
from console.cli.main import main
main(["--no-ui", "--demo", "--data-dir", sys.argv[1]])
"""


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "ENOLCK", "EBADF"])
def test_f81_a_file_system_without_locks_is_one_sentence(folder: Path, error: str) -> None:
    """It stands for SMB, NFS and some others, none of which can be mounted here."""
    ran = subprocess.run([sys.executable, "-c", NO_LOCKS, str(folder), error], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert f"the file system of data_dir {folder} has no locks" in ran.stderr


# --- what others could have put there ----------------------------------------------------------------------------------------

LINKS = (
    "agent.pid", FILE_NAME, f"{FILE_NAME}-wal", RESERVE_NAME, "edge-console.log", "edge-console.log.1", "screenshots", "exports",
    "incidents",
)  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_f77_no_planted_link_is_followed(folder: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "precious"
    target.write_text("do not touch")
    (folder / name).symlink_to(target)
    with pytest.raises(DataDirUnusable, match=rf"{name} is a link"), DataDirLock(folder):
        pass
    assert target.read_text() == "do not touch"


@pytest.mark.parametrize("name", [FILE_NAME, RESERVE_NAME])
def test_f77_the_journal_itself_follows_none(folder: Path, tmp_path: Path, desks: list[Desk], name: str) -> None:
    target = tmp_path / "precious"
    (folder / name).symlink_to(target)
    desks.append(Desk(folder))
    desks[0].journal.start()
    desks[0].posts.get(timeout=10)
    desks[0].journal.close()
    assert not target.exists()


def test_f77_a_directory_that_everybody_can_write_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(DataDirUnusable, match=r"mode 0777.*chmod 700"), DataDirLock(folder):
        pass
    folder.chmod(0o700)
    with DataDirLock(folder):
        assert stat.S_IMODE((folder / "agent.pid").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["plain file", "inside a file/state"])
def test_f77_a_file_in_its_place_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name.partition("/")[0]).touch()
    with pytest.raises(DataDirUnusable, match="cannot be made"):
        data_dir(Config.model_construct(data_dir=tmp_path / name))


def test_f77_what_others_can_read_is_told(folder: Path, tmp_path: Path) -> None:
    secrets = tmp_path / ".env"
    secrets.touch(0o600)
    assert cautions(folder, secrets) == []
    assert cautions(folder, tmp_path / "not there") == []
    secrets.chmod(0o644)
    folder.chmod(0o755)
    said = cautions(folder, secrets)
    assert len(said) == 2
    assert f"{folder} has mode 0755, so others can look inside: chmod 700" in said[0]
    assert f"{secrets} has mode 0644, so others can read it: chmod 600" in said[1]
    folder.chmod(0o770)
    assert "its group can write" in cautions(folder, secrets)[0]


async def test_f77_it_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        (tmp_path / ".env").touch(0o644)
        async with program(*arguments, "--no-ui", cwd=tmp_path) as agent:
            await agent.hears(r"\[WARNING\] .*state has mode 0755, so others can look inside")
            await agent.hears(r"\[WARNING\] .*\.env has mode 0644, so others can read it")
        (tmp_path / "state" / "agent.pid").unlink(missing_ok=True)
        (tmp_path / "state" / "agent.pid").symlink_to(tmp_path / "precious")
        async with program(*arguments, "--no-ui", cwd=tmp_path) as agent:
            assert await agent.ends() == 2
            assert len(agent.err) == 1
            assert "is a link" in agent.err[0]


AS_NOBODY = """
import os, pathlib, sys
from agent_core.journal.data_dir import DataDirLock, DataDirUnusable
os.setuid(65534)
try:
    with DataDirLock(pathlib.Path(sys.argv[1])):
        print("started")
except DataDirUnusable as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_f77_what_belongs_to_another_user_is_refused() -> None:
    def said() -> str:
        return subprocess.run([sys.executable, "-c", AS_NOBODY, name], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        assert "belongs to another user (uid 0)" in said()
        os.chown(folder, 65534, 65534)
        (folder / FILE_NAME).touch()
        assert f"{FILE_NAME} belongs to another user (uid 0)" in said()
        (folder / FILE_NAME).unlink()
        assert said() == "started\n"
        assert "uid 65534" in cautions(folder, None)[0]
