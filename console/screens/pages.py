"""What the dialogs say: the help, a command's record, the question before a replay."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from difflib import unified_diff
from typing import TYPE_CHECKING, Any, NamedTuple

from agent_core.filters import BAD, LANGUAGE
from agent_core.records import Remembered
from agent_core.snapshot import Snapshot
from console.clipboard import command_json
from console.panels.columns import delivery_of, status_of
from console.panels.lines import BLANK, Line
from console.panels.ring import Row
from console.panels.view import Key
from console.text import cut, day_of, day_stamp, fit, fit_right, grouped, moment, shown, stamp, text_of_message, took
from console.themes import Inks

if TYPE_CHECKING:
    from agent_core.diagnosis.findings import Conclusion, Stage

MOST_LINES = 400
MOST_CHARACTERS = 20_000


class Beside(NamedTuple):
    """Another command to compare with, and what it is to this one: `the original`, `the marked one`."""

    name: str
    record: Remembered


def help_page(groups: Mapping[str, Sequence[Key]], inks: Inks) -> list[Line]:
    """Every key that works here, by what it belongs to, with the name by which the configuration can give it another one."""
    lines: list[Line] = []
    for title, keys in groups.items():
        lines += [BLANK] if lines else []
        lines.append(((title, inks.head),))
        lines += [((fit(key.display, 10), inks.key), (fit(key.action, 16), inks.muted), (key.label, inks.text)) for key in keys]
    return lines


def quit_page(snapshot: Snapshot, inks: Inks, utc: float, zone: tzinfo | None) -> list[Line]:
    """What does not happen while the agent is stopped."""
    commands = snapshot.commands
    pending = [
        (commands.running, "running", "given a few seconds to end"),
        (commands.queued, "waiting to run", "run after the next start"),
        (commands.outbox, "acks unproven", "sent again after the next start"),
        (snapshot.scheduled_count, "messages due later", _due(snapshot, utc, zone)),
    ]
    lines: list[Line] = [
        ((f"{grouped(count):>8} ", inks.tone("warn", bold=True)), (fit(what, 20), inks.bright), (then, inks.muted))
        for count, what, then in pending
        if count
    ]
    nothing: Line = (("Nothing is pending.", inks.text),)
    return [*(lines or [nothing]), BLANK, (("While it is stopped no command arrives and no message goes out.", inks.muted),)]


def _due(snapshot: Snapshot, utc: float, zone: tzinfo | None) -> str:
    if not snapshot.scheduled:
        return "sent after the next start"
    return f"not sent while it is stopped; the next {moment(snapshot.scheduled[0].due_utc, utc, zone)}"


def language_page(inks: Inks) -> list[Line]:
    """What a filter may say."""
    rows: list[Line] = [((fit(form, 26), inks.key), (meaning, inks.text)) for form, meaning in LANGUAGE]
    keys = "Tab completes · ⏎ keeps · Esc as before · ↑ ↓ used before · n N next"
    return [*rows, BLANK, ((keys, inks.muted),)]


DIAGNOSIS_GLYPHS = {"ok": ("✓", "good"), "failed": ("✗", "bad"), "warning": ("▲", "warn"), "skipped": ("·", "muted")}


def diagnosis_page(stages: "Sequence[Stage]", conclusion: "Conclusion | None", inks: Inks) -> list[Line]:
    """Of the first look on the way to the backend that failed why it probably did and what to do; then each look."""
    said = (("First failing stage", conclusion.stage), ("Likely", conclusion.cause), ("Do", conclusion.advice)) if conclusion else ()
    lines: list[Line] = [((f"{word}: ", inks.muted), (shown(text, 400), inks.text)) for word, text in said]
    lines = [*(lines or [(("No stage failed.", inks.text),)]), BLANK]
    for stage in stages:
        glyph, tone = DIAGNOSIS_GLYPHS[stage.verdict]
        head = (f"{glyph} {stage.verdict:<8} ", inks.tone(tone)), (f"{stage.name:<13} ", inks.bright)
        lines.append((*head, (f"{fit_right(took(stage.ms), 9)}  ", inks.muted), (shown(stage.sentence, 300), inks.text)))
    return [*lines, BLANK, (("More with: ", inks.muted), ("edge-console doctor", inks.accent))]


def replay_page(rows: Sequence[Row], record: Remembered | None, inks: Inks) -> list[Line]:
    """What will be run again, and what that means; `record` is of the only one."""
    lines: list[Line] = []
    if len(rows) == 1:
        lines = _one_replay(rows[0], record, inks)
    else:
        kinds = Counter(row.command_type for row in rows)
        lines.append(((f"{len(rows)} marked commands", inks.tone("bright", bold=True)),))
        lines += [((f"{count:>5} × ", inks.muted), (shown(kind, 100), inks.bright)) for kind, count in kinds.most_common(8)]
    effects = {row.effect for row in rows}
    seen = "external" in effects
    kind = "seen outside" if seen else "recorded in the outbox" if "transactional" in effects else "none that anybody sees"
    what = "Their effects" if len(rows) > 1 else "Its effect"
    return [
        *lines,
        BLANK,
        ((f"{what} will be ", inks.text), (kind, inks.tone("bad" if seen else "warn", bold=True)), (" a second time.", inks.text)),
        (("The backend is not told: a replay sends no ack.", inks.muted),),
    ]


def _one_replay(row: Row, record: Remembered | None, inks: Inks) -> list[Line]:
    payload = record.command.payload if record is not None else {}
    text = text_of_message(payload)
    lines = [_field("command", shown(row.command_id, 200), inks), _field("type", shown(row.command_type, 200), inks)]
    thread = payload.get("thread_id", row.thread_id)
    if thread is not None:
        lines.append(_field("thread", shown(thread, 200), inks))
    if text is not None:
        lines.append(_field("text", shown(text, 300), inks))
    return lines


def record_page(row: Row, record: Remembered | None, inks: Inks, zone: tzinfo | None, beside: Beside | None = None) -> list[Line]:
    """Everything that is known of one command, and how it differs from another."""
    glyph, word, tone = status_of(row)
    lines: list[Line] = [
        _field("command", shown(row.command_id, 300), inks),
        _field("type", shown(row.command_type, 300), inks),
        (("status    ", inks.muted), (f"{glyph} {word}", inks.tone(tone)), (f"   via {shown(row.via, 20)}", inks.muted)),
        _field("run", took(row.run_ms), inks),
        _field("ack", took(row.ack_ms) if row.via != "local" else "none: a replay sends no ack", inks),
    ]
    if row.thread_id:
        lines.append(_field("thread", shown(row.thread_id, 300), inks))
    if record is not None and record.changed_by:
        lines.append(_field("changed by", shown(record.changed_by, 300), inks))
    if row.replay_of:
        lines.append(_field("replay of", shown(row.replay_of, 300), inks))
    if row.error:
        label, tone = ("error     ", "bad") if row.status in BAD else ("policy    ", "note")
        lines.append(((label, inks.muted), (shown(row.error), inks.tone(tone))))
    if record is None:
        said = "A message that came in: T shows its thread." if row.via == "in" else "The journal has no record of it (any more)."
        return [*lines, BLANK, ((said, inks.muted),)]
    lines += [BLANK, (("Life", inks.head),), *_life(record, inks, zone)]
    if beside is not None:
        lines += [BLANK, ((f"Beside {beside.name}", inks.head), (f" {shown(beside.record.command.command_id, 100)}", inks.muted))]
        lines += _difference(record, beside.record, inks)
    lines += [BLANK, (("Payload", inks.head),), *_json(record.command.payload, inks)]
    if record.ack:
        lines += [BLANK, (("Ack", inks.head),), *_wrapped(shown(record.ack, 2_000), inks)]
    raw = command_json(record)
    return [*lines, BLANK, (("Raw", inks.head), (" the command as one line", inks.muted)), *_wrapped(shown(raw, 4_000), inks)]


def _difference(one: Remembered, other: Remembered, inks: Inks) -> list[Line]:
    """Side by side what came of each, then what differs in their payloads."""
    lines: list[Line] = [((" " * 10, inks.muted), (fit("this", 28), inks.head), ("the other", inks.head))]
    for name, of in _COMPARED.items():
        mine, yours = shown(of(one), 200), shown(of(other), 200)
        ink = inks.text if mine == yours else inks.tone("warn")
        lines.append(((fit(name, 10), inks.muted), (fit(mine, 27) + " ", ink), (cut(yours, 60), ink)))
    before, after = (_pretty(record.command.payload).splitlines()[:MOST_LINES] for record in (other, one))
    changed = [line for line in unified_diff(before, after, lineterm="", n=1) if not line.startswith(("---", "+++", "@@"))]
    if not changed:
        return [*lines, (("payloads are the same", inks.muted),)]
    tones = {"+": "good", "-": "bad"}
    return [*lines, *(((shown(line, 300), inks.tone(tones.get(line[0], "muted"))),) for line in changed[:MOST_LINES])]


def _took(record: Remembered) -> str:
    if record.started_utc is None or record.finished_utc is None:
        return "–"
    return took((record.finished_utc - record.started_utc) * 1_000)


_COMPARED: dict[str, Callable[[Remembered], object]] = {
    "type": lambda record: record.command.command_type, "via": lambda record: record.via, "state": lambda record: record.state,
    "run": _took, "error": lambda record: record.error or "–",
}  # fmt: skip


def _field(name: str, text: str, inks: Inks) -> Line:
    return ((fit(name, 10), inks.muted), (text, inks.bright))


def _life(record: Remembered, inks: Inks, zone: tzinfo | None) -> list[Line]:
    steps: list[tuple[float | None, str]] = [
        (record.received_utc, f"received ({record.via})"),
        (record.duplicate_utc, f"came again ×{record.duplicates} ({record.duplicate_via})"),
        (record.due_utc, "due"),
        (record.command.expires_utc, "expires"),
        (record.started_utc, "started" if record.runs <= 1 else f"started, run {record.runs}"),
        (record.finished_utc, f"{record.state}"),
        (record.resolved_utc, _resolved(record)),
        (record.sent_utc, "ack sent"),
        (record.delivery_utc, f"message {' '.join(delivery_of(record.delivery or '')[:2])}"),
        (record.proven_utc, f"ack proven by {record.proven_by}" if record.proven_by else "ended, with no ack to send"),
    ]
    known = sorted(((utc, what) for utc, what in steps if utc is not None), key=lambda step: step[0])
    first = known[0][0]
    lines: list[Line] = []
    day = None
    for utc, what in known:
        told, day = day_of(utc, zone) == day, day_of(utc, zone)
        after = f"+{took((utc - first) * 1_000)}" if utc != first else ""
        lines.append(
            (
                (" " * 11 + stamp(utc, zone) if told else day_stamp(utc, zone), inks.muted),
                (f"  {after:>11}  ", inks.faint),
                (what, inks.text),
            )
        )
    return lines


def _resolved(record: Remembered) -> str:
    which = f": it is {shown(record.resolved_guid, 60)}" if record.resolved_guid else ""
    return f"resolved as {record.resolution} by {shown(record.resolved_by or '?', 60)}{which}"


def _json(payload: Mapping[str, Any], inks: Inks) -> list[Line]:
    return [line for text in _pretty(payload).splitlines()[:MOST_LINES] for line in _wrapped(shown(text, 2_000), inks)]


def _pretty(payload: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(payload), indent=2, ensure_ascii=False, default=str)[:MOST_CHARACTERS]
    except (ValueError, RecursionError):
        return "(too deep to show)"


def _wrapped(text: str, inks: Inks) -> list[Line]:
    return [((text, inks.text),)]
