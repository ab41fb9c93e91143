// A whole backend, in memory, that keeps every clause of docs/PROTOCOL.md. npm install ws; EDGE_SECRET, EDGE_ADMIN_TOKEN; node backend.mjs PORT
import { createServer } from "node:http";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { WebSocketServer } from "ws";

const owed = new Map(); // agent id -> Map(command id -> the command), until its terminal ack
const links = new Map(); // agent id -> its one socket
const digest = (text) => createHash("sha256").update(text).digest();
const allowed = ({ headers }, name) => timingSafeEqual(digest(headers.authorization ?? ""), digest(`Bearer ${process.env[name]}`));

function takeAck(ack) { // a second one, or one for a command that is not there, changes nothing
  const status = ack?.status ?? (ack && "success" in ack ? "completed" : undefined);
  if (status === "completed" || status === "failed") for (const commands of owed.values()) commands.delete(String(ack.command_id));
}

const calls = {
  "/edge/sync": ({ edge_agent_id, pending_events = [] }) => {
    for (const event of pending_events) takeAck(event?.data);
    return { commands: [...(owed.get(edge_agent_id)?.values() ?? [])], ack_events: pending_events.map((event) => event?.event_id) };
  },
  "/edge/command/ack": (ack) => (takeAck(ack), { ok: true }),
  "/admin/commands": ({ edge_agent_id, command_type, payload }) => {
    const command = { command_id: `cmd_${randomBytes(5).toString("hex")}`, command_type, payload };
    owed.set(edge_agent_id, owed.get(edge_agent_id) ?? new Map()).get(edge_agent_id).set(command.command_id, command);
    links.get(edge_agent_id)?.send(JSON.stringify({ type: "command", data: command }));
    return { command_id: command.command_id };
  },
};

const server = createServer(async (request, response) => {
  const answer = (status, body) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  if (request.url === "/health") return answer(200, { status: "ok" });
  const call = calls[request.url];
  if (!call) return answer(404, { error: "no such call" });
  if (!allowed(request, request.url === "/admin/commands" ? "EDGE_ADMIN_TOKEN" : "EDGE_SECRET")) return answer(401, { error: "not our secret" });
  try {
    let text = "";
    for await (const chunk of request) text += chunk;
    answer(200, call(JSON.parse(text)));
  } catch { answer(400, { error: "not what is expected here" }); }
});

const sockets = new WebSocketServer({ noServer: true });
server.on("upgrade", (request, stream, head) => {
  const agentId = new URL(request.url, "http://localhost").searchParams.get("edge_agent_id");
  if (!agentId || !allowed(request, "EDGE_SECRET")) return stream.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  sockets.handleUpgrade(request, stream, head, (link) => {
    links.get(agentId)?.close(4009, "replaced");
    links.set(agentId, link).get(agentId).on("error", () => {});
    link.on("close", () => links.get(agentId) === link && links.delete(agentId)); // a late end leaves the new one alone
    link.on("message", (raw) => {
      let frame;
      try { frame = JSON.parse(raw); } catch { return; } // a malformed frame is no reason to close
      if (frame?.type === "ping") link.send(JSON.stringify({ type: "pong", data: frame.data }));
      if (frame?.type === "command_ack") takeAck(frame.data);
    });
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
