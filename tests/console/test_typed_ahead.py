"""What is typed in one burst, in a real terminal: each key goes to what the one before has opened, and none to the panels behind it."""

from tests.harness.terminal import Terminal

OUCH = "qpR1rx"
"""Each of these acts on the panels; the first one ends a demo."""


def test_c1_a_burst_behind_what_takes_text_is_its_text() -> None:
    with Terminal("--demo") as demo:
        demo.until(lambda: "● ONLINE" in demo.text and "send_" in demo.text, what="a command")
        demo.press(f"/{OUCH}")
        demo.until(lambda: last_row(demo).strip() == OUCH, what="the filter")
        demo.press("\x1b")
        demo.until(lambda: "Reconnect" in last_row(demo), what="the footer")
        demo.press(f":{OUCH}")
        demo.until(lambda: OUCH in demo.text and "No matches" in demo.text, what="the palette")
        demo.press("\x1b")
        demo.until(lambda: "Reconnect" in last_row(demo), what="the footer again")
        demo.press(f"/send\rFs{OUCH}")
        demo.until(lambda: "Save /send as" in demo.text and OUCH in demo.text, what="the filter's name")
        demo.press("\r")
        demo.until(lambda: f"Saved as {OUCH}" in demo.text, what="the saved filter")
        demo.press(f"r{OUCH[1:]}")
        demo.until(lambda: "Replay this command?" in demo.text, what="the question")
        assert demo.process.poll() is None


def last_row(terminal: Terminal) -> str:
    return terminal.text.splitlines()[-1]
