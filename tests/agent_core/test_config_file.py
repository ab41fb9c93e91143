"""Loading: layers, and a sentence for each trouble."""

# ruff: noqa: E501  an expected sentence stays in one piece

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_core.config import Config
from agent_core.config.layers import ConfigError, load_config
from agent_core.snapshot import PollingMode

CANARY = "canary-secret-0123456789"
ENV = {"EDGE_SECRET": CANARY}


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)


def load(text: str | bytes | None = None, env: dict[str, str] | None = None, dotenv: str | None = None, **how: Any) -> Config:
    if text is not None:
        Path("config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    if dotenv is not None:
        Path(".env").write_text(dotenv)
    return load_config(None if text is None else Path("config.yaml"), ENV if env is None else env, **how)


def problems(*given: Any, **how: Any) -> tuple[str, ...]:
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load(*given, **how)
    assert time.monotonic() - began < 1
    found = caught.value.problems
    assert str(caught.value).split("\n") == list(found)
    assert all(said.isprintable() and "canary" not in said for said in found)
    assert caught.value.__cause__ is None
    return found


def sentence(*given: Any, **how: Any) -> str:
    return problems(*given, **how)[0]


WRONG = [
    # structure
    ("- a\n- b", "config.yaml:1: expected keys with values, found a list"),
    ("just text", "config.yaml:1: expected keys with values, found text"),
    ("a: [", "config.yaml:2: expected YAML: did not find expected node content"),
    (
        "edge:\n\tagent_id: x",
        "config.yaml:2: expected YAML: found character that cannot start any token (there is a tab: indent with spaces)",
    ),
    ("backend:\n  url: https://x\n  url: y", "config.yaml:3: expected each key once, found “url” again (first in line 2)"),
    ("edge: {}\nack: {}\nedge: {}", "config.yaml:3: expected each key once, found “edge” again (first in line 1)"),
    ("ack: &a {}\nedge: [*a, *a]", "config.yaml:2: expected a value, found an alias (*name): write the value out"),
    ("a: &a [*a]", "config.yaml:1: expected a value, found an alias (*name): write the value out"),
    ("edge:\n  agent_id: !!python/name:os.system x", "config.yaml:2: expected a value, found a tag (!name): write the value without it"),
    ("? [a]\n: b", "config.yaml:1: expected a key, found a list"),
    ("ack: {}\n---\nack: {}", "config.yaml:2: expected one YAML document, found a second"),
    ("a: " + "[" * 17 + "]" * 17, "config.yaml:1: expected at most 16 levels, found more"),
    ("[" * 500_000, "config.yaml:1: expected at most 16 levels, found more"),
    ("- a\n" * 250_000, "config.yaml:9999: expected at most 10000 values, found more"),
    ("x" * 10_000_000, "config.yaml: expected at most 1 MiB, found more"),
    (b"# \xff\n", "config.yaml:1: expected UTF-8, found other bytes"),
    (b"ack: {}\nedge: \x00", "config.yaml:2: expected text, found the control character U+0000"),
    (b"edge: \x1b[2J", "config.yaml:1: expected text, found the control character U+001B"),
    # names
    ("bakcend:\n  url: x", "config.yaml:1: “bakcend” is not a known key: did you mean backend?"),
    (
        "\nbackend:\n  sync_interval: 5",
        "config.yaml:3: “backend.sync_interval” is not a known key: did you mean backend.sync_interval_seconds?",
    ),
    ("jitter: none", "config.yaml:1: “jitter” is not a known key: did you mean backoff.jitter?"),
    ("zzzz: 1", "config.yaml:1: “zzzz” is not a known key"),
    ('"a\\e[2Jb": 1', "config.yaml:1: “a␛[2Jb” is not a known key"),
    ("backend.url: https://h", "config.yaml:1: backend.url: expected the key indented under its section, found the two in one"),
    ("backend: https://h", "config.yaml:1: backend: expected a section (keys with values), found text"),
    ("backend: [x]", "config.yaml:1: backend: expected a section (keys with values), found a list"),
    ("edge:\n  agent_id: {a: b}", "config.yaml:2: edge.agent_id: expected text of at most 200 characters, found a section"),
    # values
    ("executor:\n  concurrency: 65", "config.yaml:2: executor.concurrency: expected a whole number from 1 to 64, found “65”"),
    ("executor:\n  concurrency: 2.5", "config.yaml:2: executor.concurrency: expected a whole number from 1 to 64, found “2.5”"),
    ("executor:\n  concurrency: 1_5", "config.yaml:2: executor.concurrency: expected a whole number from 1 to 64, found “1_5”"),
    ("executor:\n  concurrency: 010", "config.yaml:2: executor.concurrency: expected a whole number from 1 to 64, found “010”"),
    ("executor:\n  concurrency: yes", "config.yaml:2: executor.concurrency: expected a whole number from 1 to 64, found “yes”"),
    ("executor:\n  concurrency:", "config.yaml:2: executor.concurrency: expected a whole number from 1 to 64, found nothing"),
    ("executor:\n  concurrency: '4'", "config.yaml:2: executor.concurrency: expected a whole number from 1 to 64, found “4” in quotes"),
    ("timing:\n  clock_jump: 12:30:00", "config.yaml:2: timing.clock_jump: expected a number from 0.05 to 86400, found “12:30:00”"),
    ("timing:\n  clock_jump: .nan", "config.yaml:2: timing.clock_jump: expected a number from 0.05 to 86400, found “.nan”"),
    ("timing:\n  clock_jump: 1e999", "config.yaml:2: timing.clock_jump: expected a number from 0.05 to 86400, found “inf”"),
    ("timing:\n  clock_jump: 0", "config.yaml:2: timing.clock_jump: expected a number from 0.05 to 86400, found “0”"),
    ("ledger:\n  retention_days: 0", "config.yaml:2: ledger.retention_days: expected a number above 0, up to 3650, found “0”"),
    ("websocket:\n  enabled: yes", "config.yaml:2: websocket.enabled: expected true or false, found “yes”"),
    ("websocket:\n  enabled: 1", "config.yaml:2: websocket.enabled: expected true or false, found “1”"),
    ("backoff:\n  jitter: ful", "config.yaml:2: backoff.jitter: expected full or none, found “ful” (did you mean full?)"),
    (
        "logging:\n  level: warn",
        "config.yaml:2: logging.level: expected DEBUG, INFO, WARNING or ERROR, found “warn” (did you mean WARNING?)",
    ),
    (
        'edge:\n  agent_id: "a\\u202Eb"',
        "config.yaml:2: edge.agent_id: expected text of at most 200 characters, found unprintable characters",
    ),
    ("data_dir: ''", "config.yaml:1: data_dir: expected a path, found nothing"),
    ("data_dir: ~nobody-of-that-name/x", "config.yaml:1: data_dir: expected a path, found “~nobody-of-that-name/x”, which leads nowhere"),
    ("messenger:\n  kind: file", "config.yaml:2: messenger.path: expected a path, since messenger.kind is file"),
    ("messenger:\n  kind: exec", "config.yaml:2: messenger.command: expected a program and its arguments, since messenger.kind is exec"),
    ("messenger:\n  kind: http", "config.yaml:2: messenger.url: expected an https:// URL, since messenger.kind is http"),
    (
        "messenger:\n  kind: exec\n  command: [/no/such, -x]",
        "config.yaml:3: messenger.command: expected a program that is there and may be run, found “/no/such -x”",
    ),
    (
        "messenger:\n  command: ls 'x",
        "config.yaml:2: messenger.command: expected a list of words, as [python3, send.py], found something else",
    ),
    (
        "messenger:\n  command: [a, [b]]",
        "config.yaml:2: messenger.command: expected a list of words, as [python3, send.py], found something else",
    ),
    ("messenger:\n  options: [a]", "config.yaml:2: messenger.options: expected names with values, as {account: mine}, found a list"),
    (
        "messenger:\n  url: http://sender.example",
        "config.yaml:2: messenger.url: expected https:// (http:// only to localhost, 127.0.0.0/8 or ::1, since the secret would go in clear), found “http://sender.example”",
    ),
    (
        f"messenger:\n  token: {CANARY}",
        "config.yaml:2: messenger.token: a secret does not belong in this file: put EDGE_MESSENGER_TOKEN=… into the environment or into .env beside it",
    ),
    (
        "backend:\n  url: http://backend.example",
        "config.yaml:2: backend.url: expected https:// (http:// only to localhost, 127.0.0.0/8 or ::1, since the secret would go in clear), found “http://backend.example”",
    ),
    (
        "backend:\n  websocket_url: https://h",
        "config.yaml:2: backend.websocket_url: expected a URL that starts with wss:// (or ws:// to this machine), found “https://h”",
    ),
    (
        "backend:\n  url: 127.0.0.1:99999",
        "config.yaml:2: backend.url: expected a URL that starts with https:// (or http:// to this machine), and with a port from 1 to 65535, found “127.0.0.1:99999”",
    ),
    (
        "backend:\n  url: 127.0.0.1:8787",
        "config.yaml:2: backend.url: expected a URL that starts with https:// (or http:// to this machine), found “127.0.0.1:8787”",
    ),
    ("backend:\n  url: http://[::1]:x", "config.yaml:2: backend.url: expected a URL with a port from 1 to 65535, found “http://[::1]:x”"),
    ("backend:\n  url: https://h:0", "config.yaml:2: backend.url: expected a URL with a port from 1 to 65535, found “https://h:0”"),
    (
        "backend:\n  websocket_url: wss://h:70000",
        "config.yaml:2: backend.websocket_url: expected a URL with a port from 1 to 65535, found “wss://h:70000”",
    ),
    ("backend:\n  url: https://", "config.yaml:2: backend.url: expected a URL with a host, found “https://”"),
    # secrets
    (
        f"auth:\n  secret: {CANARY}",
        "config.yaml:2: auth.secret: a secret does not belong in this file: put EDGE_SECRET=… into the environment or into .env beside it",
    ),
    (
        f"auth:\n  token: {CANARY}",
        "config.yaml:2: auth.secret: a secret does not belong in this file: put EDGE_SECRET=… into the environment or into .env beside it",
    ),
    (
        f"backend:\n  url: https://u:{CANARY}@h",
        "config.yaml:2: backend.url: expected a URL without a user or password, found a value that is not shown here",
    ),
    ("x7f3kq09zmw2p5tr8vbn: x", "config.yaml:1: a value that is not shown here is not a known key"),
    # together
    ("backoff: {base_seconds: 90}", "config.yaml:1: backoff.cap_seconds: expected no less than base_seconds, which is 90"),
    (
        "backoff:\n  base_seconds: 2\n  cap_seconds: 1",
        "config.yaml:3: backoff.cap_seconds: expected no less than base_seconds, which is 2, found “1”",
    ),
    (
        "backoff:\n  cap_seconds: 2\n  floor_seconds: 3",
        "config.yaml:3: backoff.floor_seconds: expected no more than cap_seconds, which is 2, found “3”",
    ),
    ("timing: {refused_first: 301}", "config.yaml:1: timing.refused_cap: expected no less than refused_first, which is 301"),
    ("timing: {busy_first: 901}", "config.yaml:1: timing.busy_cap: expected no less than busy_first, which is 901"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=range(len(WRONG)))
def test_f50_every_trouble_in_the_file_is_one_sentence(text: str | bytes, expected: str) -> None:
    assert sentence(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "messenger:\n  kind: file\n  path: no/where",
            "config.yaml:3: messenger.path: expected a file in a directory that is there, found",
        ),
        ("messenger: {kind: file, path: .}", "config.yaml:1: messenger.path: expected a file in a directory that is there, found"),
        ("logging:\n  file: .", "config.yaml:2: logging.file: expected a file, not a directory, found"),
    ],
)
def test_f50_what_could_never_be_written_is_refused_before_the_start(text: str, expected: str) -> None:
    assert sentence(text).startswith(expected)


def test_f83_every_problem_of_every_layer_is_told_at_once() -> None:
    text = "timing:\n  clock_jump: 0\nzzzz: 1\nedge:\n  agent_id: [x]\n  agent_id: &y z\nack: !!str x\nlogging: *y\nbackoff:\n  base_seconds: 61"
    assert problems(text, env={"EDGE__EDGE__REGISTER": "never"}, dotenv="nonsense\nEDGE__BACKOF__JITTER=full\nEDGE_SECRET='x") == (
        "config.yaml:2: timing.clock_jump: expected a number from 0.05 to 86400, found “0”",
        "config.yaml:3: “zzzz” is not a known key",
        "config.yaml:5: edge.agent_id: expected text of at most 200 characters, found a list",
        "config.yaml:6: expected each key once, found “agent_id” again (first in line 5)",
        "config.yaml:7: expected a value, found a tag (!name): write the value without it",
        "config.yaml:8: expected a value, found an alias (*name): write the value out",
        "config.yaml:10: backoff.cap_seconds: expected no less than base_seconds, which is 61",
        ".env:1: expected KEY=VALUE, found something else",
        ".env:2: “EDGE__BACKOF__JITTER” is not a known variable: did you mean EDGE__BACKOFF__JITTER?",
        ".env:3: expected KEY=VALUE, found something else",
        "environment: EDGE__EDGE__REGISTER: expected auto or always, found “never”",
    )
    assert problems("a: [", env={}, dotenv="") == (
        "config.yaml:2: expected YAML: did not find expected node content",
        "EDGE_SECRET: expected the secret shared with the backend, in the environment or in .env beside config.yaml, found none; `edge-console init` asks for it, --demo needs none",
    )


def test_f83_a_caller_may_judge_what_only_it_knows() -> None:
    found = problems(
        "ack: {}\nconsole:\n  keys:\n    replay: r\n    reconect: f5",
        judge=lambda config: [(f"console.keys.{name}", name) for name in config.console.keys],
    )
    assert found == ("config.yaml:4: console.keys: replay", "config.yaml:5: console.keys: reconect")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/dev/null", "config.yaml:1: data_dir: expected a directory, found “/dev/null”"),
        ("/dev/null/x/y", "config.yaml:1: data_dir: expected a directory, but /dev/null is none, found “/dev/null/x/y”"),
        ("loop", "config.yaml:1: data_dir: expected a directory, found"),
    ],
)
def test_f83_a_data_dir_that_is_no_directory_is_refused_even_for_reading(folder: str, expected: str) -> None:
    Path("loop").symlink_to("loop")
    assert sentence(f"data_dir: {folder}", require_secret=False, check_files=False).startswith(expected)


def test_f50_many_misspelt_keys_do_not_take_long() -> None:
    assert len(problems("".join(f"key{number}: 1\n" for number in range(4_900)))) == 4_900
    assert "not a known key" in sentence(f"? {'k' * 900_000}\n: 1")
    assert "found “aaa" in sentence(f"backoff:\n  jitter: {'a' * 900_000}")


def test_f50_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    Path("dir").mkdir()
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    for name, expected in [
        ("none.yaml", "none.yaml: expected a file, found nothing"),
        ("dir", "dir: expected a file, found a directory"),
        ("fifo", "fifo: expected a regular file"),
        ("loop", "loop: cannot be read: Too many levels of symbolic links"),
        ("a\0b", "a␀b: expected the name of a file"),
        ("a\nb", "a␊b: expected a file, found nothing"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load_config(Path(name), ENV)
        assert str(caught.value) == expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_f50_a_file_without_permission() -> None:
    Path("config.yaml").touch(0o000)
    assert sentence() == "config.yaml: cannot be read: Permission denied"


@pytest.mark.parametrize(
    "text", [None, "", "\n\n", "# nothing", "---\n", "~", "edge:\nbackend: ~\nack: {}", "edge:\n  agent_id:\n  user_phone: ''"]
)
def test_nothing_said_means_defaults(text: str | None) -> None:
    config = load(text)
    assert config.model_dump() == Config(data_dir=Config().data_dir.expanduser()).model_dump()
    assert config.auth.secret.get_secret_value() == CANARY


def test_text_is_taken_as_it_is_written() -> None:
    config = load(
        "edge:\n  user_phone: +13105550100\n  agent_id: 0123\n  apple_id: 12:30:00\nlogging: {level: debug}\nbackend: {polling: Always}"
    )
    assert (config.edge.user_phone, config.edge.agent_id, config.edge.apple_id) == ("+13105550100", "0123", "12:30:00")
    assert config.logging.level == "DEBUG"
    assert config.backend.polling is PollingMode.ALWAYS


def test_a_byte_order_mark_and_dos_lines() -> None:
    assert load(b"\xef\xbb\xbfexecutor:\r\n  concurrency: 7\r\n", dotenv="USER_PHONE=+1\r\n").executor.concurrency == 7


def test_each_layer_outranks_the_one_before() -> None:
    def concurrency(**layers: Any) -> int:
        return load(**layers).executor.concurrency

    name = "EDGE__EXECUTOR__CONCURRENCY"
    file, dotenv, env = "executor: {concurrency: 5}", f"{name}=6", ENV | {name: "7"}
    assert concurrency() == 4
    assert concurrency(text=file) == 5
    assert concurrency(text=file, dotenv=dotenv) == 6
    assert concurrency(text=file, dotenv=dotenv, env=env) == 7
    assert concurrency(text=file, dotenv=dotenv, env=env, overrides={"executor.concurrency": 8}) == 8
    assert concurrency(text=file, dotenv=dotenv, env=env, overrides={"executor": {"concurrency": 9}}) == 9
    assert concurrency(text=file, dotenv=dotenv, env=env, overrides={"executor": {"concurrency": None}}) == 7


def test_the_short_names_and_the_long_ones() -> None:
    short = {"BACKEND_URL": "https://h", "EDGE_AGENT_ID": "a1", "USER_PHONE": "+1310"}
    config = load(env=ENV | short)
    assert (config.backend.url, config.edge.agent_id, config.edge.user_phone) == ("https://h", "a1", "+1310")
    config = load(env=ENV | short | {"EDGE__EDGE__AGENT_ID": "a2", "EDGE__EDGE__REGISTER": "always", "BACKEND_URL": "", "OTHER": "x"})
    assert (config.edge.agent_id, config.edge.register_, config.backend.url) == ("a2", "always", "http://127.0.0.1:8787")
    assert load(env={"EDGE__AUTH__SECRET": CANARY}).auth.secret.get_secret_value() == CANARY


def test_paths_start_where_they_are_named(tmp_path: Path) -> None:
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("data_dir: var\nlogging: {file: ~/x.log}\nmessenger: {path: ../m}")
    config = load_config(Path("conf/config.yaml"), ENV)
    assert config.data_dir == tmp_path / "conf" / "var"
    assert config.logging.file == Path("~/x.log").expanduser()
    assert config.messenger.path == tmp_path / "conf" / ".." / "m"
    assert load_config(Path("conf/config.yaml"), ENV | {"EDGE__DATA_DIR": "var"}).data_dir == tmp_path / "var"
    assert load_config(Path("conf/config.yaml"), ENV, overrides={"data_dir": Path("cli")}).data_dir == tmp_path / "cli"


def test_dotenv() -> None:
    lines = [
        "# comment",
        "",
        "export EDGE_SECRET='$can\"ary #9'",
        'EDGE_AGENT_ID="a 1"  # mine',
        "USER_PHONE = +1310 # phone",
        "BACKEND_URL=",
        "OTHER=x",
    ]
    config = load(dotenv="\n".join(lines).replace('$can"ary #9', '$can"ary#9'), env={})
    assert config.auth.secret.get_secret_value() == '$can"ary#9'
    assert (config.edge.agent_id, config.edge.user_phone) == ("a 1", "+1310")


@pytest.mark.parametrize(
    ("dotenv", "expected"),
    [
        (CANARY, ".env:1: expected KEY=VALUE, found something else"),
        (f"\nEDGE_SECRET='{CANARY}", ".env:2: expected KEY=VALUE, found something else"),
        (f"EDGE_SECRET='{CANARY}' x", ".env:1: expected KEY=VALUE, found something else"),
        ("# x\nEDGE__BACKOF__JITTER=none", ".env:2: “EDGE__BACKOF__JITTER” is not a known variable: did you mean EDGE__BACKOFF__JITTER?"),
        ("EDGE__TIMING__CLOCK_JUMP=soon", ".env:1: EDGE__TIMING__CLOCK_JUMP: expected a number from 0.05 to 86400, found “soon”"),
        ("\0", ".env:1: expected text, found the control character U+0000"),
        ("X=" + " " * 1_000_000, None),
        ("X= " + " x" * 500_000, None),
    ],
)
def test_dotenv_trouble(dotenv: str, expected: str | None) -> None:
    if expected is None:
        began = time.monotonic()
        load(dotenv=dotenv)
        assert time.monotonic() - began < 1
    else:
        assert sentence(dotenv=dotenv) == expected


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"EDGE__DATADIR": "/x"}, "environment: “EDGE__DATADIR” is not a known variable: did you mean EDGE__DATA_DIR?"),
        (
            {"EDGE__SYNC_INTERVAL_SECONDS": "1"},
            "environment: “EDGE__SYNC_INTERVAL_SECONDS” is not a known variable: did you mean EDGE__BACKEND__SYNC_INTERVAL_SECONDS?",
        ),
        (
            {"BACKEND_URL": "http://h"},
            "environment: BACKEND_URL: expected https:// (http:// only to localhost, 127.0.0.0/8 or ::1, since the secret would go in clear), found “http://h”",
        ),
        (
            {"BACKEND_URL": CANARY},
            "environment: BACKEND_URL: expected a URL that starts with https:// (or http:// to this machine), found a value that is not shown here",
        ),
        (
            {"EDGE_AGENT_ID": "é"},
            "environment: EDGE_AGENT_ID: expected printable ASCII characters, without a space at either end, found “é”",
        ),
        ({"EDGE__DATA_DIR": "/\udcff"}, "environment: EDGE__DATA_DIR: expected a path, found unprintable characters"),
        ({"EDGE__MESSENGER__KIND": "file"}, "environment: messenger.path: expected a path, since messenger.kind is file"),
        (
            {"EDGE_SECRET": "canary7"},
            "environment: EDGE_SECRET: expected at least 8 printable ASCII characters without whitespace, found 7 characters",
        ),
        (
            {"EDGE_SECRET": CANARY + "\n"},
            "environment: EDGE_SECRET: expected at least 8 printable ASCII characters without whitespace, found whitespace at its end",
        ),
        (
            {"EDGE_SECRET": CANARY + "é"},
            "environment: EDGE_SECRET: expected at least 8 printable ASCII characters without whitespace, found another character in place 25",
        ),
        (
            {"EDGE_SECRET": "plaincanary", "EDGE__BACKOFF__JITTER": "plaincanary"},
            "environment: EDGE__BACKOFF__JITTER: expected full or none, found “***”",
        ),
    ],
)
def test_trouble_in_the_environment(env: dict[str, str], expected: str) -> None:
    assert sentence(env=ENV | env) == expected


def test_a_secret_in_the_wrong_place_is_not_shown_even_in_part() -> None:
    secret = "can.ary." * 20
    said = sentence(env={"EDGE_SECRET": secret, "EDGE__BACKOFF__JITTER": "x" + secret})
    assert said == "environment: EDGE__BACKOFF__JITTER: expected full or none, found “x***…”"


def test_a_directory_named_dotenv_is_none_of_ours() -> None:
    Path(".env").mkdir()
    assert load().auth.secret


def test_trouble_on_the_command_line() -> None:
    assert (
        sentence(overrides={"logging.format": "jsn"})
        == "command line: logging.format: expected text or json, found “jsn” (did you mean json?)"
    )
    assert (
        sentence(overrides={"loging": {"format": "json"}})
        == "command line: “loging.format” is not a known key: did you mean logging.format?"
    )
    assert (
        sentence(overrides={"executor.concurrency": 0})
        == "command line: executor.concurrency: expected a whole number from 1 to 64, found “0”"
    )


def test_the_secret_is_asked_for() -> None:
    asked = "EDGE_SECRET: expected the secret shared with the backend, in the environment or in .env beside config.yaml, found none"
    assert sentence(env={}) == asked + "; `edge-console init` asks for it, --demo needs none"
    assert (
        sentence(env={"EDGE_SECRT": CANARY})
        == f"{asked} (EDGE_SECRT is set: did you mean EDGE_SECRET?); `edge-console init` asks for it, --demo needs none"
    )
    assert sentence(env={"EDGE_SECRET": ""}).startswith(asked)
    assert not load(env={}, require_secret=False).auth.secret
    assert load(env={}, overrides={"auth": {"secret": CANARY}}).auth.secret.get_secret_value() == CANARY


def test_what_a_program_is_called_with_may_stand_in_the_environment_and_the_token_only_there() -> None:
    env = ENV | {"EDGE__MESSENGER__KIND": "exec", "EDGE__MESSENGER__COMMAND": "sh -c 'exit 0'", "EDGE_MESSENGER_TOKEN": CANARY}
    messenger = load("messenger: {options: {account: mine}}", env).messenger
    assert (messenger.command, messenger.options) == (("sh", "-c", "exit 0"), {"account": "mine"})
    assert messenger.token.get_secret_value() == CANARY
    assert CANARY not in f"{messenger!r} {messenger.model_dump()}"
