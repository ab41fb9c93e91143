"""What a message came to, by the rows that it has in `chat.db`, pure; `parts` and `rows` run side by side."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from agent_core.clock import iso
from agent_core.messengers.imessage.chat_db import Row
from agent_core.messengers.imessage.parts import File, Part
from agent_core.records import Outcome

MAX_CANDIDATES = 10
ERRORS = {22: "the recipient cannot be reached by this service", 25: "its file could not be read"}
"""By number in the column `error`."""


def receipt(rows: Sequence[Row], parts: Sequence[Part]) -> dict[str, Any]:
    """Of what is there; the first row stands for the message."""
    if not rows:
        return {}
    files = [{"name": part.name, "guid": row.guid} for part, row in zip(parts, rows, strict=False) if isinstance(part, File)]
    first = rows[0]
    return {"guid": first.guid, "service": first.service, "chat": first.chat} | ({"attachments": files} if files else {})


def sent(rows: Sequence[Row], parts: Sequence[Part]) -> Outcome:
    error = next((row.error for row in rows if row.error), None)
    why = f"Messages could not send it: error {error}" + (f", {ERRORS[error]}" if error in ERRORS else "") if error else None
    return Outcome(error=why, result=receipt(rows, parts))


def after(rows: Sequence[Row], parts: Sequence[Part], why: str) -> str:
    """With what had gone out before."""
    return f"{_listed(parts[: len(rows)])} went out, but not {parts[len(rows)]}: {why}" if rows else why


def incomplete(rows: Sequence[Row], there: Sequence[Part], parts: Sequence[Part]) -> Outcome:
    missing = list((Counter(parts) - Counter(there)).elements())
    return Outcome(error=f"{_listed(there)} went out, but not {_listed(missing)}", unknown=True, result=receipt(rows, there))


def ambiguous(rows: Sequence[Row]) -> Outcome:
    candidates = [{"guid": row.guid, "chat": row.chat, "sent_at": iso(row.utc)} for row in rows[:MAX_CANDIDATES]]
    return Outcome(error=f"{len(rows)} messages like it were sent meanwhile", unknown=True, result={"candidates": candidates})


def _listed(parts: Sequence[Part]) -> str:
    return ", ".join(map(str, parts))
