"""A flat widget that shows a drawing and repaints only the rows that changed."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from console.panels.lines import BLANK, Line, strip_of
from console.panels.view import View

Drawing = Callable[[View, int, int], Sequence[Line]]


class Pane(Widget):
    """Draws `drawing(view, width, height)` and compares before it refreshes."""

    ALLOW_SELECT = False

    def __init__(self, drawing: Drawing, *, id: str, band: bool = False) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._drawing = drawing
        self._band = band
        self._view: View | None = None
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._ground = Style.null()

    def show(self, view: View) -> None:
        """Draw this view, as far as it differs from what is on the screen."""
        self._view = view
        width, height = self.size
        if width and height:
            ground = view.inks.band if self._band else view.inks.ground
            self._put(list(self._drawing(view, width, height)), width, height, ground)

    def on_resize(self) -> None:
        self._lines = []
        if self._view is not None:
            self.show(self._view)

    def _put(self, lines: list[Line], width: int, height: int, ground: Style) -> None:
        lines += [BLANK] * (height - len(lines))
        if ground is not self._ground or len(lines) != len(self._lines):
            self._ground = ground
            self._strips = [strip_of(line, width, ground) for line in lines]
            self._lines = lines
            self.refresh()
            return
        changed = [y for y, line in enumerate(lines) if line != self._lines[y]]
        for y in changed:
            self._strips[y] = strip_of(lines[y], width, ground)
        self._lines = lines
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_lines(self, crop: Region) -> list[Strip]:
        blank = Strip.blank(crop.width, self._ground)
        strips = self._strips
        shown = [strips[y].crop(crop.x, crop.right) if y < len(strips) else blank for y in range(crop.y, crop.bottom)]
        return [strip if strip.cell_length == crop.width else strip.adjust_cell_length(crop.width, self._ground) for strip in shown]


class Detail(Pane, can_focus=True):
    """A panel in the stream's place, which the app scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "app.scroll(1)", "Up", show=False),
        Binding("down,j", "app.scroll(-1)", "Down", show=False),
        Binding("pageup", "app.scroll(10)", "Page up", show=False),
        Binding("pagedown", "app.scroll(-10)", "Page down", show=False),
        Binding("home,g", "app.scroll(10000)", "Oldest", show=False),
        Binding("end,G", "app.scroll(-10000)", "Newest", show=False),
    ]
