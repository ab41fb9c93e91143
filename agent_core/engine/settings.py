"""What a backend may change at run time, and within which bounds (PROTOCOL §2): the rest is refused and named."""

from collections.abc import Mapping
from typing import Any

from agent_core.config import Config
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
    """Takes changes by any way during a step; the engine applies them together at its end.

    What the backend has changed outranks what is configured here until it is reset; but a log level that is set here stays.
    """

    def __init__(self, here: Mapping[str, Any], *, level_is_set: bool) -> None:
        """`here` is what this machine's configuration says, by the settings' own names."""
        self._here = dict(here)
        self._level_is_set = level_is_set
        self._held: dict[str, Any] = {}
        self.changed: dict[str, Any] = {}
        """What was changed since `take_changed`."""

    def configure(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What `accept` says of these; the accepted ones are changed from now on."""
        accepted, refused = accept(values)
        if self._level_is_set and accepted.pop("log_level", None) is not None:
            refused.append("log_level is set by this machine's own configuration")
        self.changed.update(accepted)
        self._held.update(accepted)
        return accepted, refused

    def restore(self, kept: Mapping[str, str]) -> dict[str, Any]:
        """What the backend had changed before this start, as far as it holds."""
        self.configure(kept)
        return self.take_changed()

    def take_changed(self) -> dict[str, Any]:
        changed, self.changed = self.changed, {}
        return changed

    def reload(self, here: Mapping[str, Any], *, level_is_set: bool) -> dict[str, Any]:
        """The configuration says this now; what holds from now on and did not before."""
        before = self._here | self._held
        self._here, self._level_is_set = dict(here), level_is_set
        if level_is_set:
            self._held.pop("log_level", None)
        return {name: value for name, value in (self._here | self._held).items() if before[name] != value}

    def reset(self, name: str) -> Any:
        """The value from here, which holds again; None where the backend has not changed it."""
        return None if self._held.pop(name, None) is None else self._here[name]


def settings_of(config: Config) -> dict[str, Any]:
    """What this machine's configuration says of them."""
    return {
        "sync_interval": config.backend.sync_interval_seconds, "ping_interval": config.websocket.ping_interval_seconds,
        "log_level": config.logging.level,
    }  # fmt: skip


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
