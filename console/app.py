"""The console: draws snapshots, posts events, holds no truth of its own."""

import asyncio
import gc
import logging
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import tzinfo
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from msgspec.structs import replace
from rich.text import Text
from textual.app import App, ComposeResult, ScreenStackError, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import NoColor
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.theme import Theme
from textual.timer import Timer

from agent_core.clock import Clock, Moment, SystemClock
from agent_core.feed import CommandEntry, FeedEntry, LogEntry, ProvenEntry, proven
from agent_core.plain import plain
from agent_core.snapshot import Phase, PollingMode, Snapshot
from console.filters import FilterError, parse
from console.host import Host
from console.panels.backoff import backoff
from console.panels.banner import banner
from console.panels.connection import connection
from console.panels.details import DETAILS
from console.panels.footer import footer
from console.panels.header import header
from console.panels.latency import latency
from console.panels.lines import Line, centred
from console.panels.pane import Detail, Pane
from console.panels.ring import Row
from console.panels.stream import Stream
from console.panels.view import Key, View, counting
from console.screens.main import Main
from console.terminal import DetachableDriver
from console.text import grouped, milliseconds, shown
from console.themes import PALETTES, PLAIN, inks_of, theme_of

if TYPE_CHECKING:
    from textual.widgets import Input

    from agent_core.diagnosis.findings import Conclusion, Stage
    from console.panels.filterbar import FilterBar
    from console.replay import Batch
    from console.screens.editor import Edited
    from console.screens.pages import Beside

STREAM_NAMES = frozenset(binding.id for binding in Stream.BINDINGS if isinstance(binding, Binding))
TICK = 0.1
BLURRED_TICK = 1.0
REPAINT_AFTER = 0.2
FORESIGHT_AFTER = 0.7
"""Seconds after the first picture, when the dialogs are imported, so that the first one opens as fast as the others."""
BETWEEN_DIALS = frozenset({Phase.WAITING, Phase.REFUSED, Phase.PORTAL})
"""Phases in which there is no socket that a diagnosis could take from the agent."""
STOP_WITHIN = 5.0
TAKE_AT_ONCE = 4_000
LEAST_WIDTH, LEAST_HEIGHT = 60, 16

_MODES = (PollingMode.AUTO, PollingMode.ALWAYS, PollingMode.NEVER)
_MEANINGS = {
    PollingMode.AUTO: "Polling auto: it runs while the socket is down.",
    PollingMode.ALWAYS: "Polling always: it runs beside the socket, too.",
    PollingMode.NEVER: "Polling never: without the socket nothing arrives.",
}


class ConsoleOptions(NamedTuple):
    """What the configuration says of the console; None: it is not there."""

    pictures: Path | None = None
    """The directory for what ctrl+s saves."""
    exports: Path | None = None
    log_file: Path | None = None
    keys: Mapping[str, str] = MappingProxyType({})
    """Other keys for actions, by name; `console.keys.judge` has judged them."""
    diagnosis: "Callable[..., Awaitable[tuple[Sequence[Stage], Conclusion | None]]] | None" = None
    """With `force` it dials beside the agent."""


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
        Binding("r", "replay", "Replay", tooltip="Run the selected or marked commands again", id="replay"),
        Binding("e", "edit", "Edit", tooltip="Edit the payload, then run it, or a dry run", id="edit"),
        Binding("x", "cancel", "Cancel", show=False, tooltip="Cancel the selected message due later", id="cancel"),
        Binding("enter", "inspect", "Inspect", tooltip="All that is known of the selected command", id="inspect", key_display="⏎"),
        Binding("f", "follow", "Follow", tooltip="Follow the newest command, or freeze", id="follow"),
        Binding("slash", "filter", "Filter", tooltip="Show only some commands", id="filter", key_display="/"),
        Binding("y", "copy", "Copy", show=False, tooltip="Copy its id, text, JSON or a curl line", id="copy"),
        Binding("w", "save_rows", "Save rows", show=False, tooltip="Save what passes the filter as a file", id="save_rows"),
        Binding("L", "load", "Load", show=False, tooltip="Look at a saved session", id="load"),
        *(
            Binding(str(number), f"detail({number})", name, show=False, tooltip=f"{name}, at length", id=f"panel_{number}")
            for number, (name, _) in enumerate(DETAILS, 1)
        ),
        Binding("tab", "next_detail(1)", "Next panel", show=False, tooltip="The next panel", id="next_panel", priority=True),
        Binding("shift+tab", "next_detail(-1)", "Panel before", show=False, tooltip="The panel before", id="panel_before", priority=True),
        Binding("z", "zoom", "Zoom", show=False, tooltip="The stream or panel alone on the screen", id="zoom"),
        Binding("escape", "leave", "Back", show=False, tooltip="Leave a panel, a session, replays, marks", id="back"),
        Binding("ctrl+s", "save_picture", "Shot", tooltip="Save the screen as a picture and as text", id="screenshot", key_display="^s"),
        Binding("D", "diagnose", "Diagnose", show=False, tooltip="Look at the way to the backend, by stages", id="diagnose"),
        Binding("question_mark", "help", "Help", tooltip="The keys that work here", id="help", key_display="?"),
        Binding("q", "quit", "Quit", tooltip="Stop the agent and quit; twice: at once", id="quit"),
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
        read_only: bool = False,
        theme: str = "edge-dark",
        on_first_paint: Callable[[], None] | None = None,
    ) -> None:
        """`zone` is of the times shown, None the operator's own. What depends on the configuration comes by `configure`."""
        super().__init__(driver_class=DetachableDriver)
        for name in self.available_themes:
            self.unregister_theme(name)
        for palette in PALETTES.values():
            self.register_theme(theme_of(palette))
        self.theme = theme
        self._colour_filters = self._filters
        self._filter_colours(theme)
        self.host = host
        self._clock = clock or SystemClock()
        self._zone = zone
        self.options = ConsoleOptions()
        self._read_only = read_only
        self._lines: deque[LogEntry] = deque(maxlen=2_000)
        self._back = 0
        self._detail = 0
        """Which panel is in the stream's place, from 1; 0: none."""
        self._batch: Batch | None = None
        self._on_first_paint = on_first_paint
        self.painted = asyncio.Event()
        """Set once the first picture is on the screen."""
        self._cursor = 0
        self._drawn: tuple[object, ...] = ()
        self._keys: tuple[Key, ...] = ()
        self._pulse: Timer | None = None
        self._repaint: Timer | None = None
        self._chosen = (PollingMode.AUTO, 0.0)
        """The mode asked for last, and until when it counts more than a snapshot that may not show it yet."""
        self._quit_by: float | None = None
        self._filter_before = parse("")

    @classmethod
    def named_bindings(cls) -> list[Binding]:
        """Every binding of the console, for `console.keys`."""
        return [binding for owner in (cls, Stream) for binding in owner.BINDINGS if isinstance(binding, Binding)]

    # --- life -------------------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        return Main(id="main")

    def compose(self) -> ComposeResult:
        yield Pane(header, id="header", band=True)
        yield Pane(connection, id="connection")
        yield Pane(backoff, id="backoff")
        yield Pane(latency, id="latency")
        yield Pane(banner, id="banner", band=True)
        yield Stream(id="stream")
        yield Detail(self._draw_detail, id="detail")
        yield Pane(footer, id="footer", band=True)
        yield Pane(too_small, id="small")

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        self._keys = tuple(self._footer_keys())
        self._panes = tuple(self._main.query(Pane))
        self._banner = self._main.query_one("#banner")
        self._counting = (self._main.query_one("#backoff", Pane), self._main.query_one("#detail", Pane))
        self._tick()
        self._pulse = self.set_interval(TICK, self._tick)
        self.call_after_refresh(self.painted.set)
        if self._on_first_paint is not None:
            self.call_after_refresh(self._on_first_paint)
        self.set_timer(FORESIGHT_AFTER, self._foresee)

    def on_resize(self) -> None:
        """Paint all once the size rests: a terminal that shrank and grew again has lost its lines, and has the size it had."""
        if self._repaint is not None:
            self._repaint.stop()
        self._repaint = self.set_timer(REPAINT_AFTER, self._paint_all)

    def _paint_all(self) -> None:
        with suppress(ScreenStackError):  # the console has just ended
            self.screen.refresh()

    def _foresee(self) -> None:
        for name in ("inspector", "pages"):
            import_module(f"console.screens.{name}")

    def configure(self, options: ConsoleOptions) -> None:
        """The configuration is known now."""
        self.options = options
        if options.keys:
            self.set_keymap(dict(options.keys))
            self._keys = tuple(self._footer_keys())
        if options.pictures is not None and hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.action_save_picture)

    def watch_app_focus(self, focused: bool) -> None:
        """While nobody looks, look less often."""
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = self.set_interval(TICK if focused else BLURRED_TICK, self._tick)

    def _theme_changed(self, theme: Theme) -> None:
        self._filter_colours(theme.name)
        self._tick()

    def _filter_colours(self, theme: str) -> None:
        """Textual's own widgets have no colour where the panels have none."""
        self._filters = [NoColor()] if theme == PLAIN.name else self._colour_filters

    def _tick(self) -> None:
        """Look at the host; draw what differs from what is on the screen."""
        if self._ended():
            return
        now = self._clock.now()
        if self._batch is not None and self._batch.silent(now.mono):
            self._advance(self._batch, (), now.mono)
        snapshot = self.host.snapshot()
        news, self._cursor, missed = self.host.feed.since(self._cursor, TAKE_AT_ONCE)
        stopping = self._quit_by is not None
        drawn = (snapshot.revision, int(now.utc), self.app_focus, self.theme, stopping, self._detail, self._back, self._keys)
        if drawn == self._drawn and not news:
            if self.app_focus and counting(snapshot, now):
                self._count_down(snapshot, now)
            return
        self._drawn = drawn
        if news or missed:
            self._take(news, missed, now)
        self._draw(snapshot, now)
        if len(news) == TAKE_AT_ONCE:
            self.call_later(self._tick)

    def _take(self, news: list[FeedEntry], missed: int, now: Moment) -> None:
        commands = [entry for entry in news if isinstance(entry, CommandEntry)]
        lines = [entry for entry in news if isinstance(entry, LogEntry)]
        if len(commands) + len(lines) < len(news):
            commands = self._expanded(news)
        self._lines.extend(lines)
        if self._back:
            self._back = min(self._back + len(lines), len(self._lines))
        self._stream.take(commands, missed)
        for line in lines:
            if line.text.startswith("Dry run of "):
                self._say(line.text)
        if self._batch is not None:
            self._advance(self._batch, commands, now.mono)

    def _expanded(self, news: list[FeedEntry]) -> list[CommandEntry]:
        """Every command that changed, as it is now; what is told of many at once for each of them that is still shown."""
        found: list[CommandEntry] = []
        latest: dict[int, CommandEntry] = {}
        for entry in news:
            if isinstance(entry, CommandEntry):
                found.append(entry)
                latest[entry.row] = entry
            elif isinstance(entry, ProvenEntry):
                shown = (latest.get(row) or self._stream.live.entry(row) for row in entry.rows)
                found += [proven(one) for one in shown if one is not None]
        return found

    def _view(self, snapshot: Snapshot, now: Moment) -> View:
        return View(
            snapshot, now, inks_of(self.theme), self._zone, self._keys, self._quit_by is not None, self._read_only,
            list(self._lines) if self._detail else (), self._back,
        )  # fmt: skip

    def _count_down(self, snapshot: Snapshot, now: Moment) -> None:
        """Between two seconds only the countdown differs."""
        view = self._view(snapshot, now)
        for pane in self._counting:
            pane.show(view)

    def _draw(self, snapshot: Snapshot, now: Moment) -> None:
        view = self._view(snapshot, now)
        main = self._main
        notice = banner(view, self.size.width)
        main.set_class(bool(notice), "-banner")
        rows = self._banner.styles
        rows.min_height = rows.max_height = len(notice)
        self._stream.show(view)
        for pane in self._panes:
            pane.show(view)
        main.drawings += 1
        if self.screen is not main:
            self.screen.refresh()

    def _draw_detail(self, view: View, width: int, height: int) -> Sequence[Line]:
        return DETAILS[self._detail - 1][1](view, width, height) if self._detail else ()

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
        frames = traceback.extract_tb(error.__traceback__)[-8:] if error is not None else []
        way = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
        logging.getLogger("edge").error("The console failed: %s: %s (%s)", type(error).__name__, plain(error, 200), way)
        where = f"; the log: {plain(self.options.log_file, 300)}" if self.options.log_file is not None else ""
        self.panic(Text(f"edge-console: {type(error).__name__}: {plain(error, 200)}{where}"))

    @property
    def _main(self) -> Main:
        main = self.screen_stack[0]
        assert isinstance(main, Main)
        return main

    @property
    def _stream(self) -> Stream:
        return self._main.query_one(Stream)

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
        order = [binding.id for binding in self.named_bindings()]
        return sorted(found.values(), key=lambda binding: order.index(binding.id))

    def get_system_commands(self, screen: Screen[None]) -> Iterable[SystemCommand]:
        """Everything the palette offers: our actions and our themes."""
        for binding in self._bindings_here(screen):
            if binding.id == "palette":
                continue
            target = "focused" if binding.id in STREAM_NAMES else "app"
            title = f"{binding.description}  ({self.get_key_display(binding)})"
            yield SystemCommand(title, binding.tooltip or binding.description, partial(self.run_action, f"{target}.{binding.action}"))
        for palette in PALETTES.values():
            if palette.name != self.theme:
                yield SystemCommand(f"Theme: {palette.title}", "Change the colours", partial(self.action_theme, palette.name))

    def action_theme(self, name: str) -> None:
        self.theme = name

    def _may_not(self) -> bool:
        """Whether this console only looks; says so."""
        if self._read_only:
            self._say("This console only looks (--read-only).", "warning")
        return self._read_only

    def action_reconnect(self) -> None:
        if self._may_not():
            return
        from agent_core.events import ReconnectRequested

        self.host.post(ReconnectRequested())
        self._say("Dialling now.")

    def action_polling(self) -> None:
        if self._may_not():
            return
        from agent_core.events import PollingModeChosen

        now = self._clock.now().mono
        chosen, until = self._chosen
        current = chosen if now < until else self.host.snapshot().polling.mode
        mode = _MODES[(_MODES.index(current) + 1) % len(_MODES)]
        self._chosen = (mode, now + 1.0)
        self.host.post(PollingModeChosen(mode))
        self._say(_MEANINGS[mode], "warning" if mode is PollingMode.NEVER else "information")

    def action_follow(self) -> None:
        self._stream.follow(not self._stream.viewport.following)

    async def action_filter(self) -> None:
        from console.panels.filterbar import FilterBar

        if not self._main.query(FilterBar):
            await self._main.mount(FilterBar(id="filter"), after="#footer")
        self._filter_before = self._stream.wanted
        self._main.add_class("-filtering")
        self._main.query_one(FilterBar).open(self._stream.wanted.text)

    def on_input_changed(self, event: "Input.Changed") -> None:
        if event.input.id == "filter" and self._main.has_class("-filtering"):
            try:
                self._stream.apply_filter(parse(event.value))
            except FilterError as error:
                self._stream.blame(str(error))

    def on_filter_bar_closed(self, event: "FilterBar.Closed") -> None:
        self._main.remove_class("-filtering")
        self._stream.blame("")
        if not event.kept:
            with suppress(FilterError):
                self._stream.apply_filter(self._filter_before)
        self._stream.focus()

    # --- replays ----------------------------------------------------------------------------------------------------

    def action_replay(self) -> None:
        if self._may_not():
            return
        rows = [] if self._inspected else self._stream.marked
        if not rows:
            row = self._selected()
            rows = [] if row is None else [row]
        if not rows:
            return
        if all(row.effect == "harmless" for row in rows):
            self._replay(rows, True)
            return
        from console.screens.dialog import Question
        from console.screens.inspector import SternQuestion
        from console.screens.pages import replay_page

        record = self.host.lookup(rows[0].command_id) if len(rows) == 1 else None
        lines = replay_page(rows, record, inks_of(self.theme))
        title = f"Replay these {len(rows)} commands?" if len(rows) > 1 else "Replay this command?"
        stern = any(row.effect == "external" for row in rows)
        asked = SternQuestion if stern else Question
        hint = "y replay · n leave it" if not stern else "y replay (enter does not) · n leave it"
        self.push_screen(asked(title, lines, hint), partial(self._replay, rows))

    def _replay(self, rows: Sequence[Row], agreed: bool | None) -> None:
        if not agreed:
            return
        from console.replay import Batch

        now = self._clock.now().mono
        if self._batch is None:
            self._batch = Batch(self._stream.live.newest_number, now)
        self._batch.add((row.command_id, row.replay_of or row.command_id) for row in rows)
        self._stream.unmark()
        self._advance(self._batch, (), now)
        if len(rows) == 1:
            self._say(f"Replaying {shown(rows[0].command_id, 60)}.")

    def _advance(self, batch: "Batch", entries: Sequence[CommandEntry], now: float) -> None:
        """Follow the replays; ask for the next ones."""
        from agent_core.events import ReplayRequested

        for entry in entries:
            batch.saw(entry, now)
        for command_id in batch.next():
            self.host.post(ReplayRequested(command_id))
        if batch.over or batch.silent(now):
            self._batch = None
            self._say(self._outcome(batch), "information" if not batch.failed and batch.over else "warning")
        self._stream.progress = "" if self._batch is None else f"{batch} · Esc cancels"

    def _outcome(self, batch: "Batch") -> str:
        if not batch.over:
            return f"{batch}: no answer any more; see the log (5)."
        if batch.total > 1 or batch.last is None:
            return f"{batch}: done."
        last = batch.last
        word = "✓ completed" if last.status == "acked" else f"✗ {last.status}: {shown(last.error or '', 100)}"
        before = self.host.lookup(last.replay_of or "")
        beside = f" The original: {before.state}." if before is not None else ""
        took = f" in {milliseconds(last.run_ms)} ms" if last.run_ms is not None else ""
        return f"Replay {word}{took}.{beside} ⏎ on its row compares the two."

    def action_cancel(self) -> None:
        if self._may_not():
            return
        row = self._selected()
        if row is None:
            return
        if row.status != "scheduled":
            self._say("Only what is due later can be cancelled.", "warning")
            return
        from agent_core.events import CancelRequested
        from console.screens.dialog import Question
        from console.screens.pages import replay_page

        lines = replay_page([row], self.host.lookup(row.command_id), inks_of(self.theme))[:-3]
        request = CancelRequested(row.command_id)
        question = Question("Cancel this message?", lines, "y cancel it · n leave it")
        self.push_screen(question, lambda agreed: self.host.post(request) if agreed else None)

    def action_edit(self) -> None:
        if self._may_not():
            return
        row = self._selected()
        record = None if row is None else self.host.lookup(row.command_id)
        if row is None or record is None:
            self._say("The journal has no record of it.", "warning")
            return
        from console.screens.editor import LARGEST, Editor, editable

        if len(editable(record.command.payload)) > LARGEST:
            self._say("Its payload is too large to edit here.", "warning")
            return
        self.push_screen(Editor(shown(row.command_id, 60), record.command.payload), partial(self._edited, row))

    def _edited(self, row: Row, edited: "Edited | None") -> None:
        if edited is None:
            return
        from agent_core.events import ReplayRequested
        from console.screens.dialog import Question
        from console.screens.inspector import SternQuestion
        from console.screens.pages import replay_page

        request = ReplayRequested(row.command_id, edited.payload, edited.dry_run)
        if edited.dry_run or row.effect == "harmless":
            self.host.post(request)
            return
        record = self.host.lookup(row.command_id)
        changed = replace(record, command=replace(record.command, payload=edited.payload)) if record is not None else None
        stern = row.effect == "external"
        asked = SternQuestion if stern else Question
        lines = replay_page([row], changed, inks_of(self.theme))
        question = asked("Run it with this payload?", lines, "y run · n leave it")
        self.push_screen(question, lambda agreed: self.host.post(request) if agreed else None)

    # --- looking ----------------------------------------------------------------------------------------------------

    def action_inspect(self) -> None:
        row = self._selected()
        if row is None:
            return
        from console.screens.inspector import Inspector
        from console.screens.pages import record_page

        record = self.host.lookup(row.command_id)
        lines = record_page(row, record, inks_of(self.theme), self._zone, self._beside(row))
        self.push_screen(Inspector(row, lines))

    def _beside(self, row: Row) -> "Beside | None":
        """What to compare with: of a replay its original, else the command marked last before or after it."""
        from console.screens.pages import Beside

        name, other = "the original", row.replay_of
        if other is None:
            marked = [mark.command_id for mark in self._stream.marked if mark.command_id != row.command_id]
            name, other = "the marked one", marked[-1] if marked else None
        record = None if other is None else self.host.lookup(other)
        return None if record is None else Beside(name, record)

    def action_copy(self) -> None:
        row = self._selected()
        if row is None:
            return
        from console.clipboard import copies
        from console.screens.inspector import Choice

        snapshot = self.host.snapshot()
        found = copies(row.command_id, self.host.lookup(row.command_id), snapshot.agent_id, snapshot.backend_url)
        texts = {key: text for key, _, text in found}
        self.push_screen(Choice("Copy", [(key, what) for key, what, _ in found], lambda key: self._copy(texts[key]), inks_of(self.theme)))

    def _copy(self, text: str) -> None:
        from console.clipboard import MOST_CHARACTERS, hand_to, programs

        if len(text) > MOST_CHARACTERS:
            self._say("It is too large for a clipboard; w saves rows to a file.", "warning")
            return
        self.copy_to_clipboard(text)
        for program in programs():
            self.run_worker(hand_to(program, text), name=program[0], group="clipboard")
        self._say(f"Copied {shown(text, 60)}")

    # --- files ------------------------------------------------------------------------------------------------------

    def action_save_rows(self) -> None:
        if self.options.exports is None:
            self._say("This console has nowhere to save rows.", "warning")
            return
        from console.export import FORMATS
        from console.screens.inspector import Choice

        kinds = [("j", "JSON Lines (L loads it again)"), ("c", "CSV"), ("m", "Markdown")]
        title = f"Save {grouped(self._stream.count)} commands as"
        self.push_screen(Choice(title, kinds, lambda key: self._save_rows(FORMATS[key]), inks_of(self.theme)))

    def _save_rows(self, kind: str) -> None:
        rows = list(self._stream.filtered)
        self.run_worker(self._write_rows(rows, kind), name="save rows", exclusive=True, group="rows")

    async def _write_rows(self, rows: list[Row], kind: str) -> None:
        from console.export import save_rows

        assert self.options.exports is not None
        try:
            path = await asyncio.to_thread(save_rows, rows, kind, self.options.exports, self._clock.now().utc)
        except OSError as error:
            self._say(f"Nothing saved: {plain(error.strerror or error, 100)}.", "error")
        else:
            self._say(f"Saved {grouped(len(rows))} commands: {path}")

    def action_load(self) -> None:
        from console.export import saved_sessions
        from console.screens.inspector import Choice

        files = saved_sessions(self.options.exports)[:9] if self.options.exports is not None else []
        if not files:
            self._say("No saved session: w saves one (JSON Lines).", "warning")
            return
        names = [(str(number), shown(path.name, 60)) for number, path in enumerate(files, 1)]
        self.push_screen(Choice("Look at a saved session", names, lambda key: self._load(files[int(key) - 1]), inks_of(self.theme)))

    def _load(self, path: Path) -> None:
        from console.export import load

        try:
            ring = load(path)
        except (OSError, ValueError) as error:
            self._say(f"{path.name} cannot be shown: {plain(error, 120)}.", "error")
        else:
            self._stream.look_at(ring, path.name)
            self._say("A saved session; Esc returns to the live commands.")

    # --- panels -----------------------------------------------------------------------------------------------------

    def action_detail(self, number: int) -> None:
        self._show_detail(0 if number == self._detail else number)

    def action_next_detail(self, step: int) -> None:
        self._show_detail((self._detail + step) % (len(DETAILS) + 1))

    def _show_detail(self, number: int) -> None:
        self._detail, self._back = number, 0
        self._main.set_class(number > 0, "-detail")
        (self._main.query_one(Detail) if number else self._stream).focus()
        self.call_after_refresh(self._tick)

    def action_zoom(self) -> None:
        self._main.toggle_class("-zoom")

    def action_leave(self) -> None:
        """The nearest thing to leave."""
        if self._batch is not None:
            left = self._batch.cancel()
            self._say(f"Cancelled: {left} not asked for." if left else "All are asked for already.")
        elif self._detail:
            self._show_detail(0)
        elif self._main.has_class("-zoom"):
            self.action_zoom()
        elif self._stream.session:
            self._stream.look_at(None)
        else:
            self._stream.unmark()

    def action_scroll(self, lines: int) -> None:
        """Scroll the log, where it is what is shown."""
        if self._detail == len(DETAILS):
            self._back = min(max(0, self._back + lines), max(0, len(self._lines) - 1))
            self._tick()

    def on_stream_opened(self) -> None:
        self.action_inspect()

    @property
    def _inspected(self) -> Row | None:
        """What the inspector shows, where it is open."""
        if self.screen is self._main:
            return None
        from console.screens.inspector import Inspector

        return self.screen.row if isinstance(self.screen, Inspector) else None

    def _selected(self) -> Row | None:
        row = self._inspected or self._stream.selected
        if row is None:
            self._say("No command yet.")
        return row

    def action_help(self) -> None:
        from console.screens.dialog import Dialog
        from console.screens.pages import help_page

        groups: dict[str, list[Key]] = {}
        for binding in self._bindings_here(self._main):
            title = "The stream" if binding.id in STREAM_NAMES else "Anywhere"
            key = Key(self.get_key_display(binding), binding.tooltip or binding.description, binding.id or "")
            groups.setdefault(title, []).append(key)
        self.push_screen(Dialog("Keys", help_page(groups, inks_of(self.theme))))

    def action_diagnose(self) -> None:
        if self.options.diagnosis is None:
            self._say("This console has no way to look at the backend.", "warning")
            return
        self._say("Looking at the way to the backend; this takes a few seconds.")
        between = self.host.snapshot().link.phase in BETWEEN_DIALS
        self.run_worker(self._diagnose(self.options.diagnosis(force=between)), group="diagnosis", exclusive=True)

    async def _diagnose(self, looking: "Awaitable[tuple[Sequence[Stage], Conclusion | None]]") -> None:
        from console.screens.dialog import Dialog
        from console.screens.pages import diagnosis_page

        stages, conclusion = await looking
        self.clear_notifications()
        self.push_screen(Dialog("Diagnosis", diagnosis_page(stages, conclusion, inks_of(self.theme))))

    def action_save_picture(self) -> None:
        if self.options.pictures is None:
            self._say("This console has nowhere to save pictures.", "warning")
            return
        from console.screenshot import save

        try:
            path = save(self, self.options.pictures, self._clock.now().utc)
        except OSError as error:
            self._say(f"No picture: {plain(error.strerror or error, 100)}.", "error")
        else:
            self._say(f"Saved {path} (and .txt)")

    async def action_quit(self) -> None:
        if self._quit_by is not None:
            self.exit()
            return
        self._quit_by = self._clock.now().mono + STOP_WITHIN
        self.host.stop()
        self._tick()

    def _say(self, text: str, severity: SeverityLevel = "information") -> None:
        """In place of what was said before: the lower right corner is the newest commands'."""
        self.clear_notifications()
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
