"""What `attributedBody` holds: an NSAttributedString with one run, as Apple's typedstream archiver writes it."""

HEAD = bytes.fromhex("040b73747265616d747970656481e803840140") + b"\x84\x84\x84\x12NSAttributedString\x00\x84\x84\x08NSObject\x00\x85\x92"
STRING = b"\x84\x84\x84\x08NSString\x01\x94\x84\x01+"
RUN = b"\x86\x84\x02iI\x01"
ATTRIBUTES = (
    b"\x92\x84\x84\x84\x0cNSDictionary\x00\x94\x84\x01i\x01\x92\x84\x96\x96\x1d__kIMMessagePartAttributeName\x86\x92"
    b"\x84\x84\x84\x08NSNumber\x00\x84\x84\x07NSValue\x00\x94\x84\x01*\x84\x99\x99\x00\x86\x86\x86"
)


def attributed(text: str) -> bytes:
    """`text` as one message part; the run counts UTF-16 units, as NSString does."""
    body = text.encode()
    return HEAD + STRING + _integer(len(body)) + body + RUN + _integer(len(text.encode("utf-16-le")) // 2) + ATTRIBUTES


def _integer(value: int) -> bytes:
    """One byte where that is not the tag of a longer number."""
    if value < 0x80:
        return value.to_bytes()
    return b"\x81" + value.to_bytes(2, "little") if value < 0x1_0000 else b"\x82" + value.to_bytes(4, "little")
