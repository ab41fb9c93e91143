"""The demonstration: the reference backend and a Mac's Messages inside, with seeded traffic."""

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
        """A backend with traffic, Messages with people, and the configuration of an agent for both; one cycle fits into `seconds`.

        Nothing of it stays behind, unless `overrides` names a data_dir.
        """
        from agent_core.config.layers import load_config
        from agent_core.reference.demo import run_demo
        from agent_core.reference.messages.people import started
        from agent_core.reference.messages.programs import on_the_path
        from agent_core.reference.server import BackendThread

        cycle = seconds if seconds is not None else CYCLE_SECONDS
        with tempfile.TemporaryDirectory(prefix="edge-console-demo-") as scratch, BackendThread() as thread:
            folder, backend = Path(scratch), thread.backend
            messages = thread.call(started(folder))
            defaults = folder / "config.yaml"
            defaults.touch()
            config = load_config(
                defaults,
                {"EDGE_SECRET": backend.secret},
                overrides={
                    "edge.agent_id": AGENT_ID,
                    "backend.url": backend.url,
                    "backend.sync_interval_seconds": max(0.5, cycle / 10),
                    "backoff.cap_seconds": max(2.0, cycle / 4),
                    "messenger.kind": "imessage",
                    "messenger.way": "imsg",
                    "messenger.chat_db": folder / "chat.db",
                    "inbound.enabled": True,
                    "data_dir": scratch,
                    **overrides,
                },
            )
            thread.submit(run_demo(backend, AGENT_ID, cycle_seconds=cycle))
            self._thread = thread
            try:
                with on_the_path(folder, "imsg"):
                    yield config
            finally:
                self._thread = None
                thread.call(messages.stop())

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
