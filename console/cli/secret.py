"""`edge-console secret set`, `rotate` and `fingerprint`: the secret is read without echo or from standard input, and never shown."""

import argparse
import sys
from getpass import getpass
from typing import TYPE_CHECKING, Any

from console.cli.options import add_config_options, configuration, loaded
from console.cli.outcome import FAILED, OK, USAGE, complain

if TYPE_CHECKING:
    from agent_core.secret_sources import Secrets, SecretSource

MAX_LENGTH = 4_096
NOWHERE = "the configuration keeps the secret nowhere: set auth.secret_file to a path, or auth.keychain to a name"
FINGERPRINT_HELP = """Prints 8 hex digits that both sides can compare, instead of the secret: the first 8 of the SHA-256 of
"edge-console:" followed by the secret; in a second line those of the next secret, during a rotation. On the backend's side:

  printf 'edge-console:%s' "$EDGE_SECRET" | sha256sum | cut -c1-8     (macOS: shasum -a 256)

The secret is taken from where the agent takes it."""
ROTATE_HELP = """Keeps the next secret beside the current one. A running agent tries both, with no restart and no pause; once the backend
takes the next, the agent says so and drops the old one. So: rotate here, then let the backend take both, then the next alone; or the
backend first. Without a prompt: edge-console secret rotate < FILE"""


def add_parsers(commands: Any) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    secret = commands.add_parser("secret", help="the secret shared with the backend: set, rotate, fingerprint")
    below = secret.add_subparsers(required=True, title="commands", metavar="COMMAND")
    first = below.add_parser("set", help="keep it where auth.secret_file or auth.keychain says; asks, or reads a line of standard input")
    first.set_defaults(command=_set)
    rotate = below.add_parser("rotate", help="keep the next one beside it, without a pause", description=ROTATE_HELP, formatter_class=raw)
    rotate.set_defaults(command=_rotate)
    mark = below.add_parser("fingerprint", help="8 hex digits to compare", description=FINGERPRINT_HELP, formatter_class=raw)
    mark.set_defaults(command=_fingerprint)
    for parser in (first, rotate, mark):
        add_config_options(parser)


def _set(options: argparse.Namespace) -> int:
    from agent_core.secret_sources import Secrets

    return _keep(_source(options), Secrets(_asked("Secret shared with the backend")))


def _rotate(options: argparse.Namespace) -> int:
    from agent_core.secret_sources import Secrets

    source = _source(options)
    current, coming = source.read().current, _asked("Next secret")
    if coming == current:
        return complain("that is the current secret", FAILED)
    return _keep(source, Secrets(current, coming))


def _keep(source: "SecretSource", secrets: "Secrets") -> int:
    source.write(secrets)
    print(f"kept in {source.where}")
    return _tell(secrets)


def _source(options: argparse.Namespace) -> "SecretSource":
    """Raises ConfigError, SecretMissing."""
    from agent_core.secret_sources import SecretMissing, source_of

    found = loaded(options, check_files=False)
    if (place := found.places.get("auth.secret")) is not None:
        raise SecretMissing(f"EDGE_SECRET ({place.rank[0].words}) outranks what would be kept: take it away there first")
    source = source_of(found.config.auth)
    if source is None:
        raise SecretMissing(NOWHERE)
    return source


def _asked(prompt: str) -> str:
    """A fit secret. Raises SecretMissing."""
    from pydantic import SecretStr

    from agent_core.config.models import checked_secret
    from agent_core.secret_sources import SecretMissing

    text = (getpass(f"{prompt} (not shown): ") if sys.stdin.isatty() else sys.stdin.readline(MAX_LENGTH)).strip()
    if not text:
        raise SecretMissing("expected a secret, found nothing")
    try:
        return checked_secret(SecretStr(text)).get_secret_value()
    except ValueError as error:
        raise SecretMissing(str(error)) from None


def _fingerprint(options: argparse.Namespace) -> int:
    from agent_core.secret_sources import Secrets, source_of

    config = configuration(options, with_secret=True)
    secret, source = config.auth.secret.get_secret_value(), source_of(config.auth)
    if not secret:
        return complain("there is no secret: set EDGE_SECRET, put it into .env beside config.yaml, or see edge-console secret set", USAGE)
    kept = source.read() if source is not None else None
    return _tell(kept if kept is not None and kept.current == secret else Secrets(secret))


def _tell(secrets: "Secrets") -> int:
    from agent_core.channels.credentials import fingerprint

    print(fingerprint(secrets.current))
    if secrets.next is not None:
        print(f"next {fingerprint(secrets.next)}")
    return OK
