"""Runs a program in a session of its own: whatever it has started there ends with it, by TERM, and by KILL where TERM is not enough."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

MAX_SAID = 16 * 2**10
TERM_WITHIN = 1.0
PIPES_WITHIN = 0.5
"""Seconds for which a pipe may stay open after the program's end: somebody outside its session holds it."""
STDOUT, STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Ended:
    """A negative `code` is the signal that ended it; of what it said MAX_SAID bytes are kept, and one more to show that there was more."""

    code: int
    said: bytes
    complaint: bytes


async def run_program(command: Sequence[str], stdin: bytes = b"") -> Ended:
    """Its end, or that of the task that waits here, is the end of its session. Raises OSError where it cannot be started."""
    loop = asyncio.get_running_loop()
    transport, run = await loop.subprocess_exec(_Run, *command, start_new_session=True, env=environment())
    try:
        pipe = transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.write(stdin)
        pipe.close()
        await run.exited.wait()
        signal_session(transport.get_pid(), signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(PIPES_WITHIN):
                await run.closed.wait()
        code = transport.get_returncode()
        assert code is not None
        return Ended(code, bytes(run.said[STDOUT]), bytes(run.said[STDERR]))
    finally:
        await end_session(transport.get_pid(), run.exited.wait)
        transport.close()


def environment() -> dict[str, str]:
    """Ours without what is for us alone, the secrets first of all."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EDGE_")}


async def end_session(leader: int, wait: Callable[[], Awaitable[object]]) -> None:
    """Nothing of it is left behind, even where this is cancelled; `wait` is for the leader's own end."""
    try:
        signal_session(leader, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(TERM_WITHIN):
                await wait()
    finally:
        signal_session(leader, signal.SIGKILL)


def signal_session(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


class _Run(asyncio.SubprocessProtocol):
    """What a program says, as much of it as may count."""

    def __init__(self) -> None:
        self.exited, self.closed = asyncio.Event(), asyncio.Event()
        self.said = {STDOUT: bytearray(), STDERR: bytearray()}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        said = self.said[fd]
        said += data[: MAX_SAID + 1 - len(said)]

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.closed.set()
