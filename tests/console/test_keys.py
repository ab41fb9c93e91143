"""Other keys for actions."""

import pytest

from agent_core.config.layers import ConfigError, load_config
from agent_core.events import ReconnectRequested
from console.app import EdgeConsole
from console.keys import checked
from tests.console.test_app import seated

BINDINGS = EdgeConsole.named_bindings()


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"reconect": "f5"}, "console.keys: reconect is no action: did you mean reconnect?"),
        ({"xyzzyx": "f5"}, "console.keys: xyzzyx is no action; there are back, cancel, copy"),
        ({"reconnect": "p"}, "console.keys: p is for reconnect and for polling"),
        ({"polling": "ctrl+c"}, "console.keys: ctrl+c is for quitting and for polling"),
        ({"reconnect": "f5", "replay": "f5"}, "console.keys: f5 is for reconnect and for replay"),
        ({"filter": "n"}, "console.keys: n is for filter and for next_match"),
        ({"reconnect": "banana"}, "console.keys.reconnect: expected a key such as f5, x or ctrl+r, found banana"),
        ({"reconnect": ""}, "console.keys.reconnect: expected a key"),
        ({"reconnect": "hyper+x"}, "console.keys.reconnect: expected a key"),
    ],
)
def test_a_clash_and_an_unknown_name_are_start_errors(wanted: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(wanted, BINDINGS)
    assert str(caught.value).startswith(says)


def test_keys_may_change_places_and_be_signs() -> None:
    assert checked({"reconnect": "p", "polling": "R", "filter": "#"}, BINDINGS) == {
        "reconnect": "p", "polling": "R", "filter": "number_sign",
    }  # fmt: skip
    assert len(checked({}, BINDINGS)) == 0


def test_the_configuration_has_them_in_the_file_and_the_environment(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "config.yaml"
    file.write_text("console:\n  keys: {reconnect: f5, mark: m}\n")
    assert load_config(file, {}, require_secret=False).console.keys == {"reconnect": "f5", "mark": "m"}
    found = load_config(file, {"EDGE__CONSOLE__KEYS": "reconnect=f6 replay=ctrl+r"}, require_secret=False)
    assert found.console.keys == {"reconnect": "f6", "replay": "ctrl+r"}
    file.write_text("console:\n  keys: [f5]\n")
    with pytest.raises(ConfigError, match="found a list"):
        load_config(file, {}, require_secret=False)


async def test_a_new_key_works_and_the_old_one_no_more_and_help_says_so() -> None:
    async with seated(keys=checked({"reconnect": "f5", "mark": "m"}, BINDINGS)) as seat:
        await seat.press("R")
        assert seat.host.posted == []
        await seat.press("f5")
        assert seat.host.posted == [ReconnectRequested()]
        assert "f5 Reconnect" in seat.screen()
        await seat.press("question_mark")
        assert "f5        reconnect       Dial now" in seat.dialog()
