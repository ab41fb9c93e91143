"""Who may call: the shared secret as a bearer, or a token made with it (PROTOCOL §3)."""

import binascii
import hashlib
import hmac
from base64 import b64decode

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


def check_agent(authorization: str | None, secret: str, utc: float) -> str | None:
    """The agent id a token was made for, or None where the bearer is the secret itself, which serves any. Raises CallError."""
    bearer = bearer_of(authorization)
    if same(bearer, secret):
        return None
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
