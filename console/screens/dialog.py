"""What stands over the panels: a box of plain text with the keys that leave it, a question, a choice."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.style import Style as ContentStyle
from textual.widgets import Static
from textual.worker import Worker

from console.panels.lines import BLANK, Line
from console.screens.main import Main
from console.themes import Inks

Result = TypeVar("Result")
ALIVE: list[BindingType] = [
    Binding("f1", "app.help", "Help", show=False),
    Binding("ctrl+c", "app.hint", "Quit", show=False),
    Binding("ctrl+q", "app.quit", "Quit", key_display="^q"),
    Binding("ctrl+s", "app.operate('save_picture')", "Shot", key_display="^s", show=False),
]
"""What works in everything that stands over the panels."""


def content_of(lines: Sequence[Line]) -> Content:
    """Lines as Textual's own text: never markup, whatever they say."""
    return Content("\n").join([Content.assemble(*((text, _style(ink)) for text, ink in line)) for line in lines])


def _style(ink: Style) -> ContentStyle:
    colour = ink.color.get_truecolor().hex if ink.color is not None else ""
    ground = f" on {ink.bgcolor.get_truecolor().hex}" if ink.bgcolor is not None else ""
    words = f"{'bold ' if ink.bold else ''}{'reverse ' if ink.reverse else ''}{colour}{ground}".strip()
    return ContentStyle.parse(words) + ContentStyle.from_meta(ink.meta)


class Modal(ModalScreen[Result]):
    """Over the panels, and alone: no key and no click reaches them."""

    BINDINGS: ClassVar[list[BindingType]] = ALIVE

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Once: a second key or click, on its way already, leaves nothing else."""
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()

    def action_leave(self) -> None:
        self.dismiss(None)

    def on_click(self, event: events.Click) -> None:
        """Beside what it shows: away with it."""
        if event.widget is self:
            self.action_leave()


class Palette(CommandPalette):
    """Textual's, left once; what it looks for when it is gone already ends nothing."""

    BINDINGS: ClassVar[list[BindingType]] = ALIVE

    def run_worker(self, *arguments: Any, **rest: Any) -> Worker[Any]:
        return super().run_worker(*arguments, **{**rest, "exit_on_error": False})

    def _action_command_list(self, action: str) -> None:
        with suppress(LookupError):  # a list that is not laid out yet has no page to move by
            super()._action_command_list(action)

    def dismiss(self, result: None = None) -> AwaitComplete:
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()


class Dialog(Modal[bool]):
    """Shows lines; ends with True only where a subclass has a key for it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "Close", key_display="Esc"),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("Y", "copy_all", "Copy all of it", show=False),
        Binding("k", "scroll_box('up')", "Up", show=False),
        Binding("j", "scroll_box('down')", "Down", show=False),
        Binding("g", "scroll_box('home')", "Begin", show=False),
        Binding("G", "scroll_box('end')", "End", show=False),
    ]

    def __init__(self, title: str, lines: Sequence[Line], hint: str = "Esc close") -> None:
        super().__init__()
        self._seen: tuple[object, ...] = ()
        self._behind: list[Strip] = []
        self.title = title
        self._lines = lines
        self._hint = hint

    def compose(self) -> ComposeResult:
        box = VerticalScroll(Static(content_of(self._lines)), classes="dialog")
        box.border_title = Content(self.title or "")
        box.border_subtitle = Content(self._hint)
        yield box

    def show(self, lines: Sequence[Line]) -> None:
        """Other lines in the same place."""
        self._lines = lines
        for static in self.query(".dialog > Static").results(Static):  # none before it is composed
            static.update(content_of(lines))

    def render_lines(self, crop: Region) -> list[Strip]:
        """What is behind is dear: it is rendered again only where it has changed."""
        main = self.app.screen_stack[0]
        seen = (crop, self.app.theme, main.drawings if isinstance(main, Main) else 0, *(child.region for child in main.children))
        if seen != self._seen:
            self._seen, self._behind = seen, super().render_lines(crop)
        return self._behind

    def action_leave(self) -> None:
        self.dismiss(False)

    def action_scroll_box(self, way: str) -> None:
        getattr(self.query_one(VerticalScroll), f"action_scroll_{way}")()

    def action_copy_all(self) -> None:
        self.app.copy_to_clipboard("\n".join("".join(text for text, _ in line) for line in self._lines))
        self.notify("Copied all of it.", markup=False)


class Question(Dialog):
    """Asks before something is done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "agree", "Yes", key_display="y"),
        Binding("n,escape,q", "leave", "No", key_display="n"),
    ]

    def action_agree(self) -> None:
        self.dismiss(True)


class SternQuestion(Question):
    """Where the effect is seen outside, or the agent ends: only `y` agrees."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "wait", "Nothing", show=False, priority=True)]

    def action_wait(self) -> None:
        self.app.bell()


class Choice(Dialog):
    """Several things to do, a key each, or a click; what is chosen is told to `choose`."""

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], choose: Callable[[str], Any], inks: Inks) -> None:
        lines: list[Line] = [
            ((f"{key}  ", inks.key + _choosing(key)), (label, inks.text + _choosing(key))) for key, label in choices
        ]  # fmt: skip
        super().__init__(title, lines or [BLANK], "Esc leave")
        self._keys = {key for key, _ in choices}
        self._choose = choose

    def on_key(self, event: events.Key) -> None:
        if event.character in self._keys:
            event.stop()
            self.action_choose(event.character)

    def action_choose(self, key: str) -> None:
        if self.app.screen is self:
            self.dismiss(True)
            self._choose(key)


def _choosing(key: str) -> Style:
    return Style(meta={"@click": f"screen.choose({key!r})"})
