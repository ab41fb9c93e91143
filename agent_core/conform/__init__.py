"""The judge of any backend: it acts as agents and says of each clause of docs/PROTOCOL.md whether the backend keeps it."""

from agent_core.conform.judge import Verdict, judge

__all__ = ["Verdict", "judge"]
