"""Files that go out by Messages, on the bench: each is proven by a row that has it attached, and by nothing that is merely like it."""

import asyncio
import hashlib
import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from agent_core.frames import MESSAGE_STATUS
from agent_core.journal.audit import audit
from agent_core.messengers.base import StagedFile
from agent_core.messengers.imessage.chat_db import ChatDb
from agent_core.messengers.imessage.chats import Recipient
from agent_core.messengers.imessage.parts import File
from agent_core.messengers.imessage.shelf import FOLDER, KEPT_SECONDS, Shelf
from agent_core.messengers.imessage.ways import Addressee, AppleScript
from agent_core.records import Outcome
from agent_core.reference.messages.app import OBJECT, UNREADABLE, Fault, MessagesApp
from agent_core.reference.messages.programs import install
from agent_core.reference.orders import Status
from agent_core.reference.server import ReferenceBackend
from tests.harness.mac import ANNA, WAYS, asking, mac, rows_of
from tests.harness.rig import AGENT, HttpStub, ack_of, http_answer, message, program, served, settled, until, write_config

CAT, DOG = b"cat" * 1_000, b"dog" * 2_000
BEN = "+13105550101"


def staged(folder: Path, name: str = "cat.png", content: bytes = CAT) -> StagedFile:
    """As a message's attachments are: in data_dir, out of the reach of Messages."""
    path = folder / "data" / "attachments" / name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    return StagedFile(path, name, len(content), hashlib.sha256(content).hexdigest())


def statuses(backend: ReferenceBackend) -> list[dict[str, Any]]:
    return [one.view()["payload"] for one in backend.hub.events.listed(None, MESSAGE_STATUS, 100)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tahoe", [False, True], ids=["any macOS", "macOS 26"])
async def test_the_text_goes_out_and_then_file_after_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, tahoe: bool) -> None:
    async with mac(tmp_path, monkeypatch, way, tahoe=tahoe) as at:
        outcome = await at.send("hello", files=[staged(tmp_path), staged(tmp_path, 'a "dog" & co.txt', DOG)])
        text, cat, dog = at.rows()
        assert outcome == Outcome(
            result={
                "guid": text["guid"], "service": "iMessage", "chat": f"{'any' if tahoe else 'iMessage'};-;{ANNA}",
                "attachments": [{"name": "cat.png", "guid": cat["guid"]}, {"name": 'a "dog" & co.txt', "guid": dog["guid"]}],
            }
        )  # fmt: skip
        assert [row["text"] for row in (text, cat, dog)] == ["hello", OBJECT, OBJECT]
        copies = [Path(request["file"]) for request in at.app.asked[1:]]
        assert [stat.S_IMODE(path.stat().st_mode) for path in copies] == [0o600, 0o600]
        await until(lambda: {row["is_delivered"] for row in at.rows()} == {1})
        kept = [path.read_bytes() for path in (tmp_path / "Attachments" / "ab").glob("*/*")]
        assert sorted(kept) == [CAT, DOG], "Messages could read them"


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_needs_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    async with mac(tmp_path, monkeypatch, way) as at:
        outcome = await at.send("", files=[staged(tmp_path)])
        (row,) = at.rows()
        assert (outcome.result["guid"], outcome.result["attachments"]) == (row["guid"], [{"name": "cat.png", "guid": row["guid"]}])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.LATE, Fault.ATTACHED_LATE, Fault.TWICE, Fault.MAY_HAVE_COMPLETED_SENT])
async def test_a_file_is_proven_once_it_is_attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, fault: Fault) -> None:
    async with mac(tmp_path, monkeypatch, way, [Fault.NONE, fault], late_by=0.5) as at:
        outcome = await at.send("hello", files=[staged(tmp_path)])
        assert outcome.error is None
        assert outcome.result["attachments"][0]["guid"] in {row["guid"] for row in at.rows() if row["cache_has_attachments"]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.SAYS_SENT, Fault.GHOST, Fault.NEVER_ATTACHED])
async def test_a_text_without_its_file_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, fault: Fault) -> None:
    async with mac(tmp_path, monkeypatch, way, [Fault.NONE, fault], row_within=0.5) as at:
        outcome = await at.send("hello", files=[staged(tmp_path), staged(tmp_path, "dog.png", DOG)])
        assert outcome.error == "the text went out, but not cat.png: no row in chat.db within 0.5 s"
        assert (outcome.unknown, outcome.result["guid"]) == (True, at.rows()[0]["guid"])
        assert len(at.app.asked) == 2, "nothing more is sent"


async def test_a_file_that_is_refused_is_told_with_what_went_out_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", [Fault.NONE, Fault.NOT_ALLOWED]) as at:
        outcome = await at.send("hello", files=[staged(tmp_path)])
        assert (outcome.error or "").startswith("the text went out, but not cat.png: this program may not control Messages")
        assert (outcome.unknown, outcome.permission) == (False, "automation")


async def test_what_is_like_a_file_does_not_prove_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        cat, other = staged(tmp_path), tmp_path / "Attachments" / "other" / "cat.png"
        other.parent.mkdir(parents=True)
        other.write_bytes(DOG)
        anna, ben = at.app.db.person(ANNA), at.app.db.person(BEN)
        at.app.db.add(anna, OBJECT, files=[cat.path])
        mark = await at.messenger.mark()
        at.app.db.add(anna, OBJECT)
        at.app.db.add(anna, OBJECT, files=[other])
        at.app.db.add(ben, OBJECT, files=[cat.path])
        at.app.db.add(anna, OBJECT, sender=ANNA, files=[cat.path])
        at.app.db.add(anna, OBJECT, files=[cat.path, other])
        db, wanted = ChatDb(tmp_path / "chat.db"), File("cat.png", len(CAT))
        assert db.sent(int(mark), Recipient(ANNA, group=False), wanted) == []
        at.app.db.add(anna, OBJECT, files=[cat.path])
        assert len(db.sent(int(mark), Recipient(ANNA, group=False), wanted)) == 1


# --- what a crash leaves ---------------------------------------------------------------------------------------------------


async def test_p1_a_message_with_files_is_settled_by_all_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", settle_within=0.3) as at:
        cat, dog = staged(tmp_path), staged(tmp_path, "dog.png", DOG)
        asked, anna, mark = asking("hello", [cat, dog]), at.app.db.person(ANNA), await at.messenger.mark()
        assert await at.messenger.settle(mark, asked) is None
        text, first = at.app.db.add(anna, "hello"), at.app.db.add(anna, OBJECT, files=[cat.path])
        partly = await at.messenger.settle(mark, asked)
        assert partly is not None
        assert (partly.error, partly.unknown) == ("the text, cat.png went out, but not dog.png", True)
        second = at.app.db.add(anna, OBJECT, files=[dog.path])
        whole = await at.messenger.settle(mark, asked)
        assert whole is not None
        assert whole.error is None
        assert [whole.result["guid"], *(one["guid"] for one in whole.result["attachments"])] == [text, first, second]
        again = at.app.db.add(anna, OBJECT, files=[cat.path])
        several = await at.messenger.settle(mark, asked)
        assert several is not None
        assert several.unknown
        assert [one["guid"] for one in several.result["candidates"]] == [first, again]


async def test_p1_a_file_that_is_attached_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        cat, anna, mark = staged(tmp_path), at.app.db.person(ANNA), await at.messenger.mark()
        at.app.db.add(anna, "hello")
        guid = at.app.db.add(anna, OBJECT)
        settling = asyncio.ensure_future(at.messenger.settle(mark, asking("hello", [cat])))
        await asyncio.sleep(0.3)
        at.app.db.attach(guid, cat.path)
        outcome = await settling
        assert outcome is not None
        assert outcome.result["attachments"] == [{"name": "cat.png", "guid": guid}]


async def test_p1_the_same_file_twice_needs_two_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", settle_within=0.3) as at:
        cat, mark = staged(tmp_path), await at.messenger.mark()
        outcome = await at.send("", files=[cat, cat])
        guids = [row["guid"] for row in at.rows()]
        assert [one["guid"] for one in outcome.result["attachments"]] == guids
        assert await at.messenger.settle(mark, asking("", [cat, cat])) == outcome


@pytest.mark.parametrize("fault", [Fault.MAY_HAVE_COMPLETED, Fault.HANGS])
async def test_p1_what_went_out_before_a_doubt_does_not_go_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    async with mac(tmp_path, monkeypatch, "imsg", [Fault.NONE, fault], row_within=0.3, settle_within=0.3) as at:
        cat, mark = staged(tmp_path), await at.messenger.mark()
        outcome = await at.send("hello", files=[cat], within=1.5)
        assert (outcome.unknown, outcome.final) == (True, False), "it is looked up"
        looked_up = await at.messenger.settle(mark, asking("hello", [cat]))
        assert looked_up is not None
        assert (looked_up.error, looked_up.unknown) == ("the text went out, but not cat.png", True)


@pytest.mark.parametrize("way", WAYS)
async def test_p1_a_kill_between_text_and_file(tmp_path: Path, way: str) -> None:
    path = f"{install(tmp_path)}:{os.environ['PATH']}"
    async with (
        MessagesApp(tmp_path, [Fault.NONE, Fault.HANGS_SENT]) as app,
        served() as backend,
        HttpStub(lambda _path: http_answer(CAT)) as files,
    ):
        settings = {"kind": "imessage", "way": way, "chat_db": str(tmp_path / "chat.db"), "attachment_origins": [files.url]}
        arguments = write_config(tmp_path, backend.url, messenger=settings, inbound={"enabled": True})
        attached = {"url": f"{files.url}/cat.png", "sha256": hashlib.sha256(CAT).hexdigest(), "bytes": len(CAT), "name": "cat.png"}
        async with program("--no-ui", *arguments, cwd=tmp_path, PATH=path) as agent:
            await agent.hears("real-time mode")
            name = await backend.queue(AGENT, "send_message_now", message("hello") | {"attachments": [attached]})
            await until(lambda: len(app.asked) == 2)
            agent.signal(signal.SIGKILL)
            await agent.ends(5)
        async with program("--no-ui", *arguments, cwd=tmp_path, PATH=path) as agent:
            (order,) = await settled(backend, name)
            text, cat = rows_of(tmp_path)
            assert order.status is Status.COMPLETED
            assert ack_of(order)["result"]["attachments"] == [{"name": "cat.png", "guid": cat["guid"]}]
            delivered = {text["guid"], cat["guid"]}
            await until(lambda: {one["guid"] for one in statuses(backend) if one["status"] == "delivered"} == delivered)
        assert audit(tmp_path / "state").violations == ()
        assert not list((tmp_path / "state" / "attachments").glob("*/*"))


# --- where Messages may read ----------------------------------------------------------------------------------------------


async def test_messages_fails_with_a_file_out_of_its_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        await AppleScript().send(Addressee(ANNA, is_chat=False, service="iMessage"), staged(tmp_path).path)
        await until(lambda: [row["error"] for row in at.rows()] == [UNREADABLE])


async def test_copies_go_after_a_day_unless_messages_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        shelf, cat = Shelf(ChatDb(tmp_path / "chat.db")), staged(tmp_path)
        old, kept, young = shelf.put([cat, cat, cat])
        at.app.db.add(at.app.db.person(ANNA), OBJECT, files=[kept])
        yesterday = time.time() - KEPT_SECONDS - 60
        for path in (old, kept):
            os.utime(path.parent, (yesterday, yesterday))
        (new,) = shelf.put([cat])
        assert [path.exists() for path in (old, kept, young, new)] == [False, True, True, True]
        assert {path.parent for path in (tmp_path / "Attachments" / FOLDER).glob("*/*")} == {kept.parent, young.parent, new.parent}
