"""Untrusted text made harmless: nothing that leaves here can move a cursor, colour a line, reorder it or end it."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _visible(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"<U+{code:04X}>"


def plain(text: object, limit: int = 500) -> str:
    """`text` on one line, at most `limit` characters and then `…`, with every control, format or unassigned character made visible."""
    raw = str(text)
    if len(raw) <= limit and raw.isprintable():
        return raw
    cut = raw if len(raw) <= limit else raw[:limit]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() or unicodedata.category(c) not in _HIDDEN else _visible(c) for c in cut)
    return cut if len(raw) <= limit else cut + "…"
