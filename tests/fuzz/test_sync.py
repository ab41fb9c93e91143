"""Answers to a sync of which any item may be poisoned: the others run, and each bad one whose id can be read is answered."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from agent_core import frames
from agent_core.events import Execute
from tests.harness.playbook import Playbook, acks_in, posted

NAMES = st.integers(0, 15).map("cmd_{}".format)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
BAD_STRINGS = st.sampled_from(
    [rb'"\ud83d"', rb'"\udc00x"', rb'"\x"', rb'"\u12"', b'"\t"', b'"\n"', b'"\x00"', b'"\xff"', b'"\xc3("', b'"\xed\xa0\x80"']
)
BAD_NUMBERS = st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"+1", b"01", b"1.", b".5", b"1e", b"0x1", b"-", b"9" * 4_301, b"1_000"])
BAD_WORDS = st.sampled_from([b"undefined", b"True", b"None", b"nul", b"'a'", b"", b"\x01", b"/**/1", b"1 2", b"\xef\xbb\xbf1", b'"a" "b"'])
DEPTHS = st.integers(202, 2_000)
BAD_NESTS = DEPTHS.map(lambda n: b"[" * n + b"]" * n) | DEPTHS.map(lambda n: b'{"a":' * n + b"1" + b"}" * n)
POISON = BAD_STRINGS | BAD_NUMBERS | BAD_WORDS | BAD_NESTS | st.sampled_from([b"[1,]", b'{"a" 1}', b"{1:2}", b"[,]", b'{"a":1,}'])
"""Values that no strict parser takes; quotes and brackets match in each."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def written(fields: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(encoded(name) + b":" + value for name, value in fields.items()) + b"}"


@st.composite
def commands(draw: st.DrawFn, name: str, *, poisoned: bool) -> bytes:
    """A message to a thread of its own, in one of its spellings; with a value that spoils it, at any place but its id."""
    payload = {"thread_id": encoded(name), "text": encoded(draw(TEXT)), "more": encoded(draw(JSON))}
    fields = {"command_id": encoded(name), "command_type": b'"send_message_now"', "priority": encoded(draw(JSON))}
    if poisoned:
        where = draw(st.sampled_from([payload, fields]))
        where[draw(st.sampled_from([key for key in where if key not in {"command_id", "command_type"}] + ["odd"]))] = draw(POISON)
    fields["payload"] = written(payload)
    order = draw(st.permutations(list(fields)))
    command = written({key: fields[key] for key in order})
    return written({"type": b'"command"', "data": command}) if draw(st.booleans()) else command


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[str], list[str], bytes]:
    """Which commands are good and which are bad, and the answer that has them, with nameless items and odd values between them."""
    good = draw(st.lists(NAMES, max_size=6, unique=True))
    bad = draw(st.lists(NAMES.filter(lambda name: name not in good), max_size=4, unique=True))
    items = [draw(commands(name, poisoned=False)) for name in good] + [draw(commands(name, poisoned=True)) for name in bad]
    items += draw(
        st.lists(POISON.filter(lambda value: value.strip() and b"," not in value) | JSON.filter(nameless).map(encoded), max_size=3)
    )
    answer = {"commands": b"[" + b",".join(draw(st.permutations(items))) + b"]"}
    for key in draw(st.lists(st.sampled_from(["ack_events", "config_updates", "more", "\u00fc"]), unique=True)):
        answer[key] = draw(POISON | JSON.map(encoded) | POISON.map(lambda value: b"[" + value + b"]"))
    raw = written({key: answer[key] for key in draw(st.permutations(list(answer)))})
    return good, bad, draw(st.sampled_from([b"", b"\xef\xbb\xbf", b" \r\n"])) + raw


def nameless(value: Any) -> bool:
    return not (isinstance(value, dict) and "command_id" in value)


HALF_AN_EMOJI = (
    b'{"commands":[{"command_id":"cmd_1","command_type":"send_message_now","payload":{"thread_id":"1","text":"\\ud83d"}},'
    b'{"command_id":"cmd_0","command_type":"send_message_now","payload":{"thread_id":"0","text":"hi"}}]}'
)


@given(answers())
@example((["cmd_0"], ["cmd_1"], HALF_AN_EMOJI))
def test_the_good_commands_of_an_answer_run_and_the_bad_ones_are_answered(case: tuple[list[str], list[str], bytes]) -> None:
    good, bad, raw = case
    answer = frames.parse_sync(raw)
    book = Playbook(websocket={"enabled": False}).started()
    book.answer_poll(*answer.commands, proven=answer.proven, settings=answer.settings, malformed=answer.malformed)
    ran: list[str] = []
    while begun := [effect.command.command_id for _, effect in book.ever if isinstance(effect, Execute)][len(ran) :]:
        ran += begun
        for name in begun:
            book.finish(name)
    while book.snapshot.commands.outbox:
        assert len(book.ever) < 200, book.dialogue
        book >> posted(book)
    told = {body["command_id"]: body["success"] for _, effect in book.ever for body in acks_in(effect)}
    assert sorted(ran) == sorted(good)
    assert told == dict.fromkeys(good, True) | dict.fromkeys(bad, False)
    assert book.snapshot.commands.malformed == len(answer.malformed)
