"""One profile for hypothesis: the suite is the same each time and leaves nothing behind; and reports that another process can read."""

from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None, database=None, derandomize=True)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has logged may be no Unicode, and could not be handed to the process that reports."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
