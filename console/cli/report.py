"""What somebody who helps needs of an agent, as one zip: each part through the same redactor, a part that cannot be had says why."""

import argparse
import io
import json
import platform
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent_core import __version__
from agent_core.config import Config
from agent_core.feed import CommandEntry, FeedEntry, LogEntry
from agent_core.files import write_whole
from agent_core.redaction import Redactor

LOG_BYTES = 2**20
ANSWER_WITHIN, FEED_WITHIN = 5.0, 1.0
HIDDEN = "…"
Parts = dict[str, Callable[[], str]]


def report(config: Config, options: argparse.Namespace) -> Path:
    """Write it; its path. Raises OSError."""
    redactor = Redactor(*config.secrets)
    parts: Parts = {
        "about.json": _about,
        "configuration.json": lambda: _configuration(options),
        "status.json": lambda: _status(options),
        "feed.jsonl": lambda: _feed(options),
        "log.txt": lambda: _log(config),
        "audit.json": lambda: _audit(config),
        "doctor.json": lambda: _doctor(config, options),
    }
    if options.recording is not None:
        parts["recording.jsonl"] = lambda: Path(options.recording).read_text("utf-8", "replace")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, "\n".join(map(redactor.strict, _told(part).split("\n"))))
    path: Path = options.output or Path(f"edge-console-report-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.zip")
    write_whole(path, packed.getvalue())
    return path


def _told(part: Callable[[], str]) -> str:
    try:
        return part()
    except Exception as error:  # noqa: BLE001  (a report of what is broken must not break on it)
        return f"not to be had: {type(error).__name__}: {error}\n"


def _json(told: Any) -> str:
    return json.dumps(told, indent=1, ensure_ascii=False, default=str) + "\n"


def _about() -> str:
    names = {"edge-console": __version__, "python": sys.version, "executable": sys.executable}
    return _json(names | {"system": platform.platform(), "macos": platform.mac_ver()[0], "at": time.time()})


def _configuration(options: argparse.Namespace) -> str:
    from console.cli.config import shown

    return _json([asdict(setting) for setting in shown(options)])


def _status(options: argparse.Namespace) -> str:
    from agent_core.codec import encode
    from agent_core.control.client import Viewer
    from agent_core.control.messages import Present
    from console.cli.control import agent_socket

    with Viewer(agent_socket(options), read_only=True, past=False) as viewer:
        while not isinstance(said := viewer.next(ANSWER_WITHIN), Present):
            if said is None:
                raise ConnectionError("the agent ended")
    hidden = tuple(replace(one, thread_id=HIDDEN) for one in said.snapshot.scheduled)
    return _json(encode(replace(said.snapshot, scheduled=hidden)))


def _feed(options: argparse.Namespace) -> str:
    from agent_core.codec import encode
    from agent_core.control.client import Viewer
    from agent_core.control.messages import Past
    from console.cli.control import agent_socket

    lines: list[str] = []
    by = time.monotonic() + FEED_WITHIN
    with Viewer(agent_socket(options), read_only=True) as viewer:
        try:
            while (said := viewer.next(by - time.monotonic())) is not None and time.monotonic() < by:
                lines += (json.dumps(encode(_without_texts(entry))) for entry in (said.entries if isinstance(said, Past) else ()))
        except TimeoutError:
            pass
    return "\n".join(lines) + "\n"


def _log(config: Config) -> str:
    path = (config.logging.file or config.data_dir / "edge-console.log").expanduser()
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        lines = file.read(LOG_BYTES).decode("utf-8", "replace").splitlines()
    return "\n".join(map(_without_fields, lines)) + "\n"


def _without_texts(entry: FeedEntry) -> FeedEntry:
    if isinstance(entry, CommandEntry):
        return entry._replace(thread_id=HIDDEN)
    return LogEntry(entry.utc, entry.level, _without_fields(entry.text)) if isinstance(entry, LogEntry) else entry


def _without_fields(line: str) -> str:
    """A dry run tells what would be sent, and to whom."""
    return line.partition(" with ")[0] if "Dry run of " in line else line


def _audit(config: Config) -> str:
    from agent_core.journal.audit import audit

    return _json(asdict(audit(config.data_dir.expanduser())))


def _doctor(config: Config, options: argparse.Namespace) -> str:
    import asyncio

    from agent_core.clock import SystemClock
    from agent_core.diagnosis.findings import conclude
    from agent_core.diagnosis.stages import diagnose
    from console.cli.doctor_report import as_json
    from console.cli.options import env_file

    async def looked() -> list[Any]:
        return [stage async for stage in diagnose(config, SystemClock(), env_file=env_file(options))]

    began = time.time()
    stages = asyncio.run(looked())
    return _json(as_json(stages, conclude(stages, config), config, began))
