"""How an agent stands, in a few figures: for `edge-console status`, and `status` of the plain console."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent_core.figures import took

if TYPE_CHECKING:
    from agent_core.snapshot import Snapshot


def is_online(snapshot: "Snapshot") -> bool:
    """Whether there is a link, though it may be silent at the moment."""
    return snapshot.link.phase in {"online", "suspect"}


def standing(snapshot: "Snapshot", at: float, about: str = "") -> list[tuple[str, str]]:
    """What an operator wants to know first, as (name, value), at that monotonic instant; `about` the agent's process."""
    link, polling, commands, events = snapshot.link, snapshot.polling, snapshot.commands, snapshot.events
    rows = [
        ("agent", f"{snapshot.agent_id or 'no id yet'} ({about}edge-console {snapshot.version})"),
        ("backend", snapshot.backend_url),
        ("link", f"{link.phase} since {_local(link.since_utc)}" + (" · deaf" if link.deaf else "")),
    ]
    if link.retry_at is not None:
        rows.append(("next dial", f"in {took(max(0.0, link.retry_at - at))}, attempt {link.attempt}/{link.attempts_max}"))
    if link.last_drop is not None and not is_online(snapshot):
        rows.append(("because", f"{link.last_drop.cause}: {link.last_drop.detail}"))
    works = polling.works_until_at is not None and polling.works_until_at > at
    how = ("works" if works else f"fails: {polling.last_error}" if polling.last_error else "asks") if polling.active else "rests"
    return [
        *rows,
        ("polling", f"{polling.mode}, {how}"),
        ("commands", f"{commands.received} taken, {commands.completed} completed, {commands.failed} failed, {commands.running} running"),
        ("acks", f"{commands.proven} proven, {commands.outbox} not yet"),
        ("events", f"{events.proven} proven, {events.unproven} not yet" + (f", {events.dropped} dropped" if events.dropped else "")),
        ("intake", "paused: edge-console resume" if commands.paused else "open"),
        ("scheduled", str(snapshot.scheduled_count)),
        ("disk", "ok" if snapshot.disk.ok else str(snapshot.disk.trouble)),
    ]


def _local(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).astimezone().isoformat(" ", "seconds")
