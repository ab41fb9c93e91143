"""What agents tell of by themselves, pure: each event once, however often and by whatever way it comes (PROTOCOL §2)."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from agent_core.clock import iso
from agent_core.plain import plain


class Told(NamedTuple):
    """One event of an agent, as it came first."""

    agent_id: str
    event_id: str
    event_type: str
    occurred_at: str
    payload: str
    """As JSON."""
    way: str
    """`ws` or `sync`."""
    received_utc: float

    def view(self) -> dict[str, Any]:
        """As the admin calls show it."""
        return {
            "edge_agent_id": self.agent_id,
            "event_id": self.event_id,
            "event_type": self.event_type,
            "occurred_at": self.occurred_at,
            "payload": from_json(self.payload),
            "way": self.way,
            "received_at": iso(self.received_utc),
        }


def told_of(agent_id: str, body: Mapping[str, Any], way: str, utc: float) -> Told | None:
    """None where it has no `event_id` of 1 to 200 characters, so that nobody could tell it from another."""
    event_id = body.get("event_id")
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= 200:
        return None
    payload = body.get("payload")
    named, at = plain(body.get("event_type", body.get("type", "")), 100), plain(body.get("occurred_at", ""), 40)
    return Told(agent_id, event_id, named, at, to_json(payload if isinstance(payload, dict) else {}).decode(), way, utc)


class Events:
    """The last `keep` of all agents; one that is forgotten is new if it comes again."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._told: dict[tuple[str, str], Told] = {}

    def take(self, told: Told) -> bool:
        """False where it was there already."""
        if (told.agent_id, told.event_id) in self._told:
            return False
        self._put(told)
        return True

    def _put(self, told: Told) -> None:
        self._told[told.agent_id, told.event_id] = told
        if len(self._told) > self._keep:
            del self._told[next(iter(self._told))]

    def restore(self, kept: Iterable[Told]) -> None:
        """What a store has, oldest first."""
        for told in kept:
            self._put(told)

    def listed(self, agent_id: str | None, event_type: str | None, limit: int) -> list[Told]:
        """The newest first."""
        found = (one for one in reversed(self._told.values()) if agent_id in (None, one.agent_id) and event_type in (None, one.event_type))
        return list(islice(found, limit))
