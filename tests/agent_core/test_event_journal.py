"""Events in the ledger's file, and on real sockets to the reference backend and its store."""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx

from agent_core.events import Occurred
from agent_core.frames import NEEDS_ATTENTION, Occurrence
from agent_core.journal import rows
from agent_core.journal.audit import EventCounts, audit
from agent_core.journal.opening import FILE_NAME
from agent_core.records import DROPPED, EventAdded, EventsSettled, OwedEvent, SettingStored
from agent_core.reference.server import ReferenceBackend
from tests.harness.desk import UTC, Desk, reopened
from tests.harness.rig import config, living, options, until


def added(first: int, last: int) -> list[EventAdded]:
    return [EventAdded(seq, f"e{seq}", "seen", UTC, f'{{"event_id":"e{seq}"}}') for seq in range(first, last + 1)]


def on_file(desk: Desk, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(desk.journal.path)) as db:
        return db.execute(query).fetchall()


def test_events_are_kept_in_the_same_commit_and_owed_until_they_are_settled(desk: Desk, desks: list[Desk]) -> None:
    desk.write(*added(1, 100), SettingStored("setting.cursor", "7"))
    desk.write(EventsSettled((1, 2, 4), UTC, "pong"))
    assert desk.journal.recall_events((3, 4, 5)) == ((3, '{"event_id":"e3"}'), (5, '{"event_id":"e5"}'))
    _, memory = reopened(desk, desks)
    owed = [one for one in added(1, 100) if one.seq not in {1, 2, 4}]
    assert memory.events == tuple(OwedEvent(one.seq, one.event_id, "seen", len(one.text)) for one in owed)
    assert memory.next_event == 101


def test_the_text_of_a_settled_event_is_given_up_and_its_row_after_ten_thousand_more(desk: Desk) -> None:
    desk.write(*added(1, 3))
    desk.write(EventsSettled((1, 2), UTC, "pong"))
    assert on_file(desk, "SELECT seq, event, settled_by FROM events WHERE settled_utc IS NOT NULL") == [
        (1, None, "pong"),
        (2, None, "pong"),
    ]
    last = rows.SETTLED_KEPT + 5
    desk.write(*added(4, last))
    desk.write(EventsSettled(tuple(range(4, last + 1)), UTC, "ack_events"))
    assert on_file(desk, "SELECT min(seq), count(*) FROM events") == [(3, last - 2)], "not past one that is owed"
    desk.write(EventsSettled((3,), UTC, DROPPED))
    assert on_file(desk, "SELECT min(seq), count(*) FROM events") == [(6, rows.SETTLED_KEPT)]
    assert audit(desk.journal.path.parent).events == EventCounts(rows.SETTLED_KEPT, 0, 0)


def test_p16_the_audit_counts_events_and_names_what_is_lost(desk: Desk) -> None:
    folder = desk.journal.path.parent
    desk.write(*added(1, 6))
    desk.write(EventsSettled((1, 2), UTC, "pong"), EventsSettled((3,), UTC, DROPPED))
    found = audit(folder)
    assert found.ok
    assert found.events == EventCounts(6, 3, 1)
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        db.executescript("""DELETE FROM events WHERE seq = 2; UPDATE events SET event = '{"event_id":"other"}' WHERE seq = 5""")
    assert [(one.command_id, one.what) for one in audit(folder).violations] == [
        ("event 2", "is neither proven nor on its way"), ("e5", "is an event that cannot be read"),
    ]  # fmt: skip


async def test_p16_events_of_an_outage_are_at_the_backend_once_and_in_order_by_poll_and_by_socket(tmp_path: Path) -> None:
    """The backend's store and the agent's ledger both see a restart."""
    kept = options(store=f"sqlite:{tmp_path / 'backend'}")
    async with ReferenceBackend(kept) as backend:
        own = config(tmp_path / "agent", backend.url, websocket={"enabled": False})
        async with living(own) as here:
            await here.until(lambda s: s.polling.works_until_at)
            await backend.down()
            for number in range(30):
                here.post(Occurred(Occurrence("seen", f"a{number}", UTC, {"n": number})))
            await here.until(lambda s: s.events.unproven == 30)
        await backend.up()
        async with living(own) as here:
            await here.until(lambda s: s.events.proven == 30)
    async with ReferenceBackend(kept) as backend, living(config(tmp_path / "agent", backend.url)) as here:
        await here.online()
        for number in (29, 30, 31):
            here.post(Occurred(Occurrence("seen", f"a{number}", UTC, {"n": number})))
        await here.until(lambda s: s.events.proven == 3)
        told = list(reversed(await backend.events()))
        assert [event.event_id for event in told] == [f"a{number}" for number in range(32)]
        assert [event.way for event in told] == ["sync"] * 30 + ["ws"] * 2
        assert backend.hub.counts["events_again"] == 1
    assert audit(tmp_path / "agent").events == EventCounts(33, 0, 0)


async def test_the_admin_call_shows_events(tmp_path: Path) -> None:
    async with ReferenceBackend(options()) as backend, living(config(tmp_path, backend.url)) as here:
        await here.online()
        for event_type in ("seen", NEEDS_ATTENTION):
            here.post(Occurred(Occurrence(event_type, f"e-{event_type}", UTC, {"text": "<b>"})))
        await until(lambda: backend.hub.counts["events"] == 2)
        async with httpx.AsyncClient(base_url=backend.url, trust_env=False) as client:
            token = {"Authorization": f"Bearer {backend.admin_token}"}
            answer = await client.get("/admin/events", params={"event_type": NEEDS_ATTENTION}, headers=token)
            (event,) = answer.json()["events"]
            assert (event["event_id"], event["payload"], event["way"]) == ("e-needs_attention", {"text": "<b>"}, "ws")
            assert (await client.get("/admin/events", params={"limit": "0"}, headers=token)).status_code == 400
            assert (await client.get("/admin/events")).status_code == 401
            page = await client.get("/", auth=("x", backend.admin_token))
            assert "needs_attention" in page.text
            assert "<b>" not in page.text
