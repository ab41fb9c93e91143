"""How the backend is reached, below HTTP: proxies, names, addresses, certificates."""

import asyncio
import errno
import os
import socket
import ssl
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from agent_core.channels.network import Flaw, failure_of, flaw_of, proxy_for, tls_context
from agent_core.clock import Clock
from agent_core.config import Config
from agent_core.daemon_threads import DAEMON_THREADS
from agent_core.diagnosis.findings import Stage, failed, ok, skipped, warning
from agent_core.diagnosis.mac import NO_ROUTE, local_network
from agent_core.redaction import without_login

UNTIMED = 0x20_0000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME."""
ADDRESSES = 8
"""Tried at most."""
EXPIRY_NEAR = 14
"""Days that a certificate should still be good for."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host that is dialled, or the proxy in its place."""

    suffix: str
    host: str
    port: int
    name: str
    """The host that a certificate has to be for."""
    secure: bool
    proxied: bool


class Reach:
    """The way to one backend; `within` limits a look, in seconds."""

    def __init__(self, config: Config, clock: Clock, within: float) -> None:
        self._config = config
        self._clock = clock
        self._within = within
        self._proxies: dict[str, str | None] = {}
        self._addresses: list[tuple[Any, ...]] = []

    async def proxy(self) -> Stage:
        names = sorted({name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value})
        urls = {"the socket": self._config.socket_url, "HTTP": self._config.backend.url}
        try:
            self._proxies = {url: await asyncio.to_thread(proxy_for, url) for url in urls.values()}
        except OSError as error:
            return failed(str(error), "a proxy variable holds no URL", f"correct it ({', '.join(names)})", failure=failure_of(error))
        ways = [(word, proxy) for word, url in urls.items() if (proxy := self._proxies[url])]
        if ways:
            return ok("; ".join(f"{word} goes through {without_login(proxy)}" for word, proxy in ways) + f" ({', '.join(names)})")
        return ok(f"none applies ({', '.join(names)} set)" if names else "none")

    def targets(self) -> list[Target]:
        """Where the socket goes, and where HTTP goes if that is elsewhere."""
        found = [self._target(self._config.backend.url)]
        if self._config.websocket.enabled:
            found.insert(0, self._target(self._config.socket_url))
        if len(found) == 2 and found[0] == found[1]:
            found.pop()
        return [replace(target, suffix=" http" if number else "") for number, target in enumerate(found)]

    def _target(self, url: str) -> Target:
        """The host of `url`, or the proxy on the way to it."""
        parts = urlsplit(url)
        secure = parts.scheme in {"https", "wss"}
        name, port = parts.hostname or "", parts.port or (443 if secure else 80)
        proxy = self._proxies.get(url)
        if proxy is None:
            return Target("", name, port, name, secure, proxied=False)
        via = urlsplit(proxy)
        usual = 1080 if via.scheme.startswith("socks") else 443 if via.scheme == "https" else 80
        return Target("", via.hostname or "", via.port or usual, name, secure, proxied=True)

    async def dns(self, target: Target) -> Stage:
        try:
            self._addresses = await resolved(target.host, target.port)
        except socket.gaierror as error:
            failure = failure_of(error)
            return failed(
                f"{target.host}: {failure.detail.removeprefix('DNS: ')}",
                f"the name {target.host} leads nowhere: misspelt, or no name server",
                f"check {'the proxy variables' if target.proxied else 'backend.url'} and this machine's network", failure=failure,
            )  # fmt: skip
        shown = ", ".join(address[0] for _, address in self._addresses[:ADDRESSES])
        more = f" and {len(self._addresses) - ADDRESSES} more" if len(self._addresses) > ADDRESSES else ""
        return ok(f"{'proxy ' if target.proxied else ''}{target.host} is {shown}{more}")

    async def tcp(self, target: Target) -> Stage:
        """Every address at once; one that answers is enough, as it is for the link."""
        tried = self._addresses[:ADDRESSES]
        limit = self._within * 0.9
        results = await asyncio.gather(*(refusal(family, address, limit) for family, address in tried))
        words = ", ".join(f"{address[0]} {result or 'answers'}" for (_, address), result in zip(tried, results, strict=True))
        if None in results:
            return ok(f"port {target.port}: {words}")
        pairs = [(str(address[0]), result) for (_, address), result in zip(tried, results, strict=True)]
        if (why := local_network(pairs, is_mac=sys.platform == "darwin", python=sys.executable)) is not None:
            return failed(f"port {target.port}: {words}", *why)
        refused = "refused" in words
        return failed(
            f"port {target.port}: {words}",
            f"nothing listens at {target.host}:{target.port}: the backend is down, or the port is wrong" if refused
            else f"{target.host}:{target.port} cannot be reached: a firewall, no network, or the wrong address",
            "start the backend, or check the port in backend.url" if refused else "check this machine's network and the address",
        )  # fmt: skip

    async def tls(self, target: Target) -> Stage:
        if not target.secure:
            return skipped("not encrypted: to this machine only")
        if target.proxied:
            return skipped("through a proxy; the upgrade checks it")
        try:
            shown = await certificate(target.host, target.port, tls_context(), target.name)
        except ssl.SSLCertVerificationError as error:
            seen = await unverified(target.host, target.port, target.name)
            return failed(
                f"{error.verify_message}{'; it is ' + seen if seen else ''}", *certificate_trouble(error, target.name),
                failure=failure_of(error),
            )  # fmt: skip
        except (ssl.SSLError, ConnectionError) as error:
            return failed(
                failure_of(error).detail, f"{target.host}:{target.port} does not speak TLS, or not one of this decade",
                "check the port, and whether the backend expects http:// there", failure=failure_of(error),
            )  # fmt: skip
        days = (ssl.cert_time_to_seconds(shown["notAfter"]) - self._clock.now().utc) / 86_400 if "notAfter" in shown else EXPIRY_NEAR
        return warning(f"{described(shown)}: only {days:.0f} day(s) more") if days < EXPIRY_NEAR else ok(described(shown))


# --- one question each, answered by the network or by OSError ----------------------------------------------------------------


async def resolved(host: str, port: int) -> list[tuple[Any, ...]]:
    """(family, address) of each; on a thread that nobody waits for, since a resolver cannot be stopped. Raises socket.gaierror."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(DAEMON_THREADS, look_up)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from None
    return [(family, address) for family, _, _, _, address in found]


async def refusal(family: int, address: tuple[Any, ...], within: float) -> str | None:
    """Why it cannot be connected to, or None."""
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(address[0], address[1], family=family)
    except TimeoutError:
        return "does not answer"
    except OSError as error:
        return NO_ROUTE if error.errno == errno.EHOSTUNREACH else failure_of(error).detail.removeprefix("connection ")
    writer.transport.abort()
    return None


async def certificate(host: str, port: int, context: ssl.SSLContext, name: str, *, raw: bool = False) -> Any:
    """What the peer shows: as `getpeercert` has it, or with `raw` its bytes. Raises OSError, ssl.SSLError."""
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name, happy_eyeballs_delay=0.25)
    try:
        return writer.get_extra_info("ssl_object").getpeercert(binary_form=raw)
    finally:
        writer.transport.abort()


async def unverified(host: str, port: int, name: str) -> str:
    """What a certificate that does not verify says of itself, by trusting just that one for a moment; nothing is sent. Empty: no saying."""
    with suppress(OSError, ssl.SSLError, ValueError):
        anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anything.check_hostname = False
        anything.verify_mode = ssl.CERT_NONE
        only_it = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        only_it.check_hostname = False
        only_it.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | UNTIMED
        only_it.load_verify_locations(cadata=await certificate(host, port, anything, name, raw=True))
        return described(await certificate(host, port, only_it, name))
    return ""


def described(shown: dict[str, Any]) -> str:
    """Whom it is for, who signed it, until when."""
    names = [value for kind, value in shown.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}]
    subject = ", ".join(names[:4]) or _name(shown.get("subject", ())) or "nobody"
    return f"for {subject}, by {_name(shown.get('issuer', ())) or 'nobody'}, until {shown.get('notAfter', '?')}"


def _name(parts: Iterable[Iterable[tuple[str, str]]]) -> str:
    flat = {key: value for part in parts for key, value in part}
    return flat.get("commonName") or flat.get("organizationName") or ""


def certificate_trouble(error: ssl.SSLCertVerificationError, host: str) -> tuple[str, str]:
    """The likely cause, and what to do."""
    match flaw_of(error):
        case Flaw.WRONG_HOST:
            cause = f"the certificate there is not for {host}: a wrong URL, or another server answers"
            return cause, "check the URL; the secret was not sent"
        case Flaw.EXPIRED:
            return "the certificate has expired, or this machine's clock is ahead", "renew it at the backend; check the clock"
        case Flaw.EARLY:
            return "the certificate is not valid yet: this machine's clock is probably behind", "set the clock (NTP)"
        case _:
            return (
                "nobody this machine trusts has signed the certificate: a private authority, or a proxy that looks inside TLS",
                "add the authority to the system's trust store, or name its file in SSL_CERT_FILE; the secret was not sent",
            )
