"""The console's colours: one palette a theme, and the inks that the panels draw with."""

from dataclasses import dataclass
from functools import lru_cache

from rich.color import Color
from rich.style import Style
from textual.theme import Theme


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """Colours as `#rrggbb`; every one of them is seen together with a word or a glyph."""

    name: str
    title: str
    dark: bool
    ground: str
    band: str
    text: str
    bright: str
    muted: str
    faint: str
    accent: str
    good: str
    warn: str
    bad: str
    note: str
    run: str
    on_pill: str
    failed_ground: str
    cursor_ground: str


DARK = Palette(
    name="edge-dark", title="dark", dark=True,
    ground="#0d1117", band="#131b25", text="#c5ced8", bright="#f0f4f8", muted="#7d8794", faint="#3b4552", accent="#6cb6ff",
    good="#3fb950", warn="#e3b341", bad="#ff6b61", note="#b987ff", run="#3871c2", on_pill="#0d1117",
    failed_ground="#2c1618", cursor_ground="#1c2d47",
)  # fmt: skip
LIGHT = Palette(
    name="edge-light", title="light", dark=False,
    ground="#fbfcfd", band="#edf1f6", text="#2a323c", bright="#05090f", muted="#5b6673", faint="#b9c3ce", accent="#0860ca",
    good="#17762f", warn="#865800", bad="#c81e2c", note="#7a45d4", run="#5b9bea", on_pill="#ffffff",
    failed_ground="#fde8e7", cursor_ground="#d8e9fd",
)  # fmt: skip
CONTRAST = Palette(
    name="edge-contrast", title="high contrast", dark=True,
    ground="#000000", band="#000000", text="#ffffff", bright="#ffffff", muted="#d0d0d0", faint="#808080", accent="#5fd7ff",
    good="#5fff5f", warn="#ffff00", bad="#ff8080", note="#e0a0ff", run="#5f9fff", on_pill="#000000",
    failed_ground="#500000", cursor_ground="#003a70",
)  # fmt: skip
PLAIN = Palette(
    name="edge-plain", title="no colour", dark=True,
    ground="#000000", band="#000000", text="#ffffff", bright="#ffffff", muted="#c0c0c0", faint="#808080", accent="#ffffff",
    good="#ffffff", warn="#ffffff", bad="#ffffff", note="#ffffff", run="#ffffff", on_pill="#000000",
    failed_ground="#000000", cursor_ground="#303030",
)  # fmt: skip
"""For NO_COLOR: the panels draw with bold, dim and reverse alone; Textual's own widgets lose the colours that stand here."""
PALETTES = {palette.name: palette for palette in (DARK, LIGHT, CONTRAST, PLAIN)}
_PLAIN_INKS = {"muted": Style(dim=True), "faint": Style(dim=True), "warn": Style(bold=True), "bad": Style(bold=True, underline=True)}


def blend(under: str, over: str, share: float) -> str:
    """`share` of `over` on `under`, both `#rrggbb`."""
    pairs = [(int(under[i : i + 2], 16), int(over[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def theme_of(palette: Palette) -> Theme:
    """The palette for Textual's own widgets: the command palette, toasts, dialogs."""
    edge = blend(palette.ground, palette.accent, 0.35)
    return Theme(
        name=palette.name, dark=palette.dark, primary=palette.accent, secondary=palette.accent, accent=palette.accent,
        warning=palette.warn, error=palette.bad, success=palette.good, foreground=palette.text,
        background=palette.ground, surface=palette.band, panel=palette.band,
        variables={
            "edge": edge, "muted": palette.muted, "bright": palette.bright, "band": palette.band,
            "block-cursor-background": palette.cursor_ground, "block-cursor-foreground": palette.bright, "block-cursor-text-style": "none",
            "block-hover-background": palette.cursor_ground, "input-cursor-background": palette.accent, "border": edge,
            "scrollbar": edge, "scrollbar-background": palette.ground,
        },
    )  # fmt: skip


def _ink(colour: str, *, bold: bool = False) -> Style:
    return Style(color=Color.parse(colour), bold=bold or None)


def _pill(on_pill: str, colour: str) -> Style:
    return Style(color=Color.parse(on_pill), bgcolor=Color.parse(colour), bold=True)


def _ground(colour: str) -> Style:
    return Style(bgcolor=Color.parse(colour))


@dataclass(frozen=True, slots=True, eq=False)
class Inks:
    """What the panels draw with, one a theme. Grounds are backgrounds and nothing else, the others have none."""

    palette: Palette
    ground: Style
    band: Style
    failed: Style
    cursor: Style
    text: Style
    bright: Style
    muted: Style
    faint: Style
    past: Style
    head: Style
    accent: Style
    key: Style
    run: Style
    edge: Style
    edge_lit: Style
    edge_warn: Style

    def tone(self, name: str, *, bold: bool = False) -> Style:
        """The ink of a tone: good, warn, bad, note, accent, muted, text, bright or faint."""
        return _tone(self.palette, name, bold)

    def pill(self, name: str) -> Style:
        """A filled label in that tone."""
        return _pill_tone(self.palette, name)

    def bar(self, name: str) -> Style:
        """A background in that tone, for bars made of spaces."""
        return _bar_tone(self.palette, name)


@lru_cache(maxsize=256)
def _tone(palette: Palette, name: str, bold: bool) -> Style:
    if palette is PLAIN:
        return _PLAIN_INKS.get(name, Style()) + Style(bold=bold or None)
    return _ink(getattr(palette, name), bold=bold)


@lru_cache(maxsize=64)
def _pill_tone(palette: Palette, name: str) -> Style:
    if palette is PLAIN:
        return Style(reverse=True, bold=True)
    return _pill(palette.on_pill, getattr(palette, name))


@lru_cache(maxsize=64)
def _bar_tone(palette: Palette, name: str) -> Style:
    if palette is PLAIN:
        return Style(reverse=True)
    return _ground(getattr(palette, name))


@lru_cache(maxsize=8)
def inks_of(name: str) -> Inks:
    """The inks of a theme by name; an unknown one gets the dark ones."""
    palette = PALETTES.get(name, DARK)
    if palette is PLAIN:
        return _plain_inks()

    def ink(name: str, *, bold: bool = False) -> Style:
        return _tone(palette, name, bold)

    return Inks(
        palette,
        ground=_ground(palette.ground),
        band=_ground(palette.band),
        failed=_ground(palette.failed_ground),
        cursor=_ground(palette.cursor_ground),
        text=ink("text"),
        bright=ink("bright"),
        muted=ink("muted"),
        faint=ink("faint"),
        past=_ink(blend(palette.ground, palette.muted, 0.75)),
        head=ink("muted", bold=True),
        accent=ink("accent"),
        key=ink("accent", bold=True),
        run=ink("run"),
        edge=_ink(blend(palette.ground, palette.accent, 0.33)),
        edge_lit=ink("accent"),
        edge_warn=_ink(blend(palette.ground, palette.warn, 0.75)),
    )


def _plain_inks() -> Inks:
    nothing, bold, dim = Style(), Style(bold=True), Style(dim=True)
    return Inks(
        PLAIN, ground=nothing, band=nothing, failed=bold, cursor=Style(reverse=True), text=nothing, bright=bold, muted=dim, faint=dim,
        past=dim, head=Style(underline=True), accent=bold, key=bold, run=dim, edge=dim, edge_lit=nothing, edge_warn=bold,
    )  # fmt: skip
