"""A backend that is enough for an agent: POST /edge/sync alone, with the standard library. `python minimal_backend.py PORT`"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "demo-secret"
COMMANDS = {"cmd_1": {"command_id": "cmd_1", "command_type": "send_message", "payload": {"thread_id": "+13105550100", "text": "hi"}}}
ACKS: dict[str, dict[str, object]] = {}


class Calls(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        if self.path != "/edge/sync":
            self.answer(404, {"error": "no such call"})  # so the acks come as pending_events
        elif self.headers.get("Authorization") != f"Bearer {SECRET}":
            self.answer(401, {"error": "the secret is not ours"})
        else:
            acks = [event["data"] for event in body["pending_events"] if event["type"] == "command_ack"]
            ACKS.update((ack["command_id"], ack) for ack in acks)  # an ack may come twice
            owed = [command for command_id, command in COMMANDS.items() if command_id not in ACKS]
            self.answer(200, {"commands": owed, "ack_events": [ack["command_id"] for ack in acks]})

    def do_GET(self) -> None:
        self.answer(404, {"error": "no such call"})  # also to /edge/ws: the agent polls

    def answer(self, status: int, content: dict[str, object]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Calls)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
