"""config.yaml as it is written for people: every key with its value and its meaning, made from the models.

`python -m agent_core.config.annotated` prints it with the defaults: the repository's config.yaml.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby

from agent_core.config.layers import Key, keys
from agent_core.config.models import Config, Section

HEAD = """\
# edge-console: every key with its default. A value you leave out keeps it.
# The environment outranks this file: EDGE_SECRET, BACKEND_URL, EDGE_AGENT_ID, USER_PHONE, and every key as EDGE__SECTION__KEY
# (EDGE__BACKOFF__JITTER=none, EDGE__DATA_DIR=/var/lib/edge). A .env file beside this one is read too.
"""
_PLAIN = re.compile(r"[\w+/~.][\w+/~.:@%=,-]*(?<!:)")
_EMPTY = {"~", "null", "Null", "NULL"}


def annotated(values: Mapping[str, str] | None = None) -> str:
    """The file, with `values` (dotted key -> text) in place of their defaults."""
    parts = [HEAD]
    for section, inside in groupby(keys().values(), key=_section):
        lines = list(_lines(inside, values or {}))
        column = max(len(line) for line, _ in lines)
        title = [f"# {Config.model_fields[section].description}", f"{section}:"] if section else []
        parts.append("\n".join([*title, *(f"{line:<{column}}  # {meaning}" for line, meaning in lines), ""]))
    return "\n".join(parts)


def _section(key: Key) -> str:
    return key.name.partition(".")[0] if "." in key.name else ""


def _lines(inside: Iterator[Key], values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    part = ""
    for key in inside:
        *sections, leaf = key.name.split(".")
        indent = "  " * len(sections)
        if len(sections) == 2 and sections[1] != part:
            part = sections[1]
            yield f"  {part}:", _description(*sections)
        value = quoted(values[key.name]) if key.name in values else key.default
        yield f"{indent}{'# ' if key.secret else ''}{leaf}: {value}".rstrip(), str(key.field.description)


def _description(section: str, part: str) -> str:
    """Of a section within a section."""
    model = Config.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, Section)
    return str(model.model_fields[part].description)


def quoted(text: str) -> str:
    """A value as YAML takes it for that very text."""
    return text if _PLAIN.fullmatch(text) and text not in _EMPTY else json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    print(annotated(), end="")  # noqa: T201  this is what the command is for
