"""Lines that the world can cause at will: once per reason and minute, with a count (F75)."""

import json
from typing import Any

import pytest

from agent_core.engine.repeats import MAX_TEXTS
from agent_core.events import FrameReceived, StopRequested
from agent_core.frames import parse
from tests.harness.playbook import Playbook, command

FLOOD = 2_000


def frame(book: Playbook, raw: str | bytes) -> FrameReceived:
    return FrameReceived(book.generation, parse(raw))


def of_type(kind: str, **data: Any) -> str:
    return json.dumps({"type": kind, "data": data})


FRAMES = {
    "one byte": (b"x", "Malformed frame ignored: not JSON"),
    "no object": ("7", "Malformed frame ignored: a JSON int, not an object"),
    "no type": ("{}", "Malformed frame ignored: no type"),
    "a command without an id": (of_type("command"), "Malformed frame ignored: no command_id"),
    "an unknown type": (of_type("gossip"), "Unknown frame type ignored: gossip"),
    "an error": (of_type("error", message="slow down"), "The backend says: slow down"),
    "refused settings": (of_type("config_update", secret="x"), "Settings refused: secret"),
    "the same setting": (of_type("config_update", sync_interval=20), "Settings changed: sync_interval=20.0"),
}


@pytest.mark.parametrize(("raw", "line"), FRAMES.values(), ids=FRAMES)
def test_f75_a_flood_of_one_frame_is_one_line_and_one_number_a_minute(raw: str | bytes, line: str) -> None:
    book = Playbook().online()
    for _ in range(FLOOD):
        book >> frame(book, raw)
    book.told(line, times=1)
    book.lives(61).told(f"({FLOOD - 1} more within a minute)", times=1).told(line, times=2)
    book >> frame(book, raw)
    book.lives(58).told(line, times=2)
    book.lives(62).told("(1 more within a minute)", times=1).told(line, times=3)
    book.lives(61)
    book >> frame(book, raw)
    book.told(line, times=4)


@pytest.mark.parametrize("kind", ["unknown frame types", "errors of the backend", "refused settings"])
def test_f75_texts_that_differ_each_time_are_few_lines(kind: str) -> None:
    raw = {
        "unknown frame types": lambda number: of_type(f"gossip-{number}"),
        "errors of the backend": lambda number: of_type("error", message=f"error {number}"),
        "refused settings": lambda number: of_type("config_update", **{f"odd_{number}": 1}),
    }
    book = Playbook().online()
    before = len(book.lines)
    for number in range(FLOOD):
        book >> frame(book, raw[kind](number))
    assert len(book.lines) - before == MAX_TEXTS + 1
    book.told(f"More than {MAX_TEXTS} different {kind} within a minute; the rest is counted", times=1)
    book >> frame(book, b"x")
    book.told("Malformed frame ignored: not JSON", times=1)
    book.lives(61).told(f"({FLOOD - MAX_TEXTS - 1} more within a minute)", times=1)


def test_f75_malformed_commands_in_a_sync_answer() -> None:
    book = Playbook().started()
    book.answer_poll(malformed=("no command_id",) * FLOOD + ("another reason",))
    book.told("Malformed command in a sync answer ignored: no command_id", times=1)
    book.told("Malformed command in a sync answer ignored: another reason", times=1)
    assert book.snapshot.commands.malformed == FLOOD + 1


def test_f75_duplicates_of_one_command() -> None:
    book = Playbook().online().push("c1").finish("c1")
    for number in range(FLOOD):
        book.push("c1", payload={"thread_id": "+1", "text": "other"} if number % 2 else command("c1").payload)
    book.told("Received command via WebSocket: c1", times=1)
    book.told("Command c1 is a duplicate; it is not run again", times=1)
    book.told("Command c1 came again with other content; it is not run", times=1)
    book.lives(61).told(f"({FLOOD // 2 - 1} more within a minute)", times=2)


def test_f75_commands_that_are_not_taken() -> None:
    book = Playbook(executor={"max_pending": 4, "concurrency": 1}).online()
    for number in range(50):
        book.push(f"c{number}")
    book.told("Received command via WebSocket", times=4).told("Intake is full", times=1)


def test_f75_a_number_that_is_not_told_yet_is_told_at_the_end() -> None:
    book = Playbook().online()
    for _ in range(3):
        book >> frame(book, b"x")
    book >> StopRequested()
    book.lose().after(10)
    book.told("Malformed frame ignored: not JSON (2 more within a minute)", times=1)
    assert book.lines[-1].text == "Stopped"
