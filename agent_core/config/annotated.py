"""config.yaml as it is written for people: every key with its value and its meaning, made from the models.

`python -m agent_core.config.annotated` prints it with the defaults: the repository's config.yaml.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby

from agent_core.config.layers import Key, keys
from agent_core.config.models import Config

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
    for section, inside in groupby(keys().values(), key=lambda key: key.name.rpartition(".")[0]):
        lines = list(_lines(inside, values or {}, "  " if section else ""))
        column = max(len(line) for line, _ in lines)
        title = [f"# {Config.model_fields[section].description}", f"{section}:"] if section else []
        parts.append("\n".join([*title, *(f"{line:<{column}}  # {meaning}" for line, meaning in lines), ""]))
    return "\n".join(parts)


def _lines(inside: Iterator[Key], values: Mapping[str, str], indent: str) -> Iterator[tuple[str, str]]:
    for key in inside:
        leaf = key.name.rpartition(".")[2]
        value = quoted(values[key.name]) if key.name in values else key.default
        yield f"{indent}{'# ' if key.secret else ''}{leaf}: {value}".rstrip(), str(key.field.description)


def quoted(text: str) -> str:
    """A value as YAML takes it for that very text."""
    return text if _PLAIN.fullmatch(text) and text not in _EMPTY else json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    print(annotated(), end="")  # noqa: T201  this is what the command is for
