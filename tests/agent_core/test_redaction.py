"""Secrets out of text, whatever form they have; and out of everything that the agent says, once a backend has given it one (F76)."""

import base64
import json
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.feed import CommandEntry, FeedEntry, LogEntry, ProvenEntry
from agent_core.frames import Command, Priority
from agent_core.recording import Recorder, Recording, difference
from agent_core.redaction import HIDDEN, MAX_GIVEN, Redactor, header, without_login
from agent_core.snapshot import ScheduledView
from tests.harness.rig import (
    AGENT,
    HttpStub,
    Puppet,
    config,
    files_below,
    http_answer,
    living,
    message,
    program,
    served,
    until,
    write_config,
)
from tests.harness.rig import (
    SECRET as AGENT_SECRET,
)

SECRET = 'canary/secret+0123"56789'
GIVEN = "t0ken-" + "5f1d9c2e7ab04"
TEXTS = st.text(st.sampled_from("canry/ .ABC\n…"), max_size=40)
FORMS = {
    "as it is": SECRET,
    "URL-encoded": quote(SECRET, safe=""),
    "in JSON": json.dumps(SECRET)[1:-1],
    "base64": base64.b64encode(SECRET.encode()).decode().rstrip("="),
    "hex": SECRET.encode().hex(),
    "over lines": f"{SECRET[:9]}\n{SECRET[9:]}",
    "over lines made visible": f"{SECRET[:3]}␍␊{SECRET[3:20]}␊{SECRET[20:]}",
    "folded": "\n  ".join(SECRET[at : at + 4] for at in range(0, len(SECRET), 4)),
    "cut short": SECRET[:7] + "…",
    "cut short, long": SECRET[:15] + "zzz",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_p13_a_known_secret_is_hidden_in_every_form(form: str) -> None:
    seen = Redactor(SECRET)(f"before {form} after {form}")
    assert "canary" not in seen
    assert "0123" not in seen
    assert seen.startswith(f"before {HIDDEN}")
    assert Redactor(SECRET)(form + form).count(HIDDEN) == 2


@given(TEXTS)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert Redactor("Z9-another")(text) == text


@pytest.mark.parametrize("word", ["canar", "canaries are birds", "the canal", ""])
def test_a_word_that_begins_alike_is_no_secret(word: str) -> None:
    assert Redactor(SECRET)(word) == word


def test_the_longest_of_several_secrets_that_stand_there_is_hidden() -> None:
    redactor = Redactor("secret-one", "secret-one-and-more")
    assert redactor("a secret-one, a secret-one-and-more, a secret-one-anyway") == "a ***, a ***, a ***yway"


def test_what_was_given_lately_is_known_and_what_was_configured_always() -> None:
    redactor = Redactor(SECRET)
    for number in range(MAX_GIVEN + 1):
        redactor.hide(f"given-{number:04d}")
    assert redactor(f"given-0000 given-0001 {SECRET}") == "given-0000 *** ***"


def test_any_thread_may_teach_and_ask() -> None:
    redactor = Redactor(SECRET)
    teachers = [threading.Thread(target=redactor.hide, args=(f"token-number-{number:02d}",)) for number in range(MAX_GIVEN)]
    for teacher in teachers:
        teacher.start()
        assert redactor(SECRET) == HIDDEN
    for teacher in teachers:
        teacher.join()
    assert redactor(" ".join(f"token-number-{number:02d}" for number in range(MAX_GIVEN))) == " ".join([HIDDEN] * MAX_GIVEN)


def test_strict_hides_what_looks_like_a_secret_and_leaves_the_rest() -> None:
    strict = Redactor(SECRET).strict
    harmless = "the bearer of bad news; cmd_1 " + base64.b64encode(b"x" * 100).decode()
    assert strict("authorized by nobody") == "authorized by nobody"
    assert strict(harmless).endswith(harmless[-140:])
    assert strict(strict("Authorization: Bearer x")) == "Authorization: ***"


def test_values_are_redacted_within_and_kept_where_there_is_nothing_to_hide() -> None:
    redactor = Redactor(SECRET)
    command = Command("cmd_1", "t", {"a": [SECRET, 1, None, {SECRET: True}]}, Priority.HIGH)
    assert redactor.within(command) == Command("cmd_1", "t", {"a": [HIDDEN, 1, None, {HIDDEN: True}]}, Priority.HIGH)
    row = CommandEntry(1, 2.0, f"cmd-{SECRET}", "t", "ws", "acked")
    assert redactor.within(row) == row._replace(command_id=f"cmd-{HIDDEN}")
    assert redactor.within((ScheduledView(SECRET, "c", "t", 1.0),)) == (ScheduledView(HIDDEN, "c", "t", 1.0),)
    for untouched in (Command("cmd_1", "t", {"a": 1}), row._replace(command_id="c"), (1, "x"), {"a": "b"}):
        assert redactor.within(untouched) is untouched
    entries: list[FeedEntry] = [LogEntry(0.0, "INFO", f"said {SECRET}"), ProvenEntry(0.0, (1,)), row]
    assert redactor.entries(entries) == [LogEntry(0.0, "INFO", f"said {HIDDEN}"), entries[1], row._replace(command_id=f"cmd-{HIDDEN}")]
    assert redactor.entries(entries[1:2]) == entries[1:2]


def test_headers_and_logins() -> None:
    assert header("Authorization", "Bearer x") == "Bearer ***"
    assert header("set-cookie", "x=y") == "***"
    assert header("Date", "today") is None
    assert without_login("http://me:pass@proxy:3128/x?y") == "http://proxy:3128"


# --- F76 ---------------------------------------------------------------------------------------------------------------------


def echoes(token: str) -> list[str]:
    """A backend that says a token back wherever it can: in types, errors, settings, ids, threads, and over a break of lines."""
    command = {"command_id": f"cmd-{token}", "command_type": "send_message_now", "payload": message("hi", f"thread-{token}")}
    later = message("later", send_at="2031-01-01T00:00:00Z", schedule_id=f"later-{token}")
    frames: list[dict[str, Any]] = [
        {"type": f"odd-{token}"},
        {"type": f"odd-{token[:8]}\n{token[8:]}"},
        {"type": "error", "data": {"message": f"not {token}, and not Authorization: Bearer {token}"}},
        {"type": "config_update", "data": {token: token}},
        {"type": "command", "data": command},
        {"type": "command", "data": {"command_id": "second", "command_type": f"do-{token}"[:100], "payload": {}}},
        {"type": "command", "data": {"command_id": "third", "command_type": "cancel_message", "payload": {"message_id": token[:200]}}},
        {"type": "command", "data": {"command_id": "fourth", "command_type": "schedule_message", "payload": later}},
    ]
    return [json.dumps(frame) for frame in frames]


IDS = ("second", "third", "fourth")


def leaks(token: str, text: str) -> list[str]:
    """Lines with the token, or with twelve characters of its beginning or end."""
    return [line for line in text.splitlines() if token[:12] in line or token[-12:] in line]


@asynccontextmanager
async def registering() -> AsyncIterator[tuple[Puppet, dict[str, Any]]]:
    """A backend that gives a token at the registration, and a socket beside it; the sections that lead there."""
    answer = http_answer(json.dumps({"edge_agent_id": "mac-9", "auth_token": GIVEN}).encode())
    async with Puppet() as puppet, HttpStub(lambda path: answer if path == "/edge/register" else http_answer(GIVEN.encode())) as stub:
        urls = {"url": stub.url, "websocket_url": puppet.socket_url}
        yield puppet, {"backend": urls, "edge": {"agent_id": None, "user_phone": "+13105550100"}}


async def test_f76_a_token_given_at_registration_is_hidden_in_log_and_recording(tmp_path: Path) -> None:
    async with registering() as (puppet, sections):
        arguments = [*write_config(tmp_path, sections["backend"]["url"], logging={"level": "DEBUG"}, **sections), "--record", "run.jsonl"]
        async with program("--no-ui", *arguments, cwd=tmp_path) as agent:
            await agent.hears("real-time mode")
            await puppet.say(*echoes(GIVEN))
            await until(lambda: {f"cmd-{GIVEN}", *IDS} <= puppet.acks().keys())
            assert puppet.link
            await puppet.link.close(4000, f"bad token {GIVEN}")
            await agent.hears("closed by the backend: 4000 bad token ")
            agent.process.terminate()
            assert await agent.ends() == 0
        assert leaks(GIVEN, "\n".join(agent.out + agent.err)) == []
        assert agent.said(re.escape("Unknown frame type ignored: odd-***"))
        assert agent.said(re.escape("Command cmd-*** executed successfully"))
        files = files_below(tmp_path)
        assert {"edge-console.log", "run.jsonl"} <= files.keys()
        for name in ("edge-console.log", "run.jsonl"):
            assert leaks(GIVEN, files[name].decode()) == []
        recording = Recording.read(tmp_path / "run.jsonl")
        assert difference(recording.story(), recording.replayed(), "a", "b") == []


async def test_f76_nor_does_a_console_show_it(tmp_path: Path) -> None:
    async with registering() as (puppet, sections), living(config(tmp_path, sections["backend"]["url"], **sections)) as here:
        await here.online()
        await puppet.say(*echoes(GIVEN))
        await until(lambda: {f"cmd-{GIVEN}", *IDS} <= puppet.acks().keys())
        await here.until(lambda s: s.scheduled)
        assert not leaks(GIVEN, repr(here.agent.feed.since(0)))
        assert not leaks(GIVEN, repr(here.now))
        assert not leaks(GIVEN, repr(here.agent.lookup(f"cmd-{GIVEN}")))
        assert here.rows(f"cmd-{HIDDEN}")
        assert puppet.acks()[f"cmd-{GIVEN}"]["success"] is True


async def test_f76_an_hmac_token_said_back_is_hidden(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    edge = {"user_phone": "+13105550100", "agent_id": AGENT}
    async with Puppet() as puppet, served() as backend:
        urls = {"websocket_url": puppet.socket_url}
        where = config(tmp_path, backend.url, backend=urls, auth={"mode": "hmac_token"}, edge=edge)
        async with living(where, recorder=Recorder(file)) as here:
            await here.online()
            assert puppet.link
            assert puppet.link.request
            token = puppet.link.request.headers["Authorization"].removeprefix("Bearer ")
            assert len(token) > 100
            await puppet.say(*echoes(token))
            await until(lambda: set(IDS) <= puppet.acks().keys())
            folded = "\r\n".join(token[at : at + 76] for at in range(0, len(token), 76))
            await puppet.say(json.dumps({"type": "error", "data": {"message": folded}}))
            await here.hears("The backend says: ", 2)
            assert not leaks(token, repr(here.agent.feed.since(0)))
            assert not leaks(token, repr(here.now))
    assert leaks(token, file.read_text()) == []


async def test_f76_a_token_in_the_answer_to_an_upgrade_is_hidden(tmp_path: Path) -> None:
    answer = http_answer(b"", "101 Switching Protocols", f"Upgrade: {AGENT_SECRET}", "Connection: Upgrade")
    async with served() as backend, HttpStub(lambda _path: answer) as stub:
        urls = {"websocket_url": stub.url.replace("http", "ws")}
        async with living(config(tmp_path, backend.url, backend=urls)) as here:
            await here.hears(r"no WebSocket handshake: .*\*\*\*")
            assert not leaks(AGENT_SECRET, repr(here.now) + repr(here.lines))


async def test_f76_the_ledger_is_shown_without_the_secret(tmp_path: Path) -> None:
    async with Puppet() as puppet, served() as backend:
        sections: dict[str, Any] = {"backend": {"websocket_url": puppet.socket_url}}
        async with living(config(tmp_path / "state", backend.url, **sections)) as here:
            await here.online()
            await puppet.say(*echoes(AGENT_SECRET))
            await until(lambda: {f"cmd-{AGENT_SECRET}", *IDS} <= puppet.acks().keys())
    where = write_config(tmp_path, backend.url)
    for command in ("ledger ls", "ledger ls --json", "ledger export", f"ledger show cmd-{AGENT_SECRET}", "outbox ls", "outbox ls --json"):
        async with program(*command.split(), *where, cwd=tmp_path) as shown:
            assert await shown.ends() == 0
        assert leaks(AGENT_SECRET, "\n".join(shown.out + shown.err)) == []
        assert HIDDEN in "".join(shown.out)
