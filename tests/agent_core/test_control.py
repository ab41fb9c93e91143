"""The control socket, on a real agent: whole present first, then all that happens; whatever a viewer does, the agent goes on."""

import asyncio
import os
import pwd
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent_core.codec import FORMAT
from agent_core.control.address import MAX_PATH, socket_path
from agent_core.control.client import NotRunning, OtherVersion, Viewer
from agent_core.control.messages import Answer, Attach, Greeting, Lookup, Past, Post, Present, Search, dump
from agent_core.events import PollingModeChosen, StopRequested
from agent_core.feed import CommandEntry
from agent_core.filters import Ask
from agent_core.reference.server import ReferenceBackend
from agent_core.search import Query
from agent_core.snapshot import Phase, PollingMode
from agent_core.threads import ThreadPage, ThreadQuery
from console.remote import RemoteHost
from tests.harness.rig import AGENT, ROOT, Living, config, descriptors_of, living, message, online_at, program, served, settled, until

T = TypeVar("T")
WITHIN = 10.0


@asynccontextmanager
async def running(folder: Path, **more: Any) -> AsyncIterator[tuple[Living, ReferenceBackend]]:
    async with served() as backend, living(config(folder, backend.url), **more) as here:
        await online_at(backend)
        yield here, backend


async def attached(folder: Path, **more: Any) -> Viewer:
    return await asyncio.to_thread(lambda: Viewer(socket_path(folder), **more))


async def next_of(viewer: Viewer, kind: type[T]) -> T:
    def wait() -> T:
        while not isinstance(said := viewer.next(WITHIN), kind):
            assert said is not None, "the agent has gone"
        return said

    return await asyncio.to_thread(wait)


async def read_until(viewer: Viewer, enough: Callable[[list[CommandEntry]], bool]) -> list[CommandEntry]:
    """Rows, in the order in which they came."""
    rows: list[CommandEntry] = []
    while not enough(rows):
        rows += [entry for entry in (await next_of(viewer, Past)).entries if isinstance(entry, CommandEntry)]
    return rows


async def test_a_viewer_gets_the_whole_present_first_and_then_all_that_happens(tmp_path: Path) -> None:
    async with running(tmp_path) as (here, backend):
        with await attached(tmp_path) as viewer:
            first = await asyncio.to_thread(viewer.next, WITHIN)
            assert isinstance(first, Present)
            assert first.snapshot.agent_id == AGENT
            ids = [await backend.queue(AGENT, "send_message_now", message()) for _ in range(50)]
            rows = await read_until(viewer, lambda rows: {row.command_id for row in rows if row.status == "sent"} >= set(ids))
            assert [row.command_id for row in rows if row.status == "sent"] == ids
            later = await next_of(viewer, Present)
            assert later.snapshot.revision > first.snapshot.revision
        assert here.agent.snapshot().commands.completed == 50


async def test_the_first_viewer_of_an_agent_that_nobody_watched_gets_how_it_is_now(tmp_path: Path) -> None:
    async with running(tmp_path, viewed=False) as (_, backend):
        await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
        with await attached(tmp_path, past=False) as viewer:
            first = await next_of(viewer, Present)
            assert first.snapshot.link.phase is not Phase.STOPPED
            assert first.snapshot.commands.completed == 1


async def test_what_a_viewer_asks_reaches_the_engine_and_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as (here, backend):
        command_id = await backend.queue(AGENT, "send_message_now", message("hello"))
        await settled(backend, command_id)
        with await attached(tmp_path) as viewer:
            viewer.send(Post(7, PollingModeChosen(PollingMode.ALWAYS)))
            viewer.send(Lookup(8, command_id))
            viewer.send(Lookup(9, "never-heard-of"))
            answers = [await next_of(viewer, Answer) for _ in range(3)]
            assert [answer.number for answer in answers] == [7, 8, 9]
            assert answers[1].record is not None
            assert answers[1].record.command.payload["text"] == "hello"
            assert answers[2] == Answer(9)
            await until(lambda: here.agent.snapshot().polling.mode is PollingMode.ALWAYS)


async def test_the_agent_takes_nothing_from_a_viewer_that_only_looks(tmp_path: Path) -> None:
    async with running(tmp_path) as (here, _):
        with await attached(tmp_path, read_only=True) as viewer:
            viewer.send(Post(1, StopRequested()))
            answer = await next_of(viewer, Answer)
            assert (answer.number, answer.refused) == (1, "this viewer only looks")
            await next_of(viewer, Present)
        assert not here.agent.snapshot().stopping


async def test_a_viewer_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, backend):
        with await attached(tmp_path) as deaf, await attached(tmp_path) as viewer:
            ids = [await backend.queue(AGENT, "send_message_now", message("x" * 2_000)) for _ in range(500)]
            rows = await read_until(viewer, lambda rows: sum(row.status == "sent" for row in rows) == 500)
            assert [row.command_id for row in rows if row.status == "sent"] == ids
            late = await read_until(deaf, lambda rows: sum(row.status == "sent" for row in rows) == 500)
            assert [row.command_id for row in late if row.status == "sent"] == ids, "history is not merged"


async def test_without_a_viewer_a_headless_agent_keeps_no_entries(tmp_path: Path) -> None:
    async with running(tmp_path, viewed=False) as (here, backend):
        await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
        await until(lambda: not here.agent.present().commands.outbox)
        assert here.agent.feed.since(0).entries == []
        with await attached(tmp_path) as viewer:
            await next_of(viewer, Present)
            command_id = await backend.queue(AGENT, "send_message_now", message())
            rows = await read_until(viewer, lambda rows: any(row.command_id == command_id for row in rows))
            assert {row.command_id for row in rows} == {command_id}
        await until(lambda: here.agent.feed.oldest > 0)
        assert here.agent.feed.since(here.agent.feed.oldest).entries == []


async def test_ten_viewers_leave_no_descriptor(tmp_path: Path) -> None:
    async with running(tmp_path):
        with await attached(tmp_path) as viewer:
            await next_of(viewer, Present)
        before = await until(lambda: descriptors_of(os.getpid()))
        for _ in range(10):
            with await attached(tmp_path) as viewer:
                await next_of(viewer, Present)
        await until(lambda: descriptors_of(os.getpid()) <= before)


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\n", b"{}\n", b"[" * 100_000 + b"\n",
        b'{"type":"Post","number":1,"event":{"type":"ReconnectRequested"}}\n', b"\xff\xfe\n",
        dump(Attach(FORMAT + 1)), dump(Attach(FORMAT)) + b'{"type":"Post","number":1,"event":{"type":"Opened","generation":1}}\n',
        dump(Attach(FORMAT)) * 2, dump(Attach(FORMAT)) + b"x" * (2**20 + 10), b"",
    ],
    ids=lambda said: said[:20],
)  # fmt: skip
async def test_an_odd_viewer_is_let_go_and_nothing_else(tmp_path: Path, said: bytes) -> None:
    async with running(tmp_path) as (_, backend):
        reader, writer = await asyncio.open_unix_connection(str(socket_path(tmp_path)))
        writer.write(said)
        writer.write_eof()
        async with asyncio.timeout(WITHIN):
            while await reader.read(2**16):
                pass
        writer.close()
        await settled(backend, await backend.queue(AGENT, "send_message_now", message()))


async def test_the_socket_is_private_and_goes_with_its_agent(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    path.write_text("left by an earlier agent")
    async with running(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()
    with pytest.raises(NotRunning, match="no agent runs"):
        Viewer(path)


def heard_as_nobody(path: Path) -> bytes:
    """What another user hears there; nothing where it is not let in. By a fork, since that user may not start this interpreter."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(pwd.getpwnam("nobody").pw_uid)
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(WITHIN)
                link.connect(str(path))
                with suppress(ConnectionResetError):
                    os.write(told, link.recv(100))
                os.write(told, b"closed")
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(heard, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_user_is_told_nothing(tmp_path: Path) -> None:
    async with running(tmp_path):
        assert await asyncio.to_thread(heard_as_nobody, socket_path(tmp_path)) == b"", "not even a way there"
        top = Path(tempfile.gettempdir())
        for above in (tmp_path, *takewhile(lambda folder: top in folder.parents, tmp_path.parents)):
            above.chmod(0o755)
        socket_path(tmp_path).chmod(0o666)
        assert await asyncio.to_thread(heard_as_nobody, socket_path(tmp_path)) == b"closed"


async def test_an_agent_of_another_version_is_named(tmp_path: Path) -> None:
    path = socket_path(tmp_path)

    async def older(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(dump(Greeting(FORMAT - 1, "0.0.9", 1, "mini")))

    async with await asyncio.start_unix_server(older, path=str(path)):
        with pytest.raises(OtherVersion, match=r"edge-console 0\.0\.9"):
            await attached(tmp_path)


async def test_something_else_on_the_socket_is_no_agent(tmp_path: Path) -> None:
    path = socket_path(tmp_path)

    async def stranger(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\n")

    async with await asyncio.start_unix_server(stranger, path=str(path)):
        with pytest.raises(NotRunning, match="no agent of this program"):
            await attached(tmp_path)


async def test_a_path_that_is_too_long_is_said_and_the_agent_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / ("d" * MAX_PATH)
    folder.mkdir(mode=0o700)
    async with running(folder) as (_, backend):
        await settled(backend, await backend.queue(AGENT, "send_message_now", message()))
    assert any("too long" in record.getMessage() for record in caplog.records)


async def test_status_says_by_its_exit_code_how_the_agent_stands(tmp_path: Path) -> None:
    words = ("--data-dir", str(tmp_path))
    async with program("status", *words, cwd=ROOT) as nobody:
        assert await nobody.ends() == 4
        assert "no agent runs" in nobody.err[0]
    async with running(tmp_path) as (here, backend):
        async with program("status", *words, cwd=ROOT) as status:
            assert await status.ends() == 0
            assert any(line.startswith("link       online") for line in status.out)
        async with program("mode", "never", *words, cwd=ROOT) as mode:
            assert await mode.ends() == 0
        await until(lambda: here.agent.snapshot().polling.mode is PollingMode.NEVER)
        generation = backend.hub.connected(AGENT)
        async with program("reconnect", *words, cwd=ROOT) as again:
            assert await again.ends() == 0
        await until(lambda: backend.hub.connected(AGENT) not in {generation, None})
        await backend.down()
        await until(lambda: here.agent.snapshot().link.phase not in {"online", "suspect"})
        async with program("status", "--json", *words, cwd=ROOT) as down:
            assert await down.ends() == 3
        async with program("status", "--wait", "online", "--timeout", "20", *words, cwd=ROOT) as waiting:
            await backend.up()
            here.agent.snapshot()
            assert await waiting.ends() == 0


async def test_c9_a_viewer_searches_the_ledger_a_page_at_a_time(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, backend):
        ids = [await backend.queue(AGENT, "send_message_now", message(text)) for text in ("hello", "bye", "hello")]
        await settled(backend, *ids)
        with await attached(tmp_path, read_only=True, past=False) as viewer:
            for query in (Query("text:hello"), Query("text:hello", most=1), Query("status:foo")):
                viewer.send(Search(1, query))
            whole, newest, wrong = [await next_of(viewer, Answer) for _ in range(3)]
            assert whole.page is not None
            assert newest.page is not None
            assert [entry.command_id for entry in whole.page.entries] == [ids[0], ids[2]]
            assert ([entry.command_id for entry in newest.page.entries], newest.page.next) == ([ids[2]], newest.page.entries[0].row)
            assert wrong.refused is not None
            assert "no status foo" in wrong.refused
        remote = RemoteHost(socket_path(tmp_path))
        await asyncio.to_thread(remote.start)
        found = await asyncio.to_thread(remote.search, Query("text:bye"))
        numbers, last = await asyncio.to_thread(remote.asked, Ask("text", "bye"), 0)
        words = await asyncio.to_thread(remote.words, [entry.row for entry in whole.page.entries] + [99])
        nothing = [await asyncio.to_thread(remote.asked, ask, 0) for ask in (Ask("text; DROP", "x"), Ask("priority", "x"))]
        remote.stop()
        assert (numbers, last) == ({found.entries[0].row}, whole.page.entries[-1].row)
        assert list(words.values()) == ["hello", "hello"]
        assert nothing == [(set(), 0)] * 2, "refused, and said in the feed"
        assert [entry.command_id for entry in found.entries] == [ids[1]]


async def test_a_viewer_is_told_a_thread(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, backend):
        ids = [
            await backend.queue(AGENT, "send_message_now", message(text, thread)) for text, thread in (("hello", "+1310"), ("bye", "+1999"))
        ]
        await settled(backend, *ids)
        remote = RemoteHost(socket_path(tmp_path), read_only=True)
        await asyncio.to_thread(remote.start)
        page = await asyncio.to_thread(remote.thread, ThreadQuery("any;-;+1310"))
        remote.stop()
        assert [(one.text, one.inbound) for one in page.messages] == [("hello", False)]
        assert page.next is None
        assert await asyncio.to_thread(remote.thread, ThreadQuery("+1310")) == ThreadPage([])
