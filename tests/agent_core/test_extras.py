"""A package that is not there: one sentence with the command for the way in which this was installed."""

import json
import shlex
import sys
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from agent_core.extras import extra_with, install_command
from tests.harness.rig import program

PYTHON = shlex.quote(sys.executable)
CLONE = {"url": "file:///opt/the%20clone", "dir_info": {"editable": True}}
BRANCH = {"url": "https://git.example/edge", "vcs_info": {"vcs": "git", "commit_id": "5f1d", "requested_revision": "main"}}

METADATA = """Metadata-Version: 2.4
Name: edge-console
Version: 0.1.0
Requires-Dist: uvicorn<1,>=0.30
Requires-Dist: textual-serve>=1; extra == "web"
Requires-Dist: opentelemetry-sdk>=1; extra == "otel"
Requires-Dist: psycopg[binary]>=3; extra == "postgres"
"""


def installed(folder: Path, origin: dict[str, Any] | None, installer: str) -> Distribution:
    """What an installer leaves behind of this package."""
    info = folder / "edge_console-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "INSTALLER").write_text(installer + "\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    return Distribution.at(info)


@pytest.mark.parametrize(
    ("receipt", "installer", "origin", "extra", "expected"),
    [
        ("uv-receipt.toml", "uv", None, "web", "uv tool install --force 'edge-console[web]'"),
        ("uv-receipt.toml", "uv", BRANCH, "web", "uv tool install --force 'edge-console[web] @ git+https://git.example/edge@main'"),
        ("pipx_metadata.json", "pip", None, "web", "pipx install --force 'edge-console[web]'"),
        (None, "pip", None, "web", f"{PYTHON} -m pip install 'edge-console[web]'"),
        (None, "pip", {"url": "file:///tmp/e.whl"}, None, f"{PYTHON} -m pip install 'edge-console @ file:///tmp/e.whl'"),
        (None, "pip", CLONE, "web", f"{PYTHON} -m pip install -e '/opt/the clone[web]'"),
        (None, "uv", None, "web", f"uv pip install --python {PYTHON} 'edge-console[web]'"),
    ],
)
def test_the_command_is_that_of_the_installation(
    tmp_path: Path, receipt: str | None, installer: str, origin: dict[str, Any] | None, extra: str | None, expected: str
) -> None:
    if receipt is not None:
        (tmp_path / receipt).touch()
    assert install_command(installed(tmp_path, origin, installer), tmp_path, extra) == expected


@pytest.mark.parametrize(
    ("module", "extra"),
    [("textual_serve", "web"), ("opentelemetry.sdk", "otel"), ("opentelemetry", "otel"), ("psycopg", "postgres"), ("uvicorn", None)],
)
def test_the_extra_is_read_off_the_installations_own_metadata(tmp_path: Path, module: str, extra: str | None) -> None:
    here = installed(tmp_path, None, "pip")
    assert extra_with(module, here) == extra


@pytest.mark.parametrize("arguments", [["backend", "--port", "0"], ["--no-ui", "--demo", "--for", "1"]])
async def test_a_missing_package_is_one_sentence_and_exit_2(tmp_path: Path, arguments: list[str]) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from console.cli.main import main; main()"
    async with program(*arguments, cwd=tmp_path, code=code) as process:
        assert await process.ends() == 2
    assert len(process.err) == 1
    assert " install " in process.err[0]
    assert "unexpected" not in process.err[0]
