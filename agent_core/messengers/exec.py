"""Runs a program for each message: JSON on its stdin, exit code 0 for "sent", one JSON line on its stdout as the receipt.

It has a session of its own, and whatever it has started in it ends with it: by TERM, and by KILL where TERM is not enough.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from agent_core.frames import Command, Message
from agent_core.messengers.base import RECEIPT_BYTES, Context, Messenger, as_json, receipt_of
from agent_core.plain import plain
from agent_core.records import Outcome

TERM_WITHIN = 1.0
PIPES_WITHIN = 0.5
"""Seconds for which a pipe may stay open after the program's end: somebody outside its session holds it."""
STDOUT, STDERR = 1, 2


class ExecMessenger(Messenger):
    """At most once: a program that is killed in the middle may have sent."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        """Raises OSError where the program cannot be started."""
        loop = asyncio.get_running_loop()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_")}
        transport, run = await loop.subprocess_exec(_Run, *self._command, start_new_session=True, env=environment)
        try:
            stdin = transport.get_pipe_transport(0)
            assert isinstance(stdin, asyncio.WriteTransport)
            stdin.write(as_json(message, command, context) + b"\n")
            stdin.close()
            await run.exited.wait()
            _signal(transport, signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(PIPES_WITHIN):
                    await run.closed.wait()
            return _outcome(transport.get_returncode(), bytes(run.said[STDOUT]), bytes(run.said[STDERR]))
        finally:
            await _end(transport, run)


class _Run(asyncio.SubprocessProtocol):
    """What a program says, as much of it as may count."""

    def __init__(self) -> None:
        self.exited, self.closed = asyncio.Event(), asyncio.Event()
        self.said = {STDOUT: bytearray(), STDERR: bytearray()}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        said = self.said[fd]
        said += data[: RECEIPT_BYTES + 1 - len(said)]

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.closed.set()


def _outcome(code: int | None, answer: bytes, complaint: bytes) -> Outcome:
    if code is None or code < 0:
        return Outcome(error=f"the program was ended by signal {-(code or 0)}", unknown=True)
    if code > 0:
        last = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Outcome(error=f"exit code {code}" + (f": {plain(last, 300)}" if last else ""))
    receipt = receipt_of(answer) if answer.strip() else {}
    if receipt is None:
        return Outcome(error="exit code 0, but its answer is not one JSON object of at most 16 KiB", unknown=True)
    return Outcome(result=receipt)


async def _end(transport: asyncio.SubprocessTransport, run: _Run) -> None:
    """Nothing of the program's session is left behind, even where this is cancelled."""
    try:
        if not run.exited.is_set():
            _signal(transport, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(TERM_WITHIN):
                    await run.exited.wait()
    finally:
        _signal(transport, signal.SIGKILL)
        transport.close()


def _signal(transport: asyncio.SubprocessTransport, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(transport.get_pid(), number)
