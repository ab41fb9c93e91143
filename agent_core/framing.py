"""Text frames read and written many at once (RFC 6455 §5.2): the short way beside the library's complete one.

Nearly all that a link carries are text frames that are whole messages; the library's parser, a generator within generators, takes ten
times as long for one, and its writer four times. Every other frame, and whatever is wrong with one, is the library's.
"""

import os
from collections.abc import Sequence
from struct import pack

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

WHOLE_TEXT = 0x81
"""The first byte of a text frame that is a whole message, with no extension."""
MASKED = 0x80


def whole_texts(data: bytes, at: int, most: int) -> tuple[list[bytes], int]:
    """The payloads, of at most `most` bytes each, of the text frames that follow each other whole from `at` on, and where they end."""
    texts: list[bytes] = []
    end = len(data)
    while end - at >= 4 and data[at] == WHOLE_TEXT:
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = data[at + 2] << 8 | data[at + 3], at + 4
        elif size > 126:
            break
        if size > most or start + size > end:
            break
        at = start + size
        texts.append(data[start:at])
    return texts, at


def frame_end(data: bytes | bytearray, at: int, most: int) -> int | None:
    """Where the frame ends that begins at `at`; None where it has not come whole. The end of all where it is none a client may be sent."""
    if len(data) - at < 2:
        return None
    size, start = data[at + 1], at + 2
    if size in {126, 127}:
        start += 2 if size == 126 else 8
        size = int.from_bytes(data[at + 2 : start])
    if data[at + 1] & MASKED or size > most:
        return len(data)
    return start + size if start + size <= len(data) else None


def text_frames(texts: Sequence[str]) -> bytes:
    """A client's text frames, each a whole message."""
    masks = os.urandom(4 * len(texts))
    parts: list[bytes] = []
    for number, text in enumerate(texts):
        payload = text.encode()
        size = len(payload)
        if size < 126:
            head = pack("!BB", WHOLE_TEXT, MASKED | size)
        elif size < 65_536:
            head = pack("!BBH", WHOLE_TEXT, MASKED | 126, size)
        else:
            head = pack("!BBQ", WHOLE_TEXT, MASKED | 127, size)
        mask = masks[4 * number : 4 * number + 4]
        parts += (head, mask, apply_mask(payload, mask))
    return b"".join(parts)
