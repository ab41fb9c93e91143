"""Pictures of fixed presents, compared letter by letter. `make goldens` draws them anew; look at them before you commit them."""

import os
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from agent_core.delays import Delays, Instants, delays
from agent_core.feed import CommandEntry, LogEntry
from agent_core.records import Remembered
from agent_core.search import Page, Query
from agent_core.snapshot import CommandsView, LatencyView, ScheduledView, Snapshot
from agent_core.threads import ThreadPage
from console.app import EdgeConsole
from console.operations import ConsoleOptions
from console.screenshot import svg_of
from tests.harness.past import past
from tests.harness.stills import (
    MONO,
    NOON,
    NOTHING_YET,
    OFFLINE,
    ONLINE,
    REFUSED,
    WAITING,
    StillHost,
    clock,
    entry,
    first_words,
    measured,
    needing_cases,
    pictured,
    remembered,
    talk,
)

FOLDER = Path(__file__).with_name("goldens")
SMALL, USUAL, LARGE, TOWER = (80, 24), (120, 36), (200, 60), (80, 50)
WIDE = (160, 45)
HUNDRED = (100, 30)
POLLING = replace(WAITING, commands=replace(WAITING.commands, outbox=12))
LATER = replace(ONLINE, scheduled=(ScheduledView("sched_1", "cmd_1", "+13105550100", NOON + 3_600),), scheduled_count=1)
NEEDING = replace(ONLINE, commands=replace(ONLINE.commands, interrupted=1, unresolved=2, overdue=1, turned_away=12))
HOLDING = replace(ONLINE, commands=replace(ONLINE.commands, held=3), hold="type:send", hold_until_at=MONO + 272)
HOLDS = ((SMALL, "held"), (USUAL, "Your"), (WIDE, "Your"))
EMPTY = replace(NOTHING_YET, latency=LatencyView(), commands=CommandsView())


class Picture(NamedTuple):
    name: str
    snapshot: Snapshot
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "edge-dark"
    empty: bool = False
    shows: str = ""
    """A word that is there once what is asked of the ledger has come."""
    texts: str = ""
    """As in the configuration; then the ledger tells how messages begin."""
    then: tuple[str, ...] = ()
    """Keys for then."""
    ledger: bool = False
    """It has earlier commands, too."""
    entries: Sequence[CommandEntry] = ()
    """In the place of the usual ones."""
    searched: bool = False
    """The ledger is being searched, without an end."""


def slow_hours() -> Delays:
    """Three hours of commands, of which most late ones waited in the backend."""
    hours = range(8)
    told = [
        Instants(
            NOON - hour * 3_600 - number - (11.2 if number % 7 <= hour % 4 else 0.3), NOON - hour * 3_600 - number, None,
            NOON - hour * 3_600 - number + 0.02, NOON - hour * 3_600 - number + 0.05 + (2.0 if number % 31 == 0 else 0.0),
            NOON - hour * 3_600 - number + 0.1 + (2.0 if number % 31 == 0 else 0.0), NOON - hour * 3_600 - number + 4.0,
        )
        for hour in hours for number in range(1, 300 - 30 * hour)
    ]  # fmt: skip
    return delays(told, 0.0, NOON - 8 * 3_600)


def unending(query: Query) -> Page:
    """A search that is at 37 % for ever, of a ledger with earlier commands."""
    if not query.text:
        return Page([entry(number, f"cmd_{number:010x}", utc=NOON - 180_000 + number * 40) for number in range(1, 9)])
    return Page([], next=1, left=0.63)


DATED = tuple(
    entry(number, utc=utc, status=status)
    for number, (utc, status) in enumerate(
        ((NOON - 400 * 86_400, "acked"), (NOON - 40 * 86_400, "failed"), (NOON - 2 * 86_400, "acked"), (NOON - 86_400, "interrupted"),
         (NOON - 3_600, "acked"), (NOON - 5, "scheduled")), 1,
    )
)  # fmt: skip
LARGE_FIGURES = tuple(
    entry(number, kind="send_message_now", run_ms=run, ack_ms=ack, utc=NOON - 60 + number)
    for number, (run, ack) in enumerate(((999.4, 999.6), (12_345.0, 60_400.0), (119_000.0, 1_204_000.0), (0.04, 90_061_000.0)), 1)
)
FOLLOWED = replace(ONLINE, follows_deliveries=True)
DELIVERIES = ("sent", "delivered", "read", "failed", None)
DELIVERED = tuple(
    one._replace(delivery=delivery if one.status == "acked" and one.thread_id else None)
    for one, delivery in zip(pictured(), DELIVERIES * 5, strict=False)
)
SPOKEN = (entry(1, thread_id="+13105550100"),)
DUE = replace(ONLINE, scheduled=(ScheduledView("sched_1", "cmd_1", "+13105550100", NOON + 3 * 86_400),), scheduled_count=1)
HUGE_COUNTS = CommandsView(received=12_345_678, completed=12_300_000, failed=45_678, duplicates=1_234_567, proven=12_299_000, outbox=1_000)
HUGE_TIMES = replace(
    ONLINE.latency, socket=measured(*[999.6] * 50, *[60_400.0] * 40, *[1_204_000.0] * 10), last_ping_ms=12_345.0, jitter_ms=999.9
)
HUGE = replace(ONLINE, commands=HUGE_COUNTS, latency=HUGE_TIMES)
FILTER = ("slash", *"via:poll,local", "space", *">20ms")
PICTURES = (
    *(Picture(f"online-{size[0]}", ONLINE, size) for size in (SMALL, USUAL, LARGE)),
    *(Picture(f"waiting-{size[0]}", WAITING, size) for size in (SMALL, USUAL, LARGE)),
    *(Picture(f"polling-{size[0]}", POLLING, size, ("f",)) for size in (SMALL, USUAL)),
    *(Picture(f"refused-{size[0]}", REFUSED, size) for size in (SMALL, USUAL, LARGE)),
    Picture("offline-80", OFFLINE, SMALL),
    Picture("offline-80x50", OFFLINE, TOWER),
    *(Picture(f"inspector-{size[0]}", ONLINE, size, ("N", "enter")) for size in (SMALL, USUAL, LARGE)),
    *(Picture(f"filter-{size[0]}", ONLINE, size, FILTER) for size in (SMALL, USUAL, LARGE)),
    *(Picture(f"help-{size[0]}", ONLINE, size, ("question_mark",)) for size in (SMALL, USUAL, LARGE)),
    *(Picture(f"help-search-{size[0]}", ONLINE, size, ("question_mark", "slash", *"copy")) for size in (SMALL, USUAL, WIDE)),
    *(Picture(f"empty-{size[0]}", EMPTY, size, empty=True) for size in (SMALL, USUAL, LARGE)),
    *(Picture(f"attention-{size[0]}", NEEDING, size, ("exclamation_mark",), shows="GUID") for size in (SMALL, USUAL, WIDE)),
    Picture("attention-light", NEEDING, USUAL, ("exclamation_mark",), "edge-light", shows="GUID", then=("j", "j")),
    Picture("attention-none", ONLINE, SMALL, ("exclamation_mark",), empty=True, shows="Nothing"),
    *(Picture(f"recipients-{size[0]}", ONLINE, size, texts="shown", shows="Your") for size in (HUNDRED, USUAL, WIDE, LARGE)),
    *(Picture(f"masked-{size[0]}", ONLINE, size, texts="masked", shows="MASKED") for size in (SMALL, USUAL, WIDE)),
    Picture("recipients-light", ONLINE, USUAL, (), "edge-light", texts="shown", shows="Your"),
    Picture("masked-inspector", ONLINE, SMALL, ("enter",), texts="masked", shows="Payload"),
    *(Picture(f"hold-{size[0]}", HOLDING, size, texts="shown", shows=shows) for size, shows in HOLDS),
    Picture("hold-light", HOLDING, USUAL, ("a",), "edge-light", texts="shown", shows="Let"),
    *(Picture(f"earlier-{size[0]}", ONLINE, size, ledger=True, shows="cmd_400", then=("pageup",)) for size in (SMALL, USUAL, WIDE)),
    Picture("earlier-light", ONLINE, USUAL, (), "edge-light", ledger=True, shows="cmd_400", then=("pageup",)),
    *(Picture(f"beside-{size[0]}", ONLINE, size, ("v",), shows="Payload") for size in (WIDE, LARGE)),
    Picture("beside-light", ONLINE, WIDE, ("v",), "edge-light", texts="masked", shows="Payload"),
    *(Picture(f"thread-{size[0]}", ONLINE, size, ("T",), shows="scheduled", entries=SPOKEN) for size in (SMALL, USUAL, WIDE)),
    Picture("thread-light", ONLINE, USUAL, ("T",), "edge-light", texts="masked", shows="undelivered", entries=SPOKEN),
    *(
        Picture(f"delivery-{size[0]}", FOLLOWED, size, keys, texts="shown", shows=shows, entries=DELIVERED)
        for size, keys, shows in (
            (SMALL, (*["up"] * 4, "enter"), "Life"), (USUAL, ("C", "4", "6", "escape"), "Your"), (WIDE, (), "Your"),
        )
    ),
    Picture("texts-off", ONLINE, USUAL, texts="off"),
    *(Picture(f"sorted-{size[0]}", ONLINE, size, ("S", "7" if size[0] > 80 else "6")) for size in (SMALL, USUAL, WIDE)),
    *(
        Picture(f"search-{size[0]}", ONLINE, size, ("slash", *"via:poll,local", "enter"), shows="37%", searched=True)
        for size in (SMALL, USUAL, WIDE)
    ),
    *(Picture(f"stats-{size[0]}", ONLINE, size, ("3",), shows="backend") for size in (SMALL, USUAL, WIDE)),
    *(Picture(f"dates-{size[0]}", DUE, size, ("4",), then=("4", "up"), entries=DATED) for size in (SMALL, USUAL, WIDE)),
    *(Picture(f"figures-{size[0]}", HUGE, size, entries=LARGE_FIGURES) for size in (SMALL, USUAL, WIDE)),
    Picture("too-small", ONLINE, (59, 15)),
    Picture("latency", ONLINE, USUAL, ("3",)),
    Picture("link-light", ONLINE, USUAL, ("1",), "edge-light"),
    Picture("schedule", LATER, SMALL, ("4",)),
    Picture("log", ONLINE, SMALL, ("5",)),
    Picture("marks-light", ONLINE, USUAL, ("space", "up", "up", "space", "r"), "edge-light"),
    Picture("contrast", WAITING, USUAL, (), "edge-contrast"),
    Picture("no-colour", WAITING, USUAL, ("E",), "edge-plain"),
)  # fmt: skip


def recorded(one: CommandEntry) -> Remembered:
    return remembered(one.command_id, delivery=one.delivery, delivery_utc=NOON + 31 if one.delivery else None)


async def drawn(picture: Picture) -> str:
    rows = picture.entries or pictured(picture.snapshot.commands.held)
    told = [] if picture.empty else [one._replace(proven=one.status == "acked", row=one.row + 100 * picture.searched) for one in rows]
    host = StillHost(picture.snapshot, told, {one.command_id: recorded(one) for one in told})
    for number in range(0 if picture.empty else 12):
        host.feed.extend([LogEntry(NOON - 12 + number, ("INFO", "WARNING", "ERROR")[number % 3], f"line {number} of what happened")])
    options = ConsoleOptions(
        needing=lambda _: [] if picture.empty else needing_cases(), thread=lambda _: ThreadPage(talk()[::-1]),
    )  # fmt: skip
    if picture.ledger or picture.searched:
        options = options._replace(ledger=unending if picture.searched else past(400))
    if "stats" in picture.name:
        options = options._replace(delays=lambda _: slow_hours())
    if picture.texts:
        options = options._replace(texts=picture.texts, words=first_words)
    app = EdgeConsole(host, clock=clock(), zone=UTC, theme=picture.theme, options=options)
    async with app.run_test(size=picture.size) as pilot:
        for key in picture.keys:
            await pilot.press(key)
        for widget in app.screen.query("Input, TextArea"):
            widget.cursor_blink = False  # type: ignore[attr-defined]
        await pilot.pause(0.1)
        while picture.shows not in svg_of(app):
            await pilot.pause(0.05)
        await pilot.press(*picture.then)
        return svg_of(app)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
async def test_golden(picture: Picture, tmp_path: Path) -> None:
    svg = await drawn(picture)
    golden = FOLDER / f"{picture.name}.svg"
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(svg)
    if svg != golden.read_text():
        (tmp_path / golden.name).write_text(svg)
        pytest.fail(f"{picture.name} looks different: compare {golden} with {tmp_path / golden.name}; `make goldens` takes the new one")


def test_no_golden_is_left_behind() -> None:
    assert {path.stem for path in FOLDER.glob("*.svg")} == {picture.name for picture in PICTURES}
