"""`edge-console config check`, `show`, `path` and `reset`: what is wrong with the configuration, and where each value comes from."""

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_core.plain import plain
from console.cli.options import add_config_options, loaded
from console.cli.outcome import FAILED, OK, complain

if TYPE_CHECKING:
    from agent_core.config.layers import Key, Loaded

SHOW_HELP = """Prints every key with the value that holds; --origin adds where it was given: default, file, .env, environment,
command line, or backend for what the backend has changed and the ledger keeps. Secrets are masked."""
SECRETIVE = re.compile("(?i)secret|passw|token|api_?key")


RESETTABLE = ("backend.sync_interval_seconds", "websocket.ping_interval_seconds", "logging.level")
"""What a backend may change."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as it holds. `at` is the line, variable or option that gave it."""

    key: str
    value: Any
    origin: str
    at: str | None


def add_parsers(commands: Any) -> None:
    """`config check`, `config show`, `config path`, `config reset`."""
    config = commands.add_parser("config", help="the configuration: check, show, path, reset").add_subparsers(
        required=True, title="commands", metavar="COMMAND"
    )
    check = config.add_parser("check", help="every problem, one a line, as file:line: what is wrong; exit 2 where there is one")
    check.set_defaults(command=_check)
    show = config.add_parser("show", help="every key with the value that holds", description=SHOW_HELP)
    show.add_argument("--origin", action="store_true", help="and where each value was given")
    show.add_argument("--json", action="store_true", help="an array of {key, value}, with --origin {key, value, origin, at}")
    show.set_defaults(command=_show)
    path = config.add_parser("path", help="the file that is read, or would be")
    path.set_defaults(command=_path)
    reset = config.add_parser("reset", help="have the running agent take back what the backend has changed; exit 4: none runs")
    reset.add_argument("key", choices=RESETTABLE, metavar="KEY", help=f"one of {', '.join(RESETTABLE)}")
    reset.set_defaults(command=_reset)
    for parser in (check, show, path, reset):
        add_config_options(parser)


def _check(options: argparse.Namespace) -> int:
    config = loaded(options).config
    file = _file(options)
    print(f"{plain(file, 300)}: no problem" if file.exists() else f"{plain(file, 300)} is not there: the defaults hold")
    if not config.auth.secret.get_secret_value():
        print("EDGE_SECRET is not set: the agent starts only with it")
    return OK


def _reset(options: argparse.Namespace) -> int:
    from agent_core.engine.settings import KEYS
    from agent_core.events import SettingReset
    from console.cli.control import ask

    if options.key not in _changed_by_the_backend(loaded(options, check_files=False).config.data_dir):
        return complain(f"the backend has not changed {options.key}", FAILED)
    (name,) = (name for name, key in KEYS.items() if key == options.key)
    return ask(options, SettingReset(name), f"{options.key} is as configured here")


def _path(options: argparse.Namespace) -> int:
    print(_file(options).absolute())
    return OK


def _file(options: argparse.Namespace) -> Path:
    return options.config or Path("config.yaml")


def shown(options: argparse.Namespace) -> list[Setting]:
    """Every key, secrets masked. Raises ConfigError."""
    return list(_settings(loaded(options, check_files=False)))


def _show(options: argparse.Namespace) -> int:
    settings = shown(options)
    if options.json:
        told = [asdict(one) if options.origin else {"key": one.key, "value": one.value} for one in settings]
        print(json.dumps(told, indent=1))
        return OK
    wide, wider = (max(len(text) for text in column) for column in zip(*((one.key, _text(one.value)) for one in settings), strict=True))
    for one in settings:
        print(f"{one.key:<{wide}}  {_text(one.value):<{min(wider, 50)}}  {_origin(one) if options.origin else ''}".rstrip())
    return OK


def _origin(one: Setting) -> str:
    if one.origin in {"file", ".env"}:
        return str(one.at)
    return f"{one.origin} {one.at}" if one.at and one.origin in {"environment", "backend"} else one.origin


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 300)


def _settings(found: "Loaded") -> Iterator[Setting]:
    from agent_core.config.layers import keys

    values = found.config.model_dump(mode="json", by_alias=True)
    changed = _changed_by_the_backend(found.config.data_dir)
    for name, key in keys().items():
        value, place = _value(values, name, key, found), found.places.get(name)
        if name in changed and (name != "logging.level" or place is None):
            yield Setting(name, *changed[name])
        elif place is None:
            yield Setting(name, value, "default", None)
        else:
            yield Setting(name, value, place.rank[0].words, place.where)


def _value(values: Any, name: str, key: "Key", found: "Loaded") -> Any:
    if key.secret:
        return "***" if name in found.places else None
    value = reduce(getitem, name.split("."), values)
    return {name: "***" if SECRETIVE.search(name) else text for name, text in value.items()} if isinstance(value, dict) else value


def _changed_by_the_backend(data_dir: Path) -> dict[str, tuple[Any, str, str | None]]:
    """By key: the value, its origin, and when it came."""
    from agent_core.clock import iso
    from agent_core.engine.settings import KEYS, accept
    from agent_core.journal.reader import NoLedger, settings

    try:
        kept = settings(data_dir.expanduser())
    except NoLedger:
        return {}
    came = {name: iso(float(at)) if (at := kept.get(f"{name}.at")) else None for name in KEYS}
    return {KEYS[name]: (value, "backend", came[name]) for name, value in accept(kept)[0].items()}
