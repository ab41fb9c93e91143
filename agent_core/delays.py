"""Whose delay it was: where each command's time went, from the instants that the ledger keeps.

    issued ──backend──► received ──lane──► started ──effect──► finished ──link──► ack sent ──proof──► ack proven

The backend's instant is by its own clock, which is `clock_offset` seconds ahead of this machine's; what is due later or held waits in its
lane from then on only. A part whose ends are not both known is None. A proof is no delay, for nobody waits for it: it may take until
the next ping. What is counted is bounded: a histogram a part, and sums an hour.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from agent_core.figures import took
from agent_core.latency import Histogram, Rolling

LATE_SECONDS = 1.0
HOUR = 3_600
DAY = 24 * HOUR


class Instants(NamedTuple):
    """One command's, in Unix seconds, as the ledger has them."""

    issued: float | None
    received: float
    due: float | None
    started: float | None
    finished: float | None
    sent: float | None
    proven: float | None
    released: float | None = None


class Parts(NamedTuple):
    """Where one command's time went, in seconds; None: not known, or not there."""

    backend: float | None = None
    """From its issue until it was received."""
    link: float | None = None
    """From its end until its ack was on the wire."""
    lane: float | None = None
    """From its receipt, or from when it was due or let go, until it was started."""
    effect: float | None = None
    """From its start to its end."""
    proof: float | None = None
    """From its ack on the wire to the proof that the backend has it."""


PARTS = Parts._fields
WHERE = {"backend": "waited in the backend", "link": "waited for the link", "lane": "waited in their lane", "effect": "ran that long"}
"""What is said of the late ones, by what took most of their time; in the order of PARTS, without the proof, its last."""


def parts(at: Instants, clock_offset: float) -> Parts:
    """Where a command's time went."""
    acked = at.sent if at.sent is not None else at.proven
    return Parts(
        backend=_between(None if at.issued is None else at.issued - clock_offset, at.received),
        link=_between(at.finished, acked),
        lane=_between(max(at.received, at.due or 0.0, at.released or 0.0), at.started),
        effect=_between(at.started, at.finished),
        proof=_between(at.sent, at.proven),
    )


def _between(begin: float | None, end: float | None) -> float | None:
    """Seconds; none where a clock that was set has turned them round."""
    return None if begin is None or end is None else max(0.0, end - begin)


@dataclass(frozen=True, slots=True)
class Spread:
    """What one part took of all commands, in seconds; None where it is known of none."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Hour:
    """The commands received in one: how many, and the mean seconds of each of PARTS."""

    begins_utc: float
    commands: int
    means: Parts


@dataclass(frozen=True, slots=True)
class Delays:
    """Of all commands received since `since_utc`."""

    since_utc: float
    clock_offset: float | None
    commands: int
    late: int
    """How many took more than LATE_SECONDS until their ack was on the wire."""
    spreads: dict[str, Spread]
    """By part."""
    hours: tuple[Hour, ...]
    """Those with commands, oldest first."""
    sentence: str


@dataclass(slots=True)
class _Sums:
    commands: int = 0
    seconds: list[float] = field(default_factory=lambda: [0.0] * len(PARTS))


def delays(commands: Iterable[Instants], clock_offset: float | None, since_utc: float) -> Delays:
    """One pass over the commands, in memory that does not grow with their number."""
    took = [Rolling() for _ in PARTS]
    late = {name: Rolling() for name in WHERE}
    hours: defaultdict[int, _Sums] = defaultdict(_Sums)
    count, offset = 0, clock_offset or 0.0
    for at in commands:
        count += 1
        split = parts(at, offset)
        sums = hours[int(at.received // HOUR)]
        sums.commands += 1
        for number, seconds in enumerate(split):
            if seconds is not None:
                took[number].add(0.0, seconds * 1_000)
                sums.seconds[number] += seconds
        if sum(filter(None, split[:-1])) > LATE_SECONDS:
            longest, seconds = max(zip(WHERE, split, strict=False), key=lambda part: part[1] or 0.0)
            late[longest].add(0.0, (seconds or 0.0) * 1_000)
    found = {name: samples.view(0.0) for name, samples in late.items()}
    return Delays(
        since_utc, clock_offset, count, sum(one.count for one in found.values()),
        {name: _spread(samples.view(0.0)) for name, samples in zip(PARTS, took, strict=True)},
        tuple(_hours(hours)), _sentence(count, found),
    )  # fmt: skip


def _spread(samples: Histogram) -> Spread:
    if not samples.count:
        return Spread()
    return Spread(samples.count, _seconds(samples, 0.5), _seconds(samples, 0.95), round(samples.slowest / 1_000, 6))


def _seconds(samples: Histogram, share: float) -> float:
    """To a microsecond, which a histogram of 2.4 % cannot tell anyway."""
    return round((samples.percentile(share) or 0.0) / 1_000, 6)


def _hours(hours: dict[int, _Sums]) -> Iterator[Hour]:
    for number, sums in sorted(hours.items()):
        yield Hour(number * HOUR, sums.commands, Parts(*(seconds / sums.commands for seconds in sums.seconds)))


def _sentence(count: int, late: dict[str, Histogram]) -> str:
    """Who kept the late commands waiting, the most frequent first."""
    total = sum(one.count for one in late.values())
    if not total:
        return f"none of {count} commands was late (over {LATE_SECONDS:g} s)" if count else "no commands in this time"
    ranked = sorted((name for name in late if late[name].count), key=lambda name: late[name].count, reverse=True)
    said = [f"{late[name].count} {WHERE[name]}, p95 {took(_seconds(late[name], 0.95))}" for name in ranked]
    return f"of {total} late commands {'; '.join(said)}"
