"""Files that are whole or not there."""

from pathlib import Path

import pytest

from agent_core.files import dated, write_whole


def test_a_file_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "state"
    for content in (b"first", b"second"):
        write_whole(target, content)
        assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(target, b"x")
    assert list(tmp_path.iterdir()) == [target]


def test_a_dated_name_stands_in_a_folder_of_its_own(tmp_path: Path) -> None:
    path = dated(tmp_path / "a" / "pictures", "edge-console", 1_794_061_927.25, "svg")
    assert path == tmp_path / "a" / "pictures" / "edge-console-20261107-143207-250.svg"
    assert path.parent.stat().st_mode & 0o777 == 0o700
