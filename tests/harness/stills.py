"""A host that stands still, and presents made by hand."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from agent_core.attention import Case, case_of
from agent_core.clock import ManualClock
from agent_core.events import Event
from agent_core.feed import CommandEntry, Feed
from agent_core.frames import Command, ack
from agent_core.latency import Histogram, Rolling
from agent_core.records import Remembered, State, Via
from agent_core.snapshot import (
    Cause,
    CommandsView,
    Drop,
    LatencyView,
    LinkView,
    Phase,
    PollingMode,
    PollingView,
    Snapshot,
)
from agent_core.threads import ThreadMessage
from console.panels.view import View
from console.themes import inks_of

NOON = 1_793_975_527.0
"""2026-11-05 14:32:07 UTC."""
MONO = 50_000.0


def clock() -> ManualClock:
    return ManualClock(MONO, NOON)


class StillHost:
    """Satisfies `Host`: hands out what it was given, and remembers what was asked of it."""

    def __init__(self, snapshot: Snapshot, entries: Iterable[CommandEntry] = (), records: dict[str, Remembered] | None = None) -> None:
        self.feed = Feed(20_000)
        self.present = snapshot
        self.posted: list[Event] = []
        self.records = records or {}
        self.stops = 0
        self.stopped = False
        self.failure: BaseException | None = None
        for entry in entries:
            self.feed.extend([entry])

    def snapshot(self) -> Snapshot:
        return self.present

    def post(self, event: Event) -> None:
        self.posted.append(event)

    def lookup(self, command_id: str) -> Remembered | None:
        return self.records.get(command_id)

    def stop(self) -> None:
        self.stops += 1

    def change(self, **parts: Any) -> None:
        """The next present."""
        self.present = replace(self.present, revision=self.present.revision + 1, **parts)


def entry(row: int, command_id: str | None = None, kind: str = "send_message", **rest: Any) -> CommandEntry:
    given = {"utc": NOON - 600 + row, "via": "ws", "status": "acked", "run_ms": 12.0, "ack_ms": 20.0, "effect": "transactional", **rest}
    return CommandEntry(row, given.pop("utc"), command_id or f"cmd_{row:012x}", kind, **given)


def remembered(command_id: str, kind: str = "send_message", payload: dict[str, Any] | None = None, **rest: Any) -> Remembered:
    command = Command(command_id, kind, payload if payload is not None else {"thread_id": "+13105550100", "text": "hi there"})
    given = {"seq": 1, "state": State.COMPLETED, "received_utc": NOON - 5, "started_utc": NOON - 4.9, "finished_utc": NOON - 4.8, **rest}
    return Remembered(command=command, via=Via.WS, **given)


def measured(*milliseconds: float) -> Histogram:
    """These, measured just now."""
    rolling = Rolling()
    for one in milliseconds:
        rolling.add(MONO, one)
    return rolling.view(MONO)


def _slowest_acks() -> tuple[tuple[float, float], ...]:
    heights = [22, 24, 20, 25, 21, 23, 19, 77, 50, 12, 14, 16, 13, 11, 13, 18, 20]
    heights += [19, 52, 20, 22, 18, 21, 19, 23, 48, 51, 20, 27, 22, 30, 21, 18, 23]
    return tuple((MONO - 118 + index * 3.5, float(ms)) for index, ms in enumerate(heights))


LATENCY = LatencyView(
    socket=measured(*[18.0] * 1_100, *[41.0] * 50, *[77.0] * 30), polling=measured(*[24.0] * 24), run=measured(*[12.0] * 90, 30.0),
    proof=measured(*[4_000.0] * 1_000, *[9_000.0] * 200), ping=measured(30.0, 31.0, 38.0), last_ping_ms=31.0, jitter_ms=4.0,
    slowest_acks=_slowest_acks(), loop_lag_ms=0.6,
)  # fmt: skip
HISTORY = ((NOON - 3_300, "socket"), (NOON - 2_470, "polling"), (NOON - 2_200, "down"), (NOON - 2_100, "socket"))
BASE = Snapshot(
    revision=1, at=MONO, utc=NOON, version="0.1", host="mac-mini-01", agent_id="mac-mini-01", backend_url="https://api.example.net",
    socket_url="wss://api.example.net/edge/ws", started_utc=NOON - 9_000,
    commands=CommandsView(received=1_204, completed=1_199, failed=3, duplicates=2, proven=1_204), latency=LATENCY,
)  # fmt: skip
CUT = Drop(NOON - 48, Cause.HALF_OPEN, "nothing heard for 15 s", 480.0)


def present(phase: Phase, polling: PollingView | None = None, commands: CommandsView | None = None, **link: Any) -> Snapshot:
    view = LinkView(phase=phase, since_at=MONO - 8_047, since_utc=NOON - 8_047, dials=4, sessions=2, history=HISTORY, **link)
    return replace(BASE, link=view, polling=polling or PollingView(), commands=commands or BASE.commands)


FALLING_BACK = PollingView(active=True, next_at=MONO + 5.6, works_until_at=MONO + 6, polls=4, last_ok_utc=NOON - 9)
UNCONFIRMED = replace(FALLING_BACK, works_until_at=None)
FAILING = PollingView(active=True, next_at=MONO + 5.6, polls=4, failures=4, last_error="connection refused")
EMPTY = CommandsView()

ONLINE = present(
    Phase.ONLINE, last_ping_at=MONO - 3.6, last_pong_at=MONO - 3.57, next_ping_at=MONO + 26.4,
    last_outage_utc=NOON - 2_047, last_outage_seconds=48.0, last_drop=replace(CUT, utc=NOON - 2_047),
)  # fmt: skip
WAITING = present(
    Phase.WAITING, FALLING_BACK, replace(BASE.commands, outbox=3), attempt=5, step=16.0, wait_from_at=MONO - 3.3, retry_at=MONO + 12.7,
    down_since_at=MONO - 48, last_drop=CUT,
)  # fmt: skip
OFFLINE = replace(WAITING, polling=FAILING)
REFUSED = present(
    Phase.REFUSED, FALLING_BACK, attempt=2, wait_from_at=MONO - 20, retry_at=MONO + 100, down_since_at=MONO - 80,
    last_drop=Drop(NOON - 20, Cause.AUTH, "403 on the upgrade: forbidden", None),
)  # fmt: skip
VERIFYING = replace(BASE, link=LinkView(Phase.VERIFYING, since_at=MONO - 0.4, attempt=1, down_since_at=MONO - 2))
STOPPING = replace(ONLINE, stopping=True)
NOTHING_YET = replace(ONLINE, commands=EMPTY, latency=LatencyView())
POLL_ONLY = present(Phase.OFF, replace(FALLING_BACK, mode=PollingMode.AUTO), down_since_at=None)

PICTURED = (
    ("b0cb91ce37", "update_config", "ws", "acked", 20.4, 43.3), ("87ec1d7da0", "send_message_now", "ws", "acked", 29.4, 52.2),
    ("3ff17fd374", "send_message_now", "ws", "failed", 3.8, 61.1), ("5f1cfb10f6", "send_message_now", "ws", "acked", 21.2, 47.2),
    ("1a8b33e968", "send_message_now", "ws", "duplicate", None, 29.1), ("68377b9aa2", "cancel_scheduled", "ws", "acked", 19.1, 27.3),
    ("63c4069545", "schedule_message", "ws", "scheduled", 10.8, 37.2), ("9e238642ea", "emit_event", "ws", "acked", 7.5, 31.4),
    ("f800745130", "update_config", "ws", "acked", 20.3, 30.8), ("f53729c619", "send_message_now", "poll", "acked", 27.4, 39.6),
    ("504a0fe75d", "send_message_now", "ws", "failed", 30.5, 96.0), ("a0ad864c44", "send_message_now", "ws", "acked", 29.9, 48.7),
    ("32b0cde917", "send_message_now", "ws", "duplicate", None, 35.6), ("054c7d6df0", "cancel_scheduled", "ws", "cancelled", 30.1, 55.9),
    ("43254cb864", "schedule_message", "ws", "acked", 13.1, 24.4), ("969a656aaf", "emit_event", "ws", "acked", 4.8, 18.9),
    ("10568068b9", "update_config", "ws", "acked", 3.1, 24.7), ("b27b121dc5", "send_message_now", "local", "acked", 11.7, 36.0),
    ("2db4653252", "send_message_now", "poll", "sent", 11.8, 29.5), ("f305da8467", "send_message_now", "poll", "sent", 11.8, 29.5),
    ("77aa00f1c2", "send_message_now", "ws", "interrupted", None, None), ("c305da84d1", "send_message_now", "ws", "running", None, None),
)  # fmt: skip


PEOPLE = ("+13105550100", "ann@example.net", "+442071838750", "chat831551415676550949", "+491701234567")
SAID = (
    "Your table for four is ready at 19:30", "Running late, start without me", "À demain, 19 h",
    "The parcel is at the front desk, ask for Jo", "Reminder: dentist tomorrow at 09:15, bring the form that they sent", "See you there",
)  # fmt: skip


def first_words(numbers: Sequence[int]) -> dict[int, str]:
    """How the messages of the pictures begin."""
    return {number: SAID[number % len(SAID)] for number in numbers}


def pictured(held: int = 0) -> list[CommandEntry]:
    """The commands of the pictures, of which the last ones are held."""
    told = [
        entry(
            number, f"cmd_{code}", kind, utc=NOON - 160 + number * 7.3, via=via, status=status, run_ms=run, ack_ms=ack,
            thread_id=PEOPLE[number % len(PEOPLE)] if "message" in kind else None,
            error="the recipient is not registered" if status == "failed" else None,
            replay_of="cmd_87ec1d7da0" if via == "local" else None,
        )
        for number, (code, kind, via, status, run, ack) in enumerate(PICTURED, 1)
    ]  # fmt: skip
    first = len(told) - held
    return [one if place < first else one._replace(status="held", run_ms=None, ack_ms=None) for place, one in enumerate(told)]


def talk() -> list[ThreadMessage]:
    """A thread with what may become of a message, oldest first."""

    def said(seq: int, utc: float, text: str, inbound: bool = False, **more: Any) -> ThreadMessage:
        given = {"sender": "+13105550100" if inbound else "", "attachments": 0, "status": "acked", **more}
        return ThreadMessage(seq, utc, inbound, text=text, **given)

    evening = NOON - 73_796.0
    place = "The usual place, on the corner of the park; Jo brings the children, so let us be there a little early"
    return [
        said(11, evening, "Dinner tomorrow?", delivery="read", delivery_utc=evening + 200),
        said(12, evening + 269, "Yes, where?", inbound=True),
        said(13, NOON - 7_200, place, delivery="delivered", delivery_utc=NOON - 7_190),
        said(14, NOON - 7_000, "Fine,\nsee you at eight", inbound=True, attachments=2, status="received"),
        said(15, NOON - 300, "Running late", delivery="failed", delivery_utc=NOON - 298),
        said(16, NOON - 200, "Are you there?", status="failed", error="the recipient is not registered"),
        said(17, NOON - 100, "Then start without me", status="running"),
        said(18, NOON + 20_000, "Good night", status="scheduled"),
    ]


CANDIDATES = [{"guid": f"GUID-{n}", "chat": "iMessage;-;+1310", "sent_at": f"2026-11-05T14:31:0{n}Z"} for n in range(6)]


def needing_cases() -> list[Case]:
    """One of each kind."""

    def case(seq: int, state: State, error: str | None = None, result: Mapping[str, Any] = MappingProxyType({})) -> Case:
        told = ack(f"cmd_{seq}", "failed", NOON, error, result)
        return case_of(remembered(f"cmd_{seq}", seq=seq, state=state, error=error, ack=told))

    return [
        case(1, State.INTERRUPTED, "unknown outcome: 6 messages like it", {"candidates": CANDIDATES}),
        case(2, State.FAILED, "missed: due 20m 00s ago"),
        case(3, State.FAILED, "no such recipient"),
        case(4, State.COMPLETED),
    ]


def text_of(lines: Iterable[Iterable[tuple[str, object]]]) -> str:
    """A drawing as a person reads it."""
    return "\n".join("".join(text for text, _ in line) for line in lines)


def view_of(snapshot: Snapshot, theme: str = "edge-dark", **rest: Any) -> View:
    return View(snapshot, clock().now(), inks_of(theme), UTC, **rest)


HOSTILE = (
    "\x1b[2J\x1b[31mred", "\x1b]52;c;ZXZpbA==\x07", "[/bold]", "[red]x[/", "[@click=app.quit]q[/]", "\u202egnp.exe", "\u2066a\u2069",
    "zero\u200bwidth\u200d", "z" + "\u0301" * 50, "漢字" * 20,
    "👩‍👩‍👧‍👦 family", "❤\ufe0f", "\x9b31m", "\r\n\t", "\ud800", "a" * 2**20, "𓀀" * 300,
)  # fmt: skip
