"""The ring of commands: found by number, bounded, in the order of arrival."""

import random

import pytest

from agent_core.feed import CommandEntry
from console.panels.ring import Ring
from tests.harness.stills import entry


def test_a_later_entry_with_the_same_number_takes_its_place() -> None:
    ring = Ring(10)
    place = ring.put(entry(1, status="running", run_ms=None, ack_ms=None))
    ring.put(entry(2))
    assert ring.put(entry(1, status="failed", error="no")) == place
    row = ring.row(place)
    assert (row.status, row.error, ring.end) == ("failed", "no", 2)


def test_how_long_it_took_stays_known() -> None:
    ring = Ring(10)
    place = ring.put(entry(1, status="sent", run_ms=1.0, ack_ms=2.0))
    ring.put(entry(1, status="acked", run_ms=None, ack_ms=None))
    assert (ring.row(place).status, ring.row(place).run_ms, ring.row(place).ack_ms) == ("acked", 1.0, 2.0)


def test_it_keeps_the_newest_and_counts_on() -> None:
    ring = Ring(100)
    for number in range(1, 1_001):
        ring.put(entry(number))
    assert (ring.first, ring.end) == (900, 1_000)
    assert ring.row(900).command_id == entry(901).command_id
    with pytest.raises(IndexError):
        ring.row(899)
    assert ring.find(900) is None
    assert ring.find(901) == 900


def test_older_ones_go_before_what_is_there_as_far_as_there_is_room() -> None:
    ring = Ring(10)
    ring.put_all([entry(number) for number in (5, 20, 21)])
    assert ring.put_before([entry(number) for number in range(3, 20)]) == range(-7, 0)
    assert [ring.row(place).command_id for place in range(-7, 3)] == [entry(number).command_id for number in (*range(13, 20), 5, 20, 21)]
    assert ring.put_before([entry(1)]) == range(-7, -7)
    assert (ring.find(13), ring.find(20), ring.find(12)) == (-7, 1, None)
    ring.put_all([entry(22), entry(13, status="failed"), entry(23)])
    assert (ring.first, ring.end, ring.find(14), ring.find(15)) == (-5, 5, None, -5)
    assert [ring.row(place).command_id for place in (3, 4)] == [entry(22).command_id, entry(23).command_id]


def test_numbers_with_gaps_and_out_of_order_are_found() -> None:
    dice = random.Random(7)
    ring = Ring(500)
    told: dict[int, CommandEntry] = {}
    places: dict[int, int] = {}
    for _ in range(5_000):
        number = dice.choice([dice.randrange(1, 100_000), max(told, default=0) + dice.choice([1, 1, 1, 7])])
        told[number] = entry(number, status=dice.choice(["acked", "failed"]))
        place = ring.put(told[number])
        assert places.get(number, -1) < ring.first or place == places[number]
        places[number] = place
    for number, place in places.items():
        if place >= ring.first:
            assert ring.find(number) == place
            assert ring.row(place).status == told[number].status
        else:
            assert ring.find(number) is None


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    dice = random.Random(11)
    one, many = Ring(300), Ring(300)
    newest = 0
    for _ in range(60):
        fresh = range(newest + 1, newest + dice.choice([1, 2, 50, 700]))
        late = {dice.randrange(1, newest + 2) for _ in range(dice.randrange(5))} - set(fresh)
        newest = max(newest, *fresh, 0)
        told = [entry(number, status=dice.choice(["acked", "failed"])) for number in (*sorted(late), *fresh)]
        places = [one.put(told_one) for told_one in told]
        known = many.put_all(dice.sample(told, len(told)) if len(late) < 2 else told)
        assert set(known) <= set(places)
        assert (one.first, one.end) == (many.first, many.end)
        assert [one.row(place) for place in range(one.first, one.end)] == [many.row(place) for place in range(many.first, many.end)]
        recent = range(max(0, newest - 400), newest)
        assert [one.find(number) for number in recent] == [many.find(number) for number in recent]


def test_missing_figures_stay_missing() -> None:
    ring = Ring(4)
    row = ring.row(ring.put(entry(1, run_ms=None, ack_ms=0.0)))
    assert row.run_ms is None
    assert row.ack_ms == 0.0
