"""A ledger file that is not as it was written: nothing is run on it, nothing ends, and a listing goes on (PROMISES F40, F66, F72, F73)."""

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent_core.clock import ManualClock
from agent_core.events import LedgerOpened, RecordFailed
from agent_core.journal.audit import SHARED_GUIDS, audit
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import fault
from agent_core.journal.writer import LedgerBusy
from agent_core.records import State
from tests.harness.desk import UTC, Desk, ended, fed, proved, settle, took
from tests.harness.rig import ROOT


def written(tmp_path: Path, desks: list[Desk]) -> Path:
    """A ledger with three settled commands, one that is scheduled and one that waits; closed."""
    desks.append(Desk(tmp_path))
    desk = desks[0]
    desk.open()
    desk.write(*settle(1, 2, 3), took(4, state=State.SCHEDULED, due_utc=UTC + 1e6), took(5, state=State.QUEUED))
    desk.journal.close()
    return tmp_path / FILE_NAME


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(statement)


BAD_ROWS = {
    "a state nobody knows": ("UPDATE commands SET state = 'dreaming' WHERE seq = 2", "state is 'dreaming'"),
    "a way nobody knows": ("UPDATE commands SET via = 'pigeon' WHERE seq = 2", "via is 'pigeon'"),
    "a priority nobody knows": ("UPDATE commands SET priority = 17 WHERE seq = 2", "priority is 17"),
    "a time that is a word": ("UPDATE commands SET received_utc = 'noon' WHERE seq = 2", "received_utc is 'noon'"),
    "an id of bytes": ("UPDATE commands SET command_id = x'00ff' WHERE seq = 2", "command_id is X'00FF'"),
    "scheduled for no time": ("UPDATE commands SET due_utc = NULL WHERE seq = 4", "due_utc is NULL"),
    "a payload that is no JSON": ("UPDATE commands SET payload = '{' WHERE seq = 5", "cmd_5"),
    "a payload that is no object": ("UPDATE commands SET payload = '[1]' WHERE seq = 5", "cmd_5"),
    "a text that is not UTF-8": ("UPDATE commands SET payload = CAST(x'7bff7d' AS TEXT) WHERE seq = 5", "cmd_5"),
    "a cancel until a word": ("INSERT INTO tombstones VALUES ('m', 0, 'c', 'later')", "until_utc is 'later'"),
    "a horizon that is a word": ("INSERT INTO facts VALUES ('horizon_utc', 'far')", "value is 'far'"),
    "a compacted row's state": ("INSERT INTO compacted VALUES (9, 'cmd_9', NULL, 1.0, 'ws', 'gone', NULL)", "state is 'gone'"),
}


@pytest.mark.parametrize("how", BAD_ROWS)
def test_f72_a_row_that_cannot_be_read_is_named_and_nothing_is_run(tmp_path: Path, desks: list[Desk], how: str) -> None:
    statement, says = BAD_ROWS[how]
    path = written(tmp_path, desks)
    change(path, statement)
    for _ in range(2):
        again = Desk(tmp_path)
        desks.append(again)
        again.journal.start()
        reason = again.until(RecordFailed).reason
        again.journal.close()
        assert "is damaged" in reason
        assert says in reason
        assert not any(isinstance(post, LedgerOpened) for post in again.seen)
    (copy,) = tmp_path.glob("ledger.damaged-*.sqlite3")
    assert copy.name in reason


def test_f72_a_horizon_of_nothing_is_no_damage(tmp_path: Path, desks: list[Desk]) -> None:
    """So it was written where all that was forgotten had no time of its own."""
    change(written(tmp_path, desks), "INSERT INTO facts VALUES ('horizon_utc', '0.0')")
    again = Desk(tmp_path)
    desks.append(again)
    again.open()


def test_f72_a_row_that_goes_bad_while_it_runs_leaves_its_command_with_the_backend(desk: Desk) -> None:
    desk.write(*settle(1, 2), took(3), ended(3), took(4), ended(4))
    change(desk.journal.path, "UPDATE commands SET state = 'dreaming' WHERE seq IN (1, 3)")
    with pytest.raises(LedgerBusy, match="cmd_1"):
        desk.journal.recall("cmd_1")
    with pytest.raises(LedgerBusy, match="cmd_1"):
        desk.journal.look_up(("cmd_1",))
    assert desk.journal.recall("cmd_2") is not None
    assert [record.seq for record in desk.journal.recall_all((3, 4))] == [4], "the others' acks are not held up"


def in_the_index(path: Path, table: str, key: str) -> int:
    """Where in the file the index of command ids has a key, and the table has not."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (f"sqlite_autoindex_{table}_1",)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    content = path.read_bytes()
    at = content.index(key.encode(), (root - 1) * size)
    assert at < root * size
    return at


@pytest.mark.parametrize(("table", "key"), [("commands", "cmd_2"), ("compacted", "cmd_9")])
def test_f73_a_key_that_is_wrong_in_the_index_alone_is_seen_at_start_and_by_the_audit(
    tmp_path: Path,
    desks: list[Desk],
    table: str,
    key: str,
) -> None:
    path = written(tmp_path, desks)
    change(path, "INSERT INTO compacted VALUES (9, 'cmd_9', NULL, 1.0, 'ws', 'completed', NULL)")
    assert fault(tmp_path) is None
    assert audit(tmp_path).ok
    at = in_the_index(path, table, key)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"cmd_x")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",), "the pages are sound"
    found = audit(tmp_path)
    assert not found.ok
    assert f"sqlite_autoindex_{table}_1" in str(found.damage)
    what, _ = fault(tmp_path) or ("", "")
    assert "is damaged" in what
    again = Desk(tmp_path)
    desks.append(again)
    again.journal.start()
    assert f"sqlite_autoindex_{table}_1" in again.until(RecordFailed).reason


# --- listings ---------------------------------------------------------------------------------------------------------------

BAD_VALUES = {
    "the year 10000": ("UPDATE commands SET due_utc = 253402300800.0 WHERE seq = 4", "253402300800"),
    "infinity": ("UPDATE commands SET received_utc = 9e999 WHERE seq = 4", "inf"),
    "long before any calendar": ("UPDATE commands SET finished_utc = -1e14 WHERE seq = 4", "-100000000000000"),
    "not a number in a payload": ("""UPDATE commands SET payload = '{"a": NaN, "b": -Infinity}' WHERE seq = 4""", "null"),
    "an ack that is no JSON": ("UPDATE commands SET ack = 'nonsense' WHERE seq = 4", "nonsense"),
    "a state nobody knows": ("UPDATE commands SET state = 'dreaming' WHERE seq = 4", "dreaming"),
    "a payload that is no JSON": ("UPDATE commands SET payload = '{' WHERE seq = 4", "EOF"),
    "a text that is not UTF-8": ("UPDATE commands SET error = CAST(x'41ff42' AS TEXT) WHERE seq = 4", "A\ufffdB"),
}


async def tool(folder: Path, *arguments: str) -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "console", *arguments, "--data-dir", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def strict(text: str) -> object:
    """As another consumer reads JSON."""

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("how", BAD_VALUES)
async def test_f66_a_listing_shows_the_bad_row_and_goes_on(tmp_path: Path, desks: list[Desk], how: str) -> None:
    statement, shown = BAD_VALUES[how]
    change(written(tmp_path, desks), statement)
    listed, exported, table, whole, prose = await asyncio.gather(
        tool(tmp_path, "ledger", "ls", "--json"), tool(tmp_path, "ledger", "export"), tool(tmp_path, "ledger", "ls"),
        tool(tmp_path, "ledger", "show", "cmd_4", "--json"), tool(tmp_path, "ledger", "show", "cmd_4"),
    )  # fmt: skip
    rows = strict(listed[1])
    assert isinstance(rows, list)
    assert [row["command_id"] for row in rows] == ["cmd_1", "cmd_2", "cmd_3", "cmd_4", "cmd_5"]
    lines = exported[1].splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert shown in json.dumps(strict(lines[3]), ensure_ascii=False)
    assert len(table[1].splitlines()) == 6
    assert strict(whole[1])
    assert "cmd_4" in prose[1] + prose[2]
    assert "unexpected" not in "".join(text for ran in (listed, exported, table, whole, prose) for text in ran[1:])
    assert [ran[0] for ran in (listed, exported, table, whole)] == [0, 0, 0, 0]


async def test_f66_the_outbox_goes_on_too(tmp_path: Path, desks: list[Desk]) -> None:
    change(written(tmp_path, desks), "UPDATE outbox SET sent_utc = 253402300800.0 WHERE seq = 2")
    listed, table = await asyncio.gather(tool(tmp_path, "outbox", "ls", "--json"), tool(tmp_path, "outbox", "ls"))
    rows = strict(listed[1])
    assert isinstance(rows, list)
    assert [row["sent_utc"] for row in rows][1] == "253402300800"
    assert len(table[1].splitlines()) == len(rows) == 3


async def test_f72_f73_the_audit_says_so_and_exits_1(tmp_path: Path, desks: list[Desk]) -> None:
    change(written(tmp_path, desks), "UPDATE commands SET via = 'pigeon' WHERE seq = 2")
    (code, prose, _), (coded, told, _) = await asyncio.gather(
        tool(tmp_path, "audit", "verify"), tool(tmp_path, "audit", "verify", "--json")
    )
    assert code == coded == 1
    assert "damaged      commands, 'cmd_2': via is 'pigeon'" in prose
    assert "NOT OK" in prose
    assert json.loads(told)["damage"] == "commands, 'cmd_2': via is 'pigeon'"


async def test_f66_a_damaged_page_in_the_midst_is_one_sentence(tmp_path: Path, desks: list[Desk]) -> None:
    desks.append(Desk(tmp_path, clock=ManualClock(utc=UTC + 5_000)))
    desk = desks[0]
    desk.open()
    fed(desk, 3_000)
    desk.journal.close()
    path = tmp_path / FILE_NAME
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8_192)
    for arguments in (("ledger", "ls"), ("ledger", "export"), ("audit", "verify")):
        code, _, err = await tool(tmp_path, *arguments)
        assert code == 1
        assert "cannot be read" in err
        assert "unexpected" not in err


def test_f73_an_audit_of_a_sound_ledger_finds_no_damage(desk: Desk) -> None:
    desk.write(*settle(1, 2), took(3), ended(3), proved(3))
    assert audit(desk.journal.path.parent).damage is None


def test_the_audit_compares_no_command_with_every_other(desk: Desk) -> None:
    """Fifty thousand would take it minutes."""
    desk.write(*settle(1, 2))
    with closing(sqlite3.connect(desk.journal.path)) as db:
        plan = [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {SHARED_GUIDS}")]
    assert plan
    assert not [step for step in plan if "CORRELATED LIST" in step]
