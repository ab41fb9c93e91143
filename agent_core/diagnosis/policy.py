"""The operator's policy in one sentence."""

from collections.abc import Iterator

from agent_core.config.models import Policy, Rate


def told(policy: Policy) -> str:
    return "; ".join(_parts(policy)) or "nothing is refused, nothing is kept back"


def _parts(policy: Policy) -> Iterator[str]:
    if policy.allow_recipients:
        yield f"{len(policy.allow_recipients)} recipients are allowed, no others"
    if policy.deny_recipients:
        yield f"{len(policy.deny_recipients)} recipients are denied"
    if policy.deny_types:
        yield f"denied types: {', '.join(policy.deny_types)}"
    rates: tuple[tuple[Rate, str], ...] = (
        (policy.per_recipient, "to each recipient"), (policy.per_new_conversation, "to new recipients"), (policy.total, "in all"),
    )  # fmt: skip
    for rate, whom in rates:
        if rate.count:
            yield f"{rate.count} messages in {rate.seconds:g} s {whom}"
    quiet = policy.quiet_hours
    if quiet.start:
        yield f"quiet from {quiet.start} to {quiet.end} ({quiet.zone})"
    if policy.signatures != "off":
        yield f"what is not signed by one of {len(policy.signature_keys)} keys: {policy.signatures}"
