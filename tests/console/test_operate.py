"""`pause`, `resume`, `drain`, `commands …` and `logs` on a running agent, and without one."""

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_core.clock import iso
from agent_core.frames import ack
from agent_core.journal.opening import FILE_NAME, open_ledger
from agent_core.journal.rows import write
from agent_core.records import CommandEnded, State
from agent_core.reference.server import ReferenceBackend
from console.log_file import line_of
from tests.harness.desk import took
from tests.harness.rig import AGENT, SECRET, Program, message, program, records, served, settled, until, write_config


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[tuple[ReferenceBackend, Program]]:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program("--no-ui", *arguments, cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            yield backend, agent


async def run(tmp_path: Path, *arguments: str, expect: int = 0) -> list[str]:
    async with program(*arguments, cwd=tmp_path) as process:
        code = await process.ends(30)
    assert code == expect, (code, process.out, process.err)
    assert SECRET not in "\n".join((*process.out, *process.err))
    return process.out or process.err


async def test_pause_keeps_commands_at_the_backend_and_resume_takes_them(tmp_path: Path) -> None:
    async with running(tmp_path) as (backend, agent):
        assert await run(tmp_path, "pause") == ["paused: the backend keeps new commands"]
        await agent.hears("Intake paused")
        kept = await backend.queue(AGENT, "send_message_now", message())
        await run(tmp_path, "resume")
        await settled(backend, kept)
        told = agent.out.index(agent.said("Intake resumed")[0])
        assert agent.out.index(agent.said(f"{kept} executed")[0]) > told


async def test_drain_finishes_proves_every_ack_and_ends_with_0(tmp_path: Path) -> None:
    async with running(tmp_path) as (backend, agent):
        sent = [await backend.queue(AGENT, "send_message_now", message(thread=f"+1310555{n:04}")) for n in range(50)]
        await settled(backend, *sent)
        said = await run(tmp_path, "drain")
        assert said == ["drained: nothing runs, every ack and event is proven, the agent has ended"]
        assert await agent.ends() == 0
    assert all(row.proven_utc is not None for row in records(tmp_path / "state"))


async def test_a_drain_that_cannot_end_in_time_says_what_is_left(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url, messenger={"delay_seconds": 30})
        async with program("--no-ui", *arguments, cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            await backend.queue(AGENT, "send_message_now", message())
            await until(lambda: [row.state for row in records(tmp_path / "state")] == ["running"])
            said = await run(tmp_path, "drain", "--timeout", "0.5", expect=1)
            assert "not drained within 0.5 s: 1 commands not finished" in said[0]
    for command in ("pause", "resume", "drain"):
        assert "no agent runs" in (await run(tmp_path, command, expect=4))[0]


async def test_a_scheduled_message_is_cancelled_when_that_is_meant(tmp_path: Path) -> None:
    async with running(tmp_path) as (backend, _agent):
        due = iso(time.time() + 3_600)
        planned = await backend.queue(AGENT, "schedule_message", message(scheduled_time=due, send_at=due))
        await until(lambda: [row.state for row in records(tmp_path / "state")] == ["scheduled"])
        assert "say --yes where there is no terminal" in (await run(tmp_path, "commands", "cancel", planned, expect=2))[0]
        assert (await run(tmp_path, "commands", "cancel", "nobody", "--yes", expect=1))[0].endswith("the ledger knows no command nobody")
        assert await run(tmp_path, "commands", "cancel", planned, "--yes") == [f"asked to cancel {planned}"]
        assert "only one that is due later" in (await run(tmp_path, "commands", "cancel", planned, "--yes", expect=1))[0]
        assert f"{planned}" in (await run(tmp_path, "commands", "show", planned))[0]


async def test_a_replay_runs_once_more_and_with_another_payload(tmp_path: Path) -> None:
    async with running(tmp_path) as (backend, _agent):
        done = await backend.queue(AGENT, "send_message_now", message("first"))
        await settled(backend, done)
        await run(tmp_path, "commands", "replay", done, "--yes", "--payload", json.dumps(message("second")))
        await until(lambda: len(records(tmp_path / "state")) == 2 and records(tmp_path / "state")[1].state == "completed")
        assert records(tmp_path / "state")[1].replay_of == done
        assert "second" in "".join(await run(tmp_path, "outbox", "ls"))
        assert "expected a JSON object" in (await run(tmp_path, "commands", "replay", done, "--payload", "[1]", expect=2))[0]
        assert "--yes" in (await run(tmp_path, "commands", "replay", done, expect=2))[0]
        assert len(await run(tmp_path, "commands", "ls")) == 3


# --- logs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "level", "text"),
    [
        ("[2026-11-05T20:35:13.500Z] [WARNING] a text", "WARNING", "a text"),
        ("[no date] [INFO] a text", "INFO", "[no date] [INFO] a text"),
        ("Traceback \x1b[2J", "INFO", "Traceback ␛[2J"),
    ],
)
def test_a_line_of_the_log(raw: str, level: str, text: str) -> None:
    assert line_of(raw)[1:] == (level, text)


async def test_logs_are_read_over_rotated_files_by_age_and_level(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    now = time.time()
    log = folder / "edge-console.log"
    (folder / "edge-console.log.2").write_text(f"[{iso(now - 9_000)}] [INFO] oldest\n")
    (folder / "edge-console.log.1").write_text(f"[{iso(now - 60)}] [ERROR] older\n")
    log.write_text(f"[{iso(now)}] [INFO] newest\n")
    arguments = ("logs", "--data-dir", str(folder))
    assert [line.split("] ")[-1] for line in await run(tmp_path, *arguments)] == ["oldest", "older", "newest"]
    assert [line.split("] ")[-1] for line in await run(tmp_path, *arguments, "--since", "1h")] == ["older", "newest"]
    assert [line.split("] ")[-1] for line in await run(tmp_path, *arguments, "--level", "WARNING")] == ["older"]
    told = [json.loads(line) for line in await run(tmp_path, *arguments, "--since", "30s", "--json")]
    assert told == [{"at": iso(now), "level": "INFO", "text": "newest"}]
    assert "a span such as" in (await run(tmp_path, *arguments, "--since", "soon", expect=2))[0]
    assert "no log at" in (await run(tmp_path, "logs", "--data-dir", str(tmp_path / "none"), expect=1))[0]


async def test_logs_are_followed_over_a_rotation(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    log = folder / "edge-console.log"
    log.write_text(f"[{iso(time.time())}] [INFO] first\n")
    async with program("logs", "-f", "--data-dir", str(folder), cwd=tmp_path) as following:
        await following.hears("first")
        with log.open("a") as file:
            file.write(f"[{iso(time.time())}] [INFO] half")
            file.flush()
            await asyncio.sleep(0.3)
            file.write(" a line\n")
        await following.hears("half a line")
        log.replace(folder / "edge-console.log.1")
        log.write_text(f"[{iso(time.time())}] [INFO] after\n")
        await following.hears("after")
        following.signal(signal.SIGINT)
        assert await following.ends() == 130
    assert len([line for line in following.out if re.search("first|half|after", line)]) == 3


async def test_what_needs_attention_is_listed_and_resolved_once_and_for_good(tmp_path: Path) -> None:
    async with running(tmp_path) as (backend, _):
        bad = await backend.queue(AGENT, "set_wallpaper", {})
        good = await backend.queue(AGENT, "send_message_now", message())
        await settled(backend, bad, good)
        (listed,) = json.loads("\n".join(await run(tmp_path, "attention", "--json")))
        assert (listed["command_id"], listed["kind"], listed["resolve_as"]) == (bad, "failed", ["dismissed"])
        assert (await run(tmp_path, "attention"))[0].startswith(f"{bad}  failed: unsupported_command_type")
        for words, why in (((bad, "--as", "sent"), "only an unknown outcome"), ((good, "--as", "dismissed"), "it needs nothing")):
            (said,) = await run(tmp_path, "commands", "resolve", *words, "--yes", expect=1)
            assert why in said
        await run(tmp_path, "commands", "resolve", bad, "--as", "dismissed", expect=2)
        await run(tmp_path, "commands", "resolve", bad, "--as", "dismissed", "--yes")
        assert await run(tmp_path, "attention") == ["nothing needs you"]
        (said,) = await run(tmp_path, "commands", "resolve", bad, "--as", "dismissed", "--yes", expect=1)
        assert "resolved as dismissed by" in said
    assert {row.command.command_id: row.resolution for row in records(tmp_path / "state")} == {bad: "dismissed", good: None}


async def test_which_of_several_messages_it_was_is_settled_by_its_guid(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    db, _, _ = open_ledger(tmp_path / "state" / FILE_NAME)
    told = {"candidates": [{"guid": guid, "chat": "any;-;+1310", "sent_at": "2026-11-05T20:30:00.000Z"} for guid in ("A1", "A2")]}
    for seq in (1, 2):
        name, why, utc = f"cmd_{seq}", "unknown outcome: 2 messages like it", time.time() - 5
        doubt = CommandEnded(seq, State.INTERRUPTED, utc, why, ack(name, "failed", utc, why, told))
        write(db, [took(seq, received=utc, issued=utc), doubt])
    db.close()
    async with running(tmp_path):
        listed = json.loads("\n".join(await run(tmp_path, "attention", "--json")))
        assert {tuple(one["resolve_as"]) for one in listed} == {("sent", "unsent", "dismissed")}
        resolve = ("commands", "resolve")
        (said,) = await run(tmp_path, *resolve, "cmd_1", "--as", "unsent", "--guid", "A1", "--yes", expect=2)
        assert "it goes with --as sent" in said
        (said,) = await run(tmp_path, *resolve, "cmd_1", "--as", "sent", "--guid", "B", "--yes", expect=1)
        assert said.endswith("B is none of the messages that command cmd_1 may be; its candidates are A1, A2")
        await run(tmp_path, *resolve, "cmd_1", "--as", "sent", "--guid", "A2", "--yes")
        await run(tmp_path, *resolve, "cmd_2", "--as", "unsent", "--yes")
        assert "it is A2" in "\n".join(await run(tmp_path, "commands", "show", "cmd_1"))
        await run(tmp_path, "audit", "verify")
    found = {row.command.command_id: (row.resolution, row.resolved_guid) for row in records(tmp_path / "state")}
    assert found == {"cmd_1": ("sent", "A2"), "cmd_2": ("unsent", None)}
