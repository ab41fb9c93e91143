"""Who may call: the shared secret as a bearer, or a token made with it (PROTOCOL §3)."""

import binascii
import hashlib
import hmac
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from agent_core.reference.orders import CallError

DAY = 86_400.0
AHEAD = 300.0
"""A token's clock may be ahead of ours by this."""


def bearer_of(authorization: str | None) -> str:
    """The value of an `Authorization: Bearer …` header. Raises CallError."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        raise CallError(401, "Authorization: Bearer expected")
    return value.strip()


def same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, slots=True)
class Secrets:
    """`shared` serves every agent that has none of its `own`: whoever holds it can act for any of those. `next`: so does this, already."""

    shared: str = field(repr=False)
    own: Mapping[str, str] = field(default_factory=dict, repr=False)
    next: str | None = field(default=None, repr=False)

    def of(self, agent_id: str | None) -> tuple[str, ...]:
        own = None if agent_id is None else self.own.get(agent_id)
        return (own,) if own is not None else (self.shared,) if self.next is None else (self.shared, self.next)


def check_agent(authorization: str | None, secrets: Secrets, claimed: str | None, utc: float) -> None:
    """Whether the caller may act for the agent it claims to be, by its secret or a token made with it. Raises CallError (401, 403)."""
    bearer = bearer_of(authorization)
    *first, last = secrets.of(claimed)
    for secret in first:
        with suppress(CallError):
            _check(bearer, secret, claimed, utc)
            return
    _check(bearer, last, claimed, utc)


def _check(bearer: str, secret: str, claimed: str | None, utc: float) -> None:
    if not same(bearer, secret) and _subject(bearer, secret, utc) != claimed and claimed is not None:
        raise CallError(403, "the token is another agent's")


def _subject(bearer: str, secret: str, utc: float) -> str:
    """The agent id a token was made for. Raises CallError."""
    try:
        subject, stamp, digest = b64decode(bearer, validate=True).decode().rsplit(":", 2)
        age = utc - float(stamp)
    except (ValueError, binascii.Error):
        raise CallError(401, "the secret is not ours") from None
    expected = hmac.new(secret.encode(), f"{subject}:{stamp}".encode(), hashlib.sha256).hexdigest()
    if not same(digest.lower(), expected):
        raise CallError(401, "the secret is not ours")
    if not -AHEAD <= age <= DAY:
        raise CallError(401, "the token has expired")
    return subject.rpartition(":")[0]


def check_admin(authorization: str | None, admin_token: str) -> None:
    """Raises CallError."""
    if not same(bearer_of(authorization), admin_token):
        raise CallError(401, "the admin token is not ours")
