"""What the network says below HTTP: names, addresses, certificates. One question each, answered by the network or by OSError."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from agent_core.channels.network import Flaw, failure_of, flaw_of

UNTIMED = 0x20_0000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME."""


async def resolved(host: str, port: int) -> list[tuple[Any, ...]]:
    """(family, address) of each; on a thread that nobody waits for, since a resolver cannot be stopped. Raises socket.gaierror."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

    def tell(found: list[tuple[Any, ...]] | None, error: OSError | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found or [])

    def ask() -> None:
        found, error = None, None
        try:
            found = [(family, address) for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as trouble:
            error = trouble if isinstance(trouble, OSError) else socket.gaierror(socket.EAI_NONAME, "not a name")
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, found, error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return await answer


async def reach(family: int, address: tuple[Any, ...], within: float) -> str | None:
    """Why it cannot be connected to, or None."""
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(address[0], address[1], family=family)
    except TimeoutError:
        return "does not answer"
    except OSError as error:
        return failure_of(error).detail.removeprefix("connection ")
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
