"""`init`: answers in, config.yaml and .env out, nothing overwritten, the secret never shown."""

import stat
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.config.env_file import env_line, read_env_file
from agent_core.config.layers import load_config
from tests.harness.rig import AGENT, SECRET, files_below, program, served
from tests.harness.terminal import Terminal


async def init(*arguments: str, cwd: Path, expect: int = 0, secret: str | None = SECRET, **env: str) -> str:
    async with program("init", *arguments, cwd=cwd, secret=secret, **env) as process:
        assert await process.ends(40) == expect, (process.out, process.err)
        assert SECRET not in "\n".join((*process.out, *process.err))
        return "\n".join(process.out or process.err)


async def test_init_writes_what_the_agent_then_reads_and_looks_at_the_way(tmp_path: Path) -> None:
    async with served() as backend:
        text = await init("--yes", "--url", backend.url, "--data-dir", "state", cwd=tmp_path, EDGE_AGENT_ID=AGENT)
    assert text.startswith("Written: config.yaml and .env, which holds the secret\n")
    assert "No stage failed." in text
    assert text.endswith("Next: edge-console\n      edge-console --no-ui     without a screen")
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("config.yaml", ".env")] == [0o600, 0o600]
    config = load_config(tmp_path / "config.yaml", {})
    assert (config.edge.agent_id, config.backend.url, config.data_dir) == (AGENT, backend.url, tmp_path / "state")
    assert config.auth.secret.get_secret_value() == SECRET
    assert SECRET not in (tmp_path / "config.yaml").read_text()


async def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTHER=x\n")
    text = await init("--yes", cwd=tmp_path, expect=2, secret=None)
    assert text == "edge-console: .env is there already and stays as it is: add EDGE_SECRET=… to it, then run this again"
    (tmp_path / ".env").write_text(f"EDGE_SECRET={SECRET}\n")
    assert (await init("--yes", cwd=tmp_path, secret=None)).startswith("Written: config.yaml\n")
    assert (tmp_path / ".env").read_text() == f"EDGE_SECRET={SECRET}\n"
    text = await init("--yes", cwd=tmp_path, expect=2)
    assert text == "edge-console: config.yaml is there already and stays as it is: see `edge-console config check`"


async def test_init_without_a_secret_says_where_it_is_to_come(tmp_path: Path) -> None:
    text = await init("--yes", "--config", "conf.yaml", cwd=tmp_path, secret=None)
    assert text.startswith("Written: conf.yaml\nThe secret is still to come: EDGE_SECRET=… in the environment or in .env\n")
    assert "Next: edge-console --config conf.yaml\n" in text
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("arguments", "secret", "said"),
    [
        (["--url", "http://far.example"], SECRET, "backend.url: expected https:// "),
        (["--agent-id", "a\nb"], SECRET, "edge.agent_id: expected text of at most 200 characters, found unprintable characters"),
        (["--data-dir", "/dev/null"], SECRET, "data_dir: expected a directory"),
        ([], "canary7", "auth.secret: expected at least 8 printable ASCII characters without whitespace, found 7 characters"),
        ([], "'both\"kinds", "EDGE_SECRET holds both kinds of quotes"),
    ],
)
async def test_an_answer_that_does_not_fit_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], secret: str, said: str
) -> None:
    text = await init("--yes", *arguments, cwd=tmp_path, expect=2, secret=secret)
    assert text.startswith(f"edge-console: {said}")
    assert "\n" not in text
    assert files_below(tmp_path) == {}


async def test_without_a_terminal_init_asks_nothing(tmp_path: Path) -> None:
    assert "there is no terminal: use --yes" in await init(cwd=tmp_path, expect=2)


def test_init_asks_again_until_an_answer_fits_and_shows_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with Terminal("init", "--config", str(file), "--data-dir", str(tmp_path / "state")) as terminal:
        for asked, answer in (
            ("Backend's URL [http://127.0.0.1:8787]: ", "127.0.0.1:1"), ("found “127.0.0.1:1”", "http://127.0.0.1:1"),
            ("This agent's id [none: the backend gives one]: ", "mac-7"), ("Secret shared", "short"), ("found 5 characters", SECRET),
        ):  # fmt: skip
            terminal.until(partial(shows, terminal, asked), what=asked)
            terminal.press(f"{answer}\n")
        terminal.until(lambda: "First failing stage: tcp" in terminal.text, what="the doctor")
        assert terminal.ends() == 0
        assert SECRET.encode() not in terminal.raw
    config = load_config(file, {})
    assert (config.edge.agent_id, config.backend.url, config.auth.secret.get_secret_value()) == ("mac-7", "http://127.0.0.1:1", SECRET)


def shows(terminal: Terminal, text: str) -> bool:
    return text in terminal.text


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_a_line_of_env_gives_back_its_value_or_is_refused(value: str) -> None:
    try:
        line = env_line("EDGE_SECRET", value)
    except ValueError:
        assert {"'", '"'} <= set(value)
        return
    assert read_back(line) == value


def read_back(line: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.write(line)
        file.flush()
        variables, problems = read_env_file(Path(file.name))
    assert not problems
    return variables["EDGE_SECRET"].text


async def test_a_profile_is_a_directory_of_its_own_for_one_agent(tmp_path: Path) -> None:
    await init("--yes", "--profile", "second", cwd=tmp_path, HOME=str(tmp_path))
    folder = tmp_path / ".config" / "edge-console" / "second"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {"config.yaml": 0o600, ".env": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    async with program("status", "--profile", "../second", cwd=tmp_path) as process:
        assert await process.ends() == 2
        assert "argument --profile: a name of letters" in process.err[0]
