"""What both channels share: one TLS context, and one reading of what went wrong."""

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from urllib.parse import urlsplit

from agent_core.events import Failure, Trouble


class Flaw(StrEnum):
    """Why a certificate does not verify, in words for the operator."""

    EXPIRED = "expired"
    EARLY = "not yet valid"
    WRONG_HOST = "wrong host"
    SELF_SIGNED = "self-signed"
    UNTRUSTED = "not trusted"


_FLAWS = {
    2: Flaw.UNTRUSTED, 9: Flaw.EARLY, 10: Flaw.EXPIRED, 18: Flaw.SELF_SIGNED, 19: Flaw.UNTRUSTED, 20: Flaw.UNTRUSTED, 21: Flaw.UNTRUSTED,
    62: Flaw.WRONG_HOST, 64: Flaw.WRONG_HOST,
}  # fmt: skip
"""By OpenSSL's X509_V_ERR numbers."""


def tls_context() -> ssl.SSLContext:
    """One context for socket and HTTP: the system's trust store, TLS 1.2 or later."""
    return ssl.create_default_context()


def is_loopback(url: str) -> bool:
    """The host of `url` is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def failure_of(error: BaseException) -> Failure:
    """Which trouble an exception of the network means; the innermost cause decides."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for link in reversed(chain):
        match link:
            case ssl.SSLCertVerificationError():
                return Failure(Trouble.TLS, f"TLS: {_refusal(link)}")
            case ssl.SSLError():
                return Failure(Trouble.TLS, f"TLS: {link.reason or link}")
            case socket.gaierror():
                return Failure(Trouble.DNS, f"DNS: {link.strerror or link}")
            case TimeoutError():
                return Failure(Trouble.TIMEOUT, "timed out")
            case ConnectionRefusedError():
                return Failure(Trouble.CONNECT, "connection refused")
            case OSError():
                return Failure(Trouble.CONNECT, link.strerror or str(link) or type(link).__name__)
    return Failure(Trouble.CONNECT, str(error) or type(error).__name__)


def flaw_of(error: ssl.SSLCertVerificationError) -> Flaw | None:
    """None for what is too rare to have a word here."""
    return _FLAWS.get(error.verify_code)


def _refusal(error: ssl.SSLCertVerificationError) -> str:
    """The reason first, since a narrow panel shows no more."""
    flaw, said = flaw_of(error), error.verify_message
    match flaw:
        case Flaw.EXPIRED | Flaw.EARLY:
            return f"{flaw} certificate; is this machine's clock right?"
        case Flaw.WRONG_HOST:
            return f"{flaw}: {said.partition(', ')[2] or said}"
        case Flaw.SELF_SIGNED:
            return f"{flaw} certificate, which nobody here trusts"
        case Flaw.UNTRUSTED:
            return f"{flaw}: nobody known here has signed the certificate"
        case None:
            return said


def retry_after(values: Iterable[str], utc: float) -> float | None:
    """The longest wait that these Retry-After headers ask for, in seconds; each has seconds or a date. None where none is usable."""
    return max((wait for value in values if (wait := _wait_of(value.strip(), utc)) is not None), default=None)


def _wait_of(value: str, utc: float) -> float | None:
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - utc)
