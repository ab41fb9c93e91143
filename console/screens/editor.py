"""A payload to change before it runs again."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static, TextArea

from console.screens.dialog import Modal
from console.text import shown, width_of

LARGEST = 100_000
"""Characters: a larger payload is not for a text area."""


class Edited(NamedTuple):
    """What shall run, or only be shown."""

    payload: dict[str, Any]
    dry_run: bool


class PayloadError(ValueError):
    """Why a text is no payload: in one line, with the place."""


def editable(payload: Mapping[str, Any]) -> str:
    """The payload as JSON to edit; what a terminal could take for a command, or not show, is escaped."""
    text = json.dumps(dict(payload), indent=2, ensure_ascii=False, default=str)
    return "".join(char if char == "\n" or (char.isprintable() and width_of(char)) else json.dumps(char)[1:-1] for char in text)


def payload_of(text: str) -> dict[str, Any]:
    """The payload that a text says. Raises `PayloadError`."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise PayloadError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeEncodeError:
        raise PayloadError("half a surrogate pair is no character") from None
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"{shown(error, 80)}") from None
    if not isinstance(value, dict):
        raise PayloadError("a payload is an object: { … }")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class Editor(Modal[Edited | None]):
    """Ends with what to do, or None. While the text is no payload it says why, in place, and nothing runs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "run(False)", "Replay", priority=True),
        Binding("ctrl+d", "run(True)", "Dry run", priority=True),
        Binding("escape", "leave", "Leave", priority=True),
    ]

    def __init__(self, name: str, payload: Mapping[str, Any]) -> None:
        super().__init__()
        self._title = f"Payload of {name}"
        self._text = editable(payload)

    def compose(self) -> ComposeResult:
        box = Vertical(TextArea(self._text, soft_wrap=True), Static(id="verdict"), classes="dialog editor")
        box.border_title = Content(self._title)
        box.border_subtitle = Content("^r replay · ^d dry run · Esc leave")
        yield box

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()
        self._judge()

    def on_text_area_changed(self) -> None:
        self._judge()

    def _judge(self) -> dict[str, Any] | None:
        verdict = self.query_one("#verdict", Static)
        try:
            payload = payload_of(self.query_one(TextArea).text)
        except PayloadError as error:
            verdict.update(Content(f"✗ {error}"))
            verdict.set_class(True, "-wrong")
            return None
        verdict.update(Content("✓ an object, ready to run"))
        verdict.set_class(False, "-wrong")
        return payload

    def action_run(self, dry: bool) -> None:
        payload = self._judge()
        if payload is None:
            self.app.bell()
        else:
            self.dismiss(Edited(payload, dry))

    def action_leave(self) -> None:
        self.dismiss(None)
