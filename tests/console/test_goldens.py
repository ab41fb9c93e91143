"""Pictures of fixed presents, compared letter by letter. `make goldens` draws them anew; look at them before you commit them."""

import os
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

import pytest

from agent_core.feed import LogEntry
from agent_core.snapshot import CommandsView, LatencyView, ScheduledView, Snapshot
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
    first_words,
    needing_cases,
    pictured,
    remembered,
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
    *(Picture(f"empty-{size[0]}", EMPTY, size, empty=True) for size in (SMALL, USUAL, LARGE)),
    *(Picture(f"attention-{size[0]}", NEEDING, size, ("exclamation_mark",), shows="perhaps") for size in (SMALL, USUAL, WIDE)),
    Picture("attention-light", NEEDING, USUAL, ("exclamation_mark",), "edge-light", shows="perhaps", then=("j", "j")),
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
    Picture("texts-off", ONLINE, USUAL, texts="off"),
    Picture("too-small", ONLINE, (59, 15)),
    Picture("latency", ONLINE, USUAL, ("3",)),
    Picture("link-light", ONLINE, USUAL, ("1",), "edge-light"),
    Picture("schedule", LATER, SMALL, ("4",)),
    Picture("log", ONLINE, SMALL, ("5",)),
    Picture("marks-light", ONLINE, USUAL, ("space", "up", "up", "space", "r"), "edge-light"),
    Picture("contrast", WAITING, USUAL, (), "edge-contrast"),
    Picture("no-colour", WAITING, USUAL, ("E",), "edge-plain"),
)  # fmt: skip


async def drawn(picture: Picture) -> str:
    told = [] if picture.empty else [entry._replace(proven=entry.status == "acked") for entry in pictured(picture.snapshot.commands.held)]
    host = StillHost(picture.snapshot, told, {entry.command_id: remembered(entry.command_id) for entry in told})
    for number in range(0 if picture.empty else 12):
        host.feed.extend([LogEntry(NOON - 12 + number, ("INFO", "WARNING", "ERROR")[number % 3], f"line {number} of what happened")])
    options = ConsoleOptions(needing=lambda _: [] if picture.empty else needing_cases())
    if picture.ledger:
        options = options._replace(ledger=past(400))
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
