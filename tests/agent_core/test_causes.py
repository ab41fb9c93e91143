"""Why a link ended, in the operator's words: each of the set is produced, told with its lifetime, and counted."""

from collections.abc import Callable

import pytest

from agent_core.events import AbortSocket, DialFailed, Failure, ReconnectRequested, Ticked, Trouble
from agent_core.snapshot import Cause, Drop
from tests.harness.playbook import Playbook, closed, http, lost

EXACT = {"jitter": "none"}
CALM = {"safety_sync_every": 0}
TLS = Failure(Trouble.TLS, "TLS: certificate has expired")


def falls_silent(book: Playbook) -> None:
    book.after(15.1) << AbortSocket(book.generation)


def sleeps(book: Playbook) -> None:
    book.sleep(3_600) >> Ticked()
    book.after(3.1) << AbortSocket(book.generation)


def is_reset_on_waking(book: Playbook) -> None:
    book.sleep(3_600) >> Ticked()
    book.lose(lost())


def ends(failure: Failure) -> Callable[[Playbook], object]:
    return lambda book: book.lose(failure)


WAYS: dict[str, tuple[Cause, Callable[[Playbook], object]]] = {
    "1012": (Cause.SERVER_RESTART, ends(closed(1012))), "1001": (Cause.SERVER_RESTART, ends(closed(1001))),
    "1008": (Cause.AUTH, ends(closed(1008))), "4401": (Cause.AUTH, ends(closed(4401))),
    "lost": (Cause.NETWORK, ends(lost())), "1006": (Cause.NETWORK, ends(closed(1006))), "1000": (Cause.NETWORK, ends(closed(1000))),
    "silence": (Cause.HALF_OPEN, falls_silent), "sleep": (Cause.SLEEP, sleeps), "reset on waking": (Cause.SLEEP, is_reset_on_waking),
    "4009": (Cause.REPLACED, ends(closed(4009))), "1002": (Cause.PROTOCOL, ends(closed(1002))),
    "1009": (Cause.PROTOCOL, ends(closed(1009))),
    "1013": (Cause.BUSY, ends(closed(1013))), "operator": (Cause.OPERATOR, lambda book: book >> ReconnectRequested()),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_a_link_has_one_cause_and_is_counted_once(way: str) -> None:
    cause, happens = WAYS[way]
    book = Playbook(backoff=EXACT, timing=CALM).online().lives(100)
    happens(book)
    link = book.snapshot.link
    assert dict(link.drops) == {cause: 1}
    assert isinstance(link.last_drop, Drop)
    assert link.last_drop.cause is cause
    assert link.last_drop.lifetime is not None
    assert link.lifetimes == (link.last_drop.lifetime,)
    assert 100 <= link.last_drop.lifetime <= 3_750


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (http(401), Cause.AUTH), (http(403), Cause.AUTH), (http(200), Cause.PORTAL), (http(429), Cause.BUSY), (http(502), Cause.NETWORK),
        (TLS, Cause.TLS),
    ],
)  # fmt: skip
def test_an_attempt_that_fails_has_a_cause_and_no_lifetime(failure: Failure, cause: Cause) -> None:
    book = Playbook(backoff=EXACT).started() >> DialFailed(1, failure)
    link = book.snapshot.link
    assert dict(link.drops) == {cause: 1}
    assert link.last_drop is not None
    assert link.last_drop.lifetime is None
    assert link.lifetimes == ()


def lives_thrice(book: Playbook, seconds: tuple[float, float, float], happens: Callable[[Playbook], object]) -> Playbook:
    for number, one in enumerate(seconds):
        book.online().lives(one)
        if number < 2:
            happens(book)
        else:
            book.lose()
        if book.snapshot.link.retry_at is not None:
            book.waits()
    return book


def test_an_idle_cut_says_after_how_many_seconds() -> None:
    book = lives_thrice(Playbook(backoff=EXACT, timing=CALM), (100, 101, 100), lambda book: book.lose())
    drop = book.snapshot.link.last_drop
    assert drop is not None
    assert drop.cause is Cause.IDLE_CUT
    assert "cut every 100 s" in drop.detail
    assert dict(book.snapshot.link.drops) == {Cause.NETWORK: 2, Cause.IDLE_CUT: 1}
    book.online().lives(100).lose()
    assert dict(book.snapshot.link.drops)[Cause.IDLE_CUT] == 2


def test_irregular_ends_are_no_idle_cut() -> None:
    book = lives_thrice(Playbook(backoff=EXACT, timing=CALM), (100, 130, 100), lambda book: book.lose())
    assert dict(book.snapshot.link.drops) == {Cause.NETWORK: 3}


def test_ends_of_another_kind_do_not_make_a_loss_an_idle_cut() -> None:
    book = lives_thrice(Playbook(backoff=EXACT, timing=CALM), (100, 100, 100), lambda book: book >> ReconnectRequested())
    assert dict(book.snapshot.link.drops) == {Cause.OPERATOR: 2, Cause.NETWORK: 1}


def test_the_causes_are_the_set_the_operator_knows() -> None:
    seen = {cause for cause, _ in WAYS.values()} | {Cause.IDLE_CUT, Cause.PORTAL, Cause.TLS}
    assert set(Cause) - seen == {Cause.DEAF}
