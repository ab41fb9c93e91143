"""What examples/ holds is run, as docs/EXTENDING.md tells it."""

import asyncio
import json
import re
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_core.reference.orders import Status
from tests.harness.rig import AGENT, ROOT, ack_of, config, living, message, program, served, settled, write_config

EXAMPLES = ROOT / "examples"
EXTENDING = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8")


@asynccontextmanager
async def minimal_backend() -> AsyncIterator[str]:
    """Its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / "minimal_backend.py", "0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def test_a_backend_of_forty_lines_is_enough(tmp_path: Path) -> None:
    async with minimal_backend() as url, living(config(tmp_path, url, secret="demo-secret")) as here:
        await here.until(lambda s: s.commands.proven == 1, "the ack is proven")
        assert here.sent() == ["hi"]
        polls = here.now.polling.polls
        await here.until(lambda s: s.polling.polls > polls + 2, "more polls")
        assert here.sent() == ["hi"]


def installed(site: Path, example: str) -> str:
    """What pip makes of an example, from its pyproject.toml; the path that has it, with this tree."""
    folder = EXAMPLES / example
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    meta = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {what}\n" for name, what in points.items()) for group, points in project["entry-points"].items()
    )
    (meta / "entry_points.txt").write_text("".join(groups))
    return f"{ROOT}:{site}:{folder}"


async def test_a_messenger_of_forty_lines_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = installed(tmp_path / "site", "spool")
    async with served() as backend:
        arguments = write_config(tmp_path, backend.url, messenger={"kind": "spool", "options": {"folder": str(folder)}})
        async with program("--no-ui", *arguments, cwd=tmp_path, PYTHONPATH=path) as agent:
            await agent.hears(r"Loaded messenger spool from edge-spool 1\.0")
            await agent.hears("real-time mode")
            (order,) = await settled(backend, await backend.queue(AGENT, "send_message_now", message("hi")))
            assert order.status is Status.COMPLETED
            sent = folder / ack_of(order)["result"]["file"]
            assert json.loads(sent.read_text())["text"] == "hi"
            sent.unlink()
            await backend.repeat(order.command_id)
            await agent.hears("duplicate")
            await settled(backend, await backend.queue(AGENT, "send_message_now", message("again")))
            assert [json.loads(file.read_text())["text"] for file in folder.iterdir()] == ["again"]


async def test_a_messenger_without_its_options_says_what_it_needs(tmp_path: Path) -> None:
    arguments = write_config(tmp_path, "http://127.0.0.1:9", messenger={"kind": "spool"})
    async with program("--no-ui", *arguments, cwd=tmp_path, PYTHONPATH=installed(tmp_path / "site", "spool")) as agent:
        assert await agent.ends() == 2
        assert "expected folder: the path of a folder that is there" in agent.err[0]


UNITS: tuple[Any, ...] = ("MB", "acre", [])


async def test_a_handler_takes_a_good_payload_and_refuses_a_bad_one(tmp_path: Path) -> None:
    path = installed(tmp_path / "site", "disk_free")
    async with served() as backend, program("--no-ui", *write_config(tmp_path, backend.url), cwd=tmp_path, PYTHONPATH=path) as agent:
        await agent.hears("real-time mode")
        good, *bad = [await backend.queue(AGENT, "disk_free", {"unit": unit}) for unit in UNITS]
        (done,) = await settled(backend, good)
        assert ack_of(done)["result"]["free"] > 0
        for order in await settled(backend, *bad):
            assert (order.status, ack_of(order)["error"]) == (Status.FAILED, "unit must be one of bytes, MB, GB")


LISTED = re.findall(r"^\[(examples/[\w/.]+)\]\([^)]*\):\n\n```\w+\n(.*?)^```$", EXTENDING, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("path", "code"), LISTED, ids=[path for path, _ in LISTED])
def test_the_page_shows_what_runs(path: str, code: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == code


def test_the_page_shows_both_packages() -> None:
    assert len(LISTED) == 4


def test_the_examples_are_short() -> None:
    for example in EXAMPLES.rglob("*.py"):
        assert len(example.read_text(encoding="utf-8").splitlines()) <= 40, example.name
