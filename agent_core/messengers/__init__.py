"""Where messages go: the contract is in base.py, the kinds in choice.py."""

from agent_core.messengers.base import Context, Messenger

__all__ = ["Context", "Messenger"]
