"""One command, all of it; a choice by a key; a question that enter does not answer."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType

from console.panels.lines import BLANK, Line
from console.panels.ring import Row
from console.screens.dialog import Dialog, Question
from console.themes import Inks


class Inspector(Dialog):
    """Shows `row`; the keys that do something with it are the app's own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "app.operate('copy')", "Copy"),
        Binding("r", "app.operate('replay')", "Replay"),
        Binding("e", "app.operate('edit')", "Edit and replay"),
    ]

    def __init__(self, row: Row, lines: Sequence[Line]) -> None:
        super().__init__("Command", lines, "y copy · r replay · e edit · Esc close")
        self.row = row


class Choice(Dialog):
    """Several things to do, a key each; the one that is pressed is told to `choose`."""

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], choose: Callable[[str], None], inks: Inks) -> None:
        lines: list[Line] = [((f"{key}  ", inks.key), (label, inks.text)) for key, label in choices] or [BLANK]
        super().__init__(title, lines, "Esc leave")
        self._keys = {key for key, _ in choices}
        self._choose = choose

    def on_key(self, event: events.Key) -> None:
        if event.character in self._keys:
            event.stop()
            self.dismiss(True)
            self._choose(event.character)


class SternQuestion(Question):
    """Where the effect is seen outside: only `y` agrees."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "wait", "Nothing", show=False, priority=True)]

    def action_wait(self) -> None:
        self.app.bell()
