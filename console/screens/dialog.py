"""A box of plain text over the panels, with the keys that leave it."""

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Static

from console.panels.lines import Line
from console.screens.main import Main


def content_of(lines: Sequence[Line]) -> Content:
    """Lines as Textual's own text: never markup, whatever they say."""
    return Content("\n").join([Content.assemble(*((text, _style(ink)) for text, ink in line)) for line in lines])


def _style(ink: Style) -> str:
    colour = ink.color.get_truecolor().hex if ink.color is not None else ""
    return f"{'bold ' if ink.bold else ''}{colour}".strip()


class Dialog(ModalScreen[bool]):
    """Shows lines; ends with True only where a subclass has a key for it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "leave", "Close", key_display="Esc")]

    def __init__(self, title: str, lines: Sequence[Line], hint: str = "Esc close") -> None:
        super().__init__()
        self._seen: tuple[object, ...] = ()
        self._behind: list[Strip] = []
        self._title = title
        self._lines = lines
        self._hint = hint

    def compose(self) -> ComposeResult:
        box = VerticalScroll(Static(content_of(self._lines)), classes="dialog")
        box.border_title = Content(self._title)
        box.border_subtitle = Content(self._hint)
        yield box

    def render_lines(self, crop: Region) -> list[Strip]:
        """What is behind is dear: it is rendered again only where it has changed."""
        main = self.app.screen_stack[0]
        seen = (crop, self.app.theme, main.drawings if isinstance(main, Main) else 0, *(child.region for child in main.children))
        if seen != self._seen:
            self._seen, self._behind = seen, super().render_lines(crop)
        return self._behind

    def action_leave(self) -> None:
        self.dismiss(False)


class Question(Dialog):
    """Asks before something is done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "agree", "Yes"),
        Binding("n,escape,q", "leave", "No"),
    ]

    def action_agree(self) -> None:
        self.dismiss(True)
