"""Whole messages read and written many at once (RFC 6455 §5.2): the short way beside the library's complete one.

Nearly every frame on a link is a whole message; the library's parser, a generator within generators, takes ten times as long for one, and
its writer four times. Every other frame, and whatever is wrong with one, is the library's.
"""

import os
from collections.abc import Sequence
from struct import pack

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

TEXT, BINARY = 0x81, 0x82
"""The first byte of a frame that is a whole message, with no extension."""
MASKED = 0x80
CONTROL = 0x08
"""Set in the opcode of a control frame."""
OPCODES = frozenset({0x0, 0x1, 0x2, 0x8, 0x9, 0xA})


def whole_messages(data: bytes, at: int, most: int) -> tuple[list[bytes], int]:
    """Those of at most `most` bytes that follow each other from `at` on, each in one frame that has come whole, and where they end."""
    messages: list[bytes] = []
    end = len(data)
    while end - at >= 4 and TEXT <= data[at] <= BINARY:
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = data[at + 2] << 8 | data[at + 3], at + 4
        elif size > 126:
            break
        if size > most or start + size > end:
            break
        at = start + size
        messages.append(data[start:at])
    return messages, at


def frame_end(data: bytes | bytearray, at: int, most: int) -> int | None:
    """Where the frame ends that begins at `at`; None where it has not come whole.

    The end of all where it is one that the library refuses at once.
    """
    if len(data) - at < 2:
        return None
    if data[at] & 0x0F not in OPCODES or data[at + 1] & MASKED:
        return len(data)
    size, start = data[at + 1], at + 2
    if size > 125:
        start += 2 if size == 126 else 8
        size = int.from_bytes(data[at + 2 : start])
    if start > len(data):
        return None
    if size > most:
        return len(data)
    return start + size if start + size <= len(data) else None


def others_end(data: bytes, at: int, most: int) -> int:
    """Where the frames end that follow each other whole from `at` on: control frames, and at most one of data, at their end.

    The part of a message that it brings leaves less room for the next.
    """
    end = at
    while end < len(data) and (end == at or not TEXT <= data[end] <= BINARY):
        is_data = data[end] & CONTROL == 0
        after = frame_end(data, end, most)
        if after is None:
            break
        end = after
        if is_data:
            break
    return end


def text_frames(texts: Sequence[str]) -> bytes:
    """A client's text frames, each a whole message."""
    masks = os.urandom(4 * len(texts))
    parts: list[bytes] = []
    for number, text in enumerate(texts):
        payload = text.encode()
        size = len(payload)
        if size < 126:
            head = pack("!BB", TEXT, MASKED | size)
        elif size < 65_536:
            head = pack("!BBH", TEXT, MASKED | 126, size)
        else:
            head = pack("!BBQ", TEXT, MASKED | 127, size)
        mask = masks[4 * number : 4 * number + 4]
        parts += (head, mask, apply_mask(payload, mask))
    return b"".join(parts)
