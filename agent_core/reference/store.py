"""Where orders live: the contract of a store.

A book without a store is the third one: everything in memory, for worlds, tests and the demo.
"""

from typing import Protocol

from agent_core.reference.book import Changes
from agent_core.reference.orders import Order
from agent_core.reference.told import Told


class StoreDownError(Exception):
    """The store cannot be reached or written now; nothing is lost, and it may be asked again."""


class StoreRefusedError(Exception):
    """The store is not fit for this, and why, in one sentence."""


class Store(Protocol):
    """One writer at a time. What is written is flushed to disk when `write` returns; writing it twice is as writing it once."""

    async def open(self) -> list[Order]:
        """The orders that are this instance's from the start. Raises StoreDownError, StoreRefusedError."""
        ...

    async def events(self) -> list[Told]:
        """The events that this instance should know again, oldest first. Raises StoreDownError, StoreRefusedError."""
        ...

    async def write(self, changes: Changes) -> set[str]:
        """All or nothing; returns the ids of new orders that somebody else's have taken. Raises StoreDownError."""
        ...

    async def close(self) -> None: ...
