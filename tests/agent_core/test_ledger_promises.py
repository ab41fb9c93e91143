"""What the ledger promises, shown by a running agent and a backend that counts (PROMISES P1–P4, P9, F32, F38–F40)."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_core.clock import ManualClock, iso
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.events import (
    CommandFinished,
    CommandsReceived,
    Effect,
    Event,
    Execute,
    FrameReceived,
    LedgerOpened,
    Opened,
    PollingModeChosen,
    Record,
    Recorded,
    Started,
)
from agent_core.frames import Pong, command_of
from agent_core.journal.audit import audit
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import outbox
from agent_core.records import Arrival, State
from agent_core.reference.faults import Faults
from agent_core.reference.hub import Rules
from agent_core.reference.orders import Order
from agent_core.reference.server import ReferenceBackend
from agent_core.snapshot import PollingMode
from tests.harness.faultproxy import FaultProxy, Way
from tests.harness.playbook import TRAITS
from tests.harness.rig import AGENT, Living, ack_of, config, for_a_while, living, message, records, report, served, settled

SHUT = Faults(upgrade_status=503, sync_status=503, ack_status=503, old_ack_status=503)
"""No way in."""


async def queued(backend: ReferenceBackend, count: int, *, threads: int = 50, **more: Any) -> list[str]:
    return [
        await backend.queue(AGENT, "send_message_now", message(f"{number}", f"+1310555{number % threads:04d}"), **more)
        for number in range(count)
    ]  # fmt: skip


def sent(folder: Path) -> list[str]:
    """Ids in the order of their messages."""
    return [row.command_id for row in outbox(folder)]


def sound(folder: Path) -> None:
    """The records themselves prove it."""
    found = audit(folder)
    assert found.ok, found.violations[:10]


# --- P1: once ---------------------------------------------------------------------------------------------------------------


async def test_p1_five_thousand_twice_by_socket_and_once_by_sync_take_effect_once_each(tmp_path: Path) -> None:
    async with served(rules=Rules(redeliver_after=60)) as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        backend.faults = Faults(push_twice=True)
        names = await queued(backend, 5_000)
        orders = await settled(backend, *names, within=60)
        for name in names:
            await backend.repeat(name, by_poll=True)
        here.post(PollingModeChosen(PollingMode.ALWAYS))
        await here.until(lambda s: s.commands.duplicates == 10_000 and s.commands.outbox == 0, "all told and proven", within=60)
    assert {(order.pushed, order.polled) for order in orders} == {(2, 1)}
    assert sorted(sent(tmp_path)) == sorted(names)
    assert len({order.ack for order in orders}) == 5_000
    assert {ack_of(order)["command_id"] for order in orders} == set(names)
    assert sum(order.anomalies for order in orders) == 0
    sound(tmp_path)


# --- P2: every ack proven ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["socket", "http"])
async def test_p2_acks_made_while_the_link_is_down_are_proven_after_it_returns_and_not_before(tmp_path: Path, way: str) -> None:
    sections: dict[str, Any] = {"messenger": {"delay_seconds": 0.02}, "executor": {"concurrency": 8}}
    if way == "http":
        sections["websocket"] = {"enabled": False}
    async with served() as backend, FaultProxy(backend.port) as proxy:
        url = {"websocket_url": proxy.socket_url} | ({"polling": "never"} if way == "socket" else {})
        async with living(config(tmp_path, backend.url, backend=url, **sections)) as here:
            if way == "socket":
                await here.online()
            names = await queued(backend, 100)
            await here.until(lambda s: s.commands.received == 100)
            backend.faults = SHUT
            proxy.cut()
            await here.until(lambda s: s.commands.completed == 100)
            orders = [backend.hub.order(name) for name in names]
            assert here.now.commands.outbox > 0, "some were made while it was down"

            def read_before_proven() -> bool:
                return here.now.commands.proven <= sum(order.ack is not None for order in orders)

            await for_a_while(0.5, read_before_proven)
            assert here.now.commands.outbox > 0
            backend.faults = Faults()
            while here.now.commands.outbox:
                assert read_before_proven()
                await asyncio.sleep(0.002)
            await settled(backend, *names)
    assert sorted(sent(tmp_path)) == sorted(names)
    sound(tmp_path)
    assert not records(tmp_path, "unproven")


async def test_p2_p10_more_acks_than_are_at_hand_are_read_again_and_reach_the_backend(tmp_path: Path) -> None:
    """None of 5,000 acks is read while the backend is deaf: after the cut they go out again, those that only the journal has, too."""
    async with served(rules=Rules(redeliver_after=60)) as backend, FaultProxy(backend.port) as proxy:
        configuration = config(tmp_path, backend.url, backend={"websocket_url": proxy.socket_url, "polling": "never"})
        async with living(configuration) as here:
            await here.online()
            proxy.stall(down=False)
            names = await queued(backend, 5_000)
            await here.until(lambda s: s.commands.completed == 5_000 and s.commands.outbox == 5_000, within=60)
            assert not any(backend.hub.order(name).ack for name in names)
            proxy.cut()
            proxy.set(up=Way())
            orders = await settled(backend, *names, within=60)
            await here.until(lambda s: s.commands.outbox == 0 and s.commands.proven == 5_000, within=60)
    assert len({order.ack for order in orders}) == 5_000
    assert sorted(sent(tmp_path)) == sorted(names)
    sound(tmp_path)
    assert not records(tmp_path, "unproven")


async def test_p2_of_ten_thousand_acks_over_a_link_that_breaks_none_is_lost(tmp_path: Path) -> None:
    """The socket is cut in three of ten moments, gently or with a reset; what is under way then has to go again."""
    dice = random.Random(11)
    async with served() as backend, FaultProxy(backend.port) as proxy:
        configuration = config(tmp_path, backend.url, backend={"websocket_url": proxy.socket_url})
        async with living(configuration) as here:
            await here.online()

            async def chaos() -> None:
                while True:
                    await asyncio.sleep(0.03)
                    if dice.random() < 0.3:
                        proxy.cut(gently=dice.random() < 0.5)

            breaking = asyncio.create_task(chaos())
            names = []
            for _ in range(100):
                names += await queued(backend, 100)
                await asyncio.sleep(0.02)
            await here.until(lambda s: s.commands.received == 10_000, within=60)
            breaking.cancel()
            orders = await settled(backend, *names, within=60)
            await here.until(lambda s: s.commands.outbox == 0, within=30)
            report(f"P2: 10,000 acks, {here.now.link.sessions} links, {sum(order.acks_seen for order in orders)} acks seen")
            assert here.now.link.sessions >= 5
    assert sorted(sent(tmp_path)) == sorted(names)
    assert sum(order.anomalies for order in orders) == 0
    sound(tmp_path)


# --- P3, F32: order and back-pressure ---------------------------------------------------------------------------------------


class Bench:
    """An online engine with a prompt disk; handlers finish when the test says so."""

    def __init__(self) -> None:
        self.engine = Engine(Config.model_validate({"edge": {"agent_id": AGENT}, "executor": {"concurrency": 16}}), TRAITS)
        self.clock = ManualClock()
        self.running: list[Execute] = []
        for event in (LedgerOpened(), Started(), Opened(1), FrameReceived(1, Pong(None))):
            self.tell(event)

    def tell(self, *events: Event) -> None:
        waiting: deque[tuple[Event, ...]] = deque([events])
        while waiting:
            for effect in self.engine.handle_all(waiting.popleft(), self.clock.now(), lambda: 0.5):
                self._perform(effect, waiting)

    def _perform(self, effect: Effect, waiting: deque[tuple[Event, ...]]) -> None:
        if isinstance(effect, Record):
            waiting.append((Recorded(effect.ticket),))
        elif isinstance(effect, Execute):
            self.running.append(effect)


def test_p3_no_inversion_in_a_hundred_thousand() -> None:
    dice, bench = random.Random(5), Bench()
    arrived: dict[str, deque[str]] = defaultdict(deque)
    given = inversions = done = 0
    while done < 100_000:
        batch: list[Event] = []
        while given < 100_000 and len(batch) < 400 and given - done < 4_000:
            thread = f"+1310555{dice.randint(0, 63):04d}"
            arrived[thread].append(f"c{given}")
            fields = {"command_id": f"c{given}", "command_type": "send_message_now", "payload": message("x", thread)}
            batch.append(CommandsReceived(1, (Arrival(command_of(fields)),)))
            given += 1
        if batch:
            bench.tell(*batch)
        for _ in range(50):
            if not bench.running:
                break
            run = bench.running.pop(dice.randrange(len(bench.running)))
            inversions += arrived[str(run.command.payload["thread_id"])].popleft() != run.command.command_id
            bench.tell(CommandFinished(run.seq))
            done += 1
    assert inversions == 0


async def test_f32_five_thousand_at_once_are_held_back_not_dropped_and_keep_their_order(tmp_path: Path) -> None:
    sections: dict[str, Any] = {"executor": {"max_pending": 300, "concurrency": 16}, "messenger": {"delay_seconds": 0.001}}
    async with served() as backend, living(config(tmp_path, backend.url, **sections)) as here:
        await here.online()
        names = await queued(backend, 5_000, threads=40)
        await settled(backend, *names, within=60)
        assert here.now.commands.rejected > 0
        assert here.now.link.sessions == 1, "the socket is kept"
        assert here.said("Intake is full")
    assert sorted(sent(tmp_path)) == sorted(names)
    taken = [record.command for record in records(tmp_path)]
    for thread in range(40):
        lane = [command.command_id for command in taken if command.payload["thread_id"] == f"+1310555{thread:04d}"]
        place = {name: number for number, name in enumerate(sent(tmp_path))}
        assert lane == sorted(lane, key=place.__getitem__), "first taken, first sent"
    sound(tmp_path)


# --- P9, F38: schedules -----------------------------------------------------------------------------------------------------


async def test_p9_schedules_are_never_early_and_at_most_twenty_milliseconds_late(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        now = time.time()
        due = {}
        for number in range(150):
            at = round(now + 1.0 + number * 0.01, 3)
            name = await backend.queue(AGENT, "schedule_message", message(f"{number}", f"+1310555{number:04d}", send_at=iso(at)))
            due[name] = datetime.fromisoformat(iso(at)).timestamp()
        await settled(backend, *due)
    late = sorted(row.sent_utc - due[row.command_id] for row in outbox(tmp_path))
    report(f"P9: 150 schedules, late by {late[75] * 1e3:.1f} ms (median), {late[-1] * 1e3:.1f} ms (most)")
    assert len(late) == 150
    assert late[0] >= 0, "never early"
    assert late[75] <= 0.02
    assert late[-1] <= 0.5, "this machine may be busy"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in a zone with daylight saving."""
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        ("2027-03-14T01:59:59-08:00", 1.0),  # the last second before the gap
        ("2027-03-14T03:00:01-07:00", 3.0),
        ("2027-03-14T02:30:00-08:00", 1_802.0),  # within the gap, by the offset it names
        ("2027-03-14T10:30:00", 1_802.0),  # no zone: UTC
        ("2027-03-14T10:00:00.500Z", 2.5),
    ],
)
def test_p9_f38_a_daylight_saving_day_moves_nothing(at: str, seconds: float) -> None:
    bench = Bench()
    start = datetime(2027, 3, 14, 9, 59, 58, tzinfo=UTC)
    bench.clock.advance(start.timestamp() - bench.clock.utc)
    bench.tell(Opened(2))
    fields = {"command_id": "dst", "command_type": "schedule_message", "payload": message("x", send_at=at)}
    bench.tell(CommandsReceived(bench.engine.vitals.generation, (Arrival(command_of(fields)),)))
    view = bench.engine.snapshot(bench.clock.now()).scheduled
    assert [one.due_utc for one in view] == [(start + timedelta(seconds=seconds)).timestamp()]


async def test_f38_the_year_9999_and_a_second_from_now(tmp_path: Path) -> None:
    async with served() as backend:
        configuration = config(tmp_path, backend.url)
        async with living(configuration) as here:
            await here.online()
            far = await backend.queue(AGENT, "schedule_message", message("far", send_at="9999-12-31T23:59:59Z"))
            near = await backend.queue(AGENT, "schedule_message", message("near", send_at=iso(time.time() + 1)))
            naive = f"{datetime.now(UTC) + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S.%f}"
            zoneless = await backend.queue(AGENT, "schedule_message", message("zoneless", send_at=naive))
            await settled(backend, near, zoneless)
            await here.until(lambda s: s.scheduled_count == 1)
        async with living(configuration) as here:
            await here.online()
            assert here.now.scheduled_count == 1
            cancel = await backend.queue(AGENT, "cancel_message", {"command_id": far})
            orders = await settled(backend, far, cancel)
    assert [ack_of(order)["success"] for order in orders] == [False, True]
    assert [row.text for row in outbox(tmp_path)] in (["near", "zoneless"], ["zoneless", "near"])
    assert {record.state for record in records(tmp_path)} == {State.COMPLETED, State.CANCELLED}


# --- P4, F39, F40: a disk in trouble ------------------------------------------------------------------------------------------

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("ready", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Another process holds the ledger."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOCKER, str(path), stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def unacked(orders: list[Order]) -> bool:
    return all(order.ack is None for order in orders)


async def test_f39_locked_for_three_seconds_nothing_is_acked_meanwhile_and_nothing_lost(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        await settled(backend, *await queued(backend, 10))
        async with locked(tmp_path / FILE_NAME):
            names = await queued(backend, 200)
            orders = [backend.hub.order(name) for name in names]
            await for_a_while(3.0, lambda: unacked(orders))
            assert here.now.link.sessions == 1
        await settled(backend, *names)
        assert here.now.link.sessions == 1
    assert len(sent(tmp_path)) == len(set(sent(tmp_path))) == 210
    sound(tmp_path)


async def test_f40_with_a_ledger_that_is_none_nothing_is_executed_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("This is a shopping list.\n" * 500)
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        names = await queued(backend, 20)
        await backend.repeat(names[0], by_poll=True)
        orders = [backend.hub.order(name) for name in names]
        await here.hears("is damaged")
        await for_a_while(1.0, lambda: unacked(orders))
        assert here.now.link.sessions == 1
        assert not here.now.disk.ok
        assert here.now.disk.trouble is not None
        assert "is damaged" in here.now.disk.trouble
        (copy,) = tmp_path.glob("ledger.damaged-*")  # noqa: ASYNC240
        assert copy.name in here.now.disk.trouble
        (tmp_path / FILE_NAME).rename(tmp_path / "taken-away")
        await settled(backend, *names)
        await here.until(lambda s: s.disk.ok)
    assert sorted(sent(tmp_path)) == sorted(names)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    return filler


async def keep_full(folder: Path, here: Living) -> Path:
    """As others on a full disk do: each byte that comes free is taken."""
    filler = fill(folder)
    while here.now.disk.ok:
        fill(folder)
        await asyncio.sleep(0.01)
    return filler


async def test_p4_on_a_full_disk_there_is_no_ack_without_a_record_and_it_resumes(small_disk: Path) -> None:
    async with served() as backend, living(config(small_disk, backend.url)) as here:
        await here.online()
        first = await queued(backend, 50)
        await settled(backend, *first)
        filling = asyncio.create_task(keep_full(small_disk, here))
        names = first
        while not filling.done():
            names = names + await queued(backend, 100)
            await asyncio.sleep(0.02)
        filler = await filling
        fill(small_disk)
        await here.hears("cannot be written")
        late = await queued(backend, 50)
        known = {record.command.command_id for record in records(small_disk) if record.state.ended}
        acked = {name for name in names + late if backend.hub.order(name).ack is not None}
        assert acked <= known, "no ack without its record"
        orders = [backend.hub.order(name) for name in late]
        await for_a_while(0.5, lambda: unacked(orders))
        assert here.now.link.sessions == 1
        filler.unlink()
        await settled(backend, *names, *late)
        await here.until(lambda s: s.disk.ok and s.commands.outbox == 0)
        assert here.now.link.sessions == 1
        assert here.said("can be written again")
    assert sorted(sent(small_disk)) == sorted(names + late)
    sound(small_disk)
