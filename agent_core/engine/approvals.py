"""New commands that wait for the operator's word before they run.

    new ── the filter takes it ──► held ──► approved ──► queued | scheduled
                                    └─────► refused | cancelled

One that is held has no ack, and is on disk as `held`: a restart changes nothing. After `executor.hold_timeout_seconds` since its arrival
`executor.hold_then` decides for the operator. What the operator runs again, cancels, and settings are never held.

Invariant: where a command cannot be judged, it is held.
"""

from collections import OrderedDict
from collections.abc import Iterator

from agent_core.clock import INFINITY
from agent_core.config.models import HOLD_ALL, Executor
from agent_core.entries import Entry
from agent_core.filters import Filter, FilterError, parse
from agent_core.plain import plain

SHOWN = 100
"""Characters of a type or thread that a filter looks at, as a viewer's does."""


class Approvals:
    """Which new commands are to be held, and those that are, in the order of their arrival."""

    def __init__(self, executor: Executor) -> None:
        self._configured = (executor.hold or "").strip()
        self._timeout = executor.hold_timeout_seconds
        self.approves = executor.hold_then == "approve"
        """What is done in the operator's place."""
        self._held: OrderedDict[int, Entry] = OrderedDict()
        self.count = self._held.__len__
        self._filter: Filter | None = None
        self.choose(self._configured)

    def choose(self, text: str) -> None:
        """Hold what this filter takes from now on: `all`, or none where it is empty. Raises FilterError."""
        text = text.strip()
        self._filter = (parse("") if text == HOLD_ALL else parse(text)) if text else None
        self.text = text

    @property
    def is_configured(self) -> bool:
        """The present choice is that of the configuration."""
        return self.text == self._configured

    def takes(self, entry: Entry) -> bool:
        """Whether a new command is to be held. Raises FilterError where its filter cannot tell in time: then hold all."""
        if self._filter is None:
            return False
        thread = plain(entry.lane, SHOWN) if entry.lane else None
        texts = (plain(entry.command.command_type, SHOWN), str(entry.via), "queued", str(entry.trait.effect), thread, None, None)
        try:
            return self._filter.holds(texts, entry.command.command_id, None)
        except FilterError:
            self.choose(HOLD_ALL)
            raise

    def add(self, entry: Entry) -> None:
        self._held[entry.seq] = entry

    def remove(self, entry: Entry) -> None:
        del self._held[entry.seq]

    @property
    def due_at(self) -> float:
        """When the first one's time is up; infinity for never."""
        if not self._timeout or not self._held:
            return INFINITY
        return next(iter(self._held.values())).arrived.mono + self._timeout

    def overdue(self, mono: float, most: int) -> Iterator[Entry]:
        """Those whose time is up, at most so many; each is removed by its taker."""
        for _ in range(most):
            if self.due_at > mono:
                return
            yield next(iter(self._held.values()))
