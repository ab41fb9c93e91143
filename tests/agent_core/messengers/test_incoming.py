"""Which rows of chat.db are messages to tell, and what an attachment may be, without an agent around."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent_core.channels.http import Sent
from agent_core.frames import Command
from agent_core.messengers import Context
from agent_core.messengers.imessage.chat_db import ChatDb
from agent_core.messengers.imessage.fetching import AttachmentFetcher
from agent_core.messengers.imessage.inbox import Inbox
from agent_core.messengers.imessage.incoming import InboundRow, Verdict, judge, occurrence_of, status_of, thread_of
from agent_core.messengers.outbox import OutboxMessenger
from agent_core.reference.messages.chat_db import ChatDb as BenchDb

NOW = 1_793_910_600.0
HOUR = 3_600.0
ROW = InboundRow(
    1, "G", NOW, False, "iMessage", 0, None, "+1", frozenset({"+9"}), "iMessage;-;+1", "+1", is_group=False, text="hi", body=None,
    has_attachments=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "looked", "verdict"),
    [
        (ROW, NOW, Verdict.TELL),
        (replace(ROW, is_from_me=True), NOW, Verdict.OWN),
        (replace(ROW, sender="+9"), NOW, Verdict.OWN),
        (replace(ROW, sender="+8"), NOW, Verdict.OWN),
        (replace(ROW, item_type=1), NOW, Verdict.OTHER),
        (replace(ROW, chat_guid=None), NOW, Verdict.INCOMPLETE),
        (replace(ROW, sent_utc=NOW - 5.9 * HOUR), NOW, Verdict.TELL),
        (replace(ROW, sent_utc=NOW - 6.1 * HOUR), NOW, Verdict.STALE),
        (replace(ROW, sent_utc=NOW - 6.1 * HOUR), NOW - 10 * HOUR, Verdict.TELL),
        (replace(ROW, sent_utc=NOW - 25 * HOUR), NOW - 48 * HOUR, Verdict.STALE),
        (replace(ROW, sent_utc=NOW - 5 * HOUR), NOW + 48 * HOUR, Verdict.TELL),
    ],
    ids=["message", "ours", "to oneself", "our number", "renaming", "no chat yet", "late", "back-fill", "outage", "too long", "clock set"],
)  # fmt: skip
def test_a_row_is_told_or_not(row: InboundRow, looked: float, verdict: Verdict) -> None:
    assert judge(row, {"+8"}, looked, NOW, 24) is verdict


def test_a_thread_is_what_a_command_answers_to() -> None:
    assert thread_of(ROW) == "+1"
    assert thread_of(replace(ROW, is_group=True, chat_guid="any;+;chat7", chat_identifier="chat7")) == "chat7"
    assert thread_of(replace(ROW, is_group=True, chat_guid="any;+;f00d", chat_identifier="f00d")) == "any;+;f00d"
    assert thread_of(replace(ROW, chat_guid=None, chat_identifier=None)) == "+1"


def test_a_reaction_says_to_what() -> None:
    payload = occurrence_of(replace(ROW, reaction_to="p:0/H"), "Loved “hi”", []).payload
    assert (payload["reaction_to"], payload["text"]) == ("p:0/H", "Loved “hi”")


@pytest.mark.parametrize(
    ("columns", "status"),
    [((0, 0, 0, 0, 0), None), ((1, 0, 0, 0, 0), "sent"), ((1, 1, 0, 0, 0), "delivered"), ((1, 0, 5, 0, 0), "delivered"),
     ((1, 1, 5, 6, 0), "read"), ((1, 1, 5, 6, 22), "failed"), ((0, 0, 0, 0, 22), "failed")],
)  # fmt: skip
def test_the_columns_say_how_far_a_message_came(columns: tuple[int, int, int, int, int], status: str | None) -> None:
    names = ("is_sent", "is_delivered", "date_delivered", "date_read", "error")
    assert status_of(**dict(zip(names, columns, strict=True))) == status


def test_only_files_among_the_attachments_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Attachments"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "secret")
    inbox = Inbox(ChatDb(tmp_path / "chat.db"))
    assert inbox.file_of(str(folder / "a.png")) == folder / "a.png"
    for name in (str(tmp_path / "secret"), f"{folder}/../secret", str(folder / "link"), str(folder / "sub"), "/dev/zero", "", None, "a\0b"):
        assert inbox.file_of(name) is None


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://b.example/put", True), ("https://B.example:443/put", True), ("https://b.example:8443/put", False),
        ("http://b.example/put", False), ("https://c.example/put", False), ("https://b.example@c.example/put", False),
        ("https://c.example\\@b.example/put", False), ("https://b.example.c.example/", False), ("/put", False),
        ("file:///etc/passwd", False), ("https://[b.example/", False), ("https://b.example\n/", False),
    ],
)  # fmt: skip
async def test_a_file_goes_to_the_backends_own_origin_and_nowhere_else(tmp_path: Path, url: str, own: bool) -> None:
    put: list[str] = []

    async def putting(url: str, _path: Path) -> Sent:
        put.append(url)
        return Sent()

    (tmp_path / "Attachments").mkdir()
    (tmp_path / "Attachments" / "a.png").write_bytes(b"x")
    with closing(BenchDb(tmp_path / "chat.db")) as db:
        db.add(db.person("+1"), "hi", sender="+1", files=[tmp_path / "Attachments" / "a.png"])
    inbox = Inbox(ChatDb(tmp_path / "chat.db"))
    (attachment,), _ = inbox.attachments(inbox.rows(0, 1)[0].guid)
    command = Command("c", "fetch_attachment", {"guid": attachment.guid, "url": url})
    fetcher = AttachmentFetcher(inbox, lambda: "https://b.example/base", putting)
    outcome = await fetcher.fetch(command, Context(1, NOW, OutboxMessenger()))
    assert put == ([url] if own else [])
    assert (outcome.error is None) is own
