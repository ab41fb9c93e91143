"""What comes in, in dialogues with the engine: the cursor goes with the events, and no more is asked for before both are on disk."""

from typing import Any

from agent_core.events import (
    CommandFinished,
    DeliveriesSeen,
    FollowDeliveries,
    InboundFailed,
    InboundRead,
    MarkTaken,
    PermissionsLost,
    ReadInbound,
    Record,
    Recorded,
    RecordFailed,
    TakeMark,
)
from agent_core.frames import MESSAGE_RECEIVED, MESSAGE_STATUS, PERMISSION_LOST, Occurrence, event_id_of
from agent_core.records import (
    INBOUND_CURSOR,
    Delivery,
    EventAdded,
    Memory,
    MessageReceived,
    Outcome,
    Receipt,
    ReceiptAdded,
    ReceiptChanged,
    SettingStored,
)
from tests.harness.playbook import NOTHING, Playbook, events_in, executes, like, records


def came(guid: str, text: str = "hi") -> Occurrence:
    return Occurrence(
        MESSAGE_RECEIVED, event_id_of(MESSAGE_RECEIVED, guid), 1_793_910_600.0, {"guid": guid, "thread_id": "+1", "text": text}
    )


def reads(memory: Memory | None = None) -> Playbook:
    return Playbook(inbound={"enabled": True}).online(memory)


def told(book: Playbook) -> list[dict[str, Any]]:
    return [body for _, effect in book.ever for body in events_in(effect)]


def sent(book: Playbook, command_id: str, guid: str) -> None:
    """A message goes out, and its row is found."""
    book.push(command_id, "text")
    book >> MarkTaken(book.find(TakeMark).seq, "1")
    book >> CommandFinished(book.find(executes(command_id)).seq, Outcome(result={"guid": guid}))


def test_p16_the_cursor_is_recorded_with_the_events_and_then_the_next_are_asked_for() -> None:
    book = reads()
    assert book.count(ReadInbound(None)) == 1
    book.disk_is_prompt = False
    book >> InboundRead("7@1", (came("A"), came("B")))
    book << records(EventAdded, EventAdded, MessageReceived, MessageReceived, SettingStored) << NOTHING
    record = book.find(Record)
    assert record.changes[-1] == SettingStored(INBOUND_CURSOR, "7@1")
    book >> Recorded(record.ticket)
    book << ReadInbound("7@1")
    assert [event["payload"]["guid"] for event in told(book)] == ["A", "B"]


def test_a_disk_in_trouble_leaves_the_rest_where_it_is() -> None:
    book = reads()
    book.disk_is_prompt = False
    book >> InboundRead("7@1", (came("A"),))
    book >> RecordFailed("disk full")
    book.after(60).never(ReadInbound)
    assert told(book) == []
    book >> Recorded(book.find(Record).ticket)
    book << ReadInbound("7@1")


def test_a_restart_goes_on_behind_the_cursor() -> None:
    book = reads(Memory(kept=((INBOUND_CURSOR, "41@9"),)))
    assert book.count(ReadInbound("41@9")) == book.count(ReadInbound) == 1


def test_nothing_is_read_where_it_is_not_enabled() -> None:
    book = Playbook().online(Memory(kept=((INBOUND_CURSOR, "41@9"),), receipts=(Receipt("G", "c0", 1),)))
    sent(book, "c1", "H")
    assert book.count(ReadInbound) == book.count(FollowDeliveries) == book.count(like(Record, changes=_has(ReceiptAdded))) == 0


def _has(kind: type) -> Any:
    return lambda changes: any(isinstance(change, kind) for change in changes)


def test_p16_an_echo_of_our_own_is_not_told() -> None:
    book = reads(Memory(receipts=(Receipt("OLD", "c0", 1, "read"),)))
    sent(book, "c1", "OURS")
    book >> InboundRead("9@1", (came("OURS"), came("THEIRS"), came("OLD")))
    assert [event["payload"]["guid"] for event in told(book)] == ["THEIRS"]
    book.told("2 message(s) of our own came back")


def test_old_messages_that_are_brought_back_are_one_line() -> None:
    book = reads()
    book >> InboundRead("5000@1", (), 5_000)
    book.told("5000 old message(s)", times=1)
    assert told(book) == []


def test_a_delivery_goes_up_only_and_ends() -> None:
    book = reads()
    sent(book, "c1", "G")
    assert book.count(FollowDeliveries(("G",))) == book.count(like(Record, changes=_has(ReceiptAdded))) == 1
    for status, code in (("sent", 0), ("delivered", 0), ("sent", 0), ("read", 0), ("failed", 22), ("delivered", 0)):
        book >> DeliveriesSeen((Delivery("G", status, code), Delivery("STRANGE", status, code)))
    payloads = [event["payload"] for event in told(book) if event["event_type"] == MESSAGE_STATUS]
    assert payloads == [{"command_id": "c1", "guid": "G", "status": status, "code": None} for status in ("sent", "delivered", "read")]
    assert book.count(like(Record, changes=_has(ReceiptChanged))) == 3
    assert [row.delivery for row in book.rows][-3:] == ["sent", "delivered", "read"]
    assert book.snapshot.follows_deliveries


def test_a_message_with_a_file_has_come_as_far_as_the_last_of_both() -> None:
    book = reads()
    book.push("c1", "text")
    book >> MarkTaken(book.find(TakeMark).seq, "1")
    result = {"guid": "G", "attachments": [{"name": "a.png", "guid": "H"}, {"name": "odd"}, "odd"]}
    book >> CommandFinished(book.find(executes("c1")).seq, Outcome(result=result))
    assert book.count(FollowDeliveries(("G",))) == book.count(FollowDeliveries(("H",))) == 1
    for guid, status in (("G", "delivered"), ("H", "sent"), ("G", "read"), ("H", "failed")):
        book >> DeliveriesSeen((Delivery(guid, status, 0),))
    payloads = [event["payload"] for event in told(book) if event["event_type"] == MESSAGE_STATUS]
    assert [(payload["guid"], payload["status"]) for payload in payloads] == [
        ("G", "delivered"),
        ("H", "sent"),
        ("G", "read"),
        ("H", "failed"),
    ]
    assert [row.delivery for row in book.rows if row.delivery][-3:] == ["sent", "sent", "failed"]


def test_a_failed_delivery_has_its_code() -> None:
    book = reads(Memory(receipts=(Receipt("G", "c0", 1, "sent"), Receipt("H", "c0", 1, "read"))))
    assert book.count(FollowDeliveries(("G",))) == 1, "what has ended is not followed"
    book >> DeliveriesSeen((Delivery("G", "failed", 22),))
    (event,) = told(book)
    assert event["payload"] == {"command_id": "c0", "guid": "G", "status": "failed", "code": 22}
    book.told("was not delivered: error 22", "WARNING")


def test_a_permission_is_lost_once_until_it_is_there_again() -> None:
    book = reads()
    for reason in ("authorization denied", "unable to open", "authorization denied"):
        book >> InboundFailed(reason, "full_disk_access")
    assert [(event["event_type"], event["payload"]["permission"]) for event in told(book)] == [(PERMISSION_LOST, "full_disk_access")]
    book >> InboundRead("9@1", ())
    book.told("can be read again")
    book.after(1) >> InboundFailed("authorization denied", "full_disk_access")
    assert len({event["event_id"] for event in told(book)}) == 2


def test_a_send_that_the_system_does_not_allow_is_a_permission_lost() -> None:
    book = Playbook().online()
    for command_id in ("c1", "c2"):
        book.push(command_id, "text")
        book >> MarkTaken(book.find(TakeMark).seq, "1")
        book >> CommandFinished(book.find(executes(command_id)).seq, Outcome("not allowed", permission="automation"))
    assert [event["payload"] for event in told(book)] == [{"permission": "automation", "detail": "not allowed"}]


def test_an_upgrade_that_loses_permissions_is_told_here_and_to_the_backend() -> None:
    book = Playbook().online()
    for _again in range(2):
        book >> PermissionsLost("permissions belong to 3.13.2", ("full_disk_access", "automation"))
    book.told("permissions belong to 3.13.2", "WARNING")
    assert [event["payload"] for event in told(book)] == [
        {"permission": name, "detail": "permissions belong to 3.13.2"} for name in ("full_disk_access", "automation")
    ]


def test_a_message_that_came_in_is_a_row_of_the_stream_and_says_when_the_backend_has_it() -> None:
    book = reads()
    book >> InboundRead("7@1", (came("A"),))
    row = book.row(came("A").event_id)
    assert (row.via, row.status, row.command_type, row.thread_id) == ("in", "received", MESSAGE_RECEIVED, "+1")
    book.lives(13)
    assert book.row(came("A").event_id).status == "acked"
    book.push("c1", "look").finish("c1")
    assert book.row("c1").row > row.row
