"""How far the backend's clock is ahead of this machine's.

An HTTP Date has whole seconds, and an answer's way takes its time: so each one tells a range. Where two ranges meet, the truth lies in
both; where they do not, a clock has been set or drifts, and only the newer one counts.
"""


class ClockOffset:
    """Ranges as they come, in seconds."""

    def __init__(self) -> None:
        self._range: tuple[float, float] | None = None

    def read(self, least: float, most: float) -> None:
        if self._range is not None and least <= self._range[1] and most >= self._range[0]:
            least, most = max(least, self._range[0]), min(most, self._range[1])
        self._range = least, most

    def forget(self) -> None:
        """This machine's own clock was set."""
        self._range = None

    @property
    def seconds(self) -> float | None:
        """The middle of what is possible; None while nothing is known."""
        return None if self._range is None else sum(self._range) / 2
