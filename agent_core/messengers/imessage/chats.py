"""Whom a thread id means: a person by number or address, or a group."""

import re
from dataclasses import dataclass

_ID = re.compile(r"\w+;([-+]);(.+)", re.DOTALL)
_PHONE = re.compile(r"\+?[0-9]{3,20}")
_PUNCTUATION = re.compile(r"[\s().-]")


@dataclass(frozen=True, slots=True)
class Recipient:
    """`identifier` is what stands in a chat's id behind the last semicolon: it is the same in both forms, `iMessage;…` and `any;…`."""

    identifier: str
    group: bool


def recipient_of(thread_id: str) -> Recipient:
    """Raises ValueError."""
    if (chat := _ID.fullmatch(thread_id)) is not None:
        return Recipient(chat[2], chat[1] == "+")
    if re.fullmatch(r"chat[0-9]+", thread_id):
        return Recipient(thread_id, group=True)
    if "@" in thread_id:
        return Recipient(thread_id, group=False)
    number = _PUNCTUATION.sub("", thread_id)
    if not _PHONE.fullmatch(number):
        raise ValueError("the thread_id is no phone number, no e-mail address and no chat's id")
    return Recipient(number, group=False)
