"""To whom and what: the recipient and the first words of a message in its row, asked of the ledger for what is on the screen."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent_core.redaction import Redactor
from console.history import words
from console.panels.words import MAX_KNOWN, MAX_TRIES, Words
from tests.console.test_app import seated
from tests.console.test_stream import bodies
from tests.harness.rig import AGENT, SECRET, config, living, served, settled
from tests.harness.stills import entry


class Ledger:
    """Tells what it has, and remembers what it was asked for."""

    def __init__(self, told: dict[int, str]) -> None:
        self.told = told
        self.asked: list[int] = []

    def __call__(self, numbers: Sequence[int]) -> dict[int, str]:
        self.asked += numbers
        return {number: self.told[number] for number in numbers if number in self.told}


@pytest.mark.parametrize(("columns", "there"), [(80, False), (100, True), (120, True), (160, True), (200, True)])
async def test_from_100_columns_a_row_says_to_whom_and_what(columns: int, there: bool) -> None:
    ledger = Ledger({7: "lunch at noon?\x1b[2J"})
    async with seated(
        entries=[entry(7, thread_id="+13105550100"), entry(8, kind="update_config")], size=(columns, 30), words=ledger
    ) as seat:
        await seat.pilot.pause(0.15)
        if there:
            await seat.until(lambda: "+13105550100 lunch" in " ".join(bodies(seat).split()))
        assert ledger.asked == ([7] if there else [])
        assert "\x1b" not in bodies(seat)


async def test_only_what_is_on_the_screen_is_asked_for_and_only_once() -> None:
    ledger = Ledger({number: f"text {number}" for number in range(1, 1_000)})
    async with seated(entries=[entry(number, thread_id="+1") for number in range(1, 1_000)], words=ledger) as seat:
        await seat.until(lambda: "text 999" in bodies(seat))
        await seat.press("k", "k", "j")
        assert len(ledger.asked) == len(set(ledger.asked)) < 30
        await seat.press("home")
        await seat.until(lambda: "text 1 " in bodies(seat))


async def test_what_the_ledger_gets_a_bit_later_is_shown_and_what_it_never_gets_is_given_up() -> None:
    ledger = Ledger({})
    async with seated(entries=[entry(7, thread_id="+1")], words=ledger) as seat:
        await seat.until(lambda: ledger.asked)
        ledger.told[7] = "here it is"
        await seat.until(lambda: "here it is" in bodies(seat))
        seat.host.feed.extend([entry(9, thread_id="+1")])
        await seat.until(lambda: ledger.asked.count(9) == MAX_TRIES)
        await seat.pilot.pause(0.25)
        assert ledger.asked.count(9) == MAX_TRIES


async def test_masked_the_ledger_is_not_asked() -> None:
    ledger = Ledger({7: "secret"})
    async with seated(entries=[entry(7, thread_id="+1")], words=ledger, texts="masked") as seat:
        await seat.pilot.pause(0.25)
        assert ledger.asked == []
        await seat.press("m")
        await seat.until(lambda: "secret" in bodies(seat))


async def test_a_failure_says_why_in_its_place_and_beside_the_recipient_where_there_is_room() -> None:
    failed = [entry(7, thread_id="+13105550100", status="failed", error="no such recipient here")]
    for columns, beside in ((120, False), (160, True)):
        async with seated(entries=failed, size=(columns, 36)) as seat:
            assert ("+13105550100" in bodies(seat), "no such recipient here" in bodies(seat)) == (beside, True)


def test_what_is_known_is_bounded() -> None:
    known = Words()
    for first in range(0, 20_000, 100):
        numbers = range(first, first + 100)
        assert [known.of(number) for number in numbers] == [""] * 100
        known.tell(known.take_wanted(), dict.fromkeys(numbers, "text"))
    assert known.of(19_999) == "text"
    assert len([number for number in range(20_000) if known.of(number)]) <= MAX_KNOWN + 100


async def test_a_real_ledger_tells_how_messages_begin(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        told = [
            await backend.queue(AGENT, "send_message_now", {"thread_id": "+1", "text": "x" * 500}),
            await backend.queue(AGENT, "send_message_now", {"thread_id": "+1", "message": f"the key is {SECRET}"}),
            await backend.queue(AGENT, "update_config", {"ping_interval": 20}),
        ]
        await settled(backend, *told)
        folder = here.agent.config.data_dir
        numbers = [record.seq for name in told if (record := here.agent.lookup(name)) is not None]
    found = words(folder, Redactor(SECRET), [*numbers, 999])
    assert list(found.values()) == ["x" * 120, "the key is ***"]
    assert words(tmp_path / "none", Redactor(), [1]) == {}
