"""The log: written by threads of its own, so that neither a full disk nor a terminal nobody reads can hold up the agent.

`logging.getLogger("edge")` is the agent's logger; a caller formats its message and puts it on a bounded queue for each sink, nothing else.
Redacting, sanitising and writing happen behind the queue. A sink that stalls loses lines and counts them.
"""

import contextlib
import json
import logging
import os
import select
import stat
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TextIO

from agent_core.clock import iso
from agent_core.config import Config
from agent_core.feed import FeedEntry, LogEntry
from agent_core.plain import plain
from agent_core.redaction import Redactor

FILES_KEPT = 5
LINES_WAITING = 10_000
LONGEST = 6_000
LINES_AT_ONCE = 64
GATHER_SECONDS = 0.02
"""Between two writes: a thread that is woken for each line takes the interpreter from the agent as often."""
EDGE = logging.getLogger("edge")
LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}

_TALKATIVE = ("websockets", "httpx", "httpcore", "uvicorn", "asyncio")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextLines:
    """`[2025-11-05T20:35:13.500Z] [INFO] text`, one line a record."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor

    def __call__(self, record: logging.LogRecord) -> str:
        return f"[{iso(record.created)}] [{plain(record.levelname, 20)}] {self.text(record)}\n"

    def of_entry(self, entry: LogEntry) -> str:
        """Not redacted yet: the sink does that once for many."""
        return f"[{iso(entry.utc)}] [{entry.level}] {entry.text}\n"

    def text(self, record: logging.LogRecord) -> str:
        text = record.getMessage() if record.name == "edge" else f"{record.name}: {record.getMessage()}"
        if record.exc_text:
            text = f"{text}\n{record.exc_text}"
        return plain(self.redactor.strict(text), 2 * LONGEST)


class JsonLines(TextLines):
    """One JSON object a record: at, level, text, and the fields given by `extra`."""

    def __call__(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"at": iso(record.created), "level": plain(record.levelname, 20), "text": self.text(record)}
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line.setdefault(plain(self.redactor.strict(name), 100), self._value(value))
        return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"

    def of_entry(self, entry: LogEntry) -> str:
        line = {"at": iso(entry.utc), "level": entry.level, "text": entry.text}
        return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"

    def _value(self, value: object) -> object:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float) and abs(value) < float("inf"):
            return value
        return plain(self.redactor.strict(str(value)), 500)


class _Terminal:
    """Writes to a stream's descriptor itself: a line stuck in Python's buffer would be fatal at exit."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        try:
            stream.flush()
            self._fd: int | None = stream.fileno()
        except (OSError, ValueError):
            self._fd = None

    def write(self, line: str) -> None:
        if self._fd is None:
            self._stream.write(line)
            self._stream.flush()
            return
        rest = line.encode(self._encoding, "backslashreplace")
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])

    def close(self) -> None:
        pass


def rotated(path: Path) -> list[Path]:
    """The names of a log file's older parts, the newest first."""
    return [path.with_name(f"{path.name}.{number}") for number in range(1, FILES_KEPT)]


class _RotatingFile:
    """`path`, `path.1` … `path.4`, each at most `max_bytes`, readable by the owner alone.

    Not stdlib's: after a failed write on a full disk that one keeps a closed file for ever.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._fd: int | None = None
        self._size = 0

    def write(self, line: str) -> None:
        raw = line.encode("utf-8", "backslashreplace")
        try:
            if self._fd is not None and self._size + len(raw) > self._max_bytes:
                self._rotate()
            if self._fd is None:
                self._open()
            if self._size and self._size + len(raw) > self._max_bytes:
                self._rotate()
                self._open()
            self._size += os.write(self._fd, raw)  # type: ignore[arg-type]
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        os.fchmod(self._fd, 0o600)
        self._size = found.st_size

    def _rotate(self) -> None:
        self.close()
        for newer, older in reversed(list(pairwise((self._path, *rotated(self._path))))):
            if newer.exists():
                newer.replace(older)


class _Lines:
    """Some records, put into words once for all sinks of the same form."""

    def __init__(self, records: Sequence[logging.LogRecord] | Sequence[LogEntry]) -> None:
        self._records = records
        self._texts: dict[type[TextLines], str] = {}
        self._once = threading.Lock()
        self.count = len(records)

    def text(self, form: TextLines) -> str:
        """Redacted. Raises what a record raises that does not let itself be shown."""
        with self._once:
            if type(form) not in self._texts:
                lines = [form.of_entry(record) if isinstance(record, LogEntry) else form(record) for record in self._records]
                self._texts[type(form)] = form.redactor.strict("".join(lines))
            return self._texts[type(form)]


class _Sink:
    """One place that lines go to, with its queue and its thread. `lost` counts what found no room or could not be written."""

    def __init__(self, name: str, form: TextLines, target: "_Terminal | _RotatingFile") -> None:
        self._form = form
        self._target = target
        self._queue: SimpleQueue[_Lines | None] = SimpleQueue()
        self._waiting = 0
        self._counting = threading.Lock()
        self._retry_at = 0.0
        self.lost = 0
        self._told = 0
        self._thread = threading.Thread(target=self._run, name=f"edge-log-{name}", daemon=True)
        self._thread.start()

    def put(self, lines: _Lines) -> None:
        with self._counting:
            if self._waiting + lines.count <= LINES_WAITING:
                self._waiting += lines.count
                self._queue.put(lines)
            else:
                self.lost += lines.count

    def ask_to_stop(self) -> None:
        self._queue.put(None)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        more = True
        while more:
            waiting: list[_Lines] = []
            item = self._queue.get()
            with contextlib.suppress(Empty):
                while item is not None:
                    waiting.append(item)
                    if sum(lines.count for lines in waiting) >= LINES_AT_ONCE:
                        self._write(waiting)
                        waiting = []
                    item = self._queue.get_nowait()
            if waiting:
                self._write(waiting)
            more = item is not None
            if more:
                time.sleep(GATHER_SECONDS)
        self._target.close()

    def _write(self, waiting: Sequence[_Lines]) -> None:
        count = sum(lines.count for lines in waiting)
        with self._counting:
            self._waiting -= count
        if time.monotonic() < self._retry_at:
            self.lost += count
            return
        try:
            self._target.write("".join(map(self._text, waiting)))
        except OSError:
            self.lost += count
            self._retry_at = time.monotonic() + 0.5

    def _text(self, lines: _Lines) -> str:
        try:
            text = lines.text(self._form)
        except Exception:  # noqa: BLE001  a log line is never worth an agent
            self.lost += lines.count
            return ""
        return self._loss_note() + text

    def _loss_note(self) -> str:
        lost = self.lost - self._told
        if not lost:
            return ""
        self._told += lost
        return self._form(logging.makeLogRecord({"name": "edge", "levelname": "WARNING", "msg": f"{lost} log lines were lost"}))


class _EnqueueHandler(logging.Handler):
    """All that a logging call does on the caller's side: the message and the exception as text, then the queues."""

    def __init__(self, sinks: list[_Sink], redactor: Redactor) -> None:
        super().__init__()
        self._sinks = sinks
        self._redactor = redactor

    def createLock(self) -> None:  # noqa: N802  logging's name
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  arguments that do not fit are the caller's slip, not the agent's end
            text = str(record.msg)
        if len(text) > LONGEST:
            text = self._redactor.strict(text)[:LONGEST]  # redacted first: a cut secret would not be known again
        fields = vars(record) | {"msg": text, "args": None, "exc_info": None, "exc_text": self._exception(record)}
        lines = _Lines([logging.makeLogRecord(fields)])
        for sink in self._sinks:
            sink.put(lines)

    def _exception(self, record: logging.LogRecord) -> str | None:
        if not record.exc_info or not record.exc_info[0]:
            return record.exc_text
        try:
            return self._redactor.strict(logging.Formatter().formatException(record.exc_info))[-LONGEST:]
        except Exception:  # noqa: BLE001  an exception whose text raises
            return record.exc_info[0].__name__


class LogSystem:
    """The running log. `redactor` is what takes the secrets out; other writers of text use it, too."""

    def __init__(self, handler: logging.Handler, sinks: list[_Sink], redactor: Redactor) -> None:
        self.redactor = redactor
        self._handler = handler
        self._sinks = sinks
        self._levels = {name: logging.getLogger(name).level for name in _TALKATIVE}

    def tell(self, entries: Sequence[FeedEntry]) -> None:
        """The lines among these, already plain: straight to the sinks, many at once, at a small part of what logging calls cost."""
        least = EDGE.level
        wanted = [entry for entry in entries if isinstance(entry, LogEntry) and LEVELS[entry.level] >= least]
        for first in range(0, len(wanted), LINES_AT_ONCE):
            lines = _Lines(wanted[first : first + LINES_AT_ONCE])
            for sink in self._sinks:
                sink.put(lines)

    @property
    def lost(self) -> int:
        """Lines that a stalled terminal or a full disk cost."""
        return sum(sink.lost for sink in self._sinks)

    def stop(self, within: float = 1.0) -> None:
        """Writes what waits, for at most `within` seconds; a sink that stalls is left behind."""
        logging.getLogger().removeHandler(self._handler)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        end = time.monotonic() + within
        for sink in self._sinks:
            sink.ask_to_stop()
        for sink in self._sinks:
            sink.join(max(0.0, end - time.monotonic()))


def start_logging(config: Config, *, stream: TextIO | None, to_file: bool) -> LogSystem:
    """Logs to `stream` in the configured format and, if `to_file`, as text to the rotating file; until `stop()`.

    The level is that of the logger `edge` and may be changed there; the libraries stay at WARNING, since their DEBUG holds the bearer.
    """
    logging.raiseExceptions = False
    redactor = Redactor(*config.secrets)
    sinks: list[_Sink] = []
    if stream is not None:
        form = JsonLines(redactor) if config.logging.format == "json" else TextLines(redactor)
        sinks.append(_Sink("stream", form, _Terminal(stream)))
    if to_file:
        path = config.logging.file or config.data_dir / "edge-console.log"
        sinks.append(_Sink("file", TextLines(redactor), _RotatingFile(path, config.logging.max_bytes)))
    handler = _EnqueueHandler(sinks, redactor)
    system = LogSystem(handler, sinks, redactor)
    logging.getLogger().addHandler(handler)
    logging.getLogger("edge").setLevel(config.logging.level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    return system
