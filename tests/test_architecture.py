"""Imports run one way (ARCHITECTURE §5), read off the source and, where it counts, off a running interpreter."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PURE = {
    *(f"agent_core.{name}" for name in ("frames", "entries", "snapshot", "feed", "clock", "plain", "records", "events", "latency")),
    *("agent_core.engine", "agent_core.config", "agent_core.config.models"),
    *(f"agent_core.engine.{name}" for name in ("engine", "link", "polling", "ledger", "acks", "barrier", "repeats", "rejections")),
    *(f"agent_core.engine.{name}" for name in ("schedule", "backoff", "outcomes", "settings")),
    *(f"agent_core.reference.{name}" for name in ("hub", "orders", "limits", "faults", "tokens", "wire")),
}
DATA_TOOLS = {
    *("__future__", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "datetime", "enum", "functools"),
    *("hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator", "pathlib", "re", "statistics", "string"),
    *("msgspec", "types", "typing", "unicodedata", "urllib.parse"),
}
PYDANTIC = {"pydantic", "pydantic_core"}
MAY_ALSO = {
    "agent_core.config.models": PYDANTIC,
    "agent_core.frames": PYDANTIC,
    "agent_core.reference.hub": {"pydantic_core"},
    "agent_core.reference.orders": {"pydantic_core"},
    "agent_core.clock": {"time"},
}
SERVER_LIBRARIES = {"starlette", "uvicorn", "h11", "msgspec", "websockets", "pydantic_core"}
STARTS_FAST = ("console.cli", "console.cli.main", "console.__main__", "console.host")


@dataclass(frozen=True, slots=True)
class Import:
    """`module` is what is imported, `name` the name taken from it; `early` if it happens when the file is imported."""

    module: str
    name: str | None
    line: int
    early: bool


@cache
def modules() -> dict[str, Path]:
    files = [path for package in ("agent_core", "console") for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(ast.parse(modules()[module].read_text()), module, early=True))


def _imports(node: ast.AST, module: str, *, early: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, None, child.lineno, early) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            source = importlib.util.resolve_name("." * child.level + (child.module or ""), module.rpartition(".")[0])
            yield from (Import(source, alias.name, child.lineno, early) for alias in child.names)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types_only(child)
            yield from _imports(child, module, early=early and not inside)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def target(one: Import) -> str:
    """The module meant: `from agent_core import plain` means agent_core.plain."""
    inner = f"{one.module}.{one.name}"
    return inner if inner in modules() else one.module


def said(module: str, one: Import) -> str:
    return f"{modules()[module].relative_to(ROOT)}:{one.line} imports {target(one)}"


def offences(module: str, allowed: set[str]) -> list[str]:
    others = [one for one in imports(module) if (one.module, one.name) != ("agent_core", "__version__")]
    return [said(module, one) for one in others if not within(target(one), *allowed)]


@pytest.mark.parametrize("module", sorted(PURE & modules().keys()))
def test_pure_files_import_only_data_tools_and_each_other(module: str) -> None:
    packages = {name for name in PURE if not name.startswith("agent_core.reference") or within(module, "agent_core.reference")}
    assert offences(module, DATA_TOOLS | packages | MAY_ALSO.get(module, set())) == []


@pytest.mark.parametrize("module", sorted(name for name in modules() if within(name, "agent_core")))
def test_the_core_knows_no_screen(module: str) -> None:
    assert [said(module, one) for one in imports(module) if within(one.module, "console", "textual", "rich")] == []


@pytest.mark.parametrize("module", sorted(name for name in modules() if within(name, "agent_core.reference")))
def test_the_reference_backend_stands_alone(module: str) -> None:
    for one in imports(module):
        if within(target(one), "agent_core"):
            assert within(target(one), "agent_core.reference", *PURE), said(module, one)
        elif one.early:
            top = target(one).partition(".")[0]
            assert top in sys.stdlib_module_names or top in SERVER_LIBRARIES, said(module, one)


@pytest.mark.parametrize("module", sorted(name for name in modules() if within(name, "console")))
def test_the_console_uses_public_names(module: str) -> None:
    tree = ast.parse(modules()[module].read_text())
    taken = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}
    for one in imports(module):
        parts = [*one.module.split("."), one.name or ""]
        private = [part for part in parts if part.startswith("_") and not part.endswith("__")]
        assert not (within(one.module, "agent_core") and private), said(module, one)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in taken and node.attr != "_exit":
            assert not node.attr.startswith("_") or node.attr.endswith("__"), f"{module}:{node.lineno} reads {node.value.id}.{node.attr}"


@pytest.mark.parametrize("module", [name for name in STARTS_FAST if name in modules()])
def test_what_starts_first_imports_no_screen(module: str) -> None:
    assert [said(module, one) for one in imports(module) if one.early and within(one.module, "textual", "rich")] == []


needs_cli = pytest.mark.skipif("console.cli.main" not in modules(), reason="there is no command line yet")


@needs_cli
def test_the_command_line_is_light() -> None:
    heavy = "{'textual', 'rich', 'httpx', 'websockets', 'starlette', 'uvicorn'}"
    code = f"import sys, console.cli.main; print(*sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == ""


def test_the_first_picture_needs_no_agent() -> None:
    heavy = "{'pydantic', 'pydantic_core', 'httpx', 'websockets', 'yaml', 'sqlite3'}"
    code = f"import sys, console.run, console.app; print(*sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == ""


@needs_cli
def test_help_needs_no_screen_and_no_network() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "console", "--help"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "usage" in ran.stdout.lower()
    assert imported >= {"console", "argparse"} or "click" in imported
    assert imported & {"textual", "rich", "httpx", "websockets"} == set()
