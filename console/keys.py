"""The console's actions by name with their keys, and other keys for them: judged without the screen, so that headless can, too."""

import unicodedata
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from string import punctuation
from typing import TYPE_CHECKING

from agent_core.plain import plain

if TYPE_CHECKING:
    from agent_core.config import Config

ACTIONS: Mapping[str, str] = {
    "reconnect": "R", "polling": "p", "replay": "r", "edit": "e", "cancel": "x", "inspect": "enter", "follow": "f", "filter": "slash",
    "copy": "y", "save_rows": "w", "load": "L", "panel_1": "1", "panel_2": "2", "panel_3": "3", "panel_4": "4", "panel_5": "5",
    "next_panel": "tab", "panel_before": "shift+tab", "zoom": "z", "back": "escape", "screenshot": "ctrl+s", "diagnose": "D",
    "attention": "exclamation_mark", "mask": "m", "beside": "v", "thread": "T",
    "help": "question_mark", "quit": "q", "palette": "ctrl+p,colon", "suspend": "ctrl+z",
    "up": "up,k", "down": "down,j", "page_up": "pageup", "page_down": "pagedown", "oldest": "home,g", "newest": "end,G", "mark": "space",
    "failures": "E", "filter_off": "backslash", "next_match": "n", "previous_match": "N", "order": "o", "times": "t",
    "level": "l", "sort": "S", "filters": "F", "columns": "C", "hold": "h", "approve": "a", "refuse": "X",
}  # fmt: skip
"""What the app and the stream bind."""
RESERVED = ("ctrl+c", "ctrl+q")
"""They quit, whatever is configured."""
_OTHERWISE_NAMED = {
    "solidus": "slash", "reverse_solidus": "backslash", "commercial_at": "at", "hyphen_minus": "minus", "plus_sign": "plus",
    "low_line": "underscore",
}  # fmt: skip


def spelt(key: str) -> str:
    """A key as Textual spells it: a sign by its Unicode name."""
    if len(key) != 1 or key.isalnum():
        return key
    name = unicodedata.name(key, key).lower().replace("-", "_").replace(" ", "_")
    return _OTHERWISE_NAMED.get(name, name)


_NAMED = {
    *("escape", "enter", "tab", "space", "backspace", "insert", "delete", "home", "end", "pageup", "pagedown"),
    *("up", "down", "left", "right"),
    *(f"f{number}" for number in range(1, 25)),
    *map(spelt, punctuation),
}


def keymap(wanted: Mapping[str, str]) -> dict[str, str]:
    """`console.keys` as the app takes them."""
    return {name: spelt(key) for name, key in wanted.items()}


def judge(config: "Config") -> Iterator[tuple[str, str]]:
    """(key, sentence) for each unknown name, unknown key and clash in `console.keys`."""
    wanted = config.console.keys
    for name, key in wanted.items():
        if name not in ACTIONS:
            near = get_close_matches(name[:100], ACTIONS, 1)
            meant = f": did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(ACTIONS))}"
            yield f"console.keys.{name}", f"{plain(name, 60)} is no action{meant}"
        elif not _is_key(key):
            yield f"console.keys.{name}", f"expected a key such as f5, x or ctrl+r for {name}, found {plain(key, 60) or 'none'}"
    chosen = {name: {spelt(key)} for name, key in wanted.items() if name in ACTIONS and _is_key(key)}
    owners: dict[str, str] = dict.fromkeys(RESERVED, "quitting")
    for name, keys in ACTIONS.items():
        for key in chosen.get(name) or keys.split(","):
            owner = owners.setdefault(key, name)
            if owner != name and (name in chosen or owner in chosen):
                yield f"console.keys.{name if name in chosen else owner}", f"{plain(key, 30)} is for {owner} and for {name}"


def _is_key(key: str) -> bool:
    """A character, or a key by its name, with or without modifiers."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    if not set(modifiers) <= {"ctrl", "shift", "alt"}:
        return False
    return (len(last) == 1 and last.isprintable() and not last.isspace()) or last in _NAMED
