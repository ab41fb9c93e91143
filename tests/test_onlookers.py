"""Consoles that look on, stopped and killed ones among them, miss nothing and change nothing; the delays are for `make onlookers`."""

from tests.harness.onlookers import look_on


async def test_consoles_that_are_stopped_and_killed_cost_nobody_an_entry_or_an_ack() -> None:
    violations, figures = await look_on(seconds=1.0, rate=100)
    assert violations == []
    assert figures["commands"] == 400
