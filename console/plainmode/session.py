"""A console as lines: what it tells, and what it does for what is typed. It knows no terminal."""

import getpass
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from agent_core.attention import candidates_of
from agent_core.clock import Clock
from agent_core.config.models import HOLD_ALL
from agent_core.events import (
    CancelRequested,
    HeldApproved,
    HeldRefused,
    HoldChosen,
    PollingModeChosen,
    ReconnectRequested,
    ReplayRequested,
    ResolveRequested,
)
from agent_core.feed import CommandEntry, LogEntry
from agent_core.filters import LANGUAGE, Filter, FilterError, parse, trouble_in
from agent_core.journal.reader import NoLedger
from agent_core.records import Resolution
from agent_core.search import Query
from agent_core.snapshot import ConsoleView, PollingMode
from console.history import entry_of
from console.host import Host
from console.log_file import LogLine, last_lines
from console.masks import masked_case, masked_record, masked_row, masked_snapshot, masked_within
from console.operations import BETWEEN_DIALS, ConsoleOptions
from console.panels.ring import Ring, Row, expanded, row_of
from console.panels.view import View
from console.plainmode.answers import attention, count_of, latency, logged, spoken, why
from console.plainmode.facts import facts
from console.plainmode.narrator import Narrator, sentence
from console.plainmode.verbs import DETACHING, LEAVING, VERBS, Unknown, Verb, understood
from console.questions import Asking, Unfit, about_cancel, about_held, about_replay
from console.screens.pages import Beside, diagnosis_page, quit_page, record_page
from console.standing import standing
from console.state import filter_named
from console.text import moment, shown
from console.themes import PLAIN, inks_of

if TYPE_CHECKING:
    from agent_core.events import Event
    from agent_core.records import Remembered

LISTED = 10
MAX_LISTED = 1_000
SEARCH_WITHIN = 3.0
LOG_KEPT = 1_000
INKS = inks_of(PLAIN.name)
ONLY_LOOKS = "This console only looks (--read-only)."


class Refused(Exception):
    """It is not done; the sentence says why."""


class Session:
    """`look` says what has changed, `typed` answers a line; `stopping` once it is about to end."""

    def __init__(
        self, host: Host, clock: Clock, zone: tzinfo | None, *, attached: bool, read_only: bool, asks_to_quit: bool,
        aside: Callable[[Callable[[], Iterable[str]]], None],
    ) -> None:  # fmt: skip
        """`aside` does what takes long elsewhere, and says later what came of it."""
        self.options = ConsoleOptions()
        self.stopping = False
        self._host = host
        self._clock = clock
        self._zone = zone
        self._attached = attached
        self._read_only = read_only
        self._asks_to_quit = asks_to_quit
        self._aside = aside
        self._narrator = Narrator(clock.now().utc, zone)
        self._cursor = 0
        self._live = Ring()
        self._kept: deque[LogLine] = deque(maxlen=LOG_KEPT)
        self._asked: tuple[Asking, Callable[[], Iterable[str]]] | None = None
        self._follows, self._whole_log, self._masked = True, False, False
        self._wanted = parse("")
        self._told: ConsoleView | None = None
        """What the agent has said of consoles last."""

    @property
    def verbs(self) -> Sequence[Verb]:
        leaving = DETACHING if self._attached else (LEAVING,)
        return (*VERBS, *leaving)

    def greet(self, why_plain: str) -> Iterator[str]:
        yield f"edge-console in plain lines{f', {why_plain}' if why_plain else ''}. Type a command and Enter; help lists them."
        if self._read_only:
            yield ONLY_LOOKS

    def configure(self, options: ConsoleOptions) -> None:
        """The configuration is known now."""
        if options.texts != self.options.texts:
            self._masked = options.texts == "masked"
        if options.begin_with and not self.options.begin_with:
            self._wanted = self._filter_of(options.begin_with, options.data_dir)
        self.options = options

    # --- what has changed ---

    def look(self) -> Iterator[str]:
        """A line for each change since the last look."""
        now = self._clock.now()
        told = self._host.snapshot().console
        if told is not None and told != self._told:
            self._told = told
            self.configure(self.options._replace(texts=told.texts))
        yield from self._narrator.sums(now)
        news, self._cursor, missed = self._host.feed.since(self._cursor)
        if missed:
            yield f"… {missed:,} changes came faster than they could be read."
        yield from self._narrator.facts(self._view())
        for line in news:
            if isinstance(line, LogEntry):
                self._kept.append(LogLine(line.utc, line.level, line.text))
                yield from self._narrator.log(line, self._words(line.text), now, whole=self._whole_log)
        newest = {entry.row: entry for entry in expanded(news, self._live)}
        if newest:
            self._live.put_all(newest.values())
            self._learn(self._wanted, min(newest) - 1)
        try:
            for entry in newest.values():
                wanted = entry.via == "local" or self._wants(entry)
                yield from self._narrator.command(entry, self._seen(row_of(entry)), now, wanted=wanted)
        except FilterError as error:
            self._wanted = parse("")
            yield f"The filter is off: {error}."

    def _wants(self, entry: CommandEntry) -> bool:
        texts = entry.command_type, entry.via, entry.status, entry.effect, entry.thread_id, entry.error, entry.replay_of
        ms = entry.run_ms if entry.ack_ms is None else entry.ack_ms
        return self._follows and self._wanted.holds(texts, entry.command_id, ms, entry.utc, entry.row)

    def _learn(self, wanted: Filter, after: int) -> None:
        """What of the filter only the ledger knows, of the commands behind that number."""
        for ask, numbers in wanted.asked.items():
            if self.options.asked is not None:
                numbers.update(self.options.asked(ask, after)[0])

    # --- what is typed ---

    def typed(self, line: str) -> Iterator[str]:
        """The answer to a command, or what comes of the answer to a question."""
        try:
            if self._asked is not None:
                yield from self._answered(line.strip().lower())
            elif line.strip():
                yield from self._done(*understood(line, self.verbs))
        except (Refused, Unfit, Unknown, NoLedger) as error:
            yield str(error)
        except FilterError as error:
            yield f"That is no filter: {error}. `help filter` tells what one may say."

    def _done(self, verb: Verb, rest: str) -> Iterable[str]:
        if verb.changes and self._read_only:
            raise Refused(ONLY_LOOKS)
        does: Callable[[str], Iterable[str]] = getattr(self, f"_{verb.name}")
        return does(rest)

    def interrupted(self) -> Iterator[str]:
        """ctrl+c: as quit, whatever was asked."""
        self._asked = None
        yield from self._quit("")

    def _answered(self, answer: str) -> Iterable[str]:
        assert self._asked is not None
        asking, does = self._asked
        if answer not in {"yes", "y", "no", "n"}:
            return [f"{asking.title} Type yes or no."]
        self._asked = None
        return does() if answer[0] == "y" else ["Nothing was done."]

    def _ask(self, asking: Asking | None, does: Callable[[], Iterable[str]]) -> Iterator[str]:
        """Do it once a typed yes says so; at once where there is nothing to ask."""
        if asking is None:
            yield from does()
            return
        self._asked = asking, does
        yield from spoken(asking.lines)
        yield f"{asking.title} Type yes or no."

    # --- looking ---

    def _status(self, _: str) -> Iterator[str]:
        view = self._view()
        for name, value in standing(view.snapshot, view.now.mono):
            yield f"{name}: {value}"

    def _why(self, _: str) -> Iterator[str]:
        return why(self._view(), self._lines())

    def _diagnose(self, _: str) -> Iterator[str]:
        if self.options.diagnosis is None:
            raise Refused("This console has no way to look at the backend.")
        import asyncio

        looking = self.options.diagnosis(force=self._host.snapshot().link.phase in BETWEEN_DIALS)

        async def diagnosed() -> list[str]:
            stages, conclusion = await looking
            return spoken(diagnosis_page(stages, conclusion, INKS))

        self._aside(lambda: asyncio.run(diagnosed()))
        yield "Looking at the way to the backend; this takes a few seconds."

    def _list(self, rest: str) -> Iterator[str]:
        count, text = count_of(rest, LISTED)
        now = self._clock.now()
        rows = self._found(self._filter_of(text, self.options.data_dir), min(count, MAX_LISTED))
        for row in rows:
            yield f"{moment(row.utc, now.utc, self._zone)} {sentence(self._seen(row))}"
        if not rows:
            yield "No such commands." if text else "No commands yet."

    def _show(self, rest: str) -> Iterator[str]:
        row = self._named(rest)
        record = self._look_up(row.command_id)
        original = None if row.replay_of is None else self._look_up(row.replay_of)
        beside = None if original is None else Beside("the original", original)
        return iter(spoken(record_page(self._seen(row), record, INKS, self._zone, beside)))

    def _latency(self, _: str) -> Iterator[str]:
        delays = self.options.delays
        return latency(self._view(), None if delays is None else delays(self._clock.now().utc))

    def _attention(self, _: str) -> Iterator[str]:
        if self.options.needing is None:
            raise Refused("This console has no ledger to ask.")
        cases = self.options.needing(self._clock.now().utc)
        return attention(list(map(masked_case, cases)) if self.masked else cases, self._view())

    def _log(self, rest: str) -> Iterator[str]:
        if rest in {"on", "off"}:
            self._whole_log = rest == "on"
            yield "Every line of the log is told." if self._whole_log else "Warnings and errors of the log are told."
            return
        count, more = count_of(rest, LISTED)
        if more:
            raise Refused("log wants a number, on, or off.")
        yield from logged(self._lines()[-count:], self._view())

    def _help(self, rest: str) -> Iterator[str]:
        if rest == "filter":
            yield from (f"{form}: {meaning}" for form, meaning in LANGUAGE)
        verbs = [understood(rest, self.verbs)[0]] if rest else self.verbs
        for verb in verbs:
            yield f"{verb.usage}: {verb.does}"
        if not rest:
            yield "A word may be cut short where no other begins so. A question is answered with yes or no."

    # --- what is told ---

    def _follow(self, rest: str) -> Iterator[str]:
        self._follows = _switched("follow", rest, self._follows)
        yield "Commands are told as they come and end." if self._follows else "Commands are not told; all else is."

    def _filter(self, rest: str) -> Iterator[str]:
        if rest == "off":
            self._wanted = parse("")
        elif rest:
            self._wanted = self._filter_of(rest, self.options.data_dir)
        yield (
            f"Commands are told that {self._words(self._wanted.text)} takes." if self._wanted else "Commands are told, whichever they are."
        )

    def _filter_of(self, text: str, data_dir: Path | None) -> Filter:
        """A saved one by its name, or the text as one. Raises FilterError."""
        return parse(text if data_dir is None else filter_named(data_dir, text), utc=self._clock.now().utc)

    def _mask(self, rest: str) -> Iterator[str]:
        if self.options.texts == "off":
            raise Refused("Texts are off: console.texts in the configuration says so.")
        self._masked = _switched("mask", rest, self._masked)
        yield "Recipients and texts are masked." if self._masked else "Recipients and texts are shown."

    # --- what is done ---

    def _reconnect(self, _: str) -> Iterator[str]:
        self._host.post(ReconnectRequested())
        yield "Dialling now."

    def _polling(self, rest: str) -> Iterator[str]:
        modes = [mode for mode in PollingMode if rest and mode.startswith(rest)]
        if len(modes) != 1:
            raise Refused(f"polling wants auto, always or never; it is {self._host.snapshot().polling.mode}.")
        self._host.post(PollingModeChosen(modes[0]))
        yield f"Polling {modes[0]}."

    def _replay(self, rest: str) -> Iterator[str]:
        name, dry = (rest.removesuffix(" dry").strip(), True) if rest.endswith(" dry") else (rest, False)
        row = self._named(name)
        if dry:
            self._host.post(ReplayRequested(row.command_id, dry_run=True))
            return
        asking = about_replay([self._seen(row)], self._look_up(row.command_id), INKS)
        yield from self._ask(asking, self._posting(ReplayRequested(row.command_id), f"Replaying {shown(row.command_id, 200)}."))

    def _cancel(self, rest: str) -> Iterator[str]:
        row = self._named(rest)
        asking = about_cancel(self._seen(row), self._look_up(row.command_id), INKS)
        return self._ask(asking, self._posting(CancelRequested(row.command_id), "Asked to cancel it."))

    def _approve(self, rest: str) -> Iterator[str]:
        row = self._named(rest)
        asking = about_held(self._seen(row), self._look_up(row.command_id), INKS, approve=True)
        return self._ask(asking, self._posting(HeldApproved(row.command_id), "Approved."))

    def _refuse(self, rest: str) -> Iterator[str]:
        row = self._named(rest)
        asking = about_held(self._seen(row), self._look_up(row.command_id), INKS, approve=False)
        return self._ask(asking, self._posting(HeldRefused(row.command_id), "Refused."))

    def _hold(self, rest: str) -> Iterator[str]:
        if not rest:
            yield facts(self._view())["hold"].sentence
            return
        wanted = {"off": "", "none": ""}.get(rest, rest)
        if wanted not in {"", HOLD_ALL} and (trouble := trouble_in(wanted)):
            raise FilterError(trouble)
        self._host.post(HoldChosen(wanted))

    def _resolve(self, rest: str) -> Iterator[str]:
        words, guid = rest.split(), None
        if len(words) > 2 and words[-2] == Resolution.SENT:
            guid = words.pop()
        name, _, word = " ".join(words).rpartition(" ")
        resolutions = {str(one): one for one in (Resolution.SENT, Resolution.UNSENT, Resolution.DISMISSED)}
        if word not in resolutions or not name:
            raise Refused("resolve wants an ID and sent, unsent or dismissed.")
        row = self._named(name.strip())
        record = self._host.lookup(row.command_id)
        if record is None or not record.is_unresolved:
            raise Refused("It needs nothing.")
        if word != Resolution.DISMISSED and row.status != "interrupted":
            raise Refused(f"Only an unknown outcome can be resolved as {word}.")
        if guid is not None and all(one.guid != guid for one in candidates_of(record.ack)):
            raise Refused("It has no such candidate; attention lists them.")
        yield from self._posting(
            ResolveRequested(row.command_id, resolutions[word], getpass.getuser(), guid=guid), f"Asked to resolve it as {word}."
        )()

    def _posting(self, event: "Event", said: str) -> Callable[[], Iterable[str]]:
        def post() -> Iterable[str]:
            self._host.post(event)
            return [said]

        return post

    # --- leaving ---

    def _quit(self, _: str) -> Iterator[str]:
        now = self._clock.now()
        if self._attached or not self._asks_to_quit:
            return self._leave()
        lines = quit_page(self._view().snapshot, INKS, now.utc, self._zone)
        return self._ask(Asking("Stop the agent and quit?", lines, "stop it", stern=True), self._leave)

    def _detach(self, _: str) -> Iterator[str]:
        return self._leave()

    def leave(self) -> None:
        """Without a question: nobody is there to answer it."""
        self.stopping = True
        self._host.stop()

    def _leave(self) -> Iterator[str]:
        self.leave()
        yield "Detached; the agent goes on." if self._attached else "Stopping the agent."

    # --- commands by name, as they may be seen ---

    def _named(self, text: str) -> Row:
        """The command of this id, or the only one whose id has that part. Raises Refused."""
        if not text:
            raise Refused("An ID is missing: list shows some.")
        record = self._host.lookup(text)
        if record is not None:
            place = self._live.find(record.seq)
            return row_of(entry_of(record)) if place is None else self._live.row(place)
        rows = {row.command_id: row for row in self._found(parse(f'id:"{text}"'), 3) if text.lower() in row.command_id.lower()}
        if len(rows) == 1:
            return next(iter(rows.values()))
        if rows:
            raise Refused(f"More than one command has {shown(text, 100)} in its id: {', '.join(shown(one, 100) for one in rows)}.")
        raise Refused(f"No command has {shown(text, 100)} in its id.")

    def _found(self, wanted: Filter, most: int) -> list[Row]:
        """The last ones that the filter takes, oldest first: those told of, then the ledger's before them."""
        self._learn(wanted, 0)
        live = self._live
        rows = [live.row(place) for place in live.passing(wanted)[-most:]]
        before = live.number(live.first) if live.end > live.first else None
        by = self._clock.now().mono + SEARCH_WITHIN
        while self.options.ledger is not None and len(rows) < most and self._clock.now().mono < by:
            page = self.options.ledger(Query(wanted.text, wanted.utc, before=before, most=most - len(rows)))
            rows = [*map(row_of, page.entries), *rows]
            before = page.next
            if before is None:
                break
        return rows

    @property
    def masked(self) -> bool:
        """Whether to whom messages go, and what they say, is hidden."""
        return self._masked or self.options.texts == "off"

    def _seen(self, row: Row) -> Row:
        return masked_row(row) if self.masked else row

    def _words(self, text: str) -> str:
        return masked_within(text) if self.masked else text

    def _lines(self) -> list[LogLine]:
        """The end of the log: what is in its file goes further back than what was told here."""
        path = self.options.log_file
        found = last_lines(path) if path is not None and path.exists() else self._kept
        return [LogLine(line.utc, line.level, self._words(line.text)) for line in found]

    def _look_up(self, command_id: str) -> "Remembered | None":
        record = self._host.lookup(command_id)
        return masked_record(record) if record is not None and self.masked else record

    def _view(self) -> View:
        snapshot = self._host.snapshot()
        return View(masked_snapshot(snapshot) if self.masked else snapshot, self._clock.now(), INKS, self._zone)


def _switched(name: str, rest: str, now: bool) -> bool:
    """Raises Refused."""
    if rest not in {"on", "off"}:
        raise Refused(f"{name} wants on or off; it is {'on' if now else 'off'}.")
    return rest == "on"
