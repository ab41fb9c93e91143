"""Where the configuration comes from: defaults < config.yaml < `.env` beside it < environment < command line.

Every trouble is one sentence on one line, and no sentence holds a secret.
"""

import difflib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from agent_core.config.env_file import read_env_file
from agent_core.config.models import Config, MessengerKind, Section
from agent_core.config.yaml_tree import Branch, Node, Scalar, Sequence, Unreadable, is_empty, kind_of, parse, read_text, shown
from agent_core.extras import advice
from agent_core.plain import plain
from agent_core.redaction import Redactor

SHORT_NAMES = {
    "EDGE_SECRET": "auth.secret",
    "BACKEND_URL": "backend.url",
    "EDGE_AGENT_ID": "edge.agent_id",
    "USER_PHONE": "edge.user_phone",
    "EDGE_MESSENGER_TOKEN": "messenger.token",
}
RENAMED = {
    "timing.barrier_every": "timing.ack_ping_interval",
    "timing.hint_every": "timing.early_retry_interval",
    "timing.hint_within": "timing.early_retry_delay",
    "timing.drift": "timing.clock_jump",
    "timing.stall": "timing.stall_threshold",
    "timing.replaced_hold": "timing.replaced_wait",
    "timing.portal_least": "timing.portal_min_wait",
    "timing.tls_least": "timing.tls_min_wait",
    "messenger.dwell_seconds": "messenger.delay_seconds",
}
PAIRS = {
    "console.keys": "keys, as {reconnect: f5}",
    "policy.signature_keys": "public keys in base64, as {2026-11: Oy1u…=}",
}
LISTS = {
    "policy.allow_recipients": "recipients, as [+13105550100, ann@example.org]",
    "policy.deny_recipients": "recipients, as [+13105550100, ann@example.org]",
    "messenger.attachment_origins": "https:// URLs, as [https://files.example.org]",
    "policy.deny_types": "command types, as [update_config]",
}
"""What the keys take that are no plain mappings and lists."""
SECRET_SOURCES = ("auth.secret_file", "auth.keychain", "auth.secret_command")
_PREFIX = "EDGE__"
_SECRETS = {"auth.secret": "EDGE_SECRET", "messenger.token": "EDGE_MESSENGER_TOKEN"}
_NOT_IN_A_FILE = "a secret does not belong in this file: put {}=… into the environment or into .env beside it"
MESSENGERS = "edge_console.messengers"
"""The group of entry points by which installed packages bring messengers; each name is a `messenger.kind`."""
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


class ConfigError(Exception):
    """All that is wrong: one sentence on one line for each of `problems`."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, read off the models."""

    name: str
    field: FieldInfo

    @property
    def kinds(self) -> tuple[Any, ...]:
        annotation = self.field.annotation
        return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)

    @property
    def optional(self) -> bool:
        return type(None) in self.kinds

    @property
    def kind(self) -> Any:
        return next(kind for kind in self.kinds if kind is not type(None))

    @property
    def secret(self) -> bool:
        """Not to be shown, and not to be in config.yaml."""
        return self.kind is SecretStr

    @property
    def choices(self) -> tuple[str, ...]:
        if get_origin(self.kind) is Literal:
            return get_args(self.kind)
        kind = MessengerKind if self.takes_more else self.kind
        return tuple(str(choice) for choice in kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else ()

    @property
    def takes_more(self) -> bool:
        """Installed packages bring further choices."""
        return self.name == "messenger.kind"

    @property
    def expected(self) -> str:
        """What the key takes, as `a whole number from 1 to 64`."""
        if self.choices:
            return _either(*self.choices, *(["what an installed package brings"] if self.takes_more else []))
        rules = self.field.metadata
        bound = {name: getattr(rule, name) for rule in rules for name in ("gt", "ge", "le", "max_length") if hasattr(rule, name)}
        if self.kind in {int, float}:
            low = f"from {_figure(bound['ge'])}" if "ge" in bound else f"above {_figure(bound['gt'])}, up"
            return f"a {'whole ' if self.kind is int else ''}number {low} to {_figure(bound['le'])}"
        if self.name.endswith("url"):
            return "a wss:// URL" if "websocket" in self.name else "an https:// URL"
        if self.kind == dict[str, str]:
            return f"names with {PAIRS.get(self.name, 'values, as {account: mine}')}"
        if self.kind == tuple[str, ...]:
            return f"a list of {LISTS.get(self.name, 'words, as [python3, send.py]')}"
        if self.kind is str:
            return f"text of at most {bound['max_length']} characters"
        return {bool: "true or false", Path: "a path"}.get(self.kind, "a secret")

    @property
    def default(self) -> str:
        """As it is written in config.yaml; empty for none."""
        default = self.field.default
        if isinstance(default, bool):
            return str(default).lower()
        if isinstance(default, SecretStr) or default is None:
            return ""
        if isinstance(default, dict | tuple):
            return "{}" if isinstance(default, dict) else "[]"
        return _figure(default) if isinstance(default, int | float) else str(default)


def _either(*choices: str) -> str:
    return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))


def _figure(number: float) -> str:
    return f"{number:.10g}"


def keys() -> dict[str, Key]:
    """Every key by its dotted name, in the order of the models."""

    def walk(model: type[Section], prefix: str) -> Iterator[Key]:
        for python_name, field in model.model_fields.items():
            name = prefix + (field.alias or python_name)
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield from walk(field.annotation, name + ".")
            else:
                yield Key(name, field)

    return {key.name: key for key in walk(Config, "")}


_KEYS = keys()
_SECTIONS = {name[:end] for name in _KEYS for end, character in enumerate(name) if character == "."}


def variable(name: str) -> str:
    """The environment's long name for a key: EDGE__BACKOFF__JITTER for backoff.jitter."""
    return _PREFIX + name.upper().replace(".", "__")


_VARIABLES = {variable(name): name for name in _KEYS} | SHORT_NAMES
_NOW_NAMED = RENAMED | {variable(old): variable(new) for old, new in RENAMED.items()}


class Layer(IntEnum):
    """Where a value may come from; a later one outranks those before it, up to the command line."""

    FILE = 0
    ENV_FILE = 1
    ENVIRONMENT = 2
    COMMAND_LINE = 3
    DEFAULTS = 4

    @property
    def words(self) -> str:
        return ("file", ".env", "environment", "command line", "default")[self]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was given; `base` is where its relative paths start, `rank` its order among all."""

    at: str
    name: str
    base: Path
    rank: tuple[Layer, int]

    @property
    def where(self) -> str:
        """The line, variable or key, without the layer."""
        return self.at if self.rank[0] <= Layer.ENV_FILE else self.name


class _Misfit(Exception):
    pass


class _Layers:
    """What the layers say, the last one winning, and every problem on the way."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[str, Place] = {}
        self._problems: list[tuple[tuple[int, int], str]] = []

    def problem(self, place: Place, sentence: str) -> None:
        at = ": ".join(filter(None, (place.at, place.name)))
        self._problems.append((place.rank, f"{at}: {sentence}"))

    def problems(self) -> list[str]:
        return [sentence for _, sentence in sorted(self._problems, key=lambda problem: problem[0])]

    def unreadable(self, label: str, layer: Layer, trouble: Unreadable) -> None:
        at = f"{label}:{trouble.line}" if trouble.line else label
        self.problem(Place(at, "", Path(), (layer, trouble.line or 0)), trouble.sentence)

    def read_file(self, tree: Branch, label: str, base: Path) -> None:
        self._read_section(tree, "", label, base)

    def _read_section(self, tree: Branch, prefix: str, label: str, base: Path) -> None:
        for leaf, node in tree.values.items():
            name, line = prefix + leaf, tree.lines[leaf]
            place = Place(f"{label}:{line}", name, base, (Layer.FILE, line))
            if name in _SECTIONS and isinstance(node, Branch):
                self._read_section(node, f"{name}.", label, base)
            elif name in _SECTIONS and not is_empty(node):
                self.problem(place, f"expected a section (keys with values), found {kind_of(node)}")
            elif "." in leaf and name in _KEYS:
                self.problem(place, "expected the key indented under its section, found the two in one")
            elif name not in _SECTIONS:
                self._key(node, place)

    def read_variables(self, variables: Mapping[str, Scalar], label: str, base: Path, layer: Layer) -> None:
        """The long names outrank the short ones."""
        for variable in sorted(variables, key=lambda name: name.startswith(_PREFIX)):
            given = variables[variable]
            place = Place(f"{label}:{given.line}" if given.line else label, variable, base, (layer, given.line))
            name = _VARIABLES.get(variable)
            if name is not None and given.text:
                self._put(_KEYS[name], given, place)
            elif name is None and variable.startswith(_PREFIX):
                self._unknown("variable", variable, replace(place, name=""))

    def read_overrides(self, overrides: Mapping[str, Any], prefix: str = "") -> None:
        for name, value in overrides.items():
            place = Place("command line", prefix + name, Path(), (Layer.COMMAND_LINE, len(self.values)))
            if isinstance(value, Mapping):
                self.read_overrides(value, prefix + name + ".")
            elif place.name not in _KEYS:
                self._unknown("key", place.name, replace(place, name=""))
            elif value is not None:
                self._put(_KEYS[place.name], Scalar(str(value), 0) if isinstance(value, str | Path) else value, place)

    def built(self) -> Config | None:
        """The configuration, or None and a problem."""
        if "data_dir" not in self.values:
            key = _KEYS["data_dir"]
            self.values[key.name] = _converted(key, Scalar(key.default, 0), Path())
        nested: dict[str, Any] = {}
        for name, value in self.values.items():
            *sections, leaf = name.split(".")
            inside = nested
            for section in sections:
                inside = inside.setdefault(section, {})
            inside[leaf] = value
        try:
            return Config.model_validate(nested)
        except ValidationError as error:
            for trouble in error.errors(include_url=False):
                self.refuse(".".join(str(part) for part in trouble["loc"]), str(trouble.get("ctx", {}).get("error", "")))
            return None

    def _key(self, node: Node, place: Place) -> None:
        key = _KEYS.get(place.name)
        if place.name in _SECRETS or (key is None and re.search("(?i)secret|passw|token|api_?key", place.name)):
            name = place.name if place.name in _SECRETS else "auth.secret"
            self.problem(replace(place, name=name), _NOT_IN_A_FILE.format(_SECRETS[name]))
        elif key is None:
            self._unknown("key", place.name, replace(place, name=""))
        else:
            self._put(key, node, place)

    def _put(self, key: Key, given: object, place: Place) -> None:
        try:
            self.values[key.name] = _converted(key, given, place.base)
        except _Misfit as misfit:
            self.problem(place, str(misfit))
        self.places[key.name] = place
        if isinstance(given, Branch):
            label = place.at.rpartition(":")[0]
            for leaf, line in given.lines.items():
                self.places[f"{key.name}.{leaf}"] = replace(place, at=f"{label}:{line}", rank=(Layer.FILE, line))

    def check_folder(self, config: Config) -> None:
        """The directory that even a reader needs."""
        above = next(part for part in (config.data_dir, *config.data_dir.parents) if os.path.lexists(part))
        if not above.is_dir():
            self.refuse("data_dir", "expected a directory" + (f", but {above} is none" if above != config.data_dir else ""))

    def check_files(self, config: Config) -> None:
        """What an agent could never write to."""
        log, sent = config.logging.file, config.messenger.path
        if config.policy.signatures != "off" and find_spec("cryptography") is None:
            self.problem(self.places["policy.signatures"], advice("cryptography"))
        if log is not None and log.is_dir():
            self.refuse("logging.file", "expected a file, not a directory")
        if config.messenger.kind == MessengerKind.EXEC and shutil.which(config.messenger.command[0]) is None:
            self.refuse("messenger.command", "expected a program that is there and may be run")
        if sent is None or config.messenger.kind != MessengerKind.FILE:
            return
        if sent.is_dir() or not sent.parent.is_dir():
            self.refuse("messenger.path", "expected a file in a directory that is there")
        elif not os.access(sent if sent.exists() else sent.parent, os.W_OK):
            self.refuse("messenger.path", "expected a file that this user can write")

    def _unknown(self, what: str, name: str, place: Place) -> None:
        if name in _NOW_NAMED:
            self.problem(place, f"{name} is now named {_NOW_NAMED[name]}")
            return
        near = _nearest(name[:200], _KEYS if what == "key" else _VARIABLES) if len(self._problems) < 20 else None
        self.problem(place, f"{shown(name)} is not a known {what}" + (f": did you mean {near}?" if near else ""))

    def refuse(self, name: str, said: str) -> None:
        """A problem with the value of a key, told where it was given, or else where its section was."""
        section = name.partition(".")[0] + "."
        beside = next((place for other, place in self.places.items() if other.startswith(section)), None)
        whole = self.places.get(name.rpartition(".")[0])
        place = self.places.get(name) or whole or replace(beside or Place("defaults", "", Path(), (Layer.FILE, 0)), name=name)
        value = self.values.get(name)
        if value is None or isinstance(value, SecretStr):
            self.problem(place, said)
            return
        text = shlex.join(value) if isinstance(value, tuple) else _figure(value) if isinstance(value, int | float) else str(value)
        found = shown(text)
        self.problem(place, f"{said or 'expected ' + _KEYS[name].expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each key that is not left at its default was given."""

    config: Config
    places: Mapping[str, Place]


Judge = Callable[[Config], Iterable[tuple[str, str]]]
"""What else is wrong: (key, sentence) for each problem."""


def load_config(path: Path | None, environ: Mapping[str, str], **how: Any) -> Config:
    """The configuration that `load` finds. Raises `ConfigError`."""
    return load(path, environ, **how).config


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, Any] | None = None,
    require_secret: bool = True,
    check_files: bool = True,
    judge: Judge | None = None,
) -> Loaded:
    """The configuration that results from all layers. Raises `ConfigError` with every problem of every layer.

    Without `path` it is config.yaml in the working directory, if there is one. `overrides` maps `section.key` (or section -> key) to
    values; None means not given. Relative paths start at the file that names them, those of the environment and the command line at
    the working directory. `check_files` judges what an agent writes to, `judge` what only its caller knows.
    """
    layers = _Layers()
    file = path or Path("config.yaml")
    whole = _read_file(layers, file, missing_is_fine=path is None)
    beside, troubles = read_env_file(file.parent / ".env")
    for trouble in troubles:
        layers.unreadable(plain(file.parent / ".env", 300), Layer.ENV_FILE, trouble)
    around = {name: Scalar(value, 0) for name, value in environ.items()}
    layers.read_variables(beside, plain(file.parent / ".env", 300), file.parent, Layer.ENV_FILE)
    layers.read_variables(around, "environment", Path(), Layer.ENVIRONMENT)
    layers.read_overrides(overrides or {})
    config = layers.built() if whole else None
    if config is not None:
        layers.check_folder(config)
        if check_files:
            layers.check_files(config)
        for name, said in judge(config) if judge is not None else ():
            layers.refuse(name, said)
    if require_secret and not troubles and not any(map(layers.values.get, ("auth.secret", *SECRET_SOURCES))):
        layers.problem(Place("EDGE_SECRET", "", Path(), (Layer.DEFAULTS, 0)), _no_secret(environ))
    secrets = [given.text for name, given in (*beside.items(), *around.items()) if _VARIABLES.get(name) in _SECRETS]
    problems = list(map(Redactor(*secrets), layers.problems()))
    if config is None or problems:
        raise ConfigError(problems)
    return Loaded(config, {name: place for name, place in layers.places.items() if layers.values.get(name) is not None})


def problem_with(name: str, text: str) -> str | None:
    """What is wrong with this text as a key's value; None where nothing is."""
    layers = _Layers()
    layers.read_overrides({name: text})
    config = layers.built()
    if config is not None and name == "data_dir":
        layers.check_folder(config)
    return next((problem.removeprefix("command line: ") for problem in layers.problems()), None)


def _read_file(layers: _Layers, file: Path, *, missing_is_fine: bool) -> bool:
    """Whether the file yields a tree, with or without problems in it."""
    label = plain(file, 300)
    try:
        tree, troubles = parse(read_text(file))
    except FileNotFoundError:
        if not missing_is_fine:
            layers.unreadable(label, Layer.FILE, Unreadable("expected a file, found nothing"))
        return missing_is_fine
    except Unreadable as trouble:
        layers.unreadable(label, Layer.FILE, trouble)
        return False
    for one in troubles:
        layers.unreadable(label, Layer.FILE, one)
    layers.read_file(tree, label, file.parent)
    return True


def _no_secret(environ: Mapping[str, str]) -> str:
    near = difflib.get_close_matches("EDGE_SECRET", [name for name in environ if name.startswith("EDGE")], 1, 0.8)
    meant = f" ({plain(near[0], 60)} is set: did you mean EDGE_SECRET?)" if near and near[0] != "EDGE_SECRET" else ""
    expected = "expected the secret shared with the backend, in the environment or in .env beside config.yaml, found none"
    return f"{expected}{meant}; `edge-console init` asks for it, --demo needs none"


def _converted(key: Key, given: object, base: Path) -> Any:
    """`given` as the key's type; text only where it is written just as that type is."""
    if not isinstance(given, Scalar | Branch | Sequence):
        return given
    if key.kind == dict[str, str]:
        return _pairs(key, given)
    if key.kind == tuple[str, ...]:
        return _words(key, given)
    if not isinstance(given, Scalar):
        raise _Misfit(f"expected {key.expected}, found {kind_of(given)}")
    if is_empty(given) or not given.text.strip():
        if key.optional:
            return None
        raise _Misfit(f"expected {key.expected}, found nothing")
    return _from_text(key, given, base)


def _words(key: Key, given: Node) -> tuple[str, ...]:
    """A list, or text as a shell would split it."""
    if isinstance(given, Sequence) and all(isinstance(item, Scalar) for item in given.items):
        return tuple(item.text for item in given.items if isinstance(item, Scalar))
    if isinstance(given, Scalar):
        with suppress(ValueError):
            return () if is_empty(given) else tuple(shlex.split(given.text))
    raise _Misfit(f"expected {key.expected}, found {kind_of(given) if isinstance(given, Branch) else 'something else'}")


def _pairs(key: Key, given: Node) -> dict[str, str]:
    """A mapping, or in a variable `reconnect=f5 replay=ctrl+r`."""
    if isinstance(given, Branch) and all(isinstance(node, Scalar) for node in given.values.values()):
        return {name: node.text for name, node in given.values.items() if isinstance(node, Scalar)}
    if isinstance(given, Scalar):
        parts = [part.partition("=") for part in given.text.split()]
        if all(name and sign and value for name, sign, value in parts):
            return {name: value for name, _, value in parts}
    raise _Misfit(f"expected {key.expected}, found {kind_of(given) if isinstance(given, Branch | Sequence) else 'something else'}")


def _from_text(key: Key, given: Scalar, base: Path) -> Any:
    text = given.text
    if key.kind is SecretStr:
        return SecretStr(text)
    if not text.isprintable():
        raise _Misfit(f"expected {key.expected}, found unprintable characters")
    if key.choices:
        return _choice(key, text)
    if key.kind is str:
        return text
    if key.kind is Path:
        return _path(key, text, base)
    value = None if given.quoted else _figure_of(key.kind, text)
    if value is None:
        quotes = " in quotes" if given.quoted else ""
        raise _Misfit(f"expected {key.expected}, found {shown(text)}{quotes}")
    return value


def _choice(key: Key, text: str) -> str:
    for choice in key.choices:
        if text.casefold() == choice.casefold():
            return choice
    more = tuple(entry_points(group=MESSENGERS).names) if key.takes_more else ()
    if text in more:
        return text
    choices = (*key.choices, *more)
    near = difflib.get_close_matches(text.casefold(), choices, 1) or difflib.get_close_matches(text.upper(), choices, 1)
    expected = _either(*choices) if more else key.expected
    raise _Misfit(f"expected {expected}, found {shown(text)}" + (f" (did you mean {near[0]}?)" if near else ""))


def _path(key: Key, text: str, base: Path) -> Path:
    try:
        return (base / Path(text).expanduser()).absolute()
    except (OSError, RuntimeError, ValueError):
        raise _Misfit(f"expected {key.expected}, found {shown(text)}, which leads nowhere") from None


def _figure_of(kind: type, text: str) -> bool | int | float | None:
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    if kind is int:
        return int(text) if _WHOLE.fullmatch(text) and len(text) < 20 else None
    return float(text) if _NUMBER.fullmatch(text) else None


def _nearest(name: str, known: Mapping[str, Any]) -> str | None:
    """The right name that was probably meant: one beside it, the same key elsewhere, or the closest of all."""
    section, _, leaf = name.rpartition(".")
    beside = [key for key in known if key.rpartition(".")[0] == section] + ([] if section else sorted(_SECTIONS))
    elsewhere = [key for key in known if key.rpartition(".")[2] == leaf]
    near = difflib.get_close_matches(name, beside, 1) or elsewhere or difflib.get_close_matches(name, list(known), 1)
    return near[0] if near else None


def config_table() -> str:
    """Every key with its default, what it takes and what it means, as a Markdown table."""
    rows = ["| key | default | takes | meaning |", "|---|---|---|---|"]
    for key in _KEYS.values():
        default = f"`{key.default}`" if key.default else "–"
        rows.append(f"| `{key.name}` | {default} | {key.expected} | {key.field.description} |")
    return "\n".join(rows)
