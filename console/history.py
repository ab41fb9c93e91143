"""Earlier commands, from the ledger: what the stream shows of the time before this console."""

from collections.abc import Sequence
from pathlib import Path

from agent_core.attention import Case, Kind, case_of
from agent_core.feed import CommandEntry
from agent_core.filters import Ask
from agent_core.journal.reader import NoLedger, first_words, needing_attention
from agent_core.journal.reader import asked as found
from agent_core.journal.search import page
from agent_core.journal.threads import thread_page
from agent_core.plain import plain
from agent_core.records import Remembered, State, Via
from agent_core.redaction import Redactor
from agent_core.search import Page, Query
from agent_core.threads import ThreadPage, ThreadQuery


def searched(data_dir: Path, redactor: Redactor, query: Query) -> Page:
    """The page of the ledger that is asked for; an empty one where there is no ledger to read yet. Raises FilterError."""
    try:
        return page(data_dir, query, redactor.entries)
    except NoLedger:
        return Page([])


def asked(data_dir: Path, ask: Ask, after: int) -> tuple[set[int], int]:
    """What the ledger finds behind that number, and its last number."""
    try:
        return found(data_dir, ask.field, ask.value, after)
    except NoLedger:
        return set(), after


def words(data_dir: Path, redactor: Redactor, numbers: Sequence[int]) -> dict[int, str]:
    """How the messages of these commands begin."""
    try:
        return {number: redactor(text) for number, text in first_words(data_dir, numbers).items()}
    except NoLedger:
        return {}


def thread(data_dir: Path, redactor: Redactor, query: ThreadQuery) -> ThreadPage:
    """The page of a thread that is asked for; an empty one where there is no ledger to read yet."""
    try:
        return thread_page(data_dir, redactor, query)
    except NoLedger:
        return ThreadPage([])


def needing(data_dir: Path, redactor: Redactor, utc: float) -> list[Case]:
    """What needs the operator at that time, the gravest kind first, of each the newest first. Raises NoLedger."""
    records = [redactor.within(record) for record in needing_attention(data_dir, utc) if isinstance(record, Remembered)]
    return sorted(map(case_of, records), key=lambda case: list(Kind).index(case.kind))


def entry_of(record: Remembered) -> CommandEntry:
    """As the stream shows it."""
    command, thread = record.command, record.command.payload.get("thread_id")
    ran = None if record.started_utc is None or record.finished_utc is None else record.finished_utc - record.started_utc
    acked = None if record.sent_utc is None else record.sent_utc - record.received_utc
    return CommandEntry(
        record.seq, record.received_utc, command.command_id, command.command_type, record.via, _status(record),
        plain(thread, 100) if isinstance(thread, str) else None, _ms(ran), _ms(acked), plain(record.error) if record.error else None,
        record.proven_utc is not None, record.replay_of, delivery=record.delivery,
    )  # fmt: skip


def _status(record: Remembered) -> str:
    if record.state is not State.COMPLETED:
        return record.state
    return "acked" if record.proven_utc is not None or record.via is Via.LOCAL else "outbox"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else max(0.0, seconds) * 1_000
