"""One agent's socket: frames between the connection and the hub, and no judgement of its own."""

import asyncio
import contextlib
from typing import Protocol

from starlette.types import Receive, Scope, Send

from agent_core.clock import Clock
from agent_core.reference.hub import Ending, Hub

_BATCH = 64
_CLOSE_WITHIN = 1.0
_LOST = 1006


class Shell(Protocol):
    """What a session needs of the backend around it."""

    hub: Hub
    clock: Clock

    async def written(self, sequence: int) -> None: ...
    async def look_up(self) -> None: ...
    def moved(self) -> None: ...
    def abort(self, scope: Scope) -> None: ...


class Session:
    """Runs from the accepted upgrade to the end of the connection."""

    def __init__(self, shell: Shell, agent_id: str, generation: int, scope: Scope, receive: Receive, send: Send) -> None:
        self.agent_id = agent_id
        self.generation = generation
        self._shell = shell
        self._scope = scope
        self._receive = receive
        self._send = send
        self._wake = asyncio.Event()
        self._wake.set()
        self._ending: Ending | None = None
        self._last_resort: asyncio.TimerHandle | None = None
        self._rests_on = 0
        """What the store must have before anything is said: the acks read here."""

    def wake(self) -> None:
        """There may be frames to send."""
        self._wake.set()

    def end(self, ending: Ending) -> None:
        """Close with a handshake; abort where the peer does not take even that."""
        if self._ending is None:
            self._ending = ending
            self._wake.set()
            self._last_resort = asyncio.get_running_loop().call_later(_CLOSE_WITHIN, self.abort)

    def abort(self) -> None:
        """No handshake, whatever is queued."""
        self._shell.abort(self._scope)

    async def run(self) -> None:
        writer = asyncio.create_task(self._write(), name=f"backend writer {self.generation}")
        try:
            ending = await self._read()
        finally:
            writer.cancel()
            if self._last_resort is not None:
                self._last_resort.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        self._shell.hub.disconnect(self.agent_id, self.generation, ending)
        self._shell.moved()

    async def _read(self) -> Ending:
        hub, clock, receive, moved = self._shell.hub, self._shell.clock, self._receive, self._shell.moved
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return self._ended(message.get("code", _LOST), message.get("reason"))
            if self._ending is not None:
                continue
            raw = message.get("text")
            before = hub.book.sequence
            excess = hub.receive(self.agent_id, self.generation, message["bytes"] if raw is None else raw, clock.now())
            if hub.unknown:
                await self._shell.look_up()
            if hub.book.sequence != before:
                self._rests_on = hub.book.sequence
            if excess is not None:
                self.end(excess)
            elif hub.has_frames(self.agent_id):
                self._wake.set()
            moved()

    def _ended(self, code: int, reason: str | None) -> Ending:
        if self._ending is not None:
            return self._ending
        return Ending(code, reason, "agent") if reason is not None else Ending(_LOST, "lost", "nobody")

    async def _write(self) -> None:
        hub, clock = self._shell.hub, self._shell.clock
        with contextlib.suppress(OSError):
            while self._ending is None:
                await self._wake.wait()
                self._wake.clear()
                while self._ending is None and (frames := hub.take(self.agent_id, self.generation, clock.now(), _BATCH)):
                    await self._send_all(frames, hub.faults.delay_seconds)
            await self._send({"type": "websocket.close", "code": self._ending.code, "reason": self._ending.reason})

    async def _send_all(self, frames: list[str], delay: float) -> None:
        await self._shell.written(self._rests_on)
        self._shell.moved()
        await asyncio.sleep(delay)
        send = self._send
        for frame in frames:
            await send({"type": "websocket.send", "text": frame})
