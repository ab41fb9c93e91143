"""The messenger that appends to a file: what is answered for is there, whole, and alone on its line."""

import asyncio
import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_core.frames import Command, Message
from agent_core.messengers import Context, file
from agent_core.messengers.file import FileMessenger, append
from tests.harness.rig import AGENT, ack_of, message, program, served, settled, write_config

CUT = 1_000


async def send(messenger: FileMessenger, number: int, text: str = "hi") -> None:
    message = Message("+13105550100", text)
    await messenger.send(message, Command(f"cmd_{number}", "send_message_now"), Context(number, 1_793_910_600.0, messenger, message))


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


@pytest.fixture
def files_end_at_1000_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is full there: what still fits is written."""
    write = os.write

    def short(descriptor: int, line: bytes) -> int:
        if not (room := CUT - os.fstat(descriptor).st_size):
            raise OSError(errno.ENOSPC, "no space left")
        return write(descriptor, line[:room])

    monkeypatch.setattr(file, "os", ShortWriting(short))


class ShortWriting:
    """The module `os`, but for `write`."""

    def __init__(self, write: Callable[[int, bytes], int]) -> None:
        self.write = write

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


async def test_many_at_once_are_a_line_each(tmp_path: Path) -> None:
    messenger = FileMessenger(tmp_path / "sent")
    await asyncio.gather(*(send(messenger, number, str(number) * 500) for number in range(1, 9)))
    assert sorted(texts(tmp_path / "sent")) == [str(number) * 500 for number in range(1, 9)]


@pytest.mark.usefixtures("files_end_at_1000_bytes")
async def test_a_line_cut_short_by_a_full_disk_is_taken_back_and_its_neighbours_stay(tmp_path: Path) -> None:
    messenger = FileMessenger(tmp_path / "sent")
    ends = await asyncio.gather(*(send(messenger, number, "x" * 300) for number in range(6)), return_exceptions=True)
    failed = [end for end in ends if isinstance(end, OSError)]
    assert len(failed) == 4
    assert {error.errno for error in failed} == {errno.ENOSPC}
    assert texts(tmp_path / "sent") == ["x" * 300] * 2
    await send(messenger, 7, "short")
    assert texts(tmp_path / "sent")[-1] == "short"


async def test_it_answers_when_the_disk_has_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        seen.append((tmp_path / "sent").read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    await send(FileMessenger(tmp_path / "sent"), 1)
    assert len(seen) == 2, "the line, and the name of a file that is new"
    await send(FileMessenger(tmp_path / "sent"), 2)
    assert seen[2].count(b"\n") == 2


async def test_a_line_that_does_not_reach_the_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messenger = FileMessenger(tmp_path / "sent")
    await send(messenger, 1, "kept")

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is broken"):
        await send(messenger, 2, "lost")
    assert texts(tmp_path / "sent") == ["kept"]


async def test_a_pipe_may_take_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sent")
    reader = os.open(tmp_path / "sent", os.O_RDONLY | os.O_NONBLOCK)
    try:
        await send(FileMessenger(tmp_path / "sent"), 1, "through")
        assert json.loads(os.read(reader, 4_096))["text"] == "through"
    finally:
        os.close(reader)


async def test_what_times_out_while_another_is_written_is_not_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sent")
    messenger = FileMessenger(tmp_path / "sent")
    async with asyncio.TaskGroup() as group:
        group.create_task(send(messenger, 1, "first"))
        waits = [group.create_task(send(messenger, number)) for number in range(2, 9)]
        await asyncio.sleep(0.1)
        for task in waits:
            task.cancel()
        await asyncio.wait(waits)
        reader = os.open(tmp_path / "sent", os.O_RDONLY | os.O_NONBLOCK)
    try:
        await send(messenger, 9, "last")
        told = [json.loads(line)["text"] for line in os.read(reader, 65_536).splitlines()]
    finally:
        os.close(reader)
    assert told == ["first", "last"]


async def test_a_pipe_that_nobody_reads_holds_up_neither_the_link_nor_the_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sent")
    async with served() as backend:
        messenger = {"kind": "file", "path": str(tmp_path / "sent")}
        arguments = write_config(tmp_path, backend.url, messenger=messenger, executor={"timeout_seconds": 0.5})
        async with program("--no-ui", *arguments, cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            names = [await backend.queue(AGENT, "send_message_now", message(thread=f"+1310555{number:04d}")) for number in range(8)]
            orders = await settled(backend, *names)
            assert {ack_of(order)["error"] for order in orders} == {"unknown outcome: timed out after 0.5 s"}
            agent.signal(signal.SIGTERM)
            assert await agent.ends(5) == 0


def test_a_folder_that_may_be_written_but_not_read_takes_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: Path, *rest: int) -> int:
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "may not be read")
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    append(tmp_path / "sent", b"line\n")
    assert (tmp_path / "sent").read_bytes() == b"line\n"


def test_what_another_process_has_appended_meanwhile_is_not_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = tmp_path / "sent"

    def fail(_descriptor: int) -> None:
        with sent.open("ab") as file:
            file.write(b"a neighbour\n")
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is broken"):
        append(sent, b"mine\n")
    assert sent.read_bytes() == b"mine\na neighbour\n"
