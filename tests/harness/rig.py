"""A running agent and what stands around it, for the tests on real sockets: every wait is for a condition, with a deadline."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agent_core.agent import Agent
from agent_core.config import Config
from agent_core.events import Event, StopRequested
from agent_core.feed import CommandEntry, FeedEntry, LogEntry
from agent_core.journal.reader import commands, outbox
from agent_core.journal.rows import BadRow
from agent_core.records import Remembered
from agent_core.reference.hub import Hub, Rules
from agent_core.reference.orders import Order
from agent_core.reference.server import Options, ReferenceBackend
from agent_core.snapshot import Phase, Snapshot

ROOT = Path(__file__).parents[2]
AGENT = "mac-1"
SECRET = "canary-5f1d9c2e7ab04"
ADMIN = "canary-admin-77aa"
WITHIN = 15.0
LOOK_EVERY = 0.01
HOME = TemporaryDirectory(prefix="home-")
"""Of the programs that tests start, which are killed: whoever runs the tests is not to find them in `attach --all`."""
T = TypeVar("T")
FAST: dict[str, dict[str, Any]] = {
    "backend": {"sync_interval_seconds": 0.1},
    "websocket": {"pong_timeout_seconds": 2.0, "ping_interval_seconds": 0.5},
    "timing": {
        "dial_within": 3.0, "close_within": 0.3, "poll_within": 3.0, "early_retry_interval": 0.5, "early_retry_delay": 0.1,
        "ack_ping_interval": 0.1,
        "restart_within": 0.2, "refused_first": 0.3, "refused_cap": 0.6, "busy_first": 0.2, "portal_min_wait": 0.2, "tls_min_wait": 0.2,
        "protocol_step": 0.2, "replaced_wait": 0.6, "replaced_every": 1.2, "stop_within": 1.0, "stable_after": 5.0,
    },
    "backoff": {"base_seconds": 0.1, "cap_seconds": 0.8, "floor_seconds": 0.05},
}  # fmt: skip
"""Every wait a tenth or less of its default; silence stays at its defaults, so that a busy machine drops no healthy link."""
QUICK_EARS = {"silence_after": 0.3, "probe_within": 0.3, "wake_probe_within": 0.4}
"""For the tests of silence alone."""


def records(data_dir: Path, state: str | None = None) -> list[Remembered]:
    """The ledger's records, each of which can be read."""
    found: list[Remembered] = []
    for row in commands(data_dir, state):
        assert not isinstance(row, BadRow), row
        found.append(row)
    return found


def settings(data_dir: Path, url: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a fast agent as config.yaml would have it."""
    merged: dict[str, Any] = {"edge": {"agent_id": AGENT}, "data_dir": str(data_dir)}
    for name in {*FAST, *sections, "backend"}:
        merged[name] = FAST.get(name, {}) | ({"url": url} if name == "backend" else {}) | sections.get(name, {})
    return merged


def config(data_dir: Path, url: str, *, secret: str = SECRET, **sections: dict[str, Any]) -> Config:
    merged = settings(data_dir, url, **sections)
    return Config.model_validate(merged | {"auth": {"secret": secret} | sections.get("auth", {})})


def options(**more: Any) -> Options:
    rules = more.pop("rules", Rules(redeliver_after=0.3))
    return Options(secret=SECRET, admin_token=ADMIN, rules=rules, **more)


@asynccontextmanager
async def served(**more: Any) -> AsyncIterator[ReferenceBackend]:
    async with ReferenceBackend(options(**more)) as backend:
        yield backend


async def until(look: Callable[[], T], what: str = "", within: float = WITHIN) -> T:
    """What `look` returns as soon as it is true."""
    try:
        async with asyncio.timeout(within):
            while not (found := look()):  # noqa: ASYNC110  (a snapshot has no event to wait for)
                await asyncio.sleep(LOOK_EVERY)
            return found
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what or look}") from None


def above(mark: int, count: Callable[[], int]) -> Callable[[], bool]:
    return lambda: count() > mark


async def for_a_while(seconds: float, holds: Callable[[], object]) -> None:
    """`holds` is true at every look for so long: the only way to show that something does not happen."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        assert holds()
        await asyncio.sleep(LOOK_EVERY)


def message(text: str = "hi", thread: str = "+13105550100", **more: Any) -> dict[str, Any]:
    return {"thread_id": thread, "text": text} | more


@dataclass
class Living:
    """An agent that runs in this loop, and what it said."""

    agent: Agent
    task: asyncio.Task[None]
    entries: list[FeedEntry] = field(default_factory=list)

    @property
    def now(self) -> Snapshot:
        return self.agent.snapshot()

    @property
    def phase(self) -> Phase:
        return self.now.link.phase

    @property
    def lines(self) -> list[str]:
        return [entry.text for entry in self.entries if isinstance(entry, LogEntry)]

    def said(self, pattern: str) -> list[str]:
        return [line for line in self.lines if re.search(pattern, line)]

    def post(self, event: Event) -> None:
        self.agent.post(event)

    async def until(self, look: Callable[[Snapshot], object], what: str = "", within: float = WITHIN) -> Snapshot:
        def seen() -> bool:
            assert not self.task.done(), "the agent has ended"
            return bool(look(self.now))

        try:
            await until(seen, what, within)
        except AssertionError as error:
            story = "\n".join(self.lines[-30:])
            raise AssertionError(f"{error}\n{self.now.link}\n{self.now.polling}\n{story}") from None
        return self.now

    async def online(self, within: float = WITHIN) -> Snapshot:
        return await self.until(lambda s: s.link.phase is Phase.ONLINE, "online", within)

    async def session(self, number: int, within: float = WITHIN) -> Snapshot:
        """Online with its socket of this number."""
        return await self.until(lambda s: s.link.sessions == number and s.link.phase is Phase.ONLINE, f"session {number}", within)

    async def reaches(self, *phases: Phase, within: float = WITHIN) -> Snapshot:
        return await self.until(lambda s: s.link.phase in phases, f"one of {phases}", within)

    async def hears(self, pattern: str, count: int = 1, within: float = WITHIN) -> str:
        await until(lambda: len(self.said(pattern)) >= count, f"{pattern!r} in\n" + "\n".join(self.lines[-30:]), within)
        return self.said(pattern)[count - 1]

    def rows(self, command_id: str) -> list[CommandEntry]:
        """What the feed tells of one command."""
        entries = self.agent.feed.since(0).entries
        return [entry for entry in entries if isinstance(entry, CommandEntry) and entry.command_id == command_id]

    def sent(self) -> list[str]:
        """The texts in the outbox: the effects, as the disk has them."""
        return [row.text for row in outbox(self.agent.config.data_dir)]

    async def stop(self) -> None:
        self.agent.post(StopRequested())
        async with asyncio.timeout(WITHIN):
            await self.task


@asynccontextmanager
async def living(configuration: Config, **more: Any) -> AsyncIterator[Living]:
    """An agent in this loop until the block ends; what ended it is raised here."""
    entries: list[FeedEntry] = []
    agent = Agent(configuration, log_to=entries.extend, **more)
    task = asyncio.create_task(agent.run(), name="agent")
    here = Living(agent, task, entries)
    try:
        yield here
    finally:
        await here.stop()


async def settled(backend: ReferenceBackend, *names: str, within: float = WITHIN) -> list[Order]:
    """The orders of these commands, once each has its terminal ack."""
    orders = [backend.hub.order(name) for name in names]
    try:
        await backend.until(lambda _hub: all(order.ack is not None for order in orders), within)
    except TimeoutError:
        raise AssertionError(f"without an ack: {[order.command_id for order in orders if order.ack is None]}") from None
    return orders


def ack_of(order: Order) -> dict[str, Any]:
    assert order.ack is not None
    body: dict[str, Any] = json.loads(order.ack)
    return body


async def online_at(backend: ReferenceBackend, agent_id: str = AGENT, within: float = WITHIN) -> None:
    def connected(hub: Hub) -> object:
        return hub.connected(agent_id)

    await backend.until(connected, within)


# --- stand-ins for a backend that misbehaves -----------------------------------------------------------------------------


class Puppet:
    """A socket server that says what a test tells it to, and answers JSON pings: `async with Puppet() as puppet`."""

    def __init__(self, *, greet: bool = True, close_after: float | None = None, chatter: str | None = None) -> None:
        """`chatter` is said again and again by one that reads nothing."""
        self.frames: list[dict[str, Any]] = []
        self.links = 0
        self.link: ServerConnection | None = None
        self.port = 0
        self._greet = greet
        self._close_after = close_after
        self._chatter = chatter

    async def __aenter__(self) -> Self:
        short: dict[str, Any] = {"open_timeout": 1.0, "close_timeout": 0.5}
        self._server = await serve(self._talk, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=None, **short)
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def acks(self) -> dict[str, dict[str, Any]]:
        return {frame["data"]["command_id"]: frame["data"] for frame in self.frames if frame["type"] == "command_ack"}

    async def say(self, *frames: str | bytes) -> None:
        assert self.link is not None
        for frame in frames:
            await self.link.send(frame)

    async def _talk(self, link: ServerConnection) -> None:
        self.link = link
        self.links += 1
        if self._close_after is not None:
            await asyncio.sleep(self._close_after)
            return
        if self._greet:
            await link.send('{"type":"connected"}')
        if self._chatter is not None:
            link.transport.pause_reading()
        with suppress(ConnectionClosed):
            while self._chatter is not None:
                await link.send(self._chatter)
                await asyncio.sleep(LOOK_EVERY)
            async for raw in link:
                frame = json.loads(raw)
                self.frames.append(frame)
                if frame["type"] == "ping":
                    await link.send(json.dumps({"type": "pong", "data": frame["data"]}))


class HttpStub:
    """Answers each request with what `answer` gives for its path, byte for byte: `async with HttpStub(…) as stub`."""

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self.requests: list[str] = []
        """Head and body as they came."""
        self.port = 0
        self._answer = answer

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length.group(1))) if length else b""
            self.requests.append(head + body.decode("latin-1"))
            writer.write(self._answer(head.split()[1]))
            await writer.drain()
        writer.close()


def http_answer(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


# --- the program as a process --------------------------------------------------------------------------------------------


class Program:
    """`python -m console …` as a process of its own; its output is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            asyncio.create_task(_collect(process.stdout, self.out)), asyncio.create_task(_collect(process.stderr, self.err)),
        ]  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self, pattern: str) -> list[str]:
        return [line for line in self.out if re.search(pattern, line)]

    async def hears(self, pattern: str, count: int = 1, within: float = WITHIN) -> str:
        def look() -> bool:
            assert self.process.returncode is None or len(self.said(pattern)) >= count, f"ended early: {self.out[-20:]} {self.err}"
            return len(self.said(pattern)) >= count

        await until(look, f"{pattern!r} in {self.out[-20:]} {self.err}", within)
        return self.said(pattern)[count - 1]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends(self, within: float = WITHIN) -> int:
        """Its exit code, when all it said has been read."""
        async with asyncio.timeout(within):
            await asyncio.gather(self.process.wait(), *self._readers)
        assert self.process.returncode is not None
        return self.process.returncode

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await asyncio.gather(self.process.wait(), *self._readers)


async def _collect(stream: asyncio.StreamReader, lines: list[str]) -> None:
    async for raw in stream:
        lines.append(raw.decode("utf-8", "replace").rstrip("\n"))  # noqa: PERF401  (a list comprehension would show them at the end only)


@asynccontextmanager
async def program(
    *arguments: str, cwd: Path, secret: str | None = SECRET, code: str | None = None, under: Sequence[str] = (), **env: str
) -> AsyncIterator[Program]:
    """The command line in a directory of its own, with a clean environment; `code` runs Python, not `-m console`; `under` runs all."""
    clean = {key: value for key, value in os.environ.items() if not re.match("EDGE|BACKEND_URL|USER_PHONE|.*_proxy$", key, re.IGNORECASE)}
    clean |= {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", "HOME": HOME.name} | ({"EDGE_SECRET": secret} if secret else {}) | env
    start = ["-c", code] if code else ["-m", "console"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *under, sys.executable, *start, *arguments, cwd=cwd, env=clean, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    running = Program(process)
    try:
        yield running
    finally:
        await running.kill()


def write_config(folder: Path, url: str, **sections: dict[str, Any]) -> list[str]:
    """A config.yaml (JSON is YAML) for the program, and the arguments that name it."""
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings(folder / "state", url, **sections), indent=1))
    return ["--config", str(path)]


def control_bytes(chunks: Iterable[bytes]) -> list[bytes]:
    """Lines that hold a control byte, or the bytes of a C1, bidi or zero-width character."""
    bad = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf")
    return [line for chunk in chunks for line in chunk.split(b"\n") if bad.search(line)]


# --- what the system knows of a process ----------------------------------------------------------------------------------


def report(line: str) -> None:
    """A figure for whoever runs the tests with -s."""
    sys.stdout.write(f"\n{line}\n")


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_seconds_of(pid: int) -> float:
    """Of all its threads, since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def argv_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
