"""A run as a list of stamped events, on disk; and the same run again, in virtual time (ARCHITECTURE §1).

One JSON object a line: a header (version, seed, configuration without secrets, traits), then a step a line — both clocks, the events the
engine was told, its phase where that changed, and what it asked for, in short —, then an end mark. Since time and dice are arguments of the
engine, the events and the seed are the run: a field report replays as a test.

Message texts are not kept, only their lengths: each becomes as many hex digits, the same for the same text, so that a command that comes
again still looks the same. Ids, threads and times stay, for the engine goes by them.
"""

import difflib
import hashlib
import json
import os
import platform
import random
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from msgspec.structs import astuple
from pydantic import ValidationError

from agent_core import __version__, frames, records
from agent_core.clock import Moment, iso
from agent_core.codec import FORMAT, CodecError, encode, event_of, line_of, object_of
from agent_core.config import Config
from agent_core.engine import Engine
from agent_core.engine.settings import SPELLINGS
from agent_core.entries import EffectClass, Trait
from agent_core.events import Effect, Event, Execute, Poll, PostAcks, PostMessage, Record, Send, Settle
from agent_core.feed import CommandEntry, DeliveryEntry, LogEntry, ProvenEntry
from agent_core.handlers import traits_for
from agent_core.messengers.outbox import OutboxMessenger
from agent_core.plain import plain
from agent_core.records import CommandAccepted
from agent_core.redaction import Redactor
from agent_core.snapshot import Phase

MOST = 64 * 2**20
"""Bytes of a recording; then it is closed with the mark `full`."""
HEADER_MOST = 2**20
FLUSH_EVERY = 1.0
KEPT_KEYS = frozenset({"thread_id", "priority", *frames.SEND_AT_KEYS, *frames.TARGET_KEYS, *SPELLINGS})
"""What the engine reads of a payload; every other text in it is masked."""
DRY_RUN = "Dry run of "
AROUND, WINDOW = 3, 200


class RecordingError(Exception):
    """A recording that cannot be read or replayed, and why, in one sentence."""


# --- masking -----------------------------------------------------------------------------------------------------------------


class TextMask:
    """Texts made unreadable: equal ones stay equal, lengths stay, and nobody can look one up."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)

    def text(self, text: str) -> str:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._key).hexdigest()
        return (digest * (len(text) // len(digest) + 1))[: len(text)]

    def payload(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value if key in KEPT_KEYS else self._any(value) for key, value in payload.items()}

    def _any(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self._any(inner) for key, inner in value.items()}
        return [self._any(inner) for inner in value] if isinstance(value, list | tuple) else value

    def _event(self, text: str) -> str:
        body = json.loads(text)
        return json.dumps(body | {"payload": self.payload(body["payload"])}, separators=(",", ":"))

    def __call__(self, told: Any) -> Any:
        """An event as JSON has it, without the texts of its commands and messages."""
        match told:
            case list() | tuple():
                return [self(inner) for inner in told]
            case {"type": "OutboxRow", "text": str(text)}:
                return told | {"text": self.text(text)}
            case {"type": "EventsRecalled", "texts": list() | tuple() as texts}:
                return told | {"texts": [(seq, self._event(text)) for seq, text in texts]}
            case {"type": "Command" | "ReplayRequested" | "Occurrence", "payload": dict(payload)}:
                return {name: self(inner) for name, inner in told.items()} | {"payload": self.payload(payload)}
            case dict():
                return {name: self(inner) for name, inner in told.items()}
        return told


# --- effects in short --------------------------------------------------------------------------------------------------------


def short(effect: Effect) -> str:
    """One line that tells what is asked for, with ids and numbers and without anybody's text."""
    match effect:
        case LogEntry(_, level, text):
            return f"{level} {text.partition(':')[0] if text.startswith(DRY_RUN) else text}"
        case CommandEntry():
            return f"Row {effect.row} {effect.command_id} {effect.status}"
        case ProvenEntry(_, rows):
            return f"Proven {' '.join(map(str, rows))}"
        case DeliveryEntry(_, row, delivery):
            return f"Delivery {row} {delivery}"
        case Send(generation, texts):
            return f"Send {generation} " + ", ".join(map(_frame, texts))
        case Poll(number, last_command_id, carried):
            return f"Poll {number} after {last_command_id}" + (f" with {_ids(carried + effect.events)}" if carried or effect.events else "")
        case PostMessage(seq):
            return f"PostMessage {seq}"
        case PostAcks(acks):
            return f"PostAcks {_ids(acks)}"
        case Record(ticket, changes):
            return f"Record {ticket} " + ", ".join(map(_change, changes))
        case Execute(seq, command):
            return f"Execute {seq} {command.command_id} {command.command_type}"
        case Settle(seq):
            return f"Settle {seq}"
    return " ".join([type(effect).__name__, *map(str, astuple(effect))])


def _ids(acks: Iterable[tuple[str, str]]) -> str:
    return ", ".join(command_id for command_id, _ in acks)


def _frame(text: str) -> str:
    body = json.loads(text)
    fields = body.get("data") or {}
    told = [fields.get(key) for key in ("seq", "command_id", "event_id", "status", "success")]
    return " ".join([body["type"], *(str(one) for one in told if one is not None)])


def _change(change: records.Change) -> str:
    if isinstance(change, CommandAccepted):
        entry = change.entry
        return f"CommandAccepted {entry.seq} {entry.command.command_id} {entry.command.command_type} {entry.state}"
    told = [getattr(change, name, None) for name in ("seq", "state", "via", "target", "key", "value", "by")]
    if isinstance(change, records.AcksProven):
        told.append(" ".join(str(seq) for seq, _ in change.acks))
    return " ".join([type(change).__name__, *(str(one) for one in told if one is not None)])


# --- recording ---------------------------------------------------------------------------------------------------------------


class Recorder:
    """Keeps a run. One thread calls it; it never raises after it was made, for a recording must not end the agent."""

    def __init__(self, path: Path, *, seed: int | None = None, texts: bool = False, most: int = MOST) -> None:
        """`texts` keeps the message texts; `most` is the size at which it ends. Raises OSError; an existing file is not overwritten."""
        self.seed = secrets.randbits(48) if seed is None else seed
        self.steps = 0
        self._mask = None if texts else TextMask()
        self._room = most
        self._redactor = Redactor()
        self._phase: Phase | None = None
        self._flushed_at = float("-inf")
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")

    def begin(self, config: Config, traits: Mapping[str, Trait], now: Moment, redactor: Redactor) -> None:
        """The header; `redactor` takes out of each step what it knows by then."""
        self._redactor = redactor
        told = config.model_dump(mode="json", by_alias=True)
        told["data_dir"] = config.data_dir.name
        told["logging"]["file"] = None
        if "level" not in config.logging.model_fields_set:
            del told["logging"]["level"]  # whether it was set decides whether the backend may change it
        told["auth"] = {"mode": config.auth.mode}
        del told["messenger"]
        told["edge"]["user_phone"] = told["edge"]["apple_id"] = None
        self._write({
            "recording": FORMAT, "version": __version__, "python": platform.python_version(), "begun": iso(now.utc), "seed": self.seed,
            "texts": self._mask is None, "config": told,
            "traits": {name: _declared(trait) for name, trait in traits.items()},
        })  # fmt: skip

    def step(self, now: Moment, told: Sequence[Event], asked: Sequence[Effect], phase: Phase) -> None:
        """One `handle_all`: what went in, what came out, and the phase it led to."""
        if self._file.closed:
            return
        line: dict[str, Any] = {"m": now.mono, "u": now.utc}
        if phase is not self._phase:
            self._phase = phase
            line["p"] = phase.value
        try:
            if told:
                line["e"] = self._redactor.within([self._mask(encode(event)) if self._mask else encode(event) for event in told])
            if asked:
                line["d"] = self._redactor.within([short(effect) for effect in asked])
        except (TypeError, ValueError) as error:
            self.close(f"a step that cannot be written: {plain(error, 100)}")
            return
        self.steps += 1
        self._write(line)
        if not self._file.closed and now.mono - self._flushed_at >= FLUSH_EVERY:
            self._flushed_at = now.mono
            self._flush()

    def close(self, why: str = "closed") -> None:
        """The end mark; a second time it does nothing."""
        if not self._file.closed:
            try:
                with self._file:
                    self._file.write(line_of({"end": why, "steps": self.steps}))
            except OSError:
                self._give_up()

    def _write(self, line: Mapping[str, Any]) -> None:
        text = line_of(line)
        self._room -= len(text)
        if self._room < 0:
            self.steps -= 1
            self.close("full")
            return
        try:
            self._file.write(text)
        except OSError:
            self._give_up()

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """The disk is full or gone: what is there stays there, the agent goes on."""
        try:
            self._file.close()
        except OSError:
            self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (closed below)
            self._file.close()


def _declared(trait: Trait) -> dict[str, Any]:
    return {
        "effect": trait.effect,
        "idempotent": trait.idempotent,
        "sends": trait.sends,
        "settles": trait.settles,
        "inline": trait.inline is not None,
    }


# --- replaying ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a recording."""

    now: Moment
    told: tuple[Event, ...]
    phase: Phase | None
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """A run as it was recorded. `end` is closed, full, or `cut off` where the process ended first."""

    version: str
    begun: str
    seed: int
    config: Config
    traits: Mapping[str, Trait]
    steps: tuple[Step, ...]
    end: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises RecordingError, OSError."""
        steps: list[Step] = []
        end = "cut off"
        with path.open(encoding="utf-8", errors="replace") as file:
            header = _header(path, _parsed(file.readline(HEADER_MOST)))
            for text in _lines(file):
                line = _parsed(text)
                if line is None or "end" in line:
                    end = str(line["end"]) if line else end
                    break
                steps.append(_step(line))
        version = plain(header.get("version"), 40)
        try:
            traits = {name: _trait(name, **fields) for name, fields in header["traits"].items()}
            config = Config.model_validate(header["config"])
            return cls(version, plain(header["begun"], 40), int(header["seed"]), config, traits, tuple(steps), plain(end, 40))
        except (ValidationError, KeyError, TypeError, ValueError, AttributeError):
            raise RecordingError(f"it was made by version {version}, whose header this version does not understand") from None

    @property
    def seconds(self) -> float:
        return self.steps[-1].now.mono - self.steps[0].now.mono if self.steps else 0.0

    def story(self) -> list[str]:
        """The phases and effects as they were recorded."""
        return _story(self.steps)

    def replayed(self) -> list[str]:
        """The phases and effects of this version's engine for the same events."""
        return _story(self._again())

    def _again(self) -> Iterator[Step]:
        engine = Engine(self.config, self.traits)
        dice = random.Random(self.seed).random
        last: Phase | None = None
        for step in self.steps:
            asked = tuple(short(effect) for effect in engine.handle_all(step.told, step.now, dice))
            phase = engine.vitals.phase
            yield Step(step.now, step.told, None if phase is last else phase, asked)
            last = phase


def _trait(name: str, *, effect: str, idempotent: bool, sends: bool, inline: bool, settles: bool = False) -> Trait:
    """An inline handler is this version's, and gets the masked text."""
    known = traits_for(OutboxMessenger()).get(name)
    return Trait(EffectClass(effect), idempotent, sends, settles, known.inline if inline and known is not None else None)


def _lines(file: TextIO) -> Iterator[str]:
    room = MOST
    while text := file.readline(room):
        room -= len(text)
        yield text


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return object_of(text)
    except CodecError:
        return None


def _header(path: Path, told: dict[str, Any] | None) -> dict[str, Any]:
    """Raises RecordingError."""
    found = None if told is None else told.get("recording")
    if told is None or found is None:
        raise RecordingError(f"{plain(path, 300)} is not a recording")
    if found != FORMAT:
        made = f"format {plain(found, 20)}, made by version {plain(told.get('version'), 40)}"
        raise RecordingError(f"{plain(path, 300)} is a recording of {made}; this version, {__version__}, reads format {FORMAT}")
    return told


def _step(line: Mapping[str, Any]) -> Step:
    try:
        phase = Phase(line["p"]) if "p" in line else None
        told = tuple(map(event_of, line.get("e", ())))
        return Step(Moment(float(line["m"]), float(line["u"])), told, phase, tuple(map(str, line.get("d", ()))))
    except CodecError as error:
        raise RecordingError(str(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RecordingError("a line of it is no step of this version") from None


def _story(steps: Iterable[Step]) -> list[str]:
    lines: list[str] = []
    start: float | None = None
    for step in steps:
        start = step.now.mono if start is None else start
        stamp = f"{step.now.mono - start:+12.3f}"
        lines += [f"{stamp}  {plain(text)}" for text in step.asked]
        if step.phase is not None:
            lines.append(f"{stamp}  ── {step.phase}")
    return lines


def difference(recorded: Sequence[str], replayed: Sequence[str], before: str, after: str) -> list[str]:
    """A unified diff from the first line that differs on, bounded; empty where there is none."""
    if recorded == replayed:
        return []
    pairs = zip(recorded, replayed, strict=False)
    first = next((number for number, (one, other) in enumerate(pairs) if one != other), min(len(recorded), len(replayed)))
    begin = max(0, first - AROUND)
    window = slice(begin, first + WINDOW)
    note = f"(from line {begin + 1})"
    return list(difflib.unified_diff(recorded[window], replayed[window], f"{before} {note}", f"{after} {note}", n=AROUND, lineterm=""))
