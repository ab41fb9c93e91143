"""One command, all of it, as it is now."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from console.panels.lines import Line
from console.panels.ring import Row
from console.panels.stream import Stream
from console.screens.dialog import Dialog


class Inspector(Dialog):
    """Shows the stream's selected command; the keys that do something with it are the stream's own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("J", "step(1)", "Next command", show=False),
        Binding("K", "step(-1)", "Command before", show=False),
        Binding("y", "app.operate('copy')", "Copy"),
        Binding("m", "app.operate('mask')", "Mask", show=False),
        Binding("r", "app.operate('replay')", "Replay"),
        Binding("e", "app.operate('edit')", "Edit and replay"),
        Binding("T", "app.operate('thread')", "Its thread", show=False),
    ]

    def __init__(self, stream: Stream, row: Row, draw: Callable[[Row], Sequence[Line]]) -> None:
        super().__init__("Command", draw(row), "y copy · r replay · e edit · J K next, before · Esc close")
        self.row = row
        self._stream = stream
        self._draw = draw

    def renew(self, *, anew: bool = False) -> None:
        """What has changed is shown; `anew`: all of it."""
        row = self._stream.selected
        if row is not None and (anew or row != self.row):
            self.row = row
            self.show(self._draw(row))

    def action_step(self, rows: int) -> None:
        self._stream.action_move(rows)
        self._stream.viewport.pin()
        self.renew()
