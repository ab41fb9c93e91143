"""The window on the stream, without a screen: what is shown and selected, whatever comes, goes, and is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from console.panels.viewport import Viewport


class Numbers:
    """Positions of which some pass: those that `modulus` divides."""

    def __init__(self, first: int, end: int, modulus: int = 1) -> None:
        self.first, self.end, self.modulus = first, end, modulus

    @property
    def _passing(self) -> list[int]:
        return [position for position in range(self.first, self.end) if position % self.modulus == 0]

    @property
    def count(self) -> int:
        return len(self._passing)

    def rank(self, position: int) -> int:
        return sum(other < position for other in self._passing)

    def at(self, rank: int) -> int:
        return self._passing[rank]

    @property
    def last(self) -> int:
        return self.end - 1

    def upto(self, position: int) -> int:
        return self.rank(position + 1)

    def since(self, position: int) -> int:
        return self.count - self.rank(position)


def window(end: int, height: int = 5, *, first: int = 0, modulus: int = 1) -> tuple[Viewport, Numbers]:
    numbers = Numbers(first, end, modulus)
    viewport = Viewport(numbers)
    viewport.height = height
    return viewport, numbers


def shown(viewport: Viewport) -> list[int]:
    return [position for row in range(viewport.height) if (position := viewport.position_on(row)) is not None]


def test_it_follows_the_newest() -> None:
    viewport, numbers = window(20)
    assert shown(viewport) == [15, 16, 17, 18, 19]
    assert viewport.selected == 19
    numbers.end = 23
    viewport.grown()
    assert shown(viewport) == [18, 19, 20, 21, 22]
    assert viewport.selected == 22


def test_frozen_it_stays_and_counts_what_is_new() -> None:
    viewport, numbers = window(20)
    viewport.follow(False)
    numbers.end = 27
    viewport.grown()
    assert shown(viewport) == [15, 16, 17, 18, 19]
    assert (viewport.selected, viewport.new) == (19, 7)
    viewport.scroll(3)
    assert viewport.new == 4
    viewport.scroll(9)
    assert viewport.following


def test_a_picked_one_that_reaches_the_edge_freezes_the_window() -> None:
    viewport, numbers = window(20)
    viewport.move(-2)
    numbers.end = 22
    viewport.grown()
    assert viewport.following
    numbers.end = 30
    viewport.grown()
    assert not viewport.following
    assert shown(viewport)[0] == viewport.selected == 17


def test_past_the_newest_it_follows_again() -> None:
    viewport, _ = window(20)
    viewport.page(-1)
    assert viewport.selected == 15
    viewport.page(1)
    assert viewport.selected == 19
    viewport.move(1)
    assert viewport.following


def test_newest_first_turns_rows_and_moves() -> None:
    viewport, _ = window(20)
    viewport.newest_first = True
    assert shown(viewport) == [19, 18, 17, 16, 15]
    viewport.move(1)
    assert viewport.selected == 18
    assert list(viewport.rows_of([18, 3])) == [1]
    viewport.scroll(1)
    assert shown(viewport)[0] == 18


def test_what_a_filter_takes_away_moves_the_cursor_to_a_neighbour() -> None:
    viewport, _ = window(100)
    viewport.select(41)
    viewport.passing = Numbers(0, 100, 10)
    assert viewport.selected == 50
    viewport.passing = Numbers(0, 0)
    assert viewport.selected is None
    assert shown(viewport) == []


def test_the_thumb_is_where_the_window_is() -> None:
    viewport, _ = window(50, height=10)
    assert not any(viewport.on_thumb(row) for row in range(10))
    viewport.select(0)
    assert [row for row in range(10) if viewport.on_thumb(row)] == [0, 1]
    viewport.select(25)
    assert any(viewport.on_thumb(row) for row in range(2, 8))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["move", "page", "scroll", "come", "go", "select"]), st.integers(-12, 12)),
        st.tuples(st.sampled_from(["follow", "turn", "pin"]), st.booleans()),
        st.tuples(st.just("filter"), st.sampled_from([1, 2, 5])),
    ),
    max_size=40,
)


@given(st.integers(0, 40), st.integers(1, 9), STEPS)
def test_whatever_happens_the_window_is_full_and_the_picked_one_in_it(end: int, height: int, steps: list[tuple[str, int]]) -> None:
    viewport, numbers = window(end, height)
    for step, value in steps:
        seen = viewport.selected in shown(viewport)
        if step == "come":
            numbers.end += abs(value)
            viewport.grown()
        elif step == "go":
            numbers.first = min(numbers.end, numbers.first + abs(value))
        elif step == "filter":
            numbers.modulus = value
        elif step == "select" and numbers.count:
            viewport.select(numbers.at(abs(value) % numbers.count))
        elif step == "turn":
            viewport.newest_first = bool(value)
        elif step == "pin":
            viewport.pin()
        elif step in {"move", "page", "scroll", "follow"}:
            getattr(viewport, step)(value)
        on_screen = shown(viewport)
        assert len(on_screen) == min(numbers.count, height)
        assert sorted(on_screen, reverse=viewport.newest_first) == on_screen
        assert viewport.new >= 0
        assert (viewport.selected is None) == (numbers.count == 0)
        if viewport.following:
            assert numbers.count == 0 or numbers.at(numbers.count - 1) in on_screen
        if numbers.count and (step in {"move", "page", "scroll", "select"} or (step == "come" and seen)):
            assert viewport.selected in on_screen
