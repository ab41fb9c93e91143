"""Whose delay it was, in words: plain lines for `edge-console stats` and the latency panel at length alike."""

from collections.abc import Iterator
from datetime import UTC, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from agent_core.delays import DAY, LATE_SECONDS, Delays, Hour
from agent_core.figures import took
from console.text import count, fit, fit_right, grouped, moment

ORDER = ("backend", "lane", "effect", "link", "proof")
"""As a command's life goes."""
GLYPHS = dict(zip(ORDER, "█▓▒░·", strict=True))
MEANING = {
    "backend": "issued → received", "lane": "received or due → started", "effect": "started → finished",
    "link": "finished → ack sent", "proof": "ack sent → proven",
}  # fmt: skip
CELL = 10
HEADING = "mean time of a command by hour, and of its proof"


class HourBar(NamedTuple):
    """An hour as a stacked bar between two texts."""

    head: str
    parts: tuple[tuple[str, int], ...]
    """By name, as a command's life goes: so many cells each."""
    tail: str

    def __str__(self) -> str:
        return self.head + "".join(GLYPHS[name] * cells for name, cells in self.parts) + self.tail


def last_day(data_dir: Path, now: float) -> Delays | None:
    """What the ledger tells of it; None where there is none yet."""
    from agent_core.journal.reader import NoLedger, delays_since

    try:
        return delays_since(data_dir, now - DAY)
    except NoLedger:
        return None


def table(delays: Delays) -> Iterator[str]:
    """A row a part, with the glyph that it has in the bars."""
    yield fit("", 11) + "".join(fit_right(head, CELL) for head in ("count", "p50", "p95", "max"))
    for name in ORDER:
        spread = delays.spreads[name]
        cells = [grouped(spread.count), took(spread.p50), took(spread.p95), took(spread.max)]
        yield f"{GLYPHS[name]} {name:<9}" + "".join(fit_right(cell, CELL) for cell in cells) + f"  {MEANING[name]}"


def clock(delays: Delays) -> str:
    """What the backend's instants were corrected by."""
    offset = delays.clock_offset
    if offset is None:
        return "backend's clock: no HTTP Date has told it; taken as this machine's"
    if abs(offset) < LATE_SECONDS:
        return "backend's clock: within a second of this machine's, by its HTTP Date"
    return f"backend's clock: {took(abs(offset))} {'ahead' if offset > 0 else 'behind'}, by its HTTP Date; taken into account"


def by_hour(delays: Delays, width: int, rows: int, now: float, zone: tzinfo | None = None) -> Iterator[HourBar]:
    """The newest hours with commands, at most so many, in `width` cells: how long a command took, and its proof beside it."""
    hours = delays.hours[-rows:] if rows > 0 else ()
    longest = max((sum(filter(None, hour.means)) for hour in hours), default=0.0)
    heads = [moment(hour.begins_utc, now, zone, "%H:%M") for hour in hours]
    tails = [
        f" {fit_right(took(_waited(hour)), 8)} + {fit_right(took(hour.means.proof), 8)} {fit_right(count(hour.commands), 8)} ×"
        for hour in hours
    ]
    label = max(map(len, heads), default=0)
    room = max(5, width - label - 2 - max(map(len, tails), default=0))
    for head, hour, tail in zip(heads, hours, tails, strict=True):
        parts = _stacked(hour, longest, room)
        yield HourBar(fit_right(head, label) + "  ", parts, " " * (room - sum(cells for _, cells in parts)) + tail)


def _waited(hour: Hour) -> float:
    """The mean seconds of a command; a proof is nobody's wait."""
    return sum(getattr(hour.means, name) or 0.0 for name in ORDER if name != "proof")


def _stacked(hour: Hour, longest: float, room: int) -> tuple[tuple[str, int], ...]:
    """Its parts in their order, rounded where they end, so that the whole is as long as it should be."""
    seconds, ends = 0.0, [0]
    for name in ORDER:
        seconds += getattr(hour.means, name) or 0.0
        ends.append(round(seconds / longest * room) if longest else 0)
    return tuple((name, end - begin) for name, (begin, end) in zip(ORDER, pairwise(ends), strict=True))


def report(delays: Delays, width: int, rows: int, now: float) -> Iterator[str]:
    """All of it in plain lines with hours in UTC, for whoever has to mend it."""
    yield delays.sentence
    if not delays.commands:
        return
    yield from ("", *table(delays), clock(delays), "", f"{HEADING} (UTC)")
    yield from map(str, by_hour(delays, width, rows, now, UTC))
    if (left := len(delays.hours) - rows) > 0:
        yield f"… and {left} earlier hours"
