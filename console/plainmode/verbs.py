"""The words that an operator types: one table, from which they are understood and explained."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple


class Verb(NamedTuple):
    """A command in words. `changes`: a console that only looks refuses it."""

    name: str
    arguments: str
    does: str
    changes: bool = False

    @property
    def usage(self) -> str:
        return f"{self.name} {self.arguments}".strip()


class Unknown(Exception):
    """No such word; the sentence says which is near."""


VERBS = (
    Verb("status", "", "how the agent stands, with the seconds left until the next dial"),
    Verb("why", "", "why it is not online, or was not before, and what to do"),
    Verb("diagnose", "", "look at the way to the backend, stage by stage"),
    Verb("reconnect", "", "dial now, whatever the backoff says", changes=True),
    Verb("polling", "auto|always|never", "poll while the socket is down, beside it too, or not at all", changes=True),
    Verb("list", "[N] [FILTER]", "the last N commands (10), or the last N that the filter takes"),
    Verb("show", "ID", "all that is known of a command; of an ID a part is enough where no other has it"),
    Verb("replay", "ID [dry]", "run a command once more; dry: only tell what would run", changes=True),
    Verb("cancel", "ID", "do not send a message that is due later", changes=True),
    Verb("approve", "ID", "let a command run that is held", changes=True),
    Verb("refuse", "ID", "have a command fail that is held", changes=True),
    Verb("hold", "FILTER|all|off", "have new commands wait for you: those that the filter takes, all, or none", changes=True),
    Verb("attention", "", "what needs you, and what to do about each"),
    Verb(
        "resolve",
        "ID sent [GUID]|unsent|dismissed",
        "say what came of a command that needs attention",
        changes=True,
    ),
    Verb("follow", "on|off", "tell of commands as they come and end"),
    Verb("filter", "FILTER|off", "tell only of commands that the filter takes"),
    Verb("latency", "", "how long acks, runs, proofs and pings took, and whose the delays were"),
    Verb("log", "[N]|on|off", "the log's last N lines (10); on: every line as it comes, off: warnings and errors alone"),
    Verb("mask", "on|off", "hide to whom messages go and what they say"),
    Verb("help", "[WORD]", "these words, or what a filter may say: help filter"),
)
LEAVING = Verb("quit", "", "stop the agent and leave; asks first")
DETACHING = (Verb("detach", "", "leave; the agent goes on"), Verb("quit", "", "the same"))


def understood(text: str, verbs: Sequence[Verb]) -> tuple[Verb, str]:
    """The verb, which may be cut short where no other begins so, and what stands behind it. Raises Unknown."""
    word, _, rest = text.strip().partition(" ")
    word = word.lower()
    found = [verb for verb in verbs if verb.name == word] or [verb for verb in verbs if verb.name.startswith(word)]
    if len(found) == 1:
        return found[0], rest.strip()
    if found:
        raise Unknown(f"{word} may be {_or(verb.name for verb in found)}.")
    near = get_close_matches(word[:40], [verb.name for verb in verbs], 1)
    raise Unknown(f"There is no {word[:40]}; {f'did you mean {near[0]}?' if near else 'help lists the words.'}")


def _or(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} or {last}"
