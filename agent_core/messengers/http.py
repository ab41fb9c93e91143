"""Posts each message as JSON, with a key by which the receiver knows it again: the same for every attempt, also after a crash.

2xx is done. What may pass is tried again, no sooner than Retry-After says, for as long as the command may take. An attempt that may have
arrived leaves the outcome unknown, whatever but 2xx is answered to a later one.
"""

import asyncio
import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from agent_core.channels.http import open_client
from agent_core.channels.network import failure_of, retry_after
from agent_core.frames import Command, Message
from agent_core.messengers.base import RECEIPT_BYTES, Context, Messenger, as_json, receipt_of
from agent_core.records import Outcome
from agent_core.redaction import Redactor

if TYPE_CHECKING:
    import httpx

MAX_ATTEMPTS = 5
MAX_CONNECTIONS = 64
ATTEMPT_WITHIN = 10.0
RECEIPT_WITHIN = 0.5
MARGIN = 1.0
"""Seconds before the command's own limit at which this gives up, so that the outcome says why."""
MAX_PAUSE = 3_600.0
MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class _Trouble:
    """An attempt without a 2xx."""

    said: str
    may_pass: bool = False
    may_have_arrived: bool = False


class HttpMessenger(Messenger):
    """`token` goes out as bearer; `within` is what a command may take, `first_wait` the first of the doubling waits, in seconds."""

    idempotent = True

    def __init__(self, url: str, token: SecretStr, within: float, first_wait: float = 1.0) -> None:
        self._url = url
        self._token = token
        self._redactor = Redactor(token.get_secret_value())
        """For the receipt: a server may say back what it was shown."""
        self._within = max(within - MARGIN, within / 2)
        self._first_wait = first_wait
        self._not_before = 0.0
        self._client: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def send(self, message: Message, command: Command, context: Context) -> Outcome:
        give_up_at = time.monotonic() + self._within
        body, headers = as_json(message, command, context), self._headers(command)
        trouble, may_have_arrived = _Trouble("the server has asked for a pause"), False
        for wait in (0.0, *(self._first_wait * 2**number for number in range(MAX_ATTEMPTS - 1))):
            now = time.monotonic()
            wait_until = max(now + wait, self._not_before)
            if wait_until >= give_up_at:
                return Outcome(error=f"{trouble.said}; not to be tried again for {wait_until - now:.0f} s", unknown=may_have_arrived)
            await asyncio.sleep(wait_until - now)
            answer = await self._attempt(body, headers, min(ATTEMPT_WITHIN, self._within / 3, give_up_at - time.monotonic()))
            if isinstance(answer, Outcome):
                return answer
            trouble, may_have_arrived = answer, may_have_arrived or answer.may_have_arrived
            if not trouble.may_pass:
                break
        return Outcome(error=trouble.said, unknown=may_have_arrived)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _headers(self, command: Command) -> dict[str, str]:
        name = command.command_id
        fits = name.isascii() and name.isprintable() and not set(name) & set(' "\\')
        key = name if fits else hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "Idempotency-Key": key}
        token = self._token.get_secret_value()
        return headers | {"Authorization": f"Bearer {token}"} if token else headers

    async def _attempt(self, body: bytes, headers: dict[str, str], within: float) -> Outcome | _Trouble:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(open_client, self._url, within, MAX_CONNECTIONS)
        import httpx

        never_left = httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.LocalProtocolError
        limits = httpx.Timeout(within, connect=within / 2)
        try:
            async with (
                asyncio.timeout(within) as limit,
                self._client.stream("POST", self._url, content=body, headers=headers, timeout=limits) as response,
            ):
                if not response.is_success:
                    return self._refusal(response)
                limit.reschedule(None)
                answer = await _beginning(response)
                return Outcome(result={"http_status": response.status_code} | self._redactor.within(receipt_of(answer) or {}))
        except TimeoutError:
            return _Trouble(f"no answer in {within:.3g} s", may_pass=True, may_have_arrived=True)
        except Exception as error:  # noqa: BLE001  (whatever an exchange ends with is the attempt's outcome)
            return _Trouble(failure_of(error).detail, may_pass=True, may_have_arrived=not isinstance(error, never_left))

    def _refusal(self, response: "httpx.Response") -> _Trouble:
        status = response.status_code
        if (pause := retry_after(response.headers.get_list("Retry-After"), time.time())) is not None and status in MAY_PASS:
            self._not_before = max(self._not_before, time.monotonic() + min(pause, MAX_PAUSE))
        said = f"HTTP {status}" + (", and redirects are not followed" if response.is_redirect else "")
        return _Trouble(said, status in MAY_PASS, may_have_arrived=status >= 500 or status == 408)


async def _beginning(response: "httpx.Response") -> bytes:
    """Of a body that may be of any length and come however slowly."""
    import httpx

    answer = bytearray()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(RECEIPT_WITHIN):
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > RECEIPT_BYTES:
                    break
    return bytes(answer)
