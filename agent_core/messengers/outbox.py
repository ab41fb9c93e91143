"""The default messenger, anywhere: it records in the ledger's own database what would be sent, so its effect is exactly once."""

from agent_core.entries import EffectClass
from agent_core.frames import Command, Message
from agent_core.messengers.base import Context, Messenger
from agent_core.records import OutboxRow, Outcome


class OutboxMessenger(Messenger):
    effect = EffectClass.TRANSACTIONAL

    def send(self, message: Message, command: Command, context: Context) -> Outcome:
        return Outcome(row=OutboxRow(context.seq, command.command_id, message.thread_id, message.text, context.utc))
