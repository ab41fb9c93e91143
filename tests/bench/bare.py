"""What the agent is compared with: a bare `websockets` client that acks at once, from memory."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect


async def main(url: str) -> None:
    async with connect(url, compression=None, proxy=None) as socket:
        await socket.send('{"type":"ping"}')
        async for raw in socket:
            frame = json.loads(raw)
            if frame["type"] == "command":
                command_id = frame["data"]["command_id"]
                await socket.send(json.dumps({"type": "command_ack", "data": {"command_id": command_id, "success": True}}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
