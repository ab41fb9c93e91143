"""What the operator asks for: of the link, of commands, of files."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace
from textual.app import App
from textual.notifications import SeverityLevel

from agent_core.clock import Clock
from agent_core.feed import CommandEntry, LogEntry
from agent_core.filters import Ask, Filter, FilterError, parse
from agent_core.plain import plain
from agent_core.snapshot import ConsoleView, Phase, PollingMode, Snapshot
from agent_core.threads import MAX_MESSAGES
from console.base import logged
from console.host import Host
from console.masks import masked, masked_case, masked_message, masked_record, masked_row, masked_snapshot, masked_within
from console.panels.columns import column_title
from console.panels.details import LATENCY
from console.panels.lines import Line
from console.panels.ring import Row, row_of
from console.panels.sorting import arranged
from console.screens.main import BROAD, Main
from console.text import grouped, shown, took
from console.themes import Inks, inks_of

if TYPE_CHECKING:
    from agent_core.attention import Case
    from agent_core.delays import Delays
    from agent_core.diagnosis.findings import Conclusion, Stage
    from agent_core.events import Event
    from agent_core.records import Remembered, Resolution
    from agent_core.search import Page, Query
    from agent_core.threads import ThreadPage, ThreadQuery
    from console.questions import Asking
    from console.replay import Batch
    from console.screens.attention import Attention, Listed
    from console.screens.editor import Draft
    from console.screens.inspector import Inspector
    from console.screens.pages import Beside
    from console.screens.thread import Talk, ThreadView
    from console.state import State

BETWEEN_DIALS = frozenset({Phase.WAITING, Phase.REFUSED, Phase.PORTAL})
"""Phases in which there is no socket that a diagnosis could take from the agent."""

MODES = {
    "a": (PollingMode.AUTO, "while the socket is down"),
    "b": (PollingMode.ALWAYS, "beside the socket, too"),
    "n": (PollingMode.NEVER, "not at all: without the socket nothing arrives"),
}
"""The polling modes by the key that chooses them, with what each means."""


DELAYS_EVERY, DELAYS_REST = 30.0, 30.0
"""Seconds until the ledger is asked again, and how often as long as its answer took that is at least."""
COPIED_WIDTH, COPIED_HOURS = 100, 24
RECALLED = 500
"""Commands of the ledger read at once where no filter is."""
REST, HURRIED = 0.5, 0.15
"""Of the time that a page of a search took, until the next one; seconds in which there is no rest before something is found."""
MAX_DRAFTS = 20
SAVED_KEYS = "123456789abcefghijklmnopqrtuvwxyz"
"""The keys of saved filters; s saves, d deletes."""
ASK_EVERY = 1.0
THREAD_EVERY, NOTICED_WITHIN = 2.0, 0.2
"""Seconds after which the ledger is asked again for the messages of a thread that is shown: at the latest, and after news of some."""
ATTENTION_EVERY, WRITTEN_WITHIN = 10.0, 1.0
"""Seconds after which the ledger is asked again what needs the operator: at the latest, and where it may not have a change yet."""
DEFAULT_THEME = "edge-dark"


class ConsoleOptions(NamedTuple):
    """What the configuration says of the console; None: it is not there."""

    pictures: Path | None = None
    """The directory for what ctrl+s saves."""
    exports: Path | None = None
    asked: "Callable[[Ask, int], tuple[set[int], int]] | None" = None
    """What the ledger finds behind a number, and the last number."""
    log_file: Path | None = None
    texts: str = "shown"
    """Of messages: `shown`, `masked` until the operator wants to see them, or `off`."""
    bell: bool = False
    """Ring where the link is lost or an outcome becomes unknown."""
    notify: bool = False
    """The same by OSC 9."""
    data_dir: Path | None = None
    """Where the console's own state is kept."""
    ledger: "Callable[[Query], Page] | None" = None
    """A page of the ledger."""
    needing: "Callable[[float], Sequence[Case]] | None" = None
    """What needs the operator at a time, from the ledger. Raises NoLedger."""
    thread: "Callable[[ThreadQuery], ThreadPage] | None" = None
    """A page of a thread."""
    words: "Callable[[Sequence[int]], Mapping[int, str]] | None" = None
    """How the messages of these commands begin, by their numbers."""
    delays: "Callable[[float], Delays | None] | None" = None
    """Whose the delays of the day before were, from the ledger."""
    begin_with: str = ""
    """The filter of the start, or the name of a saved one."""
    keys: Mapping[str, str] = MappingProxyType({})
    """Other keys for actions, by name; `console.keys.judge` has judged them."""
    diagnosis: "Callable[..., Awaitable[tuple[Sequence[Stage], Conclusion | None]]] | None" = None
    """With `force` it dials beside the agent."""
    fault: "Callable[[str], None] | None" = None
    """Have a demonstration's backend do wrong. Raises ValueError."""


class Operations:
    """Each public method without an argument is a named action of the console."""

    def __init__(self, app: App[Any], main: Main, host: Host, clock: Clock, zone: tzinfo | None, *, read_only: bool) -> None:
        self._app = app
        self._main = main
        self._host = host
        self._clock = clock
        self._zone = zone
        self._read_only = read_only
        self._batch: Batch | None = None
        self.options = ConsoleOptions()
        self._recalling = False
        self._recalled = False
        """Whether the ledger has been asked for what was before."""
        self.saved: dict[str, str] = {}
        """Filters by their names."""
        self._seeing = False
        """Whether a far place of the ledger is looked for."""
        self._none_before: set[int | None] = set()
        """Before which numbers the ledger has nothing."""
        self._kept: State | None = None
        self.delays: Delays | None = None
        self._delays_at = 0.0
        self._counted: tuple[int, ...] = ()
        self._attention_at = 0.0
        self._thread_at = 0.0
        self._masked = False
        self._told: ConsoleView | None = None
        """What the agent has said of consoles last."""
        self._asking_words = False
        self._recorded: tuple[object, ...] = ()
        """Of which row, and how it was to be shown, the record beside the stream is."""
        self._recording = False
        self._asked_for: Filter | None = None
        self._ask_at = 0.0
        self._answered_to: dict[Ask, int] = {}
        """Up to which number the ledger has answered."""
        self._drafts: dict[str, str] = {}
        """What was left half edited, by command id."""
        self._quiet_until: dict[str, float] = {}
        """Until when an error, by its words, is not said again."""

    @property
    def _inks(self) -> Inks:
        return inks_of(self._app.theme)

    def say(self, text: str, severity: SeverityLevel = "information") -> None:
        """In place of what was said before: the lower right corner is the newest commands'."""
        self._app.clear_notifications()
        self._app.notify(plain(masked_within(text) if self.masked else text, 300), severity=severity, markup=False)

    def failed(self, error: Exception) -> None:
        """One that nobody expected: it is said and logged, once a minute each, and the console goes on."""
        now, name = self._clock.now().mono, f"{type(error).__name__}: {error}"[:200]
        if now >= self._quiet_until.get(name, now):
            self._quiet_until = {kept: until for kept, until in self._quiet_until.items() if until > now} | {name: now + 60.0}
            where = f" The log: {self.options.log_file}" if self.options.log_file is not None else ""
            self.say(f"That failed: {logged(error)}.{where}", "error")

    async def _watched(self, work: Awaitable[object]) -> None:
        """The edge of a worker's task."""
        try:
            await work
        except Exception as error:  # noqa: BLE001  (said and logged)
            self.failed(error)

    def saw(self, commands: Sequence[CommandEntry], lines: Sequence[LogEntry] = ()) -> None:
        """What has happened: replays go on with it, dry runs are answered by it, and a thread that is shown may have more."""
        if (thread := self._thread) is not None and commands:
            thread.notice(entry.row for entry in commands if entry.thread_id)
            self._thread_at = min(self._thread_at, self._clock.now().mono + NOTICED_WITHIN)
        for line in lines:
            if line.text.startswith("Dry run of "):
                self._dry_run_answered(line.text)
        if self._batch is not None:
            self._advance(self._batch, commands, self._clock.now().mono)

    def _dry_run_answered(self, text: str) -> None:
        from console.screens.editor import Editor

        if isinstance(self._app.screen, Editor):
            self._app.screen.answered(text)
        else:
            self.say(text)

    def give_up_silent_replays(self) -> None:
        """Those of which nothing has been heard for too long."""
        if self._batch is not None and self._batch.silent(self._clock.now().mono):
            self._advance(self._batch, (), self._clock.now().mono)

    def cancel_replays(self) -> bool:
        """Ask for no more of them; False where none are under way."""
        if self._batch is None:
            return False
        left = self._batch.cancel()
        self.say(f"Cancelled: {left} not asked for." if left else "All are asked for already.")
        return True

    def _may_not(self) -> bool:
        """Whether this console only looks; says so."""
        if self._read_only:
            self.say("This console only looks (--read-only).", "warning")
        return self._read_only

    # --- what may be seen ---

    def reconfigure(self, options: ConsoleOptions) -> None:
        """What may change at any time; what is the same now leaves the operator's choice alone."""
        if options.texts != self.options.texts:
            self._masked = options.texts == "masked"
            self._unsay()
        self.options = self.options._replace(texts=options.texts, bell=options.bell, notify=options.notify)

    @property
    def texts(self) -> str:
        """`shown`, `masked` or `off`, as the operator has chosen last."""
        return "off" if self.options.texts == "off" else "masked" if self._masked else "shown"

    @property
    def masked(self) -> bool:
        """Whether to whom messages go, and what they say, is hidden: on the screen, and in all that is copied or saved."""
        return self.texts != "shown"

    def mask(self) -> None:
        if self.options.texts == "off":
            self.say("Texts are off: console.texts in the configuration says so.", "warning")
            return
        self._masked = not self._masked
        self._main.record, self._recorded = (), ()
        self._unsay()
        if self._inspector is not None:
            self._inspector.renew(anew=True)
        if self._attention is not None:
            self._attention.renew()
        if self._thread is not None:
            self._thread.renew()

    def _unsay(self) -> None:
        """What was said in plain words, also where it is only on its way to the screen."""
        self._app.call_later(self._app.clear_notifications)

    def snapshot(self) -> Snapshot:
        """The present, as it may be seen; what the agent says of consoles holds from now on."""
        snapshot = self._host.snapshot()
        if snapshot.console is not None and snapshot.console != self._told:
            told = self._told = snapshot.console
            self.reconfigure(self.options._replace(texts=told.texts, bell=told.bell, notify=told.notify))
        return masked_snapshot(snapshot) if self.masked else snapshot

    def _row(self, row: Row) -> Row:
        return masked_row(row) if self.masked else row

    def _look_up(self, command_id: str) -> "Remembered | None":
        """Its record, as it may be seen."""
        record = self._host.lookup(command_id)
        return masked_record(record) if record is not None and self.masked else record

    # --- what the ledger and the last console knew ---

    def ask_ledger(self) -> None:
        """For what the filter wants to know of it: by a thread, again while the filter stands, since more commands come."""
        wanted, now = self._main.stream.wanted, self._clock.now().mono
        if wanted is not self._asked_for:
            self._asked_for, self._ask_at, self._answered_to = wanted, now, {}
        if self.options.asked is not None and wanted.asked and now >= self._ask_at:
            self._ask_at = now + ASK_EVERY
            self._app.run_worker(self._watched(self._ask(wanted, self.options.asked)), group="asking")

    async def _ask(self, wanted: Filter, asked: "Callable[[Ask, int], tuple[set[int], int]]") -> None:
        answers: dict[Ask, set[int]] = {}
        live = self._main.stream.live
        oldest = live.number(live.whole_from) or 1
        for ask in wanted.asked:
            numbers, last = await asyncio.to_thread(asked, ask, self._answered_to.get(ask, oldest - 1))
            if wanted is not self._main.stream.wanted:
                return
            answers[ask], self._answered_to[ask] = numbers, last
        if any(answers.values()):
            self._main.stream.answered(answers)

    def recall(self) -> None:
        """Another page of earlier commands, from the ledger: read by a thread, one at a time."""
        live = self._main.stream.live
        number = live.number(live.first)
        if self.options.ledger is not None and not self._recalling and self._main.stream.search is None and number not in self._none_before:
            self._recalling = True
            self._app.run_worker(self._watched(self._recall(self.options.ledger, number)), group="history")

    async def _recall(self, ledger: "Callable[[Query], Page]", number: int | None) -> None:
        from agent_core.search import Query

        try:
            page = await asyncio.to_thread(ledger, Query(before=number, most=RECALLED))
            if self._main.stream.search is None and not self._main.stream.recall(page.entries):
                self._none_before.add(number)
        finally:
            self._recalling, self._recalled = False, True

    def search_ledger(self) -> None:
        """For what the filter wants, from the newest command that is not here on: once for each filter."""
        stream = self._main.stream
        sought = stream.sought
        if (
            self.options.ledger is None
            or self._recalling
            or sought is None
            or (stream.search is not None and stream.search.query == sought)
        ):
            return
        number = stream.begin_search(sought)
        self._app.run_worker(self._watched(self._search(self.options.ledger, sought, number)), group="search")

    async def _search(self, ledger: "Callable[[Query], Page]", sought: "Query", number: int | None) -> None:
        """Page by page, each by a thread; between two of them others have their turn."""
        stream, hurried = self._main.stream, time.perf_counter() + HURRIED
        while stream.searching(sought):
            began = time.perf_counter()
            try:
                page = await asyncio.to_thread(ledger, replace(sought, before=number))
            except FilterError as error:
                stream.stop_search(str(error))
                return
            if stream.searching(sought):
                stream.found(page)
                hurried = 0.0 if page.entries else hurried
            number, now = page.next, time.perf_counter()
            await asyncio.sleep(0.0 if now < hurried else (now - began) * REST)

    def see(self, query: "Query", number: int | None) -> None:
        """A far place of the ledger, with that command, or the first that is found, selected."""
        if self.options.ledger is not None and not self._seeing:
            self._seeing = True
            self._app.run_worker(self._watched(self._see(self.options.ledger, query, number)), group="search")

    async def _see(self, ledger: "Callable[[Query], Page]", query: "Query", number: int | None) -> None:
        from agent_core.search import Query

        stream = self._main.stream
        try:
            page = await asyncio.to_thread(ledger, query)
            while self._seeing and not page.entries and page.next is not None:
                stream.progress = f"searching, {1 - page.left:.0%} · Esc stops"
                query = replace(query, before=page.next) if query.after is None else replace(query, after=page.next)
                page = await asyncio.to_thread(ledger, query)
            if self._seeing and page.entries and query.most == 1:
                number = page.entries[0].row
                page = await asyncio.to_thread(ledger, Query(after=max(0, number - RECALLED // 2), most=RECALLED))
        finally:
            sought, self._seeing, stream.progress = self._seeing, False, ""
        if sought and page.entries and stream.search is None:
            stream.visit(page.entries, page.entries[0].row if number is None else number)
        else:
            self._app.bell()

    def renew_delays(self) -> None:
        """Ask the ledger whose the delays were, now and then while that is shown: by a thread."""
        now = self._clock.now()
        if self.options.delays is not None and self._main.detail == LATENCY and now.mono >= self._delays_at:
            self._delays_at = now.mono + DELAYS_EVERY
            self._app.run_worker(self._watched(self._look_at_delays(self.options.delays, now.utc)), group="delays")

    async def _look_at_delays(self, delays: "Callable[[float], Delays | None]", utc: float) -> None:
        began = self._clock.now().mono
        self.delays = await asyncio.to_thread(delays, utc)
        now = self._clock.now().mono
        self._delays_at = max(self._delays_at, now + (now - began) * DELAYS_REST)

    @property
    def recalling_first(self) -> bool:
        """What is told by the feed comes behind what the ledger is asked for first."""
        return self._recalling and not self._recalled

    def restore(self, data_dir: Path) -> None:
        """As the last console was left."""
        from console.state import BrokenState, load

        try:
            kept = load(data_dir)
        except (BrokenState, OSError) as error:
            self.say(f"{error}.", "warning")
        else:
            if self._app.theme == DEFAULT_THEME and kept.theme in self._app.available_themes:
                self._app.theme = kept.theme
            for text in kept.filters:
                self._main.history.add(text)
            self.saved = kept.saved
            self._main.stream.present(arranged(kept.newest_first, kept.ages, kept.sort, kept.hidden))
            self._main.set_class(kept.zoomed, "-zoom")
            self._main.set_class(kept.beside, "-beside")
        self._kept = self._state

    @property
    def _state(self) -> "State":
        from console.state import State

        shown = self._main.stream.arrangement
        return State(
            self._app.theme, self._main.history.kept, self.saved, shown.newest_first, shown.ages, shown.sort, tuple(sorted(shown.hidden)),
            self._main.has_class("-zoom"), self._main.has_class("-beside"),
        )  # fmt: skip

    async def keep(self) -> None:
        """Write down what has changed since, for the next console."""
        if self._kept is None or self.options.data_dir is None or self._kept == self._state:
            return
        from console.state import save

        self._kept = self._state
        try:
            await asyncio.to_thread(save, self.options.data_dir, self._kept)
        except OSError as error:
            self.say(f"What this console should remember cannot be written: {plain(error.strerror or error, 100)}.", "warning")

    def stop_search(self) -> bool:
        """Look no further in the ledger; False where that is not being done."""
        seeing, self._seeing = self._seeing, False
        return self._main.stream.stop_search("stopped") or seeing

    def _is_saved(self) -> bool:
        """Whether what is chosen is of a saved session, whose commands are not this agent's to run; says so."""
        if self._of_session:
            self.say("A saved session is only looked at: Esc returns to the live commands.", "warning")
        return self._of_session

    @property
    def _of_session(self) -> bool:
        return bool(self._main.stream.session) and self._attention is None

    def _lookup(self, row: Row) -> "Remembered | None":
        """Its record; of a saved session there is none, whatever has the same id here."""
        return None if self._of_session else self._look_up(row.command_id)

    def reconnect(self) -> None:
        if self._may_not():
            return
        from agent_core.events import ReconnectRequested

        self._host.post(ReconnectRequested())
        self.say("Dialling now.")

    def fault(self, words: str) -> None:
        """Have a demonstration's backend do wrong; a console that only looks may not."""
        if self.options.fault is None or self._may_not():
            return
        try:
            self.options.fault(words)
        except ValueError as error:
            self.say(str(error), "warning")
        else:
            self.say(f"The backend was told: {words}")

    def polling(self) -> None:
        if self._may_not():
            return
        from agent_core.events import PollingModeChosen
        from console.screens.dialog import Choice

        mode_now = self._host.snapshot().polling.mode
        modes = [(key, f"{mode:<7} {what}{'  (now)' if mode is mode_now else ''}") for key, (mode, what) in MODES.items()]

        def choose(key: str) -> None:
            self._host.post(PollingModeChosen(MODES[key][0]))
            self.say(f"Polling {MODES[key][0]}.")

        self._app.push_screen(Choice("Polling", modes, choose, self._inks))

    # --- replays ---

    def replay(self) -> None:
        if self._may_not() or self._is_saved():
            return
        rows = self._main.stream.marked if self._app.screen is self._main else []
        if not rows:
            row = self._selected()
            rows = [] if row is None else [row]
        if not rows:
            return
        from console.questions import about_replay

        record = self._look_up(rows[0].command_id) if len(rows) == 1 else None
        self._ask_first(about_replay(list(map(self._row, rows)), record, self._inks), partial(self._replay, rows))

    def _ask_first(self, asking: "Asking | None", then: Callable[[bool | None], None]) -> None:
        """Where there is nothing to ask: at once."""
        if asking is None:
            then(True)
            return
        from console.screens.dialog import Question, SternQuestion

        asked = SternQuestion if asking.stern else Question
        self._app.push_screen(asked(asking.title, asking.lines, asking.hint), then)

    def _replay(self, rows: Sequence[Row], agreed: bool | None) -> None:
        if not agreed:
            return
        from console.replay import Batch

        now = self._clock.now().mono
        if self._batch is None:
            self._batch = Batch(self._main.stream.live.newest_number, now)
        self._batch.add((row.command_id, row.replay_of or row.command_id) for row in rows)
        self._main.stream.unmark()
        self._advance(self._batch, (), now)
        if len(rows) == 1:
            self.say(f"Replaying {shown(rows[0].command_id, 60)}.")

    def _advance(self, batch: "Batch", entries: Sequence[CommandEntry], now: float) -> None:
        """Follow the replays; ask for the next ones."""
        from agent_core.events import ReplayRequested

        for entry in entries:
            batch.saw(entry, now)
        for command_id in batch.next():
            self._host.post(ReplayRequested(command_id))
        if batch.over or batch.silent(now):
            self._batch = None
            self.say(self._outcome(batch), "information" if not batch.failed and batch.over else "warning")
        self._main.stream.progress = "" if self._batch is None else f"{batch} · Esc cancels"

    def _outcome(self, batch: "Batch") -> str:
        if not batch.over:
            return f"{batch}: no answer any more; see the log (5)."
        if batch.total > 1 or batch.last is None:
            return f"{batch}: done."
        last = batch.last
        word = "✓ completed" if last.status == "acked" else f"✗ {last.status}: {shown(last.error or '', 100)}"
        before = self._host.lookup(last.replay_of or "")
        beside = f" The original: {before.state}." if before is not None else ""
        ran = f" in {took(last.run_ms)}" if last.run_ms is not None else ""
        return f"Replay {word}{ran}.{beside} ⏎ on its row compares the two."

    def cancel(self) -> None:
        if self._may_not() or self._is_saved():
            return
        row = self._selected()
        if row is None:
            return
        from agent_core.events import CancelRequested
        from console.questions import about_cancel

        self._post_if_agreed(about_cancel, row, CancelRequested(row.command_id))

    def _post_if_agreed(self, about: "Callable[[Row, Remembered | None, Inks], Asking]", row: Row, request: "Event") -> None:
        from console.questions import Unfit

        try:
            asking = about(self._row(row), self._look_up(row.command_id), self._inks)
        except Unfit as error:
            self.say(str(error), "warning")
        else:
            self._ask_first(asking, lambda agreed: self._host.post(request) if agreed else None)

    def hold(self) -> None:
        """Which new commands wait for the operator."""
        if self._may_not():
            return
        from agent_core.config.models import HOLD_ALL
        from agent_core.events import HoldChosen
        from console.screens.dialog import Choice

        now, wanted = self.snapshot().hold, self._main.stream.wanted.text
        ways = {"n": ("", "none"), "a": (HOLD_ALL, "all")} | (
            {"f": (wanted, f"what the filter takes: {shown(masked_within(wanted) if self.masked else wanted, 60)}")} if wanted else {}
        )
        chosen = self._host.snapshot().hold
        choices = [(key, f"{said}{'  (now)' if text == chosen else ''}") for key, (text, said) in ways.items()]
        title = "Hold new commands" + (f": now {shown(now, 40)}" if now else "")
        self._app.push_screen(Choice(title, choices, lambda key: self._host.post(HoldChosen(ways[key][0])), self._inks))

    def approve(self) -> None:
        self._decide(approve=True)

    def refuse(self) -> None:
        self._decide(approve=False)

    def _decide(self, *, approve: bool) -> None:
        """Of the selected command, once the question is answered."""
        if self._may_not() or self._is_saved():
            return
        row = self._selected()
        if row is None:
            return
        from agent_core.events import HeldApproved, HeldRefused
        from console.questions import about_held

        request = HeldApproved(row.command_id) if approve else HeldRefused(row.command_id)
        self._post_if_agreed(partial(about_held, approve=approve), row, request)

    def edit(self) -> None:
        if self._may_not() or self._is_saved():
            return
        if self.masked:
            self.say("An editor shows the text, which is masked: m shows it.", "warning")
            return
        row = self._selected()
        record = None if row is None else self._host.lookup(row.command_id)
        if row is None or record is None:
            self.say("The journal has no record of it.", "warning")
            return
        from agent_core.events import ReplayRequested
        from console.screens.editor import LARGEST, Editor, editable

        if len(editable(record.command.payload)) > LARGEST:
            self.say("Its payload is too large to edit here.", "warning")
            return
        command_id, draft = row.command_id, self._drafts.get(row.command_id)

        def try_out(payload: dict[str, Any]) -> None:
            self._host.post(ReplayRequested(command_id, payload, dry_run=True))

        editor = Editor(shown(command_id, 60), record.command.payload, try_out, draft)
        self._app.push_screen(editor, partial(self._edited, row))

    def _edited(self, row: Row, edited: "dict[str, Any] | Draft | None") -> None:
        self._drafts.pop(row.command_id, None)
        if edited is None:
            return
        from console.screens.editor import Draft

        if isinstance(edited, Draft):
            self._drafts = dict([*self._drafts.items(), (row.command_id, edited.text)][-MAX_DRAFTS:])
            self.say("Your draft is kept: e on this command opens it again.")
            return
        from agent_core.events import HeldApproved, ReplayRequested
        from console.screens.dialog import Question, SternQuestion
        from console.screens.pages import replay_page

        held = row.status == "held"
        request = HeldApproved(row.command_id, edited) if held else ReplayRequested(row.command_id, edited)
        if row.effect == "harmless" and not held:
            self._host.post(request)
            return
        record = self._look_up(row.command_id)
        changed = replace(record, command=replace(record.command, payload=edited)) if record is not None else None
        asked = SternQuestion if row.effect == "external" or held else Question
        lines = replay_page([row], changed, self._inks)[: -3 if held else None]
        question = asked("Let it run with this payload?" if held else "Run it with this payload?", lines, "y run · n leave it")
        self._app.push_screen(question, lambda agreed: self._host.post(request) if agreed else None)

    # --- to whom and what ---

    def ask_words(self) -> None:
        """How the messages on the screen begin: by a thread, for those that were drawn without."""
        if self.options.words is None or self.masked or self._asking_words:
            return
        wanted = self._main.stream.words.take_wanted()
        if wanted:
            self._asking_words = True
            self._app.run_worker(self._watched(self._ask_words(self.options.words, wanted)), group="words")

    async def _ask_words(self, words: "Callable[[Sequence[int]], Mapping[int, str]]", wanted: Sequence[int]) -> None:
        try:
            self._main.stream.tell_words(wanted, await asyncio.to_thread(words, wanted))
        finally:
            self._asking_words = False

    # --- what needs the operator ---

    def attention(self) -> None:
        if self.options.needing is None:
            self.say("This console has no ledger to ask.", "warning")
            return
        from console.screens.attention import Attention

        self._counted = ()
        self._app.push_screen(Attention(self._attention_page))

    @property
    def _attention(self) -> "Attention | None":
        """The list, where it is open and nothing stands over it."""
        if self._app.screen is self._main:
            return None
        from console.screens.attention import Attention

        return self._app.screen if isinstance(self._app.screen, Attention) else None

    def _attention_page(self, listed: "Listed", width: int, height: int) -> "Sequence[Line]":
        from console.screens.attention import attention_page

        if self.masked and listed.cases:
            listed = listed._replace(cases=list(map(masked_case, listed.cases)))
        return attention_page(listed, self.snapshot(), self._inks, self._clock.now().utc, self._zone, width, height)

    def renew_attention(self) -> None:
        """Ask the ledger again where the agent counts differently, and now and then: by a thread."""
        if self.options.needing is None or self._attention is None:
            return
        now, commands = self._clock.now(), self._host.snapshot().commands
        counted = commands.interrupted, commands.unresolved, commands.overdue, commands.turned_away
        if counted == self._counted and now.mono < self._attention_at:
            return
        self._attention_at = now.mono + (ATTENTION_EVERY if counted == self._counted else WRITTEN_WITHIN)
        self._counted = counted
        self._app.run_worker(self._watched(self._look_for_attention(self.options.needing, now.utc)), group="attention")

    async def _look_for_attention(self, needing: "Callable[[float], Sequence[Case]]", utc: float) -> None:
        from agent_core.journal.reader import NoLedger

        found: Sequence[Case] = ()
        trouble = ""
        try:
            found = await asyncio.to_thread(needing, utc)
        except NoLedger as error:
            trouble = str(error)
        if self._attention is not None:
            self._attention.tell(found, trouble)

    def _row_needing(self, case: "Case | None") -> Row | None:
        """As the stream has it, else as the ledger does."""
        if case is None:
            return None
        from console.history import entry_of

        live = self._main.stream.live
        place = live.find(case.record.seq)
        return row_of(entry_of(case.record)) if place is None else live.row(place)

    def decide(self, place: int) -> None:
        """That the case's message is this one of its candidates."""
        from agent_core.records import Resolution
        from console.questions import Unfit, about_candidate

        case = None if self._attention is None else self._attention.case
        if case is None or self._may_not():
            return
        try:
            asking = about_candidate(masked_case(case) if self.masked else case, place, self._inks)
        except Unfit as error:
            self.say(str(error), "warning")
            return
        self._settle_if_agreed(asking, case, Resolution.SENT, case.candidates[place].guid)

    def resolve_as_unsent(self) -> None:
        from agent_core.records import Resolution
        from console.questions import about_unsent

        case = None if self._attention is None else self._attention.case
        if case is None or self._may_not():
            return
        if Resolution.UNSENT not in case.resolutions:
            self.say("Only an unknown outcome can be resolved as unsent.", "warning")
            return
        self._settle_if_agreed(about_unsent(masked_case(case) if self.masked else case, self._inks), case, Resolution.UNSENT)

    def _settle_if_agreed(self, asking: "Asking", case: "Case", resolution: "Resolution", guid: str | None = None) -> None:
        import getpass

        from agent_core.events import ResolveRequested

        request = ResolveRequested(case.record.command.command_id, resolution, getpass.getuser(), guid=guid)

        def settle(agreed: bool | None) -> None:
            if agreed:
                self._host.post(request)
                self.say(f"{shown(request.command_id, 60)}: {resolution}{'' if guid is None else f', {shown(guid, 60)}'}.")

        self._ask_first(asking, settle)

    def resolve_as_sent(self) -> None:
        from agent_core.records import Resolution

        self._resolve(Resolution.SENT, "Only an unknown outcome can be resolved as sent.")

    def dismiss(self) -> None:
        from agent_core.records import Resolution

        self._resolve(Resolution.DISMISSED, "An ack is settled by its proof alone.")

    def _resolve(self, resolution: "Resolution", otherwise: str) -> None:
        """Nothing runs by it, so it is not asked about."""
        screen = self._attention
        if screen is None or screen.case is None or self._may_not():
            return
        if resolution not in screen.case.resolutions:
            self.say(otherwise, "warning")
            return
        import getpass

        from agent_core.events import ResolveRequested

        command_id = screen.case.record.command.command_id
        self._host.post(ResolveRequested(command_id, resolution, getpass.getuser()))
        self.say(f"{shown(command_id, 60)}: {resolution}.")
        screen.action_move(1)

    # --- a thread ---

    def thread(self) -> None:
        """Of the selected command."""
        row = self._selected()
        if row is None or self._is_saved():
            return
        thread_id = row.thread_id
        if self.options.thread is None or not thread_id:
            self.say("It belongs to no thread." if not thread_id else "This console has no ledger to ask.", "warning")
            return
        from agent_core.threads import ThreadQuery
        from console.screens.thread import ThreadView

        view = ThreadView(thread_id, self._thread_page)
        self._app.push_screen(view)
        self._app.run_worker(
            self._watched(self._read_thread(view, self.options.thread, ThreadQuery(thread_id))), group="thread", exclusive=True
        )

    @property
    def _thread(self) -> "ThreadView | None":
        """Where it is open and nothing stands over it."""
        if self._app.screen is self._main:
            return None
        from console.screens.thread import ThreadView

        return self._app.screen if isinstance(self._app.screen, ThreadView) else None

    def _thread_page(self, talk: "Talk", width: int) -> "tuple[str, list[Line]]":
        from console.screens.thread import thread_page, title_of

        if self.masked:
            talk = talk._replace(thread_id=masked(talk.thread_id), messages=list(map(masked_message, talk.messages)))
        return title_of(talk), thread_page(talk, self._inks, self._clock.now().utc, self._zone, width)

    async def _read_thread(self, view: "ThreadView", ledger: "Callable[[ThreadQuery], ThreadPage]", query: "ThreadQuery") -> None:
        """Back from the newest, page by page, each by a thread; between two of them others have their turn."""
        self._thread_at = float("inf")
        while view.is_attached:
            began = time.perf_counter()
            page = await asyncio.to_thread(ledger, query)
            looking = page.next is not None and len(view.numbers) + len(page.messages) < MAX_MESSAGES
            if view.is_attached:
                view.tell(page, looking=looking)
            if not looking:
                break
            query = replace(query, before=page.next)
            await asyncio.sleep((time.perf_counter() - began) * REST)
        self._thread_at = self._clock.now().mono + THREAD_EVERY

    def renew_thread(self) -> None:
        """Read the messages that are shown again, with those that are new: now and then, by a thread."""
        view, now = self._thread, self._clock.now().mono
        if view is None or self.options.thread is None or now < self._thread_at or not view.numbers:
            return
        from agent_core.threads import ThreadQuery

        self._thread_at = float("inf")
        query = ThreadQuery(view.thread_id, numbers=view.numbers)
        self._app.run_worker(self._watched(self._renew_thread(view, self.options.thread, query)), group="thread")

    async def _renew_thread(self, view: "ThreadView", ledger: "Callable[[ThreadQuery], ThreadPage]", query: "ThreadQuery") -> None:
        try:
            page = await asyncio.to_thread(ledger, query)
            if view.is_attached:
                view.tell(page, looking=False)
        finally:
            self._thread_at = self._clock.now().mono + THREAD_EVERY

    # --- looking ---

    @property
    def _inspector(self) -> "Inspector | None":
        """Where it is open."""
        if self._app.screen is self._main:
            return None
        from console.screens.inspector import Inspector

        return self._app.screen if isinstance(self._app.screen, Inspector) else None

    def _selected(self) -> Row | None:
        if self._attention is not None:
            return self._row_needing(self._attention.case)
        row = self._inspector.row if self._inspector is not None else self._main.stream.selected
        if row is None:
            self.say("No command yet.")
        return row

    def inspect(self) -> None:
        row = self._selected()
        if row is None or self._inspector is not None:
            return
        if self._attention is not None:
            from console.screens.dialog import Dialog

            self._app.push_screen(Dialog("Command", self._record(row)))
            return
        from console.screens.inspector import Inspector

        self._main.stream.viewport.pin()
        self._app.push_screen(Inspector(self._main.stream, row, self._record))

    def renew_inspector(self) -> None:
        """Where it is open it shows what is now."""
        if self._inspector is not None:
            self._inspector.renew()

    def beside(self) -> None:
        """The selected command's record beside the stream, or away."""
        self._main.toggle_class("-beside")
        if self._main.has_class("-beside") and not self._main.has_class("-broad"):
            self.say(f"It stands there from {BROAD} columns; this terminal has {self._app.size.width}.", "warning")

    def renew_record(self) -> None:
        """Read what stands beside the stream again where that is another command, or not as it was: by a thread, one at a time."""
        row = self._main.stream.selected if self._main.shows_record else None
        wanted = (row, self.texts, self._app.theme, self._main.stream.session)
        if wanted == self._recorded or self._recording:
            return
        self._recorded = wanted
        if row is None:
            self._main.record = ()
        else:
            self._recording = True
            self._app.run_worker(self._watched(self._renew_record(row)), group="record")

    async def _renew_record(self, row: Row) -> None:
        from console.screens.pages import record_page

        try:
            live = not self._of_session
            record = await asyncio.to_thread(self._look_up, row.command_id) if live else None
            self._main.record = tuple(record_page(self._row(row), record, self._inks, self._zone))
            if live and record is None and self._clock.now().utc - row.utc < WRITTEN_WITHIN:
                self._recorded = ()
        finally:
            self._recording = False

    def _record(self, row: Row) -> list[Line]:
        from console.screens.pages import record_page

        return record_page(self._row(row), self._lookup(row), self._inks, self._zone, self._beside(row))

    def _beside(self, row: Row) -> "Beside | None":
        """What to compare with: of a replay its original, else the command marked last before or after it."""
        from console.screens.pages import Beside

        name, other = "the original", row.replay_of
        if other is None:
            marked = [mark.command_id for mark in self._main.stream.marked if mark.command_id != row.command_id]
            name, other = "the marked one", marked[-1] if marked else None
        record = None if other is None else self._look_up(other)
        return None if record is None else Beside(name, record)

    def copy(self) -> None:
        row = self._selected()
        if row is None:
            return
        from console.clipboard import copies
        from console.screens.dialog import Choice

        snapshot = self._host.snapshot()
        record = None if self.masked else self._lookup(row)
        found = copies(self._row(row), record, snapshot.agent_id, snapshot.backend_url)
        texts = {key: text for key, _, text in found}
        self._app.push_screen(Choice("Copy", [(key, what) for key, what, _ in found], lambda key: self.copy_text(texts[key]), self._inks))

    def copy_panel(self, rows: Sequence[str]) -> None:
        """What the panel says; of the latency whose the delays were, with times in UTC, for whoever has to mend it."""
        if self._main.detail == LATENCY and self.delays is not None:
            from console.delays import report

            rows = list(report(self.delays, COPIED_WIDTH, COPIED_HOURS, self._clock.now().utc))
        self.copy_text("\n".join(rows))

    def copy_text(self, text: str) -> None:
        """To every clipboard that there is."""
        from console.clipboard import MOST_CHARACTERS, hand_to, programs

        if len(text) > MOST_CHARACTERS:
            self.say("It is too large for a clipboard; w saves rows to a file.", "warning")
            return
        self._app.copy_to_clipboard(text)
        for program in programs():
            self._app.run_worker(self._watched(hand_to(program, text)), name=program[0], group="clipboard")
        self.say(f"Copied {shown(text, 60)}")

    # --- the stream's looks ---

    def begin_with(self, text: str) -> None:
        """The filter of the start, or the name of a saved one."""
        self._apply(self.saved.get(text, text))

    def _apply(self, text: str) -> None:
        try:
            self._main.stream.apply_filter(parse(text, utc=self._clock.now().utc))
        except FilterError as error:
            self.say(f"{error}.", "warning")
        else:
            self._main.history.add(text)

    def filters(self) -> None:
        """The saved ones: apply, save, delete."""
        from console.screens.dialog import Choice

        wanted, saved = self._main.stream.wanted.text, dict(zip(SAVED_KEYS, sorted(self.saved), strict=False))
        choices = [(key, f"{shown(name, 30)}   {shown(self.saved[name], 100)}") for key, name in saved.items()]
        choices += [("s", f"save /{shown(wanted, 60)}")] if wanted else []
        choices += [("d", "delete one")] if saved else []
        if not choices:
            self.say("No saved filter: / makes one, then F saves it.", "warning")
            return
        does: dict[str, Callable[[], None]] = {"s": self._save_filter, "d": partial(self._delete_filter, saved)}
        self._app.push_screen(
            Choice("Saved filters", choices, lambda key: does.get(key, lambda: self._apply(self.saved[saved[key]]))(), self._inks)
        )

    def _save_filter(self) -> None:
        """The app asks: the dialog that led here is gone before the answer comes."""
        from console.screens.name import NameDialog

        wanted = self._main.stream.wanted.text

        def named(name: str | None) -> None:
            if name is None:
                return
            if len(self.saved) >= len(SAVED_KEYS) and name not in self.saved:
                self.say("There are too many saved filters: delete one.", "warning")
                return
            self.saved = {**self.saved, name: wanted}
            self.say(f"Saved as {shown(name, 40)}: F applies it, --filter starts with it.")

        self._app.call_next(self._app.push_screen, NameDialog(f"Save /{shown(wanted, 60)} as"), named)

    def _delete_filter(self, saved: Mapping[str, str]) -> None:
        from console.screens.dialog import Choice, Question

        def choose(key: str) -> None:
            name = saved[key]
            lines: list[Line] = [((f"{shown(name, 40)}   {shown(self.saved[name], 200)}", self._inks.text),)]
            question = Question("Delete this filter?", lines, "y delete it · n leave it")
            self._app.call_next(self._app.push_screen, question, lambda agreed: self._delete(name) if agreed else None)

        self._app.push_screen(Choice("Delete a saved filter", [(key, shown(name, 40)) for key, name in saved.items()], choose, self._inks))

    def _delete(self, name: str) -> None:
        self.saved = {one: text for one, text in self.saved.items() if one != name}
        self.say(f"Deleted {shown(name, 40)}.")

    def sort(self) -> None:
        """By a column, or as they came."""
        from console.screens.dialog import Choice

        stream = self._main.stream
        names = dict(zip("123456789abc", [column.name for column in stream.columns], strict=False))
        choices = [("0", "as they came, newest last"), *((key, column_title(name)) for key, name in names.items())]
        sort = stream.arrangement.sort
        now = "as they came" if sort is None else f"by {column_title(sort.column)}"
        title = f"Sort: now {now}; the same column again turns it round"

        def choose(key: str) -> None:
            if key == "0":
                stream.present(stream.arrangement._replace(sort=None, newest_first=False))
            else:
                stream.sort_by(names[key])

        self._app.push_screen(Choice(title, choices, choose, self._inks))

    def columns(self) -> None:
        """Each there or not, until the dialog is left."""
        from console.screens.dialog import Choice

        stream, hidden = self._main.stream, self._main.stream.arrangement.hidden
        names = dict(zip("123456789abc", [column.name for column in stream.all_columns], strict=False))
        choices = [(key, f"{' ' if name in hidden else '✓'} {column_title(name)}") for key, name in names.items()]

        def choose(key: str) -> None:
            stream.present(stream.arrangement._replace(hidden=hidden ^ {names[key]}))
            self.columns()

        self._app.push_screen(Choice("Columns", choices, choose, self._inks))

    # --- files ---

    def save_rows(self) -> None:
        if self.options.exports is None:
            self.say("This console has nowhere to save rows.", "warning")
            return
        from console.export import FORMATS
        from console.screens.dialog import Choice

        kinds = [("j", "JSON Lines (L loads it again)"), ("c", "CSV"), ("m", "Markdown")]
        title = f"Save {grouped(self._main.stream.count)} commands as"
        self._app.push_screen(Choice(title, kinds, lambda key: self._save_rows(FORMATS[key]), self._inks))

    def _save_rows(self, kind: str) -> None:
        rows = list(map(self._row, self._main.stream.filtered))
        self._app.run_worker(self._watched(self._write_rows(rows, kind)), name="save rows", exclusive=True, group="rows")

    async def _write_rows(self, rows: list[Row], kind: str) -> None:
        from console.export import save_rows

        assert self.options.exports is not None
        try:
            path = await asyncio.to_thread(save_rows, rows, kind, self.options.exports, self._clock.now().utc)
        except OSError as error:
            self.say(f"Nothing saved: {plain(error.strerror or error, 100)}.", "error")
        else:
            self.say(f"Saved {grouped(len(rows))} commands: {path}")

    def load(self) -> None:
        from console.export import saved_sessions
        from console.screens.dialog import Choice

        files = saved_sessions(self.options.exports)[:9] if self.options.exports is not None else []
        if not files:
            self.say("No saved session: w saves one (JSON Lines).", "warning")
            return
        names = [(str(number), shown(path.name, 60)) for number, path in enumerate(files, 1)]
        self._app.push_screen(Choice("Look at a saved session", names, lambda key: self._load(files[int(key) - 1]), self._inks))

    def _load(self, path: Path) -> None:
        from console.export import load

        try:
            ring = load(path)
        except (OSError, ValueError) as error:
            self.say(f"{path.name} cannot be shown: {plain(error, 120)}.", "error")
        else:
            self._main.stream.look_at(ring, path.name)
            self.say("A saved session; Esc returns to the live commands.")

    def diagnose(self) -> None:
        if self.options.diagnosis is None:
            self.say("This console has no way to look at the backend.", "warning")
            return
        self.say("Looking at the way to the backend; this takes a few seconds.")
        between = self._host.snapshot().link.phase in BETWEEN_DIALS
        self._app.run_worker(self._watched(self._diagnose(self.options.diagnosis(force=between))), group="diagnosis", exclusive=True)

    async def _diagnose(self, looking: "Awaitable[tuple[Sequence[Stage], Conclusion | None]]") -> None:
        from console.screens.dialog import Dialog
        from console.screens.pages import diagnosis_page

        stages, conclusion = await looking
        self._app.clear_notifications()
        self._app.push_screen(Dialog("Diagnosis", diagnosis_page(stages, conclusion, self._inks)))

    def save_picture(self) -> None:
        if self.options.pictures is None:
            self.say("This console has nowhere to save pictures.", "warning")
            return
        from console.screenshot import save

        try:
            path = save(self._app, self.options.pictures, self._clock.now().utc)
        except OSError as error:
            self.say(f"No picture: {plain(error.strerror or error, 100)}.", "error")
        else:
            self.say(f"Saved {path} (and .txt)")
