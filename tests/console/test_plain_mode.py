"""The console as lines: what it says of what changes, what it does for typed words, and how it is with a terminal and with pipes."""

import fcntl
import signal
import subprocess
import termios
import time
from array import array
from datetime import UTC
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent_core.clock import ManualClock
from agent_core.events import (
    CancelRequested,
    HeldApproved,
    HoldChosen,
    PollingModeChosen,
    ReconnectRequested,
    ReplayRequested,
    ResolveRequested,
)
from agent_core.feed import LogEntry
from agent_core.records import Resolution, State
from agent_core.reference.server import BackendThread
from agent_core.snapshot import Cause, CommandsView, Drop, Phase, PollingMode, Snapshot
from console.operations import ConsoleOptions
from console.plainmode.keyboard import TypedLine
from console.plainmode.session import Session
from console.plainmode.verbs import VERBS
from console.plainmode.voice import Held
from tests.console.test_attach import ENVIRONMENT, began, headless
from tests.harness.rig import AGENT, message, options, write_config
from tests.harness.stills import FALLING_BACK, MONO, NOON, OFFLINE, ONLINE, REFUSED, WAITING, StillHost, entry, needing_cases, remembered
from tests.harness.terminal import COMMAND, Terminal


class Listener:
    """A session over a host that stands still, and what it says."""

    def __init__(self, snapshot: Snapshot = ONLINE, *, attached: bool = False, read_only: bool = False, **given: Any) -> None:
        self.host = StillHost(snapshot, **given)
        self.clock = ManualClock(MONO, NOON)
        self.session = Session(self.host, self.clock, UTC, attached=attached, read_only=read_only, asks_to_quit=True, aside=print)

    def hears(self, seconds: float = 0.1) -> list[str]:
        """What is new after so long, without the times."""
        self.clock.mono += seconds
        self.clock.utc += seconds
        return [line.partition(" ")[2] if line[0].isdigit() else line for line in self.session.look()]

    def types(self, line: str) -> list[str]:
        return list(self.session.typed(line))


def test_a_message_that_came_in_is_told_once() -> None:
    listener = Listener()
    listener.hears()
    came = entry(1, "evt_1", "message_received", via="in", status="received", thread_id="+13105550100", utc=NOON + 1, run_ms=None)
    listener.host.feed.extend([came])
    assert listener.hears() == ["Came in: a message from +13105550100"]
    listener.host.feed.extend([came._replace(status="acked")])
    assert listener.hears() == []


def test_each_fact_is_said_once_and_again_when_it_changes() -> None:
    listener = Listener()
    first = listener.hears()
    assert first[0] == "It is Friday, 2026-11-06."
    assert first[1].startswith("Connection: Online by WebSocket.")
    assert first[2:] == ["Polling: off while the socket works (mode auto)."]
    assert listener.hears() == []
    listener.host.change(link=WAITING.link, polling=FALLING_BACK, commands=replace(ONLINE.commands, interrupted=2, overdue=1))
    assert listener.hears() == [
        "Connection: No socket; polling brings the commands. Cause: half-open: nothing heard for 15 s. Dial 5 of 10 at 14:32:19.",
        "Polling: on, every 15 s (mode auto).",
        "Needs attention: 3 (2 unknown outcomes, 1 acks unproven); `attention` lists them.",
    ]
    for _ in range(50):
        listener.host.change(at=listener.clock.mono)
        assert listener.hears() == []
    listener.host.change(link=ONLINE.link, polling=ONLINE.polling, commands=ONLINE.commands)
    assert [line.split(".")[0] for line in listener.hears()] == [
        "Connection: Online by WebSocket", "Polling: off while the socket works (mode auto)", "Needs attention: nothing"
    ]  # fmt: skip
    listener.host.change(unreached=True)
    assert listener.hears() == ["Connection: Nothing is heard of the agent: it is held up or stopped, or the way to its machine is cut."]


def test_while_it_dials_again_nothing_is_said_and_each_failed_attempt_is() -> None:
    listener = Listener(OFFLINE)
    assert any("Offline: neither the socket nor polling works." in line and "To do: `diagnose`" in line for line in listener.hears())
    listener.host.change(link=replace(OFFLINE.link, phase=Phase.VERIFYING, retry_at=None))
    assert listener.hears() == []
    refused = Drop(NOON + 1, Cause.NETWORK, "connection refused", None)
    listener.host.change(link=replace(OFFLINE.link, attempt=6, retry_at=MONO + 60, last_drop=refused))
    (line,) = listener.hears()
    assert "Cause: network: connection refused. Dial 6 of 10 at 14:33:07." in line
    listener.host.change(link=replace(OFFLINE.link, attempt=7, retry_at=MONO + 90, last_drop=replace(refused, utc=NOON + 60)))
    assert listener.hears(60) == ["Connection: still down, for the same reason. Dial 7 of 10 at 14:33:37."]
    listener.host.change(link=replace(OFFLINE.link, phase=Phase.CONNECTING), unreached=True)
    assert [line.partition(":")[0] for line in listener.hears()] == ["Connection"]


def test_a_command_is_told_when_it_is_taken_and_when_it_ends_and_the_past_is_not() -> None:
    listener = Listener(entries=[entry(1), entry(2, status="running", utc=NOON - 9)])
    listener.hears()
    listener.host.feed.extend([entry(2, status="acked", utc=NOON - 9), entry(3, "cmd_3", status="queued", utc=NOON + 1, thread_id="+1310")])
    assert listener.hears() == [
        "Completed: cmd_000000000002, send_message, by WebSocket, in 12.0 ms",
        "Taken: cmd_3, send_message, to +1310, by WebSocket, waits for its turn",
    ]
    listener.host.feed.extend([entry(3, "cmd_3", status="running", utc=NOON + 1), entry(3, "cmd_3", status="sent", utc=NOON + 1)])
    assert len(listener.hears()) == 1
    listener.host.feed.extend(
        [entry(3, "cmd_3", status="acked", utc=NOON + 1), entry(4, status="failed", utc=NOON + 2, error="no \x1b[2J")]
    )
    (failed,) = listener.hears()
    assert failed.endswith(": no ␛[2J")
    listener.hears(5)
    listener.host.feed.extend([entry(5, "cmd_old", status="cancelled", utc=NOON - 900)])
    assert listener.hears() == ["Cancelled: cmd_old, send_message, by WebSocket, in 12.0 ms"]


def test_of_a_flood_the_first_are_told_and_the_rest_are_summed_up() -> None:
    listener = Listener()
    listener.hears(2)
    listener.host.feed.extend([entry(row, status="failed" if row % 250 == 0 else "acked", utc=NOON + 3) for row in range(1, 501)])
    listener.host.feed.extend([LogEntry(NOON + 3 + row / 1_000, "WARNING", f"trouble {row}") for row in range(100)])
    told = listener.hears(2)
    assert len(told) == 40
    assert listener.hears() == []
    assert listener.hears(1) == ["… 480 more commands: 478 completed, 2 failed", "… 80 more lines of the log: 80 warning"]
    assert listener.hears(1) == []


def test_warnings_are_told_once_and_the_whole_log_on_demand() -> None:
    listener = Listener()
    listener.hears()
    listener.host.feed.extend(
        [
            LogEntry(NOON - 60, "WARNING", "before"),
            LogEntry(NOON + 1, "INFO", "quiet"),
            LogEntry(NOON + 1, "WARNING", "WebSocket error: a fact already"),
            LogEntry(NOON + 2, "ERROR", "The ledger cannot be written"),
        ]
    )
    assert listener.hears() == ["Error: The ledger cannot be written"]
    assert listener.types("log 2")[-1].endswith("Error: The ledger cannot be written")
    listener.types("log on")
    listener.host.feed.extend([LogEntry(NOON + 3, "INFO", "quiet again")])
    assert listener.hears() == ["Info: quiet again"]


def test_the_log_goes_back_to_before_this_console(tmp_path: Path) -> None:
    listener = Listener()
    file = tmp_path / "edge-console.log"
    file.with_name("edge-console.log.1").write_text("[2026-11-06T14:00:00.000Z] [WARNING] long ago\n")
    file.write_text("half a line\n[2026-11-06T14:30:00.000Z] [WARNING] Command to +13105550100 \x1b[2J\n")
    listener.session.configure(ConsoleOptions(log_file=file, texts="masked"))
    assert listener.types("log") == ["14:00:00 Warning: long ago", "14:30:00 Warning: Command to •••00 ␛[2J"]
    assert "14:00:00 Warning: long ago" in listener.types("why")


def test_why_names_the_cause_the_next_dial_and_what_to_do() -> None:
    listener = Listener(replace(REFUSED, link=replace(REFUSED.link, drops=((Cause.AUTH, 4),))))
    listener.host.feed.extend([LogEntry(NOON - 20, "WARNING", "WebSocket error: HTTP 403")])
    listener.hears()
    said = "\n".join(listener.types("why"))
    for piece in (
        "Refused by the backend",
        "403 on the upgrade: forbidden",
        "Dial 2 of 10 at 14:33:47",
        "auth 4 times",
        "WebSocket error: HTTP 403",
    ):
        assert piece in said
    assert said.endswith("To do: check EDGE_SECRET and the agent's id, then `reconnect`.")
    assert any(line.startswith("next dial: in 1m 40s") for line in listener.types("status"))


def test_words_may_be_cut_short_and_a_wrong_one_has_its_nearest() -> None:
    listener = Listener()
    assert listener.types("stat") == listener.types("status")
    assert listener.types("re 1") == ["re may be reconnect, replay, refuse or resolve."]
    assert listener.types("reconect") == ["There is no reconect; did you mean reconnect?"]
    assert listener.types("xyzzy") == ["There is no xyzzy; help lists the words."]
    assert [line.partition(":")[0] for line in listener.types("help")][: len(VERBS)] == [verb.usage for verb in VERBS]
    assert listener.types("") == []
    assert listener.types("filter status:foo")[0].startswith("That is no filter: no status foo")


def test_actions_are_those_of_the_screen_with_its_questions_and_a_typed_yes() -> None:
    records = {name: remembered(name, seq=seq) for seq, name in enumerate(("cmd_out", "cmd_due", "cmd_held"), 1)}
    records["cmd_gone"] = remembered("cmd_gone", seq=4, state=State.INTERRUPTED)
    entries = [
        entry(1, "cmd_out", effect="external"), entry(2, "cmd_due", status="scheduled"), entry(3, "cmd_held", status="held"),
        entry(4, "cmd_gone", status="interrupted"), entry(5, "cmd_ping", effect="harmless"),
    ]  # fmt: skip
    listener = Listener(entries=entries, records=records)
    listener.hears()
    asked = listener.types("replay out")
    assert "text      hi there" in asked
    assert asked[-1] == "Replay this command? Type yes or no."
    assert listener.types("") == ["Replay this command? Type yes or no."]
    assert listener.types("no") == ["Nothing was done."]
    for words, answer in (("replay cmd_out", "yes"), ("cancel cmd_due", "y"), ("approve cmd_held", "YES")):
        assert listener.types(words)[-1].endswith("Type yes or no.")
        listener.types(answer)
    assert listener.types("cancel cmd_out") == ["Only what is due later can be cancelled."]
    for words in ("replay ping", "reconnect", "polling alw", "hold type:send", "resolve gone sent", "replay out dry"):
        listener.types(words)
    assert listener.types("resolve out sent") == ["It needs nothing."]
    assert [type(one) for one in listener.host.posted[:3]] == [ReplayRequested, CancelRequested, HeldApproved]
    assert listener.host.posted[3:5] == [ReplayRequested("cmd_ping"), ReconnectRequested()]
    assert listener.host.posted[5:7] == [PollingModeChosen(PollingMode.ALWAYS), HoldChosen("type:send")]
    resolved, dry = listener.host.posted[7:]
    assert isinstance(resolved, ResolveRequested)
    assert resolved.resolution is Resolution.SENT
    assert dry == ReplayRequested("cmd_out", dry_run=True)
    assert listener.types("show cmd_") == ["More than one command has cmd_ in its id: cmd_held, cmd_gone, cmd_ping."]


def test_one_that_only_looks_refuses_what_changes_anything() -> None:
    listener = Listener(read_only=True, entries=[entry(1, "cmd_1", status="held")])
    for verb in VERBS:
        assert (listener.types(f"{verb.name} cmd_1") == ["This console only looks (--read-only)."]) is verb.changes
    assert listener.host.posted == []


def test_list_and_filter_take_the_consoles_language_and_masks_hold() -> None:
    listener = Listener(entries=[entry(row, status="failed" if row > 8 else "acked", thread_id="+13105550100") for row in range(1, 11)])
    listener.session.configure(ConsoleOptions(texts="masked", needing=lambda _utc: needing_cases()))
    listener.hears()
    assert len(listener.types("list 3")) == 3
    listed = listener.types("list status:failed")
    assert [line.split()[1] for line in listed] == ["Failed:", "Failed:"]
    assert "+13105550100" not in "".join(listed)
    listener.types("mask off")
    assert "+13105550100" in "".join(listener.types("list 1"))
    assert listener.types("attention")[0].startswith("cmd_1: unknown outcome, ")
    listener.types("filter status:failed")
    listener.host.feed.extend([entry(20, utc=NOON + 5), entry(21, utc=NOON + 5, status="failed")])
    assert [line.split()[0] for line in listener.hears()] == ["Failed:"]
    listener.types(r"filter /(\w|\w\w)*\W$/")
    listener.host.feed.extend([entry(23, "a" * 40 + "b", utc=NOON + 5)])
    assert listener.hears() == ["The filter is off: this pattern takes too long."]
    listener.types("follow off")
    listener.host.feed.extend([entry(22, utc=NOON + 5, status="failed")])
    assert listener.hears() == []
    listener.session.configure(ConsoleOptions(texts="off"))
    assert listener.types("mask off") == ["Texts are off: console.texts in the configuration says so."]


def test_quit_asks_and_says_what_is_pending_but_detaching_does_not() -> None:
    listener = Listener(replace(ONLINE, commands=CommandsView(running=2)))
    assert "       2 running             given a few seconds to end" in listener.types("quit")
    assert listener.types("no") == ["Nothing was done."]
    assert listener.host.stops == 0
    assert list(listener.session.interrupted())[-1] == "Stop the agent and quit? Type yes or no."
    assert listener.types("yes") == ["Stopping the agent."]
    assert (listener.host.stops, listener.session.stopping) == (1, True)
    attached = Listener(attached=True)
    assert attached.types("detach") == ["Detached; the agent goes on."]


def test_typed_keys_are_a_line_with_its_corrections() -> None:
    line = TypedLine(keys=True)
    assert list(line.typed("stz\x7fatus\x1b[A foo\x17\rwh")) == ["status "]
    assert line.echo() == "stz\b \batus foo" + "\b \b" * 3 + "\nwh"
    assert (line.text, line.ended) == ("wh", False)
    list(line.typed("\x04"))
    assert not line.ended
    list(line.typed("\x15\x04"))
    assert line.ended


def test_what_is_told_waits_for_a_line_that_is_half_typed_but_not_for_ever() -> None:
    held = Held()
    held.add(["one"])
    assert held.due("sta", 10.0) == []
    held.add(["two"])
    assert held.due("stat", 12.9) == []
    assert held.due("stat", 15.8) == []
    assert held.due("stat", 16.0) == ["one", "two"]
    held.add(["three"])
    assert held.due("status", 16.1) == []
    assert held.due("", 16.2) == ["three"]


# --- the real program ----------------------------------------------------------------------------------------------------


def test_c17_a_terminal_that_cannot_draw_gets_lines_and_its_operator_finds_out_why(tmp_path: Path) -> None:
    with BackendThread(options()) as thread:
        words = write_config(tmp_path, thread.backend.url)
        with Terminal(*words, columns=200, env={**ENVIRONMENT, "TERM": "dumb"}) as terminal:
            heard = terminal.raw
            terminal.until(lambda: b"Connection: Online" in heard, what="the connection")
            assert heard.startswith(b"edge-console in plain lines, since this terminal (TERM=dumb) cannot draw a screen.")
            terminal.press("stat")
            thread.call(thread.backend.queue(AGENT, "send_message_now", message(), command_id="cmd_seen"))
            terminal.press("uz\x7fs\n")
            terminal.until(lambda: b"commands: " in heard, what="the status")
            terminal.until(lambda: b"Completed: cmd_seen" in heard, what="the command")
        assert b"\x1b" not in heard


def test_ctrl_c_asks_as_quit_does_and_the_terminal_is_given_back(tmp_path: Path) -> None:
    words = write_config(tmp_path, "http://127.0.0.1:9")
    with Terminal("--plain", *words, columns=200, env=ENVIRONMENT) as terminal:
        terminal.until(lambda: b"Cause: network" in terminal.raw, what="the cause")
        terminal.press("why\n")
        terminal.until(lambda: b"Last trouble at" in terminal.raw, what="why")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until(lambda: b"Stop the agent and quit? Type yes or no." in terminal.raw, what="the question")
        terminal.press("yes\n")
        assert terminal.ends() == 0
        assert terminal.modes == terminal.modes_before
        assert b"\x1b" not in terminal.raw


def test_at_the_end_of_its_input_it_detaches_and_where_nobody_reads_it_ends(tmp_path: Path) -> None:
    with BackendThread(options()) as thread:
        words = write_config(tmp_path, thread.backend.url)
        with headless(words) as agent:
            by = time.monotonic() + 20
            while not began(tmp_path / "state") and time.monotonic() < by:
                time.sleep(0.05)
            attach = [*COMMAND, "attach", "--plain", *words]
            ended = subprocess.run(attach, env=ENVIRONMENT, input="why\n", capture_output=True, text=True, check=False, timeout=30)
            assert (ended.returncode, ended.stderr) == (0, "")
            assert "Connection: Online" in ended.stdout
            assert agent.poll() is None
            pipe = subprocess.PIPE
            with subprocess.Popen(attach, env=ENVIRONMENT, stdin=pipe, stdout=pipe) as unread:
                assert unread.stdin is not None
                assert unread.stdout is not None
                unread.stdin.write(b"help\n" * 200)
                unread.stdin.flush()
                while waiting_in(unread.stdout.fileno()) < 20_000 and time.monotonic() < by + 20:
                    time.sleep(0.05)
                unread.send_signal(signal.SIGTERM)
                assert unread.wait(15) == 0
        once = subprocess.run(
            [*COMMAND, "--plain", *words], env=ENVIRONMENT, input="", capture_output=True, text=True, check=False, timeout=30
        )
        assert (once.returncode, once.stderr) == (0, "")


def waiting_in(fd: int) -> int:
    """Bytes that nobody has read."""
    found = array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, found)
    return found[0]
