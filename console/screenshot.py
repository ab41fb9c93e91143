"""Pictures of the console: SVG from what is on the screen, PNG from the SVG with the fonts that ship with it."""

import asyncio
import os
import re
import tempfile
from datetime import UTC, datetime
from html import unescape
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from console.text import width_of

if TYPE_CHECKING:
    from console.app import EdgeConsole

FAMILY = "JetBrains Mono"
CELL = 12.2
"""A cell's width in Textual's SVG; JetBrains Mono is 0.6 em wide, so its size follows."""
_SIZE = CELL / 0.6
_FONTS = ("JetBrainsMono-Regular.ttf", "JetBrainsMono-Bold.ttf", "DejaVuSansMono.ttf")
_FACE = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
_TEXT = re.compile(r'<text class="([^"]*)" x="([0-9.e+-]+)" y="([0-9.e+-]+)" textLength="[^"]*"([^>]*)>([^<]*)</text>')


def svg_of(app: "EdgeConsole") -> str:
    """What is on the screen now as an SVG that names no server and puts every character in its own cell."""
    return _cleaned(app.export_screenshot(simplify=True))


def _cleaned(svg: str) -> str:
    svg = _FACE.sub("", svg)
    svg = svg.replace("font-family: Fira Code, monospace;", f"font-family: '{FAMILY}', 'DejaVu Sans Mono', monospace;")
    svg = svg.replace("font-family: arial;", f"font-family: '{FAMILY}', sans-serif;")
    svg = re.sub(r"font-size: 20px;", f"font-size: {_SIZE:.4g}px;", svg, count=1)
    return _TEXT.sub(_placed, svg)


def _placed(match: re.Match[str]) -> str:
    """One x a character: no font, ligature or wide character can shift what follows."""
    style, x, y, rest, escaped = match.groups()
    at = float(x)
    places: list[str] = []
    for char in unescape(escaped):
        places.append(f"{at:.5g}")
        at += CELL * width_of(char)
    return f'<text class="{style}" x="{" ".join(places)}" y="{y}"{rest}>{escaped}</text>'


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


def save(svg: str, directory: Path, utc: float) -> Path:
    """Write the picture into `directory` under a name of its own, readable by nobody else; its path."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = datetime.fromtimestamp(utc, UTC)
    path = directory / f"edge-console-{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1_000:03d}.svg"
    write(path, svg.encode())
    return path


def write(path: Path, content: bytes) -> None:
    """The whole file or none of it, mode 0600."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


async def capture(app: "EdgeConsole", size: tuple[int, int], after: float) -> str:
    """Run the app without a terminal for `after` seconds; the SVG of what it then shows."""
    running = asyncio.create_task(app.run_async(headless=True, size=size), name="console")
    try:
        await asyncio.wait({running}, timeout=after)
        if running.done():
            running.result()
            raise RuntimeError(app.return_value or "the console ended before the picture was taken")
        return svg_of(app)
    finally:
        if not running.done():
            app.exit()
        await asyncio.wait({running})
