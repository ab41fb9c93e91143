"""What the panels and the stream have in common as widgets."""

from textual.geometry import Region
from textual.widget import Widget


class Flat(Widget):
    """A widget of lines, without border or padding."""

    ALLOW_SELECT = False

    def repaint(self, *regions: Region) -> None:
        """Paint these regions again, else all of it: as one with what else the screen has to paint, not by messages from each widget."""
        offset = self.region.offset
        self.screen.refresh(*(region.translate(offset) for region in regions or (self.size.region,)))
