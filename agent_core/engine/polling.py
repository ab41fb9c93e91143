"""The HTTP fallback as deadlines: it is derived, never switched (PROMISES P6).

In mode `auto` it runs exactly while the link is not online: at once when the link is lost, then each interval, a little early. Over a live
link there is one drain sync after each opening, but in mode `never`, and a slow safety sync in every mode. One poll is in flight at a
time; its number tells a late answer from the present one. Refusals (401, 403) and Retry-After hold polling back on a ladder of its own.

Polling *works* as long as its last good answer vouches for it (P15): for the silence that a socket is allowed too, silence_after and
probe_within together, or for one interval where that is longer. A bad answer, or none in time, ends it at once, and so does a sleep. Each
poll is early, so that while all is well its answer comes before the last one is too old.
"""

from collections.abc import Callable, Mapping

from agent_core.clock import INFINITY, Moment
from agent_core.config import Config
from agent_core.engine.backoff import Dice
from agent_core.events import AcksPosted, Effect, Failure, Poll, Trouble
from agent_core.feed import LogEntry
from agent_core.plain import plain
from agent_core.snapshot import PollingMode, PollingView

CARRIED = 100
PATHS_AGAIN = 300.0
"""Seconds until a call for acks that was not there is tried again: it may have been a roll-out."""
GRACE = 2.0


class Polling:
    """One machine; every method is a step at `now`, its effects go to `emit` in order."""

    def __init__(self, config: Config, emit: Callable[[Effect], None]) -> None:
        self._timing = config.timing
        self._emit = emit
        self.every = config.backend.sync_interval_seconds
        self._mode = config.backend.polling
        self.failing = False
        self._active = self.first = False
        self._next_at = self._sync_at = self._safety_at = INFINITY
        self._not_before = float("-inf")
        self._post_not_before = float("-inf")
        self._paths_at = float("-inf")
        """When it is to be tried again whether there is a call for acks; -inf where there is one."""
        self._number = 0
        self._in_flight: str | None = None
        self._answer_by: float | None = None
        self._refusals = 0
        self._polls = 0
        self._failures = 0
        self._works_until: float | None = None
        self._last_ok_utc: float | None = None
        self._last_error: str | None = None

    # --- what others ask -----------------------------------------------------------------------------------------

    @property
    def wake_at(self) -> float:
        """When something is due, or what polling is said to be no longer holds."""
        ends = self._works_until if self._active else None
        return self.due_at if ends is None else min(self.due_at, ends)

    @property
    def due_at(self) -> float:
        """When the next poll goes out, or the answer to the present one is overdue."""
        if self._in_flight is not None:
            return self._answer_by or INFINITY
        return max(min(self._next_at, self._sync_at, self._safety_at), self._not_before)

    @property
    def active(self) -> bool:
        return self._active

    @property
    def in_flight(self) -> bool:
        return self._in_flight is not None

    @property
    def works(self) -> bool:
        """It runs, and its last answer still vouches for it."""
        return self._active and self._works_until is not None

    def posts_from(self, *, socket_down: bool, pings_ignored: bool) -> float:
        """Since when acks may go by HTTP; infinity where they may not."""
        wanted = self._mode is not PollingMode.NEVER and (socket_down or pings_ignored)
        return max(self._post_not_before, self._not_before, self._paths_at) if wanted else INFINITY

    @property
    def carries(self) -> bool:
        """No call for acks is there, as far as is known: they travel with the polls."""
        return self._paths_at > float("-inf")

    def view(self) -> PollingView:
        return PollingView(
            mode=self._mode, active=self._active, in_flight=self._in_flight is not None,
            next_at=max(self._next_at, self._not_before) if self._next_at < INFINITY else None,
            works_until_at=self._works_until if self._active else None,
            polls=self._polls, failures=self._failures, last_ok_utc=self._last_ok_utc, last_error=self._last_error, every=self.every,
        )  # fmt: skip

    # --- steps ---------------------------------------------------------------------------------------------------

    def poll_each(self, seconds: float) -> None:
        """The backend wants another interval, from the next poll on."""
        self.every = seconds

    def choose(self, mode: PollingMode, now: Moment) -> None:
        """The operator's choice of when it runs."""
        self._mode = mode
        self._say(now, "INFO", f"Polling mode: {mode}")

    def sync_soon(self, now: Moment) -> None:
        """One sync at once, whoever else brings commands: after an opening, or when there is room again."""
        self._sync_at = now.mono

    def sync_later(self, now: Moment) -> None:
        """One sync after the interval, where none is due: a poll alone can prove what waits."""
        self._sync_at = min(self._sync_at, now.mono + self.every)

    def woke(self, now: Moment) -> None:
        """The machine or this process slept: what was answered before vouches for nothing; ask again at once."""
        self._works_until = None
        if self._next_at < INFINITY:
            self._next_at = now.mono

    def couple(
        self, now: Moment, dice: Dice, *, possible: bool, online: bool, carry: Callable[[int], tuple[tuple[str, str], ...]],
        events: Callable[[], tuple[tuple[str, str], ...]], last_command_id: str | None, status: Callable[[], Mapping[str, int]],
    ) -> None:  # fmt: skip
        """Derive whether polling runs, and send what is due."""
        self._derive(now, possible=possible, online=online)
        if self._works_until is not None and now.mono >= self._works_until:
            self._works_until = None
        if self._in_flight is not None and self._answer_by is not None and now.mono >= self._answer_by:
            self.failed(self._number, Failure(Trouble.TIMEOUT, "no answer"), now, dice)
        if self._in_flight is not None or now.mono < self._not_before:
            return
        purpose = self._due(now)
        if purpose is None:
            return
        self._number += 1
        self._polls += 1
        self._in_flight = purpose
        self._answer_by = now.mono + self._timing.poll_within + GRACE
        self._sync_at = INFINITY
        if self._next_at < INFINITY:
            self._next_at = now.mono + self.every * (1 - self._timing.poll_jitter * (1 + dice()) / 2)
        if self._safety_at < INFINITY and purpose != "poll":
            self._safety_at = now.mono + self._timing.safety_sync_every
        self._emit(Poll(self._number, last_command_id, carry(CARRIED) if self.carries else (), status(), events()))

    def _derive(self, now: Moment, *, possible: bool, online: bool) -> None:
        wanted = possible and (self._mode is PollingMode.ALWAYS or (self._mode is PollingMode.AUTO and not online))
        if wanted and not self._active:
            self._next_at = now.mono
            self.first = True
            self._say(now, "INFO", f"Command delivery: HTTP polling every {self.every:g}s")
        elif not wanted:
            self._next_at = INFINITY
        self._active = wanted
        if not possible or not online or self._mode is PollingMode.NEVER:
            self._sync_at = INFINITY
        if not possible or not online:
            self._safety_at = INFINITY
        elif self._safety_at == INFINITY and self._timing.safety_sync_every:
            self._safety_at = now.mono + self._timing.safety_sync_every

    def _due(self, now: Moment) -> str | None:
        for at, purpose in ((self._sync_at, "drain"), (self._safety_at, "safety"), (self._next_at, "poll")):
            if now.mono >= at:
                return purpose
        return None

    def is_current(self, number: int) -> bool:
        """The poll of this number is in flight."""
        return number == self._number and self._in_flight is not None

    def answered(self, number: int, now: Moment) -> str | None:
        """A 2xx; what the poll was for, or None where it is no longer the present one."""
        if not self.is_current(number):
            return None
        purpose, self._in_flight = self._in_flight, None
        if self.failing:
            self._say(now, "INFO", "HTTP polling works again")
        self.failing = self.first = False
        self._refusals = 0
        self._post_not_before = float("-inf")
        self._works_until = now.mono + max(self._timing.silence_after + self._timing.probe_within, self.every)
        self._last_ok_utc, self._last_error = now.utc, None
        return purpose

    def failed(self, number: int, failure: Failure, now: Moment, dice: Dice) -> None:
        """No answer, or a bad one: said once per spell, and held back where the backend asks for it.

        Where the first poll after a loss fails, the next one comes at any time within the interval, so that agents that lost their backend
        together do not find it together (PROMISES F51).
        """
        if not self.is_current(number):
            return
        self._in_flight = None
        self._failures += 1
        detail = plain(failure.detail, 200)
        self._say(now, "WARNING" if not self.failing or detail != self._last_error else "DEBUG", f"HTTP polling failed: {detail}")
        self.failing, self._works_until, self._last_error = True, None, detail
        if self.first and self._next_at < INFINITY:
            least, most = self._timing.poll_jitter, 1 - self._timing.poll_jitter / 2
            self._next_at = min(self._next_at, now.mono + self.every * (least + (most - least) * dice()))
        self.first = False
        self._hold_back(failure, now, dice)

    def acks_posted(self, event: AcksPosted, now: Moment, dice: Dice, *, hold: bool) -> None:
        """`hold`: the next batch waits for an interval."""
        if event.proven:
            if self.carries:
                self._say(now, "INFO", "The backend has a call for acks again")
            self._paths_at = float("-inf")
        elif event.unsupported or self.carries:
            if not self.carries:
                self._say(now, "INFO", "The backend has no call for acks; they travel with the polls")
            self._paths_at = now.mono + PATHS_AGAIN
        if hold:
            self._post_not_before = now.mono + self.every
        if event.failure is not None and not event.unsupported:
            self._hold_back(event.failure, now, dice)

    def _hold_back(self, failure: Failure, now: Moment, dice: Dice) -> None:
        timing = self._timing
        if failure.status in {401, 403}:
            self._refusals += 1
            self._not_before = now.mono + min(timing.refused_cap, timing.refused_first * 2.0 ** min(self._refusals - 1, 60))
        elif failure.status == 429 or failure.retry_after is not None:
            wait = max(failure.retry_after or 0.0, timing.busy_first) * (1 + 0.1 * dice())
            self._not_before = now.mono + min(wait, timing.busy_cap)

    def _say(self, now: Moment, level: str, text: str) -> None:
        self._emit(LogEntry(now.utc, level, plain(text)))
