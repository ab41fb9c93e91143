"""The console over ssh: a real sshd on a loopback port, with keys made for the occasion."""

import base64
import getpass
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.console.test_terminal import assert_restored
from tests.harness.terminal import Terminal

ROOT = Path(__file__).parents[2]
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="there is no sshd and ssh here")


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    """The command that logs in here, with a terminal."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"PidFile {tmp_path}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    assert SSHD is not None
    verdict = subprocess.run([SSHD, "-t", "-f", config], capture_output=True, text=True, check=False)
    if verdict.returncode:
        pytest.skip(f"this sshd does not start: {verdict.stderr.strip()}")
    daemon = subprocess.Popen([SSHD, "-D", "-f", config, "-E", tmp_path / "sshd.log"])
    options = ("ConnectionAttempts=20", "BatchMode=yes", "LogLevel=ERROR", "StrictHostKeyChecking=no", f"UserKnownHostsFile={tmp_path}/k")
    command = ["ssh", "-F", "none", "-tt", "-i", str(tmp_path / "user"), "-p", str(port)]
    command += [part for option in options for part in ("-o", option)] + [f"{getpass.getuser()}@127.0.0.1"]
    try:
        if subprocess.run([*command, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=40, check=False).returncode:
            pytest.skip(f"no login by this sshd: {(tmp_path / 'sshd.log').read_text()[-300:]}")
        yield command
    finally:
        daemon.terminate()
        daemon.wait()


def console(ssh: list[str], data_dir: Path) -> Terminal:
    line = f"cd {shlex.quote(str(ROOT))} && exec {shlex.quote(sys.executable)} -m console --demo --data-dir {shlex.quote(str(data_dir))}"
    return Terminal(line, columns=80, rows=24, command=ssh)


def test_keys_copies_and_sizes_work_over_ssh_and_q_restores_the_terminal(ssh: list[str], tmp_path: Path) -> None:
    with console(ssh, tmp_path / "data") as terminal:
        terminal.until(lambda: "send_message_now" in terminal.text, what="a command")
        terminal.press("y")
        terminal.until(lambda: "the text" in terminal.text, what="the choice")
        terminal.press("i")
        terminal.until(lambda: b"\x1b]52;c;" + base64.b64encode(b"cmd") in terminal.raw, what="the copy")
        terminal.resize(120, 36)
        terminal.until(lambda: "COMMAND ID" in terminal.text, what="the wide layout")
        terminal.press("q")
        assert terminal.ends() == 0
        assert_restored(terminal)


def test_a_connection_that_is_cut_ends_the_agent_cleanly(ssh: list[str], tmp_path: Path) -> None:
    with console(ssh, tmp_path / "data") as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        terminal.process.kill()
        log = tmp_path / "data" / "edge-console.log"
        terminal.until(lambda: log.read_text().rstrip().endswith("Stopped"), what="the agent's end")
