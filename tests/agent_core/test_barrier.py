"""What waits for the disk is released by what it waited for, in order, and in portions (PROMISES P1, P11)."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from agent_core.clock import Moment
from agent_core.engine.barrier import RELEASED_AT_ONCE, Barrier, Held
from agent_core.entries import INTERNAL, Entry
from agent_core.events import Effect, Record
from agent_core.frames import Command
from agent_core.records import SettingStored, State, Via


def held(number: int) -> Entry:
    return Entry(number, Command(f"c{number}", "look"), INTERNAL, Via.WS, State.QUEUED, Moment(0.0, 0.0))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_p1_nothing_is_released_before_its_tickets_record_and_everything_in_order(steps: list[tuple[bool, int, int]]) -> None:
    effects: list[Effect] = []
    barrier = Barrier(effects.append)
    waiting: list[tuple[int, int]] = []
    released: list[int] = []
    number = written = 0
    for changes, holds, catches_up in steps:
        if changes:
            barrier.change(SettingStored("k", "v"))
        for _ in range(holds):
            number += 1
            barrier.hold(held(number))
        released += numbers(barrier.seal())
        issued = len(effects)
        waiting += [(issued, n) for n in range(number - holds + 1, number + 1) if n not in released]
        written = min(issued, written + catches_up)
        barrier.recorded(written)
        released += numbers(barrier.release())
        assert all(ticket <= written for ticket, n in waiting if n in released)
        assert all(n in released for ticket, n in waiting if ticket <= written)
    assert released == sorted(released)
    assert [effect.ticket for effect in effects if isinstance(effect, Record)] == list(range(1, len(effects) + 1))


def test_p11_f70_a_disk_that_catches_up_releases_in_portions() -> None:
    barrier = Barrier(lambda _effect: None)
    for step in range(50):
        barrier.change(SettingStored("k", "v"))
        for number in range(100):
            barrier.hold(held(100 * step + number))
        barrier.seal()
    barrier.recorded(50)
    portions = []
    while barrier.may_release:
        portions.append(numbers(barrier.release()))
    assert [len(portion) for portion in portions] == [RELEASED_AT_ONCE] * 5
    assert [number for portion in portions for number in portion] == list(range(5_000))


def numbers(released: Sequence[Held]) -> list[int]:
    return [one.seq for one in released if isinstance(one, Entry)]
