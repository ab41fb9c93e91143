"""Pictures of the console: SVG from what is on the screen, PNG from the SVG with the fonts that ship with it."""

from collections.abc import Iterator
from html import escape
from importlib.resources import as_file, files
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.color import Color, ColorType
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.app import App

from agent_core.files import dated, write_whole
from console.text import width_of

FAMILY = "JetBrains Mono"
CELL, LINE, SIZE, BASELINE = 12, 24, 20, 18
"""Pixels: JetBrains Mono is 0.6 em wide, so at 20 px each cell begins on a whole one."""
PAD, BAR = 8, 40
_FONTS = ("JetBrainsMono-Regular.ttf", "JetBrainsMono-Bold.ttf", "DejaVuSansMono.ttf")
_BLOCKS = {" ": (0, 0, 0, 0), "▌": (0, 0, CELL // 2, LINE), "▐": (CELL // 2, 0, CELL // 2, LINE), "▀": (0, 0, CELL, LINE // 2)} | {
    chr(0x2580 + eighths): (0, LINE - 3 * eighths, CELL, 3 * eighths) for eighths in range(1, 9)
}
"""Block elements as rectangles (x, y, width, height): a font's own leave seams."""


def svg_of(app: App[Any]) -> str:
    """What is on the screen now, as an SVG with every character in its own cell; it names no server."""
    width, height = app.size
    return _drawn(_painted(app), width, height, app.title, _hex(app.screen.rich_style.bgcolor) or "#000000")


def text_of(app: App[Any]) -> str:
    """What is on the screen now, as lines of plain text."""
    return "".join("".join(segment.text for segment in line).rstrip() + "\n" for line in _painted(app))


def _painted(app: App[Any]) -> list[list[Segment]]:
    compositor = app.screen._compositor  # noqa: SLF001 - there is no public way to the cells
    painted = compositor.render_update(full=True, screen_stack=app._background_screens)  # noqa: SLF001
    width, height = app.size
    console = Console(width=width, height=height, color_system="truecolor", legacy_windows=False)
    lines = [] if painted is None else list(Segment.split_lines(Segment.filter_control(console.render(painted))))
    return lines[:height]


def _drawn(lines: list[list[Segment]], width: int, height: int, title: str, ground: str) -> str:
    classes: dict[str, str] = {}
    grounds: list[str] = []
    texts: list[str] = []
    for y, line in enumerate(lines):
        x = 0
        for style, run in groupby(line, key=lambda segment: segment.style or Style.null()):
            text = "".join(segment.text for segment in run)
            ink, under = _colours(style, ground)
            cells = width_of(text)
            if under != ground:
                grounds.append(_rect(x * CELL, y * LINE, cells * CELL, LINE, under))
            grounds += _blocks(text, x, y, ink)
            css = f"fill:{ink}" + (";font-weight:bold" if style.bold else "") + (";text-decoration:underline" if style.underline else "")
            css += ";opacity:.55" if style.dim else ""
            texts += _words(text, x, y, classes.setdefault(css, f"c{len(classes)}"))
            x += cells
    return _page("".join(grounds), "".join(texts), classes, (width * CELL, height * LINE), title, ground)


def _page(grounds: str, texts: str, classes: dict[str, str], size: tuple[int, int], title: str, ground: str) -> str:
    across, down = size
    box = f'width="{across + 2 * PAD}" height="{down + BAR + PAD}"'
    rules = "".join(f".{name}{{{css}}}" for css, name in classes.items())
    dots = "".join(f'<circle cx="{22 + 22 * i}" cy="21" r="7" fill="{fill}"/>' for i, fill in enumerate(("#ff5f57", "#febc2e", "#28c840")))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across + 2 * PAD} {down + BAR + PAD}" {box}>\n'
        f"<style>text{{font-family:'{FAMILY}','DejaVu Sans Mono',monospace;font-size:{SIZE}px;white-space:pre}}{rules}</style>\n"
        f'<rect {box} rx="8" fill="#292929"/>{dots}'
        f'<text x="{PAD + across // 2}" y="28" text-anchor="middle" font-weight="bold" fill="#c5c8c6">{_xml(title)}</text>\n'
        f'<g transform="translate({PAD},{BAR})">{_rect(0, 0, across, down, ground)}\n{grounds}\n'
        f'<g xml:space="preserve">{texts}</g></g>\n</svg>\n'
    )


def _blocks(text: str, x: int, y: int, ink: str) -> Iterator[str]:
    if text.isascii():
        return
    for index, char in enumerate(text):
        if char in _BLOCKS and char != " ":
            left, top, wide, high = _BLOCKS[char]
            at = (x + width_of(text[:index])) * CELL
            yield _rect(at + left, y * LINE + top, wide, high, ink)


def _words(text: str, x: int, y: int, name: str) -> Iterator[str]:
    """The runs of the text with ink in them, one x a character: no font, ligature or wide character shifts what follows."""
    at = x * CELL
    places: list[tuple[int, str]] = []
    for char in text:
        places.append((at, " " if char in _BLOCKS else char))
        at += CELL * width_of(char)
    while places and places[-1][1] == " ":
        places.pop()
    while places and places[0][1] == " ":
        places.pop(0)
    if places:
        across = " ".join(str(place) for place, _ in places)
        yield f'<text class="{name}" x="{across}" y="{y * LINE + BASELINE}">{_xml("".join(char for _, char in places))}</text>'


def _rect(x: int, y: int, width: int, height: int, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'


def _colours(style: Style, ground: str) -> tuple[str, str]:
    ink, under = _hex(style.color) or "#c5c8c6", _hex(style.bgcolor) or ground
    return (under, ink) if style.reverse else (ink, under)


def _hex(colour: Color | None) -> str | None:
    return None if colour is None or colour.type is ColorType.DEFAULT else colour.get_truecolor().hex


def _xml(text: str) -> str:
    return escape("".join(char if char.isprintable() else "\ufffd" for char in text), quote=False)


def png_of(svg: str) -> bytes:
    """The SVG as a PNG; the same bytes on every machine, since no font but ours is used."""
    import resvg_py

    with as_file(files("console") / "fonts") as fonts:
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                font_files=[str(fonts / name) for name in _FONTS],
                skip_system_fonts=True,
                font_family=FAMILY,
                monospace_family=FAMILY,
            )
        )


def save(app: App[Any], directory: Path, utc: float) -> Path:
    """Write what is on the screen, as SVG and as text, into `directory`, readable by nobody else; the SVG's path."""
    path = dated(directory, "edge-console", utc, "svg")
    write_whole(path.with_suffix(".txt"), text_of(app).encode())
    write_whole(path, svg_of(app).encode())
    return path
