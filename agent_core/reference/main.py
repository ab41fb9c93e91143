"""`edge-console backend`, without its arguments' parsing."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from agent_core.plain import plain
from agent_core.reference.admin_token import kept
from agent_core.reference.hub import Rules
from agent_core.reference.limits import NO_LIMITS, Limits
from agent_core.reference.log import log_to_stderr
from agent_core.reference.server import DEMO_SECRET, CannotServeError, Options, ReferenceBackend, is_loopback

DRAIN_WITHIN = 2.0


def run_backend(
    host: str = "127.0.0.1",
    port: int = 8787,
    store: str | None = None,
    *,
    admin_token: str | None = None,
    secret: str | None = None,
    agent_secrets: Mapping[str, str] | None = None,
    names: tuple[str, ...] = (),
    limits: Limits = NO_LIMITS,
    faults: bool = False,
    log_json: bool = False,
) -> int:
    """Serve until SIGINT, or SIGTERM, which drains (1012); returns the exit code. Raises CannotServeError, of which PortTakenError is one.

    `store` not given is EDGE_STORE (it may hold a password), else memory.
    Tokens not given are EDGE_SECRET and EDGE_ADMIN_TOKEN, else, on loopback only, a well-known secret and an admin token made for this
    run, told once on standard error.
    With port 0 standard output is one JSON line, `{"port": N, "url": "…"}`, as soon as calls are answered.
    """
    store = store or os.environ.get("EDGE_STORE") or None
    secret = secret or os.environ.get("EDGE_SECRET")
    admin_token = admin_token or os.environ.get("EDGE_ADMIN_TOKEN")
    if not (secret and admin_token) and not is_loopback(host):
        raise CannotServeError(f"EDGE_SECRET and EDGE_ADMIN_TOKEN must be set to serve on {plain(host, 100)}")
    notes: list[str] = []
    made_token = "" if admin_token else secrets.token_urlsafe(18)
    if not secret:
        notes.append(f"agents' secret (EDGE_SECRET is not set): {DEMO_SECRET}")
    if made_token:
        notes.append(f"admin token of this run (EDGE_ADMIN_TOKEN is not set; `edge-console send` on this machine finds it): {made_token}")
    token = admin_token or made_token
    options = Options(
        host, port, secret or DEMO_SECRET, agent_secrets or {}, token, names=names, store=store, rules=Rules(limits=limits), faults=faults
    )
    log_to_stderr(as_json=log_json)
    asyncio.run(_serve(options, notes, made_token))
    return 0


async def _serve(options: Options, notes: list[str], made_token: str) -> None:
    stopped: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stopped.put_nowait, number)
    async with ReferenceBackend(options) as backend:
        with ExitStack() as stack:
            if made_token:
                stack.enter_context(kept(backend.port, made_token))
            _tell(backend, options, notes)
            ended_by = await stopped.get()
        with suppress(TimeoutError):
            if ended_by == signal.SIGTERM:
                async with asyncio.timeout(2 * DRAIN_WITHIN):
                    await backend.drain(DRAIN_WITHIN)
            else:
                async with asyncio.timeout(2):
                    await backend.close_links(1001, "going away")


def _tell(backend: ReferenceBackend, options: Options, notes: Sequence[str]) -> None:
    if options.port == 0:
        sys.stdout.write(json.dumps({"port": backend.port, "url": backend.url}) + "\n")
        sys.stdout.flush()
    sys.stderr.write("".join(f"{line}\n" for line in [f"reference backend on {backend.url}, SIGINT ends it", *notes]))
    sys.stderr.flush()
