"""A real headless Chromium, driven over its own protocol; tests that need it skip themselves where it is not installed."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One tab."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._number = 0

    async def call(self, method: str, **named: Any) -> dict[str, Any]:
        self._number += 1
        await self._link.send(json.dumps({"id": self._number, "method": method, "params": named}))
        while True:
            answer = json.loads(await self._link.recv())
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    async def value(self, expression: str) -> Any:
        """None, too, while another page is coming."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found.get("result", {}).get("value")

    async def press(self, key: str) -> None:
        """A character, typed."""
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")

    async def picture(self) -> bytes:
        """A PNG of what the page shows."""
        return b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def becomes(self, expression: str) -> None:
        """Wait until it is true there."""
        async with asyncio.timeout(30):
            while not await self.value(expression):  # noqa: ASYNC110  (a browser's)
                await asyncio.sleep(0.1)

    async def shows(self, text: str) -> None:
        """Wait until the page does."""
        seen = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                while text not in str(seen := await self.value("document.body && document.body.innerText")):  # noqa: ASYNC110  (a browser's)
                    await asyncio.sleep(0.1)
        assert text in str(seen)


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            async with asyncio.timeout(60):
                while not port_file.exists() or not port_file.read_text().strip():  # noqa: ASYNC110  (another program's file)
                    await asyncio.sleep(0.1)
            port = port_file.read_text().split()[0]
            async with httpx.AsyncClient(trust_env=False) as client:
                tabs = (await client.get(f"http://127.0.0.1:{port}/json")).json()
            url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with connect(url, proxy=None, max_size=None, ping_interval=None) as link:
                yield Browser(link)
        finally:
            process.terminate()
            await process.wait()
