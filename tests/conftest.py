"""One profile for hypothesis: the suite is the same each time and leaves nothing behind."""

from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None, database=None, derandomize=True)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed as Unicode that can be sent: a process of tests whose report cannot be is lost with all that it has left."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
