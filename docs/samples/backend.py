"""A whole backend, in memory, that keeps every clause of docs/PROTOCOL.md. EDGE_SECRET, EDGE_ADMIN_TOKEN; `python backend.py PORT`"""
import json, os, secrets, sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

owed = {}   # agent id -> command id -> the command, until its terminal ack
links = {}  # agent id -> its one socket

def allowed(request, variable):
    return secrets.compare_digest(request.headers.get("authorization", ""), f"Bearer {os.environ[variable]}")

def take_ack(ack):  # a second one, or one for a command that is not there, changes nothing
    if isinstance(ack, dict) and ack.get("status", "completed" if "success" in ack else None) in {"completed", "failed"}:
        for commands in owed.values():
            commands.pop(str(ack.get("command_id")), None)

async def socket(link):
    agent_id = link.query_params.get("edge_agent_id")
    if not agent_id or not allowed(link, "EDGE_SECRET"):
        return await link.close()  # before the upgrade: 403
    await link.accept()
    replaced, links[agent_id] = links.get(agent_id), link
    if replaced: await replaced.close(4009, "replaced")
    while (message := await link.receive())["type"] == "websocket.receive":
        try:
            frame = json.loads(message.get("text") or message.get("bytes"))
            if frame["type"] == "ping":
                await link.send_json({"type": "pong", "data": frame.get("data")})
            elif frame["type"] == "command_ack":
                take_ack(frame["data"])
        except (ValueError, TypeError, KeyError):
            pass  # a malformed frame is no reason to close
    if links.get(agent_id) is link: del links[agent_id]  # the late end of a replaced socket leaves the new one alone

async def call(request):
    if not allowed(request, "EDGE_ADMIN_TOKEN" if request.url.path == "/admin/commands" else "EDGE_SECRET"):
        return JSONResponse({"error": "the secret is not ours"}, 401)
    try:
        return JSONResponse(await answer(request.url.path, await request.json()))
    except (ValueError, TypeError, KeyError):
        return JSONResponse({"error": "not what is expected here"}, 400)

async def answer(path, body):
    if path == "/edge/sync":
        for event in (events := body.get("pending_events", [])):
            take_ack(event.get("data"))
        return {"commands": [*owed.get(body["edge_agent_id"], {}).values()], "ack_events": [event.get("event_id") for event in events]}
    if path == "/edge/command/ack":
        return take_ack(body)
    command = {"command_id": f"cmd_{secrets.token_hex(5)}", "command_type": body["command_type"], "payload": body["payload"]}
    owed.setdefault(body["edge_agent_id"], {})[command["command_id"]] = command
    if body["edge_agent_id"] in links:
        await links[body["edge_agent_id"]].send_json({"type": "command", "data": command})
    return {"command_id": command["command_id"]}

calls = [Route(path, call, methods=["POST"]) for path in ("/edge/sync", "/edge/command/ack", "/admin/commands")]
app = Starlette(routes=[WebSocketRoute("/edge/ws", socket), Route("/health", lambda _: JSONResponse({"status": "ok"})), *calls])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
