"""The ledger on disk: one writer thread, readers from outside, what is kept for how long, and the lock on the data directory."""

from agent_core.journal.writer import Journal

__all__ = ["Journal"]
