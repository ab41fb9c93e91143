"""One instance among those that share a store: its lease, what wakes it, and what it does when it can renew no longer.

An instance that cannot renew closes its sockets before its lease ends, so that no agent hangs on one that hears of nothing. Whatever else
fails while the store is away is tried again: sockets stay, and what they say is held back, not lost.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from agent_core.clock import Clock
from agent_core.reference.hub import Hub
from agent_core.reference.orders import CallError, Order, Status, id_of
from agent_core.reference.postgres import CLAIM_MOST, PostgresStore
from agent_core.reference.store import StoreDownError
from agent_core.reference.told import Told

SWEEP_EVERY = 2.0
SWEEP_AGAIN = 0.02
HELD_EVERY = 1.0
DAY = 86_400.0
KEEP_SETTLED = 30 * DAY
FORGET_EVERY = 3_600.0


class Member:
    """`woke` hears of agents that have frames to send, `lost` of one whose socket is elsewhere now, `fenced` of all."""

    def __init__(
        self, store: PostgresStore, hub: Hub, clock: Clock, lease: float,
        *, woke: Callable[[str], None], lost: Callable[[str], None], fenced: Callable[[], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._hub = hub
        self._clock = clock
        self._lease = lease
        self._woke, self._lost, self._fenced = woke, lost, fenced
        self._wake = asyncio.Event()
        self._looking_up = asyncio.Lock()
        self._fence: asyncio.TimerHandle | None = None
        self._held_at = 0.0
        self.is_fenced = False

    async def join(self) -> None:
        """Raises StoreDownError."""
        await self._renew()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (self._renewing, self._listening, self._sweeping, self._forgetting):
                    tasks.create_task(work(), name=f"backend {work.__name__.strip('_')}")
        finally:
            if self._fence is not None:
                self._fence.cancel()

    # --- agents ------------------------------------------------------------------------------------------------------

    async def arrive(self, agent_id: str) -> int:
        """The epoch of a socket that is about to be the agent's. Raises StoreDownError."""
        if self.is_fenced:
            raise StoreDownError("this instance has lost its store")
        return await self._store.arrive(agent_id)

    async def give_all(self, agent_id: str) -> None:
        """To the agent's new socket: what is open, and its settings."""
        with contextlib.suppress(StoreDownError):
            await self._claim(agent_id)
            await self._settings(agent_id)

    async def leave(self, agent_id: str, epoch: int) -> None:
        """The socket has ended."""
        if self._hub.epoch(agent_id) is None:
            self._hub.book.release(agent_id)
        with contextlib.suppress(StoreDownError):
            await self._store.leave(agent_id, epoch)

    async def poll(self, agent_id: str) -> None:
        """Fetch what a poll is to be answered with. Raises StoreDownError."""
        rules = self._hub.rules
        for order in await self._store.claim_for_poll(agent_id, rules.redeliver_after, rules.poll_count):
            self._hub.give(order, self._clock.now(), to_poll=True)
        await self._settings(agent_id)

    async def polled(self, agent_id: str) -> None:
        """The answer is made: what it had no room for is anybody's again. Raises StoreDownError."""
        if self._hub.epoch(agent_id) is None:
            left = [order.command_id for order in self._hub.book.owed(agent_id) if order.status is Status.QUEUED]
            self._hub.book.release(agent_id)
            if left:
                await self._store.unclaim(left)

    async def look_up(self) -> None:
        """Resolve the acks of orders that are not at hand. Raises StoreDownError."""
        async with self._looking_up:
            if not self._hub.unknown:
                return
            batch = list(self._hub.unknown)
            found = {order.command_id: order for order in await self._store.find({taken.command_id for taken in batch})}
            for taken in batch:
                self._hub.resolve(taken, found.get(taken.command_id))
            del self._hub.unknown[: len(batch)]

    async def look_up_patiently(self) -> None:
        """The same, however long the store is away."""
        while True:
            try:
                return await self.look_up()
            except StoreDownError:
                await asyncio.sleep(SWEEP_EVERY / 4)

    async def owner(self, command_id: object) -> str | None:
        """Whose command it is. Raises StoreDownError."""
        found = await self._store.find([command_id]) if isinstance(command_id, str) else []
        return found[0].agent_id if found else None

    async def order(self, command_id: str) -> Order:
        """Raises CallError (404) or StoreDownError."""
        if found := await self._store.find([command_id]):
            return found[0]
        raise CallError(404, "no such command")

    async def orders(self, agent_id: str | None, status: str | None, limit: int) -> list[Order]:
        """The newest first. Raises StoreDownError."""
        return await self._store.listed(agent_id, status, limit)

    async def events(self, agent_id: str | None, event_type: str | None, limit: int) -> list[Told]:
        """The newest first. Raises StoreDownError."""
        return await self._store.told(agent_id, event_type, limit)

    async def configure(self, agent_id: str, settings: dict[str, Any]) -> None:
        """For the agent, wherever it is. Raises CallError or StoreDownError."""
        await self._store.add_settings(id_of(agent_id, "edge_agent_id"), settings)

    async def agents(self) -> list[dict[str, Any]]:
        """All agents that the store knows; of those here what the hub knows, too. Raises StoreDownError."""
        here = {view["edge_agent_id"]: view for view in self._hub.agents()}
        views = []
        for held in await self._store.agents():
            view = here.get(held.agent_id) or {"edge_agent_id": held.agent_id}
            views.append(
                view | {"connected": held.owner is not None, "instance": held.owner, "epoch": held.epoch, "open_commands": held.owed}
            )
        known = {view["edge_agent_id"] for view in views}
        return views + [view for agent_id, view in here.items() if agent_id not in known]

    # --- the lease -----------------------------------------------------------------------------------------------------

    async def _renewing(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 5)
            with contextlib.suppress(StoreDownError, TimeoutError):
                await self._renew()

    async def _renew(self) -> None:
        """Ours ends before the database's: it counts from before the asking."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._lease * 0.9
        async with asyncio.timeout(self._lease / 3):
            await self._store.renew(self._lease)
        if self._fence is not None:
            self._fence.cancel()
        self._fence = loop.call_at(ends_at, self._close_all)
        self.is_fenced = False

    def _close_all(self) -> None:
        self.is_fenced = True
        self._fenced()

    # --- what wakes it -------------------------------------------------------------------------------------------------

    async def _listening(self) -> None:
        while True:
            with contextlib.suppress(StoreDownError):
                await self._store.listen(self._wake.set)
            await asyncio.sleep(SWEEP_EVERY / 4)

    async def _sweeping(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_EVERY):
                    await self._wake.wait()
            self._wake.clear()
            with contextlib.suppress(StoreDownError):
                await self._sweep()
            await asyncio.sleep(SWEEP_AGAIN)

    async def _sweep(self) -> None:
        now = self._clock.now().mono
        if now - self._held_at >= HELD_EVERY:
            self._held_at = now
            ours = self._hub.epochs()
            held = await self._store.held() if ours else {}
            for agent_id, epoch in ours.items():
                if held.get(agent_id) != epoch and self._hub.epoch(agent_id) == epoch:
                    self._lost(agent_id)
        while len(await self._claim()) == CLAIM_MOST:
            pass
        await self._settings()

    async def _claim(self, agent_id: str | None = None) -> list[Order]:
        orders = await self._store.claim_for_links(agent_id, self._hub.rules.redeliver_after)
        now = self._clock.now()
        for order in orders:
            if self._hub.epoch(order.agent_id) == order.epoch:
                self._hub.give(order, now)
                self._woke(order.agent_id)
        return orders

    async def _settings(self, agent_id: str | None = None) -> None:
        for name, settings in (await self._store.take_settings(agent_id)).items():
            self._hub.configure(name, settings)
            self._woke(name)

    async def _forgetting(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY)
            with contextlib.suppress(StoreDownError):
                await self._store.forget(KEEP_SETTLED)
