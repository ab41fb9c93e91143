"""What a backend may change at run time (PROTOCOL §2)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.engine.settings import accept


@pytest.mark.parametrize(
    ("key", "value", "name", "taken"),
    [
        ("sync_interval", 5, "sync_interval", 5.0),
        ("sync_interval", 300, "sync_interval", 300.0),
        ("sync_interval_seconds", "60", "sync_interval", 60.0),
        ("ping_interval", 10, "ping_interval", 10.0),
        ("ping_interval_seconds", 300.0, "ping_interval", 300.0),
        ("log_level", "debug", "log_level", "DEBUG"),
        ("log_level", "WARN", "log_level", "WARNING"),
    ],
)
def test_what_is_allowed_within_its_bounds(key: str, value: Any, name: str, taken: Any) -> None:
    assert accept({key: value}) == ({name: taken}, [])


NO_INTERVALS: tuple[Any, ...] = (4.99, 300.01, "x", None, True, [], 10**400)
NO_LEVELS: tuple[Any, ...] = ("LOUD", 10, None, [])


@pytest.mark.parametrize(
    ("key", "value", "clause"),
    [
        *(("sync_interval", value, "sync_interval must be 5 to 300 s") for value in NO_INTERVALS),
        ("sync_interval", float("nan"), "sync_interval must be 5 to 300 s"),
        *(("ping_interval", value, "ping_interval must be 10 to 300 s") for value in (9.99, 301, -1, float("inf"))),
        *(("log_level", value, "log_level must be one of DEBUG, INFO, WARNING, ERROR") for value in NO_LEVELS),
        ("auth.secret", "x", "auth.secret is not one a backend may change"),
        ("\x1b[2J", "x", "␛[2J is not one a backend may change"),
    ],
)
def test_the_rest_is_refused_and_named(key: str, value: Any, clause: str) -> None:
    assert accept({key: value}) == ({}, [clause])


def test_good_and_bad_are_taken_apart_and_the_answer_is_bounded() -> None:
    accepted, refused = accept({"log_level": "ERROR", **{f"key{n}": n for n in range(1_000)}})
    assert (accepted, len(refused)) == ({"log_level": "ERROR"}, 10)


@given(st.dictionaries(st.text() | st.sampled_from(["sync_interval", "log_level"]), st.integers() | st.floats() | st.text() | st.none()))
def test_nothing_raises_and_nothing_is_out_of_bounds(values: dict[str, Any]) -> None:
    accepted, _ = accept(values)
    assert 5 <= accepted.get("sync_interval", 5) <= 300
