"""What reaches an operator who looks elsewhere: the window's title, the bell, a notification (OSC 9)."""

from agent_core.plain import plain
from agent_core.snapshot import Snapshot
from console.panels.view import Status

PUSH_TITLE, POP_TITLE = "\x1b[22;2t", "\x1b[23;2t"
"""xterm's stack of titles: what the shell had is back when the console leaves."""


class Alerts:
    """Says what to send to the terminal; each change once."""

    def __init__(self) -> None:
        self._title = ""
        self._before: Status | None = None
        self._unknown = self._attention = 0

    def next(self, snapshot: Snapshot, status: Status, *, bell: bool, notify: bool) -> str:
        """The title where it is another one; a call where a link that was well is in trouble, or more needs the operator than before."""
        name = plain(snapshot.agent_id or snapshot.host, 60)
        title = f"{status.glyph} {status.word} {name}".strip()
        sent = f"\x1b]2;{title}\x07" if title != self._title else ""
        lost = self._before is not None and not self._before.degraded and status.degraded
        unknown, attention = snapshot.commands.interrupted, snapshot.commands.attention
        why = ""
        if unknown > self._unknown:
            why = ": the outcome of a command is unknown"
        elif attention > self._attention:
            why = f": {attention} command{' needs' if attention == 1 else 's need'} attention"
        self._title, self._before, self._unknown, self._attention = title, status, unknown, attention
        if (lost or why) and bell:
            sent += "\x07"
        if (lost or why) and notify:
            sent += f"\x1b]9;{title}{why}\x07"
        return sent
