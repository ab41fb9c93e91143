"""Options that several commands share, and the configuration that they lead to."""

import argparse
import os
import re
from argparse import SUPPRESS
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_core.config import Config
    from agent_core.config.layers import Loaded
    from agent_core.config.origin import Origin

PLAIN_HELP = "the console as lines and typed words, for screen readers; by itself where TERM is dumb"


PROFILES = "~/.config/edge-console"


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """They may stand before or behind the command: its own defaults, which argparse would take last, are those of the whole."""
    parser.add_argument("--config", type=Path, default=SUPPRESS, metavar="FILE", help="default: config.yaml here, if there is one")
    kept = f"the same as --config {PROFILES}/NAME/config.yaml"
    parser.add_argument("--profile", dest="config", type=profile, default=SUPPRESS, metavar="NAME", help=kept)
    parser.add_argument("--data-dir", type=Path, default=SUPPRESS, metavar="DIR", help="outranks the configuration's data_dir")


def profile(name: str) -> Path:
    """An argument's type: the config.yaml of the agent of this name."""
    if not re.fullmatch(r"[\w][\w.-]{0,63}", name):
        raise argparse.ArgumentTypeError(f"a name of letters, digits, - and . expected, found {name!r}")
    return Path(PROFILES).expanduser() / name / "config.yaml"


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """For the commands that run an agent."""
    add_config_options(parser)
    add_demo_option(parser)
    parser.add_argument("--for", dest="seconds", type=seconds, default=SUPPRESS, metavar="SECONDS", help="stop after so long")
    masked = "keep the run's events there, message texts masked, for `replay`"
    parser.add_argument("--record", type=Path, default=SUPPRESS, metavar="FILE", help=masked)


def add_demo_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--demo", action="store_true", default=SUPPRESS, help="against a reference backend inside, with traffic")


def add_filter_option(parser: argparse.ArgumentParser) -> None:
    """For the commands that open a console."""
    parser.add_argument("--filter", default=argparse.SUPPRESS, metavar="EXPR", help="begin with that filter, or the saved one of that name")


def judge_filter(options: argparse.Namespace, data_dir: Path) -> None:
    """Raises ConfigError where the console cannot begin with it."""
    if options.filter:
        from agent_core.config.layers import ConfigError
        from agent_core.filters import FilterError
        from console.state import filter_named

        try:
            filter_named(data_dir.expanduser(), options.filter)
        except FilterError as error:
            raise ConfigError([f"--filter: {error}"]) from None


def seconds(text: str) -> float:
    """An argument's type: more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"seconds expected, found {text!r}")
    return value


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of the configuration's keys."""
    chosen = {"data_dir": options.data_dir, "logging.format": getattr(options, "log_format", None)}
    return {key: value for key, value in chosen.items() if value is not None}


def configuration(
    options: argparse.Namespace, *, require_secret: bool = False, with_secret: bool = False, check_files: bool = False
) -> "Config":
    """The configuration of this command; `check_files` judges what an agent writes to. Raises ConfigError.

    The secret is in it where it is required or asked for (raises SecretMissing, SecretUnavailable), or costs no more than a look at a file.
    """
    from agent_core import secret_sources as sources

    config = loaded(options, require_secret=require_secret, check_files=check_files).config
    if require_secret or with_secret:
        return sources.with_secret(config)
    with suppress(sources.SecretMissing, sources.SecretUnavailable):
        return sources.with_secret(config, within=lambda source: isinstance(source, sources.FileSource))
    return config


def loaded(options: argparse.Namespace, *, require_secret: bool = False, check_files: bool = True) -> "Loaded":
    """The same, with where each value was given."""
    from agent_core.config.layers import load

    return load(
        options.config, os.environ, overrides=overrides(options), require_secret=require_secret, check_files=check_files, judge=judge_keys
    )


def judge_keys(config: "Config") -> Iterator[tuple[str, str]]:
    """(key, sentence) for each fault of `console.keys`."""
    if config.console.keys:
        from console.keys import judge  # the names of all characters are half a megabyte

        yield from judge(config)


def env_file(options: argparse.Namespace) -> Path:
    """The .env that belongs to this command's configuration."""
    return (options.config or Path("config.yaml")).parent / ".env"


def origin(options: argparse.Namespace) -> "Origin":
    """From where this command's configuration can be read anew while the agent runs."""
    from agent_core.config.origin import Origin

    def load() -> "Config":
        return configuration(options, require_secret=True, check_files=True)

    secret_file = configuration(options).auth.secret_file
    return Origin(load, tuple(filter(None, (options.config or Path("config.yaml"), env_file(options), secret_file))))
