"""Files that a message takes along: fetched from where they may come, verified, given to the messenger, and gone after it."""

import asyncio
import hashlib
import json
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent_core.attachments import FOLDER, Attachments, safe_name
from agent_core.config import Config
from agent_core.events import Execute
from agent_core.frames import FrameError, Message, command_of, message_of
from agent_core.handlers import run, send
from agent_core.messengers import Context, Messenger
from agent_core.messengers.base import as_json
from agent_core.messengers.exec import ExecMessenger
from agent_core.messengers.outbox import OutboxMessenger
from agent_core.records import Outcome
from tests.harness.playbook import Playbook, acks, to
from tests.harness.rig import AGENT, HttpStub, ack_of, config, http_answer, living, message, served, settled

PICTURE = bytes(range(256)) * 300
PROGRAM = """
import json, os, pathlib, sys
asked = json.load(sys.stdin)
told = [{"name": one["name"], "file": pathlib.Path(one["path"]).name, "bytes": os.stat(one["path"]).st_size,
         "mode": os.stat(one["path"]).st_mode, "sum": sum(pathlib.Path(one["path"]).read_bytes())} for one in asked["attachments"]]
print(json.dumps({"told": told}))
"""


def file_at(url: str, content: bytes = PICTURE, **other: Any) -> dict[str, Any]:
    return {"url": url, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "name": "cat.png"} | other


def sending(*files: dict[str, Any], **payload: Any) -> dict[str, Any]:
    return {"command_id": "c1", "command_type": "send_message_now", "payload": to("+1", attachments=list(files)) | payload}


def program(folder: Path) -> ExecMessenger:
    (folder / "send.py").write_text(PROGRAM)
    return ExecMessenger([sys.executable, str(folder / "send.py")])


class Desk:
    """A messenger with a place for files, and a backend that has them."""

    def __init__(self, folder: Path, url: str, by: Messenger | None = None, **sections: Any) -> None:
        self.folder = folder / "data"
        self.config: Config = config(self.folder, url, **sections)
        self.attachments = Attachments(self.config, lambda: {"Authorization": "Bearer mine"})
        self.messenger = by or program(folder)

    async def send(self, *files: dict[str, Any], within: float = 30.0) -> Outcome:
        command = command_of(sending(*files))
        context = Context(1, 1_793_910_600.0, self.messenger, message_of(command), None, self.attachments)
        pending = send(command, context)
        outcome = pending if isinstance(pending, Outcome) else await run(pending, command, within, lambda _command, _seconds: None)
        left = [path for path in (self.folder / FOLDER).rglob("*") if path.is_file()]
        assert left == [], "whatever became of it"
        return outcome


def serving(*others: tuple[str, bytes]) -> HttpStub:
    answers = {"/cat.png": http_answer(PICTURE), **dict(others)}
    return HttpStub(lambda path: answers[path])


# --- what goes along -----------------------------------------------------------------------------------------------------


async def test_files_are_there_for_the_messenger_whole_and_private_and_gone_after_it(tmp_path: Path) -> None:
    async with serving() as stub:
        outcome = await Desk(tmp_path, stub.url).send(file_at(f"{stub.url}/cat.png"), file_at(f"{stub.url}/cat.png", name="../../dog .png"))
    assert outcome.error is None
    cat, dog = outcome.result["told"]
    assert (cat["name"], cat["file"], cat["bytes"], cat["sum"]) == ("cat.png", "cat.png", len(PICTURE), sum(PICTURE))
    assert (dog["name"], stat.S_IMODE(dog["mode"])) == ("dog .png", 0o600)
    assert all("Authorization: Bearer mine" in request for request in stub.requests), "it is the backend's own origin"


async def test_from_a_configured_origin_without_the_secret(tmp_path: Path) -> None:
    async with serving() as backend, serving() as other:
        outcome = await Desk(tmp_path, backend.url, messenger={"attachment_origins": [other.url]}).send(file_at(f"{other.url}/cat.png"))
    assert outcome.error is None
    assert "uthorization" not in other.requests[0]


async def test_over_a_real_link_and_only_the_text_may_be_left_out(tmp_path: Path) -> None:
    body = {name: value for name, value in message().items() if name != "text"}
    program(tmp_path)
    told = {"kind": "exec", "command": [sys.executable, str(tmp_path / "send.py")]}
    async with serving() as stub, served() as backend:
        told["attachment_origins"] = [stub.url]
        left = tmp_path / "data" / FOLDER / "of an earlier run"
        left.mkdir(parents=True)
        async with living(config(tmp_path / "data", backend.url, messenger=told)) as here:
            await here.online()
            one = await backend.queue(AGENT, "send_message_now", body | {"attachments": [file_at(f"{stub.url}/cat.png")]})
            (order,) = await settled(backend, one)
    assert ack_of(order)["result"]["told"][0]["sum"] == sum(PICTURE)
    assert not left.exists()


# --- what does not -------------------------------------------------------------------------------------------------------

MOVED = b"HTTP/1.1 302 Found\r\nLocation: /cat.png\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"sha256": "0" * 64}, "the attachment cat.png is another file: its SHA-256 differs"),
        ({"bytes": len(PICTURE) - 1}, f"the attachment cat.png has more than its {len(PICTURE) - 1} bytes"),
        ({"bytes": len(PICTURE) + 1}, f"the attachment cat.png has less than its {len(PICTURE) + 1} bytes"),
        ({"bytes": 10**8}, "the attachments have 100000000 bytes, and messenger.attachment_max_bytes is 25000000"),
        ({"path": "/moved"}, "the attachment cat.png was answered with HTTP 302, and redirects are not followed"),
        ({"path": "/none"}, "the attachment cat.png was answered with HTTP 404"),
        ({"path": "/half"}, "the attachment cat.png did not come: "),
    ],
)
async def test_what_is_not_the_file_that_was_promised_is_not_sent(tmp_path: Path, changed: dict[str, Any], error: str) -> None:
    half = http_answer(PICTURE)[:-10]
    async with serving(("/moved", MOVED), ("/none", http_answer(b"", "404 Not Found")), ("/half", half)) as stub:
        url = stub.url + changed.pop("path", "/cat.png")
        outcome = await Desk(tmp_path, stub.url).send(file_at(url) | changed)
    assert str(outcome.error).startswith(error)
    assert not outcome.unknown
    assert len(stub.requests) <= 1


ELSEWHERE = ("http://127.0.0.1:{}/cat.png", "http://user@127.0.0.1:{}/cat.png", "file:///etc/passwd", "http://127.0.0.1:1\\@x/", "nothing")


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_elsewhere_nothing_is_asked(tmp_path: Path, url: str) -> None:
    async with serving() as stub, serving() as other:
        outcome = await Desk(tmp_path, stub.url).send(file_at(url.format(other.port)))
    assert outcome == Outcome(error="an attachment is neither at the backend's own origin nor at one of messenger.attachment_origins")
    assert other.requests == stub.requests == []


async def test_one_that_does_not_come_in_time_is_a_known_failure(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        outcome = await Desk(tmp_path, url, executor={"timeout_seconds": 0.6}).send(file_at(f"{url}/cat.png"))
        over.set()
    assert str(outcome.error).startswith(("the attachments did not come within 0.3 s", "the attachment cat.png did not come"))
    assert not outcome.unknown


async def test_of_one_that_never_ends_no_more_is_taken_than_it_may_have(tmp_path: Path) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                writer.write(PICTURE)
                await writer.drain()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        outcome = await Desk(tmp_path, url, executor={"timeout_seconds": 8}).send(file_at(f"{url}/cat.png"))
    assert outcome.error == f"the attachment cat.png has more than its {len(PICTURE)} bytes"


async def test_a_messenger_that_sends_none_says_so(tmp_path: Path) -> None:
    async with serving() as stub:
        outcome = await Desk(tmp_path, stub.url, OutboxMessenger()).send(file_at(f"{stub.url}/cat.png"))
    assert outcome == Outcome(error="the configured messenger sends no attachments")
    assert stub.requests == []


@pytest.mark.parametrize(
    "attachments",
    [
        "x", [file_at("u")] * 11, ["x"], [{}], [file_at("")], [file_at("u", sha256="abc")], [file_at("u", bytes="7")],
        [file_at("u", bytes=-1)], [file_at("u", name="")], [file_at("u", bytes=True)],
    ],
)  # fmt: skip
def test_what_is_no_attachment_fails_when_it_comes(attachments: object) -> None:
    book = Playbook().online()
    book.push("c1", payload=to("+1", attachments=attachments)) << acks("c1", status="failed")
    book.never(Execute)


def test_without_text_and_attachments_there_is_no_message() -> None:
    with pytest.raises(FrameError, match="missing text"):
        message_of(command_of(sending(text="")))
    asked: Message = message_of(command_of(sending(file_at("u"), text="")))
    assert (asked.text, len(asked.attachments)) == ("", 1)


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("cat.png", "cat.png"), ("../../etc/passwd", "passwd"), ("C:\\x\\y.txt", "y.txt"), (".bashrc", "bashrc"), ("-rf", "rf"),
        ("a\x00b\n.pdf", "a_b_.pdf"), ("\u202egnp.exe", "_gnp.exe"), ("..", "attachment"), ("/", "attachment"),
        ("é" * 200 + ".jpeg", "é" * 57 + ".jpeg"), ("\ud83d.png", "_.png"), ("Café 1.pdf", "Café 1.pdf"),
    ],
)  # fmt: skip
def test_a_name_is_one_part_of_a_path_and_shows_what_it_is(given: str, safe: str) -> None:
    assert safe_name(given) == safe


def test_the_program_is_told_of_no_attachments_where_there_are_none() -> None:
    command = command_of(sending())
    asked = message_of(command)
    assert "attachments" not in json.loads(as_json(asked, command, Context(1, 0.0, OutboxMessenger(), asked)))
