"""Whether a command is signed by a key of the configuration: Ed25519 over its canonical form (PROTOCOL §7). Needs the extra `signing`."""

from base64 import b64decode
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic_core import to_json

from agent_core.config.models import Policy
from agent_core.frames import Command
from agent_core.plain import plain

MAX_SIGNED = 64 * 2**10
"""Bytes of a canonical form: made and checked within a few ten milliseconds, whatever is in it."""


class Signatures:
    """Each answer is a few words on what is wrong; None: it is signed, and by whom it should be."""

    def __init__(self, policy: Policy) -> None:
        self._keys = {name: Ed25519PublicKey.from_public_bytes(b64decode(key)) for name, key in policy.signature_keys.items()}

    def against(self, command: Command) -> str | None:
        signature = command.signature
        if signature is None:
            return "it is not signed"
        if (key := self._keys.get(signature.key_id)) is None:
            return f"its key is not known: {plain(signature.key_id, 100)}"
        try:
            key.verify(b64decode(signature.value, validate=True), canonical({**signature.fields, "payload": command.payload}))
        except InvalidSignature:
            return f"its signature by {plain(signature.key_id, 100)} does not hold"
        except (ValueError, RecursionError) as error:
            return f"its signature cannot be checked: {plain(error, 200)}"
        return None


def canonical(fields: dict[str, Any]) -> bytes:
    """RFC 8785. Raises ValueError for what it cannot say, or in more than MAX_SIGNED bytes."""
    if len(to_json(fields)) > MAX_SIGNED:
        raise ValueError(f"it is longer than {MAX_SIGNED} bytes")
    return rfc8785.dumps(fields)
