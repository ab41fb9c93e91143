"""What a message is in `chat.db`: a row for its text, then one for each of its files."""

from dataclasses import dataclass

from agent_core.attachments import safe_name
from agent_core.frames import Message


@dataclass(frozen=True, slots=True)
class Text:
    text: str

    def __str__(self) -> str:
        return "the text"


@dataclass(frozen=True, slots=True)
class File:
    """By what Messages notes of a file that it has attached."""

    name: str
    bytes: int

    def __str__(self) -> str:
        return self.name


Part = Text | File


def parts_of(message: Message) -> list[Part]:
    """In the order in which they are sent."""
    files: list[Part] = [File(safe_name(one.name), one.bytes) for one in message.attachments]
    return [Text(message.text), *files] if message.text else files
