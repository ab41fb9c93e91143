"""The backend's log: a line each, as text for a person or as JSON for a collector."""

import json
import logging
import sys

from agent_core.clock import iso
from agent_core.plain import plain

NAME = "agent_core.reference"
MAX_TEXT = 2_000


class JsonLine(logging.Formatter):
    """One JSON object: when, how bad, what; and what was given as `extra={"fields": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"at": iso(record.created), "level": record.levelname.lower(), "event": plain(record.getMessage(), MAX_TEXT)}
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)[-MAX_TEXT:]
        return json.dumps(fields)


class TextLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = "".join(f" {key}={value}" for key, value in getattr(record, "fields", {}).items())
        text = f"{iso(record.created)} {record.levelname.lower()} {plain(record.getMessage(), MAX_TEXT)}{plain(told, MAX_TEXT)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def log_to_stderr(*, as_json: bool) -> None:
    """From information on for JSON, from warnings on for a person."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if as_json else TextLine())
    log = logging.getLogger(NAME)
    log.handlers = [handler]
    log.setLevel(logging.INFO if as_json else logging.WARNING)
    log.propagate = False
