"""The HTTP side, by `httpx`: one POST each, with a total deadline and a bounded answer; no policy, no retry (ARCHITECTURE §8)."""

import asyncio
import codecs
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from agent_core import __version__, frames
from agent_core.channels.ack_batch import NO_ACK_CALL, AckBatch
from agent_core.channels.credentials import Credentials
from agent_core.channels.network import failure_of, http_date, proxy_for, retry_after, tls_context
from agent_core.clock import Clock
from agent_core.config import Config
from agent_core.events import (
    BackendClockRead,
    Event,
    Failure,
    MessagePosted,
    Poll,
    PollAnswered,
    PollFailed,
    PostMessage,
    Registered,
    RegistrationFailed,
    Trouble,
)
from agent_core.records import Arrival

if TYPE_CHECKING:
    import httpx

ACK_PATHS = ("/edge/command/ack", "/edge/ack_command")
FILE_CHUNK = 2**18
READ_AT_ONCE = 64 * 2**10
"""Bytes of an answer that are read without a thread: about 5 ms."""
MISSING = frozenset({404, 405})


class HttpTrouble(Exception):
    """A call that brought no good answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class Sent:
    """A file's bytes on their way: how many, and their SHA-256."""

    def __init__(self) -> None:
        self.bytes = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def of(self, path: Path) -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, FILE_CHUNK):
                self.bytes += len(chunk)
                self._digest.update(chunk)
                yield chunk


class PollingChannel:
    """The HTTP calls as the engine's effects see them; answers with events through `post`."""

    def __init__(
        self, config: Config, credentials: Credentials, clock: Clock, post: Callable[[Event], None],
        witness: Callable[["httpx.Response", bytes], None] | None = None,
    ) -> None:  # fmt: skip
        """`witness` is shown each response with its body, of a bad one the beginning."""
        self._witness = witness
        self._config = config
        self._credentials = credentials
        self._clock = clock
        self._post = post
        self._client: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._ack_path: str | None = None
        """The path that has answered 2xx."""

    async def configure(self, config: Config) -> None:
        """For the next call; one that is under way breaks off."""
        async with self._opening:
            self._config, self._ack_path = config, None
            await self.close()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # --- effects ---------------------------------------------------------------------------------------------

    async def register(self) -> None:
        """POST /edge/register; the id it answers is adopted."""
        edge = self._config.edge
        body = {
            "user_phone": edge.user_phone, "apple_id": edge.apple_id, "version": __version__,
            "capabilities": ["send_message", "schedule_message", "cancel_message", "update_config"],
        }  # fmt: skip
        try:
            answer = await self._call("/edge/register", lambda secret: frames.as_json(body | {"auth_token": secret}).encode())
            agent_id, token = _registration(_object(answer))
        except HttpTrouble as error:
            if error.failure.status == 404 and edge.agent_id:
                self._post(Registered(edge.agent_id))
            else:
                self._post(RegistrationFailed(error.failure))
        else:
            self._credentials.adopt(agent_id, token)
            self._post(Registered(agent_id))

    async def poll(self, effect: Poll) -> None:
        """POST /edge/sync."""
        acks = [ack for _, ack in effect.carried]
        events = [event for _, event in effect.events]
        body = frames.dump_sync(self._credentials.agent_id, effect.last_command_id, acks, effect.status, events)
        try:
            raw = await self._call("/edge/sync", body.encode())
            answer = frames.parse_sync(raw) if len(raw) <= READ_AT_ONCE else await asyncio.to_thread(frames.parse_sync, raw)
        except HttpTrouble as error:
            self._post(PollFailed(effect.number, error.failure))
        except frames.FrameError as error:
            self._post(PollFailed(effect.number, Failure(Trouble.GARBAGE, str(error))))
        else:
            arrivals = tuple(Arrival(command) for command in answer.commands)
            carried = tuple(command_id for command_id, _ in effect.carried)
            settings = self._credentials.redactor.within(answer.settings)
            self._post(PollAnswered(effect.number, arrivals, answer.proven, settings, answer.malformed, carried))

    async def post_message(self, effect: PostMessage) -> None:
        """POST /edge/message; a 2xx may be empty, or hold commands as a sync's answer does."""
        body = frames.dump_edge_message(self._credentials.agent_id, effect.event)
        try:
            raw = await self._call("/edge/message", body.encode())
            commands = frames.parse_sync(raw).commands if raw.strip() else ()
        except HttpTrouble as error:
            self._post(MessagePosted(effect.seq, failure=error.failure))
        except frames.FrameError as error:
            self._post(MessagePosted(effect.seq, failure=Failure(Trouble.GARBAGE, f"/edge/message: {error}")))
        else:
            self._post(MessagePosted(effect.seq, tuple(map(Arrival, commands))))

    async def post_acks(self, acks: tuple[tuple[str, str], ...]) -> None:
        """POST each ack on its own; one that is refused holds up no other."""
        batch = AckBatch(tuple(command_id for command_id, _ in acks))
        for command_id, ack in acks:
            failure: Failure | None = None
            try:
                await self._post_ack(ack)
            except HttpTrouble as error:
                failure = error.failure
            if not batch.answered(command_id, failure):
                break
        self._post(batch.outcome)

    async def _post_ack(self, ack: str) -> None:
        """By the path that has answered 2xx before, whose 404 is about this ack; else by the first that is there. Raises HttpTrouble."""
        if self._ack_path is not None:
            await self._give(ack, self._ack_path)
            return
        for path in ACK_PATHS:
            try:
                await self._give(ack, path)
            except HttpTrouble as error:
                if error.failure.status not in MISSING:
                    raise
            else:
                self._ack_path = path
                return
        raise HttpTrouble(NO_ACK_CALL)

    async def _give(self, ack: str, path: str) -> None:
        """A web page is no backend's answer but a portal's, which has taken nothing. Raises HttpTrouble."""
        answer = await self._call(path, ack.encode())
        if answer.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
            raise HttpTrouble(Failure(Trouble.GARBAGE, f"{path}: a web page in the place of an answer"))

    async def put(self, url: str, path: Path) -> Sent:
        """A file, as it is read. Raises HttpTrouble where the answer is no 2xx, OSError where it cannot be read."""
        client = await self._opened()
        content = Sent()
        size = await asyncio.to_thread(lambda: path.stat().st_size)
        headers = self._credentials.headers(self._clock.now()) | {"Content-Type": "application/octet-stream", "Content-Length": f"{size}"}
        try:
            async with client.stream("PUT", url, content=content.of(path), headers=headers) as response:
                status = response.status_code
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a call ends with is this command's failure)
            failure = failure_of(error)
            raise HttpTrouble(Failure(failure.trouble, self._credentials.redactor(failure.detail))) from None
        if not 200 <= status < 300:
            raise HttpTrouble(Failure(Trouble.HTTP, f"the backend answered HTTP {status}", status))
        return content

    # --- one call --------------------------------------------------------------------------------------------

    async def _call(self, path: str, content: bytes | Callable[[str], bytes]) -> bytes:
        """The body of a 2xx; `content` may depend on the secret. Raises HttpTrouble."""
        try:
            async with asyncio.timeout(self._config.timing.poll_within):
                return await self._exchange_with_any(path, content)
        except HttpTrouble:
            raise
        except TimeoutError:
            within = self._config.timing.poll_within
            raise HttpTrouble(Failure(Trouble.TIMEOUT, f"{path}: no answer in {within:g} s")) from None
        except Exception as error:  # noqa: BLE001  (whatever a call ends with, the engine hears of it)
            failure = failure_of(error)
            if failure.trouble is Trouble.TLS:  # who is trusted is read with each client, and may be put right by the next call
                await self.close()
            raise HttpTrouble(Failure(failure.trouble, f"{path}: {self._credentials.redactor(failure.detail)}")) from None

    async def _exchange_with_any(self, path: str, content: bytes | Callable[[str], bytes]) -> bytes:
        """With the first secret that the backend takes. Raises HttpTrouble."""
        credentials = self._credentials
        secret: str | None = credentials.first_for_call(self._clock.now())
        tried: set[str] = set()
        while secret is not None:
            try:
                answer = await self._exchange(path, content if isinstance(content, bytes) else content(secret), secret)
            except HttpTrouble as error:
                refusal = error
                if not credentials.failed(error.failure):
                    raise
                secret = await credentials.after_refusal(secret, tried, self._clock.now())
            else:
                credentials.accepted(secret)
                return answer
        raise refusal

    async def _exchange(self, path: str, content: bytes, secret: str) -> bytes:
        limit = self._config.websocket.max_frame_bytes
        headers = {
            **self._credentials.headers(self._clock.now(), secret),
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }
        client = await self._opened()
        asked_utc = self._clock.now().utc
        async with client.stream("POST", path.lstrip("/"), content=content, headers=headers) as response:
            self._read_clock(response, asked_utc)
            if not response.is_success:
                if self._witness is not None:
                    self._witness(response, await _beginning(response))
                wait = retry_after(response.headers.get_list("Retry-After"), self._clock.now().utc)
                raise HttpTrouble(Failure(Trouble.HTTP, f"{path}: HTTP {response.status_code}", response.status_code, wait))
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > limit:
                    raise HttpTrouble(Failure(Trouble.GARBAGE, f"{path}: the answer is larger than {limit} bytes"))
            if self._witness is not None:
                self._witness(response, bytes(answer))
            return bytes(answer)

    async def _opened(self) -> "httpx.AsyncClient":
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(open_client, self._config.backend.url, self._config.timing.poll_within)
            return self._client

    def _read_clock(self, response: "httpx.Response", asked_utc: float) -> None:
        """The answer was made after `asked_utc` and before now; its Date leaves out the fraction of the second."""
        told = http_date(response.headers.get("Date", "")) if response.is_success else None
        if told is not None:
            self._post(BackendClockRead(told - self._clock.now().utc, told + 1.0 - asked_utc))


def open_client(url: str, within: float, connections: int = 4) -> "httpx.AsyncClient":
    """A client for what is below `url`. Make it off the loop: importing httpx takes longer than an ack may.

    httpx comes without its command line, which would bring rich and more: three times as long, and 6 MB.
    """
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx

    url = url.rstrip("/") + "/"
    return httpx.AsyncClient(
        base_url=url,
        verify=tls_context() if url.startswith("https:") else False,
        trust_env=False,
        proxy=proxy_for(url),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=within,
        limits=httpx.Limits(max_connections=connections, keepalive_expiry=90),
    )


def _registration(answer: dict[str, Any]) -> tuple[str, str | None]:
    """The id and the token that a backend gives; both travel in headers from then on. Raises HttpTrouble."""
    agent_id, token = answer.get("edge_agent_id"), answer.get("auth_token")
    if not isinstance(agent_id, str) or not _fits_a_header(agent_id, 200):
        raise HttpTrouble(Failure(Trouble.GARBAGE, "the registration's answer has no edge_agent_id of printable ASCII"))
    if token is not None and not (isinstance(token, str) and _fits_a_header(token, 4_000)):
        raise HttpTrouble(Failure(Trouble.GARBAGE, "the registration's auth_token cannot be sent in a header"))
    return agent_id, token


def _fits_a_header(text: str, longest: int) -> bool:
    return 1 <= len(text) <= longest and text.isascii() and text.isprintable() and text == text.strip()


async def _beginning(response: "httpx.Response") -> bytes:
    """At least the first 2 KB of a body, where there is so much."""
    start = b""
    async for chunk in response.aiter_raw():
        start += chunk
        if len(start) >= 2_048:
            break
    return start


def _object(raw: bytes) -> dict[str, Any]:
    try:
        answer = from_json(raw)
    except ValueError:
        raise HttpTrouble(Failure(Trouble.GARBAGE, "the answer is not JSON")) from None
    if not isinstance(answer, dict):
        raise HttpTrouble(Failure(Trouble.GARBAGE, "the answer is not a JSON object"))
    return answer
