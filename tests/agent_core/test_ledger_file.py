"""The operator's tools for the ledger, used while an agent runs, as processes of their own."""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from agent_core.journal.opening import FILE_NAME
from agent_core.reference.server import ReferenceBackend
from tests.harness.rig import AGENT, ROOT, message, program, served, settled, write_config


async def tool(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, output and errors of one command."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console", *map(str, arguments), cwd=ROOT, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[tuple[ReferenceBackend, Path]]:
    """A headless agent, online, and its data directory."""
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program(*arguments, "--no-ui", cwd=tmp_path) as agent:
            await agent.hears("real-time mode enabled")
            yield backend, tmp_path / "state"


async def test_the_tools_work_while_the_agent_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as (backend, folder):
        good = await backend.queue(AGENT, "send_message_now", message("hello"), command_id="cmd_good")
        bad = await backend.queue(AGENT, "set_wallpaper", {"colour": "\x1b[31mred"}, command_id="cmd_bad")
        later = await backend.queue(AGENT, "schedule_message", message("later", send_at="2099-01-01T00:00:00Z"), command_id="later")
        orders = await settled(backend, good, bad)
        await backend.repeat(good, by_poll=False)
        async with asyncio.timeout(10):
            while orders[0].acks_seen < 2 or "proven" not in (await tool("ledger", "show", good, "--data-dir", folder))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        code, out, _ = await tool("ledger", "ls", "--data-dir", folder)
        head, *rows = out.splitlines()
        assert code == 0
        assert head.split() == ["RECEIVED", "(UTC)", "STATUS", "VIA", "ACK", "COMMAND", "TYPE"]
        assert [row.split()[2] for row in rows] == ["completed", "failed", "scheduled"]
        assert {row.index(name) for row, name in zip(rows, (good, bad, later), strict=True)} == {head.index("COMMAND")}
        assert "unsupported_command_type" in rows[1]

        code, out, _ = await tool("ledger", "ls", "--status", "scheduled", "--json", "--data-dir", folder)
        assert code == 0
        assert [(one["command_id"], one["due_utc"]) for one in json.loads(out)] == [(later, "2099-01-01T00:00:00.000Z")]
        assert json.loads((await tool("ledger", "ls", "--last", "2", "--json", "--data-dir", folder))[1])[0]["command_id"] == bad

        code, out, _ = await tool("ledger", "show", "cmd_g", "--data-dir", folder)
        line = out.splitlines()[1]
        assert code == 0
        for step in ("received(ws)", "duplicate(ws)", "ran", "ack sent", "proven"):
            assert step in line
        assert "outbox    to +13105550100: hello" in out
        assert "\x1b" not in (await tool("ledger", "show", bad, "--data-dir", folder))[1]

        code, out, _ = await tool("ledger", "export", "--data-dir", folder)
        records = [json.loads(line) for line in out.splitlines()]
        assert [record["command_id"] for record in records] == [good, bad, later]
        assert records[0]["ack"] == json.loads(orders[0].ack or b"")
        assert records[0]["duplicates"] == 1

        code, out, _ = await tool("audit", "verify", "--json", "--data-dir", folder)
        assert code == 0
        found = json.loads(out)
        assert (found["ok"], found["commands"], found["finished"], found["violations"]) == (True, 3, 2, [])
        assert [row["text"] for row in json.loads((await tool("outbox", "ls", "--json", "--data-dir", folder))[1])] == ["hello"]
    assert (await tool("audit", "verify", "--data-dir", folder))[0] == 0, "and when it has ended"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE commands SET runs = 2, command_type = 'brew_coffee'; DELETE FROM outbox", "was run 2 times"),
        ("INSERT INTO outbox SELECT seq + 1000, command_id, thread_id, text, sent_utc FROM outbox", "sent 2 times"),
        ("UPDATE commands SET state = 'failed'", "was sent, but is failed"),
        ("UPDATE commands SET ack = NULL", "is completed without an ack"),
        ("UPDATE commands SET ack = 'nonsense'", "an ack that cannot be read"),
        ("""UPDATE commands SET ack = '{"command_id":"other","success":true}'""", "the ack of another command"),
    ],
)
async def test_the_audit_names_the_ids_where_it_is_not_so_and_exits_1(tmp_path: Path, damage: str, what: str) -> None:
    async with running(tmp_path) as (backend, folder):
        await settled(backend, await backend.queue(AGENT, "send_message_now", message("hello"), command_id="cmd_1"))
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        db.executescript(damage)
    code, out, _ = await tool("audit", "verify", "--data-dir", folder)
    assert code == 1
    assert f"cmd_1  {what}" in out or ("cmd_1" in out and what in out)
    assert "NOT OK" in out
    code, out, _ = await tool("audit", "verify", "--json", "--data-dir", folder)
    assert code == 1
    assert any(one == {"command_id": "cmd_1", "what": one["what"]} and what in one["what"] for one in json.loads(out)["violations"])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("ledger", "ls"), 1, "no ledger in"),
        (("ledger", "show", "x"), 1, "no ledger in"),
        (("ledger", "export"), 1, "no ledger in"),
        (("audit", "verify"), 1, "no ledger in"),
        (("ledger", "ls", "--status", "gone"), 2, "'gone' is no choice for --status"),
        (("ledger", "ls", "--last", "-1"), 2, "--last"),
    ],
)
async def test_trouble_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    found, out, err = await tool(*arguments, "--data-dir", tmp_path / "nowhere")
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert says in err
    assert not (tmp_path / "nowhere").exists()
