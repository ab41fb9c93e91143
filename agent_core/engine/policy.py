"""What is refused, whatever the backend says (config `policy`): types of commands, and messages by their recipient.

A refused command ends as failed, and its ack says why; nothing of it is done. How fast the others go is the business of pace.py. What the
operator runs again is held to both: the policy is the operator's own, and is changed where it is written.
"""

from agent_core.config.models import Policy
from agent_core.engine.pace import Pace
from agent_core.engine.recipients import Recipients, recipient
from agent_core.plain import plain


class Rules:
    """Each answer is a sentence for the ack; None: not refused."""

    def __init__(self, policy: Policy) -> None:
        self._types = frozenset(policy.deny_types)
        self._allowed, self._denied = Recipients(policy.allow_recipients), Recipients(policy.deny_recipients)

    def against_type(self, command_type: str) -> str | None:
        return f"refused: policy.deny_types has {plain(command_type, 100)}" if command_type in self._types else None

    def against_recipient(self, thread_id: str) -> str | None:
        one = recipient(thread_id)
        if self._denied.may_hold(one):
            return f"refused: policy.deny_recipients has {plain(one, 100)}"
        if self._allowed and one not in self._allowed:
            return f"refused: policy.allow_recipients does not have {plain(one, 100)}"
        return None


def rules_of(policy: Policy) -> Rules | None:
    """None where nothing is refused."""
    return Rules(policy) if policy.allow_recipients or policy.deny_recipients or policy.deny_types else None


def pace_of(policy: Policy) -> Pace | None:
    """None where nothing ever waits."""
    waits = policy.per_recipient.count or policy.per_new_conversation.count or policy.total.count or policy.quiet_hours.start
    return Pace(policy) if waits else None
