"""The page for people, in a real headless Chromium; metrics; faults for a while; draining."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent_core.reference.server import Options, ReferenceBackend
from tests.harness.browser import CHROMIUM, browser

SECRET, ADMIN, AGENT = "canary-secret", "canary-admin", "mac-<1>"


@pytest.fixture
async def backend() -> AsyncIterator[ReferenceBackend]:
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN)) as running:
        yield running


def person(backend: ReferenceBackend, password: str = ADMIN) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=backend.url, auth=("anybody", password), trust_env=False, timeout=10)


def admin(backend: ReferenceBackend) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=backend.url, headers={"Authorization": f"Bearer {ADMIN}"}, trust_env=False, timeout=10)


async def dial(backend: ReferenceBackend, agent: str = "mac-1") -> ClientConnection:
    url = f"{backend.url.replace('http', 'ws')}/edge/ws?edge_agent_id={agent}"
    return await connect(url, additional_headers={"Authorization": f"Bearer {SECRET}"}, proxy=None, close_timeout=1)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
async def test_the_page_in_a_real_browser(backend: ReferenceBackend) -> None:
    first = await backend.queue(AGENT, "send_message_now", {"thread_id": "+1", "text": "<script>document.title='run'</script>"})
    async with browser() as tab:
        await tab.call("Network.enable")
        await tab.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {b64encode(f'me:{ADMIN}'.encode()).decode()}"})
        await tab.call("Page.navigate", url=backend.url)
        await tab.shows("Reference backend")
        await tab.shows(AGENT)
        await tab.value(f"[...document.links].find(link => link.innerText === '{first}').click()")
        await tab.shows(f"Command {first}")
        await tab.shows("<script>")
        assert await tab.value("document.title") == f"Command {first}"
        await tab.call("Page.navigate", url=backend.url)
        await tab.shows("Send")
        await tab.value("document.querySelector('form[action=\"/send\"] [name=agent]').value = 'mac-2'")
        await tab.value("document.querySelector('form[action=\"/send\"] button').click()")
        await tab.shows("mac-2")
        assert [order.agent_id for order in backend.hub.orders()] == ["mac-2", AGENT]
        await tab.call("Page.navigate", url=backend.url)
        await tab.shows("Faults")
        await tab.value("document.querySelector('[name=fault]').value = 'push_twice'")
        await tab.value("document.querySelector('form[action=\"/faults\"] button').click()")
        await tab.shows('"push_twice": true')
        assert backend.faults.push_twice


async def test_the_page_asks_for_the_admin_token_and_forms_are_of_this_page(backend: ReferenceBackend) -> None:
    async with person(backend, "wrong") as stranger, person(backend) as one:
        refused = await stranger.get("/")
        assert (refused.status_code, refused.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        for path in ("/commands/x", "/send", "/faults"):
            assert (await stranger.request("GET" if "commands" in path else "POST", path)).status_code == 401
        page = await one.get("/")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        forged = {"agent": "mac-1", "type": "emit_event", "payload": "{}"}
        assert (await one.post("/send", data=forged)).status_code == 403
        token = page.text.partition('name="token" value="')[2].partition('"')[0]
        assert (await one.post("/send", data=forged | {"token": token, "payload": "1e999"})).status_code == 400
        sent = await one.post("/send", data=forged | {"token": token})
        assert sent.status_code == 303
        assert "emit_event" in (await one.get(sent.headers["Location"])).text
        assert (await one.get("/commands/none")).status_code == 404
    assert backend.hub.open_count == 1


async def test_a_fault_lasts_as_long_as_was_asked() -> None:
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN)) as backend, admin(backend) as client:
        for seconds in (0, -1, True, "1", 3_601, None):
            assert (await client.post("/admin/faults", json={"silent": True, "seconds": seconds})).status_code == 400
        told = await client.post("/admin/faults", json={"sync_status": 503, "seconds": 0.3})
        assert (told.status_code, told.json()["sync_status"], told.json()["seconds"]) == (202, 503, 0.3)
        assert backend.faults.sync_status == 503
        async with asyncio.timeout(5):
            while (await client.get("/admin/faults")).json()["sync_status"] is not None:  # noqa: ASYNC110  (asked over HTTP)
                await asyncio.sleep(0.05)
    async with ReferenceBackend(Options(secret=SECRET, admin_token=ADMIN, faults=False)) as backend, admin(backend) as client:
        for method in ("PUT", "POST"):
            answer = await client.request(method, "/admin/faults", json={"silent": True, "seconds": 5})
            assert (answer.status_code, answer.json()["error"]) == (403, "this backend was not started with --faults")


async def test_metrics_tell_of_commands_sockets_and_refusals(backend: ReferenceBackend) -> None:
    link = await dial(backend)
    done, waiting = [await backend.queue("mac-1", "emit_event", {}) for _ in range(2)]
    await link.send(json.dumps({"type": "command_ack", "data": {"command_id": done, "status": "completed"}}))
    await backend.until(lambda hub: hub.counts["completed"])
    await link.close()
    await backend.until(lambda hub: hub.connected_count == 0)
    async with admin(backend) as client:
        assert (await client.get(f"/admin/commands/{waiting}x")).status_code == 404
        await client.post("/edge/sync", json={"edge_agent_id": "mac-1"}, headers={"Authorization": f"Bearer {SECRET}"})
        page = (await client.get("/metrics")).text
    found = {(s.name, *s.labels.values()): s.value for family in text_string_to_metric_families(page) for s in family.samples}
    assert found["edge_backend_events_total", "calls_refused_404"] == 1
    assert found["edge_backend_events_total", "connects"] == 1
    assert found["edge_backend_events_total", "redelivered"] == 1
    assert found["edge_backend_commands_open",] == 1
    assert found["edge_backend_oldest_open_seconds",] > 0
    assert found["edge_backend_settled_seconds_count",] == found["edge_backend_connected_seconds_count",] == 1
    assert found["edge_backend_settled_seconds_bucket", "+Inf"] == 1
    assert found["edge_backend_store_up",] == 1


async def test_draining_sends_everybody_elsewhere(backend: ReferenceBackend) -> None:
    links = [await dial(backend, f"mac-{number}") for number in range(5)]
    draining = asyncio.create_task(backend.drain(0.2))
    for link in links:
        with suppress(ConnectionClosed):
            async with asyncio.timeout(10):
                while True:
                    await link.recv()
    assert [link.close_code for link in links] == [1012] * 5
    await draining
    with pytest.raises(InvalidStatus) as refused:
        await dial(backend)
    assert refused.value.response.status_code == 503
    async with admin(backend) as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")
