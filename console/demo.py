"""The demonstration: the reference backend inside, and its seeded traffic."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_core.config import Config
    from agent_core.reference.server import BackendThread

AGENT_ID = "mac-mini-01"
CYCLE_SECONDS = 60.0


class Demo:
    """What a demonstration needs is imported where it begins: the first picture does not wait for it."""

    def __init__(self) -> None:
        self._thread: BackendThread | None = None

    @contextmanager
    def running(self, overrides: dict[str, Any], seconds: float | None) -> "Iterator[Config]":
        """A backend with traffic, and the configuration of an agent for it; with `seconds` one cycle fits into them.

        Nothing of it stays behind, unless `overrides` names a data_dir.
        """
        from agent_core.config.layers import load_config
        from agent_core.reference.demo import run_demo
        from agent_core.reference.server import BackendThread

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
            self._thread = thread
            try:
                yield config
            finally:
                self._thread = None

    def fault(self, words: str) -> None:
        """Have the backend do wrong, as POST /admin/faults does. Raises ValueError, in one sentence."""
        from agent_core.reference.faults import in_words
        from agent_core.reference.orders import CallError

        try:
            faults, seconds = in_words(words)
        except CallError as error:
            raise ValueError(error.sentence) from None
        if self._thread is not None:
            self._thread.call_soon(self._thread.backend.do_wrong, faults, seconds)
