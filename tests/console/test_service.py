"""`edge-console service` with a launchctl that starts the job, and that fails as the real one does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.launchctl import Launchctl
from tests.harness.rig import AGENT, SECRET, online_at, program, served, write_config

LABEL = "io.github.edge-console.agent"


@pytest.fixture
def launchctl(tmp_path: Path) -> Iterator[Launchctl]:
    here = Launchctl(tmp_path / "bin")
    yield here
    here.end()


async def run(launchctl: Launchctl, *arguments: str, expect: int = 0, secret: str | None = None) -> str:
    home = launchctl.folder.parent
    env = {"HOME": str(home), "PATH": launchctl.path}
    async with program("service", *arguments, cwd=home, secret=secret, **env) as process:
        code = await process.ends(30)
    assert code == expect, (code, process.out, process.err)
    return "\n".join(process.out or process.err)


async def test_a_service_is_installed_looked_at_started_anew_and_removed(launchctl: Launchctl, tmp_path: Path) -> None:
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url)
        (tmp_path / ".env").write_text(f"EDGE_SECRET={SECRET}\n")
        assert "installed and started" in await run(launchctl, "install", *arguments)
        await online_at(backend, AGENT)
        first = launchctl.pid(LABEL)
        assert f"running (pid {first})" in await run(launchctl, "status")
        assert "installed and started" in await run(launchctl, "install", *arguments), "over the one that runs"
        second = launchctl.pid(LABEL)
        assert second != first
        assert await run(launchctl, "stop") == "stopped"
        assert await run(launchctl, "status", expect=4) == "io.github.edge-console.agent: stopped"
        await run(launchctl, "start")
        await run(launchctl, "start")
        await online_at(backend, AGENT)
        assert "removed" in await run(launchctl, "uninstall")
        assert await run(launchctl, "status", expect=4) == "io.github.edge-console.agent: not installed"
        assert "no service is installed" in await run(launchctl, "start", expect=1)
    assert SECRET not in launchctl.calls


async def test_over_ssh_without_a_session_it_says_which_to_use(launchctl: Launchctl, tmp_path: Path) -> None:
    launchctl.misbehave("no-session")
    arguments = write_config(tmp_path, "http://127.0.0.1:1")
    (tmp_path / ".env").write_text(f"EDGE_SECRET={SECRET}\n")
    said = await run(launchctl, "install", *arguments, expect=1)
    assert "nobody is logged in at this Mac's screen" in said
    assert "--system" in said
    assert not (tmp_path / "Library").exists()


async def test_a_secret_in_this_shell_alone_is_one_that_the_service_would_not_have(launchctl: Launchctl, tmp_path: Path) -> None:
    arguments = write_config(tmp_path, "http://127.0.0.1:1")
    said = await run(launchctl, "install", *arguments, expect=2, secret=SECRET)
    assert "expected the secret shared with the backend" in said
    assert launchctl.calls == ""


async def test_the_file_can_be_looked_at_first(launchctl: Launchctl, tmp_path: Path) -> None:
    arguments = write_config(tmp_path, "http://127.0.0.1:1")
    shown = await run(launchctl, "install", "--print", "--system", *arguments)
    assert "<key>UserName</key>" in shown
    assert launchctl.calls == ""


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
