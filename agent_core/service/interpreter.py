"""Which program macOS grants its permissions to: not `python`, but the file that runs in the end, by its path and what is in it."""

from pathlib import Path

FRAMEWORK_APP = Path("Resources/Python.app/Contents/MacOS/Python")
"""What a framework's `bin/python` turns into at its start, beside `bin`."""


def binary_of(executable: Path) -> Path:
    """The file that runs when `executable` is started: links followed, and through the stub of a framework."""
    found = executable.resolve()
    app = found.parent.parent / FRAMEWORK_APP
    return app if app.is_file() else found
