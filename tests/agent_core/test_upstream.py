"""Events on their way to the backend, in dialogues with the engine (PROTOCOL §4)."""

from collections.abc import Iterable
from typing import Any

from agent_core.engine.upstream import AT_HAND, IN_FLIGHT, MAX_BYTES, MAX_UNPROVEN, TRIED
from agent_core.events import DialFailed, DrainRequested, Finish, Occurred, Poll, Ponged, RecallEvents, Record, Recorded, Send
from agent_core.frames import NEEDS_ATTENTION, Occurrence
from agent_core.records import DROPPED, EventAdded, EventsSettled, Memory, OwedEvent
from tests.harness.playbook import NOTHING, Phrase, Playbook, events_in, http, pings, records, refused, tells


def occurred(event_id: str, **payload: Any) -> Occurred:
    return Occurred(Occurrence("seen", event_id, 1_793_910_600.0, payload))


def settles(*seqs: int, by: str) -> Phrase:
    """It is recorded that exactly these events are settled so."""

    def fits(effect: object) -> bool:
        found = [change for change in effect.changes if isinstance(change, EventsSettled)] if isinstance(effect, Record) else []
        return [(change.seqs, change.by) for change in found] == [(seqs, by)]

    return Phrase(f"settles{seqs} by {by}", fits)


def told(book: Playbook) -> list[str]:
    """The ids of all events that ever left, in order."""
    return [body["event_id"] for _, effect in book.ever for body in events_in(effect)]


def names(first: int, last: int) -> list[str]:
    return [f"e{number}" for number in range(first, last + 1)]


def tell(book: Playbook, event_ids: Iterable[str]) -> None:
    book.handle_together(*map(occurred, event_ids))


def offline(**sections: Any) -> Playbook:
    """Started, its first dial refused; one poll is in flight."""
    book = Playbook(**sections)
    book.started()
    return book >> DialFailed(1, refused())


def test_a_drain_ends_when_every_event_is_proven() -> None:
    book = Playbook().online()
    book >> occurred("e1")
    book >> DrainRequested(600)
    assert book.count(Finish()) == 0
    book.lives(30)
    book.told("Drained: nothing runs, every ack is proven")
    assert book.count(Finish()) == 1


def test_a_drain_gives_up_events_that_the_backend_does_not_take() -> None:
    book = offline()
    book >> occurred("e1")
    book >> DrainRequested(600)
    book.lives(590)
    assert book.count(Finish()) == 0
    book.lives(20)
    book.told("Drained: nothing runs, every ack is proven; for the next start stay 1 event(s) that are not proven")
    assert book.count(Finish()) == 1


# --- by socket -------------------------------------------------------------------------------------------------------


def test_p16_an_event_goes_out_once_it_is_on_disk_and_a_later_pong_proves_it() -> None:
    book = Playbook().online()
    book.disk_is_prompt = False
    book >> occurred("e1", n=1)
    book << records(EventAdded) << NOTHING
    book >> Recorded(book.find(Record).ticket)
    book << tells("e1")
    (frame,) = book.find(tells("e1")).frames
    assert frame == (
        '{"type":"event","data":{"event_id":"e1","event_type":"seen","occurred_at":"2026-11-05T20:30:00.000Z","payload":{"n":1}}}'
    )
    book.after(12) << pings()
    book.pong() << settles(1, by="pong")
    assert book.snapshot.events.unproven == 0
    assert book.snapshot.events.proven == 1


def test_an_earlier_ping_proves_nothing() -> None:
    book = Playbook().online()
    book.lives(25)
    book.after(6) << pings()
    book >> occurred("e1")
    book << tells("e1")
    book.pong().never(records(EventsSettled))
    assert book.snapshot.events.unproven == 1


def test_p16_what_a_lost_socket_did_not_prove_goes_out_again_in_order_and_unchanged() -> None:
    book = Playbook(backend={"polling": "never"}).online()
    tell(book, ["e1", "e2"])
    before = book.find(tells("e1", "e2")).frames
    book.lose()
    tell(book, ["e3"])
    book.waits()
    book.online()
    assert told(book) == ["e1", "e2", "e1", "e2", "e3"]
    again = [frame for _, effect in book.ever if isinstance(effect, Send) for frame in effect.frames if '"event"' in frame][2:4]
    assert tuple(again) == before


def test_a_new_process_takes_up_what_the_journal_owes() -> None:
    book = Playbook()
    book.online(Memory(events=(OwedEvent(7, "e7", "seen", 100),), next_event=9))
    book.told("cannot be read from the ledger", "ERROR")
    assert book.count(settles(7, by=DROPPED)) == 1, "this journal does not have it"
    book >> occurred("e9")
    book << records(EventAdded) << tells("e9")
    assert book.find(records(EventAdded)).changes[0].seq == 9


def test_more_than_may_be_in_flight_waits_for_a_pong() -> None:
    book = Playbook().online()
    tell(book, names(1, 50))
    tell(book, names(51, IN_FLIGHT + 50))
    assert told(book) == names(1, IN_FLIGHT)
    book.after(12).pong()
    assert told(book) == names(1, IN_FLIGHT + 50)
    assert {len(effect.seqs) for _, effect in book.ever if isinstance(effect, RecallEvents)} <= set(range(1, AT_HAND + 1))


# --- with polls ------------------------------------------------------------------------------------------------------


def test_polls_carry_a_few_until_the_backend_has_named_one_and_then_their_answer_proves() -> None:
    book = offline()
    book.answer_poll()
    tell(book, names(1, 20))
    book.after(15) << tells(*names(1, TRIED))
    book.answer_poll()
    book.never(records(EventsSettled))
    book.after(15) << tells(*names(1, TRIED))
    book.answer_poll(proven=("e1", "e2")) << settles(*range(1, TRIED + 1), by="pending_events")
    book.after(15) << tells(*names(TRIED + 1, 20))
    book.answer_poll() << settles(*range(TRIED + 1, 21), by="pending_events")
    book.after(15) << tells()


def test_p16_a_failed_poll_proves_nothing() -> None:
    book = offline()
    book.answer_poll()
    tell(book, ["e1"])
    book.after(15) << tells("e1")
    book.fail_poll(http(500)).never(records(EventsSettled))
    book.after(15) << tells("e1")


def test_a_poll_that_carries_nothing_proves_nothing_of_what_a_failed_one_carried() -> None:
    book = offline()
    tell(book, names(1, 3))
    book.answer_poll().after(15)
    book.answer_poll(proven=("e1",))
    tell(book, names(4, 6))
    book.after(15).fail_poll(refused())
    book.waits()
    book.online()
    book.never(records(EventsSettled))
    assert book.snapshot.events.unproven == 3


def test_ack_events_prove_what_went_by_socket() -> None:
    book = Playbook(backend={"polling": "always"}, timing={"ack_ping_interval": 60}).online()
    tell(book, ["e1", "e2"])
    book.after(9) >> Ponged(book.generation)
    book.after(6)
    book.answer_poll(proven=("e2",)) << settles(2, by="ack_events")


def test_what_waits_behind_those_in_flight_overtakes_none_by_a_poll() -> None:
    book = Playbook(backend={"polling": "always"}, timing={"ack_ping_interval": 60}).online()
    tell(book, names(1, IN_FLIGHT + 50))
    book.after(9) >> Ponged(book.generation)
    book.after(6)
    assert book.find(Poll).number > 1
    assert not book.find(Poll).events


def test_an_open_socket_carries_nothing_in_its_syncs() -> None:
    book = Playbook(backend={"polling": "never"}).online()
    book.lose()
    tell(book, ["e1"])
    book.waits()
    book.online()
    assert not [effect for _, effect in book.ever if isinstance(effect, Poll) and effect.events]


def test_where_json_pings_are_ignored_a_sync_each_interval_carries_what_no_pong_proves() -> None:
    book = Playbook().online()
    tell(book, ["e1"])
    for _ in range(10):
        book.lives(10, json_pongs=False)
    assert book.snapshot.link.pings_ignored
    carrying = [effect for _, effect in book.ever if isinstance(effect, Poll) and effect.events]
    assert len(carrying) >= 2
    book.after(15)
    book.answer_poll(proven=("e1",)) << settles(1, by="pending_events")
    assert book.snapshot.events.unproven == 0


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_p16_a_backend_that_takes_none_costs_bounded_memory_and_the_oldest_go_counted_and_told() -> None:
    book = offline(websocket={"enabled": False})
    tell(book, names(1, MAX_UNPROVEN))
    tell(book, names(MAX_UNPROVEN + 1, MAX_UNPROVEN + 3))
    assert book.count(settles(1, by=DROPPED)) == 0
    dropped = [seq for _, effect in book.ever if isinstance(effect, Record) for change in effect.changes
               if isinstance(change, EventsSettled) and change.by == DROPPED for seq in change.seqs]  # fmt: skip
    assert dropped == [1, 2, 3]
    book.told("The backend takes no events", "ERROR")
    assert book.snapshot.events.unproven == MAX_UNPROVEN
    assert book.snapshot.events.dropped == 3


def test_bytes_are_bounded_too() -> None:
    book = offline(websocket={"enabled": False})
    for number in range(20):
        book >> occurred(f"e{number}", text="x" * (MAX_BYTES // 10))
    assert book.snapshot.events.unproven == 9
    assert book.snapshot.events.dropped == 11


# --- what is told ----------------------------------------------------------------------------------------------------


def test_an_unknown_outcome_needs_attention() -> None:
    book = Playbook().online()
    book.push("c1").finish("c1", "no answer", unknown=True, result={"candidates": [{"guid": "G"}]})
    (event,) = [body for _, effect in book.ever for body in events_in(effect)]
    assert event["event_type"] == NEEDS_ATTENTION
    assert event["payload"] == {"command_id": "c1", "error": "unknown outcome: no answer", "candidates": [{"guid": "G"}]}


def test_a_failure_that_its_ack_tells_is_no_event() -> None:
    book = Playbook().online()
    book.push("c1").finish("c1", "no such recipient")
    assert told(book) == []
