"""Messages' database, as sending and reading need it: whether it can be read, and how far what comes in has been."""

import asyncio
from pathlib import Path

from agent_core.config import Config
from agent_core.diagnosis.findings import Stage, failed, ok, warning
from agent_core.journal.reader import NoLedger, inbound_cursor, owed_events
from agent_core.messengers.base import MessengerError
from agent_core.messengers.imessage.chat_db import ChatDb, ChatDbUnreadable
from agent_core.messengers.imessage.messenger import chat_db_of
from agent_core.service.launchd import installed

WAYS = {"event": "as events", "edge_message": "by POST /edge/message"}


async def inbound(config: Config, utc: float) -> Stage:
    """What the agent would read where it starts now."""
    try:
        top = await asyncio.to_thread(ChatDb(chat_db_of(config)).mark)
    except MessengerError as error:
        return failed(str(error), "what comes in cannot be read here", "run it on a Mac, or set inbound.enabled: false")
    except OSError as error:
        return unreadable(error, "nothing that comes in can be told")
    cursor, owed = await asyncio.to_thread(_kept, config.data_dir.expanduser())
    told = f"told {WAYS[config.inbound.dialect]}" + (f"; {owed} event(s) wait for the backend" if owed else "")
    if cursor is None:
        return ok(f"chat.db ends at row {top}; what comes from the first start on is {told}")
    row, _, looked_utc = cursor.partition("@")
    if int(row) > top:
        return warning(f"read to row {row}, but chat.db ends at row {top}: it is another one, and is read from its beginning; {told}")
    hours, read = (utc - float(looked_utc)) / 3_600, f"read to row {row} of {top}"
    if hours > config.inbound.catch_up_hours:
        late = (
            f"last looked at {hours:.0f} h ago: what is older than inbound.catch_up_hours ({config.inbound.catch_up_hours:g}) is not told"
        )
        return warning(f"{read}, {late}; the rest is {told}")
    return ok(f"{read}; {told}")


def unreadable(error: OSError, cause: str) -> Stage:
    if isinstance(error, ChatDbUnreadable) and error.is_denied and installed(Path.home()):
        return warning(f"{error}; that is for this shell, and disk_access has what the service may")
    return failed(str(error), cause, "mend what the sentence names")


def _kept(folder: Path) -> tuple[str | None, int]:
    """The cursor, and how many events are owed."""
    try:
        return inbound_cursor(folder), owed_events(folder)
    except NoLedger:
        return None, 0
