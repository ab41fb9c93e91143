"""The console's end of a page: Textual's driver for one, whose process ends with the page."""

import os
import signal
import time

from textual.drivers.web_driver import WebDriver

LEAVE_WITHIN = 2.0


class PageDriver(WebDriver):
    """Nobody can ask for the end of a console whose page's server was killed: it goes by itself when nothing more can come."""

    def run_input_thread(self) -> None:
        super().run_input_thread()
        if not self.exit_event.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LEAVE_WITHIN)
            os._exit(128 + signal.SIGTERM)
