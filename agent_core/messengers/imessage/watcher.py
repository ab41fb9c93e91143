"""Looks into `chat.db` for what comes in, in a thread of its own: ten times a second at the files' stamps, which costs next to nothing.

A changed stamp, or LOOK_ANYWAY without one, opens the database anew: a connection that stays open goes deaf when Messages replaces or
checkpoints its files. A database that ends before the cursor is another one, and read from its beginning. What is found goes to the engine
together with the cursor behind it, and no more is read until the engine has both on disk and asks for what follows (`ReadInbound`): so each
row is told once, whenever the process dies.
"""

import threading
import time
from collections.abc import Callable, Collection

from agent_core.clock import Clock
from agent_core.config import Config
from agent_core.events import DeliveriesSeen, InboundFailed, InboundRead
from agent_core.frames import Occurrence
from agent_core.messengers.imessage.chat_db import ChatDb, ChatDbUnreadable
from agent_core.messengers.imessage.chats import recipient_of
from agent_core.messengers.imessage.inbox import Inbox, text_in
from agent_core.messengers.imessage.incoming import InboundRow, Verdict, judge, occurrence_of
from agent_core.messengers.imessage.messenger import chat_db_of
from agent_core.records import FINAL

LOOK_EVERY, LOOK_ANYWAY = 0.1, 5.0
LOOK_ON = 0.3
"""Seconds after a change for which it is looked again: two writes may have one stamp."""
SCANNED, TOLD_AT_ONCE = 500, 100
CHAT_WITHIN, FILES_WITHIN = 5.0, 10.0
"""Seconds for which a row waits for its chat, or for the files of its attachments; those behind it wait, too."""
SKIPPED_AFTER = 1.0
"""Seconds without another back-fill row: then their number is told, once."""
MAX_FOLLOWED = 1_000

Post = Callable[[InboundRead | InboundFailed | DeliveriesSeen], None]


class InboundWatcher:
    """`post` is called from its thread and must be thread-safe."""

    def __init__(self, inbox: Inbox, post: Post, clock: Clock, own: Collection[str], catch_up_hours: float) -> None:
        self._inbox = inbox
        self._post = post
        self._clock = clock
        self._own = own
        self._catch_up_hours = catch_up_hours
        self._wake = threading.Condition()
        self._closing = False
        self._asked: str | None = None
        self._followed: dict[str, str | None] = {}
        """What is known of each that was sent."""
        self._rowid = 0
        self._looked_utc = 0.0
        self._reading = False
        self._stamp: tuple[object, ...] | None = None
        self._look_by = self._anyway_at = 0.0
        self._waiting: tuple[int, float] = (0, 0.0)
        """The row that is not whole, and since when."""
        self._skipped = 0
        self._skipped_at = 0.0
        self._failed = ""
        """Why it could not be read when it was last tried."""
        self._thread = threading.Thread(target=self._run, name="inbound", daemon=True)

    # --- called by the agent -----------------------------------------------------------------------------------------

    def read_from(self, cursor: str | None) -> None:
        """What comes after this cursor is to be told next; None: what comes from now on."""
        with self._wake:
            self._asked = cursor or ""
            self._wake.notify()
        if self._thread.ident is None:
            self._thread.start()

    def follow(self, guids: Collection[str]) -> None:
        """What becomes of these messages, which were sent, is to be told, too."""
        with self._wake:
            self._followed |= dict.fromkeys(guids)
            for guid in list(self._followed)[: max(0, len(self._followed) - MAX_FOLLOWED)]:
                del self._followed[guid]

    def close(self, within: float = 2.0) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(within)

    # --- its thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or (self._asked is not None and not self._failed), LOOK_EVERY)
                if self._closing:
                    return
                asked = self._asked
            try:
                if asked is not None:
                    self._begin(asked)
                if asked is not None or self._is_due():
                    self._look()
            except Exception as error:  # noqa: BLE001  (the thread's edge: whatever a row holds, the next look comes)
                self._fail(error)

    def _begin(self, cursor: str) -> None:
        """Raises ChatDbUnreadable."""
        rowid, _, utc = cursor.partition("@")
        if rowid:
            self._rowid = int(rowid) if int(rowid) <= self._inbox.top() else 0
            self._looked_utc, self._reading = max(self._looked_utc, float(utc)), True
        else:
            self._rowid, self._looked_utc = self._inbox.top(), self._clock.now().utc
        with self._wake:
            self._asked = None
        if not rowid:
            self._tell(())

    def _is_due(self) -> bool:
        """Whether there may be anything new."""
        now, stamp = time.monotonic(), self._inbox.stamp
        if stamp != self._stamp:
            self._stamp, self._look_by = stamp, now + LOOK_ON
        due = now < self._look_by or now >= self._anyway_at or self._waiting[0] > 0
        if due:
            self._anyway_at = now + LOOK_ANYWAY
        return due

    def _look(self) -> None:
        """Raises ChatDbUnreadable."""
        self._see_deliveries()
        if self._reading:
            self._read()
        self._failed = ""

    def _read(self) -> None:
        rows = self._inbox.rows(self._rowid, SCANNED)
        now_utc, told = self._clock.now().utc, list[Occurrence]()
        for row in rows:
            verdict = judge(row, self._own, self._looked_utc, now_utc, self._catch_up_hours)
            if verdict in {Verdict.TELL, Verdict.INCOMPLETE}:
                found = self._whole(row, verdict)
                if found is None:
                    break
                told.append(found)
            elif verdict is Verdict.STALE:
                self._skipped += 1
                self._skipped_at = time.monotonic()
            self._rowid = row.rowid
            if len(told) >= TOLD_AT_ONCE:
                break
        else:
            if len(rows) < SCANNED:
                self._looked_utc = now_utc
        if told or (self._skipped and time.monotonic() >= self._skipped_at + SKIPPED_AFTER):
            self._tell(tuple(told))
        elif len(rows) == SCANNED or self._skipped:
            self._look_by = time.monotonic() + LOOK_ON

    def _whole(self, row: InboundRow, verdict: Verdict) -> Occurrence | None:
        """None where something of it is still to come."""
        attachments, there = self._inbox.attachments(row.guid) if row.has_attachments else ([], True)
        if verdict is Verdict.INCOMPLETE or not there:
            if self._waiting[0] != row.rowid:
                self._waiting = row.rowid, time.monotonic()
            within = FILES_WITHIN if verdict is Verdict.TELL else CHAT_WITHIN
            if time.monotonic() < self._waiting[1] + within:
                return None
        self._waiting = 0, 0.0
        return occurrence_of(row, text_in(row), attachments)

    def _tell(self, told: tuple[Occurrence, ...]) -> None:
        """And wait until the engine has it on disk."""
        self._reading = False
        skipped = self._skipped if time.monotonic() >= self._skipped_at + SKIPPED_AFTER else 0
        self._skipped -= skipped
        self._post(InboundRead(f"{self._rowid}@{self._looked_utc:.0f}", told, skipped))

    def _see_deliveries(self) -> None:
        with self._wake:
            followed = dict(self._followed)
        if not followed:
            return
        news = [one for one in self._inbox.deliveries(followed) if one.status != followed[one.guid]]
        with self._wake:
            for one in news:
                if one.status in FINAL:
                    self._followed.pop(one.guid, None)
                elif one.guid in self._followed:
                    self._followed[one.guid] = one.status
        if news:
            self._post(DeliveriesSeen(tuple(news)))

    def _fail(self, error: Exception) -> None:
        """Once for each reason."""
        reason = str(error) or type(error).__name__
        if reason != self._failed:
            self._failed = reason
            denied = isinstance(error, ChatDbUnreadable) and error.is_denied
            self._post(InboundFailed(reason, "full_disk_access" if denied else None))


def inbox_of(config: Config) -> Inbox:
    """Raises MessengerError off a Mac, unless a database is named by configuration."""
    return Inbox(ChatDb(chat_db_of(config)))


def watcher_for(config: Config, inbox: Inbox, post: Post, clock: Clock) -> InboundWatcher:
    own = frozenset(map(_address, filter(None, (config.edge.user_phone, config.edge.apple_id))))
    return InboundWatcher(inbox, post, clock, own, config.inbound.catch_up_hours)


def _address(text: str) -> str:
    """As Messages spells it."""
    try:
        return recipient_of(text).identifier
    except ValueError:
        return text
