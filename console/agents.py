"""`edge-console attach --all`: every agent of this user on this machine, a row each, live; one of them is chosen, or none."""

from collections.abc import Iterable
from datetime import tzinfo
from pathlib import Path

from agent_core.clock import Clock, SystemClock
from agent_core.control.address import socket_path
from agent_core.control.directory import Announced, known
from console.base import ScreenApp
from console.remote import RemoteHost
from console.screens.agents import Agents, Listed

TICK = 0.25
LOOK_EVERY = 4
"""Ticks between two looks at which agents there are."""


class Watch:
    """A viewer of each known agent, which wants nothing but its present."""

    def __init__(self) -> None:
        self._hosts: dict[Announced, RemoteHost] = {}

    def look(self) -> None:
        """See which have come and gone."""
        found = known()
        for agent in [agent for agent in self._hosts if agent not in found]:
            self._hosts.pop(agent).stop()
        for agent in found:
            if agent not in self._hosts:
                host = self._hosts[agent] = RemoteHost(socket_path(Path(agent.data_dir)), read_only=True, past=False)
                host.watch()

    def listed(self) -> Iterable[Listed]:
        return (Listed(agent, host.snapshot(), host.failure) for agent, host in self._hosts.items())

    def stop(self) -> None:
        for host in self._hosts.values():
            host.stop()


class AgentsConsole(ScreenApp[Announced]):
    """`run()` returns the agent that was chosen; None: the operator leaves."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self, theme: str, *, at: Announced | None = None, trouble: str = "", clock: Clock | None = None, zone: tzinfo | None = None
    ) -> None:
        """`at` is where the cursor begins; `trouble` is why the agent that was chosen last could not be shown."""
        super().__init__(theme)
        self._watch = Watch()
        self._clock = clock or SystemClock()
        self._ticks = 0
        self._agents = Agents(at, trouble, zone)

    def get_default_screen(self) -> Agents:
        return self._agents

    def on_mount(self) -> None:
        self._tick()
        self.set_interval(TICK, self._tick)

    def on_unmount(self) -> None:
        self._watch.stop()

    def _tick(self) -> None:
        if self._ticks % LOOK_EVERY == 0:
            self._watch.look()
        self._ticks += 1
        self._agents.tell(self._watch.listed(), self._clock.now())
