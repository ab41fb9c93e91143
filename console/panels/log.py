"""The log: its last lines, wrapped, filtered by level and words; a window on them as on the stream."""

from collections import deque
from collections.abc import Sequence
from datetime import tzinfo
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import BindingType
from textual.message import Message

from agent_core.feed import LogEntry
from console.masks import masked_within
from console.panels.lines import BLANK, Line, framed
from console.panels.pane import WHEEL_ROWS, Pane, bound
from console.panels.view import View
from console.panels.viewport import Viewport
from console.text import count, day_of, fit, grouped, moment, shown, time_of_day, wrapped

KEPT = 2_000
MOST_ROWS = 40
"""Rows that one entry takes at most."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
HEAD = 12
"""Cells of a line's time: `14:32:07`, or `11-05 14:32` where that was another day."""
_TONES = {"DEBUG": "muted", "INFO": "text", "WARNING": "warn", "ERROR": "bad"}
_LEAST = ("all levels", "INFO and worse", "WARNING and worse", "ERROR only")


class LogRow(NamedTuple):
    """One row on the screen: the entry's number, and whether it is the entry's first row."""

    number: int
    first: bool
    text: str


class LogRows:
    """The entries that pass, as rows of a width; a row's position never changes its meaning until they are laid out anew."""

    def __init__(self) -> None:
        self.first = 0
        self._entries: deque[LogEntry] = deque(maxlen=KEPT)
        self._told = 0
        """How many entries there were ever."""
        self._laid = 0
        """How many of them have been laid out."""
        self._rows: deque[LogRow] = deque()
        self._width = 0
        self._words: tuple[str, ...] = ()
        self._least = 0
        self._masked = False

    @property
    def end(self) -> int:
        return self.first + len(self._rows)

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def kept(self) -> int:
        """Entries that there are, whether they pass or not."""
        return len(self._entries)

    def rank(self, position: int) -> int:
        return min(max(position, self.first), self.end) - self.first

    def at(self, rank: int) -> int:
        return self.first + rank

    @property
    def last(self) -> int:
        return self.end - 1

    def upto(self, position: int) -> int:
        return self.rank(position + 1)

    def since(self, position: int) -> int:
        return self.count - self.rank(position)

    def row(self, position: int) -> LogRow:
        return self._rows[position - self.first]

    def entry(self, number: int) -> LogEntry:
        return self._entries[number - (self._told - len(self._entries))]

    def position_of(self, number: int) -> int:
        """The first row of that entry, or of the first one after it."""
        return self.first + next((rank for rank, row in enumerate(self._rows) if row.number >= number), len(self._rows))

    def tell(self, entries: Sequence[LogEntry]) -> None:
        self._entries.extend(entries)
        self._told += len(entries)

    def forget(self) -> None:
        """All that was told."""
        self._entries.clear()
        self._width = 0

    def choose(self, words: str, least: int) -> None:
        """Only entries with all the words, none of those behind a `!`, and of that level or a worse one."""
        self._words, self._least = tuple(words.lower().split()), least
        self._width = 0

    def mask(self, masked: bool) -> None:
        if masked != self._masked:
            self._masked, self._width = masked, 0

    def text_of(self, entry: LogEntry) -> str:
        """As it may be seen."""
        return masked_within(entry.text) if self._masked else entry.text

    def lay_out(self, width: int) -> bool:
        """All that is new, or all of it where the width or the choice is another one; whether anything is different."""
        before = self.end, self.first
        if width != self._width:
            self._width, self._laid = width, 0
            self._rows.clear()
        oldest = self._told - len(self._entries)
        while self._rows and self._rows[0].number < oldest:
            self._rows.popleft()
            self.first += 1
        for number in range(max(self._laid, oldest), self._told):
            entry = self.entry(number)
            if self._passes(entry):
                texts = wrapped(shown(self.text_of(entry), 4_000), width, MOST_ROWS)
                self._rows.extend(LogRow(number, not part, text) for part, text in enumerate(texts))
        self._laid = self._told
        return before != (self.end, self.first)

    def _passes(self, entry: LogEntry) -> bool:
        if entry.level in LEVELS and LEVELS.index(entry.level) < self._least:
            return False
        text = entry.text.lower()
        return all((word[1:] not in text) if word.startswith("!") and len(word) > 1 else word in text for word in self._words)


class Log(Pane, can_focus=True):
    """Follows the newest line, or stays while frozen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        bound("up,k", "move(-1)", "Up", "↑", "The line above"),
        bound("down,j", "move(1)", "Down", "↓", "The line below; past the newest: follow"),
        bound("pageup", "page(-1)", "Page up", "PgUp", "A page up"),
        bound("pagedown", "page(1)", "Page down", "PgDn", "A page down"),
        bound("home,g", "oldest", "Oldest", "Home", "The oldest line kept"),
        bound("end,G", "newest", "Newest", "End", "The newest line, and follow"),
        bound("f", "follow", "Follow", None, "Follow the newest line, or freeze"),
        bound("slash", "screen.filter", "Filter", "/", "Only lines with these words; !word: without it"),
        bound("y", "copy", "Copy", None, "Copy the line"),
        bound("l", "level", "Level", None, "All levels, or only the worse ones"),
    ]

    class Copied(Message):
        """The operator wants this text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(self._draw, id=id)
        self.rows = LogRows()
        self.viewport = Viewport(self.rows)
        self.words = ""
        """The filter."""
        self._least = 0
        self._zone: tzinfo | None = None

    def filter_by(self, words: str) -> None:
        self.words = words
        self._choose()

    def action_level(self) -> None:
        self._least = (self._least + 1) % len(LEVELS)
        self._choose()

    def _choose(self) -> None:
        at = self.viewport.selected
        number = None if at is None or self.viewport.following else self.rows.row(at).number
        self.rows.choose(self.words, self._least)
        self._lay_out(number)
        self._again()

    def _lay_out(self, number: int | None = None) -> None:
        """With the entry of that number still selected."""
        self.rows.lay_out(max(8, self.size.width - 4 - HEAD - 9))
        if number is not None and self.rows.count:
            self.viewport.select(min(self.rows.position_of(number), self.rows.end - 1))

    def on_resize(self, event: events.Resize) -> None:
        self.viewport.height = max(0, event.size.height - 2)
        self._choose()

    def show(self, view: View) -> None:
        self._zone = view.zone
        self.rows.mask(view.masked)
        if self.display and self.size.height and self.rows.lay_out(max(8, self.size.width - 4 - HEAD - 9)):
            self.viewport.grown()
        super().show(view)

    def _again(self) -> None:
        if self._view is not None:
            super().show(self._view)

    def _draw(self, view: View, width: int, height: int) -> Sequence[Line]:
        inks, viewport = view.inks, self.viewport
        rows: list[Line] = []
        for y in range(height - 2):
            position = viewport.position_on(y)
            rows.append(BLANK if position is None else self._line(position, view, selected=position == viewport.selected))
        if not self.rows.count:
            what = "Nothing passes the filter." if self.rows.kept else "Nothing has been logged yet."
            rows[:1] = [((what, inks.faint),)]
        title: Line = (("Log", inks.key),)
        if self._least:
            title = (*title, (" · ", inks.muted), (_LEAST[self._least], inks.accent))
        if self.words:
            title = (*title, (" · ", inks.muted), (f"/{shown(self.words, 60)}", inks.accent))
        foot: Line = ((f"{grouped(self.rows.kept)} lines · ", inks.muted), ("●", inks.tone("good")), (" following", inks.muted))
        if not viewport.following:
            badge = f" {count(viewport.new)} new " if viewport.new else " frozen "
            foot = ((f"{grouped(self.rows.kept)} lines · ", inks.muted), ("■ frozen " if viewport.new else "", inks.tone("warn")),
                    (badge, inks.pill("warn")))  # fmt: skip
        return framed(rows, width, height, inks.edge_lit if self.has_focus else inks.edge, title, foot)

    def _line(self, position: int, view: View, *, selected: bool) -> Line:
        inks, row = view.inks, self.rows.row(position)
        entry = self.rows.entry(row.number)
        tone = _TONES.get(entry.level, "text")
        mark = ("▌", inks.accent) if selected else (" ", inks.text)
        head = fit(_time(entry.utc, view) if row.first else "", HEAD)
        level = fit(entry.level if row.first else "", 8)
        return (mark, (head, inks.muted), (level, inks.tone(tone, bold=tone in {"warn", "bad"})), (row.text, inks.tone(tone)))

    # --- what the operator does -----------------------------------------------------------------------------------------

    def action_move(self, rows: int) -> None:
        self.viewport.move(rows)
        self._again()

    def action_page(self, pages: int) -> None:
        self.viewport.page(pages)
        self._again()

    def action_oldest(self) -> None:
        if self.rows.count:
            self.viewport.select(self.rows.first)
            self._again()

    def action_newest(self) -> None:
        self.viewport.follow(True)
        self._again()

    def action_follow(self) -> None:
        self.viewport.follow(not self.viewport.following)
        self._again()

    def action_copy(self) -> None:
        position = self.viewport.selected
        if position is not None:
            entry = self.rows.entry(self.rows.row(position).number)
            self.post_message(self.Copied(f"{moment(entry.utc, 0.0, self._zone)} {entry.level} {self.rows.text_of(entry)}"))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.viewport.scroll(-WHEEL_ROWS)
        self._again()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.viewport.scroll(WHEEL_ROWS)
        self._again()

    def on_click(self, event: events.Click) -> None:
        position = self.viewport.position_on(event.y - 1)
        if position is not None:
            self.viewport.select(position)
            self._again()


def _time(utc: float, view: View) -> str:
    if day_of(utc, view.zone) == day_of(view.now.utc, view.zone):
        return time_of_day(utc, view.zone)
    return moment(utc, view.now.utc, view.zone, "%H:%M")[-11:]
