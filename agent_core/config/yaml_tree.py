"""YAML as a tree that remembers its lines and judges no types: what a scalar means is the key's business, not YAML's.

So `12:30:00` is never 45000 and `+1310…` keeps its plus. Aliases, tags and duplicate keys are refused;
size, depth and number of values are bounded.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agent_core.plain import plain
from agent_core.redaction import looks_secret

MAX_BYTES = 2**20
MAX_DEPTH = 16
MAX_VALUES = 10_000

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):
    """A file that yields no tree: the sentence, without the file's name, and the line where there is one."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.line = line


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as it was written; `quoted` tells `"30"` from `30`."""

    text: str
    line: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    line: int
    items: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """Keys with their values; `lines` has where each key stands."""

    line: int
    values: "dict[str, Node]" = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


Node = Scalar | Sequence | Branch


def read_text(path: Path) -> str:
    """The file's text, at most 1 MiB of UTF-8 without control characters. Raises FileNotFoundError and `Unreadable`."""
    raw = _first_bytes(path)
    if len(raw) > MAX_BYTES:
        raise Unreadable("expected at most 1 MiB, found more")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("expected UTF-8, found other bytes", raw.count(b"\n", 0, error.start) + 1) from None
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise Unreadable(f"expected text, found the control character U+{ord(found.group()):04X}", line)
    return text


def _first_bytes(path: Path) -> bytes:
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise Unreadable("expected the name of a file") from None
    raise Unreadable("expected a file, found a directory" if stat.S_ISDIR(kind) else "expected a regular file")


def shown(text: str) -> str:
    """What an error may say of a value or a name: on one line, cut, and nothing of what looks like a secret."""
    return "a value that is not shown here" if looks_secret(text) else f"“{plain(text, 60)}”"


def parse(text: str) -> tuple[Branch, list[Unreadable]]:
    """The one document in `text`, and what of it cannot be taken; an empty one has no keys. Raises `Unreadable` where it is no tree."""
    reader = _Reader(_events(text))
    root: Node | None = None
    for event in reader.events:
        if isinstance(event, yaml.DocumentStartEvent):
            if root is not None:
                raise Unreadable("expected one YAML document, found a second", _line(event))
            root = reader.node(next(reader.events), 1) or Branch(1)
    if root is None or is_empty(root):
        return Branch(1), reader.problems
    if not isinstance(root, Branch):
        raise Unreadable(f"expected keys with values, found {kind_of(root)}", root.line)
    return root, reader.problems


def is_empty(node: Node) -> bool:
    """Whether nothing was given: `key:`, `key: ~`, `key: null`."""
    return isinstance(node, Scalar) and not node.quoted and node.text in {"", "~", "null", "Null", "NULL"}


def kind_of(node: Node) -> str:
    match node:
        case Branch():
            return "a section"
        case Sequence():
            return "a list"
        case _:
            return "text"


def _events(text: str) -> Iterator[Any]:
    try:
        for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
            if count > MAX_VALUES:
                raise Unreadable(f"expected at most {MAX_VALUES} values, found more", _line(event))
            yield event
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
        raise Unreadable(f"expected YAML: {problem}{_tab_hint(text, line)}", line) from None


def _tab_hint(text: str, line: int | None) -> str:
    lines = text.split("\n")
    if line is None or line > len(lines) or "\t" not in lines[line - 1]:
        return ""
    return " (there is a tab: indent with spaces)"


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Reader:
    """Events as nodes. What cannot be taken is a problem and no node, and the rest is read on."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.problems: list[Unreadable] = []

    def node(self, event: Any, depth: int) -> Node | None:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            self.problems.append(Unreadable("expected a value, found an alias (*name): write the value out", line))
            return None
        if event.tag is not None:
            self.problems.append(Unreadable("expected a value, found a tag (!name): write the value without it", line))
        found = self._untagged(event, line, depth)
        return found if event.tag is None else None

    def _untagged(self, event: Any, line: int, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, line, quoted=event.style is not None and event.style != "")
        if depth > MAX_DEPTH:
            raise Unreadable(f"expected at most {MAX_DEPTH} levels, found more", line)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            for item in self.events:
                if isinstance(item, yaml.SequenceEndEvent):
                    break
                if (found := self.node(item, depth + 1)) is not None:
                    items.append(found)
            return Sequence(line, tuple(items))
        return self._branch(line, depth)

    def _branch(self, line: int, depth: int) -> Branch:
        branch = Branch(line)
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if isinstance(key, Branch | Sequence):
                self.problems.append(Unreadable(f"expected a key, found {kind_of(key)}", key.line))
            elif key is not None and key.text in branch.lines:
                first = branch.lines[key.text]
                self.problems.append(Unreadable(f"expected each key once, found {shown(key.text)} again (first in line {first})", key.line))
            elif key is not None:
                branch.lines[key.text] = key.line
                if value is not None:
                    branch.values[key.text] = value
        return branch
