"""What each failure means, without an engine around it: the links between the tables are in test_link."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.engine.outcomes import Rule, cause_of, rule_for
from agent_core.events import Failure, Trouble
from agent_core.snapshot import Cause, Phase


@given(st.sampled_from(Trouble), st.none() | st.integers(-1, 10_000), st.none() | st.floats(), st.booleans())
def test_every_failure_has_a_rule_a_phase_with_a_deadline_and_a_cause(
    trouble: Trouble, status: int | None, retry_after: float | None, first: bool
) -> None:
    failure = Failure(trouble, "x", status, retry_after)
    rule = rule_for(failure, first_loss=first)
    assert rule.phase in {Phase.WAITING, Phase.REFUSED, Phase.PORTAL, Phase.REPLACED}
    assert cause_of(failure, rule) in Cause


@pytest.mark.parametrize(("first", "rule"), [(True, Rule.RESTART), (False, Rule.LADDER)])
def test_1001_depends_on_whether_it_is_the_first_loss(first: bool, rule: Rule) -> None:
    assert rule_for(Failure(Trouble.CLOSED, "", 1001), first_loss=first) is rule


def test_a_status_means_something_only_where_it_belongs() -> None:
    assert rule_for(Failure(Trouble.CONNECT, "", 403), first_loss=False) is Rule.LADDER
    assert rule_for(Failure(Trouble.HTTP, "", 4009), first_loss=False) is Rule.LADDER
    assert rule_for(Failure(Trouble.CLOSED, "", 401), first_loss=False) is Rule.LADDER
