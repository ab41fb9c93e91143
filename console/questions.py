"""What is asked before what cannot be taken back: the same on the screen and as lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from console.panels.lines import Line
from console.panels.ring import Row
from console.screens.pages import replay_page
from console.themes import Inks

if TYPE_CHECKING:
    from agent_core.records import Remembered

ABOUT_REPLAYS = 3
"""The last lines of a page about replays: what a replay does."""


class Unfit(Exception):
    """It cannot be asked of this command; the sentence says why."""


class Asking(NamedTuple):
    """A question with what helps to answer it, and what a yes does. `stern`: nothing but a plain yes will do."""

    title: str
    lines: Sequence[Line]
    yes: str
    stern: bool

    @property
    def hint(self) -> str:
        """The keys that answer."""
        return f"y {self.yes}{' (enter does not)' if self.stern else ''} · n leave it"


def about_replay(rows: Sequence[Row], record: "Remembered | None", inks: Inks) -> Asking | None:
    """Rows and record as they may be seen, the record of the only one; None where nobody sees what a replay does."""
    if all(row.effect == "harmless" for row in rows):
        return None
    title = f"Replay these {len(rows)} commands?" if len(rows) > 1 else "Replay this command?"
    return Asking(title, replay_page(rows, record, inks), "replay", any(row.effect == "external" for row in rows))


def about_cancel(row: Row, record: "Remembered | None", inks: Inks) -> Asking:
    """Raises Unfit."""
    if row.status != "scheduled":
        raise Unfit("Only what is due later can be cancelled.")
    return Asking("Cancel this message?", replay_page([row], record, inks)[:-ABOUT_REPLAYS], "cancel it", stern=False)


def about_held(row: Row, record: "Remembered | None", inks: Inks, *, approve: bool) -> Asking:
    """Raises Unfit."""
    if row.status != "held":
        raise Unfit("Only what is held can be approved or refused.")
    title, yes = ("Let this command run?", "let it run") if approve else ("Refuse this command?", "refuse it")
    return Asking(title, replay_page([row], record, inks)[:-ABOUT_REPLAYS], yes, stern=True)
