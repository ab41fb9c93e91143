"""The secret is in nothing that the program puts out: a marker is searched in all of it."""

import asyncio
import http.client
import json
import signal
import socket
import zipfile
from pathlib import Path

from agent_core.control.address import socket_path
from agent_core.control.client import Viewer
from agent_core.control.messages import dump
from agent_core.reference.faults import Faults
from tests.harness.rig import AGENT, argv_of, files_below, message, program, served, settled, until, write_config

MARKER = "canary-leak-marker-5f1d9c"


async def said(tmp_path: Path, *arguments: str) -> bytes:
    async with program(*arguments, cwd=tmp_path, secret=None) as process:
        await process.ends(60)
    return "\n".join((*process.out, *process.err)).encode()


def pages(port: int) -> bytes:
    found = b""
    for path in ("/live", "/ready", "/health", "/metrics", f"/{MARKER[:4]}"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        found += connection.getresponse().read()
        connection.close()
    return found


def over_the_socket(data_dir: Path) -> bytes:
    found = b""
    with Viewer(socket_path(data_dir)) as viewer:
        for _ in range(6):
            if (message_ := viewer.next(5.0)) is not None:
                found += dump(message_)
    return found


async def test_the_secret_is_in_nothing_that_is_put_out(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "secret").write_text(f"{MARKER}\n")
    (tmp_path / "secret").chmod(0o600)
    async with served() as backend:
        backend.secrets = type(backend.secrets)(MARKER)
        sections = {"logging": {"level": "DEBUG"}, "monitoring": {"port": port}, "auth": {"secret_file": str(tmp_path / "secret")}}
        arguments = write_config(tmp_path, backend.url, **sections)
        async with program("--no-ui", *arguments, "--record", "run.jsonl", cwd=tmp_path, secret=None) as agent:
            await agent.hears("real-time mode")
            done = await backend.queue(AGENT, "send_message_now", message(f"said {MARKER}"), command_id=f"id-{MARKER}")
            await settled(backend, done)
            agent.signal(signal.SIGUSR1)
            await until(lambda: agent.said("state saved"))
            found = argv_of(agent.pid) + await asyncio.to_thread(pages, port)
            found += await asyncio.to_thread(over_the_socket, tmp_path / "state")
            for command in (
                "status", "status --json", "config show --origin", "secret fingerprint", "commands ls", "commands show id-", "logs",
                "logs --json", "doctor", "doctor --for-backend", "audit verify --json", "ledger export", "outbox ls",
                "report -o report.zip", "service install --print", "screenshot --after 0.2 -o now.svg",
            ):  # fmt: skip
                found += await said(tmp_path, *command.split())
            backend.faults = Faults(upgrade_status=403, upgrade_body=MARKER)
            await backend.close_links(reason=MARKER)
            await agent.hears("edge-console replay --ui")
            agent.signal(signal.SIGTERM)
            assert await agent.ends() == 0
            found += "\n".join((*agent.out, *agent.err)).encode()
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        found += b"".join(map(archive.read, archive.namelist()))
        assert json.loads(archive.read("status.json"))["agent_id"] == AGENT
    kept = await asyncio.to_thread(files_below, tmp_path)
    assert {"now.svg", "refused"} <= {name.partition("-")[0] for name in kept}
    found += b"".join(content for name, content in kept.items() if name != "secret" and not name.startswith("ledger."))
    assert len(found) > 50_000
    assert found.count(MARKER.encode()) == 0
