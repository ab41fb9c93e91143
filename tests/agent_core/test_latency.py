"""One histogram of the last two minutes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.latency import BOUNDS_MS, SLOT_SECONDS, Histogram, Latencies, Rolling
from tests.harness.playbook import Playbook, to

WINDOW = 120.0
TIMES = st.lists(st.floats(0.02, 1e7), min_size=1, max_size=60)


def rolled(*milliseconds: float, at: float = 0.0) -> Histogram:
    rolling = Rolling()
    for one in milliseconds:
        rolling.add(at, one)
    return rolling.view(at)


def test_nothing_measured_is_none_and_not_zero() -> None:
    assert Rolling().view(0.0) == Histogram()
    assert Histogram().percentile(0.5) is None
    assert Latencies().jitter is None
    assert Latencies().last_ping is None


@given(TIMES, st.sampled_from((0.5, 0.95, 0.99)))
def test_a_percentile_is_at_most_2_4_percent_off(times: list[float], share: float) -> None:
    exact = sorted(times)[min(len(times) - 1, int(len(times) * share))]
    assert rolled(*times).percentile(share) == pytest.approx(exact, rel=0.024)


@given(TIMES, TIMES)
def test_two_histograms_make_the_one_of_both(one: list[float], other: list[float]) -> None:
    assert rolled(*one) + rolled(*other) == rolled(*one, *other)


@pytest.mark.parametrize("bound", [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000])
def test_the_objectives_lie_on_an_edge(bound: float) -> None:
    times = [bound * 0.99, bound * 1.01, bound * 10]
    assert rolled(*times).within(bound) == 1


def test_since_the_start_nothing_is_forgotten() -> None:
    rolling, times = Rolling(), [0.0, 0.5, 3.0, 1_500.0, 1e6]
    for number, milliseconds in enumerate(times):
        rolling.add(number * 1_000.0, milliseconds)
    seen = rolling.view(1e6)
    assert seen.total == len(times)
    assert [BOUNDS_MS[place] for place, count in enumerate(seen.since_start[:-1]) if count] == [1, 5, 2_000]
    assert seen.since_start[-1] == 1, "beyond the last bound"
    assert seen.sum_us / 1_000 == pytest.approx(sum(times), rel=0.024)


def test_what_took_no_time_took_none() -> None:
    assert rolled(0.0, 0.01).percentile(0.99) == 0.0
    assert rolled(0.0, 5.0).slowest == 5.0


def test_two_minutes_are_two_minutes_at_a_thousand_a_second() -> None:
    rolling = Rolling()
    for number in range(300_000):
        at = number / 1_000
        rolling.add(at, 5.0 if at < 178 else 50.0)
    seen = rolling.view(300.0)
    assert WINDOW <= seen.count / 1_000 <= WINDOW + SLOT_SECONDS
    assert seen.total == 300_000
    assert seen.percentile(0.0) == pytest.approx(50, rel=0.024), "nothing older than two minutes"
    assert seen.slowest == 50.0


def test_at_one_a_minute_they_are_two_minutes_as_well() -> None:
    rolling = Rolling()
    for minute in range(5):
        rolling.add(minute * 60.0, 0.9 * (minute + 1))
    assert rolling.view(240.0).count == 3
    assert rolling.view(299.0).count == 2
    assert rolling.view(302.0).count == 1
    for at in (362.0, 1e9):
        seen = rolling.view(at)
        assert (seen.count, seen.slowest, seen.total) == (0, 0.0, 5)
        assert seen.since_start[:4] == (1, 1, 3, 0), "of 0.9, 1.8, 2.7, 3.6 and 4.5 ms, up to 1, 2, 5 and 10"


def test_a_view_stays_as_it_was() -> None:
    rolling = Rolling()
    rolling.add(0.0, 5.0)
    before = rolling.view(0.0)
    rolling.add(0.0, 7.0)
    assert (before.count, rolling.view(0.0).count) == (1, 2)


def test_the_bars_are_the_slowest_of_both_ways() -> None:
    latencies = Latencies()
    for at, socket, polling in ((0.5, 10.0, 20.0), (1.9, 30.0, 5.0), (4.0, 7.0, 6.0)):
        latencies.socket.add(at, socket)
        latencies.polling.add(at, polling)
    assert latencies.slowest_acks() == ((0.0, 30.0), (4.0, 7.0))


def test_the_jitter_of_the_last_pings() -> None:
    latencies = Latencies()
    latencies.pinged(0.0, 10.0)
    assert latencies.jitter is None
    for milliseconds in (20.0, 15.0):
        latencies.pinged(1.0, milliseconds)
    assert (latencies.last_ping, latencies.jitter) == (15.0, pytest.approx(7.5))


def test_the_engine_measures_each_way_the_runs_and_the_proofs() -> None:
    book = Playbook().online().push("c1", payload=to("+1"))
    book.after(0.2).finish("c1")
    book.lives(30)
    book.lose()
    book.after(1).answer_poll()
    latency = book.snapshot.latency
    assert latency.socket.percentile(0.5) == pytest.approx(200, rel=0.024)
    assert latency.run.percentile(0.5) == pytest.approx(200, rel=0.024)
    assert (latency.ack.count, latency.polling.count, latency.proof.count) == (1, 0, 1)
    assert latency.proof.slowest == pytest.approx(11_800, abs=300)
    assert latency.slowest_acks[0][1] == pytest.approx(200)
    book.after(130)
    assert (book.snapshot.latency.ack.count, book.snapshot.latency.ack.total) == (0, 1)
