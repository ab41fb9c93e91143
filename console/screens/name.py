"""Asks for a name, in one line."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input

from console.screens.dialog import Modal

LONGEST = 40


class NameDialog(Modal[str]):
    """Ends with the name, or with None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", key_display="Esc")]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title

    def compose(self) -> ComposeResult:
        box = Vertical(Input(compact=True, max_length=LONGEST, select_on_focus=False), classes="dialog")
        box.border_title = Content(self.title or "")
        box.border_subtitle = Content("⏎ save · Esc leave")
        yield box

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(event.value.strip())
        else:
            self.app.bell()
