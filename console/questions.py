"""What is asked before what cannot be taken back: the same on the screen and as lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from console.panels.lines import BLANK, Line
from console.panels.ring import Row
from console.screens.pages import replay_page
from console.text import shown, text_of_message
from console.themes import Inks

if TYPE_CHECKING:
    from agent_core.attention import Case
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


def about_candidate(case: "Case", place: int, inks: Inks) -> Asking:
    """Whether the command's message is that one of its candidates. Raises Unfit."""
    if place >= len(case.candidates):
        raise Unfit("It has no such candidate." if case.candidates else "Nobody knows of candidates: s says that it was sent.")
    one = case.candidates[place]
    lines: list[Line] = [
        *_said(case, inks),
        (("message   ", inks.muted), (shown(one.guid, 100), inks.bright)),
        (("in        ", inks.muted), (f"{shown(one.chat, 100)}, sent {shown(one.sent_at, 40)}", inks.text)),
        BLANK,
        (("It is recorded as sent, for good; nothing runs.", inks.muted),),
    ]
    return Asking("Is it this message?", lines, "it is", stern=False)


def about_unsent(case: "Case", inks: Inks) -> Asking:
    """Whether nothing of the command was sent."""
    how_many = f"None of the {len(case.candidates)} messages is it. " if case.candidates else ""
    after = f"{how_many}It is recorded as unsent, for good; a replay (r) sends it."
    return Asking("Was it not sent?", [*_said(case, inks), BLANK, ((after, inks.muted),)], "it was not", stern=False)


def _said(case: "Case", inks: Inks) -> list[Line]:
    command = case.record.command
    text = text_of_message(command.payload)
    lines: list[Line] = [(("command   ", inks.muted), (shown(command.command_id, 200), inks.bright))]
    if text is not None:
        lines.append((("text      ", inks.muted), (shown(text, 300), inks.bright)))
    return lines


def about_held(row: Row, record: "Remembered | None", inks: Inks, *, approve: bool) -> Asking:
    """Raises Unfit."""
    if row.status != "held":
        raise Unfit("Only what is held can be approved or refused.")
    title, yes = ("Let this command run?", "let it run") if approve else ("Refuse this command?", "refuse it")
    return Asking(title, replay_page([row], record, inks)[:-ABOUT_REPLAYS], yes, stern=True)
