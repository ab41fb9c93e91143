"""Where a filter is typed: in the last row, live, with the filters before at ↑."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from agent_core.filters import MOST_CHARACTERS, completed, trouble_in
from console.filter_history import History

HINT = "type:send status:failed text:hello since:10m >250ms !word /regex/   F1 all of it · Tab completes · ↑ history"


WORDS_HINT = "words that a line has to have; !word: that it must not have   ⏎ keep · Esc as before · ↑ history"


class FilterBar(Input):
    """An input of one row; what is typed goes out as `Input.Changed`, the end as `Closed`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "older", "Older filter", show=False),
        Binding("down", "newer", "Newer filter", show=False),
        Binding("escape", "leave", "Leave", show=False),
        Binding("f1", "app.help", "Help", show=False),
        Binding("tab,shift+tab", "complete", "Complete", show=False),
    ]

    class Closed(Message):
        """The operator is done; where not `kept` the filter before shall be back."""

        def __init__(self, kept: bool) -> None:
            super().__init__()
            self.kept = kept

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id, placeholder=HINT, compact=True, max_length=MOST_CHARACTERS, select_on_focus=False)
        self._history = History()
        self._words_only = False

    def open(self, text: str, history: History, *, words_only: bool) -> None:
        """With the filter that is there; `words_only`: it is for lines of text and cannot be wrong."""
        self._history, self._words_only = history, words_only
        self.placeholder = WORDS_HINT if words_only else HINT
        self.value = text
        self.cursor_position = len(text)
        self._history.add("")
        # At once: Textual's own way waits for the next frame, and the keys until then would act on the panels.
        self.display = True
        self.screen.set_focus(self)
        self.call_after_refresh(self.styles.clear_rule, "display")

    def action_older(self) -> None:
        before = self._history.older()
        if before is not None:
            self._show(before)

    def action_newer(self) -> None:
        self._show(self._history.newer())

    def _show(self, text: str) -> None:
        self.value = text
        self.cursor_position = len(text)

    async def action_submit(self) -> None:
        """A wrong one stays open: nothing half typed is kept."""
        if self._trouble:
            self.app.bell()
        else:
            self._history.add(self.value.strip())
            self.post_message(self.Closed(True))

    def action_complete(self) -> None:
        """The word before the cursor, as far as there is only one way on."""
        before, after = self.value[: self.cursor_position], self.value[self.cursor_position :]
        longer = before if self._words_only else completed(before)
        self.value = longer + after
        self.cursor_position = len(longer)

    def on_blur(self) -> None:
        """Whoever goes elsewhere is done; not where only the terminal has lost the focus."""
        if self.app.app_focus:
            self.post_message(self.Closed(not self._trouble))

    @property
    def _trouble(self) -> str:
        return "" if self._words_only else trouble_in(self.value)

    def action_leave(self) -> None:
        self.post_message(self.Closed(False))
