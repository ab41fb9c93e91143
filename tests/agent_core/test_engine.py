"""The machines coupled: what no single machine could promise."""

import random

import pytest

from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.events import (
    AcksPosted,
    BackendClockRead,
    CommandFinished,
    CommandsReceived,
    DialFailed,
    Event,
    Execute,
    Failure,
    FrameReceived,
    Heard,
    HeldApproved,
    HeldRefused,
    HoldChosen,
    LedgerOpened,
    Lost,
    Opened,
    OpenSocket,
    Poll,
    PollAnswered,
    PollFailed,
    PollingModeChosen,
    Ponged,
    PostAcks,
    ReconnectRequested,
    Record,
    Recorded,
    RecordFailed,
    Registered,
    RegistrationFailed,
    ReplayRequested,
    ResolveRequested,
    Send,
    Started,
    StopRequested,
    Ticked,
    Trouble,
)
from agent_core.feed import FeedEntry
from agent_core.frames import ConfigUpdate, ErrorFrame, Malformed, Ping, Pong, Unknown, Welcome
from agent_core.records import Arrival, Resolution
from agent_core.snapshot import Phase, PollingMode
from tests.harness.playbook import AGENT_ID, NOTHING, TRAITS, Playbook, acks, command, executes, lost, pings, refused


def test_before_the_start_nothing_happens() -> None:
    book = Playbook()
    book >> LedgerOpened()
    book << NOTHING
    assert book.phase is Phase.STOPPED


def test_what_leaves_in_one_step_leaves_in_the_order_of_its_meaning() -> None:
    """Ping before acks: the pong of a ping that went out before an ack must not prove it."""
    book = Playbook().online().push("c1")
    book.lives(29)
    book.stall(1.5).finish("c1") << pings(2) << Record << acks("c1")
    book.pong(2)
    assert book.snapshot.commands.proven == 0


def test_a_batch_of_events_is_one_step() -> None:
    engine, book = Engine(Config.model_validate({"edge": {"agent_id": AGENT_ID}}), TRAITS), Playbook()
    now = book.clock.now()
    engine.handle_all((LedgerOpened(), Started()), now, lambda: 0.5)
    events: list[Event] = [Opened(1), FrameReceived(1, Pong(1))]
    events += [CommandsReceived(1, (Arrival(command(f"c{n}", "look", payload={})),)) for n in range(3)]
    effects = engine.handle_all(events, now, lambda: 0.5)
    assert [type(effect) for effect in effects if not isinstance(effect, FeedEntry)] == [Send, Execute, Record]
    assert engine.snapshot(now).revision == 2


def test_the_strip_of_the_last_hour_tells_who_brought_commands() -> None:
    book = Playbook().started().fail_poll(refused()).after(5)
    book.online().lives(600).lose().after(5)
    book.answer_poll().after(5)
    assert [state for _, state in book.snapshot.link.history] == ["down", "socket", "polling"]
    book.after(4_000)
    assert len(book.snapshot.link.history) <= 2


def test_the_snapshot_tells_who_and_where() -> None:
    shot = Playbook(backend={"url": "https://example.org/api"}).online().lives(1).snapshot
    assert (shot.agent_id, shot.backend_url, shot.socket_url) == (AGENT_ID, "https://example.org/api", "wss://example.org/api/edge/ws")
    assert shot.utc - shot.started_utc == pytest.approx(1)
    assert (shot.disk.ok, shot.stopping, shot.host) == (True, False, "test")


def test_every_step_has_a_revision_of_its_own() -> None:
    book = Playbook().online()
    before = book.snapshot.revision
    book >> Ticked()
    assert book.snapshot.revision == before + 1


def test_the_ack_latency_is_measured_from_arrival_to_the_wire() -> None:
    book = Playbook().online().push("c1")
    book.lives(0.25).finish("c1")
    assert book.snapshot.latency.ack.percentile(0.5) == pytest.approx(250, rel=0.024)
    assert book.row("c1").run_ms == pytest.approx(250)


FRAMES = [ConfigUpdate({"sync_interval": 60}), ErrorFrame("slow down\x1b"), Unknown("x"), Malformed("x"), Welcome()]


@pytest.mark.parametrize("frame", FRAMES)
def test_no_frame_from_the_backend_ends_the_link(frame: object) -> None:
    book = Playbook().online()
    book >> FrameReceived(1, frame)  # type: ignore[arg-type]
    assert book.phase is Phase.ONLINE
    assert all(line.text.isprintable() for line in book.lines)


def any_event(dice: random.Random, number: int) -> Event:
    """Anything at any time, also what cannot be."""
    socket = dice.choice([1, 2, number, 10**6])
    failure = Failure(dice.choice(list(Trouble)), "x", dice.choice([None, 401, 503, 1012, 4009]), 9.0)
    kinds = ["look", "send_message", "schedule_message", "cancel_message", "update_config", "nope"]
    one = Arrival(command(f"c{dice.randrange(9)}", dice.choice(kinds)))
    choices: list[Event] = [
        Started(), LedgerOpened(), Ticked(), Registered("x"), RegistrationFailed(failure), Opened(socket), DialFailed(socket, failure),
        FrameReceived(socket, Pong(dice.choice([None, number]))), FrameReceived(socket, Ping()), Heard(socket), Ponged(socket),
        CommandsReceived(socket, (one,)), Lost(socket, failure), PollAnswered(number, (one,), ("c1",)),
        PollFailed(number, failure), AcksPosted(("c1",), ("c2",), failure), Recorded(number), RecordFailed("x"),
        BackendClockRead(-number, number),
        CommandFinished(number), ReconnectRequested(), PollingModeChosen(dice.choice(list(PollingMode))), ReplayRequested("c1"),
        HoldChosen(dice.choice(["", "all", "type:look", "type:("])), HeldApproved("c1"), HeldRefused("c2"),
        ResolveRequested("c1", Resolution.SENT, "x"),
    ]  # fmt: skip
    return dice.choice(choices)


@pytest.mark.parametrize("seed", range(20))
def test_no_event_at_any_moment_raises_and_the_engine_still_stops(seed: int) -> None:
    dice = random.Random(seed)
    engine, clock = Engine(Config.model_validate({"edge": {"agent_id": AGENT_ID}}), TRAITS), Playbook().clock
    engine.handle(Started(), clock.now(), dice.random)
    for step in range(600):
        engine.handle(any_event(dice, step // 20), clock.advance(dice.choice([0.0, 0.1, 3.0, 40.0])), dice.random)
        engine.snapshot(clock.now())
    engine.handle(StopRequested(), clock.now(), dice.random)
    for _ in range(20):
        engine.handle(Ticked(), clock.advance(1.0), dice.random)
    assert engine.finished


def test_the_same_events_give_the_same_effects() -> None:
    def run() -> list[object]:
        book = Playbook(dice=random.Random(3).random).started()
        for _ in range(30):
            book.after(7)
            if book.phase is Phase.CONNECTING:
                book >> DialFailed(book.generation, refused())
        return [effect for _, effect in book.ever]

    assert run() == run()


def test_f16_from_a_silent_death_to_delivery_by_polling_and_back() -> None:
    book = Playbook(backoff={"jitter": "none"}).online().lives(60).push("c1")
    book.after(16)
    assert book.count(Poll) > 2
    book.answer_poll(command("c2")).finish("c1") << PostAcks
    book.finish("c2")
    book.waits()
    book.online().push("c1").lives(30)
    assert [effect.command.command_id for _, effect in book.ever if isinstance(effect, Execute)] == ["c1", "c2"]
    assert book.count(OpenSocket) >= 2
    assert book.lose(lost()).count(executes("c1")) == 1
