"""`edge-console backend` and `edge-console send`, as a process and its client."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as sync_connect

from agent_core.reference.client import SendError, send_command
from agent_core.reference.main import run_backend
from agent_core.reference.server import DEMO_SECRET, BackendThread, CannotServeError, Options, PortTakenError

ADMIN = "canary-admin"
RUN = "import sys; from agent_core.reference.main import run_backend; sys.exit(run_backend(port=0))"


@dataclass
class Running:
    process: subprocess.Popen[str]
    said: dict[str, object]

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


@contextlib.contextmanager
def running(**env: str) -> Iterator[Running]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_")}
    process = subprocess.Popen([sys.executable, "-c", RUN], env=clean | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Running(process, json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def test_port_0_prints_one_json_line_and_a_signal_ends_it_well() -> None:
    with running() as backend:
        assert set(backend.said) == {"port", "url"}
        assert httpx.get(f"{backend.said['url']}/health", trust_env=False).status_code == 200
        code, out, err = backend.end(signal.SIGTERM)
    assert (code, out) == (0, "")
    assert err.count(DEMO_SECRET) == 1


def test_f90_an_admin_token_that_nobody_set_is_made_for_the_run() -> None:
    told = []
    for _ in range(2):
        with running() as backend:
            url = str(backend.said["url"])
            with pytest.raises(SendError, match="EDGE_ADMIN_TOKEN"):
                send_command(url, "demo-admin", "mac-1", "emit_event", {})
            _, _, err = backend.end(signal.SIGTERM)
        (line,) = [line for line in err.splitlines() if "admin token" in line]
        told.append(line.rpartition(" ")[2])
    assert len(set(told)) == 2
    assert min(map(len, told)) >= 20


def test_send_finds_the_token_of_this_users_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("EDGE_ADMIN_TOKEN", raising=False)
    with running(XDG_RUNTIME_DIR=str(tmp_path)) as backend:
        url = str(backend.said["url"])
        assert send_command(url, None, "mac-1", "emit_event", {}).startswith("cmd_")
        (file,) = tmp_path.glob("*/*")
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
        file.parent.chmod(0o755)
        with pytest.raises(SendError, match="EDGE_ADMIN_TOKEN"):
            send_command(url, None, "mac-1", "emit_event", {})
        backend.end(signal.SIGTERM)
        assert list(tmp_path.glob("*/*")) == []


def test_send_needs_no_server() -> None:
    code = "import sys, agent_core.reference.client, httpx; print({'starlette', 'uvicorn', 'websockets'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_given_tokens_are_used_and_never_shown() -> None:
    with running(EDGE_SECRET="canary-secret", EDGE_ADMIN_TOKEN="canary-admin") as backend:
        url = str(backend.said["url"])
        command_id = send_command(url, "canary-admin", "mac-1", "send_message_now", {"thread_id": "+13105550100", "text": "hi"})
        assert command_id.startswith("cmd_")
        with pytest.raises(SendError, match="401"):
            send_command(url, "wrong", "mac-1", "send_message_now", {})
        code, _, err = backend.end(signal.SIGINT)
    assert code == 0
    assert "canary" not in err


def test_without_a_name_the_only_agent_is_meant() -> None:
    with BackendThread(Options(admin_token=ADMIN)) as thread:
        url = thread.backend.url
        with pytest.raises(SendError, match="no agent has called this backend yet: name the agent with --to ID"):
            send_command(url, ADMIN, None, "send_message_now", {})
        first = send_command(url, ADMIN, "mac-1", "send_message_now", {}, "mine", priority="high")
        assert first == "mine"
        second = send_command(url, ADMIN, None, "send_message_now", {})
        assert thread.backend.hub.order(second).agent_id == "mac-1"
        send_command(url, ADMIN, "mac-2", "send_message_now", {})
        with pytest.raises(SendError, match=r"more than one agent is there \(mac-1, mac-2\): name the agent with --to ID"):
            send_command(url, ADMIN, None, "send_message_now", {})
        with pytest.raises(SendError, match="409"):
            send_command(url, ADMIN, "mac-1", "send_message_now", {}, "mine")


def test_nobody_there_or_somebody_else_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port}"):
            run_backend(port=port)
    for url in (f"http://127.0.0.1:{port}", "nonsense", "http://[::bad"):
        with pytest.raises(SendError):
            send_command(url, ADMIN, "mac-1", "send_message_now", {})


def test_well_known_tokens_stay_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_SECRET", raising=False)
    with pytest.raises(CannotServeError, match="EDGE_SECRET"):
        run_backend("0.0.0.0", 0)


def test_the_log_as_json_is_an_object_a_line() -> None:
    code = "import sys; from agent_core.reference.main import run_backend; sys.exit(run_backend(port=0, log_json=True))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"EDGE_SECRET": "s3cr3t-1", "EDGE_ADMIN_TOKEN": "admin-1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["port"]
    with sync_connect(
        f"ws://127.0.0.1:{port}/edge/ws?edge_agent_id=mac-1", additional_headers={"Authorization": "Bearer s3cr3t-1"}, proxy=None
    ):
        pass
    with pytest.raises(InvalidStatus):
        sync_connect(f"ws://127.0.0.1:{port}/edge/ws?edge_agent_id=mac-1", proxy=None)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["connected", "ended", "upgrade refused"]
    assert (lines[0]["level"], lines[0]["agent"], lines[2]["status"]) == ("info", "mac-1", 403)
    assert "s3cr3t" not in err
