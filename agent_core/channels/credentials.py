"""What the agent shows to be let in (PROTOCOL §3): the secret itself, or a token made with it."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from pydantic import SecretStr

from agent_core.clock import Moment
from agent_core.config import Config
from agent_core.engine.outcomes import Rule, rule_for
from agent_core.events import Failure
from agent_core.redaction import Redactor

TOKEN_SECONDS = 86_400
REFRESH_SECONDS = 3_600


FINGERPRINT_PREFIX = "edge-console:"


def fingerprint(secret: str) -> str:
    """Eight hex digits that both sides can compare without showing the secret."""
    return hashlib.sha256((FINGERPRINT_PREFIX + secret).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Token:
    """One hmac token, and the moment and the id that it was made for."""

    text: str
    made: Moment
    agent_id: str | None

    def is_good(self, now: Moment, agent_id: str | None, clock_jump: float) -> bool:
        """Still young, by a wall clock that has not been set since."""
        age = now.utc - self.made.utc
        jumped = abs(age - (now.mono - self.made.mono)) > clock_jump
        return not jumped and age <= TOKEN_SECONDS - REFRESH_SECONDS and agent_id == self.agent_id


class Credentials:
    """Headers for each request; a 401 or 403 never switches the mode by itself."""

    def __init__(self, config: Config, redactor: Redactor | None = None) -> None:
        """`redactor` learns what is shown to the backend, for it may say that back: in a close reason, an error, an id."""
        self.agent_id = None if config.edge.register_ == "always" else config.edge.agent_id
        self._mode = config.auth.mode
        self._phone = config.edge.user_phone or ""
        self._secret = config.auth.secret
        self._clock_jump = config.timing.clock_jump
        self._token: Token | None = None
        self.redactor = redactor or Redactor(*config.secrets)

    def adopt(self, agent_id: str, auth_token: str | None) -> None:
        """What a registration answered; a token it gave replaces the secret, in memory only."""
        self.agent_id = agent_id
        if auth_token:
            self._secret = SecretStr(auth_token)
            self.redactor.hide(auth_token)
        self._token = None

    @property
    def secret(self) -> str:
        return self._secret.get_secret_value()

    def failed(self, failure: Failure) -> None:
        """Make the next token anew where this one was refused: it may bear the time of a wrong clock."""
        if rule_for(failure, first_loss=False) is Rule.REFUSED:
            self._token = None

    def headers(self, now: Moment) -> dict[str, str]:
        """`Authorization`, and the agent's id where it is known."""
        bearer = self.secret if self._mode == "bearer" else self._hmac_token(now)
        headers = {"Authorization": f"Bearer {bearer}"}
        if self.agent_id is not None:
            headers["X-Edge-Agent-Id"] = self.agent_id
        return headers

    def _hmac_token(self, now: Moment) -> str:
        if self._token is None or not self._token.is_good(now, self.agent_id, self._clock_jump):
            claim = f"{self.agent_id or ''}:{self._phone}:{int(now.utc)}"
            signature = hmac.new(self.secret.encode(), claim.encode(), hashlib.sha256).hexdigest()
            self._token = Token(base64.b64encode(f"{claim}:{signature}".encode()).decode(), now, self.agent_id)
            self.redactor.hide(self._token.text)
        return self._token.text
