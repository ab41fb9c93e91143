"""The default messenger, anywhere: it records in the ledger's own database what would be sent, so its effect is exactly once."""

from agent_core.entries import EffectClass
from agent_core.messengers import Envelope, Outcome
from agent_core.records import OutboxRow


class OutboxMessenger:
    effect = EffectClass.TRANSACTIONAL

    def send(self, envelope: Envelope) -> Outcome:
        message = envelope.message
        return Outcome(row=OutboxRow(envelope.seq, envelope.command_id, message.thread_id, message.text, envelope.utc))
