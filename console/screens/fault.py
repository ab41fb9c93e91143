"""`:fault ack_status=404 seconds=30`: what a demonstration's backend is to do wrong, in the words of POST /admin/faults."""

from functools import partial
from typing import Any, cast

from textual.command import Hit, Hits, Provider
from textual.content import Content

from console.operations import Operations

EXAMPLES = "upgrade_status=503, close_code=1011, silent, push_twice, ack_status=404, delay_seconds=2; seconds=30; off"


class Fault(Provider):
    """Offers what is typed, as it is."""

    async def search(self, query: str) -> Hits:
        operations: Operations = cast("Any", self.app).operations
        name, _, words = query.partition(" ")
        if name == "fault" and operations.options.fault is not None:
            yield Hit(1, Content(f"fault {words or '…'}"), partial(operations.fault, words), help=EXAMPLES)
