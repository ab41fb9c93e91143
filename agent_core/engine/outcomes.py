"""What each way that an attempt or a link can end means: one table (PROMISES §2).

| signal                                                        | rule     | phase    |
|---------------------------------------------------------------|----------|----------|
| refused, reset, EOF, DNS, timeout, silence, 5xx, 404, 408 …    | LADDER   | waiting  |
| close 1012, or 1001 on the first loss                         | RESTART  | waiting  |
| close 1013, HTTP 429, 503 with Retry-After                    | BUSY     | waiting  |
| close 1002, 1003, 1007, 1009, 1010                            | PROTOCOL | waiting  |
| a certificate that does not verify                            | TLS      | waiting  |
| HTTP 401, 403, close 1008, 4001, 4003, 4401, 4403             | REFUSED  | refused  |
| HTTP 200, 3xx, an answer that is no handshake                 | PORTAL   | portal   |
| close 4009, 4409                                              | REPLACED | replaced |
"""

from enum import StrEnum

from agent_core.events import Failure, Trouble
from agent_core.snapshot import Cause, Phase


class Rule(StrEnum):
    """Which delay follows (backoff.delay)."""

    LADDER = "ladder"
    RESTART = "restart"
    BUSY = "busy"
    PROTOCOL = "protocol"
    TLS = "tls"
    REFUSED = "refused"
    PORTAL = "portal"
    REPLACED = "replaced"

    @property
    def phase(self) -> Phase:
        return {Rule.REFUSED: Phase.REFUSED, Rule.PORTAL: Phase.PORTAL, Rule.REPLACED: Phase.REPLACED}.get(self, Phase.WAITING)


_CLOSES = {
    1012: Rule.RESTART, 1013: Rule.BUSY,
    1002: Rule.PROTOCOL, 1003: Rule.PROTOCOL, 1007: Rule.PROTOCOL, 1009: Rule.PROTOCOL, 1010: Rule.PROTOCOL,
    1008: Rule.REFUSED, 4001: Rule.REFUSED, 4003: Rule.REFUSED, 4401: Rule.REFUSED, 4403: Rule.REFUSED,
    4009: Rule.REPLACED, 4409: Rule.REPLACED,
}  # fmt: skip
_CAUSES = {
    Rule.RESTART: Cause.SERVER_RESTART, Rule.BUSY: Cause.BUSY, Rule.PROTOCOL: Cause.PROTOCOL, Rule.TLS: Cause.TLS,
    Rule.REFUSED: Cause.AUTH, Rule.PORTAL: Cause.PORTAL, Rule.REPLACED: Cause.REPLACED,
}  # fmt: skip


def rule_for(failure: Failure, *, first_loss: bool) -> Rule:
    """The row of the table above; `first_loss` is the end of a link that had been stable."""
    match failure.trouble:
        case Trouble.TLS:
            return Rule.TLS
        case Trouble.GARBAGE:
            return Rule.PORTAL
        case Trouble.CLOSED if failure.status == 1001 and first_loss:
            return Rule.RESTART
        case Trouble.CLOSED:
            return _CLOSES.get(failure.status or 0, Rule.LADDER)
        case Trouble.HTTP:
            return _http_rule(failure)
        case _:
            return Rule.LADDER


def _http_rule(failure: Failure) -> Rule:
    status = failure.status or 0
    if status in {401, 403}:
        return Rule.REFUSED
    if status == 429 or (status == 503 and failure.retry_after is not None):
        return Rule.BUSY
    return Rule.PORTAL if 200 <= status < 400 else Rule.LADDER


def cause_of(failure: Failure, rule: Rule) -> Cause:
    """The drop's cause, for counting."""
    if failure.trouble is Trouble.SILENT:
        return Cause.HALF_OPEN
    if failure.trouble is Trouble.CLOSED and failure.status == 1001:
        return Cause.SERVER_RESTART
    return _CAUSES.get(rule, Cause.NETWORK)
