"""A ledger that is removed, replaced, moved or locked while the agent runs (PROMISES F79, F80)."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_core.events import Recorded, RecordFailed
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.writer import LedgerBusy
from tests.harness.desk import Desk, beside, reopened, settle, took
from tests.harness.rig import AGENT, for_a_while, message, program, served, settled, until, write_config

WAL = f"{FILE_NAME}-wal"


@pytest.fixture
def watched(tmp_path: Path, desks: list[Desk]) -> Desk:
    desks.append(Desk(tmp_path / "state", look_every=0.05))
    desks[0].open()
    desks[0].write(*settle(1, 2))
    return desks[0]


def deleted(folder: Path) -> None:
    (folder / FILE_NAME).unlink()


def replaced(folder: Path) -> None:
    shutil.copyfile(folder / FILE_NAME, folder / "copy")
    (folder / "copy").rename(folder / FILE_NAME)


def log_deleted(folder: Path) -> None:
    (folder / WAL).unlink()


def moved(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def moved_and_made_again(folder: Path) -> None:
    moved(folder)
    folder.mkdir(mode=0o700)
    (folder / FILE_NAME).touch()


SAYS: dict[Callable[[Path], None], str] = {
    deleted: "ledger.sqlite3 was removed", replaced: "ledger.sqlite3 was replaced", log_deleted: "-wal was removed",
    moved: "ledger.sqlite3 was removed", moved_and_made_again: "ledger.sqlite3 was replaced",
}  # fmt: skip


@pytest.mark.parametrize("how", SAYS)
def test_f80_it_is_said_and_nothing_more_is_recorded(watched: Desk, how: Callable[[Path], None]) -> None:
    how(watched.journal.path.parent)
    assert SAYS[how] in watched.until(RecordFailed).reason
    watched.give(took(3))
    watched.journal.close()
    while not watched.posts.empty():
        watched.seen.append(watched.posts.get())
    assert [post.ticket for post in watched.seen if isinstance(post, Recorded)][-1] == 1
    assert len(watched.failures()) == 1, "said once"


def test_f80_put_back_it_goes_on_by_itself(watched: Desk) -> None:
    folder = watched.journal.path.parent
    moved(folder)
    watched.until(RecordFailed)
    ticket = watched.give(took(3))
    folder.with_name("elsewhere").rename(folder)
    watched.until(Recorded, ticket)
    assert watched.journal.recall("cmd_3") is not None


def test_f80_put_back_in_a_quiet_moment_it_goes_on_too(watched: Desk) -> None:
    folder = watched.journal.path.parent
    moved(folder)
    watched.until(RecordFailed)
    folder.with_name("elsewhere").rename(folder)
    watched.until(Recorded)


def test_f80_without_its_log_the_file_is_made_whole_at_once(watched: Desk, desks: list[Desk], tmp_path: Path) -> None:
    """So that not even a power failure now lets anything run again."""
    log_deleted(watched.journal.path.parent)
    watched.until(RecordFailed)
    (tmp_path / "after").mkdir(mode=0o700)
    shutil.copyfile(watched.journal.path, tmp_path / "after" / FILE_NAME)
    desks.append(Desk(tmp_path / "after"))
    desks[-1].open()
    assert desks[-1].journal.recall("cmd_2") is not None


def test_f80_nobody_is_asked_who_has_come_in_its_place(tmp_path: Path, desks: list[Desk]) -> None:
    """An empty file would say that a command is new that has run."""
    desks.append(Desk(tmp_path / "state"))
    desk = desks[0]
    desk.open()
    desk.write(*settle(1))
    desks.append(Desk(tmp_path / "other"))
    desks[1].open()
    desks[1].journal.close()
    (tmp_path / "other" / FILE_NAME).rename(desk.journal.path)
    with pytest.raises(LedgerBusy, match="replaced"):
        desk.journal.recall("cmd_1")


async def test_f80_the_intake_closes(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program(*arguments, "--no-ui", cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
            (tmp_path / "state").rename(tmp_path / "elsewhere")
            await agent.hears("ledger.sqlite3 was removed or moved while the agent runs")
            order = backend.hub.order(await backend.queue(AGENT, "send_message_now", message()))
            await until(lambda: order.pushed)
            await for_a_while(0.3, lambda: order.ack is None)


# --- locked -------------------------------------------------------------------------------------------------------------------

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.read()
"""


def test_f79_the_journal_ends_in_time_though_another_process_has_the_file(desk: Desk) -> None:
    desk.write(*settle(1))
    locker = beside(LOCKER, desk.journal.path)
    desk.give(took(2))
    desk.journal.close(within=3.5)
    assert "journal" not in {thread.name for thread in threading.enumerate()}
    locker.communicate()


def test_f79_what_is_at_hand_is_written_when_the_file_is_free_again_before_the_end(desk: Desk, desks: list[Desk]) -> None:
    locker = beside(LOCKER, desk.journal.path)
    desk.give(*settle(1))
    threading.Timer(1.0, locker.communicate).start()
    desk.journal.close(within=15)
    again, _ = reopened(desk, desks)
    assert again.journal.recall("cmd_1") is not None
