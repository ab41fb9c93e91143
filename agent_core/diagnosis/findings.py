"""What a diagnosis found, stage by stage, and what follows from all of it together: the likely cause, and what to do.

A stage judges what it saw itself; `conclude` compares: the socket with the HTTP calls, the same secret here and there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent_core.channels.credentials import fingerprint
from agent_core.config import Config
from agent_core.engine.outcomes import Rule, rule_for
from agent_core.events import Failure, Trouble

REFUSALS = frozenset({401, 403})


class Verdict(StrEnum):
    OK = "ok"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as it was sent, the bearer masked, and what came back; all of it is plain text."""

    call: str
    url: str
    at_utc: float
    request: tuple[tuple[str, str], ...]
    body: str = ""
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    excerpt: str = ""
    """The beginning of the answer's body."""
    trouble: str | None = None
    """What happened where there was no answer."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One look. `cause` and `advice` are of a stage that explains itself; `failure` is for comparing."""

    name: str
    verdict: Verdict
    sentence: str
    ms: float = 0.0
    cause: str | None = None
    advice: str | None = None
    failure: Failure | None = None
    exchange: Exchange | None = None


def ok(sentence: str, exchange: Exchange | None = None) -> Stage:
    return Stage("", Verdict.OK, sentence, exchange=exchange)


def warning(sentence: str, exchange: Exchange | None = None) -> Stage:
    return Stage("", Verdict.WARNING, sentence, exchange=exchange)


def skipped(sentence: str) -> Stage:
    return Stage("", Verdict.SKIPPED, sentence)


def failed(
    sentence: str,
    cause: str | None = None,
    advice: str | None = None,
    *,
    failure: Failure | None = None,
    exchange: Exchange | None = None,
) -> Stage:
    return Stage("", Verdict.FAILED, sentence, cause=cause, advice=advice, failure=failure, exchange=exchange)


def late(name: str, limit: float, exchange: Exchange | None) -> Stage:
    """What it means that a stage had no answer within its limit, in seconds."""
    sentence = f"no answer in {limit:g} s"
    failure = Failure(Trouble.TIMEOUT, sentence)
    kind = name.partition(" ")[0]
    if kind == "dns":
        return failed(sentence, "the name servers do not answer: no network, or a VPN that is half up", "check this machine's network")
    if kind == "tcp":
        return failed(sentence, "packets vanish on the way: a firewall, a VPN, or the wrong address", "check the address and the firewalls")
    if kind in {"tls", "health"}:
        return failed(
            sentence, "something accepts the connection there and says nothing: a backend that hangs, or no backend at all",
            "see whether the backend is up, and whether host and port are those of the backend", failure=failure, exchange=exchange,
        )  # fmt: skip
    return failed(sentence, failure=failure, exchange=exchange)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The first stage that failed, why it probably did, and what to do."""

    stage: str
    cause: str
    advice: str


def conclude(stages: Sequence[Stage], config: Config) -> Conclusion | None:
    """None where nothing failed."""
    first = next((stage for stage in stages if stage.verdict is Verdict.FAILED), None)
    if first is None:
        return None
    found = {stage.name: stage for stage in stages}
    cause, advice = _explained(first, found, config)
    return Conclusion(first.name, cause, advice)


def _explained(first: Stage, found: Mapping[str, Stage], config: Config) -> tuple[str, str]:
    if first.cause is not None:
        return first.cause, first.advice or "see the stage's own sentence"
    if first.name in {"upgrade", "auth"}:
        return _of_socket(first, found, config)
    if first.name == "pong":
        refused = first.failure is not None and rule_for(first.failure, first_loss=False) is Rule.REFUSED
        return _of_refusal(found, config) if refused else _of_silence(first)
    return _of_sync(first, found, config)


# --- the socket --------------------------------------------------------------------------------------------------------------


def _of_socket(first: Stage, found: Mapping[str, Stage], config: Config) -> tuple[str, str]:
    failure = first.failure or Failure(Trouble.CONNECT, first.sentence)
    status = failure.status or 0
    if status in REFUSALS or first.name == "auth":
        return _of_refusal(found, config)
    if failure.trouble is Trouble.HTTP:
        return _of_answer(status, found, config)
    if failure.trouble is Trouble.GARBAGE:
        return (
            "something that is no WebSocket server answers there: a captive portal, a proxy, or another program on that port",
            f"check websocket_url ({config.socket_url}), and whether this network wants a login in a browser",
        )
    health = found.get("health")
    if health is None or health.verdict in {Verdict.FAILED, Verdict.SKIPPED}:
        return "the connection was made, and ended or hung before an answer", "see whether the backend is up; try again in a minute"
    if not _polls(found):
        return (
            "/health is answered, and neither /edge/ws nor /edge/sync is: what should serve them hangs",
            "ask the backend's engineer (doctor --for-backend); until then no command comes by either way",
        )
    return (
        "HTTP is answered but the upgrade is not: a proxy in front that does not pass WebSockets, or a socket service that hangs",
        "ask the backend's engineer (doctor --for-backend); commands come by polling meanwhile",
    )


def _of_refusal(found: Mapping[str, Stage], config: Config) -> tuple[str, str]:
    sync = found.get("sync")
    mark = fingerprint(config.auth.secret.get_secret_value())
    report = "send the backend's engineer the report of `doctor --for-backend`"
    if _polls(found):
        cause = "the same secret is accepted by /edge/sync but refused by /edge/ws: the socket's own check differs"
        return cause, f"{report}; commands come by polling meanwhile"
    if sync is not None and sync.failure is not None and sync.failure.status in REFUSALS:
        clock = found.get("clock")
        if config.auth.mode == "hmac_token" and clock is not None and clock.verdict is Verdict.WARNING:
            return "both ways refuse, and this machine's clock is off: the tokens are dated", "set the clock (NTP), then try again"
        return (
            f"both /edge/ws and /edge/sync refuse: a wrong secret (fingerprint {mark}) or the agent is unknown there",
            "compare `edge-console secret fingerprint` with the backend's, then edge.agent_id with its list of agents",
        )
    return (
        f"the socket refuses this agent (secret's fingerprint {mark}), and /edge/sync gave no answer to compare with",
        f"compare `edge-console secret fingerprint` with the backend's; {report}",
    )


def _of_answer(status: int, found: Mapping[str, Stage], config: Config) -> tuple[str, str]:
    if 200 <= status < 400:
        who = "the backend's HTTP side works, so its proxy does not pass WebSockets, or websocket_url is wrong" if _polls(found) else (
            "an ordinary web page answers in the backend's place: a captive portal, a proxy, or a wrong backend.url"
        )  # fmt: skip
        return who, f"open {config.backend.url} in a browser on this machine, and check backend.url and websocket_url"
    if status == 404 and _polls(found):
        return "/edge/sync is there and /edge/ws is not: the socket lives elsewhere, or is not deployed", "set backend.websocket_url"
    if status == 404:
        return "neither /edge/ws nor /edge/sync is there: backend.url leads to another service or lacks a path", "check backend.url"
    if status == 426:
        return "the Upgrade header did not arrive: a proxy on the way strips it", "let the proxy pass WebSocket upgrades, or go round it"
    if status in {429, 503}:
        return f"the backend is busy or being restarted (HTTP {status})", "wait; the agent obeys Retry-After and dials again by itself"
    if status >= 500:
        return f"the backend, or the gateway before it, fails (HTTP {status})", "tell the backend's engineer (doctor --for-backend)"
    return f"the backend does not take the upgrade (HTTP {status})", "ask the backend's engineer (doctor --for-backend)"


def _polls(found: Mapping[str, Stage]) -> bool:
    """Commands come by polling, whatever the socket does."""
    sync = found.get("sync")
    return sync is not None and sync.verdict in {Verdict.OK, Verdict.WARNING}


def _of_silence(first: Stage) -> tuple[str, str]:
    failure = first.failure
    if failure is not None and failure.status in {4009, 4409}:
        return "another agent with this edge.agent_id has connected in the meantime", "find it: each agent needs an id of its own"
    if failure is not None and failure.trouble is Trouble.CLOSED:
        return f"the backend takes the socket and closes it again ({failure.status})", "ask the backend's engineer (doctor --for-backend)"
    return (
        "the socket opens but nothing comes back: a proxy that swallows what follows the upgrade, or a backend that hangs",
        "ask the backend's engineer (doctor --for-backend); the agent will cut such a link and poll",
    )


# --- HTTP --------------------------------------------------------------------------------------------------------------------


def _of_sync(first: Stage, found: Mapping[str, Stage], config: Config) -> tuple[str, str]:
    upgrade = found.get("upgrade")
    socket_works = upgrade is not None and upgrade.verdict is Verdict.OK
    status = first.failure.status if first.failure is not None else None
    if status in REFUSALS and socket_works:
        return (
            "the same secret is accepted by /edge/ws but refused by /edge/sync: the HTTP side's own check differs",
            "send the backend's engineer the report of `doctor --for-backend`; there is no fallback until then",
        )
    if status in REFUSALS:
        mark = fingerprint(config.auth.secret.get_secret_value())
        return (
            f"a wrong secret (fingerprint {mark}) or the agent is unknown there",
            "compare `edge-console secret fingerprint` with the backend's, then edge.agent_id with its list of agents",
        )
    if status in {404, 405}:
        return "there is no POST /edge/sync at this address: backend.url is wrong or lacks a path", "check backend.url"
    beside = "the socket works, so only the fallback is missing: " if socket_works else ""
    return f"{beside}{first.sentence}", "ask the backend's engineer (doctor --for-backend)"
