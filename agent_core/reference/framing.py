"""A client's frames and ours, where each is a whole message (RFC 6455 §5.2): nearly all are, and the library takes ten times as long.

Every other frame, and whatever is wrong with one, is the library's.
"""

from collections.abc import Sequence
from struct import pack

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

TEXT = 0x81
"""The first byte of a whole text message, with no extension."""
MASKED = 0x80


def frame_size(data: bytes, at: int) -> int:
    """Of the client's frame that begins at `at`, head and all; 0 where its head has not come whole."""
    if len(data) - at < 2:
        return 0
    size, head = data[at + 1] & ~MASKED, 2
    if size > 125:
        head = 4 if size == 126 else 10
        size = int.from_bytes(data[at + 2 : at + head])
    head += 4 if data[at + 1] & MASKED else 0
    return head + size if len(data) - at >= head else 0


def message(data: bytes, at: int, size: int) -> bytes:
    """What a client's frame of `size` bytes says, as UTF-8 or not."""
    start = at + (6 if data[at + 1] & ~MASKED < 126 else 8 if data[at + 1] & ~MASKED == 126 else 14)
    return apply_mask(data[start : at + size], data[start - 4 : start])


def text_frames(texts: Sequence[str]) -> bytes:
    """A server's text frames, each a whole message."""
    parts: list[bytes] = []
    for text in texts:
        payload = text.encode()
        size = len(payload)
        head = pack("!BB", TEXT, size) if size < 126 else pack("!BBH", TEXT, 126, size) if size < 65_536 else pack("!BBQ", TEXT, 127, size)
        parts += (head, payload)
    return b"".join(parts)
