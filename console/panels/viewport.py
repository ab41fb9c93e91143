"""The window on the stream: which commands are on the screen, and which one is selected. No terminal is needed to know.

Every state is kept in positions, whose meaning never changes, so a filter or another order, which changes what is between them, changes no
state; a rank counts what passes the filter, from the oldest kept or from the end of the order.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol


class Passing(Protocol):
    """What passes a filter, of all positions from `first` to `end`, in the order of their arrival or in another."""

    @property
    def first(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def count(self) -> int: ...

    def rank(self, position: int) -> int:
        """How many pass before this position."""
        ...

    def at(self, rank: int) -> int:
        """The position of that rank, between 0 and `count`."""
        ...

    @property
    def last(self) -> int:
        """The position that stands for the end."""
        ...

    def upto(self, position: int) -> int:
        """How many there are up to this position, it included."""
        ...

    def since(self, position: int) -> int:
        """How many passed that have come at or after this position."""
        ...


class Viewport:
    """Follows the newest, or stays while frozen. The selected one is the newest until another is picked; it never slides out of sight."""

    def __init__(self, passing: Passing) -> None:
        self.passing = passing
        self.height = 0
        """Rows on the screen."""
        self.newest_first = False
        self._following = True
        self._bottom = 0
        """The last position shown, while frozen."""
        self._seen = 0
        """One past the newest position that the operator has been shown, while frozen."""
        self._picked: int | None = None

    # --- what is there ----------------------------------------------------------------------------------------------

    @property
    def following(self) -> bool:
        return self._following

    @property
    def new(self) -> int:
        """How many have come, while frozen, that the operator has not been shown."""
        return 0 if self._following else self.passing.since(max(self._seen, self.passing.first))

    @property
    def end(self) -> int:
        """One past the rank of the newest on the screen."""
        count = self.passing.count
        return count if self._following else max(self.passing.upto(self._bottom), min(count, self.height))

    @property
    def top(self) -> int:
        """The rank of the oldest on the screen."""
        return max(0, self.end - self.height)

    @property
    def selected(self) -> int | None:
        """The position under the cursor; None while nothing passes."""
        count = self.passing.count
        if not count:
            return None
        return self.passing.at(count - 1 if self._picked is None else min(self.passing.rank(self._picked), count - 1))

    def position_on(self, row: int) -> int | None:
        """The position drawn in that row of the window."""
        top, end = self.top, self.end
        rank = end - 1 - row if self.newest_first else top + row
        return self.passing.at(rank) if 0 <= row < self.height and top <= rank < end else None

    def rows_of(self, positions: Iterable[int]) -> Iterator[int]:
        """The rows of the window in which those positions are drawn, as far as they are."""
        top, end = self.top, self.end
        for position in positions:
            rank = self.passing.rank(position)
            if top <= rank < end and self.passing.at(rank) == position:
                yield end - 1 - rank if self.newest_first else rank - top

    def on_thumb(self, row: int) -> bool:
        """Whether the scrollbar's thumb covers this row."""
        total, height = self.passing.count, self.height
        if total <= height or self._following:
            return False
        size = max(1, round(height * height / total))
        at = round(self.top / max(1, total - height) * (height - size))
        if self.newest_first:
            at = height - size - at
        return at <= row < at + size

    # --- what the operator does -------------------------------------------------------------------------------------

    def follow(self, on: bool) -> None:
        """Stay at the newest, or freeze what is shown."""
        if on:
            self._picked = None
        elif self._following:
            self._bottom, self._seen = self.passing.last, self.passing.end
            self._picked = self.selected
        self._following = on

    def pin(self) -> None:
        """The selected one stays selected, whatever comes."""
        self._picked = self.selected

    def select(self, position: int) -> None:
        top, end, rank = self.top, self.end, self.passing.rank(position)
        self._picked = position
        if self._following and rank < top:
            self._freeze_at(end)
        if not self._following:
            if rank < top:
                self._bottom = self._at(rank + self.height - 1)
            elif rank >= end:
                self._bottom = position
            self._seen = max(self._seen, self._bottom + 1)

    @property
    def row_of_selected(self) -> int:
        """Which row of the window it is on, 0 being the oldest's."""
        return 0 if self.selected is None else self.passing.rank(self.selected) - self.top

    def select_on(self, row: int, position: int) -> None:
        """Frozen, with that one selected, so many rows behind the oldest on the screen."""
        self._picked, self._following = position, False
        self._bottom = self._at(self.passing.rank(position) + self.height - 1 - row)
        self._seen = self._bottom + 1

    def move(self, rows: int) -> None:
        """The cursor down by so many rows, or up; past the newest: follow."""
        position = self.selected
        if position is None:
            return
        rank = self.passing.rank(position) + (-rows if self.newest_first else rows)
        if rank >= self.passing.count:
            self.follow(True)
        else:
            self.select(self.passing.at(max(0, rank)))

    def page(self, pages: int) -> None:
        self.move(pages * max(1, self.height - 1))

    def scroll(self, rows: int) -> None:
        """The window down by so many rows, or up, with the cursor where it has to."""
        rows = -rows if self.newest_first else rows
        end, count = self.end, self.passing.count
        if rows > 0 and end + rows >= count:
            if not self._following:
                self.follow(True)
            return
        if self._following:
            if count <= self.height:
                return
            self._freeze_at(end)
        self._bottom = self._at(max(min(self.height, count), end + rows) - 1)
        self._seen = max(self._seen, self._bottom + 1)
        position = self.selected
        if position is not None:
            self._picked = self.passing.at(min(max(self.passing.rank(position), self.top), self.end - 1))

    def grown(self) -> None:
        """There is more: the picked one must not be pushed out of sight, so freeze when it has reached the edge."""
        if self._following and self._picked is not None and self.passing.rank(self._picked) < self.top:
            self._freeze_at(self.passing.rank(self._picked) + self.height)

    def stay_behind(self, first: int) -> None:
        """The positions before that one will mean something else."""
        self._bottom, self._seen = max(self._bottom, first), max(self._seen, first)
        self._picked = None if self._picked is None else max(self._picked, first)

    def _freeze_at(self, end: int) -> None:
        self._following = False
        self._bottom = self._at(end - 1)
        self._seen = self._bottom + 1

    def _at(self, rank: int) -> int:
        """The position of that rank, or that which stands for the end."""
        return self.passing.last if rank >= self.passing.count - 1 else self.passing.at(max(0, rank))
