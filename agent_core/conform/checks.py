"""How each clause is judged: one function a clause, which returns where it holds and raises Broken or Untestable where not."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from agent_core import frames
from agent_core.conform.bench import Bench
from agent_core.conform.peer import Broken, Peer, Socket, Untestable, ack

Check = Callable[[Bench], Awaitable[None]]
CHECKS: dict[str, Check] = {}
PUSHED_WITHIN = 5.0
AGAIN_WITHIN = 30.0
QUIET = 12.0
"""Seconds for which what must not come again is waited for."""
IDLE = 65.0
PING_EVERY = 20.0
ACK_PATHS = ("/edge/command/ack", "/edge/ack_command")
REFUSED = {"HTTP 401", "HTTP 403"}


def judges(clause: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS[clause] = check
        return check

    return register


def holds(condition: object, otherwise: str) -> None:
    """Raises Broken."""
    if not condition:
        raise Broken(otherwise)


# --- the socket ----------------------------------------------------------------------------------------------------------


@judges("W1")
async def upgrade(bench: Bench) -> None:
    await (await bench.peer()).dial()


@judges("W2")
async def wrong_secret(bench: Bench) -> None:
    status, _ = await (await bench.peer()).upgrade(bearer="not-the-secret-0000")
    holds(status in REFUSED, f"an upgrade with a wrong secret was answered {status}")


@judges("W3")
async def decoded_id(bench: Bench) -> None:
    peer = await bench.peer(suffix=" ü+/%41")
    socket = await peer.dial()
    mark = await bench.owe(peer)
    holds(await socket.command(mark, PUSHED_WITHIN), f"the command for {peer.agent_id} was not pushed on the socket of that id")


@judges("W4")
async def json_pong(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    holds(await socket.pong(7) is not None, "a JSON ping had no pong in 10 s")


@judges("W5")
async def numbered_pong(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    answer = await socket.pong(41)
    if answer is None:
        raise Untestable("no pong came (W4)")
    holds((answer.get("data") or {}).get("seq") == 41, "the pong has no data.seq 41, so that acks are proven late")


@judges("W6")
async def protocol_pong(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    holds(await socket.protocol_pong(), "a protocol ping had no pong in 10 s")


@judges("W7")
async def malformed(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    for raw in ("{", "[1, 2]", "null", '"text"', "{}", '{"type": 7}', '{"type":"command_ack"}', '{"type":"command_ack","data":[]}', b"{}"):
        await socket.send(raw)
        await socket.alive(f"the frame {raw!r}")


@judges("W8")
async def unknown_type(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    await socket.send({"type": "conform_unknown", "data": {"x": 1}})
    await socket.alive("a frame of an unknown type")


@judges("W9")
async def idle(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    for number in range(math.ceil(IDLE / PING_EVERY)):
        await socket.send({"type": "ping", "data": {"seq": number}})
        holds(not await socket.closed(PING_EVERY), f"the socket was closed within {(number + 1) * PING_EVERY:.0f} s")
    await socket.alive("65 s with nothing but pings")


@judges("W10")
async def takeover(bench: Bench) -> None:
    peer = await bench.peer()
    first = await peer.dial()
    await first.alive("the upgrade")
    second = await peer.dial()
    holds(await first.closed(10.0), "the first socket stays open beside the second")
    await second.alive("the takeover")


@judges("W11")
async def late_end(bench: Bench) -> None:
    peer = await bench.peer()
    first = await peer.dial()
    await first.alive("the upgrade")
    second = await peer.dial()
    await second.alive("the takeover")
    first.abort()
    await asyncio.sleep(1.0)
    mark = await bench.owe(peer)
    holds(await second.command(mark, PUSHED_WITHIN), "after the end of the replaced socket no command is pushed on the new one")


@judges("W12")
async def sound_frames(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    await socket.send({"type": "ping", "data": {"seq": 1}})
    bad = await socket.next(_unsound, 3.0)
    holds(bad is None, f"{bad}")


def _unsound(raw: str | bytes) -> str | None:
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except ValueError:
        return f"a frame is not JSON: {raw!r:.100}"
    return None if isinstance(body, dict) and isinstance(body.get("type"), str) else f"a frame has no type: {raw!r:.100}"


def _no_constant(name: str) -> None:
    raise ValueError(name)


# --- commands ------------------------------------------------------------------------------------------------------------


async def pushed(bench: Bench, peer: Peer, socket: Socket) -> tuple[frames.Command, str]:
    """A command that came by the socket, and its mark. Raises Untestable where none does."""
    mark = await bench.owe(peer)
    command = await socket.command(mark, PUSHED_WITHIN)
    if command is None:
        raise Untestable("no command was pushed (C1)")
    return command, mark


async def polled(bench: Bench, peer: Peer) -> tuple[frames.Command, str]:
    """A command that came by a sync, and its mark. Raises Untestable where none does."""
    mark = await bench.owe(peer)
    command = await peer.synced(mark, 5.0)
    if command is None:
        raise Untestable("no command came by the sync (C2)")
    return command, mark


async def stays_away(peer: Peer, mark: str, after: str) -> None:
    """Raises Broken where the command comes once more, by a sync now or later."""
    for wait in (0.0, QUIET):
        await asyncio.sleep(wait)
        holds(await peer.synced(mark) is None, f"the command came again {after}")


@judges("C1")
async def push(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    await socket.alive("the upgrade")
    mark = await bench.owe(peer)
    holds(await socket.command(mark, PUSHED_WITHIN), f"no command came on the socket within {PUSHED_WITHIN:g} s")


@judges("C2")
async def kept_for_the_sync(bench: Bench) -> None:
    peer = await bench.peer()
    await peer.sync()
    mark = await bench.owe(peer)
    holds(await peer.synced(mark, 5.0), "the command is not in the answer to a sync")


@judges("C3")
async def kept_for_the_socket(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    await socket.close()
    mark = await bench.owe(peer)
    socket = await peer.dial()
    found = await socket.command(mark, 2.0) or await peer.synced(mark, AGAIN_WITHIN)
    holds(found, "what was queued while the agent was away never came")


@judges("C4")
async def again_after_a_loss(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    command, mark = await pushed(bench, peer, socket)
    socket.abort()
    await asyncio.sleep(0.5)
    found = await peer.synced(mark, AGAIN_WITHIN)
    holds(found, "what was pushed on a lost socket and never acknowledged did not come again")
    holds(found is not None and found.command_id == command.command_id, "it came again under another id")


@judges("C5")
async def done_by_socket(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    command, mark = await pushed(bench, peer, socket)
    await socket.send({"type": "command_ack", "data": ack(command.command_id)})
    await socket.alive("an ack")
    socket.abort()
    await stays_away(peer, mark, "though its ack by socket was read before the pong")


@judges("C6")
async def done_by_http(bench: Bench) -> None:
    peer = await bench.peer()
    command, mark = await polled(bench, peer)
    await acknowledged(peer, command.command_id)
    await stays_away(peer, mark, "though its ack by HTTP was answered 2xx")


@judges("C7")
async def whole_command(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    mark = await bench.owe(peer)
    command = await socket.command(mark, PUSHED_WITHIN) or await peer.synced(mark, 5.0)
    if command is None:
        raise Untestable("no command came (C1, C2)")
    holds(command.command_type, "the command has no command_type")
    holds(command.invalid is None, f"the command is not whole: {command.invalid}")


@judges("C8")
async def of_one_agent(bench: Bench) -> None:
    peer, other = await bench.peer(), await bench.peer()
    socket = await other.dial()
    mark = await bench.owe(peer)
    holds(await socket.command(mark, 2.0) is None, "another agent's socket got it")
    holds(await other.synced(mark) is None, "another agent's sync got it")


# --- acks ----------------------------------------------------------------------------------------------------------------


async def acknowledged(peer: Peer, command_id: str, **fields: Any) -> None:
    """Raises Broken where neither call takes the ack."""
    statuses = []
    for path in ACK_PATHS:
        answer = await peer.call(path, ack(command_id, **fields))
        if answer.is_success:
            return
        statuses.append(f"{path} {answer.status_code}")
        if answer.status_code not in {404, 405}:
            break
    raise Broken(f"the ack was answered {', '.join(statuses)}")


@judges("A1")
async def twice_by_socket(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    command, _ = await pushed(bench, peer, socket)
    for time in ("once", "twice"):
        await socket.send({"type": "command_ack", "data": ack(command.command_id)})
        await socket.alive(f"the ack {time}")


@judges("A2")
async def twice_by_http(bench: Bench) -> None:
    peer = await bench.peer()
    command, _ = await polled(bench, peer)
    await acknowledged(peer, command.command_id)
    await acknowledged(peer, command.command_id)


@judges("A3")
async def either_dialect(bench: Bench) -> None:
    peer = await bench.peer()
    dialects: tuple[dict[str, Any], ...] = ({"status": "completed"}, {"success": True})
    for fields in dialects:
        command, mark = await polled(bench, peer)
        await acknowledged(peer, command.command_id, **fields)
        await stays_away(peer, mark, f"though an ack that has only a {min(fields)} was answered 2xx")


@judges("A4")
async def received_first(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    command, mark = await pushed(bench, peer, socket)
    for status in ("received", "completed"):
        await socket.send({"type": "command_ack", "data": ack(command.command_id, status=status, result={"schedule_id": "s1"})})
        await socket.alive(f"an ack with status {status}")
    socket.abort()
    await stays_away(peer, mark, "after received and completed")


@judges("A5")
async def unknown_command(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    await socket.send({"type": "command_ack", "data": ack("conform-never-queued")})
    await socket.alive("an ack for a command that it does not know")


# --- events --------------------------------------------------------------------------------------------------------------


def event_of(event_id: str, event_type: str = "needs_attention") -> dict[str, Any]:
    return {"event_id": event_id, "event_type": event_type, "occurred_at": "2026-01-01T00:00:00.000Z", "payload": {}}


async def is_named(peer: Peer, event: dict[str, Any]) -> bool:
    """Whether the answer to a sync that carries the event names it. Raises Broken."""
    answer = await peer.sync([event])
    try:
        return event["event_id"] in frames.parse_sync(answer.content).proven
    except frames.FrameError as error:
        raise Broken(f"/edge/sync: {error}") from None


@judges("E1")
async def event_by_socket(bench: Bench) -> None:
    socket = await (await bench.peer()).dial()
    events = event_of("conform-event-2"), event_of("conform-event-2"), event_of("conform-event-3", "conform_unknown")
    for what, event in zip(("an event", "the event again", "an event of an unknown type"), events, strict=True):
        await socket.send({"type": "event", "data": event})
        await socket.alive(what)


@judges("E2")
async def event_again(bench: Bench) -> None:
    peer = await bench.peer()
    for time in ("once", "twice"):
        holds(await is_named(peer, event_of("conform-event-4")), f"ack_events does not name the event that came {time}")


@judges("E3")
async def event_by_both_ways(bench: Bench) -> None:
    peer = await bench.peer()
    socket = await peer.dial()
    await socket.send({"type": "event", "data": event_of("conform-event-5")})
    await socket.alive("an event")
    holds(await is_named(peer, event_of("conform-event-5")), "ack_events does not name an event that had come by socket")


# --- HTTP ----------------------------------------------------------------------------------------------------------------


@judges("H1")
async def sync(bench: Bench) -> None:
    answer = await (await bench.peer()).sync()
    try:
        body = json.loads(answer.content, parse_constant=_no_constant)
    except ValueError:
        raise Broken(f"the answer is not JSON ({answer.headers.get('Content-Type', 'no content type')})") from None
    holds(isinstance(body, dict) and isinstance(body.get("commands"), list), "the answer has no list of commands")


@judges("H2")
async def sync_with_a_wrong_secret(bench: Bench) -> None:
    peer = await bench.peer()
    answer = await peer.call("/edge/sync", {"edge_agent_id": peer.agent_id}, bearer="not-the-secret-0000")
    holds(answer.status_code in {401, 403}, f"a sync with a wrong secret was answered {answer.status_code}")


@judges("H3")
async def no_redirect(bench: Bench) -> None:
    peer = await bench.peer()
    for path, body in (("/health", None), ("/edge/sync", {"edge_agent_id": peer.agent_id}), (ACK_PATHS[0], ack("conform-never-queued"))):
        answer = await peer.call(path, body)
        holds(not answer.is_redirect, f"{path} was answered {answer.status_code}: the agent follows no redirect")
    status, _ = await peer.upgrade()
    holds(not status.startswith("HTTP 3"), f"the upgrade was answered {status}")


@judges("H4")
async def health(bench: Bench) -> None:
    answer = await (await bench.peer()).call("/health")
    holds(answer.is_success, f"/health was answered {answer.status_code}")


@judges("H5")
async def ack_call(bench: Bench) -> None:
    peer = await bench.peer()
    command, _ = await polled(bench, peer)
    await acknowledged(peer, command.command_id)


@judges("H6")
async def carried_ack(bench: Bench) -> None:
    peer = await bench.peer()
    command, mark = await polled(bench, peer)
    body = ack(command.command_id)
    await peer.sync([{"type": "command_ack", "data": body, "event_id": command.command_id, "event_type": "command_ack", "payload": body}])
    await stays_away(peer, mark, "though a sync that carried its ack was answered 2xx")


@judges("H7")
async def event_ids(bench: Bench) -> None:
    event = event_of("conform-event-1")
    holds(await is_named(await bench.peer(), event), "ack_events does not name the event, so that it is sent again and again")


@judges("H8")
async def registration(bench: Bench) -> None:
    peer = await bench.peer()
    body: dict[str, Any] = {
        "user_phone": "+13105550100",
        "apple_id": None,
        "version": "conform",
        "capabilities": [],
        "auth_token": bench.target.secret,
    }
    first = await peer.call("/edge/register", body)
    if first.status_code == 404:
        return
    holds(first.is_success, f"/edge/register was answered {first.status_code}")
    second = await peer.call("/edge/register", body)
    ids = [(answer.json() if "json" in answer.headers.get("Content-Type", "") else {}).get("edge_agent_id") for answer in (first, second)]
    holds(isinstance(ids[0], str) and ids[0], "the answer has no edge_agent_id")
    holds(ids[0] == ids[1], "the same phone got two ids")


@judges("H9")
async def bad_body(bench: Bench) -> None:
    peer = await bench.peer()
    answer = await peer.call("/edge/sync", content=b"{not json")
    holds(400 <= answer.status_code < 500, f"a body that is not JSON was answered {answer.status_code}")
    await peer.sync()
