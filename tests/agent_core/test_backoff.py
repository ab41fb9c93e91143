"""How long to wait before the next dial (PROMISES §2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.config.models import Backoff, Timing
from agent_core.engine import backoff
from agent_core.engine.outcomes import Rule

LADDER = (1, 2, 4, 8, 16, 32, 60)


def wait(rule: Rule, attempt: int, dice: float, *, failures: int = 1, retry_after: float | None = None, jitter: str = "full") -> float:
    config = Backoff.model_validate({"jitter": jitter})
    return backoff.delay(rule, attempt, failures, retry_after, lambda: dice, Timing(), config)


def test_the_ladder_is_1_2_4_8_16_32_60() -> None:
    assert backoff.ladder(Backoff()) == LADDER
    assert [backoff.step(n, Backoff()) for n in range(1, 10)] == [*LADDER, 60, 60]
    assert backoff.ladder(Backoff(base_seconds=5, cap_seconds=5)) == (5,)


def test_without_jitter_the_delay_is_the_step() -> None:
    assert [wait(Rule.LADDER, n, 0.3, jitter="none") for n in range(1, 8)] == list(LADDER)


def test_full_jitter_reaches_from_the_floor_to_the_step() -> None:
    for n, step in enumerate(LADDER, 1):
        assert wait(Rule.LADDER, n, 0.0) == 0.25
        assert wait(Rule.LADDER, n, 1.0) == step


def test_a_floor_above_the_step_is_the_step() -> None:
    config = Backoff(base_seconds=0.1, floor_seconds=0.25)
    assert backoff.delay(Rule.LADDER, 1, 1, None, lambda: 0.5, Timing(), config) == 0.1


@pytest.mark.parametrize(("failures", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 300), (5, 300), (10**6, 300)])
def test_refused_doubles_up_to_five_minutes(failures: int, seconds: float) -> None:
    assert wait(Rule.REFUSED, 1, 0.5, failures=failures) == seconds


@pytest.mark.parametrize(
    ("rule", "attempt", "least", "most"),
    [
        (Rule.RESTART, 1, 0.25, 5),
        (Rule.RESTART, 6, 0.25, 32),
        (Rule.PROTOCOL, 1, 0.25, 16),
        (Rule.PROTOCOL, 9, 0.25, 60),
        (Rule.PORTAL, 1, 5, 5),
        (Rule.PORTAL, 9, 5, 60),
        (Rule.TLS, 1, 10, 10),
        (Rule.TLS, 9, 10, 60),
        (Rule.BUSY, 9, 15, 16.5),
        (Rule.REPLACED, 9, 60, 66),
    ],
)
def test_the_exceptions(rule: Rule, attempt: int, least: float, most: float) -> None:
    assert (wait(rule, attempt, 0.0), wait(rule, attempt, 1.0)) == pytest.approx((least, most))


MANY = st.integers(1, 10**9)


@given(st.sampled_from(Rule), MANY, MANY, st.none() | st.floats(0, 1e12), st.floats(0, 1, exclude_max=True))
def test_no_delay_is_ever_over_its_cap_or_nothing(rule: Rule, attempt: int, failures: int, retry_after: float | None, dice: float) -> None:
    seconds = wait(rule, attempt, dice, failures=failures, retry_after=retry_after)
    cap = {Rule.BUSY: 900.0, Rule.REFUSED: 300.0, Rule.REPLACED: 330.0}.get(rule, 60.0)
    assert 0.25 <= seconds <= cap
