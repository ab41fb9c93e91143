"""The black box: nothing while nothing happens, and of an incident what led to it, in few private files."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent_core.black_box import FOLDER, MAX_ENTRIES, MAX_FILES, MAX_STEPS, BlackBox, Incident, NoBlackBox, keep, kept
from agent_core.codec import FORMAT
from agent_core.feed import LogEntry
from agent_core.redaction import Redactor
from agent_core.reference.faults import Faults
from agent_core.snapshot import CommandsView, DiskView, LinkView, Phase, Snapshot
from tests.harness.rig import SECRET, config, living, served, until


def present(at: float, phase: Phase = Phase.ONLINE, *, deaf: bool = False, **more: Any) -> Snapshot:
    return Snapshot(at=at, utc=1_793_975_527.0 + at, link=LinkView(phase=phase, deaf=deaf), **more)


def box(*snapshots: Snapshot) -> tuple[BlackBox, list[list[Incident]]]:
    black_box = BlackBox()
    return black_box, [black_box.look(snapshot) for snapshot in snapshots]


def test_each_kind_of_incident_is_noticed_once_when_it_begins() -> None:
    interrupted, disk = CommandsView(interrupted=2), DiskView(ok=False, trouble="full")
    _, found = box(
        present(1, commands=CommandsView(interrupted=1)), present(2, commands=interrupted), present(3, deaf=True, commands=interrupted),
        present(4, deaf=True, disk=disk, commands=interrupted), present(5, Phase.REPLACED, disk=disk), present(6, Phase.REFUSED, disk=disk),
        present(7, Phase.REFUSED),
    )  # fmt: skip
    assert found == [[], [Incident.UNKNOWN_OUTCOME], [Incident.DEAF], [Incident.DISK], [Incident.REPLACED], [Incident.REFUSED], []]


def test_what_lasts_or_comes_back_soon_is_kept_once() -> None:
    _, found = box(
        present(1), present(2, Phase.REFUSED), present(700, Phase.CONNECTING), present(701, Phase.REFUSED), present(1400),
        present(1401, Phase.REFUSED), present(1402), present(1403, Phase.REFUSED),
    )  # fmt: skip
    again = [Incident.REFUSED]
    assert found == [[], again, [], [], [], again, [], []], "while it is not online it is the same refusal; and not twice in ten minutes"


def test_the_ring_is_bounded_and_counts_what_it_left_out() -> None:
    black_box = BlackBox()
    for at in range(MAX_STEPS + 5):
        black_box.tell([LogEntry(at, "INFO", f"{at} {number}") for number in range(MAX_ENTRIES + 2)])
        black_box.look(present(at))
    assert len(black_box.steps) == MAX_STEPS
    assert {(len(step.entries), step.dropped) for step in black_box.steps} == {(MAX_ENTRIES, 2)}
    assert black_box.steps[-1].snapshot.at == MAX_STEPS + 4


def test_few_files_are_kept_and_each_is_read_back_as_it_was(tmp_path: Path) -> None:
    black_box, _ = box(present(1), present(2, Phase.REFUSED))
    black_box.tell([LogEntry(3.0, "WARNING", f"it said {SECRET}")])
    black_box.look(present(3, Phase.REFUSED))
    paths = []
    for number in range(MAX_FILES + 2):
        steps = [step._replace(snapshot=replace(step.snapshot, utc=step.snapshot.utc + number)) for step in black_box.steps]
        paths.append(keep(tmp_path, Incident.REFUSED, steps, Redactor(SECRET)))
        os.utime(paths[-1], (number, number))
    assert sorted((tmp_path / FOLDER).iterdir()) == paths[2:]
    found = kept(paths[-1])
    assert [step.snapshot for step in found] == [step.snapshot for step in steps]
    assert found[-1].entries == [LogEntry(3.0, "WARNING", "it said ***")]


async def test_a_refusal_leaves_a_private_file_without_the_secret(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url), viewed=False) as here:
        await here.online()
        assert not (tmp_path / FOLDER).exists()
        backend.faults = Faults(upgrade_status=403, upgrade_body=SECRET)
        await backend.close_links()
        await here.hears(r"What led to the incident \(refused\) is kept: edge-console replay --ui ")
        (path,) = await until(lambda: list((tmp_path / FOLDER).glob("*.jsonl")), "the file")
    steps = kept(path)
    assert [step.snapshot.link.phase for step in steps][-1] is Phase.REFUSED
    assert Phase.ONLINE in {step.snapshot.link.phase for step in steps}
    assert any("Connecting to WebSocket" in entry.text for step in steps for entry in step.entries if isinstance(entry, LogEntry))
    assert SECRET.encode() not in path.read_bytes()
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)] == [0o700, 0o600]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no black box of this version"),
        ("not JSON\n", "is no black box of this version"),
        ('{"type":"Past","entries":[]}\n', "is no black box: it does not say who made it"),
        ('{"type":"Greeting","format":1,"version":"0.0\\u001b","pid":1,"host":"h"}\n', "of format 1, made by version 0.0␛; this version, "),
        ('{"type":"Greeting","format":1,"version":"0","pid":1,"host":"h"}\n{"type":"Presence"}\n', "of format 1, made by version 0;"),
        (f'{{"type":"Greeting","format":{FORMAT},"version":"1","pid":1,"host":"h"}}\n{{"type":"Presence"}}\n', "of this version"),
        (f'{{"type":"Greeting","format":{FORMAT},"version":"1","pid":1,"host":"h"}}\n', "holds no step"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(text)
    with pytest.raises(NoBlackBox, match=why) as caught:
        kept(path)
    assert str(path) in str(caught.value)
