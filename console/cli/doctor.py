"""`edge-console doctor`: why it does not connect."""

import argparse
import json
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_core.figures import took
from agent_core.plain import plain
from console.cli.doctor_report import as_json, report
from console.cli.options import add_config_options, configuration, env_file
from console.cli.outcome import FAILED, OK, USAGE, complain

if TYPE_CHECKING:
    from agent_core.config import Config
    from agent_core.diagnosis.findings import Conclusion, Stage

WIDTH = 80
GLYPHS = {"ok": "✓", "failed": "✗", "warning": "▲", "skipped": "·"}
DOCTOR_HELP = """Looks at everything between this machine and the backend, stage by stage, with the agent's own dial, and names the first
stage that fails, the likely cause and what to do. Exit code 0: no stage failed; 1: one did.

Where an agent runs on the same data_dir, what the backend would notice is skipped: a second socket with the same id makes it close
the agent's (4009), and a sync would take what waits for the agent. --force does it nevertheless: right if that agent is not online."""


def add_parsers(commands: Any) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    doctor = commands.add_parser("doctor", help="why it does not connect: stage by stage", description=DOCTOR_HELP, formatter_class=raw)
    add_config_options(doctor)
    doctor.add_argument("--force", action="store_true", help="dial and sync though an agent runs on the same data_dir")
    form = doctor.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object: ok, stages, conclusion")
    form.add_argument("--for-backend", action="store_true", help="a Markdown report for the backend's engineer, with no secret in it")
    doctor.add_argument("-o", "--output", type=Path, metavar="FILE", help="write it there instead of to standard output")
    doctor.set_defaults(command=examine)


def examine(options: argparse.Namespace) -> int:
    """Look, and tell in the form that is asked for; the exit code."""
    import asyncio
    import time

    from agent_core.config.layers import ConfigError
    from agent_core.diagnosis.findings import Conclusion, Stage, Verdict, conclude
    from agent_core.secret_sources import SecretMissing, SecretUnavailable

    if options.output is not None and not options.for_backend:
        return complain("-o needs --for-backend (see edge-console doctor --help)", USAGE)
    speaks = not options.json and not (options.for_backend and options.output is None)
    began = time.time()
    stages: list[Stage] = []
    try:
        config = configuration(options, with_secret=True, check_files=True)
    except (ConfigError, SecretMissing, SecretUnavailable) as error:
        stages.append(Stage("configuration", Verdict.FAILED, str(error).replace("\n", "; ")))
        if speaks:
            _print_stage(stages[0])
        conclusion: Conclusion | None = Conclusion("configuration", "the agent would not start with it", "mend what the sentence names")
        settings = None
    else:
        settings = config
        asyncio.run(_diagnose(config, options, stages, speaks=speaks))
        conclusion = conclude(stages, config)
    if options.json:
        print(json.dumps(as_json(stages, conclusion, settings, began), indent=1))
    elif speaks:
        _print_conclusion(stages, conclusion)
    if options.for_backend:
        text = "\n".join(report(stages, conclusion, settings, began)) + "\n"
        if options.output is None:
            print(text, end="")
        else:
            _write_privately(options.output, text)
            print(f"written to {plain(options.output, 300)}")
    return FAILED if conclusion is not None else OK


async def _diagnose(config: "Config", options: argparse.Namespace, stages: "list[Stage]", *, speaks: bool) -> None:
    from agent_core.clock import SystemClock
    from agent_core.diagnosis.stages import diagnose

    async for stage in diagnose(config, SystemClock(), env_file=env_file(options), force=options.force):
        stages.append(stage)
        if speaks:
            _print_stage(stage)


def _print_stage(stage: "Stage") -> None:
    head = f"{GLYPHS[stage.verdict]} {stage.verdict:<8} {stage.name:<13} {took(stage.ms / 1_000):>9}  "
    lines = textwrap.wrap(stage.sentence, WIDTH - len(head)) or [""]
    print(head + f"\n{' ' * len(head)}".join(lines), flush=True)


def _print_conclusion(stages: "Sequence[Stage]", conclusion: "Conclusion | None") -> None:
    print()
    if conclusion is None:
        warnings = sum(stage.verdict == "warning" for stage in stages)
        skipped = any(stage.name == "upgrade" and stage.verdict == "skipped" for stage in stages)
        beside = f", {warnings} warning(s)" if warnings else ""
        print(f"No stage failed{beside}." + (" The socket itself was not tried." if skipped else ""))
        return
    print(f"First failing stage: {conclusion.stage}")
    for word, text in (("Likely", conclusion.cause), ("Do", conclusion.advice)):
        print(textwrap.fill(plain(text), WIDTH, initial_indent=f"  {word + ':':<8}", subsequent_indent=" " * 10))


def _write_privately(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
