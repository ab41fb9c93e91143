"""When Python's cycle collector runs: what lives for ever is looked at once, so that a collection stays short."""

import gc


def tune_headless() -> None:
    """After the start, which runs without collections: small ones, for the engine makes no cycles, but each HTTP call of httpx does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    gc.enable()


def tune_console() -> None:
    """After the first paint: small and frequent ones, since no thread runs meanwhile; now and then of all, for Textual makes cycles."""
    gc.freeze()
    gc.set_threshold(1_000, 5, 20)
    gc.enable()
