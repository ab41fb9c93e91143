"""Commands: a window on the ring, drawn line by line; what was drawn once is kept."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, NamedTuple, Self

from msgspec.structs import replace
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from agent_core.feed import CommandEntry
from agent_core.filters import BAD, Ask, Condition, Filter, FilterError, parse
from agent_core.search import Page, Query
from console.masks import MASK, masked_row, masked_within
from console.panels.columns import DELIVERY_WIDTH, Column, Look, column_at, column_title, columns_for, command_line, heading, reason_hidden
from console.panels.lines import Line, centred, clip, line_width, segments_of, strip_of
from console.panels.pane import WHEEL_ROWS, bound
from console.panels.ring import FilteredView, Ring, Row
from console.panels.sorting import Arrangement, SortedView, first_sort
from console.panels.view import View
from console.panels.viewport import Viewport
from console.panels.words import Words
from console.text import count, cut, day_of, grouped, shown

RULE = Style(underline=True)
"""Under the last row of a day."""
MOST_MARKS = 1_000
JUMP_WITHIN = 0.5
AMENDED = frozenset({"queued", "scheduled"})
"""A command that was held, or is due later, may come to these with another text."""
VISITED, AHEAD = 500, 100
"""Commands that are shown of a far place in the ledger, and how many before the last of them more are asked for."""
_Key = tuple[int, bool, bool, bool, bool]
_HEADING = (-(2**62), False, False, False, False)
"""At no position: those of earlier commands are below zero."""


class Search(NamedTuple):
    """How far the ledger has been looked through for what the filter wants."""

    query: Query
    looked: int = 0
    left: float = 1.0
    running: bool = True
    ended_by: str = ""
    """Why it is not looked for further."""


class Stream(Widget, can_focus=True):
    """Shows the newest commands, or while frozen the same ones for as long as the ring keeps them.

    What is on the screen, and which command is selected, the viewport says.
    """

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        bound("up,k", "move(-1)", "Up", "↑", "The command above"),
        bound("down,j", "move(1)", "Down", "↓", "The command below; past the newest: follow"),
        bound("pageup", "page(-1)", "Page up", "PgUp", "A page up"),
        bound("pagedown", "page(1)", "Page down", "PgDn", "A page down"),
        bound("home,g", "oldest", "Oldest", "Home", "The oldest command kept"),
        bound("end,G", "newest", "Newest", "End", "The newest command, and follow"),
        bound("space", "mark", "Mark", "space", "Mark it, for replays and comparisons"),
        bound("E", "failures", "Failures", None, "Only what failed, or all again"),
        bound("backslash", "toggle_filter", "Filter off", "\\", "The filter off, and on again"),
        bound("n", "jump(1)", "Next match", "n", "The next the filter finds (or that failed)"),
        bound("N", "jump(-1)", "Previous match", "N", "The one before"),
        bound("o", "turn", "Order", "o", "Newest last, or newest first"),
        bound("t", "ages", "Times", "t", "The time of day, or how long ago"),
        bound("F", "app.operate('filters')", "Filters", None, "Saved filters: apply, save the one that is on, delete"),
        bound("S", "app.operate('sort')", "Sort", None, "In the order of a column, or newest last; also a click on its head"),
        bound("C", "app.operate('columns')", "Columns", None, "Which columns there are"),
        bound("slash", "screen.filter", "Filter", "/", "Show only some commands"),
        bound("f", "screen.follow", "Follow", None, "Follow the newest command, or freeze"),
        bound("r", "app.operate('replay')", "Replay", None, "Run the selected or marked commands again"),
        bound("e", "app.operate('edit')", "Edit", None, "Edit the payload, then run it, or let it run where it is held"),
        bound("x", "app.operate('cancel')", "Cancel", None, "Cancel the selected message due later"),
        bound("h", "app.operate('hold')", "Hold", None, "Have new commands wait for you: all, or what the filter takes"),
        bound("a", "app.operate('approve')", "Approve", None, "Let the selected command, which is held, run"),
        bound("X", "app.operate('refuse')", "Refuse", None, "Have the selected command, which is held, fail"),
        bound("enter", "app.operate('inspect')", "Inspect", "⏎", "All that is known of the selected command"),
        bound("y", "app.operate('copy')", "Copy", None, "Copy its id, text, JSON or a curl line"),
        bound("w", "app.operate('save_rows')", "Save rows", None, "Save what passes the filter as a file"),
        bound("L", "app.operate('load')", "Load", None, "Look at a saved session"),
    ]

    class Opened(Message):
        """The operator wants to see the selected command."""

    class AtOldest(Message):
        """The oldest command that is kept has been reached."""

    class Wanted(Message):
        """What is to be seen is further back in the ledger: the oldest, what is around a command, or what the next match is."""

        def __init__(self, query: Query, number: int | None = None) -> None:
            """`number`: the command to be selected there; None: the first that is found."""
            super().__init__()
            self.query = query
            self.number = number

    def __init__(self, *, id: str, capacity: int = 50_000) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self.live = Ring(capacity)
        self.ring = self.live
        """What is shown: the live ring, or a saved session's."""
        self.session = ""
        """The name of the saved session that is shown."""
        self._session_failed = 0
        self.missed = 0
        self.wanted = parse("")
        """The operator's filter, also while it is off."""
        self.filter_on = True
        self.failures_only = False
        self.trouble = ""
        """What is wrong with the filter being typed."""
        self.progress = ""
        self.search: Search | None = None
        """Of the ledger, for what the filter wants; None: nothing was searched."""
        self._passing: FilteredView | SortedView = FilteredView(self.ring)
        self.viewport = Viewport(self._passing)
        self._marks: set[int] = set()
        self.arrangement = Arrangement()
        self.words = Words()
        self._view: View | None = None
        self._look: Look | None = None
        self._drawn: dict[_Key, Strip] = {}
        self._window: list[Strip] = []
        """All of it as it was drawn last."""
        self._window_size = Size(0, 0)
        self._frame: tuple[Line, Line] = ((), ())

    # --- what the app says ------------------------------------------------------------------------------------------

    def take(self, entries: Sequence[CommandEntry], missed: int = 0) -> None:
        """New states of commands, oldest first; only the last state of each is kept."""
        latest = {entry.row: entry for entry in entries}
        self.words.forget(entry.row for entry in entries if entry.status in AMENDED)
        before = self.live.end
        changed = self.live.put_all(latest.values())
        self.missed += missed
        if self.ring is not self.live:
            return
        count = self._passing.count
        try:
            self._passing.changed([*changed, *range(before, self.live.end)])
        except FilterError as error:
            self._give_up(str(error))
        self._forget(changed)
        if self.live.end != before or self._passing.count != count:
            self.viewport.grown()
            self.refresh(Region(0, 2, self.size.width, self.viewport.height))
        elif changed:
            self._refresh_rows(changed)

    def forget(self) -> None:
        """All that has come."""
        self.live, self.missed = Ring(self.live.capacity), 0
        self.look_at(None)

    def recall(self, entries: Sequence[CommandEntry]) -> bool:
        """Earlier commands, before those that are there; whether there was any, and room for it."""
        places = self.live.put_before(entries)
        self._grown_before(places)
        return len(places) > 0

    def visit(self, entries: Sequence[CommandEntry], number: int) -> None:
        """These commands of the ledger, apart from the newest ones if some are between; that one selected."""
        live, viewport = self.live, self.viewport
        selected = None if viewport.selected is None else live.number(viewport.selected)
        stays = selected is not None and number <= selected <= entries[-1].row
        row = viewport.row_of_selected if stays else 0
        self._forget_before(live.whole_from)
        oldest = live.number(live.first)
        live.put_before(entries, apart=oldest is not None and entries[-1].row < oldest)
        self._show_again()
        position = live.find(selected if stays and selected is not None else number)
        if position is not None:
            viewport.select_on(row, position)
            self.refresh()

    def _grown_before(self, places: range) -> None:
        if self.ring is self.live:
            with suppress(FilterError):
                self._passing.changed(places)
            self.refresh()

    def _forget_before(self, position: int) -> None:
        """The positions before it are free for other commands."""
        self.live.forget_before(position)
        if self.ring is self.live:
            self._marks = {mark for mark in self._marks if mark >= self.live.first}
            self.viewport.stay_behind(self.live.first)

    # --- the whole ledger -------------------------------------------------------------------------------------------

    @property
    def sought(self) -> Query | None:
        """What the ledger is to be searched for; None where nothing is filtered, or a saved session is shown."""
        wanted = self._passing.filter
        return None if wanted is None or self.session else Query(wanted.text, wanted.utc, self.failures_only)

    def begin_search(self, sought: Query) -> int | None:
        """There is room for what is found; the number before which to look, None for all."""
        live = self.live
        self.search = Search(sought)
        self._forget_before(max(live.whole_from, live.end - live.capacity // 2))
        self._show_again()
        return live.number(live.first)

    def searching(self, sought: Query) -> bool:
        """Whether it is that which is looked for, still."""
        return self.search is not None and self.search.query is sought and self.search.running

    def found(self, page: Page) -> None:
        """The ledger has these, too."""
        search, wanted = self.search, self._passing.filter
        if search is None or wanted is None:
            return
        hold = {term.condition for term in wanted.terms if not term.negated}
        for ask, numbers in wanted.asked.items():
            if Condition(ask.field, (ask.value,)) in hold:
                numbers.update(entry.row for entry in page.entries)
        places = self.live.put_before(page.entries, apart=True)
        self.search = search._replace(looked=search.looked + page.looked, left=page.left, running=page.next is not None)
        if not self.live.room:
            self.stop_search("the newest of them")
        self._grown_before(places)

    def stop_search(self, why: str) -> bool:
        """Look no further; False where nothing is looked for."""
        if self.search is None or not self.search.running:
            return False
        self.search = self.search._replace(running=False, ended_by=why)
        self.refresh()
        return True

    def tell_words(self, asked: Sequence[int], found: Mapping[int, str]) -> None:
        """How these messages begin, as far as the ledger has them."""
        self.words.tell(asked, found)
        places = [place for place in map(self.live.find, asked) if place is not None]
        self._forget(places)
        self._refresh_rows(places)

    @property
    def at_the_oldest(self) -> bool:
        """Whether the oldest command that passes is on the screen, and it is a live one."""
        return not self.session and self.arrangement.sort is None and self.viewport.top == 0

    def show(self, view: View) -> None:
        """Draw with these counts and inks; only what differs is refreshed."""
        now = int(view.now.utc) if self.arrangement.ages else None
        look = Look(
            view.inks, view.zone, day_of(view.now.utc, view.zone), now, view.texts, view.snapshot.follows_deliveries,
        )  # fmt: skip
        self._view = view
        if look != self._look:
            self._look = look
            self._redraw()
            return
        width, height = self.size
        edges = zip((0, height - 1), (self._title(look), self._foot()), self._frame, strict=True)
        changed = [Region(0, y, width, 1) for y, line, drawn in edges if line != drawn]
        if changed:
            self.refresh(*changed)

    # --- the filter -------------------------------------------------------------------------------------------------

    def apply_filter(self, wanted: Filter) -> None:
        """Show only what passes; a filter that takes too long is refused with `FilterError`, and the one before stays."""
        before = self.wanted, self.filter_on
        self.wanted, self.filter_on = wanted, True
        try:
            self._look_through()
        except FilterError:
            self.wanted, self.filter_on = before
            raise
        self.trouble = ""

    def answered(self, asked: Mapping[Ask, set[int]]) -> None:
        """The ledger has found more of what the filter asks for."""
        for ask, numbers in asked.items():
            self.wanted.asked.get(ask, set()).update(numbers)
        self._show_again()

    def blame(self, trouble: str) -> None:
        """Say what is wrong with the filter being typed."""
        self.trouble = trouble
        self.refresh()

    def _look_through(self) -> None:
        wanted = self.wanted if self.filter_on else parse("")
        if self.failures_only or (self.session and wanted.asked):  # a session's numbers are none of the ledger's
            asked = None if self.session else wanted.asked
            wanted = parse(wanted.text, utc=wanted.utc, failures_only=self.failures_only, asked=asked)
        self._look_at(wanted)
        if self.search is not None and self.search.query != self.sought:
            self.search = None
            self._leave_far()
        self._redraw()

    def _leave_far(self) -> None:
        """Keep the newest commands, of which none is missing."""
        if self.live.whole_from > self.live.first:
            self._forget_before(self.live.whole_from)
            self._look_at(self._passing.filter)
            self._redraw()

    def _look_at(self, wanted: Filter | None) -> None:
        passing = FilteredView(self.ring, wanted)
        self._passing = self.viewport.passing = (
            passing if self.arrangement.sort is None else SortedView(self.ring, passing, self.arrangement.sort)
        )

    def _show_again(self) -> None:
        """Look through with what is chosen; what takes too long is put off, and said."""
        try:
            self._look_through()
        except FilterError as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self.filter_on = self.failures_only = False
        self._look_through()
        self.trouble = why

    def action_toggle_filter(self) -> None:
        if self.wanted:
            self.filter_on = not self.filter_on
            self._show_again()

    def action_failures(self) -> None:
        self.failures_only = not self.failures_only
        self._show_again()

    def action_jump(self, step: int) -> None:
        """To the next that the filter finds, also while it is off."""
        at = self.viewport.selected
        if at is None:
            return
        step = -step if self.viewport.newest_first else step
        ring, passing = self.ring, self._passing
        low, high = 0, passing.count
        if self._is_as_it_came:
            gap = passing.rank(ring.whole_from)
            low, high = (low, gap) if at < ring.whole_from else (gap, high)
        ahead = range(passing.rank(at) + 1, high) if step > 0 else range(passing.rank(at) - 1, low - 1, -1)
        wanted = self.wanted or parse("", failures_only=True)
        by = time.perf_counter() + JUMP_WITHIN
        for start in range(0, len(ahead), 512):
            try:
                found = ring.passing(wanted, [passing.at(rank) for rank in ahead[start : start + 512]])
            except FilterError as error:
                self.blame(str(error))
                return
            if time.perf_counter() > by:
                self.blame("this pattern takes too long")
                return
            if found:
                self._select(found[0])
                return
        here = ring.number(passing.at(low if step < 0 else high - 1)) if low < high else None
        if (
            here is None
            or self.session
            or passing.filter is not None
            or self.arrangement.sort is not None
            or (step > 0 and high == passing.count)
        ):
            self.app.bell()
            return
        query = Query(wanted.text, wanted.utc, not self.wanted, most=1)
        self.post_message(self.Wanted(replace(query, before=here) if step < 0 else replace(query, after=here)))

    # --- what the operator does -------------------------------------------------------------------------------------

    @property
    def selected(self) -> Row | None:
        """The command under the cursor; None while there is none at all."""
        position = self.viewport.selected
        return None if position is None else self.ring.row(position)

    @property
    def marked(self) -> list[Row]:
        """The marked commands that are still kept, oldest first."""
        return [self.ring.row(position) for position in sorted(self._marks) if self.ring.first <= position < self.ring.end]

    @property
    def count(self) -> int:
        """How many pass the filter."""
        return self._passing.count

    @property
    def filtered(self) -> Iterator[Row]:
        """All that pass the filter, in their order."""
        return (self.ring.row(self._passing.at(rank)) for rank in range(self._passing.count))

    def follow(self, on: bool) -> None:
        """Stay at the newest command, or freeze what is shown."""
        if on and self.search is None:
            self._leave_far()
        self.viewport.follow(on)
        self.refresh()

    def look_at(self, ring: Ring | None, name: str = "") -> None:
        """Show a saved session's commands; None: the live ones again."""
        self.ring, self.session = (self.live, "") if ring is None else (ring, name)
        self._session_failed = len(self.ring.passing(parse("status:failed,refused"))) if self.session else 0
        self._marks.clear()
        self.viewport.follow(True)
        self._show_again()

    def unmark(self) -> None:
        self._marks.clear()
        self._redraw()

    def action_mark(self) -> None:
        position = self.viewport.selected
        if position is None:
            return
        self._marks = {mark for mark in self._marks if mark >= self.ring.first}
        if position in self._marks:
            self._marks.remove(position)
        elif len(self._marks) < MOST_MARKS:
            self._marks.add(position)
        self.viewport.pin()
        self.refresh()

    def action_turn(self) -> None:
        if self.arrangement.sort is None:
            self.present(self.arrangement._replace(newest_first=not self.arrangement.newest_first))
        else:
            self.present(self.arrangement._replace(sort=self.arrangement.sort.turned))

    def action_ages(self) -> None:
        self.present(self.arrangement._replace(ages=not self.arrangement.ages))

    def sort_by(self, column: str) -> None:
        """In the order of that column; again: the other way round; once more: as they came."""
        first, now = first_sort(column), self.arrangement.sort
        self.present(self.arrangement._replace(sort=first.turned if now == first else None if now == first.turned else first))

    def present(self, arrangement: Arrangement) -> None:
        """Show it so from now on."""
        before, self.arrangement = self.arrangement, arrangement
        self.viewport.newest_first = arrangement.newest_first or arrangement.sort is not None
        if arrangement.sort != before.sort:
            if self.search is None:
                self._leave_far()
            self.viewport.follow(True)
            self._show_again()
        self._redraw()
        if self._view is not None:
            self.show(self._view)

    def action_move(self, rows: int) -> None:
        self.viewport.move(rows)
        self._moved()

    def action_page(self, pages: int) -> None:
        self.viewport.page(pages)
        self._moved()

    def _moved(self) -> None:
        self.refresh()
        if self.at_the_oldest:
            self.post_message(self.AtOldest())
        selected = self.viewport.selected
        if selected is not None and self._at_the_gap:
            number = self.live.number(selected) or 0
            self.post_message(self.Wanted(Query(after=max(0, number - VISITED // 2), most=VISITED), number))

    @property
    def _is_as_it_came(self) -> bool:
        """Whether the live commands are shown with no filter and in no other order: then more of the ledger can come before them."""
        return not self.session and self.arrangement.sort is None and self._passing.filter is None

    @property
    def _at_the_gap(self) -> bool:
        """Whether a place is near where commands of the ledger are missing."""
        gap = self.live.whole_from
        if not self._is_as_it_came or gap == self.live.first:
            return False
        return self.viewport.top - AHEAD < self._passing.rank(gap) < self.viewport.end + AHEAD

    def action_oldest(self) -> None:
        if self._passing.count:
            self._select(self._passing.at(0))
        if self._is_as_it_came:
            self.post_message(self.Wanted(Query(after=0, most=VISITED)))

    def action_newest(self) -> None:
        self.follow(True)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._scroll(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._scroll(WHEEL_ROWS)

    def on_click(self, event: events.Click) -> None:
        if event.y == 1:
            column = column_at(self.columns, event.x - 2)
            if column is not None:
                self.sort_by(column)
            return
        position = self.viewport.position_on(event.y - 2)
        if position is not None:
            self._select(position)
            if event.chain == 2:
                self.post_message(self.Opened())

    def _scroll(self, rows: int) -> None:
        self.viewport.scroll(rows)
        self._moved()

    def _select(self, position: int) -> None:
        self.viewport.select(position)
        self._moved()

    def on_focus(self) -> None:
        self._redraw()

    def on_blur(self) -> None:
        self._redraw()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def _redraw(self) -> None:
        self._drawn.clear()
        self.refresh()

    def _forget(self, positions: Iterable[int]) -> None:
        drawn = self._drawn
        gone = set(positions)
        for key in [key for key in drawn if key[0] in gone]:
            del drawn[key]

    def _refresh_rows(self, positions: Iterable[int]) -> None:
        regions = [Region(0, row + 2, self.size.width, 1) for row in self.viewport.rows_of(positions)]
        if regions:
            self.refresh(*regions)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """As Textual's own; until then what was drawn is what there is, however often a frame asks for it."""
        self._window.clear()
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def render_lines(self, crop: Region) -> list[Strip]:
        size, look = self.size, self._look
        if look is None or size.width < 8 or size.height < 4:
            return [Strip.blank(crop.width, None if look is None else look.inks.ground)] * crop.height
        if size != self._window_size:
            self._measure(size)
        if not self._window:
            if len(self._drawn) > 4 * self.viewport.height + 64:
                self._drawn.clear()
            selected = self.viewport.selected
            self._window = [self._strip(y, look, size.width, selected) for y in range(size.height)]
        strips = self._window[crop.y : crop.bottom]
        if crop.x == 0 and crop.width == size.width:
            return strips
        return [strip.crop(crop.x, crop.right) for strip in strips]

    def on_resize(self, event: events.Resize) -> None:
        self._measure(event.size)

    def _measure(self, size: Size) -> None:
        self._window_size = size
        self.viewport.height = max(0, size.height - 3)
        self._drawn.clear()
        self._window.clear()

    @property
    def _texts(self) -> str:
        return "shown" if self._look is None else self._look.texts

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that are shown."""
        return columns_for(self.size.width - 4, self.arrangement.hidden, self._texts, deliveries=self._deliveries)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Those that there is room for, and the delivery's, for which hiding others makes room."""
        found = columns_for(self.size.width - 4, texts=self._texts, deliveries=self._deliveries)
        if self._deliveries and all(column.name != "delivery" for column in found):
            return (*found, Column("delivery", DELIVERY_WIDTH))
        return found

    @property
    def _deliveries(self) -> bool:
        return self._look is not None and self._look.deliveries

    def _strip(self, y: int, look: Look, width: int, selected: int | None) -> Strip:
        inks = look.inks
        edge = inks.edge_warn if self.session else inks.edge_lit if self.has_focus else inks.edge
        if y == 0:
            return self._title_strip(look, width, edge)
        if y == self.viewport.height + 2:
            return self._foot_strip(look, width, edge)
        if y == 1:
            if _HEADING not in self._drawn:
                row: Line = ((" ", inks.text), *heading(self.columns, inks, self.arrangement.sort))
                self._drawn[_HEADING] = self._bordered(row, width, edge, inks.ground, look, thumb=False)
            return self._drawn[_HEADING]
        position = self.viewport.position_on(y - 2)
        if position is None:
            empty = () if self._passing.count else self._empty_line(y - 2, look, width)
            return self._bordered(empty, width, edge, inks.ground, look, thumb=False)
        key = (position, position == selected, self.viewport.on_thumb(y - 2), position in self._marks, self._ends_day(y - 2, look))
        strip = self._drawn.get(key)
        if strip is None:
            strip = self._drawn[key] = self._row_strip(key, look, width, edge)
        return strip

    def _ends_day(self, row: int, look: Look) -> bool:
        """Whether the next row is of another day, or of the time since this console began, whose positions count from 0."""
        here, below = self.viewport.position_on(row), self.viewport.position_on(row + 1)
        if here is None or below is None or self.arrangement.sort is not None:
            return False
        if not self.session and ((here < 0) != (below < 0) or (below == self.live.whole_from and self._passing.filter is None)):
            return True
        return day_of(self.ring.row(here).utc, look.zone) != day_of(self.ring.row(below).utc, look.zone)

    def _row_strip(self, key: _Key, look: Look, width: int, edge: Style) -> Strip:
        position, cursor, thumb, marked, ruled = key
        inks = look.inks
        row = self.ring.row(position)
        row = masked_row(row) if look.masked else row
        try:
            columns = self.columns
            cells = command_line(row, columns, look, words=self._words_of(position, row, columns, look), earlier=position < 0)
        except Exception as error:  # noqa: BLE001  (the edge of a drawing: it says so in its place)
            cells = ((f"✗ cannot be drawn: {type(error).__name__}: {shown(error, 100)}", inks.tone("bad")),)
        ground = inks.cursor if cursor else inks.failed if row.status in BAD else inks.ground
        ground = ground + RULE if ruled else ground
        mark = ("◆", inks.tone("note", bold=True)) if marked else ("▌", inks.accent) if cursor else (" ", inks.text)
        return self._bordered((mark, *cells), width, edge, ground, look, thumb=thumb)

    def _words_of(self, position: int, row: Row, columns: tuple[Column, ...], look: Look) -> str:
        """How its message begins, where that has a column."""
        if not row.thread_id or self.session or columns[-1].name != "message":
            return ""
        return MASK if look.masked else self.words.of(*self.ring.numbers([position]))

    def _bordered(self, line: Line, width: int, edge: Style, ground: Style, look: Look, *, thumb: bool) -> Strip:
        inner = segments_of(line, width - 2, ground)
        side = look.inks.ground + edge
        right = Segment("┃", look.inks.ground + look.inks.accent) if thumb else Segment("│", side)
        return Strip([Segment("│", side), *inner, right], width)

    def _title_strip(self, look: Look, width: int, edge: Style) -> Strip:
        self._frame = (self._title(look), self._frame[1])
        title = clip(self._frame[0], width - 8)
        after = " " + "─" * (width - 5 - line_width(title)) + "╮"
        return strip_of((("╭─ ", edge), *title, (after, edge)), width, look.inks.ground)

    def _title(self, look: Look) -> Line:
        """What is shown of all there is."""
        inks = look.inks
        title: Line = (("Commands", inks.key),)
        if self.session:
            title = ((f"Session {shown(self.session, 60)}", inks.tone("warn", bold=True)),)
        if self.failures_only:
            title = (*title, (" · ", inks.muted), ("✗ failures only", inks.tone("bad")))
        if self.wanted:
            text = cut(shown(masked_within(self.wanted.text) if look.masked else self.wanted.text, 200), 60)
            lit = ("/" + text, inks.accent) if self.filter_on else (f"(/{text} is off)", inks.muted)
            title = (*title, (" · ", inks.muted), lit)
        title = (*title, *self._shown_of(look))
        if self.arrangement.sort is not None:
            title = (*title, (" · by ", inks.muted), (column_title(self.arrangement.sort.column), inks.accent))
        elif self.arrangement.newest_first:
            title = (*title, (" · newest first", inks.muted))
        if self._marks:
            title = (*title, (f" · ◆ {len(self._marks)} marked", inks.tone("note")))
        row = self.selected
        row = masked_row(row) if row is not None and look.masked else row
        if row is not None and not self.trouble and reason_hidden(row, self.columns):
            title = (*title, (" · ", inks.muted), (f"✗ {shown(row.error or '', 200)}", inks.tone("bad")))
        if self.trouble:
            title = (*title, (" · ", inks.muted), (f"▲ {shown(self.trouble, 120)}", inks.tone("warn", bold=True)))
        return title

    def _shown_of(self, look: Look) -> Line:
        """How many pass of how many, and how far the ledger is looked through."""
        search, inks = self.search, look.inks
        whole = self.ring.end - self.ring.whole_from
        if self._passing.filter is None:
            far = self.live.whole_from > self.live.first and not self.session
            return ((" · earlier, End for the newest", inks.tone("warn")),) if far else ()
        if search is None:
            return ((f" · {grouped(self._passing.count)} of {grouped(whole)}", inks.muted),)
        line: Line = ((f" · {grouped(self._passing.count)} of {grouped(whole + search.looked)}", inks.muted),)
        if search.running:
            return (*line, (f" so far · {1 - search.left:.0%} · Esc stops", inks.tone("accent", bold=True)))
        return (*line, (f" · {search.ended_by}", inks.tone("warn"))) if search.ended_by else line

    def _foot_strip(self, look: Look, width: int, edge: Style) -> Strip:
        self._frame = (self._frame[0], self._foot())
        foot = clip(self._frame[1], width - 8)
        before = "╰" + "─" * (width - 5 - line_width(foot)) + " "
        return strip_of(((before, edge), *foot, (" ─╯", edge)), width, look.inks.ground)

    def _foot(self) -> Line:
        """The totals, and whether the stream follows."""
        if self._view is None:
            return ()
        inks, commands = self._view.inks, self._view.snapshot.commands
        dot = (" · ", inks.muted)
        foot: Line = ((self.progress, inks.tone("accent", bold=True)), dot) if self.progress else ()
        if self.session:
            failed = self._session_failed
            foot = (*foot, (f"{count(self.ring.end - self.ring.first)} saved", inks.muted), dot)
            foot = (*foot, (f"{count(failed)} failed", inks.tone("bad") if failed else inks.muted), dot)
            return (*foot, (" not live: Esc leaves ", inks.pill("warn")))
        foot = (*foot, (f"{count(commands.received)} total", inks.muted), dot)
        foot = (*foot, (f"{count(commands.failed)} failed", inks.tone("bad") if commands.failed else inks.muted), dot)
        foot = (*foot, (f"{count(commands.duplicates)} duplicate{'' if commands.duplicates == 1 else 's'}", inks.muted), dot)
        if self.missed:
            foot = (*foot, (f"{count(self.missed)} not shown", inks.tone("warn")), dot)
        if self.viewport.following:
            return (*foot, ("●", inks.tone("good")), (" following", inks.muted))
        new = self.viewport.new
        badge = f" {count(new)} new " if new else " frozen "
        return (*foot, (("■ frozen ", inks.tone("warn")) if new else ("", inks.text)), (badge, inks.pill("warn")))

    def _empty_line(self, y: int, look: Look, width: int) -> Line:
        """What will be here, and how to make some."""
        inks = look.inks
        middle = max(0, self.viewport.height // 2 - 2)
        lines: dict[int, Line] = {
            middle: (("Commands appear here, by socket or by polling.", inks.muted),),
            middle + 2: (("edge-console send", inks.accent), (" TYPE --payload JSON", inks.text), ("   queues one", inks.muted)),
        }
        if self.viewport.height < 4:
            lines = {0: (("No command yet: edge-console send …", inks.muted),)}
        if self.ring.end > self.ring.first:
            lines = {middle: (("Nothing passes the filter.", inks.muted),)}
        return centred(lines[y], width - 2, inks.ground) if y in lines else ()
