"""The demonstration's script against a small agent of its own: socket while it can, polls while it cannot."""

import asyncio
import json

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent_core.reference.demo import run_demo
from agent_core.reference.faults import Faults, in_words
from agent_core.reference.orders import Status
from agent_core.reference.server import DEMO_SECRET, ReferenceBackend

AGENT = "mac-demo"
BEARER = {"Authorization": f"Bearer {DEMO_SECRET}"}
FAILING = {"set_wallpaper"}


def _ack(command: dict[str, object]) -> dict[str, object]:
    payload = command["payload"]
    assert isinstance(payload, dict)
    failed = command["command_type"] in FAILING or (command["command_type"] == "send_message_now" and "text" not in payload)
    return {"command_id": command["command_id"], "status": "failed" if failed else "completed", "success": not failed}


async def _agent(backend: ReferenceBackend) -> None:
    url = f"ws://127.0.0.1:{backend.port}/edge/ws?edge_agent_id={AGENT}"
    async with httpx.AsyncClient(base_url=backend.url, headers=BEARER, trust_env=False) as client:
        while True:
            try:
                async with connect(url, additional_headers=BEARER, proxy=None, compression=None) as link:
                    await _poll(client)
                    async for raw in link:
                        frame = json.loads(raw)
                        if frame["type"] == "command":
                            await link.send(json.dumps({"type": "command_ack", "data": _ack(frame["data"])}))
            except (ConnectionClosed, InvalidStatus):
                pass
            await _poll(client)


async def _poll(client: httpx.AsyncClient) -> None:
    for command in (await client.post("/edge/sync", json={"edge_agent_id": AGENT})).json()["commands"]:
        await client.post("/edge/command/ack", json=_ack(command))


async def test_a_round_goes_by_socket_and_by_polling_and_leaves_the_backend_well() -> None:
    async with ReferenceBackend() as backend, asyncio.TaskGroup() as group:
        agent = group.create_task(_agent(backend))
        await backend.until(lambda hub: hub.connected(AGENT))
        await run_demo(backend, AGENT, cycle_seconds=2, rounds=1)
        await backend.until(lambda hub: hub.open_count == 0)
        agent.cancel()
        orders = backend.hub.orders()
        assert backend.faults == Faults()
        assert sum(order.pushed > 1 for order in orders) >= 2, "the duplicates"
        assert any(order.polled and not order.pushed for order in orders)
        assert {order.command_type for order in orders if order.status is Status.FAILED} == {"set_wallpaper", "send_message_now"}
        assert {"schedule_message", "cancel_scheduled", "update_config", "send_message"} <= {order.command_type for order in orders}
        assert backend.hub.counts["connects_refused"] >= 2
        assert backend.hub.counts["connects"] >= 2


async def test_the_same_seed_tells_the_same_story() -> None:
    stories = []
    for seed in (7, 7, 8):
        async with ReferenceBackend() as backend:
            await run_demo(backend, AGENT, cycle_seconds=0.05, rounds=1, seed=seed)
            payloads = [order.view()["payload"] for order in backend.hub.orders()]
            stories.append([(payload.get("text"), payload.get("thread_id")) for payload in payloads])
    assert stories[0] == stories[1] != stories[2]


async def test_the_demos_own_outage_leaves_alone_what_somebody_has_told() -> None:
    async with ReferenceBackend() as backend:
        told, _ = in_words("sync_body=no ack_status=404 silent")
        backend.do_wrong(told)
        await run_demo(backend, AGENT, cycle_seconds=0.05, rounds=1)
        assert backend.faults == Faults(sync_body="no", ack_status=404, silent=True)


async def test_a_cancelled_demo_ends_its_outage() -> None:
    async with ReferenceBackend() as backend:
        running = asyncio.create_task(run_demo(backend, AGENT, cycle_seconds=1))
        await backend.until(lambda hub: hub.faults != Faults())
        running.cancel()
        await asyncio.wait([running])
        assert backend.faults == Faults()
