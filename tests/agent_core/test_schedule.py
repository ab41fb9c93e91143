"""Messages due later (P9)."""

import random

from hypothesis import given
from hypothesis import strategies as st

from agent_core.engine.schedule import Schedule


def test_due_in_order_of_time_and_never_early() -> None:
    schedule = Schedule()
    for seq, due in ((1, 30.0), (2, 10.0), (3, 20.0), (4, 10.0)):
        schedule.add(seq, due)
    assert (schedule.count(), schedule.next_utc) == (4, 10.0)
    assert schedule.take_due(9.999) == []
    assert schedule.take_due(20.0) == [(2, 10.0), (4, 10.0), (3, 20.0)]
    assert schedule.soonest(5) == [(1, 30.0)]
    assert schedule.take_due(1e9) == [(1, 30.0)]
    assert (schedule.count(), schedule.next_utc) == (0, float("inf"))


def test_removing_what_is_not_there_changes_nothing() -> None:
    schedule = Schedule()
    schedule.add(1, 10.0)
    schedule.remove(7)
    schedule.remove(1)
    schedule.remove(1)
    assert schedule.count() == 0


def test_p10_cancelled_entries_leave_no_growing_heap() -> None:
    schedule = Schedule()
    for seq in range(20_000):
        schedule.add(seq, 1e9 + seq)
        schedule.remove(seq)
    assert schedule.footprint <= 300


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "take"]), st.integers(0, 30)), max_size=60))
def test_it_agrees_with_a_plain_dictionary(steps: list[tuple[str, int]]) -> None:
    schedule, model, dice = Schedule(), dict[int, float](), random.Random(1)
    for number, (step, value) in enumerate(steps):
        if step == "add":
            schedule.add(number, float(value))
            model[number] = float(value)
        elif step == "remove" and model:
            seq = dice.choice(sorted(model))
            schedule.remove(seq)
            del model[seq]
        else:
            due = sorted((at, seq) for seq, at in model.items() if at <= value)
            assert schedule.take_due(value) == [(seq, at) for at, seq in due]
            for _, seq in due:
                del model[seq]
        assert schedule.next_utc == min(model.values(), default=float("inf"))
        assert schedule.soonest(3) == [(seq, at) for at, seq in sorted((at, seq) for seq, at in model.items())[:3]]


STEPS = st.lists(st.tuples(st.sampled_from(("add", "add far", "add", "remove", "take", "step", "step")), st.integers(0, 40)), max_size=80)


@given(STEPS)
def test_f71_at_a_steps_end_the_nearest_are_at_hand_and_few_others(steps: list[tuple[str, int]]) -> None:
    """As the ledger does it: what is wanted comes, what is surplus leaves."""
    near = 4
    schedule, due, at_hand = Schedule(near), dict[int, float](), set[int]()
    utc = 0.0
    for number, (step, value) in enumerate(steps):
        if step.startswith("add"):
            due[number] = utc + 1 + value
            schedule.add(number, due[number], at_hand=step == "add")
            at_hand |= {number} if step == "add" else set()
        elif step == "remove" and due:
            seq = sorted(due)[value % len(due)]
            schedule.remove(seq)
            del due[seq]
        elif step == "take":
            utc += value / 4
            assert schedule.take_due(utc) == [(seq, at) for at, seq in sorted((at, seq) for seq, at in due.items()) if at <= utc]
            due = {seq: at for seq, at in due.items() if at > utc}
        else:
            for seq in schedule.surplus():
                schedule.left(seq)
                at_hand.discard(seq)
            for seq in schedule.wanted():
                assert seq not in at_hand
                schedule.came(seq)
                at_hand.add(seq)
            at_hand &= due.keys()
            nearest = sorted(due, key=lambda seq: due[seq])[: near // 2]
            latest = max((due[seq] for seq in nearest), default=0.0)
            assert sum(due[seq] <= latest for seq in at_hand) >= len(nearest), "the next ones"
            assert len(at_hand) <= 2 * near + sum(due[seq] <= latest for seq in due)
        at_hand &= due.keys()
