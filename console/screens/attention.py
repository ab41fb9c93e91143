"""What needs the operator: what has happened to each command, what to do about it, and the key that does it."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import ClassVar, NamedTuple

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from agent_core.attention import Candidate, Case, Kind
from agent_core.journal.reader import MAX_ATTENTION
from agent_core.records import Resolution
from agent_core.snapshot import Snapshot
from console.panels.lines import BLANK, Line, clip, line_width
from console.screens.dialog import Dialog
from console.text import count, fit, moment, short_id, shown, text_of_message, width_of, wrapped
from console.themes import Inks

GLYPHS = {Kind.UNKNOWN: ("▲", "warn"), Kind.MISSED: ("◷", "bad"), Kind.FAILED: ("✗", "bad"), Kind.UNPROVEN: ("◌", "warn")}
LEAST_ROWS = 3
"""Of the list; one beside candidates, which are all shown where there is room for them."""


class Listed(NamedTuple):
    """What the ledger has told, and where the cursor is; no cases: it has not answered yet."""

    cases: Sequence[Case] | None = None
    at: int = 0
    trouble: str = ""
    """Why the ledger cannot be read."""


class Attention(Dialog):
    """The list, gravest first. What does something asks where a command would run again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "app.operate('replay')", "Replay"),
        Binding("s", "app.operate('resolve_as_sent')", "It was sent"),
        Binding("n", "app.operate('resolve_as_unsent')", "It was not sent", show=False),
        Binding("d", "app.operate('dismiss')", "Dismiss"),
        Binding("e", "app.operate('edit')", "Edit"),
        Binding("R", "app.operate('reconnect')", "Reconnect", show=False),
        Binding("enter", "app.operate('inspect')", "All of it", key_display="⏎"),
        Binding("T", "app.operate('thread')", "Its thread", show=False),
        Binding("y", "app.operate('copy')", "Copy", show=False),
        Binding("m", "app.operate('mask')", "Mask", show=False),
        Binding("escape,q,exclamation_mark", "leave", "Close", key_display="Esc"),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move(-10)", "Ten up", show=False),
        Binding("pagedown", "move(10)", "Ten down", show=False),
        Binding("home,g", f"move(-{MAX_ATTENTION})", "First", show=False),
        Binding("end,G", f"move({MAX_ATTENTION})", "Last", show=False),
    ]

    def __init__(self, draw: Callable[[Listed, int, int], Sequence[Line]]) -> None:
        super().__init__("Needs attention", [], "↑ ↓ choose · ? keys · Esc close")
        self._draw = draw
        self._listed = Listed()

    def compose(self) -> ComposeResult:
        box = Vertical(Static(), classes="dialog attention")
        box.border_title = Content(self.title or "")
        box.border_subtitle = Content(self._hint)
        yield box

    def on_resize(self) -> None:
        self.call_after_refresh(self.renew)

    @property
    def case(self) -> Case | None:
        """The one under the cursor."""
        cases, at, _ = self._listed
        return cases[at] if cases else None

    def tell(self, cases: Sequence[Case], trouble: str = "") -> None:
        """What the ledger says now; the cursor stays with its command."""
        chosen, at = self.case, self._listed.at
        places = [place for place, case in enumerate(cases) if chosen is not None and case.record.seq == chosen.record.seq]
        self._listed = Listed(cases, places[0] if places else max(0, min(at, len(cases) - 1)), trouble)
        self.renew()

    def renew(self) -> None:
        """Draw it as it is now."""
        width, height = self.query_one(".dialog").content_size
        if height:
            self.show(self._draw(self._listed, width, height))

    def on_click(self, event: events.Click) -> None:
        """A row, or one of the keys that stand below; beside it as in any dialog."""
        if (place := event.style.meta.get("place")) is not None:
            self.action_select(place)
        if (candidate := event.style.meta.get("candidate")) is not None:
            self.app.call_later(self.app.run_action, f"app.decide({candidate})")
        if (name := event.style.meta.get("operation")) is not None:
            self.app.call_later(self.app.run_action, f"app.operate({name!r})")

    def on_key(self, event: events.Key) -> None:
        """The digits stand beside the candidates, 0 beside the tenth."""
        if event.character is not None and event.character in "1234567890":
            event.stop()
            self.app.call_later(self.app.run_action, f"app.decide({(int(event.character) - 1) % 10})")

    def action_move(self, rows: int) -> None:
        self.action_select(self._listed.at + rows)

    def action_select(self, at: int) -> None:
        if self._listed.cases:
            self._listed = self._listed._replace(at=max(0, min(at, len(self._listed.cases) - 1)))
            self.renew()

    def action_copy_all(self) -> None:
        self._lines = self._draw(self._listed, 200, MAX_ATTENTION + 40)
        super().action_copy_all()


def attention_page(
    listed: Listed, snapshot: Snapshot, inks: Inks, utc: float, zone: tzinfo | None, width: int, height: int
) -> list[Line]:  # fmt: skip
    """The kinds counted, as much of the list as there is room for, and of the chosen one all that helps to decide."""
    cases = listed.cases or ()
    top = [*_head(listed, inks, width), *_turned_away(snapshot, inks)]
    if not cases:
        return top
    least = 1 if cases[listed.at].candidates else LEAST_ROWS
    below = _chosen(cases[listed.at], inks, utc, zone, width, height - len(top) - least - 2)
    room = max(least, height - len(top) - len(below) - 2)
    first = max(0, min(listed.at - room // 2, len(cases) - room))
    rows = [_row(cases[place], place, place == listed.at, inks, utc, zone, width) for place in range(first, min(first + room, len(cases)))]
    return [*top, BLANK, *rows, (("─" * width, inks.faint),), *below]


def _head(listed: Listed, inks: Inks, width: int) -> list[Line]:
    cases, _, trouble = listed
    if trouble:
        return [((row, inks.tone("bad")),) for row in wrapped(f"✗ {shown(trouble, 300)}", width, 3)]
    if cases is None:
        return [(("Asking the ledger …", inks.muted),)]
    if not cases:
        what = "Unknown outcomes, failures, missed messages and acks that are unproven for a minute stand here, with what to do about each."
        return [(("Nothing in the ledger needs you.", inks.tone("good", bold=True)),), BLANK, *_texts(what, inks.muted, width, 3)]
    kinds = Counter(case.kind for case in cases)
    line: Line = ()
    for kind in Kind:
        if kinds[kind]:
            glyph, tone = GLYPHS[kind]
            line = (*line, (f"{glyph} {count(kinds[kind])} {kind}", inks.tone(tone, bold=True)), ("   ", inks.text))
    more: Line = ((f"the newest {MAX_ATTENTION}", inks.muted),) if len(cases) == MAX_ATTENTION else ()
    return [(*line, *more)]


def _turned_away(snapshot: Snapshot, inks: Inks) -> list[Line]:
    """What the ledger does not have: the backend keeps it."""
    many = snapshot.commands.turned_away
    if not many:
        return []
    if not snapshot.disk.ok:
        do = "see to the disk (D)"
    elif snapshot.commands.paused:
        do = "edge-console resume takes them"
    else:
        do = "they come again once there is room"
    return [((f"≡ {count(many)} turned away: {do}", inks.tone("warn")),)]


def _row(case: Case, place: int, chosen: bool, inks: Inks, utc: float, zone: tzinfo | None, width: int) -> Line:
    glyph, tone = GLYPHS[case.kind]
    record = case.record
    when = moment(record.finished_utc or record.received_utc, utc, zone, "%H:%M")
    ground = (inks.cursor if chosen else Style()) + Style(meta={"place": place})
    pieces: Line = (
        ("▌" if chosen else " ", inks.accent),
        (fit(f"{glyph} {case.kind}", 18), inks.tone(tone)),
        (fit(when, 12), inks.muted),
        (fit(short_id(shown(record.command.command_id, 200), 15), 16), inks.bright),
        (_reason(case), inks.text),
    )
    line = clip(pieces, width)
    return tuple((text, ground + ink) for text, ink in (*line, (" " * (width - line_width(line)), inks.text)))


def _reason(case: Case) -> str:
    """What has happened, without what the kind says already."""
    return shown(case.what.removeprefix(f"{case.kind}: "), 300)


def _chosen(case: Case, inks: Inks, utc: float, zone: tzinfo | None, width: int, room: int) -> list[Line]:
    """In at most so many rows: candidates give way, which the record has all."""
    record, command = case.record, case.record.command
    came = f"  {shown(command.command_type, 60)} by {record.via}, {moment(record.received_utc, utc, zone)}"
    lines: list[Line] = [((shown(command.command_id, 200), inks.tone("bright", bold=True)), (came, inks.muted))]
    thread, text = command.payload.get("thread_id"), text_of_message(command.payload)
    if thread is not None or text is not None:
        said = f"  {shown(text, 200)}" if text is not None else ""
        lines.append((("to ", inks.muted), (shown(thread or "?", 100), inks.bright), (said, inks.text)))
    lines += _texts(_reason(case), inks.tone(GLYPHS[case.kind][1]), width, 3)
    end = [*_texts(f"→ {case.do}", inks.text, width, 2), _keys(case, inks)]
    return [*lines, *_candidates(case, inks, utc, zone, max(1, room - len(lines) - len(end))), *end]


def _candidates(case: Case, inks: Inks, utc: float, zone: tzinfo | None, most: int) -> list[Line]:
    """Each under the key that says that it is the one; the text, which is the command's, stands above them."""
    told = case.candidates if len(case.candidates) <= most else case.candidates[: most - 1]
    lines: list[Line] = []
    for place, one in enumerate(told):
        click = Style(meta={"candidate": place})
        lines.append(
            (
                (f"{(place + 1) % 10:>2} ", inks.key + click),
                (shown(one.guid, 60), inks.bright + click),
                (f" in {shown(one.chat, 60)}, {_sent_at(one, utc, zone)}", inks.muted + click),
            )
        )
    if len(told) < len(case.candidates):
        lines.append(((f"  … {len(case.candidates) - len(told)} more: ⏎ shows them", inks.muted),))
    return lines


def _sent_at(one: Candidate, utc: float, zone: tzinfo | None) -> str:
    """As the clock here has it, where it is an instant."""
    try:
        return moment(datetime.fromisoformat(one.sent_at).timestamp(), utc, zone)
    except (ValueError, OverflowError):
        return shown(one.sent_at, 40)


def _keys(case: Case, inks: Inks) -> Line:
    """Those that do something for this one."""
    keys = [("R", "Reconnect", "reconnect")] if case.kind is Kind.UNPROVEN else [("r", "Replay", "replay")]
    if Resolution.SENT in case.resolutions:
        keys.append(("s", "It was sent", "resolve_as_sent"))
        keys.append(("n", "None of these" if case.candidates else "It was not", "resolve_as_unsent"))
    if Resolution.DISMISSED in case.resolutions:
        keys.append(("d", "Dismiss", "dismiss"))
    line: Line = ()
    for key, label, operation in keys:
        click = Style(meta={"operation": operation})
        line = (*line, (key, inks.key + click), (f" {label}   ", inks.text + click))
    return line


def _texts(text: str, ink: Style, width: int, most: int) -> list[Line]:
    return [((row, ink),) for row in wrapped(text, width, most)] if width_of(text) else []
