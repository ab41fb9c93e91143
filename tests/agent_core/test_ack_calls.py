"""Acks by HTTP: what a call for one of them says of that one, of the others, and of the way (PROTOCOL §4)."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent_core.channels.credentials import Credentials
from agent_core.channels.http import ACK_PATHS, PollingChannel
from agent_core.clock import SystemClock
from agent_core.events import AcksPosted, Event, Failure, Poll, PostAcks, Trouble
from agent_core.records import AcksProven
from tests.harness.playbook import Playbook, acks, carries, command, http, posted, posts, records, refused, to
from tests.harness.rig import HttpStub, config, http_answer

HOUR = 3_600.0


def offline(**sections: Any) -> Playbook:
    """The socket is out of reach; the first poll is answered."""
    return Playbook(websocket={"enabled": False}, **sections).started().answer_poll()


def done(book: Playbook, *command_ids: str) -> Playbook:
    """These have come by a poll and are done; their acks are out."""
    while not book.snapshot.polling.in_flight:
        book.after(max(0.0, book.engine.wake_at - book.clock.mono))
    book.answer_poll(*(command(one, "look", payload={}) for one in command_ids))
    for one in command_ids:
        book.finish(one)
    return book


def lives(book: Playbook, seconds: float, answer: Callable[[], AcksPosted], **polled: Any) -> list[tuple[float, tuple[str, ...]]]:
    """Time passes; polls and posts are answered, beginning with the post in flight. When which acks were posted."""
    began, seen = book.now, list[tuple[float, tuple[str, ...]]]()
    end = book.clock.mono + seconds
    answered = book.count(PostAcks) - 1
    while True:
        if book.count(PostAcks) > answered:
            answered += 1
            seen.append((book.now - began, tuple(command_id for command_id, _ in book.find(PostAcks).acks)))
            book >> answer()
        elif book.snapshot.polling.in_flight:
            book.answer_poll(**polled)
        elif book.engine.wake_at > end:
            book.after(max(0.0, end - book.clock.mono))
            return seen[1:]
        else:
            book.after(max(0.0, book.engine.wake_at - book.clock.mono))


def of(seen: list[tuple[float, tuple[str, ...]]], command_id: str) -> list[float]:
    return [at for at, ids in seen if command_id in ids]


# --- one call an ack: what the channel makes of the answers -----------------------------------------------------------------


async def channel_says(
    answer: Callable[[str, str], int | bytes], *batches: tuple[str, ...]
) -> tuple[list[AcksPosted], list[tuple[str, str]]]:
    """Post these batches at a backend that answers each (path, command id) so; what came of them, and the calls."""
    came: list[Event] = []
    calls: list[tuple[str, str]] = []

    def said(path: str) -> bytes:
        name = json.loads(stub.requests[-1].partition("\r\n\r\n")[2])["command_id"]
        calls.append((path, name))
        told = answer(path, name)
        return told if isinstance(told, bytes) else http_answer(status=f"{told} x")

    async with HttpStub(said) as stub:
        where = config(Path("unused"), stub.url)
        channel = PollingChannel(where, Credentials(where), SystemClock(), came.append)
        for batch in batches:
            await channel.post_acks(tuple((name, json.dumps({"command_id": name})) for name in batch))
        await channel.close()
    return [event for event in came if isinstance(event, AcksPosted)], calls


async def channel_meets(answer: Callable[[str], bytes], batch: tuple[str, ...]) -> tuple[AcksPosted, list[tuple[str, str]]]:
    """The same for one batch and answers that are no plain status; the call is known to be there."""
    (_, event), calls = await channel_says(lambda _path, name: 200 if name == "first" else answer(name), ("first",), batch)
    return event, calls[1:]


@pytest.mark.parametrize("status", [400, 404, 405, 408, 409, 410, 422, 500, 501, 502])
async def test_f57_one_ack_that_is_refused_holds_up_no_other(status: int) -> None:
    (first, event), _ = await channel_says(lambda _path, name: status if name == "bad" else 200, ("a",), ("bad", "b", "c"))
    assert first.proven == ("a",)
    assert (event.proven, event.failed, event.failure, event.unsupported) == (("b", "c"), (), None, False)
    assert event.refused == (("bad", f"HTTP {status}"),)


async def test_f57_fifty_refusals_hold_up_no_other() -> None:
    batch = tuple(f"c{number}" for number in range(50))
    (event,), _ = await channel_says(lambda _path, name: 200 if name == "c49" else 409, batch)
    assert event.proven == ("c49",)
    assert len(event.refused) == 49


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_f57_what_concerns_all_ends_the_batch(status: int) -> None:
    (event,), calls = await channel_says(lambda _path, name: status if name == "b" else 200, ("a", "b", "c"))
    assert (event.proven, event.failed, event.refused, event.tried) == (("a",), ("b", "c"), (), ("b",))
    assert event.failure is not None
    assert event.failure.status == status
    assert len(calls) == 2


async def test_f57_a_backend_that_fails_three_times_in_a_row_is_left_alone() -> None:
    (event,), calls = await channel_says(lambda _path, _name: 503, tuple("abcdef"))
    assert (event.proven, [name for name, _ in event.refused], event.failed) == ((), ["a", "b", "c"], ("d", "e", "f"))
    assert event.failure is not None
    assert event.tried == ()
    assert len(calls) == 3


@pytest.mark.parametrize("answer", [b"", http_answer(b"{}")[:-1], http_answer(status="302 x"), http_answer(b"<html>")])
@pytest.mark.parametrize("others", ["abc", "a", ""])
async def test_f57_a_call_that_breaks_off_is_about_its_ack_where_others_are_answered(answer: bytes, others: str) -> None:
    event, calls = await channel_meets(lambda name: answer if name in {"bad", "worse"} else http_answer(), ("bad", "worse", *others))
    assert (event.proven, len(calls)) == (tuple(others), 2 + len(others))
    assert (event.failed, event.tried) == (((), ()) if others else (("bad", "worse"), ("bad", "worse")))
    assert [name for name, _ in event.refused] == (["bad", "worse"] if others else [])
    assert (event.failure is None) == bool(others)


async def test_f57_after_three_calls_that_break_off_the_backend_is_left_alone() -> None:
    event, calls = await channel_meets(lambda _name: b"", tuple("abcdef"))
    assert (event.failed, event.tried, len(calls)) == (tuple("abcdef"), tuple("abc"), 3)


@pytest.mark.parametrize("path", ACK_PATHS)
async def test_f56_a_path_that_has_answered_stays_whatever_it_says_of_one_ack(path: str) -> None:
    events, calls = await channel_says(
        lambda called, name: 200 if called == path and name != "bad" else 404, ("a",), ("bad", "b"), ("bad",), ("c",)
    )
    assert [event.proven for event in events] == [("a",), ("b",), (), ("c",)]
    assert [event.refused for event in events] == [(), (("bad", "HTTP 404"),), (("bad", "HTTP 404"),), ()]
    assert not any(event.unsupported for event in events)
    assert {called for called, name in calls if name != "a"} == {path}


async def test_f56_paths_that_are_missing_are_tried_again() -> None:
    answers = iter((404, 405, 404, 200, 404))
    events, calls = await channel_says(lambda _path, _name: next(answers), ("a",), ("a",), ("b",))
    assert [(event.proven, event.failed, event.tried, event.unsupported) for event in events] == [
        ((), ("a",), ("a",), True),
        (("a",), (), (), False),
        ((), (), (), False),
    ]
    assert [path for path, _ in calls] == [*ACK_PATHS, *ACK_PATHS, ACK_PATHS[1]]


@pytest.mark.parametrize("unknown", [("x",), ("x", "y")])
async def test_f56_an_ack_that_nobody_knows_does_not_hide_the_call_for_acks(unknown: tuple[str, ...]) -> None:
    (event,), _ = await channel_says(lambda _path, name: 404 if name in unknown else 200, (*unknown, "a"))
    assert (event.proven, event.failed, event.unsupported) == (("a",), (), False)
    assert event.refused == tuple((name, "HTTP 404") for name in unknown)


async def test_f56_after_three_that_nobody_knows_the_call_counts_as_missing_and_others_are_tried_next() -> None:
    (event,), calls = await channel_says(lambda _path, _name: 404, tuple("abcd"))
    assert (event.failed, event.tried, event.unsupported) == (tuple("abcd"), tuple("abc"), True)
    assert len(calls) == 3 * len(ACK_PATHS)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\r\n <html>"])
async def test_f12_a_portals_page_proves_no_ack(page: bytes) -> None:
    event, _ = await channel_meets(lambda _name: http_answer(page), ("a",))
    assert (event.proven, event.failed) == ((), ("a",))
    assert event.failure is not None
    assert event.failure.trouble is Trouble.GARBAGE


# --- what the engine makes of them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 409, 500])
def test_f57_a_refused_ack_is_said_once_and_posted_ever_later(status: int) -> None:
    book = done(offline(), "poison")
    seen = of(lives(book, 6 * HOUR, lambda: posted(book, refused={"poison": status})), "poison")
    waits = [after - before for before, after in pairwise([0.0, *seen])]
    assert waits[:4] == pytest.approx([15, 60, 240, 960])
    assert waits[4:] == pytest.approx([HOUR] * len(waits[4:]))
    book.told(f"The backend does not take the ack of poison (HTTP {status})", "WARNING", times=1)
    assert book.snapshot.commands.outbox == 1


def test_f57_good_acks_go_out_at_once_whatever_stands_beside_them() -> None:
    poison = {f"p{number}": (409, 500)[number % 2] for number in range(60)}
    book = done(offline(), *poison)
    lives(book, 10, lambda: posted(book, refused=poison))
    for number in range(20):
        done(book, f"good{number}")
        lives(book, 0, lambda: posted(book, refused=poison))
        assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (number + 1, 60)


@pytest.mark.parametrize(
    "trouble", [Failure(Trouble.CLOSED, "gone"), Failure(Trouble.TIMEOUT, "no answer"), Failure(Trouble.HTTP, "302", 302)]
)
def test_f57_an_ack_at_which_each_call_breaks_off_holds_up_no_other(trouble: Failure) -> None:
    good = tuple("abcdef")
    book = done(offline(), "bad", *good)

    def broken() -> AcksPosted:
        ids = tuple(command_id for command_id, _ in book.find(PostAcks).acks)
        at = ids.index("bad") if "bad" in ids else len(ids)
        return AcksPosted(ids[:at], ids[at:], trouble, tried=("bad",)) if ids[at:] else AcksPosted(ids)

    seen = lives(book, 6 * HOUR, broken)
    assert all(len(of(seen, one)) == 1 for one in good)
    waits = [after - before for before, after in pairwise([0.0, *of(seen, "bad")])]
    assert len(waits) <= 11, "ever later"
    assert waits[-2:] == pytest.approx([HOUR] * 2)
    book.told(f"The backend does not take the ack of bad ({trouble.detail})", "WARNING", times=1)


def test_f57_an_ack_at_which_calls_break_off_is_posted_ever_later_whatever_else_goes_on() -> None:
    """Each new ack that is taken shows that calls work; that is no reason to try the bad one each time."""
    book = done(offline(), "bad", "worse")
    fates: dict[str, Any] = {"refused": {"worse": 409}}

    def answer() -> AcksPosted:
        whole = posted(book, **fates)
        at = whole.proven.index("bad") if "bad" in whole.proven else None
        return whole if at is None else AcksPosted(whole.proven[:at], whole.proven[at:], refused(), tried=("bad",))

    times = Counter[str]()
    for number in range(100):
        done(book, f"good{number}")
        times.update(one for _, ids in [*lives(book, 30, answer)] for one in ids)
    assert book.snapshot.commands.proven == 100
    assert max(times["bad"], times["worse"]) <= 8, times


def test_f57_where_polls_fail_too_no_ack_is_to_blame() -> None:
    book = done(offline(), "a", "b")
    book.after(15).fail_poll(refused())
    book >> AcksPosted((), ("a",), refused(), tried=("a",))
    book.untold("does not take the ack")
    book.after(15) << posts("b", "a")


def test_f57_where_polls_fail_too_acks_refused_before_are_posted_each_interval_at_most() -> None:
    book = done(offline(), "a")
    lives(book, 400, lambda: posted(book, refused={"a": 409}))
    answered = book.count(PostAcks)
    book.after(960).fail_poll(refused())
    for _ in range(5):
        assert book.count(PostAcks) <= answered + 1
        if book.count(PostAcks) > answered:
            answered += 1
            book >> AcksPosted((), ("a",), refused(), tried=("a",))
            book.never(PostAcks)
        book.after(16).fail_poll(refused())
    assert answered > 5


def test_f57_a_refused_ack_goes_by_the_next_socket_and_a_pong_proves_it() -> None:
    book = Playbook().online().push("c1")
    book.lose().answer_poll()
    book.finish("c1") << posts("c1")
    book >> posted(book, refused={"c1": 409})
    book.waits()
    book.online()
    assert book.count(acks("c1")) == 1
    book.lives(30)
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (1, 0)


def test_f57_a_refusal_that_comes_when_the_socket_is_back_is_no_wait() -> None:
    book = Playbook().online().push("c1")
    book.lose().answer_poll()
    book.finish("c1") << posts("c1")
    book.waits()
    book.online()
    book >> posted(book, refused={"c1": 500})
    book << acks("c1")


def test_f57_on_a_socket_without_pongs_too_a_refused_ack_is_posted_ever_later() -> None:
    book = Playbook().online().push("c1").finish("c1").lives(45, json_pongs=False)
    assert book.count(posts("c1")) == 1
    book >> posted(book, refused={"c1": 409})
    times = 1
    for _ in range(120):
        book.lives(5, json_pongs=False)
        if book.count(posts("c1")) > times:
            times = book.count(posts("c1"))
            book >> posted(book, refused={"c1": 409})
    assert times == 4, "after 15, 60 and 240 seconds"


def test_f57_when_calls_work_again_after_trouble_nothing_waits_out_its_time() -> None:
    book = done(offline(), "c1")
    lives(book, 600, lambda: posted(book, refused={"c1": 503}, failure=http(503)))
    assert book.engine.wake_at < book.clock.mono + 20, "polls go on"
    done(book, "c2")
    lives(book, 1, lambda: posted(book, refused={"c1": 503}))
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (1, 1)
    done(book, "c3")
    lives(book, 1, lambda: posted(book))
    assert book.snapshot.commands.outbox == 1, "its own refusal is not forgotten"


def test_f57_more_refused_acks_than_are_at_hand_are_left_to_the_journal_and_posted_in_turn() -> None:
    poison = {f"p{number}": 409 for number in range(12)}
    book = done(offline(max_in_memory=4), *poison)
    seen = lives(book, 1_200, lambda: posted(book, refused=poison))
    assert book.engine.sizes["entries"] <= 3 * 4
    assert {one for _, ids in seen for one in ids} >= set(poison) - {"p0"}, "each is tried"
    assert len(seen) < 2 * 1_200 / 15, "and politely"
    assert book.snapshot.commands.outbox == 12


# --- A4: what a sync proves -------------------------------------------------------------------------------------------------------


def carrying(*command_ids: str) -> Playbook:
    """The backend has no call for acks; these are carried by the poll in flight."""
    book = done(offline(), *command_ids)
    book >> posted(book, *command_ids, failure=http(404), unsupported=True)
    book.after(15) << Poll
    assert sorted(command_id for command_id, _ in book.find(Poll).carried) == sorted(command_ids)
    return book


def test_f56_a_syncs_2xx_proves_nothing_at_a_backend_that_has_not_shown_that_it_reads_what_polls_carry() -> None:
    book = carrying("c1").answer_poll()
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (0, 1)
    book.after(15) << carries("c1")
    book.never(records(AcksProven))


def test_f56_once_it_has_named_one_each_2xx_proves_what_it_carried() -> None:
    book = carrying("c1", "c2").answer_poll(proven=("c2",))
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (2, 0)
    done(book, "c3")
    book.after(15) << carries("c3")
    book.answer_poll()
    assert book.snapshot.commands.outbox == 0
    assert book.find(records(AcksProven)).changes[0].by == "pending_events"


def test_f56_what_came_by_socket_and_is_named_shows_nothing() -> None:
    book = Playbook(backend={"polling": "always"}).online().push("c1").finish("c1").push("c2").finish("c2").lives(45, json_pongs=False)
    book >> posted(book, "c1", "c2", failure=http(404), unsupported=True)
    while not book.find(Poll).carried:
        book.lives(5, json_pongs=False)
    assert book.snapshot.commands.outbox == 2


def test_f56_a_command_that_comes_again_disproves() -> None:
    book = carrying("c1").answer_poll(proven=("c1",))
    done(book, "c2").after(15).answer_poll()
    assert book.snapshot.commands.outbox == 0
    done(book).after(15).answer_poll(command("c2", "look", payload={}))
    book.told("c2 comes again though a poll has carried its ack", "WARNING", times=1)
    book.after(15) << carries("c2")
    book.answer_poll()
    assert book.snapshot.commands.outbox == 1, "a 2xx no longer proves"
    book.after(15) << carries("c2")
    book.answer_poll(proven=("c2",))
    assert book.snapshot.commands.outbox == 0, "until it names one again"


def test_f56_more_acks_than_a_poll_carries_take_turns() -> None:
    book = offline(executor={"concurrency": 64})
    done(book, *(f"c{number}" for number in range(150)))
    while book.snapshot.commands.completed < 150:
        for number in range(150):
            book.finish(f"c{number}")
    book >> posted(book, *(command_id for command_id, _ in book.find(PostAcks).acks), failure=http(404), unsupported=True)
    carried: set[str] = set()
    for _ in range(2):
        book.after(15)
        carried |= {command_id for command_id, _ in book.find(Poll).carried}
        book.answer_poll()
    assert len(carried) == 150


def test_f56_a_call_that_was_missing_is_tried_again_and_taken_when_it_is_there() -> None:
    book = done(offline(), "c1")
    seen = lives(book, 3_000, lambda: posted(book, "c1", failure=http(404), unsupported=True))
    assert [at for at, _ in seen] == pytest.approx([300 * number for number in range(1, 11)], abs=1)
    book.told("they travel with the polls", times=1)
    book.after(301) << posts("c1")
    book >> posted(book)
    assert book.snapshot.commands.outbox == 0
    book.told("The backend has a call for acks again", times=1)
    done(book, "c2") << posts("c2")


def test_f56_spilled_acks_are_carried_too() -> None:
    book = offline(max_in_memory=2)
    done(book, *(f"c{number}" for number in range(5)))
    for number in range(5):
        book.finish(f"c{number}")
    book >> posted(book, *(command_id for command_id, _ in book.find(PostAcks).acks), failure=http(404), unsupported=True)
    for _ in range(20):
        book.after(15)
        book.answer_poll(proven=tuple(command_id for command_id, _ in book.find(Poll).carried))
    assert (book.snapshot.commands.proven, book.snapshot.commands.outbox) == (5, 0)


def test_f56_a_poll_that_fails_shows_and_proves_nothing() -> None:
    book = carrying("c1").fail_poll(refused())
    book.after(15) << carries("c1")
    book.answer_poll()
    assert book.snapshot.commands.outbox == 1


def test_f56_a_message_that_is_due_later_is_proven_by_what_carries_its_own_ack() -> None:
    book = carrying("c1")
    later = command("c2", "schedule_message", payload=to("t", send_at=book.clock.utc + HOUR))
    book.answer_poll(later, proven=("c1",))
    book.after(15) << carries("c2", status="received")
    book.answer_poll()
    assert book.snapshot.commands.outbox == 0
