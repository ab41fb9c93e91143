"""What a snapshot says of the agent's health. Nothing in it is personal: no id, no address, no text."""

from typing import Any

from agent_core.snapshot import Phase, Snapshot

LATE_AFTER = 5.0
"""Seconds without a turn after which the engine does not live: it turns each second at least."""


def lives(turned_at: float, now: float) -> bool:
    return now - turned_at <= LATE_AFTER


def ready(snapshot: Snapshot, now: float) -> bool:
    """Commands can come: the socket is verified, or a poll's answer vouches for polling (P15)."""
    vouched = snapshot.polling.works_until_at
    return not snapshot.stopping and (snapshot.link.phase in {Phase.ONLINE, Phase.SUSPECT} or (vouched is not None and vouched > now))


def health(snapshot: Snapshot, turned_at: float, now: float) -> dict[str, Any]:
    """The detail, as JSON has it; `now` is monotonic."""
    link, polling, commands = snapshot.link, snapshot.polling, snapshot.commands
    return {
        "version": snapshot.version, "lives": lives(turned_at, now), "ready": ready(snapshot, now), "stopping": snapshot.stopping,
        "uptime_seconds": round(snapshot.utc - snapshot.started_utc, 1) if snapshot.started_utc else 0.0,
        "link": {
            "phase": link.phase, "seconds": round(now - link.since_at, 1), "attempt": link.attempt, "dials": link.dials, "deaf": link.deaf,
            "last_drop": link.last_drop.cause if link.last_drop is not None else None,
        },
        "polling": {"mode": polling.mode, "active": polling.active, "polls": polling.polls, "failures": polling.failures},
        "commands": {
            "received": commands.received, "completed": commands.completed, "failed": commands.failed, "queued": commands.queued,
            "running": commands.running, "unproven_acks": commands.outbox, "unknown_outcome": commands.interrupted,
            "scheduled": snapshot.scheduled_count,
        },
        "disk_ok": snapshot.disk.ok,
    }  # fmt: skip
