"""The stream's columns: which there are at a width, and how a command fills them."""

from datetime import date, tzinfo
from functools import lru_cache
from typing import NamedTuple

from rich.style import Style

from agent_core.filters import BAD
from console.panels.latency import SLOW_MS, tone_of
from console.panels.lines import Line, Piece
from console.panels.ring import Row
from console.panels.sorting import Sort
from console.text import ago, day_of, fit, fit_right, milliseconds, minute_of_day, short_id, shown, stamp, time_of_day, width_of
from console.themes import Inks

STATUS = {
    "queued": ("◌", "queued", "muted"),
    "running": ("●", "running", "accent"),
    "scheduled": ("◷", "scheduled", "accent"),
    "held": ("◇", "held", "warn"),
    "outbox": ("◌", "in outbox", "warn"),
    "sent": ("↗", "sent", "accent"),
    "acked": ("✓", "acked", "good"),
    "failed": ("✗", "failed", "bad"),
    "duplicate": ("≡", "duplicate", "note"),
    "cancelled": ("–", "cancelled", "muted"),
    "refused": ("✗", "refused", "bad"),
    "interrupted": ("▲", "interrupted", "warn"),
    "received": ("↘", "received", "accent"),
}
DELIVERY = {
    "sent": ("✓", "sent", "accent"),
    "delivered": ("✓✓", "delivered", "accent"),
    "read": ("✓✓", "read", "good"),
    "failed": ("✗", "undelivered", "bad"),
}
BESIDE_RECIPIENT = 28
"""Cells that a reason must have beside a recipient, or it has them all."""
DELIVERY_WIDTH, BESIDE_DELIVERY = 15, 28
"""Cells of the column, and those that the message must keep beside it."""
_VIA = {"ws": "muted", "poll": "warn", "local": "note", "in": "accent"}
_TITLES = {
    "time": "TIME", "id": "COMMAND ID", "type": "TYPE", "via": "VIA", "status": "STATUS", "run": "RUN ms", "ack": "ACK ms",
    "bar": "", "rest": "", "message": "", "delivery": "DELIVERY",
}  # fmt: skip


def status_of(row: Row) -> tuple[str, str, str]:
    """Its glyph, word and tone."""
    return status_named(row.status, row.via)


def status_named(status: str, via: str) -> tuple[str, str, str]:
    """Its glyph, word and tone; a replay, which sends no ack, is done and not acked, and what came in is told."""
    if via == "local" and status == "acked":
        return "✓", "done", "good"
    if via == "in" and status == "acked":
        return "✓", "told", "good"
    return STATUS.get(status, ("?", shown(status, 20), "muted"))


def delivery_of(delivery: str) -> tuple[str, str, str]:
    """The glyph, word and tone of how far a message has come."""
    return DELIVERY.get(delivery, ("?", shown(delivery, 20), "muted"))


class Column(NamedTuple):
    name: str
    width: int


class Look(NamedTuple):
    """How it is drawn: the inks, the zone of the times, the day that it is, for ages the second, and of messages what may be seen."""

    inks: Inks
    zone: tzinfo | None
    today: date
    now: int | None = None
    texts: str = "shown"
    deliveries: bool = False
    """The agent tells what becomes of messages."""

    @property
    def masked(self) -> bool:
        return self.texts != "shown"


@lru_cache(maxsize=16)
def columns_for(
    width: int, hidden: frozenset[str] = frozenset(), texts: str = "shown", *, deliveries: bool = False
) -> tuple[Column, ...]:  # fmt: skip
    """The columns of a row of `width` cells, with the gap after each in its width; what is left has the room of the hidden ones.

    Where texts are off, times have the room of messages. With `deliveries` their column is there where it leaves room for a message,
    before the bar.
    """
    if width < 74:
        sizes = {"time": 9, "id": 9, "type": 0, "via": 6, "status": 12, "ack": 8}
    elif width < 96:
        sizes = {"time": 13, "id": 13, "type": 0, "via": 6, "status": 14, "ack": 9}
    elif texts != "off":
        sizes = _with_message(width)
    elif width < 112:
        sizes = {"time": 13, "id": 13, "type": 19, "via": 6, "status": 14, "ack": 9, "rest": 0}
    elif width < 170:
        sizes = {"time": 13, "id": 20, "type": 22, "via": 6, "status": 14, "run": 9, "ack": 10, "rest": 0}
    else:
        sizes = {"time": 14, "id": 26, "type": 24, "via": 7, "status": 15, "run": 10, "ack": 11, "bar": 26, "rest": 0}
    sizes = {name: size for name, size in sizes.items() if name not in hidden} or {"id": 0}
    if 0 not in sizes.values():
        sizes[list(sizes)[-1]] = 0
    if deliveries and "delivery" not in hidden and width >= 96:
        sizes = _with_delivery(sizes, width)
    rest = width - sum(sizes.values())
    return tuple(Column(name, size or max(0, rest)) for name, size in sizes.items())


def _with_delivery(sizes: dict[str, int], width: int) -> dict[str, int]:
    """With the delivery behind the status; the same where there is no room for it."""
    spare = width - sum(sizes.values()) - DELIVERY_WIDTH - BESIDE_DELIVERY
    if spare < 0 <= spare + sizes.get("bar", 0):
        sizes = {name: size for name, size in sizes.items() if name != "bar"}
        spare = 0
    if spare < 0 or "status" not in sizes:
        return sizes
    columns, at = list(sizes.items()), list(sizes).index("status") + 1
    return dict([*columns[:at], ("delivery", DELIVERY_WIDTH), *columns[at:]])


def _with_message(width: int) -> dict[str, int]:
    if width < 112:
        return {"time": 13, "id": 13, "type": 19, "via": 6, "status": 14, "ack": 9, "message": 0}
    if width < 136:
        return {"time": 13, "id": 17, "type": 19, "via": 6, "status": 14, "run": 9, "ack": 9, "message": 0}
    if width < 170:
        return {"time": 13, "id": 20, "type": 20, "via": 6, "status": 14, "run": 9, "ack": 10, "bar": 14, "message": 0}
    return {"time": 14, "id": 26, "type": 24, "via": 7, "status": 15, "run": 10, "ack": 11, "bar": 26, "message": 0}


def heading(columns: tuple[Column, ...], inks: Inks, sort: Sort | None = None) -> Line:
    """The titles, over their figures; an arrow at that of the order."""
    cells: list[tuple[str, Style]] = []
    for column in columns:
        title = "ID" if column.name == "id" and column.width < 16 else _TITLES[column.name]
        if column.name == "message":
            title = fit("TO", _recipient_width(column)) + " MESSAGE"
        sorted_by = sort is not None and sort.column == column.name
        arrow = "" if sort is None or not sorted_by else "▼" if sort.descending else "▲"
        cells.append((_aligned(column, title + arrow), inks.key if sorted_by else inks.head))
    return tuple(cells)


def column_at(columns: tuple[Column, ...], x: int) -> str | None:
    """The name of the column over that cell."""
    for column in columns:
        x -= column.width
        if x < 0:
            return column.name
    return None


def column_title(name: str) -> str:
    """What a dialog calls it."""
    return _TITLES[name].removesuffix(" ms").lower() or {"bar": "bar", "rest": "reason, or bar", "message": "recipient"}[name]


def command_line(row: Row, columns: tuple[Column, ...], look: Look, *, words: str = "", earlier: bool = False) -> Line:
    """One command, whose message begins with these words; one from an earlier time has its own time faint."""
    pieces: list[Piece] = []
    for column in columns:
        pieces += _message(row, column, look, words) if column.name == "message" else _CELLS[column.name](row, column, look)
    if earlier and columns[0].name == "time":
        pieces[0] = (pieces[0][0], look.inks.past)
    return tuple(pieces)


@lru_cache(maxsize=1_024)
def _aligned(column: Column, text: str) -> str:
    if column.name in {"run", "ack"}:
        return fit_right(text, column.width - 2) + "  " if column.width > 8 else fit_right(text, column.width - 1) + " "
    return fit(text, column.width - 1) + " " if column.width else ""


def _time(row: Row, column: Column, look: Look) -> Line:
    if look.now is not None:
        text = ago(look.now - row.utc)
    else:
        day = day_of(row.utc, look.zone)
        if day == look.today:
            text = stamp(row.utc, look.zone) if column.width > 12 else time_of_day(row.utc, look.zone)
        elif column.width > 12:
            text = f"{day:%m-%d} {minute_of_day(row.utc, look.zone)}" if day.year == look.today.year else f"{day:%Y-%m-%d}"
        else:
            text = f"{day:%m-%d}" if day.year == look.today.year else f"{day:%y-%m-%d}"
    return ((fit(text, column.width - 1) + " ", look.inks.muted),)


def _id(row: Row, column: Column, look: Look) -> Line:
    return ((fit(short_id(shown(row.command_id, 200), column.width - 1), column.width - 1) + " ", look.inks.bright),)


def _type(row: Row, column: Column, look: Look) -> Line:
    mark = "↻ " if row.replay_of else ""
    ink = look.inks.muted if row.status in {"duplicate", "cancelled"} else look.inks.accent
    return ((_aligned(column, mark + shown(row.command_type, 200)), ink),)


def _via(row: Row, column: Column, look: Look) -> Line:
    return ((_aligned(column, shown(row.via, 10)), look.inks.tone(_VIA.get(row.via, "muted"))),)


def _status(row: Row, column: Column, look: Look) -> Line:
    glyph, word, tone = status_of(row)
    return ((_aligned(column, f"{glyph} {word}"), look.inks.tone(tone)),)


def _delivery(row: Row, column: Column, look: Look) -> Line:
    if row.delivery is None:
        return ((" " * column.width, look.inks.muted),)
    glyph, word, tone = delivery_of(row.delivery)
    return ((_aligned(column, f"{glyph} {word}"), look.inks.tone(tone)),)


def _run(row: Row, column: Column, look: Look) -> Line:
    return ((_aligned(column, milliseconds(row.run_ms)), look.inks.muted),)


def _ack(row: Row, column: Column, look: Look) -> Line:
    ink = look.inks.muted if row.ack_ms is None else look.inks.tone(_tone(row, row.ack_ms))
    return ((_aligned(column, milliseconds(row.ack_ms)), ink),)


def _tone(row: Row, ack_ms: float) -> str:
    return "bad" if row.status in BAD else tone_of(ack_ms)


def _bar(row: Row, column: Column, look: Look) -> Line:
    """The time to the ack: what ran in blue, then what waited, in half cells; full at twice what is slow."""
    width = column.width - 2
    if row.ack_ms is None or width < 4:
        return ((" " * column.width, look.inks.text),)
    whole = min(width, max(1, round(row.ack_ms / (SLOW_MS * 1.5) * width)))
    ran = min(whole - 1, round((row.run_ms or 0.0) / row.ack_ms * whole)) if row.ack_ms else 0
    ran = max(0, ran)
    tone = look.inks.tone(_tone(row, row.ack_ms))
    return (("━" * ran, look.inks.run), ("━" * (whole - ran), tone), (" " * (column.width - whole), look.inks.text))


def _rest(row: Row, column: Column, look: Look) -> Line:
    """The room that is left: why it failed or waits, else the time to the ack."""
    return ((_aligned(column, shown(row.error, 200)), _reason_ink(row, look)),) if row.error else _bar(row, column, look)


def _reason_ink(row: Row, look: Look) -> Style:
    return look.inks.tone("bad" if row.status in BAD else "note")


def _message(row: Row, column: Column, look: Look, words: str) -> Line:
    """To whom, and how it begins, or why it failed or waits; a long reason has all of a narrow column."""
    said, ink = (shown(row.error, 200), _reason_ink(row, look)) if row.error else (shown(words, 200), look.inks.muted)
    recipient = _recipient_width(column)
    room = column.width - recipient - 2
    if row.error and room < BESIDE_RECIPIENT and width_of(said) > room:
        return ((_aligned(column, said), ink),)
    return ((fit(shown(row.thread_id or "", 100), recipient) + " ", look.inks.text), (fit(said, room) + " ", ink))


def _recipient_width(column: Column) -> int:
    return max(13, min(24, column.width // 3))


def reason_hidden(row: Row, columns: tuple[Column, ...]) -> bool:
    """Whether it failed and the columns have no room to say why."""
    last = columns[-1]
    room = last.width - 1 if last.name in {"rest", "message"} else 0
    if last.name == "message" and room - _recipient_width(last) - 1 >= BESIDE_RECIPIENT:
        room -= _recipient_width(last) + 1
    return row.error is not None and width_of(shown(row.error, 200)) > room


_CELLS = {
    "time": _time, "id": _id, "type": _type, "via": _via, "status": _status, "run": _run, "ack": _ack, "bar": _bar,
    "rest": _rest, "delivery": _delivery,
}  # fmt: skip
