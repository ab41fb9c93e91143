"""The container files in docs/deploy: read by a parser, and held against the command line that they call. No Docker is needed."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "docs" / "deploy"


def compose() -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return body


def test_the_compose_file_names_what_is_there() -> None:
    body = compose()
    services = body["services"]
    assert set(services) == {"balancer", "backend1", "backend2", "db1", "db2"}
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert source in body["volumes"] or (DEPLOY / source).is_file(), mount
    assert (DEPLOY / services["backend1"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / services["backend1"]["build"]["dockerfile"]).is_file()
    balancer = (DEPLOY / "haproxy.cfg").read_text()
    assert all(f"{name}:8787" in balancer for name in ("backend1", "backend2"))


def test_the_container_calls_the_program_as_it_is() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    known = {"#", "FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}
    assert {line.split()[0] for line in lines} <= known
    words = yaml.safe_load(next(line for line in lines if line.startswith("ENTRYPOINT")).partition(" ")[2])
    ran = subprocess.run([sys.executable, "-m", "console", *words[1:], "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), shlex.join(words)


def test_the_script_of_the_database_is_a_script() -> None:
    assert subprocess.run(["bash", "-n", str(DEPLOY / "allow-standby.sh")], check=False).returncode == 0
