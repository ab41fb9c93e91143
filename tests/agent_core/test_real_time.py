"""Slow and dying links on real sockets with the default timers. Every scene begins with the first test, in a thread of its own."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent_core.clock import SystemClock
from agent_core.config import Config
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Rules
from agent_core.reference.server import ReferenceBackend
from agent_core.snapshot import Phase
from console.panels.view import status_of
from tests.harness.faultproxy import FaultProxy, Way
from tests.harness.rig import AGENT, SECRET, Living, for_a_while, living, message, program, report, served, settled

LASTS = 36.0
"""Seconds: more than a JSON ping's interval, and three silences."""
CLAIMS = frozenset({"ONLINE", "FALLBACK", "POLLING"})
"""What the console's header says where commands are delivered."""


@asynccontextmanager
async def scene(folder: Path, faults: Faults | None = None) -> AsyncIterator[tuple[ReferenceBackend, FaultProxy, Living]]:
    """An agent with the default timers; its socket and its calls go through the proxy."""
    async with served(rules=Rules(redeliver_after=60)) as backend, FaultProxy(backend.port) as proxy:
        backend.faults = faults or Faults()
        here = {"edge": {"agent_id": AGENT}, "backend": {"url": proxy.url}, "auth": {"secret": SECRET}, "data_dir": folder}
        async with living(Config.model_validate(here)) as agent:
            yield backend, proxy, agent


# --- slow ------------------------------------------------------------------------------------------------------------


async def latency(folder: Path) -> None:
    """A round trip takes 1 to 3 s."""
    way = Way(delay=1.0, jitter=0.5)
    await _stays_up(folder, way, way, [f"slow {number}" for number in range(40)])


async def narrow(folder: Path) -> None:
    """2 KB/s each way, and for half a minute more is queued than passes."""
    way = Way(rate=2_000)
    await _stays_up(folder, way, way, ["x" * 900 + str(number) for number in range(50)])


async def dripping(folder: Path) -> None:
    """One byte per 10 ms each way."""
    way = Way(drip=(1, 0.01))
    await _stays_up(folder, way, way, [f"drop by drop {number}" for number in range(10)])


async def _stays_up(folder: Path, up: Way, down: Way, texts: list[str]) -> None:
    async with scene(folder) as (backend, proxy, here):
        await here.online()
        proxy.set(up, down)
        names = [await backend.queue(AGENT, "send_message_now", message(text)) for text in texts]
        await for_a_while(LASTS, lambda: here.phase in {Phase.ONLINE, Phase.SUSPECT})
        await settled(backend, *names)
        assert here.sent() == texts
        assert (here.now.link.dials, here.now.link.sessions, here.now.commands.malformed) == (1, 1, 0)


# --- nameless ----------------------------------------------------------------------------------------------------------

NAME = "backend.example"
MOUNTED = 'mount --bind hosts /etc/hosts && mount --bind nsswitch.conf /etc/nsswitch.conf && exec "$@"'
OWN_NAMES = ("unshare", "--mount", *(("--map-root-user",) if os.geteuid() else ()), "sh", "-c", MOUNTED, "sh")
"""What follows sees the directory's own hosts file and asks no name server. Linux, where that is permitted."""


async def unknown_name(folder: Path) -> None:
    """The backend's name does not resolve, and then it does."""
    hosts = _own_names(folder)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(tls)
    async with served(names=(NAME,)) as backend, FaultProxy(backend.port, tls=tls) as proxy:
        mine = {"edge": {"agent_id": AGENT}, "backend": {"url": f"https://{NAME}:{proxy.port}"}, "data_dir": str(folder / "state")}
        (folder / "config.yaml").write_text(json.dumps(mine))
        async with program("--no-ui", cwd=folder, under=OWN_NAMES, SSL_CERT_FILE=str(folder / "ca.pem")) as agent:
            await agent.hears("WebSocket error: DNS: ", 4, within=30)
            await agent.hears("HTTP polling failed: .*DNS: ")
            assert not proxy.dialled_at
            hosts.write_text(f"127.0.0.1 {NAME}\n")
            began = time.monotonic()
            await agent.hears("real-time mode", within=17)
            report(f"F21: online {time.monotonic() - began:.1f} s after the name resolves")
            await settled(backend, await backend.queue(AGENT, "send_message_now", message()))


def _own_names(folder: Path) -> Path:
    """The hosts file for what runs under OWN_NAMES."""
    (folder / "nsswitch.conf").write_text("hosts: files\n")
    hosts = folder / "hosts"
    hosts.write_text("")
    if shutil.which("unshare") is None or subprocess.run([*OWN_NAMES, "true"], cwd=folder, check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of one's own here")
    return hosts


# --- honest ----------------------------------------------------------------------------------------------------------


async def dying_socket(folder: Path) -> None:
    """Nothing passes any more, by either way, and nobody is told."""
    async with scene(folder) as (_, proxy, here):
        await here.online()
        await _watched(here, proxy, lambda s: s == "ONLINE", 9.0)
        proxy.stall()
        worst = await _watched(here, proxy, lambda s: s in {"ONLINE", "SUSPECT"}, 20.0)
        assert here.now.link.sessions == 1
        await here.until(lambda s: s.polling.last_error is not None)
        assert pill(here) == "OFFLINE"
        report(f"P15: a dead socket was shown ONLINE {worst:.1f} s past the last byte")


async def dying_poller(folder: Path) -> None:
    """The backend dies right after a good poll, behind an agent that has only its polls."""
    async with scene(folder, Faults(upgrade_status=503)) as (_, proxy, here):
        await here.until(lambda s: s.polling.polls == 2 and not s.polling.in_flight, within=20)
        assert [way for _, way in here.now.link.history] == ["down", "polling"], "while all is well, it does not flap"
        assert pill(here) == "FALLBACK"
        proxy.stall()
        worst = await _watched(here, proxy, lambda s: s == "FALLBACK", 20.0)
        assert worst >= 14
        await here.until(lambda s: s.polling.last_error is not None)
        assert pill(here) == "OFFLINE"
        assert [way for _, way in here.now.link.history] == ["down", "polling", "down"]
        proxy.stall(up=False, down=False)
        await here.until(lambda _: pill(here) == "FALLBACK")
        report(f"P15: polling that had died was shown to work {worst:.1f} s past the last byte")


def pill(here: Living) -> str:
    return status_of(here.now, SystemClock().now()).word


async def _watched(here: Living, proxy: FaultProxy, lasts: Callable[[str], bool], within: float) -> float:
    """Look on for as long as `lasts` of the pill, `within` seconds at most: how old the last byte was when a claim was still made."""
    worst, end = 0.0, time.monotonic() + within
    while lasts(shown := pill(here)) and (now := time.monotonic()) < end:
        worst = max(worst, now - proxy.passed_at if shown in CLAIMS else 0.0)
        assert worst <= 15.5, shown
        await asyncio.sleep(0.01)
    return worst


# --- all of them -----------------------------------------------------------------------------------------------------

SCENES: tuple[Callable[[Path], Awaitable[None]], ...] = (latency, narrow, dripping, unknown_name, dying_socket, dying_poller)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, Future[None]]]:
    with ThreadPoolExecutor(len(SCENES)) as pool:
        yield {play: pool.submit(_played, play, tmp_path_factory.mktemp(play.__name__)) for play in SCENES}


def _played(play: Callable[[Path], Any], folder: Path) -> None:
    asyncio.run(play(folder))


def test_f17_latency_of_two_seconds_drops_nothing(scenes: dict[Any, Future[None]]) -> None:
    scenes[latency].result(90)


def test_f18_two_kilobytes_a_second_drop_nothing(scenes: dict[Any, Future[None]]) -> None:
    scenes[narrow].result(90)


def test_f19_one_byte_per_ten_milliseconds_drops_nothing_and_frames_parse(scenes: dict[Any, Future[None]]) -> None:
    scenes[dripping].result(90)


def test_f21_a_name_that_resolves_again_brings_the_link_back_within_17_seconds(scenes: dict[Any, Future[None]]) -> None:
    scenes[unknown_name].result(90)


def test_p15_a_socket_that_dies_silently_is_not_shown_online_for_longer(scenes: dict[Any, Future[None]]) -> None:
    scenes[dying_socket].result(90)


def test_p15_polling_that_dies_after_a_good_poll_is_not_shown_to_work_for_longer(scenes: dict[Any, Future[None]]) -> None:
    scenes[dying_poller].result(90)
