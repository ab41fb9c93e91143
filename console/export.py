"""Rows as a file, and a saved session as rows: JSON Lines, CSV, Markdown."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from agent_core.clock import iso
from agent_core.feed import CommandEntry
from agent_core.files import dated, write_whole
from console.panels.ring import Ring, Row
from console.text import shown

FORMATS = {"j": "jsonl", "c": "csv", "m": "md"}
FIELDS = ("utc", "command_id", "command_type", "via", "status", "run_ms", "ack_ms", "thread_id", "error", "replay_of", "effect")
LARGEST = 64 * 2**20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def save_rows(rows: Sequence[Row], kind: str, directory: Path, utc: float) -> Path:
    """Write the rows as `kind` (a value of FORMATS) into `directory`, readable by nobody else; the file's path."""
    path = dated(directory, "commands", utc, kind)
    text = {"jsonl": as_jsonl, "csv": as_csv, "md": as_markdown}[kind](rows)
    write_whole(path, text.encode(errors="replace"))
    return path


def as_jsonl(rows: Iterable[Row]) -> str:
    """One object a row, ASCII only; `load` reads it."""
    return "".join(json.dumps(_fields(row)) + "\n" for row in rows)


def as_csv(rows: Iterable[Row]) -> str:
    """With a heading; text that a spreadsheet would take for a formula has a `'` before it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(FIELDS)
    for row in rows:
        writer.writerow([_cell(value) for value in _fields(row).values()])
    return out.getvalue()


def as_markdown(rows: Iterable[Row]) -> str:
    lines = ["| " + " | ".join(FIELDS) + " |", "|" + "---|" * len(FIELDS)]
    for row in rows:
        cells = ("" if value is None else shown(value, 300) for value in _fields(row).values())
        lines.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _fields(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = dict(zip(row._fields, row, strict=True))
    return {name: _figure(fields[name]) if name.endswith("_ms") else fields[name] for name in FIELDS} | {"utc": iso(row.utc)}


def _figure(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = "" if value is None else shown(value, 2_000)
    return "'" + text if text.startswith(_FORMULA) else text


def _escaped(text: str) -> str:
    return "".join("\\" + char if char in "\\|`*_[]<>" else char for char in text)


def saved_sessions(directory: Path) -> list[Path]:
    """The files that `load` can read, newest first."""
    return sorted(directory.glob("*.jsonl"), reverse=True)[:100] if directory.is_dir() else []


def load(path: Path) -> Ring:
    """A saved session. Raises `ValueError` with what is wrong, or `OSError`."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"more than {LARGEST // 2**20} MB")
    ring = Ring()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                ring.put(_entry(line, number))
    return ring


def _entry(line: str, number: int) -> CommandEntry:
    try:
        fields = json.loads(line)
        return CommandEntry(
            row=number, utc=datetime.fromisoformat(fields["utc"]).timestamp(), command_id=str(fields["command_id"]),
            command_type=str(fields["command_type"]), via=str(fields["via"]), status=str(fields["status"]),
            thread_id=_text(fields.get("thread_id")), run_ms=_finite(fields.get("run_ms")), ack_ms=_finite(fields.get("ack_ms")),
            error=_text(fields.get("error")), replay_of=_text(fields.get("replay_of")), effect=str(fields.get("effect", "external")),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise ValueError(f"line {number} is no saved command") from None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _finite(value: Any) -> float | None:
    if value is None:
        return None
    figure = float(value)
    if not math.isfinite(figure):
        raise ValueError(value)
    return figure
