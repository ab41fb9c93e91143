"""The commands as an operator types them: exit codes, eighty columns, and never the secret."""

import asyncio
import json
import re
import shlex
import shutil
import stat
from contextlib import closing
from pathlib import Path

import pytest

from agent_core.channels.credentials import fingerprint
from agent_core.journal.opening import FILE_NAME, open_ledger
from agent_core.reference.faults import Faults
from console.cli.main import build_parser
from tests.harness.rig import AGENT, SECRET, message, program, served, settled, write_config


async def run(*arguments: str, cwd: Path, expect: int, within: float = 40.0) -> str:
    """Standard output of a command that ends with this exit code; the secret is in neither stream."""
    async with program(*arguments, cwd=cwd) as process:
        code = await process.ends(within)
        said, complained = "\n".join(process.out), "\n".join(process.err)
    assert code == expect, (code, said, complained)
    assert SECRET not in said + complained
    assert "Traceback" not in complained
    return said or complained


async def test_doctor_on_a_healthy_backend(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        text = await run("doctor", *arguments, cwd=tmp_path, expect=0)
        assert text.endswith("No stage failed.")
        assert "✓ ok       upgrade " in text
        assert max(map(len, text.splitlines())) <= 80
        told = json.loads(await run("doctor", "--json", *arguments, cwd=tmp_path, expect=0))
    assert told["ok"] is True
    assert told["conclusion"] is None
    assert told["fingerprint"] == fingerprint(SECRET)
    assert [stage["status"] for stage in told["stages"] if stage["name"] in {"health", "upgrade", "sync"}] == [200, 101, 200]


async def test_doctor_names_the_first_failing_stage(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=403, upgrade_body=f"\x1b[2J{SECRET}")
        text = await run("doctor", *write_config(tmp_path, backend.url), cwd=tmp_path, expect=1)
    assert "First failing stage: upgrade" in text
    assert "Likely: the same secret is accepted by /edge/sync but refused by /edge/ws" in text
    assert max(map(len, text.splitlines())) <= 80
    assert not [char for char in text if char != "\n" and not char.isprintable()]


async def test_doctor_tells_of_a_configuration_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("backnd:\n  url: x\n")
    told = json.loads(await run("doctor", "--json", cwd=tmp_path, expect=1))
    assert told["conclusion"]["stage"] == "configuration"
    assert "did you mean backend" in told["stages"][0]["sentence"]
    await run("doctor", "--jsn", cwd=tmp_path, expect=2)
    await run("doctor", "-o", "x", cwd=tmp_path, expect=2)


async def test_the_report_for_the_backends_engineer(tmp_path: Path) -> None:
    async with served() as backend:
        backend.faults = Faults(upgrade_status=403, upgrade_body="| `not` <b>you</b>\n# no heading")
        arguments = write_config(tmp_path, backend.url)
        await run("doctor", *arguments, "--for-backend", "-o", "report.md", cwd=tmp_path, expect=1)
        file = tmp_path / "report.md"
        report = file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert SECRET not in report
        assert "    Authorization: Bearer ***" in report
        assert "    HTTP 403" in report
        assert "<b>" not in next(line for line in report.splitlines() if line.startswith("| upgrade"))
        assert not [line for line in report.splitlines() if line.startswith("# no")]
        assert report.count("\n## ") == 5
        command = report[report.index("    curl --http1.1") :].replace("\\\n", " ").splitlines()[0]
    words = shlex.split(command)
    assert words[-1] == f"{backend.url}/edge/ws?edge_agent_id={AGENT}"
    assert "Authorization: Bearer $EDGE_SECRET" in words


async def test_a_doctor_beside_a_running_agent_disturbs_nobody(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        async with program("--no-ui", *arguments, cwd=tmp_path) as agent:
            await agent.hears("real-time mode enabled")
            text = await run("doctor", *arguments, cwd=tmp_path, expect=0)
            assert f"pid {agent.pid}" in " ".join(text.split())
            assert "The socket itself was not tried." in text
            await settled(backend, await backend.queue(AGENT, "send_message_now", message("undisturbed")))
            assert backend.hub.counts["connects"] == 1


async def test_the_fingerprint_can_be_had_on_both_sides(tmp_path: Path) -> None:
    assert await run("secret", "fingerprint", cwd=tmp_path, expect=0) == fingerprint(SECRET)
    digest = "sha256sum" if shutil.which("sha256sum") else "shasum -a 256"
    other = await asyncio.create_subprocess_exec(
        "sh", "-c", f"printf 'edge-console:%s' \"$S\" | {digest} | cut -c1-8", env={"S": SECRET, "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await other.communicate()
    assert said.decode().strip() == fingerprint(SECRET)
    async with program("secret", "fingerprint", cwd=tmp_path, secret=None) as process:
        assert await process.ends() == 2


async def test_simulate(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("backoff:\n  jitter: none\n")
    text = await run("backoff", "simulate", "--outage", "2m", "--agents", "3", cwd=tmp_path, expect=0)
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert [row[2] for row in rows] == ["1.00", "2.00", "4.00", "8.00", "16.00", "32.00"]
    assert re.search(r"a command +(6\.9|7\.0) s on average", text)
    assert "parts ways" not in text
    (tmp_path / "config.yaml").write_text("backend:\n  polling: never\n")
    silent = await run("backoff", "simulate", "--outage", "2m", "--agents", "3", cwd=tmp_path, expect=0)
    assert "a command     waits for the socket" in silent
    assert "waits up to 20 s first, then up to 32 s or more" in silent
    assert max(map(len, [*text.splitlines(), *silent.splitlines()])) <= 100
    for wrong in (("--outage", "soon"), ("--outage", "0"), ("--agents", "0"), ("--outage", "30d", "--agents", "1000")):
        await run("backoff", "simulate", *wrong, cwd=tmp_path, expect=2)


async def test_a_recorded_demo_with_its_outage_replays_without_a_difference(tmp_path: Path) -> None:
    await run("--no-ui", "--demo", "--for", "6", "--record", "run.jsonl", cwd=tmp_path, expect=0)
    text = await run("replay", "run.jsonl", cwd=tmp_path, expect=0)
    assert text.splitlines()[-1].endswith("the same phases and effects as recorded")
    assert "── waiting" in text
    assert "via HTTP polling" in text
    file = tmp_path / "run.jsonl"
    changed = re.sub('"sync_interval_seconds":[0-9.]+', '"sync_interval_seconds":9.5', file.read_text(), count=1)
    (tmp_path / "other.jsonl").write_text(changed)
    text = await run("replay", "-q", "other.jsonl", cwd=tmp_path, expect=1)
    assert text.startswith("--- recorded by ")
    assert "NOT the same" in text.splitlines()[-1]
    assert "demo-secret" not in changed


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nothing.jsonl", None, "nothing.jsonl: No such file or directory"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\x00\xff", "picture.png is not a recording"),
        ("zeros", bytes(2**21), "zeros is not a recording"),
        (".", None, ".: Is a directory"),
    ],
)
async def test_f83_what_is_no_recording_is_one_sentence(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    text = await run("replay", name, cwd=tmp_path, expect=2)
    assert text.startswith(f"edge-console: {said}")
    assert "\n" not in text


@pytest.mark.parametrize("command", ["--no-ui", "ledger ls", "outbox ls", "audit verify", "backoff simulate", "secret fingerprint"])
async def test_f83_a_data_dir_that_is_none_is_one_sentence(tmp_path: Path, command: str) -> None:
    text = await run(*command.split(), "--data-dir", "/dev/null", cwd=tmp_path, expect=2)
    assert text == "edge-console: command line: data_dir: expected a directory, found “/dev/null”"


async def test_f83_a_data_dir_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    text = await run("--no-ui", "--data-dir", f"made/{'x' * 300}", cwd=tmp_path, expect=2)
    assert re.fullmatch("edge-console: data_dir .*x… cannot be made: File name too long; choose another one", text)


async def test_f83_doctor_judges_what_the_messenger_writes_to(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("messenger:\n  kind: file\n  path: no/where\ntiming: {stall: 1}\n")
    told = json.loads(await run("doctor", "--json", cwd=tmp_path, expect=1))
    assert told["conclusion"]["stage"] == "configuration"
    assert "config.yaml:3: messenger.path: expected a file in a directory that is there, found" in told["stages"][0]["sentence"]
    assert "config.yaml:4: timing.stall is now named timing.stall_threshold" in told["stages"][0]["sentence"]


@pytest.mark.parametrize("command", ["ledger ls", "ledger export", "audit verify", "doctor", "outbox ls", "screenshot -o x.png", "backend"])
def test_options_may_stand_before_the_command(command: str) -> None:
    before, behind = (build_parser().parse_args(text.split()) for text in (f"--data-dir here {command}", f"{command} --data-dir here"))
    assert before.data_dir == behind.data_dir == Path("here")
    assert vars(build_parser().parse_args(["--config", "c", *command.split()]))["config"] == Path("c")


async def test_doctor_sees_a_damaged_ledger(tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        db, *_ = open_ledger(tmp_path / "state" / FILE_NAME)
        with closing(db):
            pass
        assert "No stage failed" in await run("doctor", *arguments, cwd=tmp_path, expect=0)
        (tmp_path / "state" / FILE_NAME).write_bytes(b"This is a shopping list.\n" * 500)
        text = await run("doctor", *arguments, cwd=tmp_path, expect=1)
    assert "First failing stage: data_dir" in text
    assert "move ledger.sqlite3 and ledger.mark away" in " ".join(text.split())
