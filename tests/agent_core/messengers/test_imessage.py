"""Messages that leave a Mac, on the bench: what is completed has its row, and what has none is never called so."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
import typedstream  # type: ignore[import-untyped]

from agent_core.config import Config
from agent_core.frames import Message
from agent_core.journal.audit import audit
from agent_core.messengers.base import MessengerError
from agent_core.messengers.choice import messenger_for
from agent_core.messengers.imessage.chat_db import ChatDb, text_of
from agent_core.messengers.imessage.chats import Recipient, recipient_of
from agent_core.messengers.imessage.messenger import IMessageMessenger
from agent_core.messengers.imessage.ways import AppleScript
from agent_core.records import Outcome
from agent_core.reference.messages.app import Fault, MessagesApp
from agent_core.reference.messages.programs import install
from agent_core.reference.messages.typedstream import attributed
from agent_core.reference.orders import Status
from tests.harness.mac import ANNA, WAYS, Mac, mac, rows_of
from tests.harness.rig import AGENT, ack_of, message, program, records, served, settled, until, write_config

AWKWARD = [
    'say "hi"', "back\\slash \\n", "two\nlines\r\nand three", "EOF", '" & do shell script "touch /tmp/x" & "', "$(id) `id` %s", "-e", "--",
    "👩‍👩‍👧 café é", " blank at the ends ", "x" * 10_000, "👋" * 10_000, "a\tb",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tahoe", [False, True], ids=["any macOS", "macOS 26"])
async def test_a_message_is_sent_when_its_row_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, tahoe: bool) -> None:
    async with mac(tmp_path, monkeypatch, way, tahoe=tahoe) as at:
        first = await at.send("hello")
        (row,) = at.rows()
        prefix = "any" if tahoe else "iMessage"
        assert first == Outcome(result={"guid": row["guid"], "service": "iMessage", "chat": f"{prefix};-;{ANNA}"})
        assert (row["is_from_me"], row["handle"], row["text"]) == (1, ANNA, "hello")
        second = await at.send("hello")
        assert second.result["guid"] == at.rows()[1]["guid"]
        assert [(request["target"], request["by_id"]) for request in at.app.asked] == [(ANNA, False), (f"{prefix};-;{ANNA}", True)]


@pytest.mark.parametrize("way", WAYS)
async def test_texts_arrive_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    async with mac(tmp_path, monkeypatch, way) as at:
        for text in AWKWARD:
            assert (await at.send(text)).error is None, text
        assert [request["text"] for request in at.app.asked] == AWKWARD
        assert [row["text"] for row in at.rows()] == AWKWARD


@pytest.mark.parametrize("text", ["a\0b", "x" * 100_001])
async def test_a_text_that_no_argument_holds_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        outcome = await at.send(text)
        assert (outcome.error or "").startswith("the text ")
        assert not outcome.unknown
        assert at.app.asked == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("thread", "tahoe", "chat"),
    [
        ("iMessage;+;chat1234", False, "iMessage;+;chat1234"), ("any;+;chat1234", False, "iMessage;+;chat1234"),
        ("iMessage;+;chat1234", True, "any;+;chat1234"), ("chat1234", True, "any;+;chat1234"), ("chat1234", False, "iMessage;+;chat1234"),
    ],
)  # fmt: skip
async def test_a_group_is_found_by_either_form_of_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, thread: str, tahoe: bool, chat: str
) -> None:
    async with mac(tmp_path, monkeypatch, way, tahoe=tahoe) as at:
        at.app.db.group("chat1234", [ANNA, "+13105550101"])
        assert (await at.send("hello all", thread)).result["chat"] == chat
        assert at.rows()[0]["handle"] is None


async def test_an_unknown_group_is_not_sent_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        assert await at.send("hello", "iMessage;+;chat99") == Outcome(error="Messages has no such group here")
        assert at.app.asked == []


async def test_a_persons_stale_id_falls_back_to_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", [Fault.STRANGER]) as at:
        at.app.db.person(ANNA)
        assert (await at.send("hello", f"iMessage;-;{ANNA}")).error is None
        assert [request["by_id"] for request in at.app.asked] == [True, False]


async def test_a_service_that_is_asked_for_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", service="SMS") as at:
        at.app.db.person(ANNA)
        assert (await at.send("hello")).result == {"guid": at.rows()[0]["guid"], "service": "SMS", "chat": f"SMS;-;{ANNA}"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.SAYS_SENT, Fault.GHOST, Fault.MAY_HAVE_COMPLETED])
async def test_a_success_without_a_row_is_an_unknown_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, fault: Fault
) -> None:
    async with mac(tmp_path, monkeypatch, way, [fault], row_within=0.5) as at:
        outcome = await at.send("hello")
        assert outcome.unknown
        assert outcome.error
        assert len(at.app.asked) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.LATE, Fault.TWICE, Fault.MAY_HAVE_COMPLETED_SENT])
async def test_a_row_proves_it_whenever_it_comes_and_whatever_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, fault: Fault
) -> None:
    async with mac(tmp_path, monkeypatch, way, [fault]) as at:
        assert (await at.send("hello")).result["guid"] in {row["guid"] for row in at.rows()}


async def test_neither_another_text_nor_another_chat_nor_an_older_row_proves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", [Fault.SAYS_SENT], row_within=1.0) as at:
        at.app.type(ANNA, "hello")
        sending = asyncio.ensure_future(at.send("hello"))
        await until(lambda: at.app.asked)
        at.app.type(ANNA, "hello there")
        at.app.type("+13105550199", "hello")
        at.app.receive(ANNA, "hello")
        assert (await sending).unknown


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "cause"),
    [(Fault.NOT_ALLOWED, "Automation"), (Fault.NOT_SIGNED_IN, "no iMessage account is signed in"), (Fault.STRANGER, "no such recipient")],
)
async def test_a_refusal_is_told_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, fault: Fault, cause: str
) -> None:
    async with mac(tmp_path, monkeypatch, way, [fault]) as at:
        outcome = await at.send("hello")
        assert cause in (outcome.error or "")
        assert not outcome.unknown


async def test_a_row_that_has_failed_is_a_failure_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", [Fault.SAYS_SENT]) as at:
        sending = asyncio.ensure_future(at.send("hello"))
        await until(lambda: at.app.asked)
        at.app.db.add(at.app.db.person(ANNA), "hello", error=22)
        outcome = await sending
        assert outcome.error == "Messages could not send it: error 22, the recipient cannot be reached by this service"
        assert not outcome.unknown


def programs_of_the_bench() -> list[str]:
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    names = [Path(f"/proc/{pid}/cmdline").read_text() for file in children for pid in file.read_text().split()]
    return [name for name in names if "messages.programs" in name]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="/proc says what runs")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.HANGS, Fault.IGNORES_TERM])
async def test_what_hangs_is_ended_with_its_session_and_the_next_one_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, fault: Fault
) -> None:
    async with mac(tmp_path, monkeypatch, way, [fault]) as at:
        assert await at.send("hello", within=1.0) == Outcome(error="timed out after 1 s", unknown=True)
        assert (await at.send("again")).error is None
        assert len(programs_of_the_bench()) == (way == "imsg")


async def test_where_messages_does_not_run_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        (tmp_path / "messages.port").unlink()
        assert (await at.send("hello")).error == "Messages does not run, and could not be started"


async def test_an_unreadable_database_is_told_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        messenger = IMessageMessenger(ChatDb(tmp_path / "nowhere.db"), AppleScript())
        outcome = await Mac(at.app, messenger).send("hello")
        assert "nowhere.db cannot be read" in (outcome.error or "")
        assert not outcome.unknown
        assert at.app.asked == []


@pytest.mark.parametrize(
    ("thread", "recipient"),
    [
        ("+1 (310) 555-0100", Recipient(ANNA, group=False)), ("anna@example.org", Recipient("anna@example.org", group=False)),
        ("iMessage;-;anna@example.org", Recipient("anna@example.org", group=False)), ("any;+;chat1", Recipient("chat1", group=True)),
        ("SMS;-;22000", Recipient("22000", group=False)), ("22000", Recipient("22000", group=False)),
    ],
)  # fmt: skip
def test_whom_a_thread_id_means(thread: str, recipient: Recipient) -> None:
    assert recipient_of(thread) == recipient


def test_a_thread_id_that_means_nobody() -> None:
    with pytest.raises(ValueError, match="no phone number"):
        recipient_of("thread-7")


@pytest.mark.parametrize("length", [1, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000])
def test_the_benchs_typedstream_is_one(length: int) -> None:
    text = "é" + "x" * (length - 1)
    archive = typedstream.unarchive_from_data(attributed(text))
    assert archive.contents[0].value.value == text
    assert archive.contents[1].values == [1, length]


@pytest.mark.parametrize("body", [None, b"", b"\x04\x0bstreamtyped", os.urandom(200), attributed("x")[:80], b"x" * 2_000_000])
def test_a_body_that_cannot_be_read_has_no_text(body: bytes | None) -> None:
    assert text_of(body) == ""


def test_off_a_mac_it_needs_a_database_by_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(MessengerError, match=r"^messenger\.kind: imessage cannot be used: it needs a Mac"):
        messenger_for(Config.model_validate({"messenger": {"kind": "imessage"}}))
    monkeypatch.setenv("PATH", str(install(tmp_path, "osascript")))
    with pytest.raises(MessengerError, match="imsg is not on the PATH"):
        messenger_for(Config.model_validate({"messenger": {"kind": "imessage", "way": "imsg", "chat_db": tmp_path / "chat.db"}}))
    assert isinstance(
        messenger_for(Config.model_validate({"messenger": {"kind": "imessage", "chat_db": tmp_path / "chat.db"}})), IMessageMessenger
    )


async def test_the_program_sends_by_it(tmp_path: Path) -> None:
    path = f"{install(tmp_path)}:{os.environ['PATH']}"
    async with MessagesApp(tmp_path, [Fault.UNROUTABLE]) as app, served() as backend:
        arguments = write_config(tmp_path, backend.url, messenger={"kind": "imessage", "chat_db": str(tmp_path / "chat.db")})
        async with program("--no-ui", *arguments, cwd=tmp_path, PATH=path) as agent:
            await agent.hears("real-time mode")
            names = [await backend.queue(AGENT, "send_message_now", message(f"text {number}")) for number in range(5)]
            orders = await settled(backend, *names)
            assert {order.status for order in orders} == {Status.COMPLETED}
            assert [request["text"] for request in app.asked] == [f"text {number}" for number in range(5)]
            assert {request["by"] for request in app.asked} == {"imsg"}
            assert len({json.dumps(ack_of(order)["result"]) for order in orders}) == 5


async def test_a_row_proves_one_message_where_two_threads_mean_one_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", [Fault.NONE, Fault.SAYS_SENT], row_within=1.0) as at:
        outcomes = await asyncio.gather(at.send("hello"), at.send("hello", f"iMessage;-;{ANNA}"))
        assert sorted(outcome.unknown for outcome in outcomes) == [False, True]


async def test_the_doctor_says_why_chat_db_cannot_be_read(tmp_path: Path) -> None:
    path = f"{install(tmp_path)}:{os.environ['PATH']}"
    settings = {"kind": "imessage", "chat_db": str(tmp_path / "nowhere.db")}
    async with program("doctor", *write_config(tmp_path, "http://127.0.0.1:9", messenger=settings), cwd=tmp_path, PATH=path) as doctor:
        assert await doctor.ends() == 1
        assert "nowhere.dbcannotberead" in "".join("".join(doctor.out).split())


# --- what a crash leaves ---------------------------------------------------------------------------------------------------


async def test_p1_one_row_above_the_mark_is_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        at.app.type(ANNA, "hello")
        mark = await at.messenger.mark()
        guid = at.app.type(ANNA, "hello")
        at.app.type("+13105550199", "hello")
        outcome = await at.messenger.settle(mark, Message(f"iMessage;-;{ANNA}", "hello"))
        assert outcome == Outcome(result={"guid": guid, "service": "iMessage", "chat": f"iMessage;-;{ANNA}"})


async def test_p1_no_row_until_nothing_can_come_any_more_was_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript", settle_within=0.3) as at:
        at.app.type(ANNA, "hello")
        assert await at.messenger.settle(await at.messenger.mark(), Message(ANNA, "hello")) is None


async def test_p1_a_row_that_comes_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        mark = await at.messenger.mark()
        settling = asyncio.ensure_future(at.messenger.settle(mark, Message(ANNA, "hello")))
        await asyncio.sleep(0.3)
        guid = at.app.type(ANNA, "hello")
        outcome = await settling
        assert outcome is not None
        assert outcome.result["guid"] == guid


async def test_p1_of_several_rows_nobody_knows_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mac(tmp_path, monkeypatch, "applescript") as at:
        mark = await at.messenger.mark()
        guids = [at.app.type(ANNA, "hello") for _ in range(2)]
        outcome = await at.messenger.settle(mark, Message(ANNA, "hello"))
        assert outcome is not None
        assert (outcome.error, outcome.unknown) == ("2 messages like it were sent meanwhile", True)
        assert [candidate["guid"] for candidate in outcome.result["candidates"]] == guids


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "human", "status", "rows"),
    [
        (Fault.HANGS_SENT, False, Status.COMPLETED, 1), (Fault.HANGS, False, Status.COMPLETED, 1),
        (Fault.HANGS_SENT, True, Status.FAILED, 2), (Fault.LATE, False, Status.COMPLETED, 1),
    ],
)  # fmt: skip
async def test_p1_a_crash_in_the_middle_sends_nothing_twice_and_loses_nothing(
    tmp_path: Path, way: str, fault: Fault, human: bool, status: Status, rows: int
) -> None:
    path = f"{install(tmp_path)}:{os.environ['PATH']}"
    async with MessagesApp(tmp_path, [fault]) as app, served() as backend:
        settings = {"kind": "imessage", "way": way, "chat_db": str(tmp_path / "chat.db"), "settle_seconds": 5}
        arguments = write_config(tmp_path, backend.url, messenger=settings)
        async with program("--no-ui", *arguments, cwd=tmp_path, PATH=path) as agent:
            await agent.hears("real-time mode")
            name = await backend.queue(AGENT, "send_message_now", message("hello"))
            await until(lambda: app.asked)
            agent.signal(signal.SIGKILL)
            await agent.ends(5)
        if human:
            app.type(message()["thread_id"], "hello")
        async with program("--no-ui", *arguments, cwd=tmp_path, PATH=path) as agent:
            await agent.hears(f"{name}: interrupted; what was sent is looked up")
            (order,) = await settled(backend, name)
        assert order.status is status
        audited = audit(tmp_path / "state")
        assert (audited.violations, audited.interrupted) == ((), int(status is Status.FAILED))
        sent = rows_of(tmp_path)
        assert [row["text"] for row in sent] == ["hello"] * rows
        ack = ack_of(order)
        guids = [ack["result"]["guid"]] if status is Status.COMPLETED else [one["guid"] for one in ack["result"]["candidates"]]
        assert guids == [row["guid"] for row in sent]


async def test_what_is_looked_up_does_not_hold_up_the_end(tmp_path: Path) -> None:
    path = f"{install(tmp_path)}:{os.environ['PATH']}"
    async with MessagesApp(tmp_path, [Fault.HANGS]) as app, served() as backend:
        settings = {"kind": "imessage", "chat_db": str(tmp_path / "chat.db"), "settle_seconds": 600}
        arguments = write_config(tmp_path, backend.url, messenger=settings)
        async with program("--no-ui", *arguments, cwd=tmp_path, PATH=path) as agent:
            await agent.hears("real-time mode")
            await backend.queue(AGENT, "send_message_now", message("hello"))
            await until(lambda: app.asked)
            agent.signal(signal.SIGKILL)
            await agent.ends(5)
        async with program("--no-ui", *arguments, cwd=tmp_path, PATH=path) as agent:
            await agent.hears("what was sent is looked up")
            agent.signal(signal.SIGTERM)
            assert await agent.ends(10) == 0
        (record,) = records(tmp_path / "state", "running")
        assert record.mark == "0"
