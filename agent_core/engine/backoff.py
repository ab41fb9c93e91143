"""How long to wait before the next dial: steps 1, 2, 4 … 60 s, jitter inside the step, and the exceptions of PROMISES §2."""

from collections.abc import Callable

from agent_core.config.models import Backoff, Timing
from agent_core.engine.outcomes import Rule

Dice = Callable[[], float]
"""A number in [0, 1); the engine's only source of chance."""
SPREAD_STEPS = (20.0, 32.0)
"""First steps that the first redial and each later one are spread over at least, when a stable link was lost: of 200 agents that
lose their backend at one instant, no more than a fifth dials in any second, and each is back as soon (P7)."""


def step(attempt: int, backoff: Backoff) -> float:
    """The ladder's step before attempt `attempt` (1 = first retry), in seconds."""
    return min(backoff.cap_seconds, backoff.base_seconds * 2.0 ** min(max(attempt, 1) - 1, 60))


def ladder(backoff: Backoff) -> tuple[float, ...]:
    """Every step from first to last, as the console shows them."""
    steps = [step(1, backoff)]
    while steps[-1] < backoff.cap_seconds:
        steps.append(step(len(steps) + 1, backoff))
    return tuple(steps)


def delay(
    rule: Rule,
    attempt: int,
    failures: int,
    retry_after: float | None,
    dice: Dice,
    timing: Timing,
    backoff: Backoff,
    *,
    spread_retry: bool = False,
) -> float:
    """Seconds until the next dial. `attempt` climbs the ladder; `failures` counts the same rule in a row, for its own doubling;
    `spread_retry` says that it all began with the loss of a stable link, which others may have lost at the same instant (PROMISES F51)."""
    match rule:
        case Rule.REFUSED:
            return min(timing.refused_cap, timing.refused_first * 2.0 ** min(failures - 1, 60))
        case Rule.REPLACED:
            return (timing.replaced_wait if failures == 1 else timing.replaced_every) * (1 + 0.1 * dice())
        case Rule.BUSY:
            return min(max(retry_after or 0, timing.busy_first) * (1 + 0.1 * dice()), timing.busy_cap)
        case Rule.RESTART:
            return _within(max(timing.restart_within, step(attempt, backoff)), dice, backoff.floor_seconds)
        case Rule.PROTOCOL:
            return _jittered(max(timing.protocol_step, step(attempt, backoff)), dice, backoff)
        case Rule.PORTAL:
            return max(timing.portal_min_wait, _jittered(step(attempt, backoff), dice, backoff))
        case Rule.TLS:
            return max(timing.tls_min_wait, _jittered(step(attempt, backoff), dice, backoff))
        case Rule.LADDER:
            spread = min(backoff.cap_seconds, SPREAD_STEPS[attempt > 1] * backoff.base_seconds) if spread_retry else 0.0
            return _jittered(step(attempt, backoff), dice, backoff, spread)


def _jittered(limit: float, dice: Dice, backoff: Backoff, spread: float = 0.0) -> float:
    return limit if backoff.jitter == "none" else _within(max(limit, spread), dice, backoff.floor_seconds)


def _within(limit: float, dice: Dice, floor: float) -> float:
    low = min(floor, limit)
    return low + (limit - low) * dice()
