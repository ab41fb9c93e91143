"""Lines as values: pieces of text with their ink, put together without a terminal."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from console.text import cut, width_of, wrapped

Piece = tuple[str, Style]
Line = tuple[Piece, ...]

BLANK: Line = ()
MOST_FOLDS = 12
"""Rows that one line takes at most."""
LEAST_FOLD = 12
"""Cells that its last piece needs for that."""


def line_width(line: Iterable[Piece]) -> int:
    """How many cells the line takes."""
    width = 0
    for text, _ in line:
        width += len(text) if text.isascii() else cell_len(text)
    return width


def clip(line: Line, width: int) -> Line:
    """At most `width` cells of the line, its last piece cut with `…`."""
    if line_width(line) <= width:
        return line
    kept: list[Piece] = []
    room = width
    for text, ink in line:
        taken = width_of(text)
        if taken > room:
            kept.append((cut(text, room), ink))
            break
        kept.append((text, ink))
        room -= taken
    return tuple(kept)


def spread(left: Line, right: Line, width: int, space: Style) -> Line:
    """`left` and `right` at the two ends of `width` cells; the left gives way."""
    right = clip(right, width)
    left = clip(left, max(0, width - line_width(right) - 1))
    gap = width - line_width(left) - line_width(right)
    return (*left, (" " * gap, space), *right)


def centred(line: Line, width: int, space: Style) -> Line:
    """The line in the middle of `width` cells."""
    line = clip(line, width)
    before = (width - line_width(line)) // 2
    return ((" " * before, space), *line) if before else line


def folded(lines: Iterable[Line], width: int) -> list[Line]:
    """Each in `width` cells: what is too long goes on below, under its last piece."""
    return [part for line in lines for part in _folded(line, width)]


def _folded(line: Line, width: int) -> list[Line]:
    if line_width(line) <= width:
        return [line]
    *head, (text, ink) = line
    before = line_width(head)
    if width - before < LEAST_FOLD:
        return [clip(line, width)]
    first, *rest = wrapped(text, width - before, MOST_FOLDS)
    return [(*head, (first, ink)), *(((" " * before, ink), (row, ink)) for row in rest)]


def merged(pieces: Iterable[Piece]) -> Line:
    """The same line with what has the same ink side by side in one piece."""
    line: list[Piece] = []
    for text, ink in pieces:
        if line and line[-1][1] is ink:
            line[-1] = (line[-1][0] + text, ink)
        else:
            line.append((text, ink))
    return tuple(line)


def strip_of(line: Line, width: int, ground: Style) -> Strip:
    """The line on its ground, exactly `width` cells wide."""
    return Strip(segments_of(line, width, ground), width)


def segments_of(line: Line, width: int, ground: Style) -> list[Segment]:
    """What such a strip is made of."""
    room = width - line_width(line)
    if room < 0:
        line = clip(line, width)
        room = width - line_width(line)
    segments = [Segment(text, _on(ground, ink)) for text, ink in line if text]
    if room > 0:
        segments.append(Segment(" " * room, ground))
    return segments


@lru_cache(maxsize=1_024)
def _on(ground: Style, ink: Style) -> Style:
    return ground + ink


def framed(rows: Sequence[Line], width: int, height: int, edge: Style, title: Line, foot: Line = BLANK) -> list[Line]:
    """`rows` in a round border of `width` by `height` cells, with a title at its top left and a foot at its bottom right."""
    inner = width - 4
    title = clip(title, inner - 3)
    foot = clip(foot, inner - 3)
    top: Line = (("╭─ ", edge), *title, (" " + "─" * (width - 5 - line_width(title)) + "╮", edge))
    bottom: Line = (("╰" + "─" * (width - 2) + "╯", edge),)
    if foot:
        bottom = (("╰" + "─" * (width - 5 - line_width(foot)) + " ", edge), *foot, (" ─╯", edge))
    lines = [top]
    for y in range(height - 2):
        row = rows[y] if y < len(rows) else BLANK
        room = inner - line_width(row)
        if room < 0:
            row = clip(row, inner)
            room = inner - line_width(row)
        lines.append((("│ ", edge), *row, (" " * room + " │", edge)))
    lines.append(bottom)
    return lines
