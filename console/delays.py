"""Whose delay it was, in words: plain lines for `edge-console stats` and the latency panel at length alike."""

from collections.abc import Iterator
from datetime import tzinfo
from pathlib import Path

from agent_core.delays import HOUR, LATE_SECONDS, Delays, Hour, took
from console.text import fit, fit_right, grouped, moment

ORDER = ("backend", "lane", "effect", "link", "proof")
"""As a command's life goes."""
GLYPHS = dict(zip(ORDER, "█▓▒░·", strict=True))
MEANING = {
    "backend": "issued → received", "lane": "received or due → started", "effect": "started → finished",
    "link": "finished → ack sent", "proof": "ack sent → proven",
}  # fmt: skip
CELL = 10


def last_hour(data_dir: Path, now: float) -> Delays | None:
    """What the ledger tells of it; None where there is none yet."""
    from agent_core.journal.reader import NoLedger, delays_since

    try:
        return delays_since(data_dir, now - HOUR)
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


def by_hour(delays: Delays, width: int, rows: int, now: float, zone: tzinfo | None = None) -> Iterator[str]:
    """The newest hours with commands, a stacked bar each: how long a command took in it."""
    hours = delays.hours[-rows:] if rows > 0 else ()
    longest = max((_total(hour) for hour in hours), default=0.0)
    names = [moment(hour.begins_utc, now, zone, "%H:%M") for hour in hours]
    label = max(map(len, names), default=0)
    room = max(5, width - label - 24)
    for name, hour in zip(names, hours, strict=True):
        bar = _bar(hour, longest, room)
        yield f"{fit_right(name, label)}  {fit(bar, room)} {fit_right(took(_total(hour)), 9)} {fit_right(grouped(hour.commands), 9)} ×"


def _total(hour: Hour) -> float:
    """The mean seconds of a command; a proof is nobody's wait."""
    return sum(getattr(hour.means, name) or 0.0 for name in ORDER if name != "proof")


def _bar(hour: Hour, longest: float, room: int) -> str:
    """Its parts in their order, rounded where they end, so that the whole is as long as it should be."""
    reached, bar = 0.0, ""
    for name in ORDER:
        if name != "proof" and longest:
            reached += getattr(hour.means, name) or 0.0
            bar += GLYPHS[name] * (round(reached / longest * room) - len(bar))
    return bar
