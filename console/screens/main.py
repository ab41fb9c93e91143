"""The screen with the panels."""

from textual.screen import Screen


class Main(Screen[None]):
    """Counts how often it was drawn, so that what opens over it knows whether what is behind has changed."""

    drawings = 0
