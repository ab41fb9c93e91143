"""What installed packages bring by entry points: messengers, each under its `messenger.kind`, and modules with handlers.

All of them are imported at the start, also those that are not used: what is broken is said before anything runs.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from agent_core.config.layers import MESSENGERS
from agent_core.config.models import MessengerKind
from agent_core.handlers import REGISTRY
from agent_core.messengers.choice import FACTORIES
from agent_core.plain import plain

HANDLERS = "edge_console.handlers"


class PluginError(Exception):
    """An installed package that cannot be used: what is wrong with it and what to do, as one sentence."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point, loaded: `brings` is the messenger's kind or the command types, `origin` the module's file."""

    group: str
    brings: tuple[str, ...]
    package: str
    version: str
    origin: str

    def __str__(self) -> str:
        what = "messenger" if self.group == MESSENGERS else "handler of"
        return plain(f"{what} {', '.join(self.brings)} from {self.package} {self.version} ({self.origin})")


def load_plugins() -> tuple[Plugin, ...]:
    """Import all of them and put them beside our own. Raises PluginError."""
    installed = entry_points()
    return (*_messengers(installed.select(group=MESSENGERS)), *_handlers(installed.select(group=HANDLERS)))


def _messengers(found: EntryPoints) -> Iterator[Plugin]:
    names = Counter([*MessengerKind, *(point.name for point in found)])
    for point in found:
        if names[point.name] > 1:
            raise _refused(point, "another messenger has that name")
        factory = _loaded(point)
        if not callable(factory):
            raise _refused(point, f"it is a {type(factory).__name__}, not a class or function that makes a messenger")
        FACTORIES[point.name] = factory
        yield _plugin(point, (point.name,))


def _handlers(found: EntryPoints) -> Iterator[Plugin]:
    for point in found:
        _loaded(point)
        brings = tuple(name for name, (handler, _) in REGISTRY.items() if f"{handler.__module__}.".startswith(f"{point.module}."))
        if not brings:
            raise _refused(point, f"{point.module} has no function with @handles")
        yield _plugin(point, brings)


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever a strange module does when it is imported)
        raise _refused(point, f"{type(error).__name__}: {error}") from None


def _refused(point: EntryPoint, why: str) -> PluginError:
    package = point.dist.name if point.dist is not None else "its package"
    version = f" {point.dist.version}" if point.dist is not None else ""
    return PluginError(plain(f"{point.group}: {point.name} of {package}{version} cannot be used: {why}; mend {package}, or uninstall it"))


def _plugin(point: EntryPoint, brings: tuple[str, ...]) -> Plugin:
    package, version = (point.dist.name, point.dist.version) if point.dist is not None else ("an unknown package", "?")
    return Plugin(point.group, brings, package, version, getattr(sys.modules[point.module], "__file__", None) or point.module)
