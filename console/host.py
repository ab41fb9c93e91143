"""A running agent, seen from the console: post events to it, read its snapshot and its feed."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from agent_core.clock import Clock
from agent_core.config import Config
from agent_core.events import Event, StopRequested
from agent_core.feed import Feed, LogEntry
from agent_core.records import Remembered
from agent_core.snapshot import Snapshot

if TYPE_CHECKING:
    from agent_core.recording import Recorder


class Host(Protocol):
    """What every viewer needs; safe to call from the viewer's thread, and none of it blocks."""

    feed: Feed

    def snapshot(self) -> Snapshot:
        """The latest published present, at most about 0.1 s old."""
        ...

    def post(self, event: Event) -> None:
        """Tell the engine what the operator wants (`ReconnectRequested`, `PollingModeChosen`, `ReplayRequested`)."""
        ...

    def lookup(self, command_id: str) -> Remembered | None:
        """A command's whole record from the journal: payload, ack, life line."""
        ...

    def stop(self) -> None:
        """Ask for a clean shutdown; `stopped` becomes true when it is done."""
        ...

    @property
    def stopped(self) -> bool: ...

    @property
    def failure(self) -> BaseException | None:
        """What ended the agent, where it did not end by request."""
        ...


class LocalHost:
    """An agent in this process, in a thread and loop of its own: a terminal that nobody reads cannot stall it."""

    def __init__(
        self, config: Config, *, clock: Clock | None = None, log_to: Callable[[Sequence[LogEntry]], None] | None = None,
        recorder: "Recorder | None" = None,
    ) -> None:  # fmt: skip
        from agent_core.agent import Agent

        self._agent = Agent(config, clock=clock, host=socket.gethostname(), log_to=log_to, recorder=recorder)
        self.feed = self._agent.feed
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="agent", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def snapshot(self) -> Snapshot:
        return self._agent.snapshot()

    def post(self, event: Event) -> None:
        self._agent.post(event)

    def lookup(self, command_id: str) -> Remembered | None:
        return self._agent.lookup(command_id)

    def stop(self) -> None:
        self._agent.post(StopRequested())

    def join(self, within: float) -> None:
        self._thread.join(within)

    @property
    def stopped(self) -> bool:
        return not self._thread.is_alive()

    @property
    def failure(self) -> BaseException | None:
        return self._failure

    def _live(self) -> None:
        try:
            asyncio.run(self._agent.run())
        except BaseException as error:  # noqa: BLE001  (told to the console, which ends with it)
            self._failure = error
