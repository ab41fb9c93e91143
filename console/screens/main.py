"""The screen with the panels: what is open on it, and the keys that open and leave it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual._styles_cache import StylesCache
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from agent_core.filters import FilterError, parse
from console.filter_history import History
from console.panels.backoff import backoff
from console.panels.banner import banner
from console.panels.connection import connection
from console.panels.details import DETAILS
from console.panels.footer import footer
from console.panels.header import header
from console.panels.latency import latency
from console.panels.lines import BLANK, Line, centred, folded, framed
from console.panels.log import Log
from console.panels.pane import Detail, Pane
from console.panels.stream import Stream
from console.panels.view import View

if TYPE_CHECKING:
    from textual.widgets import Input

    from console.panels.filterbar import FilterBar

LEAST_WIDTH, LEAST_HEIGHT = 60, 16
BROAD = 160
"""Columns from which on a record has room beside the stream."""
CLICKED = ("connection", "backoff", "latency")
"""The panels that have their own at length, in its order."""
LOG = len(DETAILS) + 1
"""The number of the log among the panels."""


class Main(Screen[None]):
    """Counts how often it was drawn, so that what opens over it knows whether what is behind has changed."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (LEAST_WIDTH, "-wide"), (BROAD, "-broad")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (LEAST_HEIGHT, "-high"), (30, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"detail({number})", name, show=False, tooltip=f"{name}, at length", id=f"panel_{number}")
            for number, name in enumerate((*(name for name, _ in DETAILS), "Log"), 1)
        ),
        Binding("tab", "next_detail(1)", "Next panel", show=False, tooltip="The next panel", id="next_panel"),
        Binding("shift+tab", "next_detail(-1)", "Panel before", show=False, tooltip="The panel before", id="panel_before"),
        Binding("z", "zoom", "Zoom", show=False, tooltip="The stream or panel alone on the screen", id="zoom"),
    ]

    class Turned(Message):
        """Another thing is shown, or has the focus."""

    def __init__(self) -> None:
        super().__init__(id="main")
        self.drawings = 0
        self.detail = 0
        """Which panel is in the stream's place, from 1; 0: none."""
        self._filter_before = ""
        self._utc = 0.0
        self.history = History()
        """The filters of the stream that were used."""
        self.log_history = History()
        self.stream = Stream(id="stream")
        self._backoff = Pane(backoff, id="backoff")
        self._banner = Pane(banner, id="banner", band=True)
        self._detail = Detail(self._draw_detail, id="detail")
        self.log_pane = Log(id="log")
        self.record: Sequence[Line] = ()
        """Of the selected command, where it stands beside the stream."""
        self._panes = (
            Pane(header, id="header", band=True), Pane(connection, id="connection"), self._backoff, Pane(latency, id="latency"),
            self._banner, Pane(self._draw_record, id="beside"), self._detail, self.log_pane, Pane(footer, id="footer", band=True),
            Pane(too_small, id="small"),
        )  # fmt: skip

    def compose(self) -> ComposeResult:
        *above, beside, detail, log, footer, small = self._panes
        yield from (*above, self.stream, beside, detail, log, footer, small)

    def on_click(self, event: events.Click) -> None:
        """A panel is opened at length by a click on it, and left by another."""
        name = event.widget.id if event.widget is not None else None
        if name in CLICKED:
            self.action_detail(CLICKED.index(name) + 1)

    def on_screen_resume(self) -> None:
        # Textual remembers two colours under each widget's cache of lines, and so keeps the lines of a thousand widgets that are gone.
        StylesCache.get_inner_outer.cache_clear()

    def on_descendant_focus(self) -> None:
        self.post_message(self.Turned())

    def show(self, view: View) -> None:
        """Draw all that differs from what is on the screen."""
        self._utc = view.now.utc
        notice = banner(view, self.size.width)
        self.set_class(bool(notice), "-banner")
        rows = self._banner.styles
        rows.min_height = rows.max_height = len(notice)
        self.stream.show(view)
        for pane in self._panes:
            pane.show(view)
        self.drawings += 1

    def forget(self) -> None:
        """No command and no line has come yet."""
        self.stream.forget()
        self.log_pane.rows.forget()

    def count_down(self, view: View) -> None:
        """Between two seconds only the countdown differs."""
        self._backoff.show(view)
        self._detail.show(view)

    def _draw_detail(self, view: View, width: int, height: int) -> Sequence[Line]:
        return DETAILS[self.detail - 1][1](view, width, height) if 0 < self.detail < LOG else ()

    @property
    def shows_record(self) -> bool:
        """Whether the selected command's record stands beside the stream."""
        return self.has_class("-beside") and self.has_class("-broad") and not self.detail

    def _draw_record(self, view: View, width: int, height: int) -> Sequence[Line]:
        rows = folded(self.record, width - 4)
        foot = "⏎ all of it" if len(rows) > height - 2 else ""
        return framed(rows, width, height, view.inks.edge, (("Command", view.inks.key),), ((foot, view.inks.muted),) if foot else BLANK)

    # --- panels -----------------------------------------------------------------------------------------------------

    def action_detail(self, number: int) -> None:
        self._show_detail(0 if number == self.detail else number)

    def action_next_detail(self, step: int) -> None:
        self._show_detail((self.detail + step) % (LOG + 1))

    def _show_detail(self, number: int) -> None:
        self.detail = number
        self.set_class(0 < number < LOG, "-detail")
        self.set_class(number == LOG, "-log")
        (self.log_pane if number == LOG else self._detail if number else self.stream).focus()
        self.call_after_refresh(self.post_message, self.Turned())

    def action_zoom(self) -> None:
        self.toggle_class("-zoom")

    def leave(self) -> bool:
        """The nearest thing to leave; False where there is none."""
        if self.detail:
            self._show_detail(0)
        elif self.has_class("-zoom"):
            self.action_zoom()
        elif self.stream.session:
            self.stream.look_at(None)
        elif self.stream.marked:
            self.stream.unmark()
        else:
            return False
        return True

    # --- the stream -------------------------------------------------------------------------------------------------

    def action_follow(self) -> None:
        self.stream.follow(not self.stream.viewport.following)

    async def foresee_filter(self) -> None:
        """The bar is there before it is asked for: what is typed behind `/` must not reach the panels."""
        from console.panels.filterbar import FilterBar

        if self.is_attached and not self.query(FilterBar):
            await self.mount(FilterBar(id="filter"), after="#footer")

    async def action_filter(self) -> None:
        from console.panels.filterbar import FilterBar

        await self.foresee_filter()
        self._filter_before = self._filter_text
        self.add_class("-filtering")
        log = self.detail == LOG
        self.query_one(FilterBar).open(self._filter_text, self.log_history if log else self.history, words_only=log)

    @property
    def _filter_text(self) -> str:
        """Of what is shown: the stream or the log."""
        return self.log_pane.words if self.detail == LOG else self.stream.wanted.text

    def _filter_by(self, text: str) -> None:
        """Raises FilterError."""
        if self.detail == LOG:
            self.log_pane.filter_by(text)
        else:
            self.stream.apply_filter(parse(text, utc=self._utc))

    def on_input_changed(self, event: "Input.Changed") -> None:
        if event.input.id == "filter" and self.has_class("-filtering"):
            try:
                self._filter_by(event.value)
            except FilterError as error:
                self.stream.blame(str(error))

    def on_filter_bar_closed(self, event: "FilterBar.Closed") -> None:
        if not self.has_class("-filtering"):
            return
        self.remove_class("-filtering")
        self.stream.blame("")
        if not event.kept:
            with suppress(FilterError):
                self._filter_by(self._filter_before)
        if self.focused is None or self.focused.id == "filter":
            (self.log_pane if self.detail == LOG else self.stream).focus()


def too_small(view: View, width: int, height: int) -> list[Line]:
    """Instead of a broken layout: what it needs."""
    says = [f"edge-console needs {LEAST_WIDTH}×{LEAST_HEIGHT},", f"this terminal has {width}×{height}."]
    lines: list[Line] = [()] * max(0, (height - len(says)) // 2)
    return [*lines, *(centred(((text, view.inks.text),), width, view.inks.ground) for text in says)]
