"""The console: draws snapshots, posts events, holds no truth of its own."""

import gc
import sys
from collections.abc import Callable, Iterable
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.theme import Theme
from textual.timer import Timer
from textual.widgets import Input

from agent_core.clock import Clock, SystemClock
from agent_core.events import PollingModeChosen, ReconnectRequested, ReplayRequested
from agent_core.feed import CommandEntry
from agent_core.plain import plain
from agent_core.snapshot import PollingMode
from console.filters import FilterError, parse
from console.host import Host
from console.panels.backoff import backoff
from console.panels.connection import connection
from console.panels.filterbar import FilterBar
from console.panels.footer import footer
from console.panels.header import header
from console.panels.latency import latency
from console.panels.lines import Line, centred
from console.panels.pane import Pane
from console.panels.ring import Row
from console.panels.stream import Stream
from console.panels.view import Key, View, counting
from console.themes import PALETTES, inks_of, theme_of

TICK = 0.1
BLURRED_TICK = 1.0
STOP_WITHIN = 5.0
TAKE_AT_ONCE = 4_000
LEAST_WIDTH, LEAST_HEIGHT = 60, 16

_MODES = (PollingMode.AUTO, PollingMode.ALWAYS, PollingMode.NEVER)
_MEANINGS = {
    PollingMode.AUTO: "Polling auto: it runs while the socket is down.",
    PollingMode.ALWAYS: "Polling always: it runs beside the socket, too.",
    PollingMode.NEVER: "Polling never: without the socket nothing arrives.",
}


class EdgeConsole(App[str]):
    """Looks at a host. `run()` returns None, or the one line that says why it had to end (then `return_code` is 1)."""

    CSS_PATH = Path(__file__).with_name("console.tcss")
    TITLE = "edge-console"
    ALLOW_SELECT = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (LEAST_WIDTH, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (LEAST_HEIGHT, "-high"), (30, "-tall")]  # noqa: RUF012
    COMMAND_PALETTE_DISPLAY = "^p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("R", "reconnect", "Reconnect", tooltip="Dial now, whatever the backoff says", id="reconnect"),
        Binding("p", "polling", "Polling", tooltip="Polling mode: auto, always, never", id="polling"),
        Binding("r", "replay", "Replay", tooltip="Run the selected command again, after a question", id="replay"),
        Binding("enter", "inspect", "Inspect", tooltip="All that is known of the selected command", id="inspect", key_display="⏎"),
        Binding("f", "follow", "Follow", tooltip="Follow the newest command, or freeze the stream", id="follow"),
        Binding("slash", "filter", "Filter", tooltip="Show only some commands", id="filter", key_display="/"),
        Binding("ctrl+s", "save_picture", "Shot", tooltip="Save the screen as a picture (SVG)", id="screenshot", key_display="^s"),
        Binding("question_mark", "help", "Help", tooltip="The keys that work here", id="help", key_display="?"),
        Binding("q", "quit", "Quit", tooltip="Stop the agent cleanly; a second time: at once", id="quit"),
        Binding("ctrl+c,ctrl+q", "quit", "Quit", show=False, system=True),
        Binding("ctrl+p,colon", "command_palette", "palette", tooltip="Every action by name", id="palette", key_display="^p"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="suspend", tooltip="Back to the shell; fg returns"),
    ]

    def __init__(
        self,
        host: Host,
        *,
        clock: Clock | None = None,
        zone: tzinfo | None = None,
        pictures: Path | None = None,
        theme: str = "edge-dark",
        on_first_paint: Callable[[], None] | None = None,
    ) -> None:
        """`zone` is of the times shown, None the operator's own; `pictures` is the directory of screenshots, None: there are none."""
        super().__init__()
        for name in self.available_themes:
            self.unregister_theme(name)
        for palette in PALETTES.values():
            self.register_theme(theme_of(palette))
        self.theme = theme
        self.host = host
        self._clock = clock or SystemClock()
        self._zone = zone
        self._pictures = pictures
        self._on_first_paint = on_first_paint
        self._cursor = 0
        self._drawn: tuple[object, ...] = ()
        self._keys: tuple[Key, ...] = ()
        self._pulse: Timer | None = None
        self._chosen = (PollingMode.AUTO, 0.0)
        """The mode asked for last, and until when it counts more than a snapshot that may not show it yet."""
        self._quit_by: float | None = None
        self._filter_before = parse("")

    # --- life -------------------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        return Screen(id="main")

    def compose(self) -> ComposeResult:
        yield Pane(header, id="header", band=True)
        yield Pane(connection, id="connection")
        yield Pane(backoff, id="backoff")
        yield Pane(latency, id="latency")
        yield Stream(id="stream")
        yield Pane(footer, id="footer", band=True)
        yield FilterBar(id="filter")
        yield Pane(too_small, id="small")

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        self._keys = tuple(self._footer_keys())
        self._tick()
        self._pulse = self.set_interval(TICK, self._tick)
        if self._on_first_paint is not None:
            self.call_after_refresh(self._on_first_paint)

    def watch_app_focus(self, focused: bool) -> None:
        """While nobody looks, look less often."""
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = self.set_interval(TICK if focused else BLURRED_TICK, self._tick)

    def _theme_changed(self, theme: Theme) -> None:
        del theme
        self._tick()

    def _tick(self) -> None:
        """Look at the host; draw what differs from what is on the screen."""
        if self._ended():
            return
        now = self._clock.now()
        snapshot = self.host.snapshot()
        news, self._cursor, missed = self.host.feed.since(self._cursor, TAKE_AT_ONCE)
        instant = int(now.mono / TICK) if counting(snapshot, now) else 0
        stopping = self._quit_by is not None
        drawn = (snapshot.revision, int(now.utc), instant if self.app_focus else 0, self.theme, stopping)
        if drawn == self._drawn and not news:
            return
        self._drawn = drawn
        stream = self._stream
        if news or missed:
            stream.take((entry for entry in news if isinstance(entry, CommandEntry)), missed)
        view = View(snapshot, now, inks_of(self.theme), self._zone, self._keys, stopping)
        stream.show(view)
        for pane in self._panes:
            pane.show(view)
        if self.screen is not self._main:
            self.screen.refresh()
        if len(news) == TAKE_AT_ONCE:
            self.call_later(self._tick)

    def _ended(self) -> bool:
        failure = self.host.failure
        if failure is not None:
            self.exit(f"the agent failed: {plain(failure, 200) or type(failure).__name__}", return_code=1)
            return True
        if self.host.stopped or (self._quit_by is not None and self._clock.now().mono >= self._quit_by):
            self.exit()
            return True
        return False

    def _fatal_error(self) -> None:
        # Textual's own prints the locals of every frame, and a local may be a secret.
        error = sys.exc_info()[1]
        self.panic(Text(f"edge-console: {type(error).__name__}: {plain(error, 200)}"))

    @property
    def _main(self) -> Screen[None]:
        return self.screen_stack[0]

    @property
    def _stream(self) -> Stream:
        return self._main.query_one(Stream)

    @property
    def _panes(self) -> Iterable[Pane]:
        return self._main.query(Pane).results()

    # --- keys -------------------------------------------------------------------------------------------------------

    def _footer_keys(self) -> Iterable[Key]:
        for binding in self._bindings_here(self._main):
            if binding.show:
                yield Key(self.get_key_display(binding), binding.description, f"app.{binding.action}")

    def _bindings_here(self, screen: Screen[None]) -> list[Binding]:
        """Each named action that works on this screen, once, the app's own first."""
        found: dict[str, Binding] = {}
        for node, binding, enabled, _ in screen.active_bindings.values():
            if enabled and binding.id and isinstance(node, (App, Stream)):
                found.setdefault(binding.id, binding)
        return sorted(found.values(), key=lambda binding: binding.id.startswith("stream.") if binding.id else True)

    def get_system_commands(self, screen: Screen[None]) -> Iterable[SystemCommand]:
        """Everything the palette offers: our actions and our themes."""
        for binding in self._bindings_here(screen):
            if binding.id == "palette":
                continue
            target = "app" if not (binding.id or "").startswith("stream.") else "focused"
            title = f"{binding.description}  ({self.get_key_display(binding)})"
            yield SystemCommand(title, binding.tooltip or binding.description, partial(self.run_action, f"{target}.{binding.action}"))
        for palette in PALETTES.values():
            if palette.name != self.theme:
                yield SystemCommand(f"Theme: {palette.title}", "Change the colours", partial(self.action_theme, palette.name))

    def action_theme(self, name: str) -> None:
        self.theme = name

    def action_reconnect(self) -> None:
        self.host.post(ReconnectRequested())
        self._say("Dialling now.")

    def action_polling(self) -> None:
        now = self._clock.now().mono
        chosen, until = self._chosen
        current = chosen if now < until else self.host.snapshot().polling.mode
        mode = _MODES[(_MODES.index(current) + 1) % len(_MODES)]
        self._chosen = (mode, now + 1.0)
        self.host.post(PollingModeChosen(mode))
        self._say(_MEANINGS[mode], "warning" if mode is PollingMode.NEVER else "information")

    def action_follow(self) -> None:
        self._stream.follow(not self._stream.following)

    def action_filter(self) -> None:
        self._filter_before = self._stream.wanted
        self._main.add_class("-filtering")
        self._main.query_one(FilterBar).open(self._stream.wanted.text)

    def on_input_changed(self, event: Input.Changed) -> None:
        if isinstance(event.input, FilterBar) and self._main.has_class("-filtering"):
            try:
                self._stream.sift(parse(event.value))
            except FilterError as error:
                self._stream.blame(str(error))

    def on_filter_bar_closed(self, event: FilterBar.Closed) -> None:
        self._main.remove_class("-filtering")
        if not event.kept:
            self._stream.sift(self._filter_before)
        self._stream.blame("")
        self._stream.focus()

    def action_replay(self) -> None:
        row = self._selected()
        if row is None:
            return
        if row.effect == "harmless":
            self._replay(row, True)
            return
        from console.screens.dialog import Question
        from console.screens.pages import replay_page

        lines = replay_page(row, self.host.lookup(row.command_id), inks_of(self.theme))
        self.push_screen(Question("Replay this command?", lines, "y replay · n leave it"), partial(self._replay, row))

    def _replay(self, row: Row, agreed: bool | None) -> None:
        if agreed:
            self.host.post(ReplayRequested(row.command_id))
            self._say(f"Replaying {plain(row.command_id, 60)}.")

    def action_inspect(self) -> None:
        row = self._selected()
        if row is None:
            return
        from console.screens.dialog import Dialog
        from console.screens.pages import record_page

        self.push_screen(Dialog("Command", record_page(row, self.host.lookup(row.command_id), inks_of(self.theme), self._zone)))

    def on_stream_opened(self) -> None:
        self.action_inspect()

    def _selected(self) -> Row | None:
        row = self._stream.selected
        if row is None:
            self._say("No command yet.")
        return row

    def action_help(self) -> None:
        from console.screens.dialog import Dialog
        from console.screens.pages import help_page

        groups: dict[str, list[Key]] = {}
        for binding in self._bindings_here(self._main):
            title = "The stream" if (binding.id or "").startswith("stream.") else "Anywhere"
            key = Key(self.get_key_display(binding), binding.tooltip or binding.description, binding.action)
            groups.setdefault(title, []).append(key)
        self.push_screen(Dialog("Keys", help_page(groups, inks_of(self.theme))))

    def action_save_picture(self) -> None:
        if self._pictures is None:
            self._say("This console has nowhere to save pictures.", "warning")
            return
        from console.screenshot import save, svg_of

        try:
            path = save(svg_of(self), self._pictures, self._clock.now().utc)
        except OSError as error:
            self._say(f"No picture: {plain(error.strerror or error, 100)}.", "error")
        else:
            self._say(f"Saved {path}")

    async def action_quit(self) -> None:
        if self._quit_by is not None:
            self.exit()
            return
        self._quit_by = self._clock.now().mono + STOP_WITHIN
        self.host.stop()
        self._tick()

    def _say(self, text: str, severity: SeverityLevel = "information") -> None:
        self.notify(plain(text, 300), severity=severity, markup=False)


def too_small(view: View, width: int, height: int) -> list[Line]:
    """Instead of a broken layout: what it needs."""
    says = [f"edge-console needs {LEAST_WIDTH}×{LEAST_HEIGHT},", f"this terminal has {width}×{height}."]
    lines: list[Line] = [()] * max(0, (height - len(says)) // 2)
    return [*lines, *(centred(((text, view.inks.text),), width, view.inks.ground) for text in says)]


def run(app: EdgeConsole) -> int:
    """Run the console in this terminal to its end; the exit code. The collector rests until the first paint, then works rarely."""
    gc.disable()
    try:
        app.run()
    finally:
        gc.enable()
    return app.return_code or 0


def calm_collector() -> None:
    """What is there at the first paint stays: do not walk it again (CONSOLE.md §4 has the figures)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    gc.enable()
