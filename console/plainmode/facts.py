"""What is so now, a sentence each: whoever listens hears a fact again when its key is another one."""

from typing import NamedTuple

from agent_core.snapshot import LinkView, Phase, PollingMode, Snapshot
from console.panels.banner import notice_of
from console.panels.connection import poll_trouble
from console.panels.view import View, status_of
from console.text import duration, moment, seconds_name, shown, with_unit

NAMES = {
    "reconnect": "`reconnect`", "polling": "`polling auto`", "diagnose": "`diagnose`", "attention": "`attention`",
    "approve": "`approve ID`", "refuse": "`refuse ID`",
}  # fmt: skip
"""What an operator types for what a key does on the screen."""
DIALLING = frozenset({Phase.CONNECTING, Phase.VERIFYING})
TROUBLE = {
    "SUSPECT": "The socket is silent; probing it.",
    "FALLBACK": "No socket; polling brings the commands.",
    "RETRYING": "No socket, and no poll has answered yet.",
    "OFFLINE": "Offline: neither the socket nor polling works.",
    "REFUSED": "Refused by the backend.",
    "REPLACED": "Replaced: another agent has this id.",
    "PORTAL": "Something on the way answers in the backend's place.",
}
REMEDIED = frozenset({"OFFLINE", "REFUSED", "REPLACED"})
"""Where the gravest notice is about the connection."""
CALM = {
    "NO AGENT": "There is no agent; waiting for one to start.",
    "NO CONTACT": "Nothing is heard of the agent: it is held up or stopped, or the way to its machine is cut.",
    "STOPPING": "The agent is stopping.",
    "STARTING": "The agent is starting.",
    "CONNECTING": "Connecting.",
    "VERIFYING": "Connected; waiting for the backend's first word.",
    "POLLING": "Polling brings the commands; no socket is used.",
}

ALONE = frozenset({"NO AGENT", "NO CONTACT", "STOPPING"})
"""Where nothing else is known, or matters."""


class Fact(NamedTuple):
    """One sentence. `usual`: no word of it until it has been otherwise; `brief`: after one on the same topic."""

    key: tuple[object, ...]
    sentence: str
    usual: bool = False
    topic: tuple[object, ...] = ()
    brief: str = ""

    def after(self, before: "Fact | None") -> str:
        """What is to be said of it."""
        if before is None:
            return "" if self.usual else self.sentence
        if before.key == self.key:
            return ""
        return self.brief if self.topic and before.topic == self.topic else self.sentence


def facts(view: View) -> dict[str, Fact]:
    """By name. The connection is left out while it dials again: nothing new is known of it."""
    snapshot = view.snapshot
    if status_of(snapshot, view.now, view.stopping).word in ALONE:
        return {"connection": _connection(view)}
    dialling_again = snapshot.link.phase in DIALLING and snapshot.link.last_drop is not None
    found = {} if dialling_again else {"connection": _connection(view)}
    return found | {
        "polling": _polling(view),
        "disk": _disk(snapshot),
        "intake": Fact(
            (snapshot.commands.paused,),
            "Intake: paused; the backend keeps new commands." if snapshot.commands.paused else "Intake: open.",
            not snapshot.commands.paused,
        ),
        "hold": Fact(
            (snapshot.hold,),
            f"Hold: new commands wait for you: {shown(snapshot.hold, 200)}." if snapshot.hold else "Hold: no new commands are held.",
            not snapshot.hold,
        ),
        "attention": _attention(snapshot),
    }


def remedy(view: View) -> str:
    """What to do about what is the matter; empty where nothing is."""
    notice = notice_of(view, NAMES)
    return f"To do: {notice.remedy}." if notice is not None else ""


def _connection(view: View) -> Fact:
    snapshot, link = view.snapshot, view.snapshot.link
    word = status_of(snapshot, view.now, view.stopping).word
    if word in CALM:
        return Fact((word,), f"Connection: {CALM[word]}")
    if word == "ONLINE":
        return Fact((word, link.sessions, link.deaf), " ".join(filter(None, ("Connection: Online by WebSocket.", _last_outage(view)))))
    told = [f"Connection: {TROUBLE.get(word, word)}", _cause(link), _next_dial(view), remedy(view) if word in REMEDIED else ""]
    drop = link.last_drop
    topic = (word, drop and drop.cause, drop and drop.detail)
    brief = " ".join(filter(None, ("Connection: still down, for the same reason.", _next_dial(view))))
    return Fact((word, drop and drop.utc, link.retry_at), " ".join(filter(None, told)), topic=topic, brief=brief)


def _last_outage(view: View) -> str:
    link = view.snapshot.link
    if link.last_outage_utc is None:
        return ""
    return (
        f"The last outage began at {moment(link.last_outage_utc, view.now.utc, view.zone)} and took {duration(link.last_outage_seconds)}."
    )


def _cause(link: LinkView) -> str:
    drop = link.last_drop
    if drop is None or link.phase is Phase.SUSPECT:
        return ""
    return f"Cause: {drop.cause}{f': {shown(drop.detail, 300)}' if drop.detail else ''}."


def _next_dial(view: View) -> str:
    link, now = view.snapshot.link, view.now
    if link.retry_at is None:
        return ""
    attempt = f" {link.attempt} of {link.attempts_max}" if 0 < link.attempt <= link.attempts_max else ""
    return f"Dial{attempt} at {moment(now.utc + link.retry_at - now.mono, now.utc, view.zone)}."


def _polling(view: View) -> Fact:
    polling, trouble = view.snapshot.polling, poll_trouble(view)
    if not polling.active:
        stands = "off; without the socket nothing arrives" if polling.mode is PollingMode.NEVER else "off while the socket works"
    else:
        stands = f"fails: {trouble}" if trouble else f"on, every {with_unit(seconds_name(polling.every))}"
    return Fact((polling.mode, polling.active, trouble), f"Polling: {stands} (mode {polling.mode}).")


def _disk(snapshot: Snapshot) -> Fact:
    disk = snapshot.disk
    trouble = f"Disk: {shown(disk.trouble or 'trouble', 300)}; nothing new is taken."
    return Fact((disk.ok, disk.trouble), "Disk: the ledger can be written." if disk.ok else trouble, disk.ok)


def _attention(snapshot: Snapshot) -> Fact:
    commands = snapshot.commands
    parts = [
        (commands.interrupted, "unknown outcomes"), (commands.unresolved, "failed or missed"), (commands.overdue, "acks unproven"),
        (commands.turned_away, "turned away"),
    ]  # fmt: skip
    told = ", ".join(f"{count} {what}" for count, what in parts if count)
    many = commands.attention
    return Fact((many,), f"Needs attention: {many} ({told}); `attention` lists them." if many else "Needs attention: nothing.", not many)
