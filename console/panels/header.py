"""Row 1: who talks to whom, and the state as a filled pill."""

from rich.style import Style

from agent_core.snapshot import PollingMode
from console.panels.lines import Line, line_width, spread
from console.panels.view import View, status_of
from console.text import count, cut, day_stamp, host_of, shown, time_of_day

OPENS_HOLD = Style(meta={"@click": "app.operate('hold')"})
OPENS_ATTENTION = Style(meta={"@click": "app.operate('attention')"})


def header(view: View, width: int, height: int) -> list[Line]:
    """`◆ edge-console  agent → backend` and at the right the pill, the version, the clock."""
    del height
    inks, snapshot = view.inks, view.snapshot
    status = status_of(snapshot, view.now, view.stopping)
    right: Line = (
        *_badges(view, width),
        (f" {status.glyph} {status.word} ", inks.pill(status.tone)),
        *((("  v" + shown(snapshot.version, 20), inks.muted),) if snapshot.version and width >= 90 else ()),
        (f"  {(day_stamp if view.step else time_of_day)(view.now.utc, view.zone)} ", inks.bright),
    )
    left: Line = ((" ◆ ", inks.accent), ("edge-console", inks.tone("bright", bold=True)))
    room = width - line_width(right) - line_width(left) - 4
    agent = shown(snapshot.agent_id or snapshot.host, 60)
    backend = shown(host_of(snapshot.backend_url), 60)
    if agent and room > 8:
        left = (*left, ("  " + cut(agent, room), inks.muted))
        room -= len(agent) + 3
    if agent and backend and room > 8:
        left = (*left, (" → ", inks.faint), (cut(backend, room), inks.muted))
    return [spread(left, right, width, inks.band)]


def _badges(view: View, width: int) -> Line:
    """What is not as usual: short words, filled."""
    snapshot = view.snapshot
    found: list[tuple[str, Style]] = []
    if snapshot.commands.attention:
        ink = view.inks.pill("bad" if snapshot.commands.interrupted else "warn")
        found.append((f"! {count(snapshot.commands.attention)}", ink + OPENS_ATTENTION))
    if snapshot.hold or snapshot.commands.held:
        waiting = f" {count(snapshot.commands.held)}" if snapshot.commands.held else ""
        found.append((f"HOLD{waiting}", view.inks.pill("warn") + OPENS_HOLD))
    if view.step:
        found.append((f"STEP {view.step}", view.inks.pill("accent")))
    elif view.read_only:
        found.append(("READ-ONLY", view.inks.pill("accent")))
    if view.texts == "masked":
        found.append(("MASKED", view.inks.pill("accent")))
    if snapshot.polling.mode is not PollingMode.AUTO:
        found.append((f"POLL {snapshot.polling.mode.upper()}", view.inks.pill("warn")))
    if snapshot.link.deaf:
        found.append(("DEAF", view.inks.pill("warn")))
    if not snapshot.disk.ok:
        found.append(("DISK", view.inks.pill("bad")))
    room = max(0, (width - 45) // 12)
    return tuple(piece for word, ink in found[:room] for piece in ((f" {word} ", ink), (" ", view.inks.band)))
