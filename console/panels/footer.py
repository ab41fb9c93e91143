"""The last row: the keys that work here, as calm as they can be."""

from functools import lru_cache

from rich.style import Style

from console.panels.lines import BLANK, Line, line_width, spread
from console.panels.view import Key, View
from console.themes import Inks

SPARED = ("Shot", "Edit", "Inspect", "Follow", "Polling", "Replay", "Reconnect", "Filter")
"""What is left out where there is no room, in that order: the help names them all."""


def footer(view: View, width: int, height: int) -> list[Line]:
    """Key and label, each a click away; the palette at the right where there is room."""
    del height
    return [_bar(view.keys, view.inks, width)]


@lru_cache(maxsize=4)
def _bar(keys: tuple[Key, ...], inks: Inks, width: int) -> Line:
    gap = 2 if width >= 100 else 1
    named = [key for key in keys if key.label != "palette"]
    palette = [key for key in keys if key.label == "palette"]
    right: Line = (("│ ", inks.faint), *_key(palette[0], inks), (" ", inks.band)) if palette and width >= 100 else BLANK
    for label in SPARED:
        if sum(line_width(_key(key, inks)) + gap for key in named) < width - line_width(right):
            break
        named = [key for key in named if key.label != label]
    left: Line = tuple(piece for key in named for piece in ((" " * (gap if key is not named[0] else 1), inks.band), *_key(key, inks)))
    return spread(left, right, width, inks.band)


def _key(key: Key, inks: Inks) -> Line:
    click = Style(meta={"@click": key.action})
    return ((key.display, inks.key + click), (" " + key.label, inks.muted + click))
