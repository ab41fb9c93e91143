"""Why does it not connect? The way to the backend, stage by stage, with the link's own dial and the polling's own call.

    configuration, secret, data_dir, disk, messenger, policy, (inbound), proxy, (unattended, permissions) │ dns, tcp, tls │ health, clock │
    lock │ register, upgrade, auth, pong, sync

What is of this machine comes first, then the network from below upwards; `inbound` is there where it is enabled, `unattended` and what the
service may (permissions.py) on a Mac alone. `lock` stands right before what the backend notices: a second socket with this agent's id would
make it close a running agent's (4009), and a sync would take what waits for that agent. So where an agent runs on this data_dir, those
stages are skipped, unless the caller insists.

Nothing is run, acked or written: commands that arrive here stay owed. Every stage has a limit, and the whole has one.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent_core.channels.credentials import Credentials
from agent_core.channels.network import failure_of
from agent_core.clock import Clock
from agent_core.config import Config
from agent_core.daemon_threads import DAEMON_THREADS
from agent_core.diagnosis.backend import SHOWN, Backend
from agent_core.diagnosis.findings import Stage, Verdict, failed, late, skipped
from agent_core.diagnosis.machine import Machine
from agent_core.diagnosis.messages import inbound
from agent_core.diagnosis.reach import Reach
from agent_core.plain import plain

WITHIN = 5.0
"""Seconds for one stage at most."""
WHOLE = 30.0


async def diagnose(
    config: Config, clock: Clock, *, env_file: Path | None = None, force: bool = False, within: float = WITHIN
) -> AsyncIterator[Stage]:
    """Each stage as soon as it is known; never raises for anything the machine or the network does.

    `env_file` is the .env whose mode is looked at; `force` dials and syncs though an agent runs on the same data_dir; `within` limits
    a stage, in seconds.
    """
    asyncio.get_running_loop().set_default_executor(DAEMON_THREADS)
    async for stage in _Diagnosis(config, clock, env_file, within, force=force).stages():
        yield stage


class _Diagnosis:
    def __init__(self, config: Config, clock: Clock, env_file: Path | None, within: float, *, force: bool) -> None:
        self._config = config
        self._clock = clock
        self._within = within
        self._credentials = Credentials(config)
        self._end = clock.now().mono + WHOLE
        self._machine = Machine(config, self._credentials, env_file, force=force)
        self._reach = Reach(config, clock, within)
        self._backend = Backend(config, clock, self._credentials, within)

    async def stages(self) -> AsyncIterator[Stage]:
        machine, backend = self._machine, self._backend
        secretless = ""
        for name, look in (
            ("configuration", machine.configuration), ("secret", machine.secret), ("data_dir", machine.data_dir), ("disk", machine.disk),
            ("messenger", machine.messenger), ("policy", machine.policy), ("proxy", self._reach.proxy),
        ):  # fmt: skip
            stage = await self._look(name, look)
            if name == "secret" and stage.verdict is Verdict.FAILED:
                secretless = "there is no secret"
            yield stage
            if name == "policy" and self._config.inbound.enabled:
                yield await self._look("inbound", partial(inbound, self._config, self._clock.now().utc))
        if shutil.which("pmset"):
            yield await self._look("unattended", machine.unattended)
        if shutil.which("launchctl"):
            for stage in await self._permissions():
                yield stage
        obstacles: list[str] = []
        for target in self._reach.targets():
            obstacle = ""
            for name, visit in (("dns", self._reach.dns), ("tcp", self._reach.tcp), ("tls", self._reach.tls)):
                stage = await self._look(name + target.suffix, self._unless(obstacle, visit, target))
                if stage.verdict is Verdict.FAILED:
                    obstacle = f"{stage.name} failed"
                yield stage
            obstacles.append(obstacle)
        yield await self._look("health", self._unless(obstacles[-1], backend.health))
        yield await self._look("clock", backend.clock)
        yield await self._look("lock", machine.lock)
        by_socket, by_http = (obstacle or secretless or machine.hold for obstacle in (obstacles[0], obstacles[-1]))
        if self._credentials.agent_id is None:
            yield await self._look("register", self._unless(by_http, backend.register))
            if self._credentials.agent_id is None:
                by_socket, by_http = by_socket or "there is no agent id", by_http or "there is no agent id"
        async for stage in self._socket_stages(by_socket):
            yield stage
        yield await self._look("sync", self._unless(by_http, backend.sync))

    async def _permissions(self) -> list[Stage]:
        """By launchd, which takes its own time for it: the others have theirs whole."""
        from agent_core.diagnosis.permissions import permissions

        began = self._clock.now().mono
        found = await permissions(self._config)
        self._end += self._clock.now().mono - began
        return found

    async def _socket_stages(self, obstacle: str) -> AsyncIterator[Stage]:
        backend = self._backend
        if not self._config.websocket.enabled:
            obstacle = "websocket.enabled is false"
        try:
            for name, look in (("upgrade", backend.upgrade), ("auth", backend.auth), ("pong", backend.pong)):
                stage = await self._look(name, self._unless(obstacle, look))
                if stage.verdict is Verdict.FAILED:
                    obstacle = obstacle or f"{name} failed"
                yield stage
        finally:
            await backend.hang_up()

    async def _look(self, name: str, look: Callable[[], Awaitable[Stage]]) -> Stage:
        """Timed, within its limit; whatever it raises is a finding."""
        began = self._clock.now().mono
        limit = max(0.01, min(self._within, self._end - began))
        try:
            async with asyncio.timeout(limit):
                found = await look()
        except TimeoutError:
            found = late(name, limit, self._backend.unanswered(name, f"no answer in {limit:g} s"))
        except Exception as error:  # noqa: BLE001  (a diagnosis says what happened, whatever it is)
            failure = failure_of(error)
            found = failed(plain(failure.detail, SHOWN), failure=failure)
        return replace(found, name=name, ms=(self._clock.now().mono - began) * 1_000, sentence=self._backend.clean(found.sentence, 400))

    def _unless(self, obstacle: str, look: Callable[..., Awaitable[Stage]], *arguments: Any) -> Callable[[], Awaitable[Stage]]:
        async def go() -> Stage:
            return skipped(obstacle) if obstacle else await look(*arguments)

        return go
