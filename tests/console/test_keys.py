"""Other keys for actions."""

from pathlib import Path

import pytest
from textual.keys import _character_to_key

from agent_core.config import Config
from agent_core.config.layers import ConfigError, load_config
from agent_core.config.models import Console
from agent_core.events import ReconnectRequested
from console.app import EdgeConsole
from console.keys import ACTIONS, RESERVED, judge, keymap, spelt
from tests.console.test_app import seated
from tests.harness.rig import program


def test_the_actions_are_those_of_the_app() -> None:
    bindings = EdgeConsole.named_bindings()
    assert dict(ACTIONS) == {binding.id: binding.key for binding in bindings if binding.id is not None}
    assert tuple(key for binding in bindings if binding.id is None for key in binding.key.split(",")) == RESERVED


@pytest.mark.parametrize("char", [chr(code) for code in range(0x21, 0x7F)])
def test_a_sign_is_spelt_as_textual_has_it(char: str) -> None:
    assert spelt(char) == _character_to_key(char)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"reconect": "f5"}, "reconect is no action: did you mean reconnect?"),
        ({"xyzzyx": "f5"}, "xyzzyx is no action; there are approve, attention, back"),
        ({"reconnect": "p"}, "p is for reconnect and for polling"),
        ({"polling": "ctrl+c"}, "ctrl+c is for quitting and for polling"),
        ({"reconnect": "f5", "replay": "f5"}, "f5 is for reconnect and for replay"),
        ({"filter": "n"}, "n is for filter and for next_match"),
        ({"reconnect": "banana"}, "expected a key such as f5, x or ctrl+r for reconnect, found banana"),
        ({"reconnect": ""}, "expected a key"),
        ({"reconnect": "hyper+x"}, "expected a key"),
    ],
)
def test_a_clash_and_an_unknown_name_are_start_errors(wanted: dict[str, str], says: str) -> None:
    (key, sentence), *others = judge(Config(console=Console(keys=wanted)))
    assert not others
    assert key in {f"console.keys.{name}" for name in wanted}
    assert sentence.startswith(says)


async def test_f83_a_wrong_key_is_told_with_its_line_though_no_screen_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("console:\n  keys:\n    replay: ctrl+r\n    reconect: f5\n    edit: banana\n")
    code = "import sys; from console.cli.main import main\ntry:\n    main()\nfinally:\n    print('textual' in sys.modules)"
    async with program("--no-ui", "--for", "1", cwd=tmp_path, code=code) as process:
        assert await process.ends() == 2
    assert process.out == ["False"]
    assert process.err == [
        "edge-console: config.yaml:4: console.keys: reconect is no action: did you mean reconnect?",
        "edge-console: config.yaml:5: console.keys: expected a key such as f5, x or ctrl+r for edit, found banana",
    ]


def test_keys_may_change_places_and_be_signs() -> None:
    wanted = {"reconnect": "p", "polling": "R", "filter": "#"}
    assert list(judge(Config(console=Console(keys=wanted)))) == []
    assert keymap(wanted) == wanted | {"filter": "number_sign"}


def test_the_configuration_has_them_in_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("console:\n  keys: {reconnect: f5, mark: m}\n")
    assert load_config(file, {}, require_secret=False).console.keys == {"reconnect": "f5", "mark": "m"}
    found = load_config(file, {"EDGE__CONSOLE__KEYS": "reconnect=f6 replay=ctrl+r"}, require_secret=False)
    assert found.console.keys == {"reconnect": "f6", "replay": "ctrl+r"}
    file.write_text("console:\n  keys: [f5]\n")
    with pytest.raises(ConfigError, match="found a list"):
        load_config(file, {}, require_secret=False)


async def test_a_new_key_works_and_the_old_one_no_more_and_help_says_so() -> None:
    async with seated(keys={"reconnect": "f5", "mark": "m"}) as seat:
        await seat.press("R")
        assert seat.host.posted == []
        await seat.press("f5")
        assert seat.host.posted == [ReconnectRequested()]
        assert "f5 Reconnect" in seat.screen()
        await seat.press("question_mark")
        assert "f5        reconnect       Dial now" in seat.dialog()
