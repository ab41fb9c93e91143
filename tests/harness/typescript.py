"""The TypeScript compiler, installed once for all tests that compile."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from agent_core.frames import as_json

PACKAGES = {"typescript": "^5", "@types/node": "^20"}


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def compiler() -> list[str]:
    """tsc, strict, with what is known of Node; the test is skipped by name where it cannot be had."""
    npm, folder = shutil.which("npm"), Path(_folder().name)
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node is not installed")
    tsc = folder / "node_modules" / ".bin" / "tsc"
    if not tsc.exists():
        (folder / "package.json").write_text(as_json({"private": True, "devDependencies": PACKAGES}))
        subprocess.run([npm, "install", "--silent", "--no-audit"], cwd=folder, check=False, capture_output=True, timeout=100)
    if not tsc.exists():
        pytest.skip("npm cannot install typescript here")
    return [str(tsc), "--strict", "--skipLibCheck", "--typeRoots", str(folder / "node_modules" / "@types")]
