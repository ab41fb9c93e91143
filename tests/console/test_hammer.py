"""Keys and clicks at random: nothing that an operator has to be asked about happens unasked, and nothing breaks."""

import random

import pytest
from textual.events import Key

from agent_core.events import ReconnectRequested, ResolveRequested
from agent_core.feed import LogEntry
from tests.console.test_app import Seat, seated
from tests.harness.stills import NOON, entry, needing_cases

EVENTS = 600
WORDS = (
    "r",
    "e",
    "x",
    "q",
    "p",
    "R",
    "D",
    "w",
    "L",
    "z",
    "f",
    "o",
    "t",
    "k",
    "j",
    "g",
    "G",
    "J",
    "K",
    "Y",
    "l",
    "N",
    "c",
    "i",
    "v",
    "m",
    "s",
)
SIGNS = ("slash", "exclamation_mark", "backslash", "question_mark", "colon", "space")
OTHERS = (
    *("enter", "escape", "tab", "shift+tab", "up", "down", "pageup", "pagedown", "home", "end", "left", "right", "backspace", "delete"),
    *("1", "2", "3", "4", "5", "f1", "ctrl+c", "ctrl+q", "ctrl+p", "ctrl+r", "ctrl+d", "ctrl+a", "ctrl+k", "ctrl+u"),
)
"""Every key but those that answer a question: y, and a b n of the polling modes."""
CHARACTERS = {"slash": "/", "exclamation_mark": "!", "backslash": "\\", "question_mark": "?", "colon": ":", "space": " "}


async def hammer(seat: Seat, dice: random.Random, columns: int, rows: int) -> None:
    for number in range(EVENTS):
        if dice.random() < 0.05:
            at = dice.randrange(columns), dice.randrange(rows)
            await seat.pilot.click(offset=at, times=dice.choice((1, 1, 2)))
        else:
            key = dice.choice(dice.choice((WORDS, WORDS, SIGNS, OTHERS, ("escape",))))
            seat.app.post_message(Key(key, CHARACTERS.get(key, key if len(key) == 1 else None)))
        if number % 7 == 0:
            seat.host.feed.extend([entry(1_000 + number, effect="external"), LogEntry(NOON, "INFO", f"line {number}")])
        if number % 20 == 0:
            await seat.pilot.pause()
            seat.clock.advance(0.5)


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_random_keys_ask_before_they_act_and_break_nothing(size: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    told = [entry(number, effect="external") for number in range(10, 70)]
    async with seated(entries=told, size=size, needing=lambda _: needing_cases()) as seat:
        await hammer(seat, random.Random(seed), *size)
        await seat.pilot.pause()
        runs = [one for one in seat.host.posted if not isinstance(one, ReconnectRequested | ResolveRequested)]
        assert [one for one in runs if not getattr(one, "dry_run", False)] == []
        assert (seat.host.stops, seat.app.crash, seat.app.return_code) == (0, None, None)
        assert "The console failed" not in caplog.text
        for _ in range(12):
            await seat.press("escape")
        assert seat.app.screen is seat.app.screen_stack[0]
