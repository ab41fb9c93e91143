"""What the import contracts cannot say (ARCHITECTURE §5): read off the source, or off a running interpreter."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Import:
    """`module` is what is imported, `name` the name taken from it."""

    module: str
    name: str | None
    line: int


@cache
def modules() -> dict[str, Path]:
    files = [path for package in ("agent_core", "console") for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(ast.parse(modules()[module].read_text()), module))


def _imports(tree: ast.AST, module: str) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
            yield from (Import(source, alias.name, node.lineno) for alias in node.names)


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def target(one: Import) -> str:
    """The module meant: `from agent_core import plain` means agent_core.plain."""
    inner = f"{one.module}.{one.name}"
    return inner if inner in modules() else one.module


def said(module: str, one: Import) -> str:
    return f"{modules()[module].relative_to(ROOT)}:{one.line} imports {target(one)}"


def test_the_import_contracts_of_pyproject_are_kept() -> None:
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout


def test_no_circle_of_imports_also_for_types() -> None:
    graph = {module: {target(one) for one in imports(module) if target(one) in modules()} for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " → ".join(error.args[1]))


def test_the_first_contract_judges_every_module_of_the_agent() -> None:
    """A new one is pure, or forbidden to what is pure."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    judged = {*contract["source_modules"], *contract["forbidden_modules"]}
    parts = {name for name in modules() if name.count(".") == 1 or within(name, "agent_core.config")} - {"agent_core.config"}
    assert {name for name in parts if within(name, "agent_core")} <= judged


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


def test_the_command_line_is_light() -> None:
    heavy = "{'textual', 'rich', 'httpx', 'websockets', 'starlette', 'uvicorn'}"
    code = f"import sys, console.cli.main, console.host; print(*sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == ""


def test_the_first_picture_needs_no_agent() -> None:
    heavy = "{'pydantic', 'pydantic_core', 'httpx', 'websockets', 'yaml', 'sqlite3'}"
    code = f"import sys, console.run, console.app; print(*sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == ""


def test_help_needs_no_screen_and_no_network() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "console", "--help"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "usage" in ran.stdout.lower()
    assert imported >= {"console", "argparse"}
    assert imported & {"textual", "rich", "httpx", "websockets"} == set()


SPAWNS = {"create_task", "ensure_future", "run_coroutine_threadsafe", "_spawn"}


def test_f53_every_task_of_the_agent_is_started_where_its_errors_are_caught() -> None:
    """At the edge what a task raises becomes an event; only a command's task may end the agent, and its handler's errors are caught."""
    calls = [
        (module, function.name, call.func.attr, len(call.args))
        for module in modules() if module.startswith("agent_core.") and not module.startswith("agent_core.reference.")
        for function in ast.walk(ast.parse(modules()[module].read_text())) if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for call in ast.walk(function) if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in SPAWNS
    ]  # fmt: skip
    channel = "agent_core.channels.websocket"
    assert sorted(calls) == [
        ("agent_core.agent", "_execute", "_spawn", 2), ("agent_core.agent", "_spawn", "create_task", 1),
        ("agent_core.agent", "_spawn_at_edge", "_spawn", 2),
        (channel, "_live", "_spawn", 3), (channel, "open", "_spawn", 3),
        ("agent_core.control.server", "_attended", "create_task", 1),  # within what catches all that a viewer raises
        ("agent_core.headless", "run_headless", "create_task", 1),  # what stands beside the agent catches what it raises
    ]  # fmt: skip
