"""`edge-console config check`, `show` and `path`: what is wrong with the configuration, and where each value comes from."""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_core.plain import plain
from console.cli.options import add_config_options, loaded
from console.cli.outcome import OK

if TYPE_CHECKING:
    from agent_core.config.layers import Key, Loaded

SHOW_HELP = """Prints every key with the value that holds; --origin adds where it was given: default, file, .env, environment,
command line, or backend for what the backend has changed and the ledger keeps. Secrets are masked."""
SECRETIVE = re.compile("(?i)secret|passw|token|api_?key")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as it holds. `at` is the line, variable or option that gave it."""

    key: str
    value: Any
    origin: str
    at: str | None


def add_parsers(commands: Any) -> None:
    """`config check`, `config show`, `config path`."""
    config = commands.add_parser("config", help="the configuration: check, show, path").add_subparsers(
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
    for parser in (check, show, path):
        add_config_options(parser)


def _check(options: argparse.Namespace) -> int:
    config = loaded(options).config
    file = _file(options)
    print(f"{plain(file, 300)}: no problem" if file.exists() else f"{plain(file, 300)} is not there: the defaults hold")
    if not config.auth.secret.get_secret_value():
        print("EDGE_SECRET is not set: the agent starts only with it")
    return OK


def _path(options: argparse.Namespace) -> int:
    print(_file(options).absolute())
    return OK


def _file(options: argparse.Namespace) -> Path:
    return options.config or Path("config.yaml")


def _show(options: argparse.Namespace) -> int:
    settings = list(_settings(loaded(options, check_files=False)))
    if options.json:
        shown = [asdict(one) if options.origin else {"key": one.key, "value": one.value} for one in settings]
        print(json.dumps(shown, indent=1))
        return OK
    wide, wider = (max(len(text) for text in column) for column in zip(*((one.key, _text(one.value)) for one in settings), strict=True))
    for one in settings:
        print(f"{one.key:<{wide}}  {_text(one.value):<{min(wider, 50)}}  {_origin(one) if options.origin else ''}".rstrip())
    return OK


def _origin(one: Setting) -> str:
    if one.origin in {"file", ".env"}:
        return str(one.at)
    return f"{one.origin} {one.at}" if one.origin == "environment" else one.origin


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
        if name in changed:
            yield Setting(name, changed[name], "backend", None)
        elif place is None:
            yield Setting(name, value, "default", None)
        else:
            yield Setting(name, value, place.rank[0].words, place.where)


def _value(values: Mapping[str, Any], name: str, key: "Key", found: "Loaded") -> Any:
    if key.secret:
        return "***" if name in found.places else None
    section, _, leaf = name.rpartition(".")
    value = values[section][leaf] if section else values[leaf]
    return {name: "***" if SECRETIVE.search(name) else text for name, text in value.items()} if isinstance(value, dict) else value


def _changed_by_the_backend(data_dir: Path) -> dict[str, Any]:
    from agent_core.engine.settings import KEYS, accept
    from agent_core.journal.reader import NoLedger, settings

    try:
        accepted, _ = accept(settings(data_dir))
    except NoLedger:
        return {}
    return {KEYS[name]: value for name, value in accepted.items()}
