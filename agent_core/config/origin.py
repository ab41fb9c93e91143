"""Where the configuration was read, so that it can be read anew while the agent runs, and what has changed since."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_core.config.models import Config, Section

Look = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """`load` may take its time, and raises what is wrong in one sentence a line; `files` are those that it reads, config.yaml first."""

    load: Callable[[], Config]
    files: tuple[Path, ...]

    def look(self) -> Look:
        """Differs from an earlier look where a file was changed, came or went; microseconds, on a local disk."""
        return tuple(map(_look, self.files))


def _look(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def differences(old: Config, new: Config) -> list[str]:
    """The keys that differ, in their order; secrets are not among them."""

    def walk(one: Section, other: Section, prefix: str) -> list[str]:
        found: list[str] = []
        for name, field in type(one).model_fields.items():
            before, after = getattr(one, name), getattr(other, name)
            if isinstance(before, Section):
                found += walk(before, after, f"{prefix}{name}.")
            elif before != after and not _secret(before):
                found.append(prefix + (field.alias or name))
        return found

    return walk(old, new, "")


def adopted(old: Config, new: Config, keys: Iterable[str]) -> Config:
    """`old`, but for these keys of sections, which are as in `new`."""
    for key in keys:
        section, name = key.split(".")
        part = getattr(old, section).model_copy(update={name: getattr(getattr(new, section), name)})
        old = old.model_copy(update={section: part})
    return old


def _secret(value: Any) -> bool:
    return hasattr(value, "get_secret_value")
