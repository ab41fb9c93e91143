"""`man edge-console`, from the command line itself: docs/edge-console.1, which the wheel carries."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from argparse_manpage.manpage import Manpage

from agent_core import __version__
from console.cli.main import build_parser

NO_REQUEST = re.compile(r"^(?:\.(?![A-Z]{1,2}\b|nf$|fi$|br$)|')")
"""A line of text that begins as a request does, as `.env …`."""


def manual() -> str:
    """The page as it would be now, with the version in the date's place: nothing in it changes from day to day."""
    with columns("100"):
        page = Manpage(build_parser(), format="single-commands-section", _data={
            "project_name": "edge-console", "version": __version__, "manual_title": "edge-console manual", "date": f"Version {__version__}",
            "description": "an edge agent that never loses a command, and its console",
        })  # fmt: skip
        return "\n".join(NO_REQUEST.sub(r"\&\g<0>", line.rstrip()) for line in str(page).splitlines()) + "\n"


@contextmanager
def columns(number: str) -> Iterator[None]:
    """argparse folds its usage lines by the terminal's width."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = number
    yield
    if before is None:
        del os.environ["COLUMNS"]
    else:
        os.environ["COLUMNS"] = before
