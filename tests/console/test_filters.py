"""The filter language, term by term."""

import pytest

from agent_core.filters import Ask, FilterError, Texts, completed, parse
from console.filter_history import History
from tests.harness.stills import HOSTILE

SENT: Texts = ("send_message", "ws", "acked", "external", "+1310", None, None)
LOST: Texts = ("send_message_now", "poll", "failed", "external", "+1310", "Not registered: 漢字", None)
AGAIN: Texts = ("emit_event", "local", "interrupted", "harmless", None, None, "cmd_7")
ROWS = {"sent": (SENT, "cmd_1", 20.0), "lost": (LOST, "cmd_12", 300.0), "again": (AGAIN, "CMD_9", None)}


def passing(text: str, *, failures_only: bool = False) -> set[str]:
    found = parse(text, failures_only=failures_only)
    return {name for name, row in ROWS.items() if found.holds(*row)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"sent", "lost", "again"}),
        ("   ", {"sent", "lost", "again"}),
        ("type:send", {"sent", "lost"}),
        ("type:send,emit", {"sent", "lost", "again"}),
        ("TYPE:Now", {"lost"}),
        ("status:failed", {"lost"}),
        ("status:f", {"lost"}),
        ("status:failed,int", {"lost", "again"}),
        ("!status:failed", {"sent", "again"}),
        ("via:poll", {"lost"}),
        ("via:ws,local", {"sent", "again"}),
        ("effect:harmless", {"again"}),
        ("thread:1310", {"sent", "lost"}),
        ('error:"not registered"', {"lost"}),
        ("replay:cmd_7", {"again"}),
        (">250ms", {"lost"}),
        (">250", {"lost"}),
        (">0.25s", {"lost"}),
        ("<0.1s", {"sent"}),
        ("!>250ms", {"sent", "again"}),
        ("id:cmd_1", {"sent", "lost"}),
        ("!cmd_1", {"again"}),
        ("cmd_9", {"again"}),
        ("漢字", {"lost"}),
        ('"not reg"', {"lost"}),
        ("/^cmd_1$/", {"sent"}),
        ("!/^cmd_1$/", {"lost", "again"}),
        ("/^send_message(_now)?$/", {"sent", "lost"}),
        (r"/not \w+:/", {"lost"}),
        ("/1|7/", {"sent", "lost", "again"}),
        ("/^(?!send)\\w+_event$/", {"again"}),
        (r"/(s)\1a/", {"sent", "lost"}),
        ("type:send status:failed via:poll >250ms !cmd_9 /regis/ not", {"lost"}),
        ("type:send cmd_9", set()),
        ("12:30", set()),
    ],
)
def test_what_passes(text: str, expected: set[str]) -> None:
    assert passing(text) == expected


def test_what_came_in_is_a_way_of_its_own() -> None:
    came = ("message_received", "in", "received", "harmless", "+13105550100", None, None)
    passes = {text for text in ("via:in", "status:received", "via:ws", "!via:in") if parse(text).holds(came, "evt_1", None)}
    assert passes == {"via:in", "status:received"}


def test_c12_since_counts_from_when_it_was_typed() -> None:
    found = parse("since:10m", utc=1_000.0)
    assert [found.holds(SENT, "cmd_1", None, utc) for utc in (399.0, 400.0, 2_000.0)] == [False, True, True]
    assert parse("!since:1.5h", utc=10_000.0).holds(SENT, "cmd_1", None, 4_599.0)


def test_c12_what_only_the_ledger_knows_passes_as_it_answers() -> None:
    found = parse('text:"Hello you" !priority:hi type:send')
    assert set(found.asked) == {Ask("text", "Hello you"), Ask("priority", "high")}
    assert not found.holds(SENT, "cmd_1", None, number=7)
    found.asked[Ask("text", "Hello you")].add(7)
    assert found.holds(SENT, "cmd_1", None, number=7)
    found.asked[Ask("priority", "high")].add(7)
    assert not found.holds(SENT, "cmd_1", None, number=7)


@pytest.mark.parametrize("text", ["since:10m", "text:hello", "!payload:x", "priority:high"])
def test_what_asks_for_more_than_it_is_told_says_so_and_does_not_guess(text: str) -> None:
    with pytest.raises(FilterError, match="is for the stream"):
        parse(text).holds(SENT, "cmd_1", None)


def test_failures_only_comes_on_top() -> None:
    assert passing("", failures_only=True) == {"lost", "again"}
    assert passing("type:send", failures_only=True) == {"lost"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stat:failed", "no field stat: did you mean status?"),
        ("zzz:failed", "no field zzz: type, via, status, effect, thread, error, replay, id, text, payload, priority, since"),
        ("status:faild", "no status faild: did you mean failed?"),
        ("via:pigeon", "no via pigeon: ws, poll, local, in"),
        ("status:", "status: wants a value"),
        (">", "> wants a time, as >250ms or >2s"),
        ("<slow", "< wants a time, as <250ms or <2s"),
        ("!", "! wants something after it"),
        ("/open", "a pattern ends with /"),
        ("/", "a pattern ends with /"),
        ("//", "an empty pattern"),
        ("/(/", "pattern: missing ) at position 1"),
        ("/[/", "pattern: unterminated character set at position 1"),
        ("/a{99999999999}/", "pattern: repeat count too big at position 2"),
        ("since:soon", "since: wants a time, as since:10m, since:2h or since:3d"),
        ("text:", "text: wants a value"),
        ("priority:urgent", "no priority urgent: immediate, high, normal, low, deferred"),
        ("x" * 201, "a filter has at most 200 characters"),
    ],
)
def test_a_wrong_filter_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert str(caught.value) == says


@pytest.mark.parametrize("raw", HOSTILE)
def test_hostile_text_is_a_filter_like_any_other(raw: str) -> None:
    try:
        found = parse(raw[:200])
    except FilterError:
        return
    assert found.holds((raw, raw, raw, raw, raw, raw, raw), raw, None) in {True, False}


@pytest.mark.parametrize(("pattern", "soon"), [(r"/(\w|\w\w)*\W$/", "cmd!"), (r"/^(\w|\w\w)+$/", "cmd")])
def test_a_pattern_that_would_take_for_ever_is_refused_when_it_has_taken_too_long(pattern: str, soon: str) -> None:
    found, nothing = parse(pattern), ("", "", "", "", None, None, None)
    assert found.holds(nothing, soon, None)
    with pytest.raises(FilterError, match="takes too long"):
        found.holds(nothing, "a" * 60 + "!a", None)


@pytest.mark.parametrize(
    ("typed", "longer"),
    [
        ("", ""), ("ty", "type:"), ("via:poll st", "via:poll status:"), ("!rep", "!replay:"), ("t", "t"), ("te", "text:"),
        ("sin", "since:"), ("priority:im", "priority:immediate"), ("text:x", "text:x"), ("status:", "status:"),
        ("status:r", "status:r"), ("status:ru", "status:running"), ("via:ws,po", "via:ws,poll"), ("type:se", "type:se"), ("zz", "zz"),
        ("zz:a", "zz:a"), ("id:", "id:"), ("STAT", "status:"),
    ],
)  # fmt: skip
def test_completion_goes_as_far_as_there_is_one_way(typed: str, longer: str) -> None:
    assert completed(typed) == longer


def test_history_walks_both_ways_and_keeps_each_once() -> None:
    history = History(3)
    for text in ("one", "two", "one", "three", "", "four"):
        history.add(text)
    assert [history.older() for _ in range(4)] == ["four", "three", "one", None]
    assert [history.newer() for _ in range(3)] == ["three", "four", ""]
