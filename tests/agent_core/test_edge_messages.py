"""`inbound.dialect: edge_message`: what comes in goes by POST /edge/message, in dialogues and to the reference backend (PROTOCOL §3)."""

from typing import Any

import pytest

from agent_core.engine.edge_messages import AT_HAND
from agent_core.events import Failure, InboundRead, MessagePosted, PostMessage, Trouble
from agent_core.frames import MESSAGE_RECEIVED, Occurrence
from agent_core.records import DROPPED, EventsSettled, Memory, OwedEvent
from tests.agent_core.test_inbound_dialogue import came
from tests.harness.playbook import Playbook, command, executes, http, like, tells


def posting(memory: Memory | None = None) -> Playbook:
    return Playbook(inbound={"enabled": True, "dialect": "edge_message"}).online(memory)


def posted(book: Playbook) -> list[str]:
    return [effect.event.partition('"guid":"')[2].partition('"')[0] for _, effect in book.ever if isinstance(effect, PostMessage)]


def answer(book: Playbook, failure: Failure | None = None, *commands: Any) -> Playbook:
    return book >> MessagePosted(book.find(PostMessage).seq, tuple(map(book.arrival, commands)), failure)


def test_messages_are_posted_one_at_a_time_in_order_and_a_2xx_proves() -> None:
    book = posting()
    book >> InboundRead("7@1", (came("A"), came("B")))
    assert posted(book) == ["A"]
    answer(book) << like(PostMessage, seq=2)
    answer(book)
    assert book.snapshot.events.proven == 2
    assert book.count(tells(came("A").event_id)) == 0


def test_a_failure_is_tried_again_after_the_interval_and_overtaken_by_none() -> None:
    book = posting()
    book >> InboundRead("7@1", (came("A"), came("B")))
    answer(book, http(500)).never(PostMessage)
    book.lives(14).never(PostMessage)
    book.lives(1.1)
    assert posted(book) == ["A", "A"]
    answer(book, http(503, 100.0))
    book.lives(99)
    assert posted(book) == ["A", "A"]
    book.lives(1.1)
    assert posted(book) == ["A", "A", "A"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_that_is_refused_for_itself_holds_up_no_other(status: int) -> None:
    book = posting()
    book >> InboundRead("7@1", (came("A"), came("B")))
    answer(book, http(status))
    assert posted(book) == ["A", "B"]
    assert book.snapshot.events.dropped == 1
    book.told("The backend refuses a message that came in", "ERROR")


def test_the_answers_commands_run() -> None:
    book = posting()
    book >> InboundRead("7@1", (came("A"),))
    answer(book, None, command("c1"))
    assert book.count(executes("c1")) == 1


def test_without_a_socket_it_goes_on() -> None:
    book = posting()
    book.lose()
    book >> InboundRead("7@1", (came("A"),))
    assert posted(book) == ["A"]


def test_other_events_go_as_events() -> None:
    book = posting()
    book >> InboundRead("7@1", (came("A"), Occurrence("seen", "e1", 1.0, {})))
    assert book.count(tells("e1")) == 1
    assert posted(book) == ["A"]


def test_what_an_earlier_run_left_is_read_and_posted() -> None:
    book = posting(Memory(events=tuple(OwedEvent(seq, f"e{seq}", MESSAGE_RECEIVED, 10) for seq in (1, 2)), next_event=3))
    lost = [change for _, effect in book.ever for change in getattr(effect, "changes", ()) if isinstance(change, EventsSettled)]
    assert [(change.seqs, change.by) for change in lost] == [((1, 2), DROPPED)], "this journal does not have them"
    book >> InboundRead("7@1", tuple(came(f"G{number}") for number in range(AT_HAND + 20)))
    for _ in range(AT_HAND + 20):
        answer(book)
    assert posted(book) == [f"G{number}" for number in range(AT_HAND + 20)]
    answer(book, Failure(Trouble.TIMEOUT, "late")).never(PostMessage)
