"""A running agent, seen from the console: post events to it, read its snapshot and its feed."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from agent_core import __version__
from agent_core.feed import Feed
from agent_core.snapshot import Snapshot

if TYPE_CHECKING:
    from agent_core.agent import Agent
    from agent_core.events import Event
    from agent_core.records import Remembered


class Host(Protocol):
    """What every viewer needs; safe to call from the viewer's thread, and none of it blocks."""

    @property
    def feed(self) -> Feed:
        """The past; empty until the agent begins."""
        ...

    def snapshot(self) -> Snapshot:
        """The latest published present, at most about 0.1 s old."""
        ...

    def post(self, event: "Event") -> None:
        """Tell the engine what the operator wants (`ReconnectRequested`, `PollingModeChosen`, `ReplayRequested`)."""
        ...

    def lookup(self, command_id: str) -> "Remembered | None":
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

    def __init__(self, begin: Callable[[ExitStack], "Agent"]) -> None:
        """`begin` makes the agent, on its own thread; what it enters into the stack is left when the agent has ended."""
        self._begin = begin
        self._agent: Agent | None = None
        self._nothing_yet = Feed(), Snapshot(version=__version__)
        self._posted: deque[Event] = deque()
        self._stop_asked = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="agent", daemon=True)

    def start(self) -> None:
        """The first time; then it runs, whoever looks on."""
        if self._thread.ident is None:
            self._thread.start()

    @property
    def began(self) -> bool:
        """Whether there is, or was, an agent."""
        return self._agent is not None

    @property
    def feed(self) -> Feed:
        return self._nothing_yet[0] if self._agent is None else self._agent.feed

    def snapshot(self) -> Snapshot:
        return self._nothing_yet[1] if self._agent is None else self._agent.snapshot()

    def post(self, event: "Event") -> None:
        self._posted.append(event)
        self._hand_over()

    def _hand_over(self) -> None:
        """Whichever thread finds both the agent and an event: none is lost, and none is posted twice."""
        with suppress(IndexError):
            while self._agent is not None:
                self._agent.post(self._posted.popleft())

    def lookup(self, command_id: str) -> "Remembered | None":
        return None if self._agent is None else self._agent.lookup(command_id)

    def stop(self) -> None:
        self._stop_asked = True
        if self._agent is not None:
            from agent_core.events import StopRequested

            self._agent.post(StopRequested())

    def join(self, within: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(within)

    @property
    def stopped(self) -> bool:
        return (self._stop_asked and self._thread.ident is None) or (self._thread.ident is not None and not self._thread.is_alive())

    @property
    def failure(self) -> BaseException | None:
        return self._failure

    def _live(self) -> None:
        try:
            with ExitStack() as stack:
                agent = self._begin(stack)
                self._agent = agent
                self._hand_over()
                if self._stop_asked:
                    self.stop()
                asyncio.run(agent.run())
        except BaseException as error:  # noqa: BLE001  (told to the console, which ends with it)
            self._failure = error
