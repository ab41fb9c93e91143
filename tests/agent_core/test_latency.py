"""Percentiles over the last two minutes."""

import pytest

from agent_core.latency import WINDOW_SECONDS, Window
from agent_core.snapshot import Percentiles


def filled(*milliseconds: float) -> Window:
    window = Window()
    for second, value in enumerate(milliseconds):
        window.add(float(second), value)
    return window


def test_nothing_measured_is_none_and_not_zero() -> None:
    assert Window().percentiles(0.0) == Percentiles(0, None, None, None)
    assert Window().jitter_ms() is None
    assert filled(7).jitter_ms() is None


def test_percentiles() -> None:
    window = Window()
    for value in range(1, 101):
        window.add(10.0, float(value))
    assert window.percentiles(10.0) == Percentiles(100, 51, 96, 100)
    assert filled(5).percentiles(0.0) == Percentiles(1, 5, 5, 5)


def test_samples_older_than_the_window_do_not_count() -> None:
    window = filled(100, 1)
    assert window.percentiles(WINDOW_SECONDS + 0.5) == Percentiles(1, 1, 1, 1)
    assert window.percentiles(WINDOW_SECONDS + 9) == Percentiles()


def test_the_last_samples_and_their_jitter() -> None:
    window = filled(10, 20, 15)
    assert window.last(2) == ((1.0, 20), (2.0, 15))
    assert window.jitter_ms() == pytest.approx(7.5)


def test_it_is_bounded() -> None:
    window = Window(capacity=3)
    for value in range(10):
        window.add(0.0, float(value))
    assert window.last(99) == ((0.0, 7.0), (0.0, 8.0), (0.0, 9.0))
