"""What every program here has that fills the screen: our themes, a terminal that may go away, and an end that tells no local value."""

import gc
import logging
import sys
import traceback
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from textual import events
from textual.app import App
from textual.filter import NoColor
from textual.message import Message
from textual.screen import Screen
from textual.theme import Theme
from textual.timer import Timer
from textual.widget import Widget

from agent_core.plain import plain
from console.terminal import DetachableDriver, in_page
from console.themes import PALETTES, PLAIN, theme_of

Result = TypeVar("Result")
FOLLOWED_WITHIN = 0.25
"""Seconds after which a key is taken for done: what it went to may have gone itself."""


class Followed(Message):
    """Goes the way of a key right behind it; the second one goes behind whatever that key has sent, too."""

    def __init__(self, stood: tuple[Screen[Any], Widget | None], *, first: bool) -> None:
        super().__init__()
        self.stood = stood
        """The screen and the focus when it was sent."""
        self.first = first


class ScreenApp(App[Result]):
    """Textual's, with nothing of it that shows another one's colours."""

    CSS_PATH = Path(__file__).with_name("console.tcss")
    TITLE = "edge-console"
    ALLOW_SELECT = False

    def __init__(self, theme: str) -> None:
        super().__init__(driver_class=None if in_page() else DetachableDriver)
        self._typed: deque[events.Key | events.Paste] = deque()
        self._following: Followed | None = None
        self._follow_by: Timer | None = None
        self.crash: str | None = None
        """What ended it, where nobody asked for the end."""
        for name in self.available_themes:
            self.unregister_theme(name)
        for palette in PALETTES.values():
            self.register_theme(theme_of(palette))
        self.theme = theme
        self._colour_filters = self._filters
        self._filter_colours(theme)

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._theme_changed)

    # --- keys -------------------------------------------------------------------------------------------------------

    async def on_event(self, event: events.Event) -> None:
        """Key by key, each to what the one before has opened: Textual hands on what is typed at once to what has the focus now."""
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._typed.append(event)
            if self._following is None:
                await self._type_next()
        else:
            await super().on_event(event)

    @property
    def typed_ahead(self) -> bool:
        """Whether more has been typed than what is done with."""
        return bool(self._typed)

    async def _type_next(self) -> None:
        if self._typed:
            await super().on_event(self._typed.popleft())
            self._follow(first=True)

    def _follow(self, *, first: bool) -> None:
        self._following = Followed((self.screen, self.focused), first=first)
        self._follow_by = self.set_timer(FOLLOWED_WITHIN, partial(self.on_followed, self._following))
        (self.focused or self.screen).post_message(self._following)

    async def on_followed(self, event: Followed) -> None:
        """Where the key has led elsewhere, that is there, with its focus, once another one has gone through it."""
        if event is not self._following:
            return
        if self._follow_by is not None:
            self._follow_by.stop()
        self._following = None
        if event.first or event.stood != (self.screen, self.focused):
            self._follow(first=False)
        else:
            await self._type_next()

    # --- looks ------------------------------------------------------------------------------------------------------

    def _theme_changed(self, theme: Theme) -> None:
        self._filter_colours(theme.name)

    def _filter_colours(self, theme: str) -> None:
        """Textual's own widgets have no colour where the panels have none."""
        self._filters = [NoColor()] if theme == PLAIN.name else self._colour_filters

    def _fatal_error(self) -> None:
        # Where Textual itself cannot go on. Its own way prints the locals of every frame, and a local may be a secret.
        error = sys.exc_info()[1]
        if error is not None:
            self.crash = logged(error)
        self.exit(return_code=1)


def logged(error: BaseException) -> str:
    """Its name and words, and in the log where it came from; no local value, which may be a secret."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    way = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    said = f"{type(error).__name__}: {plain(error, 200)}"
    logging.getLogger("edge").error("The console failed: %s (%s)", said, way)
    return said


def run(app: ScreenApp[Result]) -> Result | None:
    """Run it in this terminal to its end; its result. A collector that rests until the first paint works again after it."""
    try:
        return app.run()
    finally:
        gc.enable()
