"""The sample backends of docs/samples/ keep every clause."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent_core.conform.bench import Target
from agent_core.conform.clauses import CLAUSES
from agent_core.conform.judge import Result, judge
from agent_core.frames import as_json

SAMPLES = Path(__file__).parents[3] / "docs" / "samples"
ENVIRONMENT = {"EDGE_SECRET": "canary-secret", "EDGE_ADMIN_TOKEN": "canary-admin"}
CLAUSE_IDS = [clause.id for clause in CLAUSES if clause.id != "W9"]
MAX_LINES = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def failures(command: list[str], folder: Path) -> list[str]:
    """The clauses that the backend started by `command PORT` does not keep."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(*command, str(port), cwd=folder, env=os.environ | ENVIRONMENT)
    try:
        async with asyncio.timeout(30):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break
        target = Target(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", "canary-secret", "canary-admin")
        verdicts = await judge(target, CLAUSE_IDS)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return [f"{verdict.clause.id} {verdict.sentence}" for verdict in verdicts if verdict.result is not Result.PASS]


async def test_the_python_sample_keeps_every_clause() -> None:
    assert await failures([sys.executable, str(SAMPLES / "backend.py")], SAMPLES) == []


@pytest.fixture
def node(tmp_path: Path) -> str:
    """Node, with ws installed beside the sample; skipped by name where there is none."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("Node is not installed")
    (tmp_path / "package.json").write_text(as_json({"private": True, "dependencies": {"ws": "^8"}}))
    installed = subprocess.run([npm, "install", "--silent", "--no-audit"], cwd=tmp_path, check=False, capture_output=True, timeout=100)
    if installed.returncode:
        pytest.skip("npm cannot install ws here")
    return found


async def test_the_node_sample_keeps_every_clause(tmp_path: Path, node: str) -> None:
    sample = shutil.copy(SAMPLES / "backend.mjs", tmp_path)
    assert await failures([node, str(sample)], tmp_path) == []


@pytest.mark.parametrize("sample", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_a_sample_is_read_at_a_glance(sample: Path) -> None:
    lines = sample.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= 160
