"""The help: its lines, and those of them in which the operator's words are."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input

from console.panels.lines import BLANK, Line
from console.screens.dialog import Dialog

LONGEST = 40
NONE: Line = (("No line has all these words.", Style.null()),)


class Help(Dialog):
    """The key that opened it closes it; Escape takes the words away first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "leave", "Close", show=False),
        Binding("slash", "search", "Search", key_display="/"),
    ]

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__(title, lines, "/ search · Esc close")
        self._all = lines

    def compose(self) -> ComposeResult:
        yield from super().compose()
        yield Input(compact=True, max_length=LONGEST, placeholder="words of a line · ⏎ keep · Esc all lines", select_on_focus=False)

    def action_search(self) -> None:
        words = self.query_one(Input)
        words.display = True
        words.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.show(list(narrowed(self._all, event.value.lower().split())) or [NONE])

    def on_input_submitted(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_leave(self) -> None:
        words = self.query_one(Input)
        if words.display:
            words.value, words.display = "", False
            self.query_one(VerticalScroll).focus()
        else:
            super().action_leave()


def narrowed(lines: Iterable[Line], words: Sequence[str]) -> Iterator[Line]:
    """Those that have all the words, each group of them below its head, which is a line in one piece."""
    head, began = BLANK, False
    for line in lines:
        head = line if len(line) == 1 else head
        said = "".join(text for text, _ in line).lower()
        if (line or not words) and all(word in said for word in words):
            if words and head and head is not line:
                yield from ([BLANK] if began else [])
                yield head
            yield line
            head, began = BLANK, True
