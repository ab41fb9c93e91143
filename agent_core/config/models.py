"""Configuration as one frozen value: config.yaml, outranked by the environment.

The models below are the documentation's source: every key, its bounds and its meaning (`Field(description=…)`).
"""

import ipaddress
import re
from base64 import b64decode
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from agent_core.filters import MOST_CHARACTERS, trouble_in
from agent_core.snapshot import PollingMode

Seconds = Annotated[float, Field(ge=0.05, le=86_400)]


class Section(BaseModel):
    """A part of the configuration: frozen, and no key but the known ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(url: str, scheme: str) -> str:
    """`url`, if it is one that a secret may be sent to: encrypted, or to this machine. `scheme` is `http` or `ws`."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host = parts.hostname
    except ValueError:
        raise ValueError(f"expected {_encrypted(scheme)} URL") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"expected {_encrypted(scheme)} URL")
    start = "" if parts.scheme in {scheme, scheme + "s"} else f"that starts with {scheme}s:// (or {scheme}:// to this machine)"
    wanted = [clause for clause in (start, "" if _has_a_port(parts) else "with a port from 1 to 65535") if clause]
    if wanted:
        raise ValueError("expected a URL " + ", and ".join(wanted))
    if not host:
        raise ValueError("expected a URL with a host")
    if "@" in parts.netloc:
        raise ValueError("expected a URL without a user or password")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("expected a URL without ? and #")
    if parts.scheme == scheme and not _loopback(host):
        raise ValueError(f"expected {scheme}s:// ({scheme}:// only to localhost, 127.0.0.0/8 or ::1, since the secret would go in clear)")
    return parts.scheme + url[len(parts.scheme) :]


def _encrypted(scheme: str) -> str:
    return "an https://" if scheme == "http" else "a wss://"


def _has_a_port(parts: SplitResult) -> bool:
    """A port that exists, or none, which means the usual one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _not_below(low: str, high: float, others: ValidationInfo) -> float:
    """`high`, unless the key `low` beside it is above it."""
    least = others.data.get(low, high)
    if high < least:
        raise ValueError(f"expected no less than {low}, which is {least:g}")
    return high


def _trouble_with(secret: str) -> str | None:
    if any(c.isspace() for c in secret):
        return "whitespace at its end" if secret != secret.rstrip() else "whitespace"
    for position, c in enumerate(secret, 1):
        if not (c.isascii() and c.isprintable()):
            return f"another character in place {position}"
    return f"{len(secret)} characters" if 0 < len(secret) < 8 else None


def checked_secret(secret: SecretStr) -> SecretStr:
    """`secret`, if a header can carry it. Raises ValueError."""
    if trouble := _trouble_with(secret.get_secret_value()):
        raise ValueError(f"expected at least 8 printable ASCII characters without whitespace, found {trouble}")
    return secret


class Edge(Section):
    agent_id: str | None = Field(None, max_length=200, description="this agent's id; empty: ask POST /edge/register for one")
    user_phone: str | None = Field(None, max_length=40, description="the phone number this agent serves")
    apple_id: str | None = Field(None, max_length=200, description="told to the backend on registration")
    register_: Literal["auto", "always"] = Field("auto", alias="register", description="auto: register only without an agent_id")

    @field_validator("agent_id", "user_phone", "apple_id")
    @classmethod
    def _fits_a_header(cls, text: str | None) -> str | None:
        if text is not None and not (text and text.isascii() and text.isprintable() and text == text.strip()):
            raise ValueError("expected printable ASCII characters, without a space at either end")
        return text


class Backend(Section):
    url: str = Field("http://127.0.0.1:8787", description="where /edge/sync is; http:// only to loopback")
    websocket_url: str | None = Field(None, description="where /edge/ws is; empty: the url with http→ws, https→wss")
    sync_interval_seconds: float = Field(15, ge=0.05, le=300, description="polling interval while the socket is down")
    polling: PollingMode = Field(PollingMode.AUTO, description="auto (while the socket is down), always or never; the console's p too")

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        return checked_url(url, "http")

    @field_validator("websocket_url")
    @classmethod
    def _ws(cls, url: str | None) -> str | None:
        return None if url is None else checked_url(url, "ws")


class WebSocket(Section):
    enabled: bool = Field(True, description="false: HTTP polling only")
    reconnect_attempts: int = Field(10, ge=1, le=1_000, description="shown as N/10; after the last one the ladder stays on its last step")
    ping_interval_seconds: float = Field(30, ge=0.05, le=300, description="JSON ping: measures, and proves acks")
    pong_timeout_seconds: float = Field(10, ge=0.05, le=300, description="no first pong for this long: the attempt failed")
    max_frame_bytes: int = Field(2**20, ge=1_024, le=2**26, description="a larger frame ends the link with 1009")
    status_interval_seconds: float = Field(60, ge=0, le=3_600, description="how often a status frame is sent; 0 = off")


class Timing(Section):
    dial_within: Seconds = Field(10, description="an attempt to connect, TCP, TLS and upgrade together")
    close_within: Seconds = Field(0.5, description="a closing handshake; then the socket is aborted")
    silence_after: Seconds = Field(10, description="nothing heard for this long: probe")
    probe_within: Seconds = Field(5, description="an unanswered probe for this long: dead")
    wake_probe_within: Seconds = Field(3, description="the same, after the machine slept")
    clock_jump: Seconds = Field(5, description="wall clock and monotonic clock apart by more: the machine slept, or the clock was set")
    stall_threshold: Seconds = Field(2, description="a timer late by more: this process was stopped, the peer is not to blame")
    poll_within: Seconds = Field(10, description="one poll or HTTP ack, in total")
    poll_jitter: float = Field(0.1, ge=0.02, le=0.5, description="each poll is early, by half to all of this part of the interval")
    early_retry_interval: Seconds = Field(10, description="a poll that succeeds again is a hint to dial, at most this often")
    early_retry_delay: Seconds = Field(1, description="how soon the hint dials")
    stable_after: Seconds = Field(30, description="a link this old resets the ladder")
    ack_ping_interval: Seconds = Field(12, description="least time between two JSON pings, when acks wait for proof")
    safety_sync_every: float = Field(300, ge=0, le=86_400, description="sync while online, to notice a deaf socket; 0 = off")
    restart_within: Seconds = Field(5, description="redial after 1012, uniform up to this")
    refused_first: Seconds = Field(60, description="wait after an auth refusal; doubles each time …")
    refused_cap: Seconds = Field(300, validate_default=True, description="… up to this")
    busy_first: Seconds = Field(15, description="least wait after 429, 503 or 1013 with Retry-After")
    busy_cap: Seconds = Field(900, validate_default=True, description="Retry-After is obeyed up to this")
    portal_min_wait: Seconds = Field(5, description="least wait after an answer that is no WebSocket")
    tls_min_wait: Seconds = Field(10, description="least wait after a failed certificate check")
    protocol_step: Seconds = Field(16, description="the ladder's step after a protocol error")
    replaced_wait: Seconds = Field(60, description="wait after another agent took this id")
    replaced_every: Seconds = Field(300, description="and then one try each")
    stop_within: Seconds = Field(4, description="running commands may finish for this long on shutdown")

    @field_validator("refused_cap", "busy_cap")
    @classmethod
    def _not_below_the_first(cls, cap: float, others: ValidationInfo) -> float:
        return _not_below(str(others.field_name).replace("cap", "first"), cap, others)


class Backoff(Section):
    base_seconds: Seconds = Field(1, description="the first step; each next doubles")
    cap_seconds: Seconds = Field(60, validate_default=True, description="the last step")
    floor_seconds: Seconds = Field(0.25, description="no delay is shorter, with jitter")
    jitter: Literal["full", "none"] = Field("full", description="full: uniform inside the step; none: exactly the step")

    @field_validator("cap_seconds")
    @classmethod
    def _not_below_the_base(cls, cap: float, others: ValidationInfo) -> float:
        return _not_below("base_seconds", cap, others)

    @field_validator("floor_seconds")
    @classmethod
    def _not_above_the_cap(cls, floor: float, others: ValidationInfo) -> float:
        if floor > others.data.get("cap_seconds", floor):
            raise ValueError(f"expected no more than cap_seconds, which is {others.data['cap_seconds']:g}")
        return floor


class MessengerKind(StrEnum):
    """Ours; installed packages bring others."""

    OUTBOX = "outbox"
    FILE = "file"
    EXEC = "exec"
    HTTP = "http"
    IMESSAGE = "imessage"


class Messenger(Section):
    kind: str = Field(
        "outbox",
        max_length=100,
        description="where messages go: into data_dir, to a file, a program, a server, or a Mac's Messages",
    )
    path: Path | None = Field(None, validate_default=True, description="where kind: file writes")
    command: tuple[str, ...] = Field((), validate_default=True, description="what kind: exec runs: a program and its arguments")
    url: str | None = Field(None, validate_default=True, description="where kind: http posts to; http:// only to loopback")
    token: SecretStr = Field(SecretStr(""), exclude=True, description="what kind: http shows there; only by EDGE_MESSENGER_TOKEN")
    way: Literal["auto", "imsg", "applescript"] = Field("auto", description="how kind: imessage sends; auto: by imsg where it is installed")
    chat_db: Path | None = Field(None, description="what kind: imessage reads; empty: ~/Library/Messages/chat.db")
    service: Literal["auto", "iMessage", "SMS"] = Field("auto", description="for kind: imessage; auto: that of the chat, else iMessage")
    settle_seconds: float = Field(30, ge=0, le=600, description="for kind: imessage; no row for so long after a crash: it was not sent")
    options: dict[str, str] = Field({}, description="what the messenger of an installed package is told, as {account: mine}")
    attachment_origins: tuple[str, ...] = Field((), max_length=100, description="whence else than from the backend attachments may come")
    attachment_max_bytes: int = Field(25_000_000, ge=0, le=2**31, description="what the attachments of a message may have in all")
    delay_seconds: float = Field(0, ge=0, le=600, description="take this long over each message, for rehearsals")

    @field_validator("attachment_origins")
    @classmethod
    def _origins(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(checked_url(url, "http") for url in urls)

    @field_validator("path")
    @classmethod
    def _file_needs_path(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if path is None and others.data.get("kind") == MessengerKind.FILE:
            raise ValueError("expected a path, since messenger.kind is file")
        return path

    @field_validator("command")
    @classmethod
    def _exec_needs_command(cls, command: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        if not command and others.data.get("kind") == MessengerKind.EXEC:
            raise ValueError("expected a program and its arguments, since messenger.kind is exec")
        return command

    @field_validator("url")
    @classmethod
    def _http_needs_url(cls, url: str | None, others: ValidationInfo) -> str | None:
        if url is None and others.data.get("kind") == MessengerKind.HTTP:
            raise ValueError("expected an https:// URL, since messenger.kind is http")
        return None if url is None else checked_url(url, "http")

    @field_validator("token")
    @classmethod
    def _sendable(cls, token: SecretStr) -> SecretStr:
        return checked_secret(token)


class Inbound(Section):
    enabled: bool = Field(False, description="tell the backend what comes in at Messages, and what becomes of what was sent")
    dialect: Literal["event", "edge_message"] = Field("event", description="how what comes in is told: events, or POST /edge/message")
    catch_up_hours: float = Field(24, gt=0, le=720, description="after an outage, messages of the last hours are told")


HOLD_ALL = "all"
"""In the place of a filter: every new command."""


class Executor(Section):
    concurrency: int = Field(4, ge=1, le=64, description="threads (conversations) served at once")
    timeout_seconds: Seconds = Field(60, description="a command that takes longer fails")
    max_pending: int = Field(10_000, ge=1, le=1_000_000, description="commands waiting; past it new ones are left to the backend")
    hold: str | None = Field(
        None, max_length=MOST_CHARACTERS, description="new commands that wait for the operator: a filter as in the console, or all"
    )
    hold_timeout_seconds: float = Field(0, ge=0, le=86_400 * 30, description="one held for so long is decided by hold_then; 0 = never")
    hold_then: Literal["approve", "refuse"] = Field("refuse", description="what is done with it in the operator's place")

    @field_validator("hold")
    @classmethod
    def _filter(cls, text: str | None) -> str | None:
        if text is not None and (trouble := trouble_in(text)):
            raise ValueError(f"expected a filter, all, or nothing: {trouble}")
        return text


class Schedule(Section):
    max_late_seconds: float = Field(900, ge=0, le=86_400 * 30, description="a scheduled message later than this fails as missed")
    max: int = Field(10_000, ge=1, le=1_000_000, description="messages waiting for their time; past it new ones are left to the backend")


class Rate(Section):
    """A bucket of `count` tokens, each of which comes back `seconds` after it was taken; with a count of 0 there is none."""

    count: int = Field(0, ge=0, le=100_000, description="at most so many …; 0 = no limit")
    seconds: float = Field(3_600, ge=0.05, le=86_400 * 7, description="… in any so many seconds")


class QuietHours(Section):
    start: str | None = Field(None, max_length=5, description="the time of day from which nothing is sent, as 22:00; empty: none")
    end: str | None = Field(None, max_length=5, validate_default=True, description="and that from which it is again, as 07:00")
    zone: str = Field("UTC", max_length=100, description="whose clock that is, as Europe/Berlin")

    @field_validator("start", "end")
    @classmethod
    def _time_of_day(cls, text: str | None, others: ValidationInfo) -> str | None:
        if text is not None and not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", text):
            raise ValueError("expected a time of day, as 22:00")
        start = others.data.get("start")
        if others.field_name == "end" and "start" in others.data and ((text is None) is not (start is None) or (text and text == start)):
            raise ValueError("expected both start and end, or none of them, and two times of day")
        return text

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError("expected a time zone's name, as Europe/Berlin") from None
        return zone


def _bytes_in(text: str) -> int | None:
    """How many bytes this base64 holds; None where it is none."""
    try:
        return len(b64decode(text, validate=True))
    except ValueError:
        return None


class Policy(Section):
    allow_recipients: tuple[str, ...] = Field((), max_length=10_000, description="whom alone messages may go to; empty: to all")
    deny_recipients: tuple[str, ...] = Field((), max_length=10_000, description="whom none may go to")
    deny_types: tuple[str, ...] = Field((), max_length=1_000, description="command types that are refused")
    per_recipient: Rate = Field(Rate(), description="Messages to each recipient; what must wait waits, in order, and is not lost")
    per_new_conversation: Rate = Field(Rate(), description="Messages to recipients to whom none was sent, as far as the ledger remembers")
    total: Rate = Field(Rate(), description="Messages in all")
    quiet_hours: QuietHours = Field(QuietHours(), description="When none are sent: they wait for the end")
    signatures: Literal["off", "warn", "refuse"] = Field("off", description="unsigned commands run, are told, or fail (extra signing)")
    signature_keys: dict[str, str] = Field({}, validate_default=True, description="whose signatures hold: key ids with public keys")

    @field_validator("signature_keys")
    @classmethod
    def _public_keys(cls, keys: dict[str, str], others: ValidationInfo) -> dict[str, str]:
        for name, text in keys.items():
            if _bytes_in(text) != 32:
                raise ValueError(f"expected an Ed25519 public key, 32 bytes in base64, for {name}")
        if not keys and others.data.get("signatures", "off") != "off":
            raise ValueError("expected a key id with its public key, since policy.signatures is not off")
        return keys

    @property
    def longest(self) -> float:
        """Seconds after which the last token is back; 0 where there is no bucket."""
        return max((rate.seconds for rate in (self.per_recipient, self.per_new_conversation, self.total) if rate.count), default=0.0)


class LedgerConfig(Section):
    retention_days: float = Field(30, gt=0, le=3_650, description="how long the id of a finished command is remembered")
    retention_count: int = Field(200_000, ge=100, le=5_000_000, description="how many ids are remembered")
    tombstone_hours: float = Field(24, gt=0, le=720, description="how long a cancel of an unknown id is kept")


class Ack(Section):
    dialect: Literal["superset", "success", "status"] = Field("superset", description="an ack says success and status, or one of them")


class Auth(Section):
    mode: Literal["bearer", "hmac_token"] = Field("bearer", description="Authorization: the secret, or a token made with it")
    secret: SecretStr = Field(SecretStr(""), exclude=True, description="only by the environment: EDGE_SECRET; outranks the three below")
    secret_file: Path | None = Field(None, description="a file of mode 0600 that holds the secret: edge-console secret set")
    keychain: str | None = Field(None, max_length=100, description="the Keychain's entry that holds the secret (extra keychain)")
    secret_command: tuple[str, ...] = Field((), description="a program that prints the secret, and its arguments")

    @field_validator("secret")
    @classmethod
    def _sendable(cls, secret: SecretStr) -> SecretStr:
        return checked_secret(secret)

    @field_validator("keychain", "secret_command")
    @classmethod
    def _one_source(cls, value: str | tuple[str, ...] | None, others: ValidationInfo) -> str | tuple[str, ...] | None:
        if value and (other := next((name for name in ("secret_file", "keychain") if others.data.get(name)), None)):
            raise ValueError(f"expected one place for the secret, and auth.{other} is one")
        return value


class Logging(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    format: Literal["text", "json"] = Field("text", description="what headless prints: lines of text, or JSON objects")
    file: Path | None = Field(None, description="a log file, rotated; empty: data_dir/edge-console.log")
    max_bytes: int = Field(2_000_000, ge=10_000, le=100_000_000, description="a log file's size; five are kept")


class Monitoring(Section):
    port: int | None = Field(None, ge=1, le=65_535, description="/live, /ready, /health and /metrics on 127.0.0.1; empty: off")


class Console(Section):
    """How the console is worked. What its keys may be called, the console knows (console/keys.py)."""

    keys: dict[str, str] = Field({}, description="other keys for actions, by name, as {reconnect: f5, replay: ctrl+r}; ? shows the names")
    texts: Literal["shown", "masked", "off"] = Field(
        "shown", description="to whom messages go and what they say; m masks them and shows them again; off: never shown"
    )
    bell: bool = Field(False, description="ring the terminal's bell when the link is lost, and when a command newly needs attention")
    notify: bool = Field(False, description="the same as a notification of the terminal (OSC 9)")


class Config(Section):
    """Everything the agent is told."""

    edge: Edge = Field(Edge(), description="Who this agent is")
    backend: Backend = Field(Backend(), description="Where the commands come from")
    websocket: WebSocket = Field(WebSocket(), description="The socket")
    timing: Timing = Field(Timing(), description="Every timer, in seconds (0.05 and more)")
    backoff: Backoff = Field(Backoff(), description="The ladder of waits between attempts to connect: 1, 2, 4 … 60 seconds")
    messenger: Messenger = Field(Messenger(), description="Where messages go")
    inbound: Inbound = Field(Inbound(), description="What comes in (a Mac's Messages, messenger.chat_db)")
    executor: Executor = Field(Executor(), description="How commands run")
    schedule: Schedule = Field(Schedule(), description="Messages due later")
    policy: Policy = Field(Policy(), description="What may be sent, to whom and how fast; it holds for every messenger")
    ledger: LedgerConfig = Field(LedgerConfig(), description="What is remembered, so that nothing runs twice")
    ack: Ack = Field(Ack(), description="How commands are acknowledged")
    auth: Auth = Field(Auth(), description="How the backend knows this agent")
    logging: Logging = Field(Logging(), description="The log")
    monitoring: Monitoring = Field(Monitoring(), description="What programs may know of the agent")
    console: Console = Field(Console(), description="The console")
    data_dir: Path = Field(Path("~/.local/share/edge-console"), description="the ledger, the log, screenshots")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may be shown to nobody else."""
        return self.auth.secret.get_secret_value(), self.messenger.token.get_secret_value()

    @property
    def socket_url(self) -> str:
        """Where the socket is (PROTOCOL §1), without the query."""
        base = self.backend.websocket_url or "ws" + self.backend.url.removeprefix("http")
        return base.rstrip("/").removesuffix("/edge/ws") + "/edge/ws"
