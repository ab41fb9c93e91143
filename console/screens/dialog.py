"""A box of plain text over the panels, with the keys that leave it."""

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from console.panels.lines import Line


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
        self._title = title
        self._lines = lines
        self._hint = hint

    def compose(self) -> ComposeResult:
        box = VerticalScroll(Static(content_of(self._lines)), classes="dialog")
        box.border_title = Content(self._title)
        box.border_subtitle = Content(self._hint)
        yield box

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
