"""What is written for launchd and systemd, what is read of them, and what systemd is told."""

import asyncio
import os
import plistlib
import resource
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from agent_core.service import launchd, systemd
from agent_core.service.job import Job, Standing
from agent_core.service.notify import notify
from tests.harness.rig import program, served, write_config

JOB = Job(
    ("/opt/py 3/bin/python", "-P", "-m", "console", "service", "run", "--config", '/a "b" $HOME %h \\x'), Path("/var/lib/edge"), "/usr/bin"
)


def test_the_plist_starts_again_after_every_end_but_a_clean_one() -> None:
    keys = plistlib.loads(launchd.plist(JOB))
    assert keys["KeepAlive"] == {"SuccessfulExit": False}
    assert keys["ProgramArguments"] == list(JOB.arguments)
    assert 10 <= keys["ThrottleInterval"] <= 30
    assert keys["ExitTimeOut"] > 5
    assert keys["StandardOutPath"] == "/dev/null"
    assert keys["Umask"] == 0o077
    assert "UserName" not in keys
    assert plistlib.loads(launchd.plist(Job(JOB.arguments, JOB.folder, JOB.path, "ann")))["UserName"] == "ann"


def test_launchd_knows_the_users_session_and_the_system() -> None:
    assert launchd.domain(system=False, uid=501) == "gui/501"
    assert launchd.domain(system=True, uid=0) == "system"
    assert launchd.plist_file(system=False, home=Path("/Users/ann")) == Path(f"/Users/ann/Library/LaunchAgents/{launchd.LABEL}.plist")
    assert launchd.plist_file(system=True, home=Path("/Users/ann")) == Path(f"/Library/LaunchDaemons/{launchd.LABEL}.plist")


@pytest.mark.parametrize(
    ("printed", "standing", "words"),
    [
        (
            "x = {\n\tstate = running\n\tpid = 812\n\tlast exit code = (never exited)\n}",
            Standing(True, True, 812),
            "running (pid 812)",
        ),
        (
            "x = {\n\tstate = not running\n\tlast exit code = 78: EX_CONFIG\n}",
            Standing(True, False, None, 78),
            "configuration is wrong",
        ),
        ("x = {\n\tstate = spawn scheduled\n\tlast exit code = 1\n}", Standing(True, False, None, 1), "stopped, last exit 1"),
    ],
)
def test_what_launchctl_prints(printed: str, standing: Standing, words: str) -> None:
    assert launchd.standing_of(printed) == standing
    assert words in standing.words


@pytest.mark.parametrize(
    ("shown", "standing"),
    [
        ("LoadState=loaded\nActiveState=active\nMainPID=7\nExecMainStatus=0", Standing(True, True, 7, 0)),
        ("LoadState=loaded\nActiveState=activating\nMainPID=0\nExecMainStatus=1", Standing(True, False, None, 1)),
        ("LoadState=loaded\nActiveState=failed\nMainPID=0\nExecMainStatus=78", Standing(True, False, None, 78)),
        ("LoadState=not-found\nActiveState=inactive\nMainPID=0\nExecMainStatus=0", Standing(False, False, None, 0)),
    ],
)
def test_what_systemctl_shows(shown: str, standing: Standing) -> None:
    assert systemd.standing_of(shown) == standing


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("user", [None, "root"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, user: str | None) -> None:
    folder = tmp_path / "100 % mine"
    folder.mkdir()
    arguments = ("/bin/true", *JOB.arguments[1:])
    (tmp_path / systemd.UNIT).write_text(systemd.unit(Job(arguments, folder, f"{folder}:/usr/bin", user)))
    told = [] if user else ["--user"]
    verify = ["systemd-analyze", *told, "verify", "--man=no", str(tmp_path / systemd.UNIT)]
    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    ran = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert [line for line in ran.stderr.splitlines() if systemd.UNIT in line] == []
    assert ran.returncode == 0, ran.stderr


def test_the_unit_does_not_start_a_wrong_configuration_again() -> None:
    lines = systemd.unit(JOB).splitlines()
    assert "RestartPreventExitStatus=78" in lines
    assert "Restart=on-failure" in lines
    assert r'ExecStart="/opt/py 3/bin/python" "-P" "-m" "console" "service" "run" "--config" "/a \"b\" $$HOME %%h \\x"' in lines
    assert not any(line.startswith("User=") for line in lines)


# --- the watchdog --------------------------------------------------------------------------------------------------------


async def test_the_watchdog_is_fed_by_turns_and_not_by_a_stopped_agent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.setblocking(False)
        loop = asyncio.get_running_loop()

        async def told() -> bytes:
            async with asyncio.timeout(15):
                return await loop.sock_recv(supervisor, 200)

        async with served() as backend:
            arguments = write_config(tmp_path, backend.url)
            async with program("service", "run", *arguments, cwd=tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as agent:
                assert await told() == b"READY=1"
                assert await told() == b"WATCHDOG=1"
                agent.signal(signal.SIGSTOP)
                await asyncio.sleep(0.2)
                while True:
                    try:
                        supervisor.recv(200)
                    except BlockingIOError:
                        break
                await asyncio.sleep(2.5)
                with pytest.raises(BlockingIOError):
                    supervisor.recv(200)
                agent.signal(signal.SIGCONT)
                assert await told() == b"WATCHDOG=1"
                agent.signal(signal.SIGTERM)
                assert await agent.ends() == 0
                while (last := await told()) == b"WATCHDOG=1":
                    pass
                assert last == b"STOPPING=1"
                assert agent.out == []


def test_with_no_descriptor_left_the_watchdog_is_fed_later(tmp_path: Path) -> None:
    """An exception would have ended the reports, and systemd the agent."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
        try:
            notify(str(tmp_path / "notify"), "WATCHDOG=1")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
        with pytest.raises(BlockingIOError):
            heard.recv(100)
        notify(str(tmp_path / "notify"), "WATCHDOG=1")
        assert heard.recv(100) == b"WATCHDOG=1"
