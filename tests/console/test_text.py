"""Formatting that needs no terminal."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from console import text
from tests.harness.stills import HOSTILE, NOON


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-3, "0 s"), (0.4, "0 s"), (48, "48 s"), (125, "2m 05s"), (8_047, "2h 14m 07s"), (3 * 86_400 + 4 * 3_600 + 5, "3d 04h")],
)
def test_duration(seconds: float, expected: str) -> None:
    assert text.duration(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0.0"), (12.74, "12.7"), (59.94, "59.9"), (59.99, "1:00"), (272, "4:32"), (7_200, "2:00:00"), (10**7, "999:00:00")],
)
def test_countdown(seconds: float, expected: str) -> None:
    assert text.countdown(seconds) == expected
    assert len(set(map(len, text.big(expected)))) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "·"),
        (0.421, "0.42"),
        (18.94, "18.9"),
        (999.96, "1 000"),
        (1_204.2, "1 204"),
        (12_345, "12.3s"),
        (1_204_000, "20m 04s"),
        (43_000_000, "11h 56m"),
        (259_186_565, "2d 23h"),
        (1e15, "99999d"),
        (0.999, "1.0"),
    ],
)
def test_milliseconds(value: float | None, expected: str) -> None:
    assert text.milliseconds(value) == expected


@given(st.floats(0, 1e15))
def test_c4_milliseconds_need_no_more_than_seven_cells(value: float) -> None:
    assert cell_len(text.milliseconds(value)) <= 7


@given(st.floats(0, 1e15))
def test_c4_compact_figures_need_no_more_than_four_cells_and_stay_readable(value: float) -> None:
    figure, unit = text.compact(value)
    assert len(figure) <= 4
    size = {"ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}[unit]
    assert float(figure) < 1_000 or unit == "d"
    assert abs(float(figure) * size - value) <= 0.06 * value + 0.005 or figure == "9999"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0 ms"),
        (0.42, "0.42 ms"),
        (18.3, "18 ms"),
        (999.6, "1 s"),
        (12_345.0, "12 s"),
        (1_204_000.0, "20 m"),
        (9e7, "25 h"),
        (1e12, "9999 d"),
    ],
)
def test_c4_the_unit_changes_with_the_figure(value: float, expected: str) -> None:
    assert " ".join(text.compact(value)) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.5, "0.5"), (60.0, "60"), (599.0, "599"), (1_024.0, "17m"), (86_400.0, "24h")])
def test_c4_a_step_of_the_ladder_names_its_unit_past_ten_minutes(value: float, expected: str) -> None:
    assert text.seconds_name(value) == expected
    assert text.with_unit(expected) == (expected if expected[-1].isalpha() else f"{expected} s")


@given(st.integers(0, 10**11 - 1))
def test_c4_counts_need_no_more_than_seven_cells(number: int) -> None:
    assert cell_len(text.count(number)) <= 7
    if number < 1_000_000:
        assert text.count(number) == text.grouped(number)


@pytest.mark.parametrize(
    ("after", "expected"), [(0, "14:32:07"), (86_400, "11-07 14:32:07"), (-3_600, "13:32:07"), (-370 * 86_400, "2025-11-01 14:32:07")]
)
def test_c5_an_instant_that_is_not_today_has_its_date(after: float, expected: str) -> None:
    assert text.moment(NOON + after, NOON, UTC) == expected


def test_times_are_of_the_zone_asked_for_and_survive_nonsense() -> None:
    assert text.stamp(NOON + 0.3, UTC) == "14:32:07.300"
    assert text.minute_of_day(NOON, UTC) == "14:32"
    assert text.stamp(1e18, UTC) == "00:00:00.000"


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [
        ("cmd_b0cb91ce37", 20, "cmd_b0cb91ce37"),
        ("cmd_b0cb91ce37", 12, "b0cb91ce37"),
        ("cmd_b0cb91ce37aa", 8, "b0c…37aa"),
        ("漢字漢字漢字", 6, "漢字…"),
        ("abcdef", 3, "ab…"),
    ],
)
def test_short_id(name: str, width: int, expected: str) -> None:
    assert text.short_id(name, width) == expected


@given(st.text(), st.integers(0, 40))
def test_fitted_text_is_exactly_as_wide_as_asked(raw: str, width: int) -> None:
    safe = text.shown(raw)
    assert cell_len(text.fit(safe, width)) == width
    assert cell_len(text.fit_right(safe, width)) == width
    assert cell_len(text.cut(safe, width)) <= width


def test_wrapped_text_breaks_at_spaces_and_says_what_is_missing() -> None:
    why = "TLS: self-signed certificate, which nobody here trusts"
    assert text.wrapped(why, 24, 3) == ["TLS: self-signed", "certificate, which", "nobody here trusts"]
    assert text.wrapped(why, 24, 2) == ["TLS: self-signed", "certificate, which nobo…"]
    assert text.wrapped("a" * 7, 3, 3) == ["aaa", "aaa", "a"]
    assert text.wrapped("", 3, 3) == [""]


@given(st.text(), st.integers(2, 40), st.integers(1, 4))
def test_wrapped_text_stays_in_its_box_and_loses_nothing_in_silence(raw: str, width: int, most: int) -> None:
    safe = text.shown(raw).strip()
    rows = text.wrapped(safe, width, most)
    assert len(rows) <= most
    assert all(cell_len(row) <= width for row in rows)
    assert "…" in rows[-1] or "".join("".join(rows).split()) == "".join(safe.split())
    assert cell_len(text.short_id(safe, width)) <= width


@pytest.mark.parametrize("raw", HOSTILE)
def test_nothing_shown_can_move_a_cursor_or_shift_a_column(raw: str) -> None:
    safe = text.shown(raw, 200)
    assert safe.isprintable()
    assert len(safe) < 2_000
    assert cell_len(safe) == sum(cell_len(char) for char in safe)


def test_c17_a_skin_tone_takes_no_cells_of_its_own() -> None:
    assert text.shown("👍🏽 ok") == "👍 ok"


def test_host_of() -> None:
    assert text.host_of("https://user:pass@api.example.net:8443/edge") == "api.example.net:8443"
    assert text.host_of("nonsense") == "nonsense"
