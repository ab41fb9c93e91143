"""Commands: a window on the ring, drawn line by line; what was drawn once is kept."""

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from agent_core.feed import CommandEntry
from console.panels.columns import BAD, Look, columns_for, command_line, heading
from console.panels.lines import Line, centred, clip, line_width, strip_of
from console.panels.ring import Ring, Row
from console.panels.view import View
from console.text import grouped

WHEEL_ROWS = 3
_Key = tuple[int, bool, bool]


def _key(keys: str, action: str, label: str, display: str, meaning: str) -> Binding:
    name = "stream." + label.lower().replace(" ", "_")
    return Binding(keys, action, label, show=False, id=name, key_display=display, tooltip=meaning)


class Stream(Widget, can_focus=True):
    """Shows the newest commands, or while frozen the same ones for as long as the ring keeps them.

    The selected command is the newest one until the operator picks another; picking never lets it slide out of sight.
    """

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        _key("up,k", "move(-1)", "Up", "↑", "The command before"),
        _key("down,j", "move(1)", "Down", "↓", "The command after; past the last: follow"),
        _key("pageup", "page(-1)", "Page up", "PgUp", "A page back"),
        _key("pagedown", "page(1)", "Page down", "PgDn", "A page on"),
        _key("home,g", "oldest", "Oldest", "Home", "The oldest command kept"),
        _key("end,G", "newest", "Newest", "End", "The newest command, and follow"),
    ]

    class Opened(Message):
        """The operator wants to see the selected command."""

    def __init__(self, *, id: str, capacity: int = 50_000) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self.ring = Ring(capacity)
        self.missed = 0
        self._view: View | None = None
        self._look: Look | None = None
        self._following = True
        self._bottom = 0
        """One past the last position shown, while frozen."""
        self._seen = 0
        """One past the newest position that the operator has been shown, while frozen."""
        self._cursor: int | None = None
        self._drawn: dict[_Key, Strip] = {}
        self._foot_text: Line = ()

    # --- what the app says ------------------------------------------------------------------------------------------

    def take(self, entries: Iterable[CommandEntry], missed: int = 0) -> None:
        """New states of commands, oldest first; only the last state of each is kept."""
        latest = {entry.row: entry for entry in entries}
        before = self.ring.end
        changed = [self.ring.put(entry) for entry in latest.values()]
        self.missed += missed
        self._forget(changed)
        if self.ring.end != before:
            self._hold_cursor()
            self.refresh()
        elif changed:
            self._refresh_rows(changed)

    def show(self, view: View) -> None:
        """Draw with these counts and inks; only what differs is refreshed."""
        look = Look(view.inks, view.zone)
        self._view = view
        if look != self._look:
            self._look = look
            self._redraw()
        elif self._foot() != self._foot_text:
            self.refresh(Region(0, self.size.height - 1, self.size.width, 1))

    # --- what the operator does -------------------------------------------------------------------------------------

    @property
    def following(self) -> bool:
        return self._following

    @property
    def new(self) -> int:
        """How many commands have come, while frozen, that the operator has not been shown."""
        return 0 if self._following else max(0, self.ring.end - max(self._seen, self.ring.first))

    @property
    def selected(self) -> Row | None:
        """The command under the cursor; None while there is none at all."""
        position = self._selected_position()
        return None if position is None else self.ring.row(position)

    def follow(self, on: bool) -> None:
        """Stay at the newest command, or freeze what is shown."""
        if on:
            self._cursor = None
        elif self._following:
            self._bottom = self._seen = self.ring.end
            self._cursor = self._selected_position()
        self._following = on
        self.refresh()

    def action_move(self, rows: int) -> None:
        position = self._selected_position()
        if position is None:
            return
        if rows > 0 and position + rows >= self.ring.end:
            self.action_newest()
            return
        self._select(position + rows)

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self._height - 1))

    def action_oldest(self) -> None:
        if self.ring.end > self.ring.first:
            self._select(self.ring.first)

    def action_newest(self) -> None:
        self.follow(True)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._scroll(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._scroll(WHEEL_ROWS)

    def on_click(self, event: events.Click) -> None:
        position = self._top() + event.y - 2
        if 0 <= event.y - 2 < self._height and self.ring.first <= position < self._end():
            self._select(position)
            if event.chain == 2:
                self.post_message(self.Opened())

    def on_resize(self) -> None:
        self._redraw()

    def on_focus(self) -> None:
        self._redraw()

    def on_blur(self) -> None:
        self._redraw()

    # --- the window on the ring -------------------------------------------------------------------------------------

    @property
    def _height(self) -> int:
        return max(0, self.size.height - 3)

    def _end(self) -> int:
        """One past the last position on the screen."""
        if self._following:
            return self.ring.end
        return self._bottom if self._bottom > self.ring.first else min(self.ring.end, self.ring.first + self._height)

    def _top(self) -> int:
        return max(self.ring.first, self._end() - self._height)

    def _selected_position(self) -> int | None:
        if self.ring.end == self.ring.first:
            return None
        if self._cursor is None:
            return self.ring.end - 1
        return max(self._cursor, self.ring.first)

    def _select(self, position: int) -> None:
        position = min(max(position, self.ring.first), self.ring.end - 1)
        top, end = self._top(), self._end()
        self._cursor = position
        if self._following and position < top:
            self._freeze_at(end)
        if not self._following:
            if position < top:
                self._bottom = position + self._height
            elif position >= end:
                self._bottom = position + 1
            self._seen = max(self._seen, self._bottom)
        self.refresh()

    def _hold_cursor(self) -> None:
        """New rows must not push the picked one out of sight: freeze when it has reached the top."""
        if self._following and self._cursor is not None and self._cursor < self._top():
            self._freeze_at(self._cursor + self._height)

    def _freeze_at(self, bottom: int) -> None:
        self._following = False
        self._bottom = self._seen = min(bottom, self.ring.end)

    def _scroll(self, rows: int) -> None:
        end = self._end()
        if rows > 0 and end + rows >= self.ring.end:
            if not self._following:
                self.follow(True)
            return
        if self._following:
            if self.ring.end - self.ring.first <= self._height:
                return
            self._freeze_at(end)
        self._bottom = max(min(self.ring.first + self._height, self.ring.end), end + rows)
        self._seen = max(self._seen, self._bottom)
        position = self._selected_position()
        if position is not None:
            self._cursor = min(max(position, self._top()), self._end() - 1)
        self.refresh()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def _redraw(self) -> None:
        self._drawn.clear()
        self.refresh()

    def _forget(self, positions: Iterable[int]) -> None:
        for position in positions:
            for cursor in (False, True):
                for thumb in (False, True):
                    self._drawn.pop((position, cursor, thumb), None)

    def _refresh_rows(self, positions: Iterable[int]) -> None:
        top, end, width = self._top(), self._end(), self.size.width
        regions = [Region(0, position - top + 2, width, 1) for position in positions if top <= position < end]
        if regions:
            self.refresh(*regions)

    def render_lines(self, crop: Region) -> list[Strip]:
        look, width = self._look, self.size.width
        if look is None or width < 8 or self.size.height < 4:
            return [Strip.blank(crop.width, None if look is None else look.inks.ground)] * crop.height
        if len(self._drawn) > 4 * self._height + 64:
            self._drawn.clear()
        strips = [self._strip(y, look, width) for y in range(crop.y, crop.bottom)]
        if crop.x == 0 and crop.width == width:
            return strips
        return [strip.crop(crop.x, crop.right) for strip in strips]

    def _strip(self, y: int, look: Look, width: int) -> Strip:
        inks = look.inks
        edge = inks.edge_lit if self.has_focus else inks.edge
        if y == 0:
            title: Line = (("╭─ ", edge), ("Commands", inks.key), (" " + "─" * (width - 13) + "╮", edge))
            return strip_of(title, width, inks.ground)
        if y == self.size.height - 1:
            return self._foot_strip(look, width, edge)
        if y == 1:
            row: Line = ((" ", inks.text), *heading(columns_for(width - 4), inks))
            return self._bordered(row, width, edge, inks.ground, look, thumb=False)
        position = self._top() + y - 2
        if position >= self._end():
            empty = self._empty_line(y - 2, look, width) if self.ring.end == self.ring.first else ()
            return self._bordered(empty, width, edge, inks.ground, look, thumb=False)
        key = (position, position == self._selected_position(), self._on_thumb(y - 2))
        strip = self._drawn.get(key)
        if strip is None:
            strip = self._drawn[key] = self._row_strip(*key, look, width, edge)
        return strip

    def _row_strip(self, position: int, cursor: bool, thumb: bool, look: Look, width: int, edge: Style) -> Strip:
        inks = look.inks
        row = self.ring.row(position)
        ground = inks.cursor if cursor else inks.failed if row.status in BAD else inks.ground
        mark = ("▌", inks.accent) if cursor else (" ", inks.text)
        return self._bordered((mark, *command_line(row, columns_for(width - 4), look)), width, edge, ground, look, thumb=thumb)

    def _bordered(self, line: Line, width: int, edge: Style, ground: Style, look: Look, *, thumb: bool) -> Strip:
        inner = strip_of(clip(line, width - 2), width - 2, ground)
        side = look.inks.ground + edge
        right = Segment("┃", look.inks.ground + look.inks.accent) if thumb else Segment("│", side)
        return Strip([Segment("│", side), *inner, right], width)

    def _on_thumb(self, y: int) -> bool:
        """Whether the scrollbar's thumb, one cell wide in the border, covers this row."""
        total = self.ring.end - self.ring.first
        height = self._height
        if total <= height or self._following:
            return False
        size = max(1, round(height * height / total))
        at = round((self._top() - self.ring.first) / max(1, total - height) * (height - size))
        return at <= y < at + size

    def _foot_strip(self, look: Look, width: int, edge: Style) -> Strip:
        self._foot_text = self._foot()
        foot = clip(self._foot_text, width - 8)
        before = "╰" + "─" * (width - 5 - line_width(foot)) + " "
        return strip_of(((before, edge), *foot, (" ─╯", edge)), width, look.inks.ground)

    def _foot(self) -> Line:
        """The totals, and whether the stream follows."""
        if self._view is None:
            return ()
        inks, commands = self._view.inks, self._view.snapshot.commands
        dot = (" · ", inks.muted)
        foot: Line = ((f"{grouped(commands.received)} total", inks.muted), dot)
        foot = (*foot, (f"{grouped(commands.failed)} failed", inks.tone("bad") if commands.failed else inks.muted), dot)
        foot = (*foot, (f"{grouped(commands.duplicates)} duplicate{'' if commands.duplicates == 1 else 's'}", inks.muted), dot)
        if self.missed:
            foot = (*foot, (f"{grouped(self.missed)} not shown", inks.tone("warn")), dot)
        if self._following:
            return (*foot, ("●", inks.tone("good")), (" following", inks.muted))
        badge = f" {grouped(self.new)} new " if self.new else " frozen "
        return (*foot, (("■ frozen ", inks.tone("warn")) if self.new else ("", inks.text)), (badge, inks.pill("warn")))

    def _empty_line(self, y: int, look: Look, width: int) -> Line:
        """What will be here, and how to make some."""
        inks = look.inks
        middle = max(0, self._height // 2 - 2)
        lines: dict[int, Line] = {
            middle: (("Commands appear here as they arrive: by socket, or by polling while it is down.", inks.muted),),
            middle + 2: (("edge-console send", inks.accent), (" send_message --payload '{…}'", inks.text), ("   queues one", inks.muted)),
        }
        if self._height < 4:
            lines = {0: (("No command yet: edge-console send …", inks.muted),)}
        return centred(lines[y], width - 2, inks.ground) if y in lines else ()
