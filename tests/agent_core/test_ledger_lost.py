"""A ledger that is gone while something beside it says that it held commands, or that a later version has written (PROMISES F40, F80)."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from agent_core.events import LedgerOpened, RecordFailed
from agent_core.journal.audit import audit
from agent_core.journal.backup import back_up, restore
from agent_core.journal.mark import FILE_NAME as MARK_NAME
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import LaterSchema, NoLedger, fault
from tests.harness.desk import WITHIN, Desk, settle, took
from tests.harness.rig import AGENT, config, for_a_while, living, message, records, served, settled

WAL = f"{FILE_NAME}-wal"


def written(folder: Path, desks: list[Desk], *, ended: bool = True) -> Path:
    """A ledger with two commands; where it is not `ended`, as a crash in its first seconds leaves it."""
    desks.append(Desk(folder / "state"))
    desks[-1].open()
    desks[-1].write(*settle(1, 2))
    if ended:
        desks[-1].journal.close()
        return folder / "state"
    end = time.monotonic() + WITHIN
    while (folder / "state" / MARK_NAME).read_text() != "2\n":
        assert time.monotonic() < end, "the first commands are noted at once"
        time.sleep(0.02)
    return Path(shutil.copytree(folder / "state", folder / "crashed"))


def emptied(folder: Path) -> None:
    os.truncate(folder / FILE_NAME, 0)


def deleted(folder: Path) -> None:
    (folder / FILE_NAME).unlink()


def emptied_with_its_mark(folder: Path) -> None:
    """As a power cut leaves files that were written and not flushed: their names, and zeros or nothing in them."""
    emptied(folder)
    (folder / MARK_NAME).write_bytes(bytes(2))


WAYS = {"emptied": emptied, "deleted": deleted, "emptied with its mark": emptied_with_its_mark}


@pytest.mark.parametrize("ended", [True, False], ids=["after a clean end", "after a crash"])
@pytest.mark.parametrize("how", WAYS)
def test_f40_a_ledger_that_is_gone_is_no_new_one(tmp_path: Path, desks: list[Desk], how: str, ended: bool) -> None:
    folder = written(tmp_path, desks, ended=ended)
    whole = (folder / FILE_NAME).read_bytes()
    WAYS[how](folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    desks.append(Desk(folder))
    desks[-1].journal.start()
    reason = desks[-1].until(RecordFailed).reason
    assert f"{folder / FILE_NAME} is {'missing' if how == 'deleted' else 'empty'}, but held commands ({MARK_NAME}" in reason
    assert (f"and {WAL}" in reason) is not ended
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "what is left is left alone"
    for looked_at in (lambda: audit(folder), lambda: records(folder)):
        with pytest.raises(NoLedger, match="but held commands"):
            looked_at()
    assert fault(folder) == (reason, "put it back, or restore a backup")
    (folder / "back").write_bytes(whole)
    (folder / "back").rename(folder / FILE_NAME)
    desks[-1].until(LedgerOpened)
    assert desks[-1].found("cmd_2")


def test_f40_what_shows_it_moved_away_a_new_one_is_begun(tmp_path: Path, desks: list[Desk]) -> None:
    folder = written(tmp_path, desks, ended=False)
    deleted(folder)
    desks.append(Desk(folder))
    desks[-1].journal.start()
    desks[-1].until(RecordFailed)
    for name in (MARK_NAME, WAL):
        (folder / name).rename(tmp_path / name)
    assert desks[-1].until(LedgerOpened).memory.next_seq == 1
    assert desks[-1].write(took(1)).ticket == 1


@pytest.mark.parametrize("noted", ["", "0\n"], ids=["no mark", "a mark of nothing"])
def test_f40_a_ledger_that_never_held_a_command_may_be_empty(tmp_path: Path, desks: list[Desk], noted: str) -> None:
    (tmp_path / FILE_NAME).touch()
    (tmp_path / WAL).touch()
    if noted:
        (tmp_path / MARK_NAME).write_text(noted)
    assert fault(tmp_path) is None
    desks.append(Desk(tmp_path))
    assert desks[-1].open().next_seq == 1


async def test_f40_f80_an_agent_on_a_ledger_that_is_gone_keeps_the_link_and_runs_nothing(tmp_path: Path) -> None:
    async with served() as backend:
        settings = config(tmp_path / "state", backend.url)
        async with living(settings) as agent:
            await agent.online()
            done = await backend.queue(AGENT, "send_message_now", message("once"))
            await settled(backend, done)
        emptied(tmp_path / "state")
        async with living(settings) as agent:
            await agent.hears(
                r"ledger\.sqlite3 is empty, but held commands \(ledger\.mark\): no command is run, lest it run twice, until you"
            )
            shown = await agent.online()
            assert "is empty, but held commands" in str(shown.disk.trouble)
            await backend.repeat(done)
            fresh = backend.hub.order(await backend.queue(AGENT, "send_message_now", message("later")))
            await for_a_while(0.3, lambda: fresh.ack is None)
            assert not agent.rows(done)


# --- while it runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointed", [True, False], ids=["all of it", "and its log has all"])
def test_f80_a_ledger_that_is_emptied_while_it_runs_is_no_new_one_after_a_restart(
    tmp_path: Path, desks: list[Desk], checkpointed: bool
) -> None:
    desks.append(Desk(tmp_path, look_every=0.05))
    desk = desks[0]
    desk.open()
    desk.write(*settle(1, 2))
    if checkpointed:
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    emptied(tmp_path)
    assert "ledger.sqlite3 was emptied while the agent runs: restart the agent" in desk.until(RecordFailed).reason
    desk.give(took(3))
    desk.journal.close()
    desks.append(Desk(tmp_path))
    desks[-1].journal.start()
    if checkpointed:
        assert "but held commands" in desks[-1].until(RecordFailed).reason
    else:
        desks[-1].until(LedgerOpened)
        assert desks[-1].found("cmd_2")


# --- put back, or of another version ------------------------------------------------------------------------------------------


def test_a_log_without_its_ledger_does_not_get_into_a_backup(tmp_path: Path, desks: list[Desk]) -> None:
    crashed = written(tmp_path, desks, ended=False)
    other = Desk(tmp_path / "other")
    desks.append(other)
    other.open()
    other.write(*(took(seq, f"other_{seq}") for seq in range(1, 6)))
    assert back_up(tmp_path / "other", tmp_path / "copy") == 5
    deleted(crashed)
    assert restore(crashed, tmp_path / "copy") is None
    assert [record.command.command_id for record in records(crashed)] == [f"other_{seq}" for seq in range(1, 6)]


def test_f40_what_a_later_version_has_written_is_not_judged(tmp_path: Path, desks: list[Desk]) -> None:
    folder = written(tmp_path, desks)
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        db.execute("PRAGMA user_version = 999")
    for look in (lambda: audit(folder), lambda: records(folder), lambda: back_up(folder, tmp_path / "copy")):
        with pytest.raises(
            LaterSchema, match=r"cannot be judged: written by a newer edge-console \(schema 999, this one knows \d+\); update it"
        ):
            look()
    found = fault(folder)
    assert found is not None
    assert found[1] == "update edge-console"
