"""The settings: their models, and the layers they come from."""

from agent_core.config.models import Config

__all__ = ["Config"]
