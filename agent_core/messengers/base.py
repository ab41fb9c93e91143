"""What a messenger is. It declares what its effect is, so that the ledger knows what a crash in the middle means."""

import json
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from agent_core.entries import EffectClass
from agent_core.frames import Attachment, Command, Message
from agent_core.records import Outcome

RECEIPT_BYTES = 16 * 2**10


class MessengerError(Exception):
    """A messenger that cannot work here: what is wrong and what to do, as one sentence."""


class AttachmentRefused(Exception):
    """A file that is not sent: why, in one sentence."""


class StagedFile(Struct, frozen=True):
    """A file that a message takes along, there until `send` returns; `name` is what the receiver may be shown."""

    path: Path
    name: str
    bytes: int
    sha256: str


class Staging(Protocol):
    def staged(self, attachments: Sequence[Attachment]) -> AbstractAsyncContextManager[tuple[StagedFile, ...]]:
        """Fetch them. Raises AttachmentRefused, OSError."""
        ...


class Context(Struct, frozen=True):
    """What a handler may use; `utc` is when it started."""

    seq: int
    utc: float
    messenger: "Messenger"
    message: Message | None = None
    """What a command that sends asks for, already understood."""
    mark: str | None = None
    """Where the messenger's record stood before; it is noted on disk."""
    staging: Staging | None = None
    files: tuple[StagedFile, ...] = ()
    """What the message takes along, for a messenger that `attaches`."""


@runtime_checkable
class Messenger(Protocol):
    """Subclass it for the defaults, which promise nothing: after a crash in the middle of `send` the outcome is unknown."""

    effect: EffectClass = EffectClass.EXTERNAL
    settles: bool = False
    """`mark` and `settle` answer from a record of what was sent."""
    attaches: bool = False
    """It sends `context.files`, too; else a message that has any fails."""
    idempotent: bool = False
    """The same command sent twice arrives once, because the receiver knows it again; so it is sent again after a crash."""

    def send(self, message: Message, command: Command, context: Context) -> Outcome | Awaitable[Outcome]:
        """Returns at once where it touches nothing but the ledger, else it is awaited. Raises OSError where the message did not go."""
        ...

    async def mark(self) -> str:
        """Where the record of what was sent stands now; what is sent from here on stands above it. Raises OSError."""
        return ""

    async def settle(self, mark: str, message: Message) -> Outcome | None:  # noqa: ARG002
        """What became of a `send` whose end nobody saw; None: nothing was sent since `mark`, nor will be, and it may run again."""
        return Outcome(error="there is no record of what was sent", unknown=True)

    async def close(self) -> None:
        """The agent ends; what was held open may go."""
        return


def as_json(message: Message, command: Command, context: Context) -> bytes:
    """A message as it is given to others: to a file, a program, a server."""
    fields = {"command_id": command.command_id, "thread_id": message.thread_id, "text": message.text, "sent_utc": context.utc}
    files = [{"path": str(file.path), "name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in context.files]
    return json.dumps(fields | ({"attachments": files} if files else {}), ensure_ascii=False).encode()


def receipt_of(answer: bytes) -> dict[str, Any] | None:
    """The JSON object in an answer. None where there is something else, or more than RECEIPT_BYTES."""
    if len(answer) > RECEIPT_BYTES:
        return None
    try:
        receipt = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return receipt if isinstance(receipt, dict) else None
