"""Both directions of one thread, read from the ledger."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from agent_core.frames import Command
from agent_core.journal.reader import find, named
from agent_core.journal.search import page
from agent_core.journal.threads import thread_page
from agent_core.records import Change, CommandAccepted, CommandEnded, EventsSettled, ReceiptAdded, ReceiptChanged, Remembered, State, Via
from agent_core.redaction import Redactor
from agent_core.search import Query
from agent_core.threads import MAX_MESSAGES, ThreadMessage, ThreadPage, ThreadQuery
from tests.agent_core.test_inbound_rows import came
from tests.harness.desk import UTC, Desk, ended, took

PHONE = "+13105550100"


def out(seq: int, thread: object, text: str = "hi", **more: object) -> CommandAccepted:
    payload = {"thread_id": thread, "text": text, **more}
    return CommandAccepted(Remembered(seq, Command(f"c{seq}", "send_message_now", payload), Via.WS, State.RUNNING, UTC, UTC, runs=1))


def asked(desk: Desk, thread: str = PHONE, before: int | None = None, numbers: Iterable[int] = ()) -> ThreadPage:
    return thread_page(desk.journal.path.parent, Redactor("a-secret"), ThreadQuery(thread, before, tuple(numbers)))


def seqs(page: ThreadPage) -> list[int]:
    return [message.seq for message in page.messages]


def test_a_thread_is_whoever_its_id_means_in_both_directions(desk: Desk) -> None:
    desk.write(
        out(1, "iMessage;-;+13105550100"), *came(2, 1, PHONE), out(3, "+13105550199"), out(4, "+1 (310) 555-0100"),
        *came(5, 2, "ann@example.org"),
        out(6, 13105550100), out(7, None), out(8, PHONE, text=""), took(9, "c9"),
    )  # fmt: skip
    assert seqs(asked(desk)) == [8, 4, 2, 1]
    assert seqs(asked(desk, "any;-;+13105550100")) == [8, 4, 2, 1]
    assert seqs(asked(desk, "Ann@Example.org")) == [5]
    assert seqs(asked(desk, "nobody")) == []


def test_each_says_what_it_is_and_how_far_it_has_come(desk: Desk) -> None:
    desk.write(
        out(1, PHONE, "a-secret is out", attachments=[{"url": "x"}, {"url": "y"}]), *came(2, 1, PHONE, "what?", sender="ann@example.org"),
        out(3, PHONE, "x" * 3_000), out(4, PHONE),
    )  # fmt: skip
    desk.write(
        ended(1, "c1", effect=False), CommandEnded(3, State.FAILED, UTC + 2, "no such recipient", "{}"),
        ReceiptAdded("G1", "c1", 1, UTC), EventsSettled((1,), UTC, "pong"),
    )  # fmt: skip
    desk.write(ReceiptChanged("G1", "read", UTC + 9))
    waiting, failed, inbound, sent = asked(desk).messages
    assert sent == ThreadMessage(1, UTC, False, "", "*** is out", 2, "outbox", None, "read", UTC + 9)
    assert inbound == ThreadMessage(2, UTC - 5, True, "ann@example.org", "what?", 0, "acked")
    assert (failed.status, failed.error, failed.text, failed.utc) == ("failed", "no such recipient", "x" * 1_000, UTC + 2)
    assert (waiting.status, waiting.delivery) == ("running", None)


def test_a_page_is_bounded_and_says_where_to_go_on(desk: Desk) -> None:
    many = MAX_MESSAGES + 50
    changes: list[Change] = [out(seq, PHONE) for seq in range(1, many + 1)]
    desk.write(*changes)
    first = asked(desk)
    assert (seqs(first), first.next) == (list(range(many, 50, -1)), 51)
    second = asked(desk, before=first.next)
    assert (seqs(second), second.next) == (list(range(50, 0, -1)), None)
    assert asked(desk, before=1) == ThreadPage([])


def test_far_apart_messages_are_found_slice_by_slice(desk: Desk) -> None:
    desk.write(out(1, PHONE), out(25_000, PHONE), *came(25_001, 1, PHONE))
    first = asked(desk)
    assert (seqs(first), first.next) == ([25_001, 25_000], 15_002)
    second = asked(desk, before=first.next)
    assert seqs(second) == [1]
    assert second.next is None


def test_those_of_some_numbers_are_read_again(desk: Desk) -> None:
    desk.write(out(1, PHONE), out(2, "+1999"), *came(3, 1, PHONE))
    assert seqs(asked(desk, numbers=(1, 2, 3, 77))) == [3, 1]


def test_a_payload_that_is_no_json_belongs_to_no_thread(desk: Desk, tmp_path: Path) -> None:
    desk.write(out(1, PHONE), out(2, PHONE))
    import sqlite3

    with sqlite3.connect(desk.journal.path) as db:
        db.execute("UPDATE commands SET payload = '{' WHERE seq = 2")
    assert seqs(asked(desk)) == [1]


@pytest.mark.parametrize(
    ("statuses", "told"),
    [(["read", None], None), (["read", "sent"], "sent"), (["delivered", "read"], "delivered"), (["read", "failed"], "failed")],
)
def test_of_a_message_with_files_the_least_delivered_is_told(desk: Desk, statuses: list[str | None], told: str | None) -> None:
    folder = desk.journal.path.parent
    desk.write(took(1))
    desk.write(ended(1, effect=False), *(ReceiptAdded(str(number), "cmd_1", 1, UTC) for number, _ in enumerate(statuses)))
    desk.write(*(ReceiptChanged(str(number), status, UTC) for number, status in enumerate(statuses) if status is not None))
    record = find(folder, "cmd_1")
    assert record is not None
    assert record.delivery == told
    assert [one.delivery for one in page(folder, Query(), lambda entries: entries).entries] == [told]


def test_the_record_and_the_stream_tell_a_delivery(desk: Desk) -> None:
    folder = desk.journal.path.parent
    desk.write(took(1), took(2), took(3))
    desk.write(ended(1, effect=False), ReceiptAdded("A", "cmd_1", 1, UTC), ReceiptAdded("B", "cmd_2", 2, UTC))
    desk.write(ReceiptChanged("A", "delivered", UTC + 5), ReceiptChanged("A", "read", UTC + 9))
    record = find(folder, "cmd_1")
    assert record is not None
    assert (record.delivery, record.delivery_utc) == ("read", UTC + 9)
    assert named(folder, "cmd_1") == [record]
    waiting = find(folder, "cmd_2")
    assert isinstance(waiting, Remembered)
    assert waiting.delivery is None
    assert [one.delivery for one in page(folder, Query(), lambda entries: entries).entries] == ["read", None, None]
