"""Messages that come in, on the bench with a real agent and backend: each told once, and what is none not at all."""

import hashlib
import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent_core.clock import SystemClock
from agent_core.diagnosis.findings import Verdict
from agent_core.diagnosis.messages import inbound
from agent_core.diagnosis.stages import diagnose
from agent_core.frames import MESSAGE_RECEIVED, MESSAGE_STATUS, PERMISSION_LOST, event_id_of
from agent_core.journal.reader import NoLedger, inbound_cursor
from agent_core.journal.reader import reading as open_ledger
from agent_core.reference.messages.app import ACCOUNT, Fault, MessagesApp
from agent_core.reference.messages.chat_db import ChatDb
from agent_core.reference.messages.programs import install
from agent_core.reference.server import ReferenceBackend
from agent_core.reference.told import Told
from tests.harness.inbound_torture import torture
from tests.harness.rig import AGENT, Living, ack_of, config, for_a_while, living, message, served, settled, until
from tests.harness.wal_churn import churn

ANNA, BEN = "+13105550100", "+13105550101"
HOUR = 3_600.0


@dataclass
class Desk:
    """A bench, an agent that watches it, and the backend that hears of it."""

    app: MessagesApp
    backend: ReferenceBackend
    here: Living

    def told(self, event_type: str = MESSAGE_RECEIVED) -> list[Told]:
        """Oldest first."""
        return list(reversed(self.backend.hub.events.listed(None, event_type, 100_000)))

    def payloads(self, event_type: str = MESSAGE_RECEIVED) -> list[dict[str, Any]]:
        return [told.view()["payload"] for told in self.told(event_type)]

    def texts(self) -> list[str]:
        return [payload["text"] for payload in self.payloads()]

    async def tells(self, *texts: str) -> None:
        await until(lambda: self.texts() == list(texts), f"{texts} and not {self.texts()}\n" + "\n".join(self.here.lines[-10:]))


def reading(folder: Path, url: str, **sections: Any) -> Any:
    messenger = {"kind": "imessage", "chat_db": str(folder / "chat.db"), "settle_seconds": 1}
    chosen: dict[str, Any] = {"messenger": messenger, "inbound": {"enabled": True}}
    return config(folder / "state", url, **(chosen | sections))


@asynccontextmanager
async def desk(folder: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> AsyncIterator[Desk]:
    """The agent has taken its first look."""
    monkeypatch.setenv("PATH", f"{install(folder)}:{os.environ['PATH']}")
    async with MessagesApp(folder) as app, served() as backend, living(reading(folder, backend.url, **sections)) as here:
        await until(lambda: "inbound_cursor" in facts(folder))
        yield Desk(app, backend, here)


def facts(folder: Path) -> set[str]:
    """Of what is kept in the ledger, the keys."""
    with suppress(NoLedger), open_ledger(folder / "state") as db:
        return {key for (key,) in db.execute("SELECT key FROM facts")}
    return set()


async def test_no_descriptor_is_left_over_however_the_files_come_and_go(tmp_path: Path) -> None:
    figures, wrong = await churn(tmp_path, rows=240, seconds=2.0)
    assert wrong == [], figures


async def test_the_doctor_says_how_far_what_comes_in_has_been_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another = ChatDb(tmp_path / "another.db")
    another.close()
    async with desk(tmp_path, monkeypatch) as at:
        settings, now = reading(tmp_path, at.backend.url), time.time()
        unread = await inbound(settings.model_copy(update={"data_dir": tmp_path / "elsewhere"}), now)
        assert unread.sentence == "chat.db ends at row 0; what comes from the first start on is told as events"
        at.app.receive(ANNA, "hello")
        await at.tells("hello")
        await until(lambda: str(inbound_cursor(tmp_path / "state")).startswith("1@"))
        assert (await inbound(settings, now)).sentence.startswith("read to row 1 of 1; told as events")
        late = await inbound(settings, now + 30 * HOUR)
        assert late.verdict is Verdict.WARNING
        assert "last looked at 30 h ago: what is older than inbound.catch_up_hours (24) is not told" in late.sentence
        names = [stage.name async for stage in diagnose(settings, SystemClock())]
        assert names[names.index("policy") + 1] == "inbound"
        for name, verdict, said in (("another.db", Verdict.WARNING, "it is another one"), ("nowhere.db", Verdict.FAILED, "cannot be read")):
            changed = settings.messenger.model_copy(update={"chat_db": tmp_path / name})
            stage = await inbound(settings.model_copy(update={"messenger": changed}), now)
            assert (stage.verdict, said in stage.sentence) == (verdict, True)


async def test_a_database_that_begins_anew_is_read_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "anew").mkdir()
    monkeypatch.setenv("PATH", f"{install(tmp_path)}:{os.environ['PATH']}")
    async with served() as backend:
        for name, texts in (("before", ["one", "two", "three"]), ("anew", ["four"])):
            async with MessagesApp(tmp_path / name) as app:
                settings = reading(tmp_path, backend.url, messenger={"kind": "imessage", "chat_db": str(tmp_path / name / "chat.db")})
                async with living(settings) as here:
                    at = Desk(app, backend, here)
                    await until(lambda: "inbound_cursor" in facts(tmp_path))
                    for text in texts:
                        app.receive(ANNA, text)
                    await until(lambda: at.texts()[-1:] == texts[-1:])  # noqa: B023
        assert at.texts() == ["one", "two", "three", "four"]


async def test_what_comes_in_is_told_and_what_is_no_message_of_others_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path, monkeypatch) as at:
        at.app.type(ANNA, "from here")
        at.app.note_to_self("a note")
        guid = at.app.receive(ANNA, "hello 👋\n“EOF”")
        at.app.receive(BEN, "all of you", group="chat77")
        at.app.db.add(at.app.db.group("chat77", [BEN]), None, sender=BEN, item_type=2, group_title="Renamed")
        at.app.receive(ANNA, "x" * 30_000)
        await at.tells("hello 👋\n“EOF”", "all of you", "x" * 20_000)
        first, second, third = at.payloads()
        assert first == {
            "guid": guid, "thread_id": ANNA, "sender": ANNA, "text": "hello 👋\n“EOF”", "is_group": False, "service": "iMessage",
            "attachments": [],
        }  # fmt: skip
        assert (second["thread_id"], second["sender"], second["is_group"]) == ("chat77", BEN, True)
        assert third["text_length"] == 30_000
        assert at.told()[0].event_id == event_id_of(MESSAGE_RECEIVED, guid)
        assert ACCOUNT not in str(at.payloads())
        await for_a_while(0.5, lambda: len(at.told()) == 3)


async def test_p16_a_back_fill_of_five_thousand_old_rows_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path, monkeypatch) as at:
        at.app.receive(ANNA, "before")
        at.app.receive_old(BEN, [(f"old {number}", time.time() - (7 + number) * HOUR) for number in range(5_000)])
        at.app.receive(ANNA, "after")
        await at.tells("before", "after")
        assert await at.here.hears("5000 old message")
        assert len(at.here.said("old message")) == 1
        assert at.backend.hub.counts["events"] == 2


async def test_an_outage_is_caught_up_as_far_as_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came while the agent was down is no back-fill, however old; past catch_up_hours it is not told."""
    monkeypatch.setenv("PATH", f"{install(tmp_path)}:{os.environ['PATH']}")
    async with MessagesApp(tmp_path) as app, served() as backend:
        own = reading(tmp_path, backend.url, inbound={"enabled": True, "catch_up_hours": 20})
        app.receive(ANNA, "before the first start")
        async with living(own) as here:
            await here.online()
            await until(lambda: "inbound_cursor" in facts(tmp_path))
        with closing(sqlite3.connect(tmp_path / "state" / "ledger.sqlite3")) as db:  # it was down for two days
            rowid = db.execute("SELECT value FROM facts WHERE key = 'inbound_cursor'").fetchone()[0].partition("@")[0]
            db.execute("UPDATE facts SET value = ? WHERE key = 'inbound_cursor'", (f"{rowid}@{time.time() - 48 * HOUR:.0f}",))
            db.commit()
        app.receive(ANNA, "two days ago", utc=time.time() - 47 * HOUR)
        app.receive(ANNA, "this morning", utc=time.time() - 12 * HOUR)
        app.receive(ANNA, "now")
        async with living(own) as here:
            at = Desk(app, backend, here)
            await at.tells("this morning", "now")
            await here.hears("1 old message")


async def test_attachments_are_named_once_their_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "Attachments"
    folder.mkdir()
    here, late, outside = folder / "a.png", folder / "b.png", tmp_path / "secret"
    here.write_bytes(b"picture")
    outside.write_bytes(b"no attachment")
    async with desk(tmp_path, monkeypatch) as at:
        at.app.receive(ANNA, "two", files=[here, late])
        at.app.receive(ANNA, "behind it")
        await for_a_while(0.5, lambda: not at.told())
        late.write_bytes(b"later")
        at.app.db.arrived(late)
        await at.tells("two", "behind it")
        named = [{key: one[key] for key in ("name", "type", "bytes", "sha256")} for one in at.payloads()[0]["attachments"]]
        assert named == [
            {"name": file.name, "type": "image/png", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for file, content in ((here, b"picture"), (late, b"later"))
        ]
        guid, url = at.payloads()[0]["attachments"][0]["guid"], f"{at.backend.url}/edge/attachments/mine"
        asked = [{"guid": guid, "url": url}, {"guid": "other", "url": url}, {"guid": guid, "url": f"{at.backend.url}/no/such"}]
        asked += [{"guid": guid, "url": "http://127.0.0.1:1/edge/attachments/mine"}, {"guid": guid}]
        orders = await settled(at.backend, *[await at.backend.queue(AGENT, "fetch_attachment", payload) for payload in asked])
        assert ack_of(orders[0])["result"] == {"bytes": 7, "sha256": hashlib.sha256(b"picture").hexdigest()}
        assert [ack_of(order)["error"] for order in orders[1:]] == [
            "there is no such attachment, or its file has not come yet", "the backend answered HTTP 404",
            "the url is not at the backend's own origin", "missing guid or url",
        ]  # fmt: skip
        assert [(one["name"], one["bytes"]) for one in at.backend.hub.attachments] == [("mine", 7)]


async def test_what_became_of_a_message_is_told_and_never_less_than_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path, monkeypatch) as at:
        at.app.read_receipts = True
        good = await at.backend.queue(AGENT, "send_message_now", message("hi", thread=ANNA))
        await settled(at.backend, good)
        at.app.faults.append(Fault.UNROUTABLE)
        bad = await at.backend.queue(AGENT, "send_message_now", message("hi", thread=BEN))
        await until(lambda: {("read", good), ("failed", bad)} <= {(p["status"], p["command_id"]) for p in at.payloads(MESSAGE_STATUS)})
        statuses = [p["status"] for p in at.payloads(MESSAGE_STATUS) if p["command_id"] == good]
        assert statuses == sorted(statuses, key=["sent", "delivered", "read"].index)
        (failed,) = [p for p in at.payloads(MESSAGE_STATUS) if p["command_id"] == bad and p["status"] == "failed"]
        assert failed["code"] == 22
        assert at.texts() == []


async def test_in_the_way_of_the_original_each_is_posted_and_the_answer_holds_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbound, socket_off = {"enabled": True, "dialect": "edge_message"}, {"enabled": False}
    async with desk(tmp_path, monkeypatch, inbound=inbound, websocket=socket_off, backend={"sync_interval_seconds": 60}) as at:
        await at.here.until(lambda s: s.polling.polls == 1 and s.polling.last_ok_utc)
        name = await at.backend.queue(AGENT, "emit_event", {})
        guid = at.app.receive(ANNA, "hello")
        at.app.receive(ANNA, "again")
        await at.tells("hello", "again")
        (order,) = await settled(at.backend, name)
        assert order.polled == 1
        assert [told.way for told in at.told()] == ["message", "message"]
        assert at.payloads()[0]["message_id"] == at.payloads()[0]["guid"] == guid
        await at.here.until(lambda s: s.events.proven == 2 and s.polling.polls == 1)


async def test_a_database_that_is_not_readable_is_a_permission_lost_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path, monkeypatch) as at:
        (tmp_path / "chat.db").rename(tmp_path / "kept.db")
        with closing(socket.socket(socket.AF_UNIX)) as closed:  # there, and nobody may open it
            closed.bind(str(tmp_path / "chat.db"))
        await at.here.hears("What comes in cannot be read", within=20)
        await until(lambda: [payload["permission"] for payload in at.payloads(PERMISSION_LOST)] == ["full_disk_access"])
        (tmp_path / "chat.db").unlink()
        (tmp_path / "kept.db").rename(tmp_path / "chat.db")
        at.app.receive(ANNA, "back")
        await at.tells("back")
        await at.here.hears("can be read again")


async def test_p16_kills_and_checkpoints_lose_nothing_and_tell_nothing_twice() -> None:
    violations, figures = await torture(rows=200, kills=3, seed=16)
    assert violations == []
    assert figures["events at the backend"] == figures["rows that came in"] == 200
