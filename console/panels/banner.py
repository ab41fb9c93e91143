"""What needs the operator, in one row over everything; nothing where nothing does."""

from typing import NamedTuple

from agent_core.snapshot import Phase
from console.panels.lines import BLANK, Line, spread
from console.panels.view import View
from console.text import cut, shown


class Notice(NamedTuple):
    """What is the matter, in a tone, and what to do about it."""

    text: str
    remedy: str
    tone: str


def notice_of(view: View) -> Notice | None:
    """The gravest first."""
    snapshot = view.snapshot
    link, commands = snapshot.link, snapshot.commands
    if not snapshot.disk.ok:
        trouble = shown(snapshot.disk.trouble or "trouble", 120)
        return Notice(f"✗ DISK: {trouble}; nothing new is taken", "make room; it goes on by itself", "bad")
    if link.phase is Phase.REFUSED:
        why = f": {shown(link.last_drop.detail, 80)}" if link.last_drop is not None and link.last_drop.detail else ""
        return Notice(f"✗ REFUSED by the backend{why}", "check EDGE_SECRET and the agent's id, then R", "bad")
    if link.phase is Phase.REPLACED:
        return Notice("✗ REPLACED: another agent has this id", "stop the other one, then R", "bad")
    if link.deaf:
        return Notice("▲ DEAF: a sync brought what the socket should have pushed", "it polls as well; look at the backend", "warn")
    if commands.interrupted:
        many = f"{commands.interrupted} commands were" if commands.interrupted > 1 else "1 command was"
        return Notice(f"▲ {many} interrupted by a crash, outcome unknown", "! shows them, r replays", "warn")
    return None


def banner(view: View, width: int, height: int) -> list[Line]:
    """The notice as a filled row."""
    del height
    notice = notice_of(view)
    if notice is None:
        return [BLANK]
    ink = view.inks.pill(notice.tone)
    remedy = f"{notice.remedy} "
    room = width - len(remedy) - 3
    return [spread(((f" {cut(notice.text, max(20, room))}", ink),), ((remedy, ink),) if room > 30 else BLANK, width, ink)]
