"""What macOS lets the service do, asked by a job that stands where the service stands."""

import asyncio
import json
import plistlib
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.diagnosis.findings import Verdict
from agent_core.diagnosis.grants import watch
from agent_core.diagnosis.mac import NO_ROUTE
from agent_core.diagnosis.permissions import automation, disk_access, judged, permissions
from agent_core.events import PermissionsLost
from agent_core.service import launchd
from agent_core.service.interpreter import FRAMEWORK_APP, Interpreter, binary_of, remember, remembered
from agent_core.service.job import Job, ServiceError
from agent_core.service.one_shot import LABEL_ONCE, answer_of, once, probing
from tests.harness.launchctl import Launchctl
from tests.harness.rig import ROOT, config, program, until, write_config

SERVICE = ("/opt/python3.13", "-P", "-m", "console", "service", "run", "--config", "/a/config.yaml", "--data-dir", "/a/service run")
REFUSING = "#!/bin/sh\necho '29:51: execution error: Not authorized to send Apple events to Messages. (-1743)' >&2\nexit 1\n"
PANES = "open 'x-apple.systempreferences:com.apple.preference.security?Privacy_"


@pytest.fixture
def launchctl(tmp_path: Path) -> Iterator[Launchctl]:
    here = Launchctl(tmp_path / "bin")
    yield here
    here.end()


def installed(tmp_path: Path, arguments: list[str], folder: Path, python: str = sys.executable) -> Path:
    """The property list of a service that nobody has started."""
    folder.mkdir(exist_ok=True)
    words = (python, "-P", "-m", "console", "service", "run", *arguments, "--data-dir", str(folder))
    plist = launchd.plist_file(system=False, home=tmp_path)
    plist.parent.mkdir(parents=True)
    plist.write_bytes(launchd.plist(Job(words, folder, str(tmp_path / "bin") + ":/usr/bin:/bin")))
    return plist


async def doctor(tmp_path: Path, launchctl: Launchctl, *arguments: str) -> dict[str, dict[str, Any]]:
    """Its stages by name, and its conclusion."""
    async with program("doctor", "--json", *arguments, cwd=tmp_path, HOME=str(tmp_path), PATH=launchctl.path) as running:
        await running.ends(40)
    assert not running.err, running.err
    told = json.loads("\n".join(running.out))
    return {stage["name"]: stage for stage in told["stages"]} | {"conclusion": told["conclusion"]}


def test_the_job_has_the_services_own_list_and_runs_once() -> None:
    service = launchd.plist(Job(SERVICE, Path("/a"), "/usr/bin", "ann"))
    keys: dict[str, Any] = plistlib.loads(once(service, probing(SERVICE, Path("/a/answer")), Path("/a/errors")))
    assert keys["ProgramArguments"] == [*SERVICE[:5], "probe", *SERVICE[6:], "--answer", "/a/answer"]
    assert "KeepAlive" not in keys
    assert keys["LaunchOnlyOnce"] is keys["RunAtLoad"] is True
    before = plistlib.loads(service)
    assert {name for name in before if before[name] != keys.get(name)} == {
        "Label", "ProgramArguments", "KeepAlive", "ThrottleInterval", "ExitTimeOut", "StandardErrorPath",
    }  # fmt: skip


def test_a_grant_is_for_the_file_that_runs_in_the_end(tmp_path: Path) -> None:
    version = tmp_path / "Python.framework" / "Versions" / "3.13"
    stub, app = version / "bin" / "python3.13", version / FRAMEWORK_APP
    for file in (stub, app):
        file.parent.mkdir(parents=True)
        file.touch()
    link = tmp_path / "python3"
    link.symlink_to(stub)
    assert binary_of(link) == app
    app.unlink()
    assert binary_of(link) == stub


def test_no_route_to_the_backend_beside_it_is_local_network() -> None:
    binary = Path("/opt/python3.13")
    assert judged([], binary).verdict is Verdict.SKIPPED
    assert judged([("192.168.1.20", "refused")], binary).verdict is Verdict.OK, "there is nobody, but it may ask"
    denied = judged([("192.168.1.20", NO_ROUTE)], binary)
    assert denied.verdict is Verdict.FAILED
    assert denied.advice is not None
    assert f"allow {binary} ({PANES}LocalNetwork')" in denied.advice


async def test_the_doctor_looks_from_a_job_of_launchd_and_removes_it(
    tmp_path: Path, launchctl: Launchctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "chat.db"
    monkeypatch.chdir(tmp_path)
    with closing(socket.socket(socket.AF_UNIX)) as closed:  # there, and nobody may open it
        closed.bind(database.name)
    launchctl.add("osascript", REFUSING)
    messages = {"kind": "imessage", "way": "applescript", "chat_db": str(database)}
    arguments = write_config(tmp_path, "http://127.0.0.1:1", messenger=messages)
    installed(tmp_path, arguments, tmp_path / "state")
    found = await doctor(tmp_path, launchctl, *arguments)
    binary = binary_of(Path(sys.executable))
    assert found["disk_access"]["verdict"] == found["automation"]["verdict"] == "failed"
    assert found["disk_access"]["sentence"] == f"{binary} may not read {database}"
    assert found["automation"]["sentence"] == f"{binary} may not control Messages (-1743)"
    assert found["local_network"]["verdict"] == found["keychain"]["verdict"] == "skipped"
    assert found["messenger"]["verdict"] == "warning", "what this shell may is beside the point"
    assert found["conclusion"]["stage"] == "disk_access"
    assert f"Full Disk Access: allow {binary} ({PANES}AllFiles')" in found["conclusion"]["advice"]
    with pytest.raises(FileNotFoundError):
        launchctl.pid(LABEL_ONCE)
    assert not list((tmp_path / "state").glob("agent.once.*"))


async def test_what_the_looks_find_where_all_is_allowed(tmp_path: Path, launchctl: Launchctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", launchctl.path)
    launchctl.add("osascript", "#!/bin/sh\necho 1\n")
    binary, path = Path("/opt/python3.13"), tmp_path / "chat.db"
    here = config(tmp_path, "http://127.0.0.1:1", messenger={"kind": "imessage", "way": "applescript", "chat_db": str(path)})
    missing = await disk_access(here, binary)
    assert missing.verdict is Verdict.FAILED
    assert "is Messages set up for this user?" in missing.sentence
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE message (guid TEXT)")
    assert (await disk_access(here, binary)).verdict is (await automation(here, binary)).verdict is Verdict.OK
    launchctl.add("osascript", "#!/bin/sh\necho 'execution error: Application isn’t running. (-600)' >&2\nexit 1\n")
    assert "Messages cannot be asked" in (await automation(here, binary)).sentence
    plainly = config(tmp_path, "http://127.0.0.1:1")
    assert (await disk_access(plainly, binary)).verdict is (await automation(plainly, binary)).verdict is Verdict.SKIPPED


async def test_without_a_service_or_a_session_it_says_so(tmp_path: Path, launchctl: Launchctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", launchctl.path)
    monkeypatch.setenv("HOME", str(tmp_path))
    here = config(tmp_path / "state", "http://127.0.0.1:1")
    (nothing,) = await permissions(here)
    assert "no service is installed" in nothing.sentence
    assert launchctl.calls == ""
    launchctl.misbehave("no-session")
    installed(tmp_path, [], tmp_path / "state")
    (nobody,) = await permissions(here)
    assert nobody.verdict is Verdict.WARNING
    assert "nobody is logged in at this Mac's screen" in nobody.sentence
    (elsewhere,) = await permissions(config(tmp_path / "other", "http://127.0.0.1:1"))
    assert "has another data_dir" in elsewhere.sentence


async def test_a_job_that_says_nothing_is_removed_in_time(tmp_path: Path, launchctl: Launchctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", launchctl.path)
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    state = tmp_path / "state"
    plist = installed(tmp_path, [], state, "/no/python")
    with pytest.raises(ServiceError, match="ended without an answer: it said nothing; is the service's Python still there"):
        await answer_of(plist.read_bytes(), "gui/501")
    launchctl.add("sleeper", "#!/bin/sh\nexec sleep 60\n")
    plist.unlink()
    plist.parent.rmdir()
    plist = installed(tmp_path, [], state, str(launchctl.folder / "sleeper"))
    with pytest.raises(ServiceError, match=r"no answer within 0\.5 s, and was removed"):
        await answer_of(plist.read_bytes(), "gui/501", within=0.5)
    with pytest.raises(FileNotFoundError):
        launchctl.pid(LABEL_ONCE)
    launchctl.misbehave("hangs", "bootstrap")
    async with asyncio.timeout(10):
        with pytest.raises(ServiceError, match="no answer within"):
            await answer_of(plist.read_bytes(), "gui/501", within=0.5)
    assert not list(state.glob("agent.once.*"))
    with pytest.raises(ServiceError, match="property list cannot be read"):
        await answer_of(b"<plist", "gui/501")


def another(tmp_path: Path, version: str) -> Path:
    """A Python of this version, which the service's own name leads to from now on."""
    binary, link = tmp_path / version / "python3.13", tmp_path / "python"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\n[ "$1" = -V ] && exec echo Python {version}\nexec "{sys.executable}" "$@"\n')
    binary.chmod(0o755)
    link.unlink(missing_ok=True)
    link.symlink_to(binary)
    return link


async def test_after_an_upgrade_it_says_whose_permissions_are_gone(
    tmp_path: Path, launchctl: Launchctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PATH": launchctl.path, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    messages = {"kind": "imessage", "way": "applescript", "chat_db": str(tmp_path / "chat.db")}
    with closing(sqlite3.connect(tmp_path / "chat.db")) as db:
        db.execute("CREATE TABLE message (guid TEXT)")
    state, python = tmp_path / "state", another(tmp_path, "3.13.2")
    here = config(state, "http://127.0.0.1:1", messenger=messages)
    installed(tmp_path, write_config(tmp_path, "http://127.0.0.1:1", messenger=messages), state, str(python))
    told: list[PermissionsLost] = []

    def version() -> str:
        found = remembered(state)
        return found.version if found else ""

    watching = asyncio.create_task(watch(told.append, here, python, every=0.02))
    try:
        await until(lambda: version() == "Python 3.13.2")
        assert launchctl.calls == ""
        launchctl.add("osascript", REFUSING)
        another(tmp_path, "3.13.4")
        await until(lambda: told)
        (lost,) = told
        before, after = (tmp_path / number / "python3.13" for number in ("3.13.2", "3.13.4"))
        assert f"belong to {before} (Python 3.13.2), and this service's Python is {after} (Python 3.13.4)" in lost.reason
        assert "may not control Messages" in lost.reason
        assert f"{PANES}Automation')" in lost.reason
        assert lost.permissions == ("automation",)
        assert version() == "Python 3.13.2", "the new one has not what it needs"
        launchctl.add("osascript", "#!/bin/sh\necho 1\n")
        await permissions(here)
        assert version() == "Python 3.13.4", "the doctor has found that it has"
        another(tmp_path, "3.13.5")
        await until(lambda: version() == "Python 3.13.5")
        assert len(told) == 1, "an upgrade that keeps them is no trouble"
        python.unlink()
        await until(lambda: len(told) == 2)
        assert "will not start again" in told[1].reason
    finally:
        watching.cancel()


async def test_a_service_says_it_at_its_start(tmp_path: Path, launchctl: Launchctl) -> None:
    arguments = write_config(tmp_path, "http://127.0.0.1:1")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    remember(state, Interpreter("/opt/3.13.2/python", "00", "Python 3.13.2"))
    log = state / "edge-console.log"
    async with program("service", "run", *arguments, cwd=tmp_path, HOME=str(tmp_path), PATH=launchctl.path):
        await until(lambda: log.exists() and "macOS's permissions belong to /opt/3.13.2/python (Python 3.13.2)" in log.read_text())
