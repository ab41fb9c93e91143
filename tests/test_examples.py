"""What examples/ holds is run, as docs/EXTENDING.md tells it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.harness.rig import ROOT, config, living

EXAMPLES = ROOT / "examples"


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


def test_the_examples_are_short() -> None:
    for example in EXAMPLES.glob("*.py"):
        assert len(example.read_text(encoding="utf-8").splitlines()) <= 40, example.name
