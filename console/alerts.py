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
        self._unknown = 0

    def next(self, snapshot: Snapshot, status: Status, *, bell: bool, notify: bool) -> str:
        """The title where it is another one; where a link that was well is in trouble, or an outcome has become unknown, a call."""
        name = plain(snapshot.agent_id or snapshot.host, 60)
        title = f"{status.glyph} {status.word} {name}".strip()
        sent = f"\x1b]2;{title}\x07" if title != self._title else ""
        lost = self._before is not None and not self._before.degraded and status.degraded
        unknown = snapshot.commands.interrupted > self._unknown
        self._title, self._before, self._unknown = title, status, snapshot.commands.interrupted
        if (lost or unknown) and bell:
            sent += "\x07"
        if (lost or unknown) and notify:
            sent += f"\x1b]9;{title}{': the outcome of a command is unknown' if unknown else ''}\x07"
        return sent
