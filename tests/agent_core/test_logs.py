"""The log's form, what it hides, what it survives."""

import base64
import io
import json
import logging
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_core.config.models import Auth, Config, Logging
from agent_core.feed import LogEntry
from agent_core.logs import LINES_WAITING, LogSystem, start_logging

CANARY = "canary/secret+0123456789"
TOKEN = base64.b64encode(b"agent-1:+13105550100:1793910600:" + b"0123456789abcdef" * 4).decode()
edge = logging.getLogger("edge")


def config(tmp_path: Path, **settings: Any) -> Config:
    return Config(data_dir=tmp_path / "state", auth=Auth(secret=CANARY), logging=Logging(**settings))


@contextmanager
def logged(tmp_path: Path, *, to_file: bool = False, **settings: Any) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    system = start_logging(config(tmp_path, **settings), stream=stream, to_file=to_file)
    try:
        yield stream
    finally:
        system.stop()


def written(stream: io.StringIO) -> str:
    return stream.getvalue()


def test_a_line_looks_as_operators_know_it(tmp_path: Path) -> None:
    told = {"name": "edge", "levelname": "INFO", "levelno": 20, "created": 1762374913.5, "msg": "Connecting to %s", "args": ("x",)}
    record = logging.makeLogRecord(told)
    with logged(tmp_path, to_file=True) as stream:
        edge.handle(record)
        edge.debug("not at INFO")
    line = "[2025-11-05T20:35:13.500Z] [INFO] Connecting to x\n"
    assert written(stream) == line
    assert (tmp_path / "state" / "edge-console.log").read_text() == line


def test_json_lines_carry_the_extra_fields(tmp_path: Path) -> None:
    with logged(tmp_path, format="json") as stream:
        fields = {"command_id": "c\x1b1", "ms": 1.5, "tries": 2, "ok": True, "none": None, "odd": float("nan"), "key": CANARY}
        edge.warning("late", extra={**fields, "level": "fake"})
    line = json.loads(written(stream))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    assert line == {"level": "WARNING", "text": "late", **fields, "command_id": "c␛1", "odd": "nan", "key": "***"}


def test_p14_one_record_is_one_line_of_visible_characters(tmp_path: Path) -> None:
    nasty = "a\x1b]52;c;x\x07\r\nb\u202ec\u2028d\x9b2J\udcff"
    for form in ("text", "json"):
        with logged(tmp_path, format=form) as stream:
            edge.info("%s", nasty)
            edge.info(nasty, extra={nasty: nasty})
        lines = written(stream).splitlines()
        assert len(lines) == 2
        assert all(line.isprintable() for line in lines)


LEAKS = [
    CANARY,
    "canary%2Fsecret%2B0123456789",
    "Authorization: Bearer abcdefleak",
    "authorization=abcdefleak",
    "{'Authorization': 'Basic abcdefleak'}",
    "(b'Authorization', b'Bearer abcdefleak')",
    "Proxy-Authorization: Digest abcdefleak",
    "curl -H 'authorization:bearer abcdefleak'",
    "BEARER   abcdefleak",
    TOKEN,
    TOKEN.rstrip("="),
    base64.urlsafe_b64decode(TOKEN).decode(),
    "x" * 7_990 + CANARY,
    "x" * 5_990 + CANARY,
]


@pytest.mark.parametrize("leak", LEAKS, ids=range(len(LEAKS)))
def test_p13_no_secret_is_logged(leak: str, tmp_path: Path) -> None:
    with logged(tmp_path, to_file=True, format="json") as stream:
        edge.info(leak)
        edge.info("before %s after", leak)
        edge.info("field", extra={"frame": {"headers": [leak]}})
        logging.getLogger("websockets.client").warning("> %s", leak)
        try:
            int(leak)
        except ValueError:
            edge.exception("failed")
    for text in (written(stream), (tmp_path / "state" / "edge-console.log").read_text()):
        assert len(text.splitlines()) == 5
        assert not re.search("canary|abcdefleak|0123456789abcdef|" + TOKEN[20:60], text)


def test_p13_libraries_stay_at_warning(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    try:
        with logged(tmp_path, level="DEBUG") as stream:
            edge.debug("mine")
            for name in ("websockets.client", "httpx", "httpcore.http11", "uvicorn.lifespan", "asyncio"):
                logging.getLogger(name).info("chatter")
                logging.getLogger(name).warning("trouble")
    finally:
        root.setLevel(before)
    assert "mine" in written(stream)
    assert "chatter" not in written(stream)
    assert "httpcore.http11: trouble" in written(stream)
    assert written(stream).count("trouble") == 5


def test_wrong_arguments_and_hostile_objects_are_survived(tmp_path: Path) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with logged(tmp_path, format="json") as stream:
        edge.info("%d items", "many")
        edge.info("%s", Hostile())
        edge.info("lost", extra={"field": Hostile()})
        edge.info("still here")
    texts = [json.loads(line)["text"] for line in written(stream).splitlines()]
    assert texts == ["%d items", "%s", "1 log lines were lost", "still here"]


def test_f44_the_file_is_private_and_bounded(tmp_path: Path) -> None:
    log = tmp_path / "state" / "edge-console.log"
    log.parent.mkdir()
    log.write_text("older\n")
    log.chmod(0o644)
    system = start_logging(config(tmp_path, max_bytes=10_000), stream=None, to_file=True)
    for number in range(1_000):
        edge.info("line %d %s", number, "x" * 100)
    system.stop()
    files = sorted(log.parent.iterdir())
    assert [file.name for file in files] == ["edge-console.log", *(f"edge-console.log.{n}" for n in range(1, 5))]
    assert all(file.stat().st_size <= 10_000 and stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert "line 999 " in log.read_text()
    assert system.lost == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_f43_a_full_disk_disturbs_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as full:
        system = start_logging(config(tmp_path), stream=full, to_file=True)
        edge.info("one")
        edge.error("two")
        system.stop()
    assert system.lost == 2
    assert capfd.readouterr() == ("", "")
    assert len((tmp_path / "state" / "edge-console.log").read_text().splitlines()) == 2


def test_f43_the_log_comes_back_when_the_directory_does(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where the directory should be")
    system = start_logging(config(tmp_path), stream=None, to_file=True)
    edge.info("nowhere to go")
    until(lambda: system.lost == 1)
    blocked.unlink()

    def written() -> bool:
        edge.info("again")
        return (blocked / "edge-console.log").exists()

    until(written)
    system.stop()
    lines = (blocked / "edge-console.log").read_text().splitlines()
    assert re.search(r"\[WARNING\] \d+ log lines were lost$", lines[0])
    assert lines[1].endswith("[INFO] again")


def test_p11_a_stalled_terminal_stalls_nobody(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        system = start_logging(config(tmp_path), stream=stream, to_file=True)
        calls = LINES_WAITING + 5_000
        worst = max(timed(edge.info, "x" * 100) for _ in range(calls))
        began = time.monotonic()
        system.stop()
        assert time.monotonic() - began < 5
        assert worst < 5
        assert system.lost > 0
        assert b"[INFO]" in os.read(reader, 100)
        os.close(reader)
    files = (tmp_path / "state").iterdir()
    assert sum(file.read_text().count("[INFO]") for file in files) > 1_000


def test_p10_a_stalled_terminal_keeps_no_more_lines_than_it_should(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        system = start_logging(config(tmp_path), stream=stream, to_file=False)
        for _ in range(100):
            system.tell([LogEntry(0.0, "INFO", "x" * 100)] * 1_000)
        system.stop(within=0.1)
        assert 100_000 - system.lost <= LINES_WAITING + 2_000
        os.close(reader)


STALLED = """
import logging, sys
from pathlib import Path
from agent_core.config import Config
from agent_core.logs import start_logging
system = start_logging(Config(data_dir=Path(sys.argv[1])), stream=sys.stdout, to_file=False)
for _ in range(5000):
    logging.getLogger("edge").info("x" * 100)
system.stop()
"""


def test_p12_a_process_with_a_stalled_terminal_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STALLED, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(10) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_f48_a_terminal_that_knows_no_unicode(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as stream:
        system = start_logging(config(tmp_path), stream=stream, to_file=False)
        edge.info("naïve ✓")
        system.stop()
    assert path.read_text(encoding="ascii").endswith("[INFO] na\\xefve \\u2713\n")


def test_stopping_twice_and_logging_after_it(tmp_path: Path) -> None:
    stream = io.StringIO()
    system: LogSystem = start_logging(config(tmp_path), stream=stream, to_file=False)
    edge.info("one")
    system.stop()
    system.stop()
    edge.info("two")
    assert written(stream).count("\n") == 1


def timed(call: Any, *arguments: Any) -> float:
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def until(true: Any, within: float = 5.0) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
