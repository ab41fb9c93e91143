"""What comes in, and what becomes of what was sent, on its way into the ledger (PROMISES P1).

    ReadInbound(cursor) ──► (the watcher) ──► InboundRead(cursor, occurrences) ──► events and cursor in one Record ──► ReadInbound(cursor) …

The cursor moves in the commit that has the events, and no more is asked for until that is written: so what came in is told once, whenever
the process dies, and a slow or full disk leaves the rest where it is.

An *echo* is a message of our own that comes back as another's: it has the GUID of one that a command has sent, and is not told.

Invariants: at most one ReadInbound is out; a delivery's status goes up only, and ends with `read` or `failed`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from agent_core.clock import Moment
from agent_core.engine.repeats import Repeats
from agent_core.engine.upstream import Upstream
from agent_core.events import DeliveriesSeen, Effect, FollowDeliveries, InboundFailed, InboundRead, ReadInbound
from agent_core.feed import DeliveryEntry, LogEntry
from agent_core.frames import MESSAGE_RECEIVED, MESSAGE_STATUS, PERMISSION_LOST, Occurrence, event_id_of
from agent_core.plain import plain
from agent_core.records import (
    FINAL,
    INBOUND_CURSOR,
    Change,
    Delivery,
    MessageReceived,
    Receipt,
    ReceiptAdded,
    ReceiptChanged,
    SettingStored,
)

MAX_FOLLOWED = 1_000
"""Messages whose delivery is followed, the last ones."""
TEXT_KEPT = 1_000
"""Characters of a message that came in which the ledger keeps for those who look at its thread."""
RANKS = {None: 0, "sent": 1, "delivered": 2, "read": 3, "failed": 3}


class Inbound:
    """One machine; every method is a step. Where it is not `enabled` nothing is read, and nothing followed."""

    def __init__(
        self, emit: Callable[[Effect], None], change: Callable[[Change], None], hold: Callable[[ReadInbound], None], repeats: Repeats,
        upstream: Upstream, *, enabled: bool,
    ) -> None:  # fmt: skip
        self.enabled = enabled
        self._emit = emit
        self._change = change
        self._hold = hold
        self._repeats = repeats
        self._upstream = upstream
        self._receipts: dict[str, Receipt] = {}
        self._echoes: set[str] = set()
        """The ids of the events that would be told of our own messages."""
        self._lost: set[str] = set()
        """Permissions that are not there."""
        self._failing = False

    def restore(self, cursor: str | None, receipts: Iterable[Receipt]) -> None:
        """Take up what an earlier run has left."""
        if not self.enabled:
            return
        for receipt in receipts:
            self._add(receipt)
        self._emit(ReadInbound(cursor))
        if guids := tuple(receipt.guid for receipt in self._receipts.values() if receipt.status not in FINAL):
            self._emit(FollowDeliveries(guids))

    # --- what comes in -----------------------------------------------------------------------------------------------

    def read(self, event: InboundRead, now: Moment, show: Callable[[Occurrence, Moment], int]) -> None:
        """`show` puts a message into the stream and says in which row."""
        fresh = [one for one in event.occurrences if one.event_id not in self._echoes]
        rows = [show(one, now) for one in fresh]
        numbers = [self._upstream.add(one, now, row=row) for one, row in zip(fresh, rows, strict=True)]
        for one, row, number in zip(fresh, rows, numbers, strict=True):
            self._change(_received(one, row, number, now))
        self._change(SettingStored(INBOUND_CURSOR, event.cursor))
        self._hold(ReadInbound(event.cursor))
        if fresh:
            self._repeats.say(now, "INFO", "messages that came in", f"{len(fresh)} message(s) came in")
        if echoes := len(event.occurrences) - len(fresh):
            self._repeats.say(now, "INFO", "echoes", f"{echoes} message(s) of our own came back; they are not told")
        if event.skipped:
            self._say(now, "INFO", f"{event.skipped} old message(s) were brought back to Messages; they are not told")
        self._regained(now)

    def failed(self, event: InboundFailed, now: Moment) -> None:
        self._failing = True
        self._say(now, "ERROR", f"What comes in cannot be read: {event.reason}")
        if event.permission is not None:
            self.permission_lost(event.permission, event.reason, now)

    def _regained(self, now: Moment) -> None:
        self._lost.discard("full_disk_access")
        if self._failing:
            self._failing = False
            self._say(now, "INFO", "What comes in can be read again")

    def permission_lost(self, permission: str, detail: str, now: Moment) -> None:
        """Told once, until something shows that it is there again."""
        if permission not in self._lost:
            self._lost.add(permission)
            event_id = event_id_of(PERMISSION_LOST, permission, f"{now.utc:.3f}")
            self._upstream.add(Occurrence(PERMISSION_LOST, event_id, now.utc, {"permission": permission, "detail": detail}), now)

    def permission_found(self, permission: str) -> None:
        self._lost.discard(permission)

    # --- what becomes of what was sent -------------------------------------------------------------------------------

    def knows(self, guid: str) -> bool:
        """Whether it is a command's message already, of those that are followed."""
        return guid in self._receipts

    def sent(self, guid: str, command_id: str, seq: int, now: Moment) -> None:
        """The command of this number has sent this message."""
        if self.enabled and guid not in self._receipts:
            self._add(Receipt(guid, command_id, seq))
            self._change(ReceiptAdded(guid, command_id, seq, now.utc))
            self._emit(FollowDeliveries((guid,)))

    def _add(self, receipt: Receipt) -> None:
        self._receipts[receipt.guid] = receipt
        self._echoes.add(event_id_of(MESSAGE_RECEIVED, receipt.guid))
        if len(self._receipts) > MAX_FOLLOWED:
            oldest = next(iter(self._receipts))
            del self._receipts[oldest]
            self._echoes.discard(event_id_of(MESSAGE_RECEIVED, oldest))

    def seen(self, event: DeliveriesSeen, now: Moment) -> None:
        for delivery in event.deliveries:
            known = self._receipts.get(delivery.guid)
            if known is not None and RANKS.get(delivery.status, 0) > RANKS[known.status]:
                self._advance(known, delivery, now)

    def _advance(self, known: Receipt, delivery: Delivery, now: Moment) -> None:
        self._receipts[known.guid] = replace(known, status=delivery.status)
        self._change(ReceiptChanged(known.guid, delivery.status, now.utc))
        if (delivered := self._delivered(known.seq)) is not None:
            self._emit(DeliveryEntry(now.utc, known.seq, delivered))
        payload = {
            "command_id": known.command_id, "guid": known.guid, "status": delivery.status, "code": delivery.code or None,
        }  # fmt: skip
        event_id = event_id_of(MESSAGE_STATUS, known.guid, delivery.status)
        self._upstream.add(Occurrence(MESSAGE_STATUS, event_id, delivery.utc or now.utc, payload), now)
        if delivery.status == "failed":
            self._say(now, "WARNING", f"The message of command {known.command_id} was not delivered: error {delivery.code}")

    def _delivered(self, seq: int) -> str | None:
        """Of all that the command of this number has sent: failed where one of it is, else how far that has come which has least far."""
        statuses = [receipt.status for receipt in self._receipts.values() if receipt.seq == seq]
        return "failed" if "failed" in statuses else min(statuses, key=lambda status: RANKS[status])

    def _say(self, now: Moment, level: str, text: str) -> None:
        self._emit(LogEntry(now.utc, level, plain(text)))


def _received(occurrence: Occurrence, row: int, event: int, now: Moment) -> MessageReceived:
    payload = occurrence.payload
    thread, sender, text = (_written(payload.get(key), TEXT_KEPT) for key in ("thread_id", "sender", "text"))
    attachments = payload.get("attachments")
    count = len(attachments) if isinstance(attachments, list) else 0
    return MessageReceived(row, event, occurrence.event_id, thread, sender, text, count, occurrence.occurred_utc, now.utc)


def _written(value: object, most: int) -> str:
    """As the ledger can have it."""
    return ("" if value is None else str(value))[:most].encode("utf-8", "replace").decode()


def guids_of(result: Mapping[str, Any]) -> list[str]:
    """Of what a command has sent: the message's own, then those of its attachments."""
    files = result.get("attachments")
    told = [result, *files] if isinstance(files, list) else [result]
    found = (one.get("guid") for one in told if isinstance(one, Mapping))
    return list(dict.fromkeys(guid for guid in found if isinstance(guid, str)))
