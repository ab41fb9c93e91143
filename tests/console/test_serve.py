"""`edge-console serve`: the attached console in a page, for whoever has the address, and a process that ends with its page."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.harness.browser import CHROMIUM, browser
from tests.harness.rig import Program, argv_of, program, served, until, write_config


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Program, str]]:
    """An agent, its backend, and the program that serves pages; with the URL."""
    async with served() as backend:
        arguments = write_config(folder, backend.url)
        async with program("--no-ui", *arguments, cwd=folder) as agent:
            await agent.hears("real-time mode")
            async with program("serve", *arguments, cwd=folder) as server:
                url = await server.hears("^http://127.0.0.1:")
                yield server, url
            assert agent.process.returncode is None


def children(pid: int) -> list[int]:
    return [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]


def lives(pid: int) -> bool:
    try:
        return argv_of(pid) != b""
    except FileNotFoundError:
        return False


async def page(url: str, **more: str) -> ClientConnection:
    """As a page connects, at 120 by 36."""
    origin = re.match("http://[^/]+", url)
    assert origin is not None
    address = url.replace("http:", "ws:") + "ws?width=120&height=36"
    return await connect(address, origin=more.get("origin", origin[0]), proxy=None, max_size=None)  # type: ignore[arg-type]


async def drawn(link: ClientConnection, text: str) -> None:
    seen = ""
    async with asyncio.timeout(30):
        while text not in seen:
            told = await link.recv()
            assert isinstance(told, bytes)
            seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.decode("utf-8", "replace"))


async def test_a_page_shows_the_console_and_its_process_ends_with_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, url):
        link = await page(url)
        await drawn(link, "Commands")
        assert len(children(server.pid)) == 1
        for width in range(80, 200, 2):
            await link.send(json.dumps(["resize", {"width": width, "height": 30}]))
        link.transport.abort()
        await until(lambda: not children(server.pid), "the process of a page that dropped in the middle of a resize")
        async with await page(url) as another:
            await drawn(another, "Commands")
            await another.send(json.dumps(["stdin", "q"]))
            async with asyncio.timeout(15):
                await another.wait_closed()
        await until(lambda: not children(server.pid), "the process of a page that was left by q")
        for odd in ("[" * 10_000, "{}", json.dumps(["stdin", 7]), json.dumps(["resize", {"width": "x", "height": -1}])):
            async with await page(url) as stranger:
                await stranger.send(odd)
        link = await page(url)
        await drawn(link, "Commands")
        (console,) = children(server.pid)
        server.signal(signal.SIGKILL)
        await until(lambda: not lives(console), "a console whose server was killed")


async def test_only_a_page_of_its_own_with_the_token_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, url), httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.text.count("static/") == 3, "all of it is of this server"
        assert "//fonts" not in answer.text
        assert (await client.get(url + "static/js/textual.js")).status_code == 200
        assert (await client.get(url + "static/")).status_code in {403, 404}
        root = url[: url.index("/", 8)]
        for path in ("/", "/wrong/", "/wrong/ws", "/wrong/static/js/textual.js"):
            assert (await client.get(root + path)).status_code == 404
        assert (await client.get(url, headers={"Host": "evil.example"})).status_code == 403
        for refused in (page(url, origin="http://evil.example"), page(url, origin="null")):
            with pytest.raises(InvalidStatus, match="403"):
                await refused
        assert children(server.pid) == []
        server.signal(signal.SIGTERM)
        assert await server.ends() == 0


async def test_without_an_agent_there_is_nothing_to_serve(tmp_path: Path) -> None:
    async with program("serve", *write_config(tmp_path, "http://127.0.0.1:1"), cwd=tmp_path) as server:
        assert await server.ends() == 4
    assert "no agent runs" in server.err[0]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
async def test_the_console_in_a_real_browser(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, url), browser() as tab:
        await tab.call("Emulation.setDeviceMetricsOverride", width=1200, height=760, deviceScaleFactor=1, mobile=False)
        blank = len(await tab.picture())
        await tab.call("Page.navigate", url=url)
        await tab.becomes("document.body.className.includes('-first-byte')")
        async with asyncio.timeout(20):
            while len(await tab.picture()) < 5 * blank:  # noqa: ASYNC110  (a browser's)
                await asyncio.sleep(0.1)
        await tab.press("q")
        await tab.shows("the agent goes on")
        await until(lambda: not children(server.pid))
