"""The ledger copied while it is written, put back, and noticed where it is an older one."""

import sqlite3
from pathlib import Path

import pytest

from agent_core.events import LedgerOpened
from agent_core.journal.audit import audit
from agent_core.journal.backup import BackupUnfit, back_up, fence, restore
from agent_core.journal.data_dir import DataDirLock, DataDirUnusable
from agent_core.records import Memory
from tests.harness.playbook import Playbook
from tests.harness.rig import AGENT, config, living, message, records, served, settled


async def test_a_backup_is_of_one_instant_and_sound_while_the_agent_runs(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path / "state", backend.url)) as agent:
        await agent.online()
        sent = [await backend.queue(AGENT, "send_message_now", message(thread=f"+1310555{n:04}")) for n in range(40)]
        await settled(backend, *sent[:10])
        count = back_up(tmp_path / "state", tmp_path / "copy.sqlite3")
        await settled(backend, *sent)
    assert count >= 10
    assert (tmp_path / "copy.sqlite3").stat().st_mode & 0o777 == 0o600
    (tmp_path / "other").mkdir()
    assert restore(tmp_path / "other", tmp_path / "copy.sqlite3") is None
    assert len(records(tmp_path / "other")) == count
    assert audit(tmp_path / "other").ok
    with pytest.raises(FileExistsError):
        back_up(tmp_path / "state", tmp_path / "copy.sqlite3")
    assert {path.name for path in sorted(tmp_path.iterdir())} == {"state", "other", "copy.sqlite3"}  # noqa: ASYNC240


async def test_an_older_ledger_in_place_of_another_is_said(tmp_path: Path) -> None:
    async with served() as backend:
        async with living(config(tmp_path / "state", backend.url)) as agent:
            await agent.online()
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
            back_up(tmp_path / "state", tmp_path / "copy")
            await settled(backend, *[await backend.queue(AGENT, "send_message_now", message()) for _ in range(3)])
        kept = restore(tmp_path / "state", tmp_path / "copy")
        assert kept is not None
        assert len(records(tmp_path / "state")) == 1
        async with living(config(tmp_path / "state", backend.url)) as agent:
            await agent.hears(r"an older one, put in place of another\. It does not know the last 3 command\(s\) that were taken here")
        async with living(config(tmp_path / "state", backend.url)) as agent:
            await agent.online()
            assert not agent.said("an older one"), "once is enough"


def test_the_engine_says_what_an_older_ledger_means() -> None:
    book = Playbook().started()
    book >> LedgerOpened(Memory(forgotten=2))
    book.told("what the backend sends again of them runs again", "ERROR")


def test_what_is_no_backup_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for name, content, said in (("empty", b"", "is empty"), ("text", b"no ledger at all" * 100, "is no ledger")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BackupUnfit, match=said):
            restore(tmp_path / "state", tmp_path / name)
    with sqlite3.connect(tmp_path / "newer") as db:
        db.execute("PRAGMA user_version = 999")
        db.execute("CREATE TABLE x (y)")
    with pytest.raises(BackupUnfit, match="schema 999"):
        restore(tmp_path / "state", tmp_path / "newer")
    assert list((tmp_path / "state").iterdir()) == []


def test_no_agent_starts_on_what_was_handed_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    fence(tmp_path, "to a file")
    with (
        pytest.raises(DataDirUnusable, match="was handed over: two agents that know the same commands would run them twice"),
        DataDirLock(tmp_path),
    ):
        pass


async def test_what_was_run_in_both_is_found_and_what_came_along_is_not(tmp_path: Path) -> None:
    for name in ("one", "two"):
        async with served() as backend, living(config(tmp_path / name, backend.url)) as agent:
            await agent.online()
            for command_id in ("the-same", f"only-{name}"):
                await settled(backend, await backend.queue(AGENT, "send_message_now", message(), command_id=command_id))
    back_up(tmp_path / "one", tmp_path / "copy")
    (tmp_path / "three").mkdir()
    restore(tmp_path / "three", tmp_path / "copy")
    assert audit(tmp_path / "one", other=tmp_path / "three").ok
    found = audit(tmp_path / "one", other=tmp_path / "two")
    assert [(one.command_id, one.what) for one in found.violations] == [("the-same", "was run in both")]
