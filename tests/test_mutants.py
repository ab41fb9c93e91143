"""Each seeded bug of `make mutants` can still be sown."""

import pytest

from tests.harness.mutants import BUGS, ROOT, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_matches_once(bug: Bug) -> None:
    assert (ROOT / "agent_core" / bug.file).read_text().count(bug.old) == 1


def test_seeded_bugs_are_many_and_differ() -> None:
    assert len({bug.name for bug in BUGS}) == len({(bug.file, bug.old, bug.new) for bug in BUGS}) == len(BUGS) >= 15
