"""Connection: where the link is, how commands travel, what has been proven."""

from functools import lru_cache

from agent_core.clock import Moment
from agent_core.snapshot import LinkView, Phase, PollingMode, Snapshot
from console.panels.lines import BLANK, Line, framed, line_width, merged, spread
from console.panels.view import Status, View, polling_works, status_of
from console.text import ago, count, cut, duration, fit, shown, wrapped
from console.themes import Inks

History = tuple[tuple[float, str], ...]

HISTORY_SECONDS = 3_600
NOTICED_SECONDS = 1.0
SYNC = "/edge/sync"
STARTING_SECONDS = 10.0
REASON_ROWS = 3
PAIRED_FROM = 36
"""Cells that two columns of figures need."""
_BADNESS = ("", "socket", "polling", "down")
_TONES = {"socket": "good", "polling": "warn", "down": "bad"}
_PHASES = {
    Phase.STOPPED: ("◌", "muted"), Phase.CONNECTING: ("◌", "accent"), Phase.VERIFYING: ("◌", "accent"), Phase.ONLINE: ("●", "good"),
    Phase.SUSPECT: ("▲", "warn"), Phase.WAITING: ("▲", "warn"), Phase.REFUSED: ("✗", "bad"), Phase.PORTAL: ("✗", "bad"),
    Phase.REPLACED: ("✗", "bad"), Phase.OFF: ("●", "accent"),
}  # fmt: skip
_WORDS = {Phase.STOPPED: "STARTING", Phase.WAITING: "RETRYING", Phase.OFF: "POLL ONLY"}


def connection(view: View, width: int, height: int) -> list[Line]:
    """The panel in its frame; 11 rows have all the figures, 8 rows the ones that matter now. In trouble the reason takes what it needs."""
    status = status_of(view.snapshot, view.now, view.stopping)
    inner = width - 4
    rows = _tall(view, status, inner) if height >= 11 else _short(view, status, inner)
    inks = view.inks
    edge = inks.edge_warn if status.degraded else inks.edge
    title = inks.tone("warn" if status.degraded else "accent", bold=True)
    return framed(rows, width, height, edge, (("Connection", title),))


def _tall(view: View, status: Status, inner: int) -> list[Line]:
    cells = _cells(view)
    pairs = [("transport", "ping"), ("polling", "retries"), ("received", "acked"), ("outbox", "deduped")]
    grid = [_pair(view, cells, left, right, inner) for left, right in pairs]
    if inner < PAIRED_FROM:
        grid = [_row(view, cells, name, inner) for name in ("transport", "polling", "acked", "outbox")]
    reason = _reason(view, inner, REASON_ROWS if _in_trouble(view, status) else 1)
    head = [_phase(view, status, inner), _endpoint(view, inner), BLANK][: REASON_ROWS + 1 - len(reason)]
    return [*head, *grid, *reason, _availability(view, inner)]


def _short(view: View, status: Status, inner: int) -> list[Line]:
    cells = _cells(view)
    if _in_trouble(view, status):
        names = ["polling", "outbox"]
        reason = _reason(view, inner, REASON_ROWS)
        head = reason if len(reason) > 1 else [_endpoint(view, inner), *reason]
    else:
        names = ["polling", "acked", "outbox"]
        head = [_endpoint(view, inner)]
    rows = [_row(view, cells, name, inner) for name in names]
    return [_phase(view, status, inner), *head, *rows, _availability(view, inner)]


def _in_trouble(view: View, status: Status) -> bool:
    """Whether there is a reason for what is amiss now; of a link that is only silent there is none yet."""
    reason = view.snapshot.link.last_drop is not None or poll_trouble(view) != ""
    return reason and status.degraded and view.snapshot.link.phase is not Phase.SUSPECT


def _phase(view: View, status: Status, inner: int) -> Line:
    link = view.snapshot.link
    glyph, tone = _PHASES[link.phase]
    word = _WORDS.get(link.phase, link.phase.upper())
    if status.word in {"STOPPING", "NO AGENT"}:
        glyph, tone, word = status.glyph, status.tone, status.word
    elif status.word == "OFFLINE" or link.phase is Phase.OFF:
        tone = status.tone
    ink = view.inks.tone(tone, bold=True)
    down = link.down_since_at
    if down is not None and link.phase is not Phase.OFF:
        down_ink = view.inks.tone("bad" if status.tone == "bad" else "warn")
        right: Line = (("down ", view.inks.muted), (duration(view.now.mono - down), down_ink))
    elif link.phase in {Phase.STOPPED, Phase.OFF}:
        right = BLANK
    else:
        right = ((duration(view.now.mono - link.since_at), view.inks.bright),)
    left = ((f"{glyph} {word}", ink),)
    if right and line_width((*left, *right)) >= inner:
        text, tone_ink = right[-1]
        right = ((text.rsplit(" ", 1)[0] if text.endswith("s") and "m" in text else text, tone_ink),)
    return spread(left, right, inner, view.inks.ground)


def _endpoint(view: View, inner: int) -> Line:
    snapshot, inks = view.snapshot, view.inks
    if snapshot.link.phase is Phase.OFF or (snapshot.polling.active and snapshot.link.phase is not Phase.ONLINE):
        tone = "warn" if snapshot.link.phase is not Phase.OFF else "accent"
        return (("POST ", inks.tone(tone, bold=True)), (SYNC, inks.muted))
    scheme, colon, rest = shown(snapshot.socket_url, 200).partition(":")
    return ((scheme, inks.key), (cut(colon + rest, inner - len(scheme)), inks.muted))


def _cells(view: View) -> dict[str, tuple[str, str]]:
    """Every figure of the grid as (text, tone)."""
    snapshot, now = view.snapshot, view.now
    link, commands = snapshot.link, snapshot.commands
    unproven = commands.outbox
    pong = link.last_pong_at
    return {
        "transport": _transport(snapshot, now),
        "polling": _polling(view),
        "received": (count(commands.received), "bright"),
        "acked": (count(commands.proven), "bright"),
        "outbox": (count(unproven), "good" if not unproven else "bright" if link.phase is Phase.ONLINE else "warn"),
        "deduped": (count(commands.duplicates), "bright"),
        "ping": (ago(now.mono - pong) if pong is not None and link.phase is Phase.ONLINE else "–", "bright"),
        "retries": (count(max(link.dials - 1, 0)), "bright"),
    }


def _transport(snapshot: Snapshot, now: Moment) -> tuple[str, str]:
    if snapshot.link.phase is Phase.ONLINE:
        return ("socket, deaf", "warn") if snapshot.link.deaf else ("socket", "bright")
    if polling_works(snapshot, now):
        return "polling", "accent" if snapshot.link.phase is Phase.OFF else "warn"
    return "none", "bad" if _is_down(snapshot.link) else "muted"


def _is_down(link: LinkView) -> bool:
    return link.phase not in {Phase.STOPPED, Phase.ONLINE} and link.last_drop is not None


def _polling(view: View) -> tuple[str, str]:
    polling = view.snapshot.polling
    if polling.mode is PollingMode.NEVER:
        return "never", "warn" if _is_down(view.snapshot.link) else "muted"
    if not polling.active:
        return "paused", "muted"
    tone = "bad" if polling_works(view.snapshot, view.now) is False else ("bright" if polling.mode is PollingMode.ALWAYS else "warn")
    how = "always" if polling.mode is PollingMode.ALWAYS else "next"
    if polling.in_flight or polling.next_at is None:
        return "always …" if polling.mode is PollingMode.ALWAYS else "asking …", tone
    return f"{how} {duration(polling.next_at - view.now.mono + 0.5)}", tone


def _pair(view: View, cells: dict[str, tuple[str, str]], left: str, right: str, inner: int) -> Line:
    half = (inner - 1) // 2
    value_width = half - 8
    first, first_tone = cells[left]
    second, second_tone = cells[right]
    return (
        (f"{left:<10}", view.inks.muted),
        (fit(first, value_width) + " ", view.inks.tone(first_tone)),
        (f"{right:<9}", view.inks.muted),
        (cut(second, inner - half - 12), view.inks.tone(second_tone)),
    )


def _row(view: View, cells: dict[str, tuple[str, str]], name: str, inner: int) -> Line:
    text, tone = cells[name]
    extra: Line = ()
    if name == "acked":
        extra = ((f" / {cells['received'][0]}", view.inks.muted),)
    if name == "outbox" and text != "0":
        extra = ((" ack" if text == "1" else " acks", view.inks.tone(tone)),)
    figure: Line = ((f"{name:<10}", view.inks.muted), (text, view.inks.tone(tone)))
    return (*figure, *extra) if line_width((*figure, *extra)) <= inner else figure


def poll_trouble(view: View) -> str:
    """Why the polls fail; empty where they do not."""
    polling = view.snapshot.polling
    return shown(polling.last_error, 120).removeprefix(f"{SYNC}: ") if polling.active and polling.last_error else ""


def _reason(view: View, inner: int, most: int) -> list[Line]:
    """Why the polls fail, else why the link was lost last, in at most so many rows."""
    drop = view.snapshot.link.last_drop
    trouble = poll_trouble(view)
    if trouble:
        return _told_in_rows(view, "polling:", f" {trouble}", "bad", inner, most)
    if drop is None:
        return [BLANK]
    past = view.snapshot.link.phase in {Phase.ONLINE, Phase.SUSPECT}
    head = f"last: {drop.cause}" if past else str(drop.cause)
    detail = f" · {shown(drop.detail)}" if drop.detail else ""
    return _told_in_rows(view, head, detail, "muted" if past else "warn", inner, most)


def _told_in_rows(view: View, head: str, detail: str, tone: str, inner: int, most: int) -> list[Line]:
    first, *rest = wrapped(head + detail, inner, most)
    begin = ((first[: len(head)], view.inks.tone(tone)), (first[len(head) :], view.inks.muted))
    return [begin, *(((text, view.inks.muted),) for text in rest)]


def _availability(view: View, inner: int) -> Line:
    return _strip(view.snapshot.link.history, int(view.now.utc), max(1, inner - 5), view.inks)


@lru_cache(maxsize=4)
def _strip(history: History, utc: int, length: int, inks: Inks) -> Line:
    """The last hour: socket, polling, down; what came before the start is left faint. It moves by the second."""
    columns = [_told(kinds) for kinds in _spent(history, utc, length)]
    strip = merged(("━", inks.tone(_TONES[kind]) if kind else inks.faint) for kind in columns)
    return (*strip, ("   1h", inks.faint))


def availability(view: View, inner: int) -> tuple[Line, dict[str, float]]:
    """The last hour as a strip, and the share of each kind."""
    spent = _spent(view.snapshot.link.history, view.now.utc, max(1, inner - 5))
    known = sum(sum(kinds.values()) for kinds in spent) or 1.0
    return _availability(view, inner), {kind: sum(kinds.get(kind, 0.0) for kinds in spent) / known for kind in _TONES}


def _spent(history: History, now: float, length: int) -> list[dict[str, float]]:
    """The seconds of each kind in each slice of the last hour."""
    seconds = HISTORY_SECONDS / length
    start = now - HISTORY_SECONDS
    spent: list[dict[str, float]] = [{} for _ in range(length)]
    marks = _since_the_start(history)
    for index, (since, kind) in enumerate(marks):
        until = marks[index + 1][0] if index + 1 < len(marks) else now
        first = max(0, int((since - start) / seconds))
        last = min(length - 1, int((until - start) / seconds - 1e-9))
        for column in range(first, last + 1):
            left = start + column * seconds
            share = min(until, left + seconds) - max(since, left)
            spent[column][kind] = spent[column].get(kind, 0.0) + share
    return spent


def _since_the_start(marks: History) -> History:
    """Without the moments before the first link: a start is no outage."""
    first = next((index for index, (_, kind) in enumerate(marks) if kind == "socket"), 0)
    return marks[first:] if marks and marks[first][0] - marks[0][0] < STARTING_SECONDS else marks


def _told(kinds: dict[str, float]) -> str:
    """What a slice of the strip stands for: the worst that lasted, else what was there longest."""
    lasted = [kind for kind, seconds in kinds.items() if seconds >= NOTICED_SECONDS]
    return max(lasted, key=_BADNESS.index) if lasted else max(kinds, key=kinds.__getitem__, default="")
