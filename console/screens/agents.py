"""The agents of this machine and of others: a row each with how it stands and why, and of the one under the cursor what to do about it."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import ClassVar, NamedTuple

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from agent_core.clock import Moment
from agent_core.control.directory import Announced
from agent_core.plain import plain
from agent_core.snapshot import Snapshot
from console.panels.banner import notice_of
from console.panels.lines import BLANK, Line, clip, line_width, spread
from console.panels.view import Status, View, status_of
from console.screens.dialog import content_of
from console.text import count, cut, duration, fit, fit_right, host_of, shown, time_of_day, wrapped
from console.themes import Inks, inks_of
from console.tunnel import Tunnel

WIDE = 100
DETAIL_ROWS = 6


Key = Announced | Tunnel
"""Which agent: one that was announced here, or the one at the end of a tunnel."""


class Listed(NamedTuple):
    """One agent: by its clocks now, what it last said of itself, and why it can be watched no more."""

    key: Key
    now: Moment
    snapshot: Snapshot
    failure: BaseException | None = None

    @property
    def name(self) -> str:
        agent = self.snapshot.agent_id or "/".join(PurePath(self.key.data_dir).parts[-2:])
        return shown(f"{self.key.host}: {agent}" if isinstance(self.key, Tunnel) else agent, 60)

    @property
    def place(self) -> str:
        folder = str(self.key.data_dir)
        return shown(f"{self.key.host}:{folder}" if isinstance(self.key, Tunnel) else folder, 300)


class Agents(Screen[None]):
    """Ends the app with the agent that was chosen, or with none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", key_display="⏎", tooltip="Open the console over this agent; q there comes back"),
        Binding("q,escape,ctrl+c,ctrl+q", "leave", "Leave", tooltip="Leave; the agents go on"),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move(-10)", "Ten up", show=False),
        Binding("pagedown", "move(10)", "Ten down", show=False),
        Binding("home,g", "move(-100)", "First", show=False),
        Binding("end,G", "move(100)", "Last", show=False),
    ]

    def __init__(self, at: Key | None, trouble: str) -> None:
        super().__init__(id="agents")
        self._chosen = at
        self._trouble = trouble
        self._listed: list[Listed] = []
        self._now = Moment(0.0, 0.0)

    def compose(self) -> ComposeResult:
        yield Static()

    def on_resize(self) -> None:
        self._draw()

    def on_click(self, event: events.Click) -> None:
        """A row: chosen; the chosen one, or a key's name: as by the key."""
        place, action = event.style.meta.get("place"), event.style.meta.get("action")
        if place == self._at or action == "open":
            self.action_open()
        elif place is not None:
            self._choose(place)
        elif action is not None:
            self.action_leave()

    def tell(self, listed: Iterable[Listed], now: Moment) -> None:
        """How they all stand now; the cursor stays with its agent."""
        at = self._at
        self._listed, self._now = sorted(listed, key=lambda one: (one.name, one.place)), now
        if self._chosen not in {one.key for one in self._listed}:
            self._choose(at)
        self._draw()

    @property
    def _at(self) -> int:
        return next((place for place, one in enumerate(self._listed) if one.key == self._chosen), 0)

    def _choose(self, at: int) -> None:
        self._chosen = self._listed[max(0, min(at, len(self._listed) - 1))].key if self._listed else None
        self._draw()

    def _draw(self) -> None:
        if self.is_mounted:
            self.query_one(Static).update(content_of(self._lines(*self.size)))

    def _lines(self, width: int, height: int) -> list[Line]:
        return agents_page(self._listed, self._at, self._trouble, inks_of(self.app.theme), self._now, width, height)

    def action_move(self, rows: int) -> None:
        self._trouble = ""
        self._choose(self._at + rows)

    def action_leave(self) -> None:
        self.app.exit()

    def action_open(self) -> None:
        if self._chosen is not None:
            self.app.exit(self._chosen)


def agents_page(listed: list[Listed], at: int, trouble: str, inks: Inks, now: Moment, width: int, height: int) -> list[Line]:
    """Header, as many rows as there is room for, the chosen one at length, and the keys."""
    many = f"{len(listed)} agents" if len(listed) != 1 else "1 agent"
    hosts = {one.key.host for one in listed if isinstance(one.key, Tunnel)}
    where = f"here and at {', '.join(sorted(hosts))}" if hosts else "of this machine"
    head: Line = ((" ◆ ", inks.accent), ("edge-console", inks.tone("bright", bold=True)), (f"  {many} {where}", inks.muted))
    top = [_on(spread(head, ((time_of_day(now.utc) + " ", inks.bright),), width, inks.band), inks.band)]
    keys: Line = ((" ⏎", inks.key + _does("open")), (" Open  ", inks.muted + _does("open")))
    keys = (*keys, ("q", inks.key + _does("leave")), (" Leave", inks.muted + _does("leave")))
    foot = [_on(spread(keys, BLANK, width, inks.band), inks.band)]
    if not listed:
        none = "No agent of yours runs here; one that starts appears by itself."
        middle: list[Line] = [BLANK, ((f"  {none}", inks.text),), (("  edge-console service start", inks.key),)]
    else:
        views = [View(one.snapshot, one.now, inks) for one in listed]
        detail = _detail(listed[at], views[at], trouble, width)
        room = max(1, height - 4 - len(detail))
        first = max(0, min(at - room // 2, len(listed) - room))
        places = range(first, min(first + room, len(listed)))
        middle = [_titles(inks, width), *(_row(listed[place], views[place], place, place == at, width) for place in places)]
        middle += [BLANK] * (height - 2 - len(middle) - len(detail)) + detail
    return [*top, *middle[: height - 2], *[BLANK] * (height - 2 - len(middle)), *foot]


def _titles(inks: Inks, width: int) -> Line:
    name = 28 if width >= WIDE else 16
    return ((f" {'AGENT':<{name}} {'STATE':<13}{'WAITS':>8}{'NEEDS YOU':>11}  WHY", inks.head),)


def _row(one: Listed, view: View, place: int, chosen: bool, width: int) -> Line:
    inks, status = view.inks, _status(one, view)
    text, tone = _why(one, view)
    needs, waits = one.snapshot.commands.attention, one.snapshot.commands.oldest_waiting_utc
    pill = f" {status.glyph} {status.word} "
    pieces: Line = (
        ("▌" if chosen else " ", inks.accent),
        (fit(one.name, 28 if width >= WIDE else 16) + " ", inks.bright),
        (pill, inks.pill(status.tone)),
        (" " * (13 - len(pill)), inks.text),
        (fit_right("–" if waits is None else duration(view.now.utc - waits), 8), inks.muted if waits is None else inks.text),
        (f"{'–':>11}" if not needs else fit_right(f"! {count(needs)}", 11), inks.tone("warn", bold=True) if needs else inks.muted),
        (f"  {text}", inks.tone(tone)),
    )
    line = clip(pieces, width)
    ground = (inks.cursor if chosen else Style()) + Style(meta={"place": place})
    return tuple((text, ground + ink) for text, ink in (*line, (" " * (width - line_width(line)), inks.text)))


def _status(one: Listed, view: View) -> Status:
    return Status("✗", "UNKNOWN", "bad") if one.failure is not None else status_of(one.snapshot, view.now)


def _why(one: Listed, view: View) -> tuple[str, str]:
    """In a sentence what keeps it from being as it should; else whom it talks to. With its tone."""
    snapshot, status = one.snapshot, _status(one, view)
    if one.failure is not None:
        return plain(one.failure, 300), "bad"
    if snapshot.gone:
        there = isinstance(one.key, Tunnel)
        return "no agent runs there now" if there else "it ended without a stop: killed, or the machine went down", "bad"
    if snapshot.unreached:
        there = isinstance(one.key, Tunnel)
        return (
            "nothing is heard of it: the connection is lost, or it is held up" if there else "it says nothing: it is held up or stopped",
            "bad",
        )
    notice = notice_of(view)
    if notice is not None:
        return notice.text.removeprefix(f"{status.glyph} {status.word}: "), notice.tone
    drop = snapshot.link.last_drop
    if status.degraded and drop is not None:
        return f"{drop.cause}: {shown(drop.detail, 200)}", status.tone
    return f"→ {shown(host_of(snapshot.backend_url), 100)}" if snapshot.backend_url else "", "muted"


def _remedy(one: Listed, view: View) -> str:
    if one.failure is not None or one.snapshot.unreached:
        return ""
    if one.snapshot.gone:
        return f"start it again with {one.key.config}" if isinstance(one.key, Announced) and one.key.config else "start it again"
    notice = notice_of(view)
    return notice.remedy if notice is not None else ""


def _detail(one: Listed, view: View, trouble: str, width: int) -> list[Line]:
    """Of the chosen one, in at most DETAIL_ROWS rows."""
    inks, snapshot = view.inks, one.snapshot
    text, tone = _why(one, view)
    lines: list[Line] = [(("─" * width, inks.faint),)]
    where = one.place + (f" · edge-console {shown(snapshot.version, 20)}" if snapshot.version else "")
    lines.append(clip(((f" {one.name}", inks.tone("bright", bold=True)), (f"  {where}", inks.muted)), width))
    lines += [((f" {row}", inks.tone(tone)),) for row in wrapped(text, width - 2, 2)]
    if trouble:
        lines += [((f" {row}", inks.tone("bad")),) for row in wrapped(f"✗ {shown(trouble, 400)}", width - 2, 2)]
    elif remedy := _remedy(one, view):
        lines.append(((cut(f" → {shown(remedy, 300)}", width - 1), inks.text),))
    return lines[:DETAIL_ROWS]


def _on(line: Line, ground: Style) -> Line:
    return tuple((text, ground + ink) for text, ink in line)


def _does(action: str) -> Style:
    return Style(meta={"action": action})
