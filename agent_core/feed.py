"""The past as numbered entries in a bounded ring.

One thread adds, any thread reads: a slot is replaced whole and an entry carries its own number, so a reader can tell an entry from
the one that overwrote it, without a lock.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct


class LogEntry(Struct, frozen=True, gc=False, tag=True):
    """One line of what happened. `level` is DEBUG, INFO, WARNING or ERROR; `text` is plain, already sanitised."""

    utc: float
    level: str
    text: str


class CommandEntry(NamedTuple):
    """One command as it stands after a change; a later entry with the same `row` replaces an earlier one.
    Payload, raw ack and life line are not here: ask the host's `lookup(command_id)`, which reads the journal.

    `status`: queued, running, scheduled, outbox (done, the ack cannot go out yet), sent (ack on the socket, unproven), acked (ack proven),
    failed, duplicate, cancelled, interrupted; of a message that came in: received, and acked once the backend is known to have it.
    `via`: ws, poll, local (an operator's replay), or in: a message that came in, by the id of its event. Milliseconds count from arrival.
    """

    row: int
    utc: float
    command_id: str
    command_type: str
    via: str
    status: str
    thread_id: str | None = None
    run_ms: float | None = None
    ack_ms: float | None = None
    error: str | None = None
    """Why it failed; of one that did not, for what it waits, or what is odd about it."""
    proven: bool = False
    replay_of: str | None = None
    effect: str = "external"
    """What running it does: `harmless`, `transactional` (only in the ledger's own database) or `external`."""
    delivery: str | None = None
    """How far the message that it has sent has come, where that is known: sent, delivered, read or failed."""


def proven(entry: CommandEntry) -> CommandEntry:
    """The same command with its ack proven."""
    return entry._replace(status="acked" if entry.status in {"sent", "received"} else entry.status, proven=True)


class ProvenEntry(Struct, frozen=True, gc=False, tag=True):
    """The acks of these rows are proven: for many at once, in place of an entry each."""

    utc: float
    rows: tuple[int, ...]


class DeliveryEntry(Struct, frozen=True, gc=False, tag=True):
    """The message that the command of this row has sent has come so far."""

    utc: float
    row: int
    delivery: str


FeedEntry = LogEntry | CommandEntry | ProvenEntry | DeliveryEntry


class Since(NamedTuple):
    """What a reader gets: the entries after its cursor, the cursor to ask with next, and how many it missed."""

    entries: list[FeedEntry]
    cursor: int
    dropped: int


class Feed:
    """A ring of the last `capacity` entries, numbered from 0."""

    def __init__(self, capacity: int = 16_384, redacted: Callable[[list[FeedEntry]], list[FeedEntry]] = lambda entries: entries) -> None:
        """`redacted` takes secrets out of what is read, on the reader's thread."""
        self._slots: list[tuple[int, FeedEntry] | None] = [None] * capacity
        self._next = self._cleared = 0
        self._redacted = redacted

    def extend(self, entries: Sequence[FeedEntry]) -> None:
        """Add them in order; of more than there is room for, the newest."""
        capacity = len(self._slots)
        end = self._next + len(entries)
        kept = entries[-capacity:]
        numbered = list(enumerate(kept, end - len(kept)))
        start = (end - len(kept)) % capacity
        head, tail = numbered[: capacity - start], numbered[capacity - start :]
        self._slots[start : start + len(head)] = head
        self._slots[: len(tail)] = tail
        self._next = end

    @property
    def oldest(self) -> int:
        """The number of the oldest entry that is kept, or of the next one."""
        return max(self._cleared, self._next - len(self._slots))

    def clear(self) -> None:
        """Keep none of them; the numbers go on."""
        self._slots, self._cleared = [None] * len(self._slots), self._next

    def since(self, cursor: int, limit: int = 20_000) -> Since:
        """Entries numbered `cursor` and later, at most `limit`; `dropped` counts those overwritten before they were read."""
        end = self._next
        first = max(cursor, end - len(self._slots))
        last = min(end, first + limit)
        count, start = max(0, last - first), first % len(self._slots)
        slots = self._slots[start : start + count]
        slots += self._slots[: count - len(slots)]
        entries = [slot[1] for number, slot in enumerate(slots, first) if slot is not None and slot[0] == number]
        return Since(self._redacted(entries), last, first - cursor + count - len(entries))
