"""`edge-console doctor`, `secret fingerprint`, `backoff simulate` and `replay`: why it does not connect, and what it would do."""

import argparse
import json
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from agent_core import __version__
from agent_core.plain import plain

if TYPE_CHECKING:
    from agent_core.config import Config
    from agent_core.diagnosis.findings import Conclusion, Exchange, Stage
    from agent_core.recording import Recorder

OK, FAILED, USAGE = 0, 1, 2
WIDTH = 80
GLYPHS = {"ok": "✓", "failed": "✗", "warning": "▲", "skipped": "·"}
UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOST_ATTEMPTS = 40
MOST_SIMULATED = 20_000_000
SOCKET_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FINGERPRINT_HELP = """Prints 8 hex digits that both sides can compare, instead of the secret: the first 8 of the SHA-256 of
"edge-console:" followed by the secret. On the backend's side:

  printf 'edge-console:%s' "$EDGE_SECRET" | sha256sum | cut -c1-8     (macOS: shasum -a 256)

The secret is taken from EDGE_SECRET, or from .env beside config.yaml, as the agent takes it."""
DOCTOR_HELP = """Looks at everything between this machine and the backend, stage by stage, with the agent's own dial, and names the first
stage that fails, the likely cause and what to do. Exit code 0: no stage failed; 1: one did.

Where an agent runs on the same data_dir, what the backend would notice is skipped: a second socket with the same id makes it close
the agent's (4009), and a sync would take what waits for the agent. --force does it nevertheless: right if that agent is not online."""
REPLAY_HELP = """Feeds the recorded events of a run (--record) to this version's engine, in virtual time, and prints the phases and effects.
Exit code 0: the same as recorded; 1: not, and the difference is shown as a unified diff."""


def add_parsers(commands: Any, add_config_options: Callable[[argparse.ArgumentParser], None]) -> None:
    """`doctor`, `secret fingerprint`, `backoff simulate`, `replay`."""
    raw = argparse.RawDescriptionHelpFormatter
    doctor = commands.add_parser("doctor", help="why it does not connect: stage by stage", description=DOCTOR_HELP, formatter_class=raw)
    add_config_options(doctor)
    doctor.add_argument("--force", action="store_true", help="dial and sync though an agent runs on the same data_dir")
    form = doctor.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object: ok, stages, conclusion")
    form.add_argument("--for-backend", action="store_true", help="a Markdown report for the backend's engineer, with no secret in it")
    doctor.add_argument("-o", "--output", type=Path, metavar="FILE", help="write it there instead of to standard output")
    doctor.set_defaults(command=_doctor)

    secret = commands.add_parser("secret", help="compare the secret without showing it: fingerprint").add_subparsers(
        required=True, metavar="fingerprint"
    )
    mark = secret.add_parser("fingerprint", help="8 hex digits to compare", description=FINGERPRINT_HELP, formatter_class=raw)
    add_config_options(mark)
    mark.set_defaults(command=_fingerprint)

    backoff = commands.add_parser("backoff", help="what the settings would do in an outage: simulate").add_subparsers(
        required=True, metavar="simulate"
    )
    simulate = backoff.add_parser(
        "simulate", help="attempts, delays and requests, with the real engine in virtual time",
        description="Runs the engine with the configuration's settings through an outage in virtual time, once for each agent.",
    )  # fmt: skip
    add_config_options(simulate)
    simulate.add_argument("--outage", type=_duration, default=600.0, metavar="TIME", help="such as 90s, 10m or 2h (default: 10m)")
    simulate.add_argument("--agents", type=_agents, default=20, metavar="N", help="that lose the backend together (default: 20)")
    simulate.add_argument("--seed", type=int, default=1, help="of the first agent's dice (default: 1)")
    simulate.set_defaults(command=_simulate)

    replay = commands.add_parser("replay", help="run a recording again, and compare", description=REPLAY_HELP, formatter_class=raw)
    replay.add_argument("file", type=Path, metavar="FILE", help="made with --record")
    replay.add_argument("-q", "--quiet", action="store_true", help="only the verdict, and the difference if there is one")
    replay.set_defaults(command=_replay)


def add_record_options(parser: argparse.ArgumentParser) -> None:
    """`--record FILE`, for the commands that run an agent."""
    masked = "keep the run's events there, message texts masked, for `replay`"
    parser.add_argument("--record", type=Path, default=argparse.SUPPRESS, metavar="FILE", help=masked)


def recorder_for(options: argparse.Namespace) -> "Recorder | None":
    """The recorder that was asked for. Raises OSError, where the file exists too."""
    if options.record is None:
        return None
    from agent_core.recording import Recorder

    return Recorder(options.record)


def _duration(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhd]?)", text)
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 1 <= seconds <= 30 * 86_400:
        raise argparse.ArgumentTypeError(f"a time from 1s to 30d such as 90s, 10m or 2h expected, found {text!r}")
    return seconds


def _agents(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= 1_000:
        raise argparse.ArgumentTypeError(f"a number of agents from 1 to 1000 expected, found {text!r}")
    return int(text)


def _config(options: argparse.Namespace) -> "Config":
    from agent_core.config.layers import load_config

    overrides = {"data_dir": options.data_dir} if options.data_dir is not None else {}
    return load_config(options.config, os.environ, overrides=overrides, require_secret=False)


# --- doctor ------------------------------------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace) -> int:
    import asyncio
    import time

    from agent_core.config.layers import ConfigError
    from agent_core.diagnosis.findings import Conclusion, Stage, Verdict, conclude

    if options.output is not None and not options.for_backend:
        sys.stderr.write("edge-console: -o needs --for-backend (see edge-console doctor --help)\n")
        return USAGE
    speaks = not options.json and not (options.for_backend and options.output is None)
    began = time.time()
    stages: list[Stage] = []
    try:
        config = _config(options)
    except ConfigError as error:
        stages.append(Stage("configuration", Verdict.FAILED, plain(error)))
        if speaks:
            _print_stage(stages[0])
        conclusion: Conclusion | None = Conclusion("configuration", "the agent would not start with it", "mend what the sentence names")
        settings = None
    else:
        settings = config
        asyncio.run(_diagnose(config, options, stages, speaks=speaks))
        conclusion = conclude(stages, config)
    if options.json:
        print(json.dumps(_as_json(stages, conclusion, settings, began), indent=1))
    elif speaks:
        _print_conclusion(stages, conclusion)
    if options.for_backend:
        report = "\n".join(_report(stages, conclusion, settings, began)) + "\n"
        if options.output is None:
            print(report, end="")
        else:
            _write_privately(options.output, report)
            print(f"written to {plain(options.output, 300)}")
    return FAILED if conclusion is not None else OK


async def _diagnose(config: "Config", options: argparse.Namespace, stages: "list[Stage]", *, speaks: bool) -> None:
    from agent_core.clock import SystemClock
    from agent_core.diagnosis.stages import diagnose

    env_file = (options.config or Path("config.yaml")).parent / ".env"
    async for stage in diagnose(config, SystemClock(), env_file=env_file, force=options.force):
        stages.append(stage)
        if speaks:
            _print_stage(stage)


def _print_stage(stage: "Stage") -> None:
    head = f"{GLYPHS[stage.verdict]} {stage.verdict:<8} {stage.name:<13} {stage.ms:>6.0f} ms  "
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


def _as_json(stages: "Sequence[Stage]", conclusion: "Conclusion | None", config: "Config | None", began: float) -> dict[str, Any]:
    from agent_core.clock import iso

    return {
        "ok": conclusion is None, "version": __version__, "utc": iso(began),
        "agent_id": config.edge.agent_id if config else None, "backend_url": config.backend.url if config else None,
        "socket_url": config.socket_url if config else None, "fingerprint": _mark(config),
        "stages": [
            {"name": one.name, "verdict": one.verdict, "ms": round(one.ms, 1), "sentence": one.sentence,
             "status": one.exchange.status if one.exchange else None}
            for one in stages
        ],
        "conclusion": None if conclusion is None else {"stage": conclusion.stage, "cause": conclusion.cause, "advice": conclusion.advice},
    }  # fmt: skip


def _mark(config: "Config | None") -> str | None:
    from agent_core.channels.credentials import fingerprint

    secret = config.auth.secret.get_secret_value() if config is not None else ""
    return fingerprint(secret) if secret else None


# --- the report for the backend's engineer -----------------------------------------------------------------------------------


def _report(stages: "Sequence[Stage]", conclusion: "Conclusion | None", config: "Config | None", began: float) -> Iterator[str]:
    import platform

    from agent_core.clock import iso

    yield "# An edge agent does not connect as it should" if conclusion is not None else "# An edge agent's diagnosis: nothing failed"
    yield ""
    yield f"- made {iso(began)} (UTC) by edge-console {__version__}, Python {platform.python_version()}, {platform.system()}"
    if config is not None:
        yield f"- agent `{plain(config.edge.agent_id or 'without an id', 200)}`, auth mode `{config.auth.mode}`, secret not in this report"
        yield f"- secret's fingerprint `{_mark(config) or 'no secret'}`: compare with"
        yield "  `printf 'edge-console:%s' \"$EDGE_SECRET\" | sha256sum | cut -c1-8`"
        yield f"- socket `{config.socket_url}`, HTTP `{config.backend.url}`"
    if conclusion is not None:
        yield f"- first failing stage: **{conclusion.stage}**; likely: {_cell(conclusion.cause)}"
    yield from ("", "## Stages", "", "| stage | verdict | ms | found |", "|---|---|---|---|")
    for stage in stages:
        yield f"| {stage.name} | {stage.verdict} | {stage.ms:.0f} | {_cell(stage.sentence)} |"
    for stage in stages:
        if stage.exchange is not None:
            yield from _exchange(stage.exchange)
    if config is not None:
        yield from _reproduction(config)


def _cell(text: str) -> str:
    """As it is in a Markdown table or list: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", plain(text))


def _exchange(one: "Exchange") -> Iterator[str]:
    from agent_core.clock import iso

    yield from ("", f"## {one.call}", "", f"Sent {iso(one.at_utc)}:", "")
    yield from _block([f"{one.call.split()[0]} {one.url}", *_lines(one.request, one.body)])
    yield ""
    if one.status is None:
        yield f"No answer: {_cell(one.trouble or 'unknown')}"
        return
    yield "Received:"
    yield ""
    yield from _block([f"HTTP {one.status}", *_lines(one.headers, one.excerpt)])


def _lines(headers: Sequence[tuple[str, str]], body: str) -> list[str]:
    return [*(f"{name}: {value}" for name, value in headers), *(["", body] if body else [])]


def _block(lines: Sequence[str]) -> Iterator[str]:
    """An indented block: nothing inside can end it."""
    yield from (f"    {plain(line, 1_000)}".rstrip() for line in lines)


def _reproduction(config: "Config") -> Iterator[str]:
    """Commands that send the same, with a placeholder for the secret."""
    agent_id = config.edge.agent_id or "AGENT_ID"
    yield from ("", "## To reproduce", "")
    if config.auth.mode == "hmac_token":
        yield '`$EDGE_SECRET` here is a token made from it: base64 of `id:phone:unix_ts:hex(HMAC-SHA256(secret, "id:phone:unix_ts"))`.'
        yield ""
    bearer = '-H "Authorization: Bearer $EDGE_SECRET"'
    who = f"-H {shlex.quote(f'X-Edge-Agent-Id: {agent_id}')}"
    upgrade = f"-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: {SOCKET_KEY}'"
    socket_url = "http" + config.socket_url.removeprefix("ws") + "?" + urlencode({"edge_agent_id": agent_id})
    body = json.dumps({"edge_agent_id": agent_id, "last_command_id": None, "pending_events": [], "status": {}})
    yield from _block([
        "EDGE_SECRET='the secret'",
        f"curl --http1.1 -i -N -m 10 {upgrade} \\", f"  {bearer} {who} {shlex.quote(socket_url)}",
        f"curl -i -m 10 -H 'Content-Type: application/json' {bearer} {who} \\",
        f"  -d {shlex.quote(body)} {shlex.quote(config.backend.url.rstrip('/') + '/edge/sync')}",
    ])  # fmt: skip


def _write_privately(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


# --- secret ------------------------------------------------------------------------------------------------------------------


def _fingerprint(options: argparse.Namespace) -> int:
    mark = _mark(_config(options))
    if mark is None:
        sys.stderr.write("edge-console: there is no secret: set EDGE_SECRET, or put it into .env beside config.yaml\n")
        return USAGE
    print(mark)
    return OK


# --- what if -----------------------------------------------------------------------------------------------------------------


def _simulate(options: argparse.Namespace) -> int:
    from agent_core.engine.backoff import SPREAD_STEPS
    from agent_core.whatif import forecast

    if options.outage * options.agents > MOST_SIMULATED:
        sys.stderr.write("edge-console: that would take too long: a shorter outage or fewer agents, please\n")
        return USAGE
    config = _config(options)
    found = forecast(config, options.outage, options.agents, options.seed)
    ladder, every = config.backoff, config.backend.sync_interval_seconds
    print(f"Backend gone for {_span(options.outage)}; {options.agents} agent(s), seeds from {options.seed}")
    print(f"  ladder {ladder.base_seconds:g} s doubling to {ladder.cap_seconds:g} s, jitter {ladder.jitter}; polling each {every:g} s")
    if ladder.jitter == "full":
        first, later = (min(ladder.cap_seconds, most * ladder.base_seconds) for most in SPREAD_STEPS)
        print(f"  a stable link that is lost waits up to {first:g} s first, then up to {later:g} s or more: a spread parts ways")
    print()
    print("One agent's attempts, seconds from the loss:")
    print(f"  {'#':>4}  {'at':>9}  {'waited':>8}  {'step':>6}")
    before = 0.0
    for number, attempt in enumerate(found.first.attempts[:MOST_ATTEMPTS], 1):
        print(f"  {number:>4}  {attempt.at:>9.2f}  {attempt.at - before:>8.2f}  {attempt.step:>6g}")
        before = attempt.at
    if len(found.first.attempts) > MOST_ATTEMPTS:
        print(f"  … and {len(found.first.attempts) - MOST_ATTEMPTS} more")
    print(f"  online again {found.first.back_after:.1f} s after the end of the outage")
    print()
    late = "waits for the socket, since nothing polls"
    if found.delay_mean is not None:
        late = f"{found.delay_mean:.1f} s on average, {found.delay_most:.1f} s at most until a poll brings it, while only the socket is out"
    rows = {
        "recovery": f"{found.back_mean:.1f} s on average, {found.back_most:.1f} s at most after the end",
        "first minute": f"{found.dials_first_minute} dials by one agent at most",
        "same second": f"{found.peak} of {options.agents} agents dial at most",
        "a command": late,
        "requests": f"{found.polls_an_hour:,.0f} polls and {found.dials_an_hour:,.0f} dials an hour, all agents together",
    }
    for word, text in rows.items():
        print(f"{word:<13} {text}")
    return OK


def _span(seconds: float) -> str:
    for unit, size in (("h", 3_600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


# --- replay ------------------------------------------------------------------------------------------------------------------


def _replay(options: argparse.Namespace) -> int:
    from agent_core.recording import Recording, RecordingError, difference

    try:
        recording = Recording.read(options.file)
        recorded, again = recording.story(), recording.replayed()
    except RecordingError as error:
        sys.stderr.write(f"edge-console: {error}\n")
        return FAILED
    changes = difference(recorded, again, f"recorded by {recording.version}", f"replayed by {__version__}")
    if not options.quiet:
        for line in again if not changes else ():
            print(line)
    for line in changes:
        print(plain(line))
    steps, ending = f"{len(recording.steps):,} steps, {recording.seconds:,.1f} s", _ENDINGS.get(recording.end, recording.end)
    verdict = f"NOT the same as recorded by {recording.version}" if changes else "the same phases and effects as recorded"
    print(f"{steps} from {recording.begun}{ending}: {verdict}")
    return FAILED if changes else OK


_ENDINGS: Mapping[str, str] = {"closed": "", "full": " (its size was full)", "cut off": " (the process ended before it was closed)"}
