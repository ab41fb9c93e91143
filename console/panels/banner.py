"""What needs the operator, in as few rows as it takes over everything; nothing where nothing does."""

from collections.abc import Mapping
from typing import NamedTuple

from agent_core.snapshot import Phase, PollingMode
from console.panels.connection import poll_trouble
from console.panels.lines import BLANK, Line, spread
from console.panels.view import View, status_of
from console.text import duration, shown, width_of, wrapped

MOST_ROWS = 3
KEYS = {"reconnect": "R", "polling": "p", "diagnose": "D", "attention": "!", "approve": "a", "refuse": "X"}
"""How a remedy names actions on the screen."""


class Notice(NamedTuple):
    """What is the matter, in a tone, and what to do about it."""

    text: str
    remedy: str
    tone: str


def notice_of(view: View, names: Mapping[str, str] = KEYS) -> Notice | None:
    """The gravest, with actions as the viewer names them."""
    notice = _notice(view)
    return notice and notice._replace(remedy=notice.remedy.format_map(names))


def _notice(view: View) -> Notice | None:
    snapshot = view.snapshot
    link, commands = snapshot.link, snapshot.commands
    if not snapshot.disk.ok:
        trouble = shown(snapshot.disk.trouble or "trouble", 200)
        return Notice(f"✗ DISK: {trouble}; nothing new is taken", _disk_remedy(trouble) + "; it goes on by itself", "bad")
    if link.phase is Phase.REFUSED:
        return Notice(
            f"✗ REFUSED: {_socket_trouble(view) or 'by the backend'}", "check EDGE_SECRET and the agent's id, then {reconnect}", "bad"
        )
    if link.phase is Phase.REPLACED:
        return Notice("✗ REPLACED: another agent has this id", "stop the other one, then {reconnect}", "bad")
    if status_of(snapshot, view.now, view.stopping).word == "OFFLINE":
        return _offline(view)
    if link.deaf:
        return Notice("▲ DEAF: a sync brought what the socket should have pushed", "a new one is open; look at the backend", "warn")
    if commands.interrupted:
        many = f"{commands.interrupted} commands" if commands.interrupted > 1 else "1 command"
        return Notice(f"▲ {many}: outcome unknown", "{attention} shows what to do", "warn")
    if commands.paused:
        return Notice("◇ PAUSED: new commands stay with the backend", "edge-console resume takes them", "warn")
    if commands.held:
        return Notice(f"◇ HELD: {_waiting(view)}", "{approve} approves it, {refuse} refuses it", "warn")
    return None


def _waiting(view: View) -> str:
    """How many, and what happens to the first one where the operator says nothing."""
    held, until = view.snapshot.commands.held, view.snapshot.hold_until_at
    if until is None:
        return f"{held} commands wait for you" if held > 1 else "1 command waits for you"
    word = {"approve": "approved", "refuse": "refused"}[view.snapshot.hold_then]
    which = "the first" if held > 1 else "it"
    return f"{held}; {which} is {word} in {duration(until - view.now.mono)}"


def _disk_remedy(trouble: str) -> str:
    """A ledger that is damaged or gone is told with its path, which may say anything."""
    remedies = {"damaged": "move it away", "but held commands": "put it back", "full": "make room"}
    return next((remedy for sign, remedy in remedies.items() if sign in trouble), "{diagnose} looks for the cause")


def _socket_trouble(view: View) -> str:
    drop = view.snapshot.link.last_drop
    return shown(drop.detail, 120) if drop is not None else ""


def _offline(view: View) -> Notice:
    socket, never = _socket_trouble(view), view.snapshot.polling.mode is PollingMode.NEVER
    if view.snapshot.agent_id is None:
        remedy = "set EDGE_AGENT_ID or USER_PHONE" if "HTTP 4" in socket else "{diagnose} looks for the cause"
        return Notice(f"✗ OFFLINE: no agent id: {socket}", remedy, "bad")
    polling = "never" if never else poll_trouble(view)
    both = [f"socket: {socket}", f"polling: {polling}"] if socket and polling else [socket or f"polling: {polling}"]
    why = socket if socket == polling else "; ".join(both)
    return Notice(f"✗ OFFLINE: {why}", "{polling} lets it poll" if never else "{diagnose} looks for the cause", "bad")


def banner(view: View, width: int, height: int = MOST_ROWS) -> list[Line]:
    """The notice as filled rows, what to do at the end of the last one."""
    notice = notice_of(view)
    if notice is None:
        return []
    ink = view.inks.pill(notice.tone)
    remedy = f"{notice.remedy} "
    beside = width - width_of(remedy) - 3
    texts = wrapped(notice.text, width - 2, MOST_ROWS)
    if width_of(texts[-1]) > beside and len(texts) < MOST_ROWS:
        texts.append("")
    *rows, last = (((f" {text}", ink),) for text in texts)
    return [*(spread(row, BLANK, width, ink) for row in rows), spread(last, ((remedy, ink),), width, ink)][:height]
