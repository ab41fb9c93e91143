"""Which rows of `chat.db` are messages that came in, pure; and what the backend is told of one (PROTOCOL §2).

Not told are: what this account sent itself, from here or another device; the copy that it gets of a message to itself; changes of a group;
and what the cloud brings back. A row is such a *back-fill* where it was sent `STALE_HOURS` before the database was last looked at: it
would have been there then. So an outage, however long, makes nothing stale; how far back it is caught up is `inbound.catch_up_hours`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent_core.frames import MESSAGE_RECEIVED, Occurrence, event_id_of

STALE_HOURS = 6.0
MAX_TEXT = 20_000
"""Characters; of a longer text the beginning is told."""
GROUP_STYLE = 43


class Verdict(StrEnum):
    TELL = "tell"
    OWN = "own"
    OTHER = "no message"
    STALE = "stale"
    INCOMPLETE = "incomplete"
    """Its chat is not joined to it yet."""


@dataclass(frozen=True, slots=True)
class InboundRow:
    """One row as it stands; `text` is empty until it is read out of `body`."""

    rowid: int
    guid: str
    sent_utc: float
    is_from_me: bool
    service: str
    item_type: int
    reaction_to: str | None
    sender: str | None
    addressed: frozenset[str]
    """This account's own addresses, by which it was reached."""
    chat_guid: str | None
    chat_identifier: str | None
    is_group: bool
    text: str | None
    body: bytes | None
    has_attachments: bool


@dataclass(frozen=True, slots=True)
class Attachment:
    """`sha256` is None while its file is not there, or is too large to be read."""

    guid: str
    name: str
    type: str
    bytes: int
    sha256: str | None


def judge(row: InboundRow, own: Collection[str], looked_utc: float, now_utc: float, catch_up_hours: float) -> Verdict:
    """`own` are this account's addresses; `looked_utc` is when the database was last read to its end."""
    if row.is_from_me:
        return Verdict.OWN
    if row.sender is not None and (row.sender in own or row.sender in row.addressed):
        return Verdict.OWN
    if row.item_type:
        return Verdict.OTHER
    oldest = min(looked_utc, now_utc) - STALE_HOURS * 3_600
    if row.sent_utc < max(oldest, now_utc - catch_up_hours * 3_600):
        return Verdict.STALE
    return Verdict.INCOMPLETE if row.chat_guid is None else Verdict.TELL


def thread_of(row: InboundRow) -> str:
    """What a command gives as `thread_id` to answer: the same in every version of the system."""
    identifier = row.chat_identifier or row.sender or ""
    if row.is_group and row.chat_guid is not None and not identifier.startswith("chat"):
        return row.chat_guid
    return identifier


def occurrence_of(row: InboundRow, text: str, attachments: Sequence[Attachment]) -> Occurrence:
    payload: dict[str, Any] = {
        "guid": row.guid, "thread_id": thread_of(row)[:500], "sender": (row.sender or "")[:500], "text": text[:MAX_TEXT],
        "is_group": row.is_group, "service": row.service,
        "attachments": [
            {"guid": one.guid, "name": one.name, "type": one.type, "bytes": one.bytes, "sha256": one.sha256} for one in attachments
        ],
    }  # fmt: skip
    if len(text) > MAX_TEXT:
        payload["text_length"] = len(text)
    if row.reaction_to is not None:
        payload["reaction_to"] = row.reaction_to
    return Occurrence(MESSAGE_RECEIVED, event_id_of(MESSAGE_RECEIVED, row.guid), row.sent_utc, payload)


def status_of(*, is_sent: int, is_delivered: int, date_delivered: int, date_read: int, error: int) -> str | None:
    """How far a message of this account has come: sent, delivered, read or failed; None: not yet sent."""
    if error:
        return "failed"
    if date_read:
        return "read"
    if is_delivered or date_delivered:
        return "delivered"
    return "sent" if is_sent else None
