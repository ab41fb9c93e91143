"""What the agent is compared with while it polls: a bare `httpx` client that acks each command at once, from memory."""

import asyncio
import sys

import httpx


async def main(url: str, every: float) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while True:
            answer = await client.post("/edge/sync", json={"edge_agent_id": "bench", "last_command_id": None, "pending_events": []})
            for command in answer.json()["commands"]:
                await client.post("/edge/command/ack", json={"command_id": command["command_id"], "success": True})
            await asyncio.sleep(every)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
