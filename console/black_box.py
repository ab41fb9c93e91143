"""`edge-console replay --ui FILE`: what led to an incident, step by step, in the console as it would have been then."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType

from agent_core.black_box import Step
from agent_core.clock import Moment
from agent_core.events import Event
from agent_core.feed import Feed, LogEntry
from agent_core.records import Remembered
from agent_core.snapshot import Snapshot
from console.app import EdgeConsole
from console.panels.view import View


class BlackBoxHost:
    """A host, and its clock, that stand still at one of the steps; the last one to begin with."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.feed = Feed()
        self.failure: BaseException | None = None
        self.stopped = False
        self._steps = steps
        self._at = 0
        self.go(len(steps))

    def go(self, number: int) -> None:
        """To this step, from 1 to the last; the feed is another one, which ends there."""
        self._at = max(0, min(number - 1, len(self._steps) - 1))
        self.feed = Feed()
        for entries, dropped, snapshot in self._steps[: self._at + 1]:
            if dropped:
                self.feed.extend([LogEntry(snapshot.utc, "INFO", f"{dropped:,} entries before these were not kept")])
            self.feed.extend(entries)

    @property
    def number(self) -> int:
        return self._at + 1

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def place(self) -> str:
        return f"{self.number}/{len(self._steps)}"

    def now(self) -> Moment:
        snapshot = self.snapshot()
        return Moment(snapshot.at, snapshot.utc)

    def snapshot(self) -> Snapshot:
        return self._steps[self._at].snapshot

    def post(self, event: Event) -> None:
        """There is no agent."""

    def lookup(self, command_id: str) -> Remembered | None:  # noqa: ARG002  (there is no ledger)
        return None

    def stop(self) -> None:
        self.stopped = True


class BlackBoxConsole(EdgeConsole):
    """The console over a black box."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("less_than_sign", "step(-1)", "Step back", tooltip="One step back", id="step_back", key_display="<"),
        Binding("greater_than_sign", "step(1)", "Step on", tooltip="One step on", id="step_on", key_display=">"),
        Binding("home", "first_step", "First step", show=False, tooltip="The first step", id="first_step", priority=True),
        Binding("end", "last_step", "Last step", show=False, tooltip="The last step: the incident", id="last_step", priority=True),
    ]
    FOOTER = ("step_back", "step_on", *EdgeConsole.FOOTER)

    def __init__(self, steps: Sequence[Step], *, theme: str) -> None:
        self._box = BlackBoxHost(steps)
        super().__init__(self._box, clock=self._box, read_only=True, asks_to_quit=False, theme=theme)

    @classmethod
    def named_bindings(cls) -> list[Binding]:
        return [*(one for one in cls.BINDINGS if isinstance(one, Binding)), *EdgeConsole.named_bindings()]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Home and End are the text's where one is written."""
        return not (action in {"first_step", "last_step"} and self.screen.has_class("-filtering")) and super().check_action(
            action, parameters
        )

    def action_step(self, steps: int) -> None:
        self._go(self._box.number + steps)

    def action_first_step(self) -> None:
        self._go(1)

    def action_last_step(self) -> None:
        self._go(len(self._box))

    def _go(self, number: int) -> None:
        self._box.go(number)
        self.tell_anew()

    def _view(self, snapshot: Snapshot, now: Moment) -> View:
        return replace(super()._view(snapshot, now), step=self._box.place)
