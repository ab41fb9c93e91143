"""`make soak` for a few seconds: what it starts, it starts and ends; what it counts, it counts."""

import re

import pytest

from tests.harness.soak import soak


@pytest.mark.timeout(240)
async def test_a_few_seconds_of_bad_weather_lose_nothing_and_do_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert await soak(0.15, seed=1) == 0, capsys.readouterr().out
    table = capsys.readouterr().out
    assert "audit verify" in table
    assert len(re.findall(r" [1-9]\d* completed", table)) == 2
