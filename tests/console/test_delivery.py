"""What became of a message, in the console: the stream's column, the inspector's life line."""

from datetime import UTC

import pytest
from msgspec.structs import replace

from agent_core.feed import DeliveryEntry, FeedEntry, ProvenEntry
from agent_core.records import Remembered
from console.panels.columns import columns_for
from console.panels.ring import Ring, expanded, row_of
from console.screens.pages import record_page
from console.themes import inks_of
from tests.console.test_app import seated
from tests.harness.stills import NOON, ONLINE, entry, remembered, text_of

FOLLOWING = replace(ONLINE, follows_deliveries=True)
WIDTHS = range(56, 240)


def names(width: int, hidden: frozenset[str] = frozenset(), texts: str = "shown") -> list[str]:
    return [column.name for column in columns_for(width, hidden, texts, deliveries=True)]


def test_the_column_is_there_where_it_leaves_room_for_the_message() -> None:
    for width in WIDTHS:
        columns = columns_for(width, deliveries=True)
        assert sum(column.width for column in columns) == width
        if "delivery" in names(width):
            assert columns[-1].width >= 28
    assert "delivery" not in names(116)
    assert names(116, frozenset({"run", "via"}))[3:5] == ["status", "delivery"]
    assert "delivery" in names(136)
    assert "bar" not in names(136), "the delivery goes before the bar"
    assert names(156)[4:6] == ["status", "delivery"]
    assert "delivery" not in names(156, frozenset({"delivery"}))
    assert "delivery" not in [column.name for column in columns_for(200)], "nobody tells it"


NEWS = (
    [entry(1, status="sent"), DeliveryEntry(NOON, 1, "sent"), entry(1), DeliveryEntry(NOON, 1, "read")],
    [DeliveryEntry(NOON, 1, "read"), ProvenEntry(NOON, (1,))],
    [DeliveryEntry(NOON, 1, "read"), entry(1)],
    [DeliveryEntry(NOON, 9, "sent"), DeliveryEntry(NOON, 1, "read")],
)


@pytest.mark.parametrize("news", NEWS)
def test_whatever_is_told_beside_it_a_delivery_stays_known(news: list[FeedEntry]) -> None:
    ring = Ring(10)
    place = ring.put(entry(1, status="sent"))
    told = {one.row: one for one in expanded(news, ring)}
    ring.put_all(told.values())
    assert ring.row(place).delivery == "read"
    ring.put(entry(1))
    assert ring.row(place).delivery == "read"


async def test_the_stream_has_a_column_that_follows_and_can_be_hidden() -> None:
    async with seated(FOLLOWING, [entry(1, "cmd_1", delivery="sent"), entry(2, "cmd_2")], size=(160, 40)) as seat:
        await seat.shows("✓ sent")
        assert "DELIVERY" in seat.screen()
        seat.host.feed.extend([DeliveryEntry(NOON, 1, "delivered"), DeliveryEntry(NOON, 2, "failed")])
        await seat.shows("✓✓ delivered")
        await seat.shows("✗ undelivered")
        await seat.press("C")
        key = next(line[0] for line in seat.dialog().splitlines() if "delivery" in line)
        await seat.press(key, "escape")
        assert "DELIVERY" not in seat.screen()
        await seat.press("C", key, "escape")
        await seat.shows("✗ undelivered")
        seat.host.change(follows_deliveries=False)
        await seat.until(lambda: "DELIVERY" not in seat.screen())


async def test_at_120_columns_it_is_offered_and_shown_once_others_make_room() -> None:
    async with seated(FOLLOWING, [entry(1, delivery="read")]) as seat:
        await seat.press("C")
        keys = {line.split()[-1]: line[0] for line in seat.dialog().splitlines() if line}
        assert "delivery" in keys
        await seat.press(keys["via"], keys["run"], "escape")
        await seat.shows("✓✓ read")


def life(record: Remembered) -> str:
    page = text_of(record_page(row_of(entry(1, "cmd_1")), record, inks_of("edge-dark"), UTC))
    return page.split("Life")[1].split("Payload")[0].rstrip()


def test_the_life_line_has_it_where_it_belongs() -> None:
    assert (
        life(remembered("cmd_1", sent_utc=NOON - 4, delivery="read", delivery_utc=NOON + 60)).splitlines()[-1].endswith("message ✓✓ read")
    )
    assert "message" not in life(remembered("cmd_1"))
