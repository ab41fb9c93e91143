"""What a backend may change at run time (PROTOCOL §2)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.engine.settings import accept
from agent_core.events import (
    AbortSocket,
    ConfigReloaded,
    DialFailed,
    Failure,
    FrameReceived,
    OpenSocket,
    Record,
    ReloadFailed,
    SetLogLevel,
    SettingReset,
    Trouble,
)
from agent_core.frames import ConfigUpdate
from agent_core.records import Memory, SettingDropped
from agent_core.snapshot import Phase
from tests.harness.playbook import NOTHING, Playbook, http, like


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


# --- the configuration read anew, and what the backend has changed -------------------------------------------------------

HERE = {"sync_interval": 15.0, "ping_interval": 30.0, "log_level": "INFO"}


def reloaded(*, level_is_set: bool = False, changed: tuple[str, ...] = (), later: tuple[str, ...] = (), **here: Any) -> ConfigReloaded:
    return ConfigReloaded(HERE | here, level_is_set, changed, later)


def told_by_backend(book: Playbook, **values: Any) -> Playbook:
    return book >> FrameReceived(1, ConfigUpdate(values))


def test_what_is_read_anew_holds_at_once_and_costs_no_link() -> None:
    book = Playbook().online()
    book >> reloaded(sync_interval=60.0, log_level="DEBUG", level_is_set=True, changed=("logging.level",), later=("data_dir",))
    book << SetLogLevel("DEBUG")
    book.told("Configuration read anew: logging.level changed; data_dir from the next start on")
    assert book.snapshot.polling.every == 60
    assert book.snapshot.link.sessions == 1
    book >> reloaded(sync_interval=60.0, log_level="DEBUG", level_is_set=True)
    book << NOTHING
    book.told("Configuration read anew: nothing changed")


MOVED = ConfigReloaded(HERE, False, redialled=("backend.url",), backend_url="http://b", socket_url="ws://b/edge/ws")


def test_a_backend_that_is_elsewhere_is_dialled_there_at_once() -> None:
    book = Playbook().online()
    (book >> MOVED) << AbortSocket(1) << OpenSocket(2)
    book.told("Configuration read anew: backend.url changed, so it dials anew")
    assert (book.snapshot.backend_url, book.snapshot.socket_url) == ("http://b", "ws://b/edge/ws")
    (book >> MOVED) << AbortSocket(2) << OpenSocket(3)
    book >> DialFailed(3, http(401))
    assert book.snapshot.link.phase is Phase.REFUSED
    (book >> MOVED) << OpenSocket(4)
    assert book.snapshot.link.attempt == 0, "whoever refused it was elsewhere"


def test_without_a_socket_another_address_opens_none() -> None:
    book = Playbook(websocket={"enabled": False})
    book.started() >> MOVED
    assert book.snapshot.backend_url == "http://b"
    assert book.count(like(OpenSocket)) == 0


def test_the_backends_change_outranks_the_file_until_it_is_reset() -> None:
    book = told_by_backend(Playbook().online(), sync_interval=100)
    book >> reloaded(sync_interval=60.0)
    assert book.snapshot.polling.every == 100
    book >> SettingReset("sync_interval")
    changes = book.find(Record).changes
    assert changes == (SettingDropped("setting.sync_interval"), SettingDropped("setting.sync_interval.at"))
    assert book.snapshot.polling.every == 60
    book.told("Setting reset: sync_interval=60.0, as configured here")
    book >> SettingReset("sync_interval")
    book.told("sync_interval was not changed by the backend: there is nothing to reset", "WARNING")


def test_a_log_level_that_is_set_here_is_never_outranked() -> None:
    book = told_by_backend(Playbook(logging={"level": "ERROR"}).online(), log_level="DEBUG")
    book.told("Settings refused: log_level is set by this machine's own configuration", "WARNING")
    assert book.count(SetLogLevel("DEBUG")) == 0
    kept = Memory(kept=(("setting.log_level", "DEBUG"),))
    assert Playbook(logging={"level": "ERROR"}).online(kept).count(SetLogLevel("DEBUG")) == 0


def test_setting_the_log_level_here_ends_what_the_backend_set() -> None:
    book = told_by_backend(Playbook().online(), log_level="DEBUG")
    book << SetLogLevel("DEBUG")
    book >> reloaded(log_level="WARNING", level_is_set=True)
    book << SetLogLevel("WARNING")


def test_what_cannot_be_read_anew_changes_nothing() -> None:
    book = Playbook().online()
    book >> ReloadFailed(Failure(Trouble.GARBAGE, "config.yaml:3: expected a number"))
    book << NOTHING
    book.told("What was loaded before holds on: config.yaml:3: expected a number", "ERROR")
