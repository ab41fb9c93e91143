"""What the agent shows to be let in (PROTOCOL §3): the secret itself, or a token made with it."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from agent_core.clock import Moment
from agent_core.config import Config
from agent_core.engine.outcomes import Rule, rule_for
from agent_core.events import Failure
from agent_core.plain import plain
from agent_core.redaction import Redactor
from agent_core.secret_sources import SecretMissing, Secrets, SecretSource, SecretUnavailable

TOKEN_SECONDS = 86_400
REFRESH_SECONDS = 3_600
NEXT_AGAIN_AFTER = 60.0


FINGERPRINT_PREFIX = "edge-console:"


def fingerprint(secret: str) -> str:
    """Eight hex digits that both sides can compare without showing the secret."""
    return hashlib.sha256((FINGERPRINT_PREFIX + secret).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Token:
    """One hmac token, and the secret, the moment and the id that it was made for."""

    text: str
    secret: str
    made: Moment
    agent_id: str | None

    def is_good(self, secret: str, now: Moment, agent_id: str | None, clock_jump: float) -> bool:
        """Still young, by a wall clock that has not been set since."""
        age = now.utc - self.made.utc
        jumped = abs(age - (now.mono - self.made.mono)) > clock_jump
        return not jumped and age <= TOKEN_SECONDS - REFRESH_SECONDS and (agent_id, secret) == (self.agent_id, self.secret)


class Credentials:
    """Headers for each request; a 401 or 403 never switches the mode by itself.

    Where the secret has a source (secret_sources.py) and it is refused, the source is read anew, and the same request goes out once more
    with what it holds: the current secret, or the next one. Once the backend takes the next, the current one is dropped at the source.
    """

    def __init__(
        self, config: Config, redactor: Redactor | None = None, source: SecretSource | None = None,
        say: Callable[[str, str], None] = lambda _level, _text: None,
    ) -> None:  # fmt: skip
        """`redactor` learns what is shown to the backend, for it may say that back: in a close reason, an error, an id.

        `say` is told of a rotation: level and sentence.
        """
        self.agent_id = None if config.edge.register_ == "always" else config.edge.agent_id
        self._mode = config.auth.mode
        self._phone = config.edge.user_phone or ""
        self._secret = config.auth.secret.get_secret_value()
        self._source = source
        self._known = Secrets(self._secret)
        self._next_from = 0.0
        self._say = say
        self._clock_jump = config.timing.clock_jump
        self._token: Token | None = None
        self.redactor = redactor or Redactor(*config.secrets)

    def adopt(self, agent_id: str, auth_token: str | None) -> None:
        """What a registration answered; a token it gave replaces the secret, in memory only."""
        self.agent_id = agent_id
        if auth_token:
            self._secret = auth_token
            self.redactor.hide(auth_token)
        self._token = None

    @property
    def secret(self) -> str:
        """What is shown now."""
        return self._secret

    # --- rotation ----------------------------------------------------------------------------------------------------

    def first_for_call(self, now: Moment) -> str:
        """What an HTTP call shows first: the next secret, to learn whether it is taken, but not again within a minute of a refusal."""
        coming = self._known.next
        return self._secret if coming is None or now.mono < self._next_from else coming

    async def after_refusal(self, secret: str, tried: set[str], now: Moment) -> str | None:
        """What to show in place of a secret that was just refused, and from then on; it joins those that were tried in vain.

        None where the source, read anew, holds no other.
        """
        tried.add(secret)
        if self._source is None:
            return None
        if secret == self._known.next:
            self._next_from = now.mono + NEXT_AGAIN_AFTER
        await self.read_anew()
        choices = (self._secret, self._known.current, self._known.next)
        other = next((one for one in choices if one is not None and one not in tried), None)
        self._secret = other or self._secret
        return other

    async def read_anew(self) -> None:
        """What the source holds now counts from now on."""
        if self._source is None:
            return
        try:
            found = await asyncio.to_thread(self._source.read)
        except (SecretUnavailable, SecretMissing) as error:
            self._say("WARNING", f"The secret cannot be read anew: {error}")
        else:
            self.take(found)

    def take(self, found: Secrets) -> None:
        """What counts from now on."""
        known, self._known = self._known, found
        for secret in filter(None, (found.current, found.next)):
            self.redactor.hide(secret)
        if found.current not in {known.current, known.next}:
            self._secret = found.current
            self._say("INFO", f"The secret was changed: {fingerprint(found.current)} from now on")
        if found.next is not None and found.next != known.next:
            self._next_from = 0.0
            self._say("INFO", f"A next secret is there ({fingerprint(found.next)}); it and the current one are both tried")

    def accepted(self, secret: str) -> None:
        """The backend took it: where it is the next one, the rotation is done, and the old one is dropped at the source."""
        if secret not in {self._known.current, self._known.next}:
            return
        self._secret = secret
        if secret == self._known.next:
            assert self._source is not None
            old, self._known = self._known.current, Secrets(secret)
            self._say("INFO", f"The backend takes the next secret ({fingerprint(secret)}); the old one ({fingerprint(old)}) is dropped")
            asyncio.get_running_loop().run_in_executor(None, self._source.write, self._known).add_done_callback(self._dropped)

    def _dropped(self, writing: "asyncio.Future[None]") -> None:
        if not writing.cancelled() and (error := writing.exception()) is not None:
            self._say("WARNING", f"The old secret could not be dropped: {plain(error, 300)}")

    # --- headers -----------------------------------------------------------------------------------------------------

    def failed(self, failure: Failure) -> bool:
        """Whether it was a refusal; then the next token is made anew: the refused one may bear the time of a wrong clock."""
        is_refusal = rule_for(failure, first_loss=False) is Rule.REFUSED
        if is_refusal:
            self._token = None
        return is_refusal

    def headers(self, now: Moment, secret: str | None = None) -> dict[str, str]:
        """`Authorization` with this secret, or the present one, and the agent's id where it is known."""
        secret = secret or self._secret
        bearer = secret if self._mode == "bearer" else self._hmac_token(secret, now)
        headers = {"Authorization": f"Bearer {bearer}"}
        if self.agent_id is not None:
            headers["X-Edge-Agent-Id"] = self.agent_id
        return headers

    def _hmac_token(self, secret: str, now: Moment) -> str:
        if self._token is None or not self._token.is_good(secret, now, self.agent_id, self._clock_jump):
            claim = f"{self.agent_id or ''}:{self._phone}:{int(now.utc)}"
            signature = hmac.new(secret.encode(), claim.encode(), hashlib.sha256).hexdigest()
            self._token = Token(base64.b64encode(f"{claim}:{signature}".encode()).decode(), secret, now, self.agent_id)
            self.redactor.hide(self._token.text)
        return self._token.text
