"""Messages that came in, as rows of the ledger: the stream has them after a restart, too."""

from pathlib import Path
from typing import Any

from agent_core.engine.repeats import Repeats
from agent_core.engine.upstream import Upstream
from agent_core.events import InboundRead
from agent_core.feed import CommandEntry, ProvenEntry
from agent_core.frames import MESSAGE_RECEIVED, Occurrence
from agent_core.journal import rows
from agent_core.journal.audit import audit
from agent_core.journal.reader import asked, first_words
from agent_core.journal.search import page
from agent_core.records import DROPPED, CommandAccepted, EventAdded, EventsSettled, Memory, MessageReceived, OwedEvent, SettingStored
from agent_core.search import Query
from tests.harness.desk import UTC, Desk, reopened, took
from tests.harness.playbook import Playbook, records
from tests.harness.stills import NOON, clock


def came(seq: int, event: int, thread: str = "+1310", text: str = "", **more: Any) -> tuple[EventAdded, MessageReceived]:
    """What is recorded of one that came in: the event for the backend, and the row."""
    name = f"evt_{event}"
    given = {"sender": thread, "attachments": 0, "sent_utc": UTC - 5, "utc": UTC, **more}
    added = EventAdded(event, name, MESSAGE_RECEIVED, UTC, f'{{"event_id":"{name}"}}')
    return added, MessageReceived(seq, event, name, thread, text=text or f"hello {event}", **given)


def shown(folder: Path, text: str = "", **more: Any) -> list[CommandEntry]:
    return page(folder, Query(text, **more), lambda entries: entries).entries


def test_what_came_in_stands_between_the_commands_and_says_whether_the_backend_has_it(desk: Desk) -> None:
    folder = desk.journal.path.parent
    desk.write(took(1), *came(2, 1), took(3), *came(4, 2), *came(5, 3))
    desk.write(EventsSettled((1,), UTC, "pong"), EventsSettled((2,), UTC, DROPPED))
    assert [(one.row, one.via, one.status, one.proven, one.effect) for one in shown(folder)] == [
        (1, "ws", "running", False, "external"), (2, "in", "acked", True, "harmless"), (3, "ws", "running", False, "external"),
        (4, "in", "received", False, "harmless"), (5, "in", "received", False, "harmless"),
    ]  # fmt: skip
    assert [one.command_id for one in shown(folder, "via:in status:received")] == ["evt_2", "evt_3"]
    for text in ('text:"hello 2"', "evt_2", "harmless !evt_1 !evt_3"):
        assert [one.row for one in shown(folder, text)] == [4]
    assert [one.row for one in shown(folder, before=4, most=2)] == [2, 3]
    assert [one.row for one in shown(folder, after=3)] == [4, 5]
    assert first_words(folder, (1, 2, 9)) == {1: "hi 1", 2: "hello 1"}
    assert asked(folder, "text", "hello", 2) == ({4, 5}, 5)
    assert audit(folder).ok


def test_a_restart_gives_their_numbers_to_no_command_and_knows_their_rows(desk: Desk, desks: list[Desk]) -> None:
    desk.write(took(1), *came(7, 1), *came(8, 2))
    desk.write(EventsSettled((1,), UTC, "pong"))
    _, memory = reopened(desk, desks)
    assert memory.next_seq == 9
    assert memory.events == (OwedEvent(2, "evt_2", MESSAGE_RECEIVED, 20, 8),)


def test_the_last_five_thousand_are_kept(desk: Desk) -> None:
    folder = desk.journal.path.parent
    for start in range(1, rows.INBOUND_KEPT + 11, 1_002):
        desk.give(*(change for number in range(start, start + 1_002) for change in came(number, number)))
    desk.write(took(9_999))
    first = shown(folder, after=0, most=1)[0].row
    assert len(first_words(folder, range(1, 7_000))) == rows.INBOUND_KEPT
    assert first == len(range(1, rows.INBOUND_KEPT + 11, 1_002)) * 1_002 - rows.INBOUND_KEPT + 1


def test_its_row_is_recorded_whoever_looks() -> None:
    book = Playbook(inbound={"enabled": True}).online(Memory(next_seq=40))
    payload = {"guid": "G", "thread_id": "+1310", "sender": "ann@example.org", "text": "x" * 5_000, "attachments": [{"name": "a.jpg"}]}
    book >> InboundRead("7@1", (Occurrence(MESSAGE_RECEIVED, "evt_g", UTC, payload),))
    told = book.find(records(EventAdded, MessageReceived, SettingStored)).changes[1]
    assert told == MessageReceived(40, 1, "evt_g", "+1310", "ann@example.org", "x" * 1_000, 1, UTC, book.clock.utc)
    assert book.push("c1").find(records(CommandAccepted)).changes[0].entry.seq == 41


def test_a_proof_after_a_restart_finds_the_row() -> None:
    told: list[Any] = []
    upstream = Upstream(told.append, told.append, told.append, Repeats(told.append))
    upstream.restore([OwedEvent(1, "evt_g", MESSAGE_RECEIVED, 9, 40)], 2)
    upstream.arrived(("evt_g",), clock().now())
    assert told == [ProvenEntry(NOON, (40,)), EventsSettled((1,), NOON, "ack_events")]
