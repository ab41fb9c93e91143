"""Runs a program for each message: JSON on its stdin, exit code 0 for "sent", one JSON line on its stdout as the receipt."""

from collections.abc import Sequence

from agent_core.frames import Command, Message
from agent_core.messengers.base import Context, Messenger, as_json, receipt_of
from agent_core.messengers.programs import Ended, run_program
from agent_core.plain import plain
from agent_core.records import Outcome


class ExecMessenger(Messenger):
    """At most once: a program that is killed in the middle may have sent."""

    attaches = True

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        """Raises OSError where the program cannot be started."""
        return _outcome(await run_program(self._command, as_json(message, command, context) + b"\n"))


def _outcome(ended: Ended) -> Outcome:
    if ended.code < 0:
        return Outcome(error=f"the program was ended by signal {-ended.code}", unknown=True)
    if ended.code > 0:
        last = ended.complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Outcome(error=f"exit code {ended.code}" + (f": {plain(last, 300)}" if last else ""))
    receipt = receipt_of(ended.said) if ended.said.strip() else {}
    if receipt is None:
        return Outcome(error="exit code 0, but its answer is not one JSON object of at most 16 KiB", unknown=True)
    return Outcome(result=receipt)
