"""The console in a terminal of its own, over an agent that only notes what it is asked: `python -m tests.harness.hammered FOLDER`.

FOLDER/told has a line for each question that comes up (`asked TITLE`), for each thing that the agent is told to do (`told EVENT`), for each
end of the console (`ended CODE`), for each failure (`failed …`), and for F12 (`handled all`). After an end another console begins.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from agent_core.events import Event, ReplayRequested
from agent_core.feed import CommandEntry, LogEntry
from console.app import EdgeConsole
from console.base import run
from console.operations import ConsoleOptions
from tests.harness.past import past
from tests.harness.stills import ONLINE, StillHost, entry, remembered

STATUSES = ("acked", "failed", "scheduled", "held", "interrupted", "outbox")
EARLIER = 2_000
MAX_CRASHES = 3


class Host(StillHost):
    def __init__(self, tell: Callable[[str], None]) -> None:
        told = [_row(number) for number in range(EARLIER + 1, EARLIER + 200)]
        super().__init__(ONLINE, told, {one.command_id: remembered(one.command_id) for one in told})
        self._tell = tell

    def post(self, event: Event) -> None:
        dry = " dry" if isinstance(event, ReplayRequested) and event.dry_run else ""
        self._tell(f"told {type(event).__name__}{dry}")

    def stop(self) -> None:
        self._tell("told StopRequested")
        self.stopped = True

    def live_on(self) -> None:
        """Commands and log lines, as long as the process is there."""
        number = EARLIER + 200
        while True:
            time.sleep(0.05)
            self.feed.extend([_row(number), LogEntry(time.time(), "INFO", f"line {number}")])
            number += 1


class Watched(EdgeConsole):
    BINDINGS: ClassVar[list[BindingType]] = [*EdgeConsole.BINDINGS, Binding("f12", "say_so", priority=True, show=False)]

    def __init__(self, tell: Callable[[str], None], *arguments: Any, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self._tell = tell

    def push_screen(self, screen: Any, *arguments: Any, **rest: Any) -> Any:
        if isinstance(screen, Screen):
            self._tell(f"asked {screen.title or type(screen).__name__}")
        return super().push_screen(screen, *arguments, **rest)

    def action_say_so(self) -> None:
        """All before this key has been handled."""
        self._tell("handled all")


def _row(number: int) -> CommandEntry:
    return entry(number, status=STATUSES[number % len(STATUSES)], effect="external")


def main(folder: Path) -> None:
    with (folder / "told").open("w", buffering=1) as file:

        def tell(line: str) -> None:
            file.write(line + "\n")

        class Failures(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                tell(f"failed {record.getMessage()}")

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        logging.getLogger("edge").addHandler(Failures())
        host = Host(tell)
        threading.Thread(target=host.live_on, daemon=True).start()
        crashes = 0
        while crashes < MAX_CRASHES:
            host.stopped = False
            options = ConsoleOptions(data_dir=folder, pictures=folder, exports=folder, ledger=past(EARLIER))
            app = Watched(tell, host, options=options)
            run(app)
            crashes += app.crash is not None
            tell(f"ended {app.return_code} {app.crash or app.return_value or ''}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
