"""A thread in the console: both directions, what became of each message, and what is new while one looks."""

from collections.abc import Sequence

import pytest
from msgspec import structs

from agent_core.threads import MAX_MESSAGES, ThreadMessage, ThreadPage, ThreadQuery
from tests.console.test_app import Seat, seated
from tests.harness.stills import HOSTILE, NOON, ONLINE, entry, needing_cases, talk

WITH = "+13105550100"


class Ledger:
    """Has these messages of every thread, newest first, so many a page."""

    def __init__(self, messages: Sequence[ThreadMessage] = (), at_once: int = 1_000) -> None:
        self.messages = list(messages) or talk()
        self.asked: list[ThreadQuery] = []
        self._at_once = at_once

    def __call__(self, query: ThreadQuery) -> ThreadPage:
        self.asked.append(query)
        newest_first = sorted(self.messages, key=lambda one: -one.seq)
        if query.numbers:
            return ThreadPage([one for one in newest_first if one.seq in query.numbers])
        behind = [one for one in newest_first if query.before is None or one.seq < query.before]
        return ThreadPage(behind[: self._at_once], behind[self._at_once - 1].seq if len(behind) > self._at_once else None)


ROWS = [entry(1, "cmd_1", thread_id=None), entry(2, "cmd_2", thread_id=WITH)]


async def opened(seat: Seat, words: str = "see you at eight") -> None:
    await seat.press("T")
    await seat.until(lambda: words in seat.dialog())


def lines(seat: Seat) -> list[str]:
    return seat.dialog().splitlines()


def title(seat: Seat) -> str:
    return str(seat.app.screen.query_one(".dialog").border_title)


async def test_a_thread_has_both_directions_in_the_order_of_time_with_dates_and_delivery() -> None:
    async with seated(entries=ROWS, thread=Ledger()) as seat:
        await opened(seat)
        says = [
            "── 2026-11-05 ", "18:02:11 ↗ Dinner tomorrow?", "✓✓ read 11-05 18:05", "18:06:40 ↘ Yes, where?", "✓ told", "── 2026-11-06 ",
            "↗ The usual place, ", "✓✓ delivered", "↘ [2 attachments] Fine,", "see you at eight", "↗ Running late", "✗ undelivered",
            "↗ Are you there?", "✗ failed", "the recipient is not registered", "↗ Good night", "◷ scheduled",
        ]  # fmt: skip
        at = 0
        for words in says:
            at = seat.dialog().index(words, at) + 1
        assert title(seat) == "Thread +13105550100 · 8 messages"
        await seat.press("T")
        assert seat.app.screen is seat.app.screen_stack[0]


async def test_a_group_says_who_speaks() -> None:
    said = ThreadMessage(1, NOON, True, "ann@example.org", "hello all", 0, "received")
    async with seated(entries=[entry(1, thread_id="chat831551415676550949")], thread=Ledger([said])) as seat:
        await opened(seat, "↘ ann@example.org: hello all")
        assert title(seat).endswith("· 1 message")


async def test_what_is_new_or_has_come_further_is_shown_while_one_looks() -> None:
    ledger = Ledger()
    async with seated(entries=ROWS, thread=ledger) as seat:
        await opened(seat)
        ledger.messages.append(ThreadMessage(99, NOON + 1, True, WITH, "just now", 0, "received"))
        seat.host.feed.extend([entry(99, "evt_99", "message_received", thread_id=WITH, via="in")])
        await seat.pilot.pause(0.2)
        seat.clock.advance(0.3)
        await seat.until(lambda: "just now" in seat.dialog())
        ledger.messages[2] = structs.replace(ledger.messages[2], delivery="read")
        seat.clock.advance(2.1)
        await seat.until(lambda: "✓✓ delivered" not in seat.dialog())
        assert ledger.asked[-1].numbers == (*sorted(one.seq for one in ledger.messages),)


async def test_far_messages_are_read_page_by_page_and_only_the_newest_are_kept() -> None:
    many = [ThreadMessage(seq, NOON + seq, False, "", f"number {seq}.", 0, "acked") for seq in range(1, MAX_MESSAGES + 100)]
    async with seated(entries=ROWS, thread=Ledger(many, at_once=90)) as seat:
        await opened(seat, f"The newest {MAX_MESSAGES}")
        assert "number 99." not in seat.dialog()
        assert "number 100." in seat.dialog()
        assert "Reading" not in seat.dialog()
        box = seat.app.screen.query_one(".dialog")
        await seat.until(lambda: box.scroll_y == box.max_scroll_y > 0)
        await seat.press("g")
        await seat.until(lambda: box.scroll_y == 0)


async def test_a_mask_hides_whom_and_what_also_in_the_title() -> None:
    async with seated(entries=ROWS, thread=Ledger()) as seat:
        await opened(seat)
        await seat.press("m")
        for secret in (WITH, "eight", "Dinner", "usual"):
            assert secret not in seat.dialog() + title(seat)
        assert "•••00" in title(seat)
        assert "•••00" not in seat.dialog(), "nobody else speaks"
        assert "✓✓ read" in seat.dialog()
        await seat.press("Y")
        assert "Dinner" not in seat.app.clipboard
        await seat.press("m")
        assert "Dinner" in seat.dialog()


@pytest.mark.parametrize(("rows", "words"), [(ROWS[:1], "belongs to no thread"), ([], "No command yet")])
async def test_what_has_no_thread_says_so(rows: list[object], words: str) -> None:
    async with seated(entries=rows, thread=Ledger()) as seat:  # type: ignore[arg-type]
        await seat.press("T")
        await seat.says(words)


async def test_a_ledger_without_the_thread_says_so() -> None:
    async with seated(entries=ROWS, thread=lambda _: ThreadPage([])) as seat:
        await opened(seat, "The ledger has no message of this thread.")


async def test_it_is_modal_and_opens_from_the_inspector_and_the_attention_list() -> None:
    async with seated(ONLINE, ROWS, thread=Ledger(), needing=lambda _: needing_cases()) as seat:
        await seat.press("enter")
        await opened(seat)
        for key in ("R", "r", "e", "p", "x", "a", "X", "1", "slash", "space"):
            await seat.press(key)
        assert len(seat.host.posted) == 1, "R alone"
        assert "Thread" in title(seat)
        await seat.press("question_mark")
        assert "Mask" in seat.dialog()
        await seat.press("escape", "escape")
        assert title(seat) == "Command"
        await seat.press("escape", "exclamation_mark")
        await seat.until(lambda: "cmd_1" in seat.dialog())
        await seat.press("j")
        await opened(seat)


async def test_f48_hostile_texts_stay_text() -> None:
    said = [ThreadMessage(seq, NOON + seq, True, text[:500], text[:1_000], 0, "received") for seq, text in enumerate(HOSTILE, 1)]
    async with seated(entries=ROWS, size=(80, 24), thread=Ledger(said)) as seat:
        await opened(seat, "zero")
        assert "\x1b" not in seat.dialog()
        assert "[red]x[/" in seat.dialog()
        seat.host.change(link=ONLINE.link)
        await seat.press("G", "g", "j", "k")
        assert "Thread" in title(seat)
