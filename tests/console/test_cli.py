"""The command line: words that are none, the configuration's origins, the version, completion."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_core import __version__
from agent_core.config.layers import keys
from console.cli.main import build_parser
from tests.harness.manual import manual
from tests.harness.rig import AGENT, ROOT, SECRET, config, living, program, served, settled


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sned", "'sned' is no command: did you mean send? (see edge-console --help)"),
        ("--config x docotr", "'docotr' is no command: did you mean doctor? (see edge-console --help)"),
        ("ledger lss", "'lss' is no command: did you mean ls? (see edge-console ledger --help)"),
        ("secret fingerprnt", "'fingerprnt' is no command: did you mean fingerprint? (see edge-console secret --help)"),
        (
            "config reset logging.levle",
            "'logging.levle' is no choice for KEY: did you mean logging.level? (see edge-console config reset --help)",
        ),
        ("--log-format jsn", "'jsn' is no choice for --log-format: did you mean json? (see edge-console --help)"),
        ("--log-format x", "'x' is no choice for --log-format; there are text, json (see edge-console --help)"),
        (
            "screenshot -o no/where.svg",
            "argument -o/--output: a file in a directory that is there expected, found 'no/where.svg' (see edge-console screenshot --help)",
        ),
        (
            "send x --backend https://h:0",
            "argument --backend: expected a URL with a port from 1 to 65535, found 'https://h:0' (see edge-console send --help)",
        ),
    ],
)
def test_f83_a_wrong_word_is_one_sentence_with_the_right_one(capsys: pytest.CaptureFixture[str], command: str, said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(command.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"edge-console: {said}\n"


async def run(*arguments: str, cwd: Path, expect: int = 0, **env: str) -> list[str]:
    """The lines of standard output, or of standard error where there are none; the secret is in neither."""
    async with program(*arguments, cwd=cwd, **env) as process:
        code = await process.ends()
    assert code == expect, (code, process.out, process.err)
    assert SECRET not in "\n".join((*process.out, *process.err))
    return process.out or process.err


# --- config --------------------------------------------------------------------------------------------------------------


async def test_config_check_tells_every_problem_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("edge:\n  agent_idd: x\nmessenger: {kind: file, path: no/where}\nconsole:\n  keys: {reply: r}\n")
    told = await run("config", "check", cwd=tmp_path, expect=2)
    assert [line.split(": ")[1] for line in told] == ["config.yaml:2", "config.yaml:3", "config.yaml:5"]
    assert "did you mean replay?" in told[2]
    (tmp_path / "config.yaml").write_text("edge: {agent_id: x}")
    assert await run("config", "check", cwd=tmp_path) == ["config.yaml: no problem"]
    assert await run("config", "check", "--config", "other.yaml", cwd=tmp_path, expect=2) == [
        "edge-console: other.yaml: expected a file, found nothing"
    ]


async def test_config_path_is_the_file_that_is_read(tmp_path: Path) -> None:
    assert await run("config", "path", cwd=tmp_path) == [str(tmp_path / "config.yaml")]
    assert await run("config", "path", "--config", "conf/x.yaml", cwd=tmp_path) == [str(tmp_path / "conf/x.yaml")]


async def test_config_show_tells_where_each_value_was_given(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "edge:\n  agent_id: from-file\n  user_phone: '+1'\nmessenger:\n  options: {api_key: canary, city: x}\n"
    )
    (tmp_path / ".env").write_text("\nEDGE__BACKOFF__JITTER=none\nBACKEND_URL=https://h\n")
    arguments = ["config", "show", "--origin", "--data-dir", "here"]
    told = json.loads("\n".join(await run(*arguments, "--json", cwd=tmp_path, EDGE_AGENT_ID="from-environment")))
    found: dict[str, dict[str, Any]] = {one.pop("key"): one for one in told}
    assert found.keys() == keys().keys()
    assert found["edge.agent_id"] == {"value": "from-environment", "origin": "environment", "at": "EDGE_AGENT_ID"}
    assert found["edge.user_phone"] == {"value": "+1", "origin": "file", "at": "config.yaml:3"}
    assert found["backoff.jitter"] == {"value": "none", "origin": ".env", "at": ".env:2"}
    assert found["auth.secret"] == {"value": "***", "origin": "environment", "at": "EDGE_SECRET"}
    assert found["messenger.token"] == {"value": None, "origin": "default", "at": None}
    assert found["messenger.options"]["value"] == {"api_key": "***", "city": "x"}
    assert found["data_dir"] == {"value": str(tmp_path / "here"), "origin": "command line", "at": "data_dir"}
    lines = await run(*arguments, cwd=tmp_path)
    assert [line.split() for line in lines if line.startswith("backend.url")] == [["backend.url", "https://h", ".env:3"]]
    assert "default" not in "".join(await run("config", "show", cwd=tmp_path))


async def test_config_show_tells_what_the_backend_has_changed(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as agent:
        await agent.online()
        await settled(backend, await backend.queue(AGENT, "update_config", {"ping_interval": 45, "log_level": "debug"}))
    told = json.loads("\n".join(await run("config", "show", "--origin", "--json", "--data-dir", str(tmp_path), cwd=tmp_path)))
    assert [(one["key"], one["value"]) for one in told if one["origin"] == "backend"] == [
        ("websocket.ping_interval_seconds", 45.0), ("logging.level", "DEBUG"),
    ]  # fmt: skip


# --- version, completion -------------------------------------------------------------------------------------------------


async def test_version_tells_what_is_installed_and_where(tmp_path: Path) -> None:
    told = json.loads("\n".join(await run("version", "--json", cwd=tmp_path)))
    assert (told["name"], told["version"], told["location"]) == ("edge-console", __version__, str(ROOT))
    assert told["dependencies"]["websockets"]
    assert await run("--version", cwd=tmp_path) == [f"edge-console {__version__}"]
    assert (await run("version", cwd=tmp_path))[0].startswith(f"edge-console {__version__}, Python 3.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_takes(tmp_path: Path, shell: str) -> None:
    script = tmp_path / "script"
    command = [sys.executable, "-m", "console", "completion", shell]
    script.write_bytes(subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30, check=True).stdout)
    assert "screenshot" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here to read it")
    subprocess.run([shell, "-n", str(script)], check=True, timeout=20)


BASH = """
source <("$0" -m console completion bash)
function=$(complete -p edge-console | sed -E 's/.*-F ([^ ]+).*/\\1/')
complete_it() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
  "$function" edge-console "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
  echo "${COMPREPLY[@]}"
}
complete_it edge-console scr
complete_it edge-console config sh
complete_it edge-console doctor --for-b
complete_it edge-console --config pyproj
complete_it edge-console ledger export --data-dir tes
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes_commands_and_options() -> None:
    ran = subprocess.run(["bash", "-c", BASH, sys.executable], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.split() == ["screenshot", "show", "--for-backend", "pyproject.toml", "tests"]


# --- the manual ----------------------------------------------------------------------------------------------------------


def test_the_manual_is_that_of_the_command_line() -> None:
    assert (ROOT / "docs" / "edge-console.1").read_text(encoding="utf-8") == manual(), "`make docs` writes it anew"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
def test_groff_reads_the_manual_without_a_warning() -> None:
    command = ["groff", "-man", "-K", "utf8", "-T", "utf8", "-ww", str(ROOT / "docs" / "edge-console.1")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stderr == ""
    page = " ".join(re.sub(".\b", "", ran.stdout).split())
    assert "edge-console config show" in page
    assert "the secret into .env" in page
