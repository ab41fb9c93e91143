"""Backoff: what happens next, and when; never empty."""

from functools import lru_cache
from typing import NamedTuple

from agent_core.snapshot import LinkView, Phase
from console.panels.lines import BLANK, Line, centred, framed, line_width
from console.panels.view import View, due_at, status_of
from console.text import big, countdown, duration, moment, seconds_name, with_unit
from console.themes import Inks

PING_EVERY = 30.0


class Face(NamedTuple):
    """What the panel says: a headline, the seconds it counts, the share of the bar, a tone."""

    headline: tuple[tuple[str, str], ...]
    seconds: float | None
    share: float
    tone: str


def backoff(view: View, width: int, height: int) -> list[Line]:
    """The panel in its frame: headline, three rows of digits, the draining bar, the ladder."""
    inner = width - 4
    inks, link = view.inks, view.snapshot.link
    face = _face(view, "attempt" if inner >= 24 else "try")
    space = inks.ground
    headline = tuple((text, inks.tone(tone)) for text, tone in face.headline)
    if line_width(headline) > inner:
        headline = headline[:-1] or headline
    rows = [centred(headline, inner, space), *_middle(view, face, inner), _bar(view, face, inner)]
    if height >= 11:
        rows += [BLANK, _ladder(view, inner), BLANK, centred(_last_line(view), inner, space)]
    else:
        rows.append(_ladder(view, inner))
    degraded = status_of(view.snapshot, view.now, view.stopping).degraded
    title = inks.tone("warn" if degraded else "accent", bold=True)
    foot: Line = ((_span(seconds_name(link.ladder[0]), seconds_name(link.ladder[-1])), inks.muted),) if link.ladder else BLANK
    return framed(rows, width, height, inks.edge_warn if degraded else inks.edge, (("Backoff", title),), foot)


def _span(first: str, last: str) -> str:
    """`1 → 60 s`, `1 s → 17m`."""
    return f"{first} → {last} s" if last[-1].isdecimal() else f"{with_unit(first)} → {last}"


def _middle(view: View, face: Face, inner: int) -> list[Line]:
    """Three rows: the seconds in digits that are seen from afar; while all is well, in plain ones."""
    inks = view.inks
    if face.tone == "good":
        said = "" if face.seconds is None else f"next ping in {duration(face.seconds)}"
        return [BLANK, centred(((duration(view.now.mono - view.snapshot.link.since_at), inks.bright),), inner, inks.ground),
                centred(((said, inks.muted),), inner, inks.ground)]  # fmt: skip
    digits = big("–" if face.seconds is None else countdown(face.seconds))
    return [centred(((row, inks.tone(face.tone, bold=True)),), inner, inks.ground) for row in digits]


def _face(view: View, attempt_word: str) -> Face:
    link, now = view.snapshot.link, view.now
    if view.stopping or view.snapshot.stopping:
        return Face((("stopping …", "muted"),), None, 0.0, "muted")
    due = due_at(view.snapshot)
    left = None if due is None else max(0.0, due - now.mono)
    elapsed = max(0.0, now.mono - link.since_at)
    attempt = ((f"{attempt_word} ", "muted"), (f"{min(link.attempt, link.attempts_max)}", "bright"), (f"/{link.attempts_max}", "muted"))
    if link.phase is Phase.ONLINE:
        return _online(view, left)
    if link.phase is Phase.OFF:
        return Face((("poll only", "accent"), (" · next in", "muted")), left, _share(left, view.snapshot.polling.every), "accent")
    if link.phase is Phase.CONNECTING:
        return Face((("dialling · ", "accent"), *attempt), elapsed, 0.0, "accent")
    if link.phase is Phase.VERIFYING:
        return Face((("waiting for a word", "accent"),), elapsed, 0.0, "accent")
    if link.phase is Phase.SUSPECT:
        return Face((("silent", "warn"), (" · probing for", "muted")), elapsed, 0.0, "warn")
    if link.phase is Phase.STOPPED or left is None:
        return Face((("idle", "muted"),), None, 0.0, "muted")
    tone = "warn" if link.phase is Phase.WAITING else "bad"
    slow = link.phase is Phase.WAITING and link.attempt > link.attempts_max
    tail = (", slow lane", "muted") if slow else (" · next in", "muted")
    return Face((*attempt, tail), left, _share(left, _whole_wait(link)), tone)


def _online(view: View, left: float | None) -> Face:
    if left is None:
        return Face((("idle", "good"), (" · online for", "muted")), None, 1.0, "good")
    if view.snapshot.link.pings_ignored:
        return Face((("pings unanswered", "warn"), (" · next in", "muted")), left, _share(left, _ping_every(view)), "warn")
    return Face((("idle", "good"), (" · online for", "muted")), left, _share(left, _ping_every(view)), "good")


def _ping_every(view: View) -> float:
    link = view.snapshot.link
    if link.last_ping_at is None or link.next_ping_at is None:
        return PING_EVERY
    return max(link.next_ping_at - link.last_ping_at, 0.05)


def _whole_wait(link: LinkView) -> float:
    if link.wait_from_at is None or link.retry_at is None:
        return link.step or 60.0
    return max(link.retry_at - link.wait_from_at, 0.05)


def _share(left: float | None, whole: float) -> float:
    return 0.0 if left is None else min(1.0, left / whole)


def _bar(view: View, face: Face, inner: int) -> Line:
    """Full at the start of the wait, empty at its end, in half cells."""
    halves = round(face.share * inner * 2)
    full, half = divmod(halves, 2)
    ink = view.inks.tone(face.tone)
    rest = inner - full - half
    return (("━" * full + ("╸" if half else ""), ink), ("━" * rest, view.inks.faint))


def _ladder(view: View, inner: int) -> Line:
    link = view.snapshot.link
    on_it = link.phase in {Phase.WAITING, Phase.PORTAL, Phase.CONNECTING, Phase.VERIFYING}
    return _rungs(link.ladder, link.step if on_it else 0.0, inner, view.inks)


@lru_cache(maxsize=4)
def _rungs(ladder: tuple[float, ...], lit: float, inner: int, inks: Inks) -> Line:
    """The steps, the present one lit, those behind muted, those to come faint."""
    names = [seconds_name(step) for step in ladder]
    room = sum(map(len, names)) + 2
    gap = next((gap for gap in (3, 2, 1) if room + gap * (len(names) - 1) <= inner), 0)
    if not gap:
        alone: Line = (("step ", inks.muted), (f" {with_unit(seconds_name(lit))} ", inks.pill("warn")))
        return centred(alone, inner, inks.ground) if lit else BLANK
    line: Line = ()
    for step, name in zip(ladder, names, strict=True):
        space = ((" " * gap, inks.ground),) if line else ()
        if lit and step == lit:
            line = (*line, *space, (f" {name} ", inks.pill("warn")))
        else:
            line = (*line, *space, (name, inks.muted if step < lit or not lit else inks.faint))
    return centred(line, inner, inks.ground)


def _last_line(view: View) -> Line:
    link, inks = view.snapshot.link, view.inks
    if link.phase in {Phase.WAITING, Phase.REFUSED, Phase.PORTAL, Phase.REPLACED}:
        return (("R", inks.key), (" retry now", inks.muted))
    if link.last_outage_utc is not None:
        return (
            ("last outage ", inks.muted),
            (moment(link.last_outage_utc, view.now.utc, view.zone, "%H:%M"), inks.bright),
            (" · ", inks.muted),
            (duration(link.last_outage_seconds), inks.bright),
        )
    return (("no outage so far", inks.faint),) if link.phase is Phase.ONLINE else BLANK
