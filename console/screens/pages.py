"""What the dialogs say: the help, a command's record, the question before a replay."""

import json
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from agent_core.records import Remembered
from console.panels.columns import STATUS
from console.panels.lines import BLANK, Line
from console.panels.ring import Row
from console.panels.view import Key
from console.text import day_stamp, fit, milliseconds, shown, stamp
from console.themes import Inks

MOST_LINES = 400
MOST_CHARACTERS = 20_000
_TEXT_KEYS = ("text", "message", "message_text")


def help_page(groups: Mapping[str, Sequence[Key]], inks: Inks) -> list[Line]:
    """Every key that works here, by what it belongs to."""
    lines: list[Line] = []
    for title, keys in groups.items():
        lines += [BLANK] if lines else []
        lines.append(((title, inks.head),))
        lines += [((fit(key.display, 10), inks.key), (key.label, inks.text)) for key in keys]
    return lines


def replay_page(row: Row, record: Remembered | None, inks: Inks) -> list[Line]:
    """What will be run again, and what that means."""
    payload = record.command.payload if record is not None else {}
    text = next((payload[key] for key in _TEXT_KEYS if key in payload), None)
    lines = [
        _field("command", shown(row.command_id, 200), inks),
        _field("type", shown(row.command_type, 200), inks),
    ]
    thread = payload.get("thread_id", row.thread_id)
    if thread is not None:
        lines.append(_field("thread", shown(thread, 200), inks))
    if text is not None:
        lines.append(_field("text", shown(text, 300), inks))
    kind = "recorded in the outbox" if row.effect == "transactional" else "seen outside"
    return [
        *lines,
        BLANK,
        (("Its effect will be ", inks.text), (kind, inks.tone("warn", bold=True)), (" a second time.", inks.text)),
        (("The backend is not told: a replay sends no ack.", inks.muted),),
    ]


def record_page(row: Row, record: Remembered | None, inks: Inks, zone: tzinfo | None) -> list[Line]:
    """Everything that is known of one command."""
    glyph, word, tone = STATUS.get(row.status, ("?", shown(row.status, 20), "muted"))
    lines: list[Line] = [
        _field("command", shown(row.command_id, 300), inks),
        _field("type", shown(row.command_type, 300), inks),
        (("status    ", inks.muted), (f"{glyph} {word}", inks.tone(tone)), (f"   via {shown(row.via, 20)}", inks.muted)),
        _field("run", f"{milliseconds(row.run_ms)} ms", inks),
        _field("ack", f"{milliseconds(row.ack_ms)} ms", inks),
    ]
    if row.thread_id:
        lines.append(_field("thread", shown(row.thread_id, 300), inks))
    if row.replay_of:
        lines.append(_field("replay of", shown(row.replay_of, 300), inks))
    if row.error:
        lines.append((("error     ", inks.muted), (shown(row.error), inks.tone("bad"))))
    if record is None:
        return [*lines, BLANK, (("The journal has no record of it (any more).", inks.muted),)]
    lines += [BLANK, (("Life", inks.head),), *_life(record, inks, zone)]
    lines += [BLANK, (("Payload", inks.head),), *_json(record.command.payload, inks)]
    if record.ack:
        lines += [BLANK, (("Ack", inks.head),), *_wrapped(shown(record.ack, 2_000), inks)]
    return lines


def _field(name: str, text: str, inks: Inks) -> Line:
    return ((fit(name, 10), inks.muted), (text, inks.bright))


def _life(record: Remembered, inks: Inks, zone: tzinfo | None) -> list[Line]:
    steps: list[tuple[float | None, str]] = [
        (record.received_utc, f"received ({record.via})"),
        (record.duplicate_utc, f"came again ×{record.duplicates} ({record.duplicate_via})"),
        (record.due_utc, "due"),
        (record.started_utc, "started" if record.runs <= 1 else f"started, run {record.runs}"),
        (record.finished_utc, f"{record.state}"),
        (record.sent_utc, "ack sent"),
        (record.proven_utc, f"ack proven by {record.proven_by}"),
    ]
    known = sorted(((utc, what) for utc, what in steps if utc is not None), key=lambda step: step[0])
    first = known[0][0]
    return [
        (
            (day_stamp(utc, zone) if utc == first else " " * 11 + stamp(utc, zone), inks.muted),
            (f"  {milliseconds((utc - first) * 1_000):>9} ms  " if utc != first else " " * 16, inks.faint),
            (what, inks.text),
        )
        for utc, what in known
    ]


def _json(payload: Mapping[str, Any], inks: Inks) -> list[Line]:
    try:
        pretty = json.dumps(payload, indent=2, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        pretty = "(too deep to show)"
    return [line for text in pretty[:MOST_CHARACTERS].splitlines()[:MOST_LINES] for line in _wrapped(shown(text, 2_000), inks)]


def _wrapped(text: str, inks: Inks) -> list[Line]:
    return [((text, inks.text),)]
