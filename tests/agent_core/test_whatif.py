"""The forecast rests on the real engine: exact where nothing is left to chance, bounded where there are dice."""

from itertools import pairwise

import pytest

from agent_core.config import Config
from agent_core.whatif import forecast, through_outage


def settings(**sections: dict[str, object]) -> Config:
    return Config.model_validate(sections)


def test_without_jitter_the_attempts_are_the_ladder() -> None:
    found = through_outage(settings(backoff={"jitter": "none"}), 120, seed=1)
    waits = [0.0, *(attempt.at for attempt in found.attempts)]
    assert [round(after - before, 6) for before, after in pairwise(waits)] == [1, 2, 4, 8, 16, 32]
    assert [attempt.step for attempt in found.attempts] == [1, 2, 4, 8, 16, 32]


def test_the_same_seed_tells_the_same() -> None:
    assert through_outage(Config(), 600, seed=7) == through_outage(Config(), 600, seed=7)
    assert through_outage(Config(), 600, seed=7) != through_outage(Config(), 600, seed=8)


@pytest.mark.parametrize("outage", [5.0, 60.0, 600.0, 3_600.0])
def test_p7_recovery_is_within_its_promise(outage: float) -> None:
    found = forecast(Config(), outage, agents=20, seed=1)
    assert 0 <= found.back_mean <= found.back_most <= 17
    assert found.dials_first_minute <= 14


def test_a_command_waits_half_an_interval_on_average() -> None:
    found = forecast(Config(), 3_600, agents=5, seed=1)
    assert found.delay_mean == pytest.approx(7, abs=0.2)
    assert found.delay_most == pytest.approx(14.25, abs=0.05)
    assert found.polls_an_hour == pytest.approx(5 * 3_600 / 13.875, rel=0.02)


def test_other_settings_tell_another_story() -> None:
    quick = forecast(settings(backend={"sync_interval_seconds": 5}), 600, agents=3, seed=1)
    assert quick.delay_mean == pytest.approx(2.3, abs=0.1)
    silent = forecast(settings(backend={"polling": "never"}), 600, agents=3, seed=1)
    assert silent.delay_mean is None
    assert silent.polls_an_hour == 0


def test_f51_agents_that_lose_the_backend_together_do_not_dial_together() -> None:
    found = forecast(Config(), 60, agents=200, seed=1)
    assert found.peak <= 40


def test_no_socket_and_no_id_in_the_configuration_are_no_obstacle() -> None:
    found = through_outage(settings(websocket={"enabled": False}, edge={"register": "always"}), 60, seed=1)
    assert found.attempts
