"""`make docs`: the parts of docs/ that are made from the program and its tests. A test compares them with what would be written now."""

import argparse
import ast
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from textual.binding import Binding
from textual.keys import format_key

import console
from agent_core.config.layers import config_table
from agent_core.conform.spec import clauses, objects
from console.app import EdgeConsole
from console.black_box import BlackBoxConsole
from console.cli.main import build_parser
from console.panels.stream import Stream
from tests.harness.manual import manual

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(<!-- generated: make docs -->\n).*?(<!-- /generated -->)", re.DOTALL)
PROMISE = re.compile(r"^\| ([PF]\d+) \|", re.MULTILINE)
TEST = re.compile(r"^(?:async )?def (test_(?:[pf]\d+_)+\w+)", re.MULTILINE)


def written(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def due(name: str) -> str:
    """The document with its generated blocks as they would be now."""
    made = iter(GENERATED[name])
    return BLOCK.sub(lambda block: block[1] + next(made)().strip() + "\n" + block[2], written(name))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


# --- commands ------------------------------------------------------------------------------------------------------------


def commands() -> str:
    return "\n\n".join(_command(parser) for parser in parsers(build_parser()))


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """This one, and each command below it."""
    yield parser
    for action in parser._actions:  # noqa: SLF001  (argparse shows them nowhere else)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in dict.fromkeys(action.choices.values()):
                yield from parsers(below)


def _command(parser: argparse.ArgumentParser) -> str:
    rows = [(_spelt(action), _meaning(action, parser)) for action in parser._actions if action.dest != "help"]  # noqa: SLF001
    return f"## {parser.prog}\n\n" + (table(("argument", "meaning"), rows) if rows else "No arguments.")


def _spelt(action: argparse.Action) -> str:
    if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
        return "`" + "` `".join(action.choices) + "`"
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices is not None else action.dest.upper()
    value = "" if action.nargs == 0 else str(action.metavar or choices)
    return ", ".join(f"`{f'{name} {value}'.strip()}`" for name in action.option_strings or [""])


def _meaning(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
        return "one of these, each below"
    return ((action.help or "–") % {**vars(action), "prog": parser.prog}).replace("|", "\\|")


# --- keys ----------------------------------------------------------------------------------------------------------------


def keys() -> str:
    """What each part of the console binds, in the order in which the operator meets it."""
    sections = []
    for owner in _owners():
        rows = [(_keys_of(one), f"`{one.id}`" if one.id else "–", one.tooltip or one.description) for one in _bindings(owner)]
        sections.append(f"## {_TITLES.get(owner, _words(owner.__name__))}\n\n" + table(("key", "name", "does"), rows))
    return "\n\n".join(sections)


_TITLES: dict[type, str] = {
    EdgeConsole: "Everywhere on the main screen", Stream: "In the stream", BlackBoxConsole: "In a black box (replay --ui)",
}  # fmt: skip


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _owners() -> list[type]:
    found = dict.fromkeys(_TITLES)
    for module in pkgutil.walk_packages(console.__path__, "console."):
        if module.name.startswith(("console.panels.", "console.screens.")):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and value.__module__ == module.name and "BINDINGS" in vars(value):
                    found[value] = None
    return list(found)


def _bindings(owner: type) -> list[Binding]:
    return [one for one in vars(owner)["BINDINGS"] if isinstance(one, Binding)]


def _keys_of(binding: Binding) -> str:
    return " ".join(f"`{_shown(key.strip())}`" for key in binding.key.split(","))


def _shown(key: str) -> str:
    *modifiers, last = key.split("+")
    return "+".join([*modifiers, last if modifiers else format_key(last)])


# --- files ---------------------------------------------------------------------------------------------------------------


def files() -> str:
    """Every module with the first sentence of its docstring."""
    paths = sorted(path for package in ("agent_core", "console") for path in (ROOT / package).rglob("*.py"))
    return table(("file", "is about"), ((f"{path.relative_to(ROOT).as_posix()}", about) for path in paths if (about := _about(path))))


def _about(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


# --- tests ---------------------------------------------------------------------------------------------------------------


def promises() -> list[str]:
    """The numbers of all promises and faults, in the order of the page."""
    return PROMISE.findall(BLOCK.sub("", written("PROMISES.md")))


def proofs() -> str:
    """Each promise and fault with the tests whose names carry its number."""
    tests = numbered_tests()
    return table(("#", "tests"), ((number, _listed(tests.get(number, []))) for number in promises()))


def numbered_tests() -> dict[str, list[tuple[str, str]]]:
    """File and test of each number that a test's name begins with."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in TEST.findall(path.read_text(encoding="utf-8")):
            numbers = re.match(r"test_((?:[pf]\d+_)+)", name)
            assert numbers is not None
            for number in numbers[1].upper().strip("_").split("_"):
                found.setdefault(number, []).append((path.relative_to(ROOT).as_posix(), name))
    return found


def _listed(tests: Iterable[tuple[str, str]]) -> str:
    files: dict[str, list[str]] = {}
    for path, name in tests:
        files.setdefault(path, []).append(f"`{name}`")
    return "; ".join(f"{path}: {', '.join(names)}" for path, names in files.items()) or "no test yet"


GENERATED: dict[str, tuple[Callable[[], str], ...]] = {
    "ARCHITECTURE.md": (files,), "COMMANDS.md": (commands,), "CONFIGURATION.md": (config_table,), "KEYS.md": (keys,),
    "PROMISES.md": (proofs,), "PROTOCOL.md": (clauses, partial(objects, "###")),
}  # fmt: skip
"""Of each document its blocks, in their order."""


if __name__ == "__main__":
    for name in GENERATED:
        (DOCS / name).write_text(due(name), encoding="utf-8")
    (DOCS / "edge-console.1").write_text(manual(), encoding="utf-8")
