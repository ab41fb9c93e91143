"""What a cancel means: whom its name may mean, and what stays of a cancel that came first (PROTOCOL §2, PROMISES P3, F37).

Names are of two kinds. A *command id* is one command's own; a *schedule name* is what a message's payload calls it (`schedule_id`,
`message_id`), and several messages may have the same one. A cancel looks in the kind that it gives first and, where nobody is called so, in
the other, since backends mix them up.

A cancel of nobody leaves a tombstone of its kind, on which the message that it names dies when it comes: one with this command id, or one
of this schedule name; a message without a schedule name is called by its command id. A tombstone goes when it has done its work, or after
`ledger.tombstone_hours` by the monotonic clock, for the wall clock may be set. They end in the order in which they were added, so those
that are over are found at the front, and every step takes constant time.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator

from agent_core.clock import Moment
from agent_core.frames import Target
from agent_core.records import TombstoneAdded, TombstoneRemoved

CANCELS = frozenset({"cancel_message", "cancel_scheduled"})
RESCHEDULES = frozenset({"change_scheduled", "reschedule_message"})
"""They name their message in the same way."""


class Names:
    """Messages that are not over, by their schedule names. A name that one message has, as most, costs no collection of its own."""

    def __init__(self) -> None:
        self._seqs: dict[str, int | set[int]] = {}

    def add(self, names: Iterable[str], seq: int) -> None:
        for name in names:
            found = self._seqs.setdefault(name, seq)
            if isinstance(found, set):
                found.add(seq)
            elif found != seq:
                self._seqs[name] = {found, seq}

    def discard(self, names: Iterable[str], seq: int) -> None:
        for name in names:
            found = self._seqs.get(name)
            if isinstance(found, set):
                found.discard(seq)
            if found in (seq, set()):
                del self._seqs[name]

    def find(self, name: str) -> Collection[int]:
        """Their numbers."""
        found = self._seqs.get(name, ())
        return (found,) if isinstance(found, int) else found

    def __len__(self) -> int:
        return len(self._seqs)


class Tombstones:
    """Which command has cancelled a name, and until when that holds; `max_count` at most."""

    def __init__(self, hours: float, max_count: int) -> None:
        self._seconds = hours * 3_600
        self._max_count = max_count
        self._by_target: OrderedDict[Target, tuple[str, float]] = OrderedDict()
        self.count = self._by_target.__len__

    def restore(self, tombstones: Iterable[TombstoneAdded], now: Moment) -> None:
        """What an earlier run left."""
        for one in sorted(tombstones, key=lambda one: one.until_utc):
            if one.until_utc > now.utc:
                self._by_target[one.target] = one.by, now.mono + min(one.until_utc - now.utc, self._seconds)

    def add(self, target: Target, by: str, now: Moment) -> TombstoneAdded | None:
        """None where there is no room for another."""
        self._drop_old(now)
        if target not in self._by_target and len(self._by_target) >= self._max_count:
            return None
        self._by_target[target] = by, now.mono + self._seconds
        self._by_target.move_to_end(target)
        return TombstoneAdded(target, by, now.utc + self._seconds)

    def take(self, command_id: str, names: Iterable[str], now: Moment) -> Iterator[tuple[str, TombstoneRemoved]]:
        """The cancels that came before this message, with what is to be written of each: it has done its work."""
        for target in (Target(command_id, by_id=True), *map(Target, names or (command_id,))):
            if (found := self._by_target.pop(target, None)) is not None and found[1] > now.mono:
                yield found[0], TombstoneRemoved(target)

    def _drop_old(self, now: Moment) -> None:
        while self._by_target and next(iter(self._by_target.values()))[1] <= now.mono:
            self._by_target.popitem(last=False)
