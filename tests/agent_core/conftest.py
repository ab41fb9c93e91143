"""Journals that are closed at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.desk import Desk


@pytest.fixture
def desks() -> Iterator[list[Desk]]:
    made: list[Desk] = []
    yield made
    for desk in made:
        desk.journal.close()


@pytest.fixture
def desk(tmp_path: Path, desks: list[Desk]) -> Desk:
    desks.append(Desk(tmp_path))
    desks[0].open()
    return desks[0]
