"""`edge-console backoff simulate`: what the settings would do in an outage."""

import argparse
import re
from typing import Any

from console.cli.options import add_config_options, configuration
from console.cli.outcome import OK, USAGE, complain

UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOST_ATTEMPTS = 40
MOST_SIMULATED = 20_000_000


def add_parsers(commands: Any) -> None:
    """`backoff simulate`."""
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


def _simulate(options: argparse.Namespace) -> int:
    from agent_core.engine.backoff import SPREAD_STEPS
    from agent_core.whatif import forecast

    if options.outage * options.agents > MOST_SIMULATED:
        return complain("that would take too long: a shorter outage or fewer agents, please", USAGE)
    config = configuration(options)
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
