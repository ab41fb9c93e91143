"""The console: draws snapshots, posts events, holds no truth of its own."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import tzinfo
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

from textual.actions import ActionParseResult
from textual.app import App, ScreenStackError, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.screen import Screen
from textual.theme import Theme
from textual.timer import Timer
from textual.widget import MountError

from agent_core.clock import Clock, Moment, SystemClock
from agent_core.feed import CommandEntry, FeedEntry, LogEntry
from agent_core.plain import plain
from agent_core.signals import heeded
from agent_core.snapshot import Snapshot
from console.alerts import Alerts
from console.base import ScreenApp
from console.host import Host
from console.operations import DEFAULT_THEME, ConsoleOptions, Operations
from console.panels.log import Log
from console.panels.pane import Detail
from console.panels.ring import expanded
from console.panels.stream import Stream
from console.panels.view import Key, View, counting, status_of
from console.screens.main import Main
from console.themes import PALETTES, inks_of

TICK = 0.1
BLURRED_TICK = 1.0
REPAINT_AFTER = 0.2
FORESIGHT_AFTER = 0.7
"""Seconds after the first picture, when the dialogs are imported, so that the first one opens as fast as the others."""
STOP_WITHIN = 5.0
TAKE_AT_ONCE = 4_000
CHANGING = frozenset({"reconnect", "polling", "replay", "edit", "cancel", "hold", "approve", "refuse"})
"""What a console that only looks refuses."""
HINT_SECONDS = 3.0
KEEP_EVERY = 2.0


class EdgeConsole(ScreenApp[str]):
    """Looks at a host. `run()` returns None, or the one line that says why it had to end (then `return_code` is 1)."""

    COMMAND_PALETTE_DISPLAY = "^p"
    FOOTER: ClassVar[tuple[str, ...]] = (
        "reconnect", "polling", "replay", "edit", "inspect", "follow", "filter", "screenshot", "help", "quit", "palette",
    )  # fmt: skip
    """What the last row offers, in its order."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("R", "operate('reconnect')", "Reconnect", tooltip="Dial now, whatever the backoff says", id="reconnect"),
        Binding("p", "operate('polling')", "Polling", tooltip="Polling mode: auto, always, never", id="polling"),
        Binding("escape", "leave", "Back", show=False, tooltip="Leave a panel, a session, replays, marks", id="back"),
        Binding(
            "ctrl+s",
            "operate('save_picture')",
            "Shot",
            tooltip="Save the screen as a picture and as text",
            id="screenshot",
            key_display="^s",
        ),
        Binding(
            "exclamation_mark",
            "operate('attention')",
            "Attention",
            show=False,
            tooltip="What needs you, and what to do about each",
            id="attention",
            key_display="!",
        ),
        Binding(
            "m", "operate('mask')", "Mask", show=False, tooltip="Mask to whom messages go and what they say, or show it again", id="mask"
        ),
        Binding(
            "v",
            "operate('beside')",
            "Beside",
            show=False,
            tooltip="The selected command's record beside the stream, from 160 columns",
            id="beside",
        ),
        Binding(
            "T",
            "operate('thread')",
            "Thread",
            show=False,
            tooltip="Both directions of the selected command's thread",
            id="thread",
        ),
        Binding("D", "operate('diagnose')", "Diagnose", show=False, tooltip="Look at the way to the backend, by stages", id="diagnose"),
        Binding("question_mark", "help", "Help", tooltip="The keys that work here", id="help", key_display="?"),
        Binding("q", "quit", "Quit", tooltip="Stop the agent and quit", id="quit"),
        Binding("ctrl+c", "hint", "Quit", show=False, system=True),
        Binding("ctrl+q", "quit", "Quit", show=False, system=True),
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
        asks_to_quit: bool = True,
        escape_quits: bool = False,
        theme: str = DEFAULT_THEME,
        options: ConsoleOptions | None = None,
        crash_before: str | None = None,
        on_first_paint: Callable[[], None] | None = None,
    ) -> None:
        """`zone` is of the times shown, None the operator's own; `options` may come later, by `configure`.
        `crash_before`: what ended the console in whose place this one is.
        """
        super().__init__(theme)
        self.host = host
        self._clock = clock or SystemClock()
        self._zone = zone
        self._main = Main()
        self.operations = Operations(self, self._main, host, self._clock, zone, read_only=read_only)
        self._read_only = read_only
        self._asks_to_quit = asks_to_quit
        self._escape_quits = escape_quits
        self._options = options
        self._crash_before = crash_before
        self._on_first_paint = on_first_paint
        self.painted = asyncio.Event()
        """Set once the first picture is on the screen."""
        self._cursor = 0
        self._drawn: tuple[object, ...] = ()
        self._keys: tuple[Key, ...] = ()
        self._on_top: Screen[Any] | None = None
        """What the keys were gathered from."""
        self._pulse: Timer | None = None
        self._repaint: Timer | None = None
        self._quit_by: float | None = None
        self._hinted_until = 0.0
        self._alerts = Alerts()
        self._palette_open = False

    @classmethod
    def named_bindings(cls) -> list[Binding]:
        """Every binding of the console, for `console.keys`."""
        return [binding for owner in (cls, Main, Stream, Log, Detail) for binding in owner.BINDINGS if isinstance(binding, Binding)]

    # --- life -------------------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        return self._main

    def on_mount(self) -> None:
        self._keys = tuple(self._footer_keys())
        if self._options is not None:
            self.configure(self._options)
        if self._crash_before is not None:
            self.operations.say(f"The console failed and is here again; the agent went on. {self._crash_before}", "error")
        self._tick()
        self.set_interval(KEEP_EVERY, self.operations.keep)
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

    async def _foresee(self) -> None:
        for name in ("attention", "help", "inspector", "pages", "thread"):
            import_module(f"console.screens.{name}")
        await self._main.foresee_filter()

    def configure(self, options: ConsoleOptions) -> None:
        """The configuration is known now."""
        self.operations.reconfigure(options)
        self.operations.options = options
        if options.data_dir is not None:
            self.operations.restore(options.data_dir)
        if options.begin_with:
            self.operations.begin_with(options.begin_with)
        self.operations.recall()
        if options.keys:
            self.set_keymap(dict(options.keys))
            self._keys = tuple(self._footer_keys())
        if options.pictures is not None and heeded(signal.SIGUSR1) and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.operations.save_picture)

    def watch_app_focus(self, focused: bool) -> None:
        """While nobody looks, look less often."""
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = self.set_interval(TICK if focused else BLURRED_TICK, self._tick)

    def _theme_changed(self, theme: Theme) -> None:
        super()._theme_changed(theme)
        self._tick()

    async def run_action(
        self, action: "str | ActionParseResult", default_namespace: DOMNode | None = None, namespaces: Mapping[str, DOMNode] | None = None
    ) -> bool:
        """A key, a click or a choice of the palette: what fails in it ends nothing."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except (NoMatches, MountError):  # the key came before what it is for was composed, or after that had gone
            return True
        except Exception as error:  # noqa: BLE001  (the edge of what the operator asks for: said and logged)
            self.operations.failed(error)
            return True

    def _tick(self) -> None:
        if self._ended():
            return
        try:
            self._look()
        except Exception as error:  # noqa: BLE001  (the edge of what is drawn by itself: said and logged)
            self.operations.failed(error)

    def _look(self) -> None:
        """Look at the host; draw what differs from what is on the screen."""
        now = self._clock.now()
        self.operations.give_up_silent_replays()
        self.operations.ask_ledger()
        self.operations.search_ledger()
        self.operations.renew_delays()
        self.operations.renew_attention()
        self.operations.renew_thread()
        self.operations.renew_record()
        self.operations.ask_words()
        snapshot = self.operations.snapshot()
        most = 0 if self.operations.recalling_first else TAKE_AT_ONCE
        news, self._cursor, missed = self.host.feed.since(self._cursor, most)
        stopping = self._quit_by is not None
        if self.screen is not self._on_top:
            self._on_top = self.screen
            self._keys = tuple(self._footer_keys())
        drawn = (
            snapshot.revision,
            int(now.utc),
            self.app_focus,
            self.theme,
            stopping,
            self._main.detail,
            self._keys,
            self.operations.delays,
            self.operations.texts,
            self._main.record,
        )
        if drawn == self._drawn and not news:
            if self.app_focus and counting(snapshot, now):
                self._main.count_down(self._view(snapshot, now))
            return
        self._drawn = drawn
        if news or missed:
            self._take(news, missed)
        self._main.show(self._view(snapshot, now))
        self._call(snapshot, now)
        if self.screen is not self._main:
            self.operations.renew_inspector()
            self.screen.refresh()
        if len(news) == TAKE_AT_ONCE:
            self.call_later(self._tick)

    def tell_anew(self) -> None:
        """The host's feed is another one: forget what the one before told."""
        self._cursor, self._drawn = 0, ()
        self._main.forget()
        self._tick()

    def _call(self, snapshot: Snapshot, now: Moment) -> None:
        options, status = self.operations.options, status_of(snapshot, now, self._quit_by is not None)
        sent = self._alerts.next(snapshot, status, bell=options.bell, notify=options.notify)
        if sent and self._driver is not None:
            self._driver.write(sent)

    def _take(self, news: list[FeedEntry], missed: int) -> None:
        commands = [entry for entry in news if isinstance(entry, CommandEntry)]
        lines = [entry for entry in news if isinstance(entry, LogEntry)]
        if len(commands) + len(lines) < len(news):
            commands = expanded(news, self._main.stream.live)
        self._main.log_pane.rows.tell(lines)
        self._main.stream.take(commands, missed)
        self.operations.saw(commands, lines)

    def _view(self, snapshot: Snapshot, now: Moment) -> View:
        return View(
            snapshot, now, inks_of(self.theme), self._zone, self._keys, self._quit_by is not None, self._read_only,
            self.operations.texts, self.operations.delays,
        )  # fmt: skip

    def _ended(self) -> bool:
        failure = self.host.failure
        if failure is not None:
            self.exit(f"the agent failed: {plain(failure, 200) or type(failure).__name__}", return_code=1)
            return True
        if self.host.stopped or (self._quit_by is not None and self._clock.now().mono >= self._quit_by):
            self.exit()
            return True
        return False

    # --- keys -------------------------------------------------------------------------------------------------------

    def _footer_keys(self) -> Iterable[Key]:
        """The keys that do something here: the panels', or those of what stands over them."""
        if self.screen is not self._main:
            for binding in _own_bindings(self.screen):
                if binding.show:
                    yield Key(self.get_key_display(binding), binding.description, "")
            return
        shown = {binding.id: (node, binding) for node, binding in self._bindings_here(self._main)}
        for name in self.FOOTER:
            if name in shown and not (self._read_only and name in CHANGING):
                node, binding = shown[name]
                yield Key(self.get_key_display(binding), binding.description, _action(node, binding))

    def _bindings_here(self, screen: Screen[None]) -> list[tuple[DOMNode, Binding]]:
        """Each named action that works on this screen, once, with what it belongs to; the app's own first."""
        found: dict[str, tuple[DOMNode, Binding]] = {}
        for node, binding, enabled, _ in screen.active_bindings.values():
            if enabled and binding.id and isinstance(node, App | Main | Stream | Log | Detail):
                found.setdefault(binding.id, (node, binding))
        order = [binding.id for binding in self.named_bindings()]
        return sorted(found.values(), key=lambda one: order.index(one[1].id))

    def get_system_commands(self, screen: Screen[None]) -> Iterable[SystemCommand]:
        """Everything the palette offers: our actions and our themes."""
        for node, binding in self._bindings_here(screen):
            if binding.id == "palette":
                continue
            title = f"{binding.description}  ({self.get_key_display(binding)})"
            yield SystemCommand(title, binding.tooltip or binding.description, partial(self._chosen_from_palette, _action(node, binding)))
        for palette in PALETTES.values():
            if palette.name != self.theme:
                yield SystemCommand(f"Theme: {palette.title}", "Change the colours", partial(self.action_theme, palette.name))

    def action_command_palette(self) -> None:
        from console.screens.dialog import Palette
        from console.screens.fault import Fault

        if not isinstance(self.screen, Palette):
            self._palette_open = True
            self.push_screen(Palette(self.COMMANDS | {Fault}, id="--command-palette"))

    async def _chosen_from_palette(self, action: str) -> None:
        """Once each time that it is open: a second Enter may be on its way."""
        if self._palette_open:
            self._palette_open = False
            await self.run_action(action)

    def action_theme(self, name: str) -> None:
        self.theme = name

    async def action_operate(self, name: str) -> None:
        """One of the operations; what it changes is drawn at once, and in no picture as it was before."""
        getattr(self.operations, name)()
        self._tick()

    def action_decide(self, place: int) -> None:
        """Which of the candidates of an unknown outcome it was."""
        self.operations.decide(place)

    def action_leave(self) -> None:
        """The nearest thing to leave."""
        left = self.operations.cancel_replays() or self.operations.stop_search() or self._main.leave()
        if not left and self._escape_quits:
            self._quit()

    def action_help(self) -> None:
        from console.screens.help import Help
        from console.screens.pages import help_page, language_page

        groups: dict[str, list[Key]] = {}
        if isinstance(self.screen, Help):
            return
        if self.screen.has_class("-filtering"):
            self.push_screen(Help("Filter", language_page(inks_of(self.theme))))
            return
        if self.screen is not self._main:
            groups["Here"] = [Key(self.get_key_display(one), one.description, "") for one in _own_bindings(self.screen)]
        for node, binding in self._bindings_here(self._main):
            title = (
                "The stream"
                if isinstance(node, Stream)
                else "The log"
                if isinstance(node, Log)
                else "The panel"
                if isinstance(node, Detail)
                else "Anywhere"
            )
            key = Key(self._every_key(binding), binding.tooltip or binding.description, binding.id or "")
            groups.setdefault(title, []).append(key)
        self.push_screen(Help("Keys", help_page(groups, inks_of(self.theme))))

    def _every_key(self, binding: Binding) -> str:
        """The key and those that do the same."""
        same = [key for key, one in self._main.active_bindings.items() if one.binding.id == binding.id and key != binding.key]
        return " ".join([self.get_key_display(binding), *(self.get_key_display(Binding(key, "")) for key in same)])

    def on_input_changed(self) -> None:
        """A filter: looked for at once, but not letter by letter of a burst."""
        if not self.typed_ahead:
            self.operations.search_ledger()

    def on_stream_opened(self) -> None:
        self.operations.inspect()

    def on_detail_copied(self, event: Detail.Copied) -> None:
        self.operations.copy_panel(event.rows)

    def on_log_copied(self, event: Log.Copied) -> None:
        self.operations.copy_text(event.text)

    def on_stream_at_oldest(self) -> None:
        self.operations.recall()

    def on_stream_wanted(self, event: Stream.Wanted) -> None:
        self.operations.see(event.query, event.number)

    async def on_unmount(self) -> None:
        await self.operations.keep()

    def on_main_turned(self) -> None:
        self._keys, self._drawn = tuple(self._footer_keys()), ()
        self._tick()

    async def action_hint(self) -> None:
        """ctrl+c: once it only says how to quit."""
        now = self._clock.now().mono
        if self._quit_by is not None or now < self._hinted_until:
            await self.action_quit()
            return
        self._hinted_until = now + HINT_SECONDS
        self.operations.say(f"q {'stops the agent and quits' if self._asks_to_quit else 'quits'}; so does ctrl+c once more.")

    async def action_quit(self) -> None:
        """Ask, but in a demo, or where the agent goes on; while it stops: leave at once."""
        if self._quit_by is not None:
            self.exit()
        elif not self._asks_to_quit:
            self._quit()
        elif not any(screen.id == "quit" for screen in self.screen_stack):
            from console.screens.dialog import SternQuestion
            from console.screens.pages import quit_page

            lines = quit_page(self.host.snapshot(), inks_of(self.theme), self._clock.now().utc, self._zone)
            question = SternQuestion("Stop the agent and quit?", lines, "y stop it (enter does not) · n go on")
            question.id = "quit"
            self.push_screen(question, lambda agreed: self._quit() if agreed else None)

    def _quit(self) -> None:
        self._quit_by = self._clock.now().mono + STOP_WITHIN
        self.host.stop()
        self._tick()


def _own_bindings(screen: Screen[Any]) -> list[Binding]:
    """What works in a dialog, each action once; what Textual brings for any text field goes without saying."""
    own = [one.binding for one in screen.active_bindings.values() if one.enabled and one.node is screen]
    found = {binding.action: binding for binding in sorted(own, key=lambda binding: binding.show)}
    return sorted(found.values(), key=lambda binding: binding.action.startswith("app."))


def _action(node: DOMNode, binding: Binding) -> str:
    """The action as it may be run from anywhere."""
    if binding.action.startswith(("app.", "screen.")):
        return binding.action
    return f"{'app' if isinstance(node, App) else 'screen' if isinstance(node, Screen) else 'focused'}.{binding.action}"
