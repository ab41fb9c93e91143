"""One thread, both directions: what is asked of the ledger, and what it answers."""

from msgspec import Struct

MAX_MESSAGES = 200


class ThreadQuery(Struct, frozen=True):
    """For the newest messages of a thread, before a number if one is given; or for those of these `numbers` that belong to it."""

    thread_id: str
    before: int | None = None
    numbers: tuple[int, ...] = ()


class ThreadMessage(Struct, frozen=True):
    """One message as it stands; `status` is its row's in the stream."""

    seq: int
    utc: float
    """When it was sent, is due or has failed; of one that came in, when its sender sent it."""
    inbound: bool
    sender: str
    text: str
    attachments: int
    status: str
    error: str | None = None
    delivery: str | None = None
    """sent, delivered, read or failed, where that is known."""
    delivery_utc: float | None = None


class ThreadPage(Struct, frozen=True):
    """Messages, newest first; `next` is the number to go on from, None at the end."""

    messages: list[ThreadMessage]
    next: int | None = None
