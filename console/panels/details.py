"""The panels at length, in the place of the stream: link, backoff, latency, schedule and outbox."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from rich.style import Style

from agent_core.delays import Delays
from agent_core.figures import took
from agent_core.snapshot import Phase, PollingMode, WaitView
from console.delays import GLYPHS, HEADING, ORDER, by_hour, clock, table
from console.panels.connection import availability
from console.panels.latency import PERCENTILES
from console.panels.lines import BLANK, Line, folded, framed
from console.panels.view import View, due_at, status_of
from console.text import ago, countdown, cut, duration, fit, fit_right, grouped, milliseconds, moment, seconds_name, shown, with_unit

Body = Callable[[View, int, int], list[Line]]
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
SLO_MS = 100
PART_TONES = {"backend": "warn", "lane": "note", "effect": "accent", "link": "bad", "proof": "faint"}
LOW, ROOMY = 16, 22
"""Rows under which the latency leaves something out; rows that are left where the split of the delays goes below and not beside."""
BESIDE, BROAD_LEGEND = 156, 100
"""Columns from which the split stands beside what was measured, and from which the bars are named in full."""
LEAST_HOURS, HISTOGRAM = 6, 9
"""Rows of hours that there always are, and those that are left to the histogram."""


def _detail(title: str, body: Body, foot: str) -> Callable[[View, int, int], Sequence[Line]]:
    def draw(view: View, width: int, height: int) -> Sequence[Line]:
        inks = view.inks
        degraded = status_of(view.snapshot, view.now, view.stopping).degraded and title in {"Link", "Backoff"}
        ink = inks.tone("warn" if degraded else "accent", bold=True)
        rows = body(view, width - 4, height - 2)
        return framed(rows, width, height, inks.edge_warn if degraded else inks.edge_lit, ((title, ink),), ((foot, inks.muted),))

    return draw


def _field(view: View, name: str, text: str, tone: str = "bright") -> Line:
    return ((fit(name, 16), view.inks.muted), (text, view.inks.tone(tone)))


def _doubt(view: View, name: str, trouble: str | None, fine: str) -> Line:
    return _field(view, name, fine if trouble is None else trouble, "bright" if trouble is None else "warn")


def _beside(left: Sequence[Line], right: Sequence[Line], inner: int, space: Style) -> list[Line]:
    """Two columns where there is room, else one below the other."""
    if inner < 96:
        return [*left, *right]
    half = inner // 2
    rows: list[Line] = []
    for index in range(max(len(left), len(right))):
        one = left[index] if index < len(left) else BLANK
        width = sum(len(text) for text, _ in one)
        other = right[index] if index < len(right) else BLANK
        rows.append((*one, (" " * max(1, half - width), space), *other))
    return rows


def _link(view: View, inner: int, height: int) -> list[Line]:
    del height
    snapshot, link, now = view.snapshot, view.snapshot.link, view.now
    drop = link.last_drop
    left = [
        _field(view, "phase", f"{link.phase.upper()} for {duration(now.mono - link.since_at)}"),
        _field(view, "socket", cut(shown(snapshot.socket_url, 200), 60)),
        _field(view, "fallback", cut(shown(snapshot.backend_url, 200), 50) + "/edge/sync"),
        _field(view, "dials", f"{grouped(link.dials)}, of them {grouped(link.sessions)} came to a link"),
        _field(view, "attempt", f"{link.attempt} of {link.attempts_max}" if link.attempt else "none under way"),
        _field(view, "last pong", ago(now.mono - link.last_pong_at) if link.last_pong_at is not None else "–"),
        _doubt(view, "JSON pings", "ignored by the backend" if link.pings_ignored else None, "answered"),
        _doubt(view, "deaf", "yes: a sync brought what the socket should have" if link.deaf else None, "no"),
    ]
    right = [_field(view, "drops", ", ".join(f"{cause} ×{count}" for cause, count in link.drops) or "none")]
    if drop is not None:
        right.append(_field(view, "the last", f"{moment(drop.utc, view.now.utc, view.zone)} {drop.cause}"))
        right.append(_field(view, "", cut(shown(drop.detail, 200), 60), "muted"))
    if link.last_outage_utc is not None:
        outage = f"{moment(link.last_outage_utc, view.now.utc, view.zone)} for {duration(link.last_outage_seconds)}"
        right.append(_field(view, "last outage", outage))
    right.append(_field(view, "links lived", ", ".join(duration(seconds) for seconds in link.lifetimes[-5:]) or "–"))
    strip, shares = availability(view, inner)
    parts = "   ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return [*_beside(left, right, inner, view.inks.ground), BLANK, strip, ((parts, view.inks.muted),)]


def _backoff(view: View, inner: int, height: int) -> list[Line]:
    del height
    link, polling, now = view.snapshot.link, view.snapshot.polling, view.now
    due = due_at(view.snapshot)
    names = {Phase.ONLINE: "next ping", Phase.OFF: "next poll"}
    steps = tuple(
        (f" {seconds_name(step)} ", view.inks.pill("warn")) if step == link.step and link.phase is Phase.WAITING
        else (f" {seconds_name(step)} ", view.inks.muted) for step in link.ladder
    )  # fmt: skip
    left: list[Line] = [
        _field(view, names.get(link.phase, "next dial"), f"in {with_unit(countdown(due - now.mono))}" if due is not None else "–"),
        _field(view, "attempt", f"{link.attempt} of {link.attempts_max}" + (", then the slow lane" if link.attempt else "")),
        ((fit("ladder, s", 16), view.inks.muted), *steps),
        _field(view, "refused", "60 s, doubling to 5 min; R dials now"),
        _field(view, "replaced", "holds 60 s, then one try each 5 min"),
    ]
    forced = polling.mode is not PollingMode.AUTO
    poll = "asking …" if polling.in_flight else f"in {duration(polling.next_at - now.mono + 0.5)}" if polling.next_at is not None else "–"
    right = [
        _field(view, "polling mode", str(polling.mode) + (" (forced; p changes it)" if forced else ""), "warn" if forced else "bright"),
        _field(view, "polling now", "runs" if polling.active else "paused"),
        _field(view, "next poll", poll if polling.active else "when the link is lost"),
        _field(view, "polls", f"{grouped(polling.polls)}, {grouped(polling.failures)} failed"),
        _field(view, "last success", ago(now.utc - polling.last_ok_utc) if polling.last_ok_utc is not None else "–"),
        _doubt(view, "last error", cut(shown(polling.last_error, 200), 60) if polling.last_error else None, "none"),
    ]
    return _beside(left, right, inner, view.inks.ground)


def _latency(view: View, inner: int, height: int) -> list[Line]:
    """What was measured just now, and whose the delays were; where it is low, the first only as far as it is about commands."""
    low, inks, found = height < LOW, view.inks, view.delays
    measured = _measured(view, inner // 2 if inner >= BESIDE else inner, low)
    if found is None:
        lines = [*measured, *([] if low else _saved(view))]
    else:
        late = folded([(("last 24 h ", inks.muted), (found.sentence, inks.tone("warn" if found.late else "good")))], inner)
        if inner >= BESIDE and not low:
            lines = [*_beside(measured, _split(view, found, inner // 2), inner, inks.ground), *_saved(view), *late]
        else:
            lines = [*measured, *([] if low else _saved(view)), *late]
            lines += _split(view, found, inner) if height - len(lines) >= ROOMY else []
        room = height - len(lines)
        lines += _hours(view, found, inner, room if low else max(LEAST_HOURS + 1, room - HISTOGRAM))
    return [*lines, BLANK, *_histogram(view, inner, height - len(lines) - 1)]


def _measured(view: View, inner: int, low: bool) -> list[Line]:
    inks, now = view.inks, view.snapshot.latency
    rows = {"ack": now.ack, "run": now.run, "proof": now.proof}
    if not low:
        rows = {
            "ack": now.ack, "by socket": now.socket, "by polling": now.polling, "run": now.run, "proof": now.proof, "ping": now.ping
        }  # fmt: skip
    cell = min(12, (inner - 12) // 5)
    heads = ("count", *(name for name, _ in PERCENTILES), "slowest")
    lines: list[Line] = [((fit("ms", 12) + "".join(fit_right(head, cell) for head in heads), inks.head),)]
    for name, measured in rows.items():
        times = [*(measured.percentile(share) for _, share in PERCENTILES), measured.slowest if measured.count else None]
        cells = [grouped(measured.count), *map(milliseconds, times)]
        lines.append(((fit(name, 12), inks.bright), ("".join(fit_right(figure, cell) for figure in cells), inks.text)))
    return lines


def _saved(view: View) -> list[Line]:
    """What the socket has spared the commands."""
    inks, every, socket = view.inks, view.snapshot.polling.every, view.snapshot.latency.socket
    median = socket.percentile(0.5)
    if median is None:
        return []
    saved = max(0.0, every / 2 - median / 1_000)
    total = f"{took(saved)} a command, {duration(saved * socket.total)} in all"
    return [(("saved against polling ", inks.muted), (total, inks.tone("good")), (f" (each {with_unit(seconds_name(every))})", inks.muted))]


def _split(view: View, found: Delays, width: int) -> list[Line]:
    """A row a part."""
    inks = view.inks
    head, *rows = (cut(row, width) for row in table(found))
    parts: list[Line] = [((row[0], inks.tone(PART_TONES[name])), (row[1:], inks.text)) for name, row in zip(ORDER, rows, strict=True)]
    return [((head, inks.head),), *parts, ((cut(clock(found), width), inks.muted),)]


def _hours(view: View, found: Delays, inner: int, room: int) -> list[Line]:
    """The newest hours below what their bars are made of."""
    inks = view.inks
    if not found.hours:
        return []
    legend = (piece for name in ORDER for piece in (("  " + GLYPHS[name], inks.tone(PART_TONES[name])), (f" {name}", inks.text)))
    lines: list[Line] = [((HEADING if inner >= BROAD_LEGEND else "mean by hour", inks.head), *legend)]
    for bar in by_hour(found, inner, room - 1, view.now.utc, view.zone):
        pieces = ((GLYPHS[name] * cells, inks.tone(PART_TONES[name])) for name, cells in bar.parts if cells)
        lines.append(((bar.head, inks.muted), *pieces, (bar.tail, inks.text)))
    return lines


def _histogram(view: View, inner: int, room: int) -> list[Line]:
    """Acks by socket and polling together; what is slower than the line misses the objective."""
    inks, ack = view.inks, view.snapshot.latency.ack
    whole_count = ack.count
    counts = [most - least for least, most in pairwise((0, *map(ack.within, BOUNDS_MS), whole_count))]
    most = max(counts)
    names = [f"≤ {bound} ms" if bound < 1_000 else f"≤ {bound // 1_000} s" for bound in BOUNDS_MS] + ["slower"]
    lines: list[Line] = []
    width = max(4, inner - 30)
    for index, (name, count) in enumerate(zip(names, counts, strict=True)):
        bound = BOUNDS_MS[index] if index < len(BOUNDS_MS) else float("inf")
        if index and BOUNDS_MS[index - 1] == SLO_MS:
            share = f"{sum(counts[:index]) / whole_count:.2%} within" if whole_count else "no acks yet"
            label = f"── objective {SLO_MS} ms: {share} "
            lines.append(((label + "─" * max(0, inner - len(label)), inks.tone("warn")),))
        bar = round(count / most * width) if most else 0
        tone = "good" if bound <= SLO_MS else "bad"
        figure = f" {grouped(count)}" if count else ""
        lines.append(((fit_right(name, 10) + " ", inks.muted), ("━" * max(bar, count > 0), inks.tone(tone)), (figure, inks.text)))
    if room >= len(lines):
        return lines
    kept = [index for index, line in enumerate(lines) if len(line) == 1 or line[2][0]]
    return [lines[index] for index in kept[: max(0, room)]]


def _schedule(view: View, inner: int, height: int) -> list[Line]:
    inks, snapshot = view.inks, view.snapshot
    commands = snapshot.commands
    lines: list[Line] = [
        _field(view, "unproven acks", f"{grouped(commands.outbox)}, {grouped(commands.proven)} proven so far",
               "warn" if commands.outbox and snapshot.link.phase is not Phase.ONLINE else "bright"),
        _field(view, "waiting to run", f"{grouped(commands.queued)} queued, {commands.running} running"),
        _field(view, "scheduled", grouped(snapshot.scheduled_count)),
        *(_wait(view, wait) for wait in snapshot.waits),
        BLANK,
    ]  # fmt: skip
    if height < 8:
        short = f"{grouped(commands.outbox)} acks unproven · {grouped(commands.queued)} queued · {snapshot.scheduled_count} scheduled"
        lines = [((short, inks.text),)]
    if not snapshot.scheduled:
        return [*lines, (("Nothing is due later.", inks.faint),)]
    due_width, in_width, thread_width = (26, 14, 24) if inner >= 90 else (15, 13, 16)
    lines.append(((fit("DUE", due_width) + fit("IN", in_width) + fit("THREAD", thread_width) + "SCHEDULE", inks.head),))
    for item in snapshot.scheduled[: max(0, height - len(lines))]:
        left = item.due_utc - view.now.utc
        due = moment(item.due_utc, view.now.utc, view.zone)
        lines.append(
            (
                (fit(due, due_width), inks.bright),
                (fit(duration(left) if left > 0 else "now", in_width), inks.tone("accent")),
                (fit(shown(item.thread_id, 100), thread_width - 1) + " ", inks.muted),
                (cut(shown(item.schedule_id, 200), max(8, inner - due_width - in_width - thread_width)), inks.text),
            )
        )
    return lines


def _wait(view: View, wait: WaitView) -> Line:
    until = moment(wait.until_utc, view.now.utc, view.zone)
    return _field(view, "kept back", f"{grouped(wait.threads)} threads by {wait.key}, the first until {until}", "note")


LATENCY = 3
"""The latency's number among them, from 1."""
DETAILS = (
    ("Link", _detail("Link", _link, "R reconnect")),
    ("Backoff", _detail("Backoff", _backoff, "R dial now · p polling mode")),
    ("Latency", _detail("Latency", _latency, "last 2 min · y copy")),
    ("Schedule and outbox", _detail("Schedule and outbox", _schedule, "the next ten · x on its row in the stream cancels")),
)
