"""The operator cancels what is due later."""

from agent_core.events import CancelRequested, Execute
from tests.agent_core.test_ledger import online
from tests.harness.playbook import THREAD, acks, to


def test_a_scheduled_message_is_cancelled_and_its_backend_told() -> None:
    book = online()
    book.push("c1", "schedule_message", payload=to(THREAD, send_at=book.clock.utc + 60)) << acks("c1", status="received")
    book.after(9)
    book >> CancelRequested("c1")
    book << acks("c1", status="failed")
    book.after(120).never(Execute)
    assert book.engine.snapshot(book.clock.now()).latency.ack.percentile(0.99) == 0.0, "how long it waited is no latency"


def test_what_is_not_scheduled_is_left_alone() -> None:
    book = online()
    book >> CancelRequested("nobody")
    assert book.told("nobody cannot be cancelled: it is not waiting")
