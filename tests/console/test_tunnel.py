"""An agent on another machine: a real agent and sockets, the way between them by an `ssh` that misbehaves as the real one does."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_core.control.directory import DIRECTORY, announced
from agent_core.feed import LogEntry
from agent_core.reference.server import BackendThread
from agent_core.snapshot import Phase, Snapshot
from console.remote import RemoteHost
from console.tunnel import Destination, Tunnel, Unreachable
from tests.console.test_attach import began, headless
from tests.harness.rig import AGENT, ROOT, WITHIN, options, write_config
from tests.harness.terminal import COMMAND, Terminal


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the user on the other machine, which `ssh` leads to."""
    home, programs = tmp_path / "there", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(f"{ROOT}/tests/harness/fakessh.py")} {shlex.quote(str(home))} "$@"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return home


@contextmanager
def agent(folder: Path) -> Iterator[Path]:
    """The data_dir of one that runs."""
    with BackendThread(options()) as thread, headless(write_config(folder, thread.backend.url)):
        by = time.monotonic() + 20
        while not began(folder / "state"):
            assert time.monotonic() < by, "no agent has come"
            time.sleep(0.05)
        yield folder / "state"


def kill_ssh(home: Path) -> None:
    os.kill(int((home / "pid").read_text()), signal.SIGKILL)


def reaches(host: RemoteHost, look: Callable[[Snapshot], object], what: str) -> None:
    by = time.monotonic() + WITHIN
    while not look(host.snapshot()):
        assert time.monotonic() < by, (what, host.snapshot().link, said(host), host.failure)
        time.sleep(0.02)


def said(host: RemoteHost) -> str:
    return "\n".join(entry.text for entry in host.feed.since(0).entries if isinstance(entry, LogEntry))


def is_online(snapshot: Snapshot) -> bool:
    return snapshot.link.phase is Phase.ONLINE


def test_the_tunnels_end_is_survived_with_a_notice_and_so_is_the_agents(
    tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(tmp_path) as data_dir:
        monkeypatch.setenv("HOME", str(there))
        with announced(data_dir, tmp_path / "config.yaml"):
            tunnel = Tunnel(Destination.of("me@mini"))
        host = RemoteHost(tunnel.path, tunnel=tunnel)
        host.start()
        reaches(host, is_online, "online")
        assert tunnel.path.stat().st_mode & 0o777 == 0o600
        kill_ssh(there)
        reaches(host, lambda _snapshot: "Attached again" in said(host), "attached again")
        assert "The connection to me@mini has ended (exit -9); dialling again" in said(host)
        reaches(host, is_online, "online again")
        (there / "refused").write_text("me@mini: Permission denied (publickey).\n")
        kill_ssh(there)
        reaches(host, lambda snapshot: snapshot.unreached, "unreached")
        (there / "refused").unlink()
        reaches(host, is_online, "online for the third time")
        first, *later = [line for line in (there / "asked").read_text().splitlines() if "-L" in line]
        assert "BatchMode" not in first
        assert all("BatchMode=yes" in line for line in later), "nothing is asked over the console"
    reaches(host, lambda snapshot: snapshot.gone, "gone")
    assert "The agent has ended; waiting for one to start" in said(host)
    host.stop()
    tunnel.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((there / "pid").read_text()), 0)
    assert not tunnel.path.parent.exists()


def test_attach_to_a_host_in_plain_lines(tmp_path: Path, there: Path) -> None:
    with agent(tmp_path) as data_dir:
        attach = [*COMMAND, "attach", "--plain", f"mini:{data_dir}"]
        ended = subprocess.run(attach, input="status\nwhy\nattention\n", capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"agent: {AGENT}" in ended.stdout
    assert "This console has no ledger to ask." in ended.stdout


def test_attach_to_a_host_is_the_console_and_a_refusal_one_sentence(tmp_path: Path, there: Path) -> None:
    with agent(tmp_path) as data_dir, Terminal("attach", f"mini:{data_dir}", columns=100, rows=30) as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        (there / "refused").write_text("Connection refused\n")
        kill_ssh(there)
        terminal.until(lambda: "✗ NO CONTACT" in terminal.text, what="NO CONTACT")
        (there / "refused").unlink()
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE again")
        terminal.press("q")
        assert terminal.ends() == 0
    (there / "refused").write_text("Warning: so it is\nme@mini: Permission denied (publickey).\n")
    with Terminal("attach", "me@mini", columns=100, rows=30) as terminal:
        assert terminal.ends() == 1
        assert "edge-console: ssh me@mini: me@mini: Permission denied (publickey)." in terminal.text


def test_agents_here_and_at_hosts_are_one_list_and_a_lost_host_is_one_row(tmp_path: Path, there: Path) -> None:
    home = {"HOME": str(tmp_path)}
    with agent(tmp_path) as data_dir, Terminal("attach", "--all", f"mini:{data_dir}", columns=100, rows=30, env=home) as terminal:
        terminal.until(lambda: "1 agent here and at mini" in terminal.text and "● ONLINE" in terminal.text, what="its row")
        assert "mini: mac-1" in terminal.text
        terminal.press("\r")
        terminal.until(lambda: "Ack latency" in terminal.text and "● ONLINE" in terminal.text, what="the console")
        terminal.press("q")
        terminal.until(lambda: "1 agent here and at mini" in terminal.text and "● ONLINE" in terminal.text, what="the list again")
        (there / "refused").write_text("Connection refused\n")
        kill_ssh(there)
        terminal.until(lambda: "✗ NO CONTACT" in terminal.text and "nothing is heard of it" in terminal.text, what="NO CONTACT")
        (there / "refused").unlink()
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE again")
        terminal.press("q")
        assert terminal.ends() == 0
        assert len([line for line in (there / "asked").read_text().splitlines() if "BatchMode" not in line]) == 1, "one login for all of it"


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ("", "no agent of that user is known at mini; name its data_dir: mini:/its/data_dir"),
        ('[]\n{"data_dir":"/a","config":null}\n{"data_dir":"/b\\u001b"}\n', "several agents run there: mini:/a, mini:/b␛"),
    ],
)
def test_where_it_is_not_clear_which_agent_is_meant_it_is_said(listed: str, why: str, there: Path) -> None:
    folder = there / DIRECTORY.relative_to("~")
    folder.mkdir(parents=True)
    (folder / "some.json").write_text(listed)
    with pytest.raises(Unreachable, match=why):
        Tunnel(Destination.of("mini"))


@pytest.mark.parametrize("text", ["-oProxyCommand=x", "me@-x", "a b", "", "me@mini:relative", "@mini", "mini;true"])
def test_what_ssh_would_take_for_more_than_a_host_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="user@host"):
        Destination.of(text)
