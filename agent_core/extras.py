"""What a plain install leaves out: the extra that holds a missing package, and the command that adds it to this very installation.

Whoever needs such a package imports it and lets ModuleNotFoundError pass; the process's edge says this sentence.
"""

import json
import re
import shlex
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agent_core.plain import plain

NAME = "edge-console"


def advice(module: str) -> str:
    """What to do about a module that is not there, in one sentence."""
    try:
        here = distribution(NAME)
    except PackageNotFoundError:
        return f"the Python package {plain(module, 60)} is not installed: {shlex.quote(sys.executable)} -m pip install {plain(module, 60)}"
    extra = extra_with(module, here)
    command = install_command(here, Path(sys.prefix), extra)
    if extra is None:
        return f"the Python package {plain(module, 60)} is missing from this installation: {command}"
    return f"this needs the extra {extra}: {command}"


def extra_with(module: str, here: Distribution) -> str | None:
    """The extra that brings this module; None where it belongs to a plain install."""
    wanted = _normal(module)
    for requirement in here.requires or ():
        extra = re.search(r"""extra == ['"]([^'"]+)""", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name and (_begins(_normal(name[0]), wanted) or _begins(wanted, _normal(name[0]))):
            return extra[1]
    return None


def _begins(name: str, first: str) -> bool:
    return f"{name}-".startswith(f"{first}-")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def install_command(here: Distribution, prefix: Path, extra: str | None) -> str:
    """The command for the way this was installed (uv tool, pipx, uv pip, pip), from where it was installed (PEP 610)."""
    wanted = f"{NAME}[{extra}]" if extra else NAME
    origin = json.loads(here.read_text("direct_url.json") or "{}")
    url = str(origin.get("url", ""))
    if vcs := origin.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs.get('requested_revision') or vcs['commit_id']}"
    what = shlex.quote(f"{wanted} @ {url}" if url else wanted)
    if origin.get("dir_info", {}).get("editable"):
        what = "-e " + shlex.quote(unquote(urlsplit(url).path) + (f"[{extra}]" if extra else ""))
    if (prefix / "uv-receipt.toml").exists():
        return f"uv tool install --force {what}"
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx install --force {what}"
    python = shlex.quote(sys.executable)
    if (here.read_text("INSTALLER") or "").strip() == "uv":
        return f"uv pip install --python {python} {what}"
    return f"{python} -m pip install {what}"
