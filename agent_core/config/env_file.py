"""`.env`: KEY=VALUE lines with `export`, quotes and `#`; no interpolation, so a secret with a $ in it stays as it is."""

import re
from pathlib import Path

from agent_core.config.yaml_tree import Scalar, Unreadable, read_text

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def read_env_file(path: Path) -> tuple[dict[str, Scalar], list[Unreadable]]:
    """The variables, and what of the file is none; nothing, where there is no such file."""
    found: dict[str, Scalar] = {}
    problems: list[Unreadable] = []
    if path.is_dir():
        return found, problems  # some keep a virtual environment under that name
    try:
        lines = read_text(path).split("\n")
    except FileNotFoundError:
        return found, problems
    except Unreadable as problem:
        return found, [problem]
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = _unquoted(match.group(2)) if match else None
        if match is None or value is None:
            problems.append(Unreadable("expected KEY=VALUE, found something else", number))
        else:
            found[match.group(1)] = Scalar(value, number)
    return found, problems


def env_line(name: str, value: str) -> str:
    """The line that gives back `value`. Raises ValueError where none does: a value that needs both kinds of quotes."""
    for written in (value, f"'{value}'", f'"{value}"'):
        if _unquoted(written) == value:
            return f"{name}={written}\n"
    raise ValueError(f"{name} holds both kinds of quotes: keep it in the environment, not in .env")


def _unquoted(raw: str) -> str | None:
    if raw[:1] in {'"', "'"}:
        quoted = re.fullmatch(rf"{raw[0]}([^{raw[0]}]*){raw[0]}\s*(#.*)?", raw)
        return quoted.group(1) if quoted else None
    comment = re.search(r"(?:^|\s)#", raw)
    return raw[: comment.start()].rstrip() if comment else raw
