"""Nothing from outside reaches a terminal as it is (P14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.plain import plain


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("hello, wörld – 你好 😀", "hello, wörld – 你好 😀"),
        ("a\nb\r\tc", "a␊b␍␉c"),
        ("\x00\x07\x1b[2J", "␀␇␛[2J"),
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("\x7f", "␡"),
        ("\x9b31m", "<U+009B>31m"),
        ("abc\u202edef", "abc<U+202E>def"),
        ("a\u200bb\ufeff", "a<U+200B>b<U+FEFF>"),
        ("\u2028\u2029", "<U+2028><U+2029>"),
        ("\udc80", "<U+DC80>"),
        ("\ue000", "<U+E000>"),
        ("\U000e0041", "<U+E0041>"),
        ("[/bold][red]", "[/bold][red]"),
        (None, "None"),
        (ValueError("x\ny"), "x␊y"),
    ],
)
def test_control_and_hidden_characters_become_visible(raw: object, shown: str) -> None:
    assert plain(raw) == shown


def test_length_is_bounded_and_says_so() -> None:
    assert plain("x" * 500) == "x" * 500
    assert plain("x" * 501) == "x" * 500 + "…"
    assert plain("x" * 10**7, 10) == "x" * 10 + "…"
    assert plain("", 0) == ""


ANY = st.text(alphabet=st.characters(codec=None, exclude_categories=()))


@given(ANY)
def test_p14_no_control_format_or_surrogate_character_ever_leaves(text: str) -> None:
    shown = plain(text)
    shown.encode()
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in shown)
    assert all(char.isprintable() or char.isspace() for char in shown)
    assert len(shown.splitlines()) <= 1


@given(ANY)
def test_what_is_plain_stays_as_it_is(text: str) -> None:
    assert plain(plain(text), 10_000) == plain(text)
