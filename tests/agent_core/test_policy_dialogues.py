"""Random dialogues under a policy: whatever comes, is changed, cancelled or expires, the buckets hold and everything ends."""

import random
from collections import defaultdict
from typing import Any

import pytest

from agent_core.entries import EffectClass, Trait
from agent_core.frames import Command, Message
from agent_core.records import Outcome
from tests.harness.playbook import Playbook, to

RATES = ("per_recipient", "per_new_conversation", "total")


class Dialogue:
    """One engine, dice, and what was sent when to whom."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.sent: list[tuple[float, str, int]] = []
        self.policy = {rate: {"count": self._dice.randint(1, 3), "seconds": self._dice.choice([20, 60, 300])} for rate in RATES}
        quiet = {"quiet_hours": {"start": "20:31", "end": "20:36"}} if self._dice.random() < 0.5 else {}
        trait = Trait(EffectClass.TRANSACTIONAL, sends=True, inline=self._send)
        traits = {"send_message": trait, "schedule_message": trait}
        self.book = Playbook(policy=self.policy | quiet, traits=traits, max_in_memory=10).online()
        self._ids: list[str] = []

    def _send(self, seq: int, command: Command, message: Message | None, utc: float) -> Outcome:
        assert message is not None
        self.sent.append((utc, message.thread_id, int(command.command_id)))
        return Outcome()

    def says(self) -> None:
        """Something happens."""
        dice, now = self._dice, self.book.clock.utc
        kind = dice.choices(("send", "schedule", "cancel", "change", "time"), (10, 3, 2, 1, 4))[0]
        expires = {"expires_at": now + dice.randint(0, 400)} if dice.random() < 0.2 else {}
        payload = to(f"+1310555000{dice.randint(0, 4)}")
        if kind == "time":
            self.book.lives(dice.choice([0.5, 5, 30, 100]))
        elif kind == "send":
            self._push("send_message", payload, priority=dice.choice(["normal", "normal", "high"]), **expires)
        elif kind == "schedule":
            self._push("schedule_message", payload | {"send_at": now + dice.randint(1, 400)}, **expires)
        elif self._ids:
            more = {"text": "new", "send_at": now + dice.randint(0, 300)} if kind == "change" else {}
            self._push("change_scheduled" if more else "cancel_message", {"command_id": dice.choice(self._ids), **more})

    def _push(self, command_type: str, payload: dict[str, Any], **more: Any) -> None:
        self._ids.append(str(len(self._ids) + 1))
        self.book.push(self._ids[-1], command_type, payload=payload, **more)


@pytest.mark.parametrize("seed", range(12))
def test_the_buckets_hold_and_everything_ends(seed: int) -> None:
    dialogue = Dialogue(seed)
    for _ in range(60):
        dialogue.says()
    book = dialogue.book
    for _ in range(300):
        if not (book.snapshot.commands.queued or book.snapshot.scheduled_count):
            break
        book.lives(60)
    assert (book.snapshot.commands.queued, book.snapshot.scheduled_count, book.snapshot.waits) == (0, 0, ())
    assert all(book.engine.sizes[name] == 0 for name in ("paced", "let_go", "expiries", "lanes", "ready"))
    by_thread = defaultdict[str, list[float]](list)
    for utc, thread, _ in dialogue.sent:
        by_thread[thread].append(utc)
    first = sorted(times[0] for times in by_thread.values())
    times_of = [("total", [utc for utc, _, _ in dialogue.sent]), ("per_new_conversation", first)]
    for rate, starts in (*times_of, *(("per_recipient", times) for times in by_thread.values())):
        count, seconds = dialogue.policy[rate]["count"], dialogue.policy[rate]["seconds"]
        assert all(later - sooner >= seconds - 1e-3 for sooner, later in zip(starts, starts[count:], strict=False)), rate
    assert len({number for *_, number in dialogue.sent}) == len(dialogue.sent), "none twice"
