"""A payload to change before it runs again."""

import json
from collections.abc import Callable, Mapping
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
ANSWER_ROWS = 12


class Draft(NamedTuple):
    """What was left half edited."""

    text: str


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


class Editor(Modal[dict[str, Any] | Draft | None]):
    """Ends with the payload to run, or a draft where something was changed. What is wrong, and a dry run's answer, stand in their place."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "run", "Run", key_display="^r", priority=True),
        Binding("ctrl+d", "dry_run", "Dry run", key_display="^d", priority=True),
        Binding("escape", "leave", "Leave", priority=True),
    ]

    def __init__(self, name: str, payload: Mapping[str, Any], try_out: Callable[[dict[str, Any]], None], draft: str | None = None) -> None:
        super().__init__()
        self.title = f"Payload of {name}" + ("" if draft is None else " · your draft")
        self._before = editable(payload)
        self._text = self._before if draft is None else draft
        self._try_out = try_out

    def compose(self) -> ComposeResult:
        box = Vertical(TextArea(self._text, soft_wrap=True), Static(id="verdict"), classes="dialog editor")
        box.border_title = Content(self.title or "")
        box.border_subtitle = Content("^r run · ^d dry run · Esc leave")
        yield box

    def on_mount(self) -> None:
        if self.query(TextArea):  # not where it was left before it was composed
            self.query_one(TextArea).focus()
            self._judge()

    def on_text_area_changed(self) -> None:
        self._judge()

    def _judge(self) -> dict[str, Any] | None:
        try:
            payload = payload_of(self.query_one(TextArea).text)
        except PayloadError as error:
            self._say(f"✗ {error}", wrong=True)
            return None
        self._say("✓ an object, ready to run")
        return payload

    def _say(self, text: str, *, wrong: bool = False) -> None:
        verdict = self.query_one("#verdict", Static)
        verdict.update(Content(text))
        verdict.set_class(wrong, "-wrong")

    def answered(self, text: str) -> None:
        """What the dry run said: in words, and its payload as JSON."""
        words, _, fields = text.partition(" with {")
        try:
            rows = editable(json.loads("{" + fields)).splitlines()
        except (ValueError, RecursionError):
            words, rows = text, []
        shown_rows = rows[:ANSWER_ROWS] + ["…"] * (len(rows) > ANSWER_ROWS)
        self._say("\n".join([shown(words, 300), *(shown(row, 200) for row in shown_rows)]))

    def action_run(self) -> None:
        payload = self._judge()
        if payload is None:
            self.app.bell()
        else:
            self.dismiss(payload)

    def action_dry_run(self) -> None:
        payload = self._judge()
        if payload is None:
            self.app.bell()
        else:
            self._say("… asking what it would do")
            self._try_out(payload)

    def action_leave(self) -> None:
        text = self.query_one(TextArea).text
        self.dismiss(None if text == self._before else Draft(text))
