"""The demonstration: the reference backend inside, and its seeded traffic."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_core.config import Config
from agent_core.config.layers import load_config
from agent_core.reference.demo import run_demo
from agent_core.reference.server import BackendThread

AGENT_ID = "mac-mini-01"
CYCLE_SECONDS = 60.0


@contextmanager
def demonstration(overrides: dict[str, Any], seconds: float | None) -> Iterator[Config]:
    """A backend with traffic, and the configuration of an agent for it; with `seconds` one cycle fits into them.

    Nothing of it stays behind, unless `overrides` names a data_dir.
    """
    cycle = seconds if seconds is not None else CYCLE_SECONDS
    with tempfile.TemporaryDirectory(prefix="edge-console-demo-") as scratch, BackendThread() as thread:
        backend = thread.backend
        defaults = Path(scratch) / "config.yaml"
        defaults.touch()
        config = load_config(
            defaults,
            {"EDGE_SECRET": backend.secret},
            overrides={
                "edge.agent_id": AGENT_ID,
                "backend.url": backend.url,
                "backend.sync_interval_seconds": max(0.5, cycle / 10),
                "backoff.cap_seconds": max(2.0, cycle / 4),
                "data_dir": scratch,
                **overrides,
            },
        )
        thread.submit(run_demo(backend, AGENT_ID, cycle_seconds=cycle))
        yield config
