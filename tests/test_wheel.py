"""What a user installs: the wheel of this tree, without extras, in an empty environment of each Python at hand."""

import json
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from console.cli.main import build_parser
from tests.harness.documents import parsers
from tests.harness.rig import ROOT

pytestmark = [pytest.mark.timeout(900), pytest.mark.wheel]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_THE_TREE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
NO_NETWORK = re.compile("name resolution|NewConnectionError|ConnectTimeout|ProxyError|Network is unreachable")
HELPS = [[*parser.prog.split()[1:], "--help"] for parser in parsers(build_parser())]


def interpreter(version: str) -> str | None:
    """A Python of that version that runs and can make environments: on the path, or installed beside the one that runs this."""
    beside = Path(sys.base_prefix).parent.glob(f"*/bin/python{version}")
    for candidate in filter(None, (shutil.which(f"python{version}"), *map(str, sorted(beside)))):
        command = [candidate, "-c", "import venv, sys; print('%d.%d' % sys.version_info[:2])"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.stdout.strip() == version:
            return candidate
    return None


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode and NO_NETWORK.search(ran.stderr):
        pytest.skip("there is no network to install from")
    assert ran.returncode == 0, ran.stderr[-2_000:]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "tree", ignore=NOT_THE_TREE)
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(folder / "tree"))
    (built,) = folder.glob("edge_console-*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Version -> the `bin` of its environment; all are made at the same time."""

    def make(python: str, folder: Path) -> Path:
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
        bin_folder = folder / "bin"
        pip(
            "--python", str(bin_folder / "python"), "install", "--quiet", "--prefer-binary", "-c", str(ROOT / "constraints.txt"), str(wheel)
        )
        return bin_folder

    with ThreadPoolExecutor(len(PYTHONS)) as pool:
        found = {version: interpreter(version) for version in PYTHONS}
        folder = tmp_path_factory.mktemp("environments")
        making: dict[str, Future[Path]] = {v: pool.submit(make, python, folder / v) for v, python in found.items() if python}

        def of(version: str) -> Path:
            if version not in making:
                pytest.skip(f"there is no Python {version} here")
            return making[version].result()

        yield of


@dataclass
class Shell:
    """A new user's: nothing of this repository, this environment or this user in sight."""

    bin_folder: Path
    home: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        env = {"PATH": f"{self.bin_folder}:/usr/bin:/bin", "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home), "LANG": "C.UTF-8"}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            ["edge-console", *arguments], cwd=self.home, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Standard output."""
        return self.ended(self.start(*arguments), codes)

    def ended(self, process: subprocess.Popen[str], codes: tuple[int, ...] = (0,)) -> str:
        out, err = process.communicate(timeout=300)
        assert process.returncode in codes, (process.args, process.returncode, out, err)
        assert "Traceback" not in out + err
        assert "unexpected" not in err
        return out


@pytest.fixture
def shell(version: str, installed: Callable[[str], Path], tmp_path: Path) -> Iterator[Shell]:
    here = Shell(installed(version), tmp_path)
    yield here
    for process in here.started:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_wheel_carries_what_it_needs_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    fonts = {f"console/fonts/{path.name}" for path in (ROOT / "console" / "fonts").iterdir()}
    packaged = {"console/console.tcss", "console/py.typed", "agent_core/py.typed"}
    assert names >= fonts | packaged
    data = {name.partition(".data/data/share/")[2] for name in names} - {""}
    assert data == {"edge-console/" + "config.yaml", "man/man1/edge-console.1"}
    assert not [name for name in names if name.startswith(("tests", "examples"))]


@pytest.mark.parametrize("version", PYTHONS)
def test_a_plain_install_does_all_that_the_first_page_shows(version: str, shell: Shell, tmp_path: Path) -> None:
    demo = shell.start("--demo", "--no-ui", "--for", "5")
    picture = shell.start("screenshot", "--demo", "--after", "1", "-o", "x.svg")
    backend = shell.start("backend", "--port", "0")
    assert backend.stdout is not None
    url = json.loads(backend.stdout.readline())["url"]
    assert shell.run("send", "emit_event", "--to", "mac-1", "--backend", url).startswith("cmd_")
    backend.send_signal(signal.SIGTERM)
    shell.ended(backend)
    assert shell.run("init", "--yes").startswith("Written: config.yaml\n")
    assert shell.run("config", "check").startswith("config.yaml: no problem\n")
    assert "config.yaml:" in shell.run("config", "show", "--origin")
    assert json.loads(shell.run("doctor", "--json", codes=(0, 1)))["version"]
    assert shell.run("completion", "zsh").startswith("#compdef edge-console")
    assert json.loads(shell.run("version", "--json"))["python"].startswith(f"{version}.")
    assert "real-time mode enabled" in shell.ended(demo)
    shell.ended(picture)
    shell.run("screenshot", "--demo", "--after", "0.1", "-o", "x.png")
    assert (tmp_path / "x.svg").read_text().startswith("<svg")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    with ThreadPoolExecutor(2) as pool:
        assert all("usage: edge-console" in text for text in pool.map(lambda arguments: shell.run(*arguments), HELPS))
