"""An edge agent: commands in by socket or polling, each once in effect, each acknowledged and proven."""

__version__ = "0.1.0"
