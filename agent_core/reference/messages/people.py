"""The people whom a demonstration writes to: they read, some answer, and now and then one cannot be reached."""

from pathlib import Path
from random import Random

from agent_core.reference.messages.app import Fault, MessagesApp

ANSWERS = (
    "Thanks!",
    "On my way",
    "Could you do 8 instead?",
    "Who is this?",
    "Perfect",
    "Got it, see you then",
    "Sorry, was driving. Yes!",
    "Let me check and get back to you",
)
OUT_OF_REACH, ANSWERING = 0.1, 0.6
"""Shares of the messages."""


class People:
    """Whoever is written to by way of `app`."""

    def __init__(self, app: MessagesApp, dice: Random) -> None:
        self._app = app
        self._dice = dice
        app.read_receipts = True
        app.on_asked = self._written

    def _written(self, target: str, _text: str) -> None:
        if self._dice.random() < OUT_OF_REACH:
            self._app.faults.append(Fault.UNROUTABLE)
        elif self._dice.random() < ANSWERING:
            sender, answer = target.rpartition(";")[2], self._dice.choice(ANSWERS)
            self._app.later(self._dice.uniform(1.5, 4.0), lambda: self._app.receive(sender, answer))


async def started(folder: Path, seed: int = 3) -> MessagesApp:
    """Messages over `folder/chat.db`, with its people, to be stopped in the same loop."""
    app = MessagesApp(folder)
    People(app, Random(seed))
    await app.start()
    return app
