"""When Python's cycle collector runs: what lives for ever is looked at once, so that a collection stays short."""

import gc


def tune_headless() -> None:
    """After the start, which runs without collections: rare ones, since the engine makes no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    gc.enable()


def tune_console() -> None:
    """After the first paint: small and frequent ones, since no thread runs meanwhile; now and then of all, for Textual makes cycles."""
    gc.freeze()
    gc.set_threshold(1_000, 5, 20)
    gc.enable()
