"""What a backend may change at run time, and within which bounds (PROTOCOL §2): the rest is refused and named."""

from collections.abc import Mapping
from typing import Any

from agent_core.plain import plain

BOUNDS = {"sync_interval": (5.0, 300.0), "ping_interval": (10.0, 300.0)}
SPELLINGS = {
    "sync_interval": "sync_interval", "sync_interval_seconds": "sync_interval", "ping_interval": "ping_interval",
    "ping_interval_seconds": "ping_interval", "log_level": "log_level",
}  # fmt: skip
KEYS = {
    "sync_interval": "backend.sync_interval_seconds", "ping_interval": "websocket.ping_interval_seconds", "log_level": "logging.level",
}  # fmt: skip
"""The configuration's keys that they outrank."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Settings:
    """Takes changes by any way during a step; the engine applies them together at its end."""

    def __init__(self) -> None:
        self._changed: dict[str, Any] = {}

    def configure(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What `accept` says of these; the accepted ones are changed from now on."""
        accepted, refused = accept(values)
        self._changed.update(accepted)
        return accepted, refused

    def take_changed(self) -> dict[str, Any]:
        """What was changed since this was asked last."""
        changed, self._changed = self._changed, {}
        return changed


def accept(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The accepted settings by their own names, and a clause for each that is refused."""
    accepted: dict[str, Any] = {}
    refused: list[str] = []
    for key, value in values.items():
        name = SPELLINGS.get(key)
        if name is None:
            refused.append(f"{plain(key, 60)} is not one a backend may change")
        elif name == "log_level":
            level = {"WARN": "WARNING"}.get(str(value).upper(), str(value).upper())
            if level in LEVELS:
                accepted[name] = level
            else:
                refused.append(f"log_level must be one of {', '.join(LEVELS)}")
        else:
            low, high = BOUNDS[name]
            number = _number(value)
            if number is not None and low <= number <= high:
                accepted[name] = number
            else:
                refused.append(f"{name} must be {low:g} to {high:g} s")
    return accepted, refused[:10]


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
