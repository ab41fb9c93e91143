"""What a backend must do, clause by clause: the normative list, which docs/PROTOCOL.md prints and `edge-console conform` judges."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clause:
    """`section` is that of docs/PROTOCOL.md; `queues` says that judging it takes a way to queue commands."""

    id: str
    section: str
    says: str
    queues: bool = False


CLAUSES = (
    Clause("W1", "§1", "An upgrade of GET /edge/ws with the right secret and an agent's id is accepted."),
    Clause("W2", "§1", "An upgrade with a wrong secret is refused with 401 or 403."),
    Clause("W3", "§1", "edge_agent_id is percent-decoded, so that an id with other characters gets its commands.", queues=True),
    Clause("W4", "§1", "A JSON ping is answered with a JSON pong within 10 s."),
    Clause("W5", "§1", "A pong echoes data.seq where the ping has one."),
    Clause("W6", "§1", "A protocol ping is answered with a protocol pong."),
    Clause("W7", "§1", "A malformed frame (not JSON, no object, no type) leaves the socket open."),
    Clause("W8", "§1", "A frame of an unknown type leaves the socket open."),
    Clause("W9", "§1", "A socket that pings every 20 s stays open for 65 s with nothing else to say."),
    Clause("W10", "§1", "A second socket of the same id replaces the first, which is closed."),
    Clause("W11", "§1", "The late end of a replaced socket leaves the new one registered: a command is pushed on it.", queues=True),
    Clause("W12", "§1", "Every frame is one JSON object with a type, by RFC 8259."),
    Clause("C1", "§4", "A command for a connected agent is pushed on its socket within 5 s.", queues=True),
    Clause("C2", "§4", "A command queued while the agent is away is answered to its next sync.", queues=True),
    Clause("C3", "§4", "A command queued while the agent was away comes after it connects, pushed or by the sync.", queues=True),
    Clause("C4", "§4", "A command that was pushed and not acknowledged comes again after the socket is lost.", queues=True),
    Clause("C5", "§4", "A command with a terminal ack by socket, proven by a pong, does not come again.", queues=True),
    Clause("C6", "§4", "A command with a terminal ack by HTTP, answered 2xx, does not come again.", queues=True),
    Clause("C7", "§2", "A command has an id of 1 to 200 printable characters, a type and a payload.", queues=True),
    Clause("C8", "§4", "Commands for one agent are given to no other.", queues=True),
    Clause("A1", "§2", "The same ack twice by socket leaves the socket open.", queues=True),
    Clause("A2", "§3", "The same ack twice by HTTP is answered 2xx both times.", queues=True),
    Clause("A3", "§2", "An ack that has only a status, or only a success, is taken.", queues=True),
    Clause("A4", "§2", "A received ack, then a completed one, are both taken; in between the command is not lost.", queues=True),
    Clause("A5", "§2", "An ack for a command that the backend does not know leaves the socket open."),
    Clause("E1", "§4", "An event leaves the socket open, also one that came before and one of a type that the backend does not know."),
    Clause("E2", "§4", "An event that comes again in a sync is answered 2xx and named in ack_events again."),
    Clause("E3", "§4", "An event that came by socket, sent again in a sync, is answered 2xx and named in ack_events."),
    Clause("H1", "§3", "POST /edge/sync is answered 2xx with a JSON object that has a list of commands."),
    Clause("H2", "§3", "POST /edge/sync with a wrong secret is refused with 401 or 403."),
    Clause("H3", "§3", "No call is answered with a redirect."),
    Clause("H4", "§3", "GET /health is answered 2xx."),
    Clause("H5", "§3", "POST /edge/command/ack, or /edge/ack_command, answers 2xx for a command that was delivered.", queues=True),
    Clause("H6", "§3", "An ack among the pending_events of a sync, answered 2xx, is taken: the command does not come again.", queues=True),
    Clause("H7", "§3", "An event with an event_id is named in ack_events."),
    Clause("H8", "§3", "POST /edge/register gives the same id each time, or is 404 where agents are known by name."),
    Clause("H9", "§3", "A body that is not JSON is refused with a 4xx, and the next sync is answered."),
)
BY_ID = {clause.id: clause for clause in CLAUSES}
