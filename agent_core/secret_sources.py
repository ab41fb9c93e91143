"""Where the secret is kept: a file of mode 0600, the Keychain, or what a command prints; the environment (EDGE_SECRET) outranks them.

A source holds the current secret and, during a rotation, the next one. Whoever uses them tries both (channels/credentials.py), and drops
the current one here once the backend takes the next. In a file, and of a command, they are the first two lines.
"""

import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from agent_core.config import Config
from agent_core.config.models import Auth, checked_secret
from agent_core.files import write_whole
from agent_core.plain import plain

SERVICE = "edge-console"
NEXT = " (next)"
MAX_BYTES = 8_192
ANSWER_WITHIN = 5.0
"""Less than a dial may take, within which it may be asked."""


class SecretUnavailable(Exception):
    """The source gives no secret now; trying again may help."""


class SecretMissing(Exception):
    """No secret is kept there, or it is no fit one; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """`next` is there during a rotation alone."""

    current: str = field(repr=False)
    next: str | None = field(default=None, repr=False)


class SecretSource(Protocol):
    """`read` and `write` may take their time: call them off the loop."""

    @property
    def where(self) -> str:
        """In words: the file, the entry, the command."""
        ...

    def read(self) -> Secrets:
        """Raises SecretUnavailable, SecretMissing."""
        ...

    def write(self, secrets: Secrets) -> None:
        """Raises SecretUnavailable."""
        ...


def source_of(auth: Auth) -> SecretSource | None:
    """None where the secret comes from the environment, or from nowhere."""
    if auth.secret_file is not None:
        return FileSource(auth.secret_file)
    if auth.keychain is not None:
        return KeychainSource(auth.keychain)
    return CommandSource(auth.secret_command) if auth.secret_command else None


def with_secret(config: Config, *, within: Callable[[SecretSource], bool] = lambda _source: True) -> Config:
    """`config` with its source's current secret, unless the environment has given one. Raises SecretUnavailable, SecretMissing."""
    source = source_of(config.auth)
    if source is None or config.auth.secret.get_secret_value() or not within(source):
        return config
    auth = config.auth.model_copy(update={"secret": SecretStr(source.read().current)})
    return config.model_copy(update={"auth": auth})


class FileSource:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = f"the file {plain(path, 300)}"

    def read(self) -> Secrets:
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):  # a pipe would keep its reader waiting
                raise SecretMissing(f"auth.secret_file {plain(self.path, 300)} is no regular file: edge-console secret set")
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                said = file.read(MAX_BYTES)
        except FileNotFoundError:
            raise SecretMissing(f"auth.secret_file {plain(self.path, 300)} is not there: edge-console secret set") from None
        except OSError as error:
            raise SecretUnavailable(f"auth.secret_file {plain(self.path, 300)} cannot be read: {error.strerror}") from None
        if found.st_mode & 0o077:
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            raise SecretMissing(f"auth.secret_file {plain(self.path, 300)} has mode {mode}, so others may read it: chmod 600 it")
        return _secrets(said, self.where)

    def write(self, secrets: Secrets) -> None:
        lines = [secrets.current] if secrets.next is None else [secrets.current, secrets.next]
        try:
            write_whole(self.path, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            raise SecretUnavailable(f"{self.where} cannot be written: {error.strerror}") from None


class KeychainSource:
    """By the package `keyring` (extra `keychain`), under the service edge-console; the next secret is an entry of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.where = f"the Keychain entry {SERVICE}/{plain(name, 60)}"

    def read(self) -> Secrets:
        import keyring
        from keyring.errors import KeyringError

        try:
            current, coming = (keyring.get_password(SERVICE, self._name + ending) for ending in ("", NEXT))
        except KeyringError as error:
            raise SecretUnavailable(f"{self.where} cannot be read: {plain(error, 120) or type(error).__name__}") from None
        if not current:
            raise SecretMissing(f"{self.where} is not there: edge-console secret set")
        return _secrets("\n".join(filter(None, (current, coming))).encode(), self.where)

    def write(self, secrets: Secrets) -> None:
        import keyring
        from keyring.errors import KeyringError

        try:
            keyring.set_password(SERVICE, self._name, secrets.current)
            if secrets.next is not None:
                keyring.set_password(SERVICE, self._name + NEXT, secrets.next)
            elif keyring.get_password(SERVICE, self._name + NEXT) is not None:
                keyring.delete_password(SERVICE, self._name + NEXT)
        except KeyringError as error:
            raise SecretUnavailable(f"{self.where} cannot be written: {plain(error, 120) or type(error).__name__}") from None


class CommandSource:
    """Its program alone changes what it prints."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self.where = f"the command {plain(command[0], 120)}"

    def read(self) -> Secrets:
        try:
            ran = subprocess.run(  # noqa: S603  (the operator's own command)
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=ANSWER_WITHIN,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SecretUnavailable(f"auth.secret_command does not end within {ANSWER_WITHIN:g} s") from None
        except OSError as error:
            raise SecretMissing(f"auth.secret_command cannot be run: {error.strerror}") from None
        if ran.returncode:
            raise SecretUnavailable(f"auth.secret_command failed with exit {ran.returncode}")
        return _secrets(ran.stdout[:MAX_BYTES], self.where)

    def write(self, secrets: Secrets) -> None:  # noqa: ARG002
        raise SecretUnavailable(f"{self.where} gives the secret: only what it asks can change it")


def _secrets(said: bytes, where: str) -> Secrets:
    """Raises SecretMissing."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    if not 1 <= len(lines) <= 2:
        raise SecretMissing(f"{where} should give a line with the secret, and during a rotation one with the next; it gives {len(lines)}")
    for line in lines:
        try:
            checked_secret(SecretStr(line))
        except ValueError as error:
            raise SecretMissing(f"{where} gives no secret that can be sent: {error}") from None
    return Secrets(*lines)
