"""What every program here has that fills the screen: our themes, a terminal that may go away, and an end that tells no local value."""

import gc
import logging
import sys
import traceback
from pathlib import Path
from typing import TypeVar

from textual.app import App
from textual.filter import NoColor
from textual.theme import Theme

from agent_core.plain import plain
from console.terminal import DetachableDriver
from console.themes import PALETTES, PLAIN, theme_of

Result = TypeVar("Result")


class ScreenApp(App[Result]):
    """Textual's, with nothing of it that shows another one's colours."""

    CSS_PATH = Path(__file__).with_name("console.tcss")
    TITLE = "edge-console"
    ALLOW_SELECT = False

    def __init__(self, theme: str) -> None:
        super().__init__(driver_class=DetachableDriver)
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
