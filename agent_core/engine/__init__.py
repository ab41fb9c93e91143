"""The whole agent but its I/O, and pure: no clock, no dice, no tasks, no disk; time and chance are arguments."""

from agent_core.engine.engine import Engine

__all__ = ["Engine"]
