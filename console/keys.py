"""The console's actions by name, and other keys for them."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from textual.binding import Binding
from textual.keys import Keys

from agent_core.config.layers import ConfigError
from agent_core.plain import plain

_NAMED = {key.value for key in Keys} | {"space", "slash", "backslash", "colon", "question_mark", "exclamation_mark"}


def checked(wanted: Mapping[str, str], bindings: Iterable[Binding]) -> dict[str, str]:
    """`wanted` as a keymap for the app. Raises `ConfigError` with a sentence for each unknown name, unknown key and clash."""
    known: dict[str, set[str]] = {}
    reserved: set[str] = set()
    for binding in bindings:
        keys = {key.strip() for key in binding.key.split(",")}
        if binding.id is None:
            reserved |= keys
        else:
            known.setdefault(binding.id, set()).update(keys)
    problems: list[str] = []
    chosen: dict[str, str] = {}
    for name, key in wanted.items():
        if name not in known:
            near = get_close_matches(name[:100], known, 1)
            meant = f": did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
            problems.append(f"console.keys: {plain(name, 60)} is no action{meant}")
        elif not _is_key(key):
            problems.append(f"console.keys.{name}: expected a key such as f5, x or ctrl+r, found {plain(key, 60)}")
        else:
            chosen[name] = _spelt(key)
    owners: dict[str, str] = dict.fromkeys(reserved, "quitting")
    for name, keys in known.items():
        for key in {chosen[name]} if name in chosen else keys:
            if key in owners and (name in chosen or owners[key] in chosen):
                problems.append(f"console.keys: {plain(key, 30)} is for {owners[key]} and for {name}")
            owners[key] = name
    if problems:
        raise ConfigError(problems)
    return chosen


def _is_key(key: str) -> bool:
    """A character, or a key as Textual calls it, with or without a modifier."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    if not set(modifiers) <= {"ctrl", "shift", "alt"}:
        return False
    return (len(last) == 1 and last.isprintable() and not last.isspace()) or key in _NAMED or last in _NAMED


def _spelt(key: str) -> str:
    """A sign by the name that Textual gives it; only there are the names."""
    from textual.keys import _character_to_key

    return _character_to_key(key) if len(key) == 1 else key
