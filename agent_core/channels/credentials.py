"""What the agent shows to be let in (PROTOCOL §3): the secret itself, or a token made with it."""

import base64
import hashlib
import hmac

from pydantic import SecretStr

from agent_core.config import Config
from agent_core.redaction import Redactor

TOKEN_SECONDS = 86_400
REFRESH_SECONDS = 3_600


FINGERPRINT_PREFIX = "edge-console:"


def fingerprint(secret: str) -> str:
    """Eight hex digits that both sides can compare without showing the secret."""
    return hashlib.sha256((FINGERPRINT_PREFIX + secret).encode()).hexdigest()[:8]


class Credentials:
    """Headers for each request; a 401 or 403 never switches the mode by itself."""

    def __init__(self, config: Config, redactor: Redactor | None = None) -> None:
        """`redactor` learns what is shown to the backend, for it may say that back: in a close reason, an error, an id."""
        self.agent_id = None if config.edge.register_ == "always" else config.edge.agent_id
        self._mode = config.auth.mode
        self._phone = config.edge.user_phone or ""
        self._secret = config.auth.secret
        self._token: tuple[str, float, str | None] | None = None
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

    def headers(self, utc: float) -> dict[str, str]:
        """`Authorization`, and the agent's id where it is known."""
        bearer = self.secret if self._mode == "bearer" else self._hmac_token(utc)
        headers = {"Authorization": f"Bearer {bearer}"}
        if self.agent_id is not None:
            headers["X-Edge-Agent-Id"] = self.agent_id
        return headers

    def _hmac_token(self, utc: float) -> str:
        if self._token is None or utc > self._token[1] + TOKEN_SECONDS - REFRESH_SECONDS or self._token[2] != self.agent_id:
            claim = f"{self.agent_id or ''}:{self._phone}:{int(utc)}"
            signature = hmac.new(self.secret.encode(), claim.encode(), hashlib.sha256).hexdigest()
            self._token = (base64.b64encode(f"{claim}:{signature}".encode()).decode(), utc, self.agent_id)
            self.redactor.hide(self._token[0])
        return self._token[0]
