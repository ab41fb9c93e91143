"""Group commit: one write at a time, and what gathers meanwhile is the next one."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from agent_core.reference.book import Book
from agent_core.reference.orders import Order
from agent_core.reference.store import Store, StoreDownError

ANSWER_WITHIN = 5.0
RETRY_AFTER = 0.25
MAX_UNWRITTEN = 20_000
_log = logging.getLogger("agent_core.reference")


class Writer:
    """Carries a book's changes to a store; `written` hears after each write of the new orders there, and of ids that are others'."""

    def __init__(self, book: Book, store: Store, written: Callable[[list[Order], set[str]], None]) -> None:
        self._book = book
        self._store = store
        self._written = written
        self._reached = 0
        self._wake = asyncio.Event()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        """For which sequence, the lowest first: each is woken once."""
        self.down = False
        """The last write failed."""

    @property
    def overfull(self) -> bool:
        """Too much waits already."""
        return self.down or self._book.sequence - self._reached > MAX_UNWRITTEN

    def poke(self) -> None:
        """There may be something to write."""
        self._wake.set()

    def has(self, sequence: int) -> bool:
        """Whether the store has everything up to `sequence`."""
        return self._reached >= sequence

    async def answered(self, sequence: int, within: float = ANSWER_WITHIN) -> None:
        """Return when the store has everything up to `sequence`, the book's present one. Raises StoreDownError."""
        if self.has(sequence):
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((sequence, written))
        self._wake.set()
        try:
            async with asyncio.timeout(within):
                await written
        except TimeoutError:
            raise StoreDownError("the store does not answer") from None

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            upto, changes = self._book.sequence, self._book.changes()
            try:
                taken = await self._store.write(changes) if changes else set()
            except BaseException as error:
                self._book.unwritten(changes)
                if not isinstance(error, StoreDownError):
                    raise
                if not self.down:
                    _log.error("The store cannot be written: %s; what waits is kept and tried again", error)
                self.down = True
                self._tell(self._book.sequence, StoreDownError("the store cannot be written now"))
                await asyncio.sleep(RETRY_AFTER)
                self._wake.set()
            else:
                if self.down:
                    _log.warning("The store can be written again")
                self.down = False
                self._reached = upto
                self._written(changes.new, taken)
                self._tell(upto, None)

    def _tell(self, upto: int, error: StoreDownError | None) -> None:
        """Those who wait for no more than that."""
        while self._waiting and self._waiting[0][0] <= upto:
            written = self._waiting.popleft()[1]
            if written.done():
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)
