"""Ack latency: two minutes of bars, the percentiles, the ping, the loop."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from console.panels.lines import BLANK, Line, Piece, centred, framed, line_width, merged
from console.panels.view import View
from console.text import compact, fit_right
from console.themes import Inks

WINDOW_SECONDS = 120.0
GOOD_MS, SLOW_MS = 35.0, 75.0
STALL_MS = 50.0
PERCENTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
_EIGHTHS = " ▁▂▃▄▅▆▇"


class Bar(NamedTuple):
    """So many eighths of a cell high, drawn with these, so many cells wide."""

    eighths: int
    fills: tuple[Piece, ...]
    width: int


def latency(view: View, width: int, height: int) -> list[Line]:
    """The panel in its frame."""
    inner = width - 4
    inks = view.inks
    tall = height >= 11
    chart_height = height - 2 - (3 if tall else 2)
    rows = _chart(view, inner, chart_height)
    rows += [BLANK] if tall else []
    rows += [_percentiles(view, inner), _gauges(view, inner)]
    return framed(rows, width, height, inks.edge, (("Ack latency", inks.key),), (("last 2 min", inks.muted),))


def tone_of(ms: float) -> str:
    """Fast, noticeable, slow."""
    return "good" if ms < GOOD_MS else "warn" if ms < SLOW_MS else "bad"


def _columns(view: View, count: int) -> list[float]:
    """The slowest ack of each slice of the window, 0 where there was none; slices stand still in time, so bars move in steps."""
    seconds = WINDOW_SECONDS / count
    oldest = int(view.now.mono / seconds) - count + 1
    columns = [0.0] * count
    for at, slowest in view.snapshot.latency.slowest_acks:
        number = int(at / seconds) - oldest
        if 0 <= number < count:
            columns[number] = max(columns[number], slowest)
    return columns


def _chart(view: View, inner: int, height: int) -> list[Line]:
    axis = 5
    room = max(1, inner - axis)
    wide = 1 + room // 50
    columns = _columns(view, room // wide)
    if not any(columns):
        empty = [BLANK] * height
        empty[height // 2] = centred((("no acks in two minutes", view.inks.faint),), inner, view.inks.ground)
        return empty
    top = _round_up(max(columns))
    labels = {0: _label(top), height - 1: "0"}
    if height >= 4 and height % 2 == 0:
        labels[height // 2] = _label(top / 2)
    fills = {tone: _fills(view.inks, tone) for tone in ("good", "warn", "bad")}
    bars = [
        Bar(max(1, round(value / top * height * 8)) if value else 0, fills[tone_of(value)], wide * len(list(run)))
        for value, run in groupby(columns)
    ]
    return [_chart_row(view, bars, (height - 1 - y) * 8, labels.get(y, "")) for y in range(height)]


def _label(ms: float) -> str:
    """In the axis' four cells; milliseconds are the usual, and go without saying."""
    return "".join(compact(ms)).removesuffix("ms")


@lru_cache(maxsize=16)
def _fills(inks: Inks, tone: str) -> tuple[Piece, ...]:
    """A cell of a bar by how many eighths of it are full."""
    ink = inks.tone(tone)
    return (*((glyph, ink) for glyph in _EIGHTHS), (" ", inks.bar(tone)))


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 … with some steps between: an axis that does not jump with each bar."""
    scale = 1.0
    while True:
        for step in (1, 2, 3, 4, 6, 8):
            if step * scale >= value:
                return step * scale
        scale *= 10


def _chart_row(view: View, bars: list[Bar], floor: int, label: str) -> Line:
    """The cells of that row; `floor` is how many eighths of a bar are below it."""
    pieces: list[Piece] = [(fit_right(label, 4) + " ", view.inks.faint)]
    for eighths, fills, width in bars:
        glyph, ink = fills[min(8, eighths - floor) if eighths > floor else 0]
        pieces.append((glyph * width, ink))
    return merged(pieces)


def _percentiles(view: View, inner: int) -> Line:
    """With one unit behind them all where they have the same; where there is no room for three, without the one in the middle."""
    ack = view.snapshot.latency.ack
    times = [(name, ack.percentile(share)) for name, share in PERCENTILES]
    units = {compact(ms)[1] for _, ms in times if ms is not None}
    if len(units) == 1:
        line = (*_named(view, times, inner, units.pop()), (" " + compact(times[-1][1] or 0.0)[1], view.inks.muted))
        if line_width(line) <= inner:
            return line
    line = _named(view, times, inner)
    return line if line_width(line) <= inner else _named(view, [times[0], times[-1]], inner)


def _named(view: View, times: Sequence[tuple[str, float | None]], inner: int, shared: str = "") -> Line:
    """Each with its name and its unit, but a unit that is `shared`."""
    inks, gap = view.inks, "  " if inner >= 30 else " "
    line: Line = ()
    for name, ms in times:
        figure, ink = ("–", inks.muted) if ms is None else ("".join(compact(ms)), inks.tone(tone_of(ms), bold=True))
        line = (*line, ((gap if line else "") + name + " ", inks.muted), (figure.removesuffix(shared), ink))
    return line


def _gauges(view: View, inner: int) -> Line:
    """Ping, jitter and loop lag, as far as there is room for them."""
    inks, now = view.inks, view.snapshot.latency
    times = {"ping": now.last_ping_ms, "jitter": now.jitter_ms, "loop lag": now.loop_lag_ms}
    tones = {"loop lag": "bad"} if now.loop_lag_ms >= STALL_MS else {}
    short = {"jit" if name == "jitter" else name: ms for name, ms in times.items()}
    for names, gap, space in ((times, "  ", " "), (times, " ", " "), (short, " ", "")):
        line = _gauged(inks, names, tones, gap, space)
        if line_width(line) <= inner:
            return line
    return _gauged(inks, {"ping": now.last_ping_ms, "jit": now.jitter_ms}, tones, " ", "")


def _gauged(inks: Inks, times: Mapping[str, float | None], tones: Mapping[str, str], gap: str, space: str) -> Line:
    line: Line = ()
    for name, ms in times.items():
        figure, unit = ("–", "") if ms is None else compact(ms)
        ink = inks.tone(tones[name], bold=True) if name in tones else inks.bright
        line = (*line, ((gap if line else "") + name + " ", inks.muted), (figure, ink), (space + unit if unit else "", inks.muted))
    return line
