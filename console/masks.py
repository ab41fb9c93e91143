"""What a visitor or a picture should not have, masked: to whom messages go, and what they say. Ids, types, times and figures stay."""

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from agent_core.snapshot import Snapshot
from console.panels.ring import Row

if TYPE_CHECKING:
    from agent_core.attention import Case
    from agent_core.records import Remembered
    from agent_core.threads import ThreadMessage

MASK = "•••"
LONG_FIGURE = 10**6
"""A number from here on may be somebody's."""
_HANDLE = re.compile(r"\+\d[\d ().-]{4,}\d|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PAYLOAD = re.compile(r"\{.*\}")


def masked(recipient: str) -> str:
    """Its last two characters tell it from others, where it is long enough to keep the rest."""
    return MASK + recipient[-2:] if len(recipient) >= 8 else MASK


def masked_within(text: str) -> str:
    """A sentence without the phone numbers, addresses and payloads in it."""
    return _HANDLE.sub(lambda found: masked(found.group()), _PAYLOAD.sub("{" + MASK + "}", text))


def masked_row(row: Row) -> Row:
    thread, error = row.thread_id, row.error
    if error is not None and thread:
        error = error.replace(thread, masked(thread))
    return row._replace(thread_id=masked(thread) if thread else thread, error=masked_within(error) if error else error)


def masked_record(record: "Remembered") -> "Remembered":
    error = masked_within(record.error) if record.error else record.error
    command = replace(record.command, payload=_masked_value(record.command.payload))
    return replace(record, command=command, error=error, ack=MASK if record.ack else record.ack)


def _masked_value(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked_value(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked_value(one, name) for one in value]
    if isinstance(value, str):
        return masked(value) if name == "thread_id" else MASK
    return MASK if isinstance(value, int) and abs(value) >= LONG_FIGURE else value


def masked_case(case: "Case") -> "Case":
    candidates = tuple(one._replace(chat=masked(one.chat)) for one in case.candidates)
    return case._replace(record=masked_record(case.record), what=masked_within(case.what), candidates=candidates)


def masked_message(message: "ThreadMessage") -> "ThreadMessage":
    error = masked_within(message.error) if message.error else message.error
    return replace(message, sender=masked(message.sender), text=MASK if message.text else "", error=error)


def masked_snapshot(snapshot: Snapshot) -> Snapshot:
    scheduled = tuple(replace(one, thread_id=masked(one.thread_id)) for one in snapshot.scheduled)
    agent = snapshot.agent_id
    return replace(
        snapshot, agent_id=masked_within(agent) if agent else agent, scheduled=scheduled, hold=masked_within(snapshot.hold)
    )  # fmt: skip
