"""The orders at hand, pure: those an instance decides about, and what of them is not yet in the store.

Links are the instance's, orders are the store's (store.py). Where one instance has the store to itself the book is all of it; where several
share one, the book holds what was given to this instance. A new order is `added`, and owed once the store has it; what an ack says is
`noted`, an agent's event `told`, and both must be written before anything that rests on them leaves; what a delivery changes goes along
with the next batch.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from agent_core.plain import plain
from agent_core.reference.orders import CallError, Order
from agent_core.reference.told import Told


@dataclass(slots=True)
class Changes:
    """What a store is to write, all or nothing."""

    new: list[Order] = field(default_factory=list)
    changed: list[Order] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.forgotten or self.told)


class Book:
    """With `journaled`, `changes()` must be emptied by whoever writes them down; `shared`: what leaves the book stays in the store."""

    def __init__(self, *, keep_settled: int = 200_000, keep_open: int = 200_000, journaled: bool = False, shared: bool = False) -> None:
        self.sequence = 0
        """Counts what must be written before anything that rests on it leaves."""
        self._keep_settled = keep_settled
        self._keep_open = keep_open
        self._journaled = journaled
        self._shared = shared
        self._orders: dict[str, Order] = {}
        self._open: dict[str, dict[str, Order]] = {}
        self._settled: deque[str] = deque()
        self._new: dict[str, Order] = {}
        self._dirty: dict[str, Order] = {}
        self._forgotten: list[str] = []
        self._told: list[Told] = []

    def __contains__(self, command_id: object) -> bool:
        return command_id in self._orders

    def get(self, command_id: object) -> Order | None:
        if not isinstance(command_id, str):
            return None
        return self._orders.get(command_id) or self._dirty.get(command_id)

    def listed(self, agent_id: str | None, status: str | None, limit: int) -> list[Order]:
        """The newest first."""
        found = (o for o in reversed(self._orders.values()) if agent_id in (None, o.agent_id) and status in (None, o.status))
        return list(islice(found, limit))

    def owed(self, agent_id: str) -> Iterable[Order]:
        """The agent's open orders, in the order in which they are to be done."""
        return self._open.get(agent_id, {}).values()

    def owes(self, agent_id: str) -> int:
        return len(self._open.get(agent_id, ()))

    @property
    def open_count(self) -> int:
        """Orders without a terminal ack."""
        return len(self._orders) - len(self._settled)

    def oldest_open(self) -> Order | None:
        firsts = (next(iter(open_.values())) for open_ in self._open.values() if open_)
        return min(firsts, key=lambda order: order.queued_utc, default=None)

    # --- what changes ------------------------------------------------------------------------------------------------

    def add(self, order: Order) -> None:
        """A new order; owed from `owe` on. Raises CallError: 409 the id is taken, 429 too many are open."""
        if self.open_count >= self._keep_open:
            raise CallError(429, "too many open commands")
        if order.command_id in self._orders:
            raise taken(order.command_id)
        self._orders[order.command_id] = order
        if self._journaled:
            self.sequence += 1
            self._new[order.command_id] = order

    def owe(self, order: Order) -> Order:
        """It is the agent's from now on; returns the one that is at hand already, if there is one."""
        order = self._orders.setdefault(order.command_id, order)
        if order.ack is None:
            self._open.setdefault(order.agent_id, {})[order.command_id] = order
        return order

    def note(self, order: Order, *, awaited: bool) -> None:
        if self._journaled:
            self.sequence += awaited
            if order.command_id not in self._new:
                self._dirty[order.command_id] = order

    def tell(self, told: Told) -> None:
        """An agent's event, to be in the store before anything leaves that says so."""
        if self._journaled:
            self.sequence += 1
            self._told.append(told)

    def settle(self, order: Order) -> None:
        """It has its terminal ack."""
        if (open_ := self._open.get(order.agent_id)) is not None:
            open_.pop(order.command_id, None)
            if not open_:
                del self._open[order.agent_id]
        if self._shared:
            self._orders.pop(order.command_id, None)
            return
        self._settled.append(order.command_id)
        while len(self._settled) > self._keep_settled:
            gone = self._settled.popleft()
            if self._orders.pop(gone, None) is not None and self._journaled:
                self._new.pop(gone, None)
                self._dirty.pop(gone, None)
                self._forgotten.append(gone)

    def release(self, agent_id: str) -> None:
        """Another instance may be given the agent's open orders from now on."""
        for command_id in self._open.pop(agent_id, ()):
            del self._orders[command_id]

    def withdraw(self, order: Order) -> None:
        """A new order that the store did not take."""
        self._orders.pop(order.command_id, None)

    def restore(self, orders: Iterable[Order]) -> None:
        """What the store holds: the settled ones in the order in which they were, then the open ones."""
        for order in orders:
            self._orders[order.command_id] = order
            if order.ack is None:
                self.owe(order)
            else:
                self.settle(order)

    def seal(self) -> int:
        """A sequence that has everything before it, deliveries too."""
        self.sequence += self._journaled
        return self.sequence

    # --- towards the store -------------------------------------------------------------------------------------------

    def changes(self) -> Changes:
        """Since the last call."""
        found = Changes(list(self._new.values()), list(self._dirty.values()), self._forgotten, self._told)
        self._new, self._dirty, self._forgotten, self._told = {}, {}, [], []
        return found

    def unwritten(self, changes: Changes) -> None:
        """They could not be written: give them again."""
        self._new = {order.command_id: order for order in changes.new if self._keeps(order)} | self._new
        kept = {order.command_id: order for order in changes.changed if self._keeps(order)}
        self._dirty = kept | self._dirty
        self._forgotten = changes.forgotten + self._forgotten
        self._told = changes.told + self._told

    def _keeps(self, order: Order) -> bool:
        return self._shared or order.command_id in self._orders


def taken(command_id: str) -> CallError:
    return CallError(409, f"command_id {plain(command_id, 200)} is taken")
