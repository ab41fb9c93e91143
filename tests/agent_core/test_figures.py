"""Figures with their units."""

import pytest

from agent_core.figures import size, took


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.0004, "0.4 ms"), (0.018, "18 ms"), (11.24, "11.2 s"), (59.96, "1m 00s"), (1_204.0, "20m 04s"), (90_061.0, "1d 01h"),
     (1e15, "99999d")],
)  # fmt: skip
def test_c4_a_duration_changes_its_unit_before_it_grows(seconds: float | None, said: str) -> None:
    assert took(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(812, "812 bytes"), (1_000, "1.0 KiB"), (1_000_000, "977 KiB"), (64 << 20, "64 MiB"), (5 << 40, "5.0 TiB")]
)
def test_c4_a_size_changes_its_unit_before_it_grows(count: int, said: str) -> None:
    assert size(count) == said
