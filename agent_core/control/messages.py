"""What an agent and its viewers say to each other: one JSON object a line, named by `type`.

    viewer ──► Attach                     first of all; the agent has said Greeting by then
    agent  ──► Present, Past, Past …      the whole present, then all of the past that is kept; both again whenever there is news
    viewer ──► Post, Lookup, Search …     at any time, numbered by the viewer; each gets its Answer

The present may be merged: a viewer that reads slowly sees the newest. The past is never merged: what a viewer was too slow for is counted.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from agent_core.codec import FORMAT, CodecError, mapping
from agent_core.events import (
    CancelRequested,
    DrainRequested,
    HeldApproved,
    HeldRefused,
    HoldChosen,
    IntakePaused,
    IntakeResumed,
    PollingModeChosen,
    ReconnectRequested,
    ReplayRequested,
    ResolveRequested,
    SettingReset,
    StopRequested,
)
from agent_core.feed import FeedEntry
from agent_core.filters import Ask
from agent_core.plain import plain
from agent_core.records import Remembered
from agent_core.search import Page, Query
from agent_core.snapshot import Snapshot
from agent_core.threads import ThreadPage, ThreadQuery

MAX_ASKED = 2**20
"""Bytes of a line from a viewer: an edited payload fits."""
MAX_SAID = 64 * 2**20

OperatorEvent = (
    ReconnectRequested | PollingModeChosen | ReplayRequested | CancelRequested | ResolveRequested | HoldChosen | HeldApproved | HeldRefused
    | SettingReset | IntakePaused | IntakeResumed | DrainRequested | StopRequested
)  # fmt: skip
"""What a viewer may have the agent do."""


class Greeting(Struct, frozen=True, tag=True):
    """Who answers. A viewer of another `format` goes no further; the agent's version says which of the two is older."""

    format: int
    version: str
    pid: int
    host: str


class Present(Struct, frozen=True, tag=True):
    snapshot: Snapshot


class Past(Struct, frozen=True, tag=True):
    """Feed entries, oldest first; `dropped` ones before them were overwritten before this viewer could read them."""

    entries: list[FeedEntry]
    dropped: int = 0


class Answer(Struct, frozen=True, tag=True):
    """To what was asked by this number: the record that was looked for, the page or the numbers that were found, or why it was refused."""

    number: int
    record: Remembered | None = None
    page: Page | None = None
    thread: ThreadPage | None = None
    numbers: tuple[set[int], int] | None = None
    """Those that were found, and the last one that was looked at."""
    words: dict[int, str] | None = None
    refused: str | None = None


class Attach(Struct, frozen=True, tag=True):
    """`past`: whether it wants feed entries, too. The agent takes nothing else from a viewer that is `read_only`."""

    format: int
    read_only: bool = False
    past: bool = True


class Post(Struct, frozen=True, tag=True):
    number: int
    event: OperatorEvent


class Lookup(Struct, frozen=True, tag=True):
    number: int
    command_id: str


class Search(Struct, frozen=True, tag=True):
    """For one page of the ledger: a viewer asks for the next when it wants it."""

    number: int
    query: Query


class AskLedger(Struct, frozen=True, tag=True):
    """Which commands behind that number are what a filter wants to know of the ledger."""

    number: int
    ask: Ask
    after: int


class AskWords(Struct, frozen=True, tag=True):
    """How the messages of these commands begin."""

    number: int
    seqs: Annotated[list[int], Meta(max_length=1_000)]


class LookupThread(Struct, frozen=True, tag=True):
    """For one page of a thread."""

    number: int
    query: ThreadQuery


Said = Greeting | Present | Past | Answer
Asked = Attach | Post | Lookup | Search | AskLedger | AskWords | LookupThread

_encoder = msgspec.json.Encoder(enc_hook=mapping)
_said = msgspec.json.Decoder(Said)
_asked = msgspec.json.Decoder(Asked)


def dump(message: Said | Asked) -> bytes:
    """Its line, the end included."""
    return _encoder.encode(message) + b"\n"


def said_of(line: bytes) -> Said:
    """Raises CodecError."""
    said: Said = _decoded(_said, line)
    return said


def asked_of(line: bytes) -> Asked:
    """Raises CodecError."""
    asked: Asked = _decoded(_asked, line)
    return asked


def _decoded(decoder: "msgspec.json.Decoder[Any]", line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise CodecError(f"a line is not of format {FORMAT}: {plain(error, 120)}") from None
