"""A run on disk, and the same run again: equal phases and effects, nobody's words, and a mark for every way it can end."""

import json
import random
import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_core import __version__
from agent_core.clock import ManualClock
from agent_core.codec import FORMAT, encode, event_of
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.events import (
    CommandFinished,
    CommandsReceived,
    DialFailed,
    Event,
    Failure,
    LedgerOpened,
    PollAnswered,
    Recalled,
    ReplayRequested,
    Started,
    Trouble,
)
from agent_core.frames import Command, Priority
from agent_core.recording import Recorder, Recording, RecordingError, TextMask, difference
from agent_core.records import Arrival, Memory, OutboxRow, Outcome, Remembered, State, Via
from agent_core.redaction import Redactor
from agent_core.snapshot import Phase
from tests.harness.playbook import TRAITS
from tests.harness.rig import AGENT, SECRET, config, living, message, served, settled

WORDS = "meet me at the old harbour at nine"
COMMAND = Command("cmd_1", "send_message", {"thread_id": "+1", "text": WORDS, "list": [1, {"a": WORDS}]}, Priority.HIGH, 1.5, ("odd",))
PAST = Remembered(3, COMMAND, Via.POLL, State.COMPLETED, 5.0)
SPEAKING: tuple[Event, ...] = (
    LedgerOpened(Memory((PAST,))), CommandsReceived(2, (Arrival(COMMAND, (PAST,)),)), PollAnswered(2, (Arrival(COMMAND),)),
    Recalled((PAST,)), CommandFinished(1, Outcome(None, {"path": "x"}, OutboxRow(1, "cmd_1", "+1", WORDS, 3.0))),
    ReplayRequested("cmd_1", {"text": WORDS}, dry_run=True, remembered=PAST),
)  # fmt: skip
"""Events with somebody's words in them."""


@given(st.text(), st.text())
def test_a_mask_keeps_lengths_and_equality_and_nothing_else(one: str, other: str) -> None:
    mask = TextMask()
    assert len(mask.text(one)) == len(one)
    assert mask.text(one) == mask.text(one)
    if len(one) == len(other) >= 16:
        assert (mask.text(one) == mask.text(other)) == (one == other)
    assert len(one) < 16 or mask.text(one) != TextMask().text(one)


def test_ids_threads_and_times_are_kept_and_texts_are_not() -> None:
    later = replace(COMMAND, payload={**COMMAND.payload, "send_at": "2026-11-05T20:30:00Z"})
    masked = event_of(TextMask()(encode(CommandsReceived(1, (Arrival(later),)))))
    assert isinstance(masked, CommandsReceived)
    payload = masked.arrivals[0].command.payload
    assert payload["thread_id"] == "+1"
    assert payload["send_at"] == "2026-11-05T20:30:00Z"
    assert len(payload["text"]) == len(WORDS)
    for event in SPEAKING:
        assert WORDS in json.dumps(encode(event))
        assert WORDS not in json.dumps(TextMask()(encode(event)))


def test_a_receipt_that_looks_like_one_of_ours_is_no_trouble() -> None:
    odd = CommandFinished(1, Outcome(None, {"type": "OutboxRow", "text": 5, "inner": {"type": "Command", "payload": 7}}))
    assert event_of(TextMask()(encode(odd))) == odd


async def test_a_run_with_an_outage_replays_without_a_difference(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    async with served() as backend:
        early = await backend.queue(AGENT, "send_message_now", message(WORDS))
        async with living(config(tmp_path, backend.url), recorder=Recorder(file)) as here:
            await here.online()
            await settled(backend, early)
            await backend.repeat(early)
            await backend.queue(AGENT, "schedule_message", message(WORDS, send_at="2030-01-01T00:00:00Z", schedule_id="later"))
            await backend.down()
            await here.hears("reconnect attempt", 4)
            await backend.up()
            await here.until(lambda s: s.link.sessions == 2)
            await settled(backend, await backend.queue(AGENT, "cancel_scheduled", {"schedule_id": "later"}))
            here.post(ReplayRequested(early))
            here.post(ReplayRequested(early, dry_run=True))
            await here.hears("Dry run of")
    recording = Recording.read(file)
    assert recording.end == "closed"
    assert difference(recording.story(), recording.replayed(), "a", "b") == []
    story = "\n".join(recording.story())
    assert [line for line in recording.story() if line.endswith("── online")]
    assert "Scheduling WebSocket reconnect attempt 4/10" in story
    assert f"{early} send_message_now" in story
    text = file.read_text()
    assert WORDS not in text
    assert SECRET not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def dialogue(file: Path, seed: int = 5, **more: Any) -> None:
    """A short run: a dial that fails, and the wait after it."""
    clock, recorder = ManualClock(), Recorder(file, seed=seed, **more)
    settings = Config.model_validate({"edge": {"agent_id": AGENT}, "auth": {"secret": SECRET}, "timing": {"stall_threshold": 60}})
    engine = Engine(settings, TRAITS)
    recorder.begin(settings, TRAITS, clock.now(), Redactor(SECRET))
    dice = random.Random(seed).random
    refused = DialFailed(1, Failure(Trouble.CONNECT, "refused"))
    steps: tuple[tuple[Event, ...], ...] = ((LedgerOpened(), Started()), (refused,), (CommandsReceived(1, (Arrival(COMMAND),)),))
    for told in steps:
        asked = engine.handle_all(told, clock.advance(0.1), dice)
        recorder.step(clock.now(), told, asked, engine.vitals.phase)
    recorder.close()


def test_a_difference_is_a_diff_and_begins_where_it_begins(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    dialogue(file)
    recording = Recording.read(file)
    assert recording.story() == recording.replayed()
    assert [line.split()[-1] for line in recording.story() if "──" in line] == [Phase.CONNECTING, Phase.WAITING]
    file.write_text(file.read_text().replace('"seed":5', '"seed":6'))
    other = Recording.read(file)
    changes = difference(other.story(), other.replayed(), "recorded", "replayed")
    assert [line[0] for line in changes if "reconnect attempt 1/10 in" in line] == ["-", "+"]
    assert changes[0].startswith("--- recorded (from line ")


def test_texts_are_kept_where_asked_for(tmp_path: Path) -> None:
    dialogue(tmp_path / "run.jsonl", texts=True)
    assert WORDS in (tmp_path / "run.jsonl").read_text()
    assert SECRET not in (tmp_path / "run.jsonl").read_text()


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    dialogue(tmp_path / "run.jsonl")
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "run.jsonl")


def test_a_full_recording_says_so_and_replays(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    dialogue(file)
    lines = file.read_text().splitlines(keepends=True)
    file.unlink()
    dialogue(file, most=sum(map(len, lines[:3])))
    recording = Recording.read(file)
    assert recording.end == "full"
    assert len(recording.steps) == 2
    assert json.loads(file.read_text().splitlines()[-1]) == {"end": "full", "steps": 2}
    assert recording.story() == recording.replayed()


def test_a_recording_cut_off_replays_as_far_as_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    dialogue(file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:20])
    recording = Recording.read(file)
    assert recording.end == "cut off"
    assert len(recording.steps) == 2
    assert recording.story() == recording.replayed()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"m":1,"u":1,"e":[{"type":"Teleported"}]}', "it holds a Teleported, which this version does not know"),
        ('{"m":1,"u":1,"e":[{"type":"Opened","odd":1}]}', "its Opened is not this version's: .*generation"),
        ('{"m":"x","u":1}', "no step"), ('{"u":1}', "no step"), ('{"m":1,"u":1,"p":"dreaming"}', "no step"),
    ],
)  # fmt: skip
def test_what_this_version_does_not_know_is_one_sentence(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "run.jsonl"
    dialogue(file)
    head = file.read_text().splitlines()[0]
    file.write_text(f"{head}\n{line}\n")
    with pytest.raises(RecordingError, match=words):
        Recording.read(file)


def test_an_older_recording_is_refused_with_both_versions(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    dialogue(file)
    file.write_text(file.read_text().replace(f'"recording":{FORMAT},"version":"{__version__}"', '"recording":2,"version":"0.0.9"'))
    with pytest.raises(RecordingError) as refused:
        Recording.read(file)
    expected = f"{file} is a recording of format 2, made by version 0.0.9; this version, {__version__}, reads format {FORMAT}"
    assert str(refused.value) == expected


@pytest.mark.parametrize("text", ["", "x\n", "[]\n", '{"recording":99}\n', f'{{"recording":{FORMAT}}}\n', "[" * 9_999, "\x00\xff" * 999])
def test_another_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(RecordingError):
        Recording.read(tmp_path / "file")


def test_a_disk_that_fills_up_ends_the_recording_and_not_the_run(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500, usual[1]))
    try:
        dialogue(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert file.stat().st_size <= 2_500
