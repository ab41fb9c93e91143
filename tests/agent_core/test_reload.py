"""The configuration read anew while the agent runs, by the real program: the link lives on, a wrong file changes nothing."""

import json
import signal
from pathlib import Path
from typing import Any

from agent_core.config.origin import differences
from tests.harness.rig import AGENT, SECRET, config, message, online_at, program, served, settings, settled


def write(folder: Path, url: str, **sections: dict[str, Any]) -> None:
    """As an editor does it: a new file in place of the old one."""
    (folder / "new.yaml").write_text(json.dumps(settings(folder / "state", url, **sections), indent=1))
    (folder / "new.yaml").replace(folder / "config.yaml")


def test_differences_name_the_keys_and_no_secret(tmp_path: Path) -> None:
    one = config(tmp_path, "http://127.0.0.1:1")
    other = config(tmp_path, "http://127.0.0.1:2", secret="another-secret-0", logging={"level": "DEBUG"})
    assert differences(one, other) == ["backend.url", "logging.level"]
    assert differences(one, one) == []


async def test_a_changed_file_is_taken_without_dropping_the_link(tmp_path: Path) -> None:
    async with served() as backend:
        write(tmp_path, backend.url)
        async with program("--no-ui", cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            write(tmp_path, backend.url, backend={"polling": "always", "sync_interval_seconds": 0.2}, logging={"level": "DEBUG"})
            await agent.hears(r"read anew: backend.sync_interval_seconds, backend.polling, logging.level changed")
            await agent.hears(r"HTTP polling every 0\.2s")
            write(tmp_path, backend.url, messenger={"kind": "nothing"})
            await agent.hears(r"\[ERROR\] What was loaded before holds on: config.yaml:\d+: messenger.kind: expected")
            write(tmp_path, backend.url, executor={"concurrency": 2})
            await agent.hears("executor.concurrency from the next start on")
            assert len(agent.said("real-time mode enabled")) == 1
            assert backend.hub.connected(AGENT)
            agent.signal(signal.SIGTERM)
            assert await agent.ends() == 0


async def test_a_backend_that_moves_is_followed_without_a_restart(tmp_path: Path) -> None:
    async with served() as old, served() as new:
        write(tmp_path, old.url)
        async with program("--no-ui", cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            await settled(old, await old.queue(AGENT, "send_message_now", message("before")))
            write(tmp_path, new.url, backend={"polling": "always"})
            await agent.hears("backend.polling changed; backend.url changed, so it dials anew")
            await online_at(new)
            await settled(new, await new.queue(AGENT, "send_message_now", message("after")))
            await agent.hears(f"Connecting to WebSocket: ws://127.0.0.1:{new.port}")
            await new.until(lambda hub: hub.agents()[0]["syncs"])
            assert not old.hub.connected(AGENT)
            agent.signal(signal.SIGTERM)
            assert await agent.ends() == 0


async def test_a_secret_in_env_is_taken_without_dropping_the_link(tmp_path: Path) -> None:
    async with served() as backend:
        write(tmp_path, backend.url)
        (tmp_path / ".env").write_text(f"EDGE_SECRET={SECRET}\n")
        async with program("--no-ui", cwd=tmp_path, secret=None) as agent:
            await agent.hears("real-time mode")
            (tmp_path / ".env").write_text("EDGE_SECRET=another-secret-0\n")
            await agent.hears("The secret was changed: [0-9a-f]{8} from now on")
            assert len(agent.said("real-time mode enabled")) == 1


async def test_what_the_backend_changed_is_shown_with_its_time_and_can_be_reset(tmp_path: Path) -> None:
    async with served() as backend:
        write(tmp_path, backend.url)
        async with program("--no-ui", cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            await backend.queue(AGENT, "update_config", {"sync_interval": 77})
            await agent.hears("Settings changed: sync_interval=77.0")

            async def shown() -> str:
                async with program("config", "show", "--origin", cwd=tmp_path) as process:
                    assert await process.ends() == 0
                return process.said("backend.sync_interval_seconds")[0]

            line = ""
            for _ in range(50):  # the ledger is written a moment later
                if "backend 20" in (line := await shown()):
                    break
            assert line.split()[:3] == ["backend.sync_interval_seconds", "77", "backend"]
            async with program("config", "reset", "backend.sync_interval_seconds", cwd=tmp_path) as reset:
                assert await reset.ends() == 0
            await agent.hears("Setting reset: sync_interval=0.1, as configured here")
            async with program("config", "reset", "logging.level", cwd=tmp_path) as reset:
                assert await reset.ends() == 1
            assert reset.err == ["edge-console: the backend has not changed logging.level"]
