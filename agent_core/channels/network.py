"""What both channels share: one TLS context, and one reading of what went wrong."""

import ipaddress
import re
import socket
import ssl
import urllib.request
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
_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,9})?(?: *, *[0-9]{1,15}(?:\.[0-9]{0,9})?){0,9}")
"""As Retry-After has them; where proxies joined several headers, several."""


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


def proxy_for(url: str) -> str | None:
    """The proxy that the environment or the system names for this URL, if any; what cannot be read in NO_PROXY excepts nothing.

    On macOS it may look up names: not to be asked on a loop. Raises OSError where the proxy is no URL.
    """
    if is_loopback(url):
        return None
    parts = urlsplit(url)
    if parts.scheme in {"ws", "wss"}:
        from websockets.proxy import get_proxy
        from websockets.uri import parse_uri

        proxy = get_proxy(parse_uri(url))
    elif urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        proxy = None
    else:
        proxies = urllib.request.getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        via = urlsplit(proxy)
        if via.hostname and via.port != 0:
            return proxy
    except ValueError:
        pass
    raise OSError(f"the proxy for {parts.scheme}:// is no URL with a host and a port")


def failure_of(error: BaseException) -> Failure:
    """Which trouble an exception of the network means; the innermost cause decides."""
    for link in reversed(_causes(error)):
        match link:
            case ssl.SSLCertVerificationError():
                return Failure(Trouble.TLS, f"TLS: {_refusal(link)}")
            case ssl.SSLError():
                return Failure(Trouble.TLS, f"TLS: {getattr(link, 'reason', None) or _text(link)}")
            case socket.gaierror():
                return Failure(Trouble.DNS, f"DNS: {link.strerror or _text(link)}")
            case TimeoutError():
                return Failure(Trouble.TIMEOUT, "timed out")
            case ConnectionRefusedError():
                return Failure(Trouble.CONNECT, "connection refused")
            case OSError():
                return Failure(Trouble.CONNECT, str(link.strerror or _text(link)) or type(link).__name__)
    return Failure(Trouble.CONNECT, f"{type(error).__name__}: {_text(error)}".removesuffix(": "))


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, the first cause last; of a group its first member."""
    chain: dict[int, BaseException] = {}
    cause: BaseException | None = error
    while cause is not None and id(cause) not in chain:
        chain[id(cause)] = cause
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    return list(chain.values())


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (a library's error whose text raises has none)
        return ""


def flaw_of(error: ssl.SSLCertVerificationError) -> Flaw | None:
    """None for what is too rare to have a word here."""
    return _FLAWS.get(getattr(error, "verify_code", 0))


def _refusal(error: ssl.SSLCertVerificationError) -> str:
    """The reason first, since a narrow panel shows no more."""
    flaw, said = flaw_of(error), getattr(error, "verify_message", None) or _text(error)
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
    if _SECONDS.fullmatch(value):
        return max(float(seconds) for seconds in value.split(","))
    told = http_date(value)
    return None if told is None else max(0.0, told - utc)


def http_date(value: str) -> float | None:
    """Unix seconds of a date in a header; None where it is none."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None where it is no plain URL of HTTP."""
    try:
        parts = urlsplit(url)
        if parts.scheme in PORTS and parts.hostname and "@" not in parts.netloc and url.isascii() and url.isprintable() and "\\" not in url:
            return parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]
    except ValueError:
        pass
    return None
