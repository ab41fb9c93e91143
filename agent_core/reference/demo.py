"""The traffic of `--demo`: a day in an agent's life, told in a minute, round and round."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

from agent_core.clock import Clock, iso
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Hub
from agent_core.reference.orders import CallError

_TEXTS = (
    "Running ten minutes late, start without me",
    "The table is booked for 7, under Alvarez",
    "Happy birthday! Dinner is on me this week",
    "Can you send me the address again?",
    "Your package is at the front desk",
    "Flight lands 18:40, gate B12",
    "Thanks, that fixed it",
    "Reminder: dentist tomorrow at 9:15",
    "Left the keys under the blue pot",
    "Sounds good, see you on Saturday",
    "The plumber comes between 2 and 4",
    "Did you get the tickets?",
)
_THREADS = tuple(f"+1310555{number:04d}" for number in (100, 117, 134, 142, 158, 163))
RESTART = 1012


class Backend(Protocol):
    """What the demonstration needs of the backend."""

    hub: Hub
    clock: Clock
    faults: Faults

    @property
    def is_told(self) -> bool: ...
    async def queue(self, agent_id: str, command_type: str, payload: dict[str, object]) -> str: ...
    async def repeat(self, command_id: str) -> None: ...
    async def close_links(self, code: int, reason: str) -> None: ...


class _Traffic:
    """One agent's commands, with texts and threads from seeded dice."""

    def __init__(self, backend: Backend, agent_id: str, dice: Random, cycle_seconds: float) -> None:
        self._backend = backend
        self._agent_id = agent_id
        self._dice = dice
        self._cycle = cycle_seconds
        self._last_sent: str | None = None
        self._number = 0

    def message(self) -> dict[str, object]:
        return {"thread_id": self._dice.choice(_THREADS), "text": self._dice.choice(_TEXTS)}

    async def send(self) -> None:
        self._last_sent = await self._queue("send_message_now", self.message())

    async def reply(self) -> None:
        payload = self.message()
        await self._queue("send_message", {"thread_id": payload["thread_id"], "message": payload["text"]})

    async def configure(self) -> None:
        await self._queue("update_config", {"log_level": "info"})

    async def schedule(self) -> None:
        await self._schedule(self._cycle * 0.1)

    async def cancel(self) -> None:
        """A message planned for much later, and a change of mind."""
        name = await self._schedule(3_600)
        await self._queue("cancel_scheduled", {"schedule_id": name})

    async def duplicate(self) -> None:
        if self._last_sent is not None:
            with contextlib.suppress(CallError):
                await self._backend.repeat(self._last_sent)

    async def unknown(self) -> None:
        await self._queue("set_wallpaper", {"name": "sunset"})

    async def failure(self) -> None:
        await self._queue("send_message_now", {"thread_id": self._dice.choice(_THREADS)})

    async def outage(self) -> None:
        """The sockets close and new ones are refused; the calls go on."""
        self._do(Faults(upgrade_status=503, upgrade_body="upstream is restarting"))
        await self._backend.close_links(RESTART, "service restart")

    async def forbidden(self) -> None:
        self._do(Faults(upgrade_status=502, upgrade_body="bad gateway"))

    async def recovery(self) -> None:
        self._do(Faults())

    def _do(self, faults: Faults) -> None:
        """What somebody has told it to do wrong goes on."""
        if not self._backend.is_told:
            self._backend.faults = faults

    async def _schedule(self, after: float) -> str:
        self._number += 1
        name = f"later_{self._backend.clock.now().utc:.0f}_{self._number}"
        due = iso(self._backend.clock.now().utc + after)
        await self._queue("schedule_message", self.message() | {"schedule_id": name, "send_at": due})
        return name

    async def _queue(self, command_type: str, payload: dict[str, object]) -> str:
        return await self._backend.queue(self._agent_id, command_type, payload)


def _script(traffic: _Traffic) -> tuple[tuple[float, Callable[[], Awaitable[None]]], ...]:
    """When, in shares of a cycle, and what."""
    return (
        (0.02, traffic.send),
        (0.06, traffic.reply),
        (0.10, traffic.configure),
        (0.14, traffic.schedule),
        (0.18, traffic.send),
        (0.20, traffic.duplicate),
        (0.25, traffic.cancel),
        (0.30, traffic.failure),
        (0.34, traffic.send),
        (0.37, traffic.unknown),
        (0.41, traffic.send),
        (0.45, traffic.outage),
        (0.48, traffic.send),
        (0.51, traffic.reply),
        (0.55, traffic.send),
        (0.58, traffic.forbidden),
        (0.61, traffic.send),
        (0.65, traffic.recovery),
        (0.67, traffic.send),
        (0.80, traffic.send),
        (0.84, traffic.reply),
        (0.88, traffic.send),
        (0.90, traffic.duplicate),
        (0.94, traffic.send),
        (0.98, traffic.configure),
    )


async def run_demo(
    backend: Backend,
    agent_id: str,
    *,
    cycle_seconds: float = 60.0,
    rounds: int | None = None,
    seed: int = 20_251_105,
) -> None:
    """Traffic for one agent until cancelled, or for so many rounds; the outage takes a fifth of each cycle.

    Ends with the backend well again, whatever ended it.
    """
    traffic = _Traffic(backend, agent_id, Random(seed), cycle_seconds)
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        for number in itertools.count() if rounds is None else range(rounds):
            for share, act in _script(traffic):
                await asyncio.sleep(start + (number + share) * cycle_seconds - loop.time())
                await act()
        if rounds is not None:
            await asyncio.sleep(start + rounds * cycle_seconds - loop.time())
    finally:
        await traffic.recovery()
