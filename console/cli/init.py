"""`edge-console init`: the first configuration, from a few answers."""

import argparse
import os
import shlex
import sys
from getpass import getpass
from pathlib import Path
from typing import Any

from agent_core.plain import plain
from console.cli import doctor
from console.cli.options import add_config_options, env_file
from console.cli.outcome import FAILED, OK, USAGE, complain

INIT_HELP = """Asks for the backend's URL, this agent's id and the secret, writes config.yaml with every key explained and the secret into
.env (both readable by you alone), and looks at the way to the backend. It overwrites nothing.

The answers may be given before: --url or BACKEND_URL, --agent-id or EDGE_AGENT_ID, and EDGE_SECRET."""
QUESTIONS = {"backend.url": "Backend's URL", "edge.agent_id": "This agent's id", "auth.secret": "Secret shared with the backend"}
WITHOUT = {"edge.agent_id": "none: the backend gives one", "auth.secret": "not shown; none: later"}


def add_parsers(commands: Any) -> None:
    """`init`."""
    raw = argparse.RawDescriptionHelpFormatter
    init = commands.add_parser("init", help="write the first configuration", description=INIT_HELP, formatter_class=raw)
    add_config_options(init)
    init.add_argument("--url", metavar="URL", help="the backend's: https, or http to this machine")
    init.add_argument("--agent-id", metavar="ID", help="this agent's id at the backend")
    init.add_argument("--yes", action="store_true", help="ask nothing: take what is given, and defaults for the rest")
    init.set_defaults(command=_init)


def _init(options: argparse.Namespace) -> int:
    from agent_core.config.annotated import annotated
    from agent_core.config.env_file import env_line

    file, beside = options.config or Path("config.yaml"), env_file(options)
    if os.path.lexists(file):
        return complain(f"{plain(file, 300)} is there already and stays as it is: see `edge-console config check`", USAGE)
    if not options.yes and not sys.stdin.isatty():
        return complain("init asks questions, and there is no terminal: use --yes (see edge-console init --help)", USAGE)
    try:
        answers = _answers(options, beside)
        secret = answers.pop("auth.secret", None)
        secret_line = env_line("EDGE_SECRET", secret) if secret else None
    except EOFError:
        return complain("no more answers: nothing was written", FAILED)
    except ValueError as error:
        return complain(str(error), USAGE)
    if secret_line:
        _write(beside, f"# The secret shared with the backend; no copy of it belongs anywhere else.\n{secret_line}")
    _write(file, annotated(answers))
    print(f"Written: {plain(file, 300)}" + (f" and {plain(beside, 300)}, which holds the secret" if secret_line else ""))
    if not secret and not _kept(beside):
        print(f"The secret is still to come: EDGE_SECRET=… in the environment or in {plain(beside, 300)}")
    print("\nThe way to the backend (edge-console doctor):\n")
    doctor.examine(argparse.Namespace(config=file, data_dir=None, force=False, json=False, for_backend=False, output=None))
    command = "edge-console" if options.config is None else f"edge-console --config {shlex.quote(str(file))}"
    print(f"\nNext: {command}\n      {command} --no-ui     without a screen")
    return OK


def _answers(options: argparse.Namespace, beside: Path) -> dict[str, str]:
    """What is given or answered, by key; each is fit. Raises ValueError, EOFError."""
    given = {
        "backend.url": options.url or os.environ.get("BACKEND_URL") or "",
        "edge.agent_id": options.agent_id or os.environ.get("EDGE_AGENT_ID") or "",
        "auth.secret": os.environ.get("EDGE_SECRET") or "",
    }
    if os.path.lexists(beside):
        if not _kept(beside) and not given["auth.secret"]:
            raise ValueError(f"{plain(beside, 300)} is there already and stays as it is: add EDGE_SECRET=… to it, then run this again")
        del given["auth.secret"]
    found = {key: _answer(key, value, ask=not options.yes and not value) for key, value in given.items()}
    if options.data_dir is not None:
        found["data_dir"] = _answer("data_dir", str(options.data_dir.expanduser().absolute()), ask=False)
    return {key: value for key, value in found.items() if value}


def _kept(beside: Path) -> bool:
    """Whether .env holds the secret. Raises ValueError where it cannot be read."""
    from agent_core.config.env_file import read_env_file

    variables, problems = read_env_file(beside)
    if problems:
        raise ValueError("\n".join(f"{plain(beside, 300)}:{problem.line or 1}: {problem.sentence}" for problem in problems))
    return "EDGE_SECRET" in variables


def _answer(key: str, given: str, *, ask: bool) -> str:
    from agent_core.config.layers import keys, problem_with

    default = keys()[key].default
    while True:
        text = given
        if ask:
            read = getpass if key == "auth.secret" else input
            text = read(f"{QUESTIONS[key]} [{default or WITHOUT[key]}]: ").strip()
        problem = problem_with(key, text) if text else None
        if problem is None:
            return text
        if not ask:
            raise ValueError(problem)
        print(f"  {problem}")


def _write(path: Path, text: str) -> None:
    """A new file, readable by its owner alone, as is its directory where that is new. Raises OSError, where it exists too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
