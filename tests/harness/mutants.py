"""The mutation drill (`make mutants`): bugs sown one at a time in a copy of the source, each of which the tests of its room must catch.

For the engine those are random worlds, then the playbooks; for the journal its tests on real files.

A bug is an exact replacement that must match once: where the source has moved on, the drill fails until the bug is sown anew.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORLDS = 40
HANGS_AFTER = 600
NAMES = (
    "backoff", "outcomes", "schedule", "barrier", "lanes", "link", "polling", "ledger", "cancels", "engine", "repeats", "latency",
    "settling", "settings", "attention", "intake", "frames",
    "poison", "ack_calls", "hold", "far_schedules", "upstream", "inbound_dialogue", "edge_messages",
    "policy",
    "rescheduling",
    "signatures",
    "attachments",
)  # fmt: skip
PLAYBOOKS = (*(f"tests/agent_core/test_{name}.py" for name in NAMES), "tests/fuzz/test_names.py", "tests/fuzz/test_acks.py")
KEPT = (
    "ledger_clock", "data_dir", "ledger_moved", "ledger_lost", "ledger_soundness", "journal", "attention", "event_journal", "inbound_rows",
)  # fmt: skip
JOURNAL = (*(f"tests/agent_core/test_{name}.py" for name in KEPT), "tests/fuzz/test_clocks.py")
EDGE = ("tests/fuzz/test_acks.py", *(f"tests/agent_core/test_{name}.py" for name in ("ack_calls", "framing", "edge")))
INBOUND = ("tests/agent_core/messengers/test_inbound.py", "tests/agent_core/messengers/test_incoming.py")
SENT = ("tests/agent_core/messengers/test_imessage.py", "tests/agent_core/messengers/test_imessage_attachments.py")
ROOMS = {
    "journal/": JOURNAL,
    "black_box.py": ("tests/agent_core/test_black_box.py",),
    "messengers/imessage/messenger.py": SENT,
    "messengers/imessage/chat_db.py": SENT,
    "messengers/imessage/": INBOUND,
    "channels/": EDGE,
    "agent.py": EDGE,
}
"""What must catch a bug where no world goes and no playbook."""


@dataclass(frozen=True, slots=True)
class Bug:
    """`old` stands exactly once in agent_core/`file`; `new` is wrong."""

    name: str
    file: str
    old: str
    new: str


BUGS = (
    Bug("a horizon of nothing is taken for damage", "journal/soundness.py", "IN ('0', '0.0')", "= '0'"),
    Bug("a pause ends with the agent", "engine/engine.py", "if kept.pop(PAUSED, None) is not None:", "if kept.pop(PAUSED, None) is True:"),
    Bug("a refusal is an incident at each attempt", "black_box.py", "if one in wrong and one not in self._lasting]", "if one in wrong]"),
    Bug("an incident is kept again at once", "black_box.py", ">= AGAIN_AFTER]", ">= 0.0]"),
    Bug("a black box has the secrets", "black_box.py", "dump(redactor.within(one))", "dump(one)"),
    Bug("black boxes are never removed", "black_box.py", "[:-MAX_FILES]:", "[:0]:"),
    Bug("two messages are posted at once", "engine/edge_messages.py", "self._posting is not None or self._recalling", "self._recalling"),
    Bug("a refused message holds up the others", "engine/edge_messages.py", "elif failure.status in REFUSED:", "elif failure is None:"),
    Bug(
        "a failed post is taken as read",
        "engine/edge_messages.py",
        "        if failure is None:\n",
        "        if failure is None or failure.status == 500:\n",
    ),
    Bug(
        "a file goes to anybody",
        "messengers/imessage/fetching.py",
        "if origin_of(url) is None or origin_of(url) != origin_of(self._backend_url()):",
        "if origin_of(url) is None:",
    ),
    Bug(
        "what comes in is read on before it is on disk",
        "engine/inbound.py",
        "        self._hold(ReadInbound(",
        "        self._emit(ReadInbound(",
    ),
    Bug(
        "the cursor is not recorded with the events",
        "engine/inbound.py",
        "        self._change(SettingStored(INBOUND_CURSOR, event.cursor))\n",
        "",
    ),
    Bug("an echo is told", "engine/inbound.py", " if one.event_id not in self._echoes]\n", "]\n"),
    Bug(
        "an echo of an earlier run is told",
        "engine/inbound.py",
        "        for receipt in receipts:\n            self._add(receipt)\n",
        "        self._receipts = {receipt.guid: receipt for receipt in receipts}\n",
    ),
    Bug(
        "a delivery is not told to those who look",
        "engine/inbound.py",
        "            self._emit(DeliveryEntry(now.utc, known.seq, delivered))\n",
        "            pass\n",
    ),
    Bug(
        "what is no candidate settles an unknown outcome",
        "engine/ledger.py",
        " or all(one.guid != guid for one in candidates_of(past.ack)) or self._inbound.knows(guid):\n",
        " or self._inbound.knows(guid):\n",
    ),
    Bug("a message settles two unknown outcomes", "engine/ledger.py", " or self._inbound.knows(guid):\n", ":\n"),
    Bug("a delivery goes back", "engine/inbound.py", " and RANKS.get(delivery.status, 0) > RANKS[known.status]:", ":"),
    Bug(
        "what came in has no row in the ledger",
        "engine/inbound.py",
        "            self._change(_received(one, row, number, now))\n",
        "            continue\n",
    ),
    Bug("a row of what came in is given to a command", "journal/rows.py", '"outbox", "inbound"))', '"outbox"))'),
    Bug("the delivery of one part is that of all", "engine/inbound.py", "if receipt.seq == seq]", "if receipt.seq == seq][:1]"),
    Bug("a receipt is not recorded", "engine/inbound.py", "            self._change(ReceiptAdded(guid, command_id, seq, now.utc))\n", ""),
    Bug(
        "a backend that moved keeps the old one's attempt",
        "engine/link.py",
        "            self._emit(AbortSocket(self.generation))\n        self.attempt",
        "            pass\n        self.attempt",
    ),
    Bug("whoever moved is waited for as before", "engine/link.py", "        self.attempt = self._rule_failures = 0\n", ""),
    Bug(
        "an upgrade that loses permissions is kept from the backend",
        "engine/engine.py",
        "                for permission in permissions:\n",
        "                for permission in ():\n",
    ),
    Bug(
        "a permission that is lost is told at each look",
        "engine/inbound.py",
        "            self._lost.add(permission)\n",
        "",
    ),
    Bug(
        "of a back-fill all is told",
        "messengers/imessage/incoming.py",
        "        return Verdict.STALE\n",
        "        return Verdict.TELL\n",
    ),
    Bug(
        "after an outage all is stale",
        "messengers/imessage/incoming.py",
        "min(looked_utc, now_utc)",
        "now_utc",
    ),
    Bug("our own messages are told", "messengers/imessage/incoming.py", "    if row.is_from_me:\n        return Verdict.OWN\n", ""),
    Bug(
        "notes to oneself are told",
        "messengers/imessage/incoming.py",
        "row.sender in own or row.sender in row.addressed",
        "row.sender in own",
    ),
    Bug(
        "any file is an attachment",
        "messengers/imessage/inbox.py",
        "path.is_relative_to(self._root.resolve()) and ",
        "",
    ),
    Bug(
        "a file is proven by another of its name",
        "messengers/imessage/chat_db.py",
        "if (name, size) == (file.name, file.bytes)",
        "if name == file.name",
    ),
    Bug(
        "what went out before a doubt goes out again",
        "messengers/imessage/messenger.py",
        "self._claimed.get(row.guid, search.thread) == search.thread]",
        "row.guid not in self._claimed]",
    ),
    Bug(
        "a text without its file is the message",
        "messengers/imessage/messenger.py",
        "return sent(rows, there) if len(there) == len(parts) else incomplete(rows, there, parts)",
        "return sent(rows, there)",
    ),
    Bug(
        "what is not attached yet is not waited for",
        "messengers/imessage/messenger.py",
        "            if len(there) == len(parts) or (loop.time() >= end and there):",
        "            if there:",
    ),
    Bug("a drain leaves events behind", "engine/engine.py", "if left and self._now.mono < self._drain_by:", "if self._now.mono < 0:"),
    Bug("a drain waits for ever for events", "engine/engine.py", "if left and self._now.mono < self._drain_by:", "if left:"),
    Bug("an event goes out before it is on disk", "engine/upstream.py", "        self._hold(event)\n", "        self.keep(event)\n"),
    Bug(
        "an earlier ping proves an event",
        "engine/upstream.py",
        "        while self._sent and self._sent[0].barrier <= ping:",
        "        while self._sent and self._sent[0].barrier <= ping + 1:",
    ),
    Bug("a lost socket's events are given up", "engine/upstream.py", "        self._waiting.extendleft(reversed(self._sent))\n", ""),
    Bug("events that come back change their order", "engine/upstream.py", "extendleft(reversed(self._sent))", "extendleft(self._sent)"),
    Bug(
        "a poll proves events at a backend that never named one",
        "engine/upstream.py",
        "        self._takes_carried = False\n",
        "        self._takes_carried = True\n",
    ),
    Bug(
        "events overtake by a poll those in flight",
        "engine/engine.py",
        "self._upstream.carry(by_socket=self._by_socket)",
        "self._upstream.carry(by_socket=False)",
    ),
    Bug(
        "more events than may be are in flight",
        "engine/upstream.py",
        "self._waiting[0].text is not None and len(self._sent) < IN_FLIGHT:",
        "self._waiting[0].text is not None:",
    ),
    Bug("events are never dropped", "engine/upstream.py", "            self._drop(now)\n", "            pass\n"),
    Bug(
        "a dropped event is not written",
        "engine/upstream.py",
        "            self._prove(dropped, DROPPED, now)\n",
        "",
    ),
    Bug(
        "rows of events go past one that is owed",
        "journal/rows.py",
        "\n AND seq < coalesce((SELECT min(seq) FROM events WHERE settled_utc IS NULL), 9e18)",
        "",
    ),
    Bug(
        "an event's number is given twice",
        "journal/rows.py",
        'FROM events").fetchone()[0] or 0) + 1,',
        'FROM events").fetchone()[0] or 0),',
    ),
    Bug(
        "a message is due at its old time, too",
        "engine/schedule.py",
        "self._due.get(self._heap[0][1]) != self._heap[0][0]",
        "self._heap[0][1] not in self._due",
    ),
    Bug("a changed message is left to a journal that has the old one", "engine/ledger.py", "        self._changed.add(victim.seq)\n", ""),
    Bug(
        "a change is not written",
        "engine/ledger.py",
        "        self._change(CommandChanged(victim.seq, victim.command.payload, due, by))\n",
        "",
    ),
    Bug("a changed message that comes again is another", "engine/ledger.py", " and changed_by is None\n", "\n"),
    Bug(
        "an unsigned command runs",
        "engine/ledger.py",
        "        if arrival.unsigned is not None and self._is",
        "        if False and self._is",
    ),
    Bug("unsigned settings are taken", "engine/engine.py", 'if self._config.policy.signatures == "refuse":', "if False:"),
    Bug("a signature does not cover when it expires", "frames.py", '"priority", "timestamp", "expires_at")', '"priority", "timestamp")'),
    Bug(
        "an attachment is fetched from anywhere",
        "attachments.py",
        "            if origin_of(one.url) not in self._allowed:",
        "            if False:",
    ),
    Bug("another file is sent", "attachments.py", "        if digest != one.sha256:", "        if False:"),
    Bug("a file of any length is taken", "attachments.py", "            if came > size:", "            if False:"),
    Bug("another origin is shown the secret", "attachments.py", "if origin_of(one.url) == self._own else {}", "if True else {}"),
    Bug("a redirect is followed", "attachments.py", "follow_redirects=False", "follow_redirects=True"),
    Bug(
        "staged files stay",
        "attachments.py",
        "            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))\n",
        "            pass\n",
    ),
    Bug(
        "a messenger without attachments sends the text alone",
        "handlers.py",
        "    if not context.messenger.attaches or context.staging is None:",
        "    if context.staging is None:",
    ),
    Bug("a token is not taken", "engine/pace.py", "            self._total.taken.append(mono)\n", "            pass\n"),
    Bug("a new recipient stays new", "engine/pace.py", "        self._known[recipient] = None\n", ""),
    Bug("a newcomer takes the token for which others wait", "engine/pace.py", "        return let_go + others - (", "        return 0 * ("),
    Bug("what an earlier run has sent does not count", "engine/ledger.py", "            self._pace.restore(sends, now)\n", ""),
    Bug("a lane whose message is gone waits on", "engine/ledger.py", "            self._pace.leave(entry.lane)\n", "            pass\n"),
    Bug(
        "a message that the policy keeps back is late",
        "engine/ledger.py",
        "                self._change(CommandReleased(entry.seq, now.utc, QUEUED, entry.ack))\n",
        "                pass\n",
    ),
    Bug(
        "what was put back is behind the others of its lane",
        "engine/lanes.py",
        "        waiting.move_to_end(entry.seq, last=False)\n",
        "",
    ),
    Bug(
        "urgent ones wait behind the others",
        "engine/pace.py",
        "(self.urgent or self.normal).popitem",
        "(self.normal or self.urgent).popitem",
    ),
    Bug("quiet hours never end for who waits", "engine/pace.py", "self._quiet.until(now.utc) is None):", "False):"),
    Bug("quiet hours past midnight are none", "engine/quiet.py", "shown >= self._start or shown < self._end", "False"),
    Bug("a number without its country is another", "engine/recipients.py", "in self._by_tail.get(one[-TAIL:], ())", "in ()"),
    Bug(
        "an expired command runs when it comes",
        "engine/ledger.py",
        "command.expires_utc <= now.utc:\n            self._end(",
        "command.expires_utc <= 0:\n            self._end(",
    ),
    Bug(
        "what waits does not expire",
        "engine/ledger.py",
        "            self._expiries.add(entry.seq, entry.command.expires_utc)\n",
        "            pass\n",
    ),
    Bug(
        "what is scheduled expires when it is due",
        "engine/ledger.py",
        "if expires_utc is None else min(due_utc, expires_utc)\n",
        "if expires_utc is None else due_utc\n",
    ),
    Bug(
        "what expires while the disk stalls is sent",
        "engine/ledger.py",
        "            elif one.state is RUNNING and _is_expired(one, now):\n",
        "            elif False:\n",
    ),
    Bug(
        "a denied recipient is written to",
        "engine/ledger.py",
        "(why := self._rules.against_recipient(entry.lane)) is not None",
        "(why := self._rules.against_recipient(entry.lane)) == ''",
    ),
    Bug(
        "a command to be held runs",
        "engine/ledger.py",
        "        self.approvals.add(entry)\n        self._accepted(entry, now)\n",
        "        self._enqueue(entry)\n        self._accepted(entry, now)\n",
    ),
    Bug(
        "an edited payload is not written",
        "engine/ledger.py",
        "        self._change(CommandChanged(entry.seq, payload, entry.due_utc, OPERATOR))\n",
        "",
    ),
    Bug(
        "what the operator refuses needs him again",
        "engine/ledger.py",
        "        self._change(CommandResolved(entry.seq, Resolution.DISMISSED, now.utc, OPERATOR))\n",
        "",
    ),
    Bug("a release is not written", "engine/ledger.py", "            self._change(CommandReleased(entry.seq, now.utc))\n", ""),
    Bug(
        "what cannot be judged is not held",
        "engine/approvals.py",
        "            self.choose(HOLD_ALL)\n            raise\n",
        "            return False\n",
    ),
    Bug(
        "a filter that is none is taken",
        "engine/approvals.py",
        "        text = text.strip()\n        self._filter",
        "        text = self.text = text.strip()\n        self._filter",
    ),
    Bug(
        "backoff reset on open",
        "engine/link.py",
        "        self._pings.begin()\n",
        "        self._pings.begin()\n        self.attempt = 0\n",
    ),
    Bug("jitter over the cap", "engine/backoff.py", "return low + (limit - low) * dice()", "return low + limit * dice()"),
    Bug("the ladder does not double", "engine/backoff.py", "2.0 ** min(max(attempt, 1) - 1, 60)", "2.0 * min(max(attempt, 1) - 1, 60)"),
    Bug(
        "no deadline after a dial failed",
        "engine/link.py",
        "self._enter(rule.phase, now, self._politely(now.mono + wait))",
        "self._enter(rule.phase, now, None)",
    ),
    Bug(
        "no deadline while dialling",
        "engine/link.py",
        "            self._enter(Phase.CONNECTING, now, now.mono + self._timing.dial_within)\n            self.generation += 1",
        "            self._enter(Phase.CONNECTING, now, None)\n            self.generation += 1",
    ),
    Bug(
        "Retry-After ignored by the link",
        "engine/backoff.py",
        "min(max(retry_after or 0, timing.busy_first) * (1 + 0.1 * dice())",
        "min(timing.busy_first * (1 + 0.1 * dice())",
    ),
    Bug("Retry-After ignored by polling", "engine/polling.py", "max(failure.retry_after or 0.0, timing.busy_first)", "timing.busy_first"),
    Bug("a refusal climbs the normal ladder", "engine/outcomes.py", "    if status in {401, 403}:\n        return Rule.REFUSED\n", ""),
    Bug("a rival is fought", "engine/outcomes.py", "4009: Rule.REPLACED, 4409: Rule.REPLACED,", ""),
    Bug("a hint without rate limit", "engine/link.py", "if now.mono - self._hinted_at < self._timing.early_retry_interval or (", "if ("),
    Bug(
        "a hint hurries a refusal",
        "engine/link.py",
        "if self.phase is Phase.WAITING and self._rule not in NO_EARLY_RETRY:",
        "if self.phase in BETWEEN:",
    ),
    Bug(
        "no hint at all",
        "engine/engine.py",
        "        if back or alone:\n            self._link.hint(self._now, self._dice, alone=not back)\n",
        "",
    ),
    Bug(
        "silence counted from the opening",
        "engine/link.py",
        "        self._heard_at = now.mono\n        if self.stopping",
        "        if self.stopping",
    ),
    Bug(
        "silence never probed",
        "engine/link.py",
        "        elif self.phase is Phase.ONLINE and now.mono < self._heard_at + self._timing.silence_after:",
        "        elif self.phase is Phase.ONLINE:",
    ),
    Bug(
        "a probe twice as long",
        "engine/link.py",
        "self._enter(Phase.SUSPECT, now, now.mono + self._timing.probe_within)",
        "self._enter(Phase.SUSPECT, now, now.mono + 2 * self._timing.probe_within)",
    ),
    Bug(
        "a peer that never reads is believed",
        "engine/link.py",
        "        if now.mono >= dead_at:\n",
        "        if False:\n",
    ),
    Bug(
        "a pong is no answer",
        "engine/link.py",
        "        self._answered_at = now.mono\n        self.heard(now, frame=False)\n",
        "        self.heard(now, frame=False)\n",
    ),
    Bug("waking up does not probe", "engine/engine.py", "            self._link.woke(self._now, self._dice)\n", ""),
    Bug(
        "a pong to no ping is taken for a proof",
        "engine/pings.py",
        "        if not out or (seq is not None and not out[0][0] <= seq <= out[-1][0]):\n            return None\n",
        "        if not out or seq == 0:\n            return self._number, 0.0\n",
    ),
    Bug(
        "old sockets are believed",
        "engine/link.py",
        "return generation == self.generation and (",
        "return generation <= self.generation and (",
    ),
    Bug(
        "a dial beside an open socket",
        "engine/link.py",
        '            if self.phase in OPEN:\n                self.close_for(Cause.OPERATOR, "reconnect asked for by the operator", now)\n',
        "",
    ),
    Bug(
        "a forced dial beside a dial",
        "engine/link.py",
        "            self._emit(AbortSocket(self.generation))\n            self._dial(now)\n\n    def move",
        "            self._dial(now)\n\n    def move",
    ),
    Bug(
        "online on opening",
        "engine/link.py",
        "        self._enter(Phase.VERIFYING, now, now.mono + self._config.websocket.pong_timeout_seconds / 2)\n",
        "        self._enter(Phase.VERIFYING, now, now.mono + self._config.websocket.pong_timeout_seconds / 2)\n"
        "        self._verified(now)\n",
    ),
    Bug(
        "polling does not resume",
        "engine/polling.py",
        "        wanted = possible and (self._mode is PollingMode.ALWAYS or (self._mode is PollingMode.AUTO and not online))",
        "        wanted = possible and (self._mode is PollingMode.ALWAYS or (self._mode is PollingMode.AUTO and not online"
        " and not self._last_ok_utc))",
    ),
    Bug(
        "polling goes on while online",
        "engine/polling.py",
        "(self._mode is PollingMode.AUTO and not online)",
        "self._mode is PollingMode.AUTO",
    ),
    Bug(
        "an answer vouches for ever",
        "engine/polling.py",
        "        if self._works_until is not None and now.mono >= self._works_until:\n            self._works_until = None\n",
        "",
    ),
    Bug(
        "an answer vouches for too long",
        "engine/polling.py",
        "max(self._timing.silence_after + self._timing.probe_within, self.every)",
        "2 * self.every",
    ),
    Bug(
        "nobody is woken when polling is in doubt",
        "engine/polling.py",
        "return self.due_at if ends is None else min(self.due_at, ends)",
        "return self.due_at if ends is None else self.due_at",
    ),
    Bug(
        "a bad answer still vouches",
        "engine/polling.py",
        "self.failing, self._works_until, self._last_error = True, None, detail",
        "self.failing, self._last_error = True, detail",
    ),
    Bug("an answer before a sleep still vouches", "engine/engine.py", "            self._polling.woke(self._now)\n", ""),
    Bug(
        "a healthy poller flaps",
        "engine/polling.py",
        "(1 - self._timing.poll_jitter * (1 + dice()) / 2)",
        "(1 + self._timing.poll_jitter * (2 * dice() - 1))",
    ),
    Bug(
        "no drain on opening",
        "engine/engine.py",
        "        if online and not self._was_online:\n            self._polling.sync_soon(now)\n        elif",
        "        if",
    ),
    Bug(
        "an old poll's answer counts",
        "engine/polling.py",
        "        if not self.is_current(number):\n            return None\n        purpose, self._in_flight",
        "        if number > self._number:\n            return None\n        purpose, self._in_flight",
    ),
    Bug("proof by an earlier ping", "engine/pings.py", "        return self._number + 1\n", "        return self._number\n"),
    Bug(
        "unproven acks dropped on loss",
        "engine/acks.py",
        "        self._kept.extendleft(reversed(self._sent))\n        self._sent.clear()",
        "        self._sent.clear()",
    ),
    Bug(
        "a failed post counts as proof",
        "engine/acks.py",
        "        accepted, refused = set(event.proven), ",
        "        accepted, refused = {ack.entry.command.command_id for ack in self._posted}, ",
    ),
    Bug(
        "ack before record",
        "engine/barrier.py",
        "        self._sealed.append(Sealed(self._ticket, held, self._last_accepted, self._accepted))\n        return ()\n",
        "        self._sealed.append(Sealed(self._ticket, (), self._last_accepted, self._accepted))\n        return held\n",
    ),
    Bug(
        "released by an earlier record",
        "engine/barrier.py",
        "self._sealed[0].ticket <= self._recorded",
        "self._sealed[0].ticket <= self._recorded + 1",
    ),
    Bug("a disk that catches up stalls the loop", "engine/barrier.py", " and len(released) < RELEASED_AT_ONCE:", ":"),
    Bug(
        "an ack without a change of its own overtakes the disk",
        "engine/barrier.py",
        "        elif held and self._sealed:\n            held = (*self._sealed.pop().held, *held)\n",
        "",
    ),
    Bug(
        "dedup in memory only",
        "engine/ledger.py",
        "            known = self._adopt(past, now)\n",
        "",
    ),
    Bug("no dedup", "engine/ledger.py", "        known = self._entries.get(command.command_id)\n", "        known = None\n"),
    Bug(
        "an interrupted command runs again",
        "engine/ledger.py",
        "elif past.state is RUNNING and not entry.trait.repeatable:",
        "elif past.state is RUNNING and not self._traits:",
    ),
    Bug(
        "a repeatable command is given up",
        "engine/ledger.py",
        "elif past.state is RUNNING and not entry.trait.repeatable:",
        "elif past.state is RUNNING:",
    ),
    Bug(
        "what was not sent is not recorded so, and its run counts as a second one",
        "engine/ledger.py",
        "        self._change(UnsentFound(entry.seq))\n",
        "",
    ),
    Bug(
        "a run that is looked up leaves its lane to the next",
        "engine/ledger.py",
        "            self._lanes.resume(entry)\n",
        "",
    ),
    Bug(
        "a lane that is resumed stays ready",
        "engine/lanes.py",
        "        self._urgent.pop(entry.lane, None)\n        self._normal.pop(entry.lane, None)\n",
        "",
    ),
    Bug(
        "a handler starts before its mark is on disk",
        "engine/ledger.py",
        "        entry.mark = event.mark\n",
        "        entry.mark = event.mark\n        self._emit(Execute(entry.seq, entry.command, entry.message, entry.mark))\n",
    ),
    Bug(
        "the mark is not recorded",
        "engine/ledger.py",
        "CommandStarted(entry.seq, now.utc, entry.mark)",
        "CommandStarted(entry.seq, now.utc)",
    ),
    Bug("what has been looked up is looked up again", "engine/ledger.py", " and not outcome.final and", " and"),
    Bug(
        "a command is resolved twice",
        "engine/ledger.py",
        " or past.seq in self._resolving:",
        ":",
    ),
    Bug(
        "what the operator has settled is counted on",
        "engine/ledger.py",
        "        self._unwell[past.state] -= 1\n",
        "",
    ),
    Bug(
        "what was not in doubt is resolved as sent",
        "engine/ledger.py",
        "if not (past.is_unresolved and known)",
        "if not past.is_unresolved",
    ),
    Bug("what needs the operator is forgotten by a restart", "journal/rows.py", 'unwell.get("failed", 0)', "0"),
    Bug("what is forgotten needs the operator for ever", "journal/writer.py", " or found.lapsed is not None:", ":"),
    Bug("a ledger that was emptied is a new one", "journal/opening.py", "(gone := lost(path)) is not None", "False"),
    Bug("a log without its ledger is thrown away", "journal/lost.py", "if log.is_file() and log.stat().st_size else", "if False else"),
    Bug("the first commands are noted late", "journal/mark.py", "not self._noted or ", ""),
    Bug("an emptied ledger is written on", "journal/watch.py", "if not self._path.stat().st_size:", "if False:"),
    Bug("a strange log is played into a backup", "journal/backup.py", 'for ending in ("-wal", "-shm", "") if', 'for ending in ("",) if'),
    Bug("a later schema is judged", "journal/reader.py", ".fetchone()[0]) > len(MIGRATIONS)", ".fetchone()[0]) > 10_000"),
    Bug(
        "a resolution has no author",
        "journal/rows.py",
        "yield RESOLVE, (resolution, utc, by, guid, seq)",
        'yield RESOLVE, (resolution, utc, "", guid, seq)',
    ),
    Bug("what hangs is tried for ever", "engine/ledger.py", " and not entry.unsent:", ":"),
    Bug(
        "first in, last out",
        "engine/lanes.py",
        "(lane.urgent or lane.normal).popitem(last=False)",
        "(lane.urgent or lane.normal).popitem()",
    ),
    Bug(
        "two of one thread at once",
        "engine/lanes.py",
        "        if lane.running is None:\n            ready[",
        "        if lane:\n            ready[",
    ),
    Bug(
        "a lane whose only urgent command is cancelled stays ready",
        "engine/lanes.py",
        "        if not waiting:\n            ready.pop(name, None)\n",
        "",
    ),
    Bug(
        "acks that only the journal has are not sent again after a lost link",
        "engine/acks.py",
        "        self._sent.clear()\n        self._unsend_spilled()\n",
        "        self._sent.clear()\n        self._spilled.clear()\n        self._spilled_count = 0\n",
    ),
    Bug(
        "acks only in the journal are proven early",
        "engine/acks.py",
        "self._spilled[0].barrier <= ping:",
        "self._spilled[0].barrier <= ping + 1:",
    ),
    Bug("acks of an earlier run are not sent again", "engine/ledger.py", "        self.acks.owe(memory.unproven)\n", ""),
    Bug("an inline command overtakes its thread", "engine/ledger.py", ".inline is not None and entry.lane not in self._lanes", ".inline"),
    Bug("urgent commands wait in line", "engine/lanes.py", "= (lane.urgent or lane.normal)", "= (lane.normal or lane.urgent)"),
    Bug(
        "cancel forgotten when early",
        "engine/cancels.py",
        "        self._by_target[target] = by, now.mono + self._seconds\n        self._by_target.move_to_end(target)\n",
        "",
    ),
    Bug("cancel forgotten at a restart", "engine/cancels.py", "if one.until_utc > now.utc:", "if one.until_utc < now.utc:"),
    Bug(
        "one name space for ids and schedule names",
        "engine/ledger.py",
        "sorted((by_id or by_name) if target.by_id else (by_name or by_id), key",
        "sorted(by_id or by_name, key",
    ),
    Bug(
        "what a cancel means by one name it means by each",
        "engine/ledger.py",
        "if target.name in self._names_of(one)]",
        "if one.command.command_id != target.name]",
    ),
    Bug(
        "a cancel that was completed is forgotten by a restart",
        "engine/ledger.py",
        "        self._tombstones.restore(memory.tombstones, now)\n",
        "",
    ),
    Bug(
        "what waits for its turn cannot be cancelled",
        "engine/ledger.py",
        "WAITING = frozenset({QUEUED, SCHEDULED, HELD})",
        "WAITING = frozenset({SCHEDULED, HELD})",
    ),
    Bug("a set clock ends tombstones", "engine/cancels.py", "found[1] > now.mono:", "found[1] > now.utc - 1_793_909_600:"),
    Bug(
        "a refused ack holds up the others",
        "channels/ack_batch.py",
        "return self._in_a_row < TROUBLES_IN_A_ROW and not",
        "return failure is None and not",
    ),
    Bug("a portal's page proves an ack", "channels/http.py", '.lstrip().startswith(b"<"):', '.lstrip() == b"<":'),
    Bug(
        "an ack that nobody knows hides the call for acks",
        "channels/ack_batch.py",
        "        return self._in_a_row < TROUBLES_IN_A_ROW and",
        "        return failure is not NO_ACK_CALL and self._in_a_row < TROUBLES_IN_A_ROW and",
    ),
    Bug(
        "one 404 gives up a path that has answered",
        "channels/http.py",
        "        if self._ack_path is not None:\n",
        "        if not ACK_PATHS:\n",
    ),
    Bug(
        "any sync's 2xx proves what it carried",
        "engine/acks.py",
        "        if self._reads_carried:\n            self._prove(",
        "        if batch:\n            self._prove(",
    ),
    Bug(
        "a redelivery disproves nothing",
        "engine/acks.py",
        "        self._reads_carried = False\n        return True\n",
        "        return False\n",
    ),
    Bug(
        "an ack at which calls break off stays first",
        "engine/acks.py",
        "        self._kept.extend(ack for ack in left if ack.entry.command.command_id in event.tried)\n"
        "        self._kept.extendleft(ack for ack in reversed(left) if ack.entry.command.command_id not in event.tried)\n",
        "        self._kept.extendleft(reversed(left))\n",
    ),
    Bug(
        "an ack at which calls break off is posted each interval",
        "engine/acks.py",
        "            refused |= dict.fromkeys(event.tried, event.failure.detail)\n",
        "            pass\n",
    ),
    Bug("new acks wait behind refused ones", "engine/acks.py", "            self._kept = deque(self._new_ones_first())\n", ""),
    Bug(
        "an answer that was under way ends the wait that an ack call was asked for",
        "engine/polling.py",
        '        self._post_not_before = float("-inf")\n        self._works_until',
        '        self._not_before = self._post_not_before = float("-inf")\n        self._works_until',
    ),
    Bug(
        "calls that work bring back what is refused each time",
        "engine/acks.py",
        "            if not ack.is_forgiven:\n",
        "            if ack:\n",
    ),
    Bug("a refused ack is posted each interval", "engine/acks.py", "every * RETRY_FACTOR ** min(ack.refusals - 1, 20)", "every"),
    Bug("a missing call for acks is missing for ever", "engine/polling.py", "now.mono + PATHS_AGAIN", "float('inf')"),
    Bug(
        "far messages are read only when they are due",
        "engine/ledger.py",
        "            self._fetch(self._schedule.wanted())\n",
        "            pass\n",
    ),
    Bug(
        "far messages stay at hand",
        "engine/ledger.py",
        "            self._schedule.left(entry.seq)\n            self._forget(entry)\n",
        "            pass\n",
    ),
    Bug("a far message is not found by its name", "engine/ledger.py", "if seq not in self._by_seq)[:MAX_NAMED]", "if False)"),
    Bug(
        "a full schedule takes more",
        "engine/ledger.py",
        "if self._schedule.count() >= self._max_scheduled and",
        "if not self._traits and",
    ),
    Bug("a zero time is believed", "frames.py", "    if issued_utc >= FIRST_UTC:\n", "    if issued_utc > float('-inf'):\n"),
    Bug("a tombstone outlives its work", "engine/cancels.py", "self._by_target.pop(target, None)", "self._by_target.get(target)"),
    Bug("a tombstone forgets its kind", "engine/cancels.py", "*map(Target, names or (command_id,))", "*map(Target, (command_id, *names))"),
    Bug(
        "a cancel that cannot be remembered is completed",
        "engine/ledger.py",
        "            self._end(entry, FAILED, error, unknown, now)\n            return\n",
        "            self._end(entry, COMPLETED, None, unknown, now)\n            return\n",
    ),
    Bug(
        "only the first name of a cancel counts",
        "engine/ledger.py",
        "for target in targets if (named := ",
        "for target in targets[:1] if (named := ",
    ),
    Bug(
        "only the first name of a cancel is remembered",
        "engine/ledger.py",
        "for target in targets]\n        for tombstone",
        "for target in targets[:1]]\n        for tombstone",
    ),
    Bug(
        "only the first message of a name is cancelled",
        "engine/ledger.py",
        "        for victim in victims:\n",
        "        for victim in victims[:1]:\n",
    ),
    Bug("a cancelled message stays planned", "engine/ledger.py", "            self._schedule.remove(victim.seq)\n", "            pass\n"),
    Bug("a scheduled message goes early", "engine/schedule.py", "self.next_utc) <= utc:", "self.next_utc) <= utc + 1.0:"),
    Bug(
        "intake goes on while the disk fails",
        "engine/engine.py",
        "        self._ledger.close_intake()\n\n    def _replay",
        "\n    def _replay",
    ),
    Bug(
        "the deaf check never ends",
        "engine/engine.py",
        "            self._deaf_check_at = INFINITY\n            if self._suspects",
        "            if self._suspects",
    ),
    Bug(
        "a flood is told line by line",
        "engine/repeats.py",
        "            told.again += 1\n            return\n",
        "            told.again += 1\n",
    ),
    Bug("what left the window was never", "latency.py", "        self._before = self._ever()\n", ""),
    Bug("two minutes have no end", "latency.py", "            self._slots.popleft()\n", "            break\n"),
    Bug("what differs each time is told each time", "engine/repeats.py", "self._texts[reason] >= MAX_TEXTS", "False"),
    Bug("an index is not compared with its table", "journal/soundness.py", "PRAGMA integrity_check(1)", "PRAGMA quick_check(1)"),
    Bug(
        "rows are not looked at",
        "journal/opening.py",
        "if (wrong := unsound_row(db)) is not None:",
        "if (wrong := unsound_row(db)) is not None and not wrong:",
    ),
    Bug(
        "one bad row holds up the acks of others",
        "journal/writer.py",
        "        with suppress(BadRow):\n",
        "        with suppress(KeyError):\n",
    ),
    Bug(
        "the lock is a file that can be removed",
        "journal/data_dir.py",
        "os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)",
        'os.open(self._folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)',
    ),
    Bug("a planted link is followed", "journal/data_dir.py", "if stat.S_ISLNK(inner.st_mode):", "if stat.S_ISFIFO(inner.st_mode):"),
    Bug("nobody looks whether the ledger is there", "journal/writer.py", "                self._look_in_time()\n", ""),
    Bug(
        "a file in the ledger's place is asked",
        "journal/writer.py",
        "            self._look()\n            self._reader =",
        "            self._reader =",
    ),
    Bug("SQLite waits longer than the agent", "journal/opening.py", "BUSY_TIMEOUT = 0.25", "BUSY_TIMEOUT = 5.0"),
    Bug(
        "ages by a clock that has jumped",
        "journal/retention.py",
        'return then if self.steady_utc <= then else float("-inf")',
        "return then",
    ),
    Bug(
        "what came without a time is dated by a wrong clock",
        "journal/retention.py",
        "0.0 if issued is None else min(",
        "received if issued is None else min(",
    ),
    Bug("a jump is no jump", "journal/steadiness.py", "steady_utc = utc if ahead else", "steady_utc = self._steady_utc if ahead else"),
    Bug(
        "a jump ends the cancels",
        "journal/steadiness.py",
        "            db.execute(REVIVE, (utc + self._tombstone_seconds,))\n",
        "            pass\n",
    ),
    Bug(
        "a panic at the edge ends the agent",
        "agent.py",
        "        except BaseException as error:\n            log.debug(",
        "        except Exception as error:\n            log.debug(",
    ),
    Bug("a hung lookup keeps the process", "agent.py", "        self._loop.set_default_executor(DAEMON_THREADS)\n", ""),
    Bug(
        "a date far away ends a dial",
        "channels/network.py",
        "except (ValueError, TypeError, IndexError, OverflowError):",
        "except ValueError:",
    ),
    Bug(
        "an error without words has none",
        "channels/network.py",
        "    except Exception:  # noqa: BLE001  (a library's",
        "    except OSError:  # (",
    ),
    Bug("NO_PROXY is read as URLs", "channels/http.py", "        trust_env=False,\n        proxy=proxy_for(url),\n", ""),
    Bug("cookies are kept", "channels/http.py", "        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),\n", ""),
    Bug(
        "a refused token is shown again",
        "channels/credentials.py",
        "        if is_refusal:\n            self._token = None\n",
        "        if is_refusal:\n            pass\n",
    ),
    Bug("a clock that was set keeps its token", "channels/credentials.py", "return not jumped and age", "return age"),
    Bug("an interim answer is the answer", "channels/connection.py", "        while INTERIM.match(head) and", "        while False and"),
    Bug(
        "a closing frame is a sign of life", "channels/connection.py", "if self.protocol.close_expected() and not self.ending:", "if False:"
    ),
    Bug(
        "one bad command spoils its answer",
        "frames.py",
        "        body = _rescued_answer(raw)\n",
        '        raise FrameError("not JSON") from None\n',
    ),
    Bug(
        "a bad command is not answered", "frames.py", "        with suppress(ValueError):\n            return _unreadable(raw, error)\n", ""
    ),
    Bug(
        "an id inside a payload is the command's",
        "json_parts.py",
        'elif mark[:1] == b"," and depth == 1:',
        'elif mark[:1] == b"," and depth <= 2:',
    ),
    Bug(
        "half an answer is taken for a whole one",
        "json_parts.py",
        "                if end + 1 < len(raw):\n                    break\n",
        "",
    ),
    Bug(
        "a peer that reads is never asked",
        "engine/link.py",
        "if now.mono >= self._asked_at + every:",
        "if now.mono >= self._asked_at + 9 * every:",
    ),
    Bug(
        "no safety sync while polling",
        "engine/polling.py",
        'self._safety_at < INFINITY and purpose != "poll":',
        "self._safety_at < INFINITY:",
    ),
)


HEALTHY = (
    Bug("(the engine itself)", "engine/engine.py", "class Engine:", "class Engine:"),
    Bug("(the journal itself)", "journal/writer.py", "class Journal:", "class Journal:"),
    Bug("(the edge itself)", "agent.py", "class Agent:", "class Agent:"),
)


def sow(bug: Bug, ground: Path) -> None:
    """Copy the source and its tests to `ground`, with this bug. Raises ValueError where it does not match once."""
    for name in ("agent_core", "tests", "console", "docs"):
        shutil.copytree(ROOT / name, ground / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", ground)
    path = ground / "agent_core" / bug.file
    source = path.read_text()
    if source.count(bug.old) != 1:
        raise ValueError(f"`{bug.name}` matches {source.count(bug.old)} times in {bug.file}")
    path.write_text(source.replace(bug.old, bug.new))


def hunt(bug: Bug) -> str | None:
    """What caught it, or None. The tests that are named as its file is come first, since they are quick and most likely to."""
    tests = next((tests for room, tests in ROOMS.items() if bug.file.startswith(room)), PLAYBOOKS)
    nearest = [file for file in tests if Path(bug.file).stem in Path(file).name]
    with tempfile.TemporaryDirectory() as folder:
        ground = Path(folder)
        sow(bug, ground)
        if nearest and (caught := _tried(ground, nearest)) is not None:
            return caught
        if tests is PLAYBOOKS:
            world = _run(ground, "-m", "tests.harness.worlds", "--drill", str(WORLDS))
            if world.returncode == 1:
                return next((line for line in world.stdout.splitlines() if line.startswith("world")), "a world")[:110]
        rest = [file for file in tests if file not in nearest]
        return _tried(ground, rest) if rest else None


def _tried(ground: Path, tests: Sequence[str]) -> str | None:
    played = _run(ground, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests)
    if played.returncode == 1:
        return next((line for line in played.stdout.splitlines() if line.startswith("FAILED")), "a test")[:110]
    return None if played.returncode == 0 else f"neither could run: {played.stdout[-200:]}{played.stderr[-200:]}"


def _run(ground: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A bug that lets it hang is caught by that."""
    whole = [sys.executable, *arguments]
    try:
        return subprocess.run(whole, cwd=ground, capture_output=True, text=True, timeout=HANGS_AFTER, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(whole, 1, f"FAILED: no end within {HANGS_AFTER} s", "")


def main(names: Sequence[str] = ()) -> int:
    """Hunt all bugs, or those named; 1 where one was not caught."""
    began, escaped = time.monotonic(), 0
    chosen = [bug for bug in BUGS if not names or any(name in bug.name for name in names)]
    with ThreadPoolExecutor(2) as pool:
        for trouble in filter(None, pool.map(hunt, HEALTHY)):
            sys.stdout.write(f"nothing can be told: the source itself fails: {trouble}\n")
            return 1
        for bug, caught in zip(chosen, pool.map(hunt, chosen), strict=True):
            missed = caught is None or caught.startswith("neither")
            escaped += missed
            sys.stdout.write(f"{'NOT CAUGHT' if missed else 'caught':<11}{bug.name:<42} {caught or ''}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - escaped} of {len(chosen)} seeded bugs caught in {time.monotonic() - began:.0f} s\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
