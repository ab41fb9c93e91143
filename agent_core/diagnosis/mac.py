"""What keeps an agent on a Mac from years unattended, and a refusal that looks like a broken network; decided from what programs say.

Nothing here asks for a permission: those of a service are another program's than the shell's (MACOS §3).
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator

PANES = "x-apple.systempreferences:com.apple.preference.security?Privacy_"
NO_ROUTE = "no route to host"


def power_findings(pmset: str) -> Iterator[str]:
    """Of `pmset -g`: what lets the machine sleep, or stay off after the power was."""
    values = dict(re.findall(r"^\s*(\w+)\s+(\d+)", pmset, re.MULTILINE))
    if values.get("sleep", "0") != "0":
        yield f"this Mac sleeps after {values['sleep']} minutes: sudo pmset -a sleep 0"
    if values.get("autorestart") == "0":
        yield "it stays off after a power failure: sudo pmset -a autorestart 1"


def login_findings(filevault: str, login_user: str) -> Iterator[str]:
    """Of `fdesetup status` and the login window's `autoLoginUser`: what stops a start that nobody attends."""
    if "FileVault is On" in filevault:
        yield "FileVault waits for a password at each start: sudo fdesetup disable, or somebody comes by"
    if not login_user.strip():
        yield "nobody is logged in by itself, so a service of the user does not start: System Settings, Users & Groups, Automatic login"


def local_network(refusals: Iterable[tuple[str, str | None]], *, is_mac: bool, python: str) -> tuple[str, str] | None:
    """Cause and advice where a Mac refuses this program the local network: no route to an address beside it. (address, what it said)."""
    refused = [address for address, said in refusals if said == NO_ROUTE and is_beside(address)]
    if not is_mac or not refused:
        return None
    cause = f"macOS refuses a program the local network in just these words, and {refused[0]} is in it: no fault of the network"
    return cause, allow(python, "Local Network")


def allow(python: str, permission: str) -> str:
    """What to do about a permission that is not there: the pane, and the exact program."""
    pane = {"Full Disk Access": "AllFiles"}.get(permission, permission.replace(" ", ""))
    return f"System Settings, Privacy & Security, {permission}: allow {python} (open '{PANES}{pane}')"


def is_beside(address: str) -> bool:
    """In the local network of this machine, and not the machine itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return found.is_private and not found.is_loopback
