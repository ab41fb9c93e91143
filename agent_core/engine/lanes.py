"""Who is next: a lane is one conversation, first in, first out, one command at a time (PROMISES P3).

Immediate and high commands go before the others of their lane, and a lane in which one of those waits goes before other lanes; else lanes
take turns in the order in which they could go on.

Invariants: at most one command of a lane runs; a lane where nothing runs and nothing waits is forgotten; a lane where nothing runs stands
in the queue for each kind of command that waits in it, once, unless its next command was put back (pace.py). Each step takes constant time.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from agent_core.entries import Entry


@dataclass(slots=True)
class Lane:
    urgent: OrderedDict[int, Entry] = field(default_factory=OrderedDict)
    normal: OrderedDict[int, Entry] = field(default_factory=OrderedDict)
    running: Entry | None = None


class Lanes:
    """Commands that wait for their turn, and those whose turn it is."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._urgent: OrderedDict[str, Lane] = OrderedDict()
        self._normal: OrderedDict[str, Lane] = OrderedDict()
        self.queued = 0

    def __contains__(self, name: str) -> bool:
        """Something of this lane runs or waits."""
        return name in self._lanes

    @property
    def ready(self) -> bool:
        """There is one that could start."""
        return bool(self._normal or self._urgent)

    @property
    def waits_since_utc(self) -> float | None:
        """When the first of those that wait came. Only for a snapshot: it looks at every lane."""
        heads = (next(iter(waiting.values())) for lane in self._lanes.values() for waiting in (lane.urgent, lane.normal) if waiting)
        return min((entry.arrived.utc for entry in heads), default=None)

    def add(self, entry: Entry) -> None:
        lane = self._lanes.get(entry.lane)
        if lane is None:
            lane = self._lanes[entry.lane] = Lane()
        waiting, ready = (lane.urgent, self._urgent) if entry.command.priority.overtakes else (lane.normal, self._normal)
        waiting[entry.seq] = entry
        self.queued += 1
        if lane.running is None:
            ready[entry.lane] = lane

    def take(self) -> Entry:
        """The next, whose turn it is from now until `leave`. Only where `ready`."""
        name, lane = (self._urgent or self._normal).popitem(last=False)
        self._normal.pop(name, None)
        _, lane.running = (lane.urgent or lane.normal).popitem(last=False)
        self.queued -= 1
        return lane.running

    def put_back(self, entry: Entry) -> None:
        """Its turn is over and it is the next of its lane again; the lane waits until `recall`."""
        lane = self._lanes[entry.lane]
        lane.running = None
        waiting = lane.urgent if entry.command.priority.overtakes else lane.normal
        waiting[entry.seq] = entry
        waiting.move_to_end(entry.seq, last=False)
        self.queued += 1

    def recall(self, name: str) -> None:
        """A lane that waits may go on."""
        lane = self._lanes[name]
        if lane.running is None:
            if lane.urgent:
                self._urgent[name] = lane
            if lane.normal:
                self._normal[name] = lane

    def resume(self, entry: Entry) -> None:
        """It has run in an earlier life and does so still: its turn is from now until `leave`."""
        lane = self._lanes.setdefault(entry.lane, Lane())
        lane.running = entry
        self._urgent.pop(entry.lane, None)
        self._normal.pop(entry.lane, None)

    def leave(self, entry: Entry) -> None:
        """Its turn is over."""
        lane = self._lanes[entry.lane]
        lane.running = None
        if lane.urgent:
            self._urgent[entry.lane] = lane
        if lane.normal:
            self._normal[entry.lane] = lane
        elif not lane.urgent:
            del self._lanes[entry.lane]

    def withdraw(self, entry: Entry) -> None:
        """It waits no more."""
        name = entry.lane
        lane = self._lanes[name]
        waiting, ready = (lane.urgent, self._urgent) if entry.seq in lane.urgent else (lane.normal, self._normal)
        del waiting[entry.seq]
        self.queued -= 1
        if not waiting:
            ready.pop(name, None)
        if not (lane.running or lane.urgent or lane.normal):
            del self._lanes[name]

    def count(self, name: str) -> int:
        """How many wait in this lane."""
        lane = self._lanes[name]
        return len(lane.urgent) + len(lane.normal)

    @property
    def sizes(self) -> dict[str, int]:
        return {"lanes": len(self._lanes), "ready": len(self._urgent) + len(self._normal)}
