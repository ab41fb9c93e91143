"""The last row: the keys that work here, as calm as they can be."""

from rich.style import Style

from console.panels.lines import BLANK, Line, line_width, spread
from console.panels.view import Key, View


def footer(view: View, width: int, height: int) -> list[Line]:
    """Key and label, each a click away; the palette at the right where there is room."""
    del height
    gap = 2 if width >= 100 else 1
    keys = [key for key in view.keys if key.label != "palette"]
    while len(keys) > 2 and sum(line_width(_key(view, key)) + gap for key in keys) >= width:
        del keys[-3]
    left: Line = tuple(piece for key in keys for piece in ((" " * (gap if key is not keys[0] else 1), view.inks.band), *_key(view, key)))
    palette = [key for key in view.keys if key.label == "palette"]
    right: Line = (("│ ", view.inks.faint), *_key(view, palette[0]), (" ", view.inks.band)) if palette and width >= 100 else BLANK
    return [spread(left, right, width, view.inks.band)]


def _key(view: View, key: Key) -> Line:
    click = Style(meta={"@click": key.action})
    return ((key.display, view.inks.key + click), (" " + key.label, view.inks.muted + click))
