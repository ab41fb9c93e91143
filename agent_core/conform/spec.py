"""The models (models.py) as JSON Schema, AsyncAPI, TypeScript and Markdown."""

import json
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, get_args

import msgspec

from agent_core import __version__
from agent_core.conform.clauses import CLAUSES
from agent_core.conform.models import MODELS, AgentFrame, BackendFrame

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def definitions(prefix: str) -> dict[str, Schema]:
    """Every model by its name; `prefix` is what a reference to one begins with."""
    _, found = msgspec.json.schema_components(MODELS, ref_template=prefix + "{name}")
    return dict(sorted(found.items()))


def named(frames: UnionType) -> list[str]:
    return [model.__name__ for model in get_args(frames)]


def json_schema() -> str:
    """Valid for one frame of either side."""
    every = sorted({*named(AgentFrame), *named(BackendFrame)})
    whole = {
        "$schema": DIALECT, "title": "edge-console frames and bodies", "version": __version__,
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in every], "$defs": definitions("#/$defs/"),
    }  # fmt: skip
    return json.dumps(whole, ensure_ascii=False, indent=1)


def asyncapi() -> str:
    """AsyncAPI 3: the socket as a channel, each side's frames as an operation."""
    sides = {"agent": named(AgentFrame), "backend": named(BackendFrame)}
    messages = {name: {"payload": {"$ref": f"#/components/schemas/{name}"}} for name in sorted({*sides["agent"], *sides["backend"]})}
    operations = {
        f"{side}Says": {
            "action": "receive" if side == "agent" else "send", "channel": {"$ref": "#/channels/socket"},
            "messages": [{"$ref": f"#/channels/socket/messages/{name}"} for name in names],
        }
        for side, names in sides.items()
    }  # fmt: skip
    whole = {
        "asyncapi": "3.0.0",
        "info": {"title": "edge-console", "version": __version__, "description": "Seen from the backend; HTTP: PROTOCOL §3"},
        "channels": {"socket": {
            "address": "/edge/ws?edge_agent_id={edge_agent_id}", "parameters": {"edge_agent_id": {"description": "percent-encoded"}},
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        }},
        "operations": operations,
        "components": {"messages": messages, "schemas": definitions("#/components/schemas/")},
    }  # fmt: skip
    return json.dumps(whole, ensure_ascii=False, indent=1)


def markdown() -> str:
    """The clauses, and a table a model."""
    return f"# The clauses\n\n{clauses()}\n\n{objects('#')}"


def clauses() -> str:
    rows = (f"| {clause.id} | {clause.says} | {clause.section} |" for clause in CLAUSES)
    return "\n".join(("| clause | a backend | in |", "|---|---|---|", *rows))


def objects(heading: str) -> str:
    """A table a model, under a heading of that level."""
    return "\n\n".join("\n".join(_table(heading, name, schema)) for name, schema in definitions("").items())


def _table(heading: str, name: str, schema: Schema) -> Iterator[str]:
    yield from (f"{heading} {name}", "", schema.get("description", ""), "", "| field | type | needed | meaning |", "|---|---|---|---|")
    for field, inner in schema["properties"].items():
        needed = "yes" if field in schema.get("required", ()) else ""
        kind = typescript_of(inner).replace("|", "\\|")
        yield f"| `{field}` | `{kind}` | {needed} | {inner.get('description', '')} |"


def typescript() -> str:
    """One interface a model, and the two unions of frames."""
    lines = ["// The wire of edge-console: made by `edge-console spec --format typescript`."]
    for name, schema in definitions("").items():
        lines += ["", f"/** {schema.get('description', name)} */", f"export interface {name} {{"]
        for field, inner in schema["properties"].items():
            optional = "" if field in schema.get("required", ()) else "?"
            lines.append(f"  {field}{optional}: {typescript_of(inner)};")
        lines.append("}")
    for union, frames in (("AgentFrame", AgentFrame), ("BackendFrame", BackendFrame)):
        lines += ["", f"export type {union} = {' | '.join(named(frames))};"]
    return "\n".join(lines) + "\n"


def typescript_of(schema: Schema) -> str:
    """A schema as a TypeScript type."""
    if "$ref" in schema:
        return str(schema["$ref"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(typescript_of(one) for one in schema["anyOf"])
    match schema.get("type"):
        case "array":
            return f"Array<{typescript_of(schema.get('items', {}))}>"
        case "object":
            return "Record<string, unknown>"
        case "integer" | "number":
            return "number"
        case "string" | "boolean" | "null" as plain:
            return str(plain)
    return "unknown"


FORMATS: dict[str, Callable[[], str]] = {"json-schema": json_schema, "asyncapi": asyncapi, "md": markdown, "typescript": typescript}
