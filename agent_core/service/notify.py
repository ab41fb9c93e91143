"""What the agent tells systemd (sd_notify): that it runs, and, as long as its engine turns, that it lives."""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

LOOK_EVERY = 1.0


class Turning(Protocol):
    turned_at: float | None
    """When, on the monotonic clock, the engine turned last; None before the first time."""


async def report_turns(agent: Turning, environ: Mapping[str, str]) -> None:
    """Until cancelled: READY at the first turn, WATCHDOG at each look that finds a newer one. At once over where nobody listens."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    told: float | None = None
    try:
        while True:
            if agent.turned_at != told:
                notify(address, "READY=1" if told is None else "WATCHDOG=1")
                told = agent.turned_at
            await asyncio.sleep(LOOK_EVERY)
    finally:
        notify(address, "STOPPING=1")


def notify(address: str, state: str) -> None:
    """One datagram; an address with @ is in Linux's abstract namespace. A supervisor that is gone is no trouble of the agent's."""
    name = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.setblocking(False)
        datagram.connect(os.fsencode(name))
        datagram.send(state.encode())
