"""A flat widget that shows a drawing and repaints only the rows that changed."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from agent_core.plain import plain
from console.panels.lines import BLANK, Line, strip_of
from console.panels.view import View

WHEEL_ROWS = 3
Drawing = Callable[[View, int, int], Sequence[Line]]


def bound(keys: str, action: str, label: str, display: str | None, meaning: str) -> Binding:
    """A key of a panel: a named action, in the help and the palette."""
    return Binding(keys, action, label, show=False, id=label.lower().replace(" ", "_"), key_display=display, tooltip=meaning)


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
        self._drawn_size = (0, 0)

    def show(self, view: View) -> None:
        """Draw this view, as far as it differs from what is on the screen."""
        self._view = view
        width, height = self.size
        if not (width and height):
            self._drawn_size = (0, 0)
            return
        lines = self._drawn(view, width, height)
        if self._ground is not self._ground_of(view) or (width, height) != self._drawn_size:
            self.refresh()
            return
        changed = [y for y, line in enumerate(lines) if line != self._lines[y]]
        for y in changed:
            self._strips[y] = strip_of(lines[y], width, self._ground)
        self._lines = lines
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _drawn(self, view: View, width: int, height: int) -> list[Line]:
        try:
            lines = list(self._drawing(view, width, height))
        except Exception as error:  # noqa: BLE001  (the edge of a drawing: it says so in its place)
            lines = [((f"✗ cannot be drawn: {type(error).__name__}: {plain(error, 100)}", view.inks.tone("bad")),)]
        return lines + [BLANK] * (height - len(lines))

    def _ground_of(self, view: View) -> Style:
        return view.inks.band if self._band else view.inks.ground

    def render_lines(self, crop: Region) -> list[Strip]:
        """Drawn here where the size or the theme is another one, so that no frame is painted without it."""
        view, (width, height) = self._view, self.outer_size
        if view is None:
            return [Strip.blank(crop.width)] * crop.height
        if self._ground is not self._ground_of(view) or (width, height) != self._drawn_size:
            self._ground, self._drawn_size = self._ground_of(view), (width, height)
            self._lines = self._drawn(view, width, height)
            self._strips = [strip_of(line, width, self._ground) for line in self._lines]
        if crop.size == (width, height):
            return self._strips
        blank = Strip.blank(crop.width, self._ground)
        shown = [self._strips[y].crop(crop.x, crop.right) if y < height else blank for y in range(crop.y, crop.bottom)]
        return [strip if strip.cell_length == crop.width else strip.adjust_cell_length(crop.width, self._ground) for strip in shown]


class Detail(Pane, can_focus=True):
    """A panel in the stream's place."""

    BINDINGS: ClassVar[list[BindingType]] = [bound("y", "copy", "Copy", None, "Copy what the panel says")]

    class Copied(Message):
        """The operator wants these rows."""

        def __init__(self, rows: Sequence[str]) -> None:
            super().__init__()
            self.rows = rows

    def action_copy(self) -> None:
        """Without its frame."""
        within = ["".join(text for text, _ in line)[2:-2].rstrip() for line in self._lines[1:-1]]
        self.post_message(self.Copied(within))
