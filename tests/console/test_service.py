"""`edge-console service` with a launchctl that starts the job, and that fails as the real one does."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.rig import AGENT, SECRET, online_at, program, served, write_config

LAUNCHCTL = '''#!/bin/sh
"exec" "{python}" "$0" "$@"
"""launchctl as far as it is called: it answers what the real one answers, late where that is late."""
import os, pathlib, plistlib, signal, subprocess, sys, time

here = pathlib.Path(__file__).parent
job, lingering = here / "job.pid", here / "lingering"
command, target = sys.argv[1], sys.argv[2]
(here / "calls").open("a").write(" ".join(sys.argv[1:]) + "\\n")


def end(code, said=""):
    print(said, file=sys.stderr)
    sys.exit(code)


if (here / "no-session").exists() and target.startswith("gui/"):
    end(112 if command == "print" else 5, "Bootstrap failed: 5: Input/output error")
if lingering.exists():  # what bootout has ended is there for a while
    looks = int(lingering.read_text()) - 1
    lingering.write_text(str(looks)) if looks else (lingering.unlink(), job.unlink())
if command == "print" and target.count("/") == 1:
    end(0)
elif command == "print":
    if not job.exists():
        end(113, "Could not find service in domain")
    print("x = {{\\n\\tstate = running\\n\\tpid = " + job.read_text() + "\\n\\tlast exit code = (never exited)\\n}}")
elif command == "bootout":
    if not job.exists():
        end(3, "Boot-out failed: 3: No such process")
    os.kill(int(job.read_text()), signal.SIGTERM)
    lingering.write_text("3")
elif command == "bootstrap":
    if job.exists():
        end(5, "Bootstrap failed: 5: Input/output error\\nTry re-running the command as root for richer errors.")
    keys = plistlib.loads(pathlib.Path(sys.argv[3]).read_bytes())
    started = subprocess.Popen(
        keys["ProgramArguments"], cwd=keys["WorkingDirectory"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=open(keys["StandardErrorPath"], "a"), start_new_session=True,
        env=keys["EnvironmentVariables"] | {{"HOME": os.environ["HOME"], "PYTHONPATH": os.environ["PYTHONPATH"]}},
    )
    job.write_text(str(started.pid))
elif command not in ("enable", "kickstart"):
    end(64, "Unrecognized subcommand")
'''


@pytest.fixture
def bin_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "launchctl").write_text(LAUNCHCTL.format(python=sys.executable))
    (folder / "launchctl").chmod(0o755)
    yield folder
    with suppress(OSError, ValueError):
        os.kill(int((folder / "job.pid").read_text()), signal.SIGKILL)


async def run(bin_folder: Path, *arguments: str, expect: int = 0, secret: str | None = None) -> str:
    home = bin_folder.parent
    env = {"HOME": str(home), "PATH": f"{bin_folder}:/usr/bin:/bin"}
    async with program("service", *arguments, cwd=home, secret=secret, **env) as process:
        code = await process.ends(30)
    assert code == expect, (code, process.out, process.err)
    return "\n".join(process.out or process.err)


async def test_a_service_is_installed_looked_at_started_anew_and_removed(bin_folder: Path, tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        (tmp_path / ".env").write_text(f"EDGE_SECRET={SECRET}\n")
        assert "installed and started" in await run(bin_folder, "install", *arguments)
        await online_at(backend, AGENT)
        first = (bin_folder / "job.pid").read_text()
        assert f"running (pid {first})" in await run(bin_folder, "status")
        assert "installed and started" in await run(bin_folder, "install", *arguments), "over the one that runs"
        second = (bin_folder / "job.pid").read_text()
        assert second != first
        assert await run(bin_folder, "stop") == "stopped"
        assert await run(bin_folder, "status", expect=4) == "io.github.edge-console.agent: stopped"
        await run(bin_folder, "start")
        await run(bin_folder, "start")
        await online_at(backend, AGENT)
        assert "removed" in await run(bin_folder, "uninstall")
        assert await run(bin_folder, "status", expect=4) == "io.github.edge-console.agent: not installed"
        assert "no service is installed" in await run(bin_folder, "start", expect=1)
    assert SECRET not in (bin_folder / "calls").read_text()


async def test_over_ssh_without_a_session_it_says_which_to_use(bin_folder: Path, tmp_path: Path) -> None:
    (bin_folder / "no-session").touch()
    arguments = write_config(tmp_path, "http://127.0.0.1:1")
    (tmp_path / ".env").write_text(f"EDGE_SECRET={SECRET}\n")
    said = await run(bin_folder, "install", *arguments, expect=1)
    assert "nobody is logged in at this Mac's screen" in said
    assert "--system" in said
    assert not (tmp_path / "Library").exists()


async def test_a_secret_in_this_shell_alone_is_one_that_the_service_would_not_have(bin_folder: Path, tmp_path: Path) -> None:
    arguments = write_config(tmp_path, "http://127.0.0.1:1")
    said = await run(bin_folder, "install", *arguments, expect=2, secret=SECRET)
    assert "expected the secret shared with the backend" in said
    assert not (bin_folder / "calls").exists()


async def test_the_file_can_be_looked_at_first(bin_folder: Path, tmp_path: Path) -> None:
    arguments = write_config(tmp_path, "http://127.0.0.1:1")
    shown = await run(bin_folder, "install", "--print", "--system", *arguments)
    assert "<key>UserName</key>" in shown
    assert not (bin_folder / "calls").exists()


async def test_a_wrong_configuration_exits_78_under_a_service(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("no_such_key: 1\n")
    async with program("service", "run", cwd=tmp_path) as process:
        assert await process.ends() == 78
    assert process.err == ["edge-console: config.yaml:1: “no_such_key” is not a known key"]


async def test_the_file_of_errors_stays_small(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("no_such_key: 1\n")
    errors = tmp_path / "service.err"
    errors.write_text("x" * 100_000)
    shell = ("sh", "-c", f'exec "$0" "$@" 2>>{errors}')
    async with program("service", "run", cwd=tmp_path, under=shell) as process:
        assert await process.ends() == 78
    assert "no_such_key" in errors.read_text()
    assert errors.stat().st_size < 1_000
