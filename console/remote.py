"""An agent in another process, seen over its control socket: the console is the same as over one in this process."""

import threading
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING

from agent_core.clock import Moment
from agent_core.control.client import NoAnswer, NotRunning, OtherVersion, Viewer
from agent_core.control.messages import Answer, AskLedger, AskWords, Lookup, LookupThread, Past, Post, Present, Search
from agent_core.feed import Feed, LogEntry
from agent_core.filters import Ask
from agent_core.search import Page, Query
from agent_core.snapshot import Snapshot
from agent_core.threads import ThreadPage, ThreadQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_core.control.messages import Asked, Said
    from agent_core.events import Event
    from agent_core.records import Remembered
    from console.tunnel import Tunnel

AGAIN_AFTER = 1.0
LOOKUP_WITHIN, SEARCH_WITHIN = 2.0, 5.0
SILENT_AFTER = 5.0
"""Seconds: an agent says its present each second at least."""


class RemoteHost:
    """Ends by `stop`, which leaves the agent alone. An agent that ends, or starts again, is told in the feed."""

    def __init__(
        self, path: Path, *, read_only: bool = False, past: bool = True, tunnel: "Tunnel | None" = None, silent_after: float = SILENT_AFTER
    ) -> None:
        """Without the `past` it gets no feed entries, and the agent keeps none for it. `tunnel` leads to `path`."""
        self.feed = Feed()
        self._path = path
        self._read_only = read_only
        self._past = past
        self._tunnel = tunnel
        self._silent_after = silent_after
        self._ahead = Moment(0.0, 0.0)
        """By how much the clocks of an agent on another machine are ahead of ours."""
        self._snapshot = Snapshot()
        self._viewer: Viewer | None = None
        self._pid: int | None = None
        self._numbers = count(1)
        self._asked: dict[int, Future[Answer]] = {}
        self._over = threading.Event()
        self._told = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="viewer", daemon=True)

    def start(self) -> None:
        """Raises NotRunning, OtherVersion or OSError where there is no agent to begin with."""
        try:
            self._attach()
        except BaseException:
            self.stop()
            raise
        self._thread.start()

    def watch(self) -> None:
        """The same, whether or not there is an agent by now."""
        self._thread.start()

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def await_present(self, within: float) -> None:
        """Until the agent has told its present, for at most so many seconds."""
        self._told.wait(within)

    def now(self) -> Moment:
        """By the agent's clocks."""
        return Moment(monotonic() + self._ahead.mono, time() + self._ahead.utc)

    def post(self, event: "Event") -> None:
        viewer = self._viewer
        try:
            if viewer is None:
                raise BrokenPipeError
            viewer.send(Post(next(self._numbers), event))  # type: ignore[arg-type]  # what a console posts is an operator's event
        except OSError:
            self._say("WARNING", "The agent is not running: nothing was asked of it")

    def lookup(self, command_id: str) -> "Remembered | None":
        answer = self._answer(lambda number: Lookup(number, command_id), LOOKUP_WITHIN)
        return None if answer is None else answer.record

    def search(self, query: Query) -> Page:
        """A page of the ledger; an empty one, the last, where the agent does not answer. Blocks."""
        answer = self._answer(lambda number: Search(number, query), SEARCH_WITHIN)
        return Page([]) if answer is None or answer.page is None else answer.page

    def asked(self, ask: Ask, after: int) -> tuple[set[int], int]:
        """What the agent's ledger finds behind that number, and its last number; nothing where the agent does not answer. Blocks."""
        answer = self._answer(lambda number: AskLedger(number, ask, after), SEARCH_WITHIN)
        return (set(), after) if answer is None or answer.numbers is None else answer.numbers

    def words(self, seqs: "Sequence[int]") -> "Mapping[int, str]":
        """How the messages of these commands begin; nothing where the agent does not answer. Blocks."""
        answer = self._answer(lambda number: AskWords(number, list(seqs)), SEARCH_WITHIN)
        return {} if answer is None or answer.words is None else answer.words

    def thread(self, query: ThreadQuery) -> ThreadPage:
        """A page of a thread; an empty one, the last, where the agent does not answer. Blocks."""
        answer = self._answer(lambda number: LookupThread(number, query), SEARCH_WITHIN)
        return ThreadPage([]) if answer is None or answer.thread is None else answer.thread

    def _answer(self, ask: "Callable[[int], Asked]", within: float) -> Answer | None:
        viewer, number = self._viewer, next(self._numbers)
        answer = self._asked[number] = Future()
        try:
            if viewer is not None:
                viewer.send(ask(number))
                return answer.result(within)
        except (OSError, TimeoutError):
            self._say("WARNING", "The agent does not answer")
        finally:
            del self._asked[number]
        return None

    def stop(self) -> None:
        self._over.set()
        if self._viewer is not None:
            self._viewer.close()

    @property
    def stopped(self) -> bool:
        return self._over.is_set()

    @property
    def failure(self) -> BaseException | None:
        return self._failure

    # --- on the thread ---------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            while not self._over.is_set():
                if self._viewer is None:
                    self._wait_for_another()
                else:
                    self._follow()
        except (OtherVersion, OSError) as error:
            self._failure = error
            self._over.set()

    def _attach(self) -> None:
        if self._tunnel is not None:
            self._tunnel.open()
        viewer = Viewer(self._path, read_only=self._read_only, past=self._past)
        if self._pid is not None:
            same = viewer.greeting.pid == self._pid
            self._say("INFO", "Attached again" if same else f"Another agent has started (pid {viewer.greeting.pid}); attached to it")
        self._pid, self._viewer = viewer.greeting.pid, viewer

    def _follow(self) -> None:
        viewer = self._viewer
        assert viewer is not None
        with viewer, suppress(OSError):
            while (said := self._next(viewer)) is not None:
                self._take(said)
        self._viewer = None
        if not self._over.is_set():
            lost = self._lost
            self._miss(lost)
            self._say("WARNING", lost or "The agent has ended; waiting for one to start")

    def _next(self, viewer: Viewer) -> "Said | None":
        while True:
            try:
                return viewer.next(self._silent_after)
            except TimeoutError:
                silent = f"The agent has said nothing for {self._silent_after:g} s: it is held up or stopped"
                if self._miss(silent):
                    self._say("WARNING", silent)

    @property
    def _lost(self) -> str:
        """What to say of a way that has ended; empty where it is the agent that has."""
        ended = None if self._tunnel is None else self._tunnel.ended
        return "" if self._tunnel is None or ended is None else f"The connection to {self._tunnel.host} has ended ({ended}); dialling again"

    def _take(self, said: "Said") -> None:
        match said:
            case Present(snapshot):
                self._snapshot = snapshot
                self._told.set()
                if self._tunnel is not None:
                    self._ahead = Moment(snapshot.at - monotonic(), snapshot.utc - time())
            case Past(entries, dropped):
                if dropped:
                    self._say("WARNING", f"{dropped:,} feed entries came faster than this console could read them")
                self.feed.extend(entries)
            case Answer() as answer:
                if answer.refused is not None:
                    self._say("WARNING", f"The agent refused: {answer.refused}")
                if (asked := self._asked.get(answer.number)) is not None:
                    asked.set_result(answer)

    def _wait_for_another(self) -> None:
        while not self._over.is_set():
            try:
                self._attach()
            except NotRunning as error:
                self._miss(self._lost or (str(error) if isinstance(error, NoAnswer) else ""))
            else:
                return
            self._over.wait(AGAIN_AFTER)

    def _miss(self, lost: str) -> bool:
        """There is no agent, or none is heard of, where something says why; whether that is news."""
        last, unreached = self._snapshot, bool(lost)
        if (last.gone, last.unreached) == (not unreached, unreached):
            return False
        self._snapshot = Snapshot(
            last.revision + 1, monotonic(), time(), host=last.host, agent_id=last.agent_id, backend_url=last.backend_url,
            gone=not unreached, unreached=unreached,
        )  # fmt: skip
        return True

    def _say(self, level: str, text: str) -> None:
        self.feed.extend([LogEntry(time(), level, text)])
