"""The console as an operator meets it: the real program, a real terminal, real keys."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent_core.reference.server import BackendThread
from console.terminal import DetachableFile
from tests.harness.rig import AGENT, SECRET, message, options, write_config
from tests.harness.terminal import COMMAND, Terminal


@pytest.fixture
def demo() -> Iterator[Terminal]:
    with Terminal("--demo") as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        yield terminal


def test_the_first_paint_comes_before_the_link_is_up() -> None:
    with Terminal("--demo") as terminal:
        terminal.until(lambda: "Connection" in terminal.text and "Commands" in terminal.text, what="the first paint")
        print(f"first paint after {time.monotonic() - terminal.began:.2f} s")
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
    assert 0 < terminal.raw.find(b"STARTING") < terminal.raw.find(b"ONLINE")


def test_keys_change_phase_polling_and_stream(demo: Terminal) -> None:
    demo.until(lambda: "✓ acked" in demo.text, what="a command")
    demo.press("p")
    demo.until(lambda: "beside the socket" in demo.text, what="the polling modes")
    demo.press("b")
    demo.until(lambda: "Polling always" in demo.text, what="the polling mode")
    demo.until(lambda: "always" in _line(demo, "polling "), what="polling beside the socket")
    demo.press("r")
    demo.until(lambda: "Replay this command?" in demo.text, what="the question")
    demo.press("y")
    demo.until(lambda: "↻" in demo.text, what="the replay's row")
    demo.press("R")
    demo.until(lambda: "last: operator" in demo.text, what="the reconnect")
    demo.until(lambda: "● ONLINE" in demo.text, what="ONLINE again")


def test_q_stops_the_agent_and_restores_the_terminal(demo: Terminal) -> None:
    demo.press("q")
    assert demo.ends() == 0
    assert_restored(demo)


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Terminal]:
    """An agent that is nobody's demonstration; its backend is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    file = tmp_path / "config.yaml"
    file.write_text(f"edge: {{agent_id: mac}}\nbackend: {{url: 'http://127.0.0.1:{port}'}}\ndata_dir: {tmp_path}/data\n")
    with Terminal("--config", str(file), columns=80, rows=24, env={"EDGE_SECRET": "a-secret-that-is-fine"}) as terminal:
        terminal.until(lambda: "OFFLINE" in terminal.text, what="OFFLINE")
        yield terminal


def test_c2_no_key_ends_a_production_agent_unasked(production: Terminal) -> None:
    production.press("\x03")
    production.until(lambda: "q stops the agent" in production.text, what="the hint")
    production.press("\x1b")
    production.press("?")
    production.until(lambda: "Dial now" in production.text, what="the help")
    production.press("q")
    production.until(lambda: "Dial now" not in production.text, what="the panels")
    production.press("q")
    production.until(lambda: "Stop the agent and quit?" in production.text, what="the question")
    for key in ("\r", "\x11", "q"):
        production.press(key)
        production.read(0.3)
    assert production.process.poll() is None
    production.press("q")
    production.until(lambda: "Nothing is pending" in production.text, what="the question again")
    production.press("y")
    assert production.ends() == 0
    assert_restored(production)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_p12_a_signal_ends_it_cleanly(demo: Terminal, number: signal.Signals) -> None:
    demo.process.send_signal(number)
    assert demo.ends() == 0
    assert_restored(demo)


@pytest.mark.parametrize("keys", ["", "?", "\x10", "5"])
def test_a_terminal_that_goes_away_ends_it_whatever_is_open(keys: str, tmp_path: Path) -> None:
    with Terminal("--demo", "--data-dir", str(tmp_path)) as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        terminal.press(keys)
        terminal.read(1.0)
        terminal.close()
        time.sleep(1.5)  # it goes on painting
        terminal.process.send_signal(signal.SIGHUP)
        assert terminal.process.wait(15) in {0, 128 + signal.SIGHUP}
    assert_stopped_cleanly(tmp_path)


def test_p12_a_terminal_that_nobody_reads_holds_up_no_end(tmp_path: Path) -> None:
    with Terminal("--demo", "--data-dir", str(tmp_path)) as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        terminal.press("?")
        for _ in range(200):
            terminal.process.send_signal(signal.SIGWINCH)
            time.sleep(0.01)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(15) in {0, 128 + signal.SIGTERM}
    assert_stopped_cleanly(tmp_path)


@pytest.mark.parametrize(("number", "is_read"), [(signal.SIGTERM, True), (signal.SIGHUP, False), (signal.SIGINT, False)])
def test_f79_a_second_signal_ends_it_at_once_and_gives_the_terminal_back(tmp_path: Path, number: signal.Signals, *, is_read: bool) -> None:
    """Though a command runs on, and though nobody reads the terminal."""
    slow = {"messenger": {"delay_seconds": 600}, "timing": {"stop_within": 60}}
    with BackendThread(options()) as thread:
        thread.call(thread.backend.queue(AGENT, "send_message_now", message()))
        with Terminal(*write_config(tmp_path, thread.backend.url, **slow), env={"EDGE_SECRET": SECRET}) as terminal:
            terminal.until(lambda: "1 total" in terminal.text, what="a command")
            terminal.process.send_signal(number)
            terminal.until(lambda: "Stopping" in (tmp_path / "state/edge-console.log").read_text(), what="the agent's last words")
            if not is_read:
                for _ in range(100):
                    terminal.process.send_signal(signal.SIGWINCH)
                    time.sleep(0.01)
            terminal.process.send_signal(number)
            assert terminal.process.wait(15) == 128 + number
            while terminal.read(0.05):
                pass
            assert_restored(terminal)


def test_it_survives_every_size(demo: Terminal) -> None:
    for columns, rows in ((20, 5), (200, 60), (60, 16), (80, 24)):
        demo.resize(columns, rows)
    demo.until(lambda: "Connection" in demo.text and "Quit" in demo.text, what="the layout at 80×24")
    demo.press("q")
    assert demo.ends() == 0


def test_a_terminal_that_shrinks_and_grows_back_at_once_is_painted_anew(demo: Terminal) -> None:
    """The program may see the last size only, which is the one it had; the terminal has lost its lines all the same."""
    demo.until(lambda: "Connection" in demo.text and "Quit" in demo.text, what="the layout")
    for _ in range(3):
        for columns, rows in ((20, 5), (60, 16), (120, 36)):
            demo.resize(columns, rows)
        demo.until(lambda: "Connection" in demo.text and "Quit" in demo.text, what="the layout, whole again")


def test_ctrl_s_saves_a_picture_in_the_data_directory(tmp_path: Path) -> None:
    with Terminal("--demo", "--data-dir", str(tmp_path)) as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        terminal.press("\x13")
        terminal.until(lambda: "Saved" in terminal.text, what="the notice")
        terminal.press("q")
        assert terminal.ends() == 0
    (picture,) = (tmp_path / "screenshots").glob("*.svg")
    assert picture.read_text().startswith("<svg")
    assert picture.stat().st_mode & 0o077 == 0


def test_f67_a_hangup_found_ignored_stays_ignored(tmp_path: Path) -> None:
    command = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND)
    with Terminal("--demo", "--data-dir", str(tmp_path), command=command) as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        terminal.process.send_signal(signal.SIGHUP)
        terminal.press("?")
        terminal.until(lambda: "Help" in terminal.text, what="help, for it goes on")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ends() == 0
    assert_stopped_cleanly(tmp_path)


def test_f67_a_terminal_that_is_gone_is_found_at_the_first_write_and_told_once() -> None:
    """Then nobody reads it any more, either, where the hangup was ignored: reading would never wait."""
    keyboard, terminal = os.openpty()
    told: list[str] = []
    with suppress(OSError), os.fdopen(terminal, "w") as file:
        screen = DetachableFile(file, lambda: told.append("gone"))
        screen.write("here")
        screen.flush()
        told.append("closed")
        os.close(keyboard)
        for _ in range(3):
            screen.write("gone")
            screen.flush()
    assert told == ["closed", "gone"]


def test_c15_the_window_has_a_title_and_gets_its_own_back(production: Terminal) -> None:
    production.until(lambda: "✗ OFFLINE mac".encode() in production.raw, what="the title")
    assert production.raw.count(b"\x1b[22;2t") == 1
    production.press("qy")
    assert production.ends() == 0
    assert production.raw.rfind(b"\x1b[23;2t") > production.raw.rfind(b"\x1b]2;")


def test_without_a_terminal_it_says_what_to_do() -> None:
    ended = subprocess.run([sys.executable, "-m", "console"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert ended.returncode == 2
    assert ended.stderr == "edge-console: the console needs a terminal; use --plain for lines, or --no-ui to run the agent without it\n"


def test_a_wrong_configuration_is_one_line_and_leaves_the_terminal_alone(tmp_path: Path) -> None:
    wrong = tmp_path / "config.yaml"
    wrong.write_text("backend:\n  urll: https://api.example.net\n")
    with Terminal("--config", str(wrong), env={"EDGE_SECRET": "a-secret-that-is-fine"}) as terminal:
        assert terminal.ends() == 2
        assert terminal.raw.count(b"\n") == 1
        assert b"urll" in terminal.raw
        assert b"\x1b[?1049h" not in terminal.raw


def _line(terminal: Terminal, word: str) -> str:
    return next((line for line in terminal.screen.display if word in line), "")


def assert_stopped_cleanly(data_dir: Path) -> None:
    """The agent had its end, though nobody saw it."""
    assert (data_dir / "edge-console.log").read_text().splitlines()[-1].endswith("Stopped")


def assert_restored(terminal: Terminal) -> None:
    """The alternate screen left, the cursor back, mouse off, line discipline as before."""
    assert terminal.raw.rfind(b"\x1b[?1049l") > terminal.raw.rfind(b"\x1b[?1049h")
    assert terminal.raw.rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l")
    assert terminal.raw.rfind(b"\x1b[?1000l") > terminal.raw.rfind(b"\x1b[?1000h")
    assert terminal.modes == terminal.modes_before


def test_sigusr1_saves_a_picture_and_text_of_a_running_console(tmp_path: Path) -> None:
    with Terminal("--demo", "--data-dir", str(tmp_path)) as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        terminal.process.send_signal(signal.SIGUSR1)
        terminal.until(lambda: "Saved" in terminal.text, what="the notice")
        terminal.press("q")
        assert terminal.ends() == 0
    folder = tmp_path / "screenshots"
    assert next(folder.glob("*.svg")).read_text().startswith("<svg")
    assert "Connection" in next(folder.glob("*.txt")).read_text()


def test_no_color_means_none(tmp_path: Path) -> None:
    with Terminal("--demo", "--data-dir", str(tmp_path), env={"NO_COLOR": "1"}) as terminal:
        terminal.until(lambda: "● ONLINE" in terminal.text, what="ONLINE")
        terminal.press("?")
        terminal.until(lambda: "Dial now" in terminal.text, what="the help")
        colours = re.findall(rb"\x1b\[[0-9;]*?(?:3[0-8]|4[0-8])(?:;[0-9;]*)?m", bytes(terminal.raw))
        assert colours == []


def test_read_only_and_other_keys(tmp_path: Path) -> None:
    keys = {"EDGE__CONSOLE__KEYS": "reconnect=p"}
    with Terminal("--demo", "--read-only", "--data-dir", str(tmp_path)) as terminal:
        terminal.until(lambda: "READ-ONLY" in terminal.text, what="the badge")
        terminal.press("R")
        terminal.until(lambda: "only looks" in terminal.text, what="the refusal")
    wrong = tmp_path / "config.yaml"
    wrong.touch()
    with Terminal("--config", str(wrong), env={"EDGE_SECRET": "a-secret-that-is-fine", **keys}) as terminal:
        assert terminal.ends() == 2
        assert b"environment: EDGE__CONSOLE__KEYS: p is for reconnect and for polling" in terminal.raw


def test_suspended_it_gives_the_terminal_back_and_takes_it_again(demo: Terminal) -> None:
    def stopped() -> bool:
        pid, status = os.waitpid(demo.process.pid, os.WNOHANG | os.WUNTRACED)
        return pid != 0 and os.WIFSTOPPED(status)

    demo.press("\x1a")
    demo.until(stopped, what="the stop")
    while demo.read(0.1):
        pass
    assert demo.raw.rfind(b"\x1b[?1049l") > demo.raw.rfind(b"\x1b[?1049h")
    mark = len(demo.raw)
    demo.process.send_signal(signal.SIGCONT)
    demo.until(lambda: b"\x1b[?1049h" in demo.raw[mark:] and "Connection" in demo.text, what="the console again")
    demo.press("q")
    assert demo.ends() == 0
    assert_restored(demo)


WORDS = ("Connection", "● ONLINE", "socket", "✓ acked")
TERMINALS = (
    {"TERM": "xterm-256color", "COLORTERM": ""}, {"TERM": "screen-256color", "COLORTERM": ""}, {"TERM": "tmux-256color", "COLORTERM": ""},
    {"TERM": "xterm", "COLORTERM": ""}, {"TERM": "vt100", "COLORTERM": ""},
)  # fmt: skip


@pytest.mark.parametrize("env", TERMINALS, ids=lambda env: env["TERM"])
def test_fewer_colours_say_the_same(env: dict[str, str]) -> None:
    with Terminal("--demo", env=env) as terminal:
        terminal.until(lambda: all(word in terminal.text for word in WORDS), what="the states in words and glyphs")
        terminal.press("q")
        assert terminal.ends() == 0
    found = re.findall(rb"\x1b\[([0-9;]*)m", bytes(terminal.raw))
    assert [colour for colour in found if b"8;2;" in colour] == []
    if "256" not in env["TERM"]:
        assert [colour for colour in found if b"8;5;" in colour] == []


def test_after_sigkill_the_next_one_starts_at_once_and_nothing_is_done_twice(tmp_path: Path) -> None:
    def begun(*, with_commands: bool) -> Terminal:
        terminal = Terminal("--demo", "--data-dir", str(tmp_path))
        terminal.until(lambda: "● ONLINE" in terminal.text and ("✓ acked" in terminal.text or not with_commands), what="ONLINE")
        return terminal

    with begun(with_commands=True) as terminal:
        terminal.process.kill()
        assert terminal.ends() == -signal.SIGKILL
        earlier = re.findall(r"[0-9a-f]{10}\b", terminal.text)
    with begun(with_commands=False) as terminal:
        terminal.until(lambda: earlier[0] in terminal.text, what="a command of the time before")
        terminal.press("q")
        assert terminal.ends() == 0
        assert_restored(terminal)
    verified = subprocess.run(
        [sys.executable, "-m", "console", "audit", "verify", "--data-dir", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
