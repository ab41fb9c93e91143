"""The past as numbered entries: whoever reads late knows how much was missed."""

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.feed import Feed, LogEntry


def line(number: int) -> LogEntry:
    return LogEntry(float(number), "INFO", str(number))


def filled(count: int, capacity: int = 10, at_once: int = 1) -> Feed:
    feed = Feed(capacity)
    for first in range(0, count, at_once):
        feed.extend([line(number) for number in range(first, min(count, first + at_once))])
    return feed


def test_a_reader_gets_each_entry_once() -> None:
    feed = filled(3)
    first = feed.since(0)
    assert ([entry.text for entry in first.entries if isinstance(entry, LogEntry)], first.cursor, first.dropped) == (["0", "1", "2"], 3, 0)
    assert feed.since(first.cursor) == ([], 3, 0)
    feed.extend([line(3)])
    assert feed.since(first.cursor) == ([line(3)], 4, 0)


@pytest.mark.parametrize(("count", "dropped"), [(10, 0), (11, 1), (25, 15)])
def test_what_was_overwritten_is_counted(count: int, dropped: int) -> None:
    since = filled(count).since(0)
    assert (len(since.entries), since.dropped, since.cursor) == (10, dropped, count)
    assert since.entries[0] == line(count - 10)


def test_a_limit_is_no_loss() -> None:
    feed = filled(8)
    since = feed.since(0, limit=3)
    assert (since.entries, since.cursor, since.dropped) == ([line(0), line(1), line(2)], 3, 0)
    assert feed.since(since.cursor).entries[0] == line(3)


def test_a_cursor_ahead_of_the_feed_gets_nothing_and_falls_back() -> None:
    assert filled(3).since(99) == ([], 3, 0)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 20), st.integers(1, 30), st.integers(1, 50))
def test_read_and_dropped_are_always_all_there_was(count: int, cursor: int, capacity: int, limit: int, at_once: int) -> None:
    feed = filled(count, capacity, at_once)
    assert feed.since(0) == filled(count, capacity).since(0)
    cursor = min(cursor, count)
    got = dropped = 0
    while cursor < count:
        since = feed.since(cursor, limit)
        assert len(since.entries) + since.dropped == since.cursor - cursor
        got, dropped, cursor = got + len(since.entries), dropped + since.dropped, since.cursor
    assert got <= capacity
    assert feed.since(count).cursor == count


def test_a_reader_in_another_thread_sees_no_entry_twice_and_none_out_of_order() -> None:
    feed, total = Feed(64), 50_000
    done = threading.Event()

    def write() -> None:
        for number in range(0, total, 5):
            feed.extend([line(number + more) for more in range(5)])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    cursor = dropped = 0
    seen: list[float] = []
    while not (done.is_set() and cursor == total):
        since = feed.since(cursor)
        cursor, dropped = since.cursor, dropped + since.dropped
        seen += [entry.utc for entry in since.entries]
    writer.join()
    assert len(seen) + dropped == total
    assert all(earlier < later for earlier, later in pairwise(seen))
