"""What reaches an operator who looks elsewhere."""

from msgspec.structs import replace

from console.alerts import Alerts
from console.panels.view import status_of
from tests.harness.stills import HOSTILE, OFFLINE, ONLINE, WAITING, clock


def sent(alerts: Alerts, snapshot: object = ONLINE, *, bell: bool = True, notify: bool = True) -> str:
    return alerts.next(snapshot, status_of(snapshot, clock().now()), bell=bell, notify=notify)  # type: ignore[arg-type]


def test_c15_the_title_says_how_it_stands_and_only_a_change_is_sent() -> None:
    alerts = Alerts()
    assert sent(alerts) == "\x1b]2;● ONLINE mac-mini-01\x07"
    assert sent(alerts) == ""
    assert sent(alerts, WAITING, bell=False, notify=False) == "\x1b]2;▲ FALLBACK mac-mini-01\x07"


def test_c15_trouble_calls_once_by_bell_and_notification_as_configured() -> None:
    alerts = Alerts()
    sent(alerts)
    assert sent(alerts, OFFLINE).endswith("\x07\x07\x1b]9;✗ OFFLINE mac-mini-01\x07")
    assert sent(alerts, OFFLINE) == ""
    assert sent(alerts, WAITING).count("\x07") == 1
    sent(alerts)
    assert "\x1b]9;" not in sent(alerts, OFFLINE, notify=False)


def test_c15_an_outcome_that_becomes_unknown_calls() -> None:
    alerts = Alerts()
    sent(alerts)
    unknown = replace(ONLINE, commands=replace(ONLINE.commands, interrupted=1))
    assert sent(alerts, unknown) == "\x07\x1b]9;● ONLINE mac-mini-01: the outcome of a command is unknown\x07"
    assert sent(alerts, unknown) == ""
    assert sent(alerts, ONLINE) == ""


def test_c15_what_newly_needs_attention_calls() -> None:
    alerts = Alerts()
    sent(alerts)
    for failed, word in ((1, "1 command needs"), (3, "3 commands need")):
        needing = replace(ONLINE, commands=replace(ONLINE.commands, unresolved=failed))
        assert sent(alerts, needing) == f"\x07\x1b]9;● ONLINE mac-mini-01: {word} attention\x07"
        assert sent(alerts, needing) == ""
    assert sent(alerts, ONLINE) == ""


def test_c15_a_hostile_name_sends_nothing_else() -> None:
    for raw in HOSTILE:
        said = sent(Alerts(), replace(ONLINE, agent_id=raw))
        assert said.startswith("\x1b]2;")
        assert said.endswith("\x07")
        assert said[4:-1].isprintable()
