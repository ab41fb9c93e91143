"""Whose delay it was: the arithmetic, the backend's clock, and a real ledger read from outside."""

from email.utils import formatdate
from pathlib import Path

import pytest

from agent_core.channels.credentials import Credentials
from agent_core.channels.http import PollingChannel
from agent_core.clock import ManualClock
from agent_core.delays import Instants, Parts, delays, parts
from agent_core.events import BackendClockRead, Event, Poll, Record, Ticked
from agent_core.frames import Command
from agent_core.journal.reader import NoLedger, delays_since
from agent_core.records import CLOCK_OFFSET, AcksProven, CommandAccepted, Remembered, SettingStored, State, Via
from tests.harness.desk import Desk
from tests.harness.playbook import Playbook, records
from tests.harness.rig import HttpStub, config, http_answer

UTC = 1_793_910_600.0
FULL = Instants(UTC - 9, UTC, None, UTC + 0.5, UTC + 2.5, UTC + 3, UTC + 7)
QUICK = Instants(UTC - 0.01, UTC, None, UTC + 0.001, UTC + 0.002, UTC + 0.003, UTC + 8)


# --- the arithmetic ------------------------------------------------------------------------------------------------------


def test_every_second_of_a_command_is_somebodys() -> None:
    assert parts(FULL, 0.0) == Parts(backend=9, link=0.5, lane=0.5, effect=2, proof=4)


def test_the_backends_instant_is_taken_back_to_this_machines_clock() -> None:
    assert parts(FULL, -8.0).backend == 1
    assert parts(FULL, 20.0).backend == 29
    assert parts(FULL, -20.0).backend == 0, "no command comes before it is issued"


def test_a_message_that_is_due_later_waits_for_its_turn_from_then_on_only() -> None:
    assert parts(FULL._replace(due=UTC + 0.4), 0.0).lane == pytest.approx(0.1)
    assert parts(FULL._replace(due=UTC - 60), 0.0).lane == 0.5, "nor from before it came"


def test_an_ack_that_an_http_call_proves_was_on_the_wire_until_then() -> None:
    assert parts(FULL._replace(sent=None), 0.0) == Parts(backend=9, link=4.5, lane=0.5, effect=2, proof=None)


def test_what_never_ran_has_no_part_of_it() -> None:
    assert parts(Instants(None, UTC, None, None, UTC + 1, None, None), 0.0) == Parts()


def test_the_sentence_says_who_kept_the_late_ones_waiting() -> None:
    late = [FULL._replace(issued=UTC - 11.2)] * 391 + [FULL._replace(issued=None, started=UTC + 30, finished=UTC + 30, sent=UTC + 30)] * 21
    found = delays([*late, *[QUICK] * 1_000], 0.0, UTC - 60)
    assert (found.commands, found.late) == (1_412, 412)
    assert found.sentence.startswith("of 412 late commands 391 waited in the backend, p95 11.")
    assert "; 21 waited in their lane, p95 " in found.sentence
    assert found.spreads["backend"].count == 1_391
    assert found.spreads["backend"].max == pytest.approx(11.2)
    assert found.spreads["effect"].p50 == pytest.approx(0.001, rel=0.03)


def test_a_late_proof_makes_no_command_late() -> None:
    assert delays([QUICK], 0.0, 0.0).sentence == "none of 1 commands was late (over 1 s)"
    assert delays([], None, 0.0).sentence == "no commands in this time"


def test_hours_have_the_mean_of_their_commands() -> None:
    later = FULL._replace(**{name: utc + 7_200 for name, utc in FULL._asdict().items() if utc})
    hours = delays([FULL, FULL._replace(issued=UTC - 1), later], 0.0, 0.0).hours
    assert [hour.commands for hour in hours] == [2, 1]
    assert (hours[0].means.backend, hours[1].means.backend) == (5, 9)
    assert hours[1].begins_utc - hours[0].begins_utc == 7_200


# --- the backend's clock --------------------------------------------------------------------------------------------------


def test_what_dates_say_of_the_backends_clock_narrows_it() -> None:
    book = Playbook().online()
    assert book.snapshot.clock_offset is None
    book >> BackendClockRead(3.0, 4.2)
    assert book.snapshot.clock_offset == pytest.approx(3.6)
    book >> BackendClockRead(3.9, 5.1)
    assert book.snapshot.clock_offset == pytest.approx(4.05)
    book >> BackendClockRead(-60.0, -59.0)
    assert book.snapshot.clock_offset == pytest.approx(-59.5), "it was set: what was known is of no use"


def test_the_offset_is_written_when_it_changes_and_not_with_each_answer() -> None:
    book = Playbook().online()
    book >> BackendClockRead(3.0, 4.0)
    noted = book.find(records(SettingStored))
    assert noted.changes == (SettingStored(CLOCK_OFFSET, "3.500"),)
    book >> BackendClockRead(3.1, 4.1)
    book.never(Record)
    book >> BackendClockRead(13.0, 14.0)
    book << records(SettingStored)


def test_this_machines_clock_being_set_forgets_the_offset() -> None:
    book = Playbook().online()
    book >> BackendClockRead(3.0, 4.0)
    book.sleep(600.0) >> Ticked()
    assert book.snapshot.clock_offset is None


@pytest.mark.parametrize(("date", "told"), [(formatdate(UTC + 90, usegmt=True), True), ("yesterday", False), ("", False)])
async def test_a_poll_reads_the_date_of_its_answer(tmp_path: Path, date: str, told: bool) -> None:
    posted: list[Event] = []
    async with HttpStub(lambda _path: http_answer(b"{}", "200 OK", f"Date: {date}")) as stub:
        where = config(tmp_path, stub.url)
        channel = PollingChannel(where, Credentials(where), ManualClock(utc=UTC + 0.25), posted.append)
        await channel.poll(Poll(1, None, (), {}))
        await channel.close()
    assert [event for event in posted if isinstance(event, BackendClockRead)] == ([BackendClockRead(89.75, 90.75)] if told else [])


# --- a real ledger -------------------------------------------------------------------------------------------------------


def ran(seq: int, received: float, via: Via = Via.WS, state: State = State.COMPLETED) -> CommandAccepted:
    command = Command(f"c{seq}", "send_message_now", {"text": "x"}, issued_utc=received - 10)
    done = None if state is State.RUNNING else received + 1
    return CommandAccepted(Remembered(seq, command, via, state, received, received + 0.5, done, runs=1, ack="{}"))


def test_the_ledger_tells_of_what_came_from_the_backend_and_has_ended(desk: Desk) -> None:
    folder = desk.journal.path.parent
    desk.write(ran(1, UTC - 99), ran(2, UTC), ran(3, UTC, Via.LOCAL), ran(4, UTC, state=State.RUNNING), ran(5, UTC + 1, Via.POLL))
    desk.write(AcksProven(((2, UTC + 2),), UTC + 6, "pong"), SettingStored(CLOCK_OFFSET, "-7.500"))
    found = delays_since(folder, UTC - 60)
    assert (found.commands, found.clock_offset) == (2, -7.5)
    assert {name: spread.count for name, spread in found.spreads.items()} == {"backend": 2, "link": 1, "lane": 2, "effect": 2, "proof": 1}
    assert found.spreads["backend"].max == pytest.approx(2.5)
    assert found.spreads["proof"].max == pytest.approx(4)


def test_no_ledger_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoLedger, match="no ledger in"):
        delays_since(tmp_path, 0.0)


def test_a_fact_that_is_no_number_is_one_sentence(desk: Desk) -> None:
    desk.write(SettingStored(CLOCK_OFFSET, "soon"))
    with pytest.raises(NoLedger, match="is damaged"):
        delays_since(desk.journal.path.parent, 0.0)
