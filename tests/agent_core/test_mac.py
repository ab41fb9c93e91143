"""What keeps a Mac from years unattended, read from what its programs say."""

from pathlib import Path

import pytest

from agent_core.diagnosis.mac import NO_ROUTE, local_network, login_findings, power_findings
from tests.harness.rig import program, served, write_config

PMSET = """System-wide power settings:
Currently in use:
 standby              0
 womp                 1
 autorestart          {autorestart}
 sleep                {sleep} (sleep prevented by powerd)
 disksleep            10
"""


def test_a_mac_that_sleeps_or_stays_off_is_named_with_its_command() -> None:
    assert list(power_findings(PMSET.format(sleep=0, autorestart=1))) == []
    assert list(power_findings(PMSET.format(sleep=10, autorestart=0))) == [
        "this Mac sleeps after 10 minutes: sudo pmset -a sleep 0",
        "it stays off after a power failure: sudo pmset -a autorestart 1",
    ]
    assert list(power_findings("")) == []


def test_what_stops_a_start_that_nobody_attends() -> None:
    assert list(login_findings("FileVault is Off.\n", "ann\n")) == []
    vault, login = login_findings("FileVault is On.\n", "")
    assert "FileVault waits for a password" in vault
    assert "nobody is logged in by itself" in login


@pytest.mark.parametrize(
    ("address", "said", "is_mac", "named"),
    [
        ("192.168.1.20", NO_ROUTE, True, True), ("fe80::1%en0", NO_ROUTE, True, True),
        ("192.168.1.20", NO_ROUTE, False, False), ("192.168.1.20", "refused", True, False), ("192.168.1.20", None, True, False),
        ("8.8.8.8", NO_ROUTE, True, False), ("127.0.0.1", NO_ROUTE, True, False),
    ],
)  # fmt: skip
def test_no_route_to_the_local_network_is_a_permission_on_a_mac(address: str, said: str | None, *, is_mac: bool, named: bool) -> None:
    found = local_network([(address, said)], is_mac=is_mac, python="/opt/python3.13")
    assert (found is not None) is named
    if found is not None:
        assert "allow /opt/python3.13" in found[1]


async def test_the_doctor_asks_the_macs_programs(tmp_path: Path) -> None:
    for name, said in (("pmset", PMSET.format(sleep=1, autorestart=1)), ("fdesetup", "FileVault is On."), ("defaults", "ann")):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'E'\n{said}\nE\n")
        (tmp_path / name).chmod(0o755)
    async with served() as backend:
        path = f"{tmp_path}:/usr/bin:/bin"
        async with program("doctor", *write_config(tmp_path, backend.url), cwd=tmp_path, PATH=path) as doctor:
            assert await doctor.ends(40) == 0
    text = " ".join(" ".join(doctor.out).split())
    assert "▲ warning unattended" in text
    assert "this Mac sleeps after 1 minutes: sudo pmset -a sleep 0" in text
    assert "FileVault waits" in text
