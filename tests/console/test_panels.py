"""Drawings of presents made by hand."""

import dataclasses
import re
from datetime import UTC, date

import pytest
from msgspec.structs import replace

from agent_core.clock import Moment
from agent_core.delays import Instants, delays
from agent_core.snapshot import Cause, CommandsView, Drop, LatencyView, LinkView, Phase, PollingMode, PollingView, ScheduledView, Snapshot
from console.panels.backoff import backoff
from console.panels.columns import Look, columns_for, command_line, heading
from console.panels.connection import connection
from console.panels.details import DETAILS
from console.panels.footer import footer
from console.panels.header import header
from console.panels.latency import latency
from console.panels.lines import line_width
from console.panels.ring import Row
from console.panels.view import Key, counting, status_of
from console.text import compact, count, milliseconds
from console.themes import PALETTES, Palette, inks_of
from tests.harness.stills import (
    BASE,
    CUT,
    FAILING,
    FALLING_BACK,
    HOSTILE,
    MONO,
    NOON,
    NOTHING_YET,
    OFFLINE,
    ONLINE,
    POLL_ONLY,
    REFUSED,
    STOPPING,
    UNCONFIRMED,
    VERIFYING,
    WAITING,
    measured,
    present,
    text_of,
    view_of,
)

NOW = Moment(MONO, NOON)
EVERY = {
    "online": ONLINE, "waiting": WAITING, "offline": OFFLINE, "refused": REFUSED, "verifying": VERIFYING, "stopping": STOPPING,
    "nothing yet": NOTHING_YET, "poll only": POLL_ONLY, "bare": Snapshot(),
    **{phase.value: present(phase) for phase in Phase},
}  # fmt: skip
DRAWINGS = (connection, backoff, latency, header, footer)

TODAY = date(2026, 11, 6)


@pytest.mark.parametrize(
    ("snapshot", "pill"),
    [
        (ONLINE, "● ONLINE"),
        (WAITING, "▲ FALLBACK"),
        (OFFLINE, "✗ OFFLINE"),
        (REFUSED, "✗ REFUSED"),
        (VERIFYING, "◌ VERIFYING"),
        (STOPPING, "◌ STOPPING"),
        (POLL_ONLY, "● POLLING"),
        (replace(WAITING, polling=replace(FALLING_BACK, mode=PollingMode.NEVER, active=False)), "✗ OFFLINE"),
        (replace(POLL_ONLY, polling=UNCONFIRMED), "▲ RETRYING"),
        (replace(POLL_ONLY, polling=PollingView(active=True, in_flight=True)), "◌ CONNECTING"),
        (replace(POLL_ONLY, polling=FAILING), "✗ OFFLINE"),
        (replace(WAITING, polling=UNCONFIRMED), "▲ RETRYING"),
        (replace(WAITING, polling=replace(FALLING_BACK, works_until_at=MONO)), "▲ RETRYING"),
        (replace(OFFLINE, link=replace(OFFLINE.link, phase=Phase.CONNECTING)), "✗ OFFLINE"),
        (replace(WAITING, link=replace(WAITING.link, phase=Phase.CONNECTING)), "▲ FALLBACK"),
        (present(Phase.SUSPECT), "▲ SUSPECT"),
        (present(Phase.REPLACED), "✗ REPLACED"),
        (present(Phase.PORTAL, UNCONFIRMED), "✗ PORTAL"),
    ],
)
def test_the_pill_is_never_better_than_the_truth(snapshot: Snapshot, pill: str) -> None:
    status = status_of(snapshot, NOW)
    assert f"{status.glyph} {status.word}" == pill
    assert pill in text_of(header(view_of(snapshot), 80, 1))


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", EVERY)
def test_every_drawing_fills_its_box_exactly(name: str, theme: str) -> None:
    view = view_of(EVERY[name], theme, keys=(Key("R", "Reconnect", "app.reconnect"), Key("^p", "palette", "app.palette")))
    for draw in (connection, backoff, latency):
        for width, height in ((17, 8), (21, 8), (27, 8), (33, 11), (43, 11), (72, 11)):
            lines = draw(view, width, height)
            assert len(lines) == height, draw
            assert {line_width(line) for line in lines} == {width}, text_of(lines)
    for width in (60, 80, 120, 200):
        assert line_width(header(view, width, 1)[0]) == width
        assert line_width(footer(view, width, 1)[0]) == width


@pytest.mark.parametrize("raw", HOSTILE)
def test_hostile_text_stays_in_its_box(raw: str) -> None:
    snapshot = replace(
        OFFLINE, version=raw, host=raw, agent_id=raw, backend_url=raw, socket_url=raw,
        polling=replace(OFFLINE.polling, last_error=raw), link=replace(OFFLINE.link, last_drop=replace(CUT, detail=raw)),
    )  # fmt: skip
    for shown in (snapshot, replace(snapshot, link=replace(snapshot.link, phase=Phase.ONLINE), polling=FALLING_BACK)):
        view = view_of(shown)
        for draw, width, height in ((connection, 27, 8), (connection, 43, 11), (header, 80, 1)):
            lines = draw(view, width, height)
            assert {line_width(line) for line in lines} == {width}
            assert "".join(text_of(lines).split("\n")).isprintable()


def test_connection_online() -> None:
    drawn = text_of(connection(view_of(ONLINE), 43, 11))
    for part in ("● ONLINE", "2h 14m 07s", "wss://api.example.net/edge/ws", "paused", "3 s ago", "1 204", "last: half-open", "1h"):
        assert part in drawn


def test_connection_says_why_and_what_is_left_to_do() -> None:
    drawn = text_of(connection(view_of(WAITING), 43, 11))
    for part in ("▲ RETRYING", "down 48 s", "POST /edge/sync", "next 6 s", "half-open · nothing heard"):
        assert part in drawn
    assert "polling: connection refused" in text_of(connection(view_of(OFFLINE), 43, 11))
    assert "transport none" in text_of(connection(view_of(OFFLINE), 43, 11))


@pytest.mark.parametrize("snapshot", [WAITING, OFFLINE, REFUSED, replace(REFUSED, polling=FAILING)])
@pytest.mark.parametrize("height", [8, 11])
def test_no_reason_is_cut_at_80_columns(snapshot: Snapshot, height: int) -> None:
    drawn = connection(view_of(snapshot), 28, height)
    assert len(drawn) == height
    assert "…" not in text_of(drawn)
    told = " ".join(text_of(drawn).replace("│", " ").split())
    drop = snapshot.link.last_drop
    assert drop is not None
    assert (snapshot.polling.last_error or drop.detail) in told
    assert ("acked 1 204 / 1 204" in told) is (height == 11)


def test_a_silent_link_is_not_blamed_on_what_ended_the_one_before() -> None:
    silent = replace(ONLINE, link=replace(ONLINE.link, phase=Phase.SUSPECT))
    assert "last: half-open" in text_of(connection(view_of(silent), 43, 11))
    assert "half-open" not in text_of(connection(view_of(silent), 28, 8))


def test_without_a_socket_the_reason_is_that_of_the_polls() -> None:
    poll_only = replace(POLL_ONLY, polling=FAILING)
    assert "polling: connection" in text_of(connection(view_of(poll_only), 28, 8))


def test_the_narrowest_panel_shows_why_a_certificate_is_refused() -> None:
    why = "TLS: expired certificate; is this machine's clock right?"
    refused = replace(WAITING, link=replace(WAITING.link, last_drop=Drop(NOON - 9, Cause.TLS, why, None)))
    assert "tls · TLS: expired" in text_of(connection(view_of(refused), 27, 8))
    neither = replace(refused, polling=replace(FAILING, last_error=f"/edge/sync: {why}"))
    assert "polling: TLS: expired" in text_of(connection(view_of(neither), 27, 8))


def test_the_availability_strip_shows_the_worst_of_each_slice() -> None:
    line = connection(view_of(ONLINE), 43, 11)[9]
    inks = inks_of("edge-dark")
    tones = [ink for text, ink in line if "━" in text]
    assert tones == [inks.faint, inks.tone("good"), inks.tone("warn"), inks.tone("bad"), inks.tone("good")]


def test_a_moment_without_a_link_does_not_paint_a_slice_red() -> None:
    history = ((NOON - 12, "down"), (NOON - 11.9, "socket"))
    line = connection(view_of(replace(ONLINE, link=replace(ONLINE.link, history=history))), 43, 11)[9]
    assert inks_of("edge-dark").tone("bad") not in [ink for _, ink in line]


@pytest.mark.parametrize(("gone", "tone"), [(0.5, "good"), (1.2, "bad")])
def test_the_strip_hides_no_outage_of_a_second_but_a_start_is_none(gone: float, tone: str) -> None:
    history = ((NOON - 48, "down"), (NOON - 47.9, "polling"), (NOON - 44, "socket"), (NOON - 20, "down"), (NOON - 20 + gone, "socket"))
    line = connection(view_of(replace(ONLINE, link=replace(ONLINE.link, history=history))), 43, 11)[9]
    inks = inks_of("edge-dark")
    assert [ink for text, ink in line if "━" in text] == [inks.faint, inks.tone(tone)]


def test_unproven_acks_are_amber_only_while_the_link_is_down() -> None:
    inks = inks_of("edge-dark")
    for snapshot, tone in ((ONLINE, "bright"), (WAITING, "warn")):
        shown = replace(snapshot, commands=replace(snapshot.commands, outbox=7))
        (cell,) = [ink for line in connection(view_of(shown), 43, 11) for text, ink in line if text.strip() == "7"]
        assert cell == inks.tone(tone)


def test_a_forced_poll_fits_its_cell() -> None:
    forced = replace(ONLINE, polling=replace(FALLING_BACK, mode=PollingMode.ALWAYS, next_at=MONO + 14.6))
    assert "always 15 s " in text_of(connection(view_of(forced), 43, 11))


def test_degraded_panels_turn_amber() -> None:
    inks = inks_of("edge-dark")
    for draw in (connection, backoff):
        assert draw(view_of(ONLINE), 43, 11)[0][0][1] == inks.edge
        for snapshot in (WAITING, OFFLINE, REFUSED):
            assert draw(view_of(snapshot), 43, 11)[0][0][1] == inks.edge_warn


def test_backoff_waits_on_the_fifth_attempt() -> None:
    lines = backoff(view_of(WAITING), 33, 11)
    drawn = text_of(lines)
    assert "attempt 5/10 · next in" in drawn
    assert "R retry now" in drawn
    assert "1 → 60 s" in drawn
    lit = [text for line in lines for text, ink in line if ink == inks_of("edge-dark").pill("warn")]
    assert lit == [" 16 "]
    assert "try 5/10 · next in" in text_of(backoff(view_of(WAITING), 25, 8))


def test_backoff_bar_drains() -> None:
    def filled(left: float) -> int:
        link = replace(WAITING.link, wait_from_at=MONO - 16 + left, retry_at=MONO + left)
        return len(backoff(view_of(replace(WAITING, link=link)), 33, 11)[5][1][0])

    assert [filled(left) for left in (16, 8, 0.1)] == [29, 15, 0]


def test_backoff_is_never_empty() -> None:
    expected = {
        Phase.ONLINE: "online for", Phase.SUSPECT: "probing", Phase.CONNECTING: "dialling", Phase.VERIFYING: "waiting for a word",
        Phase.STOPPED: "idle", Phase.OFF: "poll only",
    }  # fmt: skip
    for phase, words in expected.items():
        assert words in text_of(backoff(view_of(present(phase)), 33, 11))
    assert "next ping in" in text_of(backoff(view_of(ONLINE), 33, 11))
    assert "last outage 13:58 · 48 s" in text_of(backoff(view_of(ONLINE), 33, 11))
    assert "stopping" in text_of(backoff(view_of(STOPPING), 33, 11))


def test_backoff_past_the_last_attempt_says_so() -> None:
    link = replace(WAITING.link, attempt=14)
    assert "attempt 10/10, slow lane" in text_of(backoff(view_of(replace(WAITING, link=link)), 43, 11))


def test_latency_bars_percentiles_and_gauges() -> None:
    inks = inks_of("edge-dark")
    lines = latency(view_of(ONLINE), 43, 11)
    drawn = text_of(lines)
    for part in ("p50 18  p95 41  p99 77 ms", "ping 31 ms", "jitter 4 ms", "loop lag 0.6", "last 2 min", "80"):
        assert part in drawn
    bars = {ink for line in lines for _, ink in line if ink.bgcolor is not None}
    assert bars == {inks.bar("good"), inks.bar("warn"), inks.bar("bad")}
    assert "no acks in two minutes" in text_of(latency(view_of(NOTHING_YET), 43, 11))


def test_great_latencies_are_shortened_and_not_cut_off() -> None:
    acks = measured(*[9_900.0] * 90, *[50_348.0] * 8, *[1_600_000.0] * 2)
    slowest = tuple((MONO - age, 50_348.0 + age) for age in range(100, 0, -2))
    view = view_of(replace(BASE, latency=LatencyView(acks, slowest_acks=slowest)))
    drawn = text_of(latency(view, 31, 8))
    assert "p50 9.8s p95 51s p99 27m" in drawn
    assert "60s" in drawn
    assert "…" not in drawn


@pytest.mark.parametrize("phase", Phase)
def test_a_panel_in_no_room_is_drawn_all_the_same(phase: Phase) -> None:
    for width in range(5, 30):
        assert len(connection(view_of(present(phase)), width, 8)) == 8


def test_an_objective_without_acks_is_not_met() -> None:
    assert "objective 100 ms: no acks yet" in text_of(DETAILS[2][1](view_of(NOTHING_YET), 100, 30))


def test_latency_bars_stand_still_between_their_steps() -> None:
    view = view_of(ONLINE)
    moments = [Moment(MONO + tenth / 10, NOON + tenth / 10) for tenth in range(30)]
    assert len({tuple(latency(dataclasses.replace(view, now=now), 43, 11)) for now in moments}) <= 2


def test_a_single_sample_is_drawn() -> None:
    snapshot = replace(BASE, latency=LatencyView(slowest_acks=((MONO - 1, 0.2),)))
    assert any("▁" in text or ink.bgcolor for line in latency(view_of(snapshot), 43, 11) for text, ink in line)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [(ONLINE, False), (WAITING, True), (REFUSED, False), (VERIFYING, True), (present(Phase.ONLINE), False), (Snapshot(), False)],
)
def test_ten_times_a_second_only_while_something_counts(snapshot: Snapshot, expected: bool) -> None:
    assert counting(snapshot, NOW) is expected


ROW = Row(NOON, "cmd_b0cb91ce37", "send_message", "ws", "acked", 20.4, 43.3, "+1", None, None, "external")


@pytest.mark.parametrize("width", [56, 60, 76, 90, 98, 105, 112, 116, 169, 170, 196])
def test_columns_fill_the_row(width: int) -> None:
    columns, look = columns_for(width), Look(inks_of("edge-dark"), None, TODAY)
    assert line_width(heading(columns, look.inks)) == width
    for status in ("acked", "failed", "duplicate", "interrupted", "sent", "made up"):
        for raw in ("x", *HOSTILE):
            row = ROW._replace(status=status, command_id=raw, command_type=raw, thread_id=raw, error=raw, via=raw, replay_of=raw)
            assert line_width(command_line(row, columns, look)) == width
    for run, ack in ((None, None), (0.0, 0.0), (5.0, 1e9), (1e9, 5.0)):
        assert line_width(command_line(ROW._replace(run_ms=run, ack_ms=ack), columns, look)) == width


@pytest.mark.parametrize("width", [56, 76, 96, 116, 196])
@pytest.mark.parametrize("ms", [0.4, 999.96, 9_999.6, 59_960.0, 1_204_000.0, 43_000_000.0, 259_186_565.0, 9e12])
def test_c4_a_figure_of_a_row_changes_its_unit_before_it_is_cut(width: int, ms: float) -> None:
    columns, look = columns_for(width), Look(inks_of("edge-dark"), None, TODAY)
    line = text_of([command_line(ROW._replace(run_ms=ms, ack_ms=ms, command_id="i", command_type="t"), columns, look)])
    assert milliseconds(ms) in line
    assert "…" not in line


def test_c17_while_online_nothing_counts_as_a_retry_does() -> None:
    for width, height in ((24, 8), (40, 11)):
        said = text_of(backoff(view_of(ONLINE), width, height))
        assert "2h 14m 07s" in said
        assert "next ping in 26 s" in said
        assert "┏" not in said
        assert "┏" in text_of(backoff(view_of(WAITING), width, height))


def test_c17_at_80_columns_the_footer_keeps_the_filter() -> None:
    names = ("Reconnect", "Polling", "Replay", "Edit", "Inspect", "Follow", "Filter", "Shot", "Help", "Quit", "palette")
    keys = tuple(Key("x", name, f"app.{name}") for name in names)
    said = text_of(footer(view_of(ONLINE, keys=keys), 80, 1))
    assert all(name in said for name in ("Reconnect", "Polling", "Replay", "Filter", "Help", "Quit"))
    assert len(said) == 80
    assert all(name in text_of(footer(view_of(ONLINE, keys=keys), 120, 1)) for name in names)


@pytest.mark.parametrize("width", [24, 29, 43])
@pytest.mark.parametrize("number", [999_999, 1_000_000, 123_456_789, 99_999_999_999])
def test_c4_no_figure_of_the_connection_is_cut(width: int, number: int) -> None:
    counts = CommandsView(received=number, proven=number, duplicates=number, outbox=number)
    for height in (8, 11):
        said = text_of(connection(view_of(replace(ONLINE, commands=counts, link=replace(ONLINE.link, last_drop=None))), width, height))
        assert count(number) in said
        assert "…" not in said.partition("polling")[2]


TOO_LARGE = re.compile(r"\d+[kM] ?ms|(?<![p\d])\d{1,3}(?: \d{3})+ ?ms|\d{4,}(?:\.\d+)? ?ms|\d{4,}(?:\.\d+)? ?s\b|\d…|:\d\d s\b|e\+\d")
"""A figure that should have changed its unit, was cut, or has one too many."""


@pytest.mark.parametrize("ms", [0.4, 999.6, 12_345.0, 60_400.0, 1_204_000.0, 90_061_000.0, 9e12])
@pytest.mark.parametrize(("width", "height"), [(24, 8), (28, 8), (39, 11), (56, 11), (76, 12), (116, 23), (156, 30)])
def test_c4_no_panel_has_a_figure_too_large_for_its_unit(width: int, height: int, ms: float) -> None:
    seconds = ms / 1_000
    times = measured(ms, ms / 3, ms / 50)
    snapshot = replace(
        WAITING,
        latency=replace(
            WAITING.latency, socket=times, polling=times, run=times, proof=times, last_ping_ms=ms, jitter_ms=ms, loop_lag_ms=ms
        ),
        polling=replace(WAITING.polling, every=min(86_400.0, max(15.0, round(seconds)))),
        link=replace(
            WAITING.link,
            ladder=(1.0, 600.0, min(86_400.0, 601.0 + round(seconds))),
            step=600.0,
            retry_at=MONO + seconds,
            last_outage_seconds=seconds,
        ),
    )
    split = delays([Instants(NOON - 60 - seconds, NOON - 60, None, NOON, NOON, NOON, NOON + seconds)], 0.0, 0.0)
    for drawing in (latency, backoff, connection) if width < 56 else [draw for _, draw in DETAILS]:
        said = text_of(drawing(view_of(snapshot, delays=split), width, height))
        assert not TOO_LARGE.search(said), said
    assert "".join(compact(ms)) in text_of(latency(view_of(snapshot), width, height)).replace(" ", "")


@pytest.mark.parametrize(("width", "says"), [(56, "11-04 "), (76, "11-04 14:32 "), (116, "11-04 14:32 "), (196, "11-04 14:32 ")])
def test_c5_a_row_of_another_day_has_its_date(width: int, says: str) -> None:
    look = Look(inks_of("edge-dark"), UTC, TODAY)
    assert text_of([command_line(ROW._replace(utc=NOON - 2 * 86_400), columns_for(width), look)]).startswith(says)
    assert "2025-11-04" in text_of([command_line(ROW._replace(utc=NOON - 367 * 86_400), columns_for(116), look)])


def test_c5_instants_of_the_panels_have_their_date_too() -> None:
    old = replace(ONLINE.link, last_outage_utc=NOON - 3 * 86_400, last_drop=replace(CUT, utc=NOON - 3 * 86_400))
    due = replace(BASE, link=old, scheduled=(ScheduledView("s", "c", "+1", NOON + 3 * 86_400),), scheduled_count=1)
    view = view_of(due)
    assert "11-03 14:32" in text_of(backoff(view, 40, 11))
    for name, says in (("Link", "11-03 14:32:07"), ("Schedule and outbox", "11-09 14:32:07")):
        for width in (60, 80, 120):
            assert says in text_of(dict(DETAILS)[name](view, width, 14))


@pytest.mark.parametrize(("width", "texts"), [(116, "off"), (156, "shown"), (196, "masked")])
def test_the_bar_has_two_parts(width: int, texts: str) -> None:
    columns, inks = columns_for(width, texts=texts), inks_of("edge-dark")
    bar = [(text, ink) for text, ink in command_line(ROW, columns, Look(inks, None, TODAY)) if "━" in text]
    assert [ink for _, ink in bar] == [inks.run, inks.tone("warn")]


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.title)
def test_every_theme_can_be_read(palette: Palette) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for ground in ("ground", "band", "failed_ground", "cursor_ground"):
        for ink in ("text", "bright", "muted", "accent", "good", "warn", "bad", "note"):
            least = 3.4 if ink == "muted" else 4.5
            assert contrast(getattr(palette, ground), getattr(palette, ink)) >= least, (ground, ink)
    for pill in ("good", "warn", "bad", "accent"):
        assert contrast(palette.on_pill, getattr(palette, pill)) >= 4.5, pill


def test_totals_speak_of_the_snapshot() -> None:
    assert "acked     1 204 / 1 204" in text_of(connection(view_of(ONLINE), 27, 8))
    many = replace(ONLINE, commands=CommandsView(received=5, proven=3, outbox=2))
    assert "outbox    2 acks" in text_of(connection(view_of(many), 27, 8))


def test_a_link_that_was_never_up_has_no_history() -> None:
    assert "━" in text_of(connection(view_of(replace(BASE, link=LinkView())), 43, 11))
