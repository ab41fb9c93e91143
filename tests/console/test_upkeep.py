"""`backup`, `restore`, `handover`, `audit verify --both`, `upgrade --rehearse` and `report` by the real program."""

import asyncio
import json
import signal
import zipfile
from pathlib import Path

from tests.harness.rig import AGENT, SECRET, message, program, records, served, settled, write_config

THREAD, TEXT = "+13105550199", "a private text of somebody"


async def run(tmp_path: Path, *arguments: str, expect: int = 0) -> list[str]:
    async with program(*arguments, cwd=tmp_path) as process:
        code = await process.ends(60)
    assert code == expect, (code, process.out, process.err)
    assert SECRET not in "\n".join((*process.out, *process.err))
    return process.out or process.err


async def test_handover_under_load_loses_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    async with served() as backend:
        sent: list[str] = []

        async def load() -> None:
            for number in range(120):
                sent.append(await backend.queue(AGENT, "send_message_now", message(f"n{number}", thread=f"+1310555{number % 7:04}")))
                await asyncio.sleep(0.02)

        async with program("--no-ui", *write_config(here, backend.url), cwd=here) as first:
            await first.hears("real-time mode")
            loading = asyncio.create_task(load())
            await first.hears("executed successfully", 10)
            said = await run(here, "handover", "../moved.sqlite3")
            assert "no agent starts on" in said[1]
            assert await first.ends() == 0
        assert "was handed over" in (await run(here, "--no-ui", expect=2))[0]
        write_config(there, backend.url)
        await run(there, "restore", "../moved.sqlite3")
        async with program("--no-ui", cwd=there) as second:
            await loading
            await settled(backend, *sent)
            second.signal(signal.SIGTERM)
            assert await second.ends() == 0
    done = [row.command.command_id for row in records(there / "state") if row.state == "completed"]
    assert sorted(done) == sorted(sent)
    assert 0 < len(records(here / "state")) < len(sent)
    await run(there, "audit", "verify", "--both", str(here / "state"))
    texts = await run(there, "outbox", "ls", "--json")
    assert sorted(row["command_id"] for row in json.loads("\n".join(texts))) == sorted(sent)


async def test_a_backup_is_restored_only_where_no_agent_runs(tmp_path: Path) -> None:
    async with served() as backend:
        async with program("--no-ui", *write_config(tmp_path, backend.url), cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
            assert (await run(tmp_path, "backup", "copy"))[0].startswith("copy: 1 commands, ")
            assert "is in use by the agent" in (await run(tmp_path, "restore", "copy", expect=1))[0]
            agent.signal(signal.SIGTERM)
            await agent.ends()
        assert "the ledger that was there is ledger.before-" in (await run(tmp_path, "restore", "copy"))[0]
        assert "is there already" in (await run(tmp_path, "backup", "copy", expect=1))[0]


async def test_an_upgrade_is_rehearsed_on_recordings(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program("--no-ui", *arguments, "--record", "run.jsonl", "--for", "1", cwd=tmp_path) as agent:
            assert await agent.ends() == 0
    said = await run(tmp_path, "upgrade", "--rehearse", "run.jsonl")
    assert said[0].endswith("acts the same")
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    (tmp_path / "other.jsonl").write_text("\n".join([lines[0], *(line.replace("OpenSocket", "Nothing") for line in lines[1:])]) + "\n")
    assert "acts otherwise" in (await run(tmp_path, "upgrade", "--rehearse", "other.jsonl", expect=1))[0]
    (tmp_path / "no.jsonl").write_text("{}\n")
    assert await run(tmp_path, "upgrade", "--rehearse", "no.jsonl", expect=2)


async def test_a_report_holds_what_helps_and_no_secret_and_no_text(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url, logging={"level": "DEBUG"})
        async with program("--no-ui", *arguments, cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            done = await backend.queue(AGENT, "send_message_now", message(TEXT, thread=THREAD))
            await settled(backend, done)
            (tmp_path / "state" / "edge-console.log").open("a").write(f"[x] [DEBUG] said Authorization: Bearer {SECRET} and {SECRET}\n")
            assert await run(tmp_path, "commands", "replay", done, "--dry-run")
            await agent.hears("Dry run of")
            await run(tmp_path, "report", "-o", "report.zip")
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(parts) == {"about.json", "configuration.json", "status.json", "feed.jsonl", "log.txt", "audit.json", "doctor.json"}
    assert json.loads(parts["status.json"])["link"]["phase"] == "online"
    assert any(one["key"] == "backend.url" for one in json.loads(parts["configuration.json"]))
    assert json.loads(parts["audit.json"])["commands"] == 1
    assert "real-time mode" in parts["log.txt"]
    everything = "\n".join(parts.values())
    for hidden in (SECRET, TEXT, THREAD):
        assert hidden not in everything, hidden
    assert (tmp_path / "report.zip").stat().st_mode & 0o777 == 0o600
