"""One thread, both directions in the order of time: what went out with its delivery, and what came in."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, tzinfo
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content

from agent_core.engine.recipients import recipient
from agent_core.threads import MAX_MESSAGES, ThreadMessage, ThreadPage
from console.panels.columns import delivery_of, status_named
from console.panels.lines import BLANK, Line, Piece, line_width
from console.screens.dialog import Dialog
from console.text import day_of, fit_right, grouped, moment, shown, time_of_day, wrapped
from console.themes import Inks

MAX_NOTICED = 100
MAX_ROWS = 12
"""Of one message's text."""
STATE_WIDTH = 24
BESIDE = 64
"""Columns from which the state of a message stands beside it."""


class Talk(NamedTuple):
    """What the ledger has told of a thread, in the order of time."""

    thread_id: str
    messages: Sequence[ThreadMessage] = ()
    looking: bool = True
    more: bool = False
    """There are earlier messages than these."""


class ThreadView(Dialog):
    """The newest messages of a thread; it follows them where its end is seen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("T", "leave", "Close", show=False),
        Binding("m", "app.operate('mask')", "Mask", show=False),
        Binding("R", "app.operate('reconnect')", "Reconnect", show=False),
    ]

    def __init__(self, thread_id: str, draw: Callable[[Talk, int], tuple[str, Sequence[Line]]]) -> None:
        super().__init__("Thread", [], "↑ ↓ scroll · m mask · Y copy all · Esc close")
        self.thread_id = thread_id
        self._draw = draw
        self._found: dict[int, ThreadMessage] = {}
        self._noticed: list[int] = []
        self._looking, self._more = True, False

    def on_mount(self) -> None:
        box = self.query_one(VerticalScroll)
        box.add_class("thread")
        box.anchor()

    def on_resize(self) -> None:
        self.call_after_refresh(self.renew)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the messages that may have changed since: those that are shown, and those that the feed told of."""
        return tuple(dict.fromkeys((*self._found, *self._noticed)))

    @property
    def is_full(self) -> bool:
        return len(self._found) >= MAX_MESSAGES

    def notice(self, rows: Iterable[int]) -> None:
        """These may belong to it."""
        self._noticed = [*self._noticed, *rows][-MAX_NOTICED:]

    def tell(self, page: ThreadPage, *, looking: bool) -> None:
        """What the ledger says now; of too many the newest are kept."""
        found = self._found | {message.seq: message for message in page.messages}
        self._found = dict(sorted(found.items())[-MAX_MESSAGES:])
        self._more = self._more or len(found) > MAX_MESSAGES or (self.is_full and page.next is not None)
        self._looking = looking
        self.renew()

    def renew(self) -> None:
        """Draw it as it is now."""
        box = self.query_one(VerticalScroll)
        width = box.scrollable_content_region.width
        if width:
            messages = sorted(self._found.values(), key=lambda message: (message.utc, message.seq))
            title, lines = self._draw(Talk(self.thread_id, messages, self._looking, self._more), width)
            box.border_title = Content(title)
            if list(lines) != list(self._lines):
                self.show(lines)


def thread_page(talk: Talk, inks: Inks, utc: float, zone: tzinfo | None, width: int) -> list[Line]:
    """The messages, under the day of each."""
    lines: list[Line] = []
    if talk.more:
        lines.append(((f"The newest {MAX_MESSAGES}: earlier ones are found by / thread: in the stream.", inks.muted),))
    day: date | None = None
    for message in talk.messages:
        if (then := day_of(message.utc, zone)) != day:
            lines += [BLANK, _day(then, inks, width)] if lines else [_day(then, inks, width)]
            day = then
        lines += _message(message, talk.thread_id, inks, utc, zone, width)
    if talk.looking:
        lines.append((("Reading the ledger …", inks.muted),))
    elif not talk.messages:
        lines.append((("The ledger has no message of this thread.", inks.muted),))
    return lines


def title_of(talk: Talk) -> str:
    count = len(talk.messages)
    return f"Thread {shown(talk.thread_id, 60)} · {grouped(count)} message{'' if count == 1 else 's'}"


def _day(day: date, inks: Inks, width: int) -> Line:
    name = f"── {day:%Y-%m-%d} "
    return ((name + "─" * max(0, width - len(name)), inks.faint),)


def _message(message: ThreadMessage, thread_id: str, inks: Inks, utc: float, zone: tzinfo | None, width: int) -> list[Line]:
    beside = width >= BESIDE
    arrow, ink = ("↘", inks.tone("accent")) if message.inbound else ("↗", inks.muted)
    head: Line = ((time_of_day(message.utc, zone) + " ", inks.muted), (arrow + " ", ink))
    state = _state(message, inks, utc, zone)
    indent = line_width(head)
    room = width - indent - (STATE_WIDTH + 1 if beside else 0)
    first, *rest = _rows(message, thread_id, room)
    text = inks.text if message.inbound else inks.bright
    top: Line = (*head, (first, text))
    if beside:
        gap = width - line_width(top) - STATE_WIDTH
        top = (*top, (" " * gap + fit_right(state[0], STATE_WIDTH), state[1]))
    space = (" " * indent, inks.text)
    lines: list[Line] = [top, *((space, (row, text)) for row in rest)]
    if not beside:
        lines.append((space, state))
    if message.error:
        lines += [(space, (row, inks.tone("bad"))) for row in wrapped(shown(message.error, 300), room, 3)]
    return lines


def _rows(message: ThreadMessage, thread_id: str, room: int) -> list[str]:
    """What it says, on as many rows as it has lines, within bounds."""
    from_whom = f"{shown(message.sender, 40)}: " if message.inbound and recipient(message.sender) != recipient(thread_id) else ""
    attached = f"[{message.attachments} attachment{'' if message.attachments == 1 else 's'}] " if message.attachments else ""
    said = (from_whom + attached + message.text).splitlines() or [""]
    rows = [row for part in said[:MAX_ROWS] for row in wrapped(shown(part, 1_000), room, MAX_ROWS)]
    return rows if len(rows) <= MAX_ROWS and len(said) <= MAX_ROWS else [*rows[: MAX_ROWS - 1], "…"]


def _state(message: ThreadMessage, inks: Inks, utc: float, zone: tzinfo | None) -> Piece:
    """How far it has come, and since when."""
    if message.delivery is None:
        glyph, word, tone = status_named(message.status, "in" if message.inbound else "local")
        return f"{glyph} {word}", inks.tone(tone)
    glyph, word, tone = delivery_of(message.delivery)
    when = f" {moment(message.delivery_utc, utc, zone, '%H:%M')}" if message.delivery_utc is not None else ""
    return f"{glyph} {word}{when}", inks.tone(tone)
