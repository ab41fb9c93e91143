"""Pictures: valid, the same everywhere, and aligned."""

import struct
from datetime import UTC
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest

from console.app import EdgeConsole
from console.run import capture
from console.screenshot import BAR, CELL, LINE, PAD, png_of
from tests.harness.stills import ONLINE, WAITING, StillHost, clock, pictured

SVG = "{http://www.w3.org/2000/svg}"


async def picture(size: tuple[int, int] = (80, 24), theme: str = "edge-dark") -> str:
    host = StillHost(WAITING if size[0] == 80 else ONLINE, pictured())
    return await capture(EdgeConsole(host, clock=clock(), zone=UTC, theme=theme), size, 0.3)


async def test_an_svg_is_valid_complete_and_asks_no_server() -> None:
    svg = await picture((120, 36))
    root = ElementTree.fromstring(svg)
    text = "\n".join(node.text or "" for node in root.iter(f"{SVG}text"))
    for part in ("edge-console", "● ONLINE", "Connection", "cmd_3ff17fd374", "✗ failed", "Reconnect"):
        assert part in text
    assert svg.count("http") == svg.count("http://www.w3.org/2000/svg")


async def test_every_character_has_its_own_place_on_the_grid() -> None:
    root = ElementTree.fromstring(await picture())
    grid = root.find(f"{SVG}g/{SVG}g")
    assert grid is not None
    for node in grid.iter(f"{SVG}text"):
        places = [int(place) for place in node.attrib["x"].split()]
        assert len(places) == len(node.text or "")
        assert all(place % CELL == 0 for place in places)


async def test_a_png_has_the_size_of_its_grid_and_is_the_same_each_time() -> None:
    svg = await picture()
    png = png_of(svg)
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (80 * CELL + 2 * PAD, 24 * LINE + BAR + PAD)
    assert png_of(await picture()) == png
    assert png_of(await picture(theme="edge-light")) != png


async def test_a_console_that_ends_before_its_picture_says_so() -> None:
    host = StillHost(ONLINE)
    host.failure = RuntimeError("no")
    with pytest.raises(RuntimeError, match="the agent failed: no"):
        await capture(EdgeConsole(host, clock=clock()), (80, 24), 5)


def test_every_glyph_of_the_console_is_in_a_font_that_ships() -> None:
    known: set[int] = set()
    for font in files("console").joinpath("fonts").iterdir():
        if font.name.endswith(".ttf"):
            known |= characters_of(font.read_bytes())
    sources = list(Path(str(files("console"))).rglob("*.py"))
    used = {char for path in sources for char in path.read_text() if not char.isspace()}
    assert not {char for char in used if ord(char) not in known}


def characters_of(font: bytes) -> set[int]:
    """The characters of a TrueType font's format 4 table."""
    count = struct.unpack(">H", font[4:6])[0]
    tables = {font[at : at + 4]: struct.unpack(">II", font[at + 8 : at + 16]) for at in range(12, 12 + 16 * count, 16)}
    start, length = tables[b"cmap"]
    cmap = font[start : start + length]
    found: set[int] = set()
    for record in range(struct.unpack(">H", cmap[2:4])[0]):
        at = struct.unpack(">I", cmap[4 + 8 * record + 4 : 4 + 8 * record + 8])[0]
        if struct.unpack(">H", cmap[at : at + 2])[0] == 4:
            count = struct.unpack(">H", cmap[at + 6 : at + 8])[0] // 2
            ends = struct.unpack(f">{count}H", cmap[at + 14 : at + 14 + 2 * count])
            starts = struct.unpack(f">{count}H", cmap[at + 16 + 2 * count : at + 16 + 4 * count])
            found |= {code for first, last in zip(starts, ends, strict=True) for code in range(first, last + 1)}
    return found
