"""The ledger, searched a page at a time: what SQLite judges is what the filter's own language says."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.feed import CommandEntry
from agent_core.filters import FilterError, parse
from agent_core.journal.opening import FILE_NAME
from agent_core.journal.reader import NoLedger
from agent_core.journal.search import SLICE, page, required
from agent_core.redaction import Redactor
from agent_core.search import Page, Query
from tests.harness.past import leave_ledger

COUNT = 2_100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    leave_ledger(folder, COUNT)
    with sqlite3.connect(folder / FILE_NAME) as db:
        db.execute("UPDATE commands SET command_type = 'cafÉ' WHERE seq = 2000")
        db.execute("UPDATE commands SET sent_utc = received_utc + 3 WHERE seq IN (7, 2050)")
        db.execute("UPDATE commands SET command_id = x'ff00' WHERE seq = 9")
        db.execute("UPDATE commands SET error = CAST(x'ff6f6f7073' AS TEXT) WHERE seq = 50")
    return folder


def found(folder: Path, query: Query) -> list[CommandEntry]:
    """All pages, from the first to the last."""
    entries: list[CommandEntry] = []
    looked, left = 0, 1.0
    while True:
        one = page(folder, query, Redactor("a-secret-of-the-ledger").entries)
        assert 0 <= one.left <= left
        looked, left = looked + one.looked, one.left
        back = query.after is None
        entries = [*one.entries, *entries] if back else [*entries, *one.entries]
        if one.next is None:
            assert looked == COUNT
            return entries
        query = Query(query.text, query.utc, query.failures_only, one.next if back else None, None if back else one.next)


@pytest.mark.parametrize(
    "text",
    [
        "", "status:failed", "!status:failed", "status:acked via:poll", "type:send", "!type:send", "type:café", "id:past_00002", "00012",
        "!00012", "ws", "EXT", "effect:external", "!effect:external", "effect:harmless", "thread:0013", "error:registered",
        "!error:registered",
        ">2s", "<2s", "!>2s", "/1{2}$/", "!/^past/", "/past_0012/", "/^P.*T_0+1.?2$/", "/the re.*ered/", "/no|oops/", "/3/",
        "replay:x", '"not registered" 00', "via:poll,local !id:1000", "a%b", "c_d",
    ],
)  # fmt: skip
def test_c9_sqlite_and_the_filters_language_agree(folder: Path, text: str) -> None:
    everything = found(folder, Query())
    wanted = parse(text)
    passing = [one for one in everything if wanted.holds((one.command_type, one.via, one.status, one.effect, one.thread_id, one.error, None), one.command_id, one.ack_ms or one.run_ms, one.utc)]  # fmt: skip # noqa: E501
    assert len(everything) == COUNT - 1
    assert found(folder, Query(text)) == passing
    assert found(folder, Query(text, after=0)) == passing


@given(st.from_regex(r"\^?([a-cskSK01_ .]|[a-ck][*?+]){1,8}\$?", fullmatch=True), st.text("abckKsSſK01_ ", max_size=12))
def test_c9_what_a_pattern_requires_is_in_all_that_it_finds(pattern: str, text: str) -> None:
    part = required(pattern)
    wanted = parse(f"/{pattern}/")
    if wanted and wanted.holds((text, "", "", "", None, None, None), "", None):
        assert part.lower() in text.lower()


@pytest.mark.parametrize(
    ("pattern", "part"), [("^past_0019.*7$", "t_0019"), ("ab?c", "a"), ("a|b", ""), ("(abc)", ""), ("ab+", "a"), ("é", "")]
)
def test_c9_of_a_pattern_sqlite_looks_for_what_it_requires(pattern: str, part: str) -> None:
    assert required(pattern) == part


def test_c9_texts_failures_and_ages_are_found(folder: Path) -> None:
    assert [one.row for one in found(folder, Query('text:"very first"'))] == [1]
    assert len(found(folder, Query("!payload:parcel"))) == 1
    assert len(found(folder, Query("priority:normal"))) == COUNT - 1
    assert [one.row for one in found(folder, Query(failures_only=True))] == list(range(50, COUNT + 1, 50))
    newest = found(folder, Query())[-1].utc
    assert [one.row for one in found(folder, Query("since:10s", utc=newest))] == list(range(COUNT - 10, COUNT + 1))


def test_c9_a_page_is_bounded_and_says_where_to_go_on(folder: Path) -> None:
    def paged(query: Query) -> tuple[list[int], int | None]:
        one = page(folder, query, Redactor().entries)
        return [entry.row for entry in one.entries], one.next

    assert paged(Query(most=3)) == ([2_098, 2_099, 2_100], 2_098)
    assert paged(Query(before=2_098, most=2)) == ([2_096, 2_097], 2_096)
    assert paged(Query(after=0, most=2)) == ([1, 2], 2)
    assert paged(Query(before=2, most=2)) == ([1], None)
    assert paged(Query(before=1)) == ([], None)
    assert paged(Query(after=COUNT)) == ([], None)
    assert len(page(folder, Query(most=10**9), Redactor().entries).entries) <= SLICE


def test_c9_what_cannot_be_searched_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FilterError, match="no status foo"):
        page(folder, Query("status:foo"), Redactor().entries)
    with pytest.raises(NoLedger):
        page(tmp_path, Query(), Redactor().entries)
    leave_ledger(tmp_path, 0)
    assert page(tmp_path, Query("x"), Redactor().entries) == Page([])


def test_c9_what_is_found_shows_no_secret(folder: Path) -> None:
    shown = page(folder, Query("status:failed", most=1), Redactor("recipient is not").entries).entries
    assert "recipient" not in (shown[0].error or "")
