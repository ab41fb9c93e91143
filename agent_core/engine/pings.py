"""JSON pings by number: which one a pong answers, and so what it proves (PROTOCOL §4).

    ping 7 ──► acks ──► ping 8 ──►            the pong for 8 shows that the peer has read the acks sent before it: 8 is their barrier

Frames on a socket are ordered, so everything sent before a ping has been read once that ping is answered. A pong without a number is taken
for the oldest ping that is out, since too late a proof does no harm and too early a one does.

Invariants: numbers go up by one, over all sockets; a pong answers each ping at most once; at most `MAX_UNANSWERED` are out.
"""

from collections import deque

from agent_core import frames
from agent_core.clock import INFINITY, Moment

MAX_UNANSWERED = 16
"""JSON pings that may be out; a backend that ignores them gets a bare pong instead, for it still has to hear us."""


class Pings:
    """One socket's pings at a time; `every` in seconds."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.sent_at: float | None = None
        self.answered_at: float | None = None
        self.next_at = INFINITY
        """When the next one is due; infinity while no socket is open."""
        self._unanswered: deque[tuple[int, float]] = deque()
        self._numbered = False
        """This peer numbers its pongs."""
        self._number = 0

    @property
    def barrier(self) -> int:
        """The number of the next ping: its pong proves everything sent before it."""
        return self._number + 1

    def begin(self) -> None:
        """Another socket is open: what was unanswered on the last one stays so."""
        self._unanswered.clear()
        self._numbered = False

    def ping(self, now: Moment) -> str:
        """The frame to send now."""
        self.next_at = now.mono + self.every
        if len(self._unanswered) >= MAX_UNANSWERED:
            return frames.dump_pong(frames.Ping(), now.utc)
        self._number += 1
        self._unanswered.append((self._number, now.mono))
        self.sent_at = now.mono
        return frames.dump_ping(self._number, now.utc)

    def ponged(self, seq: int | None, now: Moment) -> tuple[int, float] | None:
        """Which ping this answers and its round trip in seconds. Without a number it is the oldest: too early a proof is none.

        From a peer that numbers its pongs, one without a number answers nothing.
        """
        if seq is None and self._numbered:
            return None
        self._numbered = seq is not None
        out = self._unanswered
        if not out or (seq is not None and not out[0][0] <= seq <= out[-1][0]):
            return None
        number, sent_at = out.popleft()
        while seq is not None and number < seq:
            number, sent_at = out.popleft()
        self.answered_at = now.mono
        return number, now.mono - sent_at

    def overdue(self, now: Moment, within: float) -> bool:
        """The newest has been out for longer than `within` seconds."""
        return bool(self._unanswered) and now.mono - self._unanswered[-1][1] >= within

    def hasten(self, now: Moment, least: float) -> None:
        """Bring the next one forward, `least` seconds after the last at the earliest, where none is out."""
        if self.next_at < INFINITY and self.sent_at is not None and not self._unanswered:
            self.next_at = min(self.next_at, max(now.mono, self.sent_at + least))

    def end(self) -> None:
        """The socket is gone."""
        self.next_at = INFINITY
