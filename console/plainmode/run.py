"""The plain console over an agent inside, or over one in another process: what is typed in, what is told out."""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING

from agent_core import gc_tuning
from agent_core.clock import Clock, SystemClock
from agent_core.plain import plain
from agent_core.signals import ENDING, heeded
from console.base import logged
from console.host import Host, LocalHost
from console.plainmode.keyboard import Keyboard
from console.plainmode.session import Session
from console.plainmode.voice import Held, Voice
from console.run import (
    STOP_WITHIN,
    SWITCH_AFTER,
    Configured,
    attached_options,
    console_options,
    logging_agent,
    stop_after,
    stop_on_signals,
)

if TYPE_CHECKING:
    from agent_core.agent import Agent
    from agent_core.config import Config
    from agent_core.config.origin import Origin
    from agent_core.recording import Recorder
    from console.tunnel import Tunnel

LOOK_EVERY = 0.1
CLOSE_WITHIN = 1.0
QUIET = 60.0
PRESENT_WITHIN = 2.0


def run_plain(
    configured: Configured, env_file: Path, seconds: float | None, recorder: "Recorder | None", anew: "Callable[[], Origin | None]", *,
    read_only: bool, demo: bool, begin_with: str, terminal: str,
) -> int:  # fmt: skip
    """Run an agent with the plain console over it; the exit code. `terminal`: the one that cannot draw a screen, where that is why.

    Raises what kept the agent from starting.
    """

    def begin(stack: ExitStack) -> "Agent":
        config = configured(stack)
        conversation.session.configure(console_options(config, begin_with))
        agent = logging_agent(config, stack, recorder, env_file, anew())
        gc_tuning.tune_console()
        return agent

    sys.setswitchinterval(SWITCH_AFTER)
    host = LocalHost(begin)
    conversation = Conversation(host, SystemClock(), attached=False, read_only=read_only, asks_to_quit=not demo)
    stop_on_signals(host, conversation.keyboard.give_back)
    stop_after(host, seconds)
    host.start()
    conversation.hold(terminal)
    host.stop()
    host.join(STOP_WITHIN)
    if host.failure is not None and not host.began:
        raise host.failure
    return _code(host)


def attach_plain(
    config: "Config", path: Path, begin_with: str, *, read_only: bool, terminal: str, tunnel: "Tunnel | None" = None
) -> int:  # fmt: skip
    """The same over an agent in another process, until it detaches. Raises what keeps it from beginning."""
    from console.remote import RemoteHost

    host = RemoteHost(path, read_only=read_only, tunnel=tunnel)
    conversation = Conversation(host, host, attached=True, read_only=read_only, asks_to_quit=False)
    conversation.session.configure(attached_options(config, begin_with, host, tunnel))
    host.start()
    host.await_present(PRESENT_WITHIN)
    gc_tuning.tune_console()
    for number in filter(heeded, ENDING):
        signal.signal(number, lambda _number, _frame: host.stop())
    conversation.hold(terminal)
    host.stop()
    return _code(host)


def _code(host: Host) -> int:
    """The exit code; what ended the agent is said."""
    failure = host.failure
    if failure is None:
        return 0
    sys.stderr.write(f"edge-console: the agent failed: {plain(failure, 200) or type(failure).__name__}\n")
    return 1


class Conversation:
    """Between the terminal and a session."""

    def __init__(self, host: Host, clock: Clock, *, attached: bool, read_only: bool, asks_to_quit: bool) -> None:
        self._host = host
        self._attached = attached
        self.session = Session(host, clock, None, attached=attached, read_only=read_only, asks_to_quit=asks_to_quit, aside=self._aside)
        if sys.stdin is None or sys.stdout is None:
            raise OSError("a plain console wants an open standard input and output")
        self.keyboard = Keyboard(sys.stdin.fileno(), shows=sys.stdout.isatty())
        self._voice = Voice(sys.stdout.fileno(), sys.stdout.encoding)
        self._held = Held()
        self._aside_told: deque[list[str]] = deque()
        self._quiet_until: dict[str, float] = {}
        """Until when a failure, by its words, is not said again."""
        self._interrupted = False
        self._stop_by: float | None = None

    def hold(self, terminal: str) -> None:
        """Until the host has stopped, or nobody is there any more for whom to hold it."""
        if heeded(signal.SIGINT):
            signal.signal(signal.SIGINT, self._interrupt)
        why = f"since this terminal (TERM={terminal}) cannot draw a screen" if terminal else ""
        with self.keyboard:
            self._tell(self.session.greet(why))
            while not self._is_over():
                self._tell(self._guarded(self.session.look()))
                self._listen()
            self.keyboard.line.text = ""
            self._tell(self._guarded(self.session.look()))
        self._voice.close(CLOSE_WITHIN)

    def _is_over(self) -> bool:
        stuck = self._stop_by is not None and time.monotonic() >= self._stop_by
        return self._host.stopped or stuck or (self._attached and self._voice.gone)

    def _listen(self) -> None:
        """Do what is typed in the next tenth of a second."""
        line = self.keyboard.line
        for text in self.keyboard.lines(LOOK_EVERY):
            self._echo()
            self._tell(self._guarded(self.session.typed(text)))
        self._echo()
        if self._interrupted:
            self._interrupted = False
            self._tell(self._guarded(self.session.interrupted()))
        if line.ended and not self.session.stopping:
            self.session.leave()
        if self.session.stopping and self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_WITHIN

    def _echo(self) -> None:
        if self.keyboard.echoes:
            self._voice.echo(self.keyboard.line.echo())

    def _tell(self, lines: Iterable[str]) -> None:
        """Once no line is half typed; where its typist pauses, the half is shown again below."""
        self._held.add(lines)
        while self._aside_told:
            self._held.add(self._aside_told.popleft())
        half = self.keyboard.line.text if self.keyboard.echoes else ""
        if due := self._held.due(half, time.monotonic()):
            self._voice.say(["", *due] if half else due)
            self._voice.echo(half)

    def _guarded(self, lines: Iterable[str]) -> Iterator[str]:
        """The edge of what is typed and of what is told: a failure is said and logged, once a minute each."""
        try:
            yield from lines
        except Exception as error:  # noqa: BLE001  (said and logged; the console goes on)
            now, name = time.monotonic(), f"{type(error).__name__}: {error}"[:200]
            if now >= self._quiet_until.get(name, now):
                self._quiet_until = {kept: until for kept, until in self._quiet_until.items() if until > now} | {name: now + QUIET}
                yield f"That failed: {logged(error)}."

    def _aside(self, work: Callable[[], Iterable[str]]) -> None:
        def lines() -> Iterator[str]:
            yield from work()

        Thread(target=lambda: self._aside_told.append([*self._guarded(lines())]), name="aside", daemon=True).start()

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        """ctrl+c: as quit; while the agent stops already: at once."""
        if self.session.stopping or self._host.snapshot().stopping:
            self.keyboard.give_back()
            os._exit(128 + number)
        self._interrupted = True
