"""A running agent, seen from the console: post events to it, read its snapshot and its feed."""

from typing import Protocol

from agent_core.events import Event
from agent_core.feed import Feed
from agent_core.records import Remembered
from agent_core.snapshot import Snapshot


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
