"""Plain formatting: durations, figures, columns, short ids; nothing here knows a terminal or a colour."""

import unicodedata
from collections.abc import Mapping
from datetime import date, datetime, tzinfo
from typing import Any

from rich.cells import cell_len

from agent_core.figures import long
from agent_core.plain import plain

_ROWS = (
    "┏━┓╺┓ ╺━┓╺━┓╻ ╻┏━╸┏━╸╺━┓┏━┓┏━┓",
    "┃ ┃ ┃ ┏━┛ ━┫┗━┫┗━┓┣━┓  ┃┣━┫┗━┫",
    "┗━┛╺┻╸┗━╸╺━┛  ╹╺━┛┗━┛  ╹┗━┛╺━┛",
)
_SIGNS = {".": (" ", " ", "."), ":": (" ", ":", " "), " ": (" ", " ", " "), "–": ("   ", "╺━╸", "   ")}


def width_of(text: str) -> int:
    """How many cells `text` takes."""
    return len(text) if text.isascii() else cell_len(text)


def shown(text: object, limit: int = 500) -> str:
    """Untrusted text as a terminal may have it: `plain`, and nothing that changes the width of its neighbour."""
    cut = plain(text, limit)
    return cut if cut.isascii() else _without_joiners(cut)


def _without_joiners(text: str) -> str:
    kept: list[str] = []
    marked = False
    for char in unicodedata.normalize("NFC", text):
        if 0xFE00 <= ord(char) <= 0xFE0F or 0x1F3FB <= ord(char) <= 0x1F3FF:  # a variation or a tone: some terminals give it cells
            continue
        mark = cell_len(char) == 0
        if not (mark and (marked or not kept)):
            kept.append(char)
        marked = mark
    return "".join(kept)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells; what is missing is shown by `…`."""
    if width_of(text) <= width:
        return text
    return text[: _fitting(text, width - 1)] + "…" if width > 0 else ""


def _fitting(text: str, width: int) -> int:
    """How many characters fit into `width` cells."""
    room = width
    for index, char in enumerate(text):
        room -= width_of(char)
        if room < 0:
            return index
    return len(text)


def wrapped(text: str, width: int, most: int) -> list[str]:
    """`text` in at most `most` rows of `width` cells, broken at spaces where it has some; what is missing is shown by `…`."""
    rows: list[str] = []
    while width_of(text) > width > 0 and len(rows) < most - 1:
        fits = max(1, _fitting(text, width))
        at = text.rfind(" ", 1, fits + 1)
        at = at if at > 0 else fits
        rows.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return [*rows, cut(text, width)]


def fit(text: str, width: int) -> str:
    """`text` in exactly `width` cells, from the left."""
    if text.isascii() and len(text) <= width:
        return text.ljust(width)
    short = cut(text, width)
    return short + " " * (width - width_of(short))


def fit_right(text: str, width: int) -> str:
    """`text` in exactly `width` cells, from the right."""
    if text.isascii() and len(text) <= width:
        return text.rjust(width)
    short = cut(text, width)
    return " " * (width - width_of(short)) + short


def short_id(text: str, width: int) -> str:
    """An id that still tells itself apart in `width` cells: without its `cmd_`, then without its middle."""
    if width_of(text) <= width:
        return text
    bare = text.removeprefix("cmd_").removeprefix("cmd-")
    if width_of(bare) <= width:
        return bare
    if width < 5 or not bare.isascii():
        return cut(bare, width)
    head = (width - 1) // 2
    return f"{bare[:head]}…{bare[head - width + 1 :]}"


def grouped(number: int) -> str:
    """1204 as `1 204`."""
    return f"{number:,}".replace(",", " ")


def duration(seconds: float) -> str:
    """How long: `48 s`, `2m 05s`, `2h 14m 07s`, `3d 04h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3_600}h {whole // 60 % 60:02d}m {whole % 60:02d}s"
    return f"{whole // 86_400}d {whole // 3_600 % 24:02d}h"


def ago(seconds: float) -> str:
    """`4 s ago`, `now`."""
    return "now" if seconds < 1 else f"{duration(seconds)} ago"


def countdown(seconds: float) -> str:
    """What is left: `26.4` under a minute, then `4:32`, then `2:46:39`; never below zero."""
    left = max(0.0, seconds)
    if left < 59.95:
        return f"{left:.1f}"
    whole = min(int(left + 0.5), 999 * 3_600)
    hours, minutes, rest = whole // 3_600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def milliseconds(value: float | None) -> str:
    """`0.42`, `18.9`, `1 204`, or `·` where there is none; in at most 7 cells, since past 10 s it names its unit: `12.3s`, `20m 04s`."""
    if value is None:
        return "·"
    if value < 0.995:
        return f"{value:.2f}"
    if value < 9_999.5:
        return f"{value:.1f}" if value < 999.95 else grouped(round(value))
    if value < 59_950:
        return f"{value / 1_000:.1f}s"
    return long(value / 1_000)


def took(value: float | None) -> str:
    """The same where no heading names the unit: `18.9 ms`, `20m 04s`, `–`."""
    if value is None:
        return "–"
    return with_unit(milliseconds(value), " ms")


def compact(value: float) -> tuple[str, str]:
    """Milliseconds as a figure of at most four cells, and its unit: `0.42` and `ms`, `12` and `s`, `20` and `m`, `3` and `d`."""
    size, unit = next(((size, unit) for most, size, unit in _SIZES if value < most * size), (86_400_000.0, "d"))
    figure = min(value / size, 9_999)
    if unit in "ms" and figure < 9.95:
        return f"{figure:.{2 if figure < 0.995 else 1}f}".rstrip("0").rstrip(".") or "0", unit
    return f"{figure:.0f}", unit


_SIZES = ((999.5, 1.0, "ms"), (599.5, 1_000.0, "s"), (599.5, 60_000.0, "m"), (99.5, 3_600_000.0, "h"))
"""Up to how many of a unit a figure has it; its milliseconds; its name."""


def count(number: int) -> str:
    """`1 204`, `12 345k`, `1 234M`: in at most 7 cells."""
    if number < 1_000_000:
        return grouped(number)
    return f"{grouped(number // 1_000)}k" if number < 100_000_000 else f"{grouped(number // 1_000_000)}M"


def seconds_name(value: float) -> str:
    """A step of the ladder: `1`, `16`, `0.5`; past ten minutes it names its unit: `17m`, `24h`."""
    return f"{value:g}" if value < 600 else "".join(compact(value * 1_000))


def with_unit(figure: str, unit: str = " s") -> str:
    """The figure with its unit, where it has none."""
    return figure if figure[-1].isalpha() or ":" in figure else figure + unit


def time_of_day(utc: float, zone: tzinfo | None = None) -> str:
    """`14:32:07` in `zone`; None: where the operator is."""
    return _local(utc, zone).time().isoformat("seconds")


def minute_of_day(utc: float, zone: tzinfo | None = None) -> str:
    """`14:32`."""
    return f"{_local(utc, zone):%H:%M}"


def stamp(utc: float, zone: tzinfo | None = None) -> str:
    """`14:32:07.300`."""
    return _local(utc, zone).time().isoformat("milliseconds")


def day_stamp(utc: float, zone: tzinfo | None = None) -> str:
    """`2026-11-05 14:32:07.300`."""
    return f"{_local(utc, zone):%Y-%m-%d} {stamp(utc, zone)}"


def moment(utc: float, now: float, zone: tzinfo | None = None, form: str = "%H:%M:%S") -> str:
    """`14:32:07`, with the date before it where it is not today's: `11-05 14:32:07`, `2027-01-05 14:32:07`."""
    then, today = _local(utc, zone), _local(now, zone)
    if then.date() == today.date():
        return f"{then:{form}}"
    return f"{then:%m-%d {form}}" if then.year == today.year else f"{then:%Y-%m-%d {form}}"


def day_of(utc: float, zone: tzinfo | None = None) -> date:
    """The day that it is in `zone` then."""
    return _local(utc, zone).date()


def _local(utc: float, zone: tzinfo | None) -> datetime:
    try:
        return datetime.fromtimestamp(utc, zone)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, zone)


def big(text: str) -> tuple[str, str, str]:
    """Digits, `.`, `:` and `–`, three rows high."""
    rows = ("", "", "")
    for char in text:
        glyph = tuple(row[3 * int(char) : 3 * int(char) + 3] for row in _ROWS) if char.isdecimal() else _SIGNS[char]
        rows = (rows[0] + glyph[0], rows[1] + glyph[1], rows[2] + glyph[2])
    return rows


def host_of(url: str) -> str:
    """The host and port of a URL, or all of it where it has none."""
    rest = url.split("://", 1)[-1]
    return rest.split("/", 1)[0].rsplit("@", 1)[-1]


def text_of_message(payload: Mapping[str, Any]) -> str | None:
    """What a sending command says, under whichever name it came."""
    return next((str(payload[key]) for key in ("text", "message", "message_text") if key in payload), None)
