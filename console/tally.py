"""How long commands take, way by way: the last of each, as the feed tells them."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agent_core.feed import CommandEntry

KEPT = 2_000
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
SLO_MS = 100
MEASURED = frozenset({"acked", "failed"})
WAYS = ("ws", "poll", "local")


class Sample(NamedTuple):
    """One finished command in milliseconds: from arrival to its ack, of that its run, and from arrival to the ack's proof."""

    ack: float | None
    run: float | None
    proof: float | None


class Tally:
    """A bounded window of samples for each way."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[CommandEntry, float]]] = {way: deque(maxlen=KEPT) for way in WAYS}
        self.counts = dict.fromkeys(WAYS, 0)

    def take(self, entries: Sequence[CommandEntry], utc: float) -> None:
        for entry in entries:
            if entry.status in MEASURED and (entry.proven or entry.via == "local"):
                self.counts[entry.via] += 1
                self._samples[entry.via].append((entry, utc))

    def of(self, way: str) -> list[Sample]:
        return [_sample(entry, utc) for entry, utc in self._samples[way]]

    def histogram(self, way: str) -> tuple[int, ...]:
        """Acks by BOUNDS_MS; the last counts what was slower than all."""
        counts = [0] * (len(BOUNDS_MS) + 1)
        for entry, _ in self._samples[way]:
            if entry.ack_ms is not None:
                counts[next((index for index, bound in enumerate(BOUNDS_MS) if entry.ack_ms <= bound), len(BOUNDS_MS))] += 1
        return tuple(counts)


def _sample(entry: CommandEntry, utc: float) -> Sample:
    proof = max(0.0, utc - entry.utc) * 1_000 if entry.proven and entry.via != "local" else None
    return Sample(entry.ack_ms, entry.run_ms, proof)


def middle(values: Iterable[float | None], share: float = 0.5) -> float | None:
    """The value below which that share lies."""
    known = sorted(value for value in values if value is not None)
    return known[min(len(known) - 1, int(len(known) * share))] if known else None
