"""What is answered to a question of the operator, as lines."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from agent_core.snapshot import Phase
from console.log_file import LogLine
from console.panels.columns import STATUS
from console.panels.latency import PERCENTILES
from console.panels.lines import Line
from console.panels.view import View
from console.plainmode.facts import facts, remedy
from console.screens.pages import DIAGNOSIS_GLYPHS
from console.text import duration, grouped, moment, shown, took

if TYPE_CHECKING:
    from agent_core.attention import Case
    from agent_core.delays import Delays

LAST_WARNINGS = 5
_GLYPHS = {glyph for glyph, *_ in (*STATUS.values(), *DIAGNOSIS_GLYPHS.values())}
_GLYPH = re.compile(f"^[{''.join(_GLYPHS)}] +")


def spoken(lines: Iterable[Line]) -> list[str]:
    """A page of the screen without its ink, its empty lines, and its glyphs, which all have a word beside them."""
    told = ("".join(_GLYPH.sub("", text) for text, _ in line).rstrip() for line in lines)
    return [line for line in told if line]


def why(view: View, log: Iterable[LogLine]) -> Iterator[str]:
    """What is the matter, what was, and the warnings that came with it."""
    link, now = view.snapshot.link, view.now
    told = facts(view)
    yield from (told[name].sentence for name in ("connection", "polling", "disk") if name in told)
    if "connection" not in told:
        yield f"Connection: dialling now, attempt {link.attempt} of {link.attempts_max}."
    if link.down_since_at is not None:
        yield f"There has been no socket for {duration(now.mono - link.down_since_at)}."
    if link.last_drop is not None:
        drop = link.last_drop
        lived = f" It had lived {duration(drop.lifetime)}." if drop.lifetime is not None else ""
        yield f"Last trouble at {moment(drop.utc, now.utc, view.zone)}: {drop.cause}: {shown(drop.detail, 300)}.{lived}"
    if link.drops:
        yield "Since the start: " + ", ".join(f"{cause} {_times(count)}" for cause, count in link.drops) + "."
    warnings = [line for line in log if line.level in {"WARNING", "ERROR"}][-LAST_WARNINGS:]
    if warnings:
        yield "The last warnings of the log:"
        yield from logged(warnings, view)
    by_itself = "" if link.phase in {Phase.ONLINE, Phase.OFF} else "It dials again by itself; `reconnect` does so now, "
    yield remedy(view) or f"{by_itself or 'Nothing needs to be done; '}`diagnose` looks at the way to the backend."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def logged(lines: Iterable[LogLine], view: View) -> Iterator[str]:
    for line in lines:
        yield f"{moment(line.utc, view.now.utc, view.zone)} {line.level.capitalize()}: {shown(line.text, 500)}"


def latency(view: View, delays: "Delays | None") -> Iterator[str]:
    """The last two minutes; whose the delays of the last day were."""
    latency = view.snapshot.latency
    yield "The last 2 minutes:"
    spans = {"acks by WebSocket": latency.socket, "acks by polling": latency.polling, "runs": latency.run, "proofs": latency.proof}
    for name, one in {**spans, "pings": latency.ping}.items():
        figures = ", ".join(f"{label} {took(one.percentile(share))}" for label, share in PERCENTILES)
        yield f"{name}: {grouped(one.count)}" + (f", {figures}, slowest {took(one.slowest)}" if one.count else "")
    if delays is not None:
        yield f"The last 24 hours: {delays.sentence}"


def attention(cases: Sequence["Case"], view: View) -> Iterator[str]:
    for case in cases:
        record = case.record
        when = moment(record.finished_utc or record.received_utc, view.now.utc, view.zone)
        yield f"{shown(record.command.command_id, 200)}: {case.kind}, {when}: {shown(case.what.removeprefix(f'{case.kind}: '), 300)}"
        for one in case.candidates:
            yield f"  perhaps {shown(one.guid, 100)} in {shown(one.chat, 100)}, sent {shown(one.sent_at, 40)}"
        ways = " or ".join(f"`resolve ID {one}`" for one in case.resolutions)
        yield f"  {case.do}{f' ({ways})' if ways else ''}"
    if not cases:
        yield "Nothing in the ledger needs you."


def count_of(text: str, otherwise: int) -> tuple[int, str]:
    """The number that a text begins with, and the rest of it."""
    digits = "".join(takewhile(str.isdecimal, text))
    rest = text[len(digits) :]
    return (max(1, int(digits[:6])), rest.strip()) if digits and rest[:1] in {"", " "} else (otherwise, text)
