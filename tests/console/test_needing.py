"""What needs the operator, in the console: the count, the list, and the key that does what is to be done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent_core.attention import Case, case_of
from agent_core.events import Event, ReconnectRequested, ReplayRequested, ResolveRequested
from agent_core.frames import ack
from agent_core.journal.reader import NoLedger
from agent_core.records import Resolution, State
from agent_core.redaction import Redactor
from console.history import needing
from tests.console.test_app import Seat, seated
from tests.harness.rig import AGENT, SECRET, config, living, message, served, settled, until
from tests.harness.stills import NOON, ONLINE, entry, needing_cases, remembered

CASES = needing_cases()
NEEDED = replace(ONLINE, commands=replace(ONLINE.commands, interrupted=1, unresolved=2, overdue=1))


class Ledger:
    """Has these, as long as none of them is resolved."""

    def __init__(self, cases: Sequence[Case] = CASES) -> None:
        self.cases = list(cases)

    def __call__(self, utc: float) -> list[Case]:
        return list(self.cases)


def posted(seat: Seat) -> list[Event]:
    return seat.host.posted


async def opened(seat: Seat, words: str = "cmd_1") -> None:
    await seat.press("exclamation_mark")
    await seat.until(lambda: words in seat.dialog())


async def test_the_header_counts_what_needs_the_operator_and_a_click_on_it_opens_the_list() -> None:
    async with seated(needing=Ledger()) as seat:
        assert " ! " not in seat.screen().splitlines()[0]
        seat.host.change(commands=NEEDED.commands)
        await seat.shows(" ! 4 ")
        at = seat.screen().splitlines()[0].index("! 4")
        await seat.pilot.click(offset=(at, 0))
        await seat.until(lambda: "▲ 1 unknown outcome" in seat.dialog())
        await seat.press("escape")
        seat.host.change(commands=ONLINE.commands)
        await seat.until(lambda: " ! " not in seat.screen().splitlines()[0])


async def test_each_says_what_has_happened_what_to_do_and_the_key_that_does_it() -> None:
    says = [
        (
            "6 messages like it",
            " 1 GUID-0 in iMessage;-;+1310, ",
            " 6 GUID-5",
            "→ one of these",
            "s It was sent",
            "n None of these",
            "d Dismiss",
            "hi there",
        ),
        ("due 20m 00s ago", "→ replay it to send it now", "r Replay", "d Dismiss"),
        ("no such recipient", "→ replay it once the cause is gone", "r Replay", "d Dismiss"),
        ("not known to have its ack", "→ the ack goes out again by itself", "R Reconnect"),
    ]
    async with seated(NEEDED, size=(80, 24), needing=Ledger()) as seat:
        await opened(seat)
        for words in says:
            for word in words:
                assert word in seat.dialog()
            await seat.press("j")
        assert "s It was sent" not in seat.dialog()
        for kind in ("▲ 1 unknown outcome", "◷ 1 missed", "✗ 1 failed", "◌ 1 unproven"):
            assert kind in seat.dialog()


async def test_what_runs_again_is_asked_about_and_what_is_settled_is_not() -> None:
    async with seated(NEEDED, needing=Ledger()) as seat:
        seat.host.records = {case.record.command.command_id: case.record for case in CASES}
        await opened(seat)
        await seat.press("r")
        assert "Replay this command?" in str(seat.app.screen.query_one(".dialog").border_title)
        await seat.press("enter", "n")
        assert posted(seat) == []
        await seat.press("r", "y")
        await seat.press("s", "s", "d", "d", "R", "d", "r", "n")
        by = posted(seat)[1].by  # type: ignore[union-attr]
        assert posted(seat) == [
            ReplayRequested("cmd_1"),
            ResolveRequested("cmd_1", Resolution.SENT, by),
            ResolveRequested("cmd_2", Resolution.DISMISSED, by),
            ResolveRequested("cmd_3", Resolution.DISMISSED, by),
            ReconnectRequested(),
        ]
        await seat.says("settled by its proof alone")


def ambiguous(count: int) -> Case:
    told = [{"guid": f"GUID-{n}", "chat": f"any;-;+1310555010{n}", "sent_at": f"2026-11-06T14:3{n}:00Z"} for n in range(count)]
    answer = ack("cmd_1", "failed", NOON, "unknown outcome", {"candidates": told})
    return case_of(remembered("cmd_1", state=State.INTERRUPTED, error="unknown outcome: 10 messages like it", ack=answer))


async def test_a_key_says_which_of_the_candidates_it_was_and_asks_first() -> None:
    async with seated(NEEDED, size=(80, 24), needing=Ledger([ambiguous(10), *CASES[1:]])) as seat:
        await opened(seat)
        for line in (" 1 GUID-0 in any;-;+13105550100, 14:30:00", " 9 GUID-8", " 0 GUID-9 in any;-;+13105550109, 14:39:00", "d Dismiss"):
            assert line in seat.dialog()
        height = seat.app.screen.query_one(".dialog").content_size.height
        assert len(seat.dialog().splitlines()) <= height, "nothing is below the edge"
        await seat.press("0")
        for words in ("GUID-9", "any;-;+13105550109", "hi there", "cmd_1"):
            assert words in seat.dialog()
        await seat.press("n")
        assert posted(seat) == []
        await seat.press("3", "y")
        (sent,) = posted(seat)
        assert isinstance(sent, ResolveRequested)
        assert (sent.command_id, sent.resolution, sent.guid) == ("cmd_1", Resolution.SENT, "GUID-2")
        await seat.says("cmd_1: sent, GUID-2")


async def test_that_it_was_none_of_them_is_asked_first_and_so_is_what_has_no_candidates() -> None:
    async with seated(NEEDED, needing=Ledger([ambiguous(2), *CASES[1:]])) as seat:
        await opened(seat)
        await seat.press("3")
        await seat.says("no such candidate")
        await seat.press("n")
        assert "None of the 2 messages is it." in seat.dialog()
        await seat.press("n", "n", "y")
        (none,) = posted(seat)
        assert isinstance(none, ResolveRequested)
        assert (none.resolution, none.guid) == (Resolution.UNSENT, None)
        await seat.press("j", "n")
        await seat.says("Only an unknown outcome")
        await seat.press("1")
        await seat.says("Nobody knows of candidates")
        assert len(posted(seat)) == 1


async def test_candidates_are_masked_and_a_click_chooses_one() -> None:
    async with seated(NEEDED, needing=Ledger([ambiguous(2)]), texts="masked") as seat:
        await opened(seat)
        row = next(y for y, line in enumerate(seat.dialog().splitlines()) if "GUID-1" in line)
        await seat.pilot.click(seat.app.screen.query_one(".dialog > Static"), offset=(5, row))
        await seat.until(lambda: "GUID-1" in seat.dialog() and "It is recorded as sent" in seat.dialog())
        assert "•••01" in seat.dialog()
        for secret in ("5550101", "hi there"):
            assert secret not in seat.dialog()
        await seat.press("y")
        await seat.until(lambda: [event.guid for event in posted(seat)] == ["GUID-1"])  # type: ignore[union-attr]


async def test_a_payload_can_be_mended_before_it_runs_again() -> None:
    async with seated(NEEDED, needing=Ledger()) as seat:
        seat.host.records = {case.record.command.command_id: case.record for case in CASES}
        await opened(seat)
        await seat.press("j", "e")
        editor = seat.app.screen.query_one("TextArea")
        editor.load_text('{"thread_id": "+1", "text": "again"}')  # type: ignore[attr-defined]
        await seat.press("ctrl+r", "y")
        assert posted(seat) == [ReplayRequested("cmd_2", {"thread_id": "+1", "text": "again"})]


async def test_the_list_is_live_and_the_cursor_stays_with_its_command() -> None:
    ledger = Ledger()
    async with seated(NEEDED, needing=ledger) as seat:
        await opened(seat)
        await seat.press("j", "j")
        assert "no such recipient" in seat.dialog().split("→")[0]
        del ledger.cases[0]
        seat.host.change(commands=replace(NEEDED.commands, interrupted=0))
        await seat.until(lambda: "cmd_1" not in seat.dialog())
        assert "no such recipient" in seat.dialog().split("─")[-1]
        ledger.cases.clear()
        seat.host.change(commands=ONLINE.commands)
        await seat.until(lambda: "Nothing in the ledger needs you" in seat.dialog())
        await seat.press("r", "s", "d", "e", "enter", "y", "j")
        assert posted(seat) == []


async def test_a_change_that_the_ledger_gets_a_bit_later_is_seen() -> None:
    ledger = Ledger(CASES[:1])
    async with seated(NEEDED, needing=ledger) as seat:
        await opened(seat)
        ledger.cases.append(CASES[2])
        seat.clock.advance(1.1)
        await seat.until(lambda: "cmd_3" in seat.dialog())


@pytest.mark.parametrize(("change", "words"), [
    ({"turned_away": 7}, "≡ 7 turned away: they come again"),
    ({"turned_away": 7, "paused": True}, "edge-console resume takes them"),
])  # fmt: skip
async def test_what_was_turned_away_is_told_though_the_ledger_has_it_not(change: dict[str, Any], words: str) -> None:
    async with seated(replace(ONLINE, commands=replace(ONLINE.commands, **change)), needing=Ledger(())) as seat:
        await opened(seat, words)


async def test_a_ledger_that_cannot_be_read_is_said_in_the_list() -> None:
    def unreadable(utc: float) -> list[Case]:
        raise NoLedger("the ledger cannot be read: locked")

    async with seated(NEEDED, needing=unreadable) as seat:
        await opened(seat, "✗ the ledger cannot be read: locked")
        assert "Nothing" not in seat.dialog()


async def test_the_list_is_modal_and_help_copy_and_quitting_are_alive_in_it() -> None:
    async with seated(NEEDED, needing=Ledger(), entries=[entry(90, "cmd_x")]) as seat:
        await opened(seat)
        for key in ("tab", "p", "h", "a", "X", "x", "w", "L", "f", "z"):
            await seat.press(key)
        assert posted(seat) == []
        await seat.press("question_mark")
        for words in ("It was sent", "Dismiss", "All of it"):
            assert words in seat.dialog()
        await seat.press("question_mark", "Y")
        assert "no such recipient" in seat.app.clipboard
        await seat.press("y", "i")
        assert seat.app.clipboard == "cmd_1"
        seat.host.records["cmd_1"] = CASES[0].record
        await seat.press("enter")
        assert "GUID-5" in seat.dialog()
        await seat.press("escape", "ctrl+q")
        assert "Stop the agent and quit?" in str(seat.app.screen.query_one(".dialog").border_title)
        await seat.press("n", "q")
        assert (seat.app.screen is seat.app.screen_stack[0], seat.host.stops) == (True, 0)


async def test_who_only_looks_settles_nothing() -> None:
    async with seated(NEEDED, needing=Ledger(), read_only=True) as seat:
        await opened(seat)
        await seat.press("s", "d", "r", "R", "1", "n")
        assert posted(seat) == []
        await seat.says("only looks")


async def test_a_click_chooses_and_presses_the_keys_below() -> None:
    async with seated(NEEDED, needing=Ledger()) as seat:
        await opened(seat)
        page = seat.app.screen.query_one(".dialog > Static")
        await seat.pilot.click(page, offset=(30, 4))
        assert "no such recipient" in seat.dialog().split("─")[-1]
        row = next(y for y, line in enumerate(seat.dialog().splitlines()) if "d Dismiss" in line)
        await seat.pilot.click(page, offset=(seat.dialog().splitlines()[row].index("Dismiss"), row))
        await seat.until(lambda: [event.command_id for event in posted(seat)] == ["cmd_3"])  # type: ignore[union-attr]


async def test_what_a_real_ledger_finds_is_settled_by_a_real_agent(tmp_path: Path) -> None:
    async with served() as backend, living(config(tmp_path, backend.url)) as here:
        bad = await backend.queue(AGENT, "set_wallpaper", {"token": SECRET})
        good = await backend.queue(AGENT, "send_message_now", message())
        await settled(backend, bad, good)
        await here.until(lambda s: s.commands.attention == 1)
        folder = here.agent.config.data_dir

        def look(utc: float) -> list[Case]:
            return needing(folder, Redactor(SECRET), utc)

        (case,) = look(NOON)
        assert (case.record.command.command_id, case.kind) == (bad, "failed")
        assert SECRET not in str(case)
        here.agent.post(ResolveRequested(bad, Resolution.DISMISSED, "ann"))
        await here.until(lambda s: s.commands.attention == 0)
        await until(lambda: not look(NOON))
