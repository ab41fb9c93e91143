"""`edge-console attach --all`: the agents of this user on this machine and on others, a row each, live; one is chosen, or none."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from agent_core.clock import SystemClock
from agent_core.control.address import socket_path
from agent_core.control.directory import known
from console.base import ScreenApp
from console.remote import RemoteHost
from console.screens.agents import Agents, Key, Listed
from console.tunnel import Tunnel

TICK = 0.25
LOOK_EVERY = 4
"""Ticks between two looks at which agents there are."""


class Watch:
    """A viewer of each known agent, which wants nothing but its present."""

    def __init__(self, tunnels: Sequence[Tunnel]) -> None:
        self._tunnels = tunnels
        self._hosts: dict[Key, RemoteHost] = {}

    def look(self) -> None:
        """See which have come and gone."""
        found: list[Key] = [*known(), *self._tunnels]
        for key in [key for key in self._hosts if key not in found]:
            self._hosts.pop(key).stop()
        for key in found:
            if key not in self._hosts:
                self._hosts[key] = _viewer_of(key)
                self._hosts[key].watch()

    def listed(self) -> Iterable[Listed]:
        return (Listed(key, host.now(), host.snapshot(), host.failure) for key, host in self._hosts.items())

    def stop(self) -> None:
        for host in self._hosts.values():
            host.stop()


def _viewer_of(key: Key) -> RemoteHost:
    if isinstance(key, Tunnel):
        return RemoteHost(key.path, read_only=True, past=False, tunnel=key)
    return RemoteHost(socket_path(Path(key.data_dir)), read_only=True, past=False)


class AgentsConsole(ScreenApp[Key]):
    """`run()` returns the agent that was chosen; None: the operator leaves."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, theme: str, tunnels: Sequence[Tunnel] = (), *, at: Key | None = None, trouble: str = "") -> None:
        """`at` is where the cursor begins; `trouble` is why the agent that was chosen last could not be shown."""
        super().__init__(theme)
        self._watch = Watch(tunnels)
        self._ticks = 0
        self._agents = Agents(at, trouble)

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
        self._agents.tell(self._watch.listed(), SystemClock().now())
