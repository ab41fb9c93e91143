"""Lanes against lists: whose turn it is, whatever comes, goes and is withdrawn (PROMISES P3)."""

from hypothesis import given
from hypothesis import strategies as st

from agent_core.clock import Moment
from agent_core.engine.lanes import Lanes
from agent_core.entries import INTERNAL, Entry
from agent_core.frames import Command, Priority
from agent_core.records import State, Via

STEPS = st.lists(st.tuples(st.sampled_from(("add", "add urgent", "take", "take", "leave", "withdraw")), st.integers(0, 9)), max_size=60)


def entry(seq: int, lane: str, *, urgent: bool) -> Entry:
    priority = Priority.HIGH if urgent else Priority.NORMAL
    command = Command(f"c{seq}", "send_message", priority=priority)
    return Entry(seq, command, INTERNAL, Via.WS, State.QUEUED, Moment(0.0, 0.0), lane=lane)


@given(STEPS)
def test_p3_each_turn_goes_to_the_first_of_a_lane_where_nothing_runs_urgent_ones_before_the_rest(steps: list[tuple[str, int]]) -> None:
    lanes = Lanes()
    waiting: list[Entry] = []
    running: list[Entry] = []
    for seq, (step, number) in enumerate(steps):
        busy = {one.lane for one in running}
        if step.startswith("add"):
            waiting.append(entry(seq, f"t{number % 3}", urgent=step == "add urgent"))
            lanes.add(waiting[-1])
        elif step == "take" and lanes.ready:
            took = lanes.take()
            may = [one for one in waiting if one.lane not in busy]
            urgent = [one for one in may if one.command.priority.overtakes]
            firsts = {one.lane: one for one in reversed(urgent or may)}
            assert took is firsts[took.lane]
            waiting.remove(took)
            running.append(took)
        elif step == "leave" and running:
            lanes.leave(running.pop(number % len(running)))
        elif step == "withdraw" and waiting:
            lanes.withdraw(waiting.pop(number % len(waiting)))
        busy = {one.lane for one in running}
        assert lanes.queued == len(waiting)
        assert lanes.ready == any(one.lane not in busy for one in waiting)
        assert lanes.sizes["lanes"] == len(busy | {one.lane for one in waiting})
        assert lanes.sizes["ready"] == len({(one.lane, one.command.priority) for one in waiting if one.lane not in busy})


def test_p3_lanes_take_turns() -> None:
    lanes = Lanes()
    for seq, lane in enumerate(("a", "a", "b", "c", "b")):
        lanes.add(entry(seq, lane, urgent=False))
    took = []
    while lanes.ready:
        took.append(lanes.take())
        lanes.leave(took[-1])
    assert [one.seq for one in took] == [0, 2, 3, 1, 4]
    assert lanes.sizes == {"lanes": 0, "ready": 0}
