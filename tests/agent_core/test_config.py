"""The models: their bounds, their URLs, their documentation."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent_core.config.annotated import annotated
from agent_core.config.layers import config_table, keys, load_config
from agent_core.config.models import Auth, Backend, Config, Edge, Messenger

ROOT = Path(__file__).parents[2]


def test_the_documented_file_is_the_defaults() -> None:
    documented = load_config(ROOT / "config.yaml", {}, require_secret=False)
    assert documented == Config(data_dir=Config().data_dir.expanduser())


def test_the_documented_file_is_that_of_the_models() -> None:
    assert (ROOT / "config.yaml").read_text() == annotated(), "python -m agent_core.config.annotated > config.yaml"
    assert all(key.field.description for key in keys().values())


@pytest.mark.parametrize(
    "text",
    ["a b", "x: y", "#1", "null", "~", "true", "+1310", "- a", "it's", 'say "x"', "{a}", "a:", "back\\slash", "*a", "!b", "%c", "@d"],
)
def test_an_answer_comes_back_from_the_file_as_it_was_given(tmp_path: Path, text: str) -> None:
    given = {"edge.agent_id": text, "backend.url": "http://127.0.0.1:1", "data_dir": f"/srv/{text}"}
    (tmp_path / "config.yaml").write_text(annotated(given))
    config = load_config(tmp_path / "config.yaml", {}, require_secret=False)
    assert (config.edge.agent_id, config.backend.url, str(config.data_dir)) == (text, "http://127.0.0.1:1", f"/srv/{text}")
    assert config.timing == Config().timing


def test_the_table_has_every_key_once() -> None:
    rows = config_table().splitlines()
    assert len(rows) == 2 + len(keys())
    assert "| `backoff.jitter` | `full` | full or none | full: uniform inside the step; none: exactly the step |" in rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1",
        "http://127.0.0.1",
        "http://127.8.9.10:80",
        "http://[::1]:8787",
        "https://backend.example/prefix",
        "https://10.0.0.1/",
    ],
)
def test_urls_taken(url: str) -> None:
    assert Backend(url=url).url == url
    assert Backend(websocket_url=url.replace("http", "ws")).websocket_url == url.replace("http", "ws")


@pytest.mark.parametrize(
    "url",
    [
        *("http://backend.example", "http://10.0.0.1", "http://0.0.0.0", "http://127.1", "http://localhost.evil.example", "http://[::2]"),
        *("ftp://localhost", "localhost:8787", "//localhost", "https://", "https:///x", "http://:80", "", "https://h:99999", "https://h:0"),
        *("https://user@h", "https://user:pw@h", "http://user@localhost", "https://h?x=1", "https://h#x", "https://h/?", "https://h h"),
        *("https://[::1", "https://h\n", "https://h\x00", "https://hé.example"),
    ],
)
def test_urls_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Backend(url=url)
    with pytest.raises(ValidationError):
        Backend(websocket_url=url.replace("http", "ws", 1))


def test_the_socket_url_follows_the_url_unless_given() -> None:
    def socket_url(**backend: Any) -> str:
        return Config(backend=Backend(**backend)).socket_url

    assert socket_url(url="http://127.0.0.1:8787") == "ws://127.0.0.1:8787/edge/ws"
    assert socket_url(url="HTTPS://h/prefix/") == "wss://h/prefix/edge/ws"
    assert socket_url(websocket_url="wss://h/x") == "wss://h/x/edge/ws"
    assert socket_url(websocket_url="wss://h/edge/ws") == "wss://h/edge/ws"


@pytest.mark.parametrize("secret", ["canary7", "canary 99", "canary99\n", "canary99\xe9", "canary99\x00", "canary99\udcff"])
def test_unfit_secrets_are_refused_unseen(secret: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Auth(secret=secret)
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(Config(auth=Auth(secret="canary99")))
    assert "canary" not in Config(auth=Auth(secret="canary99")).model_dump_json()


@pytest.mark.parametrize("agent_id", ["", " x", "x ", "a\nb", "é", "a\x1bb", "x" * 201])
def test_an_agent_id_fits_a_header(agent_id: str) -> None:
    with pytest.raises(ValidationError):
        Edge(agent_id=agent_id)


def test_kind_file_needs_a_path() -> None:
    with pytest.raises(ValidationError, match=r"expected a path, since messenger\.kind is file"):
        Messenger(kind="file")
    assert Messenger(kind="file", path=Path("/x")).path == Path("/x")


def test_nothing_changes_and_nothing_is_added() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        setattr(config, "data_dir", Path("/x"))  # noqa: B010  (mypy would refuse it, too)
    with pytest.raises(ValidationError):
        Config.model_validate({"spare": 1})
