"""`edge-console version` and `completion`: what this installation is, and its words for a shell."""

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent_core import __version__
from console.cli.outcome import OK

COMPLETION_HELP = """Prints a script that completes commands, options and files. For this user, once:

  bash:  edge-console completion bash > ~/.local/share/bash-completion/completions/edge-console
  zsh:   edge-console completion zsh > ~/.zfunc/_edge-console      (with fpath+=~/.zfunc before compinit in ~/.zshrc)
  fish:  edge-console completion fish > ~/.config/fish/completions/edge-console.fish"""


def add_parsers(commands: Any, whole: argparse.ArgumentParser) -> None:
    """`version`, and `completion` for the `whole` command line."""
    raw = argparse.RawDescriptionHelpFormatter
    version = commands.add_parser("version", help="what is installed, and where")
    version.add_argument("--json", action="store_true", help="one object: name, version, python, platform, location, dependencies")
    version.set_defaults(command=_version)
    completion = commands.add_parser(
        "completion", help="complete commands and options in a shell", description=COMPLETION_HELP, formatter_class=raw
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(command=partial(_completion, whole))


def _version(options: argparse.Namespace) -> int:
    import platform

    location = Path(__file__).parents[2]
    if options.json:
        print(json.dumps({
            "name": "edge-console", "version": __version__, "python": platform.python_version(), "platform": platform.platform(),
            "location": str(location), "executable": sys.executable, "dependencies": _dependencies(),
        }, indent=1))  # fmt: skip
    else:
        print(f"edge-console {__version__}, Python {platform.python_version()}, {platform.platform()}, in {location}")
    return OK


def _dependencies() -> dict[str, str | None]:
    """What a plain install brings, with the version that is here."""
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    found: dict[str, str | None] = {}
    try:
        wanted = [requirement for requirement in requires("edge-console") or () if "extra ==" not in requirement]
    except PackageNotFoundError:
        return found
    for name in (re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in wanted):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _completion(whole: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    import shtab

    _complete_files(whole, {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY})
    print(shtab.complete(whole, options.shell))
    return OK


def _complete_files(parser: argparse.ArgumentParser, kinds: Mapping[str, object]) -> None:
    """Mark each argument that takes a file, as shtab wants it."""
    for action in parser._actions:  # noqa: SLF001  (argparse shows them nowhere else)
        if isinstance(action.choices, Mapping):
            for below in action.choices.values():
                _complete_files(below, kinds)
        elif isinstance(action.metavar, str) and action.metavar in kinds:
            vars(action)["complete"] = kinds[action.metavar]
